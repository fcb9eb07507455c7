//! Executors that come with the host, under dotted names. Each is a small file of its own over what the host offers anyway.

mod cache_invalidate;
mod declare;
mod endpoint;
mod files;
mod guarded;
mod http_request;
mod index_merge;
mod index_put;
mod index_search;
mod kv;
pub mod llm_chat;
mod llm_embed;
mod log;
mod mail_send;
mod sql;
mod transform;

use std::sync::Arc;

pub use self::cache_invalidate::Caches;
use self::guarded::Guarded;
use super::host_api::HostApi;
use super::index::{DEEPEST, Vector};
use crate::model::executor::{Description, ExecutorReference, Home};
use crate::model::failure::{Failure, FailureKind};
use crate::model::id::Digest;
use crate::model::job::Job;
use crate::model::port::{CatalogProblem, Clock, Executor};
use crate::model::types::{Origin, Type};
use crate::model::value::{Map, Tree, Value};

pub use crate::model::port::UNKNOWN_BUILTIN;
/// A built-in's `config` is not what it takes.
pub const WRONG_CONFIG: &str = "E0541";

/// The names, and whether one can be used without being declared under `executors:` because it needs no grant.
const NAMES: [(&str, bool); 17] = [
    (cache_invalidate::NAME, true),
    ("files.read", false),
    ("files.write", false),
    ("http.request", false),
    ("index.merge", true),
    ("index.put", false),
    ("index.search", false),
    ("kv.delete", false),
    ("kv.get", false),
    ("kv.set", false),
    ("llm.chat", true),
    ("llm.embed", true),
    ("log", true),
    ("mail.send", false),
    ("sql.execute", false),
    ("sql.query", false),
    ("transform", true),
];

/// What of [`Limits`](crate::model::grant::Limits) this home cannot keep, and why. A built-in is part of the program, and nobody but the
/// processor stands between it and the machine: what must be bounded in these belongs into a component or a script.
pub const NOT_KEPT: [(&str, &str); 4] = [
    ("memory", "a built-in takes its memory from the whole program"),
    ("stack", "a built-in that recurses without end ends the whole program"),
    ("call_depth", "a built-in that recurses without end ends the whole program"),
    ("operations", "a built-in is stopped only where it waits, so `wall` and a cancel hold for one that waits now and then"),
];

/// A built-in that a program adds to the host's own.
pub trait Builtin: Send + Sync {
    /// Its dotted name.
    fn name(&self) -> &'static str;

    /// Whether it can be used without being declared under `executors:`, because it needs no grant. False by default.
    fn needs_no_declaration(&self) -> bool {
        false
    }

    /// What it says of itself. Its `name` is the dotted name.
    fn description(&self) -> Description;

    /// Makes it ready for jobs. Its config is checked already against what the description says of it. A wall limit, a bound on the output
    /// and a guard against panics are put round it; of the other limits see [`NOT_KEPT`].
    ///
    /// # Errors
    /// What is wrong with its config.
    fn open(&self, reference: &ExecutorReference, host: Arc<dyn HostApi>) -> Result<Arc<dyn Executor>, CatalogProblem>;
}

/// The home of built-ins.
pub struct Builtins {
    clock: Arc<dyn Clock>,
    caches: Caches,
    added: Vec<Arc<dyn Builtin>>,
}

