//! The tree of a YAML file with the place of every key and value.

use crate::model::value::{Map, Tree};

/// Characters of a file, by number, the end not included.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(in crate::plan) struct Span {
    /// The first.
    pub(in crate::plan) start: usize,
    /// The one after the last.
    pub(in crate::plan) end: usize,
}

/// A value.
#[derive(Clone, PartialEq, Debug)]
pub(in crate::plan) struct Node {
    /// Where it stands; a list or map only where it begins.
    pub(in crate::plan) span: Span,
    /// What it is.
    pub(in crate::plan) content: Content,
}

/// What a value is.
#[derive(Clone, PartialEq, Debug)]
pub(in crate::plan) enum Content {
    /// Text, a number, a truth or null.
    Scalar(Scalar),
    /// A list.
    List(Vec<Node>),
    /// A map, in the order in which it was written; no key stands twice.
    Map(Vec<(Key, Node)>),
}

/// A key of a map.
#[derive(Clone, PartialEq, Debug)]
pub(in crate::plan) struct Key {
    /// Its text.
    pub(in crate::plan) name: String,
    /// Where it stands.
    pub(in crate::plan) span: Span,
}

/// Text, a number, a truth or null.
#[derive(Clone, PartialEq, Debug)]
pub(in crate::plan) struct Scalar {
    /// Its text, with quotes and escapes undone and lines folded.
    pub(in crate::plan) text: String,
    /// How it was written.
    pub(in crate::plan) style: Style,
    /// What it means: never a list or a map.
    pub(in crate::plan) value: Tree,
}

/// How a scalar was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::plan) enum Style {
    /// Without quotes.
    Plain,
    /// `'…'`.
    Single,
    /// `"…"`.
    Double,
    /// `|`.
    Literal,
    /// `>`.
    Folded,
}

impl Node {
    /// The scalar, if it is one.
    pub(in crate::plan) const fn scalar(&self) -> Option<&Scalar> {
        match &self.content {
            Content::Scalar(scalar) => Some(scalar),
            Content::List(_) | Content::Map(_) => None,
        }
    }

    /// The text, if it is text.
    pub(in crate::plan) fn text(&self) -> Option<&str> {
        self.scalar().and_then(|scalar| scalar.value.as_text())
    }

    /// Whether it is null.
    pub(in crate::plan) fn is_null(&self) -> bool {
        self.scalar().is_some_and(|scalar| scalar.value == Tree::Null)
    }

    /// The value of a key, if this is a map that has it.
    pub(in crate::plan) fn get(&self, name: &str) -> Option<&Self> {
        match &self.content {
            Content::Map(entries) => entries.iter().find(|(key, _)| key.name == name).map(|(_, value)| value),
            Content::Scalar(_) | Content::List(_) => None,
        }
    }

    /// What it means, without places.
    pub(in crate::plan) fn tree(&self) -> Tree {
        match &self.content {
            Content::Scalar(scalar) => scalar.value.clone(),
            Content::List(items) => Tree::List(items.iter().map(Self::tree).collect()),
            Content::Map(entries) => Tree::Map(entries.iter().map(|(key, value)| (key.name.clone(), value.tree())).collect::<Map>()),
        }
    }

    /// What it is, in one word for messages.
    pub(in crate::plan) fn kind(&self) -> &'static str {
        match &self.content {
            Content::Scalar(scalar) => scalar.value.kind(),
            Content::List(_) => "list",
            Content::Map(_) => "map",
        }
    }

    /// Calls with every scalar in it, keys not included.
    pub(in crate::plan) fn each_scalar<'a>(&'a self, visit: &mut dyn FnMut(&'a Scalar, Span)) {
        match &self.content {
            Content::Scalar(scalar) => visit(scalar, self.span),
            Content::List(items) => items.iter().for_each(|item| item.each_scalar(visit)),
            Content::Map(entries) => entries.iter().for_each(|(_, value)| value.each_scalar(visit)),
        }
    }
}

impl Scalar {
    /// A scalar as it was written: only one without quotes can be other than text.
    pub(in crate::plan) fn new(text: String, style: Style) -> Self {
        let value = if style == Style::Plain { plain(&text) } else { Tree::Text(text.clone()) };
        Self { text, style, value }
    }
}

/// What text without quotes means, by the core rules of YAML 1.2.
fn plain(text: &str) -> Tree {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Tree::Null,
        "true" | "True" | "TRUE" => return Tree::Bool(true),
        "false" | "False" | "FALSE" => return Tree::Bool(false),
        ".inf" | ".Inf" | ".INF" | "+.inf" => return Tree::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return Tree::Float(f64::NEG_INFINITY),
        ".nan" | ".NaN" | ".NAN" => return Tree::Float(f64::NAN),
        _ => {}
    }
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let radix = |prefix: &str, radix: u32| digits.strip_prefix(prefix).and_then(|rest| i64::from_str_radix(rest, radix).ok());
    if let Some(number) = radix("0x", 16).or_else(|| radix("0o", 8)) {
        return Tree::Int(if text.starts_with('-') { -number } else { number });
    }
    let begins_as_number = digits.starts_with(|character: char| character.is_ascii_digit() || character == '.');
    let only_number = digits.chars().all(|character| character.is_ascii_digit() || matches!(character, '.' | 'e' | 'E' | '+' | '-'));
    // `007` is a name more often than a number, and a phone number always is: it stays text.
    let leading_zero = digits.len() > 1 && digits.starts_with('0') && digits.as_bytes().get(1).is_some_and(u8::is_ascii_digit);
    if begins_as_number && only_number && !leading_zero {
        if let Ok(number) = text.parse::<i64>() {
            return Tree::Int(number);
        }
        if let Ok(number) = text.parse::<f64>() {
            return Tree::Float(number);
        }
    }
    Tree::Text(text.to_owned())
}
