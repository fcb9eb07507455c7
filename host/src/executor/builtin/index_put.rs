//! `index.put`: adds a text to an index, in place of the one with the same id.

use std::sync::Arc;

use futures_util::FutureExt;

use super::declare::{describe, field, optional, record, want};
use super::{checked_input, text};
use crate::executor::host_api::HostApi;
use crate::model::executor::Description;
use crate::model::job::Job;
use crate::model::port::{Attempt, Executor, Processing};
use crate::model::types::Type;
use crate::model::value::Tree;

/// Input `{ index, id, text }`; output `{ chunks }`.
pub(super) fn description() -> Description {
    let input = record([
        optional("index", Type::String, "the index, if more than one is granted"),
        field("id", Type::String, "what the text is found and replaced by; search shows it as the file"),
        field("text", Type::String, "Markdown or plain text"),
    ]);
    let output = record([field("chunks", Type::Int, "into how many pieces it was cut")]);
    let described = describe("index.put", "Adds a text to a full-text index", input, output);
    Description { wants: vec![want("index", "to add texts")], ..described }
}

pub(super) struct IndexPut {
    description: Description,
    host: Arc<dyn HostApi>,
}

impl IndexPut {
    pub(super) fn new(description: Description, host: Arc<dyn HostApi>) -> Self {
        Self { description, host }
    }
}

impl Executor for IndexPut {
    fn description(&self) -> &Description {
        &self.description
    }

    fn process(&self, job: Arc<Job>, _: Attempt) -> Processing<'_> {
        async move {
            let input = checked_input(&self.description, &job)?;
            let tree = input.tree();
            self.host.index_put(tree.field("index").and_then(Tree::as_text), text(tree, "id"), text(tree, "text")).await
        }
        .boxed()
    }
}
