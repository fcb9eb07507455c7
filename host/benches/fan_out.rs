//! One event to a hundred subscribers, beside Tokio's broadcast channel with a hundred receivers in the same run.
//!
//! `cargo bench --bench fan_out` prints three things, each for one event: the broadcast channel, whose hundred tasks receive the shared event and
//! count it; the bus, which brings the shared event to a hundred flows as it always does (who hears it, the bounded queue of each, each event once and in
//! order, a receipt) and meets an `Activate` that counts it; and a whole host in which the event starts a hundred flows of one step, each a
//! run with its record.

#![allow(clippy::expect_used, clippy::print_stdout, reason = "a benchmark fails by panicking, and prints")]
#![allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]

#[path = "support/allocator_of_host.rs"]
mod allocator_of_host;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use pipehost::app::{App, Settings};
use pipehost::bus::{Bus, Subscription, Topology};
use pipehost::clock::RealClock;
use pipehost::model::activation::{Activation, Admission};
use pipehost::model::event::{Caller, Causation, Event, Scope};
use pipehost::model::happening::Happening;
use pipehost::model::id::{CorrelationId, EventId, FlowName, PipelineName, RunId};
use pipehost::model::job::CancelReason;
use pipehost::model::port::{Activate, Receipt, Sink};
use pipehost::model::time::Timestamp;
use pipehost::model::value::Value;
use tokio::sync::{Notify, broadcast};
use uuid::Uuid;

/// So many hear each event.
const SUBSCRIBERS: usize = 100;
/// So many events in a round.
const EVENTS: usize = 1_000;
/// The median of so many rounds, the two sides by turns.
const ROUNDS: usize = 9;

/// Counts, and tells when all have heard all.
#[derive(Default)]
struct Counter {
    heard: AtomicUsize,
    goal: AtomicUsize,
    reached: Notify,
}

impl Counter {
    fn count(&self) {
        if self.heard.fetch_add(1, Ordering::Relaxed) + 1 == self.goal.load(Ordering::Relaxed) {
            self.reached.notify_one();
        }
    }

    fn expect(&self, more: usize) {
        self.goal.store(self.heard.load(Ordering::Relaxed) + more, Ordering::Relaxed);
    }
}

impl Activate for Counter {
    fn activate(&self, activation: Activation) -> BoxFuture<'_, Admission> {
        std::hint::black_box(&activation);
        std::future::ready(Admission::Started(RunId::new(Uuid::nil()))).boxed()
    }

    fn deliver(
        self: Arc<Self>,
        _: &PipelineName,
        _: &FlowName,
        event: &Arc<Event>,
        receipt: Box<dyn Receipt>,
    ) -> BoxFuture<'static, Admission> {
        std::hint::black_box(event);
        self.count();
        receipt.settle();
        std::future::ready(Admission::Started(RunId::new(Uuid::nil()))).boxed()
    }

    fn cancel(&self, _: RunId, _: CancelReason) {}
}

struct Nobody;

impl Sink for Nobody {
    fn accept(&self, _: Happening) {}

    fn wants_routine(&self) -> bool {
        false
    }

    fn wants_detail(&self) -> bool {
        false
    }
}

