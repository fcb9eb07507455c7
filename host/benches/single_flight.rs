//! Ten thousand runs that want one key at the same time: one of them calls, and all have its result.
//!
//! `cargo bench --bench single_flight` prints how many calls were made, and what one more reader costs.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a benchmark fails by panicking")]

#[path = "support/allocator_of_host.rs"]
mod allocator_of_host;
#[path = "support/host.rs"]
mod host;

use std::collections::HashSet;
use std::time::Instant;

use host::Host;

/// So many want it.
const READERS: usize = 10_000;

/// Each answer is the id of the job that made it, so that the number of different answers is the number of calls.
const PIPELINE: &[u8] = b"
pipeline: flight
executors:
  slow: { rhai: slow.rhai }
trigger: manual
durable: false
concurrency: { max_concurrent: 20000 }
input: { key: string }
steps:
  - { id: one, run: slow, cache: { key: '${input.key}', ttl: 1m } }
  - reply: '${steps.one}'
";

/// Takes long enough for all to come.
const SCRIPT: &[u8] = b"fn process(job) { let sum = 0; for number in 0..2000000 { sum += number; } job.id }";

#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
#[expect(clippy::print_stdout, reason = "a benchmark prints what it measured")]
fn main() {
    let host = Host::new(&[("flight.yaml", PIPELINE), ("slow.rhai", SCRIPT)]);
    let began = Instant::now();
    let alone = host.together(r#"{"key":"alone"}"#, 1);
    let one = began.elapsed();
    assert_eq!(alone.len(), 1);
    let began = Instant::now();
    let answers = host.together(r#"{"key":"all"}"#, READERS);
    let all = began.elapsed();
    let calls: HashSet<&str> = answers.iter().map(|answer| answer.text()).collect();
    assert_eq!((answers.len(), calls.len()), (READERS, 1), "each has an answer, and it is the same");
    let each = all.saturating_sub(one) / u32::try_from(READERS).expect("it fits");
    println!(
        "{READERS} concurrent readers of one key: {} call; {all:.1?} in all, {one:.1?} for one alone, {each:.1?} a reader",
        calls.len()
    );
}
