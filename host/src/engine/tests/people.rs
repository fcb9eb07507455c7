//! What people decide about runs: a parked one goes on, an ended one is done again, one is called off, dead letters are replayed or dropped.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::FutureExt;

use super::going_on::emits;
use super::meeting::{World, flow, plan, text, work};
use super::{Scripted, scripted};
use crate::engine::fixture::{Says, Shape, Sketch, SketchStep, pipeline as sketched};
use crate::journal::memory::MemoryStore;
use crate::model::activation::RunOutcome;
use crate::model::failure::{Failure, FailureKind};
use crate::model::id::{RunId, StepId};
use crate::model::job::CancelReason;
use crate::model::port::{RunQuery, Store};
use crate::model::record::{Fact, beginning_of};
use crate::model::value::Value;
use crate::plan::pipeline::{Pipeline, Verb};

async fn facts(store: &MemoryStore, run: RunId) -> Vec<Fact> {
    store.facts(run).await.expect("never broken")
}

async fn outcome(store: &MemoryStore, run: RunId) -> Option<RunOutcome> {
    match facts(store, run).await.last() {
        Some(Fact::Ended { outcome, .. }) => Some(outcome.clone()),
        _ => None,
    }
}

/// Does each step, counts them by name, and fails those that are named as long as the switch is on.
fn worker(fails: &'static [&'static str], broken: &Arc<AtomicBool>, done: &Arc<Mutex<Vec<String>>>) -> Arc<Scripted> {
    let (broken, done) = (Arc::clone(broken), Arc::clone(done));
    scripted(move |job, _| {
        let name = format!("{} {}", job.step, job.input.text());
        let fails = broken.load(Ordering::SeqCst) && fails.contains(&name.as_str());
        done.lock().unwrap().push(name);
        async move { if fails { Err(Failure::new(FailureKind::Permanent, "out of order")) } else { Ok(Value::string("ok")) } }.boxed()
    })
}

fn undone(with: &str) -> SketchStep {
    SketchStep { undo: Some((Says::This(Value::string(with)), false)), ..SketchStep::default() }
}

#[tokio::test]
async fn a_parked_run_is_resumed_and_only_what_could_not_be_undone_is_tried_again_over_a_restart_too() {
    let failing = SketchStep { shape: Shape::Fail, ..SketchStep::default() };
    let pipeline = sketched(&Sketch { steps: vec![undone("back"), undone("home"), failing], finally: true, ..Sketch::default() });
    let (store, broken, done) = (MemoryStore::new(), Arc::new(AtomicBool::new(true)), Arc::default());
    let executor = worker(&["s0 \"back\""], &broken, &done);
    let first = World::on(Arc::new(store.clone()), Arc::clone(&pipeline), &executor, 1);
    let (run, _) = first.ask("main").await;
    first.clock.settle().await;
    assert!(matches!(outcome(&store, run).await, Some(RunOutcome::Parked { .. })));
    done.lock().unwrap().clear();
    first.engine.resume(run).await.expect("it is parked");
    first.clock.settle().await;
    assert!(matches!(outcome(&store, run).await, Some(RunOutcome::Parked { .. })), "it is still out of order");
    first.engine.stop(CancelReason::Shutdown).await;
    drop(first);
    broken.store(false, Ordering::SeqCst);
    let second = World::on(Arc::new(store.clone()), pipeline, &executor, 2);
    second.engine.recover().await.expect("the store is good");
    second.engine.resume(run).await.expect("it is parked");
    second.clock.settle().await;
    assert!(matches!(outcome(&store, run).await, Some(RunOutcome::Failed { .. })), "it ends as it would have");
    assert_eq!(*done.lock().unwrap(), ["s0 \"back\"", "s0 \"back\""], "nothing else of its end was repeated");
    let failure = second.engine.resume(run).await.expect_err("it has ended");
    assert_eq!(
        (failure.code.as_deref(), failure.message.clone()),
        (Some("E0754"), format!("run {run} has failed, and only a parked run is resumed; `pipehost runs retry {run}` does it again"))
    );
}

/// The chatbot in short: context, answer, save.
fn three() -> Pipeline {
    plan(vec![flow("main", vec![("context", work()), ("answer", work()), ("save", work()), ("reply", Verb::Reply(text("saved")))])])
}

