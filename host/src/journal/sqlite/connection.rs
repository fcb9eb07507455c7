//! Connections to the journal's file, and what SQLite's errors mean for it.

use std::io::{self, ErrorKind};
use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, Error, ErrorCode, OpenFlags, ffi};

use super::guard;
use crate::model::failure::{Failure, FailureKind};
use crate::model::port::StoreError;

/// The code of a journal that cannot be opened: no SQLite file, damaged, or not to be written to.
pub const CANNOT_OPEN: &str = "E0730";
/// The code of a journal that cannot be opened for want of room, though what was held back for that was given.
pub const NO_ROOM: &str = "E0734";
/// The code of a journal whose disk does not keep what is written, or does not give what it has.
pub const BAD_DISK: &str = "E0739";

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

/// What is wrong where SQLite, or the system, does not do what it was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Cause {
    /// There is no room.
    NoRoom,
    /// Another program holds the file.
    Held,
    /// The file is not what was written.
    Damaged,
    /// The disk does not keep what is written, or does not give what it has.
    Disk,
    /// This user may not.
    Denied,
    /// Something else.
    Other,
}

impl From<&Error> for Cause {
    fn from(error: &Error) -> Self {
        let Some(error) = error.sqlite_error() else { return Self::Other };
        match (error.code, error.extended_code) {
            // The index of the log could not grow; SQLite does not say why, and it is made with this user's own rights.
            (ErrorCode::DiskFull, _) | (_, ffi::SQLITE_IOERR_SHMSIZE) => Self::NoRoom,
            (ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked, _) => Self::Held,
            (ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt, _) => Self::Damaged,
            (
                _,
                ffi::SQLITE_IOERR
                | ffi::SQLITE_IOERR_READ
                | ffi::SQLITE_IOERR_WRITE
                | ffi::SQLITE_IOERR_FSYNC
                | ffi::SQLITE_IOERR_DIR_FSYNC
                | ffi::SQLITE_IOERR_TRUNCATE
                | ffi::SQLITE_IOERR_CORRUPTFS,
            ) => Self::Disk,
            (ErrorCode::ReadOnly | ErrorCode::PermissionDenied, _) => Self::Denied,
            _ => Self::Other,
        }
    }
}

impl From<&io::Error> for Cause {
    fn from(error: &io::Error) -> Self {
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Self::NoRoom,
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => Self::Denied,
            // The standard library has no kind for it.
            _ if error.raw_os_error() == Some(INPUT_OUTPUT) => Self::Disk,
            _ => Self::Other,
        }
    }
}

/// The number that systems have for a disk that fails: `EIO`.
const INPUT_OUTPUT: i32 = 5;

/// What is said where another host has opened the file.
const TAKEN: &str = "another host has taken the journal over";

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        match Cause::from(&error) {
            // Where only the index of the log could not grow, the log itself has what was to be written: whether it stands is not known.
            Cause::NoRoom if error.sqlite_error_code() == Some(ErrorCode::DiskFull) => Self::Full(text),
            Cause::Held => Self::Held(text),
            _ => Self::Broken(text),
        }
    }
}

impl From<Trouble> for StoreError {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Full(why) => Self::Full(why),
            Trouble::Held(why) => Self::Busy(why),
            Trouble::Broken(why) => Self::Broken(why),
            Trouble::Taken => Self::Broken(TAKEN.to_owned()),
        }
    }
}

