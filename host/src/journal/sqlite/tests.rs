//! The SQLite store against the suite of all stores, and what is its own.

use std::path::Path;
use std::sync::Arc;

use rusqlite::Connection;
use uuid::Uuid;

use super::{FILE, Options, Secrets, SqliteStore, connection};
use crate::clock::{Activity, VirtualClock};
use crate::journal::conformance::{self, began, ended, filler};
use crate::model::id::RunId;
use crate::model::port::{Clock, Health, Store, StoreError};
use crate::model::record::{Batch, Beginning, Fact, InboxKey, Kept, LaneId, Room, StepNumber, Write};
use crate::model::secret::Secret;
use crate::model::value::{Tree, Value};

fn clock() -> Arc<dyn Clock> {
    Arc::new(VirtualClock::new(Activity::new()))
}

/// What a test needs not to wait for.
fn quick() -> Options {
    Options { lasting: false, ballast: 0, tidy_every: None, ..Options::default() }
}

fn no_secrets() -> Secrets {
    Arc::new(|_| None)
}

fn open(folder: &Path, options: Options) -> SqliteStore {
    SqliteStore::open(folder, &clock(), no_secrets(), options).expect("it can be opened")
}

#[tokio::test]
async fn conforms() {
    let folder = tempfile::tempdir().expect("a folder");
    let stores = std::sync::atomic::AtomicUsize::new(0);
    conformance::all(|| {
        let own = folder.path().join(stores.fetch_add(1, std::sync::atomic::Ordering::Relaxed).to_string());
        std::fs::create_dir_all(&own).expect("it can be made");
        Arc::new(open(&own, quick()))
    })
    .await;
}

#[tokio::test]
async fn what_it_has_survives_it() {
    let folder = tempfile::tempdir().expect("a folder");
    conformance::survives(|| Arc::new(open(folder.path(), quick()))).await;
}

#[tokio::test]
async fn an_earlier_host_is_fenced_off() {
    let folder = tempfile::tempdir().expect("a folder");
    conformance::fences_off_an_earlier_host(|| Arc::new(open(folder.path(), quick()))).await;
}

fn run(number: u128) -> RunId {
    RunId::new(Uuid::from_u128(number))
}

fn batch(number: u128, first: u64, facts: Vec<Fact>) -> Batch {
    Batch::of(run(number), first, Arc::new(facts))
}

/// A row of a table, as a tool sees it.
fn ask<T: rusqlite::types::FromSql>(folder: &Path, statement: &str) -> T {
    let connection = Connection::open(folder.join(FILE)).expect("it is a SQLite file");
    connection.query_row(statement, [], |row| row.get(0)).expect("the statement is right")
}

#[tokio::test]
async fn a_host_that_was_replaced_writes_nothing_more() {
    let folder = tempfile::tempdir().expect("a folder");
    let old = open(folder.path(), quick());
    old.commit(batch(1, 0, vec![Fact::Began(Arc::new(began(1, None)))])).await.expect("it follows");
    let new = open(folder.path(), quick());
    let (of_a_run, of_none) = (old.commit(batch(1, 1, vec![filler("y")])), old.write(Vec::new()));
    assert_eq!(of_a_run.await, Err(StoreError::Fenced { run: run(1) }));
    assert!(matches!(of_none.await, Err(StoreError::Broken(_))));
    assert!(matches!(old.commit(batch(2, 0, vec![filler("y")])).await, Err(StoreError::Broken(_))));
    assert!(matches!(old.health(), Health::Broken(why) if why.contains("another host")));
    assert_eq!(new.claim(run(1)).await, Ok(1));
    new.commit(batch(1, 1, vec![filler("x")])).await.expect("it follows");
    assert_eq!(new.facts(run(1)).await.expect("it can be read").len(), 2);
}

#[tokio::test]
async fn a_run_that_a_later_start_has_touched_is_no_earlier_one_s_any_more() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(folder.path(), quick());
    store.commit(batch(1, 0, vec![filler("x")])).await.expect("it follows");
    drop(store);
    let store = open(folder.path(), quick());
    let tool = connection::writer(&folder.path().join(FILE), false).expect("it is a SQLite file");
    tool.execute_batch("UPDATE runs SET epoch = 3").expect("the statement is right");
    assert_eq!(store.commit(batch(1, 1, vec![filler("y")])).await, Err(StoreError::Fenced { run: run(1) }));
    assert_eq!(store.claim(run(1)).await, Err(StoreError::Fenced { run: run(1) }));
    assert_eq!(store.facts(run(1)).await.expect("it can be read").len(), 1);
}

#[tokio::test]
async fn one_that_is_refused_takes_nobody_with_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(folder.path(), quick());
    let large = Value::string("x".repeat(17 << 20));
    let given = [
        batch(1, 0, vec![filler("a")]),
        batch(2, 5, vec![filler("out of order")]),
        batch(3, 0, vec![Fact::StepDone { lane: LaneId(0), step: StepNumber(0), output: large }]),
        batch(4, 0, vec![filler("b")]),
    ];
    let given = given.map(|batch| store.commit(batch));
    let came = futures_util::future::join_all(given).await;
    assert!(matches!(came[1], Err(StoreError::OutOfOrder { expected: 0, found: 5, .. })));
    assert!(matches!(came[2], Err(StoreError::TooLarge { bytes, most: 16_777_216 }) if bytes > 17 << 20));
    assert_eq!((&came[0], &came[3]), (&Ok(()), &Ok(())));
    assert_eq!(ask::<i64>(folder.path(), "SELECT count(*) FROM journal"), 2);
}

