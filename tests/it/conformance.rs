//! What every home of executors must do alike, whatever it is made of: one suite, run against each.
//!
//! A guest takes `{ "do": NAME, … }`; what it does to which NAME is in `tests/guests/conformance`. After each case the next job runs.
//!
//! What each home promises where a guest goes too far, by the code of the failure:
//!
//! | deed | component | script | built-in |
//! |---|---|---|---|
//! | endless loop | `limit_wall` | `limit_wall` | `limit_wall`, for one that waits now and then |
//! | memory bomb | `limit_memory` | `limit_memory` | not stopped |
//! | deep recursion | `limit_stack` | `limit_call_depth` | not stopped |
//! | huge output | `limit_output` | `limit_output` | `limit_output` |
//! | trap, error, panic | `trap` | `script_error` | `panic` |
//!
//! A built-in is part of the program: no host can stop it where it does not wait. What it does not promise is told by
//! `builtin::NOT_KEPT`, and the suite holds it to saying so.

use std::future::Future;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use pipehost::executor::builtin::NOT_KEPT;
use pipehost::executor::host_api::{HostApi, HostCall};
use pipehost::model::cancel::CancelSignal;
use pipehost::model::executor::{ExecutorReference, Home as Place};
use pipehost::model::failure::{Failure, FailureKind};
use pipehost::model::grant::{Grants, Limits};
use pipehost::model::happening::LogLevel;
use pipehost::model::id::{CorrelationId, EventType, JobId, RunId};
use pipehost::model::job::Job;
use pipehost::model::port::{Attempt, Clock, Executor, JobChannel, Sleep};
use pipehost::model::time::Timestamp;
use pipehost::model::value::{Tree, Value};
use serde_json::{Value as Json, json};
use tokio::sync::Notify;

mod builtin;
mod rhai;
mod wasm;

/// A home under test.
pub(crate) trait Home: Sync {
    /// Opens the home's conformance guest.
    fn open(&self, limits: Limits, host: Arc<dyn HostApi>) -> Arc<dyn Executor>;

    /// What the home promises of this deed: `loop`, `memory`, `recursion`, `output` or `trap`.
    fn promise(&self, deed: &str) -> Promise;

    /// What a failure of the home names its guest by.
    fn shown(&self) -> &'static str;

    /// Where its guest is declared.
    fn reference(&self, place: Place, limits: Limits) -> ExecutorReference {
        ExecutorReference {
            pipeline: "conformance".into(),
            name: "guest".into(),
            home: place,
            config: Value::null(),
            grants: Grants { emit: vec!["Conformance".into()], sql: vec!["main".into()], ..Grants::default() },
            limits,
            reuse: false,
            resources: Arc::new([]),
        }
    }
}

/// What a home does when a guest goes too far.
pub(crate) enum Promise {
    /// Stops it, with a failure of this code.
    Stops(&'static str),
    /// Does not stop it, and says of this limit that it is not kept.
    SaysThatItIsNotKept(&'static str),
}

/// Runs every case of the suite against a home: `suite!(home_expression)` in a module of its own.
macro_rules! suite {
    ($home:expr; $($case:ident),* $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                $crate::conformance::$case(&$home).await;
            }
        )*
    };
    ($home:expr) => {
        $crate::conformance::suite! { $home;
            returns_what_it_is_given, tells_its_progress_in_order, emits_events, hears_that_an_event_is_refused, fails_with_each_kind,
            is_stopped_while_it_computes, is_stopped_while_it_waits_in_a_host_call, is_stopped_by_the_wall_limit,
            is_stopped_at_its_memory_limit, is_stopped_when_it_recurses_without_end, survives_a_trap, is_stopped_when_its_output_is_huge,
        }
    };
}
pub(crate) use suite;

/// What one job is to take at most; a watchdog barks after ten times as long.
const BOUND: Duration = Duration::from_secs(3);

/// The wall limit where it is what stops the guest.
const WALL: Duration = Duration::from_millis(300);

pub(crate) async fn returns_what_it_is_given(home: &dyn Home) {
    let guest = Guest::new(home, Limits::default());
    for value in [json!(null), json!({ "a": [1, 2.5, "ä\u{1f980}", true, null], "b": {} }), json!(i64::MAX), json!("x".repeat(100_000))] {
        assert_eq!(guest.ask(json!({ "do": "echo", "value": value })).await, Ok(Value::from(Tree::from(value))));
    }
    assert_eq!(guest.told(), []);
}

