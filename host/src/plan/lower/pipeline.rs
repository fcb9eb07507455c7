//! One file: first its name and events, which the other files need; then all the rest.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use indexmap::IndexMap;

use super::call::{Callable, Signature};
use super::cases;
use super::event::Events;
use super::executor::Executors;
use super::flow::{self, Ground, Lowering};
use super::import::Import;
use super::load_time::LoadTime;
use super::template::Compiler;
use super::trigger::{Foreign, KnownEvents};
use super::{bundling, emissions, revision};
use crate::files::Files;
use crate::model::diagnostic::Place;
use crate::model::id::{EventType, PipelineName};
use crate::model::port::Catalog;
use crate::model::resource::Resource;
use crate::model::value::{Map, Tree, Value};
use crate::plan::Environment;
use crate::plan::check::buses::Named;
use crate::plan::codes;
use crate::plan::pipeline::{Flow, Pipeline};
use crate::plan::raw::{Findings, Table, keys};
use crate::plan::source::{Content, Key, Node, SourceFile, Span};

/// A file of which the name and the events are known.
pub(in crate::plan) struct Draft<'a> {
    pub(in crate::plan) findings: Findings<'a>,
    pub(super) root: &'a Node,
    table: Option<Table<'a>>,
    /// Its name and where that stands; absent if it is missing or wrong, and for a library.
    pub(in crate::plan) name: Option<(PipelineName, Span)>,
    /// The name if it is a library, empty if it is wrong.
    pub(in crate::plan) library: Option<(String, Span)>,
    pub(super) imports: Vec<Import>,
    events: Events,
    tests: Option<&'a (Key, Node)>,
}

/// What comes of a file.
pub(in crate::plan) struct Lowered {
    pub(in crate::plan) pipeline: Option<Pipeline>,
    /// Every file that its executors' code is in or ought to be in.
    pub(in crate::plan) files: Vec<PathBuf>,
}

impl<'a> Draft<'a> {
    /// Reads the name and the events. Whatever it imports is looked for in `files`.
    pub(in crate::plan) fn new(files: &Files, file: &'a SourceFile, root: &'a Node) -> Self {
        let findings = Findings::new(file);
        let table = findings.map(root, "a pipeline's file", "pipeline: NAME, with `trigger` and `steps` below it");
        let (mut name, mut library) = (None, None);
        if let Some(table) = &table {
            match table.key("library") {
                None => {
                    let known: Vec<&str> = keys::FILE.iter().chain(keys::FLOW).copied().collect();
                    findings.check_keys(table, "a pipeline", &known);
                }
                Some(_) => library_keys(&findings, table),
            }
            let named = |node: &Node, what: &str, example: &str| {
                let text = findings.literal_text(node, what, example)?;
                findings.name(text, node.span, what, true).then(|| text.to_owned())
            };
            library =
                table.get("library").map(|node| (named(node, "the name of a library", "library: shared").unwrap_or_default(), node.span));
            if library.is_none() {
                let node = findings.required(table, "pipeline", "the file", "begin it with pipeline: NAME");
                name = node.and_then(|node| {
                    let text = named(node, "the name of a pipeline", "pipeline: chatbot")?;
                    Some((PipelineName::from(text.as_str()), node.span))
                });
            }
        }
        if let (Some(_), Some(node)) = (&library, table.and_then(|table| table.get("description"))) {
            // A pipeline's is read with the rest of it; of a library nobody keeps it.
            findings.literal_text(node, "`description`", "one sentence");
        }
        let imports = findings.imports(files, table.and_then(|table| table.get("import")));
        let events = findings.events(table.and_then(|table| table.get("events")));
        Self { findings, root, table, name, library, imports, events, tests: None }
    }

    /// The same with the tests, which were taken out of its tree.
    pub(in crate::plan) fn with_tests(self, tests: Option<&'a (Key, Node)>) -> Self {
        if let (Some((key, _)), Some(_)) = (tests, &self.library) {
            not_in_library(&self.findings, key);
        }
        Self { tests, ..self }
    }

    /// Its events and those of its libraries; of two of one name the first.
    pub(in crate::plan) fn events(&self, libraries: &[&Self]) -> Events {
        let mut events = self.events.clone();
        for (event, data) in libraries.iter().flat_map(|library| &library.events) {
            events.entry(event.clone()).or_insert_with(|| data.clone());
        }
        events
    }

