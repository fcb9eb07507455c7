//! The host ends without goodbye, after each commit of a flow in turn, and a new one goes on from the same store.

use std::collections::HashMap;
use std::future::pending as forever;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::Notify;

use super::meeting::{World, answer, call, computed, flow, listening_flow, plan, runs, text, work};
use super::{Scripted, scripted};
use crate::journal::memory::MemoryStore;
use crate::model::activation::RunOutcome;
use crate::model::failure::{Failure, FailureKind};
use crate::model::id::{JobId, RunId, StepId};
use crate::model::job::JobOutcome;
use crate::model::port::{Commit, Pending, Store, StoreError};
use crate::model::record::{Batch, Fact, InboxKey};
use crate::model::value::Value;
use crate::plan::pipeline::{EventMode, Pipeline, Retry, Trigger, Verb, Worker};
use crate::plan::template::Template;

/// A store whose host ends: after so many commits nothing that the host does has an effect any more.
struct Ending {
    inner: MemoryStore,
    left: AtomicUsize,
    /// Whether the last commit is kept and its host never hears of it.
    kept: bool,
    over: Notify,
}

impl Ending {
    fn end(&self) -> Commit {
        self.over.notify_one();
        Box::pin(forever())
    }
}

impl Store for Ending {
    fn commit(&self, batch: Batch) -> Commit {
        let left = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| Some(left.saturating_sub(1)));
        match left.unwrap_or_default() {
            0 => self.end(),
            1 if self.kept => {
                drop(self.inner.commit(batch));
                self.end()
            }
            _ => self.inner.commit(batch),
        }
    }

    fn facts(&self, run: RunId) -> BoxFuture<'static, Result<Vec<Fact>, StoreError>> {
        self.inner.facts(run)
    }

    fn rest(&self, run: RunId) {
        self.inner.rest(run);
    }

    fn pending(&self) -> BoxFuture<'static, Result<Pending, StoreError>> {
        self.inner.pending()
    }

    fn has_taken(&self, key: InboxKey) -> BoxFuture<'static, Result<bool, StoreError>> {
        self.inner.has_taken(key)
    }
}

/// Two steps, one of which fails at first; a call; a dispatch; an event that starts another flow; a wait for that flow's answer.
fn rich() -> Pipeline {
    let (main, on_timeout, reminder) = listening_flow("main");
    let (mut main, sent) = main.block(vec![("sent_work", work())]);
    let mut first = runs(Worker::Executor(0), Some(text("first")));
    if let Verb::Run(step) = &mut first {
        step.policy.retry = Some(Retry { settings: Default::default(), should_retry: None });
    }
    let steps = [
        main.step("first", first),
        main.step("called", call("callee")),
        main.step("sent", Verb::Dispatch(sent)),
        main.step("ask", Verb::Emit(vec![("Question".into(), Template::Literal(answer(7)))])),
        main.step("approval", super::meeting::wait(None, on_timeout, reminder)),
        main.step("last", work()),
        main.step("reply", Verb::Reply(text("done"))),
    ];
    main.blocks[0] = steps.to_vec();
    let callee = flow("callee", vec![("inner", work()), ("reply", Verb::Reply(text("called")))]);
    let answers = vec![("think", work()), ("say", Verb::Emit(vec![("Answer".into(), Template::Literal(answer(7)))]))];
    let mut pipeline = plan(vec![main, callee, flow("answers", answers)]);
    if let Some(flow) = pipeline.flows.last_mut().and_then(Arc::get_mut) {
        flow.triggers = vec![Trigger::Event { types: vec!["Question".into()], mode: EventMode::Direct }];
    }
    pipeline
}

/// Fails the first time it is called for the step `first`; counts its calls by job.
fn worker(calls: &Arc<Mutex<HashMap<JobId, usize>>>) -> Arc<Scripted> {
    let calls = Arc::clone(calls);
    scripted(move |job, _| {
        *calls.lock().unwrap().entry(job.id).or_default() += 1;
        let fails = job.step == StepId::new("first") && job.attempt == 1;
        async move { if fails { Err(Failure::new(FailureKind::Transient, "busy")) } else { Ok(Value::string("ok")) } }.boxed()
    })
}

