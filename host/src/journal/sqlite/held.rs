//! A statement that one transaction carries out again and again: it is looked up once, and not by its text each time.

use rusqlite::{CachedStatement, Connection, Error};

/// One that is prepared when it is first needed.
pub(super) struct Held<'c> {
    sql: &'static str,
    statement: Option<CachedStatement<'c>>,
}

impl<'c> Held<'c> {
    /// This statement, which is not needed yet.
    pub(super) const fn of(sql: &'static str) -> Self {
        Self { sql, statement: None }
    }

    /// The statement, ready to be carried out. The connection is always the same.
    ///
    /// # Errors
    /// What SQLite says of it.
    pub(super) fn on(&mut self, connection: &'c Connection) -> Result<&mut CachedStatement<'c>, Error> {
        let statement = match self.statement.take() {
            Some(statement) => statement,
            None => connection.prepare_cached(self.sql)?,
        };
        Ok(self.statement.insert(statement))
    }
}
