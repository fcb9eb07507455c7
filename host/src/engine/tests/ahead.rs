//! A run goes ahead of its records where its attempts only compute, and nobody hears of anything before that is kept.

use std::sync::atomic::Ordering;

use tokio::sync::watch;

use super::keeping::succeeds;
use super::meeting::{World, flow, plan, work};
use super::*;
use crate::model::port::{Commit, Store, StoreError, forward_store};
use crate::model::record::Batch;
use crate::model::size::MOST;

/// A store that has at once what comes, and says so when it is told to, or that it is lost. Of a run's first facts it says so at once, unless it holds
/// these too.
struct Held {
    inner: MemoryStore,
    verdict: watch::Sender<Option<bool>>,
    holds_first: AtomicBool,
    /// Of each batch, how many facts the run had before.
    batches: Mutex<Vec<u64>>,
}

impl Held {
    fn new() -> Arc<Self> {
        let (verdict, holds_first) = (watch::channel(None).0, AtomicBool::new(false));
        Arc::new(Self { inner: MemoryStore::new(), verdict, holds_first, batches: Mutex::default() })
    }

    fn batches(&self) -> Vec<u64> {
        self.batches.lock().unwrap().clone()
    }
}

impl Store for Held {
    fn commit(&self, batch: Batch) -> Commit {
        self.batches.lock().unwrap().push(batch.first);
        let is_free = batch.first == 0 && !self.holds_first.load(Ordering::SeqCst);
        let mut kept = self.inner.commit(batch);
        // What it does not take it says at once.
        if let Some(Err(error)) = (&mut kept).now_or_never() {
            return async move { Err(error) }.boxed();
        }
        let mut verdict = self.verdict.subscribe();
        Box::pin(async move {
            let is_good = is_free || verdict.wait_for(Option::is_some).await.is_ok_and(|verdict| *verdict == Some(true));
            if is_good { Ok(()) } else { Err(StoreError::Broken("the disk is gone".to_owned())) }
        })
    }

    forward_store!(inner: facts, write, published);
}

const NAMES: [&str; 20] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q", "r", "s", "t"];

/// A flow of so many steps on such a store.
fn world(steps: usize, executor: &Arc<Scripted>) -> (World, Arc<Held>) {
    let store = Held::new();
    let steps = NAMES.iter().take(steps).map(|name| (*name, work())).collect();
    (World::on(store.clone(), Arc::new(plan(vec![flow("main", steps)])), executor, 1), store)
}

/// One that only computes.
fn computes(script: impl Fn(Arc<Job>, Attempt) -> Processing<'static> + Send + Sync + 'static) -> Arc<Scripted> {
    let executor = scripted(script);
    executor.only_computes.store(true, Ordering::SeqCst);
    executor
}

/// Whatever can go on without the store goes on.
async fn settle() {
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
}

/// A run of four steps on such a store, whose executor only computes or does not.
async fn four_steps(only_computes: bool) -> (World, Arc<Held>, Arc<Scripted>, Arc<Asker>) {
    let executor = succeeds();
    executor.only_computes.store(only_computes, Ordering::SeqCst);
    let (world, store) = world(4, &executor);
    let (_, asker) = world.ask("main").await;
    settle().await;
    (world, store, executor, asker)
}

/// The same, of a flow whose runs are short by experience: what its first batch has is not kept before it is said so.
async fn short_by_experience(executor: &Arc<Scripted>) -> (World, Arc<Held>) {
    let (world, store) = world(4, executor);
    store.verdict.send_replace(Some(true));
    for _ in 0..20 {
        let (_, asker) = world.ask("main").await;
        world.clock.run(asker.ended.notified()).await;
    }
    store.verdict.send_replace(None);
    store.holds_first.store(true, Ordering::SeqCst);
    store.batches.lock().unwrap().clear();
    world.diary.0.lock().unwrap().clear();
    executor.calls.store(0, Ordering::SeqCst);
    (world, store)
}

const TOLD: [&str; 6] = ["run started", "job succeeded", "job succeeded", "job succeeded", "job succeeded", "run succeeded"];

#[tokio::test]
async fn what_only_computes_goes_ahead_and_is_told_in_its_order_once_it_is_kept() {
    let (world, store, executor, asker) = four_steps(true).await;
    assert_eq!((executor.calls.load(Ordering::SeqCst), store.batches().len()), (4, 2));
    assert_eq!((world.diary.count("job succeeded"), asker.heard()), (0, Vec::new()), "nothing of it is kept");
    store.verdict.send_replace(Some(true));
    world.clock.run(asker.ended.notified()).await;
    assert_eq!(asker.heard(), ["end succeeded"]);
    assert_eq!(world.diary.lines(), TOLD);
}

#[tokio::test]
async fn what_may_leave_something_behind_waits_for_the_record_of_the_step_before() {
    let (world, store, executor, asker) = four_steps(false).await;
    assert_eq!(executor.calls.load(Ordering::SeqCst), 1);
    store.verdict.send_replace(Some(true));
    world.clock.run(asker.ended.notified()).await;
    assert_eq!((asker.heard(), executor.calls.load(Ordering::SeqCst)), (vec!["end succeeded".to_owned()], 4));
}

