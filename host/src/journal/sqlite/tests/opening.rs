//! Files of other formats, and what is no journal at all.

use super::*;
use crate::journal::sqlite::mark::MarkFile;
use crate::journal::sqlite::payload::Payloads;
use crate::journal::sqlite::verify::{self, Depth};
use crate::journal::sqlite::{CANNOT_OPEN, FORMAT, NEWER, NOT_UPGRADED, Retention, accept_loss, guard, schema};
use crate::model::failure::Failure;
use crate::model::time::Timestamp;

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
async fn a_new_journal_has_its_tables_in_the_file_before_there_is_a_mark() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(folder.path(), quick());
    store.commit(batch(1, 0, vec![filler("x")])).await.expect("it follows");
    let other = tempfile::tempdir().expect("a folder");
    std::fs::copy(folder.path().join(FILE), other.path().join(FILE)).expect("copied");
    assert_eq!(ask::<i64>(other.path(), "SELECT count(*) FROM journal"), 0, "what follows is in the log");
    assert_eq!(ask::<i32>(other.path(), "PRAGMA user_version"), FORMAT);
}

#[tokio::test]
async fn what_is_no_journal_is_left_as_it_is_and_said_to_be_lost() {
    let folder = tempfile::tempdir().expect("a folder");
    let other = "no SQLite file, and long enough to be looked at".repeat(100);
    std::fs::write(folder.path().join(FILE), &other).expect("written");
    let store = open(folder.path(), quick());
    assert!(matches!(store.health(), Health::Suspect(why) if why.contains("file is not a database")));
    assert!(matches!(store.pending().await, Err(StoreError::Suspect(why)) if why.contains("nothing of it can be read")));
    assert!(matches!(store.write(Vec::new()).await, Err(StoreError::Suspect(_))));
    drop(store);
    assert_eq!(std::fs::read_to_string(folder.path().join(FILE)).expect("it is there"), other);
    std::fs::remove_file(folder.path().join(FILE)).expect("it is there");
    std::fs::create_dir_all(folder.path().join(FILE)).expect("it can be made");
    assert_eq!(refused(folder.path()).code.as_deref(), Some(CANNOT_OPEN));
}

/// Makes a journal as format 1 had it of one that this host has written and closed.
fn make_format_1(folder: &Path) {
    let path = folder.join(FILE);
    let tool = connection::writer(&path, false).expect("it is a SQLite file");
    let commits = guard::account(&tool).expect("it is there").expect("it can be read").mark.commits;
    let columns = "run, pipeline, flow, revision, correlation, parent, event, began, ended, outcome, due, epoch, claims";
    tool.execute_batch(&format!(
        "ALTER TABLE runs RENAME TO runs_2; DROP INDEX runs_open; DROP INDEX runs_ended; DROP INDEX runs_correlation;
         CREATE TABLE runs (run BLOB NOT NULL PRIMARY KEY, pipeline TEXT, flow TEXT, revision TEXT, correlation BLOB, parent BLOB, event BLOB,
             began INTEGER, ended INTEGER, outcome TEXT, due INTEGER, epoch INTEGER NOT NULL, claims INTEGER NOT NULL DEFAULT 0,
             digest BLOB AS (row_digest('runs', {columns})) STORED) WITHOUT ROWID;
         CREATE INDEX runs_open ON runs (due, began) WHERE ended IS NULL;
         CREATE INDEX runs_ended ON runs (ended) WHERE ended IS NOT NULL;
         CREATE INDEX runs_began ON runs (began);
         CREATE INDEX runs_correlation ON runs (correlation);
         INSERT INTO runs ({columns}) SELECT {} FROM runs_2; DROP TABLE runs_2;",
        columns.replace("revision", "lower(hex(revision))")
    ))
    .expect("the statements are right");
    workload::rechain(&tool, 1);
    guard::recount(&tool, commits).expect("counted");
    let mark = guard::account(&tool).expect("it is there").expect("it can be read").mark;
    tool.execute_batch("INSERT INTO meta (name, value) SELECT 'account', value FROM account; DROP TABLE account; PRAGMA user_version = 1")
        .expect("the statements are right");
    MarkFile::open(&verify::mark_path(&path)).expect("it is there").reset(mark).expect("written");
}

