//! The one door: files in, a plan or every mistake out.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::check::buses::{self, Named};
use super::codes;
use super::lower::call::{Callable, Signature};
use super::lower::cases;
use super::lower::event::Events;
use super::lower::import::{self, Graph};
use super::lower::pipeline::Draft;
use super::lower::trigger::Foreign;
use super::pipeline::{Pipeline, Plan};
use super::source::{Content, Key, Node, SourceFile, Sources, other};
use crate::files::Files;
use crate::model::bundle::Bundle;
use crate::model::diagnostic::{Diagnostic, Place, Severity};
use crate::model::id::EventType;
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
    load_from(&Files::Disk, files, catalog, environment)
}

/// Makes the pipeline of a bundle again, without its tests. Of what other pipelines had when it was made the bundle knows nothing: it was found right then, and is taken
/// as right. The catalog has to know the bundle too.
pub fn load_bundle(bundle: &Arc<Bundle>, catalog: &dyn Catalog, environment: &Environment) -> Loaded {
    load_from(&Files::Bundle(Arc::clone(bundle)), std::slice::from_ref(&bundle.file), catalog, environment)
}

fn load_from(read_from: &Files, files: &[PathBuf], catalog: &dyn Catalog, environment: &Environment) -> Loaded {
    let is_alone = matches!(read_from, Files::Bundle(_));
    let Read { mut diagnostics, mut sources, mut watched, files, unreadable } = read(read_from, files);
    let identities: Vec<PathBuf> = files.iter().filter(|file| file.node.is_some()).map(|file| file.identity.clone()).collect();
    let drafts: Vec<Draft<'_>> = files
        .iter()
        .filter_map(|file| Some(Draft::new(read_from, &file.source, file.node.as_ref()?).with_tests(file.tests.as_ref())))
        .collect();
    diagnostics.extend(same_names(&drafts));

    let graph = Graph { drafts: &drafts, files: &identities, unreadable: &unreadable };
    let mut imported = vec![false; drafts.len()];
    let mut libraries: Vec<Option<Vec<&Draft<'_>>>> = Vec::new();
    for (index, draft) in drafts.iter().enumerate() {
        // Libraries that somebody imports are looked through with whoever does.
        let found = graph.libraries(index);
        for index in found.iter().flatten() {
            if let Some(imported) = imported.get_mut(*index) {
                *imported |= draft.library.is_none();
            }
        }
        let found: Option<Vec<&Draft<'_>>> = found.map(|found| found.into_iter().filter_map(|index| drafts.get(index)).collect());
        if let Some(found) = &found {
            draft.clashes(found);
        }
        libraries.push(found);
    }
    let events: Vec<_> = drafts
        .iter()
        .zip(&libraries)
        .map(
            |(draft, libraries)| {
                if draft.library.is_some() { Events::new() } else { draft.events(libraries.as_deref().unwrap_or_default()) }
            },
        )
        .collect();
    let mut callable: Callable = drafts.iter().filter_map(Draft::signatures).collect();
    if is_alone {
        files.iter().filter_map(|file| file.node.as_ref()).for_each(|root| add_called(root, &mut callable));
    }
    // Of what all files together show nothing can be said while one of them is missing.
    let are_all_here = !is_alone
        && files.iter().all(|file| file.node.is_some())
        && libraries.iter().all(Option::is_some)
        && !given_is_missing(&diagnostics);
    let mut plan = Plan::default();
    for (index, (draft, libraries)) in drafts.iter().zip(&libraries).enumerate() {
        let Some(libraries) = libraries else { continue };
        if draft.library.is_some() {
            if !imported.get(index).copied().unwrap_or_default() {
                watched.extend(draft.look_through(libraries, catalog, environment));
            }
            continue;
        }
        let others = events.iter().enumerate().filter(|(other, _)| *other != index);
        let foreign = others.flat_map(|(_, other)| other).map(|(event, data)| (event.to_string(), data.clone())).collect();
        let foreign = Foreign { events: foreign, complete: are_all_here, bundled: is_alone };
        let lowered = draft.lower(read_from, libraries, &foreign, &callable, catalog, environment);
        watched.extend(lowered.files);
        match lowered.pipeline {
            Some(pipeline) => drop(plan.pipelines.insert(pipeline.name.clone(), Arc::new(pipeline))),
            None => draft.explain(libraries),
        }
    }
    let pipelines = drafts.iter().filter(|draft| draft.library.is_none()).count();
    if are_all_here && plan.pipelines.len() == pipelines {
        let place = |pipeline: &Pipeline, named: Named, event: &EventType| {
            let own = drafts.iter().zip(&libraries).find(|(draft, _)| draft.name.as_ref().is_some_and(|(name, _)| *name == pipeline.name));
            let all = own.into_iter().flat_map(|(draft, libraries)| std::iter::once(draft).chain(libraries.iter().flatten().copied()));
            let found = all.into_iter().find_map(|draft| draft.place_of(named, event));
            found.unwrap_or_else(|| Place::whole(&pipeline.file))
        };
        diagnostics.extend(buses::check(&plan, &place));
    }
    drop(libraries);
    diagnostics.extend(drafts.into_iter().flat_map(|draft| draft.findings.into_diagnostics()));

    let mut seen = std::collections::HashSet::new();
    watched.retain(|path| seen.insert(path.clone()));
    diagnostics.sort_by(|one, other| (&one.place, one.code, &one.message).cmp(&(&other.place, other.code, &other.message)));
    diagnostics.dedup();
    add_scripts(read_from, &mut sources, &diagnostics);
    let failed = diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error);
    Loaded { plan: (!failed).then_some(plan), diagnostics, sources, files: watched }
}

