//! `tests`: what stands in for executors, what is done, and what must come of it, checked against the pipeline that it is about.

mod action;
mod expect;
mod mock;

use std::collections::BTreeMap;
use std::path::Path;

use super::template::Compiler;
use crate::model::id::StepId;
use crate::model::types::Type;
use crate::model::value::Map;
use crate::plan::cases::{Action, Case, Deed};
use crate::plan::codes;
use crate::plan::pipeline::Pipeline;
use crate::plan::raw::{Table, closest, keys, list};
use crate::plan::source::{Content, Key, Node, Span};

const EXAMPLE: &str = "{ name: …, send: { … }, expect: { outcome: succeeded } }";

/// Takes the tests out of a file's tree: nothing that they hold is part of the pipeline, of its revision, or of what it emits.
pub(in crate::plan) fn apart(mut root: Node) -> (Node, Option<(Key, Node)>) {
    let tests = match &mut root.content {
        Content::Map(entries) => entries.iter().position(|(key, _)| key.name == "tests").map(|at| entries.remove(at)),
        Content::Scalar(_) | Content::List(_) => None,
    };
    (root, tests)
}

/// A file's tests being read.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    pub(super) compiler: Compiler<'a>,
    pub(super) pipeline: &'a Pipeline,
}

/// Reads the tests. What is wrong is noted, and the test is left out.
pub(super) fn lower(compiler: Compiler<'_>, pipeline: &Pipeline, node: &Node) -> Vec<Case> {
    let reader = Reader { compiler, pipeline };
    let items = compiler.findings.list(node, "`tests`", "a list: one `- name: …` below the other").unwrap_or_default();
    let mut names: BTreeMap<&str, Span> = BTreeMap::new();
    items.iter().filter_map(|item| reader.case(item, &mut names)).collect()
}

impl<'a> Reader<'a> {
    fn case(&self, node: &'a Node, names: &mut BTreeMap<&'a str, Span>) -> Option<Case> {
        let findings = self.compiler.findings;
        let table = findings.table(node, "a test", keys::TEST, EXAMPLE)?;
        let name = findings.required(&table, "name", "a test", "write in a few words what it shows, as name: an empty message is refused");
        let name =
            name.and_then(|node| Some((findings.literal_text(node, "the name of a test", "an empty message is refused")?, node.span)));
        if let Some((name, span)) = name
            && let Some(other) = names.insert(name, span)
        {
            let diagnostic = crate::model::diagnostic::Diagnostic::error(
                codes::DUPLICATE_NAME,
                findings.place(span),
                format!("two tests are named `{name}`"),
            );
            findings.add(diagnostic.with_related(findings.place(other), "the other one is here"), "give each a name of its own");
        }
        let flow = match table.get("flow") {
            Some(node) => self.flow(node)?,
            None => self.pipeline.flows.first()?.name.clone(),
        };
        let files = table.get("files").map(|node| findings.texts(node, "`files`", "[product.yaml]")).unwrap_or_default();
        let folder = findings.file.path.parent().unwrap_or(Path::new(""));
        let files: Vec<_> = files.into_iter().map(|(file, _)| folder.join(file)).collect();
        let crash_after = table.get("crash_after").and_then(|node| {
            let id = findings.literal_text(node, "`crash_after`", "the id of a step")?;
            self.known_step(id, node.span);
            Some(StepId::new(id))
        });
        let mocks = self.mocks(&table, !files.is_empty());
        let actions = self.actions(&table);
        Some(Case {
            name: name?.0.to_owned(),
            place: findings.place(node.span),
            flow,
            files,
            mocks,
            real: self.real(&table),
            environment: self.variables(&table, "env", true),
            secrets: self.variables(&table, "secrets", false),
            state: self.initial(&table),
            crash_after,
            actions,
        })
    }

