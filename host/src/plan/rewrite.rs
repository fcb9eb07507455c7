//! Puts other values into the text of a file and leaves all else as it is, comments and layout too.

use std::path::Path;

use super::source::{Content, Node, SourceFile, Style};
use crate::model::value::{Map, Tree};

/// A value that shall stand where another stands.
#[derive(Clone, PartialEq, Debug)]
pub struct Edit {
    /// The first character of the one that stands there, and the one after its last; as a test's expectation has them.
    pub span: (usize, usize),
    /// What shall stand there.
    pub value: Tree,
}

/// What came of edits.
#[derive(Clone, PartialEq, Debug)]
pub struct Rewritten {
    /// The text with all edits that could be made.
    pub text: String,
    /// The numbers of those that could not be made without touching anything else: there are comments inside, or it is a block of text.
    pub left: Vec<usize>,
}

/// Makes the edits. Each is made only if the file then means what it meant, but for this one value.
pub fn rewrite(path: &Path, text: &str, edits: &[Edit]) -> Rewritten {
    let mut numbers: Vec<usize> = (0..edits.len()).collect();
    // From the end on, so that the places of those still to be made stay as they are.
    numbers.sort_by_key(|number| std::cmp::Reverse(edits.get(*number).map(|edit| edit.span)));
    let mut rewritten = Rewritten { text: text.to_owned(), left: Vec::new() };
    for number in numbers {
        let edited = edits.get(number).and_then(|edit| one(path, &rewritten.text, edit));
        match edited {
            Some(text) => rewritten.text = text,
            None => rewritten.left.push(number),
        }
    }
    rewritten.left.sort_unstable();
    rewritten
}

fn one(path: &Path, text: &str, edit: &Edit) -> Option<String> {
    let file = SourceFile::new(path, text);
    let before = file.parse().0?;
    let characters: Vec<char> = file.text.chars().collect();
    let node = find(&before, edit.span)?;
    let end = end_of(node, &characters)?;
    // The parser counts the space behind a quoted value to it.
    let blank = characters.get(node.span.start..end)?.iter().rev().take_while(|character| character.is_whitespace()).count();
    let end = end - blank;
    let old = characters.get(node.span.start..end).filter(|old| !old.is_empty())?;
    if !matches!(node.content, Content::Scalar(_)) && old.contains(&'#') {
        return None;
    }
    let value = escaped(&edit.value);
    let mut edited: String = characters.get(..node.span.start)?.iter().collect();
    flow(&value, &mut edited);
    edited.extend(characters.get(end..)?);
    let after = SourceFile::new(path, &edited).parse().0?;
    // The proof: nothing else means anything else.
    (after.tree() == with(&before, edit.span, &value)).then_some(edited)
}

fn find(node: &Node, span: (usize, usize)) -> Option<&Node> {
    let inside = match &node.content {
        Content::Scalar(_) => None,
        Content::List(items) => items.iter().find_map(|item| find(item, span)),
        Content::Map(entries) => entries.iter().find_map(|(_, value)| find(value, span)),
    };
    // The innermost: a list of one item may begin where the item does.
    inside.or_else(|| ((node.span.start, node.span.end) == span).then_some(node))
}

/// What the tree means with another value in one place.
fn with(node: &Node, span: (usize, usize), value: &Tree) -> Tree {
    if find(node, span).is_some_and(|found| std::ptr::eq(found, node)) {
        return value.clone();
    }
    match &node.content {
        Content::Scalar(scalar) => scalar.value.clone(),
        Content::List(items) => Tree::List(items.iter().map(|item| with(item, span, value)).collect()),
        Content::Map(entries) => {
            Tree::Map(entries.iter().map(|(key, inner)| (key.name.clone(), with(inner, span, value))).collect::<Map>())
        }
    }
}

/// The character after the last of a value.
fn end_of(node: &Node, characters: &[char]) -> Option<usize> {
    let last = match &node.content {
        Content::Scalar(scalar) if matches!(scalar.style, Style::Literal | Style::Folded) => return None,
        Content::Scalar(_) => return Some(node.span.end),
        Content::List(items) => items.last(),
        Content::Map(entries) => entries.last().map(|(_, value)| value),
    };
    let inner = last.map_or(Some(node.span.start + 1), |last| end_of(last, characters))?;
    match characters.get(node.span.start) {
        Some(open @ ('[' | '{')) => {
            let close = if *open == '[' { ']' } else { '}' };
            let rest = characters.get(inner..)?;
            let at = rest.iter().position(|character| !character.is_whitespace() && *character != ',')?;
            (rest.get(at) == Some(&close)).then_some(inner + at + 1)
        }
        _ => Some(inner),
    }
}

