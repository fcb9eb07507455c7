//! What a trigger hands to the engine to start a run, and what comes back.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::event::{Caller, Event};
use super::failure::Failure;
use super::id::{CorrelationId, FlowName, PipelineName, RunId};
use super::job::CancelReason;
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
}

impl RunOutcome {
    /// The word for it: `succeeded`, `failed`, `cancelled` or `timed_out`.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed { .. } => "failed",
            Self::Cancelled { .. } => "cancelled",
            Self::TimedOut { .. } => "timed_out",
        }
    }

    /// The failure, where there is one.
    pub const fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Failed { failure } | Self::TimedOut { failure } => Some(failure),
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
