//! A file as it is meant: aliases written out, short forms made long, every default in its place. It is a pipeline's file again.

mod yaml;

use std::path::Path;

use super::raw::grammar::{self, Entry, Kind, Table};
use super::raw::keys;
use super::schema::beside;
use super::source::{Content, Node, Scalar, SourceFile, Style};
use crate::model::diagnostic::Diagnostic;
use crate::model::value::{Map, Tree};

/// The expanded text of a file. Environment variables and secrets stay the expressions that they are; what the file itself writes where
/// a secret is declared is shown as `«secret NAME»`.
///
/// # Errors
/// The file cannot be read, or is not YAML; what is wrong with it beyond that, loading it tells.
pub fn expanded(file: &Path) -> Result<String, Vec<Diagnostic>> {
    let source = SourceFile::read(file).map_err(|diagnostic| vec![*diagnostic])?;
    let (node, found) = source.parse();
    let Some(node) = node else { return Err(found) };
    let mut entries: Vec<Entry> = grammar::FILE.to_vec();
    if node.get("flows").is_none() && node.get("library").is_none() {
        entries.extend(grammar::FLOW);
    }
    let mut tree = in_table(&node, &entries, &[keys::LATER_FILE, keys::LATER_FLOW].concat());
    mask(&mut tree);
    Ok(yaml::text(&tree))
}

fn in_table(node: &Node, entries: &[Entry], later: &[&str]) -> Tree {
    let Content::Map(written) = &node.content else { return node.tree() };
    let mut map: Map = written
        .iter()
        .map(|(key, value)| {
            let entry = entries.iter().find(|entry| entry.name == key.name);
            (key.name.clone(), entry.map_or_else(|| value.tree(), |entry| of(value, entry.kind)))
        })
        .collect();
    for entry in entries.iter().filter(|entry| !later.contains(&entry.name)) {
        if let (Some(default), false) = (entry.default, map.contains_key(entry.name)) {
            map.insert(entry.name.to_owned(), default_of(entry.kind, default));
        }
    }
    Tree::Map(map)
}

/// A default: a map's is that of its own keys.
fn default_of(kind: Kind, default: &str) -> Tree {
    match kind {
        Kind::Table(table) => in_table(&nothing(), table.keys, later(table)),
        _ => Scalar::new(default.to_owned(), Style::Plain).value,
    }
}

fn nothing() -> Node {
    Node { span: super::source::Span::default(), content: Content::Map(Vec::new()) }
}

fn later(table: &Table) -> &'static [&'static str] {
    match table.title {
        "Flow" => keys::LATER_FLOW,
        "Breaker" => keys::LATER_BREAKER,
        _ => &[],
    }
}

fn of(node: &Node, kind: Kind) -> Tree {
    match (kind, &node.content) {
        (Kind::Table(table), Content::Map(_)) => in_table(node, table.keys, later(table)),
        (Kind::Table(Table { short: Some(short), keys, .. }), Content::Scalar(_)) => {
            let mut map = in_table(&nothing(), keys, &[]);
            if let Tree::Map(map) = &mut map {
                map.insert((*short).to_owned(), node.tree());
            }
            map
        }
        (Kind::Map(_, inner), Content::Map(entries)) => {
            Tree::Map(entries.iter().map(|(key, value)| (key.name.clone(), of(value, *inner))).collect())
        }
        (Kind::List(inner), Content::List(items)) => Tree::List(items.iter().map(|item| of(item, *inner)).collect()),
        (Kind::Steps | Kind::SetSteps, Content::List(items)) => Tree::List(items.iter().map(step).collect()),
        (Kind::Trigger, Content::Map(_)) if node.get("event").is_some() => {
            let event = grammar::TRIGGERS.iter().filter(|entry| entry.name == "event");
            in_table(node, &event.chain(&grammar::EVENT_TRIGGER).copied().collect::<Vec<_>>(), &[])
        }
        (Kind::Either(kinds), _) => kinds.iter().find(|kind| suits(node, **kind)).map_or_else(|| node.tree(), |kind| of(node, *kind)),
        _ => node.tree(),
    }
}

/// Whether a value may be of that kind, as far as its form says.
fn suits(node: &Node, kind: Kind) -> bool {
    match (kind, &node.content) {
        (Kind::Table(_) | Kind::Map(..) | Kind::Trigger, Content::Map(_)) => true,
        (Kind::List(_) | Kind::Steps | Kind::SetSteps, Content::List(_)) => true,
        (Kind::Table(_) | Kind::Map(..) | Kind::List(_) | Kind::Steps | Kind::SetSteps, _) | (_, Content::List(_) | Content::Map(_)) => {
            false
        }
        (_, Content::Scalar(_)) => true,
    }
}

fn step(node: &Node) -> Tree {
    let verb = grammar::VERBS.iter().find(|verb| node.get(verb.name).is_some());
    let mut entries: Vec<Entry> = grammar::STEP.to_vec();
    if let Some(verb) = verb {
        entries.push(*verb);
        entries.extend(beside(verb.name));
    }
    in_table(node, &entries, keys::LATER_BESIDE)
}

/// Hides what the file itself writes into fields of the state that are declared as secrets.
fn mask(tree: &mut Tree) {
    let Tree::Map(file) = tree else { return };
    let Some(Tree::Map(state)) = file.get_mut("state") else { return };
    let declared = state.get("types").and_then(Tree::as_map).cloned().unwrap_or_default();
    let is_secret = |name: &String| declared.get(name).and_then(Tree::as_text).is_some_and(|text| text.contains("secret"));
    if let Some(Tree::Map(initial)) = state.get_mut("initial") {
        for (name, value) in initial.iter_mut().filter(|(name, value)| is_secret(name) && **value != Tree::Null) {
            *value = Tree::Text(format!("«secret {name}»"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("a.yaml");
        std::fs::write(&file, text).expect("written");
        expanded(&file).expect("it is YAML")
    }

    #[test]
    fn aliases_short_forms_and_defaults_are_written_out() {
        let text = "pipeline: a\ntrigger: manual\npolicies: { one: &p { timeout: 1s, retry: 5 }, two: *p }\nsteps:\n  - run: log\n";
        let shown = shown(text);
        for words in [
            "pipeline: a\n",
            "trigger: manual\n",
            "  two:\n    timeout: 1s\n    retry:\n      max_retries: 5\n      base_delay: 1s\n",
            "concurrency:\n  max_concurrent: 256\n  max_queue: 1024\n  when_full: queue\n",
            "  - run: log\n    stream: false\n",
            "bus:\n  scope: private\n",
            "durable: true\n",
        ] {
            assert!(shown.contains(words), "{words:?} is not in\n{shown}");
        }
        assert!(!shown.contains(['&', '*']), "{shown}");
    }

    #[test]
    fn what_is_declared_a_secret_is_not_shown() {
        let shown = shown(
            "pipeline: a\ntrigger: manual\nstate: { initial: { key: hunter2 }, types: { key: secret } }\nsteps: [{ run: log, with: { a: '${secret.KEY}' } }]\n",
        );
        assert!(!shown.contains("hunter2") && shown.contains("'«secret key»'"), "{shown}");
        assert!(shown.contains("'${secret.KEY}'"), "{shown}");
    }
}
