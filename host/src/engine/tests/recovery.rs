//! The host ends without goodbye, after each commit of a flow in turn, and a new one goes on from the same store.

use std::collections::HashMap;
use std::future::pending as forever;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::Notify;

use super::meeting::{World, answer, call, computed, flow, listening_flow, plan, runs, text, work};
use super::{Scripted, scripted};
use crate::engine::fixture::{Shape, Sketch, SketchStep, pipeline as sketched_pipeline};
use crate::journal::memory::MemoryStore;
use crate::model::activation::RunOutcome;
use crate::model::failure::{Failure, FailureKind};
use crate::model::id::{JobId, RunId, StepId};
use crate::model::job::JobOutcome;
use crate::model::port::{Clock, Commit, RunQuery, Store, forward_store};
use crate::model::record::{Batch, Fact, end_of};
use crate::model::value::Value;
use crate::plan::pipeline::{Concurrency, EventMode, Idempotency, Pipeline, Retry, Trigger, Verb, Worker};
use crate::plan::template::Template;

/// A store whose host ends: after so many commits nothing that the host does has an effect any more.
pub(super) struct Ending {
    inner: MemoryStore,
    left: AtomicUsize,
    /// Whether the last commit is kept and its host never hears of it.
    kept: bool,
    pub(super) over: Notify,
}

impl Ending {
    /// One in front of this store, whose host ends after so many commits.
    pub(super) fn after(inner: &MemoryStore, commits: usize) -> Arc<Self> {
        Arc::new(Self { inner: inner.clone(), left: AtomicUsize::new(commits), kept: false, over: Notify::new() })
    }

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

    forward_store!(inner: facts, write, published);
}

