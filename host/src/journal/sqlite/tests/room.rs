//! What is large, what is old, and what there is no room for.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::*;
use crate::journal::sqlite::Retention;
use crate::model::activation::RunOutcome;
use crate::model::bundle::{self, Bundle};
use crate::model::id::Digest;
use crate::model::port::RunQuery;
use crate::model::record::{Batch, Kept, LaneId, RefusedAnswer, Room, StepNumber, Write};
use crate::model::time::Timestamp;

const HOUR: Duration = Duration::from_secs(3_600);

fn large(text: &str) -> Fact {
    filler(&text.repeat(100_000))
}

fn files(folder: &Path) -> usize {
    std::fs::read_dir(folder.join("payloads")).map_or(0, Iterator::count)
}

fn ended_at(hours: u32) -> Fact {
    Fact::Ended { outcome: RunOutcome::Succeeded, at: Timestamp::EPOCH + HOUR * hours }
}

fn virtual_clock() -> VirtualClock {
    VirtualClock::new(Activity::new())
}

fn open_at(folder: &Path, clock: &VirtualClock, options: Options) -> SqliteStore {
    let clock: Arc<dyn Clock> = Arc::new(clock.clone());
    SqliteStore::open(folder, &clock, no_secrets(), options).expect("it can be opened")
}

#[tokio::test]
async fn what_is_large_is_a_file_once_and_one_that_is_damaged_is_no_wrong_answer() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(folder.path(), quick());
    store.commit(batch(1, 0, vec![large("a")])).await.expect("it follows");
    store.commit(batch(2, 0, vec![large("a")])).await.expect("it follows");
    assert_eq!(files(folder.path()), 1);
    assert_eq!(store.facts(run(2)).await, Ok(vec![large("a")]));
    let file = std::fs::read_dir(folder.path().join("payloads")).expect("it is there").next().expect("one").expect("one").path();
    std::fs::write(&file, "[]").expect("written");
    let StoreError::Unreadable(why) = store.facts(run(1)).await.expect_err("it is damaged") else { panic!("it is unreadable") };
    assert!(why.contains("damaged"), "{why}");
}

#[tokio::test]
async fn what_ended_long_ago_goes_with_its_files_and_all_else_stays() {
    let folder = tempfile::tempdir().expect("a folder");
    let clock = virtual_clock();
    let retention = Retention { ended_for: HOUR * 24, ended_runs: 100, inbox_for: HOUR * 48, ..Retention::default() };
    let store = open_at(folder.path(), &clock, Options { retention, ..quick() });
    std::fs::create_dir_all(folder.path().join("payloads")).expect("it can be made");
    std::fs::write(folder.path().join("payloads").join("left-by-a-crash"), "x").expect("written");
    let event = conformance::event(5);
    let started = Fact::Began(Arc::new(Beginning { at: Timestamp::EPOCH, ..began(1, Some(event.clone())) }));
    store.commit(batch(1, 0, vec![started, large("a"), ended_at(1)])).await.expect("it follows");
    store.commit(batch(2, 0, vec![Fact::Began(Arc::new(began(2, None))), large("b"), ended_at(30)])).await.expect("it follows");
    let parked = RunOutcome::Parked { because: Box::new(RunOutcome::Succeeded), left: Vec::new() };
    store.commit(batch(3, 0, vec![filler("x"), Fact::Ended { outcome: parked, at: Timestamp::EPOCH }])).await.expect("it follows");
    store.commit(batch(4, 0, vec![filler("x")])).await.expect("it follows");
    let kept = |key: &str, hours: u32| {
        let until = Some(Timestamp::EPOCH + HOUR * hours);
        Write::Keep(Kept { room: Room::Dedup, owner: "p".to_owned(), key: key.to_owned(), value: Value::null(), until })
    };
    store.write(vec![kept("short", 1), kept("long", 90)]).await.expect("taken");
    let facts = async |number| store.facts(run(number)).await.expect("it can be read").len();
    let has_taken = async || {
        let key = InboxKey { pipeline: "p".into(), flow: "main".into(), event: event.id };
        store.has_taken(key).await.expect("it can be read")
    };

    clock.advance(HOUR * 26).await;
    store.tidy().await.expect("it is open");
    assert_eq!((facts(1).await, facts(2).await, facts(3).await, facts(4).await), (0, 3, 2, 1));
    assert_eq!(files(folder.path()), 1, "the one of the run that stays");
    assert!(has_taken().await, "that is known longer than the run");
    let keys: Vec<_> = store.kept(Room::Dedup).await.expect("it can be read").into_iter().map(|kept| kept.key).collect();
    assert_eq!(keys, ["long"]);

    clock.advance(HOUR * 40).await;
    store.tidy().await.expect("it is open");
    assert_eq!((facts(2).await, facts(3).await, facts(4).await), (0, 2, 1));
    assert!(!has_taken().await);
    assert_eq!(files(folder.path()), 0);
}

