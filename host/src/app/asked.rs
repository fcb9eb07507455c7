//! What is asked of runs and dead letters from outside, by their ids or the beginnings of them, and what was done.

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
}

impl Commands {
    /// Cancels a run: what it has under way is cancelled, its `undo` and `finally` are done. Returns once it was asked to.
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
        Ok(of_run(run, "it is being cancelled: what it did is undone, and its finally is done"))
    }

    /// Has a parked run go on with what could not be undone, or a stalled one be tried again.
    ///
    /// # Errors
    /// As [`Views::find`](super::views::Views::find) and [`Engine::resume`](crate::engine::Engine::resume).
    pub async fn resume(&self, id: &str) -> Result<Asked, Failure> {
        let run = self.views.find(id).await?;
        self.engine.resume(run).await?;
        Ok(of_run(run, "it goes on"))
    }

    /// Does a run that has ended again, as a new run: from its first step, or from another one on with what the steps before it gave.
    ///
    /// # Errors
    /// As [`Views::find`](super::views::Views::find) and [`Engine::retry`](crate::engine::Engine::retry).
    pub async fn retry(&self, id: &str, from: Option<&StepId>) -> Result<Asked, Failure> {
        let run = self.views.find(id).await?;
        let begun = self.engine.retry(run, from).await?;
        let from = from.map_or_else(String::new, |step| format!(" from the step {step} on"));
        Ok(Asked { begun: Some(begun), ..of_run(run, &format!("run {begun} does it again{from}")) })
    }

    /// Does what a dead letter is about again, and drops it.
    ///
    /// # Errors
    /// As [`Views::letter`](super::views::Views::letter) and [`Engine::replay`](crate::engine::Engine::replay).
    pub async fn replay(&self, id: &str) -> Result<Asked, Failure> {
        let letter = self.views.dead_letter(id).await?;
        let begun = self.engine.replay(&letter.key).await?;
        let done = match begun {
            Some(run) => format!("run {run} does it again"),
            None => "the event is on its way again".to_owned(),
        };
        Ok(Asked { id: letter.key, begun, done })
    }

    /// Forgets a dead letter.
    ///
    /// # Errors
    /// As [`Views::letter`](super::views::Views::letter) and [`Engine::drop_letter`](crate::engine::Engine::drop_letter).
    pub async fn drop_letter(&self, id: &str) -> Result<Asked, Failure> {
        let letter = self.views.dead_letter(id).await?;
        self.engine.drop_letter(&letter.key).await?;
        Ok(Asked { id: letter.key, begun: None, done: "it is dropped".to_owned() })
    }
}

fn of_run(run: RunId, done: &str) -> Asked {
    Asked { id: run.to_string(), begun: None, done: done.to_owned() }
}

pub(super) fn ended(run: RunId, status: &Status) -> Failure {
    let message = format!("run {run} has ended already ({status}); pipehost runs show {run} tells how");
    Failure::new(FailureKind::Conflict, message).with_code(ENDED)
}
