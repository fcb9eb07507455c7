//! From a file to code that can be instantiated: read, compiled or taken from the cache, checked against the contract, described.

use std::path::Path;
use std::sync::Arc;

use wasmtime::Engine;
use wasmtime::component::{Component, HasSelf, Linker};

use super::abi::{self, INTERFACES, PACKAGE, Prepared, VERSION, types};
use super::engines::Kind;
use super::guest::Guest;
use super::problem::{self, first_line};
use super::{Shared, cache};
use crate::files::{Files, Found};
use crate::model::executor::{CodeFile, Description, Want};
use crate::model::grant::Limits;
use crate::model::id::Digest;
use crate::model::port::CatalogProblem;
use crate::model::types::Type;

/// The largest file that is taken for a component. A Python interpreter with its libraries has some 40 MiB.
const LARGEST: u64 = 256 << 20;

/// How many ticks a guest may take to say what it is: some three seconds.
const TICKS_TO_DESCRIBE: u64 = 600;

/// How much a guest may say of itself, in bytes.
const LONGEST_DESCRIPTION: usize = 1 << 20;

/// The longest name and the longest sentence of a description, in characters: they stand in messages.
const LONGEST_NAME: usize = 100;
const LONGEST_SUMMARY: usize = 500;

/// A component's file as it was read.
pub(super) struct Source {
    pub(super) bytes: Arc<[u8]>,
    pub(super) digest: Digest,
}

/// What makes code the same: the same bytes for the same engine.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct CodeKey {
    digest: Digest,
    kind: Kind,
}

impl CodeKey {
    pub(super) fn new(digest: Digest, limits: &Limits, reuse: bool) -> Self {
        Self { digest, kind: Kind::of(limits, reuse) }
    }
}

/// A component that is ready to be instantiated.
pub(super) struct Code {
    pub(super) prepared: Prepared<Guest>,
    pub(super) engine: Engine,
    description: Description,
}

impl Code {
    /// What it says of itself, as read from this file; an executor at work has no use for the file.
    pub(super) fn description(&self, read_from: Option<CodeFile>) -> Description {
        Description { files: read_from.into_iter().collect(), ..self.description.clone() }
    }
}

/// Reads a component's file.
pub(super) fn read(files: &Files, path: &Path) -> Result<Source, CatalogProblem> {
    let unreadable = |error: std::io::Error| problem::unreadable(path, &error.to_string());
    match files.look(path).map_err(unreadable)? {
        Found::File(_) => {}
        Found::Folder => return Err(problem::unreadable(path, "it is a folder")),
        Found::Other => return Err(problem::unreadable(path, "it is no regular file")),
    }
    let bytes = files.read(path, LARGEST).map_err(unreadable)?;
    if bytes.len() as u64 > LARGEST {
        return Err(problem::unreadable(path, "it has more than 256 MiB"));
    }
    let digest = Digest::of(&bytes);
    Ok(Source { bytes, digest })
}

