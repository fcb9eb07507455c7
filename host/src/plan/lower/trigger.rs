//! `trigger`: what starts a flow, and what its input is where the flow does not say.

use std::collections::{BTreeMap, BTreeSet};

use super::event::Events;
use super::template::Compiler;
use crate::model::id::EventType;
use crate::model::types::Type;
use crate::plan::check::fit::{common, record};
use crate::plan::check::names::Seen;
use crate::plan::codes;
use crate::plan::pipeline::{EventMode, Trigger};
use crate::plan::raw::{Table, closest, keys, list};
use crate::plan::source::{Content, Node};

/// What is known of events: those of this file, those it emits, and those of all other files.
#[derive(Clone, Copy)]
pub(super) struct KnownEvents<'a> {
    pub(super) declared: &'a Events,
    pub(super) emitted: &'a BTreeSet<String>,
    pub(super) foreign: &'a Foreign,
}

/// The events that all other files declare.
#[derive(Debug)]
pub(in crate::plan) struct Foreign {
    /// Each with its data.
    pub(in crate::plan) events: BTreeMap<String, Type>,
    /// Whether nothing is missing: a file that cannot be read may declare anything, and a bundle knows of no others.
    pub(in crate::plan) complete: bool,
    /// Whether a bundle is read: it was taken when it was made, perhaps by a host that found fewer slips, and its runs go on.
    pub(in crate::plan) bundled: bool,
}

impl KnownEvents<'_> {
    /// The data of an event that a run hears, whoever emits it; `None` if no loaded file declares it.
    pub(super) fn heard(&self, event: &EventType) -> Option<&Type> {
        self.declared.get(event).or_else(|| self.foreign.events.get(event.as_str()))
    }

    /// Has expressions know that a path gives one of these types.
    pub(super) fn note(&self, seen: &mut Seen, path: &str, types: &[EventType]) {
        if !self.foreign.bundled {
            seen.gives(path, types.to_vec());
        }
    }

    /// The data of the events that a trigger takes, as far as it is known.
    fn data(&self, types: &[EventType], mode: EventMode) -> Type {
        common(types.iter().map(|event| match mode {
            EventMode::Direct => self.declared.get(event).cloned().unwrap_or_default(),
            EventMode::Observe => self.foreign.events.get(event.as_str()).or_else(|| self.declared.get(event)).cloned().unwrap_or_default(),
        }))
    }
}

/// `input` and `event` as the triggers give them, where the flow declares no input.
pub(super) fn given_by(triggers: &[Trigger], known: KnownEvents<'_>) -> (Type, Option<Type>) {
    let inputs = triggers.iter().map(|trigger| match trigger {
        Trigger::StdinLine => record([("text", Type::String)]),
        Trigger::Event { types, mode } => known.data(types, *mode),
        Trigger::Manual => Type::Any,
    });
    let mut events = triggers.iter().filter_map(|trigger| match trigger {
        Trigger::Event { types, mode } => Some(known.data(types, *mode)),
        Trigger::StdinLine | Trigger::Manual => None,
    });
    let event = events.next().map(|first| common(std::iter::once(first).chain(events)));
    (common(inputs), event)
}

