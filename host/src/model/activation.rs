//! What a trigger hands to the engine to start a run, and what comes back.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::event::{Caller, Event};
use super::failure::Failure;
use super::id::{CorrelationId, FlowName, PipelineName, RunId, StepId};
use super::job::CancelReason;
use super::record::{Part, Write};
use super::time::Timestamp;
use super::types::Origin;
use super::value::Value;

/// A wish to start a flow.
#[derive(Clone)]
pub struct Activation {
    /// The pipeline.
    pub pipeline: PipelineName,
    /// The flow.
    pub flow: FlowName,
    /// What the flow's `input` is checked against.
    pub input: Value,
    /// Whether `input` is data or text that has to be converted.
    pub origin: Origin,
    /// `trigger` in expressions: headers, path, query; null for triggers without any.
    pub trigger: Value,
    /// Who asks.
    pub caller: Caller,
    /// What request it belongs to; `None` begins a new one.
    pub correlation_id: Option<CorrelationId>,
    /// The event that started it, for an event trigger.
    pub event: Option<Arc<Event>>,
    /// Who hears progress, reply and end.
    pub requester: Option<Arc<dyn Requester>>,
    /// What to do while the flow's concurrency has no place.
    pub patience: Patience,
    /// What it takes over from the run that starts it, for `call` and `dispatch`; `None` for everything else.
    pub parent: Option<Box<Parent>>,
}

impl Activation {
    /// A wish of nobody in particular: `input` is data, it begins a request of its own, nobody hears of it, and the flow's `when_full` counts.
    pub fn new(pipeline: impl Into<PipelineName>, flow: impl Into<FlowName>, input: Value) -> Self {
        Self {
            pipeline: pipeline.into(),
            flow: flow.into(),
            input,
            origin: Origin::Data,
            trigger: Value::null(),
            caller: Caller::default(),
            correlation_id: None,
            event: None,
            requester: None,
            patience: Patience::AsDeclared,
            parent: None,
        }
    }

    /// The wish of an event that the flow hears: its data are the input, its request and caller stay what they are, and it waits for room.
    pub fn of_event(pipeline: &PipelineName, flow: &FlowName, event: &Arc<Event>) -> Self {
        Self {
            caller: event.caller.clone(),
            correlation_id: Some(event.correlation_id),
            event: Some(Arc::clone(event)),
            patience: Patience::WaitForRoom,
            ..Self::new(pipeline.clone(), flow.clone(), event.data.clone())
        }
    }
}

/// What a run takes over from the run that starts it.
#[derive(Clone, PartialEq, Debug)]
pub struct Parent {
    /// The run that starts it.
    pub by: RunId,
    /// The id that the new run has: made of the job that starts it, so that a start that is repeated after a crash finds the first one.
    pub run: RunId,
    /// When it must be over, whatever its flow says: what is left of the caller's time.
    pub deadline: Option<Timestamp>,
    /// How often the chain of causes has passed each flow before it.
    pub passed: Vec<(String, u32)>,
    /// For a `dispatch`: the one step that it does, and what that step sees.
    pub part: Option<Arc<Part>>,
}

/// What an activation does while the flow's concurrency would queue, replace or reject.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Patience {
    /// Whatever the flow's `when_full` says.
    AsDeclared,
    /// Wait outside until there is a place, and replace and reject nobody: piped lines.
    Wait,
    /// Whatever `when_full` says, but for a full queue, which is waited for: events of a bus, none of which is lost to a burst.
    WaitForRoom,
}

/// Whoever started a run and wants to hear of it. Called in the run's own task: must be quick and never block.
pub trait Requester: Send + Sync {
    /// A progress of a step with `stream: true`.
    fn progress(&self, progress: &Value);

    /// The first reply.
    fn reply(&self, reply: &Value);

    /// The end; called exactly once, after everything else.
    fn end(&self, end: &RunEnd);

    /// Whether somebody hears it: what nobody hears of leaves a dead letter.
    fn is_heard(&self) -> bool {
        true
    }

    /// What has to be kept together with this end of its run, before it is told; usually nothing. `reply` is one that is kept together with the end and
    /// was not told yet either.
    fn keeps(&self, _end: &RunEnd, _reply: Option<&Value>) -> Option<Write> {
        None
    }

    /// The host stops, and the run goes on when it starts again: nothing more is heard of it. Called in the place of the end; by itself it is an end by
    /// [`CancelReason::Shutdown`].
    fn left(&self, run: RunId) {
        let outcome = RunOutcome::Cancelled { reason: CancelReason::Shutdown };
        self.end(&RunEnd { run, outcome, degraded: false, output: Value::null() });
    }
}

/// How a run ended.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct RunEnd {
    /// Which run.
    pub run: RunId,
    /// Its outcome.
    pub outcome: RunOutcome,
    /// Whether a fallback stood in somewhere.
    pub degraded: bool,
    /// The last output of its steps: what a `call` of it amounts to if it never replied. Null unless it succeeded.
    pub output: Value,
}

/// The outcome of a run. Every run has exactly one.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "outcome")]
pub enum RunOutcome {
    /// All steps are done.
    Succeeded,
    /// A step failed and nothing healed it.
    Failed {
        /// Why.
        failure: Failure,
    },
    /// It was no longer wanted.
    Cancelled {
        /// Why not.
        reason: CancelReason,
    },
    /// Its own deadline passed, or a step's last error was a timeout.
    TimedOut {
        /// Which limit, in the message.
        failure: Failure,
    },
    /// It did not succeed, and something that it had done could not be undone: somebody has to look at it.
    Parked {
        /// What it would have ended as.
        because: Box<RunOutcome>,
        /// The steps that are not undone, in the order in which undoing them was tried, each with its last failure.
        left: Vec<(StepId, Failure)>,
    },
}

impl RunOutcome {
    /// Every word for an outcome.
    pub const WORDS: [&str; 5] = ["succeeded", "failed", "cancelled", "timed_out", "parked"];

    /// The word for it: `succeeded`, `failed`, `cancelled`, `timed_out` or `parked`.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed { .. } => "failed",
            Self::Cancelled { .. } => "cancelled",
            Self::TimedOut { .. } => "timed_out",
            Self::Parked { .. } => "parked",
        }
    }

    /// The failure, where there is one. A parked run's is what it failed with before; one that was cancelled before has its first undo's.
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Failed { failure } | Self::TimedOut { failure } => Some(failure),
            Self::Parked { because, left } => because.failure().or_else(|| left.first().map(|(_, failure)| failure)),
            Self::Succeeded | Self::Cancelled { .. } => None,
        }
    }
}

/// What became of an activation at the door.
#[derive(Clone, PartialEq, Debug)]
pub enum Admission {
    /// It runs.
    Started(RunId),
    /// It waits for a place.
    Queued(RunId),
    /// It was forgotten, as the flow's `when_full: drop` says.
    Dropped,
    /// It was refused: the input is wrong, the flow unknown, or full.
    Refused(Failure),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::failure::FailureKind;

    #[test]
    fn every_outcome_has_its_word_in_the_list() {
        let failure = Failure::new(FailureKind::Failed, "no");
        let outcomes = [
            RunOutcome::Succeeded,
            RunOutcome::Failed { failure: failure.clone() },
            RunOutcome::Cancelled { reason: CancelReason::Requested },
            RunOutcome::TimedOut { failure },
            RunOutcome::Parked { because: Box::new(RunOutcome::Succeeded), left: Vec::new() },
        ];
        assert_eq!(outcomes.each_ref().map(RunOutcome::as_str), RunOutcome::WORDS);
    }
}
