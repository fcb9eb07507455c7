//! What is asked of runs and dead letters from outside, by their ids or the beginnings of them, and what was done.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::commands::Commands;
use super::views::Status;
use crate::model::failure::{Failure, FailureKind};
use crate::model::id::{RunId, StepId};

/// The code of something that is asked of a run which has ended.
pub const ENDED: &str = "E0768";

/// What was done with a run or a dead letter that somebody asked something of.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Asked {
    /// The run, or the dead letter.
    pub id: String,
    /// The run that was begun for it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub begun: Option<RunId>,
    /// What was done, in words.
    pub done: String,
    /// How the run stands after it, where that was waited for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub status: Option<String>,
}

/// So long a run that is cancelled may take before whoever asked for it hears that it has not ended yet.
const TO_CANCEL: Duration = Duration::from_secs(10);
/// The wait between two looks at whether its end is recorded, when it is under way no more.
const TO_RECORD: Duration = Duration::from_millis(20);

impl Commands {
    /// Cancels a run: what it has under way is cancelled, its `undo` and `finally` are done. Returns when it has ended, or after 10 s.
    ///
    /// # Errors
    /// As [`Views::find`](super::views::Views::find); `conflict` with [`ENDED`].
    pub async fn cancel(&self, id: &str) -> Result<Asked, Failure> {
        let story = self.views.run(id).await?;
        let run = story.row.run;
        if !story.row.status.is_open() {
            return Err(ended(run, &story.row.status));
        }
        self.engine.call_off(run).await?;
        let status = self.ended_within(run, TO_CANCEL).await?;
        let done = match &status {
            Some(Status::Cancelled) => "cancelled; what its steps say how to undo is undone".to_owned(),
            Some(Status::Parked) => format!(
                "parked: not all that it had done could be undone; pipehost runs show {run} tells what, pipehost runs resume {run} tries that again"
            ),
            Some(other) => format!("it {} before it could be cancelled", of_old(other)),
            None => format!(
                "it is being cancelled, and has not ended within {} s: pipehost runs show {run} tells how far it is",
                TO_CANCEL.as_secs()
            ),
        };
        Ok(Asked { status: status.map(|status| status.word().to_owned()), ..of_run(run, &done) })
    }

    /// How a run has ended; `None` if it has not within that time.
    async fn ended_within(&self, run: RunId, time: Duration) -> Result<Option<Status>, Failure> {
        let due = self.clock.now() + time;
        loop {
            tokio::select! {
                biased;
                () = self.engine.until_over(run) => {}
                () = self.clock.sleep_until(due) => {}
            }
            let status = self.views.run(&run.to_string()).await?.row.status;
            if !status.is_open() {
                return Ok(Some(status));
            }
            let now = self.clock.now();
            if now >= due {
                return Ok(None);
            }
            // It is under way no more, and its end is on its way into the store; or the host is ending.
            self.clock.sleep_until((now + TO_RECORD).min(due)).await;
        }
    }

    /// Has a parked run go on with what could not be undone, or a stalled one be tried again.
    ///
    /// # Errors
    /// As [`Views::find`](super::views::Views::find) and [`Engine::resume`](crate::engine::Engine::resume).
    pub async fn resume(&self, id: &str) -> Result<Asked, Failure> {
        let run = self.views.find(id).await?;
        self.engine.resume(run).await?;
        Ok(of_run(run, &format!("it goes on; pipehost runs show {run} tells how it stands")))
    }

    /// Does a run that has ended again, as a new run: from its first step, or from another one on with what the steps before it gave. A request that
    /// has its answer is done a second time only if it is to be repeated.
    ///
    /// # Errors
    /// As [`Views::find`](super::views::Views::find) and [`Engine::retry`](crate::engine::Engine::retry).
    pub async fn retry(&self, id: &str, from: Option<&StepId>, repeat: bool) -> Result<Asked, Failure> {
        let run = self.views.find(id).await?;
        let begun = match repeat {
            false => self.engine.retry(run, from).await?,
            true => self.engine.retry_although_answered(run, from).await?,
        };
        let from = from.map_or_else(String::new, |step| format!(" from the step {step} on"));
        Ok(Asked {
            begun: Some(begun),
            ..of_run(run, &format!("run {begun} does it again{from}; pipehost runs show {begun} tells how it goes"))
        })
    }

    /// Does what a dead letter is about again, and drops it.
    ///
    /// # Errors
    /// As [`Views::letter`](super::views::Views::letter) and [`Engine::replay`](crate::engine::Engine::replay).
    pub async fn replay(&self, id: &str) -> Result<Asked, Failure> {
        let letter = self.views.dead_letter(id).await?;
        let begun = self.engine.replay(&letter.key).await?;
        let done = match begun {
            Some(run) => format!("run {run} does it again; pipehost runs show {run} tells how it goes"),
            None => "the event is on its way again".to_owned(),
        };
        Ok(Asked { id: letter.key, begun, done, status: None })
    }

    /// Forgets a dead letter.
    ///
    /// # Errors
    /// As [`Views::letter`](super::views::Views::letter) and [`Engine::drop_letter`](crate::engine::Engine::drop_letter).
    pub async fn drop_letter(&self, id: &str) -> Result<Asked, Failure> {
        let letter = self.views.dead_letter(id).await?;
        self.engine.drop_letter(&letter.key).await?;
        Ok(Asked { id: letter.key, begun: None, done: "it is dropped".to_owned(), status: None })
    }
}

fn of_run(run: RunId, done: &str) -> Asked {
    Asked { id: run.to_string(), begun: None, done: done.to_owned(), status: None }
}

/// `had failed`.
fn of_old(status: &Status) -> String {
    match status {
        Status::TimedOut => "had timed out".to_owned(),
        other => format!("had {}", other.word()),
    }
}

pub(super) fn ended(run: RunId, status: &Status) -> Failure {
    let message = format!("run {run} has ended already ({status}); pipehost runs show {run} tells how");
    Failure::new(FailureKind::Conflict, message).with_code(ENDED)
}