impl Builtins {
    /// A home whose built-ins take the time from `clock`.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, caches: Caches::default(), added: Vec::new() }
    }

    /// The home with one more built-in. The host's own names are taken: one that is added under such a name is never reached.
    #[must_use]
    pub fn with(mut self, builtin: Arc<dyn Builtin>) -> Self {
        self.added.push(builtin);
        self
    }

    /// Where `cache.invalidate` finds the caches.
    pub const fn caches(&self) -> &Caches {
        &self.caches
    }

    fn added(&self, name: &str) -> Option<&Arc<dyn Builtin>> {
        self.added.iter().find(|added| added.name() == name)
    }

    /// The names of all built-ins; those that need no declaration have `true`.
    pub fn names(&self) -> Vec<(&'static str, bool)> {
        let added = self.added.iter().map(|added| (added.name(), added.needs_no_declaration()));
        NAMES.into_iter().chain(added).collect()
    }

    /// What a built-in says of itself.
    ///
    /// # Errors
    /// [`UNKNOWN_BUILTIN`], with the name that was probably meant.
    pub fn describe(&self, reference: &ExecutorReference) -> Result<Description, CatalogProblem> {
        match name(reference) {
            cache_invalidate::NAME => Ok(cache_invalidate::description()),
            "files.read" => Ok(files::description(files::Verb::Read)),
            "files.write" => Ok(files::description(files::Verb::Write)),
            "http.request" => Ok(http_request::description()),
            "index.merge" => Ok(index_merge::description()),
            "index.put" => Ok(index_put::description()),
            "index.search" => Ok(index_search::description()),
            "kv.delete" => Ok(kv::description(kv::Verb::Delete)),
            "kv.get" => Ok(kv::description(kv::Verb::Get)),
            "kv.set" => Ok(kv::description(kv::Verb::Set)),
            "llm.chat" => Ok(llm_chat::description()),
            "llm.embed" => Ok(llm_embed::description()),
            "log" => Ok(log::description()),
            "mail.send" => Ok(mail_send::description()),
            "sql.execute" => Ok(sql::description(sql::Verb::Execute)),
            "sql.query" => Ok(sql::description(sql::Verb::Query)),
            "transform" => Ok(transform::description()),
            other => self.added(other).map(|added| added.description()).ok_or_else(|| self.unknown(other)),
        }
    }

    /// Makes a built-in ready for jobs.
    ///
    /// # Errors
    /// [`UNKNOWN_BUILTIN`], or [`WRONG_CONFIG`] with each field that does not fit.
    pub fn open(&self, reference: &ExecutorReference, host: Arc<dyn HostApi>) -> Result<Arc<dyn Executor>, CatalogProblem> {
        let description = self.describe(reference)?;
        let config = checked_config(&description, &reference.config)?;
        let clock = || Arc::clone(&self.clock);
        let executor: Arc<dyn Executor> = match name(reference) {
            cache_invalidate::NAME => Arc::new(cache_invalidate::CacheInvalidate::new(description, self.caches.clone())),
            "files.read" => Arc::new(files::Files::new(files::Verb::Read, description, host, reference.limits.output)),
            "files.write" => Arc::new(files::Files::new(files::Verb::Write, description, host, reference.limits.output)),
            "http.request" => Arc::new(http_request::HttpRequest::new(description, &config, host)?),
            "index.merge" => Arc::new(index_merge::IndexMerge::new(description)),
            "index.put" => Arc::new(index_put::IndexPut::new(description, host)),
            "index.search" => Arc::new(index_search::IndexSearch::new(description, host)),
            "kv.delete" => Arc::new(kv::Kv::new(kv::Verb::Delete, description, host)),
            "kv.get" => Arc::new(kv::Kv::new(kv::Verb::Get, description, host)),
            "kv.set" => Arc::new(kv::Kv::new(kv::Verb::Set, description, host)),
            "llm.chat" => Arc::new(llm_chat::LlmChat::new(description, &config, clock())?),
            "llm.embed" => Arc::new(llm_embed::LlmEmbed::new(description, &config, reference.name.clone(), clock())?),
            "log" => Arc::new(log::Log::new(description, reference.limits.log)),
            "mail.send" => Arc::new(mail_send::MailSend::new(description, &config, reference, clock())?),
            "sql.execute" => Arc::new(sql::Sql::new(sql::Verb::Execute, description, host)),
            "sql.query" => Arc::new(sql::Sql::new(sql::Verb::Query, description, host)),
            "transform" => Arc::new(transform::Transform::new(description)),
            other => {
                self.added(other).ok_or_else(|| self.unknown(other))?.open(&ExecutorReference { config, ..reference.clone() }, host)?
            }
        };
        Ok(Arc::new(Guarded::new(executor, reference.limits.clone(), clock())))
    }

    fn unknown(&self, name: &str) -> CatalogProblem {
        let names = self.names();
        let likeness = |known: &str| strsim::jaro_winkler(known, name);
        let likely = names.iter().map(|(known, _)| *known).max_by(|one, other| likeness(one).total_cmp(&likeness(other)));
        let help = match likely.filter(|known| likeness(known) > 0.8) {
            Some(likely) => format!("did you mean {likely}?"),
            None => format!("the built-ins are {}", names.iter().map(|(known, _)| *known).collect::<Vec<_>>().join(", ")),
        };
        CatalogProblem { code: UNKNOWN_BUILTIN, message: format!("there is no built-in {name:?}"), place: None, help: Some(help) }
    }
}