#[tokio::test]
async fn of_what_the_store_loses_nobody_hears_and_the_run_is_left() {
    let (world, store, executor, asker) = four_steps(true).await;
    assert_eq!(executor.calls.load(Ordering::SeqCst), 4);
    store.verdict.send_replace(Some(false));
    while !world.engine.running().is_empty() {
        tokio::task::yield_now().await;
    }
    // As it hears of a host that stops.
    assert_eq!(asker.heard(), ["end cancelled"]);
    assert_eq!(world.diary.lines(), ["run started"]);
}

#[tokio::test]
async fn so_many_decisions_and_no_more_wait_to_be_kept() {
    let executor = computes(|_, _| async { Ok(Value::null()) }.boxed());
    let (world, store) = world(20, &executor);
    let (_, asker) = world.ask("main").await;
    settle().await;
    assert_eq!((executor.calls.load(Ordering::SeqCst), store.batches().len()), (17, 2));
    store.verdict.send_replace(Some(true));
    world.clock.run(asker.ended.notified()).await;
    assert_eq!((executor.calls.load(Ordering::SeqCst), store.batches().len(), asker.heard()), (20, 3, vec!["end succeeded".to_owned()]));
}

#[tokio::test]
async fn what_was_decided_is_given_to_the_store_while_a_step_takes_its_time() {
    let (gate, calls) = (Arc::new(Notify::new()), AtomicUsize::new(0));
    let inside = Arc::clone(&gate);
    let executor = computes(move |_, _| {
        let (gate, is_slow) = (Arc::clone(&inside), calls.fetch_add(1, Ordering::SeqCst) == 2);
        async move {
            if is_slow {
                gate.notified().await;
            }
            Ok(Value::null())
        }
        .boxed()
    });
    let (world, store) = world(4, &executor);
    let (_, asker) = world.ask("main").await;
    settle().await;
    assert_eq!((executor.calls.load(Ordering::SeqCst), store.batches().len()), (3, 2));
    store.verdict.send_replace(Some(true));
    settle().await;
    assert_eq!(world.diary.count("job succeeded"), 2, "it is told while the third step computes");
    gate.notify_one();
    world.clock.run(asker.ended.notified()).await;
    assert_eq!((asker.heard(), store.batches().len()), (vec!["end succeeded".to_owned()], 3));
}

#[tokio::test]
async fn a_run_that_is_short_by_experience_is_kept_as_one_and_admitted_then() {
    let executor = computes(|_, _| async { Ok(Value::null()) }.boxed());
    let (world, store) = short_by_experience(&executor).await;
    let mut asking = Box::pin(world.ask("main"));
    assert!((&mut asking).now_or_never().is_none(), "it is not kept yet");
    assert_eq!((executor.calls.load(Ordering::SeqCst), store.batches()), (4, vec![0]));
    assert!(world.diary.lines().is_empty(), "{:?}", world.diary.lines());
    store.verdict.send_replace(Some(true));
    let (_, asker) = asking.await;
    world.clock.run(asker.ended.notified()).await;
    assert_eq!((asker.heard(), store.batches()), (vec!["end succeeded".to_owned()], vec![0]));
    assert_eq!(world.diary.lines(), TOLD);
}

#[tokio::test]
async fn a_run_that_is_lost_before_it_was_kept_was_not_admitted() {
    let executor = computes(|_, _| async { Ok(Value::null()) }.boxed());
    let (world, store) = short_by_experience(&executor).await;
    store.verdict.send_replace(Some(false));
    let admission = world.engine.activate(Activation::new("p", "main", Value::null())).await;
    assert!(matches!(admission, Admission::Refused(_)), "{admission:?}");
    assert!(world.engine.running().is_empty());
    let lines = world.diary.lines();
    assert!(lines.iter().all(|line| line.starts_with("refused")), "{lines:?}");
}

/// The second step comes to more than a store takes, once that is wanted.
fn second_too_large(wanted: &Arc<AtomicBool>) -> Arc<Scripted> {
    let wanted = Arc::clone(wanted);
    computes(move |job, _| {
        let is_large = job.step.as_str() == "b" && wanted.load(Ordering::SeqCst);
        async move { Ok(if is_large { Value::string("x".repeat(usize::try_from(MOST).unwrap() + 1)) } else { Value::null() }) }.boxed()
    })
}

/// The third is done before it is known that the second has failed.
async fn the_second_fails(world: &World, executor: &Arc<Scripted>) {
    let (_, asker) = world.ask("main").await;
    world.clock.run(asker.ended.notified()).await;
    assert_eq!(asker.heard(), ["end failed"]);
    assert_eq!(world.diary.lines(), ["run started", "job succeeded", "job failed", "run failed"]);
    assert!(executor.calls.load(Ordering::SeqCst) >= 3, "what only computes was called ahead");
}

#[tokio::test]
async fn what_is_too_large_fails_its_own_step_although_others_were_done_after_it() {
    let executor = second_too_large(&Arc::new(AtomicBool::new(true)));
    let (world, store) = world(4, &executor);
    store.verdict.send_replace(Some(true));
    the_second_fails(&world, &executor).await;
}

#[tokio::test]
async fn the_same_of_a_run_that_was_to_be_kept_as_one() {
    let wanted = Arc::new(AtomicBool::new(false));
    let executor = second_too_large(&wanted);
    let (world, store) = short_by_experience(&executor).await;
    wanted.store(true, Ordering::SeqCst);
    store.verdict.send_replace(Some(true));
    the_second_fails(&world, &executor).await;
    assert_eq!(store.batches().first(), Some(&0));
}
