//! The one door: files in, a plan or every mistake out.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::codes;
use super::lower::call::Callable;
use super::lower::pipeline::Draft;
use super::pipeline::Plan;
use super::source::{SourceFile, Sources};
use crate::model::diagnostic::{Diagnostic, Severity};
use crate::model::port::Catalog;

/// Where `env` and `secret` get their values from.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// The environment variables of the process.
    pub variables: BTreeMap<String, String>,
    /// The secrets of the file that `--secrets` names; they go before variables of the same name.
    pub secrets: BTreeMap<String, String>,
}

/// What came of loading.
#[derive(Debug)]
pub struct Loaded {
    /// The plan; `None` if there was any error.
    pub plan: Option<Plan>,
    /// Everything that was found, by file and line.
    pub diagnostics: Vec<Diagnostic>,
    /// The texts that the diagnostics speak of.
    pub sources: Sources,
    /// All files that were read or asked for, each once, also when broken: what to watch.
    pub files: Vec<PathBuf>,
}

/// Reads files, finds every mistake in all of them, and makes the plan if there is no error.
pub fn load(files: &[PathBuf], catalog: &dyn Catalog, environment: &Environment) -> Loaded {
    let mut diagnostics = Vec::new();
    let mut sources = Sources::default();
    let mut watched: Vec<PathBuf> = Vec::new();
    let mut read: Vec<SourceFile> = Vec::new();
    for path in files {
        if watched.contains(path) {
            continue;
        }
        watched.push(path.clone());
        match SourceFile::read(path) {
            Ok(file) => {
                sources.insert(path.clone(), file.text.clone());
                read.push(file);
            }
            Err(diagnostic) => diagnostics.push(*diagnostic),
        }
    }

    let mut parsed = Vec::new();
    for file in &read {
        let (node, found) = file.parse();
        diagnostics.extend(found);
        parsed.extend(node.map(|node| (file, node)));
    }
    let drafts: Vec<Draft<'_>> = parsed.iter().map(|(file, node)| Draft::new(file, node)).collect();
    diagnostics.extend(same_names(&drafts));

    let callable: Callable = drafts.iter().filter_map(Draft::signatures).collect();
    let mut plan = Plan::default();
    for (index, draft) in drafts.iter().enumerate() {
        let others = drafts.iter().enumerate().filter(|(other, _)| *other != index);
        let foreign: BTreeMap<_, _> = others.flat_map(|(_, other)| other.events()).collect();
        let lowered = draft.lower(&foreign, &callable, catalog, environment);
        watched.extend(lowered.files);
        if let Some(pipeline) = lowered.pipeline {
            plan.pipelines.insert(pipeline.name.clone(), Arc::new(pipeline));
        }
    }
    diagnostics.extend(drafts.into_iter().flat_map(|draft| draft.findings.into_diagnostics()));

    let mut seen = std::collections::HashSet::new();
    watched.retain(|path| seen.insert(path.clone()));
    diagnostics.sort_by(|one, other| (&one.place, one.code, &one.message).cmp(&(&other.place, other.code, &other.message)));
    diagnostics.dedup();
    add_scripts(&mut sources, &diagnostics);
    let failed = diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error);
    Loaded { plan: (!failed).then_some(plan), diagnostics, sources, files: watched }
}

/// Two files that declare one pipeline: the second one is told.
fn same_names(drafts: &[Draft<'_>]) -> Vec<Diagnostic> {
    let mut first: BTreeMap<String, crate::model::diagnostic::Place> = BTreeMap::new();
    let mut found = Vec::new();
    for draft in drafts {
        let Some((name, span)) = &draft.name else { continue };
        let place = draft.findings.place(*span);
        match first.get(name.as_str()) {
            Some(other) => found.push(
                Diagnostic::error(codes::SAME_PIPELINE, place, format!("another file declares the pipeline `{name}` already"))
                    .with_related(other.clone(), "it is declared here")
                    .with_help("give one of them another name; their data lie in folders of these names"),
            ),
            None => {
                first.insert(name.to_string(), place);
            }
        }
    }
    found
}

/// The texts of scripts that mistakes were found in, so that they can be shown.
fn add_scripts(sources: &mut Sources, diagnostics: &[Diagnostic]) {
    let places = diagnostics
        .iter()
        .flat_map(|diagnostic| std::iter::once(&diagnostic.place).chain(diagnostic.related.iter().map(|(place, _)| place)));
    for place in places.filter(|place| place.line > 0) {
        let file: &Path = &place.file;
        if sources.text(file).is_none()
            && let Ok(script) = SourceFile::read(file)
        {
            sources.insert(file.to_owned(), script.text);
        }
    }
}