/// Two steps, one of which fails at first; a call; a dispatch; an event that starts another flow; a wait for that flow's answer.
pub(super) fn rich() -> Pipeline {
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
pub(super) fn worker(calls: &Arc<Mutex<HashMap<JobId, usize>>>) -> Arc<Scripted> {
    let calls = Arc::clone(calls);
    scripted(move |job, _| {
        *calls.lock().unwrap().entry(job.id).or_default() += 1;
        let fails = job.step == StepId::new("first") && job.attempt == 1;
        async move { if fails { Err(Failure::new(FailureKind::Transient, "busy")) } else { Ok(Value::string("ok")) } }.boxed()
    })
}

pub(super) async fn outcomes(store: &MemoryStore, runs: &[RunId]) -> Vec<RunOutcome> {
    let mut outcomes = Vec::new();
    for run in runs {
        if let Some(outcome) = end_of(&store.facts(*run).await.expect("never broken")) {
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
            let asked = tokio::select! {
                biased;
                (run, _) = first.ask("main") => Some(run),
                () = ending.over.notified() => None,
            };
            let over = asked.is_some()
                && tokio::select! {
                    () = ending.over.notified() => false,
                    () = first.clock.advance(Duration::from_secs(60)) => true,
                };
            drop(first);
            let cut = format!("cut after {cut} commits, kept: {kept}");
            // One of which nobody heard may still have begun.
            let of_main = RunQuery { flow: Some("main".into()), ..RunQuery::default() };
            let known =
                store.runs(of_main).await.expect("never broken").iter().filter(|run| run.parent.is_none()).map(|run| run.run).next();
            assert!(asked.is_none() || known == asked, "{cut}: what was acknowledged is there");
            let second = World::on(Arc::new(store.clone()), Arc::clone(&pipeline), &worker(&calls), 2);
            second.engine.recover().await.expect("the store is good");
            second.clock.advance(Duration::from_secs(60)).await;
            assert!(second.engine.running().is_empty(), "{cut}: {:?}", second.engine.running());
            if let Some(run) = known {
                let facts = store.facts(run).await.expect("never broken");
                assert_eq!(outcomes(&store, &[run]).await, [RunOutcome::Succeeded], "{cut}: {facts:#?}");
                check_jobs(&facts, &calls.lock().unwrap(), &cut);
                let waits = facts.iter().filter(|fact| matches!(fact, Fact::WaitEnded { event: Some(_), .. })).count();
                assert_eq!(waits, 1, "{cut}: the answer was taken");
                assert_eq!(store.count(), (4, 4), "{cut}: main, callee, what was sent and the answering flow, each once");
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

/// A host that dies, and the one that takes up what it left behind.
struct Crash {
    store: MemoryStore,
    pipeline: Arc<Pipeline>,
    first: World,
}

impl Crash {
    fn new(pipeline: Pipeline, executor: &Arc<Scripted>) -> Self {
        let (store, pipeline) = (MemoryStore::new(), Arc::new(pipeline));
        let first = World::on(Arc::new(store.clone()), Arc::clone(&pipeline), executor, 1);
        Self { store, pipeline, first }
    }

    /// Starts `main` and works on until such a fact is recorded of it.
    async fn until(&self, is_it: fn(&Fact) -> bool) -> RunId {
        let (run, _) = self.first.ask("main").await;
        while !self.store.facts(run).await.expect("never broken").iter().any(is_it) {
            tokio::task::yield_now().await;
        }
        run
    }

    async fn recovered(self, executor: &Arc<Scripted>, runs: usize) -> (World, MemoryStore) {
        drop(self.first);
        let second = World::on(Arc::new(self.store.clone()), self.pipeline, executor, 2);
        assert_eq!(second.engine.recover().await.map(|recovered| recovered.under_way()), Ok(runs));
        (second, self.store)
    }
}

fn hangs() -> Arc<Scripted> {
    scripted(|_, _| std::future::pending().boxed())
}

fn succeeds() -> Arc<Scripted> {
    scripted(|_, _| async { Ok(Value::string("ok")) }.boxed())
}

fn sketched(sketch: &Sketch) -> Pipeline {
    Arc::into_inner(sketched_pipeline(sketch)).expect("nobody else has it")
}

#[tokio::test]
async fn a_back_off_ends_when_it_would_have_and_the_attempts_are_counted_on() {
    let step = SketchStep { retries: Some(3), ..SketchStep::default() };
    let busy = scripted(|_, _| async { Err(Failure::new(FailureKind::Transient, "busy")) }.boxed());
    let crash = Crash::new(sketched(&Sketch { steps: vec![step], ..Sketch::default() }), &busy);
    let run = crash.until(|fact| matches!(fact, Fact::Retrying { .. })).await;
    let due = crash.store.facts(run).await.expect("never broken").iter().find_map(|fact| match fact {
        Fact::Retrying { due, .. } => Some(*due),
        _ => None,
    });
    let executor = succeeds();
    let (second, store) = crash.recovered(&executor, 1).await;
    second.clock.settle().await;
    assert_eq!(executor.calls.load(Ordering::SeqCst), 0, "it waits");
    second.clock.advance(due.expect("it is told").since(second.clock.now())).await;
    assert_eq!(outcomes(&store, &[run]).await, [RunOutcome::Succeeded]);
    let attempts: Vec<u32> = attempts(&store.facts(run).await.expect("never broken"));
    assert_eq!(attempts, [1, 2]);
}

fn attempts(facts: &[Fact]) -> Vec<u32> {
    let attempt = |fact: &Fact| match fact {
        Fact::AttemptStarted { attempt, .. } => Some(*attempt),
        _ => None,
    };
    facts.iter().filter_map(attempt).collect()
}

#[tokio::test]
async fn a_run_that_was_unwinding_unwinds_to_its_end() {
    let failing = SketchStep { shape: Shape::Fail, ..SketchStep::default() };
    let crash = Crash::new(sketched(&Sketch { steps: vec![failing], finally: true, ..Sketch::default() }), &hangs());
    let run = crash.until(|fact| matches!(fact, Fact::AttemptStarted { .. })).await;
    let executor = succeeds();
    let (second, store) = crash.recovered(&executor, 1).await;
    second.clock.advance(Duration::from_secs(1)).await;
    assert!(matches!(outcomes(&store, &[run]).await[..], [RunOutcome::Failed { .. }]));
    assert_eq!(executor.calls.load(Ordering::SeqCst), 1, "its `finally` was done again, and nothing else");
    assert_eq!(attempts(&store.facts(run).await.expect("never broken")), [1, 2]);
}

#[tokio::test]
async fn jobs_that_were_joined_are_done_once_for_all() {
    let step = SketchStep { dedup: true, ..SketchStep::default() };
    let concurrency = Some(Concurrency { max_concurrent: 9, ..Concurrency::default() });
    let crash = Crash::new(sketched(&Sketch { steps: vec![step], concurrency, ..Sketch::default() }), &hangs());
    let mut runs = Vec::new();
    for _ in 0..3 {
        runs.push(crash.until(|fact| matches!(fact, Fact::AttemptStarted { .. } | Fact::JobJoined { .. })).await);
    }
    // Takes so long that all have asked for it before it is over.
    let executor = scripted(|_, _| {
        async {
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            Ok(Value::string("ok"))
        }
        .boxed()
    });
    let (second, store) = crash.recovered(&executor, 3).await;
    second.clock.advance(Duration::from_secs(1)).await;
    assert_eq!(outcomes(&store, &runs).await, [RunOutcome::Succeeded, RunOutcome::Succeeded, RunOutcome::Succeeded]);
    assert_eq!(executor.calls.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_reminder_that_was_due_does_not_come_again() {
    let (mut main, on_timeout, reminder) = listening_flow("main");
    let wait = main.step("approval", super::meeting::wait(None, on_timeout, reminder));
    main.blocks[0] = vec![wait];
    let executor = succeeds();
    let crash = Crash::new(plan(vec![main]), &executor);
    let run = crash.until(|fact| matches!(fact, Fact::WaitBegan { .. })).await;
    crash.first.clock.advance(Duration::from_secs(700)).await;
    assert_eq!(executor.calls.load(Ordering::SeqCst), 1);
    let (second, store) = crash.recovered(&executor, 1).await;
    // Its clock begins anew, and the reminder would be due at 600 s once more.
    second.clock.advance(Duration::from_secs(3_599)).await;
    assert_eq!(executor.calls.load(Ordering::SeqCst), 1);
    second.clock.advance(Duration::from_secs(1)).await;
    assert_eq!((executor.calls.load(Ordering::SeqCst), outcomes(&store, &[run]).await), (2, vec![RunOutcome::Succeeded]));
}

#[tokio::test]
async fn a_request_that_is_repeated_after_a_crash_joins_the_run_that_goes_on() {
    let mut pipeline = plan(vec![flow("main", vec![("w", work()), ("reply", Verb::Reply(text("once")))])]);
    let main = pipeline.flows.first_mut().and_then(Arc::get_mut).expect("nobody else has it");
    main.idempotency = Some(Idempotency { key: text("order-1"), retention: Duration::from_secs(3_600) });
    let crash = Crash::new(pipeline, &hangs());
    let run = crash.until(|fact| matches!(fact, Fact::AttemptStarted { .. })).await;
    let executor = succeeds();
    let (second, _) = crash.recovered(&executor, 1).await;
    let (again, asker) = second.ask("main").await;
    second.clock.advance(Duration::from_secs(1)).await;
    assert_eq!((again, asker.heard()), (run, vec![r#"reply "once""#.to_owned(), "end succeeded".to_owned()]));
    assert_eq!(executor.calls.load(Ordering::SeqCst), 1);
}
