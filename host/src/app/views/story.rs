//! All that a person needs to know of one run: how it began, what each step came to, who answered its waits, what it waits for now.

use serde::{Deserialize, Serialize};

use super::status::Status;
use crate::model::activation::RunOutcome;
use crate::model::event::{Caller, Causation, Event};
use crate::model::failure::Failure;
use crate::model::id::{CorrelationId, Digest, EventId, EventType, FlowName, JobId, PipelineName, RunId};
use crate::model::job::{CancelReason, ResultSource};
use crate::model::time::Timestamp;
use crate::model::value::{Map, Value};

/// A run as a line of a list. Its fields are the first of [`RunStory`]'s.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct RunRow {
    /// The run.
    pub run: RunId,
    /// Its pipeline.
    pub pipeline: PipelineName,
    /// Its flow.
    pub flow: FlowName,
    /// How it stands.
    #[serde(flatten)]
    pub status: Status,
    /// When it began, or was queued.
    pub began: Timestamp,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ended: Option<Timestamp>,
    /// Milliseconds from its beginning to its end.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub took_ms: Option<u64>,
    /// What request it belongs to.
    pub correlation_id: CorrelationId,
    /// The revision of its pipeline.
    pub revision: Digest,
    /// The run that called or dispatched it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub parent: Option<RunId>,
}

/// A run, told from its beginning.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct RunStory {
    /// What a list says of it.
    #[serde(flatten)]
    pub row: RunRow,
    /// What its trigger told; null for triggers that tell nothing.
    #[serde(skip_serializing_if = "Value::is_null", default = "Value::null")]
    pub trigger: Value,
    /// Who asked.
    #[serde(skip_serializing_if = "Caller::is_nobody", default)]
    pub caller: Caller,
    /// Its input. Secrets show their names only, here and in every other value.
    #[serde(skip_serializing_if = "Value::is_null", default = "Value::null")]
    pub input: Value,
    /// The event that started it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub event: Option<EventStory>,
    /// The key of its state.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub state_key: Option<String>,
    /// The run that it does again.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub retry_of: Option<RunId>,
    /// When it must be over.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub deadline: Option<Timestamp>,
    /// Whether a fallback stood in somewhere.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub degraded: bool,
    /// Its steps in the order in which they began, those inside others after the one that they are in.
    pub steps: Vec<StepStory>,
    /// What its caller was answered.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reply: Option<Value>,
    /// How it ended, with what it failed of, or what is left of it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub end: Option<RunOutcome>,
    /// When somebody had it go on after it was parked.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub resumed: Vec<Timestamp>,
    /// When it went over to another revision.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub migrated: Vec<MigrationStory>,
    /// How many facts are recorded of it.
    pub facts: u64,
    /// Why no more can be told of it: its facts are there and cannot be read. What is told then is what the store knows of it beside them.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub unreadable: Option<String>,
}

impl RunStory {
    /// What there is to tell of a run whose facts cannot be read: what it is and since when, and why no more.
    pub(super) fn unread(row: RunRow, facts: u64, why: String) -> Self {
        Self { facts, unreadable: Some(why), ..Self::of(row) }
    }

    /// A story in which nothing has happened yet.
    pub(super) fn of(row: RunRow) -> Self {
        Self {
            row,
            trigger: Value::null(),
            caller: Caller::default(),
            input: Value::null(),
            event: None,
            state_key: None,
            retry_of: None,
            deadline: None,
            degraded: false,
            steps: Vec::new(),
            reply: None,
            end: None,
            resumed: Vec::new(),
            migrated: Vec::new(),
            facts: 0,
            unreadable: None,
        }
    }
}

/// A run went over to another revision.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MigrationStory {
    /// When.
    pub at: Timestamp,
    /// Which one it left.
    pub from: Digest,
}

/// How a step stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepState {
    /// Under way.
    #[default]
    Running,
    /// It waits for an event.
    Waiting,
    /// It sleeps.
    Sleeping,
    /// An attempt failed, and another will be made.
    Retrying,
    /// Done.
    Succeeded,
    /// Its `when` was false.
    Skipped,
    /// It failed.
    Failed,
    /// Its last error was a time limit.
    TimedOut,
    /// It failed, and its `on_error` stood in for it.
    Healed,
    /// Nobody wanted it any more.
    Cancelled,
}