pub(crate) async fn tells_its_progress_in_order(home: &dyn Home) {
    let guest = Guest::new(home, Limits::default());
    assert_eq!(guest.ask(json!({ "do": "progress" })).await, Ok(Value::null()));
    assert_eq!(guest.told(), [1, 2, 3].map(|step| Told::Progress(json!({ "step": step }))));
    guest.goes_on().await;
}

pub(crate) async fn emits_events(home: &dyn Home) {
    let guest = Guest::new(home, Limits::default());
    assert!(guest.ask(json!({ "do": "emit" })).await.is_ok());
    assert_eq!(guest.told(), [Told::Event("Conformance".to_owned(), json!({ "n": 1 }))]);
    guest.goes_on().await;
}

pub(crate) async fn hears_that_an_event_is_refused(home: &dyn Home) {
    let guest = Guest::new(home, Limits::default());
    guest.channel.refuses.store(true, Ordering::SeqCst);
    let failure = guest.ask(json!({ "do": "emit" })).await.expect_err("it hands the refusal on");
    assert_eq!((failure.kind, failure.code.as_deref()), (FailureKind::Permanent, Some("limit_events")));
    guest.goes_on().await;
}

pub(crate) async fn fails_with_each_kind(home: &dyn Home) {
    let guest = Guest::new(home, Limits::default());
    for kind in FailureKind::ALL {
        let failure = guest.ask(json!({ "do": "fail", "kind": kind.as_str() })).await.expect_err("it was asked to fail");
        assert_eq!((failure.kind, failure.message.as_str()), (kind, "as asked"));
    }
    guest.goes_on().await;
}

pub(crate) async fn is_stopped_while_it_computes(home: &dyn Home) {
    let guest = Guest::new(home, Limits::default());
    // More often than a home has places: if one went on, the next job would find none.
    for _ in 0..80 {
        let mut work = Box::pin(guest.ask(json!({ "do": "compute" })));
        assert!((&mut work).now_or_never().is_none(), "it never ends");
        drop(work);
    }
    guest.goes_on().await;
}

