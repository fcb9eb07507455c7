//! Reads what can still be read of a damaged file, and writes it into a new one.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use rusqlite::types::Value;
use rusqlite::{Connection, Error, OptionalExtension, params_from_iter};
use uuid::Uuid;

use super::chain::{Content, Row};
use super::encode::{Append, timestamp};
use super::payload::{Payloads, Stored};
use super::places::Places;
use super::queue::{Order, Written};
use super::sum::RowDigest;
use super::verify::columns;
use super::walk::{End, Gap, Walk};
use super::{apply, connection::Trouble, guard, schema};
use crate::model::id::{Digest, RunId};
use crate::model::record::Fact;
use crate::model::time::Timestamp;

/// So many places of a table are tried, one after the other, behind one that cannot be read: more than a page has.
const TRIED: i64 = 100_000;

/// The tables that are taken over row by row; all else is made again from the journal.
const TAKEN: [&str; 5] = ["inbox", "events", "kept", "bundles", "bundle_files"];

/// Where the columns of a row begin that is taken over: behind its place and two digests.
const FIRST: usize = 3;

/// What was taken over, and what was not.
#[derive(Default)]
pub(super) struct Salvaged {
    /// How many rows of the journal are in the new file.
    pub(super) rows: u64,
    /// How many could be read and are not in it: they were changed, or lie behind one that is gone.
    pub(super) dropped: u64,
    /// How many rows of other tables were changed and are not in it, by table.
    pub(super) others: BTreeMap<&'static str, u64>,
    /// The runs of which facts are gone, with how many there were, as far as that is known, and how many there are.
    pub(super) runs: BTreeMap<RunId, (Option<u64>, u64)>,
    /// How many facts each run had, as far as its rows can be read.
    had: HashMap<RunId, u64>,
    /// How many starts and transactions the file had counted.
    pub(super) epoch: i64,
    pub(super) commits: u64,
}

/// What was known of a run.
struct Known {
    due: Option<Timestamp>,
    ended: bool,
}

/// Takes over what can be read of one file into another one, which is empty, within a transaction of that.
///
/// # Errors
/// What SQLite says of the new file. Of the old one nothing is an error.
pub(super) fn salvage(from: &Connection, into: &Connection, payloads: &Payloads) -> Result<Salvaged, Trouble> {
    let epoch = from.query_row("SELECT value FROM meta WHERE name = 'epoch'", [], |row| row.get(0)).unwrap_or_default();
    let commits = guard::account(from).ok().flatten().map_or(0, |account| account.mark.commits);
    let mut salvaged = Salvaged { epoch, commits, ..Salvaged::default() };
    let mut incomplete: BTreeSet<String> = BTreeSet::new();
    for table in TAKEN {
        take(from, into, table, payloads, &mut |row| {
            *salvaged.others.entry(table).or_default() += 1;
            if table == "bundle_files" {
                incomplete.extend(row.get::<_, String>(FIRST).ok());
            }
        })?;
    }
    for revision in incomplete {
        // Without one of its files a revision is none: the next run of it brings all of them again.
        for table in ["bundles", "bundle_files"] {
            into.execute(&format!("DELETE FROM {table} WHERE revision = ?1"), [&revision])?;
        }
    }
    let known = known(from);
    replay(from, into, payloads, &known, &mut salvaged)?;
    compare(into, &known, &mut salvaged)?;
    Ok(salvaged)
}