impl StepState {
    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Sleeping => "sleeping",
            Self::Retrying => "retrying",
            Self::Succeeded => "succeeded",
            Self::Skipped => "skipped",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
            Self::Healed => "healed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// One step of a run.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct StepStory {
    /// Its id, after the steps that it is inside of: `books[2].reserve`, `on_error.tell`. One without an id has its number, as `#3`.
    pub step: String,
    /// Its verb, if its revision is known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub verb: Option<String>,
    /// Who does it, or the flow that is called.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub executor: Option<String>,
    /// The step that it takes back.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub undoes: Option<String>,
    /// How it stands.
    pub state: StepState,
    /// When it began, where that is recorded.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub began: Option<Timestamp>,
    /// When it ended, where that is recorded.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ended: Option<Timestamp>,
    /// When it goes on by itself: the end of a sleep, the next attempt.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub due: Option<Timestamp>,
    /// Its job.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub job: Option<JobId>,
    /// The job whose result it shares.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub joined: Option<JobId>,
    /// The runs that it called or dispatched: one an attempt.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub runs: Vec<RunId>,
    /// What its `with` came to.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub input: Option<Value>,
    /// What it came to.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub output: Option<Value>,
    /// Where its job's result came from.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub from: Option<ResultSource>,
    /// What it failed with last, though it may have been healed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub failure: Option<Failure>,
    /// Why its job was cancelled.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cancelled: Option<CancelReason>,
    /// Each try of its job.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub attempts: Vec<AttemptStory>,
    /// What it waits for, and who answered.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub wait: Option<WaitStory>,
    /// The events that went out with it.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub events: Vec<EventStory>,
}

/// One try of a job.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct AttemptStory {
    /// Which, from 1.
    pub attempt: u32,
    /// When it began.
    pub began: Timestamp,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ended: Option<Timestamp>,
    /// What it failed with.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub failure: Option<Failure>,
    /// When the next one was due.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next: Option<Timestamp>,
    /// Whether nobody carries on with it and nothing is known of its end: the host ended before it did.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub broken_off: bool,
}

/// A wait, with everything that was decided about it: its audit trail.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct WaitStory {
    /// The types of events that it takes; empty if its revision is not known any more.
    pub events: Vec<EventType>,
    /// The fields that an event must have.
    pub matching: Map,
    /// When it gives up.
    pub until: Timestamp,
    /// How often it has reminded.
    pub reminders: u32,
    /// When it did; without those that an older host recorded without their times.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub reminded: Vec<Timestamp>,
    /// When it gave up.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub timed_out: Option<Timestamp>,
    /// What was answered, the refused answers too, in the order of the decisions.
    pub answers: Vec<AnswerStory>,
}

/// An answer to a wait, and what was decided.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct AnswerStory {
    /// The event, and who said it.
    #[serde(flatten)]
    pub event: EventStory,
    /// Why it was refused: `guard`, `late`, `double` or `full`. Absent if it was taken.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub refused: Option<String>,
}

/// An event.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct EventStory {
    /// Its id.
    pub event: EventId,
    /// Its type.
    #[serde(rename = "type")]
    pub event_type: EventType,
    /// The pipeline on whose bus it was said.
    pub source: PipelineName,
    /// When.
    pub time: Timestamp,
    /// Who is behind it.
    #[serde(skip_serializing_if = "Caller::is_nobody", default)]
    pub caller: Caller,
    /// Whether it came from outside: a signal.
    pub is_signal: bool,
    /// What it says.
    pub data: Value,
}

impl From<&Event> for EventStory {
    fn from(event: &Event) -> Self {
        Self {
            event: event.id,
            event_type: event.event_type.clone(),
            source: event.source.clone(),
            time: event.time,
            caller: event.caller.clone(),
            is_signal: event.causation == Causation::Outside,
            data: event.data.clone(),
        }
    }
}
