//! The verb `run`: which executor, with what, under which policies, and what becomes of its output.

use super::flow::Lowering;
use crate::model::id::EventType;
use crate::model::port::Root;
use crate::model::types::{Field, Type};
use crate::plan::check::fit::{is_optional, may_be, nullable};
use crate::plan::check::limits;
use crate::plan::check::names::{self, Seen};
use crate::plan::codes;
use crate::plan::pipeline::{RunStep, Worker};
use crate::plan::raw::{Table, closest};
use crate::plan::source::Node;
use crate::plan::template::Template;

/// Who does a step's work, and what is known of the input and the output.
pub(super) struct Work {
    /// `None` if there is no such worker, which was said already.
    pub(super) worker: Option<Worker>,
    pub(super) input: Option<Type>,
    pub(super) output: Option<Type>,
}

impl<'n> Lowering<'_, 'n> {
    /// Lowers a `run`, and says what its output is.
    pub(super) fn run(&mut self, node: &'n Node, table: &Table<'n>, seen: &Seen, id: &str) -> Option<(RunStep, Type)> {
        let compiler = self.ground.compiler;
        let executor = compiler
            .findings
            .literal_text(node, "`run`", "the name of an executor")
            .and_then(|name| self.executors.by_name(&compiler, name, node.span));
        let description = executor.as_ref().map(|(_, declared)| &declared.description);
        if description.is_some_and(|description| description.name == "cache.invalidate") {
            self.invalidated(table.get("with"));
        }

        let work = Work {
            worker: executor.as_ref().map(|(number, _)| Worker::Executor(*number)),
            input: description.and_then(|description| description.input.clone()),
            output: description.and_then(|description| description.output.clone()),
        };
        self.work(work, node, table, seen, id)
    }

    /// Lowers what stands beside a `run`, `dispatch` or `call`.
    pub(super) fn work(&mut self, work: Work, node: &'n Node, table: &Table<'n>, seen: &Seen, id: &str) -> Option<(RunStep, Type)> {
        let compiler = self.ground.compiler;
        let findings = compiler.findings;
        let Work { worker, input, output } = work;
        let with_names = seen.with(Root::Job, names::job()).names();
        let with = table.get("with").map(|node| compiler.value(node, &with_names, input.as_ref().unwrap_or(&Type::Any), "with"));
        if let (None, Some(Type::Record(fields)), Some(_)) = (&with, &input, &worker) {
            self.report_missing_input(node, fields);
        }

        // What `transform` gives is what it is given: known as well as its `with` is.
        let gives_back = matches!(&worker, Some(Worker::Executor(number)) if self.executors.gives_back(*number));
        let output = match &with {
            Some(Some((_, given))) if gives_back => Some(given.clone()),
            _ => output,
        };
        let known = output.clone().unwrap_or_default();

        let layers = self.layers(table);
        limits::check(findings, &layers, self.deadline, &|file, span| self.ground.compiler_of(file).findings.place(span));
        let skips = layers.dedup.is_some_and(|dedup| dedup.value.1.on_duplicate == crate::model::policy::OnDuplicate::Skip);
        let (policy, stand_in) = self.job_policy(&layers, table, seen, id, &known);
        let attempt = self.attempt_settings(&layers, table, id);

        let emits = table.get("emits").map(|node| self.emits(node, &known));
        let stream = table.get("stream").map_or(Some(false), |node| findings.truth(node, "`stream`"));
        let undo = self.undo(table, seen, id, &known);
        let optimistic =
            table.get("optimistic").map_or(Some(Vec::new()), |node| self.set(node, &seen.names(), "optimistic").map(|(fields, _)| fields));
        let on_progress = table.get("on_progress").map_or(Some(Vec::new()), |node| self.on_progress(node, seen));

        let mut seen_output = match stand_in {
            Some(false) => Type::Any,
            Some(true) | None => known,
        };
        if skips {
            seen_output = nullable(seen_output);
        }
        if matches!(with, Some(None)) || matches!(emits, Some(None)) {
            return None;
        }
        let run = RunStep {
            worker: worker?,
            undo: undo?,
            optimistic: optimistic?,
            with: with.flatten().map(|(template, _)| template),
            policy: policy?,
            attempt,
            emits: emits.flatten(),
            stream: stream?,
            on_progress: on_progress?,
            output,
            origins: self.origins(&layers, table),
        };
        Some((run, seen_output))
    }

    /// Where there is no `with`, no field of the input may be needed.
    fn report_missing_input(&self, node: &Node, fields: &[Field]) {
        let missing: Vec<String> = fields.iter().filter(|field| !is_optional(field)).map(|field| format!("{}: …", field.name)).collect();
        if !missing.is_empty() {
            self.ground.compiler.findings.error(
                codes::MISFIT,
                node.span,
                format!("`{}` needs an input, and there is no `with`", node.text().unwrap_or_default()),
                format!("write with: {{ {} }}", missing.join(", ")),
            );
        }
    }

    /// `emits`: the event that the output becomes, which it has to fit.
    fn emits(&self, node: &Node, output: &Type) -> Option<EventType> {
        let compiler = self.ground.compiler;
        let name = compiler.findings.literal_text(node, "`emits`", "the type of an event")?;
        let event = compiler.declared_event(name, node.span, self.ground.events.declared)?;
        let wanted = self.ground.events.declared.get(&event).cloned().unwrap_or_default();
        if !may_be(output, &wanted) {
            compiler.findings.error(
                codes::MISFIT,
                node.span,
                format!("the output does not fit the event `{name}`: it is {output}, not {wanted}"),
                "change the event, or emit it in a step of its own with `emit`",
            );
            return None;
        }
        Some(event)
    }

    /// `cache.invalidate` names a policy with a cache. One beside a step, `flow.step`, may stand further down and is looked for at run time.
    fn invalidated(&self, with: Option<&Node>) {
        let Some(node) = with.and_then(|with| with.get("policy")) else { return };
        let Some(name) = node.text().filter(|name| !name.contains(['.', '$'])) else { return };
        let known: Vec<String> =
            self.ground.policies.iter().filter(|(_, declared)| declared.has_cache()).map(|(name, _)| name.clone()).collect();
        if known.iter().any(|known| known == name) {
            return;
        }
        let help = match closest(name, known.iter().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None if self.ground.policies.contains_key(name) => format!("give it one: {name}: {{ cache: {{ key: …, ttl: 10m }} }}"),
            None => format!("declare it, as policies: {{ {name}: {{ cache: {{ key: …, ttl: 10m }} }} }}, or write flow.step"),
        };
        let message = format!("there is no policy `{name}` with a cache");
        self.ground.compiler.findings.error(codes::UNKNOWN_POLICY, node.span, message, help);
    }

    /// `on_progress`: nothing but `set`, because nobody waits for it.
    fn on_progress(&self, node: &Node, seen: &Seen) -> Option<Vec<Vec<(String, Template)>>> {
        let findings = self.ground.compiler.findings;
        let names = seen.with(Root::Progress, Type::Any).names();
        let steps = findings.list(node, "`on_progress`", "[{ set: { status: generating } }]")?;
        let lowered: Vec<Option<Vec<(String, Template)>>> = steps
            .iter()
            .map(|step| {
                let table = findings.map(step, "a step", "{ set: { status: generating } }")?;
                for (key, _) in table.entries {
                    if key.name != "set" {
                        let help = match closest(&key.name, ["set"]) {
                            Some(_) => "did you mean `set`?",
                            None => "other steps would hold the stream up; do it after this step",
                        };
                        findings.error(
                            codes::UNKNOWN_KEY,
                            key.span,
                            format!("`on_progress` takes `set` steps only, not `{}`", key.name),
                            help,
                        );
                    }
                }
                if table.entries.is_empty() {
                    findings.error(
                        codes::MISSING_KEY,
                        step.span,
                        "a step of `on_progress` does nothing",
                        "write set: { status: generating }",
                    );
                }
                let set = table.get("set")?;
                self.set(set, &names, "set").map(|(fields, _)| fields)
            })
            .collect();
        lowered.into_iter().collect()
    }
}
