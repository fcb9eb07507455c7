//! Durable runs of three steps, beside a raw twin in the same run: as many records of the same size, appended to a preallocated file with group
//! commit and one `fdatasync` a group.
//!
//! A run of three steps is four records: its beginning, and what each step came to. The twin has each of them on the disk before it gives the next, as
//! one that knows of runs and steps no more than that. The host knows that these steps only compute, and has nothing follow from any of them before
//! all are on the disk, in one row. A second twin gives the four at once, which is the least that a disk can be asked for: it is told for information
//! and bears no aim.
//!
//! `cargo bench --bench durable [-- DIR]` prints for 1, 64 and 256 in flight how many runs a second end, and p50 and p99 of how long one takes, all
//! sides by turns. A run is what production does with one: admitted, journaled, and its reply told after the last commit. DIR is where the files are:
//! a folder beside the target's by default, as what is kept in memory only, as /tmp often is, is no disk.

#![allow(clippy::expect_used, clippy::print_stdout, reason = "a benchmark fails by panicking, and prints")]
#![allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]

#[path = "support/allocator_of_host.rs"]
mod allocator_of_host;

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use pipehost::bus::Bus;
use pipehost::clock::{Activity, RealClock, SystemRandom};
use pipehost::engine::{Engine, Ports};
use pipehost::executor::registry::{Registry, RegistrySettings};
use pipehost::journal::sqlite::{FILE, Options, SqliteStore};
use pipehost::model::activation::{Activation, Admission, Requester, RunEnd};
use pipehost::model::port::{Activate, Clock, Random, Sink, Store};
use pipehost::model::value::Value;
use pipehost::plan::Environment;
use pipehost::policy::Policies;
use pipehost::reload::{Parts, Reload};
use pipehost::telemetry::Telemetry;
use tokio::sync::oneshot;

const PIPELINE: &str = r#"
pipeline: durable
input: { id: string, price: float, count: int, country: string }
executors:
  price: { script: "fn process(job) { #{ net: job.input.price * job.input.count } }" }
  tax: { script: "fn process(job) { #{ tax: job.input.net * 0.19 } }" }
  label: { script: "fn process(job) { #{ label: `${job.input.id}: ${job.input.total}` } }" }
trigger: manual
steps:
  - id: price
    run: price
    with: { price: '${input.price}', count: '${input.count}' }
  - id: tax
    run: tax
    with: { net: '${steps.price.net}' }
  - id: label
    run: label
    with: { id: '${input.id}', total: '${steps.price.net + steps.tax.tax}' }
  - reply: '${steps.label}'
"#;

const INPUT: &str = r#"{"id":"order-000042","price":19.5,"count":7,"country":"DE"}"#;

/// The records of a run: its beginning, and what each of its three steps came to.
const RECORDS: u32 = 4;

/// How many rounds of each side by turns, and how long a round takes at least.
const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_millis(1_500);

/// Waits for the end of a run.
struct End(Mutex<Option<oneshot::Sender<()>>>);

impl Requester for End {
    fn progress(&self, _: &Value) {}

    fn reply(&self, _: &Value) {}

    fn end(&self, _: &RunEnd) {
        let _ = self.0.lock().expect("no panic").take().map(|sender| sender.send(()));
    }
}

async fn run(engine: &Engine) {
    let (sender, ended) = oneshot::channel();
    let activation = Activation {
        requester: Some(Arc::new(End(Mutex::new(Some(sender))))),
        ..Activation::new("durable", "main", Value::from_text(INPUT).expect("it is JSON"))
    };
    let admission = engine.activate(activation).await;
    assert!(matches!(admission, Admission::Started(_)), "{admission:?}");
    ended.await.expect("it ends");
}

