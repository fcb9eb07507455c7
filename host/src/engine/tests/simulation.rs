//! The engine under chance: flows of many shapes, hosts that die at any commit, or some turns after their disk stood still, and start again on the same
//! store, at once or when timers are long overdue, steps that only compute and go ahead of their records,
//! acknowledgements that come late and in another order, work that takes its time and fails before or after it was done, events and answers that come
//! again and after later ones. Whatever happens, the same things hold at the end.
//!
//! `PIPEHOST_SEEDS=100000` tries so many seeds, `PIPEHOST_SEED=7` that one alone.

mod checks;
mod faults;
mod ledger;
mod shapes;
mod tally;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use futures_util::FutureExt;

use super::super::dispatcher::planted::{Defect, plant};
use crate::bus::Bus;
use crate::clock::{Activity, SeededRandom, VirtualClock};
use crate::engine::fixture::description;
use crate::engine::{Engine, Outside, Ports};
use crate::journal::memory::{Bounds, MemoryStore};
use crate::model::activation::{Activation, Admission};
use crate::model::event::{Caller, Causation, Event};
use crate::model::happening::{Happening, What};
use crate::model::id::{EventId, RunId};
use crate::model::port::{Activate, Clock, Executor, RunQuery, Sink, Store};
use crate::model::record::Fact;
use crate::model::time::Timestamp;
use crate::model::value::{Tree, Value};
use crate::plan::pipeline::Pipeline;
use crate::plan::{Bound, Install};
use crate::policy::Policies;
use checks::Left;
use faults::Mortal;
use ledger::{Ledger, Worker};
use shapes::Draw;
use tally::Tally;

/// So many seeds are tried by default: half a minute of two processors in a debug build.
const SEEDS: u64 = 10_000;
/// So many of them are enough to find each planted defect.
const FEW: u64 = 500;
/// So many pipelines are made, of which each seed takes one.
const PIPELINES: u64 = 64;
/// A host dies at most so often, the seed says how often; one that is taken up five times without a new fact is a dead letter, as it should be.
const LIVES: u64 = 4;
/// After this nothing waits any more.
const ALL_OVER: Duration = Duration::from_secs(12 * 3_600);

/// What outlives the hosts of one seed.
struct Scene {
    seed: u64,
    pipeline: Arc<Pipeline>,
    store: MemoryStore,
    ledger: Arc<Ledger>,
    acknowledged: Mutex<Vec<RunId>>,
    /// The events that were seen to go out of runs.
    published: Arc<Mutex<Vec<EventId>>>,
    tally: Arc<Tally>,
    now: Timestamp,
}

/// Finds attempts of a run that has ended, and notes what goes out.
struct Watch {
    ledger: Arc<Ledger>,
    published: Arc<Mutex<Vec<EventId>>>,
}

impl Sink for Watch {
    fn accept(&self, happening: Happening) {
        match (&happening.what, &happening.run) {
            (What::RunEnded { .. }, Some(label)) => {
                let running = self.ledger.running(label.run);
                if running > 0 {
                    self.ledger.is_wrong(format!("run {} has ended, and {running} of its attempts go on", label.run));
                }
            }
            (What::Published { published }, _) if published.causation != Causation::Outside => {
                self.published.lock().unwrap().push(published.id);
            }
            _ => {}
        }
    }

    fn wants_routine(&self) -> bool {
        true
    }

    fn wants_detail(&self) -> bool {
        false
    }
}

/// One life of the host.
struct Host {
    engine: Engine,
    bus: Bus,
    clock: VirtualClock,
}

