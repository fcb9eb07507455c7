//! The facts of a run. A run's state is the fold of its facts, and nothing else.

mod kept;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::activation::RunOutcome;
use super::event::{Caller, Event};
use super::failure::Failure;
use super::id::{CorrelationId, Digest, FlowName, JobId, PipelineName, RunId};
use super::job::JobOutcome;
use super::time::Timestamp;
use super::value::Value;

pub use kept::{Batch, InboxKey, Kept, Room, Write};

/// A step of a flow by its number: steps are numbered through the flow, those inside others and in `on_error` and `finally` too.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StepNumber(pub u32);

/// A list of steps of a flow by its number: the flow's own steps are 0.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BlockNumber(pub u32);

/// One walk through a block, from its first step to its last: each item of an `each` and each branch gets a lane of its own.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LaneId(pub u32);

impl LaneId {
    /// Whether it is the first that a run opens: that of the flow's own steps.
    pub const fn is_main(&self) -> bool {
        self.0 == 0
    }
}

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
    /// The taken branch of a `switch`: its last output is the step's.
    Case,
    /// A branch of a `parallel`, by its place in the plan.
    Branch(u32),
    /// An item of an `each`, by its place in the list.
    Item(u32),
    /// A wait's `on_timeout`.
    OnTimeout,
    /// A wait's reminder, by its place in `remind.after`. The wait goes on beside it.
    Reminder(u32),
    /// The undoing of a step that was done: one job, whose input was fixed when that step ended.
    Undo,
}

/// How a branch of a `parallel`, an item of an `each` or an undoing ended.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LaneResult {
    /// With its last output.
    Succeeded(Value),
    /// Nothing healed this.
    Failed(Failure),
    /// The others decided without it.
    Cancelled,
}

/// The one step that a run of a `dispatch` does, and what that step sees of the run that dispatched it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Part {
    /// The block that holds it.
    pub block: BlockNumber,
    /// The job's input, evaluated by the run that dispatched it.
    pub input: Value,
    /// The outputs of the steps that were done, for the keys and conditions of its policies.
    pub outputs: Vec<(StepNumber, Value)>,
    /// The items of the `each` steps round about it, with their names, innermost last, and `index`.
    pub locals: Vec<(String, Value)>,
}

/// How a run began: what never changes while it goes on. What is null or empty in it, or nobody's, is left out of its text.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Beginning {
    /// The run.
    pub run: RunId,
    /// Its pipeline.
    pub pipeline: PipelineName,
    /// Its flow.
    pub flow: FlowName,
    /// The revision it is pinned to.
    pub revision: Digest,
    /// What request it belongs to.
    pub correlation_id: CorrelationId,
    /// The event that started it, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<Event>,
    /// The input, checked.
    #[serde(default = "Value::null", skip_serializing_if = "Value::is_null")]
    pub input: Value,
    /// `trigger` in expressions.
    #[serde(default = "Value::null", skip_serializing_if = "Value::is_null")]
    pub trigger: Value,
    /// Who asked.
    #[serde(default, skip_serializing_if = "Caller::is_nobody")]
    pub caller: Caller,
    /// The key of its state; `None` is the pipeline's one state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_key: Option<String>,
    /// When it began.
    pub at: Timestamp,
    /// When it must be over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Timestamp>,
    /// How often its chain of causes has passed each flow, this start included.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub passed: Vec<(String, u32)>,
    /// The run that called or dispatched it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<RunId>,
    /// The one step that it does, if it was dispatched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<Arc<Part>>,
    /// The run that it does again from one of its steps on, if somebody asked for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_of: Option<RunId>,
}

