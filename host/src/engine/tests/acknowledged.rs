//! What comes from outside is acknowledged once it cannot be lost any more: hosts that end in between.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt;

use super::meeting::{World, answer, flow, listening_flow, plan, text, wait, work};
use super::{Scripted, scripted};
use crate::engine::{Emitted, Outside};
use crate::journal::memory::MemoryStore;
use crate::model::activation::RunOutcome;
use crate::model::event::Caller;
use crate::model::failure::{Failure, FailureKind};
use crate::model::id::EventType;
use crate::model::job::CancelReason;
use crate::model::port::{Commit, RunQuery, RunRecord, Store, StoreError, forward_store};
use crate::model::record::{Batch, Fact, Kept, Room, Write};
use crate::model::size;
use crate::model::value::Value;
use crate::plan::pipeline::{Concurrency, EventMode, Idempotency, Pipeline, Trigger, Verb};

/// A store whose host has ended, for all that it hears: what it is given of runs, or beside them, is not kept and never answered. Or it is full.
#[derive(Default)]
struct Cut {
    inner: MemoryStore,
    no_commits: AtomicBool,
    no_writes: AtomicBool,
    full: AtomicBool,
}

impl Store for Cut {
    fn commit(&self, batch: Batch) -> Commit {
        match self.no_commits.load(Ordering::SeqCst) {
            true => Box::pin(std::future::pending()),
            false => self.inner.commit(batch),
        }
    }

    fn write(&self, writes: Vec<Write>) -> Commit {
        if self.full.load(Ordering::SeqCst) {
            return Box::pin(std::future::ready(Err(StoreError::Full("the disk has no room".to_owned()))));
        }
        match self.no_writes.load(Ordering::SeqCst) {
            true => Box::pin(std::future::pending()),
            false => self.inner.write(writes),
        }
    }

    forward_store!(inner: facts, published);
}

fn succeeds() -> Arc<Scripted> {
    scripted(|_, _| async { Ok(Value::string("ok")) }.boxed())
}

/// A flow that hears `Answer`.
fn hearing(verbs: Vec<(&str, Verb)>) -> Pipeline {
    let mut pipeline = plan(vec![flow("hears", verbs)]);
    let hears = pipeline.flows.first_mut().and_then(Arc::get_mut).expect("nobody else has it");
    hears.triggers = vec![Trigger::Event { types: vec!["Answer".into()], mode: EventMode::Direct }];
    pipeline
}

pub(super) fn outside() -> Outside {
    let caller = Caller { id: Some("ada".to_owned()), roles: Vec::new() };
    Outside { pipeline: "p".into(), event_type: EventType::new("Answer"), data: answer(7), caller, correlation_id: None }
}

async fn runs(store: &MemoryStore) -> Vec<RunRecord> {
    store.runs(RunQuery::default()).await.expect("never broken")
}

#[tokio::test]
async fn an_event_is_acknowledged_once_it_is_recorded_and_starts_its_flow_whatever_ends_the_host() {
    let (store, pipeline) = (Arc::new(Cut::default()), Arc::new(hearing(vec![("w", work())])));
    let first = World::on(store.clone(), Arc::clone(&pipeline), &succeeds(), 1);
    store.no_commits.store(true, Ordering::SeqCst);
    let Emitted { refused, .. } = first.engine.emit(outside()).await.expect("it is taken in");
    assert!(refused.is_empty());
    assert!(runs(&store.inner).await.is_empty(), "the host ends before the flow's run is kept");
    drop(first);
    for seed in [2, 3] {
        let next = World::on(Arc::new(store.inner.clone()), Arc::clone(&pipeline), &succeeds(), seed);
        next.clock.advance(Duration::from_secs(seed)).await;
        next.engine.recover().await.expect("the store is good");
        next.clock.settle().await;
        let runs = runs(&store.inner).await;
        let ends: Vec<_> = runs.iter().map(|run| run.ended.as_ref().map(|(_, outcome)| outcome.as_str())).collect();
        assert_eq!(ends, [Some("succeeded")], "once, however often hosts start");
        next.engine.stop(CancelReason::Shutdown).await;
    }
}

#[tokio::test]
async fn an_event_that_is_not_recorded_is_not_acknowledged_and_nobody_hears_it() {
    let (store, pipeline) = (Arc::new(Cut::default()), Arc::new(hearing(vec![("w", work())])));
    let world = World::on(store.clone(), pipeline, &succeeds(), 1);
    store.no_writes.store(true, Ordering::SeqCst);
    let mut emitted = std::pin::pin!(world.engine.emit(outside()));
    for _ in 0..20 {
        assert!(emitted.as_mut().now_or_never().is_none());
        tokio::task::yield_now().await;
    }
    assert_eq!((world.diary.count("event Answer"), runs(&store.inner).await.len()), (0, 0));
}

