//! The one thing that policies and the engine know of WASM, Rhai and built-ins.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::model::cancel::CancelSignal;
use crate::model::executor::Description;
use crate::model::failure::Failure;
use crate::model::happening::LogLevel;
use crate::model::id::EventType;
use crate::model::job::Job;
use crate::model::time::Timestamp;
use crate::model::value::Value;

use super::outbox::{OutboxTable, Outgoing};

/// The work on one attempt. Dropping it stops the work soon, also while it waits inside a host call.
pub type Processing<'a> = BoxFuture<'a, Result<Value, Failure>>;

/// What came of an attempt that was to be worked on at once; or the attempt again, of which nothing has been done.
pub type AtOnce = Result<Result<Value, Failure>, Attempt>;

/// Handles jobs. It never retries and never times itself: policies do.
pub trait Executor: Send + Sync {
    /// What it says of itself.
    fn description(&self) -> &Description;

    /// Works on one attempt of a job.
    fn process(&self, job: Arc<Job>, attempt: Attempt) -> Processing<'_>;

    /// Works on one attempt of a job within this very call, if it is known to take no waiting and next to no time; else gives the attempt back, for
    /// [`process`](Self::process). Gives it back by default.
    ///
    /// A future has to be made, boxed and polled, which costs as much as the work of a small script. Refused is a `process` that gives either a result
    /// or a future: the future borrows the executor, and whoever keeps both would have to box them together before it is known which it is.
    ///
    /// # Errors
    /// The attempt, of which nothing has been done.
    fn process_at_once(&self, _job: &Arc<Job>, attempt: Attempt) -> AtOnce {
        Err(attempt)
    }

    /// Whether an attempt only computes: beside its result, and what it tells through its channel, nothing of it is left, wherever it is broken off.
    /// Such a one may begin before it is recorded that it does. False by default.
    fn only_computes(&self) -> bool {
        false
    }

    /// The outboxes that it writes events into, for whoever relays them; none by default.
    fn outboxes(&self) -> Vec<Arc<dyn OutboxTable>> {
        Vec::new()
    }
}

/// What an executor is given beside the job.
#[derive(Clone)]
pub struct Attempt {
    /// When it will be stopped, for whoever asks how much time is left.
    pub deadline: Option<Timestamp>,
    /// Set when nobody wants the result any more.
    pub cancel: CancelSignal,
    /// Where progress, events and log lines go.
    pub channel: Arc<dyn JobChannel>,
}

/// Where an executor tells what it does while it does it. Everything told after the job's terminal event is dropped and counted.
pub trait JobChannel: Send + Sync {
    /// Tells how far it is. Live only: bounded, not recorded, not repeated after a crash.
    fn progress(&self, progress: Value);

    /// Emits an event; held until the attempt succeeds.
    ///
    /// # Errors
    /// `denied` if the type is not granted, `permanent` if there are more than `limits.events`, `rejected` if the job has ended.
    fn emit(&self, event_type: EventType, data: Value) -> Result<(), Failure>;

    /// Logs a line.
    fn log(&self, level: LogLevel, message: String);

    /// The event that the output becomes, if the step has `via: outbox`: an executor that works on a database with an outbox writes it there,
    /// in the transaction of its work, and says so by [`outboxed`](Self::outboxed). One that does not leaves it to the run's own record.
    fn outgoing(&self) -> Option<Outgoing> {
        None
    }

    /// The [outgoing](Self::outgoing) event stands in that table.
    fn outboxed(&self, _table: Arc<dyn OutboxTable>) {}
}
