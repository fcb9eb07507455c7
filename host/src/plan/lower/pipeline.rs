//! One file: first its name and events, which the other files need; then all the rest.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use super::call::{Callable, Signature};
use super::event::Events;
use super::executor::Executors;
use super::flow::{self, Ground, Lowering};
use super::load_time::LoadTime;
use super::template::Compiler;
use super::trigger::KnownEvents;
use super::{emissions, revision};
use crate::model::id::PipelineName;
use crate::model::port::Catalog;
use crate::model::types::Type;
use crate::plan::Environment;
use crate::plan::codes;
use crate::plan::pipeline::{Flow, Pipeline};
use crate::plan::raw::{Findings, Table, keys};
use crate::plan::source::{Node, SourceFile, Span};

/// A file of which the name and the events are known.
pub(in crate::plan) struct Draft<'a> {
    pub(in crate::plan) findings: Findings<'a>,
    root: &'a Node,
    table: Option<Table<'a>>,
    /// Its name and where that stands; absent if it is missing or wrong.
    pub(in crate::plan) name: Option<(PipelineName, Span)>,
    events: Events,
}

/// What comes of a file.
pub(in crate::plan) struct Lowered {
    pub(in crate::plan) pipeline: Option<Pipeline>,
    /// Every file that its executors' code is in or ought to be in.
    pub(in crate::plan) files: Vec<PathBuf>,
}

impl<'a> Draft<'a> {
    /// Reads the name and the events.
    pub(in crate::plan) fn new(file: &'a SourceFile, root: &'a Node) -> Self {
        let findings = Findings::new(file);
        let table = findings.map(root, "a pipeline's file", "pipeline: NAME, with `trigger` and `steps` below it");
        let mut name = None;
        if let Some(table) = &table {
            let known: Vec<&str> = keys::FILE.iter().chain(keys::FLOW).copied().collect();
            findings.check_keys(table, "a pipeline", &known);
            for key in ["library", "import", "tests"] {
                if let Some(key) = table.key(key) {
                    findings.error(codes::LATER_KEY, key.span, format!("`{}` is not in this version", key.name), "leave it out");
                }
            }
            let node = if table.get("library").is_some() {
                None
            } else {
                findings.required(table, "pipeline", "the file", "begin it with pipeline: NAME")
            };
            name = node.and_then(|node| {
                let text = findings.literal_text(node, "the name of a pipeline", "pipeline: chatbot")?;
                findings.name(text, node.span, "the name of a pipeline", true).then(|| (PipelineName::from(text), node.span))
            });
        }
        let events = findings.events(table.and_then(|table| table.get("events")));
        Self { findings, root, table, name, events }
    }

    /// Adds its events to those that other files may hear.
    pub(in crate::plan) fn events(&self) -> impl Iterator<Item = (String, Type)> {
        self.events.iter().map(|(event, data)| (event.to_string(), data.clone()))
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
        foreign: &BTreeMap<String, Type>,
        callable: &Callable,
        catalog: &dyn Catalog,
        environment: &Environment,
    ) -> Lowered {
        let nothing = Lowered { pipeline: None, files: Vec::new() };
        let Some(table) = self.table.as_ref().filter(|table| table.get("library").is_none()) else { return nothing };
        let findings = &self.findings;
        let file = findings.file;
        let listed = table.get("env").map(|node| findings.texts(node, "`env`", "[OPENAI_MODEL]")).unwrap_or_default();
        let listed: Vec<&str> = listed.into_iter().map(|(name, _)| name).collect();
        let load = LoadTime::new(&listed, self.root, environment);
        let compiler = Compiler { findings, load: &load, secrets_anywhere: false };
        let folder = file.path.parent().unwrap_or(std::path::Path::new(""));
        let description = table.get("description").and_then(|node| findings.literal_text(node, "`description`", "one sentence"));
        // A file whose name is wrong is still looked through.
        let name = self.name.as_ref().map_or_else(|| PipelineName::from("unnamed"), |(name, _)| name.clone());

        let resources: Arc<[_]> = compiler.resources(table.get("resources"), folder).into();
        let (scope, exports) = compiler.bus(table.get("bus"), &name, &self.events);
        let mut executors = Executors::new(&compiler, table.get("executors"), (&name, folder, &resources, &self.events), catalog);
        let policies = compiler.policies(table.get("policies"));
        let state = compiler.state(table.get("state"));
        let emitted = emissions::emitted(self.root);
        let events = KnownEvents { declared: &self.events, emitted: &emitted, foreign };
        let ground = Ground { compiler, pipeline: name.clone(), events, state: &state, policies, callable };

        let mut used = HashSet::new();
        let flows: Vec<Option<Flow>> =
            self.flows(table).into_iter().map(|(flow, table)| flow::lower(&ground, &mut executors, &mut used, flow, &table)).collect();
        Lowering::unused(&ground, &used);

        let mut files = vec![file.path.clone()];
        files.extend(executors.files().iter().cloned());
        files.dedup();
        let digest = revision::digest(self.root, &executors.digests());
        let pipeline =
            flows.into_iter().collect::<Option<Vec<_>>>().filter(|_| findings.count() == 0 && self.name.is_some()).map(|flows| Pipeline {
                name,
                description: description.map(str::to_owned),
                revision: digest,
                file: file.path.clone(),
                files: files.clone(),
                scope,
                exports,
                events: self.events.clone(),
                resources,
                executors: executors.into_used(),
                environment: load.environment(),
                secrets: load.secrets(),
                flows: flows.into_iter().map(Arc::new).collect(),
                state,
            });
        Lowered { pipeline, files }
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
