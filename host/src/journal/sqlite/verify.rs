//! Whether all is there that was acknowledged: the structure of the file, the chain of the journal, the sums over the other tables, and the mark.

use std::path::{Path, PathBuf};

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Error, Row};
use uuid::Uuid;

use super::account::{Account, SUMMED};
use super::chain::{self, Content};
use super::connection::Cause;
use super::findings::{Findings, Problem};
use super::guard::{self, uncounted};
use super::mark::{Mark, Reading};
use super::payload::Payloads;
use super::sum::{RowDigest, Sum};
use super::walk::{End, Gap, Walk};
use super::{connection, indexes, schema, sealed};
use crate::model::failure::Failure;
use crate::model::id::{Digest, RunId};
use crate::model::record::Fact;

/// How closely a store is looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Depth {
    /// Whether anything is lost: what a host looks at when it starts.
    Start,
    /// Every index too, every file of a large value, and whether all facts can be read.
    Whole,
}

/// The file of the mark of the journal at this path.
pub(super) fn mark_path(journal: &Path) -> PathBuf {
    journal.with_extension("mark")
}

/// Looks at the journal at this path, which is there. Blocks; changes nothing, and may be done while a host writes.
///
/// # Errors
/// The file cannot be opened at all, or the mark not be read for another reason than what is in it.
pub(super) fn examine(path: &Path, depth: Depth) -> Result<Findings, Failure> {
    let refuse = |error: Error| connection::of(path, &error);
    // Before anything else: the store may only be further than a mark that was read before.
    let mark_file = mark_path(path);
    let mark = Reading::at(&mark_file)
        .map_err(|error| connection::of_system(&mark_file, &error, "check that the file and its folder may be read by this user"))?;
    std::thread::scope(|scope| {
        let structure = scope.spawn(|| structure(path, depth));
        let connection = connection::reader(path).map_err(refuse)?;
        // All is read as it was at one moment.
        connection.execute_batch("BEGIN").map_err(refuse)?;
        let mut findings = Findings::default();
        let payloads = (depth == Depth::Whole).then(|| Payloads::of(path.parent().unwrap_or(Path::new("")), false));
        let format = schema::format(&connection).map_err(refuse)?;
        let end = walk(&connection, format, payloads.as_ref(), &mut findings);
        compare(&connection, format, &end, mark, &mut findings);
        if let Some(payloads) = &payloads {
            files(&connection, payloads, &mut findings);
        }
        if let Some(problem) = sealed::look(&connection, path.parent().unwrap_or(Path::new("")), depth) {
            findings.add(problem);
        }
        match structure.join() {
            Ok(problems) => problems?.into_iter().for_each(|problem| findings.add_first(problem)),
            Err(_) => findings.add(Problem::Structure("looking at it broke off".to_owned())),
        }
        Ok(findings)
    })
}

/// What is missing at the end of the journal at this path, which is there, by its mark alone: nothing else is looked at, so that it takes no time. `None` if
/// nothing is, or if that cannot be known.
pub(super) fn behind(path: &Path) -> Option<Problem> {
    let mark = Reading::at(&mark_path(path)).ok()?;
    let account = connection::reader(path).and_then(|connection| guard::account(&connection)).ok().flatten()?;
    let mut findings = Findings::default();
    judge(&account, mark, &mut findings);
    findings.problems.pop()
}

