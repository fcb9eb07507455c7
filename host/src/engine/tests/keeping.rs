//! What outlives runs is kept with the step that makes it, and a host that starts has it again.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::watch;

use super::meeting::{World, flow, listening_flow, plan, text, wait, work};
use super::*;
use crate::engine::fixture::{Sketch, pipeline as sketched_pipeline};
use crate::model::policy::{DedupSettings, DedupWindow, OnDuplicate, PolicyIdentity};
use crate::model::port::{Commit, Expression, Reference, Root, Scope as Scoped, Store, StoreError, forward_store};
use crate::model::record::{Batch, Fact, Kept, Room, Write};
use crate::model::types::Type;
use crate::model::value::{Map, Tree};
use crate::plan::pipeline::{Idempotency, Keyed, Pipeline, Verb};
use crate::plan::template::Template;

const HOUR: Duration = Duration::from_secs(3_600);

/// One more than the state's `count`, which it says that it reads.
#[derive(Debug)]
struct Raised([Reference; 1]);

impl Expression for Raised {
    fn source(&self) -> &str {
        "state.count + 1"
    }

    fn references(&self) -> &[Reference] {
        &self.0
    }

    fn evaluate(&self, scope: &dyn Scoped) -> Result<Value, Failure> {
        let count = scope.lookup(Root::State, Some("count")).and_then(|count| count.tree().as_int()).unwrap_or_default();
        Ok(Value::from(Tree::Int(count + 1)))
    }
}

pub fn raised() -> Vec<(String, Template)> {
    let reads = Reference { root: Root::State, field: Some("count".to_owned()) };
    vec![("count".to_owned(), Template::Expression(Arc::new(Raised([reads]))))]
}

pub fn counting(mut pipeline: Pipeline) -> Pipeline {
    pipeline.state.initial.insert("count".to_owned(), Tree::Int(0));
    pipeline.state.types.push(("count".to_owned(), Type::Int));
    pipeline
}

pub fn succeeds() -> Arc<Scripted> {
    scripted(|_, _| async { Ok(Value::string("done")) }.boxed())
}

/// A store that has what comes with writes at once and says so when it is told to, that can refuse it, and that remembers in which order it came.
struct Slow {
    inner: MemoryStore,
    open: watch::Sender<bool>,
    refuses: AtomicBool,
    written: Mutex<Vec<Write>>,
}

impl Slow {
    fn new() -> Arc<Self> {
        let (open, refuses, written) = (watch::channel(true).0, AtomicBool::new(false), Mutex::default());
        Arc::new(Self { inner: MemoryStore::new(), open, refuses, written })
    }

    fn counts(&self) -> Vec<i64> {
        let count = |write: &Write| match write {
            Write::Keep(kept) if kept.room == Room::State => kept.value.tree().field("fields")?.field("count")?.as_int(),
            _ => None,
        };
        self.written.lock().unwrap().iter().filter_map(count).collect()
    }
}

impl Store for Slow {
    fn commit(&self, batch: Batch) -> Commit {
        // What a pipeline is made of comes with its first run.
        let is_plain = batch.writes.iter().all(|write| matches!(write, Write::Bundle(_)));
        if self.refuses.load(Ordering::SeqCst) && !is_plain {
            return Box::pin(async { Err(StoreError::TooLarge { bytes: 2, most: 1 }) });
        }
        if is_plain {
            return self.inner.commit(batch);
        }
        self.written.lock().unwrap().extend(batch.writes.iter().cloned());
        let (kept, mut open) = (self.inner.commit(batch), self.open.subscribe());
        Box::pin(async move {
            let _ = open.wait_for(|open| *open).await;
            kept.await
        })
    }

    forward_store!(inner: facts, write, published);
}

async fn kept(store: &dyn Store, room: Room) -> Vec<Kept> {
    store.kept(room).await.expect("never broken")
}

/// The second host on the same store.
pub async fn again(store: Arc<dyn Store>, pipeline: &Arc<Pipeline>, executor: &Arc<Scripted>) -> World {
    let world = World::on(store, Arc::clone(pipeline), executor, 2);
    world.engine.recover().await.expect("the store is good");
    world
}

pub fn state(world: &World) -> String {
    world.engine.state(&"p".into(), None).expect("the pipeline is there").text().to_owned()
}