#[tokio::test]
async fn a_full_store_refuses_an_event_and_one_that_nobody_hears_needs_no_room() {
    let store = Arc::new(Cut { full: AtomicBool::new(true), ..Cut::default() });
    let world = World::on(store.clone(), Arc::new(hearing(vec![("w", work())])), &succeeds(), 1);
    let failure = world.engine.emit(outside()).await.expect_err("there is no room");
    assert_eq!(failure.code.as_deref(), Some("E0750"));
    assert_eq!(world.diary.count("event Answer"), 0);
    let deaf = World::on(store, Arc::new(plan(vec![flow("main", vec![("w", work())])])), &succeeds(), 1);
    deaf.engine.emit(outside()).await.expect("nobody can lose it");
}

/// A store in which little has room: 8,000 bytes of a fact, or of what is kept in a room.
#[derive(Default)]
pub(super) struct Narrow(MemoryStore);

impl Narrow {
    fn checked(bytes: u64, give: impl FnOnce() -> Commit) -> Commit {
        let most = 8_000;
        if bytes > most { Box::pin(std::future::ready(Err(StoreError::TooLarge { bytes, most }))) } else { give() }
    }
}

impl Store for Narrow {
    fn commit(&self, batch: Batch) -> Commit {
        let bytes = batch.facts.iter().map(size::of).max().unwrap_or_default();
        Self::checked(bytes, || self.0.commit(batch))
    }

    fn write(&self, writes: Vec<Write>) -> Commit {
        let of_room = |write: &Write| match write {
            Write::Keep(kept) => size::of(&kept.value),
            _ => 0,
        };
        Self::checked(writes.iter().map(of_room).max().unwrap_or_default(), || self.0.write(writes))
    }

    forward_store!(0: facts, published);
}

/// Long enough for whatever may happen while somebody is at work and no time passes.
pub(super) async fn a_while() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
}

fn hangs() -> Arc<Scripted> {
    scripted(|_, _| std::future::pending().boxed())
}

#[tokio::test]
async fn an_event_whose_run_is_too_large_to_begin_is_a_dead_letter_and_is_not_told_again() {
    // A run holds its event twice, as what started it and as its input; of the larger one not even the letter has room for it.
    for (bytes, is_in_letter) in [(5_000, true), (7_900, false)] {
        for waits_at_the_door in [false, true] {
            let mut pipeline = hearing(vec![("w", work())]);
            let hears = pipeline.flows.first_mut().and_then(Arc::get_mut).expect("nobody else has it");
            hears.concurrency = Concurrency { max_concurrent: 1, ..Concurrency::default() };
            let (store, pipeline, open) = (Arc::new(Narrow::default()), Arc::new(pipeline), usize::from(waits_at_the_door));
            let first = World::on(store.clone(), Arc::clone(&pipeline), &hangs(), 1);
            if waits_at_the_door {
                first.engine.emit(outside()).await.expect("it is taken in");
                a_while().await;
            }
            let large = Outside { data: Value::map([("text", Value::string("x".repeat(bytes)))]), ..outside() };
            first.engine.emit(large).await.expect("it is taken in");
            a_while().await;
            assert_eq!(first.diary.count("run failed"), 1, "whoever watches hears of it");
            let letters = first.engine.dead_letters().await.expect("the store is good");
            let [letter] = &letters[..] else { panic!("{} letters of {bytes} bytes, {waits_at_the_door}", letters.len()) };
            let failure = letter.failure.as_ref().expect("it says why");
            assert_eq!((letter.owner.as_str(), failure.code.as_deref()), ("p.hears", Some("E0752")), "{failure:?}");
            assert_eq!(letter.event.is_some(), is_in_letter);
            assert_eq!(first.engine.views().await.len(), open, "it does not wait at the door either");
            first.engine.stop(CancelReason::Shutdown).await;
            let second = World::on(store, pipeline, &hangs(), 2);
            second.engine.recover().await.expect("the store is good");
            a_while().await;
            assert_eq!((second.diary.count("run failed"), second.engine.views().await.len()), (0, open), "it is not told again");
        }
    }
}

