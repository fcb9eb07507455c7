//! A store whose host dies at a commit, at once or a few turns after its disk stood still, and which says late, and in another order, that it has kept
//! something.

use std::collections::{BTreeSet, HashMap};
use std::future::pending as forever;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use super::super::super::dispatcher::planted::{self, Defect};
use super::shapes::Draw;
use super::tally::Tally;
use crate::journal::memory::MemoryStore;
use crate::model::id::{EventId, JobId, RunId};
use crate::model::port::{Answer, Commit, Store, forward_store};
use crate::model::record::{Batch, Fact, InboxKey, Write};

/// So many turns others have at most between the moment at which the disk of a host stands still and the end of that host.
const LAST_TURNS: u64 = 40;

/// The store of one life of a host. What is kept outlives it.
pub struct Mortal {
    inner: MemoryStore,
    draw: Draw,
    /// So many calls until it dies, or its disk stands still before that.
    left: AtomicU64,
    last: Last,
    end: Arc<End>,
    /// Whether what rests is packed. It takes a fourth of the time of a simulation, and has tests of its own.
    packs: bool,
    /// How many commits it was given, and the last of which it has said that it is kept.
    given: AtomicU64,
    said: Arc<AtomicU64>,
    unsaid: Unsaid,
    tally: Arc<Tally>,
}

/// What becomes of the last call.
#[derive(Clone, Copy)]
enum Last {
    /// It is kept, and nobody hears of that.
    Kept,
    /// It is not kept.
    Lost,
    /// Neither it nor any other behind it is kept, and the host goes on for so many turns: as far as it may without an answer.
    WithOthers(u64),
}

/// The end of a host.
#[derive(Default)]
struct End {
    /// Nothing is kept any more.
    stands: AtomicBool,
    over: Notify,
}

impl End {
    fn come(&self) {
        self.stands.store(true, Ordering::SeqCst);
        self.over.notify_one();
    }
}

/// The batches of which nobody has heard yet that they are kept.
#[derive(Clone, Default)]
pub struct Unsaid(Arc<Mutex<Batches>>);

#[derive(Default)]
struct Batches {
    /// By run: the numbers of their first facts.
    open: HashMap<RunId, BTreeSet<u64>>,
    /// In which batch of its run an attempt of a job began, by the job and its number.
    began: HashMap<(JobId, u32), (RunId, u64)>,
}

/// One of them, until somebody has heard.
struct Open(Unsaid, RunId, u64);

impl Unsaid {
    fn begin(&self, batch: &Batch) -> Open {
        let mut batches = self.0.lock().unwrap();
        let jobs = batch.facts.iter().filter_map(|fact| match fact {
            Fact::AttemptStarted { job, attempt, .. } => Some(((*job, *attempt), (batch.run, batch.first))),
            _ => None,
        });
        batches.began.extend(jobs);
        batches.open.entry(batch.run).or_default().insert(batch.first);
        Open(self.clone(), batch.run, batch.first)
    }

    /// Whether this attempt of a job, which begins now, is before anybody has heard that all it follows from is kept.
    pub fn is_ahead(&self, job: JobId, attempt: u32) -> bool {
        let batches = self.0.lock().unwrap();
        let Some((run, first)) = batches.began.get(&(job, attempt)) else { return true };
        batches.open.get(run).is_some_and(|open| open.range(..=first).next().is_some())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let Self(unsaid, run, first) = self;
        if let Some(open) = unsaid.0.lock().unwrap().open.get_mut(run) {
            open.remove(first);
        }
    }
}

impl Mortal {
    pub fn new(inner: MemoryStore, left: u64, draw: Draw, tally: &Arc<Tally>) -> Self {
        let last = match draw.below(4) {
            0 | 1 => Last::WithOthers(draw.below(LAST_TURNS)),
            2 => Last::Kept,
            _ => Last::Lost,
        };
        let (left, packs) = (AtomicU64::new(left), draw.chance(15));
        let (given, said, tally) = (AtomicU64::new(0), Arc::default(), Arc::clone(tally));
        Self { inner, draw, left, last, end: Arc::default(), packs, given, said, unsaid: Unsaid::default(), tally }
    }

    /// Nothing that the host does has an effect any more.
    pub fn kill(&self) {
        self.end.come();
    }

    /// Waits until the host dies.
    pub async fn over(&self) {
        self.end.over.notified().await;
    }

    /// What nobody has heard of yet.
    pub fn unsaid(&self) -> &Unsaid {
        &self.unsaid
    }

    fn is_dead(&self) -> bool {
        self.end.stands.load(Ordering::SeqCst)
    }

    fn die(&self, keep: impl FnOnce() -> Commit) {
        self.tally.crashes.fetch_add(1, Ordering::Relaxed);
        match self.last {
            Last::Kept => drop(keep()),
            Last::Lost => {}
            Last::WithOthers(turns) => {
                let end = Arc::clone(&self.end);
                self.end.stands.store(true, Ordering::SeqCst);
                tokio::spawn(async move {
                    for _ in 0..turns {
                        tokio::task::yield_now().await;
                    }
                    end.come();
                });
                return;
            }
        }
        self.kill();
    }

    fn take(&self, keep: impl FnOnce() -> Commit) -> Commit {
        if self.is_dead() {
            return Box::pin(forever());
        }
        if self.left.fetch_sub(1, Ordering::SeqCst) <= 1 {
            self.die(keep);
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
        let open = self.unsaid.begin(&batch);
        let commit = self.take(|| self.inner.commit(batch));
        Box::pin(async move {
            let kept = commit.await;
            drop(open);
            kept
        })
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

    fn rest(&self, run: RunId) {
        if self.packs {
            self.inner.rest(run);
        }
    }

    fn has_taken(&self, key: InboxKey) -> Answer<bool> {
        if planted::is(Defect::TakesTwice) {
            return Box::pin(std::future::ready(Ok(false)));
        }
        self.inner.has_taken(key)
    }

    forward_store!(only inner: facts, pending, claim, kept, first_kept, bundle, runs, health);
}