fn event(number: usize) -> Event {
    Event {
        id: EventId::new(Uuid::from_u128(number as u128)),
        time: Timestamp::EPOCH,
        correlation_id: CorrelationId::new(Uuid::nil()),
        causation: Causation::Outside,
        scope: Scope::Global,
        source: "source".into(),
        passed: Vec::new(),
        event_type: "Told".into(),
        caller: Caller::default(),
        data: Value::from_text(r#"{"what":"hello"}"#).expect("it is JSON"),
    }
}

/// Every event is heard by all before the next is told: how long one takes.
async fn by_broadcast(sender: &broadcast::Sender<Arc<Event>>, counter: &Counter, first: usize) -> Duration {
    let began = Instant::now();
    for number in first..first + EVENTS {
        counter.expect(SUBSCRIBERS);
        sender.send(Arc::new(event(number))).expect("somebody hears it");
        counter.reached.notified().await;
    }
    began.elapsed() / u32::try_from(EVENTS).expect("it fits")
}

/// The same by the bus.
async fn by_bus(bus: &Bus, counter: &Counter, first: usize) -> Duration {
    let began = Instant::now();
    for number in first..first + EVENTS {
        counter.expect(SUBSCRIBERS);
        bus.publish(event(number), false).await;
        counter.reached.notified().await;
    }
    began.elapsed() / u32::try_from(EVENTS).expect("it fits")
}

async fn beside_each_other() -> (Duration, Duration) {
    let (sender, _) = broadcast::channel::<Arc<Event>>(1_024);
    let broadcast_counter = Arc::new(Counter::default());
    for _ in 0..SUBSCRIBERS {
        let (mut receiver, counter) = (sender.subscribe(), Arc::clone(&broadcast_counter));
        tokio::spawn(async move {
            while let Ok(event) = receiver.recv().await {
                std::hint::black_box(&event);
                counter.count();
            }
        });
    }
    let bus = Bus::new(Arc::new(RealClock::new()), Arc::new(Nobody));
    let bus_counter = Arc::new(Counter::default());
    let subscription = |number: usize| Subscription {
        pipeline: format!("hearer{number}").as_str().into(),
        flow: "main".into(),
        types: vec!["Told".into()],
        direct: false,
        scope: Scope::Global,
    };
    let activate = Arc::clone(&bus_counter) as Arc<dyn Activate>;
    let activate: Weak<dyn Activate> = Arc::downgrade(&activate);
    bus.install(Topology { subscriptions: (0..SUBSCRIBERS).map(subscription).collect() }, activate);
    tokio::task::yield_now().await;
    let (mut broadcasts, mut buses) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let first = round * EVENTS;
        broadcasts.push(by_broadcast(&sender, &broadcast_counter, first).await);
        buses.push(by_bus(&bus, &bus_counter, first).await);
    }
    bus.stop().await;
    (median(broadcasts), median(buses))
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// A flow that emits, and a hundred of one step that hear it.
fn pipeline() -> String {
    let mut text = String::from(
        "pipeline: fan\nevents:\n  Told: { what: string }\nflows:\n  main:\n    trigger: manual\n    steps:\n      - emit: { Told: { what: hello } }\n",
    );
    for number in 0..SUBSCRIBERS {
        let flow =
            format!("  hears{number}:\n    trigger: {{ event: Told, mode: direct }}\n    steps:\n      - reply: '${{input.what}}'\n");
        text.push_str(&flow);
    }
    text
}

/// A whole host: how long it takes until the hundred runs that one event starts are over.
async fn by_runs() -> Duration {
    let folder = tempfile::tempdir().expect("there is a place for files");
    let file = folder.path().join("fan.yaml");
    std::fs::write(&file, pipeline()).expect("the file can be written");
    let settings = Settings::new(vec![file], folder.path().join("data"));
    let mut app = App::new(settings).expect("the host can be made");
    let report = app.start().await;
    assert!(!app.pipelines().is_empty(), "the pipeline is refused: {report:?}");
    let activate = app.activate();
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let began = Instant::now();
        for _ in 0..EVENTS / 10 {
            let activation = Activation::new("fan", "main", Value::null());
            let admission = activate.activate(activation).await;
            assert!(matches!(admission, Admission::Started(_)), "{admission:?}");
            app.quiet().await;
        }
        rounds.push(began.elapsed() / u32::try_from(EVENTS / 10).expect("it fits"));
    }
    app.stop().await;
    median(rounds)
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("the runtime starts");
    let (broadcast, bus) = runtime.block_on(beside_each_other());
    let ratio = bus.as_secs_f64() / broadcast.as_secs_f64();
    println!("one event to {SUBSCRIBERS} receivers: {broadcast:.2?} by tokio's broadcast, {bus:.2?} by the bus: {ratio:.2} times");
    let runs = runtime.block_on(by_runs());
    println!("one event that starts {SUBSCRIBERS} runs, until all are over and recorded: {runs:.2?}");
}
