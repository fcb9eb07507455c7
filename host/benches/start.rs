//! A cold start: from the start of the program to its end with one answer given, with a script and with a component that was compiled before.
//!
//! `cargo bench --bench start` prints the median and the slowest of twenty. What is measured is more than the start: the one run and the
//! orderly end are in it.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// So many starts are measured; those before are for warm files and a filled cache.
const STARTS: usize = 20;
const BEFORE: usize = 3;

/// From the start of the program to its end.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
fn start(pipeline: &Path) -> Duration {
    let began = Instant::now();
    let output = Command::new(env!("CARGO_BIN_EXE_pipehost"))
        .args(["run", "--input", r#"{"text":"hi"}"#])
        .arg(pipeline)
        .stdin(Stdio::null())
        .output()
        .expect("the program starts");
    let took = began.elapsed();
    let (said, told) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("hi"), "it does not answer: {said}{told}");
    took
}

#[expect(clippy::print_stdout, reason = "a benchmark prints what it measured")]
fn measure(name: &str, aim: Duration, executor: &str) {
    let folder = tempfile::tempdir().expect("there is a place for files");
    let pipeline = folder.path().join("start.yaml");
    let text = format!(
        "pipeline: start\nexecutors:\n  step: {executor}\ntrigger: manual\ndurable: false\ninput: {{ text: string }}\nsteps:\n  \
         - {{ id: one, run: step, with: '${{input}}' }}\n  - reply: '${{steps.one}}'\n"
    );
    std::fs::write(&pipeline, text).expect("the file can be written");
    std::fs::write(folder.path().join("step.wasm"), include_bytes!("../../tests/guests/step/step.wasm")).expect("the file can be written");
    for _ in 0..BEFORE {
        start(&pipeline);
    }
    let mut took: Vec<Duration> = (0..STARTS).map(|_| start(&pipeline)).collect();
    took.sort();
    let (median, slowest) = (took[STARTS / 2], took[STARTS - 1]);
    println!("cold start {name}: median {median:.1?}, slowest {slowest:.1?} of {STARTS} (aim: at most {aim:?})");
}

fn main() {
    measure("with Rhai only", Duration::from_millis(30), "{ script: 'fn process(job) { job.input }' }");
    measure("with a cached component", Duration::from_millis(60), "{ wasm: step.wasm }");
}
