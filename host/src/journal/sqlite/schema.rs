//! The form of the file: its tables, its version, and the way there from an older one.

use std::path::Path;

use std::sync::Arc;

use rusqlite::{Connection, Transaction, TransactionBehavior, params};
use uuid::Uuid;

use super::apply;
use super::chain::{self, Content};
use super::encode::Append;
use super::guard::{self, Guard};
use super::payload::Payloads;
use super::places::Places;
use super::queue::{Order, Written};
use super::seal::Sealer;
use super::sum::Sum;
use super::walk::End;
use super::{connection, mark};
use crate::model::failure::{Failure, FailureKind};
use crate::model::id::{Digest, RunId};
use crate::model::port::StoreError;
use crate::model::record::{Batch, Fact};

/// The code of a journal that a newer pipehost has written.
pub const NEWER: &str = "E0731";

/// The code of a journal of an older format that cannot be upgraded.
pub const NOT_UPGRADED: &str = "E0732";

/// The version of the file that this host writes.
pub const FORMAT: i32 = 2;

/// By which a tool knows what kind of file this is: `pphj`.
const APPLICATION: i32 = 0x7070_686a;

/// The row of each run. Its digest is no column that SQLite fills: [`Runs`](super::runs_row::Runs) makes it. There is no index over the times at which runs
/// began: their ids are in that order, and to keep one up costs a tenth of what a run costs.
const RUNS: &str = "
CREATE TABLE runs (
    run BLOB NOT NULL PRIMARY KEY,
    pipeline TEXT,
    flow TEXT,
    revision BLOB,
    correlation BLOB,
    parent BLOB,
    event BLOB,
    began INTEGER,
    ended INTEGER,
    outcome TEXT,
    due INTEGER,
    epoch INTEGER NOT NULL,
    claims INTEGER NOT NULL,
    digest BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX runs_open ON runs (due, began) WHERE ended IS NULL;
CREATE INDEX runs_ended ON runs (ended) WHERE ended IS NOT NULL;
CREATE INDEX runs_correlation ON runs (correlation);
";

/// The one row that says what all others amount to; see [`Account`](super::account::Account).
const ACCOUNT: &str = "CREATE TABLE account (one INTEGER PRIMARY KEY CHECK (one = 1), value BLOB NOT NULL);";

/// All other tables. Ids are 16 bytes, times nanoseconds since 1970, names of files text of 64 digits, digests bytes. The view `history` shows ids and
/// times as text.
///
/// The journal is a table of rows in the order of writing with an index over run and number beside it. Refused was a table that is kept in
/// the order of run and number: it takes four times as long to write, as each run writes into a page of its own.
const TABLES: &str = "
CREATE TABLE meta (name TEXT PRIMARY KEY, value, digest BLOB AS (row_digest('meta', name, value)) STORED) WITHOUT ROWID;
CREATE TABLE journal (
    position INTEGER PRIMARY KEY,
    run BLOB NOT NULL,
    first INTEGER NOT NULL,
    count INTEGER NOT NULL,
    facts TEXT,
    payload TEXT,
    digest BLOB NOT NULL,
    UNIQUE (run, first)
);
CREATE INDEX journal_payload ON journal (payload) WHERE payload IS NOT NULL;
CREATE TABLE inbox (
    event BLOB NOT NULL,
    pipeline TEXT NOT NULL,
    flow TEXT NOT NULL,
    at INTEGER NOT NULL,
    digest BLOB AS (row_digest('inbox', event, pipeline, flow, at)) STORED,
    PRIMARY KEY (event, pipeline, flow)
) WITHOUT ROWID;
CREATE INDEX inbox_at ON inbox (at);
CREATE TABLE events (
    event BLOB PRIMARY KEY,
    time INTEGER NOT NULL,
    published INTEGER NOT NULL DEFAULT 0,
    data TEXT,
    payload TEXT,
    digest BLOB AS (row_digest('events', event, time, published, data, payload)) STORED
);
CREATE INDEX events_time ON events (time);
CREATE INDEX events_payload ON events (payload) WHERE payload IS NOT NULL;
CREATE TABLE dispatched (
    run BLOB PRIMARY KEY,
    by BLOB NOT NULL,
    digest BLOB AS (row_digest('dispatched', run, by)) STORED
) WITHOUT ROWID;
CREATE INDEX dispatched_by ON dispatched (by);
CREATE TABLE kept (
    position INTEGER PRIMARY KEY,
    room TEXT NOT NULL,
    owner TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT,
    payload TEXT,
    until INTEGER,
    digest BLOB AS (row_digest('kept', position, room, owner, key, value, payload, until)) STORED,
    UNIQUE (room, owner, key)
);
CREATE INDEX kept_until ON kept (until) WHERE until IS NOT NULL;
CREATE INDEX kept_payload ON kept (payload) WHERE payload IS NOT NULL;
CREATE TABLE bundles (
    revision TEXT PRIMARY KEY,
    pipeline TEXT NOT NULL,
    format INTEGER NOT NULL,
    file TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    digest BLOB AS (row_digest('bundles', revision, pipeline, format, file, epoch)) STORED
);
CREATE TABLE bundle_files (
    revision TEXT NOT NULL,
    place INTEGER NOT NULL,
    path TEXT NOT NULL,
    content BLOB,
    payload TEXT,
    digest BLOB AS (row_digest('bundle_files', revision, place, path, content, payload)) STORED,
    PRIMARY KEY (revision, place)
) WITHOUT ROWID;
CREATE INDEX bundle_files_payload ON bundle_files (payload) WHERE payload IS NOT NULL;
CREATE TABLE gaps (
    first INTEGER PRIMARY KEY,
    last INTEGER NOT NULL,
    cover BLOB NOT NULL,
    digest BLOB AS (row_digest('gaps', first, last, cover)) STORED
);
CREATE VIEW history AS
    SELECT position,
        lower(substr(hex(run), 1, 8) || '-' || substr(hex(run), 9, 4) || '-' || substr(hex(run), 13, 4) || '-' || substr(hex(run), 17, 4)
            || '-' || substr(hex(run), 21)) AS run,
        first + fact.key AS number, fact.value ->> 'fact' AS fact, fact.value AS content
    FROM journal, json_each(journal.facts) AS fact;
INSERT INTO meta (name, value) VALUES ('epoch', 0);
";

/// What brings a file of one format to a later one, which it returns.
type Step = fn(&Transaction<'_>, &Payloads) -> Result<i32, String>;

/// The steps in the order of the formats that they begin with.
const STEPS: [(i32, Step); 2] = [(0, from_0), (1, from_1)];

/// The format of the file that a connection has open.
///
/// # Errors
/// What SQLite says.
pub(super) fn format(connection: &Connection) -> Result<i32, rusqlite::Error> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}

/// How many tables, indexes and views the file has that a connection has open.
///
/// # Errors
/// What SQLite says.
pub(super) fn tables(connection: &Connection) -> Result<i64, rusqlite::Error> {
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
}

/// What is said of a journal of format 0, which the next start of a host brings to this format.
pub(super) fn older(path: &Path) -> Failure {
    connection::cannot_open(path, "it is of an older format", "start a host with it, which brings it to this format")
}

/// What is said of a journal of a later format.
pub(super) fn newer(path: &Path, version: i32) -> Failure {
    let message = format!(
        "the journal {} has format {version}, and this pipehost writes format {FORMAT}; start the pipehost that wrote it, or a newer one, or name another folder with --data DIR",
        path.display()
    );
    Failure::new(FailureKind::Conflict, message).with_code(NEWER)
}

/// Makes the tables of a new file, checks the version of one that is there, and brings an older one to this version, after a copy of it was
/// written beside it. Returns whether the form of the file has changed.
///
/// # Errors
/// `conflict` with [`NEWER`], `permanent` with [`NOT_UPGRADED`] or [`connection::CANNOT_OPEN`].
pub(super) fn prepare(connection: &mut Connection, path: &Path, payloads: &Payloads) -> Result<bool, Failure> {
    let refuse = |error: rusqlite::Error| connection::of(path, &error);
    let version = format(connection).map_err(refuse)?;
    if version > FORMAT {
        return Err(newer(path, version));
    }
    if tables(connection).map_err(refuse)? == 0 {
        return make(connection).map(|()| true).map_err(refuse);
    }
    if version < FORMAT { upgrade(connection, path, version, payloads).map(|()| true) } else { Ok(false) }
}

/// Makes sure that a file is of this host's format, for whoever only looks and brings nothing there.
///
/// # Errors
/// `conflict` with [`NEWER`], `permanent` with [`NOT_UPGRADED`] or [`connection::CANNOT_OPEN`].
pub(super) fn is_of_this_host(connection: &Connection, path: &Path) -> Result<(), Failure> {
    let version = format(connection).map_err(|error| connection::of(path, &error))?;
    let shown = path.display();
    match version.cmp(&FORMAT) {
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Greater => {
            let message = format!(
                "the journal {shown} has format {version}, and this pipehost reads format {FORMAT}; use the pipehost that wrote it"
            );
            Err(Failure::new(FailureKind::Conflict, message).with_code(NEWER))
        }
        std::cmp::Ordering::Less => {
            let message =
                format!("the journal {shown} has format {version}, and this pipehost reads format {FORMAT}; pipehost run brings it there");
            Err(Failure::new(FailureKind::Permanent, message).with_code(NOT_UPGRADED))
        }
    }
}

fn make(connection: &mut Connection) -> Result<(), rusqlite::Error> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    make_tables(&transaction)?;
    guard::recount(&transaction, 0)?;
    seal(&transaction)?;
    transaction.commit()
}