impl Host {
    fn new(scene: &Scene, life: u64, store: &Arc<Mortal>) -> Self {
        let activity = Activity::new();
        let clock = VirtualClock::starting_at(scene.now, activity.clone());
        let shared_clock: Arc<dyn Clock> = Arc::new(clock.clone());
        let sink: Arc<dyn Sink> = Arc::new(Watch { ledger: Arc::clone(&scene.ledger), published: Arc::clone(&scene.published) });
        let bus = Bus::counted_by(Arc::clone(&shared_clock), Arc::clone(&sink), activity.clone());
        let engine = Engine::new(Ports {
            store: Arc::clone(store) as Arc<dyn Store>,
            clock: Arc::clone(&shared_clock),
            random: Arc::new(SeededRandom::new(scene.seed * LIVES + life)),
            sink: Arc::clone(&sink),
            policies: Policies::counted_by(shared_clock, sink, activity.clone()),
            bus: bus.clone(),
            activity: activity.clone(),
        });
        let worker = |computes| Worker {
            computes,
            ledger: Arc::clone(&scene.ledger),
            clock: clock.clone(),
            activity: activity.clone(),
            seed: scene.seed,
            unsaid: store.unsaid().clone(),
            tally: Arc::clone(&scene.tally),
            description: description(),
        };
        let of_name = |name: &str| Arc::new(worker(name == "sums")) as Arc<dyn Executor>;
        let executors = scene.pipeline.executors.iter().map(|executor| of_name(executor.reference.name.as_str())).collect();
        engine.install(vec![Arc::new(Bound { pipeline: Arc::clone(&scene.pipeline), executors })]);
        Self { engine, bus, clock }
    }

    async fn ask(&self, scene: &Scene, flow: &str, input: Value) {
        if let Admission::Started(run) | Admission::Queued(run) = self.engine.activate(Activation::new("p", flow, input)).await {
            scene.acknowledged.lock().unwrap().push(run);
        }
    }

    /// Lets something happen that nobody has asked for.
    async fn disturb(&self, scene: &Scene, draw: &Draw) {
        let events: Vec<Event> = all_facts(&scene.store).into_values().flatten().flat_map(events_of).collect();
        if !events.is_empty() && draw.chance(50) {
            // It comes again, and after what came later.
            scene.tally.repeated.fetch_add(1, Ordering::Relaxed);
            self.bus.publish(events[draw.below(events.len() as u64) as usize].clone(), false).await;
        }
        let answers: Vec<&Event> = events.iter().filter(|event| event.event_type.as_str() == "Asked").collect();
        if !answers.is_empty() && draw.chance(50) {
            scene.tally.answers.fetch_add(1, Ordering::Relaxed);
            let data = answers[draw.below(answers.len() as u64) as usize].data.clone();
            let (pipeline, event_type, caller) = ("p".into(), "Answer".into(), Caller::default());
            // Another answer than the one that the flow gives: first, second or late.
            let _refused = self.engine.emit(Outside { pipeline, event_type, data, caller, correlation_id: None }).await;
        }
    }

    async fn live(&self, scene: &Scene, (life, is_last): (u64, bool), draw: &Draw) {
        self.engine.recover().await.expect("the store is good");
        let rounds = if life == 0 { 2 + draw.below(3) } else { draw.below(3) };
        for _ in 0..rounds {
            match draw.chance(75) {
                true => self.ask(scene, "main", Value::map([("fails", Value::from(Tree::Bool(draw.chance(30))))])).await,
                false => self.ask(scene, "once", Value::map([])).await,
            }
            if draw.chance(60) {
                self.clock.advance(Duration::from_millis(draw.below(40_000))).await;
            }
            if draw.chance(30) {
                self.disturb(scene, draw).await;
            }
        }
        let rest = if is_last { ALL_OVER } else { Duration::from_secs(draw.below(5_000)) };
        self.clock.advance(rest).await;
    }
}

fn events_of(fact: Fact) -> Vec<Event> {
    match fact {
        Fact::Emitted { events, .. } | Fact::JobEnded { events, .. } => events,
        _ => Vec::new(),
    }
}

fn all_facts(store: &MemoryStore) -> HashMap<RunId, Vec<Fact>> {
    let records = store.runs(RunQuery::default()).now_or_never().expect("at once").expect("never broken");
    let facts = |run| store.facts(run).now_or_never().expect("at once").expect("never broken");
    records.into_iter().map(|record| (record.run, facts(record.run))).collect()
}

/// The pipelines are made once: to check and compile one takes longer than to simulate it.
fn pipelines() -> &'static [Arc<Pipeline>] {
    static MADE: OnceLock<Vec<Arc<Pipeline>>> = OnceLock::new();
    MADE.get_or_init(|| (0..PIPELINES).map(shapes::pipeline).collect())
}

