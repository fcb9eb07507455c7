//! `call`: an attempt that starts a run of another flow and takes its end as its own.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use futures_util::task::AtomicWaker;

use crate::model::activation::{Activation, Admission, Parent, Requester, RunEnd, RunOutcome};
use crate::model::event::Caller;
use crate::model::executor::Description;
use crate::model::failure::{Failure, FailureKind};
use crate::model::id::{Digest, FlowName, PipelineName, RunId};
use crate::model::job::{CancelReason, Job};
use crate::model::port::{Activate, Attempt, Executor, JobChannel, Processing};
use crate::model::record::{Beginning, Fact, beginning_of, end_of};
use crate::model::value::Value;
use crate::plan::pipeline::Trigger;

use super::shared::Shared;

/// One attempt of a call.
///
/// It is an executor, so that the policies of the step stand round it as they stand round any other.
pub struct Call {
    shared: Arc<Shared>,
    description: Description,
    pipeline: PipelineName,
    flow: FlowName,
    from: Arc<Beginning>,
    /// Whether each progress of the called run is passed on.
    stream: bool,
    /// Whether this attempt may have begun before the host ended.
    again: bool,
    degraded: Arc<AtomicBool>,
}

/// What is needed to make a call.
pub struct Calling {
    /// What all runs share.
    pub shared: Arc<Shared>,
    /// The pipeline of the called flow.
    pub pipeline: PipelineName,
    /// The flow.
    pub flow: FlowName,
    /// How the calling run began.
    pub from: Arc<Beginning>,
    /// Whether each progress of the called run is passed on.
    pub stream: bool,
    /// Whether this attempt may have begun before the host ended: the run that it started then is taken up.
    pub again: bool,
}

impl Call {
    /// A call of one attempt, and where it says afterwards that the called run was degraded.
    pub fn new(calling: Calling) -> (Self, Arc<AtomicBool>) {
        let degraded = Arc::new(AtomicBool::new(false));
        let description = Description::new(format!("{}.{}", calling.pipeline, calling.flow), Digest::of(&[]));
        let Calling { shared, pipeline, flow, from, stream, again } = calling;
        (Self { shared, description, pipeline, flow, from, stream, again, degraded: Arc::clone(&degraded) }, degraded)
    }

    async fn call(&self, job: Arc<Job>, attempt: Attempt) -> Result<Value, Failure> {
        let child = RunId::started_by(job.id, job.attempt);
        let rejoined = if self.again { self.rejoin(child).await } else { None };
        let callee = match rejoined {
            Some(callee) => callee,
            None => self.start(child, &job, &attempt).await?,
        };
        let mut leaves = CancelChild { shared: &self.shared, child: Some(child) };
        let (reply, end) = self.shared.ports.activity.rest(callee.ended()).await;
        leaves.child = None;
        self.degraded.store(end.degraded, Ordering::Relaxed);
        self.result(reply, end)
    }

    /// The run that this attempt started before the host ended, or what it came to.
    async fn rejoin(&self, child: RunId) -> Option<Arc<Callee>> {
        if let Some(callee) = self.shared.rejoin(child) {
            return Some(callee);
        }
        let facts = self.shared.insist(|| self.shared.ports.store.facts(child)).await.ok()?;
        Callee::of_facts(&facts)
    }

    async fn start(&self, child: RunId, job: &Job, attempt: &Attempt) -> Result<Arc<Callee>, Failure> {
        self.check_entrance()?;
        let channel = self.stream.then(|| Arc::clone(&attempt.channel));
        let callee = Arc::new(Callee { channel, ..Callee::default() });
        let activation = Activation {
            caller: self.caller(),
            correlation_id: Some(self.from.correlation_id),
            requester: Some(Arc::clone(&callee) as Arc<dyn Requester>),
            parent: Some(Box::new(Parent {
                by: self.from.run,
                run: child,
                deadline: attempt.deadline,
                passed: self.from.passed.clone(),
                part: None,
            })),
            ..Activation::new(self.pipeline.clone(), self.flow.clone(), job.input.clone())
        };
        match self.shared.activate(activation).await {
            Admission::Started(_) | Admission::Queued(_) => Ok(callee),
            Admission::Dropped => {
                let message = format!("{}: no place was free, and its `when_full` is drop", self.target());
                Err(Failure::new(FailureKind::Rejected, message).with_code("concurrency"))
            }
            Admission::Refused(failure) => Err(self.named(failure)),
        }
    }

