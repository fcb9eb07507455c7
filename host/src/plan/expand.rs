//! A file as it is meant: aliases written out, short forms made long, every default in its place. It is a pipeline's file again.

mod yaml;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::raw::grammar::{self, Entry, Kind, Table, cases};
use super::schema::{beside, beside_deed};
use super::source::{Content, Node, Scalar, SourceFile, Style};
use crate::files::Files;
use crate::model::diagnostic::Diagnostic;
use crate::model::value::{Map, Tree};

/// The expanded text of a file. What it imports stands in it as if it had declared it; paths of a library are written as seen from the file.
/// Environment variables and secrets stay the expressions that they are; what the file itself writes where a secret is declared is shown as
/// `«secret NAME»`.
///
/// # Errors
/// The file or one that it imports cannot be read, or is not YAML; what is wrong with it beyond that, loading it tells.
pub fn expanded(file: &Path) -> Result<String, Vec<Diagnostic>> {
    let node = read(file)?;
    let mut entries: Vec<Entry> = grammar::FILE.to_vec();
    if node.get("library").is_some() {
        entries.retain(|entry| grammar::LIBRARY.contains(&entry.name));
    } else if node.get("flows").is_none() {
        entries.extend(grammar::FLOW);
    }
    let mut tree = in_table(&node, &entries);
    if let Tree::Map(map) = &mut tree {
        import(map, file, Path::new(""), &node, &mut BTreeSet::from([Files::Disk.identity(file)]))?;
        map.shift_remove("import");
    }
    mask(&mut tree);
    Ok(yaml::text(&tree))
}

fn read(file: &Path) -> Result<Node, Vec<Diagnostic>> {
    let source = SourceFile::read(file).map_err(|diagnostic| vec![*diagnostic])?;
    let (node, found) = source.parse();
    node.ok_or(found)
}

/// Adds what the libraries of a file declare, and those that these import. `folder` is the importing file's, as seen from the file that is
/// shown.
fn import(into: &mut Map, file: &Path, folder: &Path, node: &Node, known: &mut BTreeSet<PathBuf>) -> Result<(), Vec<Diagnostic>> {
    let Some(Content::List(items)) = node.get("import").map(|node| &node.content) else { return Ok(()) };
    for text in items.iter().filter_map(Node::text) {
        let library = file.parent().unwrap_or(Path::new("")).join(text);
        if !known.insert(Files::Disk.identity(&library)) {
            continue;
        }
        let node = read(&library)?;
        let folder = folder.join(text).parent().unwrap_or(Path::new("")).to_owned();
        let entries: Vec<Entry> = grammar::FILE.iter().filter(|entry| grammar::LIBRARY.contains(&entry.name)).copied().collect();
        let Tree::Map(declared) = in_table(&node, &entries) else { continue };
        for (section, value) in declared {
            match (into.get_mut(section.as_str()), value) {
                (_, Tree::Map(values)) => {
                    let section_of = into.entry(section.clone()).or_insert_with(|| Tree::Map(Map::new()));
                    if let Tree::Map(section_of) = section_of {
                        for (name, mut value) in values {
                            seen_from(&folder, &section, &mut value);
                            section_of.entry(name).or_insert(value);
                        }
                    }
                }
                (Some(Tree::List(listed)), Tree::List(values)) if section == "env" => {
                    let more: Vec<Tree> = values.into_iter().filter(|value| !listed.contains(value)).collect();
                    listed.extend(more);
                }
                (None, values @ Tree::List(_)) if section == "env" => {
                    into.insert(section, values);
                }
                _ => {}
            }
        }
        import(into, &library, &folder, &node, known)?;
    }
    Ok(())
}

/// Writes the paths of what a library declares as they are seen from elsewhere.
fn seen_from(folder: &Path, section: &str, declared: &mut Tree) {
    let keys: &[&str] = match section {
        "executors" => &["wasm", "rhai"],
        // Databases and stores lie beneath the pipeline's own data, wherever they are declared.
        "resources" => &["index", "folder"],
        _ => &[],
    };
    let Tree::Map(fields) = declared else { return };
    for key in keys {
        if let Some(Tree::Text(path)) = fields.get_mut(*key) {
            *path = folder.join(&*path).display().to_string();
        }
    }
}

fn in_table(node: &Node, entries: &[Entry]) -> Tree {
    let Content::Map(written) = &node.content else { return node.tree() };
    let mut map: Map = written
        .iter()
        .map(|(key, value)| {
            let entry = entries.iter().find(|entry| entry.name == key.name);
            (key.name.clone(), entry.map_or_else(|| value.tree(), |entry| of(value, entry.kind)))
        })
        .collect();
    for entry in entries {
        if let (Some(default), false) = (entry.default, map.contains_key(entry.name)) {
            map.insert(entry.name.to_owned(), default_of(entry.kind, default));
        }
    }
    Tree::Map(map)
}

/// A default: a map's is that of its own keys.
fn default_of(kind: Kind, default: &str) -> Tree {
    match kind {
        Kind::Table(table) => in_table(&nothing(), table.keys),
        _ => Scalar::new(default.to_owned(), Style::Plain).value,
    }
}