impl Compiler<'_> {
    /// One trigger or a list of them.
    pub(super) fn triggers(&self, node: &Node, known: KnownEvents<'_>) -> Vec<Trigger> {
        match &node.content {
            Content::List(items) if items.is_empty() => {
                self.findings.error(
                    codes::MISSING_KEY,
                    node.span,
                    "`trigger` is empty",
                    "write manual for a flow that is started by name only",
                );
                Vec::new()
            }
            Content::List(items) => items.iter().filter_map(|item| self.trigger(item, known)).collect(),
            _ => self.trigger(node, known).into_iter().collect(),
        }
    }

    fn trigger(&self, node: &Node, known: KnownEvents<'_>) -> Option<Trigger> {
        if node.text() == Some("manual") {
            return Some(Trigger::Manual);
        }
        if let Some(word) = node.text() {
            let help = match closest(word, keys::TRIGGERS.iter().copied()) {
                Some("stdin") => "did you mean { stdin: line }?".to_owned(),
                _ => "write it as { stdin: line }, { event: Name } or manual".to_owned(),
            };
            self.findings.error(codes::UNKNOWN_WORD, node.span, format!("`{word}` alone is no trigger"), help);
            return None;
        }
        let table = self.findings.map(node, "a trigger", "{ stdin: line }, { event: Name } or manual")?;
        let mut kinds = table.entries.iter().filter(|(key, _)| keys::TRIGGERS.contains(&key.name.as_str()));
        let Some((kind, value)) = kinds.next() else {
            match table.entries.first() {
                Some((key, _)) => self.findings.unknown_key(key, "a trigger", keys::TRIGGERS),
                None => self.findings.error(
                    codes::MISSING_KEY,
                    node.span,
                    "a trigger says what starts the flow",
                    format!("write one of {}", list(keys::TRIGGERS)),
                ),
            }
            return None;
        };
        if let Some((second, _)) = kinds.next() {
            let message = format!("a trigger is one thing, and this is `{}` and `{}`", kind.name, second.name);
            self.findings.error(codes::EXCLUSIVE_KEYS, second.span, message, "make a list of it: trigger: [{ … }, { … }]");
            return None;
        }
        if keys::LATER_TRIGGERS.contains(&kind.name.as_str()) {
            let message = format!("the trigger `{}` is not in this version", kind.name);
            self.findings.error(codes::LATER_TRIGGER, kind.span, message, "this version has `stdin: line`, `event` and `manual`");
            return None;
        }
        match kind.name.as_str() {
            "stdin" => {
                self.findings.check_keys(&table, "a `stdin` trigger", &["stdin"]);
                self.findings.word(value, "`stdin`", &[("line", ())])?;
                Some(Trigger::StdinLine)
            }
            "manual" => {
                self.findings.check_keys(&table, "a `manual` trigger", &["manual"]);
                Some(Trigger::Manual)
            }
            _ => self.event_trigger(&table, value, known),
        }
    }

    /// `{ event: Name, mode: … }`.
    fn event_trigger(&self, table: &Table<'_>, value: &Node, known: KnownEvents<'_>) -> Option<Trigger> {
        self.findings.check_keys(table, "an `event` trigger", &["event", "mode"]);
        let written = match &value.content {
            Content::List(_) => self.findings.texts(value, "`event`", "[OrderPlaced]"),
            _ => self.findings.literal_text(value, "`event`", "the type of an event").map(|text| (text, value.span)).into_iter().collect(),
        };
        let types: Vec<EventType> =
            written.iter().filter(|(name, span)| self.findings.event_name(name, *span)).map(|(name, _)| EventType::from(*name)).collect();
        let mode = match table.get("mode") {
            Some(node) => self.findings.word(node, "`mode`", &keys::MODES)?,
            None => {
                if let Some((name, span)) = written.iter().find(|(name, _)| known.emitted.contains(*name)) {
                    let message = format!("this file emits `{name}` itself, so the trigger has to say whose events it takes");
                    self.findings.error(
                        codes::MODE,
                        *span,
                        message,
                        "add mode: direct for this pipeline's own, mode: observe for those of others",
                    );
                }
                EventMode::Observe
            }
        };
        if mode == EventMode::Direct {
            for (name, span) in &written {
                if self.declared_event(name, *span, known.declared).is_some() && !known.emitted.contains(*name) {
                    self.findings.error(
                        codes::NEVER_EMITTED,
                        *span,
                        format!("no step or executor of this file emits `{name}`, so nothing ever starts this flow with it"),
                        "emit it in a step, with `emit` or `emits`; for other pipelines' events write mode: observe",
                    );
                }
            }
        }
        (!types.is_empty()).then_some(Trigger::Event { types, mode })
    }
}