async fn outcomes(store: &MemoryStore, runs: &[RunId]) -> Vec<RunOutcome> {
    let mut outcomes = Vec::new();
    for run in runs {
        if let Some(Fact::Ended { outcome, .. }) = store.facts(*run).await.expect("never broken").last() {
            outcomes.push(outcome.clone());
        }
    }
    outcomes
}

fn check_jobs(facts: &[Fact], calls: &HashMap<JobId, usize>, cut: &str) {
    let dispatched = facts.iter().filter_map(|fact| match fact {
        Fact::JobDispatched { job, .. } => Some(*job),
        _ => None,
    });
    for job in dispatched {
        let ends: Vec<_> = facts
            .iter()
            .filter_map(|fact| match fact {
                Fact::JobEnded { job: ended, outcome, .. } if *ended == job => Some(outcome),
                _ => None,
            })
            .collect();
        assert_eq!(ends.len(), 1, "{cut}: job {job} has one end");
        let is_call = !calls.contains_key(&job);
        assert!(matches!(ends[0], JobOutcome::Succeeded { .. }), "{cut}: {ends:?}");
        assert!(is_call || calls[&job] >= 1, "{cut}");
    }
}

#[tokio::test]
async fn after_a_crash_at_any_commit_every_run_ends_as_it_would_have() {
    let pipeline = Arc::new(rich());
    let mut crashes = 0;
    for kept in [false, true] {
        for cut in 1..200 {
            let store = MemoryStore::new();
            let calls: Arc<Mutex<HashMap<JobId, usize>>> = Arc::default();
            let ending = Arc::new(Ending { inner: store.clone(), left: AtomicUsize::new(cut), kept, over: Notify::new() });
            let first = World::on(ending.clone(), Arc::clone(&pipeline), &worker(&calls), 1);
            let (run, _) = first.ask("main").await;
            let over = tokio::select! {
                () = ending.over.notified() => false,
                () = first.clock.advance(Duration::from_secs(60)) => true,
            };
            drop(first);
            let cut = format!("cut after {cut} commits, kept: {kept}");
            let began = !store.facts(run).await.expect("never broken").is_empty();
            let second = World::on(Arc::new(store.clone()), Arc::clone(&pipeline), &worker(&calls), 2);
            second.engine.recover().await.expect("the store is good");
            second.clock.advance(Duration::from_secs(60)).await;
            assert!(second.engine.running().is_empty(), "{cut}: {:?}", second.engine.running());
            if began {
                let facts = store.facts(run).await.expect("never broken");
                assert_eq!(outcomes(&store, &[run]).await, [RunOutcome::Succeeded], "{cut}: {facts:#?}");
                check_jobs(&facts, &calls.lock().unwrap(), &cut);
                let waits = facts.iter().filter(|fact| matches!(fact, Fact::WaitEnded { event: Some(_), .. })).count();
                assert_eq!(waits, 1, "{cut}: the answer was taken");
                assert_eq!(store.runs(), (4, 4), "{cut}: main, callee, what was sent and the answering flow, each once");
            }
            crashes += 1;
            if over {
                break;
            }
        }
    }
    assert!(crashes > 30, "only {crashes} cuts were tried");
}

#[tokio::test]
async fn a_run_that_waits_goes_on_waiting_and_what_is_overdue_is_done_at_once() {
    let (main, on_timeout, reminder) = listening_flow("main");
    let mut main = main;
    let wait = main.step("approval", super::meeting::wait(None, on_timeout, reminder));
    let reply = main.step("reply", Verb::Reply(computed(|_| Ok(Value::string("over")))));
    main.blocks[0] = vec![wait, reply];
    let pipeline = Arc::new(plan(vec![main]));
    let store = MemoryStore::new();
    let calls = Arc::default();
    let first = World::on(Arc::new(store.clone()), Arc::clone(&pipeline), &worker(&calls), 1);
    let (run, _) = first.ask("main").await;
    first.until_waiting(1).await;
    first.clock.advance(Duration::from_secs(60)).await;
    drop(first);
    let second = World::on(Arc::new(store.clone()), Arc::clone(&pipeline), &worker(&calls), 2);
    second.engine.recover().await.expect("the store is good");
    second.clock.advance(Duration::from_secs(3_599)).await;
    assert_eq!(second.engine.running().len(), 1);
    second.clock.advance(Duration::from_secs(1)).await;
    assert_eq!(outcomes(&store, &[run]).await, [RunOutcome::Succeeded]);
}