#[tokio::test]
async fn what_comes_for_a_run_that_was_removed_begins_no_half_history() {
    let folder = tempfile::tempdir().expect("a folder");
    let clock = virtual_clock();
    let retention = Retention { ended_for: HOUR, ..Retention::default() };
    let store = open_at(folder.path(), &clock, Options { retention, ..quick() });
    store.commit(batch(1, 0, vec![Fact::Began(Arc::new(began(1, None))), ended_at(0)])).await.expect("it follows");
    // The run of the last row is never removed.
    store.commit(batch(2, 0, vec![filler("x")])).await.expect("it follows");
    // Whoever answers has looked before it goes.
    let seen = store.facts(run(1)).await.expect("it can be read").len() as u64;
    clock.advance(HOUR * 2).await;
    store.tidy().await.expect("it is open");
    let (event, reason) = (Arc::new(conformance::event(5)), RefusedAnswer::Late);
    let refused = Fact::AnswerRefused { lane: LaneId(0), step: StepNumber(0), event, reason };
    for durable in [true, false] {
        let late = Batch { durable, ..batch(1, seen, vec![refused.clone()]) };
        assert_eq!(store.commit(late).await, Err(StoreError::OutOfOrder { run: run(1), expected: 0, found: seen }));
    }
    assert!(store.facts(run(1)).await.expect("it can be read").is_empty());
    assert_eq!(store.runs(RunQuery { run: Some(run(1)), ..RunQuery::default() }).await, Ok(Vec::new()));
}

#[tokio::test]
async fn no_more_ended_runs_are_kept_than_there_may_be() {
    let folder = tempfile::tempdir().expect("a folder");
    let retention = Retention { ended_runs: 10, ..Retention::default() };
    let store = open(folder.path(), Options { retention, ..quick() });
    for number in 1..=200 {
        let end = Fact::Ended { outcome: RunOutcome::Succeeded, at: Timestamp::from_nanos(u64::try_from(number).expect("it is small")) };
        store.commit(batch(number, 0, vec![filler("x"), end])).await.expect("it follows");
    }
    store.tidy().await.expect("it is open");
    assert_eq!(ask::<i64>(folder.path(), "SELECT count(*) FROM runs"), 10);
    assert_eq!(ask::<i64>(folder.path(), "SELECT count(*) FROM journal"), 10);
    assert_eq!(store.facts(run(200)).await.expect("it can be read").len(), 2, "the newest stay");
    store.commit(batch(201, 0, vec![filler("x")])).await.expect("it follows");
}

