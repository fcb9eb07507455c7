//! What people and editors see of pipelines before they run: explain, show, graph, schema, and mistakes as SARIF.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};

use crate::program::{Bench, CHATBOT, text};

const ORDERS: &str = "pipeline: orders
bus: { scope: private, exports: [Placed] }
events: { Placed: { order: string }, Kept: {} }
policies:
  api: { deadline: 1m, retry: { max_retries: 2 } }
executors:
  keep: { builtin: log, limits: { wall: 10s } }
trigger: manual
input: { order: string }
deadline: 2m
concurrency: { max_concurrent: 4 }
steps:
  - id: keep
    run: keep
    with: { message: '${input.order}' }
    policy: api
    timeout: 5s
  - id: told
    emit: { Placed: { order: '${input.order}' }, Kept: }
";

const MAIL: &str = "pipeline: mail
flows:
  thanks: { trigger: { event: Placed }, steps: [{ run: log, with: { message: thanks } }] }
  never: { trigger: { event: Gone }, steps: [{ run: log, with: { message: never } }] }
";

fn bench() -> Bench {
    let bench = Bench::empty();
    bench.write("orders.yaml", ORDERS);
    bench.write("mail.yaml", MAIL);
    bench
}

#[test]
fn explain_says_what_is_in_force_and_where_it_comes_from() {
    let bench = bench();
    let shown = bench.run(&["explain", "orders.yaml:main.keep", "mail.yaml"], b"").ends_with(0).out.clone();
    let line = |words: &[&str]| {
        let found = shown.lines().any(|line| words.iter().all(|word| line.contains(word)));
        assert!(found, "no line has {words:?}:\n{shown}");
    };
    line(&["deadline", "2m", "orders.yaml:10:1"]);
    line(&["concurrency.max_concurrent", "4", "orders.yaml:11:16"]);
    line(&["concurrency.max_queue", "1024", "default"]);
    line(&["state_key", "none", "default"]);
    line(&["step keep: run keep", "orders.yaml:13:5"]);
    line(&["deadline", "1m", "policy api, orders.yaml:5:"]);
    line(&["retry.max_retries", "2", "policy api, orders.yaml:5:"]);
    line(&["retry.base_delay", "1s", "default"]);
    line(&["timeout", "5s", "beside the step, orders.yaml:17:"]);
    line(&["limits.wall", "10s", "orders.yaml:7:"]);
    line(&["limits.memory", "64MiB", "default"]);
    line(&["grants: none"]);
    let layers: Vec<usize> = ["1m  ", "retry.max_retries", "timeout"].iter().filter_map(|word| shown.find(word)).collect();
    assert!(layers.len() == 3 && layers.is_sorted(), "the stack is in its order:\n{shown}");
    let told = bench.run(&["explain", "orders.yaml:main.told", "mail.yaml"], b"").ends_with(0).out.clone();
    assert!(told.contains("emits Placed (bus: private, global): heard by mail.thanks"), "{told}");
    assert!(told.contains("emits Kept (bus: private): nobody of these files hears it"), "{told}");
}

#[test]
fn explain_is_json_for_programs_and_refuses_parts_that_there_are_not() {
    let bench = bench();
    let json: Json = serde_json::from_str(&bench.run(&["explain", ".", "--format", "json"], b"").ends_with(0).out).expect("JSON");
    let step = &json[1]["flows"][0]["steps"][0];
    assert_eq!((text(&json[1], "pipeline"), text(step, "step")), ("orders", "keep"));
    assert_eq!((text(step, "layers/1/layer"), text(step, "layers/1/settings/0/from")), ("retry", "policy"));
    assert_eq!(json[1]["flows"][0]["steps"][1]["emits"][0]["heard_by"][0]["flow"], "thanks");
    bench.run(&["explain", "orders.yaml:man"], b"").ends_with(1).says(&["error[E0725]: orders.yaml has no flow \"man\"; it has main"]);
    let step = "error[E0725]: the flow main of orders.yaml has no step \"kep\" that runs or emits something; it has keep, told";
    bench.run(&["explain", "orders.yaml:main.kep"], b"").ends_with(1).says(&[step]);
    bench.write("broken.yaml", "pipeline: broken\n");
    bench.run(&["explain", "broken.yaml"], b"").ends_with(1).says(&["error[E0206]"]);
}

/// Shipped files that call flows of others, and those.
const CALLERS: [(&str, &[&str]); 1] = [("pipelines/purchase.yaml", &["pipelines/basket.yaml", "pipelines/catalog.yaml"])];

