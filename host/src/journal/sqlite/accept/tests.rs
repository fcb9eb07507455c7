//! Damaged journals from which a new one is made.

use std::collections::BTreeSet;

use super::*;
use crate::journal::sqlite::tests::workload::{copy as copy_folder, filled, open, read, run};
use crate::journal::sqlite::verify::{Depth, examine};
use crate::model::port::{Health, Store};

const RUNS: u128 = 30;

fn findings(folder: &Path) -> Findings {
    examine(&folder.join(FILE), Depth::Start).expect("it can be opened")
}

fn accept(folder: &Path) -> Accepted {
    accept_loss(folder, &findings(folder), Timestamp::EPOCH).expect("there is room")
}

#[tokio::test]
async fn rows_that_are_gone_take_what_lies_behind_them_in_their_run_and_nothing_else() {
    let folder = filled(RUNS).await;
    let whole = {
        let store = open(folder.path()).expect("it can be opened");
        read(&store, RUNS).await
    };
    let connection = connection::writer(&folder.path().join(FILE), false).expect("it can be opened");
    // The first row of run 1, the second of run 2, whose end lies behind it.
    let of = |number: u128| run(number).as_uuid().as_bytes().to_vec();
    connection
        .execute("DELETE FROM journal WHERE (run = ?1 AND first = 0) OR (run = ?2 AND first = 1)", params![of(1), of(2)])
        .expect("deleted");
    connection.execute("DELETE FROM runs WHERE run = ?1", [of(3)]).expect("deleted");
    drop(connection);
    assert!(matches!(open(folder.path()).expect("it opens").health(), Health::Suspect(_)));
    let accepted = accept(folder.path());
    assert_eq!(accepted.runs, [(run(1), Some(4), 0), (run(2), Some(5), 1)]);
    assert_eq!((accepted.rows, accepted.dropped), (71, 2));
    assert!(accepted.copy.join(FILE).exists() && accepted.copy.join("journal.mark").exists());
    let store = open(folder.path()).expect("it opens");
    assert_eq!(store.health(), Health::Good);
    let now = read(&store, RUNS).await;
    assert!(!now.keeps(&whole));
    assert_eq!((store.facts(run(1)).await.map(|facts| facts.len()), store.facts(run(2)).await.map(|facts| facts.len())), (Ok(0), Ok(1)));
    for number in 3..=RUNS {
        assert_eq!(Some(store.facts(run(number)).await), whole.facts_of(number), "run {number}");
    }
    assert_eq!(now.everything_kept(), whole.everything_kept());
    // What is due stays so, and what was under way is taken up.
    assert!(store.pending().await.expect("it can be read").runs.contains(&run(2)));
    store.close();
    assert_eq!(examine(&folder.path().join(FILE), Depth::Whole).expect("it can be opened").problems, []);
    let connection = connection::reader(&folder.path().join(FILE)).expect("it can be opened");
    let sql = "SELECT value FROM meta WHERE name = 'accepted journal.lost-1'";
    let recorded: String = connection.query_row(sql, [], |row| row.get(0)).expect("it was recorded");
    assert!(recorded.contains("row 1 of the journal is missing") && recorded.contains(&run(2).to_string()), "{recorded}");
}

#[tokio::test]
async fn a_torn_page_takes_what_was_on_it_and_a_file_that_is_none_takes_all() {
    let folder = filled(RUNS).await;
    let path = folder.path().join(FILE);
    let connection = connection::reader(&path).expect("it can be opened");
    let sql = "SELECT pageno FROM dbstat WHERE name = 'journal' AND pagetype = 'leaf' ORDER BY pageno LIMIT 1 OFFSET 2";
    let page = connection.query_row(sql, [], |row| row.get::<_, u32>(0)).unwrap_or(30);
    drop(connection);
    let mut bytes = std::fs::read(&path).expect("it is there");
    let at = usize::try_from(page - 1).expect("it is small") * usize::from(connection::PAGE);
    bytes[at..at + 512].fill(0xa5);
    std::fs::write(&path, bytes).expect("written");
    let accepted = accept(folder.path());
    assert!(accepted.rows > 40, "{accepted:?}");
    let store = open(folder.path()).expect("it opens");
    assert_eq!(store.health(), Health::Good);
    store.close();
    std::fs::write(&path, "no journal at all".repeat(1_000)).expect("written");
    let accepted = accept_loss(folder.path(), &Findings::default(), Timestamp::EPOCH).expect("there is room");
    assert_eq!((accepted.rows, accepted.copy.ends_with("journal.lost-2")), (0, true));
    let store = open(folder.path()).expect("it opens");
    assert_eq!((store.health(), store.facts(run(1)).await), (Health::Good, Ok(Vec::new())));
}

