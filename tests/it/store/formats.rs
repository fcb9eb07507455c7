//! A data folder of each format that hosts have written, made by a host of that format and kept here: every later one has to take it along.
//!
//! `PIPEHOST_UPDATE=1` makes the folder of the format that is written now with the binary of these tests, if there is none. One that is there stays:
//! what was written is what has to be read.

use std::fs;
use std::path::PathBuf;

use rusqlite::Connection;

use crate::program::{Bench, Program, text};

/// A state, an answer to a repeated request, an event with the run that it began, a secret from outside, and a run that waits for a hundred years.
const KEPT: &str = "pipeline: kept
events: { Go: { request: string }, Counted: { order: string } }
state: { initial: { count: 0 } }
flows:
  count:
    trigger: manual
    input: { order: string }
    idempotency: { key: '${input.order}', retention: 36500d }
    steps:
      - set: { count: '${state.count + 1}' }
      - emit: { Counted: { order: '${input.order}' } }
      - reply: { count: '${state.count}' }
  heard:
    trigger: { event: Counted, mode: direct }
    steps: [{ set: { count: '${state.count + 1}' } }]
  waits:
    trigger: manual
    input: { token: secret }
    steps:
      - id: go
        wait: { event: Go, match: { request: '${run.id}' }, timeout: 36500d, on_timeout: [{ fail: { message: nobody came } }] }
      - reply: { says: as it began, count: '${state.count}' }
";

/// The files of a data folder whose host has ended in an orderly way.
const FILES: [&str; 3] = ["journal.db", "journal.mark", "seal.key"];
/// The one that is written now.
const CURRENT: i32 = 2;

fn folder(format: i32) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("../tests/it/store/format-{format}"))
}

fn host(bench: &Bench) -> Program {
    let program = bench.start(&["run", "kept.yaml", "--data", "data", "--events", "json"]);
    program.errors.expect("It stays until");
    program
}

fn format_of(journal: PathBuf) -> i32 {
    let journal = Connection::open(journal).expect("it is a SQLite file");
    journal.query_row("PRAGMA user_version", [], |row| row.get(0)).expect("it has one")
}

/// Has a host of this format keep something of everything, and keeps its files.
fn make() {
    let bench = Bench::empty();
    bench.write("kept.yaml", KEPT);
    let program = host(&bench);
    bench.run(&["send", "--data", "data", "kept.count", r#"{"order":"o-1"}"#], b"").ends_with(0);
    // What it has told has been heard.
    program.event("run_ended");
    program.event("run_ended");
    bench.run(&["send", "--data", "data", "kept.waits", r#"{"token":"hunter2"}"#, "--no-wait"], b"").ends_with(0);
    program.event("waiting");
    program.signal("TERM");
    program.finish().ends_with(0);
    fs::create_dir_all(folder(CURRENT)).expect("made");
    for file in FILES {
        fs::copy(bench.path("data").join(file), folder(CURRENT).join(file)).expect("it is there");
    }
}

#[test]
fn a_journal_of_each_format_is_taken_along_and_its_run_goes_on() {
    if std::env::var_os("PIPEHOST_UPDATE").is_some() && !folder(CURRENT).exists() {
        make();
    }
    for format in 1..=CURRENT {
        let bench = Bench::empty();
        // Another revision: the run that waits has its own in the journal.
        bench.write("kept.yaml", KEPT.replace("says: as it began", "says: another"));
        fs::create_dir_all(bench.path("data")).expect("made");
        for file in FILES {
            fs::copy(folder(format).join(file), bench.path("data").join(file)).expect("it is kept here");
        }
        assert_eq!(format_of(bench.path("data/journal.db")), format, "it is what a host of that time has written");
        let program = host(&bench);
        let waiting = bench.run(&["runs", "list", "--data", "data", "--status", "waiting", "--json"], b"");
        let run = text(&waiting.ends_with(0).objects()[0], "run").to_owned();
        let shown = bench.run(&["runs", "show", &run, "--data", "data"], b"");
        assert!(shown.ends_with(0).out.contains("«secret token»") && !shown.out.contains("hunter2"), "{}", shown.out);
        bench.run(&["signal", &run, "Go", "{}", "--as", "alice", "--data", "data"], b"").ends_with(0);
        assert_eq!(program.event("run_ended")["outcome"], "succeeded");
        let story = bench.run(&["runs", "show", &run, "--data", "data", "--json"], b"").ends_with(0).objects().remove(0);
        assert_eq!(
            story["reply"],
            serde_json::json!({ "says": "as it began", "count": 2 }),
            "the state and the revision are those of then"
        );
        let repeated = bench.run(&["send", "--data", "data", "kept.count", r#"{"order":"o-1"}"#], b"");
        assert_eq!(
            repeated.ends_with(0).objects()[0],
            serde_json::json!({ "count": 1 }),
            "the answer is that of then, and nothing is counted"
        );
        program.signal("TERM");
        program.finish().ends_with(0);
        bench.run(&["store", "verify", "--data", "data"], b"").ends_with(0);
        assert_eq!(format_of(bench.path("data/journal.db")), CURRENT);
        let copy = bench.path(&format!("data/journal.format-{format}.db"));
        assert_eq!(copy.exists(), format < CURRENT, "what was upgraded stands beside it");
    }
}
