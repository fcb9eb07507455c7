//! The `config` of `llm.chat`.

use std::time::Duration;

use reqwest::Url;

use super::super::declare::{optional, record, with_default};
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
        let api_key = match tree.field("api_key") {
            Some(Tree::Secret(secret)) if !secret.reveal().trim().is_empty() => Some(secret.clone()),
            _ => None,
        };
        let text = |name: &str| set(name).map(str::to_owned);
        Ok(Some(Self { url: url(base_url)?, model: text("model"), api_key, system: text("system"), idle_timeout, max_tokens, temperature }))
    }
}

fn url(base_url: &str) -> Result<Url, (String, &'static str)> {
    const HELP: &str = "write it with scheme and path, as http://localhost:11434/v1";
    let shown = shown_url(base_url);
    let mut url = Url::parse(base_url).map_err(|error| (format!("base_url {shown:?}: {error}"), HELP))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err((format!("base_url {shown:?} is no web address"), HELP));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(("base_url holds a user or a password".to_owned(), "give the key as api_key: '${secret.OPENAI_API_KEY}'"));
    }
    url.set_fragment(None);
    let path = url.path().trim_end_matches('/').to_owned();
    if !path.ends_with("/chat/completions") {
        url.set_path(&format!("{path}/chat/completions"));
    }
    Ok(url)
}

/// An address as it may be shown: without user, password, query and fragment, any of which may hold a key.
pub(super) fn shown_url(url: &str) -> String {
    let end = url.find(['?', '#']).unwrap_or(url.len());
    let bare = &url[..end];
    match bare.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
            let host = authority.rsplit('@').next().unwrap_or(authority);
            format!("{scheme}://{host}{path}")
        }
        None => bare.rsplit('@').next().unwrap_or(bare).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_taken_as_written() {
        for (written, asked) in [
            ("http://localhost:11434/v1", "http://localhost:11434/v1/chat/completions"),
            ("http://localhost:11434/v1/", "http://localhost:11434/v1/chat/completions"),
            ("https://api.example.com", "https://api.example.com/chat/completions"),
            ("https://api.example.com/chat/completions", "https://api.example.com/chat/completions"),
            ("https://api.example.com/x?api-version=1#y", "https://api.example.com/x/chat/completions?api-version=1"),
        ] {
            assert_eq!(url(written).map(String::from).as_deref(), Ok(asked));
        }
    }

    #[test]
    fn a_wrong_address_is_refused_without_its_secrets() {
        for written in ["localhost:11434", "not a url", "ftp://x/y", "http://me:hunter2@x/v1", "file:///etc/passwd"] {
            let (message, help) = url(written).expect_err(written);
            assert!(!message.contains("hunter2") && !help.is_empty(), "{message}");
        }
        assert_eq!(shown_url("https://me:hunter2@host:1/v1?key=hunter2"), "https://host:1/v1");
    }
}
