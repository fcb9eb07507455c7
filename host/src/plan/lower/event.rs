//! `bus` and `events`: which events there are, who may see them, and which types they have.

use indexmap::IndexMap;

use super::template::Compiler;
use crate::model::event::Scope;
use crate::model::id::{EventType, PipelineName};
use crate::model::types::Type;
use crate::plan::codes;
use crate::plan::raw::{Findings, closest, keys};
use crate::plan::source::{Node, Span};

/// The declared events of a file.
pub(in crate::plan) type Events = IndexMap<EventType, Type>;

impl Findings<'_> {
    /// `events`: all that are written well; one that is not has any data, so that it is not called undeclared too.
    pub(super) fn events(&self, node: Option<&Node>) -> Events {
        let Some(table) = node.and_then(|node| self.map(node, "`events`", "{ OrderPlaced: { order: string } }")) else {
            return Events::new();
        };
        let mut events = Events::new();
        for (key, node) in table.entries {
            self.event_name(&key.name, key.span);
            let data = if node.is_null() { Type::Record(Vec::new()) } else { self.declared_type(node).unwrap_or_default() };
            if holds_secret(&data) {
                let help = "let the handler read the secret itself, with '${secret.NAME}'";
                self.error(codes::SECRET_PLACE, key.span, format!("the event `{}` would carry a secret", key.name), help);
            }
            events.insert(key.name.as_str().into(), data);
        }
        events
    }
}

impl Compiler<'_> {
    /// `bus`: the scope and what is exported.
    pub(super) fn bus(&self, node: Option<&Node>, pipeline: &PipelineName, events: &Events) -> (Scope, Vec<EventType>) {
        let private = || Scope::Private(pipeline.clone());
        let Some(table) = node.and_then(|node| self.findings.table(node, "`bus`", keys::BUS, "{ scope: private }")) else {
            return (private(), Vec::new());
        };
        let scope = match table.get("scope") {
            None => private(),
            Some(node) => match self.findings.literal_text(node, "`scope`", "private, global or a name") {
                Some("private") | None => private(),
                Some("global") => Scope::Global,
                Some(name) => {
                    self.findings.name(name, node.span, "the name of a shared bus", true);
                    Scope::Named(name.to_owned())
                }
            },
        };
        let exports = table.get("exports").map(|node| self.event_types(node, "`exports`", events)).unwrap_or_default();
        (scope, exports)
    }

    /// A list of declared events.
    pub(super) fn event_types(&self, node: &Node, what: &str, events: &Events) -> Vec<EventType> {
        let texts = self.findings.texts(node, what, "[OrderPlaced]");
        texts.into_iter().filter_map(|(name, span)| self.declared_event(name, span, events)).collect()
    }

    /// An event that has to be declared in this file.
    pub(super) fn declared_event(&self, name: &str, span: Span, events: &Events) -> Option<EventType> {
        if let Some((declared, _)) = events.get_key_value(name) {
            return Some(declared.clone());
        }
        let help = match closest(name, events.keys().map(EventType::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("declare it, as events: {{ {name}: {{ id: string }} }}"),
        };
        self.findings.error(codes::UNDECLARED_EVENT, span, format!("the event `{name}` is not declared"), help);
        None
    }
}

fn holds_secret(declared: &Type) -> bool {
    match declared {
        Type::Secret => true,
        Type::List(inner) | Type::Nullable(inner) => holds_secret(inner),
        Type::Record(fields) => fields.iter().any(|field| holds_secret(&field.value_type)),
        _ => false,
    }
}
