//! What an order changes in the tables, within the transaction that the writer has begun.

use rusqlite::{Connection, OptionalExtension, params};

use super::chain::{self, Row};
use super::connection::Trouble;
use super::encode::{Append, Changes, Emitted, nanos};
use super::payload::Payloads;
use super::queue::{Order, Written};
use super::rooms;
use super::walk::End;
use crate::model::id::{EventId, RunId};
use crate::model::port::StoreError;
use crate::model::record::Beginning;

/// A transaction under way.
pub(super) struct Transaction<'c> {
    pub(super) connection: &'c Connection,
    /// The start of the host whose transaction it is.
    pub(super) epoch: i64,
    pub(super) head: End,
    pub(super) payloads: &'c Payloads,
}

impl Transaction<'_> {
    /// Does what an order asks for. Whatever it refuses has changed nothing.
    pub(super) fn apply(&mut self, order: &Order) -> Result<Written, Trouble> {
        match order {
            Order::Append(append) => self.append(append),
            Order::Write(changes) => rooms::change(self, changes).map(|()| Written::Done),
            Order::Claim(run) => self.claim(*run),
            Order::Flush => Ok(Written::Done),
        }
    }

    /// Marks events that everybody has taken.
    pub(super) fn publish(&self, events: &[EventId]) -> Result<(), Trouble> {
        let mut mark = self.connection.prepare_cached("UPDATE events SET published = 1 WHERE event = ?1 AND published = 0")?;
        for event in events {
            mark.execute([event.as_uuid().as_bytes()])?;
        }
        Ok(())
    }

    fn append(&mut self, append: &Append) -> Result<Written, Trouble> {
        if let Some(refused) = self.take_place(append)? {
            return Ok(Written::Refused(refused));
        }
        self.payloads.put(&append.facts)?;
        let file = append.facts.file();
        let content = file.as_deref().or(append.facts.here().map(String::as_str)).unwrap_or_default();
        let row = Row { position: self.head.position + 1, run: append.run, first: append.first, count: append.count, content };
        let digest = chain::digest(&self.head.digest, &row);
        self.connection
            .prepare_cached(
                "INSERT INTO journal (position, run, first, count, facts, payload, digest) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?
            .execute(params![
                row.position,
                append.run.as_uuid().as_bytes(),
                whole(append.first),
                whole(append.count),
                append.facts.here(),
                file,
                digest.as_bytes()
            ])?;
        self.head = End { position: row.position, digest };
        for event in &append.events {
            self.emit(event)?;
        }
        for run in &append.changes.dispatched {
            self.connection
                .prepare_cached("INSERT OR IGNORE INTO dispatched (run, by) VALUES (?1, ?2)")?
                .execute([run.as_uuid().as_bytes(), append.run.as_uuid().as_bytes()])?;
        }
        rooms::change(self, &append.writes)?;
        Ok(Written::Done)
    }

    /// Checks that a batch follows on what is there, and changes what is known of its run; the first thing that is written of it. Gives why
    /// it does not follow.
    fn take_place(&self, append: &Append) -> Result<Option<StoreError>, Trouble> {
        let run = append.run.as_uuid().into_bytes();
        if append.first > 0 {
            let moved = self
                .connection
                .prepare_cached(
                    "UPDATE runs SET facts = facts + ?3, due = ?4, claims = 0, epoch = ?5 WHERE run = ?1 AND facts = ?2 AND epoch <= ?5",
                )?
                .execute(params![run, whole(append.first), whole(append.count), append.due.map(nanos), self.epoch])?;
            if moved == 0 {
                return self.why_not(append).map(Some);
            }
            self.follow(append.run, &append.changes)?;
            return Ok(None);
        }
        let began = append.changes.began.as_deref();
        let (ended, outcome) = match append.changes.ended {
            Some(Some((at, outcome))) => (Some(nanos(at)), Some(outcome)),
            _ => (None, None),
        };
        let inserted = self
            .connection
            .prepare_cached(
                "INSERT INTO runs (run, pipeline, flow, revision, correlation, parent, event, began, ended, outcome, due, facts, epoch)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13) ON CONFLICT DO NOTHING",
            )?
            .execute(params![
                run,
                began.map(|began| began.pipeline.as_str()),
                began.map(|began| began.flow.as_str()),
                began.map(|began| append.changes.revision.unwrap_or(began.revision).to_string()),
                began.map(|began| began.correlation_id.as_uuid().into_bytes()),
                began.and_then(|began| began.parent).map(|parent| parent.as_uuid().into_bytes()),
                began.and_then(|began| began.event.as_ref()).map(|event| event.id.as_uuid().into_bytes()),
                began.map(|began| nanos(began.at)),
                ended,
                outcome,
                append.due.map(nanos),
                whole(append.count),
                self.epoch
            ])?;
        if inserted == 0 {
            return self.why_not(append).map(Some);
        }
        if let Some(began) = began {
            self.note(began)?;
        }
        Ok(None)
    }

    /// What of a run has changed that most batches do not change.
    fn follow(&self, run: RunId, changes: &Changes) -> Result<(), Trouble> {
        if let Some(began) = &changes.began {
            self.connection
                .prepare_cached("UPDATE runs SET began = ?2 WHERE run = ?1")?
                .execute(params![run.as_uuid().as_bytes(), nanos(began.at)])?;
        }
        if let Some(revision) = changes.revision {
            self.connection
                .prepare_cached("UPDATE runs SET revision = ?2 WHERE run = ?1")?
                .execute(params![run.as_uuid().as_bytes(), revision.to_string()])?;
        }
        if let Some(ended) = changes.ended {
            let (at, outcome) = ended.map_or((None, None), |(at, outcome)| (Some(nanos(at)), Some(outcome)));
            self.connection.prepare_cached("UPDATE runs SET ended = ?2, outcome = ?3 WHERE run = ?1")?.execute(params![
                run.as_uuid().as_bytes(),
                at,
                outcome
            ])?;
        }
        Ok(())
    }

    /// By what a flow knows that it took an event, or that what was dispatched has begun.
    fn note(&self, began: &Beginning) -> Result<(), Trouble> {
        match (&began.event, began.parent, &began.part) {
            (_, Some(_), Some(_)) => {
                self.connection.prepare_cached("DELETE FROM dispatched WHERE run = ?1")?.execute([began.run.as_uuid().as_bytes()])?;
            }
            (Some(event), None, None) => {
                self.connection
                    .prepare_cached("INSERT OR IGNORE INTO inbox (event, pipeline, flow, at) VALUES (?1, ?2, ?3, ?4)")?
                    .execute(params![event.id.as_uuid().as_bytes(), began.pipeline.as_str(), began.flow.as_str(), nanos(began.at)])?;
            }
            _ => {}
        }
        Ok(())
    }

    fn emit(&self, event: &Emitted) -> Result<(), Trouble> {
        self.payloads.put(&event.data)?;
        self.connection
            .prepare_cached("INSERT OR IGNORE INTO events (event, time, data, payload) VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![event.event.as_uuid().as_bytes(), nanos(event.time), event.data.here(), event.data.file()])?;
        Ok(())
    }

    fn why_not(&self, append: &Append) -> Result<StoreError, Trouble> {
        let known = self
            .connection
            .prepare_cached("SELECT facts, epoch FROM runs WHERE run = ?1")?
            .query_row([append.run.as_uuid().as_bytes()], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))
            .optional()?;
        let (facts, epoch) = known.unwrap_or((0, self.epoch));
        if epoch > self.epoch {
            return Ok(StoreError::Fenced { run: append.run });
        }
        Ok(StoreError::OutOfOrder { run: append.run, expected: u64::try_from(facts).unwrap_or_default(), found: append.first })
    }

    fn claim(&self, run: RunId) -> Result<Written, Trouble> {
        let claims = self
            .connection
            .prepare_cached("UPDATE runs SET claims = claims + 1, epoch = ?2 WHERE run = ?1 AND epoch <= ?2 RETURNING claims")?
            .query_row(params![run.as_uuid().as_bytes(), self.epoch], |row| row.get::<_, u32>(0))
            .optional()?;
        if let Some(claims) = claims {
            return Ok(Written::Claimed(claims));
        }
        let known: Option<i64> = self
            .connection
            .prepare_cached("SELECT epoch FROM runs WHERE run = ?1")?
            .query_row([run.as_uuid().as_bytes()], |row| row.get(0))
            .optional()?;
        // One that is not known was forgotten meanwhile: there is nothing to go on with.
        Ok(if known.is_some() { Written::Refused(StoreError::Fenced { run }) } else { Written::Claimed(1) })
    }
}

/// A number as SQLite counts; none of ours comes near the end.
pub(super) fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
