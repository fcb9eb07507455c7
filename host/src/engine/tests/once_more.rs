//! What is done once more: a request whose run stands still, or has its answer; and the dead letter of a run that is not at its end.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;

use super::meeting::{World, text};
use super::{Scripted, scripted};
use crate::engine::fixture::{Says, Shape, Sketch, SketchStep, pipeline as sketched};
use crate::engine::recovery::CLAIMS;
use crate::journal::memory::MemoryStore;
use crate::model::activation::{Activation, Admission, RunOutcome};
use crate::model::failure::{Failure, FailureKind};
use crate::model::id::{RunId, StepId};
use crate::model::job::CancelReason;
use crate::model::port::{Activate, RunQuery, Store};
use crate::model::record::{Fact, end_of};
use crate::model::value::Value;
use crate::plan::pipeline::{Idempotency, Pipeline};

async fn outcome(store: &MemoryStore, run: RunId) -> Option<RunOutcome> {
    end_of(&store.facts(run).await.expect("never broken")).cloned()
}

async fn runs(store: &MemoryStore) -> usize {
    store.runs(RunQuery::default()).await.expect("never broken").len()
}

/// The same with the idempotency key `order-1`.
fn keyed(sketch: &Sketch) -> Arc<Pipeline> {
    let mut pipeline = Arc::into_inner(sketched(sketch)).expect("nobody else has it");
    let main = pipeline.flows.first_mut().and_then(Arc::get_mut).expect("nobody else has it");
    main.idempotency = Some(Idempotency { key: text("order-1"), retention: Duration::from_secs(3_600) });
    Arc::new(pipeline)
}

/// Does each step and takes note of it, but for those that are named: they fail as long as the switch is on.
fn worker(fails: &'static str, broken: &Arc<AtomicBool>, done: &Arc<Mutex<Vec<String>>>) -> Arc<Scripted> {
    let (broken, done) = (Arc::clone(broken), Arc::clone(done));
    scripted(move |job, _| {
        let name = format!("{} {}", job.step, job.input.text());
        let fails = broken.load(Ordering::SeqCst) && name == fails;
        done.lock().unwrap().push(name);
        async move { if fails { Err(Failure::new(FailureKind::Permanent, "out of order")) } else { Ok(Value::string("ok")) } }.boxed()
    })
}

async fn activate(world: &World) -> Admission {
    let activation = Activation::new("p", "main", Value::null());
    let admission = world.engine.activate(activation).await;
    world.clock.settle().await;
    admission
}

async fn is_held_by(world: &World, run: RunId) {
    let Admission::Refused(failure) = activate(world).await else { panic!("its key is not free") };
    assert_eq!((failure.kind, failure.code.as_deref()), (FailureKind::Conflict, Some("idempotency_held")), "{failure:?}");
    assert!(failure.message.contains(&format!("`pipehost runs resume {run}` has it go on")), "{}", failure.message);
}

#[tokio::test]
async fn a_parked_run_keeps_its_key_over_a_restart_until_it_has_come_to_its_end() {
    let undone = SketchStep { undo: Some((Says::This(Value::string("back")), false)), ..SketchStep::default() };
    let failing = SketchStep { shape: Shape::Fail, ..SketchStep::default() };
    let pipeline = keyed(&Sketch { steps: vec![undone, failing], ..Sketch::default() });
    let (store, broken, done) = (MemoryStore::new(), Arc::new(AtomicBool::new(true)), Arc::default());
    let executor = worker("s0 \"back\"", &broken, &done);
    let first = World::on(Arc::new(store.clone()), Arc::clone(&pipeline), &executor, 1);
    let Admission::Started(run) = activate(&first).await else { panic!("it is the first") };
    assert!(matches!(outcome(&store, run).await, Some(RunOutcome::Parked { .. })));
    is_held_by(&first, run).await;
    let failure = first.engine.retry(run, None).await.expect_err("it would be done beside it");
    assert!(failure.message.contains("stands still"), "{}", failure.message);
    first.engine.stop(CancelReason::Shutdown).await;
    drop(first);
    let second = World::on(Arc::new(store.clone()), pipeline, &executor, 2);
    second.engine.recover().await.expect("the store is good");
    is_held_by(&second, run).await;
    second.engine.resume(run).await.expect("it is parked");
    second.clock.settle().await;
    assert!(matches!(outcome(&store, run).await, Some(RunOutcome::Parked { .. })), "it is still out of order");
    is_held_by(&second, run).await;
    broken.store(false, Ordering::SeqCst);
    second.engine.resume(run).await.expect("it is parked");
    second.clock.settle().await;
    assert!(matches!(outcome(&store, run).await, Some(RunOutcome::Failed { .. })));
    assert!(matches!(activate(&second).await, Admission::Started(other) if other != run), "all of it is taken back, and its key is free");
    second.engine.stop(CancelReason::Shutdown).await;
}

