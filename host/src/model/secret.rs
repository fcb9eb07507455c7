//! A value that may be used and never shown.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use super::value::exact;

/// A secret: its name may be read by anybody, its value only by the one place that needs it.
///
/// Every text form, JSON included, is `«secret NAME»`; only the journal's own form of JSON has it sealed ([`exact`]).
///
/// ```
/// use pipehost::model::secret::Secret;
///
/// let key = Secret::new("OPENAI_API_KEY", "hunter2");
/// assert_eq!(format!("{key} {key:?}"), "«secret OPENAI_API_KEY» «secret OPENAI_API_KEY»");
/// assert_eq!(key.reveal(), "hunter2");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    name: Arc<str>,
    value: Arc<str>,
    given: bool,
}

impl Secret {
    /// Seals a value under the name that it was asked for by, as `secret.NAME`: by this name it can be read again.
    pub fn new(name: impl Into<Arc<str>>, value: impl Into<Arc<str>>) -> Self {
        Self { name: name.into(), value: value.into(), given: false }
    }

    /// Seals a value that came from outside where a secret is declared, as a password in an input. Its name says where it stood; it cannot be read again.
    pub fn given(name: impl Into<Arc<str>>, value: impl Into<Arc<str>>) -> Self {
        Self { name: name.into(), value: value.into(), given: true }
    }

    /// Whether it came from outside, so that nobody else knows its value.
    pub const fn is_given(&self) -> bool {
        self.given
    }

    /// The name that may be shown.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The value itself. Call it where it goes out to whom it is for, and nowhere else.
    pub fn reveal(&self) -> &str {
        &self.value
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "«secret {}»", self.name)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match exact::seal() {
            Some(seal) => exact::secret(&*seal, self, serializer),
            None => serializer.collect_str(self),
        }
    }
}
