//! Examining stores from which rows were taken, or in which rows were changed, behind the back of the writer.

use std::path::Path;

use rusqlite::Connection;

use super::{columns, examine, mark_path};
use crate::journal::sqlite::account::{COUNTED_BY_HAND, SUMMED};
use crate::journal::sqlite::findings::Problem;
use crate::journal::sqlite::guard::Guard;
use crate::journal::sqlite::mark::{Mark, MarkFile};
use crate::journal::sqlite::sum::Sum;
use crate::journal::sqlite::tests::workload::{copy, fill, filled, open, read, rechain, run};
use crate::journal::sqlite::verify::Depth;
use crate::journal::sqlite::walk::Damage;
use crate::journal::sqlite::{FILE, FORMAT, connection};
use crate::model::port::{Health, RunQuery, Store, StoreError};
use crate::model::record::{Batch, Room};

const RUNS: u128 = 30;

fn problems(folder: &Path) -> Vec<Problem> {
    examine(&folder.join(FILE), Depth::Whole).expect("it can be opened").problems
}

/// A copy of a store in which these statements were carried out by somebody who knows how to make digests, and does not count.
fn changed(folder: &Path, statements: &str) -> Vec<Problem> {
    let other = tempfile::tempdir().expect("a folder");
    copy(folder, other.path());
    let connection = connection::writer(&other.path().join(FILE), false).expect("it can be opened");
    connection.execute_batch(statements).unwrap_or_else(|error| panic!("{statements}: {error}"));
    drop(connection);
    problems(other.path())
}

#[tokio::test]
async fn a_store_that_was_used_and_closed_has_nothing_wrong() {
    let folder = filled(RUNS).await;
    let findings = examine(&folder.path().join(FILE), Depth::Whole).expect("it can be opened");
    assert_eq!((findings.problems, findings.more, findings.rows), (vec![], 0, 75));
    assert!(findings.commits > 60, "{}", findings.commits);
    let store = open(folder.path()).expect("it can be opened");
    assert_eq!(store.health(), Health::Good);
    fill_again(&store).await;
    // While it is open too, and what is in the log only.
    assert_eq!(problems(folder.path()), []);
    store.close();
    assert_eq!(problems(folder.path()), []);
}

async fn fill_again(store: &dyn Store) {
    let facts = std::sync::Arc::new(vec![crate::journal::conformance::filler("again")]);
    store.commit(Batch::of(run(1), 4, facts)).await.expect("it follows");
}

#[tokio::test]
async fn every_column_of_a_summed_table_is_in_the_digest_of_its_rows() {
    let folder = filled(RUNS).await;
    let connection = connection::reader(&folder.path().join(FILE)).expect("it can be opened");
    for table in SUMMED.into_iter().filter(|table| *table != COUNTED_BY_HAND) {
        let columns = columns(&connection, table).expect("it is there").join(", ").replace('"', "");
        let sql = "SELECT sql FROM sqlite_schema WHERE name = ?1";
        let written: String = connection.query_row(sql, [table], |row| row.get(0)).expect("it is there");
        assert!(written.contains(&format!("row_digest('{table}', {columns})")), "{written}");
    }
    let sql = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'";
    let tables: u32 = connection.query_row(sql, [], |row| row.get(0)).expect("it can be read");
    assert_eq!(tables as usize, SUMMED.len() + 2, "each table but the journal and the account is summed");
}

#[tokio::test]
async fn a_column_of_a_run_s_row_that_is_changed_is_named() {
    let folder = filled(RUNS).await;
    let connection = connection::reader(&folder.path().join(FILE)).expect("it can be opened");
    let columns = columns(&connection, COUNTED_BY_HAND).expect("it is there");
    assert_eq!(columns.len(), 13);
    for column in columns.iter().filter(|column| *column != "\"run\"") {
        let other =
            format!("UPDATE runs SET {column} = CASE typeof({column}) WHEN 'integer' THEN {column} + 1 WHEN 'null' THEN 1 ELSE NULL END");
        let found = changed(folder.path(), &format!("{other} WHERE run = (SELECT run FROM runs LIMIT 1)"));
        assert!(matches!(&found[..], [Problem::Row { table: "runs", run: Some(of), .. }] if *of == run(1)), "{column}: {found:?}");
    }
    let found = changed(folder.path(), "UPDATE runs SET digest = zeroblob(16) WHERE run = (SELECT run FROM runs LIMIT 1)");
    assert!(matches!(&found[..], [Problem::Row { table: "runs", .. }, Problem::Count { table: "runs", .. }]), "{found:?}");
}

