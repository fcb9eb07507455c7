//! The engine with scripted executors and a virtual clock: what reaches an executor, what reaches whoever asked, and in which order.

mod ahead;
mod full_queue;
mod optimistic;
mod outbox;
mod outboxed;
mod probing;
mod quick;
mod refused;
mod single_flight;
mod structure;

use std::future::pending;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::{Notify, oneshot};

use super::fixture::{Sketch, SketchStep, description, pipeline};
use super::{Engine, Ports};
use crate::bus::Bus;
use crate::clock::{Activity, SeededRandom, VirtualClock};
use crate::journal::memory::MemoryStore;
use crate::model::activation::{Activation, Admission, Requester, RunEnd, RunOutcome};
use crate::model::event::{Event, Scope};
use crate::model::executor::Description;
use crate::model::failure::{Failure, FailureKind};
use crate::model::fixture::event;
use crate::model::happening::{Happening, What};
use crate::model::id::RunId;
use crate::model::job::{CancelReason, Job};
use crate::model::port::{Activate, Attempt, Clock, Executor, JobChannel, Processing, Sink};
use crate::model::time::Timestamp;
use crate::model::value::Value;
use crate::plan::pipeline::{Concurrency, WhenFull};
use crate::plan::{Bound, Install};
use crate::policy::Policies;

mod meeting;
mod migrating;
mod between;
mod crashing;
mod dispatched;
mod acknowledged;
mod due;
mod unreadable;
mod going_on;
mod standing_still;
mod people;
mod keeping;
mod late;
mod once_more;
mod recovery;
mod recovery_again;
mod resting;
mod simulation;

type Script = Box<dyn Fn(Arc<Job>, Attempt) -> Processing<'static> + Send + Sync>;

/// An executor that does what the test says.
struct Scripted {
    description: Description,
    script: Script,
    calls: AtomicUsize,
    only_computes: AtomicBool,
}

impl Executor for Scripted {
    fn description(&self) -> &Description {
        &self.description
    }

    fn only_computes(&self) -> bool {
        self.only_computes.load(Ordering::SeqCst)
    }

    fn process(&self, job: Arc<Job>, attempt: Attempt) -> Processing<'_> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        (self.script)(job, attempt)
    }
}

fn scripted(script: impl Fn(Arc<Job>, Attempt) -> Processing<'static> + Send + Sync + 'static) -> Arc<Scripted> {
    Arc::new(Scripted {
        description: description(),
        script: Box::new(script),
        calls: AtomicUsize::new(0),
        only_computes: AtomicBool::new(false),
    })
}

/// An executor each call of which ends so once the gate lets it go on.
fn gated(gate: &Arc<Notify>, result: Result<Value, Failure>) -> Arc<Scripted> {
    let gate = Arc::clone(gate);
    scripted(move |_, _| {
        let (gate, result) = (Arc::clone(&gate), result.clone());
        async move {
            gate.notified().await;
            result
        }
        .boxed()
    })
}

/// Keeps what happened, as short words.
#[derive(Default)]
struct Diary(Mutex<Vec<String>>);

impl Diary {
    fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    fn count(&self, line: &str) -> usize {
        self.lines().iter().filter(|other| *other == line).count()
    }
}

impl Sink for Diary {
    fn accept(&self, happening: Happening) {
        let line = match happening.what {
            What::RunStarted => "run started".to_owned(),
            What::RunEnded { outcome, unheard, .. } => {
                // A line of its own, so that the counts of ends stay what they are.
                if unheard.is_some() {
                    self.0.lock().unwrap().push(format!("unheard {}", outcome.as_str()));
                }
                format!("run {}", outcome.as_str())
            }
            What::JobEnded { job, outcome } if job.undo => format!("undo {}", outcome.as_str()),
            What::JobEnded { outcome, .. } => format!("job {}", outcome.as_str()),
            What::LateDropped { what, .. } => format!("late {what}"),
            What::Undelivered { undelivered, .. } => format!("undelivered {}", undelivered.event_type),
            What::Published { published } => format!("event {}", published.event_type),
            What::Breaker { state, .. } => format!("breaker {state}"),
            What::Deduplicated { verdict, .. } => format!("dedup {verdict}"),
            What::StateSet { after, .. } => format!("state {}", after.text()),
            What::Waiting { .. } => "waiting".to_owned(),
            What::Reminded { .. } => "reminded".to_owned(),
            What::NotAdmitted { reason, .. } => format!("refused {reason}"),
            What::Stalled { .. } => "stalled".to_owned(),
            What::StoreBusy { .. } => "store busy".to_owned(),
            What::Unreadable { failure } => format!("unreadable {}", failure.into_particulars().code.unwrap_or_default()),
            _ => return,
        };
        self.0.lock().unwrap().push(line);
    }

