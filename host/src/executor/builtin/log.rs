//! `log`: writes a line into the log.

use std::sync::Arc;

use futures_util::FutureExt;

use super::declare::{describe, field, optional, record, with_default};
use super::{checked_input, text};
use crate::executor::excerpt::cut;
use crate::model::executor::Description;
use crate::model::failure::{Failure, FailureKind};
use crate::model::happening::LogLevel;
use crate::model::job::Job;
use crate::model::port::{Attempt, Executor, Processing};
use crate::model::types::Type;
use crate::model::value::Value;

/// Input `{ message, level, data }`; output null.
pub(super) fn description() -> Description {
    let input = record([
        field("message", Type::String, "the line"),
        with_default("level", Type::String, "info", "debug, info, warn or error"),
        optional("data", Type::Any, "what is written behind the line, as JSON"),
    ]);
    describe("log", "Writes a line into the log", input, Type::Any)
}

pub(super) struct Log {
    description: Description,
    /// The longest line, in bytes.
    limit: usize,
}

impl Log {
    pub(super) fn new(description: Description, limit: u64) -> Self {
        Self { description, limit: usize::try_from(limit).unwrap_or(usize::MAX) }
    }
}

impl Executor for Log {
    fn description(&self) -> &Description {
        &self.description
    }

    fn process(&self, job: Arc<Job>, attempt: Attempt) -> Processing<'_> {
        async move {
            let input = checked_input(&self.description, &job)?;
            let level = match text(input.tree(), "level") {
                "debug" => LogLevel::Debug,
                "info" => LogLevel::Info,
                "warn" => LogLevel::Warn,
                "error" => LogLevel::Error,
                other => {
                    let message = format!("{other:?} is no level; write debug, info, warn or error");
                    return Err(Failure::new(FailureKind::Invalid, message).with_code("input"));
                }
            };
            let mut line = text(input.tree(), "message").to_owned();
            if let Some(data) = input.field("data").filter(|data| !data.is_null()) {
                line.push(' ');
                line.push_str(data.text());
            }
            attempt.channel.log(level, cut(line, self.limit));
            Ok(Value::null())
        }
        .boxed()
    }
}
