//! The policies of one step: what stands beside it replaces that layer of its named policy whole.

use indexmap::IndexMap;

use super::flow::Lowering;
use super::template::Compiler;
use crate::model::policy::{AttemptSettings, Layer, PolicyIdentity, ProbeSettings};
use crate::model::port::Root;
use crate::model::types::{Origin, Type};
use crate::model::value::Value;
use crate::plan::check::names::{self, Seen};
use crate::plan::codes;
use crate::plan::pipeline::{Cache, Fallback, JobPolicy, Keyed, LayerOrigin, Retry, StandIn, Written};
use crate::plan::raw::policy::{At, Layers, Probe};
use crate::plan::raw::{Table, closest, keys};
use crate::plan::source::{Content, Node, Span};
use crate::plan::template::Template;

/// A named policy.
pub(super) struct Declared<'n> {
    span: Span,
    /// Which file it stands in: 0 is the pipeline's own, 1 its first library.
    file: usize,
    layers: Layers<'n>,
}

impl Declared<'_> {
    /// Whether it keeps results.
    pub(super) const fn has_cache(&self) -> bool {
        self.layers.cache.is_some()
    }
}

impl Compiler<'_> {
    /// `policies`: the layers of each, read and not yet compiled.
    pub(super) fn policies<'n>(&self, node: Option<&'n Node>, file: usize, library: bool) -> IndexMap<String, Declared<'n>> {
        let table = node.and_then(|node| self.findings.map(node, "`policies`", "{ api: { timeout: 10s } }"));
        let mut policies = IndexMap::new();
        for (key, node) in table.map(|table| table.entries).unwrap_or_default() {
            self.findings.name(&key.name, key.span, "the name of a policy", true);
            let layers = self
                .findings
                .table(node, "a policy", keys::LAYERS, "{ timeout: 10s, retry: 3 }")
                .map(|table| self.findings.layers(&table, true, file));
            if let Some(steps) = layers.and_then(|layers| layers.fallback?.value.steps).filter(|_| library) {
                let help = "let it have a `value`, or write the fallback beside the step: steps belong to a flow";
                self.findings.error(codes::IN_LIBRARY, steps.span, "`fallback.steps` does not stand in a library", help);
            }
            policies.insert(key.name.clone(), Declared { span: key.span, file, layers: layers.unwrap_or_default() });
        }
        policies
    }
}

