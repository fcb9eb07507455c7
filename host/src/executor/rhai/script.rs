//! A script as an executor: runs in the caller's own task while it is quick, on a thread for blocking work while it is not.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rhai::{AST, Dynamic, EvalAltResult, Map, Module, Shared};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use super::body::Body;
use super::engine::{Instance, config_module};
use super::failure::{self, Source};
use super::load::Loaded;
use super::objects::InputOnly;
use super::reads::Reads;
use super::running::{Running, Surroundings};
use crate::executor::host_api::HostApi;
use crate::executor::limit::Limit;
use crate::model::executor::Description;
use crate::model::failure::{Failure, FailureKind};
use crate::model::grant::Limits;
use crate::model::job::Job;
use crate::model::port::{AtOnce, Attempt, Clock, Executor, Processing};
use crate::model::time::Timestamp;
use crate::model::value::Value;
use crate::script::{Unfit, dynamic_of, output_of};

/// A run of at most this is short.
const SHORT: Duration = Duration::from_micros(100);
/// So many short runs in a row, and the next is in the caller's own task.
const TRUSTED_AFTER: u32 = 3;
/// Of so many runs in the caller's own task one is timed: looking at the clock twice is a good part of what a small script takes, and the
/// bound on operations holds for the others.
const TIMED_EACH: u32 = 8;
/// Engines kept for the next jobs; more are made when more jobs run at once.
const KEPT: usize = 16;

/// A script as an executor.
pub(super) struct Script {
    description: Description,
    shared: Arc<Shape>,
}

/// What its runs share.
struct Shape {
    ast: AST,
    source: Source,
    limits: Limits,
    waits: bool,
    reads: Reads,
    /// If it can be evaluated without a call.
    body: Option<Body>,
    config: Shared<Module>,
    host: Arc<dyn HostApi>,
    clock: Arc<dyn Clock>,
    places: Arc<Semaphore>,
    idle: Mutex<Vec<Instance>>,
    short_runs: AtomicU32,
}

/// What a script under way needs of its home, behind one handle.
impl Surroundings for Shape {
    fn host(&self) -> &dyn HostApi {
        &*self.host
    }

    fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    fn wall(&self) -> Duration {
        self.limits.wall
    }
}

impl Script {
    pub(super) fn new(
        loaded: Loaded,
        description: Description,
        limits: Limits,
        host: Arc<dyn HostApi>,
        clock: Arc<dyn Clock>,
        places: Arc<Semaphore>,
    ) -> Self {
        let shared = Shape {
            body: Body::of(&loaded.ast, &loaded.reads),
            ast: loaded.ast,
            source: loaded.source,
            waits: loaded.waits,
            reads: loaded.reads,
            config: config_module(dynamic_of(host.config())),
            limits,
            host,
            clock,
            places,
            idle: Mutex::default(),
            short_runs: AtomicU32::new(0),
        };
        Self { description, shared: Arc::new(shared) }
    }
}

impl Executor for Script {
    fn description(&self) -> &Description {
        &self.description
    }

    fn only_computes(&self) -> bool {
        !self.shared.waits
    }

    fn process_at_once(&self, job: &Arc<Job>, attempt: Attempt) -> AtOnce {
        if self.shared.may_run_here() {
            self.shared.run(job, Running::here(attempt, Arc::clone(&self.shared) as _), None)
        } else {
            Err(attempt)
        }
    }

    fn process(&self, job: Arc<Job>, attempt: Attempt) -> Processing<'_> {
        Box::pin(async move {
            let attempt = match self.process_at_once(&job, attempt) {
                Ok(result) => return result,
                Err(attempt) => attempt,
            };
            let began = self.shared.clock.now();
            self.shared.run_apart(job, attempt, began).await
        })
    }
}

impl Shape {
    fn may_run_here(&self) -> bool {
        !self.waits && self.short_runs.load(Ordering::Relaxed) >= TRUSTED_AFTER
    }