#[tokio::test]
async fn any_tool_reads_the_facts_and_no_secret() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(folder.path(), quick());
    let secret = Value::from(Tree::Secret(Secret::given("password", "hunter2")));
    let facts = vec![filler("a"), Fact::StepDone { lane: LaneId(0), step: StepNumber(1), output: secret }, ended()];
    store.commit(batch(1, 0, facts)).await.expect("it follows");
    let names = "SELECT group_concat(number || ' ' || fact, ', ') FROM history WHERE run = '00000000-0000-0000-0000-000000000001'";
    assert_eq!(ask::<String>(folder.path(), names), "0 step_done, 1 step_done, 2 ended");
    assert_eq!(ask::<String>(folder.path(), "SELECT content ->> '$.output' FROM history WHERE number = 0"), "a");
    drop(store);
    for entry in std::fs::read_dir(folder.path()).expect("it is there") {
        let content = std::fs::read(entry.expect("it is there").path()).unwrap_or_default();
        assert!(!content.windows(7).any(|part| part == b"hunter2"));
    }
}

#[tokio::test]
async fn a_row_that_does_not_parse_is_named_and_hinders_no_other() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(folder.path(), quick());
    for number in [1, 2] {
        store.commit(batch(number, 0, vec![Fact::Began(Arc::new(began(number, None))), filler("x")])).await.expect("it follows");
    }
    let key = [0_u8; 15].into_iter().chain([1]).collect::<Vec<_>>();
    let tool = Connection::open(folder.path().join(FILE)).expect("it is a SQLite file");
    tool.execute("UPDATE journal SET facts = '[{\"fact\":\"tomorrow\"}]' WHERE run = ?1", [key]).expect("the statement is right");
    let StoreError::Unreadable(why) = store.facts(run(1)).await.expect_err("it is no fact") else { panic!("it is unreadable") };
    assert!(why.contains("00000000-0000-0000-0000-000000000001") && why.contains("number 0"), "{why}");
    assert_eq!(store.facts(run(2)).await.expect("it is whole").len(), 2);
    assert_eq!(store.pending().await.expect("the store is whole").runs.len(), 2);
}

#[tokio::test]
async fn what_cannot_be_read_in_a_room_or_among_the_events_hinders_itself_only() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(folder.path(), quick());
    let keep = |key: &str| {
        let (owner, value) = ("p".to_owned(), Value::string(key));
        Write::Keep(Kept { room: Room::Outbox, owner, key: key.to_owned(), value, until: None })
    };
    store.write(["a", "b", "c", "d"].map(keep).to_vec()).await.expect("it is taken");
    let emitted = Fact::Emitted { lane: LaneId(0), step: StepNumber(0), events: [1, 2, 3].map(conformance::event).to_vec() };
    store.commit(batch(1, 0, vec![Fact::Began(Arc::new(began(1, None))), emitted])).await.expect("it follows");
    // Whoever writes this way has their digests fit: no check of these finds it.
    let tool = connection::writer(&folder.path().join(FILE), false).expect("it is a SQLite file");
    tool.execute_batch("UPDATE kept SET value = '{\"half' WHERE key = 'b'").expect("the statement is right");
    let second = conformance::event(2).id;
    tool.execute("UPDATE events SET data = '{}' WHERE event = ?1", [second.as_uuid().as_bytes()]).expect("the statement is right");
    drop(tool);

    let page = store.first_kept(Room::Outbox, 2).await.expect("the others can be read");
    assert_eq!(page.kept.iter().map(|kept| &*kept.key).collect::<Vec<_>>(), ["a", "c"], "it takes nobody's place");
    assert_eq!(page.unreadable.iter().map(|one| (&*one.owner, &*one.key)).collect::<Vec<_>>(), [("p", "b")]);
    assert!(!page.unreadable[0].why.is_empty());
    assert_eq!(store.first_kept(Room::Outbox, 9).await.expect("the others can be read").kept.len(), 3);
    let whole = store.kept(Room::Outbox).await.expect_err("one cannot be read");
    assert!(matches!(whole, StoreError::Unreadable(why) if why.starts_with("what p keeps under b: ")));

    let pending = store.pending().await.expect("the others can be read");
    assert_eq!(pending.runs, [run(1)]);
    assert_eq!(pending.events.iter().map(|known| known.event.id).collect::<Vec<_>>(), [1, 3].map(|number| conformance::event(number).id));
    assert_eq!(pending.unreadable.iter().map(|one| one.key.clone()).collect::<Vec<_>>(), [second.to_string()]);
}

#[tokio::test]
async fn a_closed_store_takes_nothing_more() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(folder.path(), quick());
    let last = store.commit(batch(1, 0, vec![filler("x")]));
    store.close();
    assert_eq!(last.await, Ok(()), "what was given before is written");
    assert!(matches!(store.commit(batch(1, 1, vec![filler("x")])).await, Err(StoreError::Broken(_))));
    assert_eq!(store.facts(run(1)).await.expect("it can be read").len(), 1);
}

mod damage;
mod opening;
mod room;
mod sealed;
pub(super) mod workload;
