//! A reload: from a file's last write to the first run on the new revision, less the quiet time that is waited for on purpose. A changed YAML
//! file, a changed script, and a changed component, which is compiled anew each time.
//!
//! `cargo bench --bench reload` prints the median and the slowest of twenty of each.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a benchmark fails by panicking")]

#[path = "support/allocator_of_host.rs"]
mod allocator_of_host;
#[path = "support/host.rs"]
mod host;

use std::time::{Duration, Instant};

use host::Host;
use pipehost::watch::QUIET;

/// So many reloads of each kind are measured.
const RELOADS: usize = 20;

/// The aim.
const AIM: Duration = Duration::from_millis(50);

const COMPONENT: &[u8] = include_bytes!("../../tests/guests/step/step.wasm");

/// The pipeline that says on which revision it runs.
fn pipeline(number: usize) -> Vec<u8> {
    format!(
        "pipeline: reload\nexecutors:\n  script: {{ rhai: step.rhai }}\n  component: {{ wasm: step.wasm }}\ntrigger: manual\ndurable: false\nsteps:\n  \
         - {{ id: one, run: script, with: {{ number: {number} }} }}\n  - {{ id: two, run: component, with: '${{steps.one}}' }}\n  \
         - reply: '${{run.revision}}'\n"
    )
    .into_bytes()
}

fn script(number: usize) -> Vec<u8> {
    format!("fn process(job) {{ #{{ number: {number} }} }}").into_bytes()
}

/// The component with a custom section that says a number: other bytes, so that nothing of what was compiled before is of use.
fn component(number: usize) -> Vec<u8> {
    let (name, content) = ("number", number.to_string());
    let length = |text: &str| u8::try_from(text.len()).expect("it is short");
    let mut section = vec![length(name)];
    section.extend_from_slice(name.as_bytes());
    section.extend_from_slice(content.as_bytes());
    let size = u8::try_from(section.len()).ok().filter(|size| *size < 128).expect("it is short");
    [COMPONENT, &[0, size], &section].concat()
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
#[expect(clippy::print_stdout, reason = "a benchmark prints what it measured")]
fn measure(host: &Host, what: &str, file: &str, content: fn(usize) -> Vec<u8>) {
    let revision = || host.run("{}").text().to_owned();
    let reload = |number: usize| {
        let before = revision();
        host.write(file, &content(number));
        let began = Instant::now();
        while revision() == before {
            assert!(began.elapsed() < Duration::from_secs(10), "the change was not seen");
            host.pause(Duration::from_millis(1));
        }
        began.elapsed().saturating_sub(QUIET)
    };
    let mut took: Vec<Duration> = (1..=RELOADS).map(reload).collect();
    took.sort();
    let (median, slowest) = (took[RELOADS / 2], took[RELOADS - 1]);
    println!(
        "reload of a changed {what}, after the {QUIET:?} of quiet: median {median:.1?}, slowest {slowest:.1?} of {RELOADS} (aim: at most {AIM:?})"
    );
}

fn main() {
    let host = Host::watching(&[("reload.yaml", &pipeline(0)), ("step.rhai", &script(0)), ("step.wasm", &component(0))]);
    measure(&host, "YAML", "reload.yaml", pipeline);
    measure(&host, "script", "step.rhai", script);
    measure(&host, "component", "step.wasm", component);
}
