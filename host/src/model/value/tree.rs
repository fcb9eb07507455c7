//! The tree form of a value.

use std::fmt;

use indexmap::IndexMap;
use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::exact::{self, Name};
use crate::model::secret::Secret;

/// The fields of a map, in the order in which they were written.
pub type Map = IndexMap<String, Tree>;

/// A value taken apart: JSON's kinds, with whole numbers kept apart from fractions, and secrets.
#[derive(Clone, PartialEq, Debug, Default)]
pub enum Tree {
    /// The absent value.
    #[default]
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number. JSON numbers beyond its range become [`Tree::Float`].
    Int(i64),
    /// A fraction. Never NaN or infinite when it came from JSON; written as null when it is.
    Float(f64),
    /// Text.
    Text(String),
    /// A list.
    List(Vec<Tree>),
    /// A map from names to values.
    Map(Map),
    /// A secret: passes through, shows only its name.
    Secret(Secret),
}

impl Tree {
    /// The text, if this is one.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The whole number, if this is one.
    pub const fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(*number),
            _ => None,
        }
    }

    /// The number as a fraction, if this is a number of either kind.
    pub const fn as_float(&self) -> Option<f64> {
        match self {
            Self::Int(number) => Some(*number as f64),
            Self::Float(number) => Some(*number),
            _ => None,
        }
    }

    /// The truth value, if this is one.
    pub const fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(truth) => Some(*truth),
            _ => None,
        }
    }

    /// The items, if this is a list.
    pub fn as_list(&self) -> Option<&[Self]> {
        match self {
            Self::List(items) => Some(items),
            _ => None,
        }
    }

    /// The fields, if this is a map.
    pub const fn as_map(&self) -> Option<&Map> {
        match self {
            Self::Map(fields) => Some(fields),
            _ => None,
        }
    }

    /// One field, if this is a map that has it.
    pub fn field(&self, name: &str) -> Option<&Self> {
        self.as_map()?.get(name)
    }

    /// What kind of value this is, in the words that users write: `null`, `bool`, `int`, `float`, `string`, `list`, `map`, `secret`.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float",
            Self::Text(_) => "string",
            Self::List(_) => "list",
            Self::Map(_) => "map",
            Self::Secret(_) => "secret",
        }
    }

    /// Whether lists and maps are nested deeper in it than so many; it looks no deeper itself.
    pub fn is_deeper_than(&self, levels: usize) -> bool {
        match self {
            Self::List(items) => levels == 0 || items.iter().any(|item| item.is_deeper_than(levels - 1)),
            Self::Map(fields) => levels == 0 || fields.values().any(|field| field.is_deeper_than(levels - 1)),
            _ => false,
        }
    }

    /// Whether a secret is anywhere in it.
    pub fn holds_secret(&self) -> bool {
        match self {
            Self::Secret(_) => true,
            Self::List(items) => items.iter().any(Self::holds_secret),
            Self::Map(fields) => fields.values().any(Self::holds_secret),
            _ => false,
        }
    }
}

impl From<&str> for Tree {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Tree {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Tree {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<f64> for Tree {
    fn from(number: f64) -> Self {
        Self::Float(number)
    }
}

impl From<bool> for Tree {
    fn from(truth: bool) -> Self {
        Self::Bool(truth)
    }
}

impl From<serde_json::Value> for Tree {
    fn from(json: serde_json::Value) -> Self {
        match json {
            serde_json::Value::Null => Self::Null,
            serde_json::Value::Bool(truth) => Self::Bool(truth),
            serde_json::Value::Number(number) => match number.as_i64() {
                Some(whole) => Self::Int(whole),
                None => Self::Float(number.as_f64().unwrap_or_default()),
            },
            serde_json::Value::String(text) => Self::Text(text),
            serde_json::Value::Array(items) => Self::List(items.into_iter().map(Self::from).collect()),
            serde_json::Value::Object(fields) => Self::Map(fields.into_iter().map(|(name, field)| (name, Self::from(field))).collect()),
        }
    }
}

impl From<&Tree> for serde_json::Value {
    fn from(tree: &Tree) -> Self {
        serde_json::to_value(tree).unwrap_or_default()
    }
}

impl Serialize for Tree {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(truth) => serializer.serialize_bool(*truth),
            Self::Int(number) => serializer.serialize_i64(*number),
            Self::Float(number) => exact::float(*number, serializer),
            Self::Text(text) => serializer.serialize_str(text),
            Self::List(items) => serializer.collect_seq(items),
            Self::Map(fields) => serializer.collect_map(fields.iter().map(|(name, field)| (exact::name(name), field))),
            Self::Secret(secret) => secret.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TreeVisitor;

        impl<'de> Visitor<'de> for TreeVisitor {
            type Value = Tree;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a value")
            }

            fn visit_unit<E>(self) -> Result<Tree, E> {
                Ok(Tree::Null)
            }

            fn visit_none<E>(self) -> Result<Tree, E> {
                Ok(Tree::Null)
            }

            fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Tree, D::Error> {
                Tree::deserialize(deserializer)
            }

            fn visit_bool<E>(self, truth: bool) -> Result<Tree, E> {
                Ok(Tree::Bool(truth))
            }

            fn visit_i64<E>(self, number: i64) -> Result<Tree, E> {
                Ok(Tree::Int(number))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Tree, E> {
                Ok(i64::try_from(number).map_or(Tree::Float(number as f64), Tree::Int))
            }

            fn visit_f64<E>(self, number: f64) -> Result<Tree, E> {
                Ok(Tree::Float(number))
            }

            fn visit_str<E>(self, text: &str) -> Result<Tree, E> {
                Ok(Tree::Text(text.to_owned()))
            }

            fn visit_string<E>(self, text: String) -> Result<Tree, E> {
                Ok(Tree::Text(text))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Tree, A::Error> {
                let mut list = Vec::with_capacity(items.size_hint().unwrap_or(0).min(1024));
                while let Some(item) = items.next_element()? {
                    list.push(item);
                }
                Ok(Tree::List(list))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Tree, A::Error> {
                if exact::is_exact() {
                    return exact_map(fields);
                }
                let mut map = Map::new();
                while let Some((name, field)) = fields.next_entry()? {
                    map.insert(name, field);
                }
                Ok(Tree::Map(map))
            }
        }

        deserializer.deserialize_any(TreeVisitor)
    }
}

/// A map in its exact form, or what one stands for there.
fn exact_map<'de, A: MapAccess<'de>>(mut fields: A) -> Result<Tree, A::Error> {
    let mut map = Map::new();
    while let Some(name) = fields.next_key::<String>()? {
        let found = match exact::read_name(name) {
            Name::Plain(name) => {
                map.insert(name, fields.next_value()?);
                continue;
            }
            Name::Sealed => {
                let seal = exact::seal().ok_or_else(|| A::Error::custom("nothing opens it"))?;
                Tree::Secret(seal.open(&fields.next_value::<String>()?).map_err(A::Error::custom)?)
            }
            Name::Float => Tree::Float(fields.next_value::<String>()?.parse().map_err(A::Error::custom)?),
            Name::Unknown => return Err(A::Error::custom("it has a mark that is not known")),
        };
        if !map.is_empty() || fields.next_key::<String>()?.is_some() {
            return Err(A::Error::custom("a mark stands beside other fields"));
        }
        return Ok(found);
    }
    Ok(Tree::Map(map))
}
