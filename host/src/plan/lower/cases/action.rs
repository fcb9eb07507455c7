//! One action of a test's `steps`.

use super::Reader;
use crate::model::event::Caller;
use crate::model::types::Type;
use crate::plan::cases::{Action, Deed};
use crate::plan::codes;
use crate::plan::expr::Names;
use crate::plan::raw::keys::{self, BESIDE_DEEDS as BESIDE, DEEDS};
use crate::plan::raw::{Table, list};
use crate::plan::source::{Key, Node};
use crate::plan::template::Template;

impl<'a> Reader<'a> {
    /// One action.
    pub(super) fn action(&self, node: &'a Node) -> Option<Action> {
        let findings = self.compiler.findings;
        let table = findings.map(node, "a step of a test", "`- send: { … }` or `- advance: 1s`")?;
        let deeds: Vec<&Key> = table.entries.iter().map(|(key, _)| key).filter(|key| DEEDS.contains(&key.name.as_str())).collect();
        let key = match deeds.as_slice() {
            [key] => *key,
            [] => {
                let known: Vec<&str> = DEEDS.iter().chain(BESIDE.iter().flat_map(|(_, beside)| *beside)).copied().collect();
                findings.check_keys(&table, "a step of a test", &known);
                if table.entries.iter().all(|(key, _)| known.contains(&key.name.as_str())) {
                    findings.error(codes::NO_VERB, table.span, "a step of a test does nothing", format!("write one of {}", list(DEEDS)));
                }
                return None;
            }
            [first, second, ..] => {
                let message = format!("a step of a test does one thing, and this has `{}` and `{}`", first.name, second.name);
                findings.error(codes::TWO_VERBS, second.span, message, "make two steps of it");
                return None;
            }
        };
        let beside = BESIDE.iter().find(|(deed, _)| *deed == key.name).map_or(&[][..], |(_, beside)| beside);
        let known: Vec<&str> = std::iter::once(key.name.as_str()).chain(beside.iter().copied()).collect();
        findings.check_keys(&table, &format!("a step with `{}`", key.name), &known);
        let value = table.get(&key.name)?;
        let deed = self.deed(key, value, &table)?;
        let place = findings.place(if matches!(deed, Deed::Expect(_)) { value.span } else { key.span });
        Some(Action { deed, place })
    }

    fn deed(&self, key: &Key, value: &'a Node, table: &Table<'a>) -> Option<Deed> {
        let findings = self.compiler.findings;
        let caller = || match table.get("caller") {
            Some(node) => self.caller(node),
            None => Some(Caller::default()),
        };
        Some(match key.name.as_str() {
            "send" => Deed::Send {
                flow: match table.get("flow") {
                    Some(node) => Some(self.flow(node)?),
                    None => None,
                },
                input: self.given(value, &Type::Any, "send")?,
                caller: caller()?,
            },
            "emit" => {
                let from = table.get("from").and_then(|node| findings.literal_text(node, "`from`", "the name of a pipeline"));
                let own = from.is_none_or(|from| from == self.pipeline.name.as_str());
                let mut events = Vec::new();
                for (event, data) in findings.map(value, "`emit`", "{ OrderPlaced: { order: '7' } }")?.entries {
                    let declared = match own {
                        true => {
                            let name = self.compiler.declared_event(&event.name, event.span, &self.pipeline.events)?;
                            self.pipeline.events.get(&name).cloned().unwrap_or_default()
                        }
                        false => Type::Any,
                    };
                    events.push((event.name.as_str().into(), self.given(data, &declared, &event.name)?));
                }
                Deed::Emit { from: from.map(Into::into), events, caller: caller()? }
            }
            "advance" => Deed::Advance(findings.duration(value, "`advance`")?),
            "settle" => {
                self.only_true(value, "settle")?;
                Deed::Settle
            }
            "cancel" => Deed::Cancel(usize::try_from(findings.whole(value, "`cancel`", 0)?).ok()?),
            "reload" => {
                let file = match value.scalar().and_then(|scalar| scalar.value.as_bool()) {
                    Some(true) => None,
                    _ => {
                        let text = findings.literal_text(value, "`reload`", "true, or the file that takes this one's place")?;
                        Some(findings.file.path.parent().unwrap_or(std::path::Path::new("")).join(text))
                    }
                };
                let refused = table.get("refused").map_or(Some(false), |node| findings.truth(node, "`refused`"))?;
                Deed::Reload { file, refused }
            }
            "expect" => Deed::Expect(self.expectation(value)?),
            // Of the deeds only `restart` is left.
            _ => {
                self.only_true(value, "restart")?;
                Deed::Restart
            }
        })
    }

    fn only_true(&self, node: &Node, what: &str) -> Option<()> {
        match self.compiler.findings.truth(node, &format!("`{what}`"))? {
            true => Some(()),
            false => {
                self.compiler.findings.error(codes::UNKNOWN_WORD, node.span, format!("`{what}` cannot be false"), "leave the step out");
                None
            }
        }
    }

    /// A value that a test gives: it may read `runs` and `events`, what was seen so far.
    pub(super) fn given(&self, node: &Node, wanted: &Type, what: &str) -> Option<Template> {
        let locals = ["runs", "events"].map(|name| (name.to_owned(), Type::Any)).to_vec();
        let names = Names { locals, ..Names::default() };
        self.compiler.value(node, &names, wanted, what).map(|(template, _)| template)
    }

    /// Who asks.
    pub(super) fn caller(&self, node: &Node) -> Option<Caller> {
        let findings = self.compiler.findings;
        let table = findings.table(node, "`caller`", keys::CALLER, "{ id: anna, roles: [manager] }")?;
        let id = match table.get("id") {
            Some(node) => Some(findings.literal_text(node, "`id`", "anna")?.to_owned()),
            None => None,
        };
        let roles = table.get("roles").map(|node| findings.texts(node, "`roles`", "[manager]")).unwrap_or_default();
        Some(Caller { id, roles: roles.into_iter().map(|(role, _)| role.to_owned()).collect() })
    }
}
