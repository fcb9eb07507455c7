//! What is asked of runs and dead letters from outside, by their ids or the beginnings of them, and what was done.

use serde::{Deserialize, Serialize};

use super::commands::Commands;
use super::views::Status;
use crate::engine::{Migrated, MigrationOutcome};
use crate::model::failure::{Failure, FailureKind};
use crate::model::id::{Digest, RunId, StepId};

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

/// What became of a run that was asked to go over to the revision in force.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MigrationTold {
    /// The run.
    pub run: RunId,
    /// Its pipeline and flow, as `pipeline.flow`.
    pub flow: String,
    /// The revision that it belongs to, or belonged to.
    pub from: Digest,
    /// The revision in force; absent if its pipeline is not.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub to: Option<Digest>,
    /// What became of it.
    pub outcome: MigrationWord,
    /// Everything that hinders it, for people.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub hindrances: Vec<String>,
}

/// The word for what became of a run that was asked to go over.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MigrationWord {
    /// It belongs to that revision.
    Already,
    /// It could; nothing was changed.
    Possible,
    /// It did.
    Migrated,
    /// It cannot.
    Hindered,
}

impl From<Migrated> for MigrationTold {
    fn from(migrated: Migrated) -> Self {
        let Migrated { run, target, from, to, outcome } = migrated;
        let (outcome, hindrances) = match outcome {
            MigrationOutcome::Already => (MigrationWord::Already, Vec::new()),
            MigrationOutcome::Possible => (MigrationWord::Possible, Vec::new()),
            MigrationOutcome::Done => (MigrationWord::Migrated, Vec::new()),
            MigrationOutcome::Hindered(hindrances) => (MigrationWord::Hindered, hindrances),
        };
        Self { run, flow: target, from, to, outcome, hindrances }
    }
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

    /// Has a run, or all open ones of older revisions, go over to the revision in force; or only looks whether they could.
    ///
    /// # Errors
    /// As [`Views::find`](super::views::Views::find) and [`Engine::migrate`](crate::engine::Engine::migrate).
    pub async fn migrate(&self, id: Option<&str>, dry_run: bool) -> Result<Vec<MigrationTold>, Failure> {
        let run = match id {
            Some(id) => Some(self.views.find(id).await?),
            None => None,
        };
        Ok(self.engine.migrate(run, dry_run).await?.into_iter().map(MigrationTold::from).collect())
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