#[test]
fn what_show_prints_is_the_same_pipeline_again() {
    let bench = Bench::chatbot().with("OPENAI_API_KEY", "hunter2").with("OPENAI_MODEL", "tiny");
    for file in shipped() {
        let name = format!("pipelines/{}", file.file_name().expect("a name").to_string_lossy());
        let beside = CALLERS.iter().find(|(caller, _)| *caller == name).map_or(&[][..], |(_, called)| called);
        let on = |command, file| [&[command, file][..], beside].concat();
        let shown = bench.run(&on("show", &name), b"").ends_with(0).out.clone();
        assert!(!shown.contains("hunter2") && !shown.contains("tiny"), "{shown}");
        bench.write("pipelines/shown.yaml", &shown);
        bench.run(&on("check", "pipelines/shown.yaml"), b"").ends_with(0);
        let again = bench.run(&on("show", "pipelines/shown.yaml"), b"").ends_with(0).out.clone();
        assert_eq!(again, shown, "what is expanded is not expanded further");
    }
    for (caller, _) in CALLERS {
        bench.run(&["show", caller], b"").ends_with(1).says(&["error[E0221]", "beside this one"]);
    }
    let shown = bench.run(&["show", CHATBOT], b"").ends_with(0).out.clone();
    for words in ["api_key: '${secret.OPENAI_API_KEY ?? null}'", "max_delay: 30s", "durable: true", "call_depth: 64"] {
        assert!(shown.contains(words), "{words:?} is not in\n{shown}");
    }
}

/// Every layer and section with as little written as may be.
const BARE: &str = "pipeline: bare
executors: { note: { builtin: log } }
state: { initial: { a: 1 } }
events: { Done: {} }
trigger: [manual, { event: Other }]
steps:
  - run: note
    with: { message: hi }
    fallback: { value: 1 }
    dedup: { key: x }
    cache: { key: x, ttl: 1m }
    deadline: 10m
    retry: {}
    breaker: {}
    rate_limit: { limit: 1, per: 1s }
    bulkhead: { max_concurrent: 1 }
    timeout: 1s
  - run: note
    with: { message: ho }
    retry: 5
  - emit: { Done: }
  - fail: { message: no }
";

#[test]
fn what_show_writes_out_is_what_was_in_force_without_it() {
    let bench = Bench::empty();
    bench.write("bare.yaml", BARE);
    bench.write("shown.yaml", &bench.run(&["show", "bare.yaml"], b"").ends_with(0).out);
    let values = |file: &str| {
        let json: Json = serde_json::from_str(&bench.run(&["explain", file, "--format", "json"], b"").ends_with(0).out).expect("JSON");
        let (mut values, mut open) = (Vec::new(), vec![json]);
        while let Some(next) = open.pop() {
            match next {
                Json::Object(fields) if fields.contains_key("value") => values.push((fields["name"].clone(), fields["value"].clone())),
                Json::Object(fields) => open.extend(fields.into_iter().map(|(_, value)| value)),
                Json::Array(items) => open.extend(items),
                _ => {}
            }
        }
        values
    };
    let (bare, shown) = (values("bare.yaml"), values("shown.yaml"));
    assert!(bare.len() > 40, "{bare:?}");
    assert_eq!(bare, shown, "a default of the grammar is another one than the loader's");
}

#[test]
fn files_are_laid_out_and_mean_the_same() {
    let bench = Bench::chatbot();
    bench.write("a.yaml", "pipeline:   a   # why\ntrigger:  manual\nsteps:\n    - reply:   { a:  \"x\" }\n");
    bench.run(&["fmt", "a.yaml", "--check"], b"").ends_with(1).says(&["a.yaml is not laid out"]);
    bench.run(&["fmt", "a.yaml"], b"").ends_with(0).says(&["a.yaml was laid out"]);
    assert_eq!(bench.read("a.yaml"), "pipeline: a # why\ntrigger: manual\nsteps:\n  - reply: { a: 'x' }\n");
    bench.run(&["fmt", "a.yaml", "--check"], b"").ends_with(0).says(&["1 file: nothing to do"]);
    bench.write("broken.yaml", "pipeline: [\n");
    bench.run(&["fmt", "broken.yaml"], b"").ends_with(1).says(&["error[E0104]"]);
    assert_eq!(bench.read("broken.yaml"), "pipeline: [\n");
    let names: Vec<String> = fs::read_dir(bench.path("."))
        .expect("a folder")
        .map(|entry| entry.expect("it").file_name().to_string_lossy().into_owned())
        .collect();
    assert!(names.iter().all(|name| !name.starts_with('.')), "nothing is left beside: {names:?}");
    // Every file that we have can be laid out: its values and comments are compared by the program itself.
    for file in shipped().into_iter().chain(yaml_files("tests/cases/valid")) {
        fs::copy(&file, bench.path("copy.yaml")).expect("copied");
        bench.run(&["fmt", "copy.yaml"], b"").ends_with(0);
        bench.run(&["fmt", "copy.yaml", "--check"], b"").ends_with(0);
    }
}