    fn wants_routine(&self) -> bool {
        true
    }

    fn wants_detail(&self) -> bool {
        true
    }
}

/// Whoever asked: keeps what it hears, and tells when it has heard the end.
#[derive(Default)]
struct Asker {
    heard: Mutex<Vec<String>>,
    ended: Notify,
}

impl Requester for Asker {
    fn progress(&self, progress: &Value) {
        self.heard.lock().unwrap().push(format!("progress {}", progress.text()));
    }

    fn reply(&self, reply: &Value) {
        self.heard.lock().unwrap().push(format!("reply {}", reply.text()));
    }

    fn end(&self, end: &RunEnd) {
        self.heard.lock().unwrap().push(format!("end {}", end.outcome.as_str()));
        self.ended.notify_one();
    }
}

impl Asker {
    fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }
}

struct World {
    activity: Activity,
    engine: Engine,
    bus: Bus,
    clock: VirtualClock,
    diary: Arc<Diary>,
}

impl World {
    fn new(sketch: &Sketch, executor: &Arc<Scripted>) -> Self {
        Self::with(sketch, executor, Activity::new())
    }

    fn with(sketch: &Sketch, executor: &Arc<Scripted>, activity: Activity) -> Self {
        Self::on(VirtualClock::new(activity.clone()), activity, sketch, executor)
    }

    fn on(clock: VirtualClock, activity: Activity, sketch: &Sketch, executor: &Arc<Scripted>) -> Self {
        let diary = Arc::new(Diary::default());
        let shared_clock: Arc<dyn Clock> = Arc::new(clock.clone());
        let sink = Arc::clone(&diary) as Arc<dyn Sink>;
        let bus = Bus::counted_by(Arc::clone(&shared_clock), Arc::clone(&sink), activity.clone());
        let engine = Engine::new(Ports {
            store: Arc::new(MemoryStore::new()),
            clock: Arc::clone(&shared_clock),
            random: Arc::new(SeededRandom::new(1)),
            sink: Arc::clone(&sink),
            policies: Policies::counted_by(Arc::clone(&shared_clock), Arc::clone(&sink), activity.clone()),
            bus: bus.clone(),
            activity: activity.clone(),
        });
        let world = Self { activity, engine, bus, clock, diary };
        world.install(sketch, executor);
        world
    }

    fn install(&self, sketch: &Sketch, executor: &Arc<Scripted>) {
        let executors = vec![Arc::clone(executor) as Arc<dyn Executor>];
        self.engine.install(vec![Arc::new(Bound { pipeline: pipeline(sketch), executors })]);
    }

    async fn ask(&self) -> (Admission, Arc<Asker>) {
        let asker = Arc::new(Asker::default());
        let activation = Activation { requester: Some(Arc::clone(&asker) as Arc<dyn Requester>), ..self.activation() };
        (self.engine.activate(activation).await, asker)
    }

    fn activation(&self) -> Activation {
        Activation::new("p", "main", Value::null())
    }

    async fn run_to_end(&self) -> Vec<String> {
        let (_, asker) = self.ask().await;
        self.clock.run(asker.ended.notified()).await;
        asker.heard()
    }
}

fn started(admission: &Admission) -> RunId {
    match admission {
        Admission::Started(run) | Admission::Queued(run) => *run,
        other => panic!("it was not admitted: {other:?}"),
    }
}

/// Tells when it is dropped.
struct Dropped(Option<oneshot::Sender<()>>);

impl Drop for Dropped {
    fn drop(&mut self) {
        let _ = self.0.take().map(|sender| sender.send(()));
    }
}

fn one(step: SketchStep) -> Sketch {
    Sketch { steps: vec![step], ..Sketch::default() }
}

