//! Something under way for a job: an attempt, or the wait for another job's result.

use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::model::cancel::CancelSignal;
use crate::model::id::JobId;

use super::gate::{Gate, Parts};
use super::run::Input;

/// Something under way for a job. Dropping it gives it up.
///
/// It is polled by the run of the job that it is for, and can go over from one run to another while it is under way.
pub struct Work {
    job: JobId,
    attempt: Option<Attempt>,
    cancel: CancelSignal,
    future: BoxFuture<'static, Input>,
}

struct Attempt {
    gate: Arc<Gate>,
    number: u32,
}

impl Work {
    /// An attempt behind its gate.
    pub fn attempt(job: JobId, number: u32, gate: Arc<Gate>, cancel: CancelSignal, future: BoxFuture<'static, Input>) -> Self {
        Self { job, attempt: Some(Attempt { gate, number }), cancel, future }
    }

    /// A wait for what another job comes to.
    pub fn wait(job: JobId, future: BoxFuture<'static, Input>) -> Self {
        Self { job, attempt: None, cancel: CancelSignal::new(), future }
    }

    /// The job it is for.
    pub const fn job(&self) -> JobId {
        self.job
    }

    /// Whether it is an attempt, and no mere wait.
    pub const fn is_attempt(&self) -> bool {
        self.attempt.is_some()
    }

    /// Whether no other job can take it over, since what it does is this job's own.
    pub fn is_bound(&self) -> bool {
        self.attempt.as_ref().is_some_and(|attempt| attempt.gate.is_bound())
    }

    /// Whether the event that its output becomes stands in an outbox of the executor's.
    pub fn is_outboxed(&self) -> bool {
        self.attempt.as_ref().is_some_and(|attempt| attempt.gate.is_outboxed())
    }

    /// Its job has ended, and it goes on for a job that has yet to [adopt](Self::adopt) it.
    pub fn park(&self) {
        if let Some(attempt) = &self.attempt {
            attempt.gate.park();
        }
    }

    /// From now on it is that job's attempt of that number, and what it tells goes where these parts say.
    pub fn adopt(&mut self, job: JobId, number: u32, parts: Parts) {
        self.job = job;
        if let Some(attempt) = &mut self.attempt {
            attempt.number = number;
            attempt.gate.adopt(parts);
        }
    }

    /// Goes on with it.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<Input> {
        let mut input = std::task::ready!(self.future.poll_unpin(context));
        // The future does not know that it was handed on.
        if let (Input::AttemptEnded { job, attempt: number, .. }, Some(attempt)) = (&mut input, &self.attempt) {
            (*job, *number) = (self.job, attempt.number);
        }
        Poll::Ready(input)
    }
}

/// What has been given up is told so, even if its code runs on a thread that cannot be stopped from outside.
impl Drop for Work {
    fn drop(&mut self) {
        self.cancel.cancel();
        if let Some(attempt) = &self.attempt {
            attempt.gate.shut();
        }
    }
}
