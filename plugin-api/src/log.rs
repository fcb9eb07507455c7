//! Lines for whoever watches. Their bytes are limited for each attempt.

use crate::bridge::abi::pipehost::executor::log as host;

/// For whoever looks for a mistake.
pub fn debug(message: &str) {
    host::write(host::Level::Debug, message);
}

/// For whoever watches.
pub fn info(message: &str) {
    host::write(host::Level::Info, message);
}

/// Something to look at.
pub fn warn(message: &str) {
    host::write(host::Level::Warn, message);
}

/// Something that went wrong.
pub fn error(message: &str) {
    host::write(host::Level::Error, message);
}
