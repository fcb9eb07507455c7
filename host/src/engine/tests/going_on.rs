//! What is acknowledged is recorded, stopping is no end, and what cannot go on is stalled until it can.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::Notify;

use super::meeting::{World, answer, flow, listening_flow, plan, text, wait, work};
use super::{Asker, Scripted, gated, scripted};
use crate::engine::{Recovered, RunStatus};
use crate::journal::memory::MemoryStore;
use crate::model::activation::{Activation, Admission, Requester, RunOutcome};
use crate::model::bundle::Bundle;
use crate::model::event::Caller;
use crate::model::failure::Failure;
use crate::model::id::{Digest, RunId};
use crate::model::job::CancelReason;
use crate::model::port::{Activate, Clock, Commit, Executor, RunQuery, Store, StoreError, forward_store};
use crate::model::record::{Batch, Fact};
use crate::model::value::Value;
use crate::plan::pipeline::{Concurrency, EventMode, Pipeline, Trigger, Verb, WhenFull};
use crate::plan::template::Template;
use crate::plan::{Bound, Install, Rebuild};

fn hangs() -> Arc<Scripted> {
    scripted(|_, _| std::future::pending().boxed())
}

fn succeeds() -> Arc<Scripted> {
    scripted(|_, _| async { Ok(Value::string("ok")) }.boxed())
}

fn works() -> Pipeline {
    plan(vec![flow("main", vec![("w", work()), ("reply", Verb::Reply(text("done")))])])
}

fn one_at_a_time(when_full: WhenFull) -> Pipeline {
    let mut pipeline = works();
    let main = pipeline.flows.first_mut().and_then(Arc::get_mut).expect("nobody else has it");
    main.concurrency = Concurrency { max_concurrent: 1, when_full, ..Concurrency::default() };
    pipeline
}

fn activation() -> Activation {
    let asker = Arc::new(Asker::default()) as Arc<dyn Requester>;
    Activation { requester: Some(asker), ..Activation::new("p", "main", Value::null()) }
}

/// A run whose host has ended while its first step was at work, and the store that has it.
async fn left_at_work(pipeline: &Arc<Pipeline>) -> (MemoryStore, RunId) {
    let store = MemoryStore::new();
    let first = World::on(Arc::new(store.clone()), Arc::clone(pipeline), &hangs(), 1);
    let (run, _) = first.ask("main").await;
    at_work(&store, run).await;
    (store, run)
}

/// An attempt that hangs counts as work, so that no clock waits for it: the run has come so far.
async fn at_work(store: &MemoryStore, run: RunId) {
    while !store.facts(run).await.expect("never broken").iter().any(|fact| matches!(fact, Fact::AttemptStarted { .. })) {
        tokio::task::yield_now().await;
    }
}

async fn outcome(store: &MemoryStore, run: RunId) -> Option<RunOutcome> {
    match store.facts(run).await.expect("never broken").last() {
        Some(Fact::Ended { outcome, .. }) => Some(outcome.clone()),
        _ => None,
    }
}

/// A store whose disk takes its time, or is full.
#[derive(Default)]
struct Slow {
    inner: MemoryStore,
    open: AtomicBool,
    opened: Arc<Notify>,
    /// So many commits are refused.
    full: AtomicUsize,
}

impl Store for Slow {
    fn commit(&self, batch: Batch) -> Commit {
        if self.full.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
            return Box::pin(std::future::ready(Err(StoreError::Full("no room".to_owned()))));
        }
        let commit = self.inner.commit(batch);
        if self.open.load(Ordering::SeqCst) {
            return commit;
        }
        let opened = Arc::clone(&self.opened);
        Box::pin(async move {
            opened.notified().await;
            opened.notify_one();
            commit.await
        })
    }

    forward_store!(inner: facts, write, published);
}

