//! `index.merge`: one ranked list of several, by reciprocal rank.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::FutureExt;

use super::checked_input;
use super::declare::{describe, field, list, record, with_default};
use crate::executor::index::{DEEPEST, K, merge};
use crate::model::executor::Description;
use crate::model::failure::{Failure, FailureKind};
use crate::model::job::Job;
use crate::model::port::{Attempt, Executor, Processing};
use crate::model::types::Type;
use crate::model::value::{Tree, Value};

/// The most hits of all lists together.
const MAX_MERGED: usize = 20_000;

/// Input `{ lists, top_k, offset, k }`; output `{ passages }`: each hit as the first list that has it says, with the new score and rank.
pub(super) fn description() -> Description {
    let input = record([
        field("lists", list(Type::Any), "lists of hits, each best first and each hit a map with an id; null, as of a lost branch, is none"),
        with_default("top_k", Type::Int, 6, "how many hits at most, from 1 to 1000"),
        with_default("offset", Type::Int, 0, "how many hits are passed over"),
        with_default("k", Type::Float, K, "how little the first places count before the others"),
    ]);
    let output = record([field("passages", list(Type::Any), "each id once, best first, with score and rank")]);
    describe("index.merge", "Merges ranked lists by reciprocal rank", input, output)
}

pub(super) struct IndexMerge {
    description: Description,
}

impl IndexMerge {
    pub(super) fn new(description: Description) -> Self {
        Self { description }
    }
}

impl Executor for IndexMerge {
    fn description(&self) -> &Description {
        &self.description
    }

    fn process(&self, job: Arc<Job>, _: Attempt) -> Processing<'_> {
        let merged = checked_input(&self.description, &job).and_then(|input| merged(input.tree()));
        std::future::ready(merged).boxed()
    }
}

fn merged(input: &Tree) -> Result<Value, Failure> {
    let (top_k, offset) = super::page(input)?;
    let k =
        input.field("k").and_then(Tree::as_float).filter(|k| k.is_finite() && *k >= 0.0).ok_or_else(|| wrong("k is a number from 0"))?;
    let mut hits: HashMap<&str, &Tree> = HashMap::new();
    let mut ranked: Vec<Vec<&str>> = Vec::new();
    let mut count = 0_usize;
    for list in input.field("lists").and_then(Tree::as_list).unwrap_or_default() {
        if matches!(list, Tree::Null) {
            continue;
        }
        let Some(items) = list.as_list() else { return Err(wrong("each of lists is a list of hits, or null")) };
        count += items.len();
        if count > MAX_MERGED {
            return Err(wrong(&format!("the lists have more than {MAX_MERGED} hits together")));
        }
        let mut ids = Vec::with_capacity(items.len());
        for hit in items {
            let Some(id) = hit.field("id").and_then(Tree::as_text) else { return Err(wrong("each hit is a map with an id of text")) };
            hits.entry(id).or_insert(hit);
            ids.push(id);
        }
        ranked.push(ids);
    }
    let page = merge(&ranked, k).into_iter().zip(1_i64..).skip(offset as usize).take(top_k as usize);
    let passages = page.filter_map(|((id, score), rank)| {
        let mut hit = hits.get(id)?.as_map()?.clone();
        hit.insert("score".to_owned(), Tree::Float(score));
        hit.insert("rank".to_owned(), Tree::Int(rank));
        Some(Tree::Map(hit))
    });
    Ok(Value::map([("passages", Value::from(Tree::List(passages.collect())))]))
}

fn wrong(message: &str) -> Failure {
    Failure::new(FailureKind::Invalid, format!("{message}; a search looks {DEEPEST} hits deep")).with_code("input")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(json: &str) -> Result<String, Failure> {
        let mut input = Value::from_text(json).expect("JSON").tree().as_map().expect("a map").clone();
        for (name, value) in [("top_k", Tree::Int(6)), ("offset", Tree::Int(0)), ("k", Tree::Float(60.0))] {
            input.entry(name.to_owned()).or_insert(value);
        }
        merged(&Tree::Map(input)).map(|merged| merged.text().to_owned())
    }

    #[test]
    fn lists_are_merged_and_a_lost_branch_is_none() {
        let merged = run(r#"{"lists":[[{"id":"a","t":1},{"id":"b"}],null,[{"id":"b"},{"id":"c"}]],"k":0.0}"#);
        let expected =
            r#"{"passages":[{"id":"b","score":1.5,"rank":1},{"id":"a","t":1,"score":1.0,"rank":2},{"id":"c","score":0.5,"rank":3}]}"#;
        assert_eq!(merged.as_deref(), Ok(expected));
        let page = run(r#"{"lists":[[{"id":"a"},{"id":"b"}]],"offset":1,"k":0.0}"#);
        assert_eq!(page.as_deref(), Ok(r#"{"passages":[{"id":"b","score":0.5,"rank":2}]}"#));
    }

    #[test]
    fn what_is_no_list_of_hits_is_refused() {
        for json in
            [r#"{"lists":[1]}"#, r#"{"lists":[[1]]}"#, r#"{"lists":[[{"id":1}]]}"#, r#"{"lists":[],"k":-1.0}"#, r#"{"lists":[],"top_k":0}"#]
        {
            assert_eq!(run(json).expect_err(json).kind, FailureKind::Invalid);
        }
        let many: Vec<String> = (0..=MAX_MERGED).map(|id| format!(r#"{{"id":"{id}"}}"#)).collect();
        assert!(run(&format!(r#"{{"lists":[[{}]]}}"#, many.join(","))).is_err());
    }
}
