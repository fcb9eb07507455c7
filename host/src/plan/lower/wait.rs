//! The verb `wait`, and `cancel_on` of a flow: events that a run listens for.

use std::time::Duration;

use super::flow::Lowering;
use super::template::Compiler;
use super::trigger::KnownEvents;
use crate::model::id::EventType;
use crate::model::policy::show_duration;
use crate::model::port::Root;
use crate::model::record::BlockNumber;
use crate::model::types::Type;
use crate::plan::check::fit::{common, inner, nullable};
use crate::plan::check::names::{self, Seen};
use crate::plan::codes;
use crate::plan::expr::Names;
use crate::plan::pipeline::{Join, Listen, Remind, Verb, WaitStep};
use crate::plan::raw::{Table, closest, keys, list};
use crate::plan::source::{Content, Node, Span};
use crate::plan::template::Template;

const EXAMPLE: &str = "{ event: Approved, match: { request: '${run.id}' }, timeout: 4h, on_timeout: [{ fail: … }] }";

impl<'n> Lowering<'_, 'n> {
    pub(super) fn wait(&mut self, node: &'n Node, seen: &Seen) -> Option<(Verb, Type)> {
        let compiler = self.ground.compiler;
        let findings = compiler.findings;
        let table = findings.table(node, "`wait`", keys::WAIT, EXAMPLE)?;
        if !self.durable {
            self.not_durable(node.span, "`wait`");
        }
        let names = seen.names();
        let before = findings.count();
        let listen = compiler.listen(&table, "`wait`", &names, self.ground.events);
        let data = listen.as_ref().map(|(_, data)| data.clone()).unwrap_or_default();
        let event = names::event(data);
        let mut offered = seen.with(Root::Event, event.clone());
        // Of a type that was refused it is not known what was meant.
        let types = listen.as_ref().filter(|_| findings.count() == before).map(|(listen, _)| listen.types.as_slice());
        self.ground.events.note(&mut offered, "event.type", types.unwrap_or_default());
        let guard = table.get("where").map(|node| compiler.condition(node, &offered.names(), "where"));
        let timeout = findings
            .required(&table, "timeout", "`wait`", "write timeout: 4h, how long it waits at most")
            .and_then(|node| compiler.duration(node, &names, "timeout"));
        let on_timeout = findings
            .required(&table, "on_timeout", "`wait`", "write on_timeout: [{ fail: … }], what is done if nothing came")
            .and_then(|node| self.block(node, &mut seen.clone(), "`on_timeout`"));
        if let (Some(node), Some((_, known))) = (table.get("timeout"), &timeout) {
            self.fits("`timeout`", *known, node);
        }
        let longest = timeout.as_ref().and_then(|(_, known)| *known);
        let remind = table.get("remind").map(|node| self.remind(node, seen, longest));
        let on_timeout = on_timeout?.0;
        let output = if self.always_fails(on_timeout) { event } else { nullable(event) };
        if matches!(guard, Some(None)) || matches!(remind, Some(None)) {
            return None;
        }
        let wait = WaitStep { listen: listen?.0, guard: guard.flatten(), timeout: timeout?.0, on_timeout, remind: remind.flatten() };
        Some((Verb::Wait(Box::new(wait)), output))
    }

    fn remind(&mut self, node: &'n Node, seen: &Seen, longest: Option<Duration>) -> Option<Remind> {
        let findings = self.ground.compiler.findings;
        let table = findings.table(node, "`remind`", keys::REMIND, "{ after: [1h, 3h], steps: [{ run: … }] }")?;
        let after = findings
            .required(&table, "after", "`remind`", "write after: [1h, 3h], how long after the wait began")
            .and_then(|node| self.after(node, longest));
        let steps = findings.required(&table, "steps", "`remind`", "write steps: and what is done each time, below");
        let block = steps.and_then(|steps| self.block(steps, &mut seen.clone(), "`remind.steps`"));
        Some(Remind { after: after?, block: block?.0 })
    }

    fn after(&self, node: &Node, longest: Option<Duration>) -> Option<Vec<Duration>> {
        let findings = self.ground.compiler.findings;
        let items = findings.list(node, "`after`", "[1h, 3h]")?;
        if items.is_empty() {
            findings.error(codes::MISSING_KEY, node.span, "`after` names no time", "write it as [1h, 3h], or leave `remind` out");
            return None;
        }
        let mut good = true;
        let mut after: Vec<Duration> = Vec::with_capacity(items.len());
        for item in items {
            let Some(duration) = findings.duration(item, "an entry of `after`") else {
                good = false;
                continue;
            };
            let wrong = match (after.last(), longest) {
                (Some(before), _) if duration <= *before => Some(format!(
                    "the reminder after {} comes not later than the one before it ({})",
                    show_duration(duration),
                    show_duration(*before)
                )),
                (_, Some(longest)) if duration >= longest => Some(format!(
                    "the reminder after {} would come when the wait is over (`timeout` is {})",
                    show_duration(duration),
                    show_duration(longest)
                )),
                _ => None,
            };
            if let Some(message) = wrong {
                good = false;
                findings.error(codes::REMINDER, item.span, message, "write them ascending, and each shorter than `timeout`");
            }
            after.push(duration);
        }
        good.then_some(after)
    }

    /// Whether a block never comes to its end: what follows it need not reckon with its output.
    pub(super) fn always_fails(&self, block: BlockNumber) -> bool {
        self.steps_of(block).filter(|step| step.when.is_none() && step.on_error.is_none()).any(|step| match &step.verb {
            Verb::Fail(_) => true,
            Verb::Switch(cases) => cases.iter().any(|case| case.when.is_none()) && cases.iter().all(|case| self.always_fails(case.block)),
            Verb::Parallel(parallel) => match parallel.join {
                Join::All => parallel.branches.iter().any(|(_, block)| self.always_fails(*block)),
                Join::Quorum(_) => parallel.branches.iter().all(|(_, block)| self.always_fails(*block)),
            },
            _ => false,
        })
    }
}

