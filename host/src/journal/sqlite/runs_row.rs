//! The row of a run, and every statement that changes one: the digest of a row is made here, and the sum over all of them is kept up here.
//!
//! The other tables have columns that SQLite fills and triggers that count. This one is written with each run's beginning and end: there they cost more than
//! the row itself, as SQLite calls back for each of them and must be able to take back each statement by itself.

use std::borrow::Cow;

use rusqlite::{Connection, Error, OptionalExtension, Row, params};
use uuid::Uuid;

use super::held::Held;
use super::sum::{RowDigest, RowHasher, Sum};
use crate::model::id::{CorrelationId, Digest, EventId, FlowName, PipelineName, RunId};

/// What a run's row says; times are in nanoseconds since 1970.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct RunRow {
    pub(super) pipeline: Option<PipelineName>,
    pub(super) flow: Option<FlowName>,
    pub(super) revision: Option<Digest>,
    pub(super) correlation: Option<CorrelationId>,
    pub(super) parent: Option<RunId>,
    pub(super) event: Option<EventId>,
    pub(super) began: Option<i64>,
    pub(super) ended: Option<i64>,
    pub(super) outcome: Option<Cow<'static, str>>,
    pub(super) due: Option<i64>,
    /// The start of the host that touched it last.
    pub(super) epoch: i64,
    /// How often it was taken up since its last fact.
    pub(super) claims: u32,
}

/// A row as it stands in the table.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Entry {
    pub(super) row: RunRow,
    /// The digest that stands there: it is what was counted, also where it is not the one that the row ought to have.
    digest: RowDigest,
}

/// The rows of runs within a transaction.
pub(super) struct Runs<'c> {
    connection: &'c Connection,
    changed: Sum,
    read: Held<'c>,
    add: Held<'c>,
    end: Held<'c>,
    wait: Held<'c>,
}

const READ: &str = "SELECT pipeline, flow, revision, correlation, parent, event, began, ended, outcome, due, epoch, claims, digest,
    (SELECT first + count FROM journal WHERE journal.run = runs.run ORDER BY first DESC LIMIT 1) FROM runs WHERE run = ?1";
const ADD: &str =
    "INSERT INTO runs (run, pipeline, flow, revision, correlation, parent, event, began, ended, outcome, due, epoch, claims, digest)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14) ON CONFLICT (run) DO NOTHING";
// Several, as SQLite writes each index anew of which a column is named.
const WAIT: &str = "UPDATE runs SET due = ?2, epoch = ?3, claims = ?4, digest = ?5 WHERE run = ?1";
const CLAIM: &str = "UPDATE runs SET epoch = ?2, claims = ?3, digest = ?4 WHERE run = ?1";
const END: &str = "UPDATE runs SET ended = ?2, outcome = ?3, due = ?4, epoch = ?5, claims = ?6, digest = ?7 WHERE run = ?1";
const ALL: &str =
    "UPDATE runs SET revision = ?2, began = ?3, ended = ?4, outcome = ?5, due = ?6, epoch = ?7, claims = ?8, digest = ?9 WHERE run = ?1";
const REMOVE: &str = "DELETE FROM runs WHERE run = ?1 RETURNING digest";

impl RunRow {
    /// The digest of the row of this run: of all columns, in their order.
    fn digest(&self, run: RunId) -> RowDigest {
        let text = |hasher: RowHasher, text: Option<&str>| match text {
            Some(text) => hasher.text(text.as_bytes()),
            None => hasher.absent(),
        };
        let bytes = |hasher: RowHasher, bytes: Option<&[u8]>| match bytes {
            Some(bytes) => hasher.bytes(bytes),
            None => hasher.absent(),
        };
        let number = |hasher: RowHasher, number: Option<i64>| match number {
            Some(number) => hasher.number(number),
            None => hasher.absent(),
        };
        let hasher = RowHasher::of("runs").bytes(run.as_uuid().as_bytes());
        let hasher = text(hasher, self.pipeline.as_ref().map(PipelineName::as_str));
        let hasher = text(hasher, self.flow.as_ref().map(FlowName::as_str));
        let hasher = bytes(hasher, self.revision.as_ref().map(|digest| &digest.as_bytes()[..]));
        let hasher = bytes(hasher, self.correlation.map(CorrelationId::as_uuid).as_ref().map(|id| &id.as_bytes()[..]));
        let hasher = bytes(hasher, self.parent.map(RunId::as_uuid).as_ref().map(|id| &id.as_bytes()[..]));
        let hasher = bytes(hasher, self.event.map(EventId::as_uuid).as_ref().map(|id| &id.as_bytes()[..]));
        let hasher = number(number(hasher, self.began), self.ended);
        let hasher = number(text(hasher, self.outcome.as_deref()), self.due);
        hasher.number(self.epoch).number(i64::from(self.claims)).end()
    }

