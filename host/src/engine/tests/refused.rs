//! What the store does not take: a step that comes to too much fails, and a store that breaks has nobody hear of an end that is not recorded.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::FutureExt;

use super::meeting::World;
use super::{Scripted, scripted};
use crate::engine::fixture::{Says, Shape, Sketch, SketchStep, pipeline as sketched};
use crate::journal::memory::{Bounds, MemoryStore};
use crate::model::activation::{Activation, Admission, Requester, RunEnd, RunOutcome};
use crate::model::failure::FailureKind;
use crate::model::id::RunId;
use crate::model::port::{Activate, Commit, Store, StoreError, forward_store};
use crate::model::record::{Batch, Fact, end_of};
use crate::model::value::{Tree, Value};

/// Does each step, takes note of it, and gives so many bytes for those that begin with `large`.
fn gives(bytes: usize, large: &'static str, done: &Arc<Mutex<Vec<String>>>) -> Arc<Scripted> {
    let (done, text) = (Arc::clone(done), Value::string("x".repeat(bytes)));
    scripted(move |job, _| {
        let is_undone = job.input.text() == "\"back\"";
        done.lock().unwrap().push(if is_undone { format!("undo {}", job.step) } else { job.step.to_string() });
        let output = if job.step.as_str().starts_with(large) && !is_undone { text.clone() } else { Value::string("ok") };
        async move { Ok(output) }.boxed()
    })
}

fn undone() -> SketchStep {
    SketchStep { undo: Some((Says::This(Value::string("back")), false)), ..SketchStep::default() }
}

async fn facts(store: &MemoryStore, run: RunId) -> Vec<Fact> {
    store.facts(run).await.expect("never broken")
}

/// Has a run of it come to its end. Returns what it ended as and what was done, in order.
async fn ended(sketch: &Sketch, bytes: usize, large: &'static str) -> (RunOutcome, Vec<String>) {
    // What has ended is kept only as far as it is not too much.
    let store = MemoryStore::with_bounds(Bounds { ended_bytes: 1 << 30, ..Bounds::default() });
    let done = Arc::default();
    let world = World::on(Arc::new(store.clone()), sketched(sketch), &gives(bytes, large, &done), 1);
    let (run, asker) = world.ask("main").await;
    world.clock.run(asker.ended.notified()).await;
    let outcome = end_of(&facts(&store, run).await).cloned().expect("it has ended");
    let done = done.lock().unwrap().clone();
    (outcome, done)
}

fn is_too_large(outcome: &RunOutcome, step: &str) {
    let failure = outcome.failure().expect("it failed");
    let known = (failure.kind, failure.code.as_deref(), failure.step.as_ref().map(|step| step.as_str().to_owned()));
    assert_eq!(known, (FailureKind::Permanent, Some("too_large"), Some(step.to_owned())), "{failure:?}");
    assert!(failure.message.contains("16 MiB"), "{}", failure.message);
}

#[tokio::test]
async fn results_that_are_too_large_together_fail_their_step_and_what_was_done_is_taken_back() {
    let over = Says::This(Value::from(Tree::Int(24)));
    let each = SketchStep { shape: Shape::Each { over, max_concurrent: 4, steps: vec![undone()] }, ..SketchStep::default() };
    let sketch = Sketch { steps: vec![undone(), each], on_error: true, finally: true, ..Sketch::default() };
    let (outcome, done) = ended(&sketch, 1 << 20, "s1").await;
    is_too_large(&outcome, "s1");
    let count = |name: &str| done.iter().filter(|step| *step == name).count();
    assert_eq!((count("s1es0"), count("undo s1es0")), (24, 24), "the last of them too");
    assert_eq!(done[49..], ["undo s0", "on_error", "finally"].map(str::to_owned)[..], "{done:?}");
}

#[tokio::test]
async fn a_step_whose_result_is_too_large_was_done_and_is_taken_back() {
    let sketch = Sketch { steps: vec![undone(), undone(), SketchStep::default()], ..Sketch::default() };
    let (outcome, done) = ended(&sketch, 17 << 20, "s1").await;
    is_too_large(&outcome, "s1");
    assert_eq!(done, ["s0", "s1", "undo s1", "undo s0"]);
}

