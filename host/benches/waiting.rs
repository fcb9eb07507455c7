//! Runs that wait for an event: what each of them takes in memory, and how late their timeouts are.
//!
//! `cargo bench --bench waiting` starts 10,000 and then 100,000 runs that wait, and prints how many bytes the process holds for each: its wait, its timer,
//! its place at the door, and what the store has of it in memory. The store is that of `pipehost run`: a flow that waits is durable, so that its record lies
//! in a file. A counting allocator says how many bytes, not the kernel. The runs have no payload, so that every byte counts. Then 10,000 more
//! are started within a few seconds, and it is measured how long after three seconds from its start each one's `on_timeout` had replied: when
//! that is on the disk, so that the figure holds the commits of all of them too.

#![allow(clippy::expect_used, clippy::print_stdout, reason = "a benchmark fails by panicking, and prints")]
#![allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]

#[path = "support/counting.rs"]
mod counting;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use hdrhistogram::Histogram;
use pipehost::app::{App, Settings};
use pipehost::model::activation::{Activation, Admission, Requester, RunEnd};
use pipehost::model::port::Activate;
use pipehost::model::value::Value;
use std::sync::Mutex;

const PIPELINE: &str = r"
pipeline: waiting
events:
  Answer: { request: string }
flows:
  hour:
    trigger: manual
    concurrency: { max_concurrent: 1000000 }
    steps:
      - id: answer
        wait:
          event: Answer
          match: { request: '${run.id}' }
          timeout: 1h
          on_timeout:
            - reply: { nobody: answered }
  soon:
    trigger: manual
    concurrency: { max_concurrent: 1000000 }
    steps:
      - id: answer
        wait:
          event: Answer
          match: { request: '${run.id}' }
          timeout: 3s
          on_timeout:
            - reply: { nobody: answered }
";

/// Notes when a run ended.
struct Ends {
    began: Instant,
    ended: AtomicUsize,
    /// How long each took.
    took: Mutex<Vec<Duration>>,
}

struct End(Arc<Ends>, Instant);

impl Requester for End {
    fn progress(&self, _: &Value) {}

    fn reply(&self, _: &Value) {}

    fn end(&self, _: &RunEnd) {
        self.0.took.lock().expect("no panic").push(self.1.elapsed());
        self.0.ended.fetch_add(1, Ordering::SeqCst);
    }
}

#[global_allocator]
static ALLOCATOR: counting::Counting = counting::Counting;

/// So many runs are started between two breaks of a millisecond, where their due times have to be spread.
const AT_ONCE: usize = 5;

/// So many are started together where nobody waits for their ends: one after the other would be a wait for the disk each.
const TOGETHER: usize = 200;

fn activation(flow: &str, requester: Option<Arc<dyn Requester>>) -> Activation {
    Activation { requester, ..Activation::new("waiting", flow, Value::null()) }
}

async fn start(activate: &Arc<dyn Activate>, flow: &str, count: usize) {
    for first in (0..count).step_by(TOGETHER) {
        let together = (first..count.min(first + TOGETHER)).map(|_| activate.activate(activation(flow, None)));
        for admission in join_all(together).await {
            assert!(matches!(admission, Admission::Started(_)), "{admission:?}");
        }
        tokio::task::yield_now().await;
    }
    // Nobody is told when the last of them has gone to rest.
    tokio::time::sleep(Duration::from_millis(500)).await;
}

/// Starts them a few at a time, each in a task of its own: none waits until the one before is kept.
async fn start_spread(activate: &Arc<dyn Activate>, flow: &'static str, count: usize, ends: &Arc<Ends>) {
    for number in 0..count {
        let requester = Arc::new(End(Arc::clone(ends), Instant::now())) as Arc<dyn Requester>;
        let activate = Arc::clone(activate);
        tokio::spawn(async move {
            let admission = activate.activate(activation(flow, Some(requester))).await;
            assert!(matches!(admission, Admission::Started(_)), "{admission:?}");
        });
        tokio::task::yield_now().await;
        if number % AT_ONCE == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let folder = tempfile::tempdir().expect("there is a place for files");
    let file = folder.path().join("waiting.yaml");
    std::fs::write(&file, PIPELINE).expect("the file can be written");
    let settings = Settings::new(vec![file], folder.path().join("data"));
    let mut app = App::new(settings).expect("the host can be made");
    let report = app.start().await;
    assert!(!app.pipelines().is_empty(), "the pipeline is refused: {report:?}");
    let activate = app.activate();
    start(&activate, "hour", 100).await;
    let before = counting::live();
    let began = Instant::now();
    for (from, to) in [(0, 10_000), (10_000, 100_000)] {
        start(&activate, "hour", to - from).await;
        let bytes = counting::live().saturating_sub(before) / to;
        println!("{to} waiting runs: {bytes} bytes each beyond the payload, after {:.1} s", began.elapsed().as_secs_f64());
    }
    let ends = Arc::new(Ends { began: Instant::now(), ended: AtomicUsize::new(0), took: Mutex::default() });
    start_spread(&activate, "soon", 10_000, &ends).await;
    while ends.ended.load(Ordering::SeqCst) < 10_000 {
        assert!(ends.began.elapsed() < Duration::from_secs(60), "the timeouts are lost");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut lateness: Histogram<u64> = Histogram::new(3).expect("three digits");
    for took in ends.took.lock().expect("no panic").iter() {
        lateness.record(u64::try_from(took.saturating_sub(Duration::from_secs(3)).as_micros()).unwrap_or(u64::MAX)).expect("it fits");
    }
    let at = |quantile| lateness.value_at_quantile(quantile) as f64 / 1e3;
    println!("timeouts of 10000 runs beside them: p50 {:.2} ms late, p99 {:.2} ms", at(0.5), at(0.99));
    drop(folder);
    // Its runs are not waited for.
    std::process::exit(0);
}
