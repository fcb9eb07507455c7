//! From a plan to boxes and arrows: flows with their steps, who does them, and how events get from one to another.

use std::path::Path;

use super::{Arrow, Ear, Frame, Line, Node, Shape, Sketch};
use crate::app::{Hearer, hearers};
use crate::model::event::Scope;
use crate::model::id::EventType;
use crate::model::record::BlockNumber;
use crate::plan::pipeline::{EventMode, Flow, OnError, Pipeline, Plan, StandIn, Step, Trigger, Verb, Worker};

/// The frame of events that none of the files emits.
const NOBODY: &str = "emitted by none of these files";

impl Sketch {
    /// The drawing of a plan.
    pub(in crate::cli::graph) fn of(plan: &Plan) -> Self {
        let mut sketch = Self::default();
        for (number, pipeline) in plan.pipelines.values().enumerate() {
            sketch.pipeline(number, pipeline);
        }
        sketch.hear(plan);
        sketch.call();
        sketch
    }

    /// Leads from each event to who hears it, and shows what is waited for in vain.
    fn hear(&mut self, plan: &Plan) {
        let ears = std::mem::take(&mut self.ears);
        let mut heard: Vec<(usize, EventType)> = Vec::new();
        for (source, event) in std::mem::take(&mut self.emissions) {
            let Some(emitter) = plan.pipelines.get(&source) else { continue };
            let triggered = hearers(plan, emitter, &event);
            let exported = emitter.scope == Scope::Global || emitter.exports.contains(&event);
            for (index, ear) in ears.iter().enumerate().filter(|(_, ear)| ear.types.contains(&event)) {
                let Some(listener) = plan.pipelines.get(&ear.pipeline) else { continue };
                let hears = match ear.mode {
                    Some(mode) => {
                        let whose = (mode == EventMode::Direct) == (source == ear.pipeline);
                        let flow = |hearer: &Hearer| hearer.pipeline == ear.pipeline.as_str() && hearer.flow == ear.flow.as_str();
                        whose && triggered.iter().any(flow)
                    }
                    None => exported || listener.scope == emitter.scope,
                };
                if hears {
                    // It comes by the bus that both have, else by the global one.
                    let bus = if listener.scope == emitter.scope { title(&emitter.scope) } else { title(&Scope::Global) };
                    let on = self.on_bus(&bus, &event);
                    self.arrow(&on, &ear.node, "", Line::Uses);
                    heard.push((index, event.clone()));
                }
            }
        }
        for (index, ear) in ears.iter().enumerate() {
            for event in ear.types.iter().filter(|event| !heard.contains(&(index, (*event).clone()))) {
                let from = self.on_bus(NOBODY, event);
                self.arrow(&from, &ear.node, "", Line::Uses);
            }
        }
    }

    /// Leads from each step that calls a flow to where that begins.
    fn call(&mut self) {
        for (step, pipeline, flow) in std::mem::take(&mut self.calls) {
            let door = self.doors.iter().find(|(owner, name, _)| *owner == pipeline && *name == flow);
            if let Some(first) = door.map(|(_, _, first)| first.clone()) {
                self.arrow(&step, &first, "call", Line::Uses);
            }
        }
    }

    /// The box of an executor: one that a library declares stands in the library's frame.
    fn executor(&mut self, pipeline: &Pipeline, file: &Path, node: Node) {
        if file == pipeline.file || !pipeline.files.iter().any(|own| own == file) {
            self.nodes.push(node);
            return;
        }
        match self.libraries.iter_mut().find(|(library, _)| library == file) {
            Some((_, frame)) => frame.nodes.push(node),
            None => {
                let title = format!("library {}", file.file_name().unwrap_or_default().to_string_lossy());
                self.libraries.push((file.to_owned(), Frame { title, nodes: vec![node] }));
            }
        }
    }

    fn pipeline(&mut self, number: usize, pipeline: &Pipeline) {
        for (index, executor) in pipeline.executors.iter().enumerate() {
            let label = format!("{}\n{}", executor.reference.name, executor.description.name);
            let label =
                if executor.reference.name.as_str() == executor.description.name { executor.description.name.clone() } else { label };
            let id = format!("p{number}x{index}");
            self.executor(pipeline, &executor.place.file, Node { id: id.clone(), label, shape: Shape::Executor });
            for event in &executor.reference.grants.emit {
                self.emits(&id, pipeline, event, "may emit");
            }
        }
        for (index, flow) in pipeline.flows.iter().enumerate() {
            let mut drawn = Drawn { sketch: self, pipeline, flow, prefix: format!("p{number}f{index}"), owner: number, nodes: Vec::new() };
            drawn.flow();
            let nodes = drawn.nodes;
            self.frames.push(Frame { title: format!("{}.{}", pipeline.name, flow.name), nodes });
        }
    }

