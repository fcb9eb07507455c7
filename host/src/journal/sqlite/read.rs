//! What is asked of the file, on connections of their own: who reads holds up nobody who writes.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use rusqlite::types::{Value as Cell, ValueRef};
use rusqlite::{Connection, Row, params_from_iter};
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::connection::{self, unread};
use super::encode::timestamp;
use super::findings::{Findings, Problem};
use super::payload::{Payloads, Stored};
use super::rescue::Rescue;
use super::seal::Sealer;
use super::syncing::Lasting;
use crate::model::event::Event;
use crate::model::id::{CorrelationId, Digest, EventId, IdPrefix, RunId};
use crate::model::port::{Answer, Clock, Pending, PendingEvent, RunQuery, RunRecord, StoreError, Unreadable};
use crate::model::record::{Fact, InboxKey};
use crate::model::time::Timestamp;

/// So many read at once; further ones wait.
const READERS: usize = 4;
/// The wait before what somebody else holds is asked for again, and the longest: it doubles.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// So long it is asked for again. Whoever starts and cannot read what was left behind must not give up for a moment's sake, nor wait for ever.
const PATIENCE: Duration = Duration::from_secs(60);

/// Connections that only read.
pub(super) struct Readers(Arc<Pool>);

/// What is done where the file cannot be read.
pub(super) enum Damaged {
    /// Whoever asks is told: somebody writes to the file, and may have to end.
    IsTold,
    /// What can still be read is put together, once, and answers from then on.
    IsReadRound,
    /// Nothing of the file can be read, for this reason.
    Nothing(String),
}

impl Damaged {
    /// What is done with a store of which this was found: something may be lost, and nobody writes to it.
    pub(super) fn of(findings: &Findings) -> Self {
        match findings.problems.first() {
            Some(problem @ Problem::Nothing { .. }) => Self::Nothing(problem.to_string()),
            _ => Self::IsReadRound,
        }
    }
}

struct Pool {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
    places: Arc<Semaphore>,
    sealer: Arc<Sealer>,
    payloads: Payloads,
    clock: Option<Arc<dyn Clock>>,
    /// By which it is known that what was read lasts.
    lasting: Option<Lasting>,
    damaged: Damaged,
    /// What was put together of a file that cannot be read.
    rescue: OnceLock<Result<Rescue, StoreError>>,
}

impl Readers {
    /// Readers of this file; a connection is opened when it is first needed. With a clock they are patient: see [`read`](Self::read).
    ///
    /// Where somebody writes, `lasting` says what a power cut could not take any more: nothing else is told.
    pub(super) fn new(
        path: PathBuf,
        sealer: Arc<Sealer>,
        payloads: Payloads,
        clock: Option<Arc<dyn Clock>>,
        lasting: Option<Lasting>,
        damaged: Damaged,
    ) -> Self {
        let (places, rescue) = (Arc::new(Semaphore::new(READERS)), OnceLock::new());
        Self(Arc::new(Pool { path, idle: Mutex::default(), places, sealer, payloads, clock, lasting, damaged, rescue }))
    }

    /// The facts of a run. Of one of which something is gone with the damage of the file it is said so.
    pub(super) fn facts(&self, run: RunId) -> Answer<Vec<Fact>> {
        let read = self.read(move |connection, sealer, payloads| facts(connection, run, sealer, payloads));
        let pool = Arc::clone(&self.0);
        Box::pin(async move {
            let facts = read.await?;
            match pool.rescue().and_then(|rescue| rescue.lacks(run, facts.len())) {
                Some(why) => Err(StoreError::Unreadable(why)),
                None => Ok(facts),
            }
        })
    }

    /// What is left out of the answers, since it cannot be read; `None` if nothing had to be so far.
    pub(super) fn left_out(&self) -> Option<String> {
        self.0.rescue().map(Rescue::left_out)
    }

