//! One flow: its trigger, input and door, and the lists of steps inside it.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use indexmap::IndexMap;

use super::call::Callable;
use super::executor::Executors;
use super::policy::Declared;
use super::state::state_type;
use super::template::Compiler;
use super::trigger::{KnownEvents, given_by};
use crate::model::diagnostic::Place;
use crate::model::id::{FlowName, PipelineName, StepId};
use crate::model::port::Root;
use crate::model::record::{BlockNumber, StepNumber};
use crate::model::types::Type;
use crate::plan::check::branches::{self, Body};
use crate::plan::check::budget;
use crate::plan::check::fit::nullable;
use crate::plan::check::names::{self, Seen};
use crate::plan::check::replies;
use crate::plan::codes;
use crate::plan::pipeline::{Concurrency, Flow, Idempotency, RunStep, StateSettings, Step, Trigger, Verb};
use crate::plan::raw::{Table, keys};
use crate::plan::source::{Node, Span};
use crate::plan::template::Template;

/// What all flows of a pipeline share.
pub(super) struct Ground<'a, 'n> {
    pub(super) compiler: Compiler<'a>,
    pub(super) pipeline: PipelineName,
    pub(super) events: KnownEvents<'a>,
    pub(super) state: &'a StateSettings,
    pub(super) policies: IndexMap<String, Declared<'n>>,
    pub(super) callable: &'a Callable,
    /// Its libraries: their names, and what compiles what stands in them.
    pub(super) imported: Vec<(&'a str, Compiler<'a>)>,
}

/// A flow that is being lowered.
pub(super) struct Lowering<'a, 'n> {
    pub(super) ground: &'a Ground<'a, 'n>,
    pub(super) executors: &'a mut Executors<'n>,
    /// The names of policies that some step uses.
    pub(super) used: &'a mut HashSet<String>,
    pub(super) flow: String,
    /// The time that is left to a step here; none where the flow's deadline does not count.
    pub(super) deadline: Option<(Duration, Span)>,
    /// Whether the flow's runs are journaled.
    pub(super) durable: bool,
    /// The block that comes after the end of a run, `on_error` or `finally`, if that is what is lowered.
    pub(super) after_end: Option<&'static str>,
    pub(super) ids: HashMap<String, Span>,
    /// By number; `None` for one that is wrong, which was said already.
    pub(super) steps: Vec<Option<Step>>,
    /// How many of them no list of the file holds: whoever counts the steps of the file does not count these.
    pub(super) unlisted: u32,
    blocks: Vec<Vec<StepNumber>>,
}

/// So long the first result answers repeats, where `idempotency` does not say it.
const RETENTION: Duration = Duration::from_hours(24);
const STEPS: &str = "a list: one `- run: …` below the other";

/// Lowers a flow; `None` if anything in it is wrong.
pub(super) fn lower<'n>(
    ground: &Ground<'_, 'n>,
    executors: &mut Executors<'n>,
    used: &mut HashSet<String>,
    name: &str,
    table: &Table<'n>,
) -> Option<Flow> {
    let compiler = ground.compiler;
    let findings = compiler.findings;
    let before = findings.count();
    let what = if name == "main" { "the flow".to_owned() } else { format!("the flow `{name}`") };
    let triggers = findings
        .required(table, "trigger", &what, "write what starts it, as trigger: { stdin: line }; manual starts it by name only")
        .map(|node| compiler.triggers(node, ground.events))
        .unwrap_or_default();
    let (given, event) = given_by(&triggers, ground.events);
    let input = table.get("input").map_or(Some(given), |node| findings.record(node, "`input`")).unwrap_or_default();
    let mut seen = Seen::new([
        (Root::Input, input.clone()),
        (Root::Trigger, Type::Any),
        (Root::Caller, names::caller()),
        (Root::Run, names::run(false)),
    ]);
    for (root, declared) in compiler.load.roots() {
        seen = seen.with(root, declared);
    }
    if !ground.state.types.is_empty() {
        seen = seen.with(Root::State, state_type(ground.state));
    }
    if let Some(data) = event {
        let always = triggers.iter().all(|trigger| matches!(trigger, Trigger::Event { .. }));
        let event = names::event(data);
        seen = seen.with(Root::Event, if always { event } else { nullable(event) });
        if findings.count() == before {
            ground.events.note(&mut seen, "event.type", &triggers.iter().flat_map(Trigger::types).cloned().collect::<Vec<_>>());
        }
    }
    let durable = table.get("durable").map_or(Some(true), |node| findings.truth(node, "`durable`")).unwrap_or(true);
    let deadline = table.get("deadline").and_then(|node| Some((findings.duration(node, "`deadline`")?, node.span)));
    let state_key = table.get("state_key").and_then(|node| compiler.key(node, &seen.at_the_door(), "state_key"));
    let idempotency = table.get("idempotency").and_then(|node| compiler.idempotency(node, &seen));
    let cancel_on = table.get("cancel_on").map(|node| compiler.cancel_on(node, &seen.names(), ground.events)).unwrap_or_default();
    let concurrency = table.get("concurrency").and_then(|node| compiler.concurrency(node, &seen)).unwrap_or_default();
    let steps = findings.required(table, "steps", &what, "write what it does, as steps: and one `- run: …` below the other");

    let mut lowering = Lowering {
        ground,
        executors,
        used,
        flow: name.to_owned(),
        deadline,
        durable,
        after_end: None,
        ids: HashMap::new(),
        steps: Vec::new(),
        unlisted: 0,
        blocks: Vec::new(),
    };
    if let Some(steps) = steps {
        replies::check(findings, steps);
        lowering.block(steps, &mut seen, "`steps`");
    }
    let after = seen.perhaps();
    // What comes after the end has its own time.
    lowering.deadline = None;
    let mut last = |key: &'static str, seen: Seen| {
        let node = table.get(key)?;
        lowering.after_end = Some(key);
        replies::check(findings, node);
        Some(lowering.block(node, &mut seen.clone(), &format!("`{key}`"))?.0)
    };
    let on_error = last("on_error", after.with(Root::Error, names::error()));
    let finally = last("finally", after.with(Root::Run, names::run(true)).with(Root::Error, nullable(names::error())));
    let (steps, blocks) = (lowering.steps, lowering.blocks);
    if findings.count() > before {
        return None;
    }
    let steps: Vec<Step> = steps.into_iter().collect::<Option<_>>()?;
    let body = Body { steps: &steps, blocks: &blocks };
    branches::check(findings, body);
    if let Some(deadline) = deadline {
        budget::check(findings, body, deadline);
    }
    Some(Flow {
        name: FlowName::from(name),
        triggers,
        input,
        state_key,
        concurrency,
        deadline: deadline.map(|(deadline, _)| deadline),
        durable,
        steps,
        blocks,
        on_error,
        finally,
        cancel_on,
        idempotency,
        place: findings.place(table.span),
        written: findings.written(table),
    })
}