    /// Leads from a box to the event on each bus that it goes onto.
    fn emits(&mut self, from: &str, pipeline: &Pipeline, event: &EventType, label: &str) {
        let own = self.on_bus(&title(&pipeline.scope), event);
        self.arrow(from, &own, label, Line::Uses);
        if pipeline.scope != Scope::Global && pipeline.exports.contains(event) {
            let global = self.on_bus(&title(&Scope::Global), event);
            self.arrow(&own, &global, "exports", Line::Uses);
        }
        let emission = (pipeline.name.clone(), event.clone());
        if !self.emissions.contains(&emission) {
            self.emissions.push(emission);
        }
    }

    /// The box of an event on a bus, drawn once.
    pub(super) fn on_bus(&mut self, bus: &str, event: &EventType) -> String {
        let number = self.buses.iter().map(|frame| frame.nodes.len()).sum::<usize>();
        let index = self.buses.iter().position(|frame| frame.title == bus).unwrap_or_else(|| {
            self.buses.push(Frame { title: bus.to_owned(), nodes: Vec::new() });
            self.buses.len() - 1
        });
        let Some(frame) = self.buses.get_mut(index) else { return String::new() };
        if let Some(node) = frame.nodes.iter().find(|node| node.label == event.as_str()) {
            return node.id.clone();
        }
        let id = format!("e{number}");
        frame.nodes.push(Node { id: id.clone(), label: event.to_string(), shape: Shape::Event });
        id
    }

    pub(super) fn arrow(&mut self, from: &str, to: &str, label: &str, line: Line) {
        let arrow = Arrow { from: from.to_owned(), to: to.to_owned(), label: label.to_owned(), line };
        if !self.arrows.contains(&arrow) {
            self.arrows.push(arrow);
        }
    }
}

/// A flow while it is drawn.
struct Drawn<'a> {
    sketch: &'a mut Sketch,
    pipeline: &'a Pipeline,
    flow: &'a Flow,
    prefix: String,
    owner: usize,
    nodes: Vec<Node>,
}