/// One fact of a run. As text it has the name `fact` and its fields, but for those that are null or empty, and for the lane of the flow's own steps.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "fact")]
pub enum Fact {
    /// The run was admitted and waits for a place: it has not begun, and nothing of it is lost.
    Queued(Arc<Beginning>),
    /// The run began.
    Began(Arc<Beginning>),
    /// A lane was opened.
    LaneOpened {
        /// The lane.
        #[serde(default, skip_serializing_if = "LaneId::is_main")]
        lane: LaneId,
        /// What for.
        purpose: LanePurpose,
        /// The block it walks.
        block: BlockNumber,
        /// The lane and the step it was opened from, for what is inside a step; the lane and the step that it undoes, for an undoing.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        parent: Option<(LaneId, StepNumber)>,
    },
    /// A step's `when` was false.
    StepSkipped {
        /// The lane.
        #[serde(default, skip_serializing_if = "LaneId::is_main")]
        lane: LaneId,
        /// The step.
        step: StepNumber,
    },
    /// A step other than a job is done.
    StepDone {
        /// The lane.
        #[serde(default, skip_serializing_if = "LaneId::is_main")]
        lane: LaneId,
        /// The step.
        step: StepNumber,
        /// What `steps.<id>` is.
        #[serde(default = "Value::null", skip_serializing_if = "Value::is_null")]
        output: Value,
    },
    /// A step failed and no job of it ended: an expression, `fail`, a full bus.
    StepFailed {
        /// The lane.
        #[serde(default, skip_serializing_if = "LaneId::is_main")]
        lane: LaneId,
        /// The step.
        step: StepNumber,
        /// Why.
        failure: Failure,
    },
    /// A step's failure was healed.
    StepHealed {
        /// The lane.
        #[serde(default, skip_serializing_if = "LaneId::is_main")]
        lane: LaneId,
        /// The step.
        step: StepNumber,
        /// What `steps.<id>` is.
        #[serde(default = "Value::null", skip_serializing_if = "Value::is_null")]
        output: Value,
    },
    /// The steps that should have healed a step's failure failed themselves.
    HealFailed {
        /// The lane.
        #[serde(default, skip_serializing_if = "LaneId::is_main")]
        lane: LaneId,
        /// The step that was to be healed.
        step: StepNumber,
        /// What it fails with now.
        failure: Failure,
    },
    /// A job was dispatched.
    JobDispatched {
        /// The lane.
        #[serde(default, skip_serializing_if = "LaneId::is_main")]
        lane: LaneId,
        /// The step.
        step: StepNumber,
        /// The job.
        job: JobId,
        /// What `with` came to; each attempt gets this.
        #[serde(default = "Value::null", skip_serializing_if = "Value::is_null")]
        input: Value,
        /// When.
        at: Timestamp,
        /// When the job with all its attempts must be over.
        #[serde(default, skip_serializing_if = "Option::is_none")]
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
        /// When: the last attempt ended then. Not known of what older hosts recorded.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at: Option<Timestamp>,
    },
    /// A job ended: its outcome, and the events that go out with it, in the order in which they are published.
    JobEnded {
        /// The job.
        job: JobId,
        /// How.
        outcome: JobOutcome,
        /// What the executor emitted in the attempt that succeeded, then the step's `emits`.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        events: Vec<Event>,
        /// When.
        at: Timestamp,
    },
    /// Events of an `emit` step go out.
    Emitted {
        /// The lane.
        #[serde(default, skip_serializing_if = "LaneId::is_main")]
        lane: LaneId,
        /// The step.
        step: StepNumber,
        /// The events.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        events: Vec<Event>,
    },
    /// An `each` took its list; null items are items too.
    ItemsTaken {
        /// The lane.
        #[serde(default, skip_serializing_if = "LaneId::is_main")]
        lane: LaneId,
        /// The step.
        step: StepNumber,
        /// The items.
        items: Arc<Vec<Value>>,
    },
    /// A branch, an item or an undoing came to its end; its lane and all lanes within it are gone.
    LaneEnded {
        /// The lane.
        #[serde(default, skip_serializing_if = "LaneId::is_main")]
        lane: LaneId,
        /// How.
        result: LaneResult,
    },
    /// A `sleep` began.
    SleepBegan {
        /// The lane.
        #[serde(default, skip_serializing_if = "LaneId::is_main")]
        lane: LaneId,
        /// The step.
        step: StepNumber,
        /// When it is over.
        due: Timestamp,
    },
    /// A `wait` began.
    WaitBegan {
        /// The lane.
        #[serde(default, skip_serializing_if = "LaneId::is_main")]
        lane: LaneId,
        /// The step.
        step: StepNumber,
        /// What the fields of `match` came to.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        matching: Vec<(String, Value)>,
        /// When.
        at: Timestamp,
        /// When it gives up.
        due: Timestamp,
    },
    /// A reminder of a `wait` was due; its steps follow in a lane of their own.
    Reminded {
        /// The lane.
        #[serde(default, skip_serializing_if = "LaneId::is_main")]
        lane: LaneId,
        /// The step.
        step: StepNumber,
        /// Which of `remind.after`, from 0.
        reminder: u32,
        /// When. Not known of what older hosts recorded.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at: Option<Timestamp>,
    },
    /// A `wait` is over: it took an event, or its time passed and `on_timeout` follows.
    WaitEnded {
        /// The lane.
        #[serde(default, skip_serializing_if = "LaneId::is_main")]
        lane: LaneId,
        /// The step.
        step: StepNumber,
        /// What it took; `None` after its timeout.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        event: Option<Arc<Event>>,
        /// When.
        at: Timestamp,
    },
    /// An event that matched a wait was not taken.
    AnswerRefused {
        /// The lane.
        #[serde(default, skip_serializing_if = "LaneId::is_main")]
        lane: LaneId,
        /// The step of the wait.
        step: StepNumber,
        /// The event.
        event: Arc<Event>,
        /// Why.
        reason: RefusedAnswer,
    },
    /// A step with `dispatch` sends a run on its way, which starts once this is kept.
    Dispatched {
        /// The lane.
        #[serde(default, skip_serializing_if = "LaneId::is_main")]
        lane: LaneId,
        /// The step.
        step: StepNumber,
        /// The run.
        run: RunId,
        /// What it does.
        part: Arc<Part>,
    },
    /// What a step did will be undone if the run does not succeed: the undoing job's input, fixed with what is known now. Steps are undone in
    /// the reverse order of these; one that stands there already, from its first attempt, moves to the end.
    UndoPlanned {
        /// The lane of the step.
        #[serde(default, skip_serializing_if = "LaneId::is_main")]
        lane: LaneId,
        /// The step that is undone.
        step: StepNumber,
        /// What `undo.with` came to.
        #[serde(default = "Value::null", skip_serializing_if = "Value::is_null")]
        input: Value,
    },
    /// What a step did can not be undone: the undoing job's input could not be evaluated. A run that does not succeed is parked by it.
    UndoImpossible {
        /// The lane of the step.
        #[serde(default, skip_serializing_if = "LaneId::is_main")]
        lane: LaneId,
        /// The step.
        step: StepNumber,
        /// What its `undo.with` failed with.
        failure: Failure,
    },
    /// What was planned to undo a step is not needed: the step, whose outcome was unknown, turned out not to have been done.
    UndoDropped {
        /// The lane of the step.
        #[serde(default, skip_serializing_if = "LaneId::is_main")]
        lane: LaneId,
        /// The step.
        step: StepNumber,
    },
    /// The caller was answered.
    Replied {
        /// With what.
        #[serde(default = "Value::null", skip_serializing_if = "Value::is_null")]
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
    /// A parked run goes on with what could not be undone: its end was not its end.
    Resumed {
        /// When.
        at: Timestamp,
    },
    /// The run belongs to another revision from now on: its history is what these facts say, in the numbers of that revision.
    Migrated {
        /// The revision.
        revision: Digest,
        /// The history, from its beginning.
        facts: Arc<Vec<Fact>>,
        /// When.
        at: Timestamp,
    },
}

/// Why an event that matched a wait was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusedAnswer {
    /// The wait's `where` did not hold, or could not be evaluated.
    Guard,
    /// The wait was over: its timeout had passed, or its run had ended.
    Late,
    /// The wait had taken another event before.
    Double,
    /// More answers than its run can look at were on their way to it.
    Full,
}