#[tokio::test]
async fn a_run_is_done_again_from_the_step_that_failed_with_what_the_others_gave() {
    let (store, broken, done) = (MemoryStore::new(), Arc::new(AtomicBool::new(true)), Arc::default());
    let executor = worker(&["save null"], &broken, &done);
    let pipeline = Arc::new(three());
    let first = World::on(Arc::new(store.clone()), Arc::clone(&pipeline), &executor, 1);
    let (run, _) = first.ask("main").await;
    first.clock.settle().await;
    assert!(matches!(outcome(&store, run).await, Some(RunOutcome::Failed { .. })));
    first.engine.stop(CancelReason::Shutdown).await;
    drop(first);
    broken.store(false, Ordering::SeqCst);
    done.lock().unwrap().clear();
    let second = World::on(Arc::new(store.clone()), pipeline, &executor, 2);
    second.engine.recover().await.expect("the store is good");
    let again = second.engine.retry(run, Some(&StepId::new("save"))).await.expect("it can be done again");
    second.clock.settle().await;
    let history = facts(&store, again).await;
    assert_eq!(outcome(&store, again).await, Some(RunOutcome::Succeeded), "{history:?}");
    assert_eq!(*done.lock().unwrap(), ["save null"], "the save alone");
    assert_eq!(beginning_of(&history).and_then(|beginning| beginning.retry_of), Some(run));
    assert!(history.contains(&Fact::Replied { reply: Value::string("saved") }));
    let whole = second.engine.retry(run, None).await.expect("it can be done again");
    second.clock.settle().await;
    assert_eq!(outcome(&store, whole).await, Some(RunOutcome::Succeeded));
    assert_eq!(*done.lock().unwrap(), ["save null", "context null", "answer null", "save null"]);
}

#[tokio::test]
async fn a_step_that_was_not_reached_or_is_not_there_is_refused_with_the_reason() {
    let (store, broken, done) = (MemoryStore::new(), Arc::new(AtomicBool::new(true)), Arc::default());
    let executor = worker(&["answer null"], &broken, &done);
    let world = World::on(Arc::new(store.clone()), Arc::new(three()), &executor, 1);
    let (run, _) = world.ask("main").await;
    world.clock.settle().await;
    let why = |from: &'static str| {
        let engine = world.engine.clone();
        async move { engine.retry(run, Some(&StepId::new(from))).await.expect_err("it cannot").into_particulars().message }
    };
    let not_done = format!("the step answer, which comes before save, was not done in run {run}; do it again from answer or before");
    assert_eq!(why("save").await, not_done);
    assert_eq!(why("sav").await, "the flow main has no step sav; its own steps are context, answer, save, reply");
    let unknown = world.engine.retry(RunId::new(uuid::Uuid::nil()), None).await.expect_err("there is none");
    assert_eq!(unknown.kind, FailureKind::NotFound);
}

#[tokio::test]
async fn what_was_undone_is_not_taken_over() {
    let failing = SketchStep { shape: Shape::Fail, ..SketchStep::default() };
    let pipeline = sketched(&Sketch { steps: vec![undone("back"), failing], ..Sketch::default() });
    let (store, done) = (MemoryStore::new(), Arc::default());
    let world = World::on(Arc::new(store.clone()), pipeline, &worker(&[], &Arc::default(), &done), 1);
    let (run, _) = world.ask("main").await;
    world.clock.settle().await;
    let failure = world.engine.retry(run, Some(&StepId::new("s1"))).await.expect_err("its ground is gone");
    assert_eq!(failure.message, format!("what the step s0 did was undone when run {run} ended; do it again from its first step"));
}

#[tokio::test]
async fn what_an_event_started_and_failed_is_a_dead_letter_that_is_replayed_or_dropped() {
    let (store, broken, done) = (MemoryStore::new(), Arc::new(AtomicBool::new(true)), Arc::default());
    let world = World::on(Arc::new(store.clone()), Arc::new(emits()), &worker(&["w null"], &broken, &done), 1);
    world.ask("main").await;
    world.ask("main").await;
    world.clock.settle().await;
    let letters = world.engine.dead_letters().await.expect("the store is good");
    let [letter, other] = &letters[..] else { panic!("two failed: {letters:?}") };
    assert_eq!((letter.owner.as_str(), letter.cause.as_str()), ("p.hears", "failed"));
    assert_eq!(letter.failure.as_ref().map(|failure| failure.message.as_str()), Some("out of order"));
    assert!(letter.event.is_some());
    broken.store(false, Ordering::SeqCst);
    let again = world.engine.replay(&letter.key).await.expect("it is there").expect("it is a run");
    world.clock.settle().await;
    assert_eq!(outcome(&store, again).await, Some(RunOutcome::Succeeded));
    let begun = facts(&store, again).await;
    let beginning = beginning_of(&begun).expect("it began");
    assert_eq!((beginning.retry_of, beginning.event.is_some()), (letter.run, true));
    world.engine.drop_letter(&other.key).await.expect("it is there");
    assert!(world.engine.dead_letters().await.expect("the store is good").is_empty());
    let failure = world.engine.drop_letter(&other.key).await.expect_err("it is gone");
    assert_eq!(failure.message, format!("there is no dead letter {}; `pipehost dlq list` shows all", other.key));
    let heard = store.runs(RunQuery { flow: Some("hears".into()), ..RunQuery::default() }).await.expect("never broken");
    assert_eq!(heard.len(), 3);
}

