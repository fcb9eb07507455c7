//! The command that a step dispatches, and how it ends.

use serde::{Deserialize, Serialize};

use super::failure::{Failure, FailureKind};
use super::id::{CorrelationId, EventType, ExecutorName, FlowName, JobId, PipelineName, RunId, StepId};
use super::value::Value;

/// A job: data only. Each attempt of it carries the same, but for `attempt`.
#[derive(Clone, Debug)]
pub struct Job {
    /// Its id; the causation id of what it causes.
    pub id: JobId,
    /// The run that dispatched it.
    pub run: RunId,
    /// What request it belongs to.
    pub correlation_id: CorrelationId,
    /// The pipeline it was dispatched in.
    pub pipeline: PipelineName,
    /// The flow it was dispatched in.
    pub flow: FlowName,
    /// The step that dispatched it.
    pub step: StepId,
    /// Who shall handle it.
    pub executor: ExecutorName,
    /// Which try this is, from 1.
    pub attempt: u32,
    /// What `with` came to; `null` where the step has none.
    pub input: Value,
}

impl Job {
    /// `job.key`: the same for each attempt of this job, and for no other job.
    pub fn key(&self) -> String {
        self.id.to_string()
    }
}

/// How a job ended. Every job has exactly one.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "outcome")]
pub enum JobOutcome {
    /// It has a result.
    Succeeded {
        /// The executor's output, or what stands in for it.
        output: Value,
        /// Where the output came from. Not in its text if the executor gave it for this very job.
        #[serde(default, skip_serializing_if = "ResultSource::is_executor")]
        from: ResultSource,
    },
    /// It has none, and will not get one.
    Failed {
        /// Why.
        failure: Failure,
    },
    /// It was no longer wanted.
    Cancelled {
        /// Why not.
        reason: CancelReason,
    },
    /// Its last error was a timeout.
    TimedOut {
        /// Which limit, in the message.
        failure: Failure,
    },
}

impl JobOutcome {
    /// The outcome that a failure amounts to: a timeout timed out, whatever else failed.
    pub fn of_failure(failure: Failure) -> Self {
        match failure.kind {
            FailureKind::Timeout => Self::TimedOut { failure },
            FailureKind::Cancelled => Self::Cancelled { reason: CancelReason::Requested },
            _ => Self::Failed { failure },
        }
    }

    /// The word for it: `succeeded`, `failed`, `cancelled` or `timed_out`.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Succeeded { .. } => "succeeded",
            Self::Failed { .. } => "failed",
            Self::Cancelled { .. } => "cancelled",
            Self::TimedOut { .. } => "timed_out",
        }
    }
}

/// Where a job's result came from. Only what an executor did for this very job is undone by a saga.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResultSource {
    /// The executor did it for this job.
    #[default]
    Executor,
    /// The cache had it.
    Cache,
    /// Another job with the same dedup key did it, now or within its window.
    Joined,
    /// A duplicate was skipped; the result is null.
    Skipped,
    /// The fallback stands in; the run is degraded.
    Fallback,
    /// The executor did it for this job, and what it did is degraded: a called flow in which a fallback stood in. Undone like any other,
    /// not kept by dedup or cache, and the run is degraded.
    Degraded,
    /// Another job did it, now, and its result is degraded; so is the run that joined it.
    JoinedDegraded,
}

impl ResultSource {
    /// Whether the executor did it for this very job, and did it in full.
    #[must_use]
    pub const fn is_executor(&self) -> bool {
        matches!(self, Self::Executor)
    }

    /// Whether the result only stands in for the one that was asked for: no cache, dedup or idempotency keeps it, and the run is degraded.
    #[must_use]
    pub const fn is_degraded(self) -> bool {
        matches!(self, Self::Fallback | Self::Degraded | Self::JoinedDegraded)
    }
}

/// Why a run or a job was cancelled.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CancelReason {
    /// Somebody asked for it: Ctrl-C, a command, a caller who went.
    Requested,
    /// A newer run of the same concurrency key took its place.
    Replaced,
    /// The host is stopping.
    Shutdown,
    /// Another branch won or failed.
    Sibling,
    /// An event that the flow's `cancel_on` names.
    Event,
    /// The run that had called it is not there any more.
    Parent,
}

impl CancelReason {
    /// The word for it, as the records have it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Replaced => "replaced",
            Self::Shutdown => "shutdown",
            Self::Sibling => "sibling",
            Self::Event => "event",
            Self::Parent => "parent",
        }
    }
}

/// An event that an executor emitted while it worked: held until its attempt succeeds.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Emission {
    /// The event's type.
    pub event_type: EventType,
    /// The event's data.
    pub data: Value,
}
