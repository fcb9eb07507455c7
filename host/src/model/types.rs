//! The types that `input`, `events`, `state.types` and executors declare, and the check of a value against one.

use std::fmt;

use super::value::{Map, Tree, Value};

mod fits;
mod schema;
mod seal;

/// What a value must be.
#[derive(Clone, PartialEq, Debug, Default)]
pub enum Type {
    /// Anything at all.
    #[default]
    Any,
    /// Text.
    String,
    /// A whole number.
    Int,
    /// A number; a whole one is taken too.
    Float,
    /// `true` or `false`.
    Bool,
    /// Bytes, written as base64 text.
    Bytes,
    /// A point in time, written as RFC 3339 text.
    Time,
    /// A duration, written as text with a unit, as `250ms`.
    Duration,
    /// A secret.
    Secret,
    /// A list of items of one type.
    List(Box<Type>),
    /// A map with these fields; a map with others too is taken, and the others cannot be read in expressions.
    Record(Vec<Field>),
    /// The type, or null.
    Nullable(Box<Type>),
}

/// A declared field of a record.
#[derive(Clone, PartialEq, Debug)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Its type.
    pub value_type: Type,
    /// What it is when absent.
    pub default: Option<Value>,
    /// What it means, for people.
    pub description: Option<String>,
}

/// Where a value comes from: text of a query or a path is converted, data is not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// JSON: `"2"` is no int.
    Data,
    /// Text only, as a query's `?top=2`: converted to what is declared.
    Text,
}

/// One place at which a value is not what was declared.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mismatch {
    /// The field, as `passages[2].score`; empty for the value itself.
    pub path: String,
    /// What was declared, as `float`.
    pub wanted: String,
    /// What came, as `string`; `nothing` if the field is missing.
    pub found: String,
    /// How what was declared is written, where its name does not say it: see [`Type::example`].
    pub example: Option<&'static str>,
}

/// `passages[2].score is string, not float`, `pause is string, not duration (as 30s)`.
impl fmt::Display for Mismatch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = if self.path.is_empty() { "the value" } else { &self.path };
        match self.found.as_str() {
            "nothing" => write!(formatter, "{path} is missing ({})", self.wanted),
            found => {
                write!(formatter, "{path} is {found}, not {}", self.wanted)?;
                self.example.map_or(Ok(()), |example| write!(formatter, " (as {example})"))
            }
        }
    }
}

impl Type {
    /// Checks a value against this type and fills in what is absent: defaults, and null for what may be null.
    ///
    /// # Errors
    /// Every place that does not fit, in the order of the declaration.
    pub fn conform(&self, value: &Value, origin: Origin) -> Result<Value, Vec<Mismatch>> {
        if matches!(self, Self::Any) || self.fits(value) {
            return Ok(value.clone());
        }
        let tree = value.tree();
        let mut mismatches = Vec::new();
        let conformed = self.conform_tree(tree, origin, &mut String::new(), &mut mismatches);
        match conformed {
            _ if !mismatches.is_empty() => Err(mismatches),
            // The forms that the value already has are worth keeping when nothing was filled in.
            None => Ok(value.clone()),
            Some(changed) => Ok(Value::from(changed)),
        }
    }

    /// Whether a value is of this type as it stands, as far as can be told without its tree.
    fn fits(&self, value: &Value) -> bool {
        if value.tree_if_known().is_some() {
            return false;
        }
        match value.native_fits(self) {
            Some(fits) => fits,
            // Text that was made of another form does not show its secrets; text that the value came with has none.
            None => value.text_if_known().is_some_and(|text| fits::text_fits(self, text)),
        }
    }

