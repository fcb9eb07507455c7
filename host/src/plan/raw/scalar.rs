//! Readers of single values: each says what it wanted when it met something else.

use std::time::Duration;

use super::{Findings, closest, list};
use crate::model::policy::{parse_duration, parse_size};
use crate::model::value::Tree;
use crate::plan::codes;
use crate::plan::source::{Node, Span};

/// The longest name: names become folders and files.
const LONGEST_NAME: usize = 64;

impl Findings<'_> {
    /// Text without `${`.
    pub(in crate::plan) fn literal_text<'n>(&self, node: &'n Node, what: &str, example: &str) -> Option<&'n str> {
        let text = match node.scalar().map(|scalar| (&scalar.value, scalar.text.as_str())) {
            Some((Tree::Text(_), text)) => text,
            Some((Tree::Int(_) | Tree::Float(_) | Tree::Bool(_), text)) => {
                self.error(
                    codes::WRONG_KIND,
                    node.span,
                    format!("{what} is text, and {text} is read as {}", node.kind()),
                    format!("quote it: '{text}'"),
                );
                return None;
            }
            _ => {
                self.wrong_kind(node, what, "text", example);
                return None;
            }
        };
        if text.contains("${") {
            self.error(
                codes::LITERAL,
                node.span,
                format!("{what} is fixed when the file is loaded and takes no `${{…}}`"),
                "write the value itself",
            );
            return None;
        }
        Some(text)
    }

    /// A name that begins with a small letter and goes on with small letters, digits and `_`, in `dashed` ones `-` too.
    pub(in crate::plan) fn name(&self, text: &str, span: Span, what: &str, dashed: bool) -> bool {
        let good = |character: char| {
            character.is_ascii_lowercase() || character.is_ascii_digit() || character == '_' || (dashed && character == '-')
        };
        if text.starts_with(|first: char| first.is_ascii_lowercase()) && text.chars().all(good) && text.len() <= LONGEST_NAME {
            return true;
        }
        let marks = if dashed { "digits, `_` and `-`" } else { "digits and `_`" };
        let message =
            format!("{what} is spelled with small letters, {marks}, beginning with a letter, and has at most {LONGEST_NAME} of them");
        let mut fixed: String = text.to_lowercase().chars().map(|character| if good(character) { character } else { '_' }).collect();
        fixed.truncate(LONGEST_NAME);
        let fixed = fixed.trim_start_matches(|first: char| !first.is_ascii_lowercase());
        self.error(codes::BAD_NAME, span, message, if fixed.is_empty() { String::new() } else { format!("for example `{fixed}`") });
        false
    }

    /// The type of an event: letters, digits, `_` and `.`, beginning with a letter.
    pub(in crate::plan) fn event_name(&self, text: &str, span: Span) -> bool {
        let good = text.starts_with(|first: char| first.is_ascii_alphabetic())
            && text.chars().all(|character| character.is_ascii_alphanumeric() || matches!(character, '_' | '.'))
            && text.len() <= LONGEST_NAME;
        if !good {
            self.error(
                codes::BAD_NAME,
                span,
                "an event type is spelled with letters, digits, `_` and `.`, beginning with a letter",
                "for example `OrderPlaced`",
            );
        }
        good
    }

    /// A duration longer than nothing.
    pub(in crate::plan) fn duration(&self, node: &Node, what: &str) -> Option<Duration> {
        let duration = self.duration_or_nothing(node, what)?;
        if duration.is_zero() {
            self.error(
                codes::NUMBER,
                node.span,
                format!("{what} of 0 leaves no time at all"),
                "write a longer one, or leave the key out for none",
            );
            return None;
        }
        Some(duration)
    }

    /// A duration; zero is good.
    pub(in crate::plan) fn duration_or_nothing(&self, node: &Node, what: &str) -> Option<Duration> {
        self.with_unit(node, what, "a duration, as 30s", parse_duration)
    }

    /// A size in bytes.
    pub(in crate::plan) fn size(&self, node: &Node, what: &str) -> Option<u64> {
        self.with_unit(node, what, "a size, as 64MiB", parse_size)
    }

    fn with_unit<T>(&self, node: &Node, what: &str, wanted: &str, parse: fn(&str) -> Result<T, String>) -> Option<T> {
        match node.scalar() {
            Some(scalar) if matches!(scalar.value, Tree::Text(_) | Tree::Int(_) | Tree::Float(_)) => match parse(&scalar.text) {
                Ok(value) => Some(value),
                Err(reason) => {
                    let (message, help) = reason.split_once("; ").map_or((reason.as_str(), ""), |(message, help)| (message, help));
                    let (message, help) = match message.split_once("? ") {
                        Some((question, help)) => (format!("{question}? {what} needs a unit"), help),
                        None => (format!("{what}: {message}"), help),
                    };
                    self.error(codes::UNIT, node.span, message, help);
                    None
                }
            },
            _ => {
                let example = wanted.split_once(", as ").map_or("a number with its unit", |(_, example)| example);
                self.wrong_kind(node, what, wanted, example);
                None
            }
        }
    }

    /// A whole number from `least` up.
    pub(in crate::plan) fn whole(&self, node: &Node, what: &str, least: u32) -> Option<u32> {
        let Some(number) = node.scalar().and_then(|scalar| scalar.value.as_int()) else {
            self.wrong_kind(node, what, "a whole number", "a number without quotes, as 3");
            return None;
        };
        match u32::try_from(number) {
            Ok(number) if number >= least => Some(number),
            _ if number < i64::from(least) => {
                self.error(
                    codes::NUMBER,
                    node.span,
                    format!("{what} is {number}; it is at least {least}"),
                    format!("write {least} or more"),
                );
                None
            }
            _ => {
                self.error(codes::NUMBER, node.span, format!("{what} is {number}; it is at most {}", u32::MAX), "write a smaller one");
                None
            }
        }
    }

    /// `true` or `false`.
    pub(in crate::plan) fn truth(&self, node: &Node, what: &str) -> Option<bool> {
        let truth = node.scalar().and_then(|scalar| scalar.value.as_bool());
        if truth.is_none() {
            self.wrong_kind(node, what, "true or false", "");
        }
        truth
    }

    /// One of a few words.
    pub(in crate::plan) fn word<T: Copy>(&self, node: &Node, what: &str, words: &[(&str, T)]) -> Option<T> {
        let names: Vec<&str> = words.iter().map(|(name, _)| *name).collect();
        let Some(text) = node.text() else {
            self.wrong_kind(node, what, &format!("one of {}", list(&names)), "");
            return None;
        };
        let found = words.iter().find(|(name, _)| *name == text).map(|(_, value)| *value);
        if found.is_none() {
            self.unknown_word(node.span, text, what, &names);
        }
        found
    }

    /// Says that a word is none of those that may stand here.
    pub(in crate::plan) fn unknown_word(&self, span: Span, text: &str, what: &str, names: &[&str]) {
        let help = match closest(text, names.iter().copied()) {
            Some(name) => format!("did you mean `{name}`?"),
            None => format!("it is one of {}", list(names)),
        };
        self.error(codes::UNKNOWN_WORD, span, format!("{what} cannot be `{text}`"), help);
    }

    /// A list of texts, each with its place.
    pub(in crate::plan) fn texts<'n>(&self, node: &'n Node, what: &str, example: &str) -> Vec<(&'n str, Span)> {
        let items = self.list(node, what, example).unwrap_or_default();
        items.iter().filter_map(|item| Some((self.literal_text(item, &format!("an entry of {what}"), example)?, item.span))).collect()
    }
}
