//! Where what was seen is not what was expected: maps field by field, lists as a whole and item by item.

use crate::model::diagnostic::{Diagnostic, Place};
use crate::model::value::Tree;
use crate::plan::cases::{Written, WrittenContent};
use crate::plan::codes;

/// So many characters of a value are shown.
const SHOWN: usize = 240;

/// One place at which they differ.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Difference {
    /// The part of what was seen, as `runs[1].reply.text`.
    pub(super) path: String,
    /// What was expected, with its place.
    pub(super) expected: Written,
    /// What was seen; `None` if there is no such part.
    pub(super) seen: Option<Tree>,
}

/// Every difference, in the order in which the expectation is written.
pub(super) fn compare(expected: &Written, seen: &Tree) -> Vec<Difference> {
    let mut found = Vec::new();
    walk(expected, Some(seen), "", &mut found);
    found
}

fn walk(expected: &Written, seen: Option<&Tree>, path: &str, found: &mut Vec<Difference>) {
    let differs = || Difference { path: path.to_owned(), expected: expected.clone(), seen: seen.cloned() };
    match (&expected.content, seen) {
        // What is absent is null.
        (WrittenContent::Scalar(Tree::Null), None) => {}
        (WrittenContent::Scalar(wanted), Some(seen)) if is_same(wanted, seen) => {}
        (WrittenContent::List(wanted), Some(Tree::List(items))) if wanted.len() == items.len() => {
            for (index, (wanted, item)) in wanted.iter().zip(items).enumerate() {
                walk(wanted, Some(item), &format!("{path}[{index}]"), found);
            }
        }
        (WrittenContent::Map(fields), Some(Tree::Map(map))) => {
            for field in fields {
                let path = if path.is_empty() { field.name.clone() } else { format!("{path}.{}", field.name) };
                walk(&field.value, map.get(&field.name), &path, found);
            }
        }
        _ => found.push(differs()),
    }
}

fn is_same(wanted: &Tree, seen: &Tree) -> bool {
    match (wanted, seen) {
        // `1` and `1.0` are the same to whoever writes them.
        (Tree::Int(_), Tree::Float(_)) | (Tree::Float(_), Tree::Int(_)) => wanted.as_float() == seen.as_float(),
        (Tree::Text(text), Tree::Secret(secret)) => *text == secret.to_string(),
        _ => wanted == seen,
    }
}

impl Difference {
    /// As a mistake at the line of the expectation. `why` is what may explain it: the failure of the run.
    pub(super) fn diagnostic(&self, case: &str, why: Option<&str>) -> Diagnostic {
        let path = &self.path;
        let expected = match &self.expected.content {
            WrittenContent::Scalar(tree) => shown(tree),
            WrittenContent::List(_) | WrittenContent::Map(_) => shown(&self.expected.tree()),
        };
        let message = match (&self.seen, &self.expected.content) {
            (None, _) => format!("`{path}` is missing, and {expected} is expected"),
            (Some(Tree::List(items)), WrittenContent::List(wanted)) => {
                format!("`{path}` has {}, not {}: {}", many(items.len(), "item"), wanted.len(), shown(&Tree::List(items.clone())))
            }
            (Some(seen), _) => format!("`{path}` is {}, not {expected}", shown(seen)),
        };
        let diagnostic = Diagnostic::error(codes::UNMET, self.place(), message).with_help(format!("in the test `{case}`"));
        match why.filter(|_| path.ends_with("outcome") || path.ends_with("reply")) {
            Some(why) => diagnostic.with_label(why),
            None => diagnostic,
        }
    }

    fn place(&self) -> Place {
        self.expected.place.clone()
    }
}

/// `1 item`, `2 items`.
fn many(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// A value as JSON on one line, cut where it is long.
pub(super) fn shown(tree: &Tree) -> String {
    let text = serde_json::to_string(tree).unwrap_or_default();
    match text.char_indices().nth(SHOWN) {
        Some((cut, _)) => format!("{}…", text.get(..cut).unwrap_or_default()),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::value::Value;
    use crate::plan::cases::WrittenField;

    /// An expectation of a value's JSON.
    fn written(tree: &Tree) -> Written {
        let place = Place::whole("a.yaml");
        let content = match tree {
            Tree::List(items) => WrittenContent::List(items.iter().map(written).collect()),
            Tree::Map(fields) => WrittenContent::Map(
                fields
                    .iter()
                    .map(|(name, field)| WrittenField { name: name.clone(), place: place.clone(), value: written(field) })
                    .collect(),
            ),
            scalar => WrittenContent::Scalar(scalar.clone()),
        };
        Written { place, span: (0, 0), content }
    }

    fn paths(expected: &str, seen: &str) -> Vec<String> {
        let tree = |json: &str| Value::from_text(json).expect("this is JSON").tree().clone();
        compare(&written(&tree(expected)), &tree(seen)).into_iter().map(|difference| difference.path).collect()
    }

    #[test]
    fn maps_are_compared_field_by_field_and_others_are_free() {
        assert_eq!(paths(r#"{"a":{"b":1}}"#, r#"{"a":{"b":1,"c":2},"d":3}"#), [""; 0]);
        assert_eq!(paths(r#"{"a":{"b":1,"c":2}}"#, r#"{"a":{"b":2,"c":3}}"#), ["a.b", "a.c"]);
        assert_eq!(paths(r#"{"a":{"b":1}}"#, r#"{"a":7}"#), ["a"]);
    }

    #[test]
    fn lists_are_exact_and_their_items_are_not() {
        assert_eq!(paths(r#"[{"a":1},2]"#, r#"[{"a":1,"b":2},2]"#), [""; 0]);
        assert_eq!(paths(r#"{"l":[1,2]}"#, r#"{"l":[1]}"#), ["l"]);
        assert_eq!(paths(r#"{"l":[1,2]}"#, r#"{"l":[1,3]}"#), ["l[1]"]);
    }

    #[test]
    fn null_and_absent_are_one_and_so_are_whole_numbers_and_fractions() {
        assert_eq!(paths(r#"{"a":null,"b":1}"#, r#"{"b":1.0}"#), [""; 0]);
        assert_eq!(paths(r#"{"a":1}"#, r#"{}"#), ["a"]);
        assert_eq!(paths(r#"{"a":"1"}"#, r#"{"a":1}"#), ["a"], "text is no number");
    }

    #[test]
    fn a_long_value_is_cut() {
        let text = shown(&Tree::Text("é".repeat(1_000)));
        assert!(text.ends_with('…') && text.chars().count() == SHOWN + 1);
    }
}
