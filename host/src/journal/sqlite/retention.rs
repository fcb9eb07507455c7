//! What is old goes: in small transactions, so that nobody who writes waits for long.

use std::collections::HashSet;
use std::time::Duration;

use rusqlite::{Connection, ToSql, params};

use super::apply::{Transaction, whole};
use super::connection::Trouble;
use super::encode::nanos;
use super::payload::Payloads;
use crate::model::time::Timestamp;

/// So many runs go in one transaction.
const RUNS: i64 = 64;
/// So many rows of other kinds go in one transaction.
const ROWS: i64 = 2_000;

/// How long what is over is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Retention {
    /// Runs that have ended; 7 days by default. A parked one, and one that a dead letter names, stays until somebody has decided what becomes of it.
    pub ended_for: Duration,
    /// How many runs that have ended and are not parked; the one that ended first goes. 100,000 by default.
    pub ended_runs: u64,
    /// Which events began which flows; 7 days by default: what is told again later is taken again.
    pub inbox_for: Duration,
    /// How many events that everybody has taken stay for runs that may still wait for them; the oldest go. 100,000 by default.
    pub events: u64,
}

impl Default for Retention {
    fn default() -> Self {
        const WEEK: Duration = Duration::from_secs(7 * 24 * 60 * 60);
        Self { ended_for: WEEK, ended_runs: 100_000, inbox_for: WEEK, events: 100_000 }
    }
}

/// What one look at what is old has done.
#[derive(Default)]
pub(super) struct Tidied {
    /// Whether there is more of it.
    pub(super) more: bool,
    /// Files that rows which went had named.
    pub(super) files: HashSet<String>,
}

impl Retention {
    /// Removes some of what is old. `epoch` is this start of the host.
    pub(super) fn tidy(&self, transaction: &mut Transaction<'_>, now: Timestamp, epoch: i64) -> Result<Tidied, Trouble> {
        let connection = transaction.connection;
        let mut tidied = Tidied::default();
        let before = |age: Duration| nanos(now).saturating_sub(i64::try_from(age.as_nanos()).unwrap_or(i64::MAX));
        let taken = connection
            .prepare_cached(
                "DELETE FROM inbox WHERE (event, pipeline, flow) IN (SELECT event, pipeline, flow FROM inbox WHERE at < ?1 ORDER BY at LIMIT ?2)",
            )?
            .execute([before(self.inbox_for), ROWS])?;
        tidied.more |= whole(taken as u64) >= ROWS;
        let expired = "DELETE FROM kept WHERE position IN (SELECT position FROM kept WHERE until < ?1 LIMIT ?2) RETURNING payload";
        tidied.rows(connection, expired, nanos(now), ROWS)?;
        self.events(connection, &mut tidied)?;
        self.runs(transaction, before(self.ended_for), &mut tidied)?;
        bundles(connection, epoch, &mut tidied)?;
        Ok(tidied)
    }

    /// Events that everybody has taken, and that no run under way is old enough to wait for.
    fn events(&self, connection: &Connection, tidied: &mut Tidied) -> Result<(), Trouble> {
        let oldest: Option<i64> = connection
            .prepare_cached("SELECT min(began) FROM runs WHERE ended IS NULL AND began IS NOT NULL")?
            .query_row([], |row| row.get(0))?;
        let known: i64 = connection.prepare_cached("SELECT count(*) FROM events WHERE published = 1")?.query_row([], |row| row.get(0))?;
        let too_many = known.saturating_sub(whole(self.events)).clamp(0, ROWS);
        let (before, most) = if too_many > 0 { (i64::MAX, too_many) } else { (oldest.unwrap_or(i64::MAX), ROWS) };
        let over = "DELETE FROM events WHERE event IN (SELECT event FROM events WHERE published = 1 AND time < ?1 ORDER BY time LIMIT ?2)
            RETURNING payload";
        tidied.rows(connection, over, before, most)
    }