async fn host(folder: &Path) -> (Engine, SqliteStore) {
    let file = folder.join("durable.yaml");
    std::fs::write(&file, PIPELINE).expect("the file can be written");
    let clock: Arc<dyn Clock> = Arc::new(RealClock::new());
    let sink: Arc<dyn Sink> = Arc::new(Telemetry::new());
    let store = SqliteStore::open(folder, &clock, Arc::new(|_| None), Options::default()).expect("the store can be opened");
    let settings =
        RegistrySettings { data: folder.to_owned(), secrets: Arc::new(|_| None), clock: Arc::clone(&clock), sink: Arc::clone(&sink) };
    let registry = Arc::new(Registry::new(settings).expect("the homes can be set up"));
    let activity = Activity::new();
    let engine = Engine::new(Ports {
        store: Arc::new(store.clone()) as Arc<dyn Store>,
        clock: Arc::clone(&clock),
        random: Arc::new(SystemRandom::new()) as Arc<dyn Random>,
        sink: Arc::clone(&sink),
        policies: Policies::counted_by(Arc::clone(&clock), Arc::clone(&sink), activity.clone()),
        bus: Bus::counted_by(Arc::clone(&clock), Arc::clone(&sink), activity.clone()),
        activity,
    });
    let environment = Arc::new(Environment::default());
    let parts = Parts { registry, engine: Arc::new(engine.clone()), sink, clock, environment, files: vec![file] };
    let report = Reload::new(parts).attempt(None).await;
    assert_eq!(engine.installed().len(), 1, "the pipeline is refused: {report:?}");
    (engine, store)
}

/// The raw twin: one thread appends what waits and makes it last.
struct Raw {
    waiting: Mutex<(Vec<Appending>, bool)>,
    wake: Condvar,
}

/// A record that is to last, and who waits for that.
type Appending = (Arc<[u8]>, oneshot::Sender<()>);

/// The length of its file.
const LENGTH: u64 = 256 << 20;

impl Raw {
    fn start(folder: &Path) -> (Arc<Self>, std::thread::JoinHandle<()>) {
        let path = folder.join("raw");
        let mut file = File::create(&path).expect("the file can be made");
        for _ in 0..LENGTH >> 20 {
            file.write_all(&[0; 1 << 20]).expect("there is room");
        }
        file.sync_all().expect("it lasts");
        let file = OpenOptions::new().write(true).open(&path).expect("it is there");
        let raw = Arc::new(Self { waiting: Mutex::default(), wake: Condvar::new() });
        let own = Arc::clone(&raw);
        let thread = std::thread::spawn(move || {
            let mut place = 0;
            loop {
                let waiting = own.waiting.lock().expect("no panic");
                let mut waiting = own.wake.wait_while(waiting, |(waiting, closed)| waiting.is_empty() && !*closed).expect("no panic");
                let records = std::mem::take(&mut waiting.0);
                drop(waiting);
                if records.is_empty() {
                    return;
                }
                let bytes: Vec<u8> = records.iter().flat_map(|(record, _)| record.iter().copied()).collect();
                if place + bytes.len() as u64 > LENGTH {
                    place = 0;
                }
                file.write_all_at(&bytes, place).expect("there is room");
                file.sync_data().expect("it lasts");
                place += bytes.len() as u64;
                for (_, answer) in records {
                    let _ = answer.send(());
                }
            }
        });
        (raw, thread)
    }

    async fn append(&self, record: &Arc<[u8]>) {
        let (answer, answered) = oneshot::channel();
        self.waiting.lock().expect("no panic").0.push((Arc::clone(record), answer));
        self.wake.notify_one();
        answered.await.expect("it lasts");
    }
}

/// What one side did.
struct Measured {
    took: Histogram<u64>,
    runs: u64,
    time: Duration,
}

impl Measured {
    fn new() -> Self {
        Self { took: Histogram::new_with_bounds(1, 60_000_000, 3).expect("the bounds are good"), runs: 0, time: Duration::ZERO }
    }

    fn per_second(&self) -> f64 {
        self.runs as f64 / self.time.as_secs_f64()
    }

    fn at(&self, quantile: f64) -> f64 {
        self.took.value_at_quantile(quantile) as f64 / 1e3
    }
}

