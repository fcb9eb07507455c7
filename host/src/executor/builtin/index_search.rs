//! `index.search`: the passages of an index that fit best, by words, by a vector, or by both.

use std::sync::Arc;

use futures_util::FutureExt;

use super::declare::{describe, field, list, optional, record, want, with_default};
use super::{checked_input, page, vector};
use crate::executor::host_api::HostApi;
use crate::executor::index::Search;
use crate::model::executor::Description;
use crate::model::failure::{Failure, FailureKind};
use crate::model::job::Job;
use crate::model::port::{Attempt, Executor, Processing};
use crate::model::types::Type;
use crate::model::value::{Tree, Value};

/// Input `{ index, query, vector, min_nearness, top_k, offset }`; output `{ passages: [{ id, text, file, lines, heading, score, rank, data }] }`.
pub(super) fn description() -> Description {
    let input = record([
        optional("index", Type::String, "the index, if more than one is granted"),
        optional("query", Type::String, "words; what holds more of them, and rarer ones, is better"),
        optional("vector", list(Type::Float), "what is near to it is better; with a query the two rankings are merged"),
        optional("min_nearness", Type::Float, "what the vector finds is at least so near: a cosine from -1 to 1; null: however far"),
        with_default("top_k", Type::Int, 6, "how many passages at most, from 1 to 1000"),
        with_default("offset", Type::Int, 0, "how many passages are passed over; with top_k at most 1000"),
    ]);
    let passage = record([
        field("id", Type::String, "file and number of the passage, as docs/guide.md#2"),
        field("text", Type::String, "the passage without its heading"),
        field("file", Type::String, "the file, or the id that the text was put in under"),
        field("lines", Type::String, "its lines, as 12-18"),
        field("heading", Type::String, "the headings above it, as Policies › Retry"),
        field("score", Type::Float, "larger is better; of use only to compare hits of one search"),
        field("rank", Type::Int, "its place among all hits, from 1, whatever page it is on"),
        field("data", Type::Any, "what the text was put in with; null if nothing"),
    ]);
    let output = record([field("passages", list(passage), "best first")]);
    let described = describe("index.search", "Finds passages in an index", input, output);
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
            let (top_k, offset) = page(tree)?;
            let query = tree.field("query").and_then(Tree::as_text);
            let min_nearness = tree.field("min_nearness").and_then(Tree::as_float);
            let search = Search { text: query.map(str::to_owned), vector: vector(tree)?, min_nearness, top_k, offset };
            if search.text.is_none() && search.vector.is_none() {
                return Err(
                    Failure::new(FailureKind::Invalid, "a search goes by query, by vector, or by both; give one").with_code("input")
                );
            }
            let index = tree.field("index").and_then(Tree::as_text);
            Ok(Value::map([("passages", self.host.index_find(index, search).await?)]))
        }
        .boxed()
    }
}