fn nothing() -> Node {
    Node { span: super::source::Span::default(), content: Content::Map(Vec::new()) }
}

fn of(node: &Node, kind: Kind) -> Tree {
    match (kind, &node.content) {
        (Kind::Table(table), Content::Map(_)) => in_table(node, table.keys),
        (Kind::Table(Table { short: Some(short), keys, .. }), Content::Scalar(_)) => {
            let mut map = in_table(&nothing(), keys);
            if let Tree::Map(map) = &mut map {
                map.insert((*short).to_owned(), node.tree());
            }
            map
        }
        (Kind::Map(_, inner) | Kind::Some(_, inner), Content::Map(entries)) => {
            Tree::Map(entries.iter().map(|(key, value)| (key.name.clone(), of(value, *inner))).collect())
        }
        (Kind::List(inner) | Kind::Several(inner), Content::List(items)) => Tree::List(items.iter().map(|item| of(item, *inner)).collect()),
        (Kind::Steps | Kind::SetSteps, Content::List(items)) => Tree::List(items.iter().map(step).collect()),
        (Kind::Deed, Content::Map(_)) => deed(node),
        (Kind::Trigger, Content::Map(_)) if node.get("event").is_some() => {
            let event = grammar::TRIGGERS.iter().filter(|entry| entry.name == "event");
            in_table(node, &event.chain(&grammar::EVENT_TRIGGER).copied().collect::<Vec<_>>())
        }
        (Kind::Either(kinds), _) => kinds.iter().find(|kind| suits(node, **kind)).map_or_else(|| node.tree(), |kind| of(node, *kind)),
        _ => node.tree(),
    }
}

/// Whether a value may be of that kind, as far as its form says.
fn suits(node: &Node, kind: Kind) -> bool {
    match (kind, &node.content) {
        // Of two tables it is the one that has these keys.
        (Kind::Table(table), Content::Map(written)) => written.iter().all(|(key, _)| table.keys.iter().any(|entry| entry.name == key.name)),
        (Kind::Map(..) | Kind::Some(..) | Kind::Trigger | Kind::Deed, Content::Map(_)) => true,
        (Kind::Empty, Content::Map(written)) => written.is_empty(),
        (Kind::List(_) | Kind::Several(_) | Kind::Steps | Kind::SetSteps, Content::List(_)) => true,
        (_, Content::List(_) | Content::Map(_)) => false,
        (kind, Content::Scalar(_)) => !matches!(
            kind,
            Kind::Table(_)
                | Kind::Map(..)
                | Kind::Some(..)
                | Kind::List(_)
                | Kind::Several(_)
                | Kind::Steps
                | Kind::SetSteps
                | Kind::Deed
                | Kind::Empty
        ),
    }
}

fn step(node: &Node) -> Tree {
    let verb = grammar::VERBS.iter().find(|verb| node.get(verb.name).is_some());
    let mut entries: Vec<Entry> = grammar::STEP.to_vec();
    if let Some(verb) = verb {
        entries.push(*verb);
        entries.extend(beside(verb.name));
    }
    in_table(node, &entries)
}

fn deed(node: &Node) -> Tree {
    let deed = cases::DEEDS.iter().find(|deed| node.get(deed.name).is_some());
    let entries: Vec<Entry> = deed.into_iter().flat_map(|deed| std::iter::once(*deed).chain(beside_deed(deed.name))).collect();
    in_table(node, &entries)
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
    fn what_is_imported_stands_in_the_file_with_its_paths() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("written");
        std::fs::create_dir_all(folder.path().join("parts")).expect("made");
        write("a.yaml", "pipeline: a\nimport: [parts/shared.yaml]\nenv: [ONE]\ntrigger: manual\nsteps: [{ run: note, policy: api }]\n");
        write("parts/shared.yaml", "library: shared\nimport: [base.yaml]\nenv: [ONE, TWO]\nexecutors: { note: { rhai: note.rhai } }\n");
        write("parts/base.yaml", "library: base\nresources: { docs: { index: 'x/*.md' } }\npolicies: { api: { retry: 2 } }\n");
        let shown = expanded(&folder.path().join("a.yaml")).expect("it is YAML");
        for words in ["rhai: parts/note.rhai", "index: 'parts/x/*.md'", "max_retries: 2", "env:\n  - ONE\n  - TWO\n"] {
            assert!(shown.contains(words), "{words:?} is not in\n{shown}");
        }
        assert!(!shown.contains("import") && !shown.contains("library"), "{shown}");
        let library = expanded(&folder.path().join("parts/base.yaml")).expect("it is YAML");
        assert!(library.starts_with("library: base\n") && !library.contains("bus"), "{library}");
    }

    #[test]
    fn tests_keep_their_forms() {
        let text = "pipeline: a\ntrigger: manual\nsteps: [{ run: log }]\ntests:\n  - name: t\n    mocks: { log: { attempts: [{ fail: {} }] } }\n    steps: [{ reload: true }]\n";
        let shown = shown(text);
        for words in ["kind: failed\n", "message: the mock fails\n"] {
            assert!(shown.contains(words), "{words:?} is not in\n{shown}");
        }
        assert!(shown.contains("- reload: true\n        refused: false\n"), "{shown}");
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