#[tokio::test]
async fn a_step_whose_result_is_too_large_is_healed_like_any_other() {
    let healed = SketchStep { heal: Some(false), ..SketchStep::default() };
    let sketch = Sketch { steps: vec![healed, SketchStep::default()], ..Sketch::default() };
    let (outcome, done) = ended(&sketch, 17 << 20, "s0").await;
    assert_eq!((outcome, done), (RunOutcome::Succeeded, vec!["s0".to_owned(), "s1".to_owned()]));
}

/// A store whose disk fails: from then on it says of everything that it is not kept, and it is kept all the same.
struct Failing {
    inner: MemoryStore,
    broken: AtomicBool,
}

impl Store for Failing {
    fn commit(&self, batch: Batch) -> Commit {
        let commit = self.inner.commit(batch);
        match self.broken.load(Ordering::SeqCst) {
            true => Box::pin(std::future::ready(Err(StoreError::Broken("fsync failed".to_owned())))),
            false => commit,
        }
    }

    forward_store!(inner: facts, write, published);
}

/// Takes note of what it hears.
#[derive(Default)]
struct Ear(Mutex<Vec<String>>);

impl Requester for Ear {
    fn progress(&self, _progress: &Value) {}

    fn reply(&self, reply: &Value) {
        self.0.lock().unwrap().push(format!("reply {}", reply.text()));
    }

    fn end(&self, end: &RunEnd) {
        self.0.lock().unwrap().push(format!("end {}", end.outcome.as_str()));
    }

    fn left(&self, _run: RunId) {
        self.0.lock().unwrap().push("left".to_owned());
    }
}

fn activation(ear: &Arc<Ear>) -> Activation {
    Activation { requester: Some(Arc::clone(ear) as Arc<dyn Requester>), ..Activation::new("p", "main", Value::null()) }
}

#[tokio::test]
async fn when_the_disk_fails_nobody_hears_of_an_end_and_the_next_start_goes_on() {
    let store = MemoryStore::new();
    let failing = Arc::new(Failing { inner: store.clone(), broken: AtomicBool::new(false) });
    let breaks = Arc::clone(&failing);
    let executor = scripted(move |_, _| {
        breaks.broken.store(true, Ordering::SeqCst);
        async { Ok(Value::string("ok")) }.boxed()
    });
    let pipeline = sketched(&Sketch::of(1));
    let first = World::on(Arc::clone(&failing) as Arc<dyn Store>, Arc::clone(&pipeline), &executor, 1);
    let ear = Arc::new(Ear::default());
    let Admission::Started(run) = first.engine.activate(activation(&ear)).await else { panic!("it is admitted") };
    first.clock.settle().await;
    assert_eq!(*ear.0.lock().unwrap(), ["left"], "it has succeeded, and that was not known");
    assert_eq!((first.diary.count("run failed"), first.diary.count("run succeeded")), (0, 0));
    assert_eq!(end_of(&facts(&store, run).await), Some(&RunOutcome::Succeeded));
    let other = Arc::new(Ear::default());
    let Admission::Refused(failure) = first.engine.activate(activation(&other)).await else { panic!("it is not known whether it began") };
    assert!(failure.message.starts_with("it is not known whether this was started: the store is broken"), "{}", failure.message);
    first.clock.settle().await;
    assert!(other.0.lock().unwrap().is_empty());
    drop(first);
    let second = World::on(Arc::new(store.clone()), pipeline, &executor, 2);
    second.engine.recover().await.expect("the store is good");
    second.clock.settle().await;
    let runs = store.runs(crate::model::port::RunQuery::default()).await.expect("never broken");
    let known: Vec<_> = runs.iter().map(|run| run.ended.as_ref().map(|(_, outcome)| outcome.as_str())).collect();
    assert_eq!(known, [Some("succeeded"); 2]);
}