/// Takes over the rows of a table that are as they were written, and whose large values are there. Those that are not are `left` out.
fn take(
    from: &Connection,
    into: &Connection,
    table: &str,
    payloads: &Payloads,
    left: &mut dyn FnMut(&rusqlite::Row<'_>),
) -> Result<(), Trouble> {
    let names = columns(into, table)?;
    let file = names.iter().position(|name| name == "\"payload\"").map(|column| column + FIRST);
    let list = names.join(", ");
    let places = vec!["?"; names.len()].join(", ");
    let mut insert = into.prepare(&format!("INSERT OR IGNORE INTO {table} ({list}) VALUES ({places})"))?;
    let mut trouble = None;
    let select = format!("digest, row_digest('{table}', {list}), {list} FROM {table}");
    each(from, table, &select, &mut |row| {
        let digest = |column| row.get_ref(column).ok()?.as_blob().ok().and_then(RowDigest::from_bytes);
        let named = file.and_then(|column| row.get::<_, Option<String>>(column).ok().flatten());
        if digest(1).is_none() || digest(1) != digest(2) || named.is_some_and(|name| payloads.get(&name).is_err()) {
            return left(row);
        }
        let values: Result<Vec<Value>, Error> = (FIRST..names.len() + FIRST).map(|column| row.get(column)).collect();
        if let Err(error) = values.and_then(|values| insert.execute(params_from_iter(values))) {
            trouble = Some(error);
        }
    });
    match trouble {
        Some(error) => Err(error.into()),
        None => Ok(()),
    }
}

/// What the file said of its runs, where that is as it was written.
fn known(from: &Connection) -> HashMap<RunId, Known> {
    let mut known = HashMap::new();
    let Ok(names) = columns(from, "runs") else { return known };
    let select = format!("digest, row_digest('runs', {}), run, due, ended IS NOT NULL FROM runs", names.join(", "));
    each(from, "runs", &select, &mut |row| {
        let digest = |column| row.get_ref(column).ok()?.as_blob().ok().and_then(RowDigest::from_bytes);
        let read = || {
            let run = RunId::new(Uuid::from_bytes(row.get(3).ok()?));
            let due = row.get::<_, Option<i64>>(4).ok()?.map(timestamp);
            Some((run, Known { due, ended: row.get(5).ok()? }))
        };
        if digest(1).is_some() && digest(1) == digest(2) {
            known.extend(read());
        }
    });
    known
}

/// Writes the rows of the journal again, as if they came now. What lies behind a row of its run that is gone does not follow, and is left out.
fn replay(
    from: &Connection,
    into: &Connection,
    payloads: &Payloads,
    known: &HashMap<RunId, Known>,
    salvaged: &mut Salvaged,
) -> Result<(), Trouble> {
    let mut gaps = Vec::new();
    each(from, "gaps", "first, last, cover FROM gaps", &mut |row| {
        let gap = || Some(Gap { first: row.get(1).ok()?, last: row.get(2).ok()?, digest: Digest::from_bytes(row.get(3).ok()?) });
        gaps.extend(gap());
    });
    let mut gaps = gaps.into_iter().peekable();
    let mut walk = Walk::default();
    let mut places = Places::default();
    let mut new = apply::Transaction::new(into, salvaged.epoch, End::default(), payloads, &mut places);
    let format = schema::format(from).unwrap_or(schema::FORMAT);
    let mut trouble = None;
    each(from, "journal", "position, run, first, count, facts, payload, digest FROM journal", &mut |row| {
        if trouble.is_some() {
            return;
        }
        let Ok(position) = row.get::<_, i64>(1) else { return };
        while let Some(gap) = gaps.next_if(|gap| gap.first < position) {
            walk.gap(gap);
        }
        let run = row.get::<_, [u8; 16]>(2).ok().map(|bytes| RunId::new(Uuid::from_bytes(bytes)));
        let end = row.get::<_, i64>(3).and_then(|first| Ok(first.saturating_add(row.get(4)?)));
        if let (Some(run), Some(end)) = (run, end.ok().and_then(|end| u64::try_from(end).ok())) {
            let had = salvaged.had.entry(run).or_default();
            *had = end.max(*had);
        }
        match again(row, (format, position), &mut walk, payloads, known) {
            Some(append) => match new.apply(&Order::Append(Box::new(append))) {
                Ok(Written::Refused(_)) => salvaged.drop_row(run),
                Ok(_) => salvaged.rows += 1,
                Err(error) => trouble = Some(error),
            },
            None => salvaged.drop_row(run),
        }
    });
    trouble.map_or(Ok(()), Err)
}

/// What a row of the journal has written; `None` if it is not what was written, or cannot be understood.
fn again(
    row: &rusqlite::Row<'_>,
    (format, position): (i32, i64),
    walk: &mut Walk,
    payloads: &Payloads,
    known: &HashMap<RunId, Known>,
) -> Option<Append> {
    let stored = row.get::<_, [u8; 32]>(7).ok().map(Digest::from_bytes);
    let read = || {
        let run = RunId::new(Uuid::from_bytes(row.get(2).ok()?));
        let first = u64::try_from(row.get::<_, i64>(3).ok()?).ok()?;
        let count = u64::try_from(row.get::<_, i64>(4).ok()?).ok()?;
        let text = |column| row.get_ref(column).ok()?.as_str_or_null().ok();
        let content = Content::of(format, text(5)?, text(6)?)?;
        Some((run, first, count, content))
    };
    let (Some(digest), Some((run, first, count, content))) = (stored, read()) else {
        walk.unreadable(position, stored);
        return None;
    };
    if !walk.row(&Row { position, run, first, count, content }, digest) {
        return None;
    }
    let text = Stored::of(row, 5).ok()?.text(payloads).ok()?;
    // As it stands, with what is sealed in it.
    let facts: Vec<Fact> = serde_json::from_str(&text).ok()?;
    let due = known.get(&run).and_then(|known| known.due);
    Append::again(run, first, &facts, text, due).filter(|_| facts.len() as u64 == count)
}

/// Names the runs of which less is there than was known.
fn compare(into: &Connection, known: &HashMap<RunId, Known>, salvaged: &mut Salvaged) -> Result<(), Trouble> {
    let mut there = into.prepare(
        "SELECT (SELECT first + count FROM journal WHERE journal.run = runs.run ORDER BY first DESC LIMIT 1), ended IS NOT NULL
         FROM runs WHERE run = ?1",
    )?;
    let concerned: Vec<RunId> = salvaged.runs.keys().chain(known.keys()).chain(salvaged.had.keys()).copied().collect();
    for run in concerned {
        let found = there.query_row([run.as_uuid().as_bytes()], |row| Ok((row.get::<_, Option<i64>>(0)?, row.get::<_, bool>(1)?)));
        let (facts, ended) = found.optional()?.unwrap_or_default();
        let facts = u64::try_from(facts.unwrap_or_default()).unwrap_or_default();
        let had = salvaged.had.get(&run).copied().filter(|had| *had > facts);
        let had_ended = known.get(&run).is_some_and(|known| known.ended);
        if salvaged.runs.contains_key(&run) || had.is_some() || facts == 0 || had_ended && !ended {
            salvaged.runs.insert(run, (had, facts));
        }
    }
    Ok(())
}

impl Salvaged {
    fn drop_row(&mut self, run: Option<RunId>) {
        self.dropped += 1;
        if let Some(run) = run {
            self.runs.entry(run).or_insert((None, 0));
        }
    }
}

/// Calls `row` for each row of a table that can be read, in the order of its keys; column 0 is the key by which to go on.
fn each(from: &Connection, table: &str, select: &str, row: &mut dyn FnMut(&rusqlite::Row<'_>)) {
    let numbered = from.prepare(&format!("SELECT rowid FROM {table} LIMIT 0")).is_ok();
    if !numbered {
        // From both ends to what cannot be read: what is met twice is the same row.
        let key = format!("SELECT group_concat('\"' || name || '\" DESC', ', ') FROM pragma_table_info('{table}') WHERE pk > 0");
        let Ok(backwards) = from.query_row(&key, [], |row| row.get::<_, String>(0)) else { return };
        for order in ["", &format!("ORDER BY {backwards}")] {
            if go(from, &format!("SELECT 0, {select} {order}"), 0, row).is_ok() {
                return;
            }
        }
        return;
    }
    let query = format!("SELECT rowid, {select} NOT INDEXED WHERE rowid > ?1 ORDER BY rowid");
    let mut last = i64::MIN;
    while let Err(reached) = go(from, &query, last, row) {
        let after = reached.max(last).max(0);
        let found = (after + 1..after.saturating_add(TRIED)).find(|place| {
            let next =
                from.query_row(&format!("SELECT rowid FROM {table} NOT INDEXED WHERE rowid > ?1 ORDER BY rowid LIMIT 1"), [place], |row| {
                    row.get::<_, i64>(0)
                });
            matches!(next, Ok(_) | Err(Error::QueryReturnedNoRows))
        });
        let Some(place) = found else { return };
        last = place;
    }
}

/// Goes on from behind a key to the end; the last key that was read, if that cannot be reached.
fn go(from: &Connection, query: &str, behind: i64, row: &mut dyn FnMut(&rusqlite::Row<'_>)) -> Result<(), i64> {
    let mut last = behind;
    let mut read = || {
        let mut statement = from.prepare(query)?;
        let takes = statement.parameter_count();
        let mut rows = if takes == 0 { statement.query([])? } else { statement.query([behind])? };
        while let Some(next) = rows.next()? {
            last = next.get(0)?;
            row(next);
        }
        Ok::<_, Error>(())
    };
    read().map_err(|_| last)
}