fn given_is_missing(diagnostics: &[Diagnostic]) -> bool {
    diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
}

/// A file that could be read.
struct ReadFile {
    identity: PathBuf,
    source: SourceFile,
    /// Absent if it has a syntax error.
    node: Option<Node>,
    /// Its tests, which are no part of the pipeline.
    tests: Option<(Key, Node)>,
}

/// All files that could be read, and what was found on the way.
#[derive(Default)]
struct Read {
    diagnostics: Vec<Diagnostic>,
    sources: Sources,
    watched: Vec<PathBuf>,
    files: Vec<ReadFile>,
    /// Imported files that could not be read, and why.
    unreadable: BTreeMap<PathBuf, Diagnostic>,
}

impl Read {
    /// A file of which nothing can be made: said at once if it was given, else where it is imported.
    fn refused(&mut self, identity: PathBuf, given: bool, why: Diagnostic) {
        if given {
            self.diagnostics.push(why);
        } else {
            self.unreadable.insert(identity, why);
        }
    }
}

/// Reads the given files and those that they import.
fn read(read_from: &Files, files: &[PathBuf]) -> Read {
    let mut read = Read::default();
    let mut waiting: VecDeque<(PathBuf, bool)> = files.iter().map(|file| (file.clone(), true)).collect();
    let mut known = BTreeSet::new();
    while let Some((path, given)) = waiting.pop_front() {
        let identity = read_from.identity(&path);
        if !known.insert(identity.clone()) {
            continue;
        }
        let path = read_from.way_to(path);
        read.watched.push(path.clone());
        let source = if read.files.len() < MOST_FILES {
            SourceFile::read_from(read_from, &path)
        } else {
            let message = format!("{} would be more than {MOST_FILES} files", path.display());
            let diagnostic = Diagnostic::error(codes::TOO_MANY, Place::whole(&path), message);
            Err(Box::new(diagnostic.with_help("name fewer files, or fewer libraries under `import`")))
        };
        match source {
            Ok(source) => {
                read.sources.insert(path.clone(), source.text.clone());
                let (node, found) = source.parse();
                if let Some(other) = other::instead(&path, &source.text, node.as_ref()) {
                    read.refused(identity, given, other);
                    continue;
                }
                read.diagnostics.extend(found);
                if let Some(node) = &node {
                    waiting.extend(import::imported(&path, node).into_iter().map(|path| (path, false)));
                }
                let (node, tests) = node.map(cases::apart).map_or((None, None), |(node, tests)| (Some(node), tests));
                let tests = tests.filter(|_| matches!(read_from, Files::Disk));
                read.files.push(ReadFile { identity, source, node, tests });
            }
            Err(diagnostic) => {
                let is_there = matches!(diagnostic.code, codes::NOT_UTF8 | codes::TOO_LARGE);
                let other = is_there.then(|| other::instead(&path, "", None)).flatten();
                read.refused(identity, given, other.unwrap_or(*diagnostic));
            }
        }
    }
    read
}

/// So many files may belong to one plan, imported ones included: what imports ever more is a mistake.
const MOST_FILES: usize = 4096;

/// Every flow of another pipeline that a file calls: it was there when the file was found right.
fn add_called(node: &Node, callable: &mut Callable) {
    match &node.content {
        Content::Scalar(_) => {}
        Content::List(items) => items.iter().for_each(|item| add_called(item, callable)),
        Content::Map(entries) => {
            for (key, value) in entries {
                if let Some((pipeline, flow)) = value.text().filter(|_| key.name == "call").and_then(|text| text.split_once('.')) {
                    let flows = callable.entry(pipeline.into()).or_default();
                    flows.entry(flow.to_owned()).or_insert(Signature { input: None, manual: true });
                }
                add_called(value, callable);
            }
        }
    }
}