fn name(reference: &ExecutorReference) -> &str {
    if let Home::Builtin(name) = &reference.home { name } else { reference.name.as_str() }
}

fn wrong_config(name: &str, message: &str, help: &str) -> CatalogProblem {
    CatalogProblem {
        code: WRONG_CONFIG,
        message: format!("the config of {name} is wrong: {message}"),
        place: None,
        help: Some(help.to_owned()),
    }
}

/// The config with its defaults; an unknown field is an error, since it would be ignored silently.
fn checked_config(description: &Description, config: &Value) -> Result<Value, CatalogProblem> {
    let given = if config.is_null() { Value::from(Tree::Map(Map::new())) } else { config.clone() };
    let Some(wanted) = &description.config else {
        let empty = given.tree().as_map().is_some_and(Map::is_empty);
        return if empty { Ok(given) } else { Err(wrong_config(&description.name, "it takes none", "leave `config` out")) };
    };
    let help = format!("it takes {wanted}");
    let conformed = wanted.conform(&given, Origin::Data).map_err(|mismatches| {
        let places: Vec<_> = mismatches.iter().map(ToString::to_string).collect();
        wrong_config(&description.name, &places.join("; "), &help)
    })?;
    let unknown = given.tree().as_map().and_then(|fields| fields.keys().find(|name| wanted.field(name).is_none()));
    match unknown {
        Some(unknown) => Err(wrong_config(&description.name, &format!("there is no field {unknown:?}"), &help)),
        None => Ok(conformed),
    }
}

/// The job's input with its defaults, checked against what the built-in takes.
fn checked_input(description: &Description, job: &Job) -> Result<Value, Failure> {
    let conformed = description.input.as_ref().unwrap_or(&Type::Any).conform(&job.input, Origin::Data);
    conformed.map_err(|mismatches| {
        let places: Vec<_> = mismatches.iter().map(ToString::to_string).collect();
        let message = format!("the input of {} is wrong: {}", description.name, places.join("; "));
        Failure::new(FailureKind::Invalid, message).with_code("input")
    })
}

/// The digest of a built-in: of its name and the host's version.
fn digest(name: &str) -> Digest {
    Digest::of_parts([name.as_bytes(), env!("CARGO_PKG_VERSION").as_bytes()])
}

/// A vector among the fields of an input, if there is one.
fn vector(input: &Tree) -> Result<Option<Vector>, Failure> {
    let numbers = input.field("vector").and_then(Tree::as_list);
    numbers.map(|numbers| Vector::new(&numbers.iter().filter_map(Tree::as_float).collect::<Vec<_>>())).transpose()
}

/// `top_k` and `offset` of an input: which ranks of a search are asked for.
fn page(input: &Tree) -> Result<(u32, u32), Failure> {
    let number = |name: &str| input.field(name).and_then(Tree::as_int).and_then(|number| u32::try_from(number).ok());
    match (number("top_k"), number("offset")) {
        (Some(top_k @ 1..), Some(offset)) if top_k.saturating_add(offset) <= DEEPEST => Ok((top_k, offset)),
        _ => {
            let message = format!("top_k is a number from 1 and offset one from 0, together at most {DEEPEST}");
            Err(Failure::new(FailureKind::Invalid, message).with_code("input"))
        }
    }
}

/// A field of text; empty where there is none.
fn text<'a>(tree: &'a Tree, name: &str) -> &'a str {
    tree.field(name).and_then(Tree::as_text).unwrap_or_default()
}

#[cfg(test)]
mod tests;
