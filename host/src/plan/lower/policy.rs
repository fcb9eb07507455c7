//! The policies of one step: what stands beside it replaces that layer of its named policy whole.

use indexmap::IndexMap;

use super::flow::Lowering;
use super::template::Compiler;
use crate::model::policy::{AttemptSettings, PolicyIdentity, ProbeSettings};
use crate::model::port::Root;
use crate::model::types::{Origin, Type};
use crate::model::value::Value;
use crate::plan::check::names::{self, Seen};
use crate::plan::codes;
use crate::plan::pipeline::{Cache, Fallback, JobPolicy, Keyed, Retry, StandIn};
use crate::plan::raw::policy::{Layers, Probe};
use crate::plan::raw::{Table, closest, keys};
use crate::plan::source::{Node, Span};
use crate::plan::template::Template;

impl Compiler<'_> {
    /// `policies`: the layers of each, read and not yet compiled.
    pub(super) fn policies<'n>(&self, node: Option<&'n Node>) -> IndexMap<String, (Span, Layers<'n>)> {
        let table = node.and_then(|node| self.findings.map(node, "`policies`", "{ api: { timeout: 10s } }"));
        let mut policies = IndexMap::new();
        for (key, node) in table.map(|table| table.entries).unwrap_or_default() {
            self.findings.name(&key.name, key.span, "the name of a policy", true);
            let layers = self
                .findings
                .table(node, "a policy", keys::LAYERS, "{ timeout: 10s, retry: 3 }")
                .map(|table| self.findings.layers(&table, true));
            policies.insert(key.name.clone(), (key.span, layers.unwrap_or_default()));
        }
        policies
    }
}

impl<'n> Lowering<'_, 'n> {
    /// The layers of a step, named and beside it.
    pub(super) fn layers(&mut self, table: &Table<'n>) -> Layers<'n> {
        let findings = self.ground.compiler.findings;
        let named = match table
            .get("policy")
            .and_then(|node| Some((findings.literal_text(node, "`policy`", "the name of a policy")?, node.span)))
        {
            None => Layers::default(),
            Some((name, span)) => match self.ground.policies.get(name) {
                Some((_, layers)) => {
                    self.used.insert(name.to_owned());
                    *layers
                }
                None => {
                    let help = match closest(name, self.ground.policies.keys().map(String::as_str)) {
                        Some(near) => format!("did you mean `{near}`?"),
                        None => format!("declare it, as policies: {{ {name}: {{ timeout: 10s }} }}"),
                    };
                    findings.error(codes::UNKNOWN_POLICY, span, format!("there is no policy `{name}`"), help);
                    Layers::default()
                }
            },
        };
        named.replaced_by(findings.layers(table, false))
    }

    fn identity(&self, table: &Table<'_>, id: &str, named: bool) -> PolicyIdentity {
        let pipeline = self.ground.pipeline.to_string();
        match table.get("policy").and_then(Node::text).filter(|_| named) {
            Some(policy) => PolicyIdentity::Named { owner: pipeline, policy: policy.to_owned() },
            None => PolicyIdentity::Step { pipeline, flow: self.flow.clone(), step: id.to_owned() },
        }
    }

    /// The attempt half.
    pub(super) fn attempt_settings(&mut self, layers: &Layers<'n>, table: &Table<'_>, id: &str) -> AttemptSettings {
        AttemptSettings {
            probe: layers.breaker.and_then(|layer| layer.value.1).and_then(|probe| self.probe(probe)),
            breaker: layers.breaker.map(|layer| (self.identity(table, id, layer.named), layer.value.0)),
            rate_limit: layers.rate_limit.map(|layer| (self.identity(table, id, layer.named), layer.value)),
            bulkhead: layers.bulkhead.map(|layer| (self.identity(table, id, layer.named), layer.value)),
            timeout: layers.timeout.map(|layer| layer.value),
        }
    }

    /// What is asked while a breaker is open. It belongs to no run, so that its input is fixed at load.
    fn probe(&mut self, probe: Probe<'_>) -> Option<ProbeSettings> {
        let compiler = self.ground.compiler;
        let name = compiler.findings.literal_text(probe.run, "`run`", "the name of an executor")?;
        let (executor, declared) = self.executors.by_name(&compiler, name, probe.run.span)?;
        let wanted = declared.description.input.clone().unwrap_or_default();
        let input = match probe.with {
            Some(node) => compiler.fixed(node, &wanted, "probe.with")?,
            None => Value::null(),
        };
        Some(ProbeSettings { executor, input, every: probe.every })
    }

    /// The job half; and, if something may stand in for the output, whether it is known to be of the output's type.
    pub(super) fn job_policy(
        &mut self,
        layers: &Layers<'n>,
        table: &Table<'_>,
        seen: &Seen,
        id: &str,
        output: &Type,
    ) -> (Option<JobPolicy>, Option<bool>) {
        let compiler = self.ground.compiler;
        let names = seen.names();
        let with_error = seen.with(Root::Error, names::error());
        let before = compiler.findings.count();
        let mut policy = JobPolicy { deadline: layers.deadline.map(|layer| layer.value), ..JobPolicy::default() };
        if let Some(layer) = layers.dedup {
            let (key, settings) = layer.value;
            policy.dedup =
                compiler.key(key, &names, "dedup.key").map(|key| Keyed { identity: self.identity(table, id, layer.named), key, settings });
        }
        if let Some(layer) = layers.cache {
            let (key, tags, settings) = layer.value;
            let tags =
                tags.map(|tags| compiler.value(tags, &names, &Type::List(Box::new(Type::String)), "cache.tags").map(|(tags, _)| tags));
            policy.cache = compiler.key(key, &names, "cache.key").map(|key| {
                let keyed = Keyed { identity: self.identity(table, id, layer.named), key, settings };
                Cache { keyed, tags: tags.flatten() }
            });
        }
        if let Some(layer) = layers.retry {
            let (should_retry, settings) = layer.value;
            let should_retry = should_retry.and_then(|node| compiler.condition(node, &with_error.names(), "should_retry"));
            policy.retry = Some(Retry { settings, should_retry });
        }
        let mut same = None;
        if let Some(layer) = layers.fallback {
            let when = layer.value.when.and_then(|node| compiler.condition(node, &with_error.names(), "when"));
            let stand_in = match (layer.value.value, layer.value.steps) {
                (Some(node), _) => compiler.value(node, &with_error.names(), &Type::Any, "fallback.value").map(|(template, found)| {
                    let fits = match &template {
                        Template::Literal(value) => output.conform(value, Origin::Data).is_ok(),
                        _ => found == *output,
                    };
                    (StandIn::Value(template), fits)
                }),
                (None, Some(node)) => self
                    .block(node, &mut with_error.clone(), "`fallback.steps`")
                    .map(|(block, last)| (StandIn::Steps(block), last == *output)),
                (None, None) => None,
            };
            same = stand_in.as_ref().map(|(_, fits)| *fits);
            policy.fallback = stand_in.map(|(stand_in, _)| Fallback { when, stand_in });
        }
        ((compiler.findings.count() == before).then_some(policy), same)
    }

    /// Warns of policies that no step names.
    pub(super) fn unused(ground: &super::flow::Ground<'_, 'n>, used: &std::collections::HashSet<String>) {
        for (name, (span, _)) in &ground.policies {
            if !used.contains(name) {
                ground.compiler.findings.warning(
                    codes::UNUSED_POLICY,
                    *span,
                    format!("no step uses the policy `{name}`"),
                    format!("write policy: {name} beside a `run`, or take it out"),
                );
            }
        }
    }
}
