//! `via: outbox`: kept with the step, published until everybody has it, over crashes, refusals and full queues.

use std::future::pending as forever;
use std::sync::OnceLock;

use tokio::sync::Notify;

use super::meeting::{World as Host, flow, plan, text, work};
use super::*;
use crate::engine::relay::Entry;
use crate::journal::memory::{Bounds, MemoryStore};
use crate::model::id::PipelineName;
use crate::model::port::{Commit, Store, forward_store};
use crate::model::record::{Batch, Fact, Kept, Room, Write};
use crate::model::types::Type;
use crate::plan::pipeline::{EventMode, Outbox, Pipeline, Trigger, Verb};
use crate::plan::template::Template;

/// A flow `main` that emits `Told` once for each key, by way of the outbox, its number as data; and flows that hear it.
fn telling(keys: &[Option<&str>], hearers: &[(&str, Concurrency)]) -> Pipeline {
    let names: Vec<String> = (0..keys.len()).map(|number| format!("tell{number}")).collect();
    let emit =
        |number: usize| Verb::Emit(vec![("Told".into(), Template::Literal(Value::from(crate::model::value::Tree::Int(number as i64))))]);
    let steps = names.iter().enumerate().map(|(number, name)| (name.as_str(), emit(number))).collect();
    let mut flows = vec![flow("main", steps)];
    flows.extend(hearers.iter().map(|(name, _)| flow(name, vec![("work", work())])));
    let mut pipeline = plan(flows);
    pipeline.events.insert("Told".into(), Type::Any);
    let (main, hearing) = pipeline.flows.split_first_mut().expect("there is main");
    let main = Arc::get_mut(main).expect("nobody else has it");
    for (step, key) in main.steps.iter_mut().zip(keys) {
        step.outbox = Some(Outbox { order_key: key.map(text) });
    }
    for (flow, (_, concurrency)) in hearing.iter_mut().zip(hearers) {
        let flow = Arc::get_mut(flow).expect("nobody else has it");
        flow.triggers = vec![Trigger::Event { types: vec!["Told".into()], mode: EventMode::Direct }];
        flow.concurrency = concurrency.clone();
    }
    pipeline
}

fn quick() -> Arc<Scripted> {
    scripted(|_, _| async { Ok(Value::null()) }.boxed())
}

/// A store that notes what flows took, in the order in which it was kept, and whose host may end: after so many commits and writes nothing that the
/// host does has an effect any more.
pub struct Noting {
    pub inner: MemoryStore,
    pub notes: Arc<Notes>,
    left: AtomicUsize,
    /// Whether the last one is kept and its host never hears of it.
    kept: bool,
    pub over: Notify,
}

/// What outlives a host.
#[derive(Default)]
pub struct Notes {
    /// The number of each event that was emitted.
    emitted: Mutex<Vec<i64>>,
    /// The flow and the number of each event that one took.
    taken: Mutex<Vec<(String, i64)>>,
}

impl Notes {
    fn note(&self, batch: &Batch) {
        let number = |event: &Event| event.data.tree().as_int().unwrap_or(-1);
        for fact in &*batch.facts {
            match fact {
                Fact::Began(beginning) => {
                    let taken = beginning.event.as_ref().map(|event| (beginning.flow.to_string(), number(event)));
                    self.taken.lock().unwrap().extend(taken);
                }
                Fact::Emitted { events, .. } | Fact::JobEnded { events, .. } => {
                    self.emitted.lock().unwrap().extend(events.iter().map(number));
                }
                _ => {}
            }
        }
    }

    /// What a flow took, in its order.
    pub fn taken(&self, flow: &str) -> Vec<i64> {
        self.taken.lock().unwrap().iter().filter(|(taker, _)| taker == flow).map(|(_, number)| *number).collect()
    }
}

impl Noting {
    pub fn lasting() -> Arc<Self> {
        Self::over(
            MemoryStore::with_bounds(Bounds { ended_runs: 100_000, ended_bytes: 1 << 30, ..Bounds::default() }),
            Arc::default(),
            usize::MAX,
            false,
        )
    }

