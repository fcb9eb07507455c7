//! What a store is given: facts of a run as a batch, and what stands or falls with them or outlives the run.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Fact;
use crate::model::bundle::Bundle;
use crate::model::event::Event;
use crate::model::id::{EventId, FlowName, PipelineName, RunId};
use crate::model::time::Timestamp;
use crate::model::value::Value;

/// Facts of one run that stand or fall together, with their place in the run's history.
#[derive(Clone, PartialEq, Debug)]
pub struct Batch {
    /// The run.
    pub run: RunId,
    /// The number of the first of these facts in the run, from 0, without gaps.
    pub first: u64,
    /// The facts, at least one. Shared: the store keeps what the engine goes on to act on.
    pub facts: Arc<Vec<Fact>>,
    /// What stands or falls with them.
    pub writes: Vec<Write>,
    /// When the run has to be woken next after these facts, if it waits for a time: the run's timer.
    pub due: Option<Timestamp>,
    /// Whether the run's flow is durable. The facts of others are in memory only, as is what is written with them.
    pub durable: bool,
}

impl Batch {
    /// Facts of a durable run, and nothing beside them.
    pub const fn of(run: RunId, first: u64, facts: Arc<Vec<Fact>>) -> Self {
        Self { run, first, facts, writes: Vec::new(), due: None, durable: true }
    }
}

/// What stands or falls with facts, or alone.
#[derive(Clone, PartialEq, Debug)]
pub enum Write {
    /// Keeps something, in the place of what had its key.
    Keep(Kept),
    /// Forgets what has this key, or all of that owner.
    Forget {
        /// Where.
        room: Room,
        /// Whose.
        owner: String,
        /// Which; `None` is all of them.
        key: Option<String>,
    },
    /// What the runs of a revision are made of. Written with the first of them; one that is there already stays.
    Bundle(Arc<Bundle>),
    /// An event that no fact holds, since it comes from outside or is told once more: it has to reach everybody who hears it, as those of facts.
    Emit(Arc<Event>),
}

/// Something that outlives the run which wrote it.
#[derive(Clone, PartialEq, Debug)]
pub struct Kept {
    /// What it is.
    pub room: Room,
    /// Whose it is: what that means is the room's own.
    pub owner: String,
    /// By which it is found within room and owner.
    pub key: String,
    /// What is kept, in the form that the room's own code reads.
    pub value: Value,
    /// When it may go; `None` is never.
    pub until: Option<Timestamp>,
}

/// The rooms for what outlives a run. Each is written and read by one part of the engine, which alone knows the form of its values.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Room {
    /// States of pipelines.
    State,
    /// Results that answer duplicates: `dedup` with a duration.
    Dedup,
    /// Results of `cache`.
    Cache,
    /// Results that answer repeated requests: `idempotency`.
    Answer,
    /// Waits that are over, to know late and double answers.
    Wait,
    /// Events with `via: outbox` that have not reached everybody.
    Outbox,
    /// How often such an event was refused.
    Try,
    /// What nobody could bring to a good end: see `pipehost dlq`.
    DeadLetter,
}

impl Room {
    /// All of them.
    pub const ALL: [Self; 8] = [Self::State, Self::Dedup, Self::Cache, Self::Answer, Self::Wait, Self::Outbox, Self::Try, Self::DeadLetter];

    /// The word for it, as it stands in a store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::State => "state",
            Self::Dedup => "dedup",
            Self::Cache => "cache",
            Self::Answer => "answer",
            Self::Wait => "wait",
            Self::Outbox => "outbox",
            Self::Try => "try",
            Self::DeadLetter => "dead_letter",
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