/// `${` in text that was seen is text, and is written so.
fn escaped(tree: &Tree) -> Tree {
    match tree {
        Tree::Text(text) => Tree::Text(text.replace("${", "$${")),
        Tree::Secret(secret) => Tree::Text(secret.to_string()),
        Tree::List(items) => Tree::List(items.iter().map(escaped).collect()),
        Tree::Map(fields) => Tree::Map(fields.iter().map(|(name, field)| (name.clone(), escaped(field))).collect()),
        Tree::Null | Tree::Bool(_) | Tree::Int(_) | Tree::Float(_) => tree.clone(),
    }
}

/// Writes a value on one line, as people write it.
fn flow(tree: &Tree, to: &mut String) {
    match tree {
        Tree::Text(text) => scalar(text, to),
        Tree::List(items) => {
            to.push('[');
            for (index, item) in items.iter().enumerate() {
                to.push_str(if index == 0 { "" } else { ", " });
                flow(item, to);
            }
            to.push(']');
        }
        Tree::Map(fields) if fields.is_empty() => to.push_str("{}"),
        Tree::Map(fields) => {
            to.push_str("{ ");
            for (index, (name, field)) in fields.iter().enumerate() {
                to.push_str(if index == 0 { "" } else { ", " });
                scalar(name, to);
                to.push_str(": ");
                flow(field, to);
            }
            to.push_str(" }");
        }
        Tree::Null | Tree::Bool(_) | Tree::Int(_) | Tree::Float(_) | Tree::Secret(_) => {
            to.push_str(&serde_json::to_string(tree).unwrap_or_default());
        }
    }
}

fn scalar(text: &str, to: &mut String) {
    let is_word = text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.chars().all(|character| character.is_ascii_alphanumeric() || matches!(character, '_' | '.'))
        && !["null", "true", "false", "yes", "no", "on", "off", "y", "n"].contains(&text.to_lowercase().as_str());
    if is_word {
        to.push_str(text);
    } else if text.chars().all(|character| !character.is_control()) {
        to.push('\'');
        to.push_str(&text.replace('\'', "''"));
        to.push('\'');
    } else {
        // JSON's way of writing text is one of YAML's.
        to.push_str(&serde_json::to_string(text).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::value::Value;

    /// Puts a value in the place of the one that these keys lead to.
    fn put(text: &str, keys: &[&str], json: &str) -> Option<String> {
        let file = SourceFile::new(Path::new("a.yaml"), text);
        let root = file.parse().0.expect("this is YAML");
        let node = keys.iter().fold(&root, |node, key| node.get(key).expect("there is such a key"));
        let span = (node.span.start, node.span.end);
        let value = Value::from_text(json).expect("this is JSON").tree().clone();
        let rewritten = rewrite(Path::new("a.yaml"), text, &[Edit { span, value }]);
        rewritten.left.is_empty().then_some(rewritten.text)
    }

    #[test]
    fn a_value_is_put_in_the_place_of_another_and_all_else_stays() {
        let text = "# é why\na: { b: old, c: 'x' } # here\nd:   1\n";
        assert_eq!(put(text, &["a", "b"], "\"it's new\"").as_deref(), Some("# é why\na: { b: 'it''s new', c: 'x' } # here\nd:   1\n"));
        assert_eq!(
            put(text, &["a", "c"], "[1,null,{\"e\":\"${f}\"}]").as_deref(),
            Some("# é why\na: { b: old, c: [1, null, { e: '$${f}' }] } # here\nd:   1\n")
        );
        assert_eq!(put(text, &["a"], "\"true\"").as_deref(), Some("# é why\na: 'true' # here\nd:   1\n"));
        assert_eq!(put("a: [1, [2, 3], ]\n", &["a"], "[]").as_deref(), Some("a: []\n"));
        assert_eq!(put("a:\n  - 1\n  - b: 2\n    c: [3]\nd: 4\n", &["a"], "[9]").as_deref(), Some("a:\n  [9]\nd: 4\n"));
    }

    #[test]
    fn what_cannot_be_done_without_loss_is_left() {
        assert_eq!(put("a:\n  - 1 # one\n  - 2\n", &["a"], "[9]"), None, "the comment would go");
        assert_eq!(put("a: |\n  text\nb: 1\n", &["a"], "\"x\""), None, "a block of text");
        assert_eq!(put("a: &x one\nb: *x\n", &["a"], "\"two\""), None, "the other place would change too");
    }
}