#[tokio::test]
async fn nobody_hears_that_a_run_started_before_its_beginning_is_kept() {
    let store = Arc::new(Slow::default());
    let world = World::on(Arc::clone(&store) as Arc<dyn Store>, Arc::new(works()), &succeeds(), 1);
    let mut admission = std::pin::pin!(world.engine.activate(activation()));
    for _ in 0..20 {
        assert!(admission.as_mut().now_or_never().is_none());
        tokio::task::yield_now().await;
    }
    store.open.store(true, Ordering::SeqCst);
    store.opened.notify_one();
    assert!(matches!(admission.await, Admission::Started(_)));
    world.clock.settle().await;
    assert!(world.engine.running().is_empty());
}

#[tokio::test]
async fn a_full_store_refuses_a_run_and_leaves_its_place_free() {
    let store = Arc::new(Slow { open: AtomicBool::new(true), full: AtomicUsize::new(1), ..Slow::default() });
    let world = World::on(Arc::clone(&store) as Arc<dyn Store>, Arc::new(one_at_a_time(WhenFull::Reject)), &succeeds(), 1);
    let Admission::Refused(failure) = world.engine.activate(activation()).await else { panic!("there is no room") };
    assert_eq!(failure.code.as_deref(), Some("E0750"));
    assert!(world.engine.running().is_empty());
    assert!(matches!(world.engine.activate(activation()).await, Admission::Started(_)), "the place is free");
}

#[tokio::test]
async fn what_waits_at_the_door_is_recorded_and_starts_in_its_order_after_a_crash() {
    let store = MemoryStore::new();
    let pipeline = Arc::new(one_at_a_time(WhenFull::Queue));
    let first = World::on(Arc::new(store.clone()), Arc::clone(&pipeline), &hangs(), 1);
    let mut runs = Vec::new();
    for _ in 0..3 {
        runs.push(first.ask("main").await.0);
    }
    assert!(matches!(store.facts(runs[1]).await.expect("never broken")[..], [Fact::Queued(_)]));
    let waiting = first.engine.views().await.iter().filter(|view| view.status == RunStatus::Queued).count();
    assert_eq!(waiting, 2);
    drop(first);
    let done: Arc<Mutex<Vec<RunId>>> = Arc::default();
    let order = Arc::clone(&done);
    let executor = scripted(move |job, _| {
        order.lock().unwrap().push(job.run);
        async { Ok(Value::null()) }.boxed()
    });
    let second = World::on(Arc::new(store.clone()), pipeline, &executor, 2);
    let recovered = second.engine.recover().await;
    assert_eq!(recovered, Ok(Recovered { going_on: 1, queued: 2, ..Recovered::default() }));
    second.clock.advance(Duration::from_secs(1)).await;
    assert_eq!(*done.lock().unwrap(), runs);
    for run in runs {
        assert_eq!(outcome(&store, run).await, Some(RunOutcome::Succeeded));
    }
}

#[tokio::test]
async fn one_that_is_replaced_while_it_waits_has_its_end_recorded() {
    let store = MemoryStore::new();
    let world = World::on(Arc::new(store.clone()), Arc::new(one_at_a_time(WhenFull::Coalesce)), &hangs(), 1);
    let mut runs = Vec::new();
    for _ in 0..3 {
        runs.push(world.ask("main").await.0);
    }
    assert_eq!(outcome(&store, runs[1]).await, Some(RunOutcome::Cancelled { reason: CancelReason::Replaced }));
    assert_eq!(store.pending().await.expect("never broken").runs.len(), 2);
}