#[tokio::test]
async fn an_answer_that_comes_before_its_wait_begins_is_there_for_it_after_a_restart() {
    let (mut main, on_timeout, reminder) = listening_flow("main");
    let nap = main.step("nap", Verb::Sleep(text("1h")));
    let approval = main.step("approval", wait(None, on_timeout, reminder));
    main.blocks[0] = vec![nap, approval];
    let (store, pipeline) = (MemoryStore::new(), Arc::new(plan(vec![main])));
    let first = World::on(Arc::new(store.clone()), Arc::clone(&pipeline), &succeeds(), 1);
    let (run, _) = first.ask("main").await;
    first.clock.advance(Duration::from_secs(1)).await;
    let caller = Caller { id: Some("ada".to_owned()), roles: Vec::new() };
    let kept = first.engine.signal(run, EventType::new("Answer"), answer(7), caller).await.expect("it is taken in");
    first.engine.stop(CancelReason::Shutdown).await;
    drop(first);
    let second = World::on(Arc::new(store.clone()), pipeline, &succeeds(), 2);
    second.clock.advance(Duration::from_secs(2)).await;
    second.engine.recover().await.expect("the store is good");
    second.clock.advance(Duration::from_secs(3_600)).await;
    let facts = store.facts(run).await.expect("never broken");
    let took = |fact: &Fact| matches!(fact, Fact::WaitEnded { event: Some(event), .. } if event.id == kept.id);
    assert!(facts.iter().any(took), "{facts:?}");
}

#[tokio::test]
async fn an_event_that_is_replayed_is_recorded_with_the_end_of_its_letter() {
    let (store, pipeline) = (Arc::new(Cut::default()), Arc::new(hearing(vec![("w", work())])));
    let first = World::on(store.clone(), Arc::clone(&pipeline), &succeeds(), 1);
    let emitted = first.engine.emit(outside()).await.expect("it is taken in");
    first.clock.settle().await;
    let [run] = &runs(&store.inner).await[..] else { panic!("the flow has heard it") };
    let Some(Fact::Began(beginning)) = store.inner.facts(run.run).await.expect("never broken").first().cloned() else {
        panic!("it has begun")
    };
    let event = beginning.event.clone().expect("an event has started it");
    drop(first);
    // As the relay writes it of an event that nobody took; the new store knows of no flow that did.
    let store = Arc::new(Cut::default());
    let letter = serde_json::json!({ "cause": "not_published", "failure": null, "at": event.time, "run": null, "event": event });
    let value = Value::from_text(letter.to_string()).expect("JSON");
    let letter = Kept { room: Room::DeadLetter, owner: "p".to_owned(), key: emitted.id.to_string(), value, until: None };
    store.inner.write(vec![Write::Keep(letter)]).await.expect("never broken");
    let second = World::on(store.clone(), Arc::clone(&pipeline), &succeeds(), 2);
    second.engine.recover().await.expect("the store is good");
    store.no_commits.store(true, Ordering::SeqCst);
    assert_eq!(second.engine.replay(&emitted.id.to_string()).await, Ok(None));
    assert!(runs(&store.inner).await.is_empty() && second.engine.dead_letters().await.expect("never broken").is_empty());
    drop(second);
    let third = World::on(Arc::new(store.inner.clone()), pipeline, &succeeds(), 3);
    third.clock.advance(Duration::from_secs(3)).await;
    third.engine.recover().await.expect("the store is good");
    third.clock.settle().await;
    assert_eq!(runs(&store.inner).await.len(), 1, "it was on its way, and arrives");
}

#[tokio::test]
async fn a_run_that_an_event_started_and_that_fails_is_a_dead_letter_whoever_repeats_its_request() {
    let fails = scripted(|_, _| async { Err(Failure::new(FailureKind::Permanent, "out of order")) }.boxed());
    let mut pipeline = hearing(vec![("w", work())]);
    let hears = pipeline.flows.first_mut().and_then(Arc::get_mut).expect("nobody else has it");
    hears.idempotency = Some(Idempotency { key: text("order-1"), retention: Duration::from_secs(60) });
    let store = MemoryStore::new();
    let world = World::on(Arc::new(store.clone()), Arc::new(pipeline), &fails, 1);
    world.engine.emit(outside()).await.expect("it is taken in");
    world.clock.settle().await;
    let letters = world.engine.dead_letters().await.expect("never broken");
    let [letter] = &letters[..] else { panic!("it is there: {letters:?}") };
    assert_eq!((letter.owner.as_str(), letter.cause.as_str()), ("p.hears", "failed"));
    assert_eq!(letter.failure.as_ref().map(|failure| failure.message.as_str()), Some("out of order"));
    let facts = store.facts(letter.run.expect("a run")).await.expect("never broken");
    assert!(matches!(facts.last(), Some(Fact::Ended { outcome: RunOutcome::Failed { .. }, .. })), "with its history");
}
