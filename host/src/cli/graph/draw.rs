//! The drawing: boxes and arrows first, then as Mermaid or as DOT. Pure, and in the order of the plan.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use crate::app::{Hearer, hearers};
use crate::model::event::Scope;
use crate::model::id::{EventType, FlowName, PipelineName};
use crate::model::record::BlockNumber;
use crate::plan::pipeline::{EventMode, Flow, OnError, Pipeline, Plan, StandIn, Step, Trigger, Verb, Worker};

/// What a box is drawn as.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Shape {
    Trigger,
    Step,
    Executor,
    Event,
}

/// What an arrow is drawn as.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Line {
    /// What comes next.
    Next,
    /// Who does it, or what comes of it.
    Uses,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Node {
    id: String,
    label: String,
    shape: Shape,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Arrow {
    from: String,
    to: String,
    label: String,
    line: Line,
}

/// A frame round boxes: a flow, or a bus.
#[derive(Default, Debug)]
struct Frame {
    title: String,
    nodes: Vec<Node>,
}

/// Boxes and arrows.
#[derive(Default, Debug)]
pub(super) struct Sketch {
    frames: Vec<Frame>,
    nodes: Vec<Node>,
    arrows: Vec<Arrow>,
    /// Each bus with the events on it.
    buses: Vec<Frame>,
    /// The event triggers, each with its box.
    ears: Vec<Ear>,
    /// Who emits what, each once.
    emissions: Vec<(PipelineName, EventType)>,
    /// The first box of each flow.
    doors: Vec<(PipelineName, FlowName, String)>,
    /// Steps that call a flow: the box, and the flow.
    calls: Vec<(String, PipelineName, FlowName)>,
    /// Each library's file with the executors that it declares.
    libraries: Vec<(PathBuf, Frame)>,
}

/// Who hears events, and the box: a trigger, a step that waits, or what cancels a run.
#[derive(Debug)]
struct Ear {
    pipeline: PipelineName,
    flow: FlowName,
    types: Vec<EventType>,
    /// Whose events; `None` for those of all.
    mode: Option<EventMode>,
    node: String,
}

/// The frame of events that none of the files emits.
const NOBODY: &str = "emitted by none of these files";

impl Sketch {
    /// The drawing of a plan.
    pub(super) fn of(plan: &Plan) -> Self {
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
    fn on_bus(&mut self, bus: &str, event: &EventType) -> String {
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

    fn arrow(&mut self, from: &str, to: &str, label: &str, line: Line) {
        let arrow = Arrow { from: from.to_owned(), to: to.to_owned(), label: label.to_owned(), line };
        if !self.arrows.contains(&arrow) {
            self.arrows.push(arrow);
        }
    }

    /// Flows first, then libraries, then buses.
    fn framed(&self) -> impl Iterator<Item = (String, &Frame)> {
        let flows = self.frames.iter().enumerate().map(|(index, frame)| (format!("flow{index}"), frame));
        let libraries = self.libraries.iter().enumerate().map(|(index, (_, frame))| (format!("library{index}"), frame));
        flows.chain(libraries).chain(self.buses.iter().enumerate().map(|(index, frame)| (format!("bus{index}"), frame)))
    }

    /// As a Mermaid flowchart.
    pub(super) fn mermaid(&self) -> String {
        let mut text = String::from("flowchart TD\n");
        for (id, frame) in self.framed() {
            let _ = writeln!(text, "  subgraph {id}[\"{}\"]", mermaid_text(&frame.title));
            frame.nodes.iter().for_each(|node| mermaid_node(&mut text, "    ", node));
            text.push_str("  end\n");
        }
        self.nodes.iter().for_each(|node| mermaid_node(&mut text, "  ", node));
        for Arrow { from, to, label, line } in &self.arrows {
            let (plain, begin, end) = match line {
                Line::Next => ("-->", "--", "-->"),
                Line::Uses => ("-.->", "-.", ".->"),
            };
            let _ = match label.is_empty() {
                true => writeln!(text, "  {from} {plain} {to}"),
                false => writeln!(text, "  {from} {begin} \"{}\" {end} {to}", mermaid_text(label)),
            };
        }
        text
    }

    /// As a DOT digraph.
    pub(super) fn dot(&self) -> String {
        let mut text = String::from("digraph pipehost {\n  node [fontname=\"sans-serif\"]\n");
        for (id, frame) in self.framed() {
            let _ = writeln!(text, "  subgraph cluster_{id} {{\n    label=\"{}\"", dot_text(&frame.title));
            frame.nodes.iter().for_each(|node| dot_node(&mut text, "    ", node));
            text.push_str("  }\n");
        }
        self.nodes.iter().for_each(|node| dot_node(&mut text, "  ", node));
        for Arrow { from, to, label, line } in &self.arrows {
            let style = if *line == Line::Uses { " style=dashed" } else { "" };
            let _ = writeln!(text, "  {from} -> {to} [label=\"{}\"{style}]", dot_text(label));
        }
        text.push_str("}\n");
        text
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
        let mut before: Option<String> = None;
        let mut first = None;
        for number in self.flow.block(block).to_vec() {
            let flow = self.flow;
            let step = flow.step(number);
            let id = self.step(step);
            let label = step.when.as_ref().map_or_else(String::new, |when| format!("when {}", when.source()));
            if let Some(before) = &before {
                self.sketch.arrow(before, &id, &label, Line::Next);
            }
            first.get_or_insert_with(|| id.clone());
            before = Some(id);
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
            Verb::Wait(wait) => format!("wait, at most {}", wait.timeout.source()),
            Verb::Switch(_) => "switch".to_owned(),
            Verb::Parallel(_) => "parallel".to_owned(),
            Verb::Each(each) => format!("each {}", each.name),
            Verb::Sleep(_) => "sleep".to_owned(),
        };
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

fn mermaid_node(text: &mut String, indent: &str, node: &Node) {
    let (open, close) = match node.shape {
        Shape::Trigger => ("([", "])"),
        Shape::Step => ("[", "]"),
        Shape::Executor => ("[[", "]]"),
        Shape::Event => ("{{", "}}"),
    };
    let _ = writeln!(text, "{indent}{}{open}\"{}\"{close}", node.id, mermaid_text(&node.label));
}

/// Mermaid knows entities, and `#` begins one.
fn mermaid_text(text: &str) -> String {
    text.replace('#', "#35;").replace('"', "#quot;").replace('<', "#lt;").replace('>', "#gt;").replace('\n', "<br>")
}

fn dot_node(text: &mut String, indent: &str, node: &Node) {
    let shape = match node.shape {
        Shape::Trigger => "oval",
        Shape::Step => "box",
        Shape::Executor => "component",
        Shape::Event => "hexagon",
    };
    let _ = writeln!(text, "{indent}{} [label=\"{}\" shape={shape}]", node.id, dot_text(&node.label));
}

fn dot_text(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sketch() -> Sketch {
        let mut sketch = Sketch::default();
        let node = Node { id: "s0".to_owned(), label: "say \"hi\" <b>".to_owned(), shape: Shape::Step };
        sketch.frames.push(Frame { title: "chatbot.main".to_owned(), nodes: vec![node] });
        let event = sketch.on_bus("global bus", &"ChatSaved".into());
        assert_eq!(sketch.on_bus("global bus", &"ChatSaved".into()), event, "an event is drawn once on a bus");
        assert_ne!(sketch.on_bus("bus b", &"ChatSaved".into()), event, "and on each bus");
        sketch.arrow("s0", &event, "emits", Line::Uses);
        sketch
    }

    #[test]
    fn text_of_the_pipeline_cannot_break_the_drawing() {
        let expected = "flowchart TD\n  subgraph flow0[\"chatbot.main\"]\n    s0[\"say #quot;hi#quot; #lt;b#gt;\"]\n  end\n  \
                        subgraph bus0[\"global bus\"]\n    e0{{\"ChatSaved\"}}\n  end\n  \
                        subgraph bus1[\"bus b\"]\n    e1{{\"ChatSaved\"}}\n  end\n  s0 -. \"emits\" .-> e0\n";
        assert_eq!(sketch().mermaid(), expected);
        assert!(sketch().dot().contains(r#"s0 [label="say \"hi\" <b>" shape=box]"#));
    }
}