fn make_tables(transaction: &Transaction<'_>) -> Result<(), rusqlite::Error> {
    [RUNS, ACCOUNT, TABLES].iter().try_for_each(|tables| transaction.execute_batch(tables))
}

fn seal(transaction: &Transaction<'_>) -> Result<(), rusqlite::Error> {
    transaction.execute_batch(&format!("PRAGMA user_version={FORMAT}; PRAGMA application_id={APPLICATION};"))
}

/// A copy first, then all steps in one transaction: either the file is of this format, or it is what it was.
fn upgrade(connection: &mut Connection, path: &Path, version: i32, payloads: &Payloads) -> Result<(), Failure> {
    let copy = path.with_extension(format!("format-{version}.db"));
    let refuse = |why: String| {
        let message = format!(
            "the journal {} has format {version} and cannot be brought to format {FORMAT}: {why}; it is as it was; make room on that disk, or name another folder with --data DIR",
            path.display()
        );
        Failure::new(FailureKind::Permanent, message).with_code(NOT_UPGRADED)
    };
    // What an upgrade that was broken off has left is a copy of the same file, or less.
    match std::fs::remove_file(&copy) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(refuse(format!("{}: {error}", copy.display()))),
        _ => {}
    }
    let name = copy.to_str().ok_or_else(|| refuse("the name of its folder is no UTF-8".to_owned()))?;
    connection.execute("VACUUM INTO ?1", [name]).map_err(|error| refuse(format!("no copy can be made: {error}")))?;
    std::fs::File::open(&copy).and_then(|file| file.sync_all()).map_err(|error| refuse(format!("no copy can be made: {error}")))?;
    let mut steps = || {
        let text = |error: rusqlite::Error| error.to_string();
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(text)?;
        // One more than the mark beside the file knows of, which is of before.
        let commits = match version {
            0 => 0,
            _ => {
                guard::account(&transaction).map_err(text)?.ok_or("the account of its rows cannot be read")?.mark.commits.saturating_add(1)
            }
        };
        let mut reached = version;
        for (from, step) in STEPS {
            if from == reached {
                reached = step(&transaction, payloads)?;
            }
        }
        guard::recount(&transaction, commits).map_err(text)?;
        seal(&transaction).map_err(text)?;
        transaction.commit().map_err(text)
    };
    steps().map_err(refuse)
}

