//! How built-ins write down their types.

use crate::model::executor::{Description, Want};
use crate::model::types::{Field, Type};
use crate::model::value::Value;

/// A field that must be there.
pub(super) fn field(name: &str, value_type: Type, description: &str) -> Field {
    Field { name: name.to_owned(), value_type, default: None, description: Some(description.to_owned()) }
}

/// A field that is null where it is absent.
pub(super) fn optional(name: &str, value_type: Type, description: &str) -> Field {
    field(name, Type::Nullable(Box::new(value_type)), description)
}

/// A field with a value where it is absent.
pub(super) fn with_default(name: &str, value_type: Type, default: impl Into<crate::model::value::Tree>, description: &str) -> Field {
    Field { default: Some(Value::from(default.into())), ..field(name, value_type, description) }
}

pub(super) fn list(item: Type) -> Type {
    Type::List(Box::new(item))
}

pub(super) fn record(fields: impl IntoIterator<Item = Field>) -> Type {
    Type::Record(fields.into_iter().collect())
}

pub(super) fn want(grant: &str, reason: &str) -> Want {
    Want { grant: grant.to_owned(), reason: reason.to_owned() }
}

/// The description of a built-in; config and wants are none until they are set.
pub(super) fn describe(name: &str, summary: &str, input: Type, output: Type) -> Description {
    Description { summary: summary.to_owned(), input: Some(input), output: Some(output), ..Description::new(name, super::digest(name)) }
}
