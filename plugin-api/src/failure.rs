//! How a job can fail.

use core::fmt;
use core::time::Duration;

/// What kind of failure it is. The first four are tried again unless the pipeline says otherwise.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum FailureKind {
    /// May go well next time: a connection that broke, an HTTP 503.
    Transient,
    /// It took longer than it was given.
    Timeout,
    /// The other side asked for fewer calls.
    RateLimited,
    /// Nobody said what kind it is.
    Failed,
    /// Refused before it began.
    Rejected,
    /// What was given is wrong.
    Invalid,
    /// What was asked for is not there.
    NotFound,
    /// What was asked for is at odds with what is there.
    Conflict,
    /// Not allowed.
    Denied,
    /// Somebody no longer wants it.
    Cancelled,
    /// It will not go well however often it is tried.
    Permanent,
    /// A mistake in the program.
    Bug,
}

impl FailureKind {
    /// Every kind.
    pub const ALL: [Self; 12] = [
        Self::Transient,
        Self::Timeout,
        Self::RateLimited,
        Self::Failed,
        Self::Rejected,
        Self::Invalid,
        Self::NotFound,
        Self::Conflict,
        Self::Denied,
        Self::Cancelled,
        Self::Permanent,
        Self::Bug,
    ];

    /// The word that pipelines use for it, as `rate_limited`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::Timeout => "timeout",
            Self::RateLimited => "rate_limited",
            Self::Failed => "failed",
            Self::Rejected => "rejected",
            Self::Invalid => "invalid",
            Self::NotFound => "not_found",
            Self::Conflict => "conflict",
            Self::Denied => "denied",
            Self::Cancelled => "cancelled",
            Self::Permanent => "permanent",
            Self::Bug => "bug",
        }
    }

    /// The kind that pipelines call so.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

/// Why something failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// What kind it is.
    pub kind: FailureKind,
    /// A short stable word for programs.
    pub code: Option<String>,
    /// One sentence for people: what, why, and the way out. Never put a secret here.
    pub message: String,
    /// An HTTP status, where one was the reason.
    pub status: Option<u16>,
    /// How long the other side asked to wait; the contract carries whole milliseconds.
    pub retry_after: Option<Duration>,
}

impl Failure {
    /// A failure of this kind.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { kind, code: None, message: message.into(), status: None, retry_after: None }
    }

    /// May go well next time.
    pub fn transient(message: impl Into<String>) -> Self {
        Self::new(FailureKind::Transient, message)
    }

    /// What was given is wrong.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(FailureKind::Invalid, message)
    }

    /// What was asked for is not there.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(FailureKind::NotFound, message)
    }

    /// It will not go well however often it is tried.
    pub fn permanent(message: impl Into<String>) -> Self {
        Self::new(FailureKind::Permanent, message)
    }

    /// A mistake in the program.
    pub fn bug(message: impl Into<String>) -> Self {
        Self::new(FailureKind::Bug, message)
    }

    /// The same with a short stable word for programs.
    #[must_use]
    pub fn with_code(self, code: impl Into<String>) -> Self {
        Self { code: Some(code.into()), ..self }
    }

    /// The same with an HTTP status.
    #[must_use]
    pub fn with_status(self, status: u16) -> Self {
        Self { status: Some(status), ..self }
    }

    /// The same with the wait that the other side asked for.
    #[must_use]
    pub fn with_retry_after(self, wait: Duration) -> Self {
        Self { retry_after: Some(wait), ..self }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.kind.as_str(), self.message)
    }
}

impl core::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_kinds() {
        for kind in FailureKind::ALL {
            assert_eq!(FailureKind::from_name(kind.as_str()), Some(kind));
        }
        assert_eq!(FailureKind::from_name("Transient"), None);
    }
}