    /// A flow of another pipeline is called only if it says so; checked at load, and here for what a reload changed since.
    fn check_entrance(&self) -> Result<(), Failure> {
        if self.pipeline == self.from.pipeline {
            return Ok(());
        }
        let triggers = self.shared.triggers(&self.pipeline, &self.flow);
        if triggers.is_none_or(|triggers| triggers.contains(&Trigger::Manual)) {
            return Ok(());
        }
        let message = format!("{} cannot be called by other pipelines; add `manual` to its triggers", self.target());
        Err(Failure::new(FailureKind::Denied, message).with_code("not_manual"))
    }

    fn caller(&self) -> Caller {
        self.from.caller.clone()
    }

    fn target(&self) -> String {
        self.description.name.clone()
    }

    fn result(&self, reply: Option<Value>, end: RunEnd) -> Result<Value, Failure> {
        match end.outcome {
            RunOutcome::Succeeded => Ok(reply.unwrap_or(end.output)),
            RunOutcome::Cancelled { reason } => Err(self.cancelled(reason)),
            outcome @ (RunOutcome::Failed { .. } | RunOutcome::TimedOut { .. } | RunOutcome::Parked { .. }) => match outcome.failure() {
                Some(failure) => Err(self.named(failure.clone())),
                None => Err(self.cancelled(CancelReason::Requested)),
            },
        }
    }

    fn cancelled(&self, reason: CancelReason) -> Failure {
        let message = format!("{} was cancelled ({})", self.target(), reason.as_str());
        Failure::new(FailureKind::Cancelled, message).with_code("cancelled")
    }

    /// The called run's failure as this step's: kind, code and all that a policy goes by stay.
    fn named(&self, failure: Failure) -> Failure {
        let message = format!("{}: {}", self.target(), failure.message);
        let cause = failure.clone();
        let mut named = failure.with_message(message).with_cause(cause);
        named.step = None;
        named
    }
}

impl Executor for Call {
    fn description(&self) -> &Description {
        &self.description
    }

    fn process(&self, job: Arc<Job>, attempt: Attempt) -> Processing<'_> {
        Box::pin(self.call(job, attempt))
    }
}

/// Nobody waits for the called run any more.
struct CancelChild<'a> {
    shared: &'a Shared,
    child: Option<RunId>,
}

impl Drop for CancelChild<'_> {
    fn drop(&mut self) {
        // A host that stops leaves both where they are.
        if let Some(child) = self.child.filter(|_| !self.shared.stop.is_cancelled()) {
            self.shared.cancel(child, CancelReason::Parent);
        }
    }
}

/// Hears the called run.
#[derive(Default)]
pub struct Callee {
    channel: Option<Arc<dyn JobChannel>>,
    heard: Mutex<Heard>,
    waker: AtomicWaker,
}

#[derive(Default)]
struct Heard {
    reply: Option<Value>,
    end: Option<RunEnd>,
}

impl Callee {
    /// One that has heard what a run that goes on has replied so far.
    pub fn with_reply(reply: Option<Value>) -> Self {
        Self { heard: Mutex::new(Heard { reply, end: None }), ..Self::default() }
    }

    /// What is recorded of a run that has ended; `None` if it has not.
    fn of_facts(facts: &[Fact]) -> Option<Arc<Self>> {
        let beginning = beginning_of(facts)?;
        let outcome = end_of(facts)?;
        let reply = facts.iter().find_map(|fact| match fact {
            Fact::Replied { reply } => Some(reply.clone()),
            _ => None,
        });
        let (degraded, output) = super::run::summary(facts);
        let end = RunEnd { run: beginning.run, outcome: outcome.clone(), degraded, output };
        Some(Arc::new(Self { heard: Mutex::new(Heard { reply, end: Some(end) }), ..Self::default() }))
    }

    async fn ended(&self) -> (Option<Value>, RunEnd) {
        poll_fn(|context| {
            self.waker.register(context.waker());
            let mut heard = self.lock();
            match heard.end.take() {
                Some(end) => Poll::Ready((heard.reply.take(), end)),
                None => Poll::Pending,
            }
        })
        .await
    }

    fn lock(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Requester for Callee {
    fn progress(&self, progress: &Value) {
        if let Some(channel) = &self.channel {
            channel.progress(progress.clone());
        }
    }

    fn reply(&self, reply: &Value) {
        self.lock().reply = Some(reply.clone());
    }

    fn end(&self, end: &RunEnd) {
        self.lock().end = Some(end.clone());
        self.waker.wake();
    }

    /// The run that called is left where it is too, and its call comes back to this one.
    fn left(&self, _run: RunId) {}
}
