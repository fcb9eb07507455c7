//! A value of the YAML with its expressions compiled: literals, `${…}` alone, and text with `${…}` in it.

use std::sync::Arc;

use crate::model::failure::{Failure, FailureKind};
use crate::model::port::{Expression, Scope};
use crate::model::value::{Map, Tree, Value};

/// A value with holes.
#[derive(Clone, Debug)]
pub enum Template {
    /// No hole in it.
    Literal(Value),
    /// One expression and nothing else: it keeps its type.
    Expression(Arc<dyn Expression>),
    /// Text with expressions in it: joined as text.
    Text(Vec<Part>),
    /// A list with holes in it.
    List(Vec<Template>),
    /// A map with holes in it, in the order in which it was written.
    Map(Vec<(String, Template)>),
}

/// A part of a text with expressions in it.
#[derive(Clone, Debug)]
pub enum Part {
    /// Text as it stands.
    Literal(String),
    /// An expression whose value is joined as text.
    Expression(Arc<dyn Expression>),
}

impl Template {
    /// The value in this scope.
    ///
    /// # Errors
    /// What an expression failed with; `invalid` for null within text.
    pub fn evaluate(&self, scope: &dyn Scope) -> Result<Value, Failure> {
        match self {
            Self::Literal(value) => Ok(value.clone()),
            Self::Expression(expression) => expression.evaluate(scope),
            Self::Text(parts) => join(parts, scope).map(Value::string),
            Self::List(_) | Self::Map(_) => self.tree(scope).map(Value::from),
        }
    }

    /// Every expression in it.
    pub fn expressions(&self) -> Vec<&Arc<dyn Expression>> {
        match self {
            Self::Literal(_) => Vec::new(),
            Self::Expression(expression) => vec![expression],
            Self::Text(parts) => parts
                .iter()
                .filter_map(|part| match part {
                    Part::Expression(expression) => Some(expression),
                    Part::Literal(_) => None,
                })
                .collect(),
            Self::List(items) => items.iter().flat_map(Self::expressions).collect(),
            Self::Map(fields) => fields.iter().flat_map(|(_, field)| field.expressions()).collect(),
        }
    }

    /// As it is written, in one line: literals as JSON, expressions as `${…}`.
    pub fn source(&self) -> String {
        match self {
            Self::Literal(value) => value.text().to_owned(),
            Self::Expression(expression) => format!("${{{}}}", expression.source()),
            Self::Text(parts) => parts
                .iter()
                .map(|part| match part {
                    Part::Literal(text) => text.clone(),
                    Part::Expression(expression) => format!("${{{}}}", expression.source()),
                })
                .collect(),
            Self::List(items) => format!("[{}]", items.iter().map(Self::source).collect::<Vec<_>>().join(", ")),
            Self::Map(fields) => {
                let fields: Vec<String> = fields.iter().map(|(name, field)| format!("{name}: {}", field.source())).collect();
                format!("{{ {} }}", fields.join(", "))
            }
        }
    }

    /// The same for people, where it is clear that it is no more than text: one that is written out without the quotes that JSON has.
    pub fn words(&self) -> String {
        match self {
            Self::Literal(value) => value.tree().as_text().map_or_else(|| self.source(), str::to_owned),
            _ => self.source(),
        }
    }

    fn tree(&self, scope: &dyn Scope) -> Result<Tree, Failure> {
        match self {
            Self::List(items) => items.iter().map(|item| item.tree(scope)).collect::<Result<_, _>>().map(Tree::List),
            Self::Map(fields) => {
                // Room is made once: how many there are is not known any more where one of them may fail.
                let mut map = Map::with_capacity(fields.len());
                for (name, field) in fields {
                    map.insert(name.clone(), field.tree(scope)?);
                }
                Ok(Tree::Map(map))
            }
            Self::Literal(value) => Ok(value.tree().clone()),
            Self::Expression(expression) => expression.evaluate(scope).map(Value::into_tree),
            Self::Text(parts) => join(parts, scope).map(Tree::Text),
        }
    }
}

fn join(parts: &[Part], scope: &dyn Scope) -> Result<String, Failure> {
    let mut joined = String::new();
    for part in parts {
        match part {
            Part::Literal(text) => joined.push_str(text),
            Part::Expression(expression) => {
                let value = expression.evaluate(scope)?;
                match value.tree() {
                    Tree::Null => {
                        let message = format!("${{{}}} is null, and null cannot stand within text", expression.source());
                        return Err(Failure::new(FailureKind::Invalid, message).with_code("null_in_text"));
                    }
                    Tree::Text(text) => joined.push_str(text),
                    Tree::Secret(secret) => joined.push_str(&secret.to_string()),
                    _ => joined.push_str(value.text()),
                }
            }
        }
    }
    Ok(joined)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_is_written_out_has_quotes_as_a_value_and_none_for_people() {
        let template = Template::Literal(Value::string("1h"));
        assert_eq!((template.source().as_str(), template.words().as_str()), ("\"1h\"", "1h"));
        let list = Template::List(vec![template]);
        assert_eq!(list.words(), list.source());
    }
}
