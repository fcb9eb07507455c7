//! The `config` of `llm.chat`.

use std::time::Duration;

use reqwest::Url;

use super::super::declare::{optional, record, with_default};
use super::super::endpoint::{api_key, endpoint};
use crate::model::policy::parse_duration;
use crate::model::secret::Secret;
use crate::model::types::Type;
use crate::model::value::{Tree, Value};

/// The types and defaults of all fields.
pub(super) fn declared() -> Type {
    record([
        optional(
            "base_url",
            Type::String,
            "an OpenAI-compatible server, as http://localhost:11434/v1: taken as written, with /chat/completions added; null or empty: extractive",
        ),
        optional("model", Type::String, "the model to ask for; null: the server's own"),
        optional("api_key", Type::Secret, "sent to that server alone, as a bearer token"),
        optional("system", Type::String, "what the model is told first, instead of how to cite passages"),
        with_default("idle_timeout", Type::Duration, "60s", "how long the server may say nothing, also before its first token"),
        optional("max_tokens", Type::Int, "the longest answer, in tokens"),
        optional("temperature", Type::Float, "from 0 to 2; null: the server's own"),
    ])
}

/// What the `openai` provider is told.
#[derive(Clone, Debug)]
pub(super) struct Config {
    /// Where to ask.
    pub(super) url: Url,
    pub(super) model: Option<String>,
    pub(super) api_key: Option<Secret>,
    pub(super) system: Option<String>,
    pub(super) idle_timeout: Duration,
    pub(super) max_tokens: Option<i64>,
    pub(super) temperature: Option<f64>,
}

impl Config {
    /// Reads a config that fits [`declared`]; `None` if there is no `base_url`.
    ///
    /// # Errors
    /// What is wrong, and the way out.
    pub(super) fn read(config: &Value) -> Result<Option<Self>, (String, &'static str)> {
        let tree = config.tree();
        let set = |name: &str| tree.field(name).and_then(Tree::as_text).map(str::trim).filter(|text| !text.is_empty());
        let duration = set("idle_timeout").unwrap_or("60s");
        let idle_timeout = parse_duration(duration).map_err(|why| (format!("idle_timeout: {why}"), "write a duration, as 60s"))?;
        if idle_timeout.is_zero() {
            return Err(("idle_timeout is 0s, so that no answer would be in time".to_owned(), "write a duration, as 60s"));
        }
        let max_tokens = tree.field("max_tokens").and_then(Tree::as_int);
        if max_tokens.is_some_and(|tokens| tokens < 1) {
            return Err(("max_tokens is less than 1".to_owned(), "write how many tokens an answer may have, as 1000"));
        }
        let temperature = tree.field("temperature").and_then(Tree::as_float);
        if temperature.is_some_and(|temperature| !(0.0..=2.0).contains(&temperature)) {
            return Err(("temperature is not between 0 and 2".to_owned(), "write a number from 0 to 2"));
        }
        let Some(base_url) = set("base_url") else { return Ok(None) };
        let text = |name: &str| set(name).map(str::to_owned);
        Ok(Some(Self {
            url: endpoint(base_url, "/chat/completions")?,
            model: text("model"),
            api_key: api_key(tree),
            system: text("system"),
            idle_timeout,
            max_tokens,
            temperature,
        }))
    }
}