    /// The type of a field, if this is a record that declares it, possibly nullable itself.
    pub fn field(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Record(fields) => fields.iter().find(|field| field.name == name).map(|field| &field.value_type),
            Self::Nullable(inner) => inner.field(name),
            _ => None,
        }
    }

    /// A value of a type whose form its name does not say: that of a time, of a duration and of bytes, all of which are text.
    pub const fn example(&self) -> Option<&'static str> {
        match self {
            Self::Time => Some("2026-01-31T12:00:00Z"),
            Self::Duration => Some("30s"),
            Self::Bytes => Some("aGVsbG8="),
            Self::Nullable(inner) => inner.example(),
            _ => None,
        }
    }

    /// Whether null is a value of this type.
    pub const fn takes_null(&self) -> bool {
        matches!(self, Self::Any | Self::Nullable(_))
    }

    /// Returns what the value becomes, or `None` if it stays as it is.
    fn conform_tree(&self, tree: &Tree, origin: Origin, path: &mut String, found: &mut Vec<Mismatch>) -> Option<Tree> {
        match (self, tree) {
            (Self::Any, _)
            | (Self::Nullable(_), Tree::Null)
            | (Self::String, Tree::Text(_))
            | (Self::Int, Tree::Int(_))
            | (Self::Float, Tree::Float(_))
            | (Self::Bool, Tree::Bool(_))
            | (Self::Secret, Tree::Secret(_)) => None,
            (Self::Float, Tree::Int(number)) => Some(Tree::Float(*number as f64)),
            (Self::Nullable(inner), _) => inner.conform_tree(tree, origin, path, found),
            (Self::List(item), Tree::List(items)) => Self::conform_items(item, items, origin, path, found),
            (Self::Record(fields), Tree::Map(map)) => Self::conform_fields(fields, map, origin, path, found),
            (Self::Bytes | Self::Time | Self::Duration, Tree::Text(text)) if self.reads(text) => None,
            (Self::Int | Self::Float | Self::Bool, Tree::Text(text)) if origin == Origin::Text => {
                let converted = self.convert(text);
                if converted.is_none() {
                    self.refuse(format!("{text:?}"), path, found);
                }
                converted
            }
            _ => {
                self.refuse(tree.kind().to_owned(), path, found);
                None
            }
        }
    }

    fn conform_items(item: &Self, items: &[Tree], origin: Origin, path: &mut String, found: &mut Vec<Mismatch>) -> Option<Tree> {
        let mut changed: Option<Vec<Tree>> = None;
        for (index, tree) in items.iter().enumerate() {
            let length = path.len();
            path.push_str(&format!("[{index}]"));
            if let Some(new) = item.conform_tree(tree, origin, path, found) {
                changed.get_or_insert_with(|| items.to_vec())[index] = new;
            }
            path.truncate(length);
        }
        changed.map(Tree::List)
    }

    fn conform_fields(fields: &[Field], map: &Map, origin: Origin, path: &mut String, found: &mut Vec<Mismatch>) -> Option<Tree> {
        let mut changed: Option<Map> = None;
        for field in fields {
            let length = path.len();
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(&field.name);
            let new = match map.get(&field.name) {
                None | Some(Tree::Null) if field.default.is_some() => field.default.as_ref().map(|default| default.tree().clone()),
                None if field.value_type.takes_null() => Some(Tree::Null),
                None => {
                    field.value_type.refuse("nothing".to_owned(), path, found);
                    None
                }
                Some(tree) => field.value_type.conform_tree(tree, origin, path, found),
            };
            if let Some(new) = new {
                changed.get_or_insert_with(|| map.clone()).insert(field.name.clone(), new);
            }
            path.truncate(length);
        }
        changed.map(Tree::Map)
    }

    fn convert(&self, text: &str) -> Option<Tree> {
        match self {
            Self::Int => text.parse().ok().map(Tree::Int),
            Self::Float => text.parse().ok().filter(|number: &f64| number.is_finite()).map(Tree::Float),
            Self::Bool => text.parse().ok().map(Tree::Bool),
            _ => None,
        }
    }

    fn reads(&self, text: &str) -> bool {
        match self {
            Self::Time => text.parse::<jiff::Timestamp>().is_ok(),
            Self::Duration => super::policy::parse_duration(text).is_ok(),
            _ => text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=')),
        }
    }

    fn refuse(&self, what: String, path: &str, found: &mut Vec<Mismatch>) {
        found.push(Mismatch { path: path.to_owned(), wanted: self.to_string(), found: what, example: self.example() });
    }
}

