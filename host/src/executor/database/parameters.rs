//! Binds a value's items or fields to a statement's parameters.

use std::path::Path;

use rusqlite::Statement;
use rusqlite::types::{ToSqlOutput, Value as SqlValue, ValueRef};

use super::failure;
use crate::model::failure::{Failure, FailureKind};
use crate::model::value::Tree;

/// Why parameters do not fit a statement.
#[derive(Debug)]
pub(super) enum Error {
    /// What is wrong with them, for whoever wrote the call.
    Wrong(String),
    /// SQLite refused one.
    Sqlite(rusqlite::Error),
}

impl Error {
    pub(super) fn failure(self, path: &Path) -> Failure {
        match self {
            Self::Wrong(message) => Failure::new(FailureKind::Invalid, message).with_code("parameters"),
            Self::Sqlite(error) => failure::of(path, error),
        }
    }
}

/// Binds every parameter of the statement; one too few or too many is an error, since either is a slip of the pen.
pub(super) fn bind(statement: &mut Statement<'_>, parameters: &Tree) -> Result<(), Error> {
    let wanted = statement.parameter_count();
    match parameters {
        Tree::Null if wanted == 0 => Ok(()),
        Tree::Null => Err(Error::Wrong(format!("the statement has {wanted} parameters, and none are given"))),
        Tree::List(items) if items.len() != wanted => {
            Err(Error::Wrong(format!("the statement has {wanted} parameters, and {} are given", items.len())))
        }
        Tree::List(items) => {
            items.iter().enumerate().try_for_each(|(index, item)| bind_one(statement, index + 1, &format!("?{}", index + 1), item))
        }
        Tree::Map(fields) => {
            let mut used = Vec::with_capacity(wanted);
            for index in 1..=wanted {
                let Some(shown) = statement.parameter_name(index).map(str::to_owned) else {
                    return Err(Error::Wrong(
                        "the statement has a `?` without a name: give its parameters as a list, or name it as :name".to_owned(),
                    ));
                };
                let name = shown.trim_start_matches([':', '@', '$', '?']);
                let Some((field_index, _, field)) = fields.get_full(name) else {
                    return Err(Error::Wrong(format!("the statement's parameter {shown} is not among the given ones")));
                };
                used.push(field_index);
                bind_one(statement, index, &shown, field)?;
            }
            match fields.keys().enumerate().find(|(index, _)| !used.contains(index)) {
                Some((_, unused)) => Err(Error::Wrong(format!("the statement has no parameter :{unused}"))),
                None => Ok(()),
            }
        }
        other => Err(Error::Wrong(format!("parameters are a list or a map, and this is {}", other.kind()))),
    }
}

fn bind_one(statement: &mut Statement<'_>, index: usize, shown: &str, tree: &Tree) -> Result<(), Error> {
    if tree.holds_secret() {
        return Err(Error::Wrong(format!("parameter {shown} holds a secret, and secrets are not written into databases")));
    }
    let text;
    let output = match tree {
        Tree::Null | Tree::Secret(_) => ToSqlOutput::Owned(SqlValue::Null),
        Tree::Bool(truth) => ToSqlOutput::Owned(SqlValue::Integer(i64::from(*truth))),
        Tree::Int(number) => ToSqlOutput::Owned(SqlValue::Integer(*number)),
        Tree::Float(number) => ToSqlOutput::Owned(SqlValue::Real(*number)),
        Tree::Text(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
        // SQLite's json functions read them: `… IN (SELECT value FROM json_each(?1))`.
        Tree::List(_) | Tree::Map(_) => {
            text = serde_json::to_string(tree).unwrap_or_default();
            ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes()))
        }
    };
    statement.raw_bind_parameter(index, output).map_err(Error::Sqlite)
}
