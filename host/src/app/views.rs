//! What people and programs see of runs: lists, the story of one, what belongs to one request. Pure folds over what a store has; whether a
//! host runs on that store or not.

mod audit;
mod beside;
mod fold;
mod letters;
mod names;
mod pinned;
mod status;
mod story;
mod trace;

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};

use crate::model::failure::{Failure, FailureKind};
use crate::model::id::{CorrelationId, Digest, FlowName, IdPrefix, PipelineName, RunId};
use crate::model::port::{RunQuery, RunRecord, Store, StoreError};
use crate::model::record::Fact;
use crate::plan::pipeline::Pipeline;

pub use audit::Decision;
pub use beside::archive;
pub(super) use beside::of_host;
pub use letters::{LetterRow, LetterStory, NO_LETTER};
pub(super) use pinned::Pinned;
pub use status::Status;
pub use story::{AnswerStory, AttemptStory, EventStory, MigrationStory, RunRow, RunStory, StepState, StepStory, WaitStory};
pub use trace::{MOST_RUNS, Trace, TraceKind, TraceNode};

use fold::{Fold, break_off};
use names::Names;

use super::store::nothing_left;

/// The code of an id that nothing known has.
pub const UNKNOWN_ID: &str = "E0765";
/// The code of the beginning of an id that several have.
pub const AMBIGUOUS_ID: &str = "E0766";
/// The code of a store that cannot be read.
pub const UNREADABLE_STORE: &str = "E0767";

/// The most that one list holds.
pub const MOST_LISTED: usize = 10_000;

/// What is known of runs beside the store.
trait Beside: Send + Sync {
    /// The pipeline as it was in that revision, for the names in it; `None` if nobody has it any more.
    fn pipeline(&self, name: PipelineName, revision: Digest) -> BoxFuture<'_, Option<Arc<Pipeline>>>;

    /// Why a run that has not ended does not go on; `None` if it does.
    fn stalled(&self, run: RunId, status: &Status) -> Option<String>;
}

/// Which runs a list shall have.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunsWanted {
    /// Those of this pipeline only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pipeline: Option<PipelineName>,
    /// Those of this flow only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flow: Option<FlowName>,
    /// Those that stand so only, by one of [`Status::WORDS`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// At most so many, the newest; never more than [`MOST_LISTED`].
    pub limit: usize,
}

/// A list, and whether there is more than was asked for.
#[derive(Clone, PartialEq, Debug)]
pub struct Listed<T> {
    /// What is listed.
    pub items: Vec<T>,
    /// Whether there is more.
    pub more: bool,
}

/// Views of the runs in a store. Clones look at the same.
#[derive(Clone)]
pub struct Views {
    store: Arc<dyn Store>,
    beside: Arc<dyn Beside>,
}

impl Views {
    fn new(store: Arc<dyn Store>, beside: Arc<dyn Beside>) -> Self {
        Self { store, beside }
    }

    /// The runs that are wanted, the one that began last in front.
    ///
    /// # Errors
    /// `permanent` with [`UNREADABLE_STORE`].
    pub async fn runs(&self, wanted: &RunsWanted) -> Result<Listed<RunRow>, Failure> {
        let limit = wanted.limit.min(MOST_LISTED);
        let word = wanted.status.as_deref();
        // The store knows how a run ended; how one stands that has not is in its facts.
        let is_ended = word.is_some_and(|word| Status::of_word(word).is_some());
        let outcome = if is_ended { word } else { word.map(|_| "open") };
        let query = RunQuery {
            pipeline: wanted.pipeline.clone(),
            flow: wanted.flow.clone(),
            outcome: outcome.map(str::to_owned),
            limit: if is_ended || word.is_none() { limit + 1 } else { 0 },
            ..RunQuery::default()
        };
        let mut items = Vec::new();
        for record in self.store.runs(query).await.map_err(|error| unreadable(&error))? {
            let Some(row) = self.row(record).await? else { continue };
            if word.is_some_and(|word| !row.status.is(word)) {
                continue;
            }
            if items.len() == limit {
                return Ok(Listed { items, more: true });
            }
            items.push(row);
        }
        Ok(Listed { items, more: false })
    }

