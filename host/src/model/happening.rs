//! What happens in the host, for whoever watches: the terminal, the log, `--events json`, later the console.
//!
//! Happenings are told, not kept: what must not be lost is a [`Fact`](super::record::Fact).

use std::time::Duration;

use serde::Serialize;

use super::activation::RunOutcome;
use super::event::Event;
use super::failure::Failure;
use super::id::{CorrelationId, EventId, EventType, ExecutorName, FlowName, JobId, PipelineName, RunId, StepId};
use super::job::JobOutcome;
use super::time::Timestamp;
use super::value::Value;

/// One happening: what, when and where it belongs.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Happening {
    /// When.
    #[serde(serialize_with = "as_text")]
    pub time: Timestamp,
    /// The run it belongs to, if any.
    #[serde(flatten)]
    pub run: Option<RunLabel>,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

fn as_text<S: serde::Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(time)
}

fn as_seen<S: serde::Serializer>(event: &Event, serializer: S) -> Result<S::Ok, S::Error> {
    event.to_value().serialize(serializer)
}

/// Which run a happening belongs to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct RunLabel {
    /// The pipeline.
    pub pipeline: PipelineName,
    /// The flow.
    pub flow: FlowName,
    /// The run.
    pub run: RunId,
    /// What request it belongs to.
    pub correlation_id: CorrelationId,
}

/// Which job a happening belongs to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct JobLabel {
    /// The step; for a job that undoes a step, that step.
    pub step: StepId,
    /// The job.
    pub job: JobId,
    /// The executor.
    pub executor: ExecutorName,
    /// Whether it undoes what the step did.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub undo: bool,
}

