//! How a script fails: what it throws, what the engine stops it with, and what Rhai finds wrong with it.

use std::path::Path;
use std::time::Duration;

use rhai::{Dynamic, EvalAltResult, Map, Module, Position};

use crate::executor::limit::Limit;
use crate::model::failure::{Failure, FailureKind};
use crate::model::grant::Limits;
use crate::model::value::Tree;
use crate::script::{signature_of, tree_of, value_of};

/// A failure as scripts hold it: thrown, caught, looked at and thrown on.
#[derive(Clone, Debug)]
pub(super) struct Thrown(pub(super) Failure);

/// Why the host stopped a script.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stop {
    /// Nobody wants the result any more.
    Cancelled,
    /// The time that the attempt was given is over.
    Deadline,
    /// The wall clock of `limits` is over.
    Wall,
    /// It takes too long to be run in the caller's own task, and has told nobody anything yet: it may begin anew elsewhere.
    TooLong,
}

impl Stop {
    /// As an error that no `catch` can take.
    pub(super) fn error(self) -> Box<EvalAltResult> {
        EvalAltResult::ErrorTerminated(Dynamic::from(self), Position::NONE).into()
    }
}

/// A failure as an error that a script can catch.
pub(super) fn thrown(failure: Failure) -> Box<EvalAltResult> {
    EvalAltResult::ErrorRuntime(Dynamic::from(Thrown(failure)), Position::NONE).into()
}

/// Registers a constructor under the name of each kind, and what a caught failure tells.
pub(super) fn register(module: &mut Module) {
    module.set_custom_type::<Thrown>("failure");
    for kind in FailureKind::ALL {
        module.set_native_fn(kind.as_str(), move |about: Dynamic| Ok(Thrown(construct(kind, &about))));
        module.set_native_fn(kind.as_str(), move |about: Dynamic, retry_after: Dynamic| {
            let mut failure = construct(kind, &about);
            failure.retry_after = seconds(&tree_of(&retry_after)).or(failure.retry_after);
            Ok(Thrown(failure))
        });
    }
    for name in ["kind", "code", "message", "status", "retry_after", "retryable", "step", "cause"] {
        module.set_getter_fn(name, move |thrown: &mut Thrown| {
            let value = thrown.0.to_value();
            Ok(value.field(name).map(|field| crate::script::dynamic_of(&field)).unwrap_or_default())
        });
    }
    for name in ["to_string", "to_debug"] {
        module.set_native_fn(name, |thrown: &mut Thrown| Ok(thrown.0.to_string()));
    }
}

fn seconds(tree: &Tree) -> Option<Duration> {
    Duration::try_from_secs_f64(tree.as_float()?).ok()
}

fn construct(kind: FailureKind, about: &Dynamic) -> Failure {
    match about.as_map_ref() {
        Ok(map) => of_map(kind, &map),
        Err(_) => Failure::new(kind, text(about)),
    }
}

fn of_map(kind: FailureKind, map: &Map) -> Failure {
    let field = |name: &str| map.get(name).filter(|field| !field.is_unit());
    let mut failure = Failure::new(kind, field("message").map_or_else(|| kind.to_string(), text));
    failure.code = field("code").map(text);
    failure.status = field("status").and_then(|status| u16::try_from(status.as_int().ok()?).ok());
    failure.retry_after = field("retry_after").and_then(|wait| seconds(&tree_of(wait)));
    failure
}

/// As people read it: text as it is, anything else as JSON.
pub(super) fn text(dynamic: &Dynamic) -> String {
    match dynamic.as_immutable_string_ref() {
        Ok(text) => text.to_string(),
        Err(_) => value_of(dynamic.clone()).text().to_owned(),
    }
}

/// What a thrown value amounts to: a failure as it is, a map with a known `kind` likewise, anything else `failed`.
fn of_thrown(value: &Dynamic) -> Failure {
    if let Some(thrown) = value.read_lock::<Thrown>() {
        return thrown.0.clone();
    }
    if let Ok(map) = value.as_map_ref()
        && let Some(kind) = map.get("kind").and_then(|kind| FailureKind::from_name(&text(kind)))
    {
        return of_map(kind, &map);
    }
    Failure::new(FailureKind::Failed, text(value))
}

/// Where a script stands, for messages: the file and the line of it on which the script begins.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Source {
    pub(super) file: std::path::PathBuf,
    pub(super) first_line: usize,
}

impl Source {
    /// Line and column in the file, from 1.
    pub(super) fn place(&self, position: Position) -> (usize, usize) {
        (position.line().unwrap_or(1) + self.first_line - 1, position.position().unwrap_or(1).max(1))
    }
}

/// Why a script ended without a value; `None` if it shall begin anew elsewhere. `who` is whom a limit names.
pub(super) fn of_error(error: EvalAltResult, source: &Source, limits: &Limits, who: &str) -> Option<Failure> {
    of_inner(error, Position::NONE, source, None, &|limit| limit.failure(limits, who))
}

/// What a limit amounts to for the script that came up against it.
type OfLimit<'a> = &'a dyn Fn(Limit) -> Failure;

fn of_inner(error: EvalAltResult, outer: Position, source: &Source, module: Option<String>, of_limit: OfLimit<'_>) -> Option<Failure> {
    let limit = |limit: Limit| Some(of_limit(limit));
    match error {
        EvalAltResult::ErrorInFunctionCall(_, from, inner, position) => {
            let module = if from.is_empty() { module } else { Some(from) };
            let position = if position.is_none() { outer } else { position };
            of_inner(*inner, position, source, module, of_limit)
        }
        EvalAltResult::ErrorInModule(name, inner, position) => of_inner(*inner, position, source, Some(name), of_limit),
        EvalAltResult::ErrorRuntime(value, _) => Some(of_thrown(&value)),
        EvalAltResult::ErrorTerminated(token, _) => match token.try_cast::<Stop>() {
            Some(Stop::TooLong) => None,
            Some(Stop::Deadline) => Some(Failure::new(FailureKind::Timeout, "the time for this attempt is over")),
            Some(Stop::Wall) => limit(Limit::Wall),
            Some(Stop::Cancelled) | None => Some(Failure::new(FailureKind::Cancelled, "nobody wants the result any more")),
        },
        EvalAltResult::ErrorTooManyOperations(_) => limit(Limit::Operations),
        EvalAltResult::ErrorStackOverflow(_) => limit(Limit::CallDepth),
        // The bound on each kind of value follows from the memory.
        EvalAltResult::ErrorDataTooLarge(what, _) if what.contains("string") => limit(Limit::Text),
        EvalAltResult::ErrorDataTooLarge(..) => limit(Limit::Parts),
        EvalAltResult::ErrorTooManyVariables(_) => limit(Limit::Variables),
        EvalAltResult::ErrorTooManyModules(_) => limit(Limit::Modules),
        mut other => {
            let own = other.take_position();
            let position = if own.is_none() { outer } else { own };
            let place = match module {
                Some(module) => {
                    let line = position.line().unwrap_or(1);
                    format!("{}:{line}:{}", Path::new(&module).display(), position.position().unwrap_or(1).max(1))
                }
                None => {
                    let (line, column) = source.place(position);
                    format!("{}:{line}:{column}", source.file.display())
                }
            };
            Some(Failure::new(FailureKind::Bug, format!("{place}: {}", plain(&other))).with_code("script_error"))
        }
    }
}

/// What Rhai says, with the names of types that scripts know.
fn plain(error: &EvalAltResult) -> String {
    let EvalAltResult::ErrorFunctionNotFound(signature, _) = error else { return error.to_string() };
    format!("there is no function {}", signature_of(signature))
}
