//! What an order changes in the tables, within the transaction that the writer has begun.

use rusqlite::{Connection, params};

use super::chain::{self, Content, Row};
use super::connection::Trouble;
use super::encode::{Append, Emitted, nanos};
use super::held::Held;
use super::payload::Payloads;
use super::places::{Place, Places};
use super::queue::{Order, Written};
use super::rooms;
use super::runs_row::{RunRow, Runs};
use super::sum::Sum;
use super::walk::End;
use crate::model::id::{EventId, RunId};
use crate::model::port::StoreError;
use crate::model::record::Beginning;

/// A transaction under way. An error in it takes back all of it: no statement has to be such that it can be taken back by itself.
pub(super) struct Transaction<'c> {
    pub(super) connection: &'c Connection,
    /// The start of the host whose transaction it is.
    pub(super) epoch: i64,
    head: End,
    pub(super) payloads: &'c Payloads,
    pub(super) runs: Runs<'c>,
    places: &'c mut Places,
    journal: Held<'c>,
}

impl<'c> Transaction<'c> {
    /// One of this start of the host, in a journal that ends there.
    pub(super) fn new(connection: &'c Connection, epoch: i64, head: End, payloads: &'c Payloads, places: &'c mut Places) -> Self {
        let journal = "INSERT INTO journal (position, run, first, count, facts, payload, digest) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        Self { connection, epoch, head, payloads, runs: Runs::of(connection), places, journal: Held::of(journal) }
    }

    /// Where the journal ends now, and by how much the sum over the rows of runs is another.
    pub(super) fn end(self) -> (End, Sum) {
        (self.head, self.runs.changed())
    }

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
        let begun = if append.first == 0 { self.begin(append)? } else { None };
        let mut place = if let Some(place) = begun {
            self.write(append)?;
            place
        } else {
            let Some(mut place) = self.known(append.run)? else { return Ok(Written::Refused(out_of_order(append, 0))) };
            if let Some(refused) = refused(&place, append, self.epoch) {
                self.places.set(append.run, place);
                return Ok(Written::Refused(refused));
            }
            self.write(append)?;
            self.follow(append, &mut place)?;
            place
        };
        place.facts = append.first + append.count;
        self.places.set(append.run, place);
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

    /// The next row of the journal.
    fn write(&mut self, append: &Append) -> Result<(), Trouble> {
        self.payloads.put(&append.facts)?;
        let content = Content::Digest(append.digest);
        let row = Row { position: self.head.position + 1, run: append.run, first: append.first, count: append.count, content };
        let digest = chain::digest(&self.head.digest, &row);
        self.journal.on(self.connection)?.execute(params![
            row.position,
            append.run.as_uuid().as_bytes(),
            whole(append.first),
            whole(append.count),
            append.facts.here(),
            append.facts.file(),
            digest.as_bytes()
        ])?;
        self.head = End { position: row.position, digest };
        Ok(())
    }

    /// Where a run is; `None` if there is none.
    fn known(&mut self, run: RunId) -> Result<Option<Place>, Trouble> {
        match self.places.take(run) {
            None => Ok(self.runs.find(run)?.map(|(entry, facts)| Place { facts, entry })),
            known => Ok(known),
        }
    }

    /// The row of a run that begins with this; `None` if the run is there already. It is not looked for first: to add its row tells.
    fn begin(&mut self, append: &Append) -> Result<Option<Place>, Trouble> {
        if self.places.knows(append.run) {
            return Ok(None);
        }
        let changes = &append.changes;
        let mut row = RunRow { due: append.due.map(nanos), epoch: self.epoch, ..RunRow::default() };
        if let Some(Some((at, outcome))) = changes.ended {
            (row.ended, row.outcome) = (Some(nanos(at)), Some(outcome.into()));
        }
        if let Some(began) = changes.began.as_deref() {
            row = RunRow {
                pipeline: Some(began.pipeline.clone()),
                flow: Some(began.flow.clone()),
                revision: Some(changes.revision.unwrap_or(began.revision)),
                correlation: Some(began.correlation_id),
                parent: began.parent,
                event: began.event.as_ref().map(|event| event.id),
                began: Some(nanos(began.at)),
                ..row
            };
        }
        let Some(entry) = self.runs.add(append.run, row)? else { return Ok(None) };
        if let Some(began) = &changes.began {
            self.note(began)?;
        }
        Ok(Some(Place { facts: 0, entry }))
    }

