//! A run as others see it: where it stands, without its facts.

use serde::Serialize;

use crate::model::id::{EventType, RunId};
use crate::model::time::Timestamp;

use super::run::{JobPhase, RunState};
use crate::plan::pipeline::Verb;

/// A run that has not ended, as others see it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RunView {
    /// The run.
    pub run: RunId,
    /// Its pipeline and flow, as `pipeline.flow`.
    pub target: String,
    /// When it began; for one that waits at the door, when it came.
    pub since: Timestamp,
    /// Where it stands.
    pub status: RunStatus,
}

/// Where a run stands that has not ended.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
#[serde(rename_all = "snake_case", tag = "status")]
pub enum RunStatus {
    /// Something of it is under way.
    #[default]
    Running,
    /// It waits for an event, or for a time only.
    Waiting {
        /// The types of the events that it waits for; empty for one that sleeps.
        events: Vec<EventType>,
        /// When it goes on in any case.
        #[serde(serialize_with = "as_text")]
        until: Option<Timestamp>,
    },
    /// An attempt failed, and nothing else of it is under way until the next.
    Retrying {
        /// When that is.
        #[serde(serialize_with = "as_text")]
        at: Option<Timestamp>,
    },
    /// It was admitted and waits for a place.
    Queued,
    /// It cannot go on, and does so by itself once the reason is gone.
    Stalled {
        /// Why, and the way out.
        reason: String,
    },
}

#[expect(clippy::ref_option, reason = "serde calls it so")]
fn as_text<S: serde::Serializer>(time: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => serializer.collect_str(time),
        None => serializer.serialize_none(),
    }
}

impl RunStatus {
    /// The word for it: `running`, `waiting`, `retrying`, `queued` or `stalled`.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Waiting { .. } => "waiting",
            Self::Retrying { .. } => "retrying",
            Self::Queued => "queued",
            Self::Stalled { .. } => "stalled",
        }
    }

    /// Where a run stands of which nothing is being carried out.
    pub(super) fn at_rest(state: &RunState) -> Self {
        let mut retry = None;
        for active in state.jobs() {
            match active.phase {
                JobPhase::BackOff(due) => retry = Some(retry.map_or(due, |other: Timestamp| other.min(due))),
                JobPhase::FallingBack(_) => {}
                JobPhase::Waiting | JobPhase::Joined(_) | JobPhase::Running => return Self::Running,
            }
        }
        if retry.is_some() {
            return Self::Retrying { at: retry };
        }
        let mut events: Vec<EventType> = Vec::new();
        for wait in state.waits() {
            if let Verb::Wait(declared) = &state.flow().step(wait.step).verb {
                for name in &declared.listen.types {
                    if !events.contains(name) {
                        events.push(name.clone());
                    }
                }
            }
        }
        Self::Waiting { events, until: state.next_due() }
    }
}
