//! One step: its verb, what stands beside it, and what later steps may read of it.

use super::flow::Lowering;
use crate::model::diagnostic::Diagnostic;
use crate::model::failure::FailureKind;
use crate::model::id::{EventType, StepId};
use crate::model::port::Root;
use crate::model::record::StepNumber;
use crate::model::types::Type;
use crate::model::value::Value;
use crate::plan::check::fit::{common, nullable, record};
use crate::plan::check::names::{self, Seen};
use crate::plan::codes;
use crate::plan::expr::Names;
use crate::plan::pipeline::{Fail, OnError, Step, Verb};
use crate::plan::raw::{Table, closest, keys, list};
use crate::plan::source::{Key, Node};
use crate::plan::template::Template;

impl<'n> Lowering<'_, 'n> {
    /// Lowers a step, and lets the next ones see it. A wrong one is seen too, so that it is not called unknown as well.
    pub(super) fn step(&mut self, node: &'n Node, seen: &mut Seen) -> Option<(StepNumber, Type)> {
        let number = StepNumber(u32::try_from(self.steps.len()).ok()?);
        self.steps.push(None);
        let findings = self.ground.compiler.findings;
        let Some(table) = findings.map(node, "a step", "- run: NAME") else { return Some((number, Type::Any)) };
        let verb = self.verb_of(&table);
        let id = table.get("id").and_then(|node| self.id(node));
        let shown = id.clone().unwrap_or_else(|| format!("#{}", number.0 + 1 - self.unlisted));
        let when = table.get("when").map(|node| self.ground.compiler.condition(node, &seen.names(), "when"));
        let before = findings.count();
        let lowered = match verb {
            Some((key, value)) => {
                self.check_beside(&table, &key.name);
                self.verb(key, value, &table, seen, &shown)
            }
            None => None,
        };
        // Of a type that was refused it is not known what was meant.
        let is_right = findings.count() == before;
        let outbox = self.outbox(&table, seen);
        let healed = table.get("on_error").map(|node| self.step_on_error(node, seen));
        let mut output = match &lowered {
            Some((_, output)) => output.clone(),
            None => Type::Any,
        };
        match &healed {
            Some(Some((OnError::Ignore, _))) => output = nullable(output),
            Some(Some((OnError::Steps(_), healed))) => output = common([output, healed.clone()]),
            Some(None) | None => {}
        }
        if when.is_some() {
            output = nullable(output);
        }
        if let Some(id) = &id {
            seen.step(id, output.clone());
            // What stands in for a wait that failed may have a type of its own.
            if let (Some((Verb::Wait(wait), _)), None | Some(Some((OnError::Ignore, _)))) = (&lowered, &healed)
                && is_right
            {
                self.ground.events.note(seen, &format!("steps.{id}.type"), &wait.listen.types);
            }
        }
        if let (Some((verb, _)), Some(outbox), false, false) = (lowered, outbox, matches!(when, Some(None)), matches!(healed, Some(None))) {
            let step = Step {
                number,
                id: StepId::from(shown.as_str()),
                when: when.flatten(),
                verb,
                on_error: healed.flatten().map(|(on_error, _)| on_error),
                outbox,
                place: findings.place(node.span),
            };
            if let Some(slot) = self.steps.get_mut(number.0 as usize) {
                *slot = Some(step);
            }
        }
        Some((number, output))
    }

    fn verb_of(&self, table: &Table<'n>) -> Option<&'n (Key, Node)> {
        let findings = self.ground.compiler.findings;
        let mut verbs = table.entries.iter().filter(|(key, _)| keys::VERBS.contains(&key.name.as_str()));
        let Some(first) = verbs.next() else {
            let slip = table.entries.iter().find_map(|(key, _)| {
                let known = keys::STEP.iter().chain(keys::RUN).chain(keys::LAYERS);
                let is_known = known.clone().any(|known| *known == key.name);
                (!is_known).then(|| closest(&key.name, keys::VERBS.iter().copied()).map(|near| (key, near))).flatten()
            });
            match slip {
                Some((key, near)) => findings.error(
                    codes::NO_VERB,
                    key.span,
                    format!("`{}` is no verb, and a step has exactly one", key.name),
                    format!("did you mean `{near}`?"),
                ),
                None => {
                    findings.error(
                        codes::NO_VERB,
                        table.span,
                        "this step does nothing: it has no verb",
                        format!("give it one of {}", list(keys::VERBS)),
                    );
                }
            }
            return None;
        };
        if let Some((second, _)) = verbs.next() {
            let (line, other) = (findings.place(first.0.span), findings.place(second.span));
            let message = format!(
                "a step has one verb, and this has `{}` (line {}) and `{}` (line {})",
                first.0.name, line.line, second.name, other.line
            );
            let diagnostic = Diagnostic::error(codes::TWO_VERBS, other, message).with_related(line, "the first verb is here");
            findings.add(diagnostic, format!("make two steps of it: begin `{}` with a `-` of its own", second.name));
            return None;
        }
        Some(first)
    }

    fn id(&mut self, node: &Node) -> Option<String> {
        let findings = self.ground.compiler.findings;
        let text = findings.literal_text(node, "an id", "a name, as context")?;
        findings.name(text, node.span, "an id", false);
        if let Some(first) = self.ids.get(text) {
            let diagnostic =
                Diagnostic::error(codes::DUPLICATE_NAME, findings.place(node.span), format!("two steps of this flow have the id `{text}`"))
                    .with_related(findings.place(*first), "the first one is here");
            findings.add(diagnostic, "give one of them another id");
            return None;
        }
        self.ids.insert(text.to_owned(), node.span);
        Some(text.to_owned())
    }

    /// Refuses keys that do not stand beside this verb.
    fn check_beside(&self, table: &Table<'_>, verb: &str) {
        let findings = self.ground.compiler.findings;
        let others = keys::BESIDE_OTHERS.iter().find(|(name, _)| *name == verb).map(|(_, beside)| *beside).unwrap_or_default();
        let calls = matches!(verb, "run" | "dispatch" | "call");
        let mut known: Vec<&str> = keys::STEP.to_vec();
        known.push(verb);
        known.extend(others);
        if calls {
            known.extend(keys::LAYERS);
        }
        if verb == "run" {
            known.extend(keys::RUN);
        }
        for (key, _) in table.entries {
            let name = key.name.as_str();
            let later = keys::LATER_BESIDE.contains(&name);
            if keys::VERBS.contains(&name) {
                continue;
            }
            if known.contains(&name) {
                if later {
                    findings.error(codes::LATER_KEY, key.span, format!("`{name}` beside `{verb}` is not in this version"), "leave it out");
                }
            } else if keys::LAYERS.contains(&name) || keys::RUN.contains(&name) {
                findings.error(
                    codes::UNKNOWN_KEY,
                    key.span,
                    format!("`{name}` does not stand beside `{verb}`"),
                    match name {
                        "via" | "order_key" => "it belongs to a step with `run` or `emit`",
                        _ if keys::RUN.contains(&name) => "it belongs to a step with `run`",
                        _ => "it belongs to a step with `run`, `dispatch` or `call`",
                    },
                );
            } else {
                let now: Vec<&str> = known.iter().copied().filter(|name| !keys::LATER_BESIDE.contains(name)).collect();
                findings.unknown_key(key, &format!("a step with `{verb}`"), &now);
            }
        }
    }

    fn verb(&mut self, key: &Key, value: &'n Node, table: &Table<'n>, seen: &Seen, id: &str) -> Option<(Verb, Type)> {
        let names = seen.names();
        match key.name.as_str() {
            "run" => self.run(value, table, seen, id).map(|(run, output)| (Verb::Run(Box::new(run)), output)),
            "call" => self.call(value, table, seen, id).map(|(run, output)| (Verb::Run(Box::new(run)), output)),
            "dispatch" => self.dispatch(value, table, seen, id),
            "wait" => self.wait(value, seen),
            "switch" => self.switch(value, seen),
            "parallel" => self.parallel(value, table, seen),
            "each" => self.each(value, seen),
            "sleep" => self.sleep(value, &names),
            "emit" => self.emit(value, table, &names),
            "set" => {
                let (fields, changed) = self.set(value, &names, "set")?;
                Some((Verb::Set(fields), record([("before", changed.clone()), ("after", changed)])))
            }
            "reply" => {
                let (template, found) = self.ground.compiler.value(value, &names, &Type::Any, "reply")?;
                Some((Verb::Reply(template), found))
            }
            _ => self.fail(value, &names).map(|fail| (Verb::Fail(fail), Type::Any)),
        }
    }

    fn emit(&self, node: &Node, beside: &Table<'_>, names: &Names) -> Option<(Verb, Type)> {
        let compiler = self.ground.compiler;
        let table = compiler.findings.map(node, "`emit`", "{ OrderPlaced: { order: '${input.order}' } }")?;
        if table.entries.is_empty() {
            compiler.findings.error(codes::MISSING_KEY, node.span, "`emit` names no event", "write it as { OrderPlaced: { … } }");
        }
        let emitted: Vec<Option<(EventType, Template)>> = table
            .entries
            .iter()
            .map(|(key, value)| {
                let event = compiler.declared_event(&key.name, key.span, self.ground.events.declared);
                let wanted = event.as_ref().and_then(|event| self.ground.events.declared.get(event)).cloned().unwrap_or_default();
                let empty = value.is_null() && matches!(&wanted, Type::Record(fields) if fields.is_empty());
                let data = if empty {
                    Some(Template::Literal(Value::map([])))
                } else {
                    compiler.value(value, names, &wanted, &key.name).map(|(data, _)| data)
                };
                Some((event?, data?))
            })
            .collect();
        let refused = Type::List(Box::new(record([("run", Type::String), ("reason", Type::String)])));
        let output = match emitted.len() {
            // Nobody waits for what becomes of an event in the outbox.
            1 if beside.get("via").is_some() => record([("id", Type::String)]),
            1 => record([("id", Type::String), ("refused", refused)]),
            _ => Type::Any,
        };
        Some((Verb::Emit(emitted.into_iter().collect::<Option<_>>()?), output))
    }

    /// Fields of the state with what they become, and the type of these fields.
    pub(super) fn set(&self, node: &Node, names: &Names, what: &str) -> Option<(Vec<(String, Template)>, Type)> {
        let compiler = self.ground.compiler;
        let table = compiler.findings.map(node, &format!("`{what}`"), "{ status: done }")?;
        if table.entries.is_empty() {
            compiler.findings.error(codes::MISSING_KEY, node.span, format!("`{what}` names no field"), "write it as { status: done }");
        }
        let mut changed = Vec::new();
        let fields: Vec<Option<(String, Template)>> = table
            .entries
            .iter()
            .map(|(key, value)| {
                let declared = self.ground.state.types.iter().find(|(name, _)| *name == key.name);
                let wanted = match declared {
                    Some((name, declared)) => {
                        changed.push((name.as_str(), declared.clone()));
                        declared
                    }
                    None => {
                        compiler.undeclared_field(&key.name, key.span, self.ground.state);
                        &Type::Any
                    }
                };
                let (template, _) = compiler.value(value, names, wanted, &format!("{what}.{}", key.name))?;
                declared.map(|_| (key.name.clone(), template))
            })
            .collect();
        Some((fields.into_iter().collect::<Option<_>>()?, record(changed)))
    }

    fn fail(&self, node: &Node, names: &Names) -> Option<Fail> {
        let compiler = self.ground.compiler;
        let findings = compiler.findings;
        let example = "{ kind: invalid, message: … }, or '${error}' to pass one on";
        if node.text().is_some_and(|text| text.contains("${")) {
            return match compiler.value(node, names, &Type::Any, "fail")? {
                (template @ Template::Expression(_), _) => Some(Fail::PassOn(template)),
                _ => {
                    findings.wrong_kind(node, "`fail`", "a failure", example);
                    None
                }
            };
        }
        let table = findings.table(node, "`fail`", keys::FAIL, example)?;
        let kinds: Vec<(&str, FailureKind)> = FailureKind::ALL.into_iter().map(|kind| (kind.as_str(), kind)).collect();
        let kind = table.get("kind").map_or(Some(FailureKind::Failed), |node| findings.word(node, "`kind`", &kinds));
        let text = |key: &str| {
            table.get(key).map(|node| compiler.value(node, names, &Type::String, &format!("fail.{key}")).map(|(template, _)| template))
        };
        let message = findings.required(&table, "message", "`fail`", "write one sentence for people");
        let (code, message) = (text("code"), message.and_then(|_| text("message")).flatten());
        if matches!(code, Some(None)) {
            return None;
        }
        Some(Fail::New { kind: kind?, code: code.flatten(), message: message? })
    }

    fn step_on_error(&mut self, node: &'n Node, seen: &Seen) -> Option<(OnError, Type)> {
        if node.text() == Some("ignore") {
            return Some((OnError::Ignore, Type::Any));
        }
        let findings = self.ground.compiler.findings;
        if let Some(word) = node.text() {
            let message = format!("`on_error` cannot be `{word}`");
            findings.error(codes::UNKNOWN_WORD, node.span, message, "write ignore, or a list of steps whose last output stands in");
            return None;
        }
        let (block, output) = self.block(node, &mut seen.with(Root::Error, names::error()), "`on_error`")?;
        Some((OnError::Steps(block), output))
    }
}