    /// What `env` lists, and the secrets that the file names.
    fn load_time(&self, environment: &Environment) -> LoadTime {
        let node = self.table.and_then(|table| table.get("env"));
        let listed = node.map(|node| self.findings.texts(node, "`env`", "[OPENAI_MODEL]")).unwrap_or_default();
        let listed: Vec<&str> = listed.into_iter().map(|(name, _)| name).collect();
        LoadTime::new(&listed, self.root, environment)
    }

    fn get(&self, key: &str) -> Option<&'a Node> {
        self.table.and_then(|table| table.get(key))
    }

    fn folder(&self) -> &Path {
        self.findings.file.path.parent().unwrap_or(Path::new(""))
    }

    /// Looks at a library that no pipeline imports.
    pub(in crate::plan) fn look_through(&self, libraries: &[&Self], catalog: &dyn Catalog, environment: &Environment) -> Vec<PathBuf> {
        let name = PipelineName::from(self.library_name());
        let ground = Shared::new(self, libraries, environment);
        let compilers = ground.compilers();
        let resources: Arc<[_]> = resources(&compilers, catalog).into();
        let executors = Executors::new(&executors(&compilers), (&name, &resources, &self.events(libraries)), catalog);
        for (file, (draft, compiler)) in compilers.iter().enumerate() {
            compiler.policies(draft.get("policies"), file, draft.library.is_some());
        }
        executors.files().to_vec()
    }

    /// Its flows as others may call them, under its name.
    pub(in crate::plan) fn signatures(&self) -> Option<(PipelineName, BTreeMap<String, Signature>)> {
        let (name, _) = self.name.as_ref()?;
        let flows = self.flows(self.table.as_ref()?);
        Some((name.clone(), flows.iter().map(|(flow, table)| ((*flow).to_owned(), self.findings.signature(table))).collect()))
    }

    /// Looks at all the rest. No pipeline, if anything is wrong.
    pub(in crate::plan) fn lower(
        &self,
        read_from: &Files,
        libraries: &[&Self],
        foreign: &Foreign,
        callable: &Callable,
        catalog: &dyn Catalog,
        environment: &Environment,
    ) -> Lowered {
        let Some(table) = &self.table else { return Lowered { pipeline: None, files: Vec::new() } };
        let findings = &self.findings;
        let file = findings.file;
        let shared = Shared::new(self, libraries, environment);
        let compilers = shared.compilers();
        let Some((_, compiler)) = compilers.first().copied() else { return Lowered { pipeline: None, files: Vec::new() } };
        let description = table.get("description").and_then(|node| findings.literal_text(node, "`description`", "one sentence"));
        // A file whose name is wrong is still looked through.
        let name = self.name.as_ref().map_or_else(|| PipelineName::from("unnamed"), |(name, _)| name.clone());

        let events = self.events(libraries);
        let resources: Arc<[_]> = resources(&compilers, catalog).into();
        let (scope, exports) = compiler.bus(table.get("bus"), &name, &events);
        let mut executors = Executors::new(&executors(&compilers), (&name, &resources, &events), catalog);
        let mut policies = IndexMap::new();
        for (file, (draft, compiler)) in compilers.iter().enumerate() {
            for (policy, declared) in compiler.policies(draft.get("policies"), file, draft.library.is_some()) {
                policies.entry(policy).or_insert(declared);
            }
        }
        let state = compiler.state(table.get("state"));
        let emitted = shared.drafts.iter().flat_map(|draft| emissions::emitted(draft.root)).collect();
        let known = KnownEvents { declared: &events, emitted: &emitted, foreign };
        let imported = compilers.iter().skip(1).map(|(draft, compiler)| (draft.library_name(), *compiler)).collect();
        let ground = Ground { compiler, pipeline: name.clone(), events: known, state: &state, policies, callable, imported };

        let caches = ground.caches();
        let mut used = HashSet::new();
        let flows: Vec<Option<Flow>> =
            self.flows(table).into_iter().map(|(flow, table)| flow::lower(&ground, &mut executors, &mut used, flow, &table)).collect();
        Lowering::unused(&ground, &used);
        executors.unused(&compiler);

        let mut files = vec![file.path.clone()];
        files.extend(libraries.iter().map(|library| library.findings.file.path.clone()));
        files.extend(executors.files().iter().cloned());
        files.dedup();
        let roots: Vec<&Node> = shared.drafts.iter().map(|draft| draft.root).collect();
        let revision = revision::digest(&roots, executors.code());
        let code = executors.code().flat_map(|(_, description)| &description.files);
        let bundle = bundling::bundle(read_from, &shared.drafts, code, (&name, revision));
        let good = findings.count() == 0 && self.name.is_some() && libraries.iter().all(|library| library.findings.count() == 0);
        let pipeline = flows.into_iter().collect::<Option<Vec<_>>>().filter(|_| good).map(|flows| Pipeline {
            name,
            description: description.map(str::to_owned),
            revision,
            bundle,
            file: file.path.clone(),
            files: files.clone(),
            scope,
            exports,
            events,
            resources,
            executors: executors.into_used(),
            environment: together(shared.loads.iter().map(LoadTime::environment)),
            secrets: together(shared.loads.iter().map(LoadTime::secrets)),
            flows: flows.into_iter().map(Arc::new).collect(),
            state,
            caches,
            tests: Arc::from([]),
        });
        let pipeline = self.tested(pipeline, compiler);
        Lowered { pipeline, files }
    }

    /// Says of a file of which no pipeline came that nobody knows why, unless a mistake in it or in its libraries was told. Each step of the lowering leaves out what is
    /// wrong and has to tell it; without this a file whose mistake one of them keeps to itself would be no part of the plan, and nobody would miss it.
    pub(in crate::plan) fn explain(&self, libraries: &[&Self]) {
        if self.findings.count() > 0 || libraries.iter().any(|library| library.findings.count() > 0) {
            return;
        }
        let span = self.name.as_ref().map_or(self.root.span, |(_, span)| *span);
        let message = "no pipeline can be made of this file, and pipehost does not know why: that is a mistake of its own";
        let help = "report it with this file; leave out one step after the other to see which one it is";
        self.findings.error(codes::UNEXPLAINED, span, message, help);
    }

    /// The pipeline with its tests. They are looked at once the pipeline is right: they speak of its steps, executors and fields.
    fn tested(&self, pipeline: Option<Pipeline>, compiler: Compiler<'_>) -> Option<Pipeline> {
        let pipeline = pipeline?;
        let tests = self.tests.map(|(_, node)| cases::lower(compiler, &pipeline, node)).unwrap_or_default();
        (self.findings.count() == 0).then(|| Pipeline { tests: tests.into(), ..pipeline })
    }

    /// Where the file names an event: among its declared ones, its exports or its triggers.
    pub(in crate::plan) fn place_of(&self, what: Named, event: &EventType) -> Option<Place> {
        let name = event.as_str();
        let mut found = None;
        let mut look = |node: &Node| node.each_scalar(&mut |scalar, span| found = found.or((scalar.text == name).then_some(span)));
        match what {
            Named::Declared => {
                if let Some(Content::Map(entries)) = self.get("events").map(|node| &node.content) {
                    found = entries.iter().find(|(key, _)| key.name == name).map(|(key, _)| key.span);
                }
            }
            Named::Exported => self.get("bus").and_then(|bus| bus.get("exports")).into_iter().for_each(look),
            Named::Heard => {
                for (_, flow) in self.table.iter().flat_map(|table| self.flows(table)) {
                    let parts = ["trigger", "cancel_on", "steps", "on_error", "finally"];
                    parts.iter().filter_map(|key| flow.get(key)).for_each(|node| each_listened(node, &mut look));
                }
            }
        }
        found.map(|span| self.findings.place(span))
    }

    /// The flows: those under `flows`, or the one whose keys stand at the top.
    fn flows(&self, table: &Table<'a>) -> Vec<(&'a str, Table<'a>)> {
        let findings = &self.findings;
        let Some(node) = table.get("flows") else { return vec![("main", *table)] };
        for (key, _) in table.entries {
            if keys::FLOW.contains(&key.name.as_str()) {
                let message = format!("`{}` stands beside `flows`", key.name);
                findings.error(
                    codes::EXCLUSIVE_KEYS,
                    key.span,
                    message,
                    "move it into the flow that it belongs to; only a file of one flow has its keys at the top",
                );
            }
        }
        let Some(flows) = findings.map(node, "`flows`", "{ main: { trigger: …, steps: […] } }") else { return Vec::new() };
        if flows.entries.is_empty() {
            findings.error(codes::MISSING_KEY, node.span, "`flows` holds no flow", "write { main: { trigger: …, steps: […] } }");
        }
        flows
            .entries
            .iter()
            .filter_map(|(key, node)| {
                findings.name(&key.name, key.span, "the name of a flow", false);
                Some((key.name.as_str(), findings.table(node, "a flow", keys::FLOW, "{ trigger: …, steps: […] }")?))
            })
            .collect()
    }
}

