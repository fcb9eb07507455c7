//! `expect` of a test: kept as it was written, each part with its place, after a look at whether it could ever be met.

use super::Reader;
use crate::model::failure::FailureKind;
use crate::model::value::Tree;
use crate::plan::cases::{Written, WrittenContent, WrittenField};
use crate::plan::codes;
use crate::plan::raw::{Table, closest, keys, list};
use crate::plan::source::{Content, Key, Node, Span};

impl<'a> Reader<'a> {
    /// What must be.
    pub(super) fn expectation(&self, node: &Node) -> Option<Written> {
        let findings = self.compiler.findings;
        let before = findings.count();
        let table = findings.table(node, "`expect`", keys::EXPECT, "{ outcome: succeeded }")?;
        self.of_run(&table);
        if let Some(node) = table.get("runs") {
            for run in findings.list(node, "`runs`", "[{ outcome: succeeded }]").unwrap_or_default() {
                if let Some(table) = findings.table(run, "an entry of `runs`", keys::EXPECTED_RUN, "{ outcome: succeeded }") {
                    self.of_run(&table);
                }
            }
        }
        if let Some(node) = table.get("calls") {
            self.calls(node);
        }
        if let Some(node) = table.get("events") {
            self.events(node, "`events`", true);
        }
        if let Some(node) = table.get("bus") {
            for (_, events) in self.entries(node, "`bus`", "{ global: { OrderPlaced: 1 } }") {
                self.events(events, "a bus", false);
            }
        }
        let written = self.written(node);
        written.filter(|_| findings.count() == before)
    }

