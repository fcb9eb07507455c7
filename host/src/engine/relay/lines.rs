//! Which entries are in memory, and which of them may go next: pure, so that tests can try every order.

use std::collections::hash_map::Entry as Slot;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use crate::model::id::{EventId, IdMap};

use super::entry::{Entry, Line};

/// So many entries are in memory; the others wait in the store and are read in pages.
pub const MOST: usize = 10_000;
/// So many bytes of them, about.
const MOST_BYTES: usize = 64 << 20;
/// With fewer than these the next page is read.
const FEW: usize = MOST / 2;

/// The entries in memory.
#[derive(Default)]
pub(super) struct Lines {
    held: IdMap<EventId, Held>,
    /// By line: its entries, the one that goes next in front.
    lines: HashMap<Line, VecDeque<EventId>>,
    /// Those that may go, in their order.
    ready: VecDeque<EventId>,
    bytes: usize,
    /// Whether the store has entries of its own that are not in memory; those that come now go behind them.
    beyond: bool,
    /// How many of those are on their way into the store.
    unsettled: usize,
    /// Counts what went beyond.
    generation: u64,
    /// What was over while a page is being read: the page may still have it.
    over: Option<HashSet<EventId>>,
}

struct Held {
    entry: Arc<Entry>,
    stage: Stage,
    /// About how many bytes it took when it came: what is asked of it later may make it larger.
    size: usize,
}

/// Where an entry stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    /// It is on its way into the store.
    Committing,
    /// It is kept.
    Kept,
    /// It is being sent.
    Sending,
    /// Its pipeline is not in force.
    Parked,
}

/// What went beyond before a page was read.
pub(super) struct Mark(u64);

impl Lines {
    /// Takes an entry that is being emitted; false if there is no room, so that it has to come from the store.
    pub(super) fn emit(&mut self, entry: Arc<Entry>) -> bool {
        if self.beyond || self.is_full() {
            self.beyond = true;
            self.unsettled += 1;
            self.generation += 1;
            return false;
        }
        self.take(entry, Stage::Committing);
        true
    }

    /// What was taken by [`emit`](Self::emit) is kept, or is not.
    pub(super) fn settle(&mut self, id: EventId, kept: bool) {
        match self.held.get_mut(&id) {
            Some(held) if kept => {
                held.stage = Stage::Kept;
                self.may_go(id);
            }
            Some(_) => self.done(id),
            None => {}
        }
    }

    /// What found no room is kept, or is not.
    pub(super) const fn settle_beyond(&mut self) {
        self.unsettled = self.unsettled.saturating_sub(1);
    }

    /// Takes an entry that is kept; false if there is no room. One that is there stays.
    pub(super) fn found(&mut self, entry: Arc<Entry>) -> bool {
        let id = entry.event.id;
        if self.held.contains_key(&id) || self.over.as_ref().is_some_and(|over| over.contains(&id)) {
            return true;
        }
        if self.is_full() {
            return false;
        }
        self.take(entry, Stage::Kept);
        self.may_go(id);
        true
    }

    /// Whether the next page should be read: there is one, room for it, and nothing on its way that it might miss.
    pub(super) fn wants_page(&self) -> bool {
        self.beyond && self.over.is_none() && self.unsettled == 0 && self.held.len() < FEW && self.bytes < MOST_BYTES / 2
    }

    /// A page of the store is about to be read.
    pub(super) fn begin_page(&mut self) -> Mark {
        self.over = Some(HashSet::new());
        Mark(self.generation)
    }

    /// A page was read, and what is in it was [found](Self::found); `whole` if that was all that the store had.
    pub(super) fn end_page(&mut self, mark: &Mark, whole: bool) {
        self.over = None;
        self.beyond = !whole || mark.0 != self.generation;
    }

    /// The next entry to be sent.
    pub(super) fn next(&mut self) -> Option<Arc<Entry>> {
        while let Some(id) = self.ready.pop_front() {
            // One that was over before it came to it is not there any more.
            if let Some(held) = self.held.get_mut(&id) {
                held.stage = Stage::Sending;
                return Some(Arc::clone(&held.entry));
            }
        }
        None
    }

    /// An entry waits until other files are in force; those behind it in its line wait too.
    pub(super) fn park(&mut self, id: EventId) {
        if let Some(held) = self.held.get_mut(&id) {
            held.stage = Stage::Parked;
        }
    }

    /// Other files are in force.
    pub(super) fn unpark(&mut self) {
        let mut parked: Vec<EventId> = self.held.iter().filter(|(_, held)| held.stage == Stage::Parked).map(|(id, _)| *id).collect();
        parked.sort_unstable();
        for id in parked {
            if let Some(held) = self.held.get_mut(&id) {
                held.stage = Stage::Kept;
            }
            self.ready.push_back(id);
        }
    }

    /// An entry is over: the next of its line may go.
    pub(super) fn done(&mut self, id: EventId) {
        let Some(Held { entry, size, .. }) = self.held.remove(&id) else { return };
        if let Some(over) = &mut self.over {
            over.insert(id);
        }
        self.bytes = self.bytes.saturating_sub(size);
        let Some(line) = entry.line() else { return };
        let Slot::Occupied(mut waiting) = self.lines.entry(line) else { return };
        let was_first = waiting.get().front() == Some(&id);
        if was_first {
            waiting.get_mut().pop_front();
        } else {
            waiting.get_mut().retain(|other| *other != id);
        }
        match waiting.get().front().copied() {
            None => drop(waiting.remove()),
            Some(next) if was_first && self.held.get(&next).is_some_and(|held| held.stage == Stage::Kept) => self.ready.push_back(next),
            Some(_) => {}
        }
    }

    /// How many are in memory.
    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    /// For how many more there is room.
    pub(super) fn room(&self) -> usize {
        if self.is_full() { 0 } else { MOST - self.held.len() }
    }

    fn is_full(&self) -> bool {
        self.held.len() >= MOST || self.bytes >= MOST_BYTES
    }

    fn take(&mut self, entry: Arc<Entry>, stage: Stage) {
        let id = entry.event.id;
        let size = entry.size();
        self.bytes += size;
        if let Some(line) = entry.line() {
            self.lines.entry(line).or_default().push_back(id);
        }
        self.held.insert(id, Held { entry, stage, size });
    }

    /// It goes now, if it is the first of its line or stands in none.
    fn may_go(&mut self, id: EventId) {
        let Some(held) = self.held.get(&id) else { return };
        let is_first = held.entry.line().is_none_or(|line| self.lines.get(&line).and_then(VecDeque::front) == Some(&id));
        if is_first {
            self.ready.push_back(id);
        }
    }
}

#[cfg(test)]
mod tests;