#[test]
fn a_graph_of_several_files_shows_who_hears_what_on_which_bus() {
    let bench = bench();
    let drawn = bench.run(&["graph", "orders.yaml", "mail.yaml"], b"").ends_with(0).out.clone();
    for words in [
        "[\"private bus of orders\"]",
        "[\"global bus\"]",
        "[\"emitted by none of these files\"]",
        "e0 -. \"exports\" .-> e1",
        "e1 -.-> p1f0t0",
        "-.-> p1f1t0",
        "p1f0s0[\"run log\"]",
    ] {
        assert!(drawn.contains(words), "{words:?} is not in\n{drawn}");
    }
    assert!(!drawn.contains("e0 -.-> p1f0t0"), "an exported event is heard on the global bus only:\n{drawn}");
    let dot = bench.run(&["graph", ".", "--format", "dot"], b"").ends_with(0).out.clone();
    assert!(dot.contains("label=\"global bus\""), "{dot}");
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn yaml_files(folder: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(root().join(folder))
        .expect("the folder is there")
        .map(|entry| entry.expect("it can be listed").path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "yaml"))
        .collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

fn shipped() -> Vec<PathBuf> {
    yaml_files("pipelines")
}

/// A file as an editor sees it; `None` if it is no YAML.
fn as_json(file: &Path) -> Option<Json> {
    let text = fs::read_to_string(file).expect("it is text");
    serde_yaml::from_str(&text).ok()
}

#[test]
fn the_schema_takes_what_the_loader_takes() {
    let validator = jsonschema::validator_for(&pipehost::plan::schema()).expect("it is a schema");
    for file in shipped().into_iter().chain(yaml_files("tests/cases/valid")) {
        let json = as_json(&file).expect("it is YAML");
        let wrong: Vec<String> = validator.iter_errors(&json).map(|error| format!("{}: {error}", error.instance_path())).collect();
        assert_eq!(wrong, Vec::<String>::new(), "{}", file.display());
    }
}

/// The kinds of mistakes that the form of a file alone shows.
const STRUCTURAL: [&str; 12] = ["E0201", "E0202", "E0203", "E0204", "E0206", "E0207", "E0209", "E0211", "E0215", "E0217", "E0218", "E0227"];

#[test]
fn the_schema_refuses_every_mistake_of_structure() {
    let validator = jsonschema::validator_for(&pipehost::plan::schema()).expect("it is a schema");
    let (mut taken, mut refused) = (Vec::new(), 0);
    for file in yaml_files("tests/cases/invalid") {
        let name = file.file_stem().expect("a name").to_string_lossy().into_owned();
        let told = fs::read_to_string(file.with_extension("err")).expect("it has its text");
        let structural = STRUCTURAL.iter().any(|code| told.contains(&format!("error[{code}]")));
        let later = told.contains("error[E090");
        let Some(json) = as_json(&file).filter(|_| structural || later) else { continue };
        if validator.is_valid(&json) {
            taken.push(name);
        } else {
            refused += 1;
        }
    }
    assert_eq!(taken, Vec::<String>::new(), "the schema takes what the loader refuses");
    assert!(refused >= 20, "only {refused} cases were looked at");
}

/// A table of the schema, where it may stand, and what has to be there so that the rest is right.
struct Standing {
    table: &'static str,
    path: &'static str,
    given: Json,
}

fn standing(table: &'static str, path: &'static str, given: Json) -> Standing {
    Standing { table, path, given }
}

/// Where each table of the schema may stand. `given` is put at the path; a path that leads into a list begins with what is put there.
fn tables() -> Vec<Standing> {
    let replied = json!([{ "reply": "hi" }]);
    let wait = |more: (&str, Json)| {
        let mut wait = json!({ "event": "E1", "match": { "x": 1 }, "timeout": "1h", "on_timeout": [{ "reply": "late" }] });
        wait[more.0] = more.1;
        json!({ "wait": wait })
    };
    let remind = json!({ "after": ["1m"], "steps": replied });
    let test = |more: Json| {
        let mut test = json!({ "name": "t", "send": {}, "expect": {} });
        test.as_object_mut().expect("a map").extend(more.as_object().expect("a map").clone());
        test
    };
    vec![
        standing("Flow", "", json!({})),
        standing("Concurrency", "/concurrency", json!({})),
        standing("Idempotency", "/idempotency", json!({ "key": "x" })),
        standing("CancelOn", "/cancel_on", json!({ "event": "E1", "match": { "x": 1 } })),
        standing("State", "/state", json!({})),
        standing("Bus", "/bus", json!({})),
        standing("Resource", "/resources/main", json!({})),
        standing("Executor", "/executors/note", json!({ "builtin": "log" })),
        standing("Grants", "/executors/note/grants", json!({})),
        standing("Limits", "/executors/note/limits", json!({})),
        standing("Policy", "/steps/0", json!({})),
        standing("Fallback", "/steps/0/fallback", json!({ "value": 1 })),
        standing("Dedup", "/steps/0/dedup", json!({ "key": "x" })),
        standing("Cache", "/steps/0/cache", json!({ "key": "x", "ttl": "1m" })),
        standing("Retry", "/steps/0/retry", json!({})),
        standing("Breaker", "/steps/0/breaker", json!({})),
        standing("Probe", "/steps/0/breaker/probe", json!({ "run": "note", "with": { "message": "hi" }, "every": "1m" })),
        standing("RateLimit", "/steps/0/rate_limit", json!({ "limit": 1, "per": "1s" })),
        standing("Bulkhead", "/steps/0/bulkhead", json!({ "max_concurrent": 1 })),
        standing("Undo", "/steps/0/undo", json!({ "run": "note", "with": { "message": "hi" } })),
        standing("Fail", "/steps/1/fail", json!({ "message": "x" })),
        standing("Wait", "/steps/2/wait", wait(("remind", remind.clone()))["wait"].clone()),
        standing("Remind", "/steps/2/wait/remind", remind.clone()),
        standing("Case", "/steps/2/switch/0", json!({ "when": "true", "steps": replied })),
        standing("Case", "/steps/2/switch/0", json!({ "else": replied })),
        standing("Each", "/steps/2/each", json!({ "in": "3", "steps": replied })),
        standing("Test", "/tests/0", test(json!({}))),
        standing("Caller", "/tests/0/caller", json!({})),
        standing("Answer", "/tests/0/mocks/note", json!({})),
        standing("Attempts", "/tests/0/mocks/note", json!({ "attempts": [{}] })),
        standing("MockFail", "/tests/0/mocks/note/fail", json!({})),
        standing("Expect", "/tests/0/expect", json!({})),
        standing("ExpectedRun", "/tests/0/expect/runs/0", json!({})),
        standing("ExpectedError", "/tests/0/expect/error", json!({})),
    ]
}

/// Each verb with what is right for it, and each thing that a test does.
fn steps() -> [(&'static str, Json); 20] {
    let replied = json!([{ "reply": "hi" }]);
    [
        ("run", json!({ "run": "note", "with": { "message": "hi" } })),
        ("dispatch", json!({ "dispatch": "note", "with": { "message": "hi" } })),
        ("call", json!({ "call": "p.main" })),
        ("emit", json!({ "emit": { "E1": { "x": 1 } } })),
        ("wait", json!({ "wait": { "event": "E1", "match": { "x": 1 }, "timeout": "1h", "on_timeout": replied } })),
        ("switch", json!({ "switch": [{ "else": replied }] })),
        ("parallel", json!({ "parallel": { "left": replied } })),
        ("each", json!({ "each": { "in": "3", "steps": replied } })),
        ("set", json!({ "set": { "a": 1 } })),
        ("reply", json!({ "reply": "hi" })),
        ("fail", json!({ "fail": { "message": "x" } })),
        ("sleep", json!({ "sleep": "1s" })),
        ("send", json!({ "send": {} })),
        ("emit", json!({ "emit": {} })),
        ("advance", json!({ "advance": "1s" })),
        ("settle", json!({ "settle": true })),
        ("cancel", json!({ "cancel": 0 })),
        ("reload", json!({ "reload": true })),
        ("restart", json!({ "restart": true })),
        ("expect", json!({ "expect": {} })),
    ]
}

/// Puts a value at a path, making the maps on the way.
fn put(document: &mut Json, path: &str, value: Json) {
    let mut at = document;
    for part in path.split('/').skip(1) {
        at = match part.parse::<usize>() {
            Ok(index) => {
                if at.is_null() {
                    *at = json!([]);
                }
                let items = at.as_array_mut().expect("a list");
                while items.len() <= index {
                    items.push(json!({}));
                }
                &mut items[index]
            }
            Err(_) => &mut at[part],
        };
    }
    match (at, value) {
        (Json::Object(fields), Json::Object(more)) => fields.extend(more),
        (at, value) => *at = value,
    }
}

/// Values of every kind, for whatever may not take them.
fn values() -> [Json; 17] {
    [
        json!(30),
        json!(0),
        json!(-1),
        json!(1.5),
        json!(true),
        json!(null),
        json!("x"),
        json!("5s"),
        json!("0s"),
        json!("5 parsecs"),
        json!("64MiB"),
        json!("running"),
        json!("Bad Name"),
        json!([]),
        json!(["x"]),
        json!({}),
        json!({ "x": 1 }),
    ]
}

/// A pipeline in which everything has a place.
fn around() -> Json {
    json!({
        "pipeline": "p", "trigger": "manual", "executors": { "note": { "builtin": "log" } }, "events": { "E1": { "x": "int" } },
        "state": { "initial": { "a": 1 } },
        "steps": [{ "run": "note", "with": { "message": "hi" } }, { "fail": { "message": "x" } }],
    })
}

/// Asks schema and loader the same, and keeps where they differ.
struct Comparison {
    validator: jsonschema::Validator,
    folder: tempfile::TempDir,
    wrong: Vec<String>,
    tried: usize,
}

impl Comparison {
    fn new() -> Self {
        let validator = jsonschema::validator_for(&pipehost::plan::schema()).expect("it is a schema");
        Self { validator, folder: tempfile::tempdir().expect("a folder"), wrong: Vec::new(), tried: 0 }
    }

    /// `names` says that the value names a flow or a step: whether there is one, a schema cannot know.
    fn ask(&mut self, document: &Json, what: &str, names: bool) {
        let file = self.folder.path().join("tried.yaml");
        fs::write(&file, document.to_string()).expect("written");
        let codes: Vec<&str> = crate::cases::load(std::slice::from_ref(&file)).diagnostics.iter().map(|found| found.code).collect();
        let takes = self.validator.is_valid(document);
        let structural = codes.iter().any(|code| STRUCTURAL.contains(code) && !(names && *code == "E0217"));
        let any = codes.iter().any(|code| code.starts_with('E'));
        if (takes && structural) || (!takes && !any) {
            let schema = if takes { "takes" } else { "refuses" };
            self.wrong.push(format!("{what}: the schema {schema} it, the loader says {codes:?}"));
        }
        self.tried += 1;
    }

    /// Puts each value at each of these keys beneath a path.
    fn keys<'k>(&mut self, around: &Json, path: &str, keys: impl Iterator<Item = &'k String>, what: &str) {
        for key in keys {
            for value in values() {
                let mut document = around.clone();
                put(&mut document, &format!("{path}/{key}"), Json::Null);
                // In the place of what stands there, not into it.
                *document.pointer_mut(&format!("{path}/{key}")).expect("it was put") = value.clone();
                let names = path.starts_with("/tests") && ["flow", "crash_after", "undone", "steps"].contains(&key.as_str());
                self.ask(&document, &format!("{what}.{key}: {value}"), names);
            }
        }
    }

    fn end(self, least: usize) {
        assert!(self.wrong.is_empty(), "{} of {}:\n{}", self.wrong.len(), self.tried, self.wrong.join("\n"));
        assert!(self.tried > least, "only {}", self.tried);
    }
}

#[test]
fn schema_and_loader_agree_on_the_value_of_every_key() {
    let schema = pipehost::plan::schema();
    let mut comparison = Comparison::new();
    let mut seen: Vec<&str> = Vec::new();
    for Standing { table, path, given } in tables() {
        let definition = &schema["$defs"][table];
        let properties = definition.get("properties").or_else(|| definition.pointer("/anyOf/1/properties"));
        let mut around = around();
        if path.starts_with("/tests") {
            around["tests"] = json!([{ "name": "t", "send": {}, "expect": {} }]);
        }
        if path.starts_with("/steps/2/wait/") {
            put(&mut around, "/steps/2/wait", json!({}));
            around["steps"][2]["wait"] =
                json!({ "event": "E1", "match": { "x": 1 }, "timeout": "1h", "on_timeout": [{ "reply": "late" }] });
        }
        put(&mut around, path, given);
        comparison.keys(&around, path, properties.and_then(Json::as_object).expect("it has keys").keys(), table);
        seen.push(table);
    }
    // A quorum is also compared with the number of branches, which a schema cannot.
    let own = ["Join", "Step", "SetStep", "Trigger", "Type", "TestStep"];
    let left: Vec<&String> = schema["$defs"]
        .as_object()
        .expect("definitions")
        .keys()
        .filter(|name| !seen.contains(&name.as_str()) && !own.contains(&name.as_str()))
        .collect();
    assert!(left.is_empty(), "tables that are not looked at: {left:?}");
    comparison.end(2_500);
}

#[test]
fn schema_and_loader_agree_on_what_stands_beside_every_verb() {
    let schema = pipehost::plan::schema();
    let mut comparison = Comparison::new();
    for (number, (verb, step)) in steps().into_iter().enumerate() {
        let (of, path) = if number < 12 { ("/$defs/Step/oneOf", "/steps/0") } else { ("/$defs/TestStep/anyOf", "/tests/0/steps/0") };
        let forms = schema.pointer(of).and_then(Json::as_array).expect("forms of a step");
        let form = forms.iter().find(|form| form["required"][0] == verb).unwrap_or_else(|| panic!("no form for {verb}"));
        let mut around = around();
        if number < 12 {
            around["steps"][0] = step;
        } else {
            around["tests"] = json!([{ "name": "t", "steps": [step], "expect": {} }]);
        }
        comparison.ask(&around, verb, false);
        comparison.keys(&around, path, form["properties"].as_object().expect("keys").keys(), verb);
    }
    comparison.end(1_500);
}

#[test]
fn schema_and_loader_agree_on_what_a_library_may_hold() {
    let schema = pipehost::plan::schema();
    let mut comparison = Comparison::new();
    comparison.keys(&json!({ "library": "l" }), "", schema["properties"].as_object().expect("keys").keys(), "library");
    comparison.end(300);
}

#[test]
fn the_schema_is_printed_and_has_a_sentence_for_every_key() {
    let printed = Bench::empty().run(&["schema"], b"").ends_with(0).out.clone();
    let schema: Json = serde_json::from_str(&printed).expect("JSON");
    assert_eq!(schema, pipehost::plan::schema());
    for (name, definition) in schema["$defs"].as_object().expect("definitions") {
        assert!(definition["description"].is_string() || name == "SetStep", "{name} has no description");
    }
    for (name, property) in schema["properties"].as_object().expect("properties") {
        assert!(text(property, "description").len() > 10, "{name} has no description");
    }
}

#[test]
fn the_reference_page_is_up_to_date() {
    let file = root().join("pipelines/docs/24-reference.md");
    let wanted = pipehost::plan::reference();
    if std::env::var_os("PIPEHOST_UPDATE").is_some() {
        fs::write(&file, &wanted).expect("it can be written");
    }
    let page = fs::read_to_string(&file).unwrap_or_default();
    assert!(page == wanted, "write it anew: PIPEHOST_UPDATE=1 cargo test --test it reference");
}

#[test]
fn mistakes_are_told_as_sarif() {
    let bench = bench();
    bench.replace("orders.yaml", "policy: api", "polcy: api");
    let log: Json = serde_json::from_str(&bench.run(&["check", "orders.yaml", "--format", "sarif"], b"").ends_with(1).out).expect("JSON");
    assert_eq!(text(&log, "version"), "2.1.0");
    let results = log["runs"][0]["results"].as_array().expect("results");
    let codes: Vec<(&str, &str)> = results.iter().map(|result| (text(result, "ruleId"), text(result, "level"))).collect();
    assert_eq!(codes, [("W0401", "warning"), ("E0201", "error")]);
    let at = &results[1]["locations"][0]["physicalLocation"];
    assert_eq!((text(at, "artifactLocation/uri"), &at["region"]["startLine"]), ("orders.yaml", &Json::from(16)));
    bench.write("good.yaml", "pipeline: good\ntrigger: manual\nsteps: [{ reply: hi }]\n");
    let log: Json = serde_json::from_str(&bench.run(&["check", "good.yaml", "--format", "sarif"], b"").ends_with(0).out).expect("JSON");
    assert_eq!(log["runs"][0]["results"], serde_json::json!([]));
}