#[tokio::test]
async fn a_row_that_is_taken_from_any_table_is_missed() {
    let folder = filled(RUNS).await;
    for (table, key, left) in [
        ("runs", "run", 29),
        ("inbox", "event", 9),
        ("events", "event", 29),
        ("dispatched", "run", 29),
        ("kept", "position", 0),
        ("bundles", "revision", 0),
        ("bundle_files", "path", 0),
        ("meta", "name", 0),
    ] {
        let one = format!("SELECT {key} FROM {table} LIMIT 1");
        let found = changed(folder.path(), &format!("DELETE FROM {table} WHERE {key} = ({one})"));
        let missing = found.iter().any(|problem| match problem {
            Problem::Count { table: of, expected, found } => of == &table && *expected == *found + 1 && (left == 0 || *found == left),
            _ => false,
        });
        assert!(missing && found.len() == 1, "{table}: {found:?}");
    }
}

#[tokio::test]
async fn a_row_that_is_changed_is_missed_and_one_that_a_bit_has_changed_is_named() {
    let folder = filled(RUNS).await;
    let found = changed(folder.path(), "UPDATE inbox SET at = 77 WHERE event = (SELECT event FROM inbox LIMIT 1)");
    assert_eq!(found, [Problem::Count { table: "inbox", expected: 10, found: 10 }]);
    let bytes = std::fs::read(folder.path().join(FILE)).expect("it is there");
    let kept = b"\"kept kept kept kept";
    let at = bytes.windows(kept.len()).rposition(|window| window == kept).expect("it was written");
    let mut flipped = bytes.clone();
    flipped[at + 2] ^= 1;
    std::fs::write(folder.path().join(FILE), flipped).expect("written");
    let found = problems(folder.path());
    assert!(matches!(&found[..], [Problem::Row { table: "kept", .. }]), "{found:?}");
}

#[tokio::test]
async fn rows_of_the_journal_that_are_gone_or_changed_are_named_by_their_positions() {
    let folder = filled(RUNS).await;
    let found = changed(folder.path(), "DELETE FROM journal WHERE position BETWEEN 10 AND 12");
    assert_eq!(found, [Problem::Journal(Damage::Missing { first: 10, last: 12 })]);
    let found = changed(folder.path(), "DELETE FROM journal WHERE position > 70");
    assert_eq!(found, [Problem::End { expected: 75, found: 70 }]);
    let found = changed(folder.path(), "UPDATE journal SET facts = replace(facts, 'xxx', 'xyx') WHERE position = 2");
    assert_eq!(found, [Problem::Journal(Damage::Changed { position: 2, run: Some(run(1)) })]);
    let found = changed(folder.path(), "UPDATE account SET value = x'00'");
    assert!(matches!(&found[..], [Problem::Account(_)]), "{found:?}");
}

#[tokio::test]
async fn rows_that_retention_deletes_leave_gaps_and_are_not_missed() {
    let folder = filled(RUNS).await;
    let path = folder.path().join(FILE);
    let mut connection = connection::writer(&path, false).expect("it can be opened");
    let mut guard = Guard::install(&connection).expect("it can be read").expect("it has an account");
    let mut mark = MarkFile::open(&mark_path(&path)).expect("it can be opened");
    let mut delete = |condition: &str| {
        guard.begin();
        let transaction = connection.transaction().expect("begun");
        transaction.execute(&format!("DELETE FROM journal WHERE {condition}"), []).expect("deleted");
        guard.enter(&transaction, guard.account().mark.end, Sum::default()).expect("entered");
        transaction.commit().expect("committed");
        mark.write(guard.committed()).expect("written");
        let gaps = "SELECT first, last FROM gaps ORDER BY first";
        let mut gaps = connection.prepare(gaps).expect("it is there");
        let gaps = gaps.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).expect("it can be read");
        let gaps: Vec<(i64, i64)> = gaps.collect::<Result<_, _>>().expect("it can be read");
        assert_eq!(problems(folder.path()), [], "{condition}");
        gaps
    };
    assert_eq!(delete("position IN (3, 4, 9)"), [(3, 4), (9, 9)]);
    assert_eq!(delete("position IN (6, 8, 10)"), [(3, 4), (6, 6), (8, 10)]);
    assert_eq!(delete("position IN (5, 7)"), [(3, 10)]);
    assert_eq!(delete("position <= 2 OR position > 70"), [(1, 10), (71, 75)]);
}

#[tokio::test]
async fn a_store_that_is_behind_its_mark_opens_read_only_and_says_by_how_much() {
    let folder = tempfile::tempdir().expect("a folder");
    let (live, older) = (folder.path().join("live"), folder.path().join("older"));
    std::fs::create_dir_all(&live).expect("made");
    let store = open(&live).expect("it can be opened");
    fill(&store, 1..=RUNS).await;
    let whole = read(&store, RUNS).await;
    copy(&live, &older);
    fill_again(&store).await;
    store.close();
    drop(store);
    std::fs::copy(mark_path(&live.join(FILE)), mark_path(&older.join(FILE))).expect("copied");
    let store = open(&older).expect("it opens");
    let Health::Suspect(why) = store.health() else { panic!("{:?}", store.health()) };
    assert!(why.contains("committed up to row 76") && why.contains("up to row 75: 1 transaction lost"), "{why}");
    let refused = store.commit(Batch::of(run(1), 4, std::sync::Arc::new(vec![crate::journal::conformance::filler("x")]))).await;
    assert_eq!(refused, Err(StoreError::Suspect(why.clone())));
    assert_eq!(store.write(Vec::new()).await, Err(StoreError::Suspect(why)));
    // What is there is shown.
    assert!(read(&store, RUNS).await.keeps(&whole));
    assert_eq!(store.runs(RunQuery::default()).await.map(|runs| runs.len()), Ok(30));
    assert!(store.kept(Room::State).await.is_ok());
}

