//! Statements on real files.

use super::*;

fn value(json: &str) -> Value {
    Value::from_text(json).expect("this is JSON")
}

fn database() -> (tempfile::TempDir, Database) {
    let folder = tempfile::tempdir().expect("a folder");
    let database = Database::open(&folder.path().join("chatbot/chat.db"), Access::Users).expect("it opens");
    (folder, database)
}

async fn with_messages() -> (tempfile::TempDir, Database) {
    let (folder, database) = database();
    let table = "CREATE TABLE messages (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE, score REAL)";
    database.execute(table, &Value::null()).await.expect("a table");
    (folder, database)
}

#[tokio::test]
async fn rows_come_back_as_maps_with_their_kinds() {
    let (_folder, database) = with_messages().await;
    let insert = "INSERT INTO messages (text, score) VALUES (?1, ?2)";
    let done = database.execute(insert, &value(r#"["héllo", 0.5]"#)).await.expect("a row");
    assert_eq!(done.text(), r#"{"changed":1,"last_id":1}"#);
    let select = "SELECT id, text, score, NULL AS gone, x'ff' AS bytes FROM messages WHERE text = :text";
    let rows = database.query(select, &value(r#"{"text":"héllo"}"#)).await.expect("rows");
    assert_eq!(rows.text(), r#"[{"id":1,"text":"héllo","score":0.5,"gone":null,"bytes":"/w=="}]"#);
}

#[tokio::test]
async fn a_list_is_read_by_json_each() {
    let (_folder, database) = database();
    let rows = database.query("SELECT value FROM json_each(?1)", &value("[[1,2]]")).await.expect("rows");
    assert_eq!(rows.text(), r#"[{"value":1},{"value":2}]"#);
}

#[tokio::test]
async fn failures_have_the_kind_that_policies_go_by() {
    let (_folder, database) = with_messages().await;
    let insert = "INSERT INTO messages (text) VALUES ('once')";
    database.execute(insert, &Value::null()).await.expect("a row");
    for (statement, kind) in [
        (insert, FailureKind::Conflict),
        ("INSERT INTO nowhere VALUES (1)", FailureKind::Invalid),
        ("INSER INTO messages", FailureKind::Invalid),
        ("DELETE FROM messages; DELETE FROM messages", FailureKind::Invalid),
        ("ATTACH 'other.db' AS other", FailureKind::Denied),
        ("VACUUM INTO 'copy.db'", FailureKind::Denied),
        ("BEGIN", FailureKind::Denied),
        ("SAVEPOINT s", FailureKind::Denied),
        ("PRAGMA journal_mode=DELETE", FailureKind::Denied),
        ("PRAGMA user_version=3", FailureKind::Denied),
        ("SELECT load_extension('x')", FailureKind::Denied),
    ] {
        let failure = database.execute(statement, &Value::null()).await.expect_err(statement);
        assert_eq!(failure.kind, kind, "{statement}: {failure}");
    }
    let failure = database.query(insert, &Value::null()).await.expect_err("it writes");
    assert_eq!((failure.kind, failure.code.as_deref()), (FailureKind::Invalid, Some("not_a_query")));
    let info = database.query("PRAGMA table_info(messages)", &Value::null()).await.expect("columns");
    assert_eq!(info.tree().as_list().map(<[_]>::len), Some(3));
}

#[tokio::test]
async fn parameters_must_fit_exactly() {
    let (_folder, database) = database();
    for (statement, parameters, words) in [
        ("SELECT ?1", "null", "none are given"),
        ("SELECT ?1", "[1,2]", "2 are given"),
        ("SELECT :a", r#"{"b":1}"#, ":a is not among"),
        ("SELECT :a", r#"{"a":1,"b":1}"#, "no parameter :b"),
        ("SELECT ?", r#"{"a":1}"#, "without a name"),
        ("SELECT 1", "3", "this is int"),
    ] {
        let failure = database.query(statement, &value(parameters)).await.expect_err(statement);
        assert!(failure.message.contains(words), "{failure}");
    }
}

#[tokio::test]
async fn a_secret_is_not_written() {
    let (_folder, database) = with_messages().await;
    let secret = crate::model::secret::Secret::new("KEY", "hunter2");
    let parameters = Value::from(Tree::List(vec![Tree::Secret(secret)]));
    let failure = database.execute("INSERT INTO messages (text) VALUES (?1)", &parameters).await.expect_err("refused");
    assert!(failure.message.contains("secret") && !failure.message.contains("hunter2"));
}

#[tokio::test]
async fn the_row_after_the_last_allowed_one_is_an_error() {
    let (_folder, database) = database();
    let count = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1) SELECT i FROM n";
    assert!(database.query(count, &value(&format!("[{MAX_ROWS}]"))).await.is_ok());
    let failure = database.query(count, &value(&format!("[{}]", MAX_ROWS + 1))).await.expect_err("too many");
    assert_eq!(failure.code.as_deref(), Some("too_many_rows"));
    let failure = database.query("SELECT zeroblob(13000000)", &Value::null()).await.expect_err("too large");
    assert_eq!(failure.code.as_deref(), Some("too_many_rows"));
}

#[tokio::test]
async fn a_folder_and_a_file_of_other_content_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let failure = Database::open(folder.path(), Access::Users).err().expect("a folder is no database");
    assert!(failure.message.contains("is a folder"), "{failure}");
    let file = folder.path().join("chat.db");
    std::fs::write(&file, "this is surely no database at all, but text of some length".repeat(40)).expect("written");
    let failure = Database::open(&file, Access::Users).err().expect("text is no database");
    assert_eq!((failure.kind, failure.code.as_deref()), (FailureKind::Permanent, Some(CORRUPT)));
    assert!(failure.message.contains("chat.db"), "{failure}");
}

#[tokio::test]
async fn an_abandoned_statement_ends_and_the_next_one_runs() {
    let (_folder, database) = with_messages().await;
    let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) INSERT INTO messages (text) SELECT 'x' || i FROM n";
    {
        let null = Value::null();
        let mut endless = Box::pin(database.execute(endless, &null));
        // Enough turns for the blocking thread to have begun; whether it has does not change what is expected.
        for _ in 0..50 {
            assert!(futures_util::poll!(&mut endless).is_pending());
            tokio::task::yield_now().await;
        }
    }
    let rows = database.execute("INSERT INTO messages (text) VALUES ('after')", &Value::null()).await;
    assert_eq!(rows.expect("the connection is free").field("changed"), Some(Value::from(Tree::Int(1))));
    let rows = database.query("SELECT count(*) AS n FROM messages", &Value::null()).await.expect("rows");
    assert_eq!(rows.text(), r#"[{"n":1}]"#);
}

#[tokio::test]
async fn a_transaction_of_ours_that_fails_is_taken_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let database = Database::open(&folder.path().join("own.db"), Access::Own).expect("it opens");
    database.write(|session| session.batch("CREATE TABLE t (a)")).await.expect("a table");
    let failed: Result<(), Failure> = database
        .write(|session| {
            session.run("INSERT INTO t VALUES (?1)", &[Cell::Int(1)])?;
            Err(Failure::new(FailureKind::Failed, "on purpose"))
        })
        .await;
    assert!(failed.is_err());
    let rows = database.read(|session| session.rows("SELECT count(*) FROM t", &[])).await.expect("rows");
    assert_eq!(rows, [[Cell::Int(0)]]);
}