    /// What of a run's row has changed: with most batches nothing. How many facts it has is said by the journal alone.
    fn follow(&mut self, append: &Append, place: &mut Place) -> Result<(), Trouble> {
        let changes = &append.changes;
        let mut row = RunRow { due: append.due.map(nanos), claims: 0, epoch: self.epoch, ..place.entry.row.clone() };
        if let Some(ended) = changes.ended {
            (row.ended, row.outcome) = ended.map_or((None, None), |(at, outcome)| (Some(nanos(at)), Some(outcome.into())));
        }
        if let Some(began) = &changes.began {
            row.began = Some(nanos(began.at));
        }
        if let Some(revision) = changes.revision {
            row.revision = Some(revision);
        }
        Ok(self.runs.change(append.run, &mut place.entry, row)?)
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
        let Some(mut place) = self.known(run)? else { return Ok(Written::Claimed(1)) };
        let claims = place.entry.row.claims.saturating_add(1);
        let written = if place.entry.row.epoch > self.epoch {
            Written::Refused(StoreError::Fenced { run })
        } else {
            let row = RunRow { claims, epoch: self.epoch, ..place.entry.row.clone() };
            self.runs.change(run, &mut place.entry, row)?;
            Written::Claimed(claims)
        };
        self.places.set(run, place);
        Ok(written)
    }
}

/// Why a batch does not follow on what is known of its run.
fn refused(known: &Place, append: &Append, epoch: i64) -> Option<StoreError> {
    match known {
        Place { entry, .. } if entry.row.epoch > epoch => Some(StoreError::Fenced { run: append.run }),
        Place { facts, .. } if append.first == *facts && *facts > 0 => None,
        Place { facts, .. } => Some(out_of_order(append, *facts)),
    }
}

fn out_of_order(append: &Append, expected: u64) -> StoreError {
    StoreError::OutOfOrder { run: append.run, expected, found: append.first }
}

/// A number as SQLite counts; none of ours comes near the end.
pub(super) fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::journal::conformance::{began, ended, filler};
    use crate::journal::sqlite::seal::Sealer;
    use crate::journal::sqlite::tests::workload::{self, run};
    use crate::journal::sqlite::{FILE, connection};
    use crate::model::record::{Batch, Fact};

    #[test]
    fn a_run_that_begins_and_ends_in_one_batch_is_two_rows_written_once_and_nothing_is_kept_of_it() {
        let folder = tempfile::tempdir().expect("a folder");
        drop(workload::open(folder.path()).expect("it can be made"));
        let connection = connection::writer(&folder.path().join(FILE), false).expect("it is there");
        let (payloads, mut places) = (Payloads::of(folder.path(), false), Places::default());
        let facts = vec![Fact::Began(Arc::new(began(1, None))), filler("x"), ended()];
        let append = Append::new(&Batch::of(run(1), 0, Arc::new(facts)), &Sealer::none()).expect("it fits");
        let order = Order::Append(Box::new(append));
        let mut transaction = Transaction::new(&connection, 1, End::default(), &payloads, &mut places);
        let before = connection.total_changes();
        assert!(matches!(transaction.apply(&order), Ok(Written::Done)));
        assert_eq!(connection.total_changes() - before, 2, "one of the journal, one of the run, and none is written again");
        // It is not known any more, and yet it does not begin twice.
        let Ok(Written::Refused(StoreError::OutOfOrder { expected, found, .. })) = transaction.apply(&order) else {
            panic!("it begins twice")
        };
        assert_eq!((expected, found, connection.total_changes() - before), (3, 0, 2));
        drop(transaction);
        assert!(!places.knows(run(1)));
        let count = |what: &str| {
            let count = format!("SELECT count(*) FROM {what}");
            connection.query_row(&count, [], |row| row.get::<_, i64>(0)).expect("it is there")
        };
        assert_eq!((count("journal"), count("runs INDEXED BY runs_open WHERE ended IS NULL")), (1, 0));
    }
}
