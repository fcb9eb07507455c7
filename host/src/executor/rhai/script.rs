//! A script as an executor: runs in the caller's own task while it is quick, on a thread for blocking work while it is not.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rhai::{AST, CallFnOptions, Dynamic, EvalAltResult, Map, Module, Scope, Shared};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use super::engine::{Instance, config_module};
use super::failure::{self, Source};
use super::load::Loaded;
use super::objects::Tag;
use super::running::Running;
use crate::executor::host_api::HostApi;
use crate::executor::limit::Limit;
use crate::model::cancel::CancelSignal;
use crate::model::executor::Description;
use crate::model::failure::{Failure, FailureKind};
use crate::model::grant::Limits;
use crate::model::job::Job;
use crate::model::port::{Attempt, Clock, Executor, Processing};
use crate::model::time::Timestamp;
use crate::model::value::Value;
use crate::script::{dynamic_of, not_data, value_of};

/// A run of at most this is short.
const SHORT: Duration = Duration::from_micros(100);
/// So many short runs in a row, and the next is in the caller's own task.
const TRUSTED_AFTER: u32 = 3;
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
    job_fields: Option<Vec<String>>,
    config: Shared<Module>,
    host: Arc<dyn HostApi>,
    clock: Arc<dyn Clock>,
    places: Arc<Semaphore>,
    /// Boxed: an engine is large, and it is taken and given back for every job.
    idle: Mutex<Vec<Box<Instance>>>,
    short_runs: AtomicU32,
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
            ast: loaded.ast,
            source: loaded.source,
            waits: loaded.waits,
            job_fields: loaded.job_fields,
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

    fn process(&self, job: Arc<Job>, attempt: Attempt) -> Processing<'_> {
        Box::pin(async move {
            let shared = &self.shared;
            let began = shared.clock.now();
            let attempt = match shared.may_run_here() {
                true => match shared.run(&job, attempt, None, began) {
                    Ok(result) => return result,
                    Err(attempt) => attempt,
                },
                false => attempt,
            };
            // Boxed, so that the call of a quick script does not carry its room about.
            Box::pin(shared.run_apart(job, attempt, began)).await
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
            let result = shared.run(&job, attempt, Some((cancel, waiting_room)), began);
            drop(place);
            result
        });
        match work.await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) | Err(_) => Err(self.bug("the script's thread ended without a result")),
        }
    }

    /// Runs the script, in the caller's own task or, with a signal of its own and a place to wait in, apart from it. Gives the attempt back
    /// if the script takes too long for the caller's own task.
    fn run(
        &self,
        job: &Job,
        attempt: Attempt,
        apart: Option<(CancelSignal, Handle)>,
        began: Timestamp,
    ) -> Result<Result<Value, Failure>, Attempt> {
        // What came before it, as the wait for a place, says nothing of the script.
        let started = if apart.is_some() { self.clock.now() } else { began };
        let (host, clock) = (Arc::clone(&self.host), Arc::clone(&self.clock));
        let running = Arc::new(Running::new(attempt, apart, host, clock, began + self.limits.wall));
        let instance = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let instance = instance.unwrap_or_else(|| Box::new(Instance::new(&self.limits, self.config.clone())));
        instance.set(Some(Arc::clone(&running)));
        let ended = catch_unwind(AssertUnwindSafe(|| self.call(&instance, job, Arc::clone(&running))));
        self.learn(self.clock.now().since(started));
        match ended {
            Ok(Ok(output)) => {
                self.keep(instance);
                Ok(self.output(output, job))
            }
            // What a script throws says nothing against its engine; whatever else ended it, the engine goes.
            Ok(Err(error)) => {
                if matches!(*error, EvalAltResult::ErrorRuntime(..)) {
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

    fn call(&self, instance: &Instance, job: &Job, running: Arc<Running>) -> Result<Dynamic, Box<EvalAltResult>> {
        let options = CallFnOptions::new().with_tag(Tag(running));
        let argument = (Dynamic::from_map(self.job(job)),);
        instance.engine.call_fn_with_options(options, &mut Scope::new(), &self.ast, "process", argument)
    }

    fn keep(&self, instance: Box<Instance>) {
        instance.set(None);
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
            if self.job_fields.as_ref().is_none_or(|fields| fields.iter().any(|field| field == name)) {
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
        let output = output.flatten();
        if let Some(what) = not_data(&output) {
            return Err(self.bug(&format!("process() gives {what}, and an output is data")));
        }
        let mut left = usize::try_from(self.limits.output).unwrap_or(usize::MAX);
        if fits(&output, &mut left) {
            return Ok(value_of(output));
        }
        Err(Limit::Output.failure(&self.limits, &self.who(job)))
    }

    /// Whom a limit names: the executor, its script and the job.
    fn who(&self, job: &Job) -> String {
        format!("executor `{}` ({}) in job {}", job.executor, self.source.file.display(), job.id)
    }

    fn bug(&self, what: &str) -> Failure {
        Failure::new(FailureKind::Bug, format!("{}: {what}", self.source.file.display())).with_code("script_error")
    }
}

/// Whether a value's JSON is at most so long, escapes not counted. It stops as soon as it is not.
fn fits(value: &Dynamic, left: &mut usize) -> bool {
    let take = |bytes: usize, left: &mut usize| match left.checked_sub(bytes) {
        Some(rest) => {
            *left = rest;
            true
        }
        None => false,
    };
    if let Ok(text) = value.as_immutable_string_ref() {
        return take(text.len() + 2, left);
    }
    if let Ok(map) = value.as_map_ref() {
        return take(2, left) && map.iter().all(|(name, field)| take(name.len() + 4, left) && fits(field, left));
    }
    if let Ok(items) = value.as_array_ref() {
        return take(2, left) && items.iter().all(|item| take(1, left) && fits(item, left));
    }
    match value.as_blob_ref() {
        Ok(bytes) => take(bytes.len() / 3 * 4 + 2, left),
        Err(_) => take(1, left),
    }
}
