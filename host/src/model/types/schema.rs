//! Types from JSON Schemas: what plugins and scripts describe themselves in.

use serde_json::Value as Json;

use super::{Field, Type};
use crate::model::value::{Tree, Value};

impl Type {
    /// The type that a JSON Schema describes. What has no counterpart here becomes [`Type::Any`]: the executor itself
    /// still refuses what it cannot take.
    ///
    /// A property that is not listed under `required` may be null. `format: secret` is a secret.
    pub fn from_schema(schema: &Json) -> Self {
        let (names, nullable) = type_names(schema);
        let inner = match names.as_slice() {
            ["string"] => match schema.get("format").and_then(Json::as_str) {
                Some("secret") => Self::Secret,
                Some("date-time") => Self::Time,
                Some("duration") => Self::Duration,
                _ => Self::String,
            },
            ["integer"] => Self::Int,
            ["number"] => Self::Float,
            ["boolean"] => Self::Bool,
            ["array"] => Self::List(Box::new(schema.get("items").map_or(Self::Any, Self::from_schema))),
            ["object"] if schema.get("properties").is_some() => Self::Record(fields(schema)),
            _ => Self::Any,
        };
        match inner {
            Self::Any => Self::Any,
            inner if nullable => Self::Nullable(Box::new(inner)),
            inner => inner,
        }
    }
}

fn type_names(schema: &Json) -> (Vec<&str>, bool) {
    let names: Vec<&str> = match schema.get("type") {
        Some(Json::String(name)) => vec![name],
        Some(Json::Array(names)) => names.iter().filter_map(Json::as_str).collect(),
        _ => Vec::new(),
    };
    let nullable = names.contains(&"null");
    (names.into_iter().filter(|name| *name != "null").collect(), nullable)
}

fn fields(schema: &Json) -> Vec<Field> {
    let required: Vec<&str> = schema.get("required").and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str).collect();
    let properties = schema.get("properties").and_then(Json::as_object);
    properties
        .into_iter()
        .flatten()
        .map(|(name, property)| {
            let declared = Type::from_schema(property);
            let default = property.get("default").map(|default| Value::from(Tree::from(default.clone())));
            let optional = default.is_none() && !required.contains(&name.as_str()) && !declared.takes_null();
            Field {
                name: name.clone(),
                value_type: if optional { Type::Nullable(Box::new(declared)) } else { declared },
                default,
                description: property.get("description").and_then(Json::as_str).map(str::to_owned),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_required_may_be_null() {
        let schema = serde_json::json!({
            "type": "object",
            "required": ["query"],
            "properties": { "query": { "type": "string" }, "key": { "type": "string", "format": "secret" }, "odd": { "oneOf": [] } },
        });
        let mut shown = Type::from_schema(&schema).to_string();
        shown.retain(|character| character != ' ');
        for part in ["query:string", "key:secret|null", "odd:any"] {
            assert!(shown.contains(part), "{shown} has no {part}");
        }
    }
}