    /// What is missing in all of these, since the store cannot read it any more, for people; `None` if nothing is, as far as it was asked.
    pub fn left_out(&self) -> Option<String> {
        self.store.left_out()
    }

    /// The story of a run, by its id or the beginning of it.
    ///
    /// # Errors
    /// As [`find`](Self::find).
    pub async fn run(&self, id: &str) -> Result<RunStory, Failure> {
        let record = self.record(id).await?;
        self.story(&record).await?.ok_or_else(|| unknown(id))
    }

    /// The run with that id, or the one whose id begins so.
    ///
    /// # Errors
    /// `not_found` with [`UNKNOWN_ID`], `invalid` with [`AMBIGUOUS_ID`], `permanent` with [`UNREADABLE_STORE`].
    pub async fn find(&self, id: &str) -> Result<RunId, Failure> {
        Ok(self.record(id).await?.run)
    }

    /// All that belongs to one request: by its correlation id, by a run's id, or by the beginning of either.
    ///
    /// # Errors
    /// As [`find`](Self::find).
    pub async fn trace(&self, id: &str) -> Result<Trace, Failure> {
        let begins = prefix(id)?;
        let query = RunQuery { limit: MOST_LISTED, ..RunQuery::default() };
        let mut meant = self.records(RunQuery { run_begins: Some(begins), ..query.clone() }).await?;
        meant.extend(self.records(RunQuery { correlation_begins: Some(begins), ..query }).await?);
        let requests: BTreeSet<CorrelationId> = meant.iter().map(|record| record.correlation_id).collect();
        let mut found = requests.iter();
        let correlation = match (found.next(), found.next()) {
            (None, _) => return Err(no_request(id)),
            (Some(only), None) => *only,
            _ => return Err(ambiguous(id, "requests", requests.iter().map(ToString::to_string))),
        };
        let mut records = self.records(RunQuery { correlation: Some(correlation), ..RunQuery::default() }).await?;
        records.sort_by_key(|record| (record.began, record.run));
        let left_out = records.len().saturating_sub(MOST_RUNS);
        records.truncate(MOST_RUNS);
        let mut stories = Vec::with_capacity(records.len());
        for record in &records {
            stories.extend(self.story(record).await?);
        }
        Ok(Trace::of(correlation, stories, left_out))
    }

    /// A run with its facts, and the pipeline that it is pinned to, if that is known.
    pub(super) async fn history(&self, run: RunId) -> Result<(Vec<Fact>, Option<Arc<Pipeline>>), Failure> {
        let record = self.records(RunQuery { run: Some(run), ..RunQuery::default() }).await?.into_iter().next();
        let record = record.ok_or_else(|| unknown(&run.to_string()))?;
        let facts = self.store.facts(run).await.map_err(|error| unreadable(&error))?;
        Ok((facts, self.beside.pipeline(record.pipeline, record.revision).await))
    }

    async fn record(&self, id: &str) -> Result<RunRecord, Failure> {
        let begins = prefix(id)?;
        let mut found = self.records(RunQuery { run_begins: Some(begins), limit: MOST_LISTED, ..RunQuery::default() }).await?;
        if found.len() > 1 {
            return Err(ambiguous(id, "runs", found.iter().map(|record| record.run.to_string())));
        }
        found.pop().ok_or_else(|| unknown(id))
    }

    async fn records(&self, query: RunQuery) -> Result<Vec<RunRecord>, Failure> {
        self.store.runs(query).await.map_err(|error| unreadable(&error))
    }

