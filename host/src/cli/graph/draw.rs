//! The drawing: boxes and arrows, and how they are written as Mermaid or as DOT. Pure, and in the order of the plan.

mod sketching;

use std::fmt::Write;
use std::path::PathBuf;

use crate::model::id::{EventType, FlowName, PipelineName};
use crate::plan::pipeline::EventMode;

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

impl Sketch {
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
