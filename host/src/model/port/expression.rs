//! A compiled expression: nobody but the room that compiled it knows its language.

use std::fmt;

use uuid::Uuid;

use crate::model::failure::Failure;
use crate::model::time::Timestamp;
use crate::model::value::Value;

/// A compiled expression.
pub trait Expression: Send + Sync + fmt::Debug {
    /// As it was written.
    fn source(&self) -> &str;

    /// What it reads, each once.
    fn references(&self) -> &[Reference];

    /// Its value.
    ///
    /// # Errors
    /// `invalid` for an unlike comparison or an absent field, with the expression in the message.
    fn evaluate(&self, scope: &dyn Scope) -> Result<Value, Failure>;
}

/// A name that an expression begins with.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Root {
    /// The flow's input, or an event's data.
    Input,
    /// The event that started the run.
    Event,
    /// Headers, path and query.
    Trigger,
    /// Who asked.
    Caller,
    /// Outputs of earlier steps.
    Steps,
    /// The pipeline's state.
    State,
    /// The run itself.
    Run,
    /// The job whose `with` this is.
    Job,
    /// The failure that is being handled.
    Error,
    /// The progress that is being handled.
    Progress,
    /// Listed environment variables.
    Env,
    /// Secrets.
    Secret,
    /// The item of the `each` round about, under the name its `as` gives, and `index`.
    Local,
}

impl Root {
    /// The word in expressions.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Event => "event",
            Self::Trigger => "trigger",
            Self::Caller => "caller",
            Self::Steps => "steps",
            Self::State => "state",
            Self::Run => "run",
            Self::Job => "job",
            Self::Error => "error",
            Self::Progress => "progress",
            Self::Env => "env",
            Self::Secret => "secret",
            Self::Local => "local",
        }
    }

    /// The root of that name; locals are named by the YAML and are not among them.
    pub fn from_name(name: &str) -> Option<Self> {
        [
            Self::Input,
            Self::Event,
            Self::Trigger,
            Self::Caller,
            Self::Steps,
            Self::State,
            Self::Run,
            Self::Job,
            Self::Error,
            Self::Progress,
            Self::Env,
            Self::Secret,
        ]
        .into_iter()
        .find(|root| root.as_str() == name)
    }
}

/// Something that an expression reads: `steps.context` of `steps.context.passages`, `input` of `input.text`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Reference {
    /// The root.
    pub root: Root,
    /// The first field after it, for `steps`, `env`, `secret`, `state` and locals.
    pub field: Option<String>,
}

/// Where an expression gets its names from. Only what it reads is asked for.
pub trait Scope {
    /// The value of a root, or of one field of it. `None` if there is no such thing.
    fn lookup(&self, root: Root, field: Option<&str>) -> Option<Value>;

    /// `now()`: a function of the run's record, so that an attempt after a crash has the same input.
    fn now(&self) -> Timestamp;

    /// `uuid()`: likewise; each call gives another.
    fn uuid(&self) -> Uuid;
}
