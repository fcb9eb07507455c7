//! `sql.query` reads rows, `sql.execute` writes them: one statement a job, on a granted database.

use std::sync::Arc;

use futures_util::FutureExt;

use super::declare::{describe, field, list, optional, record, want};
use super::{checked_input, text};
use crate::executor::host_api::HostApi;
use crate::model::executor::Description;
use crate::model::job::Job;
use crate::model::port::{Attempt, Executor, OutboxTable, Processing};
use crate::model::types::Type;
use crate::model::value::{Tree, Value};

/// Which of the two.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verb {
    Query,
    Execute,
}

/// Input `{ database, statement, parameters }`; output `{ rows }` or `{ changed, last_id }`.
pub(super) fn description(verb: Verb) -> Description {
    let input = record([
        optional("database", Type::String, "the database, if more than one is granted"),
        field("statement", Type::String, "one SQL statement, with ?1 or :name where parameters go"),
        optional("parameters", Type::Any, "a list for ?1, a map for :name"),
    ]);
    let (described, reason) = match verb {
        Verb::Query => {
            let rows = record([field("rows", list(Type::Any), "a map for each row")]);
            (describe("sql.query", "Reads rows from a database", input, rows), "to read rows")
        }
        Verb::Execute => {
            let done = record([
                field("changed", Type::Int, "how many rows the statement changed"),
                field("last_id", Type::Int, "the row id of the last row that was inserted"),
                optional("row", Type::Any, "the first row that a RETURNING gives"),
            ]);
            (describe("sql.execute", "Writes rows into a database", input, done), "to write rows")
        }
    };
    Description { wants: vec![want("sql", reason)], ..described }
}

pub(super) struct Sql {
    verb: Verb,
    description: Description,
    host: Arc<dyn HostApi>,
}

impl Sql {
    pub(super) fn new(verb: Verb, description: Description, host: Arc<dyn HostApi>) -> Self {
        Self { verb, description, host }
    }
}

impl Executor for Sql {
    fn description(&self) -> &Description {
        &self.description
    }

    fn outboxes(&self) -> Vec<Arc<dyn OutboxTable>> {
        if self.verb == Verb::Execute { self.host.outboxes() } else { Vec::new() }
    }

    fn process(&self, job: Arc<Job>, attempt: Attempt) -> Processing<'_> {
        async move {
            let input = checked_input(&self.description, &job)?;
            let tree = input.tree();
            let database = tree.field("database").and_then(Tree::as_text);
            let statement = text(tree, "statement");
            let parameters = input.field("parameters").unwrap_or_else(Value::null);
            match self.verb {
                Verb::Query => Ok(Value::map([("rows", self.host.sql_query(database, statement, &parameters).await?)])),
                Verb::Execute => match attempt.channel.outgoing() {
                    None => self.host.sql_execute(database, statement, &parameters).await,
                    Some(outgoing) => {
                        let (output, table) = self.host.sql_execute_outgoing(database, statement, &parameters, outgoing).await?;
                        attempt.channel.outboxed(table);
                        Ok(output)
                    }
                },
            }
        }
        .boxed()
    }
}
