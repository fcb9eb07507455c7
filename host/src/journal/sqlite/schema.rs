//! The form of the file: its tables, its version, and the way there from an older one.

use std::path::Path;

use std::sync::Arc;

use rusqlite::{Connection, Transaction, TransactionBehavior};
use uuid::Uuid;

use super::apply;
use super::encode::Append;
use super::guard::{self, Guard};
use super::payload::Payloads;
use super::places::Places;
use super::queue::{Order, Written};
use super::seal::Sealer;
use super::walk::End;
use super::{connection, mark};
use crate::model::failure::{Failure, FailureKind};
use crate::model::id::RunId;
use crate::model::port::StoreError;
use crate::model::record::{Batch, Fact};

/// The code of a journal that a newer pipehost has written.
pub const NEWER: &str = "E0731";

/// The code of a journal of an older format that cannot be upgraded.
pub const NOT_UPGRADED: &str = "E0732";

/// The version of the file that this host writes.
pub const FORMAT: i32 = 1;

/// By which a tool knows what kind of file this is: `pphj`.
const APPLICATION: i32 = 0x7070_686a;

/// Ids are 16 bytes, times nanoseconds since 1970, revisions and digests of 32 bytes are text of 64 digits where a column can be read by
/// people, and bytes in `digest`. The view `history` shows ids and times as text.
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
CREATE TABLE runs (
    run BLOB NOT NULL PRIMARY KEY,
    pipeline TEXT,
    flow TEXT,
    revision TEXT,
    correlation BLOB,
    parent BLOB,
    event BLOB,
    began INTEGER,
    ended INTEGER,
    outcome TEXT,
    due INTEGER,
    epoch INTEGER NOT NULL,
    claims INTEGER NOT NULL DEFAULT 0,
    digest BLOB AS (row_digest('runs', run, pipeline, flow, revision, correlation, parent, event, began, ended, outcome, due, epoch, claims)) STORED
) WITHOUT ROWID;
CREATE INDEX runs_open ON runs (due, began) WHERE ended IS NULL;
CREATE INDEX runs_ended ON runs (ended) WHERE ended IS NOT NULL;
CREATE INDEX runs_began ON runs (began);
CREATE INDEX runs_correlation ON runs (correlation);
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

/// What brings a file of one format to the next.
type Step = fn(&Transaction<'_>, &Payloads) -> Result<(), String>;

/// The steps in the order of the formats that they begin with.
const STEPS: [(i32, Step); 1] = [(0, from_0)];

/// Whether a file that is there has the form that this host writes, so that it can be known whether all of it is there. One that was begun and has no
/// tables yet has not.
///
/// # Errors
/// As [`prepare`].
pub(super) fn is_current(path: &Path) -> Result<bool, Failure> {
    let version = || connection::reader(path)?.query_row("PRAGMA user_version", [], |row| row.get::<_, i32>(0));
    let version = version().map_err(|error| connection::of(path, &error))?;
    if version > FORMAT { Err(newer(path, version)) } else { Ok(version == FORMAT) }
}

/// What is said of a journal that the next start of a host brings to this format, and of one that is empty.
pub(super) fn older(path: &Path) -> Failure {
    connection::cannot_open(path, "it is empty, or of an older format", "start a host with it, which brings it to this format")
}

fn newer(path: &Path, version: i32) -> Failure {
    let message = format!(
        "the journal {} has format {version}, and this pipehost writes format {FORMAT}; start the pipehost that wrote it, or a newer one, or name another folder with --data DIR",
        path.display()
    );
    Failure::new(FailureKind::Conflict, message).with_code(NEWER)
}

/// Makes the tables of a new file, checks the version of one that is there, and brings an older one to this version, after a copy of it was
/// written beside it.
///
/// # Errors
/// `conflict` with [`NEWER`], `permanent` with [`NOT_UPGRADED`] or [`connection::CANNOT_OPEN`].
pub(super) fn prepare(connection: &mut Connection, path: &Path, payloads: &Payloads) -> Result<(), Failure> {
    let refuse = |error: rusqlite::Error| connection::of(path, &error);
    let version: i32 = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(refuse)?;
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(refuse)?;
    if version > FORMAT {
        return Err(newer(path, version));
    }
    if tables == 0 {
        return make(connection).map_err(refuse);
    }
    if version < FORMAT { upgrade(connection, path, version, payloads) } else { Ok(()) }
}

/// Makes sure that a file is of this host's format, for whoever only looks and brings nothing there.
///
/// # Errors
/// `conflict` with [`NEWER`], `permanent` with [`NOT_UPGRADED`] or [`connection::CANNOT_OPEN`].
pub(super) fn is_of_this_host(connection: &Connection, path: &Path) -> Result<(), Failure> {
    let version: i32 = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(|error| connection::of(path, &error))?;
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
    transaction.execute_batch(TABLES)?;
    guard::recount(&transaction, 0)?;
    seal(&transaction)?;
    transaction.commit()
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
        for (_, step) in STEPS.iter().filter(|(from, _)| *from >= version) {
            step(&transaction, payloads)?;
        }
        guard::recount(&transaction, 0).map_err(text)?;
        seal(&transaction).map_err(text)?;
        transaction.commit().map_err(text)
    };
    steps().map_err(refuse)
}

/// Format 0, older than the first release, was a journal of runs, numbers and facts; all that is known of a run was read from there. Here it is
/// written anew, as if each row came now.
fn from_0(transaction: &Transaction<'_>, payloads: &Payloads) -> Result<(), String> {
    let text = |error: rusqlite::Error| error.to_string();
    transaction.execute_batch("ALTER TABLE journal RENAME TO journal_0").map_err(text)?;
    transaction.execute_batch(TABLES).map_err(text)?;
    let mut places = Places::default();
    let mut new = apply::Transaction { connection: transaction, epoch: 0, head: End::default(), payloads, places: &mut places };
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
    transaction.execute_batch("DROP TABLE journal_0").map_err(text)
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
    guard.enter(&transaction, guard.account().mark.end)?;
    transaction.commit()?;
    Ok((epoch, guard.committed()))
}
