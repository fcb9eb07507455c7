//! A store with something of everything in it, and what of that comes back.

use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, params};
use uuid::Uuid;

use crate::journal::conformance::{began, ended, filler};
use crate::journal::sqlite::chain::{self, Row};
use crate::journal::sqlite::{FILE, SqliteStore};
use crate::model::bundle::{self, Bundle};
use crate::model::event::Event;
use crate::model::failure::Failure;
use crate::model::fixture;
use crate::model::id::{Digest, RunId};
use crate::model::port::{Pending, RunQuery, RunRecord, Store, StoreError};
use crate::model::record::{Batch, BlockNumber, Fact, Kept, LaneId, Part, Room, StepNumber, Write};
use crate::model::time::Timestamp;
use crate::model::value::Value;

/// The run of that number.
pub(in crate::journal::sqlite) fn run(number: u128) -> RunId {
    RunId::new(Uuid::from_u128(number))
}

/// Opens the store in a folder, without waiting for the disk.
pub(in crate::journal::sqlite) fn open(folder: &Path) -> Result<SqliteStore, Failure> {
    SqliteStore::open(folder, &super::clock(), super::no_secrets(), super::quick())
}

fn event(number: u128) -> Event {
    let time = Timestamp::from_nanos(u64::try_from(number).unwrap_or_default());
    Event { time, data: Value::string("what is told"), ..fixture::event(1_000_000 + number, "Told") }
}

fn kept(room: Room, number: u128, value: &str) -> Kept {
    Kept { room, owner: "p".to_owned(), key: format!("key {}", number % 7), value: Value::string(value), until: None }
}

fn bundle() -> Arc<Bundle> {
    let files = vec![("p.yaml".into(), Arc::from(b"pipeline: p".repeat(20)))];
    Arc::new(Bundle { format: bundle::FORMAT, revision: Digest::of(b"p"), pipeline: "p".into(), file: "p.yaml".into(), files })
}

/// Writes the runs from one number to another: with events, kept values, a bundle, and some that have ended.
pub(in crate::journal::sqlite) async fn fill(store: &dyn Store, runs: RangeInclusive<u128>) {
    let part = Arc::new(Part { block: BlockNumber(1), input: Value::null(), outputs: Vec::new(), locals: Vec::new() });
    for number in runs {
        let room = Room::ALL[usize::try_from(number).expect("it is small") % Room::ALL.len()];
        let began = began(number, (number % 3 == 0).then(|| event(number)));
        let writes = vec![Write::Keep(kept(room, number, &"kept ".repeat(8))), Write::Bundle(bundle())];
        let first = Batch { writes, ..Batch::of(run(number), 0, Arc::new(vec![Fact::Began(Arc::new(began))])) };
        store.commit(first).await.expect("it follows");
        let emitted = Fact::Emitted { lane: LaneId(0), step: StepNumber(0), events: vec![event(500 + number)] };
        let dispatched = Fact::Dispatched { lane: LaneId(0), step: StepNumber(1), run: run(10_000 + number), part: Arc::clone(&part) };
        let due = Some(Timestamp::from_nanos(5_000 + u64::try_from(number).expect("it is small")));
        let second = Batch { due, ..Batch::of(run(number), 1, Arc::new(vec![filler(&"x".repeat(100)), emitted, dispatched])) };
        store.commit(second).await.expect("it follows");
        if number % 2 == 0 {
            store.published(vec![event(500 + number).id]);
            store.commit(Batch::of(run(number), 4, Arc::new(vec![ended()]))).await.expect("it follows");
        }
        if number % 5 == 0 {
            store.claim(run(number - 1)).await.expect("it is known");
            store
                .write(vec![Write::Forget { room, owner: "p".to_owned(), key: Some(format!("key {}", number % 7)) }])
                .await
                .expect("taken");
        }
    }
}

/// A folder with a store that was filled with so many runs, and closed.
pub(in crate::journal::sqlite) async fn filled(runs: u128) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(folder.path()).expect("it can be opened");
    fill(&store, 1..=runs).await;
    store.close();
    folder
}

/// Something of what a store has: that, or that it cannot be read.
pub(in crate::journal::sqlite) type Given<T> = Result<T, StoreError>;

/// All that a store gives.
#[derive(PartialEq, Debug)]
pub(in crate::journal::sqlite) struct Content {
    facts: Vec<Given<Vec<Fact>>>,
    kept: Vec<Given<Vec<Kept>>>,
    pending: Given<Pending>,
    runs: Given<Vec<RunRecord>>,
    bundle: Given<Option<Arc<Bundle>>>,
}