/// What does not hold, if anything.
fn simulate(seed: u64, tally: &Arc<Tally>) -> Result<(), String> {
    let pipeline = Arc::clone(&pipelines()[(seed % PIPELINES) as usize]);
    let bounds = Bounds { ended_runs: 100_000, ..Bounds::default() };
    let mut scene = Scene {
        seed,
        pipeline,
        store: MemoryStore::with_bounds(bounds),
        ledger: Arc::default(),
        acknowledged: Mutex::default(),
        published: Arc::default(),
        tally: Arc::clone(tally),
        now: Timestamp::EPOCH,
    };
    let draw = Draw::new(seed);
    let lives = 1 + draw.below(LIVES);
    for life in 0..=lives {
        let is_last = life == lives;
        let left = if is_last { u64::MAX } else { 1 + draw.below(30) };
        let store = Arc::new(Mortal::new(scene.store.clone(), left, Draw::new(draw.below(1 << 40)), tally));
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("it needs nothing of the system");
        let (now, last) = runtime.block_on(async {
            let host = Host::new(&scene, life, &store);
            tokio::select! {
                biased;
                () = store.over() => {}
                () = host.live(&scene, (life, is_last), &draw) => {}
            }
            let state = host.engine.state(&"p".into(), None).expect("the pipeline is there");
            (host.clock.now(), (state, host.engine.running().len()))
        });
        store.kill();
        // All that the host had under way goes with it.
        drop(runtime);
        scene.now = now;
        if draw.chance(25) {
            // Nobody is there for a while.
            tally.overdue.fetch_add(1, Ordering::Relaxed);
            scene.now = now + Duration::from_secs(draw.below(3 * 3_600));
        }
        if is_last {
            let (state, running) = last;
            if let Some(wrong) = scene.ledger.wrong() {
                return Err(wrong);
            }
            let runs = all_facts(&scene.store);
            let acknowledged = scene.acknowledged.lock().unwrap();
            if running > 0 {
                return Err(format!("{running} runs have no end"));
            }
            let published = scene.published.lock().unwrap();
            let left =
                Left { pipeline: &scene.pipeline, runs, acknowledged: &acknowledged, published: &published, ledger: &scene.ledger, state };
            return left.check();
        }
    }
    Ok(())
}

fn number(name: &str) -> Option<u64> {
    std::env::var_os(name)?.to_str()?.parse().ok()
}

/// Tries these seeds on as many threads as there are processors. The first that fails, if one does.
fn first_failure(seeds: std::ops::Range<u64>, defect: Option<Defect>, tally: &Arc<Tally>) -> Option<(u64, String)> {
    let (next, failed) = (AtomicU64::new(seeds.start), Mutex::new(None::<(u64, String)>));
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                // Each seed lives on one thread, so that a defect is planted for this one alone.
                plant(defect);
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end || failed.lock().unwrap().is_some() {
                        return;
                    }
                    if let Err(broken) = simulate(seed, tally) {
                        failed.lock().unwrap().get_or_insert((seed, broken));
                    }
                }
            });
        }
    });
    failed.into_inner().unwrap()
}

#[test]
fn whatever_happens_nothing_acknowledged_is_lost_and_nothing_is_done_twice() {
    let seeds = match number("PIPEHOST_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("PIPEHOST_SEEDS").unwrap_or(SEEDS),
    };
    let (many, tally) = (seeds.end - seeds.start >= SEEDS, Arc::default());
    if let Some((seed, broken)) = first_failure(seeds, None, &tally) {
        panic!("{broken}\nrepeat it: PIPEHOST_SEED={seed} cargo test -p pipehost --lib engine::tests::simulation");
    }
    println!("{tally:?}");
    assert!(!many || tally.missing().is_empty(), "it never came to {:?}", tally.missing());
}

#[test]
fn a_host_that_does_it_wrong_is_found_out() {
    let wrong = [
        (Defect::ActsBeforeItIsKept, "went out and is not recorded"),
        (Defect::KeepsNoState, "changes of it are recorded"),
        (Defect::KeepsNoResults, "what `dedup` guards was done"),
        (Defect::KeepsNoOutbox, "was heard by nobody"),
        (Defect::TakesTwice, "was heard twice by one flow"),
        (Defect::OnlySeemsToCompute, "began before that was recorded"),
    ];
    for (defect, expected) in wrong {
        let (seed, broken) = first_failure(0..FEW, Some(defect), &Arc::default()).expect("one of these seeds shows it");
        assert!(broken.contains(expected), "{defect:?}, seed {seed}: {broken}");
    }
}
