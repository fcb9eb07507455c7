//! Answers that come late, beside what else happens to runs that have ended: retention takes them, people have them go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::FutureExt;
use tokio::sync::watch;
use uuid::Uuid;

use super::meeting::{Building, World, listening_flow, plan, wait};
use super::{Scripted, scripted};
use crate::engine::fixture::{Says, Shape, Sketch, SketchStep, pipeline as sketched};
use crate::journal::memory::{Bounds, MemoryStore};
use crate::model::activation::RunOutcome;
use crate::model::failure::{Failure, FailureKind};
use crate::model::id::RunId;
use crate::model::port::{Answer, Commit, Store, forward_store};
use crate::model::record::{Batch, Fact, RefusedAnswer};
use crate::model::time::Timestamp;
use crate::model::value::Value;

fn quick() -> Arc<Scripted> {
    scripted(|_, _| async { Ok(Value::null()) }.boxed())
}

/// Waits for one answer, and is done.
fn asks(name: &str) -> Building {
    let (mut asks, on_timeout, _) = listening_flow(name);
    let approval = asks.step("approval", wait(None, on_timeout, None));
    asks.blocks[0] = vec![approval];
    asks
}

/// A store that keeps one run that has ended. Once it is armed, another run ends right after somebody has looked at one.
struct Sweeping {
    inner: MemoryStore,
    armed: AtomicBool,
}

impl Store for Sweeping {
    fn commit(&self, batch: Batch) -> Commit {
        self.inner.commit(batch)
    }

    fn facts(&self, run: RunId) -> Answer<Vec<Fact>> {
        let facts = self.inner.facts(run);
        if self.armed.swap(false, Ordering::SeqCst) {
            let end = Fact::Ended { outcome: RunOutcome::Succeeded, at: Timestamp::EPOCH };
            drop(self.inner.commit(Batch::of(RunId::new(Uuid::from_u128(99)), 0, Arc::new(vec![end]))));
        }
        facts
    }

    forward_store!(inner: write, published);
}

#[tokio::test]
async fn an_answer_to_a_run_that_is_swept_while_it_is_looked_at_brings_nothing_of_it_back() {
    let bounds = Bounds { ended_runs: 1, ..Bounds::default() };
    let store = Arc::new(Sweeping { inner: MemoryStore::with_bounds(bounds), armed: AtomicBool::new(false) });
    let world = World::on(store.clone(), Arc::new(plan(vec![asks("main")])), &quick(), 1);
    let (run, asker) = world.ask("main").await;
    world.until_waiting(1).await;
    assert!(world.emit(7, "bob").await.is_empty());
    asker.ended.notified().await;
    assert_eq!(world.emit(7, "ada").await, ["double"]);
    let facts = store.inner.facts(run).await.expect("never broken");
    assert!(matches!(facts.last(), Some(Fact::AnswerRefused { .. })), "{facts:?}");
    store.armed.store(true, Ordering::SeqCst);
    assert_eq!(world.emit(7, "eve").await, ["double"], "whoever answers is told all the same");
    assert!(!store.armed.load(Ordering::SeqCst), "it was looked at");
    assert!(store.inner.facts(run).await.expect("never broken").is_empty());
    assert!(!store.inner.knows(run));
}

/// A store that says of nothing that it is kept, as long as it is shut.
struct Shutting {
    inner: MemoryStore,
    open: watch::Sender<bool>,
}

impl Store for Shutting {
    fn commit(&self, batch: Batch) -> Commit {
        let (kept, mut open) = (self.inner.commit(batch), self.open.subscribe());
        Box::pin(async move {
            let _ = open.wait_for(|open| *open).await;
            kept.await
        })
    }

    forward_store!(inner: facts, write, published);
}

#[tokio::test]
async fn whoever_leaves_before_a_run_is_resumed_holds_up_no_answer_and_the_run_goes_on() {
    let undone = SketchStep { undo: Some((Says::This(Value::string("back")), false)), ..SketchStep::default() };
    let failing = SketchStep { shape: Shape::Fail, ..SketchStep::default() };
    let sketch = Sketch { steps: vec![undone, failing], ..Sketch::default() };
    let mut pipeline = Arc::into_inner(sketched(&sketch)).expect("nobody else has it");
    pipeline.flows.extend(plan(vec![asks("asks")]).flows);
    let broken = Arc::new(AtomicBool::new(true));
    let is_broken = Arc::clone(&broken);
    let executor = scripted(move |job, _| {
        let fails = is_broken.load(Ordering::SeqCst) && job.input.text() == r#""back""#;
        async move { if fails { Err(Failure::new(FailureKind::Permanent, "out of order")) } else { Ok(Value::null()) } }.boxed()
    });
    let store = Arc::new(Shutting { inner: MemoryStore::new(), open: watch::channel(true).0 });
    let world = World::on(store.clone(), Arc::new(pipeline), &executor, 1);
    let (asking, asker) = world.ask("asks").await;
    world.until_waiting(1).await;
    assert!(world.emit(7, "bob").await.is_empty());
    asker.ended.notified().await;
    let (parked, _) = world.ask("main").await;
    world.clock.settle().await;
    let facts = async |run| store.inner.facts(run).await.expect("never broken");
    let Some(Fact::Ended { outcome: RunOutcome::Parked { .. }, .. }) = facts(parked).await.last().cloned() else { panic!("it is parked") };

    broken.store(false, Ordering::SeqCst);
    store.open.send_replace(false);
    // Whoever asked has gone before it is kept.
    assert!(world.engine.resume(parked).now_or_never().is_none());
    assert!(facts(parked).await.iter().any(|fact| matches!(fact, Fact::Resumed { .. })), "it was given to the store");
    let refused = async || facts(asking).await.iter().any(|fact| matches!(fact, Fact::AnswerRefused { reason: RefusedAnswer::Double, .. }));
    let answer = world.emit(7, "ada");
    let recorded = async {
        while !refused().await {
            tokio::task::yield_now().await;
        }
        store.open.send_replace(true);
    };
    let (told, ()) = tokio::join!(answer, recorded);
    assert_eq!(told, ["double"]);
    world.clock.settle().await;
    let facts = facts(parked).await;
    assert!(matches!(facts.last(), Some(Fact::Ended { outcome: RunOutcome::Failed { .. }, .. })), "it went on to its end: {facts:?}");
    assert_eq!(facts.iter().filter(|fact| matches!(fact, Fact::Resumed { .. })).count(), 1);
}
