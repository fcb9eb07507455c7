//! Runs that are asked to go over to the revision in force: which ones, and what came of it, for people and programs.

use serde::{Deserialize, Serialize};

use super::commands::Commands;
use crate::engine::{Migrated, MigrationOutcome};
use crate::model::failure::Failure;
use crate::model::id::{Digest, RunId};

/// A wish that runs go over to the revision in force.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MigrationWanted {
    /// The run, or the beginning of its id; `None` is all open ones of older revisions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// Whether it is only said which of them could.
    #[serde(default)]
    pub dry_run: bool,
}

/// What came of it for one run.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MigrationRow {
    /// The run.
    pub run: RunId,
    /// Its pipeline and flow, as `pipeline.flow`.
    pub flow: String,
    /// The revision that it belongs to, or belonged to.
    pub from: Digest,
    /// The revision in force; null if its pipeline is not.
    pub to: Option<Digest>,
    /// Whether it went over, could, need not, or cannot.
    pub outcome: MigrationWord,
    /// Everything that hinders it, in words; empty unless it cannot.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub hindered: Vec<String>,
}

/// Whether a run went over.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MigrationWord {
    /// It did.
    Migrated,
    /// It could; nothing was changed.
    Possible,
    /// It belongs to the revision in force.
    Already,
    /// It cannot, and goes on with the revision that it belongs to.
    Hindered,
}

impl From<Migrated> for MigrationRow {
    fn from(migrated: Migrated) -> Self {
        let Migrated { run, target, from, to, outcome } = migrated;
        let (outcome, hindered) = match outcome {
            MigrationOutcome::Done => (MigrationWord::Migrated, Vec::new()),
            MigrationOutcome::Possible => (MigrationWord::Possible, Vec::new()),
            MigrationOutcome::Already => (MigrationWord::Already, Vec::new()),
            MigrationOutcome::Hindered(why) => (MigrationWord::Hindered, why),
        };
        Self { run, flow: target, from, to, outcome, hindered }
    }
}

impl Commands {
    /// Has a run, or all open ones of older revisions, go over to the revision in force; or says which of them could.
    ///
    /// # Errors
    /// As [`Views::find`](super::views::Views::find); what is wrong with the store.
    pub async fn migrate(&self, wanted: &MigrationWanted) -> Result<Vec<MigrationRow>, Failure> {
        let run = match &wanted.run {
            Some(id) => Some(self.views().find(id).await?),
            None => None,
        };
        let migrated = self.engine.migrate(run, wanted.dry_run).await?;
        Ok(migrated.into_iter().map(Into::into).collect())
    }
}
