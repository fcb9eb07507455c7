//! Something under way for a job: an attempt, or the wait for another job's result.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::clock::Activity;
use crate::model::cancel::CancelSignal;
use crate::model::failure::{Failure, FailureKind};
use crate::model::id::JobId;
use crate::model::job::Job;
use crate::model::port::{self, AtOnce, Executor};
use crate::model::value::Value;
use crate::policy::AttemptStack;

use super::gate::{Gate, Parts, Passed};
use super::run::Input;

/// Something under way for a job. Dropping it gives it up.
///
/// It is polled by the run of the job that it is for, and can go over from one run to another while it is under way.
pub struct Work {
    job: JobId,
    cancel: CancelSignal,
    doing: Doing,
}

enum Doing {
    Attempt(Attempt),
    Wait(BoxFuture<'static, Input>),
}

struct Attempt {
    gate: Arc<Gate>,
    number: u32,
    /// Where a called flow says that it was degraded.
    degraded: Option<Arc<AtomicBool>>,
    call: BoxFuture<'static, Result<Value, Failure>>,
}

/// Who is called in an attempt, behind which layers and with what.
pub struct Call {
    /// Who does the work.
    pub executor: Arc<dyn Executor>,
    /// The layers of the step.
    pub stack: AttemptStack,
    /// The job.
    pub job: Arc<Job>,
    /// What the executor is given beside it.
    pub attempt: port::Attempt,
    /// By which an attempt counts as running.
    pub activity: Activity,
}

impl Call {
    /// Makes the call, once somebody polls it.
    fn begin(self) -> BoxFuture<'static, Result<Value, Failure>> {
        let Self { executor, stack, job, attempt, activity } = self;
        let future = async move {
            let _busy = activity.enter();
            // It may panic before it gives a future, too.
            let call = async { stack.call(&*executor, job, attempt).await };
            AssertUnwindSafe(call).catch_unwind().await.unwrap_or_else(|_| Err(panicked()))
        };
        future.boxed()
    }
}

/// Makes a call, if there are no layers and the executor does its work at once; else the attempt comes back. An executor may panic.
pub fn call_at_once(executor: &dyn Executor, stack: &AttemptStack, job: &Arc<Job>, attempt: port::Attempt) -> AtOnce {
    let called = catch_unwind(AssertUnwindSafe(|| stack.call_at_once(executor, job, attempt)));
    called.unwrap_or_else(|_| Ok(Err(panicked())))
}

fn panicked() -> Failure {
    Failure::new(FailureKind::Bug, "the executor panicked; see the log").with_code("panic")
}

/// An attempt of a job is over, and its gate is shut: this comes of it.
pub fn ended(job: JobId, attempt: u32, passed: Passed, result: Result<Value, Failure>, degraded: bool) -> Input {
    let Passed { emissions, progressed, .. } = passed;
    Input::AttemptEnded { job, attempt, result, emissions, progressed, degraded }
}

impl Work {
    /// An attempt of that number behind its gate. Nothing of it begins before it is polled.
    pub fn attempt(number: u32, gate: Arc<Gate>, call: Call, degraded: Option<Arc<AtomicBool>>) -> Self {
        let (job, cancel) = (call.job.id, call.attempt.cancel.clone());
        Self { job, cancel, doing: Doing::Attempt(Attempt { gate, number, degraded, call: call.begin() }) }
    }

    /// A wait for what another job comes to.
    pub fn wait(job: JobId, future: BoxFuture<'static, Input>) -> Self {
        Self { job, cancel: CancelSignal::new(), doing: Doing::Wait(future) }
    }

    /// The job it is for.
    pub const fn job(&self) -> JobId {
        self.job
    }

    /// Whether it is an attempt, and no mere wait.
    pub const fn is_attempt(&self) -> bool {
        matches!(self.doing, Doing::Attempt(_))
    }

    fn gate(&self) -> Option<&Gate> {
        match &self.doing {
            Doing::Attempt(attempt) => Some(&attempt.gate),
            Doing::Wait(_) => None,
        }
    }

    /// Whether no other job can take it over, since what it does is this job's own.
    pub fn is_bound(&self) -> bool {
        self.gate().is_some_and(Gate::is_bound)
    }

    /// Whether the event that its output becomes stands in an outbox of the executor's.
    pub fn is_outboxed(&self) -> bool {
        self.gate().is_some_and(Gate::is_outboxed)
    }

    /// Its job has ended, and it goes on for a job that has yet to [adopt](Self::adopt) it.
    pub fn park(&self) {
        if let Some(gate) = self.gate() {
            gate.park();
        }
    }

    /// From now on it is that job's attempt of that number, and what it tells goes where these parts say.
    pub fn adopt(&mut self, job: JobId, number: u32, parts: Parts) {
        self.job = job;
        if let Doing::Attempt(attempt) = &mut self.doing {
            attempt.number = number;
            attempt.gate.adopt(parts);
        }
    }

    /// Goes on with it. Not to be asked again once it has answered.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<Input> {
        let attempt = match &mut self.doing {
            Doing::Attempt(attempt) => attempt,
            Doing::Wait(future) => return future.poll_unpin(context),
        };
        let result = std::task::ready!(attempt.call.poll_unpin(context));
        let degraded = attempt.degraded.as_ref().is_some_and(|degraded| degraded.load(Ordering::Relaxed));
        Poll::Ready(ended(self.job, attempt.number, attempt.gate.shut(), result, degraded))
    }
}

/// What has been given up is told so, even if its code runs on a thread that cannot be stopped from outside.
impl Drop for Work {
    fn drop(&mut self) {
        self.cancel.cancel();
        if let Some(gate) = self.gate() {
            gate.shut();
        }
    }
}
