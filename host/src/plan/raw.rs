//! The grammar: which keys may stand where, and readers of scalars that say what they wanted. Nothing of it leaves the plan.

pub(in crate::plan) mod grammar;
pub(in crate::plan) mod keys;
pub(in crate::plan) mod policy;
pub(in crate::plan) mod scalar;
mod suggestion;
pub(in crate::plan) mod types;

use std::cell::RefCell;

pub use suggestion::closest;
pub(in crate::plan) use suggestion::list;

use super::codes;
use super::pipeline::Written;
use super::source::{Content, Key, Node, SourceFile, Span};
use crate::model::diagnostic::{Diagnostic, Place, Severity};

/// What was found in one file so far. Shared by all readers of that file, hence the cell.
pub(in crate::plan) struct Findings<'a> {
    /// The file.
    pub(in crate::plan) file: &'a SourceFile,
    found: RefCell<Vec<Diagnostic>>,
}

impl<'a> Findings<'a> {
    /// Nothing found yet.
    pub(in crate::plan) fn new(file: &'a SourceFile) -> Self {
        Self { file, found: RefCell::new(Vec::new()) }
    }

    /// Adds an error; an empty `help` is none.
    pub(in crate::plan) fn error(&self, code: &'static str, span: Span, message: impl Into<String>, help: impl Into<String>) {
        self.add(Diagnostic::error(code, self.place(span), message), help);
    }

    /// Adds a warning; an empty `help` is none.
    pub(in crate::plan) fn warning(&self, code: &'static str, span: Span, message: impl Into<String>, help: impl Into<String>) {
        self.add(Diagnostic::warning(code, self.place(span), message), help);
    }

    /// Adds a mistake, once: what two steps share is looked at twice.
    pub(in crate::plan) fn add(&self, diagnostic: Diagnostic, help: impl Into<String>) {
        let help = help.into();
        let diagnostic = if help.is_empty() { diagnostic } else { diagnostic.with_help(help) };
        let mut found = self.found.borrow_mut();
        if !found.contains(&diagnostic) {
            found.push(diagnostic);
        }
    }

    /// Where a span is.
    pub(in crate::plan) fn place(&self, span: Span) -> Place {
        self.file.place(span)
    }

    /// How many errors were found so far.
    pub(in crate::plan) fn count(&self) -> usize {
        self.found.borrow().iter().filter(|diagnostic| diagnostic.severity == Severity::Error).count()
    }

    /// All that was found.
    pub(in crate::plan) fn into_diagnostics(self) -> Vec<Diagnostic> {
        self.found.into_inner()
    }

    /// Says that a value is of the wrong kind.
    pub(in crate::plan) fn wrong_kind(&self, node: &Node, what: &str, wanted: &str, example: &str) {
        let help = if example.is_empty() { String::new() } else { format!("write it as {example}") };
        let message = if node.is_null() {
            format!("{what} is {wanted}, and nothing stands here")
        } else {
            format!("{what} is {wanted}, not {}", with_article(node.kind()))
        };
        self.error(codes::WRONG_KIND, node.span, message, help);
    }

    /// Reads a map and refuses keys that it does not know.
    pub(in crate::plan) fn table<'n>(&self, node: &'n Node, what: &str, known: &[&str], example: &str) -> Option<Table<'n>> {
        let table = self.map(node, what, example)?;
        self.check_keys(&table, what, known);
        Some(table)
    }

    /// Reads a map whose keys are names.
    pub(in crate::plan) fn map<'n>(&self, node: &'n Node, what: &str, example: &str) -> Option<Table<'n>> {
        match &node.content {
            Content::Map(entries) => Some(Table { span: node.span, entries }),
            _ => {
                self.wrong_kind(node, what, "a map", example);
                None
            }
        }
    }

    /// Reads a list.
    pub(in crate::plan) fn list<'n>(&self, node: &'n Node, what: &str, example: &str) -> Option<&'n [Node]> {
        match &node.content {
            Content::List(items) => Some(items),
            _ => {
                self.wrong_kind(node, what, "a list", example);
                None
            }
        }
    }

    /// Refuses the keys of a map that are not among the known.
    pub(in crate::plan) fn check_keys(&self, table: &Table<'_>, what: &str, known: &[&str]) {
        for (key, _) in table.entries {
            if !known.contains(&key.name.as_str()) {
                self.unknown_key(key, what, known);
            }
        }
    }

    /// Says that a key is not known.
    pub(in crate::plan) fn unknown_key(&self, key: &Key, what: &str, known: &[&str]) {
        let help = match closest(&key.name, known.iter().copied()) {
            Some(name) => format!("did you mean `{name}`?"),
            None => format!("its keys are {}", list(known)),
        };
        self.error(codes::UNKNOWN_KEY, key.span, format!("{what} has no key `{}`", key.name), help);
    }

    /// Which keys of a map are written, and those of the maps in it.
    pub(in crate::plan) fn written(&self, table: &Table<'_>) -> Vec<Written> {
        let place = |key: &Key, name: String| Written { key: name, place: self.place(key.span) };
        let mut written = Vec::new();
        for (key, node) in table.entries {
            written.push(place(key, key.name.clone()));
            if let Content::Map(inner) = &node.content {
                written.extend(inner.iter().map(|(within, _)| place(within, format!("{}.{}", key.name, within.name))));
            }
        }
        written
    }

    /// The value of a key that has to be there.
    pub(in crate::plan) fn required<'n>(&self, table: &Table<'n>, key: &str, what: &str, help: &str) -> Option<&'n Node> {
        let found = table.get(key);
        // Of a misspelt key it was said already what it should be. That it was said is what counts: keys that are near may both be right.
        let is_told = |written: &Key| {
            let place = self.place(written.span);
            self.found.borrow().iter().any(|found| found.code == codes::UNKNOWN_KEY && found.place == place)
        };
        let misspelt = || table.entries.iter().any(|(written, _)| closest(&written.name, [key]).is_some() && is_told(written));
        if found.is_none() && !misspelt() {
            self.error(codes::MISSING_KEY, table.span, format!("{what} has no `{key}`"), help);
        }
        found
    }
}

/// A map of the file, read by its keys.
#[derive(Clone, Copy)]
pub(in crate::plan) struct Table<'n> {
    /// Where it begins.
    pub(in crate::plan) span: Span,
    /// Its keys and values.
    pub(in crate::plan) entries: &'n [(Key, Node)],
}

impl<'n> Table<'n> {
    /// The value of a key.
    pub(in crate::plan) fn get(&self, name: &str) -> Option<&'n Node> {
        self.entries.iter().find(|(key, _)| key.name == name).map(|(_, value)| value)
    }

    /// The key itself, for its place.
    pub(in crate::plan) fn key(&self, name: &str) -> Option<&'n Key> {
        self.entries.iter().map(|(key, _)| key).find(|key| key.name == name)
    }
}

fn with_article(kind: &str) -> String {
    match kind {
        "int" => "a number".to_owned(),
        "float" => "a number".to_owned(),
        "string" => "text".to_owned(),
        "bool" => "true or false".to_owned(),
        "null" => "null".to_owned(),
        other => format!("a {other}"),
    }
}