#[tokio::test]
async fn conforms_where_there_is_too_much_and_where_time_passes() {
    let folders = [(); 3].map(|()| tempfile::tempdir().expect("a folder"));
    let retention = Retention { ended_runs: 3, ..Retention::default() };
    let store = open(folders[0].path(), Options { retention, ..quick() });
    conformance::forgets_ended_runs_but_none_that_owes_something(&store, async || store.tidy().await.expect("it is open")).await;

    let clock = virtual_clock();
    let store = open_at(folders[1].path(), &clock, quick());
    let pass = async |time| {
        clock.advance(time).await;
        store.tidy().await.expect("it is open");
    };
    conformance::knows_events_for_seven_days(&store, pass).await;

    let store = open_at(folders[2].path(), &clock, quick());
    store.0.pages.store(200, Ordering::Relaxed);
    let make_room = async || {
        store.0.pages.store(0, Ordering::Relaxed);
        while store.health() != Health::Good {
            until(|| clock.sleepers() > 0 || store.health() == Health::Good).await;
            clock.advance(Duration::from_secs(1)).await;
        }
    };
    conformance::takes_nothing_new_without_room(&store, make_room).await;
}

#[tokio::test]
async fn an_event_stays_while_a_run_may_wait_for_it_or_somebody_has_not_taken_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(folder.path(), quick());
    store.commit(batch(1, 0, vec![Fact::Began(Arc::new(began(1, None)))])).await.expect("it follows");
    let events = [5, 6].map(conformance::event);
    let emitted = Fact::Emitted { lane: LaneId(0), step: StepNumber(0), events: events.to_vec() };
    store.commit(batch(2, 0, vec![emitted, ended()])).await.expect("it follows");
    store.published(vec![events[0].id]);
    let known = async || store.pending().await.expect("it can be read").events.into_iter().map(|known| known.event.id).collect::<Vec<_>>();
    store.tidy().await.expect("it is open");
    assert_eq!(known().await, [events[0].id, events[1].id]);
    store.commit(batch(1, 1, vec![ended()])).await.expect("it follows");
    store.tidy().await.expect("it is open");
    assert_eq!(known().await, [events[1].id]);
}

#[tokio::test]
async fn a_bundle_goes_with_its_last_run_unless_this_host_was_given_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let bundle = |name: &str| {
        let files = vec![("p.wasm".into(), Arc::from(name.repeat(100_000).into_bytes()))];
        let revision = Digest::of(name.as_bytes());
        Write::Bundle(Arc::new(Bundle { format: bundle::FORMAT, revision, pipeline: "p".into(), file: "p.yaml".into(), files }))
    };
    let clock = virtual_clock();
    let retention = Retention { ended_for: HOUR, ..Retention::default() };
    let options = Options { retention, ..quick() };
    let store = open_at(folder.path(), &clock, options);
    for (number, name) in [(1_u128, "p"), (2, "q"), (3, "r")] {
        let beginning = Fact::Began(Arc::new(Beginning { revision: Digest::of(name.as_bytes()), ..began(number, None) }));
        let facts = if number < 3 { vec![beginning, ended_at(0)] } else { vec![beginning] };
        store.commit(Batch { writes: vec![bundle(name)], ..batch(number, 0, facts) }).await.expect("it follows");
    }
    clock.advance(HOUR * 2).await;
    let known = async |store: &SqliteStore| {
        let mut known = Vec::new();
        for name in ["p", "q", "r"] {
            known.push(store.bundle(Digest::of(name.as_bytes())).await.expect("it can be read").is_some());
        }
        known
    };
    store.tidy().await.expect("it is open");
    assert_eq!(known(&store).await, [true, true, true], "this host may begin another run of it without giving it again");
    drop(store);
    let store = open_at(folder.path(), &clock, options);
    store.write(vec![bundle("q")]).await.expect("taken");
    store.tidy().await.expect("it is open");
    assert_eq!(known(&store).await, [false, true, true]);
    assert_eq!(files(folder.path()), 2);
}