/// So many at once do the same again and again for a round.
async fn round<F>(measured: &mut Measured, in_flight: usize, work: impl Fn() -> F + Clone + Send + 'static)
where
    F: Future<Output = ()> + Send + 'static,
{
    let began = Instant::now();
    let walkers: Vec<_> = (0..in_flight)
        .map(|_| {
            let work = work.clone();
            tokio::spawn(async move {
                let mut took = Vec::new();
                while began.elapsed() < ROUND {
                    let start = Instant::now();
                    work().await;
                    took.push(start.elapsed());
                }
                took
            })
        })
        .collect();
    for walker in walkers {
        for took in walker.await.expect("no panic") {
            measured.took.saturating_record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1));
            measured.runs += 1;
        }
    }
    measured.time += began.elapsed();
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let beside =
        std::env::args().skip(1).find(|argument| !argument.starts_with("--")).unwrap_or_else(|| env!("CARGO_TARGET_TMPDIR").to_owned());
    let folder = tempfile::tempdir_in(beside).expect("there is a place for files");
    let (engine, store) = host(folder.path()).await;
    for _ in 0..20 {
        run(&engine).await;
    }
    let database = rusqlite::Connection::open(folder.path().join(FILE)).expect("it is a SQLite file");
    let bytes: u32 = database.query_row("SELECT sum(length(facts)) FROM journal", [], |row| row.get(0)).expect("it has rows");
    let bytes = bytes / 20 / RECORDS;
    drop(database);
    let (raw, thread) = Raw::start(folder.path());
    let record: Arc<[u8]> = vec![b'x'; bytes as usize].into();
    println!("durable runs of three steps: {RECORDS} records of {bytes} bytes each, on {}", folder.path().display());
    println!("  host: SQLite {}, write-ahead log, one fdatasync a group: nothing is answered before it", rusqlite::version());
    println!("  raw twin: a preallocated file, fdatasync once a group; at once: it gives the records of a run together");
    for in_flight in [1, 64, 256] {
        let (mut of_host, mut of_raw, mut at_once) = (Measured::new(), Measured::new(), Measured::new());
        let mut ratios = Vec::new();
        for _ in 0..ROUNDS {
            let (before_raw, before_host) = (of_raw.runs, of_host.runs);
            let twin = Arc::clone(&raw);
            let own = Arc::clone(&record);
            round(&mut of_raw, in_flight, move || {
                let (twin, own) = (Arc::clone(&twin), Arc::clone(&own));
                async move {
                    for _ in 0..RECORDS {
                        twin.append(&own).await;
                    }
                }
            })
            .await;
            let twin = Arc::clone(&raw);
            let own = Arc::clone(&record);
            round(&mut at_once, in_flight, move || {
                let (twin, own) = (Arc::clone(&twin), Arc::clone(&own));
                async move {
                    futures_util::future::join_all((0..RECORDS).map(|_| twin.append(&own))).await;
                }
            })
            .await;
            let engine = engine.clone();
            round(&mut of_host, in_flight, move || {
                let engine = engine.clone();
                async move { run(&engine).await }
            })
            .await;
            ratios.push((of_raw.runs - before_raw) as f64 / (of_host.runs - before_host).max(1) as f64);
        }
        ratios.sort_by(f64::total_cmp);
        println!("{in_flight} in flight");
        for (name, measured) in [("at once", &at_once), ("raw twin", &of_raw), ("host", &of_host)] {
            println!(
                "  {name:<9} {:>8.0} runs/s   p50 {:>8.2} ms   p99 {:>8.2} ms",
                measured.per_second(),
                measured.at(0.5),
                measured.at(0.99)
            );
        }
        let more = of_host.at(0.5) - of_raw.at(0.5);
        println!(
            "  the twin does {:.2} times as many (median of {ROUNDS} rounds {:.2}); p50 of the host {more:+.2} ms",
            of_raw.per_second() / of_host.per_second(),
            ratios[ROUNDS / 2],
        );
    }
    println!("aims: at 64 the twin at most 2.5 times as many; at 1 a p50 of at most 1.5 ms more");
    raw.waiting.lock().expect("no panic").1 = true;
    raw.wake.notify_one();
    thread.join().expect("no panic");
    store.close();
}