    /// Reads on a blocking thread. What somebody else holds is asked for again after waits that double, for a minute; without a clock it is not.
    pub(super) fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection, &Sealer, &Payloads) -> Result<T, StoreError> + Clone + Send + 'static,
    ) -> Answer<T> {
        let pool = Arc::clone(&self.0);
        Box::pin(async move {
            let Some(clock) = pool.clock.clone() else { return pool.read_once(work).await };
            let (until, mut wait) = (clock.now() + PATIENCE, FIRST_WAIT);
            loop {
                match pool.read_once(work.clone()).await {
                    Err(StoreError::Busy(_)) if clock.now() < until => clock.sleep_until(clock.now() + wait).await,
                    answer => return answer,
                }
                wait = (wait * 2).min(LONGEST_WAIT);
            }
        })
    }
}

impl Pool {
    async fn read_once<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Connection, &Sealer, &Payloads) -> Result<T, StoreError> + Clone + Send + 'static,
    ) -> Result<T, StoreError> {
        let pool = Arc::clone(self);
        let place = Arc::clone(&pool.places).acquire_owned().await;
        let place = place.map_err(|_| super::queue::closed())?;
        let done = tokio::task::spawn_blocking(move || {
            let _place = place;
            match &pool.damaged {
                Damaged::IsTold => pool.read_file(work),
                Damaged::IsReadRound => match pool.read_file(work.clone()) {
                    Err(StoreError::Broken(why)) => pool.read_round(&why, work),
                    read => read,
                },
                Damaged::Nothing(why) => Err(StoreError::Suspect(why.clone())),
            }
        });
        let done = done.await.unwrap_or_else(|panic| Err(StoreError::Broken(format!("reading broke off: {panic}"))))?;
        if let Some(lasting) = &self.lasting {
            lasting.wait().await?;
        }
        Ok(done)
    }

    fn read_file<T>(&self, work: impl FnOnce(&Connection, &Sealer, &Payloads) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let idle = self.idle().pop();
        let connection = match idle {
            Some(connection) => connection,
            None => connection::reader(&self.path).map_err(|error| unread(&error))?,
        };
        let done = work(&connection, &self.sealer, &self.payloads);
        self.idle().push(connection);
        done
    }

    /// Reads what could be put together of the file, which cannot be read for this reason.
    fn read_round<T>(
        &self,
        why: &str,
        work: impl FnOnce(&Connection, &Sealer, &Payloads) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let rescue = self.rescue.get_or_init(|| Rescue::of(&self.path, why)).as_ref().map_err(Clone::clone)?;
        let read = rescue.read(|connection| work(connection, &self.sealer, &self.payloads));
        read.map_err(|error| match error {
            StoreError::Broken(why) => StoreError::Suspect(why),
            error => error,
        })
    }

    fn rescue(&self) -> Option<&Rescue> {
        self.rescue.get()?.as_ref().ok()
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The facts of a run in their order.
pub(super) fn facts(connection: &Connection, run: RunId, sealer: &Sealer, payloads: &Payloads) -> Result<Vec<Fact>, StoreError> {
    let read = || {
        let mut statement = connection.prepare_cached("SELECT first, facts, payload FROM journal WHERE run = ?1 ORDER BY first")?;
        let rows = statement.query_map([run.as_uuid().as_bytes()], |row| Ok((row.get::<_, i64>(0)?, Stored::of(row, 1)?)))?;
        rows.collect::<Result<Vec<_>, _>>()
    };
    let mut facts: Vec<Fact> = Vec::new();
    for (first, text) in read().map_err(|error| unread(&error))? {
        if first != super::apply::whole(facts.len() as u64) {
            return Err(StoreError::Unreadable(format!("run {run} has no fact {}", facts.len())));
        }
        let unreadable =
            |why: String| StoreError::Unreadable(format!("the facts from number {first} on of run {run} cannot be read: {why}"));
        let lost = |why: String| unreadable(format!("{why}; put it back, or go on without it with pipehost store accept-loss"));
        let text = text.text(payloads).map_err(lost)?;
        let batch: Vec<Fact> = sealer.read(&text).map_err(unreadable)?;
        facts.extend(batch);
    }
    Ok(facts)
}

/// What a host that starts has to take up. An event that cannot be read hinders itself only.
pub(super) fn pending(connection: &Connection, sealer: &Sealer, payloads: &Payloads) -> Result<Pending, StoreError> {
    let read = || {
        let mut runs = Vec::new();
        // Two questions, each of which goes along the index: nothing has to be sorted.
        for which in ["due IS NOT NULL ORDER BY due, began, run", "due IS NULL ORDER BY began, run"] {
            let open = format!("SELECT run FROM runs WHERE ended IS NULL AND began IS NOT NULL AND {which}");
            let mut open = connection.prepare(&open)?;
            for run in open.query_map([], |row| run_id(row, 0))? {
                runs.push(run?);
            }
        }
        let mut claimed = connection.prepare_cached("SELECT run, claims FROM runs WHERE ended IS NULL AND claims > 0")?;
        let claimed = claimed.query_map([], |row| Ok((run_id(row, 0)?, row.get(1)?)))?.collect::<Result<Vec<_>, _>>()?;
        let mut dispatched = connection.prepare_cached("SELECT by, run FROM dispatched ORDER BY by, run")?;
        let dispatched = dispatched.query_map([], |row| Ok((run_id(row, 0)?, run_id(row, 1)?)))?.collect::<Result<Vec<_>, _>>()?;
        let mut events = connection.prepare_cached("SELECT event, published, data, payload FROM events ORDER BY time, event")?;
        let events = events.query_map([], |row| Ok((event_id(row, 0)?, row.get::<_, bool>(1)?, Stored::of(row, 2)?)))?;
        Ok((runs, claimed, dispatched, events.collect::<Result<Vec<_>, _>>()?))
    };
    let (runs, claimed, dispatched, events) = read().map_err(|error: rusqlite::Error| unread(&error))?;
    let mut pending = Pending { runs, claimed, dispatched, ..Pending::default() };
    for (id, published, text) in events {
        match text.text(payloads).and_then(|text| sealer.read::<Event>(&text)) {
            Ok(event) => pending.events.push(PendingEvent { event, published }),
            Err(why) => pending.unreadable.push(Unreadable { owner: String::new(), key: id.to_string(), why, until: None }),
        }
    }
    Ok(pending)
}

/// Whether a run of that flow was begun by that event.
pub(super) fn has_taken(connection: &Connection, key: &InboxKey) -> Result<bool, StoreError> {
    let asked = connection.prepare_cached("SELECT EXISTS (SELECT 1 FROM inbox WHERE event = ?1 AND pipeline = ?2 AND flow = ?3)").and_then(
        |mut asked| {
            let event = key.event.as_uuid().into_bytes();
            asked.query_row(rusqlite::params![event, key.pipeline.as_str(), key.flow.as_str()], |row| row.get(0))
        },
    );
    asked.map_err(|error| unread(&error))
}

/// The runs that are asked for, in the order of their ids, the last one in front.
pub(super) fn runs(connection: &Connection, query: &RunQuery) -> Result<Vec<RunRecord>, StoreError> {
    let (statement, values) = asked_for(query);
    let read = || {
        let mut statement = connection.prepare(&statement)?;
        statement.query_map(params_from_iter(values), record)?.collect::<Result<Vec<_>, _>>()
    };
    read().map_err(|error| unread(&error))
}

/// A query as a statement with its values.
fn asked_for(query: &RunQuery) -> (String, Vec<Cell>) {
    let mut conditions = String::from("began IS NOT NULL");
    let mut values: Vec<Cell> = Vec::new();
    let mut ask = |condition: &str, value: Option<Cell>| {
        if let Some(value) = value {
            values.push(value);
            conditions.push_str(&format!(" AND {condition} ?{}", values.len()));
        }
    };
    for (column, begins) in [("run", query.run_begins), ("correlation", query.correlation_begins)] {
        let (first, last) = begins.map(IdPrefix::bounds).unzip();
        ask(&format!("{column} >="), first.map(|first| Cell::Blob(first.as_bytes().to_vec())));
        ask(&format!("{column} <="), last.map(|last| Cell::Blob(last.as_bytes().to_vec())));
    }
    ask("run =", query.run.map(|run| Cell::Blob(run.as_uuid().as_bytes().to_vec())));
    ask("pipeline =", query.pipeline.as_ref().map(|name| Cell::Text(name.to_string())));
    ask("flow =", query.flow.as_ref().map(|name| Cell::Text(name.to_string())));
    ask("correlation =", query.correlation.map(|id| Cell::Blob(id.as_uuid().as_bytes().to_vec())));
    match query.outcome.as_deref() {
        Some("open") => conditions.push_str(" AND ended IS NULL"),
        outcome => ask("outcome =", outcome.map(|outcome| Cell::Text(outcome.to_owned()))),
    }
    let limit = if query.limit > 0 { format!(" LIMIT {}", query.limit) } else { String::new() };
    let statement = format!(
        "SELECT run, pipeline, flow, revision, correlation, parent, event, began, ended, outcome, due,
            (SELECT first + count FROM journal WHERE journal.run = runs.run ORDER BY first DESC LIMIT 1)
         FROM runs
         WHERE {conditions} ORDER BY run DESC{limit}"
    );
    (statement, values)
}

fn record(row: &Row<'_>) -> Result<RunRecord, rusqlite::Error> {
    let time = |column| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(column)?.map(timestamp));
    let id = |column| Ok::<_, rusqlite::Error>(row.get::<_, Option<[u8; 16]>>(column)?.map(Uuid::from_bytes));
    let outcome: Option<String> = row.get(9)?;
    Ok(RunRecord {
        run: run_id(row, 0)?,
        pipeline: row.get::<_, String>(1)?.as_str().into(),
        flow: row.get::<_, String>(2)?.as_str().into(),
        revision: revision(row.get_ref(3)?).unwrap_or_else(|| Digest::of(b"")),
        correlation_id: CorrelationId::new(id(4)?.unwrap_or_default()),
        parent: id(5)?.map(RunId::new),
        event: id(6)?.map(EventId::new),
        began: time(7)?.unwrap_or(Timestamp::EPOCH),
        ended: time(8)?.zip(outcome),
        due: time(10)?,
        facts: row.get::<_, Option<i64>>(11)?.and_then(|facts| facts.try_into().ok()).unwrap_or_default(),
    })
}