#[tokio::test]
async fn a_run_that_does_a_request_once_more_is_its_answer_and_what_is_answered_is_not_done_again_without_a_word() {
    let pipeline = keyed(&Sketch::of(2));
    let (store, broken, done) = (MemoryStore::new(), Arc::new(AtomicBool::new(true)), Arc::default());
    let executor = worker("s1 null", &broken, &done);
    let world = World::on(Arc::new(store.clone()), pipeline, &executor, 1);
    let Admission::Started(run) = activate(&world).await else { panic!("it is the first") };
    assert!(matches!(outcome(&store, run).await, Some(RunOutcome::Failed { .. })));
    broken.store(false, Ordering::SeqCst);
    let again = world.engine.retry(run, Some(&StepId::new("s1"))).await.expect("nobody has answered");
    world.clock.settle().await;
    assert_eq!(outcome(&store, again).await, Some(RunOutcome::Succeeded));
    assert_eq!(activate(&world).await, Admission::Started(again), "whoever asks again has the answer");
    let refused = |failure: Failure, of: RunId| {
        let why = format!("the request of run {of} has its answer from run {again}, and would be done twice");
        assert_eq!((failure.kind, failure.code.as_deref()), (FailureKind::Conflict, Some("E0754")));
        assert_eq!(failure.message, format!("{why}: `pipehost runs retry {of} --repeat` does that all the same"));
    };
    refused(world.engine.retry(again, None).await.expect_err("it has succeeded"), again);
    refused(world.engine.retry(run, None).await.expect_err("another has answered"), run);
    assert_eq!((runs(&store).await, done.lock().unwrap().len()), (2, 3), "nothing was done");
    let twice = world.engine.retry_although_answered(again, None).await.expect("it is wanted");
    world.clock.settle().await;
    assert_eq!((outcome(&store, twice).await, done.lock().unwrap().len()), (Some(RunOutcome::Succeeded), 5));
    assert_eq!(activate(&world).await, Admission::Started(twice));
}

/// A run that a host has given up, since the four before it died as soon as they had taken it up.
async fn given_up(store: &MemoryStore, pipeline: &Arc<Pipeline>) -> RunId {
    let hangs = scripted(|_, _| std::future::pending().boxed());
    let first = World::on(Arc::new(store.clone()), Arc::clone(pipeline), &hangs, 1);
    let (run, _) = first.ask("main").await;
    while !store.facts(run).await.expect("never broken").iter().any(|fact| matches!(fact, Fact::AttemptStarted { .. })) {
        tokio::task::yield_now().await;
    }
    drop(first);
    for _ in 1..CLAIMS {
        store.claim(run).await.expect("never broken");
    }
    run
}

async fn started(store: &MemoryStore, pipeline: &Arc<Pipeline>, seed: u64, after: u64) -> World {
    let done = scripted(|_, _| async { Ok(Value::string("ok")) }.boxed());
    let world = World::on(Arc::new(store.clone()), Arc::clone(pipeline), &done, seed);
    world.clock.advance(Duration::from_secs(after)).await;
    world.engine.recover().await.expect("the store is good");
    world.clock.settle().await;
    world
}