/// Reads all of a store that [`fill`] has filled with so many runs.
pub(in crate::journal::sqlite) async fn read(store: &dyn Store, runs: u128) -> Content {
    let (mut facts, mut kept) = (Vec::new(), Vec::new());
    for number in 1..=runs {
        facts.push(store.facts(run(number)).await);
    }
    for room in Room::ALL {
        kept.push(store.kept(room).await);
    }
    let runs = store.runs(RunQuery::default()).await;
    Content { facts, kept, pending: store.pending().await, runs, bundle: store.bundle(Digest::of(b"p")).await }
}

impl Content {
    /// The facts of that run.
    pub(in crate::journal::sqlite) fn facts_of(&self, number: u128) -> Option<Given<Vec<Fact>>> {
        self.facts.get(usize::try_from(number.checked_sub(1)?).ok()?).cloned()
    }

    /// What is in all rooms.
    pub(in crate::journal::sqlite) const fn everything_kept(&self) -> &Vec<Given<Vec<Kept>>> {
        &self.kept
    }

    /// Whether this is what that was, as far as it is given: nothing is missing or changed without a word.
    pub(in crate::journal::sqlite) fn keeps(&self, whole: &Self) -> bool {
        fn same<T: PartialEq>(one: &Given<T>, other: &Given<T>) -> bool {
            one.is_err() || one == other
        }
        let facts = self.facts.iter().zip(&whole.facts).all(|(one, other)| same(one, other));
        let kept = self.kept.iter().zip(&whole.kept).all(|(one, other)| same(one, other));
        facts && kept && self.keeps_pending(whole) && same(&self.runs, &whole.runs) && same(&self.bundle, &whole.bundle)
    }
}

impl Content {
    /// An event that cannot be read is named, and only that one is missing.
    fn keeps_pending(&self, whole: &Self) -> bool {
        let (Ok(pending), Ok(whole)) = (&self.pending, &whole.pending) else { return self.pending.is_err() };
        let rest = pending.events.len() + pending.unreadable.len() == whole.events.len();
        let events = pending.events.iter().all(|event| whole.events.contains(event));
        pending.runs == whole.runs && pending.dispatched == whole.dispatched && rest && events
    }
}

/// Copies what a host that was killed at this moment would leave.
pub(in crate::journal::sqlite) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("it can be made");
    for entry in std::fs::read_dir(from).expect("it is a folder") {
        let entry = entry.expect("it can be listed");
        // The index of the log is made anew from the log.
        if entry.path().is_file() && entry.file_name() != format!("{FILE}-shm").as_str() {
            std::fs::copy(entry.path(), to.join(entry.file_name())).expect("copied");
        }
    }
}

/// Chains the rows of a journal anew, whatever stands in them, as files of this format have it.
pub(in crate::journal::sqlite) fn rechain(connection: &Connection, format: i32) {
    let rows = "SELECT position, run, first, count, facts, payload FROM journal ORDER BY position";
    let mut rows = connection.prepare(rows).expect("it is there");
    let mut rows = rows.query([]).expect("it can be read");
    let mut covers = connection.prepare("SELECT cover FROM gaps WHERE last = ?1").expect("it is there");
    let mut previous = Digest::of(chain::ORIGIN);
    let mut chained: Vec<(i64, Digest)> = Vec::new();
    while let Some(row) = rows.next().expect("it can be read") {
        let run = RunId::new(Uuid::from_bytes(row.get(1).expect("an id")));
        let (facts, file): (Option<String>, Option<String>) = (row.get(4).expect("a text"), row.get(5).expect("a text"));
        let content = chain::Content::of(format, facts.as_deref(), file.as_deref()).expect("one of both");
        let position: i64 = row.get(0).expect("a number");
        if position != chained.last().map_or(1, |(last, _)| last + 1) {
            previous = Digest::from_bytes(covers.query_row([position - 1], |row| row.get(0)).expect("it was deleted"));
        }
        let (first, count): (u32, u32) = (row.get(2).expect("a number"), row.get(3).expect("a number"));
        previous = chain::digest(&previous, &Row { position, run, first: first.into(), count: count.into(), content });
        chained.push((position, previous));
    }
    for (position, digest) in chained {
        let sql = "UPDATE journal SET digest = ?2 WHERE position = ?1";
        connection.execute(sql, params![position, digest.as_bytes()]).expect("changed");
    }
}