/// What SQLite itself finds, on a connection of its own.
///
/// # Errors
/// There is no room to look, or another program holds it: that says nothing of what is in it.
fn structure(path: &Path, depth: Depth) -> Result<Vec<Problem>, Failure> {
    let pragma = match depth {
        Depth::Start => "PRAGMA quick_check(10)",
        Depth::Whole => "PRAGMA integrity_check(100)",
    };
    let check = || {
        let connection = connection::reader(path)?;
        let mut statement = connection.prepare(pragma)?;
        let lines = statement.query_map([], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
        let mut problems: Vec<Problem> =
            lines.into_iter().filter(|line| line != "ok").map(|line| Problem::Structure(line.replace('\n', ", "))).collect();
        // What is damaged already may not be read to its end.
        if problems.is_empty() {
            for table in SUMMED.into_iter().chain(["journal"]) {
                problems.extend(indexes::astray(&connection, table)?.into_iter().map(|index| Problem::Index { table, index }));
            }
        }
        Ok::<_, Error>(problems)
    };
    check().or_else(|error| match Cause::from(&error) {
        Cause::NoRoom | Cause::Held => Err(connection::of(path, &error)),
        _ => Ok(vec![Problem::Structure(error.to_string())]),
    })
}

/// Goes along the journal; returns where it ends, if all of it could be read.
fn walk(connection: &Connection, format: i32, payloads: Option<&Payloads>, findings: &mut Findings) -> Option<End> {
    let mut walk = Walk::default();
    let mut whole = true;
    let mut go = || {
        let mut gaps = connection.prepare("SELECT first, last, cover FROM gaps ORDER BY first")?;
        let mut gaps = gaps.query([])?;
        let mut gap = next_gap(&mut gaps)?;
        let mut rows = connection.prepare("SELECT position, run, first, count, facts, payload, digest FROM journal ORDER BY position")?;
        let mut rows = rows.query([])?;
        while let Some(row) = rows.next()? {
            let position: i64 = row.get(0)?;
            while let Some(before) = gap.filter(|gap| gap.first < position) {
                walk.gap(before);
                gap = next_gap(&mut gaps)?;
            }
            look(row, (format, position), &mut walk, payloads, findings);
        }
        while let Some(behind) = gap {
            walk.gap(behind);
            gap = next_gap(&mut gaps)?;
        }
        Ok::<_, Error>(())
    };
    if let Err(error) = go() {
        whole = false;
        findings.add(Problem::Unreadable { what: "journal", why: error.to_string() });
    }
    let walked = walk.end();
    findings.rows = walked.rows;
    findings.position = walked.end.position;
    walked.damage.into_iter().for_each(|damage| findings.add(Problem::Journal(damage)));
    findings.more += walked.more;
    whole.then_some(walked.end)
}

/// Looks at one row of the journal.
fn look(row: &Row<'_>, (format, position): (i32, i64), walk: &mut Walk, payloads: Option<&Payloads>, findings: &mut Findings) {
    let stored = row.get::<_, [u8; 32]>(6).ok().map(Digest::from_bytes);
    let text = |column| row.get_ref(column).ok()?.as_str_or_null().ok();
    let known = || {
        let run = RunId::new(Uuid::from_bytes(row.get(1).ok()?));
        let first = u64::try_from(row.get::<_, i64>(2).ok()?).ok()?;
        let count = u64::try_from(row.get::<_, i64>(3).ok()?).ok()?;
        let content = Content::of(format, text(4)?, text(5)?)?;
        Some(chain::Row { position, run, first, count, content })
    };
    let (Some(stored), Some(known)) = (stored, known()) else { return walk.unreadable(position, stored) };
    let fits = walk.row(&known, stored);
    let Some(payloads) = payloads.filter(|_| fits) else { return };
    let text = match (text(4).flatten(), text(5).flatten()) {
        (_, None) | (Some(_), _) => Ok(text(4).flatten().unwrap_or_default().to_owned()),
        // Its file is looked at with all others; what is wrong with it is told there.
        (None, Some(file)) => match payloads.get(file) {
            Ok(bytes) => String::from_utf8(bytes).map_err(|_| "its file holds no text".to_owned()),
            Err(_) => return,
        },
    };
    let parsed = text.and_then(|text| serde_json::from_str::<Vec<Fact>>(&text).map_err(|error| error.to_string()));
    match parsed {
        Ok(facts) if facts.len() as u64 == known.count => {}
        Ok(facts) => {
            let why = format!("it has {} facts, and ought to have {}", facts.len(), known.count);
            findings.add(Problem::Unparsed { position, run: known.run, why });
        }
        Err(why) => findings.add(Problem::Unparsed { position, run: known.run, why }),
    }
}

fn next_gap(rows: &mut rusqlite::Rows<'_>) -> Result<Option<Gap>, Error> {
    let Some(row) = rows.next()? else { return Ok(None) };
    Ok(Some(Gap { first: row.get(0)?, last: row.get(1)?, digest: Digest::from_bytes(row.get(2)?) }))
}

/// Compares what was found with the account, and the account with the mark.
fn compare(connection: &Connection, format: i32, end: &Option<End>, mark: Reading, findings: &mut Findings) {
    let sums: Vec<Option<Sum>> = SUMMED.iter().map(|table| sum(connection, format, table, findings)).collect();
    let account = match guard::account(connection) {
        Ok(Some(account)) => account,
        Ok(None) => return findings.add(Problem::Account("it is not what was written".to_owned())),
        Err(error) => return findings.add(Problem::Account(error.to_string())),
    };
    findings.commits = account.mark.commits;
    for ((table, found), expected) in SUMMED.into_iter().zip(sums).zip(account.sums) {
        if let Some(found) = found.filter(|found| *found != expected) {
            findings.add(Problem::Count { table, expected: expected.rows(), found: found.rows() });
        }
    }
    if let Some(end) = end.as_ref().filter(|end| **end != account.mark.end) {
        findings.add(Problem::End { expected: account.mark.end.position, found: end.position });
    }
    judge(&account, mark, findings);
}

/// Compares the account with the mark beside the store.
fn judge(account: &Account, mark: Reading, findings: &mut Findings) {
    match mark {
        Reading::Absent if account.marked => findings.add(Problem::NoMark),
        Reading::Absent => {}
        Reading::Damaged => findings.add(Problem::DamagedMark),
        Reading::Mark(mark) if !mark.fits(&account.mark) => {
            findings.add(Problem::Behind { expected: mark, found: account.mark });
        }
        Reading::Mark(_) => {}
    }
}

/// The sum over a table as it is; `None` if it cannot be read to its end.
fn sum(connection: &Connection, format: i32, table: &'static str, findings: &mut Findings) -> Option<Sum> {
    let mut sum = Sum::default();
    let mut go = || {
        let columns = columns(connection, table)?;
        let names = columns.join(", ");
        let sql = format!("SELECT digest, row_digest('{table}', {names}), {names} FROM {table}{}", uncounted(format, table));
        let mut statement = connection.prepare(&sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let digest = |column| row.get_ref(column)?.as_blob_or_null().map_err(Error::from);
            let (stored, computed) = (digest(0)?.and_then(RowDigest::from_bytes), digest(1)?.and_then(RowDigest::from_bytes));
            if stored.is_none() || stored != computed {
                findings.add(Problem::Row { table, key: key(row), run: whose(row, &columns) });
            }
            // What stands there counts: a changed row is named once, and does not show a second time as one that is missing.
            if let Some(stored) = stored {
                sum.add(stored);
            }
        }
        Ok::<_, Error>(())
    };
    match go() {
        Ok(()) => Some(sum),
        Err(error) => {
            findings.add(Problem::Unreadable { what: table, why: error.to_string() });
            None
        }
    }
}

/// Looks at the file of each large value.
fn files(connection: &Connection, payloads: &Payloads, findings: &mut Findings) {
    match names(connection) {
        Ok(names) => {
            for why in names.iter().filter_map(|name| payloads.get(name).err()) {
                findings.add(Problem::File(why));
            }
        }
        Err(error) => findings.add(Problem::File(format!("the names of its files cannot be read: {error}"))),
    }
}

/// The files of large values that a journal names.
///
/// # Errors
/// What SQLite says.
pub(super) fn names(connection: &Connection) -> Result<Vec<String>, Error> {
    let mut statement = connection.prepare(
        "SELECT payload FROM journal WHERE payload IS NOT NULL UNION SELECT payload FROM events WHERE payload IS NOT NULL
         UNION SELECT payload FROM kept WHERE payload IS NOT NULL UNION SELECT payload FROM bundle_files WHERE payload IS NOT NULL",
    )?;
    statement.query_map([], |row| row.get(0))?.collect()
}

/// The columns of a table as they are written, that is without the digest of the row.
pub(super) fn columns(connection: &Connection, table: &str) -> Result<Vec<String>, Error> {
    let mut statement = connection
        .prepare(&format!("SELECT name FROM pragma_table_xinfo('{table}') WHERE hidden = 0 AND name <> 'digest' ORDER BY cid"))?;
    let names = statement.query_map([], |row| row.get::<_, String>(0))?;
    names.map(|name| Ok(format!("\"{}\"", name?.replace('"', "\"\"")))).collect()
}

/// The first column of a row, by which people can find it.
fn key(row: &Row<'_>) -> String {
    match row.get_ref(2) {
        Ok(ValueRef::Integer(number)) => number.to_string(),
        Ok(ValueRef::Text(text)) => String::from_utf8_lossy(text).into_owned(),
        Ok(ValueRef::Blob(bytes)) => match Uuid::from_slice(bytes) {
            Ok(id) => id.to_string(),
            Err(_) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
        },
        _ => "?".to_owned(),
    }
}

/// The run that a row is of.
fn whose(row: &Row<'_>, columns: &[String]) -> Option<RunId> {
    let column = columns.iter().position(|name| name == "\"run\"")?;
    row.get::<_, [u8; 16]>(column + 2).ok().map(|bytes| RunId::new(Uuid::from_bytes(bytes)))
}

impl Mark {
    /// Whether a store that has come so far has all that this mark knows of.
    pub(super) fn fits(&self, store: &Self) -> bool {
        self.judges(store) == super::mark::Verdict::Fits
    }
}

#[cfg(test)]
mod tests;
