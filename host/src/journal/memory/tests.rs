//! What the memory store bounds and forgets; what every store does is in the conformance suite.

use uuid::Uuid;

use super::*;
use crate::clock::{Activity, VirtualClock};
use crate::journal::conformance::{self, ended, filler};
use crate::model::record::{LaneId, StepNumber};

fn run(number: u128) -> RunId {
    RunId::new(Uuid::from_u128(number))
}

async fn put(store: &MemoryStore, number: u128, first: u64, facts: Vec<Fact>) -> Result<(), StoreError> {
    store.commit(Batch::of(run(number), first, Arc::new(facts))).await
}

#[tokio::test]
async fn conforms() {
    conformance::all(|| Arc::new(MemoryStore::new())).await;
    let store = MemoryStore::new();
    conformance::survives(|| {
        store.restart();
        Arc::new(store.clone())
    })
    .await;
}

#[tokio::test]
async fn conforms_as_time_passes() {
    let clock = VirtualClock::new(Activity::new());
    let store = MemoryStore::timed(Arc::new(clock.clone()));
    conformance::knows_events_for_seven_days(&store, async |time| clock.advance(time).await).await;
    // What has been taken once more since is known from then on.
    let first = |number: u128| conformance::began(number, Some(conformance::event(5)));
    let again = Beginning { at: clock.now(), ..first(7) };
    put(&store, 7, 0, vec![Fact::Began(Arc::new(again))]).await.expect("in order");
    let key = InboxKey { pipeline: "p".into(), flow: "main".into(), event: conformance::event(5).id };
    assert_eq!(store.has_taken(key).await, Ok(true));
    assert_eq!(store.kept().inbox.count(), (1, 1));
}

#[tokio::test]
async fn a_restart_counts_what_goes_with_it() {
    let store = MemoryStore::new();
    for (number, durable) in [(1, true), (2, false), (3, false)] {
        let facts = Arc::new(vec![filler("x")]);
        store.commit(Batch { durable, ..Batch::of(run(number), 0, facts) }).await.expect("in order");
    }
    store.commit(Batch { durable: false, ..Batch::of(run(3), 1, Arc::new(vec![ended()])) }).await.expect("in order");
    store.restart();
    assert_eq!(store.count(), (1, 0));
    let kept = store.kept();
    assert_eq!((kept.ended_bytes, Some(kept.live_bytes)), (0, kept.runs.get(&run(1)).map(|history| history.bytes)));
}

#[tokio::test]
async fn conforms_where_there_is_too_much() {
    let store = MemoryStore::with_bounds(Bounds { ended_runs: 3, ..Bounds::default() });
    conformance::forgets_ended_runs_but_none_that_owes_something(&store, async || {}).await;
    let store = MemoryStore::with_bounds(Bounds { live_bytes: 500_000, ..Bounds::default() });
    conformance::takes_nothing_new_without_room(&store, async || {}).await;
}

#[tokio::test]
async fn the_last_ended_runs_are_kept_and_all_that_go_on() {
    let store = MemoryStore::with_bounds(Bounds { ended_runs: 2, ..Bounds::default() });
    for number in 0..5 {
        put(&store, number, 0, vec![filler("x")]).await.expect("in order");
    }
    for number in 0..4 {
        put(&store, number, 1, vec![ended()]).await.expect("in order");
    }
    assert_eq!(store.count(), (3, 2));
    let known: Vec<_> = futures_util::future::join_all((0..5).map(|number| store.facts(run(number)))).await;
    let lengths: Vec<_> = known.into_iter().map(|facts| facts.expect("never broken").len()).collect();
    assert_eq!(lengths, [0, 0, 2, 2, 1]);
}

#[tokio::test]
async fn nothing_is_kept_of_a_run_that_begins_and_ends_at_once_and_does_not_outlive_the_host() {
    let store = MemoryStore::new();
    let event = conformance::event(5);
    let key = InboxKey { pipeline: "p".into(), flow: "main".into(), event: event.id };
    let began = Fact::Began(Arc::new(conformance::began(1, Some(event))));
    let whole = |number, durable| Batch { durable, ..Batch::of(run(number), 0, Arc::new(vec![began.clone(), ended()])) };
    store.commit(whole(1, false)).await.expect("in order");
    assert_eq!(store.count(), (0, 0));
    assert_eq!(store.has_taken(key).await, Ok(true), "by which event it was begun is known");
    let told = Fact::Emitted { lane: LaneId(0), step: StepNumber(0), events: vec![conformance::event(6)] };
    let telling = Batch { durable: false, ..Batch::of(run(2), 0, Arc::new(vec![filler("x"), told, ended()])) };
    store.commit(telling).await.expect("in order");
    store.commit(whole(3, true)).await.expect("in order");
    assert_eq!(store.count(), (2, 2), "who has told something may have to tell it again, and who outlives the host is asked for after it");
    let again = store.commit(whole(3, false)).await;
    assert_eq!(again, Err(StoreError::OutOfOrder { run: run(3), expected: 2, found: 0 }));
}

#[tokio::test]
async fn ended_runs_go_when_they_hold_too_much() {
    let store = MemoryStore::with_bounds(Bounds { ended_bytes: 10_000, ..Bounds::default() });
    for number in 0..10 {
        put(&store, number, 0, vec![filler(&"x".repeat(4_000)), ended()]).await.expect("in order");
    }
    assert_eq!(store.count(), (2, 2));
    put(&store, 99, 0, vec![filler(&"x".repeat(40_000)), ended()]).await.expect("in order");
    assert_eq!(store.count(), (0, 0), "one that is too large alone is not kept");
    let kept = store.kept();
    assert_eq!((kept.ended_bytes, kept.live_bytes), (0, 0));
}

#[tokio::test]
async fn too_much_of_what_goes_on_is_refused_and_an_end_makes_room() {
    let store = MemoryStore::with_bounds(Bounds { live_bytes: 5_000, ..Bounds::default() });
    put(&store, 1, 0, vec![filler(&"x".repeat(4_000))]).await.expect("it fits");
    let full = put(&store, 2, 0, vec![filler(&"x".repeat(4_000))]).await;
    assert!(matches!(full, Err(StoreError::Full(_))));
    assert!(store.facts(run(2)).await.expect("never broken").is_empty(), "all or none");
    put(&store, 1, 1, vec![ended()]).await.expect("an end is taken");
    put(&store, 2, 0, vec![filler(&"x".repeat(4_000))]).await.expect("now it fits");
    let kept = store.kept();
    assert_eq!(Some(kept.live_bytes), kept.runs.get(&run(2)).map(|history| history.bytes));
}
