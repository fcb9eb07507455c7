//! Runs that only wait: they leave their tasks, and whatever wakes them finds them as they were. That waits mean the same when their runs rest is
//! what all the other tests of waits show, since every run rests here that waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt;

use super::meeting::{World, answer, computed, listening_flow, plan, text, wait};
use super::{Asker, Scripted, scripted};
use crate::engine::RunStatus;
use crate::engine::fixture::within_minutes;
use crate::journal::memory::MemoryStore;
use crate::model::event::Caller;
use crate::model::id::{Digest, EventType, RunId};
use crate::model::job::CancelReason;
use crate::model::port::{Activate, Answer, Clock, Commit, Executor, Root, Store, forward_store};
use crate::model::record::{Batch, Fact};
use crate::model::time::Timestamp;
use crate::model::value::Value;
use crate::plan::pipeline::{Concurrency, Pipeline, Verb};
use crate::plan::{Bound, Install};

const HOUR: Duration = Duration::from_secs(3_600);

fn quick() -> Arc<Scripted> {
    scripted(|_, _| async { Ok(Value::null()) }.boxed())
}

/// Waits an hour for `Answer` about 7, then says so.
fn pipeline(says: &str) -> Pipeline {
    let (mut main, on_timeout, _) = listening_flow("main");
    let approval = main.step("approval", wait(None, on_timeout, None));
    let reply = main.step("reply", Verb::Reply(text(says)));
    main.blocks[0] = vec![approval, reply];
    let mut pipeline = plan(vec![main]);
    let flow = pipeline.flows.first_mut().and_then(Arc::get_mut).expect("nobody else has it");
    flow.concurrency = Concurrency { max_concurrent: 1_000_000, ..Concurrency::default() };
    pipeline
}

async fn at_rest(world: &World, count: usize) {
    world.until_waiting(count).await;
    world.clock.settle().await;
}

fn ends(asker: &Asker) -> usize {
    asker.heard().iter().filter(|heard| heard.starts_with("end ")).count()
}

#[test]
fn thousands_that_rest_share_one_timer_and_each_wakes_once() {
    const RUNS: usize = 3_000;
    within_minutes(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("the runtime starts");
        runtime.block_on(async {
            let executor = quick();
            let world = World::on(Arc::new(MemoryStore::new()), Arc::new(pipeline("over")), &executor, 1);
            let mut askers = Vec::new();
            for _ in 0..RUNS {
                askers.push(world.ask("main").await.1);
            }
            at_rest(&world, RUNS).await;
            assert_eq!((world.engine.running().len(), world.clock.sleepers()), (RUNS, 1));
            world.clock.advance(HOUR).await;
            assert!(askers.iter().all(|asker| ends(asker) == 1));
            assert_eq!(executor.calls.load(Ordering::SeqCst), RUNS, "each did its `on_timeout`");
            assert_eq!((world.engine.running().len(), world.clock.sleepers()), (0, 0));
        });
    });
}