/// What a run is pinned to. A file of format 1 in which something may be lost is read as it is: there it is text.
fn revision(stored: ValueRef<'_>) -> Option<Digest> {
    match stored {
        ValueRef::Blob(bytes) => bytes.try_into().ok().map(Digest::from_bytes),
        stored => Digest::from_hex(stored.as_str().ok()?),
    }
}

fn run_id(row: &Row<'_>, column: usize) -> Result<RunId, rusqlite::Error> {
    Ok(RunId::new(Uuid::from_bytes(row.get(column)?)))
}

fn event_id(row: &Row<'_>, column: usize) -> Result<EventId, rusqlite::Error> {
    Ok(EventId::new(Uuid::from_bytes(row.get(column)?)))
}

#[cfg(test)]
mod tests {
    use super::super::tests::workload;
    use super::*;

    #[test]
    fn the_beginning_of_an_id_is_looked_up_and_not_looked_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = workload::open(folder.path()).expect("it can be made");
        let connection = connection::reader(store.path()).expect("it can be read");
        let begins = IdPrefix::parse("01a2");
        let by_run = RunQuery { run_begins: begins, limit: 10, ..RunQuery::default() };
        let by_request = RunQuery { correlation_begins: begins, limit: 10, ..RunQuery::default() };
        let last = RunQuery { limit: 10, ..RunQuery::default() };
        let ways = [
            (by_run, "(run>? AND run<?)"),
            (by_request, "runs_correlation (correlation>? AND correlation<?)"),
            // Along the table itself, which is in the order of its keys.
            (last, "SCAN runs"),
        ];
        for (query, way) in ways {
            let (statement, values) = asked_for(&query);
            let mut plan = connection.prepare(&format!("EXPLAIN QUERY PLAN {statement}")).expect("it is SQL");
            let steps = plan.query_map(params_from_iter(values), |row| row.get::<_, String>(3)).expect("it is explained");
            let steps: Vec<String> = steps.map(|step| step.expect("text")).collect();
            assert!(steps[0].ends_with(way), "{steps:?}");
            let sorts = steps.iter().any(|step| step.contains("TEMP B-TREE"));
            assert_eq!(sorts, way.contains("runs_correlation"), "{steps:?}");
        }
    }
}
