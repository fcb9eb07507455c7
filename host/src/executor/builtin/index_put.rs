//! `index.put`: adds a text to an index, in place of the one with the same id.

use std::sync::Arc;

use futures_util::FutureExt;

use super::declare::{describe, field, list, optional, record, want};
use super::{checked_input, text, vector};
use crate::executor::host_api::HostApi;
use crate::executor::index::Entry;
use crate::model::executor::Description;
use crate::model::job::Job;
use crate::model::port::{Attempt, Executor, Processing};
use crate::model::types::Type;
use crate::model::value::Tree;

/// Input `{ index, id, text, vector, data }`; output `{ chunks }`.
pub(super) fn description() -> Description {
    let input = record([
        optional("index", Type::String, "the index, if more than one is granted"),
        field("id", Type::String, "what the text is found and replaced by; search shows it as the file"),
        field("text", Type::String, "Markdown or plain text"),
        optional("vector", list(Type::Float), "what the text means, as llm.embed says; the text is then one piece"),
        optional("data", Type::Any, "what a search gives along with the text: at most 64 KiB of JSON"),
    ]);
    let output = record([field("chunks", Type::Int, "into how many pieces it was cut")]);
    let described = describe("index.put", "Adds a text to an index", input, output);
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
            let entry = Entry {
                id: text(tree, "id").to_owned(),
                text: text(tree, "text").to_owned(),
                vector: vector(tree)?,
                data: input.field("data").filter(|data| !data.is_null()),
            };
            self.host.index_add(tree.field("index").and_then(Tree::as_text), entry).await
        }
        .boxed()
    }
}