pub(crate) async fn is_stopped_while_it_waits_in_a_host_call(home: &dyn Home) {
    let guest = Guest::new(home, Limits::default());
    {
        let work = guest.ask(json!({ "do": "wait" }));
        tokio::select! {
            result = work => panic!("nobody answers it, and it ended: {result:?}"),
            () = watched(guest.host.entered.notified()) => {}
        }
    }
    // A home with threads of its own abandons the call a little later.
    watched(async {
        while guest.host.inside.load(Ordering::SeqCst) > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    guest.goes_on().await;
}

pub(crate) async fn is_stopped_by_the_wall_limit(home: &dyn Home) {
    // Counted operations would stop a script as well, and sooner on a quick machine.
    let guest = Guest::new(home, Limits { wall: WALL, operations: u64::MAX, ..Limits::default() });
    guest.comes_up_against(home, "loop", json!({ "do": "loop" })).await;
}

pub(crate) async fn is_stopped_at_its_memory_limit(home: &dyn Home) {
    let guest = Guest::new(home, Limits::default());
    guest.comes_up_against(home, "memory", json!({ "do": "memory" })).await;
}

pub(crate) async fn is_stopped_when_it_recurses_without_end(home: &dyn Home) {
    let guest = Guest::new(home, Limits::default());
    guest.comes_up_against(home, "recursion", json!({ "do": "recursion" })).await;
}

pub(crate) async fn survives_a_trap(home: &dyn Home) {
    let guest = Guest::new(home, Limits::default());
    guest.comes_up_against(home, "trap", json!({ "do": "trap" })).await;
}

pub(crate) async fn is_stopped_when_its_output_is_huge(home: &dyn Home) {
    let guest = Guest::new(home, Limits { output: 1 << 20, ..Limits::default() });
    guest.comes_up_against(home, "output", json!({ "do": "output", "bytes": 2 << 20 })).await;
}

/// The guest, and all that it tells.
struct Guest {
    executor: Arc<dyn Executor>,
    host: Arc<Silent>,
    channel: Arc<Record>,
}

impl Guest {
    fn new(home: &dyn Home, limits: Limits) -> Self {
        let host = Arc::new(Silent { entered: Notify::new(), inside: AtomicUsize::new(0), config: Value::null() });
        Self { executor: home.open(limits, host.clone()), host, channel: Arc::default() }
    }

    async fn ask(&self, input: Json) -> Result<Value, Failure> {
        let id = uuid::Uuid::nil();
        let job = Job {
            id: JobId::new(id),
            run: RunId::new(id),
            correlation_id: CorrelationId::new(id),
            pipeline: "conformance".into(),
            flow: "main".into(),
            step: "step".into(),
            executor: "guest".into(),
            attempt: 1,
            input: Value::from(Tree::from(input)),
        };
        let attempt = Attempt { deadline: None, cancel: CancelSignal::new(), channel: self.channel.clone() };
        watched(self.executor.process(Arc::new(job), attempt)).await
    }

    fn told(&self) -> Vec<Told> {
        self.channel.told.lock().expect("no test panicked with it").clone()
    }

    async fn comes_up_against(&self, home: &dyn Home, deed: &str, input: Json) {
        let code = match home.promise(deed) {
            Promise::Stops(code) => code,
            Promise::SaysThatItIsNotKept(limit) => {
                let why = NOT_KEPT.iter().find(|(name, _)| *name == limit).map(|(_, why)| *why);
                assert!(why.is_some_and(|why| why.starts_with("a built-in ")), "nothing is said of the limit {limit}");
                return self.goes_on().await;
            }
        };
        let kind = match deed {
            "loop" => FailureKind::Timeout,
            "trap" => FailureKind::Bug,
            _ => FailureKind::Permanent,
        };
        let failure = self.ask(input).await.expect_err("it is stopped");
        assert_eq!((failure.kind, failure.code.as_deref()), (kind, Some(code)), "{failure}");
        assert!(failure.message.contains(home.shown()), "it names its guest: {failure}");
        self.goes_on().await;
    }

    /// The next job runs.
    async fn goes_on(&self) {
        let next = Value::from(Tree::from(json!({ "next": true })));
        assert_eq!(self.ask(json!({ "do": "echo", "value": { "next": true } })).await, Ok(next));
    }
}

#[expect(clippy::disallowed_methods, reason = "what a guest does takes real time, and a watchdog must not hang with what it watches")]
async fn watched<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(BOUND * 10, work).await.expect("it ends within ten times its bound")
}

/// One thing that a guest told.
#[derive(Clone, PartialEq, Debug)]
enum Told {
    Progress(Json),
    Event(String, Json),
    Line(String),
}

#[derive(Default)]
struct Record {
    told: Mutex<Vec<Told>>,
    refuses: AtomicBool,
}

impl Record {
    fn add(&self, told: Told) {
        self.told.lock().expect("no test panicked with it").push(told);
    }
}

impl JobChannel for Record {
    fn progress(&self, progress: Value) {
        self.add(Told::Progress(progress.tree().into()));
    }

    fn emit(&self, event_type: EventType, data: Value) -> Result<(), Failure> {
        if self.refuses.load(Ordering::SeqCst) {
            return Err(Failure::new(FailureKind::Permanent, "more events than it may emit").with_code("limit_events"));
        }
        self.add(Told::Event(event_type.to_string(), data.tree().into()));
        Ok(())
    }

    fn log(&self, _: LogLevel, message: String) {
        self.add(Told::Line(message));
    }
}

/// A host that never answers a query and refuses all else.
struct Silent {
    entered: Notify,
    inside: AtomicUsize,
    config: Value,
}

/// Counts a call as over when it is dropped.
struct Inside<'a>(&'a AtomicUsize);

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl HostApi for Silent {
    fn sql_query<'a>(&'a self, _: Option<&'a str>, _: &'a str, _: &'a Value) -> HostCall<'a> {
        Box::pin(async {
            self.inside.fetch_add(1, Ordering::SeqCst);
            let _inside = Inside(&self.inside);
            self.entered.notify_one();
            std::future::pending().await
        })
    }

    fn config(&self) -> &Value {
        &self.config
    }
}

/// Real time, because a guest that computes does so in real time.
pub(crate) struct WallClock(Instant);

impl WallClock {
    #[expect(clippy::disallowed_methods, reason = "a guest that computes does so in real time")]
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }
}

impl Clock for WallClock {
    fn now(&self) -> Timestamp {
        Timestamp::EPOCH + self.0.elapsed()
    }

    #[expect(clippy::disallowed_methods, reason = "a guest that computes does so in real time")]
    fn sleep_until(&self, at: Timestamp) -> Sleep {
        Box::pin(tokio::time::sleep(at.since(self.now())))
    }
}

/// A file of the workspace.
pub(crate) fn shipped(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}