/// Format 0, older than the first release, was a journal of runs, numbers and facts; all that is known of a run was read from there. Here it is
/// written anew, as if each row came now.
fn from_0(transaction: &Transaction<'_>, payloads: &Payloads) -> Result<i32, String> {
    let text = |error: rusqlite::Error| error.to_string();
    transaction.execute_batch("ALTER TABLE journal RENAME TO journal_0").map_err(text)?;
    make_tables(transaction).map_err(text)?;
    let mut places = Places::default();
    let mut new = apply::Transaction::new(transaction, 0, End::default(), payloads, &mut places);
    let mut rows = transaction.prepare("SELECT run, first, facts FROM journal_0 ORDER BY rowid").map_err(text)?;
    let mut rows = rows.query([]).map_err(text)?;
    while let Some(row) = rows.next().map_err(text)? {
        let run = RunId::new(Uuid::from_bytes(row.get(0).map_err(text)?));
        let first: i64 = row.get(1).map_err(text)?;
        let facts: Vec<Fact> =
            serde_json::from_str(&row.get::<_, String>(2).map_err(text)?).map_err(|error| format!("run {run}: {error}"))?;
        let batch = Batch::of(run, u64::try_from(first).unwrap_or_default(), Arc::new(facts));
        let append = Append::new(&batch, &Sealer::none()).map_err(|error| error.to_string())?;
        match new.apply(&Order::Append(Box::new(append))) {
            Ok(Written::Refused(error)) => return Err(error.to_string()),
            Ok(_) => {}
            Err(trouble) => return Err(StoreError::from(trouble).to_string()),
        }
    }
    drop(rows);
    transaction.execute_batch("DROP TABLE journal_0").map_err(text)?;
    Ok(FORMAT)
}

