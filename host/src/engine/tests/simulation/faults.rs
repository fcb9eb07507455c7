//! A store whose host dies at a commit, and which says late that it has kept something.

use std::future::pending as forever;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::Notify;

use super::shapes::Draw;
use crate::journal::memory::MemoryStore;
use crate::model::id::EventId;
use crate::model::port::{Commit, Store, forward_store};
use crate::model::record::{Batch, Write};

/// The store of one life of a host. What is kept outlives it.
pub struct Mortal {
    inner: MemoryStore,
    draw: Draw,
    /// So many calls until it dies.
    left: AtomicU64,
    /// Whether the call at which it dies is kept.
    keeps_last: bool,
    dead: AtomicBool,
    /// Told when it dies.
    pub over: Notify,
}

impl Mortal {
    pub fn new(inner: MemoryStore, left: u64, draw: Draw) -> Self {
        let (left, keeps_last) = (AtomicU64::new(left), draw.chance(50));
        Self { inner, draw, left, keeps_last, dead: AtomicBool::new(false), over: Notify::new() }
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
            self.kill();
            return Box::pin(forever());
        }
        let (kept, late) = (keep(), self.draw.below(6));
        Box::pin(async move {
            for _ in 0..late {
                tokio::task::yield_now().await;
            }
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

    forward_store!(inner: facts);
}