/// What a reader's error amounts to: it breaks nothing, but what was asked for is not known.
pub(super) fn unread(error: &Error) -> StoreError {
    let why = format!("the journal cannot be read: {error}");
    if Cause::from(error) == Cause::Held { StoreError::Busy(why) } else { StoreError::Broken(why) }
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
    let mode = to_log(&connection).map_err(refuse)?;
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

/// Has changes go into a write-ahead log, if the file can have one; the mode that it has then. The statement is carried out to its end: it answers before
/// what it changes in the file is on the disk, and only then says that the disk has failed.
fn to_log(connection: &Connection) -> Result<String, Error> {
    let mut statement = connection.prepare("PRAGMA journal_mode=WAL")?;
    let modes = statement.query_map([], |row| row.get(0))?.collect::<Result<Vec<String>, Error>>()?;
    modes.into_iter().next().ok_or(Error::QueryReturnedNoRows)
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

/// A file of its own that is removed with the connection: in the system's folder for such files, and in memory as long as it is small.
///
/// # Errors
/// What SQLite says.
pub(super) fn temporary() -> Result<Connection, Error> {
    let connection = Connection::open("")?;
    guard::teach(&connection)?;
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

/// Whether another program has let go of the file: then something could be written now. Does not wait.
pub(super) fn is_free(connection: &Connection) -> bool {
    let tried = connection.busy_timeout(Duration::ZERO).and_then(|()| connection.execute_batch("BEGIN IMMEDIATE; ROLLBACK"));
    // It fails only on a connection that is closed.
    let _ = connection.busy_timeout(BUSY);
    tried.is_ok()
}

/// The failure to open that an error of SQLite amounts to.
pub(super) fn of(path: &Path, error: &Error) -> Failure {
    because(path, Cause::from(error), &error.to_string(), OTHERWISE)
}

/// The failure to open that an error of the system amounts to; `otherwise` is the way out where the error does not say one.
pub(super) fn of_system(path: &Path, error: &io::Error, otherwise: &str) -> Failure {
    because(path, Cause::from(error), &error.to_string(), otherwise)
}

/// The way out of a file that is damaged.
const DAMAGED: &str = "see what of it is good, and how a backup is put in its place, with pipehost store verify";
/// The way out where nothing better is known.
const OTHERWISE: &str = "check that the file and its folder may be read and written by this user, or name another folder with --data DIR";

fn because(path: &Path, cause: Cause, why: &str, otherwise: &str) -> Failure {
    match cause {
        Cause::Damaged => cannot_open(path, why, DAMAGED),
        Cause::Held => cannot_open(path, &format!("another program holds it ({why})"), "end that program, or wait until it is done"),
        Cause::NoRoom => cannot_open(path, why, "make room on that disk").with_code(NO_ROOM),
        Cause::Disk => bad_disk(path, why),
        Cause::Denied => cannot_open(path, why, OTHERWISE),
        Cause::Other => cannot_open(path, why, otherwise),
    }
}

/// The failure of a disk, as a start meets it.
pub(super) fn bad_disk(path: &Path, why: &str) -> Failure {
    let message = format!(
        "the disk does not keep or give what belongs to {}: {why}; see to that disk, or name a folder on another one with --data DIR",
        path.display()
    );
    Failure::new(FailureKind::Permanent, message).with_code(BAD_DISK)
}

/// Whether it could be opened if there were room.
pub(super) fn is_for_want_of_room(failure: &Failure) -> bool {
    failure.code.as_deref() == Some(NO_ROOM)
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

    #[test]
    fn a_file_is_free_once_nobody_else_writes_into_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("held.db");
        let writer = writer(&path, false).expect("it can be opened");
        let other = Connection::open(&path).expect("it is there");
        assert!(is_free(&writer));
        other.execute_batch("BEGIN IMMEDIATE").expect("it is free");
        assert!(!is_free(&writer));
        other.execute_batch("COMMIT").expect("it is held by it");
        assert!(is_free(&writer) && writer.is_autocommit());
    }

    #[test]
    fn what_hinders_a_start_is_said_with_its_own_way_out() {
        let path = Path::new("journal.db");
        let sqlite = |code| of(path, &Error::SqliteFailure(ffi::Error::new(code), None));
        let system = |kind| of_system(path, &io::Error::from(kind), "end other programs");
        let cases = [
            (sqlite(ffi::SQLITE_FULL), NO_ROOM, "make room"),
            (sqlite(ffi::SQLITE_IOERR_SHMSIZE), NO_ROOM, "make room"),
            (system(ErrorKind::StorageFull), NO_ROOM, "make room"),
            (sqlite(ffi::SQLITE_BUSY), CANNOT_OPEN, "another program holds it"),
            (sqlite(ffi::SQLITE_IOERR_FSYNC), BAD_DISK, "see to that disk"),
            (of_system(path, &io::Error::from_raw_os_error(INPUT_OUTPUT), "end other programs"), BAD_DISK, "see to that disk"),
            (sqlite(ffi::SQLITE_CORRUPT), CANNOT_OPEN, "with pipehost store verify"),
            (sqlite(ffi::SQLITE_CANTOPEN), CANNOT_OPEN, "may be read and written by this user"),
            (system(ErrorKind::PermissionDenied), CANNOT_OPEN, "may be read and written by this user"),
            (system(ErrorKind::OutOfMemory), CANNOT_OPEN, "end other programs"),
        ];
        for (failure, code, way_out) in cases {
            assert!(failure.code.as_deref() == Some(code) && failure.message.contains(way_out), "{code}: {failure}");
        }
    }
}
