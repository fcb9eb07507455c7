//! What a host keeps, seen from outside: the commands that look after it, and hosts on disks that fail, fill up or lose their power.

mod commands;
#[cfg(target_os = "linux")]
pub(crate) mod disk;
mod formats;

use std::path::Path;

use rusqlite::Connection;
use serde_json::Value as Json;

use crate::program::Bench;

/// Answers each line; one that is `slow` after two seconds.
const NOTES: &str = "
pipeline: notes
trigger: { stdin: line }
steps:
  - when: 'input.text == \"slow\"'
    sleep: 2s
  - reply: { text: '${input.text}' }
";

const RUN: [&str; 6] = ["run", "notes.yaml", "--events", "json", "--data", "data"];

fn bench() -> Bench {
    let bench = Bench::empty();
    bench.write("notes.yaml", NOTES);
    bench
}

/// So many lines, each its own text.
fn lines(count: usize) -> Vec<u8> {
    (0..count).map(|number| format!("line {number}\n")).collect::<String>().into_bytes()
}

/// The lines that `pipehost store export` prints of this folder.
fn exported(data: &Path) -> Vec<Json> {
    let finished = Bench::empty().run(&["store", "export", "--data", &data.to_string_lossy()], b"");
    finished.ends_with(0).objects()
}

/// The ids of the runs that these events say have ended well.
fn ended(events: &[Json]) -> Vec<String> {
    let well = events.iter().filter(|event| event["event"] == "run_ended" && event["outcome"] == "succeeded");
    well.map(|event| event["run"].as_str().expect("a run has an id").to_owned()).collect()
}

/// The runs that somebody was told have ended well, and that the journal of this folder does not know so.
fn lost(events: &[Json], data: &Path) -> Vec<String> {
    let kept = exported(data);
    let known = |run: &String| kept.iter().any(|line| line["run"] == run.as_str() && line["outcome"] == "succeeded");
    ended(events).into_iter().filter(|run| !known(run)).collect()
}

/// The runs that somebody was told have ended, and that the journal of this folder knows otherwise.
#[cfg(target_os = "linux")]
fn contradicted(events: &[Json], data: &Path) -> Vec<String> {
    let kept = exported(data);
    let is_kept = |event: &&Json| kept.iter().any(|line| line["run"] == event["run"] && line["outcome"] == event["outcome"]);
    let told = events.iter().filter(|event| event["event"] == "run_ended");
    told.filter(|event| !is_kept(event)).map(Json::to_string).collect()
}

/// Takes rows from a journal behind the back of whoever counts them.
fn delete(data: &Path, condition: &str) {
    let journal = Connection::open(data.join("journal.db")).expect("it is a SQLite file");
    journal.execute(&format!("DELETE FROM journal WHERE {condition}"), []).expect("deleted");
}