/// Two files that declare one pipeline, or a library of that name: the second one is told.
fn same_names(drafts: &[Draft<'_>]) -> Vec<Diagnostic> {
    let mut first: BTreeMap<String, crate::model::diagnostic::Place> = BTreeMap::new();
    let mut found = Vec::new();
    for draft in drafts {
        let named = draft.name.as_ref().map(|(name, span)| (name.as_str(), *span));
        let library = draft.library.as_ref().map(|(name, span)| (name.as_str(), *span)).filter(|(name, _)| !name.is_empty());
        let Some((name, span)) = named.or(library) else { continue };
        let place = draft.findings.place(span);
        match first.get(name) {
            Some(other) => found.push(
                Diagnostic::error(codes::SAME_PIPELINE, place, format!("another file has the name `{name}` already"))
                    .with_related(other.clone(), "it is declared here")
                    .with_help("give one of them another name; their data and the state of their policies go by these names"),
            ),
            None => {
                first.insert(name.to_string(), place);
            }
        }
    }
    found
}

/// The texts of scripts that mistakes were found in, so that they can be shown.
fn add_scripts(read_from: &Files, sources: &mut Sources, diagnostics: &[Diagnostic]) {
    let places = diagnostics
        .iter()
        .flat_map(|diagnostic| std::iter::once(&diagnostic.place).chain(diagnostic.related.iter().map(|(place, _)| place)));
    for place in places.filter(|place| place.line > 0) {
        let file: &Path = &place.file;
        if sources.text(file).is_none()
            && let Ok(script) = SourceFile::read_from(read_from, file)
        {
            sources.insert(file.to_owned(), script.text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::executor::{Description, ExecutorReference};
    use crate::model::id::Digest;
    use crate::model::port::CatalogProblem;

    fn explained(text: &str) -> Vec<&'static str> {
        let source = SourceFile::new(Path::new("a.yaml"), text);
        let root = source.parse().0.expect("it is YAML");
        let draft = Draft::new(&Files::Disk, &source, &root);
        draft.explain(&[]);
        draft.findings.into_diagnostics().into_iter().map(|found| found.code).collect()
    }

    struct NoExecutors;

    impl Catalog for NoExecutors {
        fn describe(&self, reference: &ExecutorReference) -> Result<Description, CatalogProblem> {
            panic!("{reference:?} is asked for")
        }

        fn builtins(&self) -> Vec<(&'static str, bool)> {
            Vec::new()
        }
    }

    #[test]
    fn what_a_host_before_this_one_took_goes_on_though_it_compares_an_event_with_a_word_that_never_comes() {
        let text = "pipeline: p\ntrigger: manual\nevents: { Paid: { order: string } }\nsteps:\n  - id: paid\n    wait:\n      event: Paid\n      \
                    match: { order: '${run.id}' }\n      timeout: 1h\n      on_timeout: [{ fail: { message: late } }]\n  \
                    - when: steps.paid.type == \"Payd\"\n    reply: paid\n";
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("p.yaml");
        std::fs::write(&file, text).expect("written");
        let codes = |loaded: &Loaded| loaded.diagnostics.iter().map(|found| found.code).collect::<Vec<_>>();
        assert_eq!(codes(&load(std::slice::from_ref(&file), &NoExecutors, &Environment::default())), ["E0312"], "on the disk it is told");
        let files = vec![(file.clone(), Arc::from(text.as_bytes()))];
        let bundle = Bundle { file, files, ..Bundle::clone(&Bundle::of_nothing("p".into(), Digest::of(b"p"))) };
        let loaded = load_bundle(&Arc::new(bundle), &NoExecutors, &Environment::default());
        assert!(loaded.plan.is_some() && loaded.diagnostics.is_empty(), "in a bundle it is taken as it is: {:?}", loaded.diagnostics);
    }

    #[test]
    fn a_file_that_gives_no_pipeline_and_in_which_nothing_is_wrong_is_told_as_a_mistake_of_the_program() {
        assert_eq!(explained("pipeline: a\ntrigger: manual\nsteps: [{ run: log }]\n"), [codes::UNEXPLAINED]);
        assert_eq!(explained("trigger: manual\nsteps: [{ run: log }]\n"), [codes::MISSING_KEY]);
    }
}
