//! The grammar as a JSON Schema (2020-12) for editors. What only the loader can know, as whether a name is declared, it does not say.

use serde_json::{Map, Value as Json, json};

use super::raw::grammar::{self, Entry, Kind, Names, TABLES, Table, cases};
use super::raw::keys;

const NAME: &str = "^[a-z][a-z0-9_]{0,63}$";
const DASHED: &str = "^[a-z][a-z0-9_-]{0,63}$";
const EVENT: &str = "^[A-Za-z][A-Za-z0-9_.]{0,63}$";
const DURATION: &str = r"^\s*([0-9]+(\.[0-9]*)?|\.[0-9]+)\s*(ns|us|ms|s|m|h|d)(\s*([0-9]+(\.[0-9]*)?|\.[0-9]+)\s*(ns|us|ms|s|m|h|d))*\s*$";
const NO_TIME: &str = r"^\s*[0.]+\s*[a-z]+(\s*[0.]+\s*[a-z]+)*\s*$";
const SIZE: &str = r"^\s*([0-9]+(\.[0-9]*)?|\.[0-9]+)\s*(B|kB|MB|GB|KiB|MiB|GiB)\s*$";
const TYPE: &str = r"^[\s\[\]|]*((string|int|float|bool|bytes|time|duration|secret|any|null)[\s\[\]|]*)+$";
const HOLE: &str = r"\$\{";

/// The schema of a pipeline's or a library's file, in this version.
pub fn schema() -> Json {
    let mut definitions = Map::new();
    for table in TABLES {
        definitions.insert(table.title.to_owned(), object_of(table));
    }
    definitions.insert("Step".to_owned(), step());
    definitions.insert("SetStep".to_owned(), set_step());
    definitions.insert("Trigger".to_owned(), trigger());
    definitions.insert("TestStep".to_owned(), deed());
    definitions.insert("Type".to_owned(), declared_type());
    let mut properties = properties(&grammar::FILE);
    properties.extend(self::properties(&grammar::FLOW));
    let none_of_flow = none(grammar::FLOW.iter().map(|entry| entry.name));
    let all = grammar::FILE.iter().chain(&grammar::FLOW).map(|entry| entry.name);
    let none_of_pipeline = none(all.filter(|name| !grammar::LIBRARY.contains(name)));
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "pipehost pipeline or library",
        "description": "A pipeline: what starts a piece of work, which steps it has, and what happens when one fails; or a library for several of them",
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
        "if": { "required": ["library"] },
        "then": { "properties": none_of_pipeline },
        "else": {
            "required": required(&grammar::FILE),
            "if": { "required": ["flows"] },
            "then": { "properties": none_of_flow },
            "else": { "required": required(&grammar::FLOW) },
        },
        "$defs": definitions,
    })
}

/// The entries that this version has.
fn now(entries: &[Entry], later: &[&str]) -> Vec<Entry> {
    entries.iter().filter(|entry| !later.contains(&entry.name)).copied().collect()
}

/// Keys that do not stand there.
fn none<'a>(keys: impl Iterator<Item = &'a str>) -> Map<String, Json> {
    keys.map(|key| (key.to_owned(), json!(false))).collect()
}

fn required(entries: &[Entry]) -> Vec<&'static str> {
    entries.iter().filter(|entry| entry.required).map(|entry| entry.name).collect()
}

fn properties(entries: &[Entry]) -> Map<String, Json> {
    entries.iter().map(|entry| (entry.name.to_owned(), property(entry))).collect()
}

fn property(entry: &Entry) -> Json {
    let mut about = entry.about.to_owned();
    // A default that is a map is the defaults of its own keys.
    if let Some(default) = entry.default.filter(|default| *default != "{}") {
        about.push_str(&format!(". Default: {default}"));
    }
    match of(entry.kind) {
        Json::Object(mut schema) => {
            schema.insert("description".to_owned(), about.into());
            Json::Object(schema)
        }
        other => other,
    }
}