/// A folder with a journal of format 1 that has something of everything: gaps where rows were deleted, and large values in files.
async fn of_format_1() -> (tempfile::TempDir, workload::Content) {
    let folder = tempfile::tempdir().expect("a folder");
    let options = Options { retention: Retention { ended_runs: 3, ..Retention::default() }, ..quick() };
    let store = open(folder.path(), options);
    workload::fill(&store, 1..=RUNS).await;
    for number in 1_000..1_012 {
        let facts = if number % 2 == 0 { vec![filler("it goes"), ended()] } else { vec![filler("it stays")] };
        store.commit(batch(number, 0, facts)).await.expect("it follows");
    }
    let large = batch(RUNS + 1, 0, vec![filler(&"x".repeat(100_000)), ended()]);
    store.commit(large).await.expect("it follows");
    store.tidy().await.expect("it can be done");
    let content = workload::read(&store, RUNS + 1).await;
    store.close();
    drop(store);
    assert!(
        ask::<i64>(folder.path(), "SELECT count(*) FROM gaps") > 1 && ask::<i64>(folder.path(), "SELECT count(payload) FROM journal") == 1
    );
    make_format_1(folder.path());
    (folder, content)
}

const RUNS: u128 = 20;

#[tokio::test]
async fn a_journal_of_format_1_is_taken_along_whole() {
    let (folder, content) = of_format_1().await;
    let findings = verify::examine(&folder.path().join(FILE), Depth::Whole).expect("it can be opened");
    assert_eq!(findings.problems, [], "it is looked through as it is");
    let store = open(folder.path(), quick());
    assert_eq!(store.health(), Health::Good);
    assert_eq!(workload::read(&store, RUNS + 1).await, content);
    workload::fill(&store, 50..=60).await;
    store.close();
    let findings = verify::examine(&folder.path().join(FILE), Depth::Whole).expect("it can be opened");
    assert_eq!((findings.problems, ask::<i32>(folder.path(), "PRAGMA user_version")), (vec![], FORMAT));
    assert!(folder.path().join("journal.format-1.db").exists());
}

#[tokio::test]
async fn an_upgrade_that_was_cut_off_before_its_mark_is_no_loss() {
    let (folder, content) = of_format_1().await;
    let mark = std::fs::read(verify::mark_path(&folder.path().join(FILE))).expect("it is there");
    let path = folder.path().join(FILE);
    let mut connection = connection::writer(&path, false).expect("it is a SQLite file");
    schema::prepare(&mut connection, &path, &Payloads::of(folder.path(), false)).expect("it can be brought there");
    drop(connection);
    assert_eq!(std::fs::read(verify::mark_path(&path)).expect("it is there"), mark);
    let store = open(folder.path(), quick());
    assert_eq!((store.health(), workload::read(&store, RUNS + 1).await), (Health::Good, content));
}

#[tokio::test]
async fn a_journal_of_format_1_in_which_something_is_lost_is_not_brought_anywhere_until_that_is_accepted() {
    let (folder, content) = of_format_1().await;
    let tool = connection::writer(&folder.path().join(FILE), false).expect("it is a SQLite file");
    tool.execute_batch("DELETE FROM inbox WHERE event = (SELECT min(event) FROM inbox)").expect("the statement is right");
    drop(tool);
    let store = open(folder.path(), quick());
    assert!(matches!(store.health(), Health::Suspect(why) if why.contains("inbox has")));
    assert!(workload::read(&store, RUNS + 1).await.keeps(&content), "what is there is shown");
    drop(store);
    assert_eq!(ask::<i32>(folder.path(), "PRAGMA user_version"), 1);
    let found = verify::examine(&folder.path().join(FILE), Depth::Start).expect("it can be opened");
    let accepted = accept_loss(folder.path(), &found, Timestamp::EPOCH).expect("there is room");
    assert_eq!(accepted.dropped, 0, "{accepted:?}");
    let store = open(folder.path(), quick());
    assert_eq!(store.health(), Health::Good);
    assert!(workload::read(&store, RUNS + 1).await.keeps(&content));
}
