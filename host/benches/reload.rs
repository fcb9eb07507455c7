//! A reload: from a file's last write to the first run on the new revision, less the quiet time that is waited for on purpose.
//!
//! `cargo bench --bench reload` prints the median and the slowest of twenty.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a benchmark fails by panicking")]

#[path = "support/host.rs"]
mod host;

use std::time::{Duration, Instant};

use host::Host;
use pipehost::watch::QUIET;

/// So many reloads are measured.
const RELOADS: usize = 20;

/// The aim.
const AIM: Duration = Duration::from_millis(50);

fn pipeline() -> &'static [u8] {
    b"pipeline: reload\nexecutors:\n  step: { rhai: step.rhai }\ntrigger: manual\ndurable: false\nsteps:\n  - { id: one, run: step }\n  - reply: '${steps.one}'\n"
}

fn script(number: usize) -> String {
    format!("fn process(job) {{ {number} }}")
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
#[expect(clippy::print_stdout, reason = "a benchmark prints what it measured")]
fn main() {
    let host = Host::watching(&[("reload.yaml", pipeline()), ("step.rhai", script(0).as_bytes())]);
    let reply = || host.run("reload", "{}").text().to_owned();
    assert_eq!(reply(), "0");
    let mut took: Vec<Duration> = (1..=RELOADS)
        .map(|number| {
            host.write("step.rhai", script(number).as_bytes());
            let began = Instant::now();
            while reply() != number.to_string() {
                assert!(began.elapsed() < Duration::from_secs(10), "the change was not seen");
                host.pause(Duration::from_millis(1));
            }
            began.elapsed().saturating_sub(QUIET)
        })
        .collect();
    took.sort();
    let (median, slowest) = (took[RELOADS / 2], took[RELOADS - 1]);
    println!(
        "reload of a script, after the {QUIET:?} of quiet: median {median:.1?}, slowest {slowest:.1?} of {RELOADS} (aim: at most {AIM:?})"
    );
}
