//! What every store must do about what is old, about too little room, and about a second host: the parts of the suite for which a store has to be
//! made in a special way, which its own tests do.

use std::time::Duration;

use super::{Arc, Batch, Fact, Kept, Room, RunOutcome, Store, StoreError, Write};
use super::{batch, began, ended, event, filler, first, pending, run, texts};
use crate::model::record::InboxKey;
use crate::model::time::Timestamp;
use crate::model::value::Value;

/// A run of that number that ends as it begins, at that time.
fn ends(number: u128, at: u64) -> Batch {
    let end = Fact::Ended { outcome: RunOutcome::Succeeded, at: Timestamp::from_nanos(at) };
    Batch::of(run(number), 0, Arc::new(vec![Fact::Began(Arc::new(began(number, None))), end]))
}

async fn is_known(store: &dyn Store, number: u128) -> bool {
    !store.facts(run(number)).await.expect("the store is not broken").is_empty()
}

async fn known(store: &dyn Store, numbers: std::ops::RangeInclusive<u128>) -> Vec<u128> {
    let mut known = Vec::new();
    for number in numbers {
        if is_known(store, number).await {
            known.push(number);
        }
    }
    known
}

/// What ended goes, the first first; what is owed stays. The store keeps three runs that have ended; `tidy` has it look after what is old.
pub(in crate::journal) async fn forgets_ended_runs_but_none_that_owes_something(store: &dyn Store, tidy: impl AsyncFn()) {
    let parked = RunOutcome::Parked { because: Box::new(RunOutcome::Succeeded), left: Vec::new() };
    let parked = Fact::Ended { outcome: parked, at: Timestamp::from_nanos(1) };
    store.commit(Batch::of(run(1), 0, Arc::new(vec![Fact::Began(Arc::new(began(1, None))), parked]))).await.expect("it follows");
    let letter = |key: String| Kept { room: Room::DeadLetter, owner: "p.main".to_owned(), key, value: Value::null(), until: None };
    let named = run(2).to_string();
    store.commit(Batch { writes: vec![Write::Keep(letter(named.clone()))], ..ends(2, 2) }).await.expect("it follows");
    for number in 3..=12 {
        store.commit(ends(number, u64::try_from(number).expect("it is small"))).await.expect("it follows");
    }
    store.commit(first(began(13, None))).await.expect("it follows");
    tidy().await;
    // The third that is kept is the one that the dead letter names.
    assert_eq!(known(store, 1..=13).await, [1, 2, 11, 12, 13]);
    assert_eq!(pending(store).await.runs, [run(13)]);

    // Once somebody has decided, they go as all others.
    let (resumed, end) =
        (Fact::Resumed { at: Timestamp::EPOCH }, Fact::Ended { outcome: RunOutcome::Succeeded, at: Timestamp::from_nanos(14) });
    store.commit(Batch::of(run(1), 2, Arc::new(vec![resumed, end]))).await.expect("it follows");
    store.write(vec![Write::Forget { room: Room::DeadLetter, owner: "p.main".to_owned(), key: Some(named) }]).await.expect("taken");
    for number in 20..=24 {
        store.commit(ends(number, u64::try_from(number).expect("it is small"))).await.expect("it follows");
    }
    store.commit(batch(13, 1, &["x"])).await.expect("it follows");
    tidy().await;
    assert_eq!(known(store, 1..=24).await, [13, 22, 23, 24]);
}

/// By which event a flow was begun is known for seven days, however long ago its run has gone. `pass` has the store look after what is old when
/// so much more time has passed.
pub(in crate::journal) async fn knows_events_for_seven_days(store: &dyn Store, pass: impl AsyncFn(Duration)) {
    const HOUR: Duration = Duration::from_secs(3_600);
    store.commit(first(began(1, Some(event(5))))).await.expect("it follows");
    store.commit(Batch::of(run(1), 1, Arc::new(vec![ended()]))).await.expect("it follows");
    store.commit(first(began(2, None))).await.expect("it follows");
    let has_taken = async || {
        let key = InboxKey { pipeline: "p".into(), flow: "main".into(), event: event(5).id };
        store.has_taken(key).await.expect("the store is not broken")
    };
    pass(HOUR * (7 * 24 - 1)).await;
    assert!(has_taken().await, "what is told twice within seven days is taken once");
    pass(HOUR * 2).await;
    assert!(!has_taken().await, "nothing is kept for ever");
}

/// A store without room refuses what is new and changes nothing by it; what was acknowledged stays, and what goes on ends. The store has room for some
/// runs of 60,000 bytes and not for a hundred; `make_room` gives it more, if an end does not make room by itself.
pub(in crate::journal) async fn takes_nothing_new_without_room(store: &dyn Store, make_room: impl AsyncFn()) {
    let large = "x".repeat(60_000);
    store.commit(batch(1, 0, &[&large])).await.expect("it follows");
    let mut refused = None;
    for number in 2..100 {
        match store.commit(batch(number, 0, &[&large])).await {
            Ok(()) => {}
            Err(error) => {
                refused = Some((number, error));
                break;
            }
        }
    }
    let Some((number, StoreError::Full(why))) = refused else { panic!("a full store says that it is full: {refused:?}") };
    assert!(!why.is_empty());
    assert!(texts(store, number).await.is_empty(), "all of it or nothing");
    for number in 1..number {
        assert_eq!(texts(store, number).await, [large.as_str()], "what was acknowledged is there");
    }
    let end = store.commit(Batch::of(run(1), 1, Arc::new(vec![ended()])));
    make_room().await;
    end.await.expect("what goes on may end");
    store.commit(Batch::of(run(number), 0, Arc::new(vec![filler(&large)]))).await.expect("there is room again");
}

/// Of two hosts that have a store open the later one writes; `open` opens the same store again, while others have it open.
pub(in crate::journal) async fn fences_off_an_earlier_host<S: Store + 'static>(open: impl Fn() -> Arc<S>) {
    let old = open();
    old.commit(first(began(1, None))).await.expect("it follows");
    old.commit(first(began(2, None))).await.expect("it follows");
    let new = open();
    let of_a_run = old.commit(batch(1, 1, &["of the old one"])).await;
    assert!(matches!(of_a_run, Err(StoreError::Fenced { .. } | StoreError::Broken(_))), "{of_a_run:?}");
    let keep = Kept { room: Room::State, owner: "p".to_owned(), key: "k".to_owned(), value: Value::null(), until: None };
    assert!(old.write(vec![Write::Keep(keep)]).await.is_err());
    assert!(old.commit(first(began(3, None))).await.is_err(), "nor does it begin a run");
    assert!(old.claim(run(2)).await.is_err());
    assert_eq!(new.claim(run(1)).await, Ok(1));
    new.commit(batch(1, 1, &["of the new one"])).await.expect("it follows");
    assert_eq!(texts(&*new, 1).await, ["", "of the new one"]);
    assert_eq!((is_known(&*new, 3).await, new.kept(Room::State).await), (false, Ok(Vec::new())));
    assert_eq!(pending(&*new).await.runs, [run(2), run(1)]);
}
