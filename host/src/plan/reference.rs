//! The grammar as a page of the guide: every key with its value, its default and what it is for.

use super::raw::grammar::{self, Entry, Kind, Names, TABLES, Table, cases};
use super::raw::{keys, list};
use super::schema::{beside, beside_deed};

const HEAD: &str = "# Reference

Every key that a pipeline's file may have in this version, what its value is, and what it is if it is not written. This page is made from
the same table that the loader reads files by; `pipehost schema` prints that table as a JSON Schema for editors.
";

/// The page, as Markdown.
pub fn reference() -> String {
    let mut page = HEAD.to_owned();
    section(&mut page, "File", "The top of the file. A file with one flow has that flow's keys beside these", &grammar::FILE);
    let keys: Vec<String> = grammar::LIBRARY.iter().map(|key| format!("`{key}`")).collect();
    page.push_str(&format!("\nA library has only {}; the others belong to a pipeline.\n", keys.join(", ")));
    for table in TABLES {
        section(&mut page, table.title, table.about, table.keys);
        match table.title {
            "Flow" => {
                let mut triggers = now(&grammar::TRIGGERS, keys::LATER_TRIGGERS);
                triggers.extend(grammar::EVENT_TRIGGER);
                section(&mut page, "Trigger", "What starts a flow: one of these, and `mode` beside `event`", &triggers);
                steps(&mut page);
            }
            "Test" => deeds(&mut page),
            _ => note(&mut page, table),
        }
    }
    page
}

fn now(entries: &[Entry], later: &[&str]) -> Vec<Entry> {
    entries.iter().filter(|entry| !later.contains(&entry.name)).copied().collect()
}

fn note(page: &mut String, table: &Table) {
    if let Some(short) = table.short {
        page.push_str(&format!("\nA number in the place of the map is `{short}`.\n"));
    }
}

fn steps(page: &mut String) {
    section(page, "Step", "A step has exactly one of these verbs", &grammar::VERBS);
    section(page, "Beside any verb", "What may stand in every step", &grammar::STEP);
    for verb in &grammar::VERBS {
        let layers: Vec<&str> = grammar::LAYERS.iter().map(|layer| layer.name).collect();
        let own: Vec<Entry> = beside(verb.name).into_iter().filter(|entry| !layers.contains(&entry.name)).collect();
        if own.is_empty() {
            continue;
        }
        let policies = if own.len() < beside(verb.name).len() { "; and every key of a policy" } else { "" };
        section(page, &format!("Beside `{}`", verb.name), &format!("What else may stand in such a step{policies}"), &own);
    }
}

fn deeds(page: &mut String) {
    section(page, "Step of a test", "A step of a test has exactly one of these", &cases::DEEDS);
    for deed in &cases::DEEDS {
        let own: Vec<Entry> = beside_deed(deed.name).collect();
        if !own.is_empty() {
            section(page, &format!("Beside `{}` of a test", deed.name), "What else may stand in such a step", &own);
        }
    }
}

fn section(page: &mut String, title: &str, about: &str, entries: &[Entry]) {
    page.push_str(&format!("\n## {title}\n\n{about}.\n\n| key | value | default | is |\n|---|---|---|---|\n"));
    for Entry { name, kind, required, default, about } in entries {
        let default = match default {
            _ if *required => "must be written".to_owned(),
            Some("{}") => "that of its keys".to_owned(),
            Some(default) => format!("`{default}`"),
            None => String::new(),
        };
        let value = value(*kind).replace('|', "\\|");
        page.push_str(&format!("| `{name}` | {value} | {default} | {about} |\n"));
    }
}

fn value(kind: Kind) -> String {
    let named = |names: Names| match names {
        Names::Fields => "fields",
        Names::Plain | Names::Dashed => "names",
        Names::Events => "event types",
    };
    match kind {
        Kind::Text | Kind::FixedText => "text".to_owned(),
        Kind::Computed => "a `${…}`".to_owned(),
        Kind::Expression => "an expression".to_owned(),
        Kind::Deed => "a step of a test".to_owned(),
        Kind::Name { .. } => "a name".to_owned(),
        Kind::Event => "an event type".to_owned(),
        Kind::Words([word]) => format!("`{word}`"),
        Kind::Words(words) => format!("one of {}", list(words)),
        Kind::Duration => "a duration, as `30s`".to_owned(),
        Kind::DurationOrNothing => "a duration, as `30s` or `0s`".to_owned(),
        Kind::Size => "a size, as `64MiB`".to_owned(),
        Kind::Whole(least) => format!("a whole number from {least} up"),
        Kind::Factor => "a number from 1 up".to_owned(),
        Kind::Truth => "`true` or `false`".to_owned(),
        Kind::True => "`true`".to_owned(),
        Kind::Empty => "`{}`".to_owned(),
        Kind::Condition => "an expression that is true or false".to_owned(),
        Kind::Value => "any value".to_owned(),
        Kind::Key => "a value or a list of values".to_owned(),
        Kind::Type => "a type".to_owned(),
        Kind::Steps => "a list of steps".to_owned(),
        Kind::SetSteps => "a list of `set` steps".to_owned(),
        Kind::Trigger => "a trigger".to_owned(),
        Kind::Table(table) => format!("[{0}](#{1})", table.title, table.title.to_lowercase()),
        Kind::Map(names, Kind::Value | Kind::Key) | Kind::Some(names, Kind::Value | Kind::Key) => {
            format!("a map from {} to values", named(names))
        }
        Kind::Map(names, inner) | Kind::Some(names, inner) => format!("a map from {} to {}", named(names), value(*inner)),
        Kind::List(inner) | Kind::Several(inner) => format!("a list of {}", plural(value(*inner))),
        Kind::Either(kinds) => kinds.iter().map(|kind| value(*kind)).collect::<Vec<_>>().join(", or "),
        Kind::Null => "nothing".to_owned(),
    }
}

fn plural(one: String) -> String {
    match one.as_str() {
        "text" => "texts".to_owned(),
        "any value" => "values".to_owned(),
        "a step of a test" => "steps of a test".to_owned(),
        "a duration, as `30s`" => "durations, as `30s`".to_owned(),
        other => match other.strip_prefix("an ").or_else(|| other.strip_prefix("a ")) {
            Some(noun) => format!("{noun}s"),
            None => one,
        },
    }
}