#[tokio::test]
async fn a_host_that_was_told_of_a_loss_stays_read_only_wherever_accepting_it_was_cut_off() {
    let folder = filled(RUNS).await;
    let connection = connection::writer(&folder.path().join(FILE), false).expect("it can be opened");
    connection.execute("DELETE FROM journal WHERE position > 70", []).expect("deleted");
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).expect("taken over");
    drop(connection);
    let other = tempfile::tempdir().expect("a folder");
    copy_folder(folder.path(), other.path());
    let draft = other.path().join(DRAFT);
    let found = findings(other.path());
    let copy = put_by(other.path()).expect("copied");
    assert!(findings(other.path()).is_suspect());
    let (_, mark) = make(other.path(), &copy, &draft, &found, Timestamp::EPOCH).expect("made");
    assert!(findings(other.path()).is_suspect());
    remove(&other.path().join(format!("{FILE}-wal"))).expect("removed");
    assert!(findings(other.path()).is_suspect());
    std::fs::rename(&draft, other.path().join(FILE)).expect("renamed");
    // The new journal is there and the old mark as well: it knows of rows that the new one has not.
    assert!(findings(other.path()).is_suspect());
    MarkFile::open(&mark_path(&other.path().join(FILE))).expect("opened").reset(mark).expect("written");
    assert_eq!(findings(other.path()).problems, []);
    let names: BTreeSet<_> = std::fs::read_dir(&copy).expect("it is there").map(|entry| entry.expect("listed").file_name()).collect();
    assert!(names.contains(std::ffi::OsStr::new(FILE)));
}

#[tokio::test]
async fn a_large_value_whose_file_is_gone_takes_its_run_with_it_and_is_missed_no_more() {
    let folder = filled(4).await;
    let store = open(folder.path()).expect("it can be opened");
    let large =
        |number: u128| vec![crate::journal::conformance::filler(&"x".repeat(100_000 + usize::try_from(number).expect("it is small")))];
    for number in [100, 101] {
        store.commit(crate::model::record::Batch::of(run(number), 0, std::sync::Arc::new(large(number)))).await.expect("it follows");
    }
    let value = crate::model::value::Value::string("y".repeat(100_000));
    let kept = crate::model::record::Kept {
        room: crate::model::record::Room::State,
        owner: "q".to_owned(),
        key: "k".to_owned(),
        value,
        until: None,
    };
    store.write(vec![crate::model::record::Write::Keep(kept)]).await.expect("it is taken");
    store.close();
    let payloads = Payloads::of(folder.path(), false);
    assert_eq!(payloads.names().len(), 3);
    payloads.remove(&payloads.names());
    let found = examine(&folder.path().join(FILE), Depth::Whole).expect("it can be opened");
    assert_eq!(found.problems.len(), 3, "{found:?}");
    let accepted = accept_loss(folder.path(), &found, Timestamp::EPOCH).expect("there is room");
    assert_eq!(accepted.runs, [(run(100), Some(1), 0), (run(101), Some(1), 0)]);
    assert_eq!((accepted.dropped, &accepted.others[..]), (2, &[("kept".to_owned(), 1)][..]));
    assert_eq!(examine(&folder.path().join(FILE), Depth::Whole).expect("it can be opened").problems, []);
    let store = open(folder.path()).expect("it opens");
    assert_eq!((store.health(), store.facts(run(4)).await.map(|facts| facts.len())), (Health::Good, Ok(5)));
}
