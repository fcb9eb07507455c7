//! Files of other formats, and what is no journal at all.

use super::*;
use crate::journal::sqlite::{CANNOT_OPEN, FORMAT, NEWER, NOT_UPGRADED};
use crate::model::failure::Failure;

fn refused(folder: &Path) -> Failure {
    match SqliteStore::open(folder, &clock(), no_secrets(), quick()) {
        Ok(_) => panic!("it must not be opened"),
        Err(failure) => failure,
    }
}

/// A journal as format 0 had it: nothing but facts.
fn make_format_0(folder: &Path, facts: &[(u128, u64, Vec<Fact>)]) {
    let tool = Connection::open(folder.join(FILE)).expect("it can be made");
    tool.execute_batch("CREATE TABLE journal (run BLOB, first INTEGER, facts TEXT)").expect("the statement is right");
    for (number, first, facts) in facts {
        let facts = serde_json::to_string(facts).expect("facts are JSON");
        let place = i64::try_from(*first).expect("it is small");
        tool.execute(
            "INSERT INTO journal (run, first, facts) VALUES (?1, ?2, ?3)",
            rusqlite::params![run(*number).as_uuid().as_bytes(), place, facts],
        )
        .expect("the statement is right");
    }
}

#[tokio::test]
async fn an_older_format_is_taken_along_after_a_copy() {
    let folder = tempfile::tempdir().expect("a folder");
    let event = began(1, None);
    make_format_0(
        folder.path(),
        &[(1, 0, vec![Fact::Began(Arc::new(event))]), (2, 0, vec![filler("x"), ended()]), (1, 1, vec![filler("y")])],
    );
    std::fs::write(folder.path().join("journal.format-0.db"), "left by an upgrade that broke off").expect("written");
    let store = open(folder.path(), quick());
    assert_eq!(store.facts(run(1)).await.expect("it was taken along").len(), 2);
    assert_eq!(store.pending().await.expect("it was taken along").runs, [run(1)]);
    store.commit(batch(1, 2, vec![ended()])).await.expect("it follows");
    drop(store);
    assert_eq!(ask::<i32>(folder.path(), "PRAGMA user_version"), FORMAT);
    let copy = Connection::open(folder.path().join("journal.format-0.db")).expect("it is a SQLite file");
    let rows: i64 = copy.query_row("SELECT count(*) FROM journal WHERE facts LIKE '[%'", [], |row| row.get(0)).expect("it is a journal");
    assert_eq!(rows, 3);
}

#[tokio::test]
async fn an_upgrade_that_fails_leaves_the_file_as_it_was() {
    let folder = tempfile::tempdir().expect("a folder");
    make_format_0(folder.path(), &[(1, 0, vec![filler("x")]), (1, 7, vec![filler("it does not follow")])]);
    for _ in 0..2 {
        let failure = refused(folder.path());
        assert_eq!(failure.code.as_deref(), Some(NOT_UPGRADED));
        assert!(failure.message.contains("fact 7") && failure.message.contains("as it was"), "{failure}");
        assert_eq!(ask::<i32>(folder.path(), "PRAGMA user_version"), 0);
        assert_eq!(ask::<i64>(folder.path(), "SELECT count(*) FROM sqlite_schema"), 1);
    }
}

#[tokio::test]
async fn a_newer_format_is_refused_and_not_touched() {
    let folder = tempfile::tempdir().expect("a folder");
    drop(open(folder.path(), quick()));
    let tool = Connection::open(folder.path().join(FILE)).expect("it is a SQLite file");
    tool.execute_batch("PRAGMA user_version = 7").expect("the statement is right");
    drop(tool);
    let epoch = "SELECT value FROM meta WHERE name = 'epoch'";
    let before = ask::<i64>(folder.path(), epoch);
    let failure = refused(folder.path());
    assert_eq!(failure.code.as_deref(), Some(NEWER));
    assert!(failure.message.contains("format 7") && failure.message.contains("newer"), "{failure}");
    assert_eq!(ask::<i64>(folder.path(), epoch), before);
}

#[tokio::test]
async fn what_is_no_journal_is_refused_with_the_way_out() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join(FILE), "no SQLite file, and long enough to be looked at".repeat(100)).expect("written");
    let failure = refused(folder.path());
    assert_eq!(failure.code.as_deref(), Some(CANNOT_OPEN));
    assert!(failure.message.contains("move it away"), "{failure}");
    std::fs::remove_file(folder.path().join(FILE)).expect("it is there");
    std::fs::create_dir_all(folder.path().join(FILE)).expect("it can be made");
    assert_eq!(refused(folder.path()).code.as_deref(), Some(CANNOT_OPEN));
}
