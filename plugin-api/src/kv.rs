//! Key-value stores. Where a store is `None`, the only one that is granted is meant.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Failure;
use crate::bridge::abi::pipehost::executor::kv as host;
use crate::bridge::{from_text, to_text};

/// A value; `None` if there is none.
///
/// # Errors
/// `denied` if the store is not granted; `bug` if the value is not a `T`.
pub fn get<T: DeserializeOwned>(store: Option<&str>, key: &str) -> Result<Option<T>, Failure> {
    from_text(&host::get(store, key)?)
}

/// Keeps a value.
///
/// # Errors
/// `denied` if the store is not granted; `bug` if the value cannot be written as JSON.
pub fn set(store: Option<&str>, key: &str, value: &impl Serialize) -> Result<(), Failure> {
    host::set(store, key, &to_text(value)?).map_err(Failure::from)
}

/// Forgets a value: whether there was one.
///
/// # Errors
/// `denied` if the store is not granted.
pub fn delete(store: Option<&str>, key: &str) -> Result<bool, Failure> {
    host::delete(store, key).map_err(Failure::from)
}