impl<'a> super::flow::Ground<'a, '_> {
    /// What compiles the expressions of a layer: those of a library's policy stand in its file.
    pub(super) fn compiler_of(&self, file: usize) -> Compiler<'a> {
        file.checked_sub(1).and_then(|library| self.imported.get(library)).map_or(self.compiler, |(_, compiler)| *compiler)
    }

    /// Who the state of a named policy belongs to: a library's, if it stands there.
    fn owner(&self, file: usize) -> String {
        let library = file.checked_sub(1).and_then(|library| self.imported.get(library));
        library.map_or_else(|| self.pipeline.to_string(), |(name, _)| (*name).to_owned())
    }

    /// The named policies that keep results.
    pub(super) fn caches(&self) -> Vec<PolicyIdentity> {
        let caches = self.policies.iter().filter(|(_, declared)| declared.has_cache());
        caches.map(|(name, declared)| PolicyIdentity::Named { owner: self.owner(declared.file), policy: name.clone() }).collect()
    }

    /// What the expressions of a layer see: a library lists the variables and secrets that it reads itself.
    fn seen_in(&self, file: usize, seen: &Seen) -> Seen {
        if file == 0 {
            return seen.clone();
        }
        let roots = self.compiler_of(file).load.roots();
        roots.into_iter().fold(seen.clone(), |seen, (root, declared)| seen.with(root, declared))
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
                Some(declared) => {
                    self.used.insert(name.to_owned());
                    declared.layers
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
        named.replaced_by(findings.layers(table, false, 0))
    }

    /// Where each layer is written.
    pub(super) fn origins(&self, layers: &Layers<'n>, table: &Table<'_>) -> Vec<LayerOrigin> {
        let policy = table.get("policy").and_then(Node::text);
        let all = Layer::ALL.into_iter().zip(layers.nodes);
        all.filter_map(|(layer, node)| {
            let At { value: node, named, file, .. } = node?;
            let findings = self.ground.compiler_of(file).findings;
            let place = findings.place(node.span);
            let written = match &node.content {
                Content::Map(entries) => findings.written(&Table { span: node.span, entries }),
                Content::Scalar(_) | Content::List(_) => vec![Written { key: String::new(), place: place.clone() }],
            };
            Some(LayerOrigin { layer, policy: policy.filter(|_| named).map(str::to_owned), place, written })
        })
        .collect()
    }

    fn identity<T>(&self, table: &Table<'_>, id: &str, layer: &At<T>) -> PolicyIdentity {
        match table.get("policy").and_then(Node::text).filter(|_| layer.named) {
            Some(policy) => PolicyIdentity::Named { owner: self.ground.owner(layer.file), policy: policy.to_owned() },
            None => PolicyIdentity::Step { pipeline: self.ground.pipeline.to_string(), flow: self.flow.clone(), step: id.to_owned() },
        }
    }

    /// The attempt half.
    pub(super) fn attempt_settings(&mut self, layers: &Layers<'n>, table: &Table<'_>, id: &str) -> AttemptSettings {
        AttemptSettings {
            probe: layers.breaker.and_then(|layer| layer.value.1.and_then(|probe| self.probe(probe, layer.file))),
            breaker: layers.breaker.map(|layer| (self.identity(table, id, &layer), layer.value.0)),
            rate_limit: layers.rate_limit.map(|layer| (self.identity(table, id, &layer), layer.value)),
            bulkhead: layers.bulkhead.map(|layer| (self.identity(table, id, &layer), layer.value)),
            timeout: layers.timeout.map(|layer| layer.value),
        }
    }

    /// What is asked while a breaker is open. It belongs to no run, so that its input is fixed at load.
    fn probe(&mut self, probe: Probe<'_>, file: usize) -> Option<ProbeSettings> {
        let compiler = self.ground.compiler_of(file);
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
        let before = self.ground.compiler.findings.count();
        let mut good = true;
        let mut policy = JobPolicy { deadline: layers.deadline.map(|layer| layer.value), ..JobPolicy::default() };
        if let Some(layer) = layers.dedup {
            let (compiler, names) = (self.ground.compiler_of(layer.file), self.ground.seen_in(layer.file, seen).names());
            let (key, settings) = layer.value;
            policy.dedup =
                compiler.key(key, &names, "dedup.key").map(|key| Keyed { identity: self.identity(table, id, &layer), key, settings });
            good &= policy.dedup.is_some();
        }
        if let Some(layer) = layers.cache {
            let (compiler, names) = (self.ground.compiler_of(layer.file), self.ground.seen_in(layer.file, seen).names());
            let (key, tags, settings) = layer.value;
            let tags = tags.map(|tags| {
                compiler.constants(tags, &names, "cache.tags");
                compiler.value(tags, &names, &Type::List(Box::new(Type::String)), "cache.tags").map(|(tags, _)| tags)
            });
            good &= !matches!(tags, Some(None));
            policy.cache = compiler.key(key, &names, "cache.key").map(|key| {
                let keyed = Keyed { identity: self.identity(table, id, &layer), key, settings };
                Cache { keyed, tags: tags.flatten() }
            });
            good &= policy.cache.is_some();
        }
        if let Some(layer) = layers.retry {
            let compiler = self.ground.compiler_of(layer.file);
            let with_error = self.ground.seen_in(layer.file, seen).with(Root::Error, names::error());
            let (should_retry, settings) = layer.value;
            let compiled = should_retry.map(|node| compiler.condition(node, &with_error.names(), "should_retry"));
            good &= !matches!(compiled, Some(None));
            policy.retry = Some(Retry { settings, should_retry: compiled.flatten() });
        }
        let mut same = None;
        if let Some(layer) = layers.fallback {
            let compiler = self.ground.compiler_of(layer.file);
            let with_error = self.ground.seen_in(layer.file, seen).with(Root::Error, names::error());
            let when = layer.value.when.map(|node| compiler.condition(node, &with_error.names(), "when"));
            good &= !matches!(when, Some(None));
            let stand_in = match (layer.value.value, layer.value.steps) {
                (Some(node), _) => compiler.value(node, &with_error.names(), &Type::Any, "fallback.value").map(|(template, found)| {
                    let fits = match &template {
                        Template::Literal(value) => output.conform(value, Origin::Data).is_ok(),
                        _ => found == *output,
                    };
                    (StandIn::Value(template), fits)
                }),
                // In a library that is refused.
                (None, Some(_)) if layer.file > 0 => None,
                (None, Some(node)) => self
                    .block(node, &mut with_error.clone(), "`fallback.steps`")
                    .map(|(block, last)| (StandIn::Steps(block), last == *output)),
                (None, None) => None,
            };
            same = stand_in.as_ref().map(|(_, fits)| *fits);
            good &= stand_in.is_some();
            policy.fallback = stand_in.map(|(stand_in, _)| Fallback { when: when.flatten(), stand_in });
        }
        ((good && self.ground.compiler.findings.count() == before).then_some(policy), same)
    }

    /// Warns of policies that no step names.
    pub(super) fn unused(ground: &super::flow::Ground<'_, 'n>, used: &std::collections::HashSet<String>) {
        for (name, declared) in &ground.policies {
            // A library is there for others too.
            if declared.file == 0 && !used.contains(name) {
                ground.compiler.findings.warning(
                    codes::UNUSED_POLICY,
                    declared.span,
                    format!("no step uses the policy `{name}`"),
                    format!("write policy: {name} beside a `run`, or take it out"),
                );
            }
        }
    }
}