#[tokio::test]
async fn the_dead_letter_of_a_run_that_was_given_up_stays_as_it_was_and_goes_with_the_end_of_its_run() {
    let (store, pipeline) = (MemoryStore::new(), keyed(&Sketch::of(1)));
    let run = given_up(&store, &pipeline).await;
    let first = started(&store, &pipeline, 2, 100).await;
    let letters = first.engine.dead_letters().await.expect("the store is good");
    assert_eq!(letters.iter().map(|letter| letter.run).collect::<Vec<_>>(), [Some(run)]);
    is_held_by(&first, run).await;
    drop(first);
    let second = started(&store, &pipeline, 3, 5_000).await;
    assert_eq!(second.engine.dead_letters().await.expect("the store is good"), letters, "it says since when");
    let failure = second.engine.replay(&letters[0].key).await.expect_err("it may go on");
    assert_eq!(
        failure.message,
        format!(
            "run {run} is not at its end, and to begin it anew would do it twice: `pipehost runs resume {run}` has it go on, and if it has not ended, \
             `pipehost runs cancel {run}` takes back what it did"
        )
    );
    assert_eq!(runs(&store).await, 1);
    second.engine.resume(run).await.expect("somebody has decided");
    second.clock.settle().await;
    assert_eq!(outcome(&store, run).await, Some(RunOutcome::Succeeded));
    assert!(second.engine.dead_letters().await.expect("the store is good").is_empty(), "nothing is left to decide");
    assert_eq!(activate(&second).await, Admission::Started(run), "it has answered its request");
}

#[tokio::test]
async fn a_dead_letter_that_was_dropped_does_not_come_back_with_the_next_start() {
    let (store, pipeline) = (MemoryStore::new(), sketched(&Sketch::of(1)));
    let run = given_up(&store, &pipeline).await;
    let first = started(&store, &pipeline, 2, 100).await;
    first.engine.drop_letter(&run.to_string()).await.expect("it is there");
    drop(first);
    for seed in 3..6 {
        let next = started(&store, &pipeline, seed, 100).await;
        assert!(next.engine.dead_letters().await.expect("the store is good").is_empty());
        assert!(next.engine.why_stalled(run).is_some_and(|why| why.contains("runs resume")), "it still waits for somebody to decide");
    }
}

#[tokio::test]
async fn a_bad_end_that_nobody_waits_for_is_told_though_its_result_would_have_been_kept_for_repeats() {
    let undone = SketchStep { undo: Some((Says::This(Value::string("back")), false)), ..SketchStep::default() };
    let failing = SketchStep { shape: Shape::Fail, ..SketchStep::default() };
    for (steps, end) in [(vec![undone, failing.clone()], "parked"), (vec![failing], "failed")] {
        let pipeline = keyed(&Sketch { steps, ..Sketch::default() });
        let executor = worker("s0 \"back\"", &Arc::new(AtomicBool::new(true)), &Arc::default());
        let world = World::on(Arc::new(MemoryStore::new()), pipeline, &executor, 1);
        let unheard = || world.diary.count(&format!("unheard {end}"));
        let Admission::Started(run) = activate(&world).await else { panic!("it is the first") };
        assert_eq!(unheard(), 1, "{:?}", world.diary.lines());
        if end == "parked" {
            world.engine.resume(run).await.expect("it is parked");
            world.clock.settle().await;
            assert_eq!(unheard(), 2, "it is parked again, and who asked for that has gone");
            continue;
        }
        let (_, asker) = world.ask("main").await;
        world.clock.run(asker.ended.notified()).await;
        assert_eq!((asker.heard().last().map(String::as_str), unheard()), (Some("end failed"), 1), "whoever waited was told");
    }
}
