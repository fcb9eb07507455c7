//! Writes a tree as YAML that every reader takes the same way: one key a line, and quotes round whatever could be read as something else.

use crate::model::value::Tree;

/// The tree as a document.
pub(super) fn text(tree: &Tree) -> String {
    let mut text = String::new();
    match tree {
        Tree::Map(map) if !map.is_empty() => entries(&mut text, map.iter(), 0),
        other => text.push_str(&format!("{}\n", scalar(other, 0))),
    }
    text
}

fn entries<'a>(text: &mut String, map: impl Iterator<Item = (&'a String, &'a Tree)>, depth: usize) {
    for (index, (key, value)) in map.enumerate() {
        // The first key of an item stands behind its dash.
        if index > 0 || !text.ends_with("- ") {
            text.push_str(&"  ".repeat(depth));
        }
        text.push_str(&quoted(key));
        text.push(':');
        below(text, value, depth);
    }
}

/// The value behind a colon.
fn below(text: &mut String, value: &Tree, depth: usize) {
    match value {
        Tree::Map(map) if !map.is_empty() => {
            text.push('\n');
            entries(text, map.iter(), depth + 1);
        }
        Tree::List(items) if !items.is_empty() => {
            text.push('\n');
            list(text, items, depth + 1);
        }
        other => {
            text.push(' ');
            text.push_str(&scalar(other, depth + 1));
            text.push('\n');
        }
    }
}

fn list(text: &mut String, items: &[Tree], depth: usize) {
    for item in items {
        text.push_str(&"  ".repeat(depth));
        text.push_str("- ");
        match item {
            Tree::Map(map) if !map.is_empty() => entries(text, map.iter(), depth + 1),
            Tree::List(inner) if !inner.is_empty() => {
                // Within a list there is no key to stand behind, so it is written in one line.
                let inner: Vec<String> = inner.iter().map(flow).collect();
                text.push_str(&format!("[{}]\n", inner.join(", ")));
            }
            other => text.push_str(&format!("{}\n", scalar(other, depth + 1))),
        }
    }
}

/// In one line.
fn flow(tree: &Tree) -> String {
    match tree {
        Tree::List(items) => format!("[{}]", items.iter().map(flow).collect::<Vec<_>>().join(", ")),
        Tree::Map(map) if map.is_empty() => "{}".to_owned(),
        Tree::Map(map) => {
            let fields: Vec<String> = map.iter().map(|(key, value)| format!("{}: {}", quoted(key), flow(value))).collect();
            format!("{{ {} }}", fields.join(", "))
        }
        other => scalar_in_line(other),
    }
}

fn scalar(tree: &Tree, depth: usize) -> String {
    match tree {
        Tree::Text(text) => block(text, depth).unwrap_or_else(|| quoted(text)),
        Tree::List(_) | Tree::Map(_) => flow(tree),
        other => scalar_in_line(other),
    }
}

fn scalar_in_line(tree: &Tree) -> String {
    match tree {
        Tree::Null => "null".to_owned(),
        Tree::Text(text) => quoted(text),
        Tree::Float(number) if number.is_nan() => ".nan".to_owned(),
        Tree::Float(number) if number.is_infinite() => if *number > 0.0 { ".inf" } else { "-.inf" }.to_owned(),
        Tree::Secret(secret) => quoted(&secret.to_string()),
        other => serde_json::to_string(other).unwrap_or_else(|_| "null".to_owned()),
    }
}

/// Several lines as they are, where that is safe: scripts are to be read.
fn block(text: &str, depth: usize) -> Option<String> {
    let plain = |character: char| {
        character == '\n'
            || (!character.is_control()
                && character != '\u{feff}'
                && character != '\u{2028}'
                && character != '\u{2029}'
                && character != '\u{85}')
    };
    let body = text.strip_suffix('\n').unwrap_or(text);
    let good = body.contains('\n')
        && text.chars().all(plain)
        && !body.ends_with('\n')
        && !body.starts_with([' ', '\n'])
        && body.lines().all(|line| line.trim_end() == line);
    if !good {
        return None;
    }
    let mark = if text.ends_with('\n') { "|" } else { "|-" };
    let indent = "  ".repeat(depth);
    let lines: Vec<String> = body.lines().map(|line| if line.is_empty() { String::new() } else { format!("{indent}{line}") }).collect();
    Some(format!("{mark}\n{}", lines.join("\n")))
}

/// Text without quotes only if no reader could take it for anything else.
fn quoted(text: &str) -> String {
    let first = text.chars().next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_');
    let rest = text.chars().all(|character| character.is_ascii_alphanumeric() || matches!(character, '_' | '-' | '.' | '/' | ' '));
    let words = ["null", "true", "false", "yes", "no", "on", "off", "y", "n"];
    let is_word = words.iter().any(|word| text.eq_ignore_ascii_case(word));
    if first && rest && !is_word && !text.ends_with(' ') {
        return text.to_owned();
    }
    let in_line =
        text.chars().all(|character| !character.is_control() && !matches!(character, '\u{feff}' | '\u{2028}' | '\u{2029}' | '\u{85}'));
    // A duration or a size begins with a digit and has a unit: nobody reads it as a number.
    let with_unit = text.starts_with(|first: char| first.is_ascii_digit())
        && text.ends_with(['s', 'm', 'h', 'B'])
        && text.chars().all(|character| character.is_ascii_alphanumeric())
        && !text.starts_with('0');
    match (with_unit, in_line) {
        (true, _) => text.to_owned(),
        (false, true) => format!("'{}'", text.replace('\'', "''")),
        // JSON's escapes are YAML's too.
        (false, false) => serde_json::to_string(text).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::value::Value;

    #[test]
    fn whatever_is_written_reads_as_what_it_was() {
        let json = r##"{"a":"true","b":["x",["1","${y}"],{"k":null,"l":[]}],"c":"it's","d":"two\nlines\n","e":" x","f":"10s","g":"0x1f","h":1.5,
            "i":"tab\there","j":{},"k":"","l":"a: b","m":"- x","n":"# no","o":[{"p":{"q":"r\n\n s"}}],"1":"~","p":"1e3","q":"2026-01-01","r":-0.5}"##;
        let tree = Value::from_text(json).expect("JSON").tree().clone();
        let text = text(&tree);
        let source = crate::plan::source::SourceFile::new(std::path::Path::new("a.yaml"), &text);
        let (node, found) = source.parse();
        assert!(found.iter().all(|diagnostic| diagnostic.code.starts_with('W')), "{found:?}\n{text}");
        assert_eq!(node.expect("it is YAML").tree(), tree, "{text}");
    }
}
