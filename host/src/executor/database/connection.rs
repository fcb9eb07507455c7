//! Opens connections: what must hold for the file, and what users' statements may not do.

use std::path::Path;
use std::time::Duration;

use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::{Connection, OpenFlags};

use super::failure;
use crate::model::failure::{Failure, FailureKind};

/// How long a statement waits while another program writes into the file.
const BUSY: Duration = Duration::from_secs(2);

/// Pragmas that only tell something about tables: the ones that users' statements may hold.
const TELLING_PRAGMAS: [&str; 8] =
    ["table_info", "table_xinfo", "table_list", "index_list", "index_info", "index_xinfo", "foreign_key_list", "user_version"];

/// Whose statements a database takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Statements that users wrote: no ATTACH, no transactions over several calls, only pragmas that tell something.
    Users,
    /// Statements of the host itself.
    Own,
}

pub(super) fn open_writer(path: &Path, access: Access) -> Result<Connection, Failure> {
    make_folder(path)?;
    let mut connection = open(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?;
    // SQLite falls back to reading where it may not write.
    if connection.is_readonly(rusqlite::MAIN_DB).map_err(|error| failure::of(path, error))? {
        return Err(failure::cannot_open(path, "it may not be written to", "give this user the right to write the file and its folder"));
    }
    let mode: String = connection.query_row("PRAGMA journal_mode=WAL", [], |row| row.get(0)).map_err(|error| failure::of(path, error))?;
    if !mode.eq_ignore_ascii_case("wal") {
        let why = format!("its folder cannot hold a write-ahead log (journal mode {mode})");
        return Err(failure::cannot_open(path, &why, "put the data folder on a local disk, with --data DIR"));
    }
    settle(&mut connection, path, "PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON; PRAGMA trusted_schema=OFF;", access)?;
    Ok(connection)
}

pub(super) fn open_reader(path: &Path, access: Access) -> Result<Connection, Failure> {
    let mut connection = open(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    settle(&mut connection, path, "PRAGMA query_only=ON; PRAGMA trusted_schema=OFF;", access)?;
    Ok(connection)
}

fn make_folder(path: &Path) -> Result<(), Failure> {
    if path.is_dir() {
        return Err(failure::cannot_open(path, "it is a folder", "name a file under resources, as chat.db, or move the folder away"));
    }
    let Some(folder) = path.parent() else { return Ok(()) };
    std::fs::create_dir_all(folder).map_err(|error| {
        let why = format!("its folder cannot be made: {error}");
        failure::cannot_open(path, &why, "choose a folder that can be written with --data DIR")
    })
}

fn open(path: &Path, flags: OpenFlags) -> Result<Connection, Failure> {
    let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW);
    let connection = connection.map_err(|error| failure::of(path, error))?;
    connection.busy_timeout(BUSY).map_err(|error| failure::of(path, error))?;
    Ok(connection)
}

fn settle(connection: &mut Connection, path: &Path, pragmas: &str, access: Access) -> Result<(), Failure> {
    let settled = connection.execute_batch(pragmas).and_then(|()| match access {
        Access::Users => connection.authorizer(Some(authorize)),
        Access::Own => Ok(()),
    });
    settled.map_err(|error| failure::of(path, error))
}

/// What the refusal of a statement says: kept beside [`authorize`], which it explains.
pub(super) fn not_allowed(path: &Path) -> Failure {
    let message = format!(
        "{}: the statement is not allowed here; ATTACH, DETACH, VACUUM, BEGIN, COMMIT, SAVEPOINT, load_extension and pragmas that change something are not: each call is one statement and one transaction",
        path.display()
    );
    Failure::new(FailureKind::Denied, message).with_code("statement_not_allowed")
}

/// A transaction of the host's own on a connection for users' statements. Dropped without [`commit`](Self::commit) it leaves nothing.
pub(super) struct HostTransaction<'a> {
    connection: &'a mut Connection,
    path: &'a Path,
}

impl<'a> HostTransaction<'a> {
    pub(super) fn begin(connection: &'a mut Connection, path: &'a Path) -> Result<Self, Failure> {
        // Made first, so that the rules come back whatever fails.
        let transaction = Self { connection, path };
        transaction.connection.authorizer(NOBODY).map_err(|error| failure::of(path, error))?;
        transaction.connection.execute_batch("BEGIN IMMEDIATE").map_err(|error| failure::of(path, error))?;
        Ok(transaction)
    }

    /// The connection, for statements of the host's own.
    pub(super) const fn connection(&self) -> &Connection {
        self.connection
    }

    /// Has a user's statement run in the midst of it, under the rules for such.
    pub(super) fn as_user<T>(&mut self, work: impl FnOnce(&Connection, &Path) -> Result<T, Failure>) -> Result<T, Failure> {
        self.connection.authorizer(Some(authorize)).map_err(|error| failure::of(self.path, error))?;
        let done = work(self.connection, self.path);
        self.connection.authorizer(NOBODY).map_err(|error| failure::of(self.path, error))?;
        done
    }

    pub(super) fn commit(self) -> Result<(), Failure> {
        self.connection.execute_batch("COMMIT").map_err(|error| failure::of(self.path, error))
    }
}

impl Drop for HostTransaction<'_> {
    fn drop(&mut self) {
        if !self.connection.is_autocommit() {
            // If it fails, SQLite has taken it back already.
            let _ = self.connection.execute_batch("ROLLBACK");
        }
        // Fails only without memory for a pointer.
        let _ = self.connection.authorizer(Some(authorize));
    }
}

/// No rules.
const NOBODY: Option<fn(AuthContext<'_>) -> Authorization> = None;

fn authorize(context: AuthContext<'_>) -> Authorization {
    match context.action {
        // VACUUM attaches a file too.
        AuthAction::Attach { .. } | AuthAction::Detach { .. } => Authorization::Deny,
        // The connection is shared: a transaction that one job leaves open would swallow what others write.
        AuthAction::Transaction { .. } | AuthAction::Savepoint { .. } => Authorization::Deny,
        AuthAction::Pragma { pragma_name, pragma_value } => {
            let tells = TELLING_PRAGMAS.iter().any(|pragma| pragma.eq_ignore_ascii_case(pragma_name));
            let sets = pragma_value.is_some() && pragma_name.eq_ignore_ascii_case("user_version");
            if tells && !sets { Authorization::Allow } else { Authorization::Deny }
        }
        AuthAction::Function { function_name } if function_name.eq_ignore_ascii_case("load_extension") => Authorization::Deny,
        _ => Authorization::Allow,
    }
}