#[tokio::test]
async fn cancel_reaches_the_executor_and_ends_job_and_run_once() {
    let (sender, dropped) = oneshot::channel();
    let (sender, begun) = (Mutex::new(Some(sender)), Arc::new(Notify::new()));
    let begun_inside = Arc::clone(&begun);
    let signal = Arc::new(Mutex::new(None));
    let signal_inside = Arc::clone(&signal);
    let executor = scripted(move |_, attempt| {
        let guard = Dropped(sender.lock().unwrap().take());
        *signal_inside.lock().unwrap() = Some(attempt.cancel.clone());
        begun_inside.notify_one();
        async move {
            let _guard = guard;
            pending().await
        }
        .boxed()
    });
    let world = World::new(&Sketch::of(2), &executor);
    let (admission, asker) = world.ask().await;
    begun.notified().await;
    world.engine.cancel(started(&admission), CancelReason::Requested);
    asker.ended.notified().await;
    dropped.await.expect("the work was dropped");
    assert!(signal.lock().unwrap().as_ref().is_some_and(|signal| signal.is_cancelled()));
    assert_eq!(asker.heard(), ["end cancelled"]);
    assert_eq!((world.diary.count("job cancelled"), world.diary.count("run cancelled")), (1, 1));
    assert_eq!(executor.calls.load(Ordering::SeqCst), 1, "the second step never began");
    assert!(world.engine.running().is_empty());
}