/// As users write it: `[{ id: string, score: float }]`, `string|null`.
impl fmt::Display for Type {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => formatter.write_str("any"),
            Self::String => formatter.write_str("string"),
            Self::Int => formatter.write_str("int"),
            Self::Float => formatter.write_str("float"),
            Self::Bool => formatter.write_str("bool"),
            Self::Bytes => formatter.write_str("bytes"),
            Self::Time => formatter.write_str("time"),
            Self::Duration => formatter.write_str("duration"),
            Self::Secret => formatter.write_str("secret"),
            Self::List(item) => write!(formatter, "[{item}]"),
            Self::Nullable(inner) => write!(formatter, "{inner}|null"),
            Self::Record(fields) if fields.is_empty() => formatter.write_str("{}"),
            Self::Record(fields) => {
                formatter.write_str("{ ")?;
                for (index, field) in fields.iter().enumerate() {
                    let separator = if index == 0 { "" } else { ", " };
                    write!(formatter, "{separator}{}: {}", field.name, field.value_type)?;
                }
                formatter.write_str(" }")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(name: &str, value_type: Type) -> Field {
        Field { name: name.to_owned(), value_type, default: None, description: None }
    }

    fn value(json: &str) -> Value {
        Value::from_text(json).expect("this is JSON")
    }

    #[test]
    fn names_every_field_that_does_not_fit() {
        let wanted = Type::Record(vec![field("text", Type::String), field("list", Type::List(Box::new(Type::Int)))]);
        let mismatches = wanted.conform(&value(r#"{"list":[1,"x"]}"#), Origin::Data).expect_err("two things are wrong");
        let texts: Vec<_> = mismatches.iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["text is missing (string)", "list[1] is string, not int"]);
    }

    #[test]
    fn what_is_text_of_a_form_is_told_with_the_form() {
        let time = Type::Nullable(Box::new(Type::Time));
        let wanted = Type::Record(vec![field("t", time), field("d", Type::Duration), field("b", Type::Bytes), field("e", Type::Duration)]);
        let mismatches = wanted.conform(&value(r#"{"t":"yesterday","d":"5","b":"é"}"#), Origin::Data).expect_err("all of it is wrong");
        let texts: Vec<_> = mismatches.iter().map(ToString::to_string).collect();
        let expected = [
            "t is string, not time (as 2026-01-31T12:00:00Z)",
            "d is string, not duration (as 30s)",
            "b is string, not bytes (as aGVsbG8=)",
            "e is missing (duration)",
        ];
        assert_eq!(texts, expected);
        for declared in [Type::Time, Type::Duration, Type::Bytes] {
            let example = declared.example().expect("it has a form");
            assert!(declared.conform(&Value::string(example), Origin::Data).is_ok(), "{example}");
        }
    }

    #[test]
    fn fills_in_defaults_and_nulls() {
        let mut top = field("top", Type::Int);
        top.default = Some(Value::from(Tree::Int(6)));
        let wanted = Type::Record(vec![top, field("note", Type::Nullable(Box::new(Type::String)))]);
        assert_eq!(wanted.conform(&value("{}"), Origin::Data).expect("it fits").text(), r#"{"top":6,"note":null}"#);
    }

    #[test]
    fn converts_text_of_a_query_only() {
        let wanted = Type::Record(vec![field("top", Type::Int)]);
        assert!(wanted.conform(&value(r#"{"top":"2"}"#), Origin::Data).is_err());
        assert_eq!(wanted.conform(&value(r#"{"top":"2"}"#), Origin::Text).expect("it fits").text(), r#"{"top":2}"#);
    }
}
