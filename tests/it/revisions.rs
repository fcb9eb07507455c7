//! Runs that are pinned to the files with which they began, while these are edited, broken and deleted and their host is killed; and runs that go
//! over to others because somebody says so.

use std::fs;

use crate::program::{Bench, Program, text};

/// Waits for `Go`, then has a script and a component work, and says what they gave.
fn order(says: &str, after: &str) -> String {
    let component = if after.is_empty() { "null" } else { "'${steps.echoed}'" };
    format!(
        "pipeline: order
description: Waits, then works
import: [lib/shared.yaml]
events: {{ Go: {{ request: string }} }}
executors:
  work: {{ rhai: scripts/work.rhai }}
trigger: manual
steps:
  - id: go
    wait: {{ event: Go, match: {{ request: '${{run.id}}' }}, timeout: 4h, on_timeout: [{{ fail: {{ kind: timeout, message: nobody came }} }}] }}
  - id: worked
    run: work
    policy: short
{after}
  - reply: {{ yaml: {says}, script: '${{steps.worked}}', component: {component} }}
"
    )
}

const ECHO: &str = "  - id: echoed\n    run: echo\n    with: { do: echo, value: 7 }\n";

const LIBRARY: &str = "library: shared\npolicies: { short: { timeout: 30s } }\nexecutors: { echo: { wasm: echo.wasm } }\n";

/// A bench with the old files.
fn bench() -> Bench {
    let bench = Bench::empty();
    bench.write("order.yaml", order("old", ECHO));
    bench.write("other.yaml", "pipeline: other\ntrigger: manual\nsteps: [{ reply: { hi: there } }]\n");
    bench.write("lib/shared.yaml", LIBRARY);
    bench.write("scripts/work.rhai", "import \"parts\" as parts;\nfn process(job) { parts::word() }");
    bench.write("scripts/parts.rhai", "fn word() { \"old\" }");
    let component = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/guests/conformance/conformance.wasm");
    fs::copy(component, bench.path("lib/echo.wasm")).expect("it is committed");
    bench
}

/// A host on these files, which has put them in force.
fn host(bench: &Bench, file: &str) -> Program {
    let program = bench.start(&["run", file, "--data", "data", "--events", "json"]);
    program.errors.expect("It stays until");
    program
}

/// A run that waits.
fn waiting(bench: &Bench, host: &Program) -> String {
    let sent = bench.run(&["send", "order", "{}", "--no-wait", "--data", "data"], b"");
    let run = text(&sent.ends_with(0).objects()[0], "run").to_owned();
    host.event("waiting");
    run
}

