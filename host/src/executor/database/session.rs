//! Several statements of our own on one connection, without the SQLite crate's types.

use std::path::Path;

use rusqlite::Connection;
use rusqlite::types::{ToSql, ToSqlOutput, Value as SqlValue, ValueRef};

use super::failure;
use crate::model::failure::Failure;

/// A connection, for as long as one piece of work has it.
pub struct Session<'a> {
    connection: &'a Connection,
    path: &'a Path,
}

/// One value in a row, or of a parameter.
#[derive(Clone, PartialEq, Debug)]
pub enum Cell {
    /// Nothing.
    Null,
    /// A whole number.
    Int(i64),
    /// A fraction.
    Float(f64),
    /// Text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
}

impl<'a> Session<'a> {
    pub(super) fn new(connection: &'a Connection, path: &'a Path) -> Self {
        Self { connection, path }
    }

    /// Runs statements without parameters: what makes a schema.
    ///
    /// # Errors
    /// As [`Database::execute`](super::Database::execute).
    pub fn batch(&self, statements: &str) -> Result<(), Failure> {
        self.connection.execute_batch(statements).map_err(|error| failure::of(self.path, error))
    }

    /// Runs a statement that gives no rows: how many it changed.
    ///
    /// # Errors
    /// As [`Database::execute`](super::Database::execute).
    pub fn run(&self, statement: &str, parameters: &[Cell]) -> Result<usize, Failure> {
        let prepared = self.connection.prepare_cached(statement);
        prepared
            .and_then(|mut prepared| prepared.execute(rusqlite::params_from_iter(parameters)))
            .map_err(|error| failure::of(self.path, error))
    }

    /// The rows that a statement gives. The statement bounds them.
    ///
    /// # Errors
    /// As [`Database::query`](super::Database::query).
    pub fn rows(&self, statement: &str, parameters: &[Cell]) -> Result<Vec<Vec<Cell>>, Failure> {
        let rows = self.connection.prepare_cached(statement).and_then(|mut prepared| {
            let columns = prepared.column_count();
            let rows = prepared.query_map(rusqlite::params_from_iter(parameters), |row| {
                (0..columns).map(|index| row.get_ref(index).map(Cell::from)).collect()
            })?;
            rows.collect()
        });
        rows.map_err(|error| failure::of(self.path, error))
    }

    /// Looks at the rows of a statement one after the other; only one is in memory.
    ///
    /// # Errors
    /// As [`Database::query`](super::Database::query).
    pub fn each(&self, statement: &str, parameters: &[Cell], mut look: impl FnMut(&[Cell])) -> Result<(), Failure> {
        let looked = self.connection.prepare_cached(statement).and_then(|mut prepared| {
            let columns = prepared.column_count();
            let mut rows = prepared.query(rusqlite::params_from_iter(parameters))?;
            let mut cells = Vec::with_capacity(columns);
            while let Some(row) = rows.next()? {
                cells.clear();
                for index in 0..columns {
                    cells.push(Cell::from(row.get_ref(index)?));
                }
                look(&cells);
            }
            Ok(())
        });
        looked.map_err(|error| failure::of(self.path, error))
    }
}

impl Cell {
    /// A text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// The text; empty if this is none.
    pub fn into_text(self) -> String {
        if let Self::Text(text) = self { text } else { String::new() }
    }

    /// The whole number; 0 if this is none.
    pub const fn as_int(&self) -> i64 {
        if let Self::Int(number) = self { *number } else { 0 }
    }

    /// The number; 0 if this is none.
    pub const fn as_float(&self) -> f64 {
        match self {
            Self::Float(number) => *number,
            Self::Int(number) => *number as f64,
            _ => 0.0,
        }
    }
}

impl From<ValueRef<'_>> for Cell {
    fn from(value: ValueRef<'_>) -> Self {
        match value {
            ValueRef::Null => Self::Null,
            ValueRef::Integer(number) => Self::Int(number),
            ValueRef::Real(number) => Self::Float(number),
            ValueRef::Text(bytes) => Self::Text(String::from_utf8_lossy(bytes).into_owned()),
            ValueRef::Blob(bytes) => Self::Bytes(bytes.to_owned()),
        }
    }
}

impl ToSql for Cell {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Self::Null => ToSqlOutput::Owned(SqlValue::Null),
            Self::Int(number) => ToSqlOutput::Owned(SqlValue::Integer(*number)),
            Self::Float(number) => ToSqlOutput::Owned(SqlValue::Real(*number)),
            Self::Text(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
            Self::Bytes(bytes) => ToSqlOutput::Borrowed(ValueRef::Blob(bytes)),
        })
    }
}