fn object(entries: &[Entry]) -> Json {
    let mut schema = json!({ "type": "object", "properties": properties(entries), "additionalProperties": false });
    let required = required(entries);
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

fn object_of(table: &Table) -> Json {
    let mut schema = object(table.keys);
    if !table.one_of.is_empty() {
        let group = |group: &&[&'static str]| {
            let others = table.one_of.iter().copied().flatten().copied().filter(|key| !group.contains(key));
            json!({ "required": group, "properties": none(others) })
        };
        schema["oneOf"] = table.one_of.iter().map(group).collect();
    }
    if !table.beside.is_empty() {
        schema["dependentRequired"] = table.beside.iter().map(|(key, other)| ((*key).to_owned(), json!([other]))).collect();
    }
    if let Some(key) = table.short.and_then(|short| table.keys.iter().find(|entry| entry.name == short)) {
        schema = json!({ "anyOf": [of(key.kind), schema] });
    }
    schema["description"] = json!(table.about);
    schema
}

fn of(kind: Kind) -> Json {
    match kind {
        Kind::Text => json!({ "type": "string", "not": { "pattern": HOLE } }),
        Kind::FixedText => json!({ "type": "string" }),
        Kind::Computed => json!({ "type": "string", "pattern": HOLE }),
        Kind::Name { dashed } => json!({ "type": "string", "pattern": if dashed { DASHED } else { NAME } }),
        Kind::Event => json!({ "type": "string", "pattern": EVENT }),
        Kind::Words(words) => json!({ "enum": words }),
        Kind::Duration => json!({ "type": "string", "pattern": DURATION, "not": { "pattern": NO_TIME } }),
        Kind::DurationOrNothing => json!({ "type": "string", "pattern": DURATION }),
        Kind::Size => json!({ "type": "string", "pattern": SIZE }),
        Kind::Whole(least) => json!({ "type": "integer", "minimum": least }),
        Kind::Factor => json!({ "type": "number", "minimum": 1 }),
        Kind::Truth => json!({ "type": "boolean" }),
        Kind::True => json!({ "const": true }),
        Kind::Expression => json!({ "type": ["string", "integer"], "not": { "type": "string", "pattern": HOLE } }),
        Kind::Condition => json!({ "type": ["string", "boolean"], "not": { "type": "string", "pattern": HOLE } }),
        Kind::Value => json!({}),
        Kind::Key => json!({ "not": { "type": "null" } }),
        Kind::Type => reference("Type"),
        Kind::Steps => json!({ "type": "array", "items": reference("Step"), "minItems": 1 }),
        Kind::SetSteps => json!({ "type": "array", "items": reference("SetStep") }),
        Kind::Trigger => reference("Trigger"),
        Kind::Table(table) => reference(table.title),
        Kind::Deed => reference("TestStep"),
        Kind::Some(names, value) => {
            let mut schema = of(Kind::Map(names, value));
            schema["minProperties"] = json!(1);
            schema
        }
        Kind::Map(names, value) => {
            let names = match names {
                Names::Fields => None,
                Names::Plain => Some(NAME),
                Names::Dashed => Some(DASHED),
                Names::Events => Some(EVENT),
            };
            let mut schema = json!({ "type": "object", "additionalProperties": of(*value) });
            if let Some(pattern) = names {
                schema["propertyNames"] = json!({ "pattern": pattern });
            }
            schema
        }
        Kind::Several(item) => json!({ "type": "array", "items": of(*item), "minItems": 1 }),
        Kind::List(item) => json!({ "type": "array", "items": of(*item) }),
        Kind::Either(kinds) => json!({ "anyOf": kinds.iter().map(|kind| of(*kind)).collect::<Vec<_>>() }),
        Kind::Null => json!({ "type": "null" }),
        Kind::Empty => json!({ "type": "object", "maxProperties": 0 }),
    }
}

fn reference(title: &str) -> Json {
    json!({ "$ref": format!("#/$defs/{title}") })
}

/// A step has exactly one verb, and each verb its own keys beside it.
fn step() -> Json {
    let of_verb: Vec<Json> = grammar::VERBS
        .iter()
        .map(|verb| {
            let mut entries = vec![Entry { required: true, ..*verb }];
            entries.extend(grammar::STEP);
            entries.extend(beside(verb.name));
            let mut schema = object(&entries);
            schema["title"] = json!(verb.name);
            match verb.name {
                "run" => schema["dependentRequired"] = json!({ "undo_on": ["undo"], "via": ["emits"], "order_key": ["via"] }),
                "emit" => schema["dependentRequired"] = json!({ "order_key": ["via"] }),
                _ => {}
            }
            schema
        })
        .collect();
    json!({ "description": "A step: exactly one verb, and what stands beside it", "oneOf": of_verb })
}

/// The keys of this version that may stand beside a verb.
pub(in crate::plan) fn beside(verb: &str) -> Vec<Entry> {
    let mut entries = Vec::new();
    if matches!(verb, "run" | "dispatch" | "call") {
        entries.extend(grammar::LAYERS);
    }
    if verb == "run" {
        entries.extend(grammar::RUN);
    }
    let others = keys::BESIDE_OTHERS.iter().find(|(name, _)| *name == verb).map(|(_, keys)| *keys).unwrap_or_default();
    let known = grammar::RUN.iter().chain(&grammar::BESIDE);
    entries.extend(known.filter(|entry| others.contains(&entry.name)).copied());
    now(&entries, keys::LATER_BESIDE)
}

fn set_step() -> Json {
    let set = grammar::VERBS.iter().find(|verb| verb.name == "set").map(|verb| Entry { required: true, ..*verb });
    object(&set.into_iter().collect::<Vec<_>>())
}

fn trigger() -> Json {
    let kinds = now(&grammar::TRIGGERS, keys::LATER_TRIGGERS);
    let mut all = vec![json!({ "const": "manual" })];
    all.extend(kinds.iter().map(|kind| {
        let mut entries = vec![Entry { required: true, ..*kind }];
        if kind.name == "event" {
            entries.extend(grammar::EVENT_TRIGGER);
        }
        object(&entries)
    }));
    json!({ "description": "What starts a flow", "anyOf": all })
}

/// A step of a test does one thing, and each has its own keys beside it.
fn deed() -> Json {
    let of_deed: Vec<Json> = cases::DEEDS
        .iter()
        .map(|deed| {
            let mut entries = vec![Entry { required: true, ..*deed }];
            entries.extend(beside_deed(deed.name));
            object(&entries)
        })
        .collect();
    json!({ "description": "A step of a test: what is done, or compared", "anyOf": of_deed })
}

/// The keys that may stand beside what a test does.
pub(in crate::plan) fn beside_deed(deed: &str) -> impl Iterator<Item = Entry> {
    let own = keys::BESIDE_DEEDS.iter().find(|(name, _)| *name == deed).map_or(&[][..], |(_, keys)| keys);
    cases::BESIDE_DEEDS.into_iter().filter(|entry| own.contains(&entry.name))
}

fn declared_type() -> Json {
    let long = json!({
        "type": "object",
        "properties": { "type": reference("Type"), "default": {}, "description": { "type": "string" } },
        "required": ["type"],
        "additionalProperties": false,
    });
    json!({
        "description": "A type: string, int, float, bool, bytes, time, duration, secret, any, [T], { field: T }, T|null; or { type, default, description }",
        "anyOf": [
            { "type": "string", "pattern": TYPE },
            { "type": "array", "items": reference("Type"), "minItems": 1, "maxItems": 1 },
            { "type": "object", "additionalProperties": reference("Type") },
            long,
        ],
    })
}