    pub fn over(inner: MemoryStore, notes: Arc<Notes>, left: usize, kept: bool) -> Arc<Self> {
        Arc::new(Self { inner, notes, left: AtomicUsize::new(left), kept, over: Notify::new() })
    }

    fn take(&self, write: impl FnOnce() -> Commit) -> Commit {
        let left = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| Some(left.saturating_sub(1)));
        match left.unwrap_or_default() {
            0 => self.end(),
            1 if self.kept => {
                drop(write());
                self.end()
            }
            _ => write(),
        }
    }

    fn end(&self) -> Commit {
        self.over.notify_one();
        Box::pin(forever())
    }

    async fn in_room(&self, room: Room) -> Vec<Kept> {
        self.inner.kept(room).await.expect("never broken")
    }
}

impl Store for Noting {
    fn commit(&self, batch: Batch) -> Commit {
        self.take(|| {
            self.notes.note(&batch);
            self.inner.commit(batch)
        })
    }

    fn write(&self, writes: Vec<Write>) -> Commit {
        self.take(|| self.inner.write(writes))
    }

    forward_store!(inner: facts, published);
}

#[tokio::test]
async fn an_event_goes_out_at_once_and_is_forgotten_when_everybody_has_it() {
    let store = Noting::lasting();
    let pipeline = telling(&[None, Some("a")], &[("first", Concurrency::default()), ("second", Concurrency::default())]);
    let host = Host::on(store.clone(), Arc::new(pipeline), &quick(), 1);
    host.ask("main").await;
    host.clock.advance(Duration::ZERO).await;
    for flow in ["first", "second"] {
        let mut taken = store.notes.taken(flow);
        taken.sort_unstable();
        assert_eq!(taken, [0, 1], "{flow}");
    }
    assert_eq!(host.diary.count("event Told"), 2);
    assert!(store.in_room(Room::Outbox).await.is_empty());
    host.engine.stop(CancelReason::Shutdown).await;
}

#[tokio::test]
async fn the_step_knows_its_event_and_no_more() {
    let mut pipeline = telling(&[None], &[]);
    let main = Arc::get_mut(&mut pipeline.flows[0]).expect("nobody else has it");
    main.triggers = vec![Trigger::Manual];
    let store = Noting::lasting();
    let host = Host::on(store.clone(), Arc::new(pipeline), &quick(), 1);
    let (run, _) = host.ask("main").await;
    host.clock.advance(Duration::ZERO).await;
    let facts = store.facts(run).await.expect("never broken");
    let output = facts.iter().find_map(|fact| match fact {
        Fact::StepDone { output, .. } => Some(output.clone()),
        _ => None,
    });
    let fields: Vec<String> = output.expect("it is done").tree().as_map().expect("a map").keys().cloned().collect();
    assert_eq!(fields, ["id"]);
}

/// One at a time; one more is turned away.
fn rejecting() -> Concurrency {
    Concurrency { max_concurrent: 1, max_queue: 0, when_full: WhenFull::Reject, key: None }
}

#[tokio::test]
async fn who_is_refused_gets_it_again_after_five_seconds_and_the_order_of_a_key_stays() {
    let store = Noting::lasting();
    let pipeline = telling(&[Some("a"), Some("a"), Some("a")], &[("picky", rejecting()), ("other", Concurrency::default())]);
    let host = Host::on(store.clone(), Arc::new(pipeline), &quick(), 1);
    host.ask("main").await;
    host.clock.advance(Duration::from_secs(60)).await;
    assert_eq!(store.notes.taken("picky"), [0, 1, 2]);
    assert_eq!(store.notes.taken("other"), [0, 1, 2], "each once, however often the other was asked");
    assert!(store.in_room(Room::Outbox).await.is_empty() && store.in_room(Room::DeadLetter).await.is_empty());
}