#[tokio::test]
async fn stopping_leaves_what_is_durable_for_the_next_start_and_cancels_the_rest() {
    for durable in [true, false] {
        let store = MemoryStore::new();
        let mut pipeline = works();
        pipeline.flows.first_mut().and_then(Arc::get_mut).expect("nobody else has it").durable = durable;
        let pipeline = Arc::new(pipeline);
        let first = World::on(Arc::new(store.clone()), Arc::clone(&pipeline), &hangs(), 1);
        let (run, _) = first.ask("main").await;
        at_work(&store, run).await;
        first.engine.stop(CancelReason::Shutdown).await;
        assert!(first.engine.running().is_empty());
        let ended = outcome(&store, run).await;
        if !durable {
            assert_eq!(ended, Some(RunOutcome::Cancelled { reason: CancelReason::Shutdown }));
            continue;
        }
        assert_eq!(ended, None, "nothing is recorded of the stop");
        drop(first);
        let second = World::on(Arc::new(store.clone()), pipeline, &succeeds(), 2);
        assert_eq!(second.engine.recover().await, Ok(Recovered { going_on: 1, ..Recovered::default() }));
        second.clock.settle().await;
        assert_eq!(outcome(&store, run).await, Some(RunOutcome::Succeeded));
    }
}

#[tokio::test]
async fn a_run_that_waits_is_there_after_fifty_stops_and_takes_its_answer() {
    let (mut main, on_timeout, _) = listening_flow("main");
    let approval = main.step("approval", wait(None, on_timeout, None));
    main.blocks[0] = vec![approval];
    let (store, pipeline) = (MemoryStore::new(), Arc::new(plan(vec![main])));
    let first = World::on(Arc::new(store.clone()), Arc::clone(&pipeline), &succeeds(), 1);
    let (run, _) = first.ask("main").await;
    first.until_waiting(1).await;
    first.engine.stop(CancelReason::Shutdown).await;
    for seed in 2..52 {
        let world = World::on(Arc::new(store.clone()), Arc::clone(&pipeline), &succeeds(), seed);
        assert_eq!(world.engine.recover().await, Ok(Recovered { waiting: 1, ..Recovered::default() }));
        world.clock.advance(Duration::from_secs(30)).await;
        world.engine.stop(CancelReason::Shutdown).await;
    }
    let last = World::on(Arc::new(store.clone()), pipeline, &succeeds(), 99);
    last.engine.recover().await.expect("the store is good");
    let emitted = last.engine.signal(run, "Answer".into(), answer(7), Caller::default()).await.expect("the run is there");
    assert!(emitted.refused.is_empty());
    last.clock.settle().await;
    assert_eq!(outcome(&store, run).await, Some(RunOutcome::Succeeded));
}

/// One flow emits, another hears it and works.
pub fn emits() -> Pipeline {
    let says = flow("main", vec![("say", Verb::Emit(vec![("Answer".into(), Template::Literal(answer(7)))]))]);
    let mut pipeline = plan(vec![says, flow("hears", vec![("w", work())])]);
    if let Some(flow) = pipeline.flows.last_mut().and_then(Arc::get_mut) {
        flow.triggers = vec![Trigger::Event { types: vec!["Answer".into()], mode: EventMode::Direct }];
    }
    pipeline
}

#[tokio::test]
async fn an_event_is_published_once_its_hearers_have_begun_and_each_takes_it_once_over_restarts() {
    let store = MemoryStore::new();
    let pipeline = Arc::new(emits());
    let first = World::on(Arc::new(store.clone()), Arc::clone(&pipeline), &hangs(), 1);
    first.ask("main").await;
    while store.runs(RunQuery::default()).await.expect("never broken").len() < 2 {
        tokio::task::yield_now().await;
    }
    assert!(store.pending().await.expect("never broken").events.iter().all(|event| event.published));
    first.engine.stop(CancelReason::Shutdown).await;
    drop(first);
    let executor = succeeds();
    let second = World::on(Arc::new(store.clone()), pipeline, &executor, 2);
    second.engine.recover().await.expect("the store is good");
    second.clock.settle().await;
    let heard = store.runs(RunQuery { flow: Some("hears".into()), ..RunQuery::default() }).await.expect("never broken");
    assert_eq!((heard.len(), executor.calls.load(Ordering::SeqCst)), (1, 1));
}