#[tokio::test]
async fn changes_of_a_state_are_kept_in_their_order_told_when_they_are_and_there_for_the_next_host() {
    let pipeline = Arc::new(counting(plan(vec![flow("main", vec![("s", Verb::Set(raised())), ("w", work())])])));
    let store = Slow::new();
    let world = World::on(store.clone(), Arc::clone(&pipeline), &succeeds(), 1);
    store.open.send_replace(false);
    for _ in 0..50 {
        world.ask("main").await;
    }
    while store.counts().len() < 50 {
        tokio::task::yield_now().await;
    }
    let told = |world: &World| world.diary.lines().iter().filter(|line| line.starts_with("state")).count();
    assert_eq!(store.counts(), (1..=50).collect::<Vec<_>>(), "each builds on the one before, which is not kept yet for all that it knows");
    assert_eq!((state(&world).as_str(), told(&world)), (r#"{"status":"idle","count":50}"#, 0));
    store.open.send_replace(true);
    world.clock.advance(Duration::from_secs(1)).await;
    assert_eq!((told(&world), world.diary.count("run succeeded")), (50, 50));
    let second = again(store, &pipeline, &succeeds()).await;
    assert_eq!(state(&second), r#"{"status":"idle","count":50}"#);
    second.ask("main").await;
    second.clock.advance(Duration::from_secs(1)).await;
    assert_eq!(second.diary.count(r#"state {"count":51}"#), 1);
}

#[tokio::test]
async fn a_change_that_the_store_refuses_is_put_back_and_never_told() {
    let pipeline = Arc::new(counting(plan(vec![flow("main", vec![("s", Verb::Set(raised()))])])));
    let store = Slow::new();
    let world = World::on(store.clone(), Arc::clone(&pipeline), &succeeds(), 1);
    for (refuses, ends, expected) in [(false, "end succeeded", 1), (true, "end failed", 1), (false, "end succeeded", 2)] {
        store.refuses.store(refuses, Ordering::SeqCst);
        let (_, asker) = world.ask("main").await;
        world.clock.run(asker.ended.notified()).await;
        assert_eq!((asker.heard(), store.counts().last()), (vec![ends.to_owned()], Some(&expected)));
        assert_eq!(state(&world), format!(r#"{{"status":"idle","count":{expected}}}"#));
    }
    assert_eq!(world.diary.lines().iter().filter(|line| line.starts_with("state")).count(), 2);
}

#[tokio::test]
async fn a_promise_is_kept_when_its_job_succeeds_and_what_comes_behind_it_is_kept_without_it() {
    let mut promising = work();
    if let Verb::Run(step) = &mut promising {
        step.optimistic = raised();
    }
    let flows = vec![flow("promise", vec![("w", promising)]), flow("set", vec![("s", Verb::Set(raised()))])];
    let pipeline = Arc::new(counting(plan(flows)));
    let release = Arc::new(Notify::new());
    let executor = gated(&release, Ok(Value::null()));
    let store = Slow::new();
    let world = World::on(store.clone(), Arc::clone(&pipeline), &executor, 1);
    let (_, promised) = world.ask("promise").await;
    while state(&world) != r#"{"status":"idle","count":1}"# {
        tokio::task::yield_now().await;
    }
    assert_eq!(store.counts(), Vec::<i64>::new(), "it is a promise");
    let (_, set) = world.ask("set").await;
    set.ended.notified().await;
    assert_eq!((state(&world).as_str(), store.counts()), (r#"{"status":"idle","count":2}"#, vec![1]));
    // Whoever starts now has what is sure, and the job promises again.
    let crashed = MemoryStore::new();
    for kept in kept(&*store, Room::State).await {
        crashed.write(vec![Write::Keep(kept)]).await.expect("never broken");
    }
    let second = again(Arc::new(crashed), &pipeline, &succeeds()).await;
    assert_eq!(state(&second), r#"{"status":"idle","count":1}"#);
    release.notify_one();
    promised.ended.notified().await;
    assert_eq!((state(&world).as_str(), store.counts()), (r#"{"status":"idle","count":2}"#, vec![1, 2]));
}

#[tokio::test]
async fn a_promise_stands_again_for_a_job_that_waits_for_its_next_attempt() {
    let step = SketchStep { optimistic: true, retries: Some(1), ..SketchStep::default() };
    let pipeline = sketched_pipeline(&Sketch { steps: vec![step], ..Sketch::default() });
    let store = Arc::new(MemoryStore::new());
    let busy = scripted(|_, _| async { Err(Failure::new(FailureKind::Transient, "busy")) }.boxed());
    let first = World::on(store.clone(), Arc::clone(&pipeline), &busy, 1);
    let (run, _) = first.ask("main").await;
    while !store.facts(run).await.expect("never broken").iter().any(|fact| matches!(fact, Fact::Retrying { .. })) {
        tokio::task::yield_now().await;
    }
    assert_eq!(kept(&*store, Room::State).await, []);
    drop(first);
    let second = again(store.clone(), &pipeline, &busy).await;
    second.clock.settle().await;
    assert_eq!(state(&second), r#"{"status":"sending"}"#);
    second.clock.advance(HOUR).await;
    assert_eq!(state(&second), r#"{"status":"idle"}"#, "the last attempt failed too");
}

#[tokio::test]
async fn a_state_of_another_shape_keeps_what_fits_and_says_what_does_not() {
    let store = MemoryStore::new();
    let fields = Tree::Map(Map::from_iter([
        ("count".to_owned(), Tree::from("many")),
        ("status".to_owned(), Tree::from("busy")),
        ("gone".to_owned(), Tree::Int(1)),
    ]));
    let value = Value::from(Tree::Map(Map::from_iter([("version".to_owned(), Tree::Int(7)), ("fields".to_owned(), fields)])));
    let whole = Kept { room: Room::State, owner: "p".to_owned(), key: String::new(), value, until: None };
    let broken = Kept { key: "=broken".to_owned(), value: Value::string("what is this"), ..whole.clone() };
    let other = Kept { owner: "not in force".to_owned(), ..whole.clone() };
    store.write([whole, broken, other].map(Write::Keep).into()).await.expect("never broken");
    let mut pipeline = counting(plan(vec![flow("main", vec![("w", work())])]));
    let world = again(Arc::new(store.clone()), &Arc::new(pipeline), &succeeds()).await;
    assert_eq!(state(&world), r#"{"status":"busy","count":0}"#);
    assert_eq!(world.diary.lines(), [r#"state {"count":0}"#, "unreadable E0759"]);
    assert_eq!(kept(&store, Room::State).await.len(), 3, "what is broken stays until somebody decides");
    // A file that says that the states may go loses the one that has changed its shape.
    pipeline = counting(plan(vec![flow("main", vec![("w", work())])]));
    pipeline.state.reset = true;
    let world = again(Arc::new(store.clone()), &Arc::new(pipeline), &succeeds()).await;
    assert_eq!(state(&world), r#"{"status":"idle","count":0}"#);
    assert_eq!(kept(&store, Room::State).await.iter().map(|kept| kept.owner.as_str()).collect::<Vec<_>>(), ["p", "not in force"]);
}

pub fn deduplicated(window: DedupWindow) -> Pipeline {
    let mut once = work();
    if let Verb::Run(step) = &mut once {
        let identity = PolicyIdentity::Named { owner: "p".to_owned(), policy: "once".to_owned() };
        let settings = DedupSettings { window, on_duplicate: OnDuplicate::Join };
        step.policy.dedup = Some(Keyed { identity, key: text("order-1"), settings });
    }
    plan(vec![flow("main", vec![("once", once)])])
}

#[tokio::test]
async fn a_success_within_its_window_answers_repeats_after_a_restart_and_until_its_time() {
    let pipeline = Arc::new(deduplicated(DedupWindow::Keep(HOUR)));
    let store = Arc::new(MemoryStore::new());
    let executor = succeeds();
    let calls = |world: &World| (executor.calls.load(Ordering::SeqCst), world.diary.count("dedup repeat"));
    let first = World::on(store.clone(), Arc::clone(&pipeline), &executor, 1);
    let (_, asker) = first.ask("main").await;
    first.clock.run(asker.ended.notified()).await;
    let second = again(store.clone(), &pipeline, &executor).await;
    let (_, asker) = second.ask("main").await;
    second.clock.run(asker.ended.notified()).await;
    assert_eq!(calls(&second), (1, 1));
    second.clock.advance(HOUR).await;
    let (_, asker) = second.ask("main").await;
    second.clock.run(asker.ended.notified()).await;
    assert_eq!(calls(&second), (2, 1), "its time is over");
    assert_eq!(kept(&*store, Room::Dedup).await.len(), 1, "the later one took the place of the first");
}

#[tokio::test]
async fn a_key_is_held_over_a_crash_by_the_run_that_has_it() {
    for window in [DedupWindow::Running, DedupWindow::Keep(HOUR)] {
        let pipeline = Arc::new(deduplicated(window));
        let store = Arc::new(MemoryStore::new());
        let first = World::on(store.clone(), Arc::clone(&pipeline), &scripted(|_, _| pending().boxed()), 1);
        let (run, _) = first.ask("main").await;
        while !store.facts(run).await.expect("never broken").iter().any(|fact| matches!(fact, Fact::AttemptStarted { .. })) {
            tokio::task::yield_now().await;
        }
        drop(first);
        let release = Arc::new(Notify::new());
        let executor = gated(&release, Ok(Value::null()));
        let second = again(store.clone(), &pipeline, &executor).await;
        let (_, asker) = second.ask("main").await;
        while second.diary.count("dedup join") == 0 {
            tokio::task::yield_now().await;
        }
        release.notify_one();
        asker.ended.notified().await;
        assert_eq!(executor.calls.load(Ordering::SeqCst), 1, "{window:?}: it was done once for both");
    }
}

#[tokio::test]
async fn a_request_that_succeeded_is_answered_after_a_restart_and_one_that_failed_is_done_again() {
    let mut pipeline = plan(vec![flow("main", vec![("w", work()), ("reply", Verb::Reply(text("once")))])]);
    let main = pipeline.flows.first_mut().and_then(Arc::get_mut).expect("nobody else has it");
    main.idempotency = Some(Idempotency { key: text("order-1"), retention: HOUR });
    let pipeline = Arc::new(pipeline);
    let store = Arc::new(MemoryStore::new());
    let (fails, executor) = (scripted(|_, _| async { Err(Failure::new(FailureKind::Permanent, "no")) }.boxed()), succeeds());
    let mut heard = Vec::new();
    for (seed, executor) in [&fails, &executor, &executor].into_iter().enumerate() {
        let world = World::on(store.clone(), Arc::clone(&pipeline), executor, seed as u64);
        world.engine.recover().await.expect("the store is good");
        let (run, asker) = world.ask("main").await;
        world.clock.run(asker.ended.notified()).await;
        heard.push((run, asker.heard()));
    }
    assert_eq!(heard[0].1, ["end failed"]);
    assert_eq!(heard[1].1, [r#"reply "once""#, "end succeeded"]);
    assert_eq!(heard[1], heard[2], "the same run has answered both");
    assert_eq!(executor.calls.load(Ordering::SeqCst), 1);
    let world = World::on(store, pipeline, &executor, 4);
    world.engine.recover().await.expect("the store is good");
    world.clock.advance(HOUR).await;
    let (_, asker) = world.ask("main").await;
    world.clock.run(asker.ended.notified()).await;
    assert_eq!(executor.calls.load(Ordering::SeqCst), 2, "its retention is over");
}

#[tokio::test]
async fn a_late_answer_and_a_second_one_are_told_apart_after_a_restart_though_their_runs_are_forgotten() {
    let (mut main, on_timeout, reminder) = listening_flow("main");
    let step = main.step("approval", wait(None, on_timeout, reminder));
    main.blocks[0] = vec![step];
    let pipeline = Arc::new(plan(vec![main]));
    for (answered, reason) in [(true, "double"), (false, "late")] {
        let store = Arc::new(MemoryStore::new());
        let first = World::on(store.clone(), Arc::clone(&pipeline), &succeeds(), 1);
        let (_, asker) = first.ask("main").await;
        first.until_waiting(1).await;
        if answered {
            assert_eq!(first.emit(7, "ada").await, Vec::<String>::new());
        }
        first.clock.run(asker.ended.notified()).await;
        assert_eq!(first.emit(7, "bob").await, [reason]);
        // Only what is kept of it is left.
        let rooms = Arc::new(MemoryStore::new());
        for kept in kept(&*store, Room::Wait).await {
            rooms.write(vec![Write::Keep(kept)]).await.expect("never broken");
        }
        let second = again(rooms.clone(), &pipeline, &succeeds()).await;
        assert_eq!(second.emit(7, "bob").await, [reason]);
        second.clock.advance(HOUR * 24 * 8).await;
        assert_eq!(second.emit(7, "bob").await, Vec::<String>::new(), "after a week it is forgotten");
    }
}

#[tokio::test]
async fn what_a_flow_has_answered_itself_is_known_as_well_when_it_goes_on() {
    let (mut main, on_timeout, reminder) = listening_flow("main");
    let first_wait = main.step("approval", wait(None, on_timeout, reminder));
    let nap = main.step("nap", Verb::Sleep(text("1h")));
    main.blocks[0] = vec![first_wait, nap];
    let pipeline = Arc::new(plan(vec![main]));
    let store = Arc::new(MemoryStore::new());
    let first = World::on(store.clone(), Arc::clone(&pipeline), &succeeds(), 1);
    let _ = first.ask("main").await;
    first.until_waiting(1).await;
    assert_eq!(first.emit(7, "ada").await, Vec::<String>::new());
    first.clock.settle().await;
    drop(first);
    let second = again(store, &pipeline, &succeeds()).await;
    assert_eq!(second.emit(7, "bob").await, ["double"], "once, though its facts and the room both tell of it");
}
