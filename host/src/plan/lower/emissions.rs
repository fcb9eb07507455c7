//! Which events a file may emit, found before anything is lowered: an event trigger has to know.

use std::collections::BTreeSet;

use crate::plan::source::{Content, Node};

/// The names of all events that steps emit or that are granted to an executor.
pub(in crate::plan) fn emitted(root: &Node) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    walk(root, &mut found);
    found
}

fn walk(node: &Node, found: &mut BTreeSet<String>) {
    match &node.content {
        Content::Scalar(_) => {}
        Content::List(items) => items.iter().for_each(|item| walk(item, found)),
        Content::Map(entries) => {
            for (key, value) in entries {
                match (key.name.as_str(), &value.content) {
                    ("emit", Content::Map(events)) => found.extend(events.iter().map(|(event, _)| event.name.clone())),
                    ("emit", Content::List(events)) => found.extend(events.iter().filter_map(|event| event.text().map(str::to_owned))),
                    ("emits", Content::Scalar(scalar)) => {
                        found.insert(scalar.text.clone());
                    }
                    _ => walk(value, found),
                }
            }
        }
    }
}