    fn of(row: &Row<'_>) -> Result<Self, Error> {
        let id = |column| Ok::<_, Error>(row.get::<_, Option<[u8; 16]>>(column)?.map(Uuid::from_bytes));
        let name = |column| row.get::<_, Option<String>>(column);
        Ok(Self {
            pipeline: name(0)?.map(PipelineName::new),
            flow: name(1)?.map(FlowName::new),
            revision: row.get::<_, Option<[u8; 32]>>(2)?.map(Digest::from_bytes),
            correlation: id(3)?.map(CorrelationId::new),
            parent: id(4)?.map(RunId::new),
            event: id(5)?.map(EventId::new),
            began: row.get(6)?,
            ended: row.get(7)?,
            outcome: name(8)?.map(Cow::Owned),
            due: row.get(9)?,
            epoch: row.get(10)?,
            claims: row.get(11)?,
        })
    }
}

impl<'c> Runs<'c> {
    /// Those of the transaction that this connection is in.
    pub(super) fn of(connection: &'c Connection) -> Self {
        let (read, add, end, wait) = (Held::of(READ), Held::of(ADD), Held::of(END), Held::of(WAIT));
        Self { connection, changed: Sum::default(), read, add, end, wait }
    }

    /// By how much the sum over the table is another than before the transaction.
    pub(super) fn changed(self) -> Sum {
        self.changed
    }

    /// The row of a run, and how many facts the journal has of it; `None` if there is none.
    ///
    /// # Errors
    /// What SQLite says.
    pub(super) fn find(&mut self, run: RunId) -> Result<Option<(Entry, u64)>, Error> {
        let read = self.read.on(self.connection)?.query_row([run.as_uuid().as_bytes()], |row| {
            let facts: Option<i64> = row.get(13)?;
            let entry = Entry { row: RunRow::of(row)?, digest: RowDigest::from_bytes(row.get_ref(12)?.as_blob()?).unwrap_or_default() };
            Ok((entry, facts.and_then(|facts| facts.try_into().ok()).unwrap_or(0)))
        });
        read.optional()
    }

    /// Adds the row of a run; `None` if there is one already, which stays as it is.
    ///
    /// # Errors
    /// What SQLite says.
    pub(super) fn add(&mut self, run: RunId, row: RunRow) -> Result<Option<Entry>, Error> {
        let digest = row.digest(run);
        let added = self.add.on(self.connection)?.execute(params![
            run.as_uuid().as_bytes(),
            row.pipeline.as_ref().map(PipelineName::as_str),
            row.flow.as_ref().map(FlowName::as_str),
            row.revision.as_ref().map(Digest::as_bytes),
            row.correlation.map(|id| id.as_uuid().into_bytes()),
            row.parent.map(|id| id.as_uuid().into_bytes()),
            row.event.map(|id| id.as_uuid().into_bytes()),
            row.began,
            row.ended,
            row.outcome,
            row.due,
            row.epoch,
            row.claims,
            digest.as_bytes()
        ])?;
        if added == 0 {
            return Ok(None);
        }
        self.changed.add(digest);
        Ok(Some(Entry { row, digest }))
    }

    /// Has the row of a run say something else, if it does not say that already.
    ///
    /// # Errors
    /// What SQLite says.
    pub(super) fn change(&mut self, run: RunId, entry: &mut Entry, row: RunRow) -> Result<(), Error> {
        if row == entry.row {
            return Ok(());
        }
        let digest = row.digest(run);
        let (id, stored, was) = (run.as_uuid().into_bytes(), digest.as_bytes(), &entry.row);
        let changed = if (row.revision, row.began) != (was.revision, was.began) {
            let revision = row.revision.as_ref().map(Digest::as_bytes);
            let (ended, outcome) = (row.ended, &row.outcome);
            let mut all = self.connection.prepare_cached(ALL)?;
            all.execute(params![id, revision, row.began, ended, outcome, row.due, row.epoch, row.claims, stored])?
        } else if (row.ended, &row.outcome) != (was.ended, &was.outcome) {
            let end = self.end.on(self.connection)?;
            end.execute(params![id, row.ended, row.outcome, row.due, row.epoch, row.claims, stored])?
        } else if row.due != was.due {
            self.wait.on(self.connection)?.execute(params![id, row.due, row.epoch, row.claims, stored])?
        } else {
            self.connection.prepare_cached(CLAIM)?.execute(params![id, row.epoch, row.claims, stored])?
        };
        if changed > 0 {
            self.changed.take(entry.digest);
            self.changed.add(digest);
        }
        *entry = Entry { row, digest };
        Ok(())
    }

    /// Removes the row of the run with this id.
    ///
    /// # Errors
    /// What SQLite says.
    pub(super) fn remove(&mut self, run: &[u8]) -> Result<(), Error> {
        let removed = self
            .connection
            .prepare_cached(REMOVE)?
            .query_row([run], |row| Ok(row.get_ref(0)?.as_blob().ok().and_then(RowDigest::from_bytes)));
        if let Some(digest) = removed.optional()?.flatten() {
            self.changed.take(digest);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