#[tokio::test]
async fn a_run_is_called_off_wherever_it_stands_and_one_that_has_ended_is_not() {
    let store = MemoryStore::new();
    let hangs = scripted(|_, _| std::future::pending().boxed());
    let world = World::on(Arc::new(store.clone()), Arc::new(three()), &hangs, 1);
    let (run, asker) = world.ask("main").await;
    world.engine.call_off(run).await.expect("it is under way");
    asker.ended.notified().await;
    assert_eq!(asker.heard(), ["end cancelled"]);
    let failure = world.engine.call_off(run).await.expect_err("it has ended");
    assert_eq!(failure.message, format!("run {run} has ended: there is nothing to cancel"));
    let (left, _) = world.ask("main").await;
    drop(world);
    let mut other = three();
    other.name = "q".into();
    let second = World::on(Arc::new(store.clone()), Arc::new(other), &hangs, 2);
    second.engine.recover().await.expect("the store is good");
    let failure = second.engine.call_off(left).await.expect_err("nobody knows how it is undone");
    let why = "its pipeline is not loaded; start the host with its file";
    assert_eq!(
        (failure.code.as_deref(), failure.message.clone()),
        (
            Some("E0754"),
            format!(
                "run {left} stays stalled, since what it did can only be undone when it can go on: {why}; once that is mended, cancel it again"
            )
        )
    );
    assert_eq!((outcome(&store, left).await, second.engine.views().await.len()), (None, 1), "it is what it was");
}

/// A host that dies as soon as it has counted that it takes this run up, so often that the next one gives it up.
async fn given_up(store: &MemoryStore, run: RunId) {
    for _ in 1..crate::engine::recovery::CLAIMS {
        store.claim(run).await.expect("never broken");
    }
}

#[tokio::test]
async fn a_stalled_run_that_is_called_off_takes_back_what_it_did_and_its_dead_letter_goes() {
    let hanging = SketchStep::default();
    let pipeline = sketched(&Sketch { steps: vec![undone("back"), hanging], finally: true, ..Sketch::default() });
    let (store, done) = (MemoryStore::new(), Arc::default());
    let executor = {
        let done: Arc<Mutex<Vec<String>>> = Arc::clone(&done);
        scripted(move |job, _| {
            let name = format!("{} {}", job.step, job.input.text());
            let hangs = name == "s1 null";
            done.lock().unwrap().push(name);
            async move { if hangs { std::future::pending().await } else { Ok(Value::string("ok")) } }.boxed()
        })
    };
    let first = World::on(Arc::new(store.clone()), Arc::clone(&pipeline), &executor, 1);
    let (run, _) = first.ask("main").await;
    while !done.lock().unwrap().contains(&"s1 null".to_owned()) {
        tokio::task::yield_now().await;
    }
    drop(first);
    given_up(&store, run).await;
    let second = World::on(Arc::new(store.clone()), pipeline, &executor, 2);
    second.engine.recover().await.expect("the store is good");
    second.clock.settle().await;
    assert_eq!(second.engine.dead_letters().await.expect("the store is good").len(), 1);
    done.lock().unwrap().clear();
    second.engine.call_off(run).await.expect("it can be taken up");
    second.clock.settle().await;
    assert_eq!(outcome(&store, run).await, Some(RunOutcome::Cancelled { reason: CancelReason::Requested }));
    assert_eq!(*done.lock().unwrap(), ["s0 \"back\"", "finally null"], "nothing is begun again");
    assert!(second.engine.views().await.is_empty());
    assert!(second.engine.dead_letters().await.expect("the store is good").is_empty(), "there is nothing left to decide");
}
