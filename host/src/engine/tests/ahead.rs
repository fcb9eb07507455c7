//! A run goes ahead of its records where its attempts only compute, and nobody hears of anything before that is kept.

use std::sync::atomic::Ordering;

use tokio::sync::watch;

use super::keeping::succeeds;
use super::meeting::{World, flow, plan, work};
use super::*;
use crate::model::port::{Commit, Store, StoreError, forward_store};
use crate::model::record::Batch;

/// A store that has at once what comes, and says so of all but a run's first batch when it is told to, or that it is lost.
struct Held {
    inner: MemoryStore,
    verdict: watch::Sender<Option<bool>>,
}

impl Store for Held {
    fn commit(&self, batch: Batch) -> Commit {
        let (is_first, kept, mut verdict) = (batch.first == 0, self.inner.commit(batch), self.verdict.subscribe());
        Box::pin(async move {
            let good = is_first || verdict.wait_for(Option::is_some).await.is_ok_and(|verdict| *verdict == Some(true));
            if good { kept.await } else { Err(StoreError::Broken("the disk is gone".to_owned())) }
        })
    }

    forward_store!(inner: facts, write, published);
}

/// A run of four steps on such a store, whose executor only computes or does not.
async fn four_steps(only_computes: bool) -> (World, Arc<Held>, Arc<Scripted>, Arc<Asker>) {
    let store = Arc::new(Held { inner: MemoryStore::new(), verdict: watch::channel(None).0 });
    let executor = succeeds();
    executor.only_computes.store(only_computes, Ordering::SeqCst);
    let steps = vec![("a", work()), ("b", work()), ("c", work()), ("d", work())];
    let world = World::on(store.clone(), Arc::new(plan(vec![flow("main", steps)])), &executor, 1);
    let (_, asker) = world.ask("main").await;
    // Whatever can go on without the store goes on.
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    (world, store, executor, asker)
}

#[tokio::test]
async fn what_only_computes_goes_ahead_and_is_told_in_its_order_once_it_is_kept() {
    let (world, store, executor, asker) = four_steps(true).await;
    assert_eq!(executor.calls.load(Ordering::SeqCst), 4);
    assert_eq!((world.diary.count("job succeeded"), asker.heard()), (0, Vec::new()), "nothing of it is kept");
    store.verdict.send_replace(Some(true));
    world.clock.run(asker.ended.notified()).await;
    assert_eq!(asker.heard(), ["end succeeded"]);
    let lines = world.diary.lines();
    assert_eq!(lines, ["run started", "job succeeded", "job succeeded", "job succeeded", "job succeeded", "run succeeded"]);
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
