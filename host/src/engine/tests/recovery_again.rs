//! A host that starts while its store cannot be asked: it goes on asking, and nothing that was left behind is left lying.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::meeting::World;
use super::recovery::{Ending, outcomes, rich, worker};
use crate::journal::memory::MemoryStore;
use crate::model::activation::RunOutcome;
use crate::model::id::RunId;
use crate::model::job::CancelReason;
use crate::model::port::{Answer, Commit, Page, Pending, RunQuery, Store, StoreError, forward_store};
use crate::model::record::{Batch, Fact, InboxKey, Room};

/// A store of which each thing that is read when a host starts is refused so often at first.
struct Reluctant {
    inner: MemoryStore,
    refusals: usize,
    with: StoreError,
    asked: Mutex<HashMap<&'static str, usize>>,
}

impl Reluctant {
    fn over(inner: &MemoryStore, refusals: usize, with: StoreError) -> Arc<Self> {
        Arc::new(Self { inner: inner.clone(), refusals, with, asked: Mutex::default() })
    }

    fn answer<T: Send + 'static>(&self, name: &'static str, ask: impl FnOnce() -> Answer<T>) -> Answer<T> {
        let mut asked = self.asked.lock().unwrap();
        let asked = asked.entry(name).or_default();
        *asked += 1;
        if *asked > self.refusals { ask() } else { Box::pin(std::future::ready(Err(self.with.clone()))) }
    }

    /// What was asked for more often than it was refused.
    fn given(&self) -> Vec<&'static str> {
        let asked = self.asked.lock().unwrap();
        let mut given: Vec<&str> = asked.iter().filter(|(_, asked)| **asked > self.refusals).map(|(name, _)| *name).collect();
        given.sort_unstable();
        given
    }
}

impl Store for Reluctant {
    fn commit(&self, batch: Batch) -> Commit {
        self.inner.commit(batch)
    }

    fn facts(&self, run: RunId) -> Answer<Vec<Fact>> {
        self.answer("facts", || self.inner.facts(run))
    }

    fn facts_of(&self, runs: &[RunId]) -> Answer<Vec<Result<Vec<Fact>, StoreError>>> {
        self.answer("facts_of", || self.inner.facts_of(runs))
    }

    fn pending(&self) -> Answer<Pending> {
        self.answer("pending", || self.inner.pending())
    }

    fn has_taken(&self, key: InboxKey) -> Answer<bool> {
        self.answer("has_taken", || self.inner.has_taken(key))
    }

    fn first_kept(&self, room: Room, most: usize) -> Answer<Page> {
        self.answer("first_kept", || self.inner.first_kept(room, most))
    }

    forward_store!(only inner: write, rest, claim, published, kept, bundle, runs, health);
}

/// What a host leaves in a store that ends after so many commits; `None` if it comes to its end before.
async fn left_after(commits: usize) -> Option<MemoryStore> {
    let store = MemoryStore::new();
    let ending = Ending::after(&store, commits);
    let first = World::on(ending.clone(), Arc::new(rich()), &worker(&Arc::default()), 1);
    let asked = tokio::select! {
        biased;
        (run, _) = first.ask("main") => Some(run),
        () = ending.over.notified() => None,
    };
    let is_over = asked.is_some()
        && tokio::select! {
            () = ending.over.notified() => false,
            () = first.clock.advance(Duration::from_secs(60)) => true,
        };
    (!is_over).then_some(store)
}

#[tokio::test]
async fn a_store_that_cannot_be_asked_at_first_is_asked_again_and_everything_goes_on_once() {
    let (mut commits, mut given) = (2, Vec::new());
    while let Some(store) = left_after(commits).await {
        let reluctant = Reluctant::over(&store, 3, StoreError::Busy("it is copied".to_owned()));
        let second = World::on(Arc::clone(&reluctant) as Arc<dyn Store>, Arc::new(rich()), &worker(&Arc::default()), 2);
        second.clock.run(second.engine.recover()).await.expect("it passes");
        second.clock.advance(Duration::from_secs(60)).await;
        let waits = second.diary.count("store busy");
        assert!(waits >= 6, "after {commits} commits: two things at least were refused three times each, and {waits} of that were told");
        let runs: Vec<RunId> = store.runs(RunQuery::default()).await.expect("never broken").iter().map(|run| run.run).collect();
        assert_eq!(outcomes(&store, &runs).await, [const { RunOutcome::Succeeded }; 4], "after {commits} commits");
        given.extend(reluctant.given());
        commits += 1;
    }
    given.sort_unstable();
    given.dedup();
    assert_eq!(given, ["facts", "facts_of", "first_kept", "has_taken", "pending"], "each way of asking was met");
}

#[tokio::test]
async fn a_host_that_stops_asks_no_more() {
    let store = left_after(3).await.expect("it has not ended");
    let busy = StoreError::Busy("it is copied".to_owned());
    let second = World::on(Reluctant::over(&store, usize::MAX, busy.clone()), Arc::new(rich()), &worker(&Arc::default()), 2);
    let engine = second.engine.clone();
    let recovering = tokio::spawn(async move { engine.recover().await });
    second.clock.advance(Duration::from_secs(3_600)).await;
    assert!(!recovering.is_finished() && second.diary.count("store busy") > 100, "it asks for as long as it takes");
    second.engine.stop(CancelReason::Shutdown).await;
    assert_eq!(recovering.await.expect("no panic"), Err(busy));
}

#[tokio::test]
async fn what_stays_unreadable_is_not_asked_for_for_ever() {
    let store = left_after(3).await.expect("it has not ended");
    let damaged = StoreError::Broken("the journal cannot be read".to_owned());
    let second = World::on(Reluctant::over(&store, usize::MAX, damaged.clone()), Arc::new(rich()), &worker(&Arc::default()), 2);
    assert_eq!(second.clock.run(second.engine.recover()).await, Err(damaged));
    assert_eq!(second.diary.count("store busy"), 5);
}
