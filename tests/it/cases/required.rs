//! Keys that have to be there: each one of them, left out of a file that is right but for that, is told by its name.

use std::collections::BTreeSet;
use std::path::Path;

use pipehost::plan;
use serde_json::Value as Json;

use super::load;

/// What the grammar calls the map, its required keys with values that are right, and a file in which it stands in the place of `@`.
type Sample = (&'static str, &'static [(&'static str, &'static str)], &'static str);

const STEPS: &str = "[{ run: log, with: { message: a } }]";

macro_rules! flow {
    ($steps:literal) => {
        concat!("pipeline: p\nevents: { A: { r: string } }\ntrigger: manual\nsteps: [", $steps, "]\n")
    };
}

const SAMPLES: &[Sample] = &[
    ("", &[("pipeline", "p"), ("trigger", "manual"), ("steps", STEPS)], "@"),
    ("Flow", &[("trigger", "manual"), ("steps", STEPS)], "pipeline: p\nflows: { main: { @ } }\n"),
    ("Wait", &[("event", "A"), ("match", "{ r: '${run.id}' }"), ("timeout", "1h"), ("on_timeout", STEPS)], flow!("{ wait: { @ } }")),
    (
        "Remind",
        &[("after", "[1m]"), ("steps", STEPS)],
        flow!("{ wait: { event: A, match: { r: x }, timeout: 1h, on_timeout: [{ run: log, with: { message: a } }], remind: { @ } } }"),
    ),
    (
        "CancelOn",
        &[("event", "A"), ("match", "{ r: '${run.id}' }")],
        concat!(flow!("{ run: log, with: { message: a } }"), "cancel_on: { @ }\n"),
    ),
    (
        "Idempotency",
        &[("key", "'${input.a}'")],
        concat!(flow!("{ run: log, with: { message: a } }"), "input: { a: string }\nidempotency: { @ }\n"),
    ),
    ("Case", &[("when", "'true'"), ("steps", STEPS)], flow!("{ switch: [{ @ }] }")),
    ("Each", &[("in", "'3'"), ("steps", STEPS)], flow!("{ each: { @ } }")),
    (
        "Join",
        &[("quorum", "1")],
        flow!("{ parallel: { a: [{ run: log, with: { message: a } }], b: [{ run: log, with: { message: a } }] }, join: { @ } }"),
    ),
    ("Fail", &[("message", "late")], flow!("{ fail: { @ } }")),
    ("Undo", &[("run", "log")], flow!("{ run: log, with: { message: a }, undo: { with: { message: a }, @ } }")),
    ("Dedup", &[("key", "a")], flow!("{ run: log, with: { message: a }, dedup: { @ } }")),
    ("Cache", &[("key", "a"), ("ttl", "1h")], flow!("{ run: log, with: { message: a }, cache: { @ } }")),
    (
        "Probe",
        &[("run", "log"), ("every", "10s")],
        flow!("{ run: log, with: { message: a }, breaker: { probe: { with: { message: a }, @ } } }"),
    ),
    ("RateLimit", &[("limit", "1"), ("per", "1s")], flow!("{ run: log, with: { message: a }, rate_limit: { @ } }")),
    ("Bulkhead", &[("max_concurrent", "1")], flow!("{ run: log, with: { message: a }, bulkhead: { @ } }")),
    (
        "Test",
        &[("name", "it works")],
        concat!(flow!("{ run: log, with: { message: a } }"), "tests: [{ send: {}, expect: { outcome: succeeded }, @ }]\n"),
    ),
];

/// Maps that their keys tell apart: whoever leaves one out has written another of them, or nothing.
const TOLD_APART: [&str; 5] = ["Attempts", "SetStep", "TestStep", "Trigger", "Type"];

fn filled(sample: &Sample, without: Option<&str>) -> String {
    let (title, keys, file) = sample;
    let kept = keys.iter().filter(|(key, _)| Some(*key) != without);
    match *title {
        "" => kept.map(|(key, value)| format!("{key}: {value}\n")).collect(),
        _ => {
            let entries: Vec<String> = kept.map(|(key, value)| format!("{key}: {value}")).collect();
            file.replace('@', &entries.join(", "))
        }
    }
}

/// Whether a plan came of a text, and the mistakes.
fn found(path: &Path, text: &str) -> (bool, Vec<(&'static str, String)>) {
    std::fs::write(path, text).expect("it can be written");
    let loaded = load(&[path.to_owned()]);
    let pipelines = loaded.plan.map_or(0, |plan| plan.pipelines.len());
    (pipelines == 1, loaded.diagnostics.into_iter().map(|found| (found.code, found.message)).collect())
}

#[test]
fn each_required_key_that_is_left_out_is_told() {
    let folder = tempfile::tempdir().expect("there is a place for files");
    let path = folder.path().join("a.yaml");
    for sample in SAMPLES {
        let whole = filled(sample, None);
        assert_eq!(found(&path, &whole), (true, Vec::new()), "{whole}");
        for (key, _) in sample.1 {
            let text = filled(sample, Some(key));
            let (planned, mistakes) = found(&path, &text);
            let told = mistakes.iter().any(|(code, message)| *code == "E0206" && message.contains(&format!("`{key}`")));
            assert!(!planned && told, "without {key}: {mistakes:?}\n{text}");
        }
    }
}

#[test]
fn each_map_of_the_grammar_that_needs_a_key_has_a_sample() {
    let schema = plan::schema();
    let definitions = schema["$defs"].as_object().expect("the schema has definitions");
    let mut missing = BTreeSet::new();
    for (title, table) in definitions {
        let objects = std::iter::once(table).chain(table["anyOf"].as_array().into_iter().flatten());
        for key in objects.filter_map(|object| object["required"].as_array()).flatten().filter_map(Json::as_str) {
            let has = SAMPLES.iter().any(|(sample, keys, _)| sample == title && keys.iter().any(|(known, _)| *known == key));
            if !has && !TOLD_APART.contains(&title.as_str()) {
                missing.insert(format!("{title}.{key}"));
            }
        }
    }
    assert!(missing.is_empty(), "no sample has {missing:?}");
}