/// A file and its libraries, with what is fixed at load for each: what one of them reads it has to list itself.
struct Shared<'s, 'a> {
    drafts: Vec<&'s Draft<'a>>,
    loads: Vec<LoadTime>,
}

impl<'s, 'a> Shared<'s, 'a> {
    fn new(draft: &'s Draft<'a>, libraries: &[&'s Draft<'a>], environment: &Environment) -> Self {
        let drafts: Vec<_> = std::iter::once(draft).chain(libraries.iter().copied()).collect();
        let loads = drafts.iter().map(|draft| draft.load_time(environment)).collect();
        Self { drafts, loads }
    }

    /// One for each file, its own first.
    fn compilers(&'s self) -> Vec<(&'s Draft<'a>, Compiler<'s>)> {
        let pairs = self.drafts.iter().zip(&self.loads);
        pairs.map(|(draft, load)| (*draft, Compiler { findings: &draft.findings, load, secrets_anywhere: false })).collect()
    }
}

fn resources(compilers: &[(&Draft<'_>, Compiler<'_>)], catalog: &dyn Catalog) -> Vec<Resource> {
    let mut resources: Vec<Resource> = Vec::new();
    for (draft, compiler) in compilers {
        for resource in compiler.resources(draft.get("resources"), draft.folder(), catalog) {
            if !resources.iter().any(|other| other.name == resource.name) {
                resources.push(resource);
            }
        }
    }
    resources
}

