//! A store whose host dies at a commit, and which says late, and in another order, that it has kept something.

use std::future::pending as forever;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::Notify;

use super::super::super::dispatcher::planted::{self, Defect};
use super::shapes::Draw;
use super::tally::Tally;
use crate::journal::memory::MemoryStore;
use crate::model::bundle::Bundle;
use crate::model::id::{Digest, EventId, RunId};
use crate::model::port::{Answer, Commit, Health, Page, Pending, RunQuery, RunRecord, Store};
use crate::model::record::{Batch, Fact, InboxKey, Kept, Room, Write};

/// The store of one life of a host. What is kept outlives it.
pub struct Mortal {
    inner: MemoryStore,
    draw: Draw,
    /// So many calls until it dies.
    left: AtomicU64,
    /// Whether the call at which it dies is kept.
    keeps_last: bool,
    dead: AtomicBool,
    /// Whether what rests is packed. It takes a fourth of the time of a simulation, and has tests of its own.
    packs: bool,
    /// How many commits it was given, and the last of which it has said that it is kept.
    given: AtomicU64,
    said: Arc<AtomicU64>,
    tally: Arc<Tally>,
    /// Told when it dies.
    pub over: Notify,
}

impl Mortal {
    pub fn new(inner: MemoryStore, left: u64, draw: Draw, tally: &Arc<Tally>) -> Self {
        let (left, keeps_last, packs) = (AtomicU64::new(left), draw.chance(50), draw.chance(15));
        let (given, said, tally) = (AtomicU64::new(0), Arc::default(), Arc::clone(tally));
        Self { inner, draw, left, keeps_last, dead: AtomicBool::new(false), packs, given, said, tally, over: Notify::new() }
    }

    /// Nothing that the host does has an effect any more.
    pub fn kill(&self) {
        self.dead.store(true, Ordering::SeqCst);
        self.over.notify_one();
    }

    fn is_dead(&self) -> bool {
        self.dead.load(Ordering::SeqCst)
    }

    fn take(&self, keep: impl FnOnce() -> Commit) -> Commit {
        if self.is_dead() {
            return Box::pin(forever());
        }
        if self.left.fetch_sub(1, Ordering::SeqCst) <= 1 {
            if self.keeps_last {
                drop(keep());
            }
            self.tally.crashes.fetch_add(1, Ordering::Relaxed);
            self.kill();
            return Box::pin(forever());
        }
        let (kept, late) = (keep(), self.draw.below(6));
        let number = self.given.fetch_add(1, Ordering::Relaxed);
        let (said, tally) = (Arc::clone(&self.said), Arc::clone(&self.tally));
        Box::pin(async move {
            for _ in 0..late {
                tokio::task::yield_now().await;
            }
            tally.late.fetch_add(u64::from(late > 0), Ordering::Relaxed);
            tally.overtaken.fetch_add(u64::from(said.fetch_max(number, Ordering::Relaxed) > number), Ordering::Relaxed);
            kept.await
        })
    }
}

impl Store for Mortal {
    fn commit(&self, batch: Batch) -> Commit {
        self.take(|| self.inner.commit(batch))
    }

    fn write(&self, writes: Vec<Write>) -> Commit {
        self.take(|| self.inner.write(writes))
    }

    fn published(&self, events: Vec<EventId>) {
        // It need not last at once, and what is told twice is taken once.
        if !self.is_dead() && self.draw.chance(50) {
            self.inner.published(events);
        }
    }

    fn claim(&self, run: RunId) -> Answer<u32> {
        self.inner.claim(run)
    }

    fn facts(&self, run: RunId) -> Answer<Vec<Fact>> {
        self.inner.facts(run)
    }

    fn rest(&self, run: RunId) {
        if self.packs {
            self.inner.rest(run);
        }
    }

    fn pending(&self) -> Answer<Pending> {
        self.inner.pending()
    }

    fn has_taken(&self, key: InboxKey) -> Answer<bool> {
        if planted::is(Defect::TakesTwice) {
            return Box::pin(std::future::ready(Ok(false)));
        }
        self.inner.has_taken(key)
    }

    fn kept(&self, room: Room) -> Answer<Vec<Kept>> {
        self.inner.kept(room)
    }

    fn first_kept(&self, room: Room, most: usize) -> Answer<Page> {
        self.inner.first_kept(room, most)
    }

    fn bundle(&self, revision: Digest) -> Answer<Option<Arc<Bundle>>> {
        self.inner.bundle(revision)
    }

    fn runs(&self, query: RunQuery) -> Answer<Vec<RunRecord>> {
        self.inner.runs(query)
    }

    fn health(&self) -> Health {
        self.inner.health()
    }
}
