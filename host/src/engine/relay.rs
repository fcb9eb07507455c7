//! The outbox: events that are kept with what they tell of, until everybody who hears them has taken them.
//!
//! They are kept by a step's transaction, in the host's store or in a user's own database, and published by one task, the relay, once that has
//! ended well. Only then are they forgotten, so that a host that is killed in between publishes them again, and each flow's inbox takes them once.

mod entry;
mod lines;
mod sending;
mod tables;
mod tries;
mod working;

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::model::event::{Causation, Event};
use crate::model::id::{EventId, PipelineName};
use crate::model::port::{Commit, OutboxTable, Page, PendingEvent, StoreError, Unreadable};
use crate::model::record::{Batch, Room};
use crate::plan::Bound;

use super::shared::Shared;
pub use entry::Entry;
pub use lines::MOST;
use lines::{Lines, Mark};
use tables::Tables;
use tries::Tries;

/// The outbox of a host.
#[derive(Default)]
pub struct Relay {
    lines: Mutex<Lines>,
    tables: Mutex<Tables>,
    tries: Tries,
    /// Told when there is something to do.
    wake: Notify,
    started: AtomicBool,
}

impl Relay {
    /// Commits a batch with entries in one transaction. They go out once it has ended well, in the order of these calls; else they are not kept.
    pub fn commit(&self, shared: &Arc<Shared>, mut batch: Batch, entries: Vec<Entry>) -> Commit {
        batch.writes.extend(entries.iter().map(Entry::keep));
        let mut unsettled = Unsettled { shared: Arc::clone(shared), held: Vec::with_capacity(entries.len()), beyond: 0 };
        let commit = {
            // Under the lock: in memory they stand in the order in which the store has them.
            let mut lines = self.lines();
            let commit = shared.ports.store.commit(batch);
            for entry in entries {
                let id = entry.event.id;
                if lines.emit(Arc::new(entry)) {
                    unsettled.held.push(id);
                } else {
                    unsettled.beyond += 1;
                }
            }
            commit
        };
        Box::pin(async move {
            let ended = commit.await;
            unsettled.settle(ended.is_ok());
            ended
        })
    }

    /// An executor has written an event into that table, whose source is that pipeline.
    pub fn written(&self, shared: &Arc<Shared>, source: &PipelineName, table: Arc<dyn OutboxTable>) {
        self.tables().ask(source, table);
        self.start(shared);
    }

    /// Other files are in force: their tables are looked into from now on, and what waited for them goes.
    pub fn install(&self, bounds: &[Arc<Bound>]) {
        self.tables().install(bounds);
        self.lines().unpark();
        self.wake.notify_one();
    }

    /// Takes up what the store has from before, as much of it as fits into memory, and tells what of that cannot be read. To be called before any run goes
    /// on. Returns which of these events are the relay's to publish, and nobody else's.
    ///
    /// # Errors
    /// What is wrong with the store.
    pub async fn take_up(&self, shared: &Arc<Shared>, pending: &[PendingEvent]) -> Result<Mine, StoreError> {
        let store = &shared.ports.store;
        self.tries.load(&shared.insist(|| store.first_kept(Room::Try, MOST)).await?.kept);
        let mark = self.lines().begin_page();
        for Unreadable { owner, key, why, .. } in shared.insist(|| self.page(shared, &mark)).await? {
            // It stays: with a secret that is given again it may go out after a later start, so nobody forgets it.
            let reason = format!("it cannot be read, and goes out after a start that can: {why}");
            sending::tell(shared, &PipelineName::new(owner), key, reason);
        }
        // Asked by their names: how many there are in all does not matter.
        let name = |event: &Event| (event.source.to_string(), event.id.to_string());
        let open: Vec<_> = pending.iter().filter(|pending| !pending.published).map(|pending| name(&pending.event)).collect();
        Ok(Mine(shared.insist(|| store.holds(Room::Outbox, &open)).await?))
    }

    /// How many events are in memory that have not reached everybody.
    pub fn waiting(&self) -> usize {
        self.lines().len()
    }

    /// Starts the relay, if it does not work yet, and has it look.
    pub fn start(&self, shared: &Arc<Shared>) {
        // A host that stops starts nothing: what is kept goes out after the next start.
        if !shared.stop.is_cancelled() && !self.started.swap(true, Ordering::AcqRel) {
            let (busy, of_task) = (shared.ports.activity.enter(), Arc::clone(shared));
            shared.tasks.spawn(working::work(of_task, busy));
        }
        self.wake.notify_one();
    }

    /// Reads the page of the store that was [begun](Lines::begin_page) with that mark. Returns those in it that cannot be read: they stay, and take
    /// nobody's place.
    async fn page(&self, shared: &Arc<Shared>, mark: &Mark) -> Result<Vec<Unreadable>, StoreError> {
        let Page { kept: page, unreadable: unread } = shared.ports.store.first_kept(Room::Outbox, MOST).await?;
        let mut unreadable = Vec::new();
        {
            let mut lines = self.lines();
            let mut whole = page.len() < MOST;
            for kept in &page {
                match Entry::of(kept) {
                    Ok(entry) => whole &= lines.found(Arc::new(entry)),
                    Err(why) => unreadable.push((kept, why)),
                }
            }
            lines.end_page(mark, whole);
        }
        for (kept, why) in unreadable {
            sending::bury_unreadable(shared, kept, &why).await;
        }
        Ok(unread)
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Events that the relay publishes: those of them that stand in the store's outbox, by source and id.
pub struct Mine(HashSet<(String, String)>);

impl Mine {
    /// Whether an event is among them: it stands in the store's outbox, or it went out by way of one as what a job gave.
    pub fn has(&self, event: &Event) -> bool {
        let is_outboxed = matches!(event.causation, Causation::Job(job) if event.id == EventId::emitted_by(job));
        is_outboxed || self.0.contains(&(event.source.to_string(), event.id.to_string()))
    }
}

/// Entries of which it is not known whether they are kept. However the commit ends, those behind them go on.
struct Unsettled {
    shared: Arc<Shared>,
    held: Vec<EventId>,
    beyond: usize,
}

impl Unsettled {
    fn settle(&mut self, kept: bool) {
        if self.held.is_empty() && self.beyond == 0 {
            return;
        }
        let relay = &self.shared.relay;
        {
            let mut lines = relay.lines();
            for id in self.held.drain(..) {
                lines.settle(id, kept);
            }
            for _ in 0..std::mem::take(&mut self.beyond) {
                lines.settle_beyond();
            }
        }
        relay.start(&self.shared);
    }
}

impl Drop for Unsettled {
    fn drop(&mut self) {
        self.settle(false);
    }
}
