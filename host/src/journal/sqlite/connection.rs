//! Connections to the journal's file, and what SQLite's errors mean for it.

use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, Error, ErrorCode, OpenFlags};

use super::guard;
use crate::model::failure::{Failure, FailureKind};
use crate::model::port::StoreError;

/// The code of a journal that cannot be opened: no SQLite file, damaged, or not to be written to.
pub const CANNOT_OPEN: &str = "E0730";

/// The first version of SQLite without a fault by which a write-ahead log that is begun anew could damage the file.
const OLDEST_SQLITE: i32 = 3_051_003;

/// How long a statement waits while another program writes into the file. What cannot be written then is held and tried again.
const BUSY: Duration = Duration::from_secs(5);

/// The size of a new file's pages, in bytes. A run of a few small steps is one row of about two thousand: of SQLite's own 4,096 half would stay empty, and each
/// page that a transaction has changed is written with two calls of the system. Larger ones gain little more, and a transaction with one row writes more.
pub(super) const PAGE: u16 = 8_192;

/// So many statements stay prepared on the connection that writes: more than there are.
const STATEMENTS: usize = 64;

/// Why something could not be written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Trouble {
    /// There is no room now: it may be tried again.
    Full(String),
    /// Another program holds the file: it may be tried again.
    Held(String),
    /// Nothing must be written any more: what is on the disk is not known.
    Broken(String),
    /// Another host has opened the file since: it is that one's.
    Taken,
}

/// What is said where another host has opened the file.
const TAKEN: &str = "another host has taken the journal over";

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full(text),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Held(text),
            _ => Self::Broken(text),
        }
    }
}

impl From<Trouble> for StoreError {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Full(why) | Trouble::Held(why) => Self::Full(why),
            Trouble::Broken(why) => Self::Broken(why),
            Trouble::Taken => Self::Broken(TAKEN.to_owned()),
        }
    }
}

/// What a reader's error amounts to: it breaks nothing, but what was asked for is not known.
pub(super) fn unread(error: &Error) -> StoreError {
    let why = format!("the journal cannot be read: {error}");
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::Busy(why),
        _ => StoreError::Broken(why),
    }
}

/// Opens the one connection that writes. The file is made if it is not there.
///
/// # Errors
/// `permanent` with [`CANNOT_OPEN`].
pub(super) fn writer(path: &Path, lasting: bool) -> Result<Connection, Failure> {
    if rusqlite::version_number() < OLDEST_SQLITE {
        return Err(cannot_open(path, &format!("SQLite {} has a fault that can damage it", rusqlite::version()), "build with a newer one"));
    }
    let refuse = |error: Error| of(path, &error);
    let connection = open(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE).map_err(refuse)?;
    if connection.is_readonly(rusqlite::MAIN_DB).map_err(refuse)? {
        return Err(cannot_open(path, "it may not be written to", "give this user the right to write the file and its folder"));
    }
    // A file that is there keeps the size it has.
    connection.pragma_update(None, "page_size", PAGE).map_err(refuse)?;
    let mode: String = connection.query_row("PRAGMA journal_mode=WAL", [], |row| row.get(0)).map_err(refuse)?;
    if !mode.eq_ignore_ascii_case("wal") {
        let why = format!("its folder cannot hold a write-ahead log (journal mode {mode})");
        return Err(cannot_open(path, &why, "put the data folder on a local disk, with --data DIR"));
    }
    let synchronous = if lasting { "FULL" } else { "OFF" };
    let pragmas = format!(
        "PRAGMA synchronous={synchronous}; PRAGMA wal_autocheckpoint=0; PRAGMA trusted_schema=OFF; PRAGMA temp_store=MEMORY; PRAGMA cache_size=-16384;"
    );
    connection.execute_batch(&pragmas).map_err(refuse)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(connection)
}

/// Opens a connection that only reads.
///
/// # Errors
/// What SQLite says.
pub(super) fn reader(path: &Path) -> Result<Connection, Error> {
    let connection = open(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection.execute_batch("PRAGMA query_only=ON; PRAGMA trusted_schema=OFF; PRAGMA temp_store=MEMORY;")?;
    Ok(connection)
}

fn open(path: &Path, flags: OpenFlags) -> Result<Connection, Error> {
    let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW)?;
    connection.busy_timeout(BUSY)?;
    // The last one that closes a file would take over its log and delete it, damaged or not: what cannot be read of it would be gone.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    guard::teach(&connection)?;
    Ok(connection)
}

/// The failure to open that an error of SQLite amounts to.
pub(super) fn of(path: &Path, error: &Error) -> Failure {
    let way_out = match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => "restore it from a copy, or move it away and a new one is made",
        Some(ErrorCode::DiskFull) => "make room on that disk",
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => "end the program that holds it",
        _ => "check that the file and its folder may be read and written by this user, or name another folder with --data DIR",
    };
    cannot_open(path, &error.to_string(), way_out)
}

/// The failure to open for this reason.
pub(super) fn cannot_open(path: &Path, why: &str, way_out: &str) -> Failure {
    let message = format!("the journal {} cannot be opened: {why}; {way_out}", path.display());
    Failure::new(FailureKind::Permanent, message).with_code(CANNOT_OPEN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_file_has_larger_pages_and_one_that_is_there_keeps_its_own() {
        let folder = tempfile::tempdir().expect("a folder");
        let size = |path: &Path| {
            let writer = writer(path, false).expect("it can be opened");
            writer.execute_batch("CREATE TABLE IF NOT EXISTS t (a)").expect("it is right");
            writer.query_row("PRAGMA page_size", [], |row| row.get::<_, u16>(0)).expect("it has one")
        };
        let (new, old) = (folder.path().join("new.db"), folder.path().join("old.db"));
        Connection::open(&old).and_then(|old| old.execute_batch("PRAGMA page_size=4096; CREATE TABLE t (a)")).expect("it can be made");
        assert_eq!((size(&new), size(&old)), (PAGE, 4_096));
        assert_eq!((size(&new), size(&old)), (PAGE, 4_096));
    }
}
