//! How a run stands, in one word and what belongs to it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::activation::RunOutcome;
use crate::model::id::EventType;
use crate::model::time::Timestamp;

/// How a run stands. In JSON the word is the field `status`, and what belongs to it stands beside it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Status {
    /// Admitted; it waits for a place.
    Queued,
    /// Something of it is under way.
    Running,
    /// It waits for an event.
    Waiting {
        /// Of these types; empty if its revision is not known any more.
        events: Vec<EventType>,
        /// When it gives up.
        until: Timestamp,
    },
    /// It sleeps.
    Sleeping {
        /// When that is over.
        until: Timestamp,
    },
    /// An attempt failed, and another will be made.
    Retrying {
        /// The step.
        step: String,
        /// When.
        at: Timestamp,
    },
    /// It does not go on.
    Stalled {
        /// Why.
        reason: String,
    },
    /// All its steps are done.
    Succeeded,
    /// A step failed, and nothing healed it.
    Failed,
    /// It was no longer wanted.
    Cancelled,
    /// Its last error was a time limit.
    TimedOut,
    /// Something that it did could not be undone.
    Parked,
}

impl Status {
    /// Every word for a status, and `open`, which stands for all that have not ended: what a list can be asked for.
    pub const WORDS: [&'static str; 12] = [
        "open",
        "queued",
        "running",
        "waiting",
        "sleeping",
        "retrying",
        "stalled",
        "succeeded",
        "failed",
        "cancelled",
        "timed_out",
        "parked",
    ];

    /// The status of a run that ended so.
    pub const fn of_outcome(outcome: &RunOutcome) -> Self {
        match outcome {
            RunOutcome::Succeeded => Self::Succeeded,
            RunOutcome::Failed { .. } => Self::Failed,
            RunOutcome::Cancelled { .. } => Self::Cancelled,
            RunOutcome::TimedOut { .. } => Self::TimedOut,
            RunOutcome::Parked { .. } => Self::Parked,
        }
    }

    /// The status of a run that ended with this word; `None` for words of runs that have not.
    pub fn of_word(word: &str) -> Option<Self> {
        Some(match word {
            "succeeded" => Self::Succeeded,
            "failed" => Self::Failed,
            "cancelled" => Self::Cancelled,
            "timed_out" => Self::TimedOut,
            "parked" => Self::Parked,
            _ => return None,
        })
    }

    /// The word for it.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Waiting { .. } => "waiting",
            Self::Sleeping { .. } => "sleeping",
            Self::Retrying { .. } => "retrying",
            Self::Stalled { .. } => "stalled",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::TimedOut => "timed_out",
            Self::Parked => "parked",
        }
    }

    /// Whether the run has not ended.
    pub const fn is_open(&self) -> bool {
        !matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled | Self::TimedOut | Self::Parked)
    }

    /// Whether this is what was asked for, by one of [`WORDS`](Self::WORDS).
    pub fn is(&self, word: &str) -> bool {
        self.word() == word || (word == "open" && self.is_open())
    }
}

/// As a person reads it: `waiting for Approved until 2026-11-21T14:00:00.000Z`, `timed_out`.
impl fmt::Display for Status {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Waiting { events, until } => {
                let events: Vec<&str> = events.iter().map(EventType::as_str).collect();
                let events = if events.is_empty() { "an event".to_owned() } else { events.join(" or ") };
                write!(formatter, "waiting for {events} until {until}")
            }
            Self::Sleeping { until } => write!(formatter, "sleeping until {until}"),
            Self::Retrying { step, at } => write!(formatter, "retrying {step} at {at}"),
            Self::Stalled { reason } => write!(formatter, "stalled ({reason})"),
            _ => formatter.write_str(self.word()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_a_word_with_what_belongs_to_it() {
        let waiting = Status::Waiting { events: vec!["Approved".into(), "Rejected".into()], until: Timestamp::EPOCH };
        assert_eq!(waiting.to_string(), "waiting for Approved or Rejected until 1970-01-01T00:00:00.000Z");
        let json = serde_json::to_string(&waiting).expect("JSON");
        assert_eq!(json, r#"{"status":"waiting","events":["Approved","Rejected"],"until":"1970-01-01T00:00:00Z"}"#);
        assert_eq!(serde_json::from_str::<Status>(&json).expect("it was one"), waiting);
    }

    #[test]
    fn open_stands_for_all_that_have_not_ended() {
        assert!(Status::Queued.is("open") && Status::Queued.is("queued") && !Status::Queued.is("running"));
        assert!(Status::Parked.is("parked") && !Status::Parked.is("open"));
    }
}
