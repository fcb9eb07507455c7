//! `pipehost trace`: all that belongs to one request, as a tree with times.

use std::io;
use std::time::Duration;

use super::arguments::Trace;
use super::asking::{Broken, Source, ask, print, print_json};
use super::exit::{Exit, say};
use super::style::Style;
use super::words::{cut, duration};
use crate::app::views::{TraceKind, TraceNode};
use crate::control::{OneRequest, Request};

/// Shows the tree.
pub(super) fn trace(arguments: &Trace) -> Exit {
    ask(&arguments.asking, async |source| show(arguments, source).await)
}

async fn show(arguments: &Trace, source: &Source) -> Result<Exit, Broken> {
    let (nodes, left_out): (Vec<TraceNode>, u64) = source.list(&Request::Trace(OneRequest { id: arguments.id.clone() })).await?;
    if arguments.asking.json {
        print_json(&nodes)?;
    } else {
        print(&text(&nodes, Style::of(&io::stdout())))?;
    }
    if left_out > 0 {
        say(&source.typed().text(&format!("{left_out} more runs belong to this request; pipehost runs list tells of them\n")));
    }
    Ok(Exit::Good)
}

fn text(nodes: &[TraceNode], style: Style) -> String {
    let mut text = String::new();
    // By depth: whether the branch that was drawn there goes on beneath.
    let mut goes_on: Vec<bool> = Vec::new();
    for (place, node) in nodes.iter().enumerate() {
        let depth = node.depth as usize;
        goes_on.resize(depth + 1, false);
        // Another one of this depth comes before one that is less deep.
        let next = nodes.iter().skip(place + 1).map(|node| node.depth as usize).find(|other| *other <= depth);
        let is_last = next != Some(depth);
        if let Some(own) = goes_on.get_mut(depth) {
            *own = !is_last;
        }
        let mut lead: String = goes_on.iter().take(depth).skip(1).map(|goes_on| if *goes_on { "│  " } else { "   " }).collect();
        if depth > 0 {
            lead.push_str(if is_last { "└─ " } else { "├─ " });
        }
        text.push_str(&format!("{}{}\n", style.dim(&lead), line(node, style)));
    }
    text
}

fn line(node: &TraceNode, style: Style) -> String {
    let (kind, name) = match node.kind {
        TraceKind::Run => ("run", style.bold(&cut(&node.name))),
        TraceKind::Job => ("job", cut(&node.name)),
        TraceKind::Wait => ("wait", cut(&node.name)),
        TraceKind::Step => ("step", cut(&node.name)),
        TraceKind::Event => ("event", cut(&node.name)),
    };
    let mut line = format!("{} {name}", style.dim(kind));
    if node.kind == TraceKind::Run {
        line.push_str(&format!(" {}", node.id.as_deref().unwrap_or_default()));
    }
    // The verb of a wait says nothing more, nor does an executor after which its step is named.
    let by = node.by.as_ref().filter(|by| node.kind != TraceKind::Wait && **by != node.name).map(|by| match node.kind {
        TraceKind::Job | TraceKind::Step => by.clone(),
        _ => format!("by {by}"),
    });
    let attempts = node.attempts.map(|attempts| format!("{attempts} attempts"));
    let took = node.took_ms.map(|took| duration(Duration::from_millis(took)));
    for part in [by, node.at.map(|at| at.to_string()), took, node.state.clone(), attempts].into_iter().flatten() {
        line.push_str(&format!("  {}", style.dim(&cut(&part))));
    }
    if let Some(error) = &node.error {
        line.push_str(&format!("  {}", style.red(&cut(error))));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(depth: u32, name: &str) -> TraceNode {
        let (id, by, state, error) = (None, None, None, None);
        TraceNode { depth, kind: TraceKind::Job, id, name: name.to_owned(), by, state, at: None, took_ms: None, attempts: None, error }
    }

    #[test]
    fn branches_are_drawn_down_to_the_last_of_their_depth() {
        let nodes = [node(0, "a"), node(1, "b"), node(2, "c"), node(2, "d"), node(1, "e"), node(2, "f"), node(0, "g")];
        let drawn = "job a\n├─ job b\n│  ├─ job c\n│  └─ job d\n└─ job e\n   └─ job f\njob g\n";
        assert_eq!(text(&nodes, Style::PLAIN), drawn);
    }
}
