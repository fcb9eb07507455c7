//! `llm.chat`: answers a question from passages, word by word.
//!
//! Two providers: `extractive` quotes the passages and needs nothing else; `openai` asks any server that speaks that
//! protocol. Which one answers is decided by `base_url` alone.

mod citations;
mod config;
mod extractive;
mod openai;
mod passage;

use std::fmt;
use std::sync::Arc;

use futures_util::FutureExt;

use self::config::Config;
use self::passage::{Question, passages};
use super::declare::{describe, field, list, optional, record, with_default};
use super::endpoint::shown_url;
use super::{checked_input, wrong_config};
use crate::model::executor::Description;
use crate::model::failure::{Failure, FailureKind};
use crate::model::job::Job;
use crate::model::port::{Attempt, CatalogProblem, Clock, Executor, Processing};
use crate::model::types::Type;
use crate::model::value::{Tree, Value};

pub(super) use openai::of_error;

/// What the extractive provider says when the passages do not answer.
pub use extractive::NOTHING_FOUND;

/// Who answers: for the banner.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Provider {
    /// Quotes from the passages.
    Extractive,
    /// A server.
    OpenAi {
        /// The model, if one is configured; else the server's own choice.
        model: Option<String>,
        /// Its address, without anything secret.
        url: String,
    },
}

/// `extractive (no language model configured)` or `openai MODEL at URL`.
impl fmt::Display for Provider {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Extractive => formatter.write_str("extractive (no language model configured)"),
            Self::OpenAi { model: Some(model), url } => write!(formatter, "openai {model} at {url}"),
            Self::OpenAi { model: None, url } => write!(formatter, "openai at {url}"),
        }
    }
}

/// Which provider answers under this `config` of an `llm.chat`.
pub fn provider(config: &Value) -> Provider {
    let set = |name: &str| config.tree().field(name).and_then(Tree::as_text).map(str::trim).filter(|text| !text.is_empty());
    match set("base_url") {
        None => Provider::Extractive,
        Some(url) => Provider::OpenAi { model: set("model").map(str::to_owned), url: shown_url(url) },
    }
}

/// Input, output and config as the guide shows them.
pub(super) fn description() -> Description {
    let passage = record([
        field("text", Type::String, "what it says"),
        field("file", Type::String, "where it stands"),
        field("lines", Type::String, "on which lines, as 12-18"),
        optional("heading", Type::String, "the headings above it"),
        optional("id", Type::String, "its id; not used"),
        optional("score", Type::Float, "how well it fits; the order counts, not this"),
    ]);
    let turn = record([field("role", Type::String, "user or assistant"), field("text", Type::String, "what was said")]);
    let input = record([
        field("question", Type::String, "what to answer"),
        with_default("passages", list(passage), Tree::List(Vec::new()), "what to answer from, best first"),
        with_default("history", list(turn), Tree::List(Vec::new()), "what was said before, oldest first; openai only"),
    ]);
    let citation = record([
        field("number", Type::Int, "the number in brackets"),
        field("file", Type::String, "where the passage stands"),
        field("lines", Type::String, "on which lines"),
    ]);
    let usage = record([
        optional("prompt_tokens", Type::Int, "tokens of the question and the passages"),
        optional("completion_tokens", Type::Int, "tokens of the answer"),
    ]);
    let output = record([
        field("text", Type::String, "the answer: all tokens that were told as progress, joined"),
        field("provider", Type::String, "extractive or openai"),
        optional("model", Type::String, "the model that the server named"),
        field("citations", list(citation), "the passages that the answer names, each once"),
        optional("usage", usage, "what the server counted"),
    ]);
    let described = describe("llm.chat", "Answers a question from passages", input, output);
    Description { config: Some(config::declared()), ..described }
}

pub(super) struct LlmChat {
    description: Description,
    provider: Answerer,
}

enum Answerer {
    Extractive,
    OpenAi(Box<openai::OpenAi>),
}

impl LlmChat {
    /// Takes the config as it was checked against [`config::declared`].
    pub(super) fn new(description: Description, config: &Value, clock: Arc<dyn Clock>) -> Result<Self, CatalogProblem> {
        let wrong = |(message, help): (String, &str)| wrong_config("llm.chat", &message, help);
        let provider = match Config::read(config).map_err(wrong)? {
            None => Answerer::Extractive,
            Some(config) => Answerer::OpenAi(Box::new(openai::OpenAi::new(config, clock).map_err(wrong)?)),
        };
        Ok(Self { description, provider })
    }
}

impl Executor for LlmChat {
    fn description(&self) -> &Description {
        &self.description
    }

    fn process(&self, job: Arc<Job>, attempt: Attempt) -> Processing<'_> {
        async move {
            let input = checked_input(&self.description, &job)?;
            let question = Question::read(&input);
            if question.text.trim().is_empty() {
                return Err(Failure::new(FailureKind::Invalid, "the question is empty; ask something").with_code("input"));
            }
            let passages = passages(&input);
            match &self.provider {
                Answerer::Extractive => Ok(extractive::answer(&question, &passages, &*attempt.channel).await),
                Answerer::OpenAi(server) => server.answer(&question, &passages, &*attempt.channel).await,
            }
        }
        .boxed()
    }
}
