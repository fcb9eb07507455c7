//! Takes a query's rows, up to a bound.

use std::path::Path;

use rusqlite::types::ValueRef;
use rusqlite::{Row, Statement};

use super::failure;
use crate::model::failure::{Failure, FailureKind};
use crate::model::value::{Map, Tree, Value};

/// How many rows one query gives at most.
pub const MAX_ROWS: usize = 10_000;
/// How many bytes of names and values one query gives at most.
pub const MAX_BYTES: usize = 16 << 20;

/// A map for each row. Where two columns have one name, the later one counts.
pub(super) fn collect(statement: &mut Statement<'_>, path: &Path) -> Result<Value, Failure> {
    let names: Vec<String> = statement.column_names().map(str::to_owned).collect();
    let mut rows = statement.raw_query();
    let mut list = Vec::new();
    let mut bytes = 0_usize;
    while let Some(row) = rows.next().map_err(|error| failure::of(path, error))? {
        if list.len() == MAX_ROWS {
            return Err(too_large(format!("more than {MAX_ROWS} rows")));
        }
        list.push(map(row, &names, &mut bytes, path)?);
    }
    Ok(Value::from(Tree::List(list)))
}

/// The first row of a statement that writes, if it gives any (`RETURNING`); the statement is carried out to its end.
pub(super) fn first(statement: &mut Statement<'_>, path: &Path) -> Result<Option<Tree>, Failure> {
    let names: Vec<String> = statement.column_names().map(str::to_owned).collect();
    let mut rows = statement.raw_query();
    let mut first = None;
    while let Some(row) = rows.next().map_err(|error| failure::of(path, error))? {
        if first.is_none() {
            first = Some(map(row, &names, &mut 0, path)?);
        }
    }
    Ok(first)
}

fn map(row: &Row<'_>, names: &[String], bytes: &mut usize, path: &Path) -> Result<Tree, Failure> {
    let mut map = Map::with_capacity(names.len());
    for (index, name) in names.iter().enumerate() {
        let cell = row.get_ref(index).map_err(|error| failure::of(path, error))?;
        *bytes += name.len() + size(cell);
        if *bytes > MAX_BYTES {
            return Err(too_large(format!("more than {} MiB", MAX_BYTES >> 20)));
        }
        map.insert(name.clone(), tree(cell));
    }
    Ok(Tree::Map(map))
}

fn too_large(what: String) -> Failure {
    Failure::new(FailureKind::Invalid, format!("the query gives {what}; narrow it with WHERE or LIMIT")).with_code("too_many_rows")
}

fn size(cell: ValueRef<'_>) -> usize {
    match cell {
        ValueRef::Text(bytes) => bytes.len(),
        ValueRef::Blob(bytes) => bytes.len() / 3 * 4 + 4,
        ValueRef::Null | ValueRef::Integer(_) | ValueRef::Real(_) => 8,
    }
}

fn tree(cell: ValueRef<'_>) -> Tree {
    match cell {
        ValueRef::Null => Tree::Null,
        ValueRef::Integer(number) => Tree::Int(number),
        ValueRef::Real(number) => Tree::Float(number),
        // SQLite does not check that text is UTF-8.
        ValueRef::Text(bytes) => Tree::Text(String::from_utf8_lossy(bytes).into_owned()),
        ValueRef::Blob(bytes) => Tree::Text(base64(bytes)),
    }
}

/// How a blob is written where values are JSON.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * place) & 63) as usize];
            text.push(if place <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_padded() {
        let coded: Vec<_> = ["", "f", "fo", "foo", "foob"].map(|text| base64(text.as_bytes())).into();
        assert_eq!(coded, ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg=="]);
    }
}