    /// The steps, or the one `send` in their place; and what is expected in the end.
    fn actions(&self, table: &Table<'a>) -> Vec<Action> {
        let findings = self.compiler.findings;
        let mut actions = Vec::new();
        match (table.key("send"), table.get("steps")) {
            (Some(key), Some(steps)) => {
                let message = "`send` stands beside `steps`";
                let diagnostic = crate::model::diagnostic::Diagnostic::error(codes::EXCLUSIVE_KEYS, findings.place(key.span), message)
                    .with_related(findings.place(steps.span), "the steps are here");
                findings.add(diagnostic, "make it the first of the steps, as `- send: …`");
            }
            (Some(key), None) => {
                let caller = table.get("caller").and_then(|node| self.caller(node)).unwrap_or_default();
                let input = table.get("send").and_then(|node| self.given(node, &Type::Any, "send"));
                actions
                    .extend(input.map(|input| Action { deed: Deed::Send { flow: None, input, caller }, place: findings.place(key.span) }));
            }
            (None, Some(steps)) => {
                let items = findings.list(steps, "`steps` of a test", "a list: one `- send: …` below the other").unwrap_or_default();
                actions.extend(items.iter().filter_map(|item| self.action(item)));
            }
            (None, None) => {
                let help = "write what is done, as send: { text: hello }, or steps: and one `- send: …` below the other";
                findings.error(codes::MISSING_KEY, table.span, "a test has neither `send` nor `steps`", help);
            }
        }
        if let (Some(key), None) = (table.key("caller"), table.key("send")) {
            findings.error(
                codes::EXCLUSIVE_KEYS,
                key.span,
                "`caller` stands beside no `send`",
                "write it beside the `send` that it is for",
            );
        }
        match table.get("expect") {
            // What is expected of the whole test is expected when nothing goes on any more.
            Some(node) => {
                let place = findings.place(node.span);
                actions.push(Action { deed: Deed::Settle, place: place.clone() });
                actions.extend(self.expectation(node).map(|expected| Action { deed: Deed::Expect(expected), place }));
            }
            None if !actions.iter().any(|action| matches!(action.deed, Deed::Expect(_))) => {
                let help = "write what must come of it, as expect: { outcome: succeeded }";
                findings.error(codes::MISSING_KEY, table.span, "a test expects nothing", help);
            }
            None => {}
        }
        actions
    }

    fn flow(&self, node: &Node) -> Option<crate::model::id::FlowName> {
        let text = self.compiler.findings.literal_text(node, "`flow`", "main")?;
        let flows: Vec<&str> = self.pipeline.flows.iter().map(|flow| flow.name.as_str()).collect();
        if flows.contains(&text) {
            return Some(text.into());
        }
        self.compiler.findings.unknown_word(node.span, text, "`flow`", &flows);
        None
    }

    fn real(&self, table: &Table<'a>) -> Vec<crate::model::id::ExecutorName> {
        let names = table.get("real").map(|node| self.compiler.findings.texts(node, "`real`", "[save]")).unwrap_or_default();
        names
            .into_iter()
            .filter_map(|(name, span)| self.executor(name, span).map(|number| (number, name)))
            .map(|(_, name)| name.into())
            .collect()
    }

    /// The number of an executor that some step uses.
    fn executor(&self, name: &str, span: Span) -> Option<usize> {
        let known = || self.pipeline.executors.iter().map(|declared| declared.reference.name.as_str());
        let found = known().position(|known| known == name);
        if found.is_none() {
            let help = match closest(name, known()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("its steps use {}", list(&known().collect::<Vec<_>>())),
            };
            self.compiler.findings.error(codes::UNKNOWN_EXECUTOR, span, format!("no step uses an executor `{name}`"), help);
        }
        found
    }

    fn variables(&self, table: &Table<'a>, key: &str, listed: bool) -> BTreeMap<String, String> {
        let findings = self.compiler.findings;
        let Some(given) = table.get(key).and_then(|node| findings.map(node, &format!("`{key}`"), "{ NAME: value }")) else {
            return BTreeMap::new();
        };
        let mut variables = BTreeMap::new();
        for (name, node) in given.entries {
            if listed && !self.compiler.load.lists(&name.name) {
                let message = format!("the file does not list the environment variable {}", name.name);
                findings.error(codes::ENVIRONMENT, name.span, message, format!("list it at the top of the file: env: [{}]", name.name));
            }
            if let Some(value) = findings.literal_text(node, &format!("`{key}.{}`", name.name), "some text") {
                variables.insert(name.name.clone(), value.to_owned());
            }
        }
        variables
    }

    fn initial(&self, table: &Table<'a>) -> Map {
        let findings = self.compiler.findings;
        let Some(given) = table.get("state").and_then(|node| findings.map(node, "`state` of a test", "{ status: idle }")) else {
            return Map::new();
        };
        let mut initial = Map::new();
        for (key, node) in given.entries {
            match self.pipeline.state.types.iter().find(|(field, _)| *field == key.name) {
                Some((_, declared)) => {
                    let value = findings.literal_of(node, declared, &format!("`state.{}`", key.name));
                    initial.extend(value.map(|value| (key.name.clone(), value.tree().clone())));
                }
                None => self.compiler.undeclared_field(&key.name, key.span, &self.pipeline.state),
            }
        }
        initial
    }
}