#[tokio::test]
async fn a_run_that_rests_is_seen_as_it_was_and_takes_what_is_sent_to_it() {
    let world = World::on(Arc::new(MemoryStore::new()), Arc::new(pipeline("over")), &quick(), 1);
    world.clock.advance(Duration::from_secs(5)).await;
    let (run, asker) = world.ask("main").await;
    let seen = || world.engine.running().into_iter().map(|view| (view.run, view.target, view.since)).collect::<Vec<_>>();
    let before = seen();
    at_rest(&world, 1).await;
    world.clock.advance(Duration::from_secs(5)).await;
    assert_eq!(seen(), before);
    assert_eq!(before.first().map(|(_, _, since)| *since), Some(Timestamp::EPOCH + Duration::from_secs(5)));
    let emitted = world.engine.signal(run, "Answer".into(), answer(7), Caller::default()).await.expect("the run is there");
    assert!(emitted.refused.is_empty());
    asker.ended.notified().await;
    assert_eq!(asker.heard(), [r#"reply "over""#, "end succeeded"]);
    world.clock.settle().await;
    assert_eq!(world.clock.sleepers(), 0, "no clock goes to a time that nobody waits for");
}

#[tokio::test]
async fn a_run_that_rests_goes_on_with_the_plan_that_it_began_with() {
    let executor = quick();
    let world = World::on(Arc::new(MemoryStore::new()), Arc::new(pipeline("the old way")), &executor, 1);
    let (_, old) = world.ask("main").await;
    at_rest(&world, 1).await;
    let mut changed = pipeline("the new way");
    changed.revision = Digest::of(b"changed");
    let executors = vec![Arc::clone(&executor) as Arc<dyn Executor>];
    world.engine.install(vec![Arc::new(Bound { pipeline: Arc::new(changed), executors })]);
    let (_, new) = world.ask("main").await;
    world.clock.advance(HOUR).await;
    assert_eq!(old.heard(), [r#"reply "the old way""#, "end succeeded"]);
    assert_eq!(new.heard(), [r#"reply "the new way""#, "end succeeded"]);
}

#[tokio::test]
async fn reminders_wake_a_run_and_it_rests_again() {
    let (mut main, on_timeout, reminder) = listening_flow("main");
    let approval = main.step("approval", wait(None, on_timeout, reminder));
    main.blocks[0] = vec![approval];
    let executor = quick();
    let world = World::on(Arc::new(MemoryStore::new()), Arc::new(plan(vec![main])), &executor, 1);
    let (_, asker) = world.ask("main").await;
    at_rest(&world, 1).await;
    world.clock.advance(Duration::from_secs(1_000)).await;
    assert_eq!((executor.calls.load(Ordering::SeqCst), world.clock.sleepers(), ends(&asker)), (1, 1, 0));
    world.clock.advance(HOUR).await;
    assert_eq!((executor.calls.load(Ordering::SeqCst), world.clock.sleepers(), ends(&asker)), (2, 0, 1));
}

#[tokio::test]
async fn sleeps_rest_too() {
    let (mut main, ..) = listening_flow("main");
    let sleep = main.step("sleep", Verb::Sleep(text("1h")));
    let reply = main.step("reply", Verb::Reply(computed(|scope| Ok(scope.lookup(Root::Input, None).unwrap_or_else(Value::null)))));
    main.blocks[0] = vec![sleep, reply];
    let world = World::on(Arc::new(MemoryStore::new()), Arc::new(plan(vec![main])), &quick(), 1);
    let (_, asker) = world.ask("main").await;
    world.clock.advance(HOUR - Duration::from_nanos(1)).await;
    assert!(asker.heard().is_empty());
    world.clock.advance(Duration::from_nanos(1)).await;
    assert_eq!(asker.heard(), ["reply null", "end succeeded"]);
}

#[tokio::test]
async fn a_cancel_and_the_end_of_the_host_wake_those_who_rest() {
    let world = World::on(Arc::new(MemoryStore::new()), Arc::new(pipeline("over")), &quick(), 1);
    let (first, cancelled) = world.ask("main").await;
    let (_, stopped) = world.ask("main").await;
    at_rest(&world, 2).await;
    world.engine.cancel(first, CancelReason::Requested);
    cancelled.ended.notified().await;
    assert_eq!((cancelled.heard(), ends(&stopped)), (vec!["end cancelled".to_owned()], 0));
    world.engine.stop(CancelReason::Shutdown).await;
    assert_eq!(stopped.heard(), ["end cancelled"]);
    assert_eq!((world.engine.running().len(), world.clock.sleepers()), (0, 0));
    assert!(world.clock.now() == Timestamp::EPOCH);
}

/// A store that forgets everything at some point.
struct Forgetful(MemoryStore, AtomicBool);

impl Store for Forgetful {
    fn commit(&self, batch: Batch) -> Commit {
        self.0.commit(batch)
    }

    fn facts(&self, run: RunId) -> Answer<Vec<Fact>> {
        if self.1.load(Ordering::SeqCst) {
            return Box::pin(std::future::ready(Ok(Vec::new())));
        }
        self.0.facts(run)
    }

    forward_store!(0: write, published);
}

#[tokio::test]
async fn a_run_whose_record_is_gone_fails_and_leaves_its_place() {
    let store = Arc::new(Forgetful(MemoryStore::new(), AtomicBool::new(false)));
    let world = World::on(store.clone(), Arc::new(pipeline("over")), &quick(), 1);
    let (_, asker) = world.ask("main").await;
    at_rest(&world, 1).await;
    store.1.store(true, Ordering::SeqCst);
    world.clock.advance(HOUR).await;
    assert_eq!(asker.heard(), ["end failed"]);
    assert!(world.engine.running().is_empty());
}

#[tokio::test]
async fn a_view_says_what_a_resting_run_waits_for_and_until_when() {
    let world = World::on(Arc::new(MemoryStore::new()), Arc::new(pipeline("over")), &quick(), 1);
    let (run, _) = world.ask("main").await;
    world.until_waiting(1).await;
    world.clock.settle().await;
    let views = world.engine.views().await;
    let [view] = &views[..] else { panic!("one run is under way: {views:?}") };
    assert_eq!((view.run, view.target.as_str(), view.status.as_str()), (run, "p.main", "waiting"));
    let RunStatus::Waiting { events, until } = &view.status else { panic!("it waits: {view:?}") };
    assert_eq!((events.as_slice(), *until), ([EventType::new("Answer")].as_slice(), Some(Timestamp::EPOCH + HOUR)));
}
