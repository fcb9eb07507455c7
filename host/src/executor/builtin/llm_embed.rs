//! `llm.embed`: vectors of texts, so that near ones have near vectors.
//!
//! Two providers: `hashed_words` counts words and pieces of words and understands nothing; `openai` asks any server that speaks that
//! protocol. Which one answers is decided by `base_url` alone, as in `llm.chat`.

mod hashed_words;
mod openai;

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use reqwest::Url;

use super::declare::{describe, field, list, optional, record, with_default};
use super::endpoint::{api_key, endpoint};
use super::{checked_input, wrong_config};
use crate::executor::index::MAX_DIMENSIONS;
use crate::model::executor::Description;
use crate::model::failure::{Failure, FailureKind};
use crate::model::id::ExecutorName;
use crate::model::job::Job;
use crate::model::policy::parse_duration;
use crate::model::port::{Attempt, CatalogProblem, Clock, Executor, Processing};
use crate::model::secret::Secret;
use crate::model::types::Type;
use crate::model::value::{Tree, Value};

/// The most texts of one job.
const MAX_TEXTS: usize = 2_048;
/// How many numbers a vector of `hashed_words` has, unless the config says otherwise.
const DIMENSIONS: usize = 256;

/// Input `{ texts }`; output `{ vectors, provider, model, dimensions }`.
pub(super) fn description() -> Description {
    let input = record([field("texts", list(Type::String), "what to embed: at most 2048 texts")]);
    let output = record([
        field("vectors", list(list(Type::Float)), "one for each text, in their order"),
        field("provider", Type::String, "hashed_words or openai"),
        optional("model", Type::String, "the model that the server named"),
        field("dimensions", Type::Int, "how many numbers each vector has; 0 where there are none"),
    ]);
    let config = record([
        optional(
            "base_url",
            Type::String,
            "an OpenAI-compatible server, as http://localhost:11434/v1: taken as written, with /embeddings added; null or empty: hashed_words",
        ),
        optional("model", Type::String, "the model to ask for; null: the server's own"),
        optional("api_key", Type::Secret, "sent to that server alone, as a bearer token"),
        optional("dimensions", Type::Int, "how many numbers a vector has; null: the model's own, or 256"),
        with_default("batch", Type::Int, 64, "how many texts are sent at once, from 1 to 2048"),
        with_default("idle_timeout", Type::Duration, "60s", "how long the server may say nothing"),
    ]);
    let described = describe("llm.embed", "Makes vectors of texts", input, output);
    Description { config: Some(config), ..described }
}

/// The config, read.
struct Config {
    url: Option<Url>,
    model: Option<String>,
    api_key: Option<Secret>,
    dimensions: Option<usize>,
    batch: usize,
    idle: Duration,
}

impl Config {
    fn read(config: &Value) -> Result<Self, (String, &'static str)> {
        let tree = config.tree();
        let set = |name: &str| tree.field(name).and_then(Tree::as_text).map(str::trim).filter(|text| !text.is_empty());
        let number = |name: &str, most: usize| match tree.field(name).and_then(Tree::as_int) {
            None => Ok(None),
            Some(number) => match usize::try_from(number).ok().filter(|number| (1..=most).contains(number)) {
                Some(number) => Ok(Some(number)),
                None => {
                    Err((format!("{name} is {number}, and a number from 1 to {most} is wanted"), "write such a number, or leave it out"))
                }
            },
        };
        let idle = parse_duration(set("idle_timeout").unwrap_or("60s")).ok().filter(|idle| !idle.is_zero());
        let Some(idle) = idle else { return Err(("idle_timeout is no duration above 0".to_owned(), "write a duration, as 60s")) };
        Ok(Self {
            url: set("base_url").map(|base_url| endpoint(base_url, "/embeddings")).transpose()?,
            model: set("model").map(str::to_owned),
            api_key: api_key(tree),
            dimensions: number("dimensions", MAX_DIMENSIONS)?,
            batch: number("batch", MAX_TEXTS)?.unwrap_or(64),
            idle,
        })
    }
}

/// Vectors and who made them.
struct Embedded {
    vectors: Vec<Vec<f64>>,
    model: Option<String>,
}

enum Provider {
    HashedWords(usize),
    OpenAi(Box<openai::OpenAi>),
}

pub(super) struct LlmEmbed {
    description: Description,
    provider: Provider,
}

impl LlmEmbed {
    /// Takes the config as it was checked against what [`description`] says.
    pub(super) fn new(
        description: Description,
        config: &Value,
        executor: ExecutorName,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, CatalogProblem> {
        let wrong = |(message, help): (String, &str)| wrong_config("llm.embed", &message, help);
        let config = Config::read(config).map_err(wrong)?;
        let provider = match &config.url {
            None => Provider::HashedWords(config.dimensions.unwrap_or(DIMENSIONS)),
            Some(url) => Provider::OpenAi(Box::new(openai::OpenAi::new(url.clone(), config, executor, clock).map_err(wrong)?)),
        };
        Ok(Self { description, provider })
    }
}

impl Executor for LlmEmbed {
    fn description(&self) -> &Description {
        &self.description
    }

    fn process(&self, job: Arc<Job>, _: Attempt) -> Processing<'_> {
        async move {
            let input = checked_input(&self.description, &job)?;
            let texts = input.tree().field("texts").and_then(Tree::as_list).unwrap_or_default();
            let texts: Vec<&str> = texts.iter().filter_map(Tree::as_text).collect();
            if texts.len() > MAX_TEXTS {
                let message = format!("{} texts are given, and {MAX_TEXTS} are the most; embed them in several jobs", texts.len());
                return Err(Failure::new(FailureKind::Invalid, message).with_code("input"));
            }
            let (provider, embedded) = match &self.provider {
                Provider::HashedWords(dimensions) => {
                    let vectors = texts.iter().map(|text| hashed_words::vector(text, *dimensions)).collect();
                    ("hashed_words", Embedded { vectors, model: None })
                }
                Provider::OpenAi(server) => ("openai", server.embed(&texts).await?),
            };
            let dimensions = embedded.vectors.first().map_or(0, Vec::len);
            let vector = |numbers: Vec<f64>| Tree::List(numbers.into_iter().map(Tree::Float).collect());
            Ok(Value::map([
                ("vectors", Value::from(Tree::List(embedded.vectors.into_iter().map(vector).collect()))),
                ("provider", Value::string(provider)),
                ("model", Value::from(embedded.model.map_or(Tree::Null, Tree::Text))),
                ("dimensions", Value::from(Tree::Int(i64::try_from(dimensions).unwrap_or(i64::MAX)))),
            ]))
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_config_is_refused_without_its_secrets() {
        for config in [
            r#"{"base_url":"nowhere"}"#,
            r#"{"base_url":"ftp://x/hunter2"}"#,
            r#"{"base_url":"http://me:hunter2@x/v1"}"#,
            r#"{"dimensions":0}"#,
            r#"{"dimensions":9000}"#,
            r#"{"batch":0}"#,
            r#"{"idle_timeout":"0s"}"#,
        ] {
            let (message, _) = Config::read(&Value::from_text(config).expect("JSON")).err().expect(config);
            assert!(!message.contains("hunter2"), "{message}");
        }
    }
}