#[tokio::test]
async fn what_is_refused_again_and_again_becomes_a_dead_letter_and_holds_up_nobody() {
    let activity: Arc<OnceLock<Activity>> = Arc::default();
    let of_script = Arc::clone(&activity);
    let never = scripted(move |_, _| {
        let activity = of_script.get().cloned().unwrap_or_default();
        async move { activity.rest(forever()).await }.boxed()
    });
    let store = Noting::lasting();
    let pipeline = telling(&[Some("a"), Some("a"), Some("b"), None], &[("stuck", rejecting()), ("other", Concurrency::default())]);
    let host = Host::on(store.clone(), Arc::new(pipeline), &never, 1);
    activity.set(host.activity.clone()).expect("it is set once");
    host.ask("main").await;
    host.clock.advance(Duration::from_secs(1)).await;
    let mut others = store.notes.taken("other");
    others.sort_unstable();
    assert_eq!(others, [0, 1, 2, 3], "the refusals of one flow are not the others'");
    host.clock.advance(Duration::from_secs(33)).await;
    assert!(store.in_room(Room::DeadLetter).await.is_empty());
    host.clock.advance(Duration::from_secs(60)).await;
    let letters = store.in_room(Room::DeadLetter).await;
    assert_eq!((letters.len(), store.in_room(Room::Outbox).await.len()), (3, 0), "the first took the one place");
    let message = letters[0].value.field("failure").and_then(|failure| failure.field("message")).expect("it has a cause");
    assert!(message.text().contains("p.stuck did not take it in 8 tries"), "{}", message.text());
    let others = store.notes.taken("other");
    assert_eq!(others.len(), 4, "nobody got one twice");
}

