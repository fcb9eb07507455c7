//! How a job can fail, in one closed list that executors, policies and YAML share.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::id::StepId;
use super::value::{Map, Tree, Value};

/// What kind of failure it is: what the next one to look at it goes by.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// May go well next time: a connection that broke, an HTTP 503.
    Transient,
    /// It took longer than it was given.
    Timeout,
    /// The other side asked for fewer calls.
    RateLimited,
    /// The executor did not say what kind it is.
    Failed,
    /// Refused before it began: an open breaker, a full bulkhead, a limit, a duplicate.
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
    /// A mistake in the executor: a trap, a panic, a type error.
    Bug,
}

impl FailureKind {
    /// Every kind, in the order of the guide.
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

    /// Whether `error.retryable` is true: nobody called it hopeless.
    pub const fn is_retryable(self) -> bool {
        matches!(self, Self::Transient | Self::Timeout | Self::RateLimited | Self::Failed)
    }

    /// The word that YAML, Rhai and records use: `rate_limited`.
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

    /// The kind of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

impl fmt::Display for FailureKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// A failure: `error` in expressions. Cloning copies a few short texts; it is off every fast path.
///
/// Boxed: nearly everything that goes through a run may hold one and hardly ever does, and all of it would be moved about with room for one.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Failure(Box<Particulars>);

/// What a failure says.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Particulars {
    /// What kind it is.
    pub kind: FailureKind,
    /// A short stable word for programs, as `loop`, `memory_limit` or an HTTP service's own code.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub code: Option<String>,
    /// One sentence for people. Secrets never stand in it.
    pub message: String,
    /// An HTTP status, where one was the reason.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub status: Option<u16>,
    /// How long the other side asked us to wait.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub retry_after: Option<Duration>,
    /// The step whose job failed; set by the run.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub step: Option<StepId>,
    /// What it came of, as the last failure before a breaker opened.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cause: Option<Failure>,
}

impl Deref for Failure {
    type Target = Particulars;

    fn deref(&self) -> &Particulars {
        &self.0
    }
}

impl DerefMut for Failure {
    fn deref_mut(&mut self) -> &mut Particulars {
        &mut self.0
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl Failure {
    /// A failure of this kind with a sentence for people.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        let message = message.into();
        Self(Box::new(Particulars { kind, code: None, message, status: None, retry_after: None, step: None, cause: None }))
    }

    /// What it says, to be taken apart.
    pub fn into_particulars(self) -> Particulars {
        *self.0
    }

    /// The same with a code.
    #[must_use]
    pub fn with_code(mut self, code: impl Into<String>) -> Self {
        self.code = Some(code.into());
        self
    }

    /// The same with another sentence for people.
    #[must_use]
    pub fn with_message(mut self, message: impl Into<String>) -> Self {
        self.message = message.into();
        self
    }

    /// The same with an HTTP status.
    #[must_use]
    pub fn with_status(mut self, status: u16) -> Self {
        self.status = Some(status);
        self
    }

    /// The same with the wait that the other side asked for.
    #[must_use]
    pub fn with_retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// The same as what came of `cause`.
    #[must_use]
    pub fn with_cause(mut self, cause: Self) -> Self {
        self.cause = Some(cause);
        self
    }

    /// The same with its texts as this makes them, those of what it came of too.
    #[must_use]
    pub fn with_texts(mut self, text: &impl Fn(&str) -> String) -> Self {
        self.message = text(&self.message);
        self.code = self.code.as_deref().map(text);
        self.cause = self.cause.take().map(|cause| cause.with_texts(text));
        self
    }

    /// The same as the failure of this step, unless a step is named already.
    #[must_use]
    pub fn at_step(mut self, step: &StepId) -> Self {
        self.step.get_or_insert_with(|| step.clone());
        self
    }

    /// What expressions see as `error`: every field present, absent ones null, and `retryable`.
    pub fn to_value(&self) -> Value {
        Value::from(self.to_tree())
    }

    /// A failure from what [`to_value`](Self::to_value) made of one; of anything else a `failed` with its text as the message.
    pub fn from_value(value: &Value) -> Self {
        let tree = value.tree();
        let text = |name: &str| tree.field(name).and_then(Tree::as_text).map(str::to_owned);
        let kind = text("kind").and_then(|kind| FailureKind::from_name(&kind)).unwrap_or(FailureKind::Failed);
        let message = text("message").or_else(|| tree.as_text().map(str::to_owned)).unwrap_or_else(|| value.text().to_owned());
        let wait = tree.field("retry_after").and_then(Tree::as_float).and_then(|wait| Duration::try_from_secs_f64(wait).ok());
        let particulars = Particulars {
            kind,
            code: text("code"),
            message,
            status: tree.field("status").and_then(Tree::as_int).and_then(|status| u16::try_from(status).ok()),
            retry_after: wait,
            step: text("step").map(StepId::new),
            cause: tree.field("cause").filter(|cause| cause.as_map().is_some()).map(|cause| Self::from_value(&Value::from(cause.clone()))),
        };
        Self(Box::new(particulars))
    }

    fn to_tree(&self) -> Tree {
        let text = |text: Option<&str>| text.map_or(Tree::Null, Tree::from);
        let fields: Map = [
            ("kind", Tree::from(self.kind.as_str())),
            ("code", text(self.code.as_deref())),
            ("message", Tree::from(self.message.as_str())),
            ("status", self.status.map_or(Tree::Null, |status| Tree::Int(i64::from(status)))),
            ("retry_after", self.retry_after.map_or(Tree::Null, |wait| Tree::Float(wait.as_secs_f64()))),
            ("step", text(self.step.as_ref().map(StepId::as_str))),
            ("retryable", Tree::Bool(self.kind.is_retryable())),
            ("cause", self.cause.as_ref().map_or(Tree::Null, |cause| cause.to_tree())),
        ]
        .into_iter()
        .map(|(name, field)| (name.to_owned(), field))
        .collect();
        Tree::Map(fields)
    }
}

/// `transient: the server answered 503`.
impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.kind, self.message)
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_the_first_four_kinds_are_retryable() {
        let retryable: Vec<_> = FailureKind::ALL.into_iter().filter(|kind| kind.is_retryable()).collect();
        assert_eq!(retryable, FailureKind::ALL[..4]);
    }

    #[test]
    fn a_failure_survives_being_a_value() {
        let cause = Failure::new(FailureKind::Timeout, "too slow").with_code("timeout");
        let failure =
            Failure::new(FailureKind::RateLimited, "busy").with_status(429).with_retry_after(Duration::from_secs(5)).with_cause(cause);
        assert_eq!(Failure::from_value(&failure.to_value()), failure);
        assert_eq!(Failure::from_value(&Value::string("odd")).message, "odd");
    }

    #[test]
    fn what_may_hold_a_failure_has_room_for_a_handle_of_one() {
        assert_eq!(size_of::<Failure>(), size_of::<usize>());
        assert_eq!(size_of::<Result<Value, Failure>>(), 2 * size_of::<usize>());
    }

    #[test]
    fn names_lead_back_to_kinds() {
        for kind in FailureKind::ALL {
            assert_eq!(FailureKind::from_name(kind.as_str()), Some(kind));
        }
    }
}
