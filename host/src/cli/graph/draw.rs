//! The drawing: boxes and arrows first, then as Mermaid or as DOT. Pure, and in the order of the plan.

use std::fmt::Write;

use crate::model::record::BlockNumber;
use crate::plan::pipeline::{Flow, OnError, Pipeline, Plan, StandIn, Step, Trigger, Verb, Worker};

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

/// A frame round boxes: a flow.
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
}

impl Sketch {
    /// The drawing of a plan.
    pub(super) fn of(plan: &Plan) -> Self {
        let mut sketch = Self::default();
        for (number, pipeline) in plan.pipelines.values().enumerate() {
            sketch.pipeline(number, pipeline);
        }
        sketch
    }

    fn pipeline(&mut self, number: usize, pipeline: &Pipeline) {
        for (index, executor) in pipeline.executors.iter().enumerate() {
            let label = format!("{}\n{}", executor.reference.name, executor.description.name);
            let label =
                if executor.reference.name.as_str() == executor.description.name { executor.description.name.clone() } else { label };
            self.nodes.push(Node { id: format!("p{number}x{index}"), label, shape: Shape::Executor });
        }
        for (index, flow) in pipeline.flows.iter().enumerate() {
            let mut drawn = Drawn { sketch: self, pipeline, flow, prefix: format!("p{number}f{index}"), owner: number, nodes: Vec::new() };
            drawn.flow();
            let nodes = drawn.nodes;
            self.frames.push(Frame { title: format!("{}.{}", pipeline.name, flow.name), nodes });
        }
    }

    fn event(&mut self, event: &str) -> String {
        let id = format!("e_{}", event.replace(|character: char| !character.is_ascii_alphanumeric(), "_"));
        if !self.nodes.iter().any(|node| node.id == id) {
            self.nodes.push(Node { id: id.clone(), label: event.to_owned(), shape: Shape::Event });
        }
        id
    }

    fn arrow(&mut self, from: &str, to: &str, label: &str, line: Line) {
        self.arrows.push(Arrow { from: from.to_owned(), to: to.to_owned(), label: label.to_owned(), line });
    }

    /// As a Mermaid flowchart.
    pub(super) fn mermaid(&self) -> String {
        let mut text = String::from("flowchart TD\n");
        for (index, frame) in self.frames.iter().enumerate() {
            let _ = writeln!(text, "  subgraph flow{index}[\"{}\"]", mermaid_text(&frame.title));
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
        for (index, frame) in self.frames.iter().enumerate() {
            let _ = writeln!(text, "  subgraph cluster_{index} {{\n    label=\"{}\"", dot_text(&frame.title));
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
        for (index, trigger) in self.flow.triggers.iter().enumerate() {
            let id = format!("{}t{index}", self.prefix);
            let (label, events): (&str, &[_]) = match trigger {
                Trigger::StdinLine => ("stdin: line", &[]),
                Trigger::Event { types, .. } => ("event", types),
                Trigger::Manual => ("manual", &[]),
            };
            self.nodes.push(Node { id: id.clone(), label: label.to_owned(), shape: Shape::Trigger });
            for event in events {
                let event = self.sketch.event(event.as_str());
                self.sketch.arrow(&event, &id, "", Line::Uses);
            }
            if let Some(first) = &first {
                self.sketch.arrow(&id, first, "", Line::Next);
            }
        }
        for (word, block) in [("on_error", self.flow.on_error), ("finally", self.flow.finally)] {
            let Some(first) = block.and_then(|block| self.block(block)) else { continue };
            let id = format!("{}{word}", self.prefix);
            self.nodes.push(Node { id: id.clone(), label: word.to_owned(), shape: Shape::Trigger });
            self.sketch.arrow(&id, &first, "", Line::Next);
        }
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
            Verb::Run(_) => step.id.to_string(),
            Verb::Emit(_) => "emit".to_owned(),
            Verb::Set(fields) => format!("set {}", fields.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ")),
            Verb::Reply(_) => "reply".to_owned(),
            Verb::Fail(_) => "fail".to_owned(),
            Verb::Dispatch(_) => "dispatch".to_owned(),
            Verb::Wait(_) => "wait".to_owned(),
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
                    let event = self.sketch.event(event.as_str());
                    self.sketch.arrow(&id, &event, "emits", Line::Uses);
                }
                if let Some(StandIn::Steps(block)) = run.policy.fallback.as_ref().map(|fallback| &fallback.stand_in) {
                    self.inner(&id, *block, "fallback");
                }
            }
            Verb::Emit(events) => {
                for (event, _) in events {
                    let event = self.sketch.event(event.as_str());
                    self.sketch.arrow(&id, &event, "", Line::Uses);
                }
            }
            Verb::Dispatch(block) => self.inner(&id, *block, "dispatch"),
            Verb::Wait(wait) => {
                for event in &wait.listen.types {
                    let event = self.sketch.event(event.as_str());
                    self.sketch.arrow(&event, &id, "", Line::Uses);
                }
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
        let event = sketch.event("ChatSaved");
        assert_eq!(sketch.event("ChatSaved"), event, "an event is drawn once");
        sketch.arrow("s0", &event, "emits", Line::Uses);
        sketch
    }

    #[test]
    fn text_of_the_pipeline_cannot_break_the_drawing() {
        let expected = "flowchart TD\n  subgraph flow0[\"chatbot.main\"]\n    s0[\"say #quot;hi#quot; #lt;b#gt;\"]\n  end\n  \
                        e_ChatSaved{{\"ChatSaved\"}}\n  s0 -. \"emits\" .-> e_ChatSaved\n";
        assert_eq!(sketch().mermaid(), expected);
        assert!(sketch().dot().contains(r#"s0 [label="say \"hi\" <b>" shape=box]"#));
    }
}