impl RefusedAnswer {
    /// The word for it: `guard`, `late`, `double` or `full`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Guard => "guard",
            Self::Late => "late",
            Self::Double => "double",
            Self::Full => "full",
        }
    }
}

/// How a run began, by its facts from the first on; for one that only was admitted, as what. `None` if they are not a run's.
pub fn beginning_of(facts: &[Fact]) -> Option<&Arc<Beginning>> {
    match facts {
        [Fact::Queued(_), Fact::Began(beginning), ..] | [Fact::Began(beginning) | Fact::Queued(beginning), ..] => Some(beginning),
        _ => None,
    }
}

/// As what a run has ended, by its facts; `None` if it goes on. Answers that it refused since then change nothing of it.
pub fn end_of(facts: &[Fact]) -> Option<&RunOutcome> {
    match facts.iter().rev().find(|fact| !matches!(fact, Fact::AnswerRefused { .. })) {
        Some(Fact::Ended { outcome, .. }) => Some(outcome),
        _ => None,
    }
}

impl Fact {
    /// Whether it tells of something that did not go well: told also where nobody wants the routine.
    pub const fn is_trouble(&self) -> bool {
        match self {
            Self::Retrying { .. }
            | Self::AnswerRefused { .. }
            | Self::StepFailed { .. }
            | Self::HealFailed { .. }
            | Self::FallbackBegan { .. } => true,
            Self::JobEnded { outcome, .. } => !matches!(outcome, JobOutcome::Succeeded { .. }),
            _ => false,
        }
    }
}