fn executors<'s, 'a>(compilers: &[(&'s Draft<'a>, Compiler<'s>)]) -> Vec<(Compiler<'s>, Option<&'a Node>, &'s Path)> {
    compilers.iter().map(|(draft, compiler)| (*compiler, draft.get("executors"), draft.folder())).collect()
}

/// The fields of all of these maps.
fn together(values: impl Iterator<Item = Value>) -> Value {
    let mut all = Map::new();
    for value in values {
        for (name, value) in value.tree().as_map().into_iter().flatten() {
            all.entry(name.clone()).or_insert_with(|| value.clone());
        }
    }
    Value::from(Tree::Map(all))
}

/// What stands below each `event` in a part of a flow: of a trigger, a `wait` or a `cancel_on`.
fn each_listened(node: &Node, look: &mut impl FnMut(&Node)) {
    match &node.content {
        Content::Scalar(_) => {}
        Content::List(items) => items.iter().for_each(|item| each_listened(item, look)),
        Content::Map(entries) => {
            for (key, value) in entries {
                if key.name == "event" {
                    look(value);
                } else {
                    each_listened(value, look);
                }
            }
        }
    }
}

fn not_in_library(findings: &Findings<'_>, key: &Key) {
    let message = format!("`{}` does not stand in a library", key.name);
    let help = "a library declares resources, events, executors and policies; flows, state, buses and tests belong to a pipeline";
    findings.error(codes::IN_LIBRARY, key.span, message, help);
}

/// Refuses what belongs to a pipeline.
fn library_keys(findings: &Findings<'_>, table: &Table<'_>) {
    for (key, _) in table.entries {
        let name = key.name.as_str();
        if keys::LIBRARY.contains(&name) {
            continue;
        }
        if keys::FILE.contains(&name) || keys::FLOW.contains(&name) {
            not_in_library(findings, key);
        } else {
            findings.unknown_key(key, "a library", keys::LIBRARY);
        }
    }
}
