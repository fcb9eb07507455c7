//! Finds the passages of granted documents that bear on a question: asks the index for its words, and tidies what comes back.

mod find;
mod passage;
mod query;

use pipehost_plugin::{Description, Executor, Failure, Job, Json, export, index, json, log};
use serde::Deserialize;

use find::Find;

/// The most passages that may be asked for.
const MOST: u32 = 50;

struct Retrieve;

#[derive(Deserialize)]
struct Input {
    query: String,
    #[serde(default)]
    top_k: Option<u32>,
}

impl Executor for Retrieve {
    fn describe() -> Description {
        Description::new("retrieve", "Finds the passages of the granted documents that bear on a question")
            .with_input(json!({
                "type": "object",
                "required": ["query"],
                "properties": {
                    "query": { "type": "string", "description": "a question or a few words" },
                    "top_k": { "type": "integer", "default": 6, "description": "the most passages wanted, from 1 to 50" },
                },
            }))
            .with_output(json!({
                "type": "object",
                "required": ["passages"],
                "properties": {
                    "passages": {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "required": ["id", "text", "file", "lines", "heading", "score"],
                            "properties": {
                                "id": { "type": "string" },
                                "text": { "type": "string" },
                                "file": { "type": "string" },
                                "lines": { "type": "string" },
                                "heading": { "type": "string" },
                                "score": { "type": "number" },
                            },
                        },
                    },
                },
            }))
            .wanting("index", "to search the documents for the words of the question")
    }

    fn process(job: Job) -> Result<Json, Failure> {
        let Input { query, top_k } = job.input()?;
        let top_k = top_k.unwrap_or(6);
        if !(1..=MOST).contains(&top_k) {
            return Err(Failure::invalid(format!("`top_k` is {top_k}: ask for 1 to {MOST} passages")));
        }
        let words = query::words(&query);
        if words.is_empty() {
            return Ok(json!({ "passages": [] }));
        }
        // Twice as many as are wanted, because neighbours become one passage and weak finds are dropped.
        let finds: Vec<Find> = index::search(None, &words.join(" "), top_k * 2)?;
        let asked = finds.len();
        let passages = passage::tidy(finds, top_k as usize);
        log::debug(&format!("{asked} finds became {} passages", passages.len()));
        Ok(json!({ "passages": passages.iter().map(Find::to_json).collect::<Vec<_>>() }))
    }
}

export!(Retrieve);
