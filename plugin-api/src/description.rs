//! What an executor says of itself.

use crate::Json;

/// What an executor is, takes, gives and needs: `check` reads it before anything runs.
#[derive(Clone, PartialEq, Debug)]
pub struct Description {
    /// Its own name, which need not be the one that a pipeline gives it.
    pub name: String,
    /// One sentence for people.
    pub summary: String,
    /// The JSON Schema of the input; a property with `format: secret` takes a secret.
    pub input: Option<Json>,
    /// The JSON Schema of the output.
    pub output: Option<Json>,
    /// The JSON Schema of the configuration.
    pub config: Option<Json>,
    /// What it needs to be granted.
    pub wants: Vec<Want>,
}

/// Something that an executor needs, and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Want {
    /// The grant's kind, as `index`.
    pub grant: String,
    /// What for: people read it when they decide whether to grant it.
    pub reason: String,
}

impl Description {
    /// An executor that takes anything, gives anything and wants nothing.
    pub fn new(name: impl Into<String>, summary: impl Into<String>) -> Self {
        Self { name: name.into(), summary: summary.into(), input: None, output: None, config: None, wants: Vec::new() }
    }

    /// The same with the JSON Schema of its input.
    #[must_use]
    pub fn with_input(self, schema: Json) -> Self {
        Self { input: Some(schema), ..self }
    }

    /// The same with the JSON Schema of its output.
    #[must_use]
    pub fn with_output(self, schema: Json) -> Self {
        Self { output: Some(schema), ..self }
    }

    /// The same with the JSON Schema of its configuration.
    #[must_use]
    pub fn with_config(self, schema: Json) -> Self {
        Self { config: Some(schema), ..self }
    }

    /// The same with one more thing that it needs.
    #[must_use]
    pub fn wanting(mut self, grant: impl Into<String>, reason: impl Into<String>) -> Self {
        self.wants.push(Want { grant: grant.into(), reason: reason.into() });
        self
    }
}