impl Drawn<'_> {
    fn flow(&mut self) {
        let first = self.block(BlockNumber(0));
        if let Some(first) = &first {
            self.sketch.doors.push((self.pipeline.name.clone(), self.flow.name.clone(), first.clone()));
        }
        for (index, trigger) in self.flow.triggers.iter().enumerate() {
            let id = format!("{}t{index}", self.prefix);
            let label = match trigger {
                Trigger::StdinLine => "stdin: line",
                Trigger::Event { mode: EventMode::Direct, .. } => "event (direct)",
                Trigger::Event { mode: EventMode::Observe, .. } => "event (observe)",
                Trigger::Manual => "manual",
            };
            self.nodes.push(Node { id: id.clone(), label: label.to_owned(), shape: Shape::Trigger });
            if let Trigger::Event { types, mode } = trigger {
                self.hears(types, Some(*mode), &id);
            }
            if let Some(first) = &first {
                self.sketch.arrow(&id, first, "", Line::Next);
            }
        }
        for (index, listen) in self.flow.cancel_on.iter().enumerate() {
            let id = format!("{}c{index}", self.prefix);
            self.nodes.push(Node { id: id.clone(), label: "cancel_on".to_owned(), shape: Shape::Trigger });
            self.hears(&listen.types, None, &id);
        }
        for (word, block) in [("on_error", self.flow.on_error), ("finally", self.flow.finally)] {
            let Some(first) = block.and_then(|block| self.block(block)) else { continue };
            let id = format!("{}{word}", self.prefix);
            self.nodes.push(Node { id: id.clone(), label: word.to_owned(), shape: Shape::Trigger });
            self.sketch.arrow(&id, &first, "", Line::Next);
        }
    }

    fn hears(&mut self, types: &[EventType], mode: Option<EventMode>, node: &str) {
        let (pipeline, flow) = (self.pipeline.name.clone(), self.flow.name.clone());
        self.sketch.ears.push(Ear { pipeline, flow, types: types.to_vec(), mode, node: node.to_owned() });
    }

    /// Draws the steps of a block one after the other and returns the first, if there is one.
    fn block(&mut self, block: BlockNumber) -> Option<String> {
        let mut before: Option<(String, &Step)> = None;
        let mut first = None;
        for number in self.flow.block(block).to_vec() {
            let flow = self.flow;
            let step = flow.step(number);
            let id = self.step(step);
            if let Some((before, step)) = &before {
                // Nothing comes after a failure: it goes on where there was none.
                let label = if matches!(step.verb, Verb::Fail(_)) && step.when.is_some() { "else" } else { "" };
                self.sketch.arrow(before, &id, label, Line::Next);
            }
            first.get_or_insert_with(|| id.clone());
            before = Some((id, step));
        }
        first
    }

    fn step(&mut self, step: &Step) -> String {
        let id = format!("{}s{}", self.prefix, step.number.0);
        let label = match &step.verb {
            Verb::Run(run) => {
                // The number of a step that has no id says nothing to whoever looks at the drawing.
                let is_named = !step.id.as_str().starts_with('#');
                match &run.worker {
                    Worker::Flow { pipeline, flow } => {
                        self.sketch.calls.push((id.clone(), pipeline.clone(), flow.clone()));
                        if is_named { format!("{}\ncall {pipeline}.{flow}", step.id) } else { format!("call {pipeline}.{flow}") }
                    }
                    Worker::Executor(number) => match self.pipeline.executors.get(*number) {
                        Some(executor) if !is_named => format!("run {}", executor.reference.name),
                        _ => step.id.to_string(),
                    },
                }
            }
            Verb::Emit(_) => "emit".to_owned(),
            Verb::Set(fields) => format!("set {}", fields.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ")),
            Verb::Reply(_) => "reply".to_owned(),
            Verb::Fail(_) => "fail".to_owned(),
            Verb::Dispatch(_) => "dispatch".to_owned(),
            Verb::Wait(wait) => format!("wait, at most {}", wait.timeout.words()),
            Verb::Switch(_) => "switch".to_owned(),
            Verb::Parallel(_) => "parallel".to_owned(),
            Verb::Each(each) => format!("each {}", each.name),
            Verb::Sleep(_) => "sleep".to_owned(),
        };
        // In the box, as no arrow that leads to a step is its alone: the first of a flow is led to by each trigger.
        let label = step.when.as_ref().map_or_else(|| label.clone(), |when| format!("{label}\nwhen {}", when.source()));
        self.nodes.push(Node { id: id.clone(), label, shape: Shape::Step });
        match &step.verb {
            Verb::Run(run) => {
                if let Worker::Executor(number) = run.worker
                    && number < self.pipeline.executors.len()
                {
                    let executor = format!("p{}x{number}", self.owner);
                    self.sketch.arrow(&id, &executor, "run", Line::Uses);
                }
                if let Some(event) = &run.emits {
                    self.sketch.emits(&id, self.pipeline, event, "emits");
                }
                if let Some(undo) = &run.undo {
                    self.inner(&id, undo.block, "undo");
                }
                if let Some(StandIn::Steps(block)) = run.policy.fallback.as_ref().map(|fallback| &fallback.stand_in) {
                    self.inner(&id, *block, "fallback");
                }
            }
            Verb::Emit(events) => {
                for (event, _) in events {
                    self.sketch.emits(&id, self.pipeline, event, "");
                }
            }
            Verb::Dispatch(block) => self.inner(&id, *block, "dispatch"),
            Verb::Wait(wait) => {
                self.hears(&wait.listen.types, None, &id);
                self.inner(&id, wait.on_timeout, "on_timeout");
                if let Some(remind) = &wait.remind {
                    self.inner(&id, remind.block, "remind");
                }
            }
            Verb::Switch(cases) => {
                for case in cases {
                    let label = case.when.as_ref().map_or("else", |when| when.source());
                    self.inner(&id, case.block, label);
                }
            }
            Verb::Parallel(parallel) => {
                for (branch, block) in &parallel.branches {
                    self.inner(&id, *block, branch);
                }
            }
            Verb::Each(each) => self.inner(&id, each.block, &each.name),
            Verb::Set(_) | Verb::Reply(_) | Verb::Fail(_) | Verb::Sleep(_) => {}
        }
        if let Some(OnError::Steps(block)) = step.on_error {
            self.inner(&id, block, "on_error");
        }
        id
    }

    fn inner(&mut self, from: &str, block: BlockNumber, label: &str) {
        if let Some(first) = self.block(block) {
            self.sketch.arrow(from, &first, label, Line::Next);
        }
    }
}

fn title(scope: &Scope) -> String {
    match scope {
        Scope::Private(pipeline) => format!("private bus of {pipeline}"),
        Scope::Named(name) => format!("bus {name}"),
        Scope::Global => "global bus".to_owned(),
    }
}
