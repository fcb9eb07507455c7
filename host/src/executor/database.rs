//! SQLite files: one handle a file, shared by all who use it. The only room that names the SQLite crate.
//!
//! A file has two connections: one that writes, one that only reads, so that a long query holds up no write.
//! Work runs on blocking threads, one piece at a time for each connection; dropping the future that waits for it ends
//! the statement soon, and its transaction is taken back.

mod connection;
mod failure;
mod outbox;
mod parameters;
mod rows;
mod session;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::Connection;
use tokio::sync::Mutex;

use crate::model::failure::{Failure, FailureKind};
use crate::model::value::{Tree, Value};

pub use connection::Access;
pub use failure::{CANNOT_OPEN, CORRUPT};
pub use rows::{MAX_BYTES, MAX_ROWS};
pub use session::{Cell, Session};

/// How many steps of SQLite's machine pass between two looks at whether anybody still waits: well under a millisecond.
const STEPS_BETWEEN_LOOKS: i32 = 1_000;

/// An open SQLite file.
pub struct Database {
    path: PathBuf,
    /// The path, for people.
    shown: String,
    writer: Arc<Mutex<Connection>>,
    reader: Arc<Mutex<Connection>>,
}

impl Database {
    /// Opens the file, and makes it and its folders where they are not there. Blocks.
    ///
    /// # Errors
    /// `permanent` with the file's name and the way out: a folder, no SQLite file, damaged, not writable.
    pub fn open(path: &Path, access: Access) -> Result<Self, Failure> {
        let writer = connection::open_writer(path, access)?;
        let reader = connection::open_reader(path, access)?;
        Ok(Self {
            path: path.to_owned(),
            shown: path.display().to_string(),
            writer: Arc::new(Mutex::new(writer)),
            reader: Arc::new(Mutex::new(reader)),
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads rows with one statement: a list of maps, one a row.
    ///
    /// `parameters` is a list (`?1`), a map (`:name`) or null. Blobs come as base64 text.
    ///
    /// # Errors
    /// `invalid` for a statement that is wrong, that writes, or whose result is more than [`MAX_ROWS`] rows or
    /// [`MAX_BYTES`]; `denied` for one that is not allowed; else as [`Database::execute`].
    pub async fn query(&self, statement: &str, parameters: &Value) -> Result<Value, Failure> {
        let (statement, parameters) = (statement.to_owned(), parameters.clone());
        self.work(&self.reader, move |connection, path| {
            let mut prepared = connection.prepare(&statement).map_err(|error| failure::of(path, error))?;
            if !prepared.readonly() {
                let message = "sql.query only reads, and this statement writes; use sql.execute for it";
                return Err(Failure::new(FailureKind::Invalid, message).with_code("not_a_query"));
            }
            parameters::bind(&mut prepared, parameters.tree()).map_err(|error| error.failure(path))?;
            rows::collect(&mut prepared, path)
        })
        .await
    }

    /// Writes with one statement: `{ changed: int, last_id: int }`, the number of rows that the statement itself
    /// changed, and the row id of the last row that was inserted through this handle; of one with `RETURNING` also `row`, the first row it gives.
    ///
    /// # Errors
    /// `conflict` for a constraint, `invalid` for a wrong statement, `denied` for one that is not allowed, `transient`
    /// while another program holds the file, `permanent` for a full disk, a file that is read-only or damaged.
    pub async fn execute(&self, statement: &str, parameters: &Value) -> Result<Value, Failure> {
        let (statement, parameters) = (statement.to_owned(), parameters.clone());
        self.work(&self.writer, move |connection, path| execute(connection, path, &statement, &parameters)).await
    }

    /// Reads with several statements of our own.
    ///
    /// # Errors
    /// What `work` returns.
    pub async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Session<'_>) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        self.work(&self.reader, move |connection, path| work(&Session::new(connection, path))).await
    }

    /// Writes with several statements of our own in one transaction, which is taken back if `work` fails or is abandoned.
    ///
    /// # Errors
    /// What `work` returns, or that the transaction could not be ended.
    pub async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Session<'_>) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        self.work(&self.writer, move |connection, path| {
            let transaction =
                connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).map_err(|error| failure::of(path, error))?;
            let done = work(&Session::new(&transaction, path))?;
            transaction.commit().map_err(|error| failure::of(path, error))?;
            Ok(done)
        })
        .await
    }

    async fn work<T: Send + 'static>(
        &self,
        connection: &Arc<Mutex<Connection>>,
        work: impl FnOnce(&mut Connection, &Path) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let mut connection = Arc::clone(connection).lock_owned().await;
        let abandoned = Arc::new(AtomicBool::new(false));
        let _watch = AbandonOnDrop(Arc::clone(&abandoned));
        let path = self.path.clone();
        let done = tokio::task::spawn_blocking(move || {
            let look = move || abandoned.load(Ordering::Relaxed);
            connection.progress_handler(STEPS_BETWEEN_LOOKS, Some(look)).map_err(|error| failure::of(&path, error))?;
            let done = work(&mut connection, &path);
            connection.progress_handler(0, None::<fn() -> bool>).map_err(|error| failure::of(&path, error))?;
            done
        });
        done.await.unwrap_or_else(|panic| Err(Failure::new(FailureKind::Bug, format!("work on a database broke off: {panic}"))))
    }
}

/// Runs one statement that writes.
fn execute(connection: &Connection, path: &Path, statement: &str, parameters: &Value) -> Result<Value, Failure> {
    let before = connection.total_changes();
    let (row, returns) = {
        let mut prepared = connection.prepare(statement).map_err(|error| failure::of(path, error))?;
        parameters::bind(&mut prepared, parameters.tree()).map_err(|error| error.failure(path))?;
        (rows::first(&mut prepared, path)?, prepared.column_count() > 0)
    };
    // `changes` still has the number of an earlier statement after one that is no INSERT, UPDATE or DELETE.
    let changed = if connection.total_changes() == before { 0 } else { connection.changes() };
    let changed = Tree::Int(i64::try_from(changed).unwrap_or(i64::MAX));
    let last_id = Tree::Int(connection.last_insert_rowid());
    let mut output = vec![("changed", Value::from(changed)), ("last_id", Value::from(last_id))];
    if returns {
        output.push(("row", Value::from(row.unwrap_or(Tree::Null))));
    }
    Ok(Value::map(output))
}

/// Tells the thread that works for a future that the future is gone. After the work is done nobody looks any more.
struct AbandonOnDrop(Arc<AtomicBool>);

impl Drop for AbandonOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