    async fn row(&self, record: RunRecord) -> Result<Option<RunRow>, Failure> {
        if record.ended.as_ref().is_some_and(|(_, word)| Status::of_word(word).is_some()) {
            return Ok(Some(known(&record, Status::Running)));
        }
        Ok(self.story(&record).await?.map(|story| story.row))
    }

    /// `None` if the store has forgotten the run since it told of it. One whose facts cannot be read hides no other: what is known without
    /// them is told.
    async fn story(&self, record: &RunRecord) -> Result<Option<RunStory>, Failure> {
        let facts = match self.store.facts(record.run).await {
            Ok(facts) => facts,
            Err(StoreError::Unreadable(why)) => {
                let row = known(record, Status::Stalled { reason: why.clone() });
                return Ok(Some(RunStory::unread(row, record.facts, why)));
            }
            Err(error) => return Err(unreadable(&error)),
        };
        let names = Names::of(self.beside.pipeline(record.pipeline.clone(), record.revision).await, &record.flow);
        let Some(mut story) = Fold::story(&facts, &names) else { return Ok(None) };
        if story.row.status.is_open()
            && let Some(reason) = self.beside.stalled(record.run, &story.row.status)
        {
            story.row.status = Status::Stalled { reason };
            // Nobody carries on with what seems to be under way.
            story.steps.iter_mut().for_each(break_off);
        }
        Ok(Some(story))
    }
}

/// A run as a line of a list, by what the store knows of it without its facts; `open` is how it stands if it has not ended.
fn known(record: &RunRecord, open: Status) -> RunRow {
    let ended = record.ended.as_ref().and_then(|(at, word)| Some((*at, Status::of_word(word)?)));
    let at = ended.as_ref().map(|(at, _)| *at);
    RunRow {
        run: record.run,
        pipeline: record.pipeline.clone(),
        flow: record.flow.clone(),
        status: ended.map_or(open, |(_, status)| status),
        began: record.began,
        ended: at,
        took_ms: at.map(|at| u64::try_from(at.since(record.began).as_millis()).unwrap_or(u64::MAX)),
        correlation_id: record.correlation_id,
        revision: record.revision,
        parent: record.parent,
    }
}

/// The ids that are meant.
fn prefix(id: &str) -> Result<IdPrefix, Failure> {
    let message =
        || format!("{id:?} is no id: an id has hexadecimal digits and hyphens, and its beginning is enough; see pipehost runs list");
    IdPrefix::parse(id.trim()).ok_or_else(|| Failure::new(FailureKind::NotFound, message()).with_code(UNKNOWN_ID))
}

fn unknown(id: &str) -> Failure {
    let message = format!("there is no run {id}; see pipehost runs list");
    Failure::new(FailureKind::NotFound, message).with_code(UNKNOWN_ID)
}

fn no_request(id: &str) -> Failure {
    let message = format!("there is no request and no run {id}; pipehost runs list --json tells the correlation_id of each run");
    Failure::new(FailureKind::NotFound, message).with_code(UNKNOWN_ID)
}

/// So many of those that are meant are named.
const NAMED: usize = 4;

fn ambiguous(id: &str, what: &str, found: impl ExactSizeIterator<Item = String>) -> Failure {
    let count = found.len();
    let at_least = if count >= MOST_LISTED { "at least " } else { "" };
    let mut named: Vec<String> = found.take(NAMED).collect();
    if count > NAMED {
        named.push(format!("{} more", count - NAMED));
    }
    let message = format!("{at_least}{count} {what} begin with {id}: {}; write more of the id", named.join(", "));
    Failure::new(FailureKind::Invalid, message).with_code(AMBIGUOUS_ID)
}

pub(super) fn unreadable(error: &StoreError) -> Failure {
    if let StoreError::Suspect(why) = error {
        return nothing_left(why);
    }
    let message = format!("the store cannot be read: {error}; pipehost store verify says what of it is good");
    Failure::new(FailureKind::Permanent, message).with_code(UNREADABLE_STORE)
}
