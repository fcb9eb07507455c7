//! What an order changes in the tables, within the transaction that the writer has begun.

use rusqlite::{Connection, OptionalExtension, params};

use super::chain::{self, Row};
use super::connection::Trouble;
use super::encode::{Append, Emitted, nanos};
use super::payload::Payloads;
use super::places::{Place, Places};
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
    pub(super) places: &'c mut Places,
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
        let known = self.known(append.run)?;
        if let Some(refused) = refused(known.as_ref(), append, self.epoch) {
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
        match known {
            Some(known) => self.follow(append, known)?,
            None => self.begin(append)?,
        }
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

    /// Where a run is; `None` if there is none.
    fn known(&mut self, run: RunId) -> Result<Option<Place>, Trouble> {
        if let Some(place) = self.places.get(run) {
            return Ok(Some(place));
        }
        let known = self
            .connection
            .prepare_cached(
                "SELECT epoch, due, claims, (SELECT first + count FROM journal WHERE journal.run = runs.run ORDER BY first DESC LIMIT 1)
                 FROM runs WHERE run = ?1",
            )?
            .query_row([run.as_uuid().as_bytes()], |row| {
                let facts: Option<i64> = row.get(3)?;
                Ok(Place {
                    epoch: row.get(0)?,
                    due: row.get(1)?,
                    claims: row.get(2)?,
                    facts: facts.and_then(|facts| facts.try_into().ok()).unwrap_or(0),
                })
            })
            .optional()?;
        Ok(known)
    }

    /// The row of a run that was not known.
    fn begin(&mut self, append: &Append) -> Result<(), Trouble> {
        let began = append.changes.began.as_deref();
        let (ended, outcome) = match append.changes.ended {
            Some(Some((at, outcome))) => (Some(nanos(at)), Some(outcome)),
            _ => (None, None),
        };
        self.connection
            .prepare_cached(
                "INSERT INTO runs (run, pipeline, flow, revision, correlation, parent, event, began, ended, outcome, due, epoch)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
            )?
            .execute(params![
                append.run.as_uuid().as_bytes(),
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
                self.epoch
            ])?;
        if ended.is_none() {
            self.places.set(append.run, Place { epoch: self.epoch, due: append.due.map(nanos), claims: 0, facts: append.count });
        }
        if let Some(began) = began {
            self.note(began)?;
        }
        Ok(())
    }

    /// What of a run's row has changed: with most batches nothing. How many facts it has is said by the journal alone.
    fn follow(&mut self, append: &Append, known: Place) -> Result<(), Trouble> {
        let run = append.run.as_uuid().into_bytes();
        let changes = &append.changes;
        let mut place = Place { facts: append.first + append.count, ..known };
        let due = append.due.map(nanos);
        if let Some(ended) = changes.ended {
            let (at, outcome) = ended.map_or((None, None), |(at, outcome)| (Some(nanos(at)), Some(outcome)));
            self.connection
                .prepare_cached("UPDATE runs SET ended = ?2, outcome = ?3, due = ?4, claims = 0, epoch = ?5 WHERE run = ?1")?
                .execute(params![run, at, outcome, due, self.epoch])?;
            place = Place { due, claims: 0, epoch: self.epoch, ..place };
        } else if due != known.due || known.claims > 0 || known.epoch != self.epoch {
            self.connection
                .prepare_cached("UPDATE runs SET due = ?2, claims = 0, epoch = ?3 WHERE run = ?1")?
                .execute(params![run, due, self.epoch])?;
            place = Place { due, claims: 0, epoch: self.epoch, ..place };
        }
        if let Some(began) = &changes.began {
            self.connection.prepare_cached("UPDATE runs SET began = ?2 WHERE run = ?1")?.execute(params![run, nanos(began.at)])?;
        }
        if let Some(revision) = changes.revision {
            self.connection.prepare_cached("UPDATE runs SET revision = ?2 WHERE run = ?1")?.execute(params![run, revision.to_string()])?;
        }
        match changes.ended {
            Some(Some(_)) => self.places.forget(append.run),
            // Of a run that has ended nothing may be known that is not looked up: it may be forgotten at any time.
            None if changes.only_refused => self.places.forget(append.run),
            _ => self.places.set(append.run, place),
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

    fn claim(&mut self, run: RunId) -> Result<Written, Trouble> {
        // One that is not known was forgotten meanwhile: there is nothing to go on with.
        let Some(known) = self.known(run)? else { return Ok(Written::Claimed(1)) };
        if known.epoch > self.epoch {
            return Ok(Written::Refused(StoreError::Fenced { run }));
        }
        let claims = known.claims.saturating_add(1);
        self.connection.prepare_cached("UPDATE runs SET claims = ?2, epoch = ?3 WHERE run = ?1")?.execute(params![
            run.as_uuid().as_bytes(),
            claims,
            self.epoch
        ])?;
        self.places.set(run, Place { claims, epoch: self.epoch, ..known });
        Ok(Written::Claimed(claims))
    }
}

/// Why a batch does not follow on what is known of its run.
fn refused(known: Option<&Place>, append: &Append, epoch: i64) -> Option<StoreError> {
    match known {
        Some(known) if known.epoch > epoch => Some(StoreError::Fenced { run: append.run }),
        Some(Place { facts, .. }) if append.first == *facts && *facts > 0 => None,
        None if append.first == 0 => None,
        _ => Some(StoreError::OutOfOrder { run: append.run, expected: known.map_or(0, |known| known.facts), found: append.first }),
    }
}

/// A number as SQLite counts; none of ours comes near the end.
pub(super) fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
