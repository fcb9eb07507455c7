//! Runs that stand still: what they hold stays theirs, and of several who decide about one at once each hears the truth.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::FutureExt;
use tokio::sync::{Barrier, Notify};

use super::keeping::{again, deduplicated, succeeds};
use super::meeting::{World, flow, plan, work};
use super::{Scripted, scripted};
use crate::engine::recovery::CLAIMS;
use crate::journal::memory::MemoryStore;
use crate::model::activation::RunOutcome;
use crate::model::id::{FlowName, RunId};
use crate::model::job::CancelReason;
use crate::model::policy::DedupWindow;
use crate::model::port::{Answer, Commit, Health, Store, StoreError, forward_store};
use crate::model::record::{Batch, Fact};
use crate::model::value::Value;
use crate::plan::pipeline::Pipeline;

fn hangs() -> Arc<Scripted> {
    scripted(|_, _| std::future::pending().boxed())
}

async fn until(what: impl Fn() -> bool) {
    for _ in 0..1_000 {
        if what() {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("it does not come to pass");
}

async fn ends(store: &dyn Store, run: RunId) -> Vec<RunOutcome> {
    let facts = store.facts(run).await.expect("never broken");
    let ends = facts.into_iter().filter_map(|fact| match fact {
        Fact::Ended { outcome, .. } => Some(outcome),
        _ => None,
    });
    ends.collect()
}

/// Runs of these flows whose host has ended while each was at work, taken up so often since for nothing.
async fn left_at_work(store: &MemoryStore, pipeline: &Arc<Pipeline>, flows: &[&str], claims: u32) -> Vec<RunId> {
    let first = World::on(Arc::new(store.clone()), Arc::clone(pipeline), &hangs(), 1);
    let mut runs = Vec::new();
    for flow in flows {
        let (run, _) = first.ask(flow).await;
        while !store.facts(run).await.expect("never broken").iter().any(|fact| matches!(fact, Fact::AttemptStarted { .. })) {
            tokio::task::yield_now().await;
        }
        runs.push(run);
    }
    drop(first);
    for run in &runs {
        for _ in 0..claims {
            store.claim(*run).await.expect("never broken");
        }
    }
    runs
}

#[tokio::test]
async fn the_work_of_a_run_that_was_given_up_is_done_by_no_other_until_somebody_has_decided() {
    for goes_on in [true, false] {
        let (store, pipeline) = (MemoryStore::new(), Arc::new(deduplicated(DedupWindow::Running)));
        let run = left_at_work(&store, &pipeline, &["main"], CLAIMS - 1).await[0];
        let executor = succeeds();
        let calls = || executor.calls.load(Ordering::SeqCst);
        let second = again(Arc::new(store.clone()), &pipeline, &executor).await;
        second.clock.settle().await;
        assert!(second.engine.why_stalled(run).is_some_and(|why| why.contains("runs resume")));
        let (_, asker) = second.ask("main").await;
        second.clock.settle().await;
        assert_eq!((calls(), second.diary.count("dedup join")), (0, 1), "it waits for the one that stands still");
        match goes_on {
            true => second.engine.resume(run).await,
            false => second.engine.call_off(run).await,
        }
        .expect("it can be taken up");
        second.clock.run(asker.ended.notified()).await;
        assert_eq!((calls(), asker.heard().last().map(String::as_str)), (1, Some("end succeeded")), "it was done once");
        let (_, asker) = second.ask("main").await;
        second.clock.run(asker.ended.notified()).await;
        assert_eq!((calls(), second.diary.count("dedup join")), (2, 1), "its key is free");
    }
}

#[tokio::test]
async fn the_work_of_a_run_that_waits_for_its_turn_is_done_by_no_other() {
    let mut pipeline = deduplicated(DedupWindow::Running);
    pipeline.flows.extend(plan(vec![flow("other", vec![("w", work())])]).flows);
    let (store, pipeline) = (MemoryStore::new(), Arc::new(pipeline));
    let runs = left_at_work(&store, &pipeline, &["other", "main"], 3).await;
    let go = Arc::new(Notify::new());
    let calls: Arc<Mutex<Vec<FlowName>>> = Arc::default();
    let executor = {
        let (go, calls) = (Arc::clone(&go), Arc::clone(&calls));
        scripted(move |job, _| {
            calls.lock().unwrap().push(job.flow.clone());
            let hangs = (job.flow == FlowName::new("other")).then(|| Arc::clone(&go));
            async move {
                if let Some(go) = hangs {
                    go.notified().await;
                }
                Ok(Value::null())
            }
            .boxed()
        })
    };
    let second = again(Arc::new(store.clone()), &pipeline, &executor).await;
    until(|| calls.lock().unwrap().len() == 1).await;
    let (asked, _) = second.ask("main").await;
    until(|| second.diary.count("dedup join") == 1).await;
    assert_eq!(*calls.lock().unwrap(), [FlowName::new("other")], "the first of the two keeps the other waiting");
    go.notify_one();
    second.clock.settle().await;
    for run in [runs[0], runs[1], asked] {
        assert_eq!(ends(&store, run).await, [RunOutcome::Succeeded]);
    }
    assert_eq!(calls.lock().unwrap().len(), 2, "it was done once for both");
}

/// A store of which, once it is armed, a run is read by two at once; the one who asked first may not get it.
struct Meeting {
    inner: MemoryStore,
    armed: AtomicBool,
    fails: bool,
    asked: AtomicUsize,
    both: Arc<Barrier>,
}

impl Meeting {
    fn over(inner: &MemoryStore, fails: bool) -> Arc<Self> {
        let (armed, asked, both) = (AtomicBool::new(false), AtomicUsize::new(0), Arc::new(Barrier::new(2)));
        Arc::new(Self { inner: inner.clone(), armed, fails, asked, both })
    }
}

impl Store for Meeting {
    fn commit(&self, batch: Batch) -> Commit {
        self.inner.commit(batch)
    }

    fn facts(&self, run: RunId) -> Answer<Vec<Fact>> {
        let facts = self.inner.facts(run);
        if !self.armed.load(Ordering::SeqCst) {
            return facts;
        }
        let (both, turn) = (Arc::clone(&self.both), self.asked.fetch_add(1, Ordering::SeqCst));
        if turn == 1 {
            self.armed.store(false, Ordering::SeqCst);
        }
        let fails = self.fails && turn == 0;
        Box::pin(async move {
            both.wait().await;
            if fails { Err(StoreError::Broken("too many open files".to_owned())) } else { facts.await }
        })
    }

    forward_store!(inner: write, published);
}

/// A host on a store in which one run stands still, and what does its work.
async fn standing_still(fails: bool, executor: &Arc<Scripted>) -> (World, Arc<Meeting>, RunId) {
    let (store, pipeline) = (MemoryStore::new(), Arc::new(plan(vec![flow("main", vec![("w", work())])])));
    let run = left_at_work(&store, &pipeline, &["main"], CLAIMS - 1).await[0];
    let store = Meeting::over(&store, fails);
    let world = again(store.clone(), &pipeline, executor).await;
    world.clock.settle().await;
    assert!(world.engine.why_stalled(run).is_some());
    store.armed.store(true, Ordering::SeqCst);
    (world, store, run)
}

#[tokio::test]
async fn of_two_who_have_a_stalled_run_go_on_at_once_one_does_and_both_hear_that_it_does() {
    let executor = succeeds();
    let (world, store, run) = standing_still(false, &executor).await;
    assert_eq!(tokio::join!(world.engine.resume(run), world.engine.resume(run)), (Ok(()), Ok(())));
    world.clock.settle().await;
    assert_eq!((ends(&store.inner, run).await, executor.calls.load(Ordering::SeqCst)), (vec![RunOutcome::Succeeded], 1));
    assert!(world.engine.views().await.is_empty());
}

#[tokio::test]
async fn a_run_that_goes_on_is_not_made_stalled_again_by_one_who_could_not_read_it() {
    let executor = succeeds();
    let (world, store, run) = standing_still(true, &executor).await;
    assert_eq!(tokio::join!(world.engine.resume(run), world.engine.resume(run)), (Ok(()), Ok(())));
    assert_eq!(world.engine.why_stalled(run), None);
    world.clock.settle().await;
    assert_eq!((ends(&store.inner, run).await, executor.calls.load(Ordering::SeqCst)), (vec![RunOutcome::Succeeded], 1));
    assert!(world.engine.views().await.is_empty());
}

#[tokio::test]
async fn a_run_that_is_resumed_and_called_off_at_once_is_called_off_once() {
    for (resumed_first, fails) in [(true, false), (true, true), (false, false), (false, true)] {
        let executor = hangs();
        let (world, store, run) = standing_still(fails, &executor).await;
        let (resume, call_off) = (world.engine.resume(run), world.engine.call_off(run));
        match resumed_first {
            // The one who asks last goes on first.
            true => assert_eq!(tokio::join!(call_off, resume), (Ok(()), Ok(()))),
            false => assert_eq!(tokio::join!(resume, call_off), (Ok(()), Ok(()))),
        }
        world.clock.settle().await;
        assert_eq!(ends(&store.inner, run).await, [RunOutcome::Cancelled { reason: CancelReason::Requested }]);
        assert!(world.engine.views().await.is_empty() && world.engine.why_stalled(run).is_none());
    }
}

/// A store that may have lost something: it gives what it has, and takes nothing.
struct Suspect(MemoryStore);

impl Store for Suspect {
    fn commit(&self, _: Batch) -> Commit {
        Box::pin(std::future::ready(Err(StoreError::Suspect(MISSING.to_owned()))))
    }

    fn facts(&self, run: RunId) -> Answer<Vec<Fact>> {
        self.0.facts(run)
    }

    fn health(&self) -> Health {
        Health::Suspect(MISSING.to_owned())
    }

    forward_store!(only 0: write, published, rest, pending, claim, has_taken, bundle, runs, kept, first_kept);
}

const MISSING: &str = "row 2 is missing";

#[tokio::test]
async fn while_data_may_be_lost_every_open_run_stands_still_and_says_why_to_whoever_asks_something_of_it() {
    let (store, pipeline) = (MemoryStore::new(), Arc::new(plan(vec![flow("main", vec![("w", work())])])));
    let run = left_at_work(&store, &pipeline, &["main"], 0).await[0];
    let world = World::on(Arc::new(Suspect(store)), pipeline, &hangs(), 2);
    let why = "data may be lost: row 2 is missing; see `pipehost store verify`; `pipehost store accept-loss` goes on without what is lost";
    assert_eq!(world.engine.why_stalled(run).as_deref(), Some(why));
    let again = world.engine.retry(run, None).await.map(drop);
    for refused in [world.engine.call_off(run).await, world.engine.resume(run).await, again] {
        let failure = refused.expect_err("nothing goes on");
        assert_eq!((failure.code.as_deref(), failure.message.clone()), (Some("E0754"), format!("run {run} stands still: {why}")));
    }
}
