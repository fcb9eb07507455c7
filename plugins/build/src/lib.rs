//! Builds the components that are committed beside their sources, and tells when one is older than those.
//!
//! `cargo run -p plugin-build -- retrieve` builds one, without a name all. What a component was built from stands in its lock file.

mod component;
mod guest;
mod lock;
mod toolchain;

use std::fmt;
use std::path::PathBuf;

pub use component::build;
pub use guest::Guest;
pub use lock::{Stale, check};

/// Why a component was not built: a sentence with the way out.
#[derive(Debug)]
pub struct Error(String);

impl Error {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }

    pub(crate) fn file(what: &str, file: &std::path::Path, cause: impl fmt::Display) -> Self {
        Self(format!("cannot {what} {}: {cause}", file.display()))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

impl From<String> for Error {
    fn from(message: String) -> Self {
        Self(message)
    }
}

/// The workspace's folder: two above this crate's own.
pub fn workspace() -> PathBuf {
    let own = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    own.ancestors().nth(2).map_or_else(|| own.clone(), PathBuf::from)
}