#[tokio::test]
async fn a_run_whose_pipeline_is_not_loaded_is_stalled_and_goes_on_by_itself_once_it_is() {
    let pipeline = Arc::new(works());
    let (store, run) = left_at_work(&pipeline).await;
    let mut other = works();
    other.name = "q".into();
    let executor = succeeds();
    let second = World::on(Arc::new(store.clone()), Arc::new(other), &executor, 2);
    assert_eq!(second.engine.recover().await, Ok(Recovered { stalled: 1, ..Recovered::default() }));
    let views = second.engine.views().await;
    let [view] = &views[..] else { panic!("{views:?}") };
    assert_eq!((view.run, view.target.as_str(), view.status.as_str()), (run, "p.main", "stalled"));
    second.clock.advance(Duration::from_secs(600)).await;
    assert_eq!((outcome(&store, run).await, second.diary.count("stalled")), (None, 1), "it is told once");
    second.engine.install(vec![Arc::new(Bound { pipeline, executors: vec![Arc::clone(&executor) as Arc<dyn Executor>] })]);
    second.clock.settle().await;
    assert_eq!(outcome(&store, run).await, Some(RunOutcome::Succeeded));
    assert!(second.engine.views().await.is_empty());
}

/// Makes one pipeline again.
struct Again(Arc<Bound>);

impl Rebuild for Again {
    fn rebuild(&self, bundle: Arc<Bundle>) -> BoxFuture<'static, Result<Arc<Bound>, Failure>> {
        assert_eq!(bundle.revision, self.0.pipeline.revision, "it is asked for what the run is pinned to");
        Box::pin(std::future::ready(Ok(Arc::clone(&self.0))))
    }
}

#[tokio::test]
async fn a_run_of_a_revision_that_is_in_force_no_more_goes_on_with_how_it_was() {
    let store = MemoryStore::new();
    let old = Arc::new(works());
    let first = World::on(Arc::new(store.clone()), Arc::clone(&old), &hangs(), 1);
    let runs = [first.ask("main").await.0, first.ask("main").await.0];
    for run in runs {
        at_work(&store, run).await;
    }
    drop(first);
    let mut changed = plan(vec![flow("main", vec![("other", work()), ("w", work())])]);
    changed.revision = Digest::of(b"changed");
    let executor = succeeds();
    let second = World::on(Arc::new(store.clone()), Arc::new(changed), &hangs(), 2);
    second
        .engine
        .rebuilds_with(Arc::new(Again(Arc::new(Bound { pipeline: old, executors: vec![Arc::clone(&executor) as Arc<dyn Executor>] }))));
    assert_eq!(second.engine.recover().await, Ok(Recovered { going_on: 2, ..Recovered::default() }));
    second.clock.settle().await;
    for run in runs {
        assert_eq!(outcome(&store, run).await, Some(RunOutcome::Succeeded));
    }
}

#[tokio::test]
async fn the_fifth_taking_up_without_anything_recorded_puts_a_run_among_the_dead_letters() {
    let pipeline = Arc::new(works());
    let (store, run) = left_at_work(&pipeline).await;
    for seed in 2..6 {
        // Its disk never answers, as if the host were killed each time.
        let slow = Arc::new(Slow { inner: MemoryStore::new(), ..Slow::default() });
        let dead = Dead { inner: store.clone(), never: slow };
        let world = World::on(Arc::new(dead), Arc::clone(&pipeline), &hangs(), seed);
        // From the fourth time on it is taken up after all others, and alone.
        let known =
            if seed < 5 { Recovered { going_on: 1, ..Recovered::default() } } else { Recovered { one_by_one: 1, ..Recovered::default() } };
        assert_eq!(world.engine.recover().await, Ok(known));
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }
    let executor = succeeds();
    let last = World::on(Arc::new(store.clone()), pipeline, &executor, 9);
    // Its turn is its fifth time.
    assert_eq!(last.engine.recover().await, Ok(Recovered { one_by_one: 1, ..Recovered::default() }));
    last.clock.advance(Duration::from_secs(600)).await;
    assert_eq!(outcome(&store, run).await, None, "it is not tried again by itself");
    let letters = last.engine.dead_letters().await.expect("the store is good");
    assert_eq!(letters.iter().map(|letter| (letter.run, letter.cause.as_str())).collect::<Vec<_>>(), [(Some(run), "recovery")]);
    last.engine.resume(run).await.expect("somebody has decided");
    last.clock.settle().await;
    assert_eq!(outcome(&store, run).await, Some(RunOutcome::Succeeded));
}