    fn entries<'n>(&self, node: &'n Node, what: &str, example: &str) -> &'n [(Key, Node)] {
        self.compiler.findings.map(node, what, example).map(|table| table.entries).unwrap_or_default()
    }

    fn of_run(&self, table: &Table<'_>) {
        let findings = self.compiler.findings;
        // Of another pipeline's run neither the steps nor the state are known here.
        let is_own = table.get("pipeline").and_then(Node::text).is_none_or(|name| name == self.pipeline.name.as_str());
        if let Some(node) = table.get("outcome") {
            let words: Vec<(&str, ())> = keys::OUTCOMES.iter().map(|word| (*word, ())).collect();
            findings.word(node, "`outcome`", &words);
        }
        if let Some(node) = table.get("error")
            && !node.is_null()
            && let Some(error) = findings.table(node, "`error`", keys::EXPECTED_ERROR, "{ kind: invalid }")
            && let Some(node) = error.get("kind")
        {
            let words: Vec<(&str, ())> = FailureKind::ALL.into_iter().map(|kind| (kind.as_str(), ())).collect();
            findings.word(node, "`kind`", &words);
        }
        if let Some(node) = table.get("degraded") {
            findings.truth(node, "`degraded`");
        }
        if let Some(node) = table.get("progress") {
            findings.list(node, "`progress`", "[{ token: He }]");
        }
        if let Some(node) = table.get("steps") {
            for (key, _) in self.entries(node, "`steps` of an expectation", "{ context: { passages: [] } }") {
                if is_own {
                    self.known_step(&key.name, key.span);
                }
            }
        }
        for field in ["state", "state_history"] {
            let Some(node) = table.get(field) else { continue };
            for (key, value) in self.entries(node, &format!("`{field}`"), "{ status: idle }") {
                if is_own && !self.pipeline.state.types.iter().any(|(name, _)| *name == key.name) {
                    self.compiler.undeclared_field(&key.name, key.span, &self.pipeline.state);
                }
                if field == "state_history" {
                    findings.list(value, &format!("`state_history.{}`", key.name), "[busy, idle]");
                }
            }
        }
        if let Some(node) = table.get("undone") {
            for (id, span) in findings.texts(node, "`undone`", "[charge, reserve]") {
                if is_own {
                    self.known_step(id, span);
                }
            }
        }
    }

    pub(super) fn known_step(&self, id: &str, span: Span) {
        if self.steps().any(|step| step.id.as_str() == id) {
            return;
        }
        let ids: Vec<&str> = self.steps().map(|step| step.id.as_str()).filter(|id| !id.starts_with('#')).collect();
        let help = match closest(id, ids.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("its steps are {}", list(&ids)),
        };
        self.compiler.findings.error(codes::UNKNOWN_WORD, span, format!("no step has the id `{id}`"), help);
    }

    fn calls(&self, node: &Node) {
        let findings = self.compiler.findings;
        match &node.content {
            Content::Map(entries) => {
                for (key, count) in entries {
                    self.callee(&key.name, key.span);
                    findings.whole(count, &format!("`calls.{}`", key.name), 0);
                }
            }
            Content::List(items) => {
                for item in items {
                    match &item.content {
                        Content::Map(entries) if entries.len() == 1 => entries.iter().for_each(|(key, _)| self.callee(&key.name, key.span)),
                        Content::Scalar(_) if item.text().is_some() => self.callee(item.text().unwrap_or_default(), item.span),
                        _ => findings.wrong_kind(item, "a call", "a name, or a name with the input", "save, or { save: { id: 7 } }"),
                    }
                }
            }
            Content::Scalar(_) => {
                findings.wrong_kind(node, "`calls`", "how often each was called, or a list in order", "{ save: 1 } or [context, save]");
            }
        }
    }

    /// Whether somebody of that name can be called: an executor, a step, or one of another pipeline.
    fn callee(&self, name: &str, span: Span) {
        let executors = || self.pipeline.executors.iter().map(|declared| declared.reference.name.as_str());
        let steps = || self.steps().map(|step| step.id.as_str());
        let is_known = executors().chain(steps()).any(|known| known == name) || name.contains('.');
        if !is_known {
            let help = match closest(name, executors().chain(steps())) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("its steps use {}", list(&executors().collect::<Vec<_>>())),
            };
            self.compiler.findings.error(
                codes::UNKNOWN_EXECUTOR,
                span,
                format!("there is no executor and no step `{name}` to be called"),
                help,
            );
        }
    }

    /// Event types, each with a number or a list of data.
    fn events(&self, node: &Node, what: &str, own: bool) {
        let findings = self.compiler.findings;
        for (key, value) in self.entries(node, what, "{ OrderPlaced: 1 }") {
            if own
                && self.pipeline.events.get(key.name.as_str()).is_none()
                && let Some(near) = closest(&key.name, self.pipeline.events.keys().map(crate::model::id::EventType::as_str))
            {
                findings.error(
                    codes::UNDECLARED_EVENT,
                    key.span,
                    format!("the event `{}` is not declared", key.name),
                    format!("did you mean `{near}`?"),
                );
            }
            if !matches!(value.content, Content::List(_)) {
                findings.whole(value, &format!("`{}` of `events`", key.name), 0);
            }
        }
    }

    /// The expectation with its places. `${` has no meaning here: what is expected is written out.
    fn written(&self, node: &Node) -> Option<Written> {
        let findings = self.compiler.findings;
        let content = match &node.content {
            Content::Scalar(scalar) => match scalar.value.as_text() {
                Some(text) if text.replace("$${", "").contains("${") => {
                    findings.error(
                        codes::LITERAL,
                        node.span,
                        "an expectation is written out and takes no `${…}`",
                        "write the value itself, or leave the field out: maps are compared field by field",
                    );
                    return None;
                }
                Some(text) => WrittenContent::Scalar(Tree::Text(text.replace("$${", "${"))),
                None => WrittenContent::Scalar(scalar.value.clone()),
            },
            Content::List(items) => {
                let items: Vec<Option<Written>> = items.iter().map(|item| self.written(item)).collect();
                WrittenContent::List(items.into_iter().collect::<Option<_>>()?)
            }
            Content::Map(entries) => {
                let field = |(key, value): &(Key, Node)| {
                    Some(WrittenField { name: key.name.clone(), place: findings.place(key.span), value: self.written(value)? })
                };
                let fields: Vec<Option<WrittenField>> = entries.iter().map(field).collect();
                WrittenContent::Map(fields.into_iter().collect::<Option<_>>()?)
            }
        };
        Some(Written { place: findings.place(node.span), span: (node.span.start, node.span.end), content })
    }
}