    async fn run_apart(self: &Arc<Self>, job: Arc<Job>, attempt: Attempt, began: Timestamp) -> Result<Value, Failure> {
        // Set when the caller is gone, too: this future is dropped, and the guard with it.
        let cancel = attempt.cancel.child_token();
        let _guard = cancel.clone().drop_guard();
        let place = tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(Failure::new(FailureKind::Cancelled, "nobody wants the result any more")),
            place = Arc::clone(&self.places).acquire_owned() => place,
        };
        let (shared, waiting_room) = (Arc::clone(self), Handle::current());
        let work = tokio::task::spawn_blocking(move || {
            // The wait for a place says nothing of the script.
            let started = shared.clock.now();
            let running = Running::apart(attempt, Arc::clone(&shared) as _, cancel, waiting_room, began);
            let result = shared.run(&job, running, Some(started));
            drop(place);
            result
        });
        match work.await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) | Err(_) => Err(self.bug("the script's thread ended without a result")),
        }
    }

    /// Runs the script. Gives the attempt back if it takes too long for the caller's own task. It is timed if it is said since when, and now and then
    /// otherwise: one that has become slow does not stay in its caller's task.
    fn run(&self, job: &Job, running: Running, started: Option<Timestamp>) -> AtOnce {
        let running = Arc::new(running);
        let instance = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut instance = instance.unwrap_or_else(|| Instance::new(&self.limits, self.config.clone(), self.body.as_ref()));
        let started = started.or_else(|| instance.turns().is_multiple_of(TIMED_EACH).then(|| self.clock.now()));
        instance.take(Arc::clone(&running));
        let ended = catch_unwind(AssertUnwindSafe(|| instance.process(&self.ast, self.body.as_ref(), self.argument(job))));
        if let Some(started) = started {
            self.learn(self.clock.now().since(started));
        }
        match ended {
            Ok(Ok(output)) => {
                self.keep(instance);
                Ok(self.output(output, job))
            }
            // What a script throws says nothing against its engine; whatever else ended it, the engine goes.
            Ok(Err(error)) => {
                if is_thrown(&error) {
                    self.keep(instance);
                }
                match failure::of_error(*error, &self.source, &self.limits, &self.who(job)) {
                    Some(failure) => Ok(Err(failure)),
                    None => {
                        self.short_runs.store(0, Ordering::Relaxed);
                        Err(running.attempt().clone())
                    }
                }
            }
            Err(_) => Ok(Err(self.bug("the interpreter panicked"))),
        }
    }

    /// What the script begins with.
    fn argument(&self, job: &Job) -> Dynamic {
        match &self.reads {
            Reads::InputOnce if self.body.as_ref().is_some_and(Body::takes_input) => dynamic_of(&job.input),
            Reads::InputOnce => Dynamic::from(InputOnly(job.input.clone())),
            Reads::All | Reads::Fields(_) => Dynamic::from_map(self.job(job)),
        }
    }

    fn keep(&self, instance: Instance) {
        instance.give_back();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < KEPT {
            idle.push(instance);
        }
    }

    fn learn(&self, took: Duration) {
        if took <= SHORT {
            let runs = self.short_runs.load(Ordering::Relaxed);
            self.short_runs.store(runs.saturating_add(1).min(TRUSTED_AFTER), Ordering::Relaxed);
        } else {
            self.short_runs.store(0, Ordering::Relaxed);
        }
    }

    /// `job` as the script gets it; a field that it visibly never reads is not made.
    fn job(&self, job: &Job) -> Map {
        let mut map = Map::new();
        let mut add = |name: &str, value: &dyn Fn() -> Dynamic| {
            if self.reads.want(name) {
                map.insert(name.into(), value());
            }
        };
        add("input", &|| dynamic_of(&job.input));
        add("id", &|| job.id.to_string().into());
        add("key", &|| job.key().into());
        add("attempt", &|| Dynamic::from_int(i64::from(job.attempt)));
        add("correlation_id", &|| job.correlation_id.to_string().into());
        add("pipeline", &|| job.pipeline.as_str().into());
        add("flow", &|| job.flow.as_str().into());
        add("step", &|| job.step.as_str().into());
        map
    }

    fn output(&self, output: Dynamic, job: &Job) -> Result<Value, Failure> {
        match output_of(output, usize::try_from(self.limits.output).unwrap_or(usize::MAX)) {
            Ok(output) => Ok(output),
            Err(Unfit::NoData(what)) => Err(self.bug(&format!("process() gives {what}, and an output is data"))),
            Err(Unfit::TooLong) => Err(Limit::Output.failure(&self.limits, &self.who(job))),
        }
    }

    /// Whom a limit names: the executor, its script and the job.
    fn who(&self, job: &Job) -> String {
        format!("executor `{}` ({}) in job {}", job.executor, self.source.file.display(), job.id)
    }

    fn bug(&self, what: &str) -> Failure {
        Failure::new(FailureKind::Bug, format!("{}: {what}", self.source.file.display())).with_code("script_error")
    }
}

/// Whether it is what a script throws, in whichever of its functions.
fn is_thrown(error: &EvalAltResult) -> bool {
    match error {
        EvalAltResult::ErrorRuntime(..) => true,
        EvalAltResult::ErrorInFunctionCall(_, _, inner, _) => is_thrown(inner),
        _ => false,
    }
}
