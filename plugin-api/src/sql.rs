//! Databases. Where a database is `None`, the only one that is granted is meant.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::Failure;
use crate::bridge::abi::pipehost::executor::sql as host;
use crate::bridge::{from_text, to_text};

/// What a statement changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
pub struct Changed {
    /// How many rows.
    pub changed: u64,
    /// The row id of the last row that was inserted.
    pub last_id: i64,
}

/// Reads rows. The parameters are a list for `?1`, a map for `:name`, or `()`.
///
/// # Errors
/// `denied` if the database is not granted; the database's own failure; `bug` if a row is not a `T`.
pub fn query<T: DeserializeOwned>(database: Option<&str>, statement: &str, parameters: &impl Serialize) -> Result<Vec<T>, Failure> {
    from_text(&host::query(database, statement, &to_text(parameters)?)?)
}

/// Writes. The parameters are a list for `?1`, a map for `:name`, or `()`.
///
/// # Errors
/// `denied` if the database is not granted; the database's own failure.
pub fn execute(database: Option<&str>, statement: &str, parameters: &impl Serialize) -> Result<Changed, Failure> {
    from_text(&host::execute(database, statement, &to_text(parameters)?)?)
}