#[tokio::test]
async fn of_those_that_are_taken_up_alone_the_next_comes_as_soon_as_the_one_before_has_got_on() {
    let (store, pipeline) = (MemoryStore::new(), Arc::new(works()));
    let first = World::on(Arc::new(store.clone()), Arc::clone(&pipeline), &hangs(), 1);
    let runs = [first.ask("main").await.0, first.ask("main").await.0];
    for run in runs {
        at_work(&store, run).await;
    }
    drop(first);
    for run in runs.repeat(3) {
        store.claim(run).await.expect("never broken");
    }
    let go = Arc::new(Notify::new());
    let executor = gated(&go, Ok(Value::string("ok")));
    let second = World::on(Arc::new(store.clone()), pipeline, &executor, 2);
    assert_eq!(second.engine.recover().await, Ok(Recovered { one_by_one: 2, ..Recovered::default() }));
    for (begun, run) in runs.into_iter().enumerate() {
        // Whoever is at work keeps the time from passing.
        for _ in 0..200 {
            tokio::task::yield_now().await;
        }
        assert_eq!(executor.calls.load(Ordering::SeqCst), begun + 1);
        assert_eq!(outcome(&store, run).await, None);
        go.notify_one();
    }
    second.clock.settle().await;
    for run in runs {
        assert_eq!(outcome(&store, run).await, Some(RunOutcome::Succeeded));
    }
}

/// Gives what it has and takes nothing.
struct Dead {
    inner: MemoryStore,
    never: Arc<Slow>,
}

impl Store for Dead {
    fn commit(&self, batch: Batch) -> Commit {
        self.never.commit(batch)
    }

    forward_store!(inner: facts, write, published);
}

#[tokio::test]
async fn after_the_clock_was_set_back_or_forth_a_timer_fires_once_and_nothing_hangs() {
    const HOUR: u64 = 3_600;
    for (hours, forth) in [(1, true), (24, true), (1, false), (24, false)] {
        let (mut main, on_timeout, _) = listening_flow("main");
        let approval = main.step("approval", wait(None, on_timeout, None));
        main.blocks[0] = vec![approval];
        let (store, pipeline, executor) = (MemoryStore::new(), Arc::new(plan(vec![main])), succeeds());
        let first = World::on(Arc::new(store.clone()), Arc::clone(&pipeline), &executor, 1);
        first.clock.advance(Duration::from_secs(48 * HOUR)).await;
        let (run, _) = first.ask("main").await;
        first.until_waiting(1).await;
        first.engine.stop(CancelReason::Shutdown).await;
        drop(first);
        let second = World::on(Arc::new(store.clone()), pipeline, &executor, 2);
        let now = if forth { 48 + hours } else { 48 - hours };
        second.clock.advance(Duration::from_secs(now * HOUR)).await;
        second.engine.recover().await.expect("the store is good");
        // Its time is a point in time: it comes at once, or when that time is there.
        second.clock.advance(Duration::from_secs(if forth { 1 } else { (hours + 1) * HOUR })).await;
        assert_eq!(outcome(&store, run).await, Some(RunOutcome::Succeeded), "{hours} {forth}");
        assert_eq!(executor.calls.load(Ordering::SeqCst), 1, "{hours} {forth}");
        second.clock.advance(Duration::from_secs(72 * HOUR)).await;
        assert_eq!(executor.calls.load(Ordering::SeqCst), 1, "{hours} {forth}");
        assert!(second.clock.now().as_millis() > 0);
    }
}