/// Lets other threads go on until something holds.
async fn until(holds: impl Fn() -> bool) {
    while !holds() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_full_disk_holds_what_goes_on_refuses_what_is_new_and_passes() {
    let folder = tempfile::tempdir().expect("a folder");
    let clock = virtual_clock();
    let store = open_at(folder.path(), &clock, Options { ballast: 100_000, ..quick() });
    store.commit(batch(1, 0, vec![filler("x")])).await.expect("it follows");
    let ballast = folder.path().join("ballast");
    assert!(ballast.exists());
    store.0.pages.store(1, Ordering::Relaxed);
    let held = store.commit(batch(1, 1, vec![filler(&"x".repeat(60_000)), filler(&"y".repeat(4_000))]));
    until(|| matches!(store.health(), Health::Full(_))).await;
    assert!(matches!(store.commit(batch(2, 0, vec![filler("x")])).await, Err(StoreError::Full(_))));
    until(|| !ballast.exists()).await;
    let also = store.commit(batch(1, 3, vec![filler("z")]));
    until(|| clock.sleepers() > 0).await;
    // Time passes, and there is no room yet.
    clock.advance(Duration::from_secs(1)).await;
    until(|| clock.sleepers() > 0).await;
    store.0.pages.store(0, Ordering::Relaxed);
    clock.advance(Duration::from_secs(1)).await;
    assert_eq!((held.await, also.await), (Ok(()), Ok(())), "nothing is lost, and nothing fails");
    until(|| clock.sleepers() > 0).await;
    clock.advance(Duration::from_secs(1)).await;
    until(|| store.health() == Health::Good).await;
    assert!(ballast.exists());
    store.commit(batch(2, 0, vec![filler("x")])).await.expect("there is room again");
    assert_eq!(store.facts(run(1)).await.expect("it can be read").len(), 4);
}

#[tokio::test]
async fn a_full_store_that_is_closed_says_what_it_could_not_write() {
    let folder = tempfile::tempdir().expect("a folder");
    let clock = virtual_clock();
    let store = open_at(folder.path(), &clock, quick());
    store.commit(batch(1, 0, vec![filler("x")])).await.expect("it follows");
    store.0.pages.store(1, Ordering::Relaxed);
    let held = store.commit(batch(1, 1, vec![filler(&"x".repeat(60_000))]));
    until(|| matches!(store.health(), Health::Full(_))).await;
    store.close();
    assert!(matches!(held.await, Err(StoreError::Full(_))));
    drop(store);
    assert_eq!(open(folder.path(), quick()).facts(run(1)).await.expect("it can be read").len(), 1);
}

#[tokio::test]
async fn what_somebody_else_holds_for_a_while_is_read_once_it_is_free_and_what_is_held_for_good_is_said() {
    let folder = tempfile::tempdir().expect("a folder");
    let clock = virtual_clock();
    let store = open_at(folder.path(), &clock, quick());
    let held = rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY), None);
    let held = connection::unread(&held);
    assert!(matches!(held, StoreError::Busy(_)), "{held:?}");
    for (times, comes) in [(4, Ok(7)), (u32::MAX, Err(held.clone()))] {
        let tries = Arc::new(std::sync::atomic::AtomicU32::new(0));
        let (count, held) = (Arc::clone(&tries), held.clone());
        let began = clock.now();
        let work = store.0.readers.read(move |_, _, _| if count.fetch_add(1, Ordering::Relaxed) < times { Err(held) } else { Ok(7) });
        let answer = tokio::spawn(work);
        while !answer.is_finished() {
            until(|| clock.sleepers() > 0 || answer.is_finished()).await;
            clock.advance(Duration::from_millis(100)).await;
        }
        assert_eq!(answer.await.expect("no panic"), comes);
        let took = clock.now().since(began);
        match comes {
            Ok(_) => assert_eq!(tries.load(Ordering::Relaxed), 5, "after {took:?}"),
            Err(_) => assert!(took >= Duration::from_secs(60) && took < Duration::from_secs(70), "after {took:?}"),
        }
    }
}
