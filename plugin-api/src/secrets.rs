//! Granted secrets.

use crate::Failure;
use crate::bridge::abi::pipehost::executor::secrets as host;

/// The value of a secret. Use it where it is for; it must stand in no output, event, failure or log line.
///
/// # Errors
/// `denied` if it is not granted.
pub fn get(name: &str) -> Result<String, Failure> {
    host::get(name).map_err(Failure::from)
}
