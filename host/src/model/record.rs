//! The facts of a run. A run's state is the fold of its facts, and nothing else.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::activation::RunOutcome;
use super::event::{Caller, Event};
use super::failure::Failure;
use super::id::{CorrelationId, Digest, EventId, FlowName, JobId, PipelineName, RunId};
use super::job::JobOutcome;
use super::time::Timestamp;
use super::value::Value;

/// A step of a flow by its number: steps are numbered through the flow, those inside others and in `on_error` and `finally` too.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StepNumber(pub u32);

/// A list of steps of a flow by its number: the flow's own steps are 0.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BlockNumber(pub u32);

/// One walk through a block, from its first step to its last: each item of an `each` and each branch gets a lane of its own.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LaneId(pub u32);

/// What a lane is walked for: what happens at its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LanePurpose {
    /// The flow's own steps.
    Main,
    /// A step's `on_error`: its last output heals the step of the parent lane.
    Heal,
    /// A step's `fallback` steps: their last output becomes the job's result.
    Fallback,
    /// The flow's `on_error`.
    OnError,
    /// The flow's `finally`.
    Finally,
}

/// How a run began: what never changes while it goes on.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Beginning {
    /// The run.
    pub run: RunId,
    /// Its pipeline.
    pub pipeline: PipelineName,
    /// Its flow.
    pub flow: FlowName,
    /// The revision it is pinned to.
    #[serde(skip_deserializing, default = "no_digest")]
    pub revision: Digest,
    /// What request it belongs to.
    pub correlation_id: CorrelationId,
    /// The event that started it, if one did.
    pub event: Option<Event>,
    /// The input, checked.
    pub input: Value,
    /// `trigger` in expressions.
    pub trigger: Value,
    /// Who asked.
    pub caller: Caller,
    /// The key of its state; `None` is the pipeline's one state.
    pub state_key: Option<String>,
    /// When it began.
    pub at: Timestamp,
    /// When it must be over.
    pub deadline: Option<Timestamp>,
    /// How often its chain of causes has passed each flow, this start included.
    pub passed: Vec<(String, u32)>,
}

fn no_digest() -> Digest {
    Digest::of(&[])
}

/// One fact of a run.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "fact")]
pub enum Fact {
    /// The run began.
    Began(Arc<Beginning>),
    /// A lane was opened.
    LaneOpened {
        /// The lane.
        lane: LaneId,
        /// What for.
        purpose: LanePurpose,
        /// The block it walks.
        block: BlockNumber,
        /// The lane and the step it was opened from, for what is inside a step.
        parent: Option<(LaneId, StepNumber)>,
    },
    /// A step's `when` was false.
    StepSkipped {
        /// The lane.
        lane: LaneId,
        /// The step.
        step: StepNumber,
    },
    /// A step other than a job is done.
    StepDone {
        /// The lane.
        lane: LaneId,
        /// The step.
        step: StepNumber,
        /// What `steps.<id>` is.
        output: Value,
    },
    /// A step failed and no job of it ended: an expression, `fail`, a full bus.
    StepFailed {
        /// The lane.
        lane: LaneId,
        /// The step.
        step: StepNumber,
        /// Why.
        failure: Failure,
    },
    /// A step's failure was healed.
    StepHealed {
        /// The lane.
        lane: LaneId,
        /// The step.
        step: StepNumber,
        /// What `steps.<id>` is.
        output: Value,
    },
    /// The steps that should have healed a step's failure failed themselves.
    HealFailed {
        /// The lane.
        lane: LaneId,
        /// The step that was to be healed.
        step: StepNumber,
        /// What it fails with now.
        failure: Failure,
    },
    /// A job was dispatched.
    JobDispatched {
        /// The lane.
        lane: LaneId,
        /// The step.
        step: StepNumber,
        /// The job.
        job: JobId,
        /// What `with` came to; each attempt gets this.
        input: Value,
        /// When.
        at: Timestamp,
        /// When the job with all its attempts must be over.
        deadline: Option<Timestamp>,
    },
    /// A job waits for the result of another with the same key.
    JobJoined {
        /// The job that waits.
        job: JobId,
        /// The job whose result it will take.
        leader: JobId,
    },
    /// An attempt was started.
    AttemptStarted {
        /// The job.
        job: JobId,
        /// Which try, from 1.
        attempt: u32,
        /// When.
        at: Timestamp,
    },
    /// An attempt failed and another will be made.
    Retrying {
        /// The job.
        job: JobId,
        /// Which try failed.
        attempt: u32,
        /// Why.
        failure: Failure,
        /// When it failed.
        at: Timestamp,
        /// When the next is due.
        due: Timestamp,
    },
    /// A job has no more attempts, and the steps of its fallback begin.
    FallbackBegan {
        /// The job.
        job: JobId,
        /// What they stand in for.
        failure: Failure,
    },
    /// A job ended: its outcome, and the events that go out with it, in the order in which they are published.
    JobEnded {
        /// The job.
        job: JobId,
        /// How.
        outcome: JobOutcome,
        /// What the executor emitted in the attempt that succeeded, then the step's `emits`.
        events: Vec<Event>,
        /// When.
        at: Timestamp,
    },
    /// Events of an `emit` step go out.
    Emitted {
        /// The lane.
        lane: LaneId,
        /// The step.
        step: StepNumber,
        /// The events.
        events: Vec<Event>,
    },
    /// The caller was answered.
    Replied {
        /// With what.
        reply: Value,
    },
    /// The run will not go on to its end: its lanes are given up, and what is left are `on_error` and `finally`.
    Unwinding {
        /// What it will have ended as.
        outcome: RunOutcome,
        /// When.
        at: Timestamp,
    },
    /// The run ended.
    Ended {
        /// How.
        outcome: RunOutcome,
        /// When.
        at: Timestamp,
    },
}

/// Facts of one run that stand or fall together, with their place in the run's history.
#[derive(Clone, PartialEq, Debug)]
pub struct Batch {
    /// The run.
    pub run: RunId,
    /// The number of the first of these facts in the run, from 0, without gaps.
    pub first: u64,
    /// The facts, at least one. Shared: the store keeps what the engine goes on to act on.
    pub facts: Arc<Vec<Fact>>,
}

impl Fact {
    /// Whether it tells of something that did not go well: told also where nobody wants the routine.
    pub const fn is_trouble(&self) -> bool {
        match self {
            Self::Retrying { .. } | Self::StepFailed { .. } | Self::HealFailed { .. } | Self::FallbackBegan { .. } => true,
            Self::JobEnded { outcome, .. } => !matches!(outcome, JobOutcome::Succeeded { .. }),
            _ => false,
        }
    }
}

/// The id of the event by which a flow knows that it took it already.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct InboxKey {
    /// The pipeline.
    pub pipeline: PipelineName,
    /// The flow.
    pub flow: FlowName,
    /// The event.
    pub event: EventId,
}
