//! The executor's `config`.

use serde::de::DeserializeOwned;

use crate::Failure;
use crate::bridge::abi::pipehost::executor::config as host;

/// The configuration as the pipeline's file has it; null where it has none.
///
/// # Errors
/// `invalid`, with what is wrong and where, if it does not fit the type.
pub fn get<T: DeserializeOwned>() -> Result<T, Failure> {
    serde_json::from_str(&host::get()).map_err(|error| Failure::invalid(format!("the executor's `config` does not fit: {error}")))
}