#[tokio::test]
async fn what_comes_after_the_terminal_event_is_dropped_and_counted() {
    let kept: Arc<Mutex<Option<Arc<dyn JobChannel>>>> = Arc::default();
    let inside = Arc::clone(&kept);
    let executor = scripted(move |_, attempt| {
        attempt.channel.progress(Value::string("in time"));
        *inside.lock().unwrap() = Some(Arc::clone(&attempt.channel));
        async { Ok(Value::null()) }.boxed()
    });
    let world = World::new(&one(SketchStep { stream: true, ..SketchStep::default() }), &executor);
    let heard = world.run_to_end().await;
    let channel = kept.lock().unwrap().take().expect("it ran");
    channel.progress(Value::string("late"));
    assert!(channel.emit("Told".into(), Value::null()).is_err());
    assert_eq!(heard, [r#"progress "in time""#, "end succeeded"]);
    assert_eq!((world.diary.count("late progress"), world.diary.count("late emit")), (1, 1));
}

#[tokio::test]
async fn events_of_a_failed_attempt_are_dropped_and_the_others_go_before_the_terminal_event() {
    let executor = scripted(|job, attempt| {
        attempt.channel.emit("Told".into(), Value::null()).expect("it is granted");
        let result = if job.attempt == 1 { Err(Failure::new(FailureKind::Transient, "busy")) } else { Ok(Value::null()) };
        async move { result }.boxed()
    });
    let step = SketchStep { retries: Some(1), emits: true, ..SketchStep::default() };
    let world = World::new(&one(step), &executor);
    world.run_to_end().await;
    assert_eq!(world.diary.lines(), ["run started", "event Told", "event Done", "job succeeded", "run succeeded"]);
}

#[tokio::test]
async fn an_event_that_is_not_granted_or_one_too_many_is_refused() {
    let executor = scripted(|_, attempt| {
        let denied = attempt.channel.emit("Secret".into(), Value::null()).expect_err("it is not granted");
        assert_eq!(denied.kind, FailureKind::Denied);
        for _ in 0..3 {
            attempt.channel.emit("Told".into(), Value::null()).expect("it is granted");
        }
        let full = attempt.channel.emit("Told".into(), Value::null()).expect_err("three are the limit");
        assert_eq!(full.code.as_deref(), Some("limit_events"));
        async { Ok(Value::null()) }.boxed()
    });
    let world = World::new(&Sketch::of(1), &executor);
    assert_eq!(world.run_to_end().await, ["end succeeded"]);
}

#[tokio::test]
async fn retries_wait_in_virtual_time() {
    let executor = scripted(|_, _| async { Err(Failure::new(FailureKind::Transient, "busy")) }.boxed());
    let world = World::new(&one(SketchStep { retries: Some(3), ..SketchStep::default() }), &executor);
    assert_eq!(world.run_to_end().await, ["end failed"]);
    assert_eq!(executor.calls.load(Ordering::SeqCst), 4);
    assert_eq!(world.clock.now().as_millis(), 7_000);
}

#[tokio::test]
async fn a_deadline_stops_the_executor() {
    let activity = Activity::new();
    let inside = activity.clone();
    let executor = scripted(move |_, _| {
        let activity = inside.clone();
        async move { activity.rest(pending()).await }.boxed()
    });
    let step = SketchStep { deadline: Some(Duration::from_secs(5)), retries: Some(9), ..SketchStep::default() };
    let world = World::with(&one(step), &executor, activity);
    assert_eq!(world.run_to_end().await, ["end timed_out"]);
    assert_eq!(world.clock.now().as_millis(), 5_000);
    assert_eq!(world.diary.count("job timed_out"), 1);
}

#[tokio::test]
async fn a_panic_is_a_bug_and_the_next_job_runs() {
    let executor = scripted(|job, _| {
        async move {
            assert!(job.attempt > 1, "as scripted");
            Ok(Value::null())
        }
        .boxed()
    });
    let world = World::new(&Sketch::of(1), &executor);
    let (_, asker) = world.ask().await;
    asker.ended.notified().await;
    assert_eq!(asker.heard(), ["end failed"]);
    let world_two = scripted(|_, _| async { Ok(Value::null()) }.boxed());
    world.install(&Sketch::of(1), &world_two);
    assert_eq!(world.run_to_end().await, ["end succeeded"]);
}

#[tokio::test]
async fn equal_jobs_are_done_once_and_both_runs_succeed() {
    let gate = Arc::new(Notify::new());
    let executor = gated(&gate, Ok(Value::string("once")));
    let world = World::new(&one(SketchStep { dedup: true, ..SketchStep::default() }), &executor);
    let ((_, first), (_, second)) = (world.ask().await, world.ask().await);
    while world.diary.count("dedup join") == 0 {
        tokio::task::yield_now().await;
    }
    gate.notify_one();
    first.ended.notified().await;
    second.ended.notified().await;
    assert_eq!(executor.calls.load(Ordering::SeqCst), 1);
    assert_eq!((first.heard(), second.heard()), (vec!["end succeeded".to_owned()], vec!["end succeeded".to_owned()]));
    assert_eq!(world.diary.count("job succeeded"), 2, "each job has its own terminal event");
}

#[tokio::test]
async fn a_replacing_run_starts_after_the_replaced_ones_finally() {
    let order: Arc<Mutex<Vec<String>>> = Arc::default();
    let inside = Arc::clone(&order);
    let executor = scripted(move |job, _| {
        let mut order = inside.lock().unwrap();
        order.push(job.step.to_string());
        let waits = order.len() == 1;
        async move { if waits { pending().await } else { Ok(Value::null()) } }.boxed()
    });
    let concurrency = Concurrency { key: None, max_concurrent: 1, max_queue: 1, when_full: WhenFull::Replace };
    let sketch = Sketch { finally: true, concurrency: Some(concurrency), ..Sketch::of(1) };
    let world = World::new(&sketch, &executor);
    let (_, first) = world.ask().await;
    while order.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    let (_, second) = world.ask().await;
    first.ended.notified().await;
    second.ended.notified().await;
    assert_eq!((first.heard(), second.heard()), (vec!["end cancelled".to_owned()], vec!["end succeeded".to_owned()]));
    assert_eq!(*order.lock().unwrap(), ["s0", "finally", "s0", "finally"]);
}

#[tokio::test]
async fn a_run_ends_on_the_revision_it_began_with() {
    let (go, hold) = (Arc::new(Notify::new()), Arc::new(Mutex::new(Vec::new())));
    let (inside, calls) = (Arc::clone(&go), Arc::clone(&hold));
    let old = scripted(move |job, _| {
        calls.lock().unwrap().push(format!("old {}", job.step));
        let go = Arc::clone(&inside);
        async move {
            go.notified().await;
            Ok(Value::null())
        }
        .boxed()
    });
    let calls = Arc::clone(&hold);
    let new = scripted(move |job, _| {
        calls.lock().unwrap().push(format!("new {}", job.step));
        async { Ok(Value::null()) }.boxed()
    });
    let world = World::new(&Sketch::of(2), &old);
    let (_, first) = world.ask().await;
    while hold.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    world.install(&Sketch::of(2), &new);
    go.notify_one();
    go.notified().now_or_never();
    while hold.lock().unwrap().len() < 2 {
        tokio::task::yield_now().await;
    }
    go.notify_one();
    first.ended.notified().await;
    world.run_to_end().await;
    assert_eq!(*hold.lock().unwrap(), ["old s0", "old s1", "new s0", "new s1"]);
}

#[tokio::test]
async fn a_reload_that_raises_max_concurrent_starts_those_who_wait() {
    let executor = scripted(|_, _| pending().boxed());
    let sketch = |max_concurrent| {
        let concurrency = Concurrency { max_concurrent, ..Concurrency::default() };
        Sketch { concurrency: Some(concurrency), ..Sketch::of(1) }
    };
    let world = World::new(&sketch(1), &executor);
    for _ in 0..4 {
        world.ask().await;
    }
    assert_eq!(world.engine.running().len(), 1);
    world.install(&sketch(3), &executor);
    assert_eq!(world.engine.running().len(), 3);
    world.engine.stop(CancelReason::Shutdown).await;
    assert_eq!((world.diary.count("run cancelled"), world.diary.count("run started")), (0, 3), "stopping is no end");
}

#[tokio::test]
async fn stopping_ends_all_runs_and_takes_no_more() {
    let executor = scripted(|_, _| pending().boxed());
    let concurrency = Concurrency { max_concurrent: 1, ..Concurrency::default() };
    let world = World::new(&Sketch { concurrency: Some(concurrency), ..Sketch::of(1) }, &executor);
    let ((_, running), (_, waiting)) = (world.ask().await, world.ask().await);
    world.engine.stop(CancelReason::Shutdown).await;
    assert_eq!((running.heard(), waiting.heard()), (vec!["end cancelled".to_owned()], vec!["end cancelled".to_owned()]));
    assert!(matches!(world.ask().await.0, Admission::Refused(failure) if failure.code.as_deref() == Some("stopping")));
}

#[tokio::test]
async fn progress_sets_the_state_in_its_order_and_each_change_is_told() {
    let executor = scripted(|_, attempt| {
        attempt.channel.progress(Value::string("a"));
        attempt.channel.progress(Value::string("b"));
        async { Ok(Value::null()) }.boxed()
    });
    let step = SketchStep { set: true, stream: true, ..SketchStep::default() };
    let world = World::new(&one(step), &executor);
    world.run_to_end().await;
    let states: Vec<_> = world.diary.lines().into_iter().filter(|line| line.starts_with("state")).collect();
    assert_eq!(states, [r#"state {"status":"busy"}"#, r#"state {"status":"working"}"#, r#"state {"status":"working"}"#]);
    assert_eq!(world.engine.state(&"p".into(), None).expect("the pipeline is there").text(), r#"{"status":"working"}"#);
}

#[tokio::test]
async fn a_chain_of_causes_that_goes_in_circles_is_recorded_as_failed() {
    let executor = scripted(|_, _| async { Ok(Value::null()) }.boxed());
    let world = World::new(&Sketch::of(1), &executor);
    let event = Event { passed: vec![("p.main".to_owned(), 32)], ..event(1, "Told") };
    let activation = Activation { event: Some(Arc::new(event)), requester: None, ..world.activation() };
    let admission = world.engine.activate(activation).await;
    assert!(matches!(admission, Admission::Refused(failure) if failure.code.as_deref() == Some("loop")));
    assert_eq!(world.diary.count("run failed"), 1);
    assert_eq!(executor.calls.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn equal_jobs_share_a_failure_and_each_has_its_own_fallback() {
    let gate = Arc::new(Notify::new());
    let executor = gated(&gate, Err(Failure::new(FailureKind::Permanent, "down")));
    let world = World::new(&one(SketchStep { dedup: true, fallback: Some(false), ..SketchStep::default() }), &executor);
    let ((_, first), (_, second)) = (world.ask().await, world.ask().await);
    while world.diary.count("dedup join") == 0 {
        tokio::task::yield_now().await;
    }
    gate.notify_one();
    first.ended.notified().await;
    second.ended.notified().await;
    assert_eq!(executor.calls.load(Ordering::SeqCst), 1, "the dead backend is called once, not once for each");
    assert_eq!((first.heard(), second.heard()), (vec!["end succeeded".to_owned()], vec!["end succeeded".to_owned()]));
}

#[tokio::test]
async fn the_store_has_the_facts_of_a_run_in_their_order() {
    let executor = scripted(|_, _| async { Ok(Value::null()) }.boxed());
    let world = World::new(&Sketch::of(2), &executor);
    let (admission, asker) = world.ask().await;
    asker.ended.notified().await;
    let facts = world.engine.facts(started(&admission)).await.expect("the store is good");
    assert!(matches!(facts.first(), Some(crate::model::record::Fact::Began(_))));
    assert!(matches!(facts.last(), Some(crate::model::record::Fact::Ended { outcome: RunOutcome::Succeeded, .. })));
}