/// Format 1 had the account in a row of `meta`, digests of runs that SQLite made, revisions of runs as text, and a chain over the facts themselves. That all
/// of it was there is known: it was looked at right before.
fn from_1(transaction: &Transaction<'_>, _: &Payloads) -> Result<i32, String> {
    let text = |error: rusqlite::Error| error.to_string();
    let columns = "run, pipeline, flow, unhex(revision), correlation, parent, event, began, ended, outcome, due, epoch, claims";
    let move_runs = format!("INSERT INTO runs SELECT {columns}, row_digest('runs', {columns}) FROM runs_1; DROP TABLE runs_1;");
    let rename = "DROP INDEX runs_open; DROP INDEX runs_ended; DROP INDEX runs_began; DROP INDEX runs_correlation; ALTER TABLE runs RENAME TO runs_1;";
    let forget = "DELETE FROM meta WHERE name = 'account';";
    [rename, RUNS, &move_runs, ACCOUNT, forget].iter().try_for_each(|part| transaction.execute_batch(part)).map_err(text)?;
    chain_anew(transaction).map_err(text)?;
    Ok(2)
}

/// Ties the rows of the journal together as this format does. Behind rows that retention has deleted it goes on from the digest that the last of them had,
/// which is what stands in their place.
fn chain_anew(transaction: &Transaction<'_>) -> Result<(), rusqlite::Error> {
    let mut covers = transaction.prepare("SELECT cover FROM gaps WHERE last = ?1")?;
    let mut rows = transaction.prepare("SELECT position, run, first, count, facts, payload FROM journal ORDER BY position")?;
    let mut update = transaction.prepare("UPDATE journal SET digest = ?2 WHERE position = ?1")?;
    let mut end = End::default();
    let mut rows = rows.query([])?;
    while let Some(row) = rows.next()? {
        let position: i64 = row.get(0)?;
        if position != end.position + 1 {
            end.digest = Digest::from_bytes(covers.query_row([position - 1], |row| row.get(0))?);
        }
        let (facts, file) = (row.get_ref(4)?.as_str_or_null()?, row.get_ref(5)?.as_str_or_null()?);
        let content = Content::of(2, facts, file).ok_or(rusqlite::Error::QueryReturnedNoRows)?;
        let number = |column| Ok::<_, rusqlite::Error>(u64::try_from(row.get::<_, i64>(column)?).unwrap_or_default());
        let (first, count) = (number(2)?, number(3)?);
        let row = chain::Row { position, run: RunId::new(Uuid::from_bytes(row.get(1)?)), first, count, content };
        end = End { position, digest: chain::digest(&end.digest, &row) };
        update.execute(params![position, end.digest.as_bytes()])?;
    }
    Ok(())
}

/// Counts this start of a host: what an earlier one still writes to a run that this one has touched is refused. Returns the number of the start, and
/// what has to be marked.
///
/// # Errors
/// What SQLite says.
pub(super) fn next_epoch(connection: &mut Connection, guard: &mut Guard) -> Result<(i64, mark::Mark), rusqlite::Error> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // A host that is just being replaced may have written since the account was read.
    guard.reread(&transaction)?;
    transaction.execute("UPDATE meta SET value = value + 1 WHERE name = 'epoch'", [])?;
    let epoch = transaction.query_row("SELECT value FROM meta WHERE name = 'epoch'", [], |row| row.get(0))?;
    guard.enter(&transaction, guard.account().mark.end, Sum::default())?;
    transaction.commit()?;
    Ok((epoch, guard.committed()))
}