/// Lets a run go on to its end, and returns its reply.
fn goes_on(bench: &Bench, host: &Program, run: &str) -> String {
    let data = format!(r#"{{"request":"{run}"}}"#);
    bench.run(&["signal", run, "Go", &data, "--as", "alice", "--data", "data"], b"").ends_with(0);
    assert_eq!(host.event("run_ended")["outcome"], "succeeded");
    let shown = bench.run(&["runs", "show", run, "--json", "--data", "data"], b"");
    shown.ends_with(0).objects()[0]["reply"].to_string()
}

const OLD: &str = r#"{"component":7,"script":"old","yaml":"old"}"#;
const NEW: &str = r#"{"component":null,"script":"new","yaml":"new"}"#;

/// The new files: the step with the component is gone, and the component too.
fn edit(bench: &Bench) {
    bench.write("scripts/parts.rhai", "fn word() { \"new\" }");
    bench.write("lib/shared.yaml", LIBRARY.replace("executors: { echo: { wasm: echo.wasm } }\n", ""));
    bench.write("order.yaml", order("new", ""));
    fs::remove_file(bench.path("lib/echo.wasm")).expect("it was there");
}

fn killed(host: Program) {
    host.signal("KILL");
    drop(host);
}

#[test]
fn a_run_ends_as_it_began_after_its_files_were_edited_broken_and_deleted_and_its_host_was_killed() {
    let bench = bench();
    let first = host(&bench, "order.yaml");
    let runs: Vec<String> = (0..3).map(|_| waiting(&bench, &first)).collect();
    killed(first);

    edit(&bench);
    let edited = host(&bench, "order.yaml");
    assert_eq!(goes_on(&bench, &edited, &runs[0]), OLD);
    let new = waiting(&bench, &edited);
    assert_eq!(goes_on(&bench, &edited, &new), NEW);
    killed(edited);

    bench.write("order.yaml", "pipeline: order\nsteps: [");
    bench.write("scripts/parts.rhai", "fn word( {");
    let broken = host(&bench, "other.yaml");
    assert_eq!(goes_on(&bench, &broken, &runs[1]), OLD);
    killed(broken);

    ["lib", "scripts"].iter().for_each(|folder| fs::remove_dir_all(bench.path(folder)).expect("it was there"));
    fs::remove_file(bench.path("order.yaml")).expect("it was there");
    let deleted = host(&bench, "other.yaml");
    assert_eq!(goes_on(&bench, &deleted, &runs[2]), OLD);
}

#[test]
fn a_run_goes_over_to_the_files_as_they_are_if_somebody_says_so() {
    let bench = bench();
    let host = host(&bench, "order.yaml");
    let (first, second) = (waiting(&bench, &host), waiting(&bench, &host));
    let migrate = |arguments: &[&str]| {
        let arguments: Vec<&str> =
            ["runs", "migrate"].iter().chain(arguments).chain(&["--to", "current", "--data", "data"]).copied().collect();
        bench.run(&arguments, b"")
    };
    migrate(&["--all"]).ends_with(0).says(&["every run belongs to the revision in force"]);
    bench.write("order.yaml", order("old", ECHO).replace("id: go\n", "id: come\n"));
    host.event("reloaded");
    let hindered = migrate(&["--all", "--dry-run"]);
    assert_eq!(hindered.ends_with(1).out.matches("\n  - `go` is under way, and is not there any more\n").count(), 2);

    edit(&bench);
    host.event("reloaded");
    let possible = migrate(&[&first, "--dry-run", "--json"]);
    assert_eq!(possible.ends_with(0).objects()[0]["outcome"], "possible");
    migrate(&[&first]).ends_with(0);
    assert_eq!(host.event("migrated")["run"], first.as_str());
    assert_eq!(goes_on(&bench, &host, &first), NEW);
    assert_eq!(goes_on(&bench, &host, &second), OLD);
    let shown = bench.run(&["runs", "show", &first, "--data", "data"], b"");
    assert!(shown.ends_with(0).out.contains("migrated"), "{}", shown.out);
}

/// Books, and fails; taking the booking back is a script that has a mistake.
const OWING: &str = "pipeline: owing
executors: { book: { script: 'fn process(job) { 1 }' }, back: { rhai: scripts/back.rhai } }
trigger: manual
steps:
  - id: booked
    run: book
    undo: { run: back }
  - fail: { message: no more }
";

#[test]
fn a_parked_run_whose_undo_was_wrong_goes_over_to_the_mended_one_and_is_resumed() {
    let bench = Bench::empty();
    bench.write("owing.yaml", OWING);
    bench.write("scripts/back.rhai", "fn process(job) { throw permanent(\"a mistake\") }");
    let first = host(&bench, "owing.yaml");
    let sent = bench.run(&["send", "owing", "{}", "--no-wait", "--data", "data"], b"");
    let run = text(&sent.ends_with(0).objects()[0], "run").to_owned();
    assert_eq!(first.event("run_ended")["outcome"], "parked");
    let ask = |arguments: &[&str]| bench.run(&[arguments, &["--data", "data"]].concat(), b"");

    // Mended on the disk: the run is pinned to what it began with, and says so by failing again.
    bench.write("scripts/back.rhai", "fn process(job) { \"taken back\" }");
    first.event("reloaded");
    ask(&["runs", "resume", &run]).ends_with(0);
    assert_eq!(first.event("run_ended")["outcome"], "parked");
    killed(first);

    let second = host(&bench, "owing.yaml");
    let possible = ask(&["runs", "migrate", &run, "--to", "current", "--dry-run", "--json"]);
    assert_eq!(possible.ends_with(0).objects()[0]["outcome"], "possible");
    let migrated = ask(&["runs", "migrate", &run, "--to", "current"]);
    assert!(migrated.ends_with(0).out.contains(" went over from "), "{}", migrated.out);
    let parked = ask(&["runs", "list", "--status", "parked"]);
    assert!(parked.ends_with(0).out.contains(&run), "nothing happens until somebody resumes it: {}", parked.out);
    let resumed = ask(&["runs", "resume", &run]);
    let said = &resumed.ends_with(0).out;
    assert!(said.starts_with(&format!("run {run}: it goes on; pipehost runs show")), "{said}");
    assert_eq!(second.event("run_ended")["outcome"], "failed", "it ends as it would have");
    let story = ask(&["runs", "show", &run, "--json"]).ends_with(0).objects().remove(0);
    let steps = story["steps"].as_array().expect("steps");
    let undoing = steps.iter().rfind(|step| step["undoes"] == "booked").expect("it was undone");
    assert_eq!((text(undoing, "state"), &undoing["output"]), ("succeeded", &serde_json::json!("taken back")));
    ask(&["runs", "migrate", &run, "--to", "current"]).ends_with(0);
    ask(&["runs", "resume", &run]).ends_with(1).says(&["error[E0754]"]);
}
