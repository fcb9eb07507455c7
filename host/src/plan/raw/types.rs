//! Declared types: `string`, `[T]`, `{ field: T }`, `T|null`, and the long form with a default.

use super::{Findings, closest};
use crate::model::types::{Field, Origin, Type};
use crate::model::value::Value;
use crate::plan::codes;
use crate::plan::source::{Content, Node};

const NAMES: &[(&str, Type)] = &[
    ("string", Type::String),
    ("int", Type::Int),
    ("float", Type::Float),
    ("bool", Type::Bool),
    ("bytes", Type::Bytes),
    ("time", Type::Time),
    ("duration", Type::Duration),
    ("secret", Type::Secret),
    ("any", Type::Any),
];

impl Findings<'_> {
    /// The fields of a record, in order.
    pub(in crate::plan) fn record(&self, node: &Node, what: &str) -> Option<Type> {
        let table = self.map(node, what, "{ text: string, top_k: { type: int, default: 6 } }")?;
        Some(Type::Record(table.entries.iter().filter_map(|(key, value)| self.field(&key.name, value)).collect()))
    }

    fn field(&self, name: &str, node: &Node) -> Option<Field> {
        let name = name.to_owned();
        let long = match &node.content {
            Content::Map(entries) if node.get("type").is_some() => {
                entries.iter().all(|(key, _)| matches!(key.name.as_str(), "type" | "default" | "description"))
            }
            _ => false,
        };
        if !long {
            // A field whose type is none is still a field: who reads it makes no mistake.
            return Some(Field { name, value_type: self.declared_type(node).unwrap_or_default(), default: None, description: None });
        }
        let mut value_type = self.declared_type(node.get("type")?).unwrap_or_default();
        let description = node.get("description").and_then(|text| self.literal_text(text, "`description`", "")).map(str::to_owned);
        let mut default = None;
        if let Some(written) = node.get("default") {
            if written.is_null() {
                if !value_type.takes_null() {
                    value_type = Type::Nullable(Box::new(value_type));
                }
            } else {
                default = self.literal_of(written, &value_type, &format!("the default of `{name}`"));
            }
        }
        Some(Field { name, value_type, default, description })
    }

    /// A literal that has to be of a type.
    pub(in crate::plan) fn literal_of(&self, node: &Node, wanted: &Type, what: &str) -> Option<Value> {
        let mut holes = false;
        node.each_scalar(&mut |scalar, span| {
            if scalar.text.contains("${") {
                holes = true;
                self.error(
                    codes::LITERAL,
                    span,
                    format!("{what} is fixed when the file is loaded and takes no `${{…}}`"),
                    "write the value itself",
                );
            }
        });
        if holes {
            return None;
        }
        match wanted.conform(&Value::from(node.tree()), Origin::Data) {
            Ok(value) => Some(value),
            Err(mismatches) => {
                for mismatch in mismatches {
                    let message = if mismatch.path.is_empty() {
                        format!("{what} is {}, not {}", mismatch.found, mismatch.wanted)
                    } else {
                        format!("{what}: {mismatch}")
                    };
                    let form = wanted.example().map(|example| format!(", as {example}")).unwrap_or_default();
                    self.error(codes::MISFIT, node.span, message, format!("it is declared as {wanted}{form}"));
                }
                None
            }
        }
    }

    /// A type.
    pub(in crate::plan) fn declared_type(&self, node: &Node) -> Option<Type> {
        match &node.content {
            Content::Map(_) => self.record(node, "a type"),
            Content::List(items) => match items.as_slice() {
                [item] => Some(Type::List(Box::new(self.declared_type(item)?))),
                _ => {
                    let message = format!("a list type holds one type, that of its items, and this holds {}", items.len());
                    self.error(codes::BAD_TYPE, node.span, message, "write it as [string]");
                    None
                }
            },
            Content::Scalar(scalar) => match named(&scalar.text) {
                Ok(found) => Some(found),
                Err(word) => {
                    let help = match closest(&word, NAMES.iter().map(|(name, _)| *name).chain(other_names(&word))) {
                        Some("number") => "did you mean `float`, or `int` for whole numbers?".to_owned(),
                        Some("text") => "did you mean `string`?".to_owned(),
                        Some("boolean") => "did you mean `bool`?".to_owned(),
                        Some("integer") => "did you mean `int`?".to_owned(),
                        Some(name) => format!("did you mean `{name}`?"),
                        None => "types are string, int, float, bool, bytes, time, duration, secret, any, [T], { field: T } and T|null"
                            .to_owned(),
                    };
                    self.error(codes::BAD_TYPE, node.span, format!("`{word}` is not a type"), help);
                    None
                }
            },
        }
    }
}

/// Names that other languages have for our types.
fn other_names(word: &str) -> impl Iterator<Item = &'static str> + use<> {
    ["number", "text", "boolean", "integer"].into_iter().filter({
        let word = word.to_owned();
        move |name| *name == word
    })
}

fn named(text: &str) -> Result<Type, String> {
    let text = text.trim();
    if let Some((first, last)) = text.rsplit_once('|') {
        let (inner, other) = if first.trim() == "null" { (last, first) } else { (first, last) };
        if other.trim() != "null" {
            return Err(text.to_owned());
        }
        return match named(inner)? {
            Type::Any => Ok(Type::Any),
            inner => Ok(Type::Nullable(Box::new(inner))),
        };
    }
    if let Some(item) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return Ok(Type::List(Box::new(named(item)?)));
    }
    NAMES.iter().find(|(name, _)| *name == text).map(|(_, found)| found.clone()).ok_or_else(|| text.to_owned())
}