impl<'n> Lowering<'_, 'n> {
    /// A list of steps; each sees those before it. Gives the block's number and what its last step's output is.
    pub(super) fn block(&mut self, node: &'n Node, seen: &mut Seen, what: &str) -> Option<(BlockNumber, Type)> {
        let findings = self.ground.compiler.findings;
        let steps = findings.list(node, what, STEPS)?;
        if steps.is_empty() {
            let help = match what {
                "`on_error`" | "`finally`" => "write at least one, or leave the key out",
                _ => "write at least one, as `- run: …`",
            };
            findings.error(codes::MISSING_KEY, node.span, format!("{what} holds no step"), help);
        }
        let number = BlockNumber(u32::try_from(self.blocks.len()).ok()?);
        self.blocks.push(Vec::new());
        let mut numbers = Vec::with_capacity(steps.len());
        let mut last = Type::Any;
        for step in steps {
            let (number, output) = self.step(step, seen)?;
            numbers.push(number);
            last = output;
        }
        if let Some(block) = self.blocks.get_mut(number.0 as usize) {
            *block = numbers;
        }
        Some((number, last))
    }

    /// The steps of a block by number; those that are wrong are left out.
    pub(super) fn steps_of(&self, block: BlockNumber) -> impl Iterator<Item = &Step> {
        let numbers = self.blocks.get(block.0 as usize).map(Vec::as_slice).unwrap_or_default();
        numbers.iter().filter_map(|number| self.steps.get(number.0 as usize)?.as_ref())
    }

    /// A block of one step that no list of the file holds: what a `dispatch` does, or an `undo`.
    pub(super) fn lone(&mut self, id: &str, place: Place, verb: impl FnOnce(&mut Self) -> Option<RunStep>) -> Option<BlockNumber> {
        let number = StepNumber(u32::try_from(self.steps.len()).ok()?);
        self.steps.push(None);
        self.unlisted += 1;
        let block = BlockNumber(u32::try_from(self.blocks.len()).ok()?);
        self.blocks.push(vec![number]);
        let verb = Verb::Run(Box::new(verb(self)?));
        let step = Step { number, id: StepId::from(id), when: None, verb, on_error: None, outbox: None, place };
        if let Some(slot) = self.steps.get_mut(number.0 as usize) {
            *slot = Some(step);
        }
        Some(block)
    }
}

impl Compiler<'_> {
    /// A key: one value, or a list of them.
    pub(super) fn key(&self, node: &Node, names: &crate::plan::expr::Names, what: &str) -> Option<Template> {
        if node.is_null() {
            self.findings.wrong_kind(node, &format!("`{what}`"), "a value that tells one from another", "'${input.id}'");
            return None;
        }
        self.constants(node, names, what);
        self.value(node, names, &Type::Any, what).map(|(template, _)| template)
    }

    /// `idempotency`; a result is kept a day where nothing else is said.
    fn idempotency(&self, node: &Node, seen: &Seen) -> Option<Idempotency> {
        let example = "{ key: '${input.request}', retention: 24h }";
        let table = self.findings.table(node, "`idempotency`", keys::IDEMPOTENCY, example)?;
        let key = self
            .findings
            .required(&table, "key", "`idempotency`", "write key: '${…}', what tells one request from another")
            .and_then(|node| self.key(node, &seen.at_the_door(), "idempotency.key"));
        let retention = table.get("retention").map_or(Some(RETENTION), |node| self.findings.duration(node, "`retention`"));
        Some(Idempotency { key: key?, retention: retention? })
    }

    fn concurrency(&self, node: &Node, seen: &Seen) -> Option<Concurrency> {
        let table = self.findings.table(node, "`concurrency`", keys::CONCURRENCY, "{ max_concurrent: 1, when_full: queue }")?;
        let defaults = Concurrency::default();
        Some(Concurrency {
            key: table.get("key").and_then(|node| self.key(node, &seen.at_the_door(), "concurrency.key")),
            max_concurrent: table
                .get("max_concurrent")
                .map_or(Some(defaults.max_concurrent), |node| self.findings.whole(node, "`max_concurrent`", 1))?,
            max_queue: table.get("max_queue").map_or(Some(defaults.max_queue), |node| self.findings.whole(node, "`max_queue`", 0))?,
            when_full: table
                .get("when_full")
                .map_or(Some(defaults.when_full), |node| self.findings.word(node, "`when_full`", &keys::WHEN_FULL))?,
        })
    }
}