/// What happened.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum What {
    /// A run began.
    RunStarted,
    /// A run ended.
    RunEnded {
        /// How, and why.
        #[serde(flatten)]
        outcome: RunOutcome,
        /// Since it began.
        #[serde(serialize_with = "in_milliseconds", rename = "milliseconds")]
        elapsed: Duration,
        /// Where its end stands, if it did not end well and nobody was there to hear that.
        #[serde(skip_serializing_if = "Option::is_none")]
        unheard: Option<Unheard>,
    },
    /// The caller was answered.
    Replied {
        /// With what.
        reply: Value,
    },
    /// A job was dispatched.
    JobDispatched {
        /// The job.
        #[serde(flatten)]
        job: JobLabel,
    },
    /// An attempt was started.
    JobStarted {
        /// The job.
        #[serde(flatten)]
        job: JobLabel,
        /// Which try.
        attempt: u32,
    },
    /// The executor told how far it is.
    Progress {
        /// The job.
        #[serde(flatten)]
        job: JobLabel,
        /// What it told.
        progress: Value,
    },
    /// An attempt failed and another will be made.
    Retrying {
        /// The job.
        #[serde(flatten)]
        job: JobLabel,
        /// Which try failed.
        attempt: u32,
        /// Why.
        failure: Failure,
        /// The wait before the next.
        #[serde(serialize_with = "in_milliseconds", rename = "wait_milliseconds")]
        wait: Duration,
    },
    /// A job was found to be the duplicate of another.
    Deduplicated {
        /// The job.
        #[serde(flatten)]
        job: JobLabel,
        /// What became of it: `join`, `skip`, `reject` or `repeat`.
        verdict: &'static str,
    },
    /// The cache had the result.
    CacheHit {
        /// The job.
        #[serde(flatten)]
        job: JobLabel,
        /// Whether it was past its time to live.
        stale: bool,
    },
    /// A job ended.
    JobEnded {
        /// The job.
        #[serde(flatten)]
        job: JobLabel,
        /// How.
        #[serde(flatten)]
        outcome: JobOutcome,
    },
    /// A step failed that is no job's end: an expression, a `fail`, or a job whose fallback stands in.
    StepFailed {
        /// The step.
        step: StepId,
        /// Why.
        failure: Failure,
    },
    /// Something of a job came after its terminal event and was dropped.
    LateDropped {
        /// The job.
        #[serde(flatten)]
        job: JobLabel,
        /// What: `progress`, `emit`, `log` or `result`.
        what: &'static str,
    },
    /// A breaker changed its state.
    Breaker {
        /// Whose, as `chatbot/api`.
        policy: String,
        /// `closed`, `open` or `half_open`.
        state: &'static str,
        /// Whether a probe closes it, and no time.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        probed: bool,
    },
    /// The pipeline's state was changed.
    StateSet {
        /// The key of the state, if it has one.
        key: Option<String>,
        /// Its number after the change, from 1. Grows with every change.
        version: u64,
        /// What kind of change it was.
        #[serde(skip_serializing_if = "StateChange::is_set")]
        change: StateChange,
        /// The fields that it is about, as they are after it.
        after: Value,
        /// Why a change was dropped.
        #[serde(skip_serializing_if = "Option::is_none")]
        because: Option<Failure>,
    },
    /// A run waits for an event.
    Waiting {
        /// The step.
        step: StepId,
        /// The types that it takes.
        events: Vec<EventType>,
        /// When it gives up.
        #[serde(serialize_with = "as_text")]
        until: Timestamp,
    },
    /// A wait took an event.
    Answered {
        /// The step.
        step: StepId,
        /// The event.
        answer: EventId,
    },
    /// Nothing came that a wait could take.
    WaitTimedOut {
        /// The step.
        step: StepId,
    },
    /// A wait's reminder was due.
    Reminded {
        /// The step.
        step: StepId,
        /// Which of `remind.after`, from 0.
        reminder: u32,
    },
    /// An event that matched a wait was not taken by it.
    AnswerRefused {
        /// The event, as expressions see it.
        #[serde(serialize_with = "as_seen")]
        refused: Event,
        /// The run that waits or waited.
        waiting: RunId,
        /// `guard`, `late`, `double` or `full`.
        reason: &'static str,
    },
    /// A step sent a run on its way.
    Dispatched {
        /// The step.
        step: StepId,
        /// The run.
        dispatched: RunId,
    },
    /// A run that was under way when the host ended goes on.
    Recovered,
    /// The store cannot be asked at this moment for what has to be known of runs, and is asked again.
    StoreBusy {
        /// What it said.
        reason: String,
        /// The wait before it is asked again.
        #[serde(serialize_with = "in_milliseconds", rename = "wait_milliseconds")]
        wait: Duration,
    },
    /// A run belongs to another revision of its pipeline from now on.
    Migrated {
        /// The revision, in short.
        to: String,
    },
    /// A run that was under way when the host ended cannot go on; the store still has it.
    Stalled {
        /// Why, and the way out.
        reason: String,
    },
    /// A dead letter is kept no more: there are too many, and it was the oldest.
    DeadLetterGone {
        /// Whose it was: `pipeline.flow`, or the pipeline of an event.
        owner: String,
        /// The run, or the event.
        key: String,
    },
    /// An event went onto a bus.
    Published {
        /// The event, as expressions see it.
        #[serde(serialize_with = "as_seen")]
        published: Event,
    },
    /// An event did not reach a flow, and will not.
    Undelivered {
        /// The event, as expressions see it.
        #[serde(serialize_with = "as_seen")]
        undelivered: Event,
        /// The flow, as `pipeline.flow`.
        subscriber: String,
        /// Why.
        reason: String,
    },
    /// What stands in an outbox could not be brought to a good end, and waits no more; or the outbox cannot be read.
    OutboxTrouble {
        /// The pipeline whose it is.
        source: PipelineName,
        /// Which: the event's id, or where the outbox is.
        entry: String,
        /// Why, and the way out.
        reason: String,
    },
    /// One thing that outlives runs cannot be read: a state, a result, an event, a dead letter. It hinders itself only.
    Unreadable {
        /// What it is, why, and the way out; the code is that of mistakes.
        failure: Failure,
    },
    /// An activation did not become a run.
    NotAdmitted {
        /// The flow, as `pipeline.flow`.
        target: String,
        /// Why.
        reason: String,
    },
    /// An executor logged something.
    Log {
        /// The job.
        #[serde(flatten)]
        job: JobLabel,
        /// How loud.
        level: LogLevel,
        /// What.
        message: String,
    },
    /// Other files are in force now.
    Reloaded {
        /// The pipelines whose revision changed.
        changed: Vec<PipelineName>,
        /// The pipelines that are gone.
        removed: Vec<PipelineName>,
        /// From the last change of a file to the swap, the quiet time not counted.
        #[serde(serialize_with = "in_milliseconds", rename = "milliseconds")]
        took: Duration,
    },
    /// Files were saved and nothing of the plan changed.
    Unchanged,
    /// Files were saved and are not in force, because something is wrong with them.
    ReloadRefused {
        /// What, as it is shown.
        mistakes: Vec<super::diagnostic::Diagnostic>,
    },
    /// Documents of an index were read.
    Indexed {
        /// The index, as `chatbot/docs`.
        index: String,
        /// How many files it has now.
        files: usize,
        /// How many chunks.
        chunks: usize,
    },
    /// A document of an index was not read, and is not found until it can be.
    DocumentSkipped {
        /// The index, as `chatbot/docs`.
        index: String,
        /// The file, relative to the folder of the pipeline's file.
        file: String,
        /// Why, and the way out.
        reason: String,
    },
}

/// Where the bad end of a run stands that nobody was there to hear: an event started it, a step sent it on its way, or whoever asked for it is gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unheard {
    /// In the record of the run only.
    Recorded,
    /// Among the dead letters too.
    DeadLetter,
}

/// What kind of change of a state it was.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StateChange {
    /// A `set`: it stays.
    Set,
    /// An `optimistic`: it stays if its job succeeds.
    Optimistic,
    /// The job of an optimistic change did not succeed: its fields are as if it had never been.
    TakenBack,
    /// A change after one that was taken back was evaluated again without it.
    AppliedAgain,
    /// A change after one that was taken back could not be evaluated without it, and is gone too.
    Dropped,
}

impl StateChange {
    /// Whether it is a plain `set`, which need not be said.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
    const fn is_set(&self) -> bool {
        matches!(self, Self::Set)
    }
}

fn in_milliseconds<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((duration.as_secs_f64() * 1e6).round() / 1e3)
}

/// How loud a log line is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LogLevel {
    /// For whoever looks for a mistake.
    Debug,
    /// For whoever watches.
    Info,
    /// Something to look at.
    Warn,
    /// Something that went wrong.
    Error,
}
