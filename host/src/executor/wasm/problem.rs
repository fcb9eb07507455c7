//! What can be wrong with a component, with the way out. One code is one kind of mistake.

use std::path::Path;

use super::abi::{INTERFACES, PACKAGE, VERSION};
use crate::model::executor::ExecutorReference;
use crate::model::port::CatalogProblem;

/// The codes of this room, each with what it means.
pub const CODES: [(&str, &str); 9] = [
    ("E0520", "a component's file cannot be read"),
    ("E0521", "a file is not WebAssembly in binary form"),
    ("E0522", "a file is a core module and no component"),
    ("E0523", "a component is broken or uses what this host does not have switched on"),
    ("E0524", "a component needs another version of the contract than this host has"),
    ("E0525", "a component imports an interface that this host does not have"),
    ("E0526", "a component does not export what an executor exports"),
    ("E0527", "a component fails when it is asked what it is"),
    ("E0528", "a component describes itself with a schema that is no JSON"),
];

fn problem(code: &'static str, message: String, help: impl Into<String>) -> CatalogProblem {
    CatalogProblem { code, message, place: None, help: Some(help.into()) }
}

pub(super) fn not_a_component_reference(reference: &ExecutorReference) -> CatalogProblem {
    let message = format!("executor `{}` was handed to the home of components and has another home", reference.name);
    problem("E0520", message, "this is a mistake of the host: report it")
}

pub(super) fn unreadable(path: &Path, cause: &str) -> CatalogProblem {
    let message = format!("the component {} cannot be read: {cause}", path.display());
    problem("E0520", message, "check the path after `wasm:`: it is relative to the YAML file")
}

pub(super) fn not_wasm(path: &Path, content: &[u8]) -> CatalogProblem {
    let message = format!("{} is not a WebAssembly component", path.display());
    let help = if content.is_empty() {
        "the file is empty: build the plugin again".to_owned()
    } else if content.trim_ascii_start().starts_with(b"(") {
        "it is WebAssembly in text form: make it binary, as with `wasm-tools parse`".to_owned()
    } else if content.starts_with(b"version https://git-lfs") {
        "it is only a pointer to a file in Git LFS: fetch it with `git lfs pull`".to_owned()
    } else {
        format!("an executor is a component that exports `describe` and `process` of {PACKAGE}@{VERSION}")
    };
    problem("E0521", message, help)
}

pub(super) fn core_module(path: &Path) -> CatalogProblem {
    let message = format!("{} is a core module and no component", path.display());
    problem("E0522", message, "wrap it, as with `wasm-tools component new`, or build the plugin with `cargo run -p plugin-build`")
}

pub(super) fn broken(path: &Path, error: &wasmtime::Error) -> CatalogProblem {
    let message = format!("the component {} is broken or too new for this host: {}", path.display(), first_line(&format!("{error:#}")));
    problem("E0523", message, "build the plugin again; threads and garbage collection are switched off here")
}

pub(super) fn other_version(path: &Path, wanted: &str) -> CatalogProblem {
    let message = format!("{} needs {PACKAGE}@{wanted}, and this host has {PACKAGE}@{VERSION}", path.display());
    problem(
        "E0524",
        message,
        format!("use a host that has version {wanted}, or build the plugin against version {VERSION} of the contract"),
    )
}

pub(super) fn unknown_import(path: &Path, import: &str) -> CatalogProblem {
    let message = format!("{} imports `{import}`, which this host does not have", path.display());
    let interfaces: Vec<&str> = INTERFACES.into_iter().filter(|name| *name != "types").collect();
    let help = if import.starts_with("wasi:") {
        format!(
            "build the plugin for `wasm32-unknown-unknown`: WASI is not linked. What there is, in {PACKAGE}@{VERSION}: {}",
            interfaces.join(", ")
        )
    } else {
        format!("build the plugin against {PACKAGE}@{VERSION}, which has: {}", interfaces.join(", "))
    };
    problem("E0525", message, help)
}

pub(super) fn no_executor(path: &Path, why: &str) -> CatalogProblem {
    let message = format!("{} is a component and no executor: {why}", path.display());
    problem("E0526", message, format!("export `describe` and `process` as the world `executor` of {PACKAGE}@{VERSION} has them"))
}

pub(super) fn cannot_describe(path: &Path, why: &str) -> CatalogProblem {
    let message = format!("{} fails when it is asked what it is: {why}", path.display());
    problem("E0527", message, "`describe` must return at once and use nothing of the host: mend the plugin")
}

pub(super) fn broken_schema(path: &Path, which: &str, error: &serde_json::Error) -> CatalogProblem {
    let message = format!("the schema of the {which} of {} is no JSON: {error}", path.display());
    problem("E0528", message, "`describe` must give JSON Schemas: mend the plugin")
}

/// What fits behind a colon: the compiler's errors have several lines.
pub(super) fn first_line(text: &str) -> String {
    let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("it does not say why");
    line.chars().take(300).collect()
}