/// Makes code of a file's content, on a thread of its own: compiling takes long, and the caller may be a thread of the runtime that
/// cannot begin another one.
pub(super) fn load(shared: &Shared, source: &Source, key: &CodeKey, limits: &Limits, path: &Path) -> Result<Code, CatalogProblem> {
    check_kind(&source.bytes, path)?;
    let work = || {
        let (engine, component) = compile(shared, source, key.kind, limits, path)?;
        let imports = check_contract(&component, &engine, path)?;
        let prepared = prepare(&component, &engine, path)?;
        let said = {
            let _one_at_a_time = shared.describing.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            describe(shared, &prepared, &engine, limits, path)?
        };
        let description = description(said, imports, source.digest, path)?;
        Ok(Code { prepared, engine, description })
    };
    std::thread::scope(|scope| match scope.spawn(work).join() {
        Ok(code) => code,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

fn check_kind(bytes: &[u8], path: &Path) -> Result<(), CatalogProblem> {
    match bytes {
        // The fourth pair of bytes tells a component from a core module; the third is a version that the compiler looks at.
        [b'\0', b'a', b's', b'm', _, _, 1, 0, ..] => Ok(()),
        [b'\0', b'a', b's', b'm', _, _, 0, 0, ..] => Err(problem::core_module(path)),
        other => Err(problem::not_wasm(path, other)),
    }
}

fn compile(shared: &Shared, source: &Source, kind: Kind, limits: &Limits, path: &Path) -> Result<(Engine, Component), CatalogProblem> {
    let attempt = |kind: Kind| -> wasmtime::Result<(Engine, Component)> {
        let engine = shared.engines.get(kind)?;
        let component = cache::compile(shared.cache(), &engine, source.digest, &source.bytes)?;
        Ok((engine, component))
    };
    // What is sound and does not fit a slot of the pool, as with many memories, is allocated on demand.
    let compiled = match (attempt(kind), kind) {
        (Err(_), Kind::Pooled) => attempt(Kind::on_demand(limits)),
        (result, _) => result,
    };
    compiled.map_err(|error| problem::broken(path, &error))
}

/// What a component imports, if this host has all of it.
fn check_contract(component: &Component, engine: &Engine, path: &Path) -> Result<Vec<String>, CatalogProblem> {
    let kind = component.component_type();
    let imports: Vec<&str> = kind.imports(engine).map(|(name, _)| name).collect();
    let exports: Vec<&str> = kind.exports(engine).map(|(name, _)| name).collect();
    if let Some(other) = imports.iter().chain(&exports).filter_map(|name| of_contract(name)).find(|(_, version)| *version != VERSION) {
        return Err(problem::other_version(path, other.1));
    }
    let known = |name: &str| of_contract(name).is_some_and(|(interface, _)| INTERFACES.contains(&interface));
    if let Some(unknown) = imports.iter().find(|name| !known(name)) {
        return Err(problem::unknown_import(path, unknown));
    }
    if let Some(missing) = ["describe", "process"].into_iter().find(|name| !exports.contains(name)) {
        return Err(problem::no_executor(path, &format!("it does not export `{missing}`")));
    }
    Ok(imports.into_iter().filter(|name| of_contract(name).is_none_or(|(interface, _)| interface != "types")).map(str::to_owned).collect())
}

/// The interface and the version of a name as `pipehost:executor/run@0.1.0`.
fn of_contract(name: &str) -> Option<(&str, &str)> {
    name.strip_prefix(PACKAGE)?.strip_prefix('/')?.split_once('@')
}

fn prepare(component: &Component, engine: &Engine, path: &Path) -> Result<Prepared<Guest>, CatalogProblem> {
    let mut linker: Linker<Guest> = Linker::new(engine);
    abi::Component::add_to_linker::<_, HasSelf<Guest>>(&mut linker, |guest| guest)
        .and_then(|()| linker.instantiate_pre(component))
        .and_then(Prepared::new)
        .map_err(|error| problem::no_executor(path, &first_line(&format!("{error:#}"))))
}

fn describe(
    shared: &Shared,
    prepared: &Prepared<Guest>,
    engine: &Engine,
    limits: &Limits,
    path: &Path,
) -> Result<types::Description, CatalogProblem> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .map_err(|error| problem::cannot_describe(path, &format!("there is no runtime for it: {error}")))?;
    let _running = shared.engines.run();
    let mut store = Guest::store(engine, limits);
    // Ticks are real time also where the clock is virtual: a file that hangs must not hang the check of it.
    store.epoch_deadline_trap();
    store.set_epoch_deadline(TICKS_TO_DESCRIBE);
    store.set_hostcall_fuel(LONGEST_DESCRIPTION);
    let described = runtime.block_on(async {
        let component = prepared.instantiate_async(&mut store).await?;
        component.call_describe(&mut store).await
    });
    described.map_err(|error| {
        let failure = store.data().explain(&error, limits, "it");
        problem::cannot_describe(path, &failure.message)
    })
}

fn description(said: types::Description, imports: Vec<String>, digest: Digest, path: &Path) -> Result<Description, CatalogProblem> {
    let schema = |which: &str, text: Option<String>| match text.map(|text| serde_json::from_str(&text)) {
        None => Ok(None),
        Some(Ok(schema)) => Ok(Some(Type::from_schema(&schema))),
        Some(Err(error)) => Err(problem::broken_schema(path, which, &error)),
    };
    Ok(Description {
        name: one_line(&said.name, LONGEST_NAME),
        summary: one_line(&said.summary, LONGEST_SUMMARY),
        input: schema("input", said.input)?,
        output: schema("output", said.output)?,
        config: schema("config", said.config)?,
        wants: said
            .wants
            .iter()
            .map(|want| Want { grant: one_line(&want.grant, LONGEST_NAME), reason: one_line(&want.reason, LONGEST_SUMMARY) })
            .collect(),
        imports,
        abi: Some(format!("{PACKAGE}@{VERSION}")),
        digest,
        files: Vec::new(),
    })
}

/// Text of a stranger as it may stand in a message: bounded, and without characters that steer a terminal.
fn one_line(text: &str, longest: usize) -> String {
    text.chars().take(longest).map(|character| if character.is_control() { ' ' } else { character }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_stranger_says_of_himself_is_one_bounded_line() {
        assert_eq!(one_line("a\n\u{1b}[31mb", 100), "a  [31mb");
        assert_eq!(one_line(&"ä".repeat(200), 100).chars().count(), 100);
    }

    #[test]
    fn names_of_the_contract_are_taken_apart() {
        assert_eq!(of_contract("pipehost:executor/run@0.9.0"), Some(("run", "0.9.0")));
        for other in ["pipehost:executor/run", "pipehost:executors/run@0.1.0", "wasi:cli/run@0.2.0", "describe"] {
            assert_eq!(of_contract(other), None, "{other}");
        }
    }
}