impl Compiler<'_> {
    /// `cancel_on`: one event or a list of them.
    pub(super) fn cancel_on(&self, node: &Node, names: &Names, known: KnownEvents<'_>) -> Vec<Listen> {
        let items = match &node.content {
            Content::List(items) => items.as_slice(),
            _ => std::slice::from_ref(node),
        };
        let example = "{ event: OrderCancelled, match: { order: '${input.order}' } }";
        items
            .iter()
            .filter_map(|item| {
                let table = self.findings.table(item, "`cancel_on`", keys::CANCEL_ON, example)?;
                self.listen(&table, "`cancel_on`", names, known).map(|(listen, _)| listen)
            })
            .collect()
    }

    /// `event` and `match`, and what the event's data are as far as it is known.
    fn listen(&self, table: &Table<'_>, what: &str, names: &Names, known: KnownEvents<'_>) -> Option<(Listen, Type)> {
        let help = "write event: and the type of what it listens for";
        let types = self.findings.required(table, "event", what, help).map(|node| self.listened(node, known)).unwrap_or_default();
        let declared: Vec<(EventType, Type)> =
            types.iter().filter_map(|event| Some((event.clone(), known.heard(event)?.clone()))).collect();
        let help = "write match: { request: '${run.id}' }, by which fields an event is known to be meant";
        let matching = self.findings.required(table, "match", what, help).and_then(|node| self.matching(node, names, &declared));
        let matching = matching?;
        if types.is_empty() {
            return None;
        }
        let data = if declared.len() == types.len() { common(declared.into_iter().map(|(_, data)| data)) } else { Type::Any };
        Some((Listen { types, matching }, data))
    }

    /// The types that are listened for: those that some file declares, as far as all files are known.
    fn listened(&self, node: &Node, known: KnownEvents<'_>) -> Vec<EventType> {
        let written: Vec<(&str, Span)> = match &node.content {
            Content::List(items) if items.is_empty() => {
                self.findings.error(codes::MISSING_KEY, node.span, "`event` names no event", "write the type of one, as Approved");
                Vec::new()
            }
            Content::List(_) => self.findings.texts(node, "`event`", "[Approved, Refused]"),
            _ => self.findings.literal_text(node, "`event`", "the type of an event").map(|text| (text, node.span)).into_iter().collect(),
        };
        let types = written.into_iter().filter(|(name, span)| self.findings.event_name(name, *span));
        types.filter(|(name, span)| self.is_declared_somewhere(name, *span, known)).map(|(name, _)| EventType::from(name)).collect()
    }

    /// Whether this file or another one declares an event; if none does, that is told.
    fn is_declared_somewhere(&self, name: &str, span: Span, known: KnownEvents<'_>) -> bool {
        let foreign = known.foreign;
        if !foreign.complete || known.heard(&EventType::from(name)).is_some() {
            return true;
        }
        let names = known.declared.keys().map(EventType::as_str).chain(foreign.events.keys().map(String::as_str));
        let help = match closest(name, names) {
            Some(near) => format!("did you mean `{near}`?"),
            None => {
                format!("declare it, as events: {{ {name}: {{ id: string }} }}; if another pipeline emits it, name that one's file too")
            }
        };
        self.findings.error(codes::UNDECLARED_EVENT, span, format!("the event `{name}` is not declared"), help);
        false
    }

    fn matching(&self, node: &Node, names: &Names, declared: &[(EventType, Type)]) -> Option<Vec<(String, Template)>> {
        let table = self.findings.map(node, "`match`", "{ request: '${run.id}' }")?;
        if table.entries.is_empty() {
            let help = "name at least one field of the event, as { request: '${run.id}' }";
            self.findings.error(codes::MISSING_KEY, node.span, "`match` names no field, so any event would do", help);
            return None;
        }
        let matching: Vec<Option<(String, Template)>> = table
            .entries
            .iter()
            .map(|(key, value)| {
                let mut good = true;
                let mut wanted = Vec::new();
                for (event, data) in declared {
                    match (inner(data), data.field(&key.name)) {
                        (_, Some(field)) => wanted.push(field.clone()),
                        (Type::Any, None) => wanted.push(Type::Any),
                        (Type::Record(fields), None) => {
                            let fields: Vec<&str> = fields.iter().map(|field| field.name.as_str()).collect();
                            let help = match closest(&key.name, fields.iter().copied()) {
                                Some(near) => format!("did you mean `{near}`?"),
                                None if fields.is_empty() => "it has no fields at all".to_owned(),
                                None => format!("its fields are {}", list(&fields)),
                            };
                            let message = format!("the event `{event}` has no field `{}`", key.name);
                            self.findings.error(codes::MISFIT, key.span, message, help);
                            good = false;
                        }
                        (other, None) => {
                            let message = format!("the data of the event `{event}` are {other} and have no fields to match");
                            self.findings.error(codes::MISFIT, key.span, message, "declare them as a map of fields");
                            good = false;
                        }
                    }
                }
                if value.is_null() {
                    let what = format!("`match.{}`", key.name);
                    self.findings.wrong_kind(value, &what, "a value that the field has to equal", "'${run.id}'");
                    return None;
                }
                let wanted = if declared.is_empty() { Type::Any } else { common(wanted) };
                let (template, _) = self.value(value, names, &wanted, &format!("match.{}", key.name))?;
                self.constants(value, names, &format!("match.{}", key.name));
                good.then(|| (key.name.clone(), template))
            })
            .collect();
        matching.into_iter().collect()
    }
}
