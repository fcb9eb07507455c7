//! `index.search`: the passages of an index that fit a question best.

use std::sync::Arc;

use futures_util::FutureExt;

use super::declare::{describe, field, list, optional, record, want, with_default};
use super::{checked_input, text};
use crate::executor::host_api::HostApi;
use crate::executor::services::MAX_HITS;
use crate::model::executor::Description;
use crate::model::failure::{Failure, FailureKind};
use crate::model::job::Job;
use crate::model::port::{Attempt, Executor, Processing};
use crate::model::types::Type;
use crate::model::value::{Tree, Value};

/// Input `{ index, query, top_k }`; output `{ passages: [{ id, text, file, lines, heading, score }] }`.
pub(super) fn description() -> Description {
    let input = record([
        optional("index", Type::String, "the index, if more than one is granted"),
        field("query", Type::String, "words; what holds more of them, and rarer ones, is better"),
        with_default("top_k", Type::Int, 6, "how many passages at most, from 1 to 100"),
    ]);
    let passage = record([
        field("id", Type::String, "file and number of the passage, as docs/guide.md#2"),
        field("text", Type::String, "the passage without its heading"),
        field("file", Type::String, "the file, or the id that the text was put in under"),
        field("lines", Type::String, "its lines, as 12-18"),
        field("heading", Type::String, "the headings above it, as Policies › Retry"),
        field("score", Type::Float, "larger is better; of use only to compare hits of one search"),
    ]);
    let output = record([field("passages", list(passage), "best first")]);
    let described = describe("index.search", "Finds passages in a full-text index", input, output);
    Description { wants: vec![want("index", "to search")], ..described }
}

pub(super) struct IndexSearch {
    description: Description,
    host: Arc<dyn HostApi>,
}

impl IndexSearch {
    pub(super) fn new(description: Description, host: Arc<dyn HostApi>) -> Self {
        Self { description, host }
    }
}

impl Executor for IndexSearch {
    fn description(&self) -> &Description {
        &self.description
    }

    fn process(&self, job: Arc<Job>, _: Attempt) -> Processing<'_> {
        async move {
            let input = checked_input(&self.description, &job)?;
            let tree = input.tree();
            let asked = tree.field("top_k").and_then(Tree::as_int).unwrap_or_default();
            let top_k = u32::try_from(asked).ok().filter(|top_k| (1..=MAX_HITS).contains(top_k));
            let Some(top_k) = top_k else {
                let message = format!("top_k is {asked}; write a number from 1 to {MAX_HITS}");
                return Err(Failure::new(FailureKind::Invalid, message).with_code("input"));
            };
            let index = tree.field("index").and_then(Tree::as_text);
            Ok(Value::map([("passages", self.host.index_search(index, text(tree, "query"), top_k).await?)]))
        }
        .boxed()
    }
}