#[tokio::test]
async fn a_mark_that_is_gone_or_damaged_or_alone_is_told() {
    for (damage, words) in [(0, "journal.mark is gone"), (1, "journal.mark is damaged"), (2, "journal.db is gone")] {
        let folder = filled(RUNS).await;
        let path = folder.path().join(FILE);
        match damage {
            0 => std::fs::remove_file(mark_path(&path)).expect("removed"),
            1 => std::fs::write(mark_path(&path), "nonsense").expect("written"),
            _ => {
                for ending in ["", "-wal", "-shm"] {
                    let _ = std::fs::remove_file(folder.path().join(format!("{FILE}{ending}")));
                }
            }
        }
        let Health::Suspect(why) = open(folder.path()).expect("it opens").health() else { panic!("{words}") };
        assert!(why.contains(words), "{why}");
    }
}

#[tokio::test]
async fn a_store_that_was_cut_off_between_a_commit_and_its_mark_is_good() {
    let folder = filled(RUNS).await;
    let path = folder.path().join(FILE);
    let mut file = MarkFile::open(&mark_path(&path)).expect("it can be opened");
    let commits = examine(&path, Depth::Start).expect("it can be opened").commits;
    file.reset(Mark { commits: commits - 1, ..Mark::default() }).expect("written");
    assert_eq!(problems(folder.path()), []);
}

#[tokio::test]
async fn a_row_that_does_not_parse_stalls_its_run_and_nothing_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(folder.path()).expect("it can be opened");
    fill(&store, 1..=3).await;
    store.close();
    drop(store);
    // Written well, by a host that wrote something else than this one reads.
    let path = folder.path().join(FILE);
    let connection: Connection = connection::writer(&path, false).expect("it can be opened");
    connection.execute_batch("UPDATE journal SET facts = '[{\"fact\":\"unheard_of\"}]' WHERE position = 1").expect("changed");
    rechain(&connection, FORMAT);
    crate::journal::sqlite::guard::recount(&connection, 99).expect("counted");
    drop(connection);
    let found = problems(folder.path());
    assert!(matches!(&found[..], [Problem::Unparsed { position: 1, run: of, .. }] if *of == run(1)), "{found:?}");
    let store = open(folder.path()).expect("it opens");
    assert_eq!(store.health(), Health::Good);
    assert!(matches!(store.facts(run(1)).await, Err(StoreError::Unreadable(_))));
    assert_eq!(store.facts(run(2)).await.map(|facts| facts.len()), Ok(5));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a minute: cargo test --release -p pipehost --lib hundred_thousand_waiting -- --ignored --nocapture"]
async fn a_start_with_a_hundred_thousand_waiting_runs_looks_at_all_of_them_in_about_a_second() {
    use crate::journal::conformance::{began, filler};
    use crate::model::record::Fact;
    const WAITING: u128 = 100_000;
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(folder.path()).expect("it can be opened");
    let mut commits = Vec::new();
    for number in 1..=WAITING {
        let due = Some(crate::model::time::Timestamp::from_nanos(u64::try_from(number).expect("it is small")));
        let first = Batch::of(run(number), 0, std::sync::Arc::new(vec![Fact::Began(std::sync::Arc::new(began(number % 90 + 1, None)))]));
        let first = Batch { run: run(number), ..first };
        commits.push(store.commit(first));
        commits.push(store.commit(Batch { due, ..Batch::of(run(number), 1, std::sync::Arc::new(vec![filler(&"x".repeat(300))])) }));
        if commits.len() >= 10_000 {
            for commit in commits.drain(..) {
                commit.await.expect("it follows");
            }
        }
    }
    store.close();
    drop(store);
    let clock = crate::clock::RealClock::new();
    let clock: &dyn crate::model::port::Clock = &clock;
    for depth in [Depth::Start, Depth::Whole] {
        let before = clock.now();
        let findings = examine(&folder.path().join(FILE), depth).expect("it can be opened");
        let took = clock.now().since(before).as_secs_f64();
        assert_eq!(findings.problems, []);
        let rows = findings.rows + u64::try_from(WAITING).expect("it is small");
        let bytes = std::fs::metadata(folder.path().join(FILE)).expect("it is there").len() >> 20;
        println!("{depth:?}: {rows} rows, {bytes} MiB in {took:.2} s: {:.0} rows/s", rows as f64 / took);
    }
}
