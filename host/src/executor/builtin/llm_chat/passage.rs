//! What an answer is made from, out of a job's input.

use super::super::text;
use crate::model::port::JobChannel;
use crate::model::value::{Tree, Value};

/// A passage of a document.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Passage {
    pub(super) text: String,
    pub(super) file: String,
    pub(super) lines: String,
    pub(super) heading: String,
}

impl Passage {
    /// `docs/guide.md:12-18`.
    pub(super) fn place(&self) -> String {
        if self.lines.is_empty() { self.file.clone() } else { format!("{}:{}", self.file, self.lines) }
    }
}

/// What was asked, and what was said before.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Question {
    pub(super) text: String,
    /// Roles and texts, oldest first.
    pub(super) history: Vec<(String, String)>,
}

impl Question {
    pub(super) fn read(input: &Value) -> Self {
        let tree = input.tree();
        let turns = tree.field("history").and_then(Tree::as_list).unwrap_or_default();
        let history = turns.iter().map(|turn| (text(turn, "role").to_owned(), text(turn, "text").to_owned())).collect();
        Self { text: text(tree, "question").to_owned(), history }
    }
}

pub(super) fn passages(input: &Value) -> Vec<Passage> {
    let list = input.tree().field("passages").and_then(Tree::as_list).unwrap_or_default();
    let passage = |tree: &Tree| {
        let field = |name: &str| text(tree, name).to_owned();
        Passage { text: field("text"), file: field("file"), lines: field("lines"), heading: field("heading") }
    };
    list.iter().map(passage).collect()
}

/// Tells a piece of the answer.
pub(super) fn tell(channel: &dyn JobChannel, token: &str) {
    channel.progress(Value::map([("token", Value::string(token))]));
}