    /// Runs that ended long ago, and those beyond the number that is kept, with their facts. One that is parked or that a dead letter names stays:
    /// it owes something. So does the run of the journal's last row: what comes next builds on that row.
    fn runs(&self, transaction: &mut Transaction<'_>, before: i64, tidied: &mut Tidied) -> Result<(), Trouble> {
        let connection = transaction.connection;
        let ended: i64 = connection.prepare_cached("SELECT count(*) FROM runs WHERE ended IS NOT NULL")?.query_row([], |row| row.get(0))?;
        let mut too_many = ended.saturating_sub(whole(self.ended_runs)).max(0);
        if too_many > 0 {
            // Only now: an index counts the others.
            let parked = "SELECT count(*) FROM runs WHERE ended IS NOT NULL AND outcome = 'parked'";
            let parked: i64 = connection.prepare_cached(parked)?.query_row([], |row| row.get(0))?;
            too_many = too_many.saturating_sub(parked).clamp(0, RUNS);
        }
        let chosen = "SELECT run FROM runs WHERE ended IS NOT NULL AND outcome <> 'parked' AND (?1 OR ended < ?2)
            AND NOT EXISTS (SELECT 1 FROM dispatched WHERE dispatched.by = runs.run)
            AND NOT EXISTS (SELECT 1 FROM kept WHERE room = 'dead_letter' AND owner = runs.pipeline || '.' || runs.flow AND key =
                lower(substr(hex(run), 1, 8) || '-' || substr(hex(run), 9, 4) || '-' || substr(hex(run), 13, 4) || '-' ||
                    substr(hex(run), 17, 4) || '-' || substr(hex(run), 21)))
            AND run IS NOT (SELECT run FROM journal ORDER BY position DESC LIMIT 1)
            ORDER BY ended LIMIT ?3";
        let (any, most) = if too_many > 0 { (true, too_many) } else { (false, RUNS) };
        let chosen = connection
            .prepare_cached(chosen)?
            .query_map(params![any, before, most], |row| row.get::<_, Vec<u8>>(0))?
            .collect::<Result<Vec<_>, _>>()?;
        for run in &chosen {
            tidied.note(connection, "DELETE FROM journal WHERE run = ?1 RETURNING payload", run)?;
            transaction.runs.remove(run)?;
        }
        tidied.more |= whole(chosen.len() as u64) >= RUNS;
        Ok(())
    }
}

/// Bundles that no run refers to any more, and that this host was not given since it started: what it was given it takes to be there.
fn bundles(connection: &Connection, epoch: i64, tidied: &mut Tidied) -> Result<(), Trouble> {
    let unused = "DELETE FROM bundles WHERE epoch < ?1 AND NOT EXISTS (SELECT 1 FROM runs WHERE runs.revision = unhex(bundles.revision))
        RETURNING revision";
    let unused = connection.prepare_cached(unused)?.query_map([epoch], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
    for revision in &unused {
        tidied.note(connection, "DELETE FROM bundle_files WHERE revision = ?1 RETURNING payload", revision)?;
    }
    Ok(())
}

impl Tidied {
    /// Removes rows before a time, so many at most.
    fn rows(&mut self, connection: &Connection, statement: &str, before: i64, most: i64) -> Result<(), Trouble> {
        let files = connection
            .prepare_cached(statement)?
            .query_map([before, most], |row| row.get::<_, Option<String>>(0))?
            .collect::<Result<Vec<_>, _>>()?;
        self.more |= whole(files.len() as u64) >= most;
        self.files.extend(files.into_iter().flatten());
        Ok(())
    }

    /// Removes the rows of something, and keeps the names of their files.
    fn note(&mut self, connection: &Connection, statement: &str, of: &dyn ToSql) -> Result<(), Trouble> {
        let mut statement = connection.prepare_cached(statement)?;
        let files = statement.query_map([of], |row| row.get::<_, Option<String>>(0))?.collect::<Result<Vec<_>, _>>()?;
        self.files.extend(files.into_iter().flatten());
        Ok(())
    }
}

/// Removes those of these files that no row names. Only whoever writes calls this, and outside of a transaction: no row that names one can
/// come meanwhile.
pub(super) fn collect(connection: &Connection, payloads: &Payloads, files: HashSet<String>) -> Result<(), Trouble> {
    let mut named = connection.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM journal WHERE payload = ?1) OR EXISTS (SELECT 1 FROM events WHERE payload = ?1)
            OR EXISTS (SELECT 1 FROM kept WHERE payload = ?1) OR EXISTS (SELECT 1 FROM bundle_files WHERE payload = ?1)",
    )?;
    let mut orphans = Vec::new();
    for file in files {
        if !named.query_row([&file], |row| row.get::<_, bool>(0))? {
            orphans.push(file);
        }
    }
    payloads.remove(&orphans);
    Ok(())
}