#[tokio::test]
async fn how_often_an_event_was_refused_is_known_to_the_next_host_too() {
    let pipeline = Arc::new(telling(&[Some("a"), Some("a")], &[("stuck", rejecting())]));
    let (inner, activity): (_, Arc<OnceLock<Activity>>) = (Noting::lasting(), Arc::default());
    // The first event takes the one place, and its run never ends.
    let never = |activity: Arc<OnceLock<Activity>>| {
        scripted(move |_, _| {
            let activity = activity.get().cloned().unwrap_or_default();
            async move { activity.rest(forever()).await }.boxed()
        })
    };
    let first = Host::on(inner.clone(), Arc::clone(&pipeline), &never(Arc::clone(&activity)), 1);
    activity.set(first.activity.clone()).expect("it is set once");
    first.ask("main").await;
    first.clock.advance(Duration::from_secs(12)).await;
    assert_eq!((first.engine.in_outbox(), inner.in_room(Room::Outbox).await.len()), (1, 1), "the second was refused three times");
    let tries = inner.in_room(Room::Try).await;
    assert_eq!(tries.iter().map(|kept| kept.value.text().to_owned()).collect::<Vec<_>>(), [r#"{"tries":3}"#]);
    first.engine.stop(CancelReason::Shutdown).await;
    drop(first);
    let activity: Arc<OnceLock<Activity>> = Arc::default();
    let second = Host::on(inner.clone(), pipeline, &never(Arc::clone(&activity)), 2);
    activity.set(second.activity.clone()).expect("it is set once");
    second.engine.recover().await.expect("the store is good");
    second.clock.advance(Duration::from_secs(19)).await;
    assert_eq!(inner.in_room(Room::DeadLetter).await.len(), 0, "four more times");
    second.clock.advance(Duration::from_secs(5)).await;
    let letters = inner.in_room(Room::DeadLetter).await;
    let message = letters[0].value.field("failure").and_then(|failure| failure.field("message")).expect("it has a cause");
    assert!(message.text().contains("p.stuck did not take it in 8 tries"), "{}", message.text());
    assert_eq!((inner.in_room(Room::Try).await.len(), second.engine.in_outbox()), (0, 0), "nothing of it is left");
}

/// What the store has of an event of that type.
fn entry(number: u128, event_type: &str, key: Option<&str>) -> Kept {
    let event = Event { data: Value::from(crate::model::value::Tree::Int(number as i64)), ..event(number, event_type) };
    match Entry::new(Arc::new(event), false, key.map(str::to_owned)).keep() {
        Write::Keep(kept) => kept,
        other => panic!("it is kept: {other:?}"),
    }
}

#[tokio::test]
async fn what_cannot_be_read_or_is_not_declared_any_more_becomes_a_dead_letter_and_the_others_go() {
    let store = Noting::lasting();
    let torn = Kept { value: Value::string("torn"), ..entry(2, "Told", Some("a")) };
    let entries = [entry(1, "Told", Some("a")), torn, entry(3, "Gone", Some("a")), entry(4, "Told", Some("a"))];
    store.write(entries.into_iter().map(Write::Keep).collect()).await.expect("never broken");
    let pipeline = telling(&[], &[("hears", Concurrency::default())]);
    let host = Host::on(store.clone(), Arc::new(pipeline), &quick(), 1);
    host.engine.recover().await.expect("the store is good");
    host.clock.advance(Duration::from_secs(1)).await;
    assert_eq!(store.notes.taken("hears"), [1, 4]);
    assert!(store.in_room(Room::Outbox).await.is_empty());
    let code = |kept: &Kept| kept.value.field("failure").and_then(|failure| failure.field("code")).map(|code| code.text().to_owned());
    let codes: Vec<_> = store.in_room(Room::DeadLetter).await.iter().filter_map(code).collect();
    assert_eq!(codes, [r#""unreadable""#, r#""undeclared_event""#]);
}

#[tokio::test]
async fn an_event_of_a_pipeline_that_is_not_loaded_waits_for_it() {
    let store = Noting::lasting();
    let strange = Kept { owner: "q".to_owned(), ..entry(1, "Told", None) };
    let text = strange.value.text().replace("\"source\":\"p\"", "\"source\":\"q\"");
    let strange = Kept { value: Value::from_text(text).expect("JSON"), ..strange };
    store.write(vec![Write::Keep(strange)]).await.expect("never broken");
    let host = Host::on(store.clone(), Arc::new(telling(&[], &[])), &quick(), 1);
    host.engine.recover().await.expect("the store is good");
    host.clock.advance(Duration::from_secs(600)).await;
    assert_eq!((store.in_room(Room::Outbox).await.len(), store.in_room(Room::DeadLetter).await.len()), (1, 0));
    let mut pipeline = telling(&[], &[("hears", Concurrency::default())]);
    pipeline.name = PipelineName::new("q");
    let executors = vec![quick() as Arc<dyn Executor>];
    host.engine.install(vec![Arc::new(Bound { pipeline: Arc::new(pipeline), executors })]);
    host.clock.advance(Duration::ZERO).await;
    assert!(store.in_room(Room::Outbox).await.is_empty());
    assert_eq!(host.diary.count("event Told"), 1);
    assert_eq!(store.notes.taken("hears"), [1], "who came with it hears it");
}

#[tokio::test]
async fn more_than_fit_into_memory_go_out_in_pages_and_in_their_order() {
    let store = Noting::lasting();
    let count = crate::engine::relay::MOST + 2_500;
    let entries = (1..=count).map(|number| Write::Keep(entry(number as u128, "Told", (number % 2 == 0).then_some("even"))));
    store.write(entries.collect()).await.expect("never broken");
    let host = Host::on(store.clone(), Arc::new(telling(&[Some("even")], &[])), &quick(), 1);
    host.engine.recover().await.expect("the store is good");
    host.ask("main").await;
    host.clock.advance(Duration::from_secs(1)).await;
    assert!(store.in_room(Room::Outbox).await.is_empty());
    assert_eq!(host.diary.count("event Told"), count + 1, "each once, and what came meanwhile");
}

/// Hosts that die one after the other while they emit, publish, are refused and forget; the last one lives.
async fn lives(seed: u64) {
    let mut dice = Dice(seed);
    let keys = ["a", "b", "c"];
    let steps: Vec<Option<&str>> = (0..6).map(|_| keys.get(dice.below(4)).copied()).collect();
    let pipeline = Arc::new(telling(&steps, &[("free", Concurrency::default()), ("picky", rejecting())]));
    let (inner, notes) = (Noting::lasting().inner.clone(), Arc::<Notes>::default());
    let count = 1 + dice.below(4);
    for life in 0..=count {
        let left = if life == count { usize::MAX } else { 1 + dice.below(40) };
        let store = Noting::over(inner.clone(), Arc::clone(&notes), left, dice.below(2) == 0);
        let slow = dice.below(2) == 0;
        // A flow that is slow has its one place taken when the next event comes.
        let clock: Arc<OnceLock<(VirtualClock, Activity)>> = Arc::default();
        let of_script = Arc::clone(&clock);
        let executor = scripted(move |_, _| {
            let clock = of_script.get().cloned().filter(|_| slow);
            async move {
                if let Some((clock, activity)) = clock {
                    activity.rest(clock.sleep_until(clock.now() + Duration::from_millis(1_500))).await;
                }
                Ok(Value::null())
            }
            .boxed()
        });
        let host = Host::on(store.clone(), Arc::clone(&pipeline), &executor, seed * 100 + life as u64);
        clock.set((host.clock.clone(), host.activity.clone())).ok().expect("it is set once");
        let lives = async {
            host.engine.recover().await.expect("the store is good");
            if life < 2 {
                host.ask("main").await;
            }
            host.clock.advance(Duration::from_secs(3_600)).await;
        };
        tokio::select! {
            () = store.over.notified() => {}
            () = lives => {}
        }
    }
    let emitted = notes.emitted.lock().unwrap().clone();
    let letters: Vec<i64> = inner.kept(Room::DeadLetter).await.expect("never broken").iter().filter_map(number_of).collect();
    assert!(inner.kept(Room::Outbox).await.expect("never broken").is_empty(), "seed {seed}: nothing waits any more");
    for flow in ["free", "picky"] {
        let taken = notes.taken(flow);
        for number in 0..6 {
            let sent = emitted.iter().filter(|other| **other == number).count();
            let had = taken.iter().filter(|other| **other == number).count();
            let dead = letters.iter().filter(|other| **other == number).count();
            let least = if flow == "free" { sent } else { sent.saturating_sub(dead) };
            assert!((least..=sent).contains(&had), "seed {seed}: {flow} took {number} {had} times, of {sent} with {dead} dead: {taken:?}");
        }
        for key in keys {
            let of_key = |all: &[i64]| -> Vec<i64> {
                all.iter()
                    .copied()
                    .filter(|number| usize::try_from(*number).ok().and_then(|n| steps.get(n)).copied().flatten() == Some(key))
                    .collect()
            };
            let (taken, emitted) = (of_key(&taken), of_key(&emitted));
            assert!(is_part(&taken, &emitted), "seed {seed}: {flow} took {taken:?} of key {key}, emitted in the order {emitted:?}");
        }
    }
}

fn number_of(letter: &Kept) -> Option<i64> {
    letter.value.field("event")?.field("data")?.tree().as_int()
}

/// Whether one is the other with some left out.
fn is_part(part: &[i64], whole: &[i64]) -> bool {
    let mut whole = whole.iter();
    part.iter().all(|number| whole.any(|other| other == number))
}

/// Chance that a seed repeats.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % most
    }
}

/// Every event of the outbox reaches each flow once and in the order of its key, wherever hosts die. `PIPEHOST_SEED=N` repeats one seed, and
/// `PIPEHOST_SEEDS=N` tries that many instead of a hundred.
#[tokio::test]
async fn whatever_dies_each_flow_has_each_event_once_and_in_its_order() {
    let number = |name: &str| std::env::var_os(name).and_then(|number| number.to_str()?.parse().ok());
    if let Some(seed) = number("PIPEHOST_SEED") {
        return lives(seed).await;
    }
    for seed in 1..=number("PIPEHOST_SEEDS").unwrap_or(100) {
        lives(seed).await;
    }
}
