//! Facts in memory: bounded, and quick enough to stand on the path of every step.

mod inbox;
mod rooms;
mod weight;

use std::collections::hash_map::Entry;
use std::collections::{HashSet, VecDeque};
use std::future::ready;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::compact::{Compactor, Packed};
use crate::model::activation::RunOutcome;
use crate::model::bundle::Bundle;
use crate::model::event::Event;
use crate::model::id::{Digest, EventId, IdMap, RunId};
use crate::model::port::{Answer, Clock, Commit, Health, Page, Pending, PendingEvent, RunQuery, RunRecord, Store, StoreError};
use crate::model::record::{Batch, Beginning, Fact, InboxKey, Kept as KeptValue, Room, Write, beginning_of};
use crate::model::time::Timestamp;
use inbox::Inbox;
use rooms::Rooms;
use weight::{check_writes, weigh_facts};

/// How much is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// How many runs that have ended; the one that ended first goes. 16 by default: what is freed is then still near the processor, while
    /// with many small runs it would have to be fetched from afar to be freed.
    pub ended_runs: usize,
    /// About how many bytes of runs that have ended. 32 MiB by default.
    pub ended_bytes: usize,
    /// About how many bytes of runs that go on, or are parked; beyond it a commit fails with [`StoreError::Full`]. 1 GiB by default.
    pub live_bytes: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { ended_runs: 16, ended_bytes: 32 << 20, live_bytes: 1 << 30 }
    }
}

/// The memory store. Cloning gives another handle on the same one.
///
/// It keeps every run that goes on or is parked, those that dead letters name, and the last that ended. Of one that does not outlive the host, and began
/// and ended in one batch, it keeps nothing: nobody can have heard of it before it was over. Bytes are estimates: what is counted is the data, and a value
/// that several facts share is counted for each.
///
/// To outlive a host it is kept by whoever starts the next one, who calls [`MemoryStore::restart`].
#[derive(Clone, Default)]
pub struct MemoryStore(Arc<Inside>);

#[derive(Default)]
struct Inside {
    bounds: Bounds,
    kept: Mutex<Kept>,
    compactor: Compactor,
    clock: Option<Arc<dyn Clock>>,
}

#[derive(Default)]
struct Kept {
    runs: IdMap<RunId, History>,
    /// The histories of runs that rest, in few bytes.
    packed: IdMap<RunId, Resting>,
    /// The ended ones, the one that ended first in front.
    ended: VecDeque<RunId>,
    ended_bytes: usize,
    live_bytes: usize,
    inbox: Inbox,
    /// By the run that dispatched them: the runs that began.
    parts: IdMap<RunId, Vec<RunId>>,
    /// How often each run was taken up since its last fact.
    claims: IdMap<RunId, u32>,
    /// The events that everybody has taken.
    published: HashSet<EventId>,
    rooms: Rooms,
    /// What runs of flows that are not durable have taken and kept.
    passing: Passing,
}

/// What a host takes with it when it ends.
#[derive(Default)]
struct Passing {
    inbox: Inbox,
    rooms: Rooms,
}

#[derive(Default)]
struct History {
    batches: Vec<Arc<Vec<Fact>>>,
    facts: u64,
    bytes: usize,
    /// Something is left to be taken back: it counts as if it went on, so that it is never pushed out.
    parked: bool,
    due: Option<Timestamp>,
    ended: bool,
    durable: bool,
}

/// What facts make of how a run stands; `None` if they leave it as it is.
fn comes_to(facts: &[Fact]) -> Option<Standing> {
    facts.iter().rev().find_map(|fact| match fact {
        Fact::Ended { outcome: RunOutcome::Parked { .. }, .. } => Some(Standing::Parked),
        Fact::Ended { .. } => Some(Standing::Ended),
        // What seemed its end was none.
        Fact::Resumed { .. } => Some(Standing::Open),
        _ => None,
    })
}

/// Whether a run begins with this batch, with which it ends, and nothing goes out with it that might have to be told again.
fn is_passing(batch: &Batch) -> bool {
    let goes_out = |fact: &Fact| match fact {
        Fact::Emitted { .. } | Fact::Dispatched { .. } => true,
        Fact::JobEnded { events, .. } => !events.is_empty(),
        _ => false,
    };
    batch.first == 0 && batch.writes.is_empty() && !batch.facts.iter().any(goes_out)
}

/// How a run stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    Open,
    Parked,
    Ended,
}

/// The history of a run that rests.
struct Resting {
    packed: Packed,
    /// [`Timestamp::MAX`] is never: there are very many of these.
    due: Timestamp,
    bytes: u32,
    /// It has few: each counts for more than a hundred bytes.
    facts: u16,
    durable: bool,
}

/// What is packed is no larger: the data of a large history is what it takes, and reading it back would hold up the run that wakes.
const PACKED: usize = 64 << 10;

/// The map of histories is not made smaller below.
const SMALL: usize = 1_024;

impl MemoryStore {
    /// An empty store with the default bounds.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty store with other bounds.
    pub fn with_bounds(bounds: Bounds) -> Self {
        Self(Arc::new(Inside { bounds, ..Inside::default() }))
    }

    /// An empty store with the default bounds that knows the time: by which events flows were begun is forgotten after seven days, as it is in a file.
    /// One that does not know it forgets that only when it is too much.
    pub fn timed(clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Inside { clock: Some(clock), ..Inside::default() }))
    }

    /// How many runs it knows, and how many of them have ended.
    pub fn count(&self) -> (usize, usize) {
        let kept = self.kept();
        (kept.runs.len() + kept.packed.len(), kept.ended.len())
    }

    /// Whether it has anything of this run.
    pub fn knows(&self, run: RunId) -> bool {
        let kept = self.kept();
        kept.runs.contains_key(&run) || kept.packed.contains_key(&run)
    }

    /// The host has ended and another one begins: what is not durable is gone, as from a store in a file.
    pub fn restart(&self) {
        let mut kept = self.kept();
        let Kept { runs, packed, ended, ended_bytes, live_bytes, parts, claims, passing, .. } = &mut *kept;
        let gone: Vec<History> = runs.extract_if(|_, history| !history.durable).map(|(_, history)| history).collect();
        for history in &gone {
            *if history.ended { &mut *ended_bytes } else { &mut *live_bytes } -= history.bytes;
        }
        packed.retain(|_, resting| {
            if !resting.durable {
                *live_bytes -= resting.bytes as usize;
            }
            resting.durable
        });
        let is_known = |run: &RunId| runs.contains_key(run) || packed.contains_key(run);
        ended.retain(&is_known);
        parts.retain(|run, _| is_known(run));
        claims.retain(|run, _| is_known(run));
        *passing = Passing::default();
        drop(kept);
        drop(gone);
    }

    fn append(&self, batch: Batch) -> Result<(), StoreError> {
        // Before the lock: it walks through the data.
        let bytes = weigh_facts(&batch.facts)?;
        check_writes(&batch.writes)?;
        let comes_to = comes_to(&batch.facts);
        if !batch.durable && comes_to == Some(Standing::Ended) && is_passing(&batch) {
            return self.pass(&batch);
        }
        let bounds = self.0.bounds;
        let mut kept = self.kept();
        kept.unpack(batch.run);
        let Kept { runs, ended, ended_bytes, live_bytes, .. } = &mut *kept;
        let history = runs.entry(batch.run);
        let expected = match &history {
            Entry::Occupied(history) => history.get().facts,
            Entry::Vacant(_) => 0,
        };
        if batch.first != expected {
            return Err(StoreError::OutOfOrder { run: batch.run, expected, found: batch.first });
        }
        // The end of a run is always taken: it is what makes room.
        if !matches!(comes_to, Some(Standing::Parked | Standing::Ended)) && live_bytes.saturating_add(bytes) > bounds.live_bytes {
            let why = format!("the runs that go on hold about {} MiB of data, and no more is kept in memory", bounds.live_bytes >> 20);
            return Err(StoreError::Full(why));
        }
        let history = history.or_insert_with(|| History { durable: batch.durable, ..History::default() });
        let began = match batch.facts.first() {
            Some(Fact::Began(beginning) | Fact::Queued(beginning)) => Some(Arc::clone(beginning)),
            _ => None,
        };
        history.facts += batch.facts.len() as u64;
        history.batches.push(batch.facts);
        history.bytes += bytes;
        history.due = batch.due;
        let was_over = history.ended;
        if let Some(standing) = comes_to {
            (history.parked, history.ended) = (standing == Standing::Parked, standing == Standing::Ended);
        }
        let is_over = history.ended;
        *(if was_over { &mut *ended_bytes } else { &mut *live_bytes }) -= history.bytes - bytes;
        *(if is_over { &mut *ended_bytes } else { &mut *live_bytes }) += history.bytes;
        match (was_over, is_over) {
            (true, false) => ended.retain(|run| *run != batch.run),
            (false, true) => ended.push_back(batch.run),
            _ => {}
        }
        if let Some(began) = began {
            kept.note(&began, batch.durable);
        }
        if !kept.claims.is_empty() {
            kept.claims.remove(&batch.run);
        }
        if !batch.writes.is_empty() {
            kept.write(batch.writes, batch.durable);
        }
        let forgotten = kept.forget(&bounds);
        drop(kept);
        // Freed outside the lock: a history may be large.
        drop(forgotten);
        Ok(())
    }

    /// A run passes: what has to be known of its beginning is noted.
    fn pass(&self, batch: &Batch) -> Result<(), StoreError> {
        let mut kept = self.kept();
        if let Some(history) = kept.runs.get(&batch.run) {
            return Err(StoreError::OutOfOrder { run: batch.run, expected: history.facts, found: batch.first });
        }
        if let Some(beginning) = beginning_of(&batch.facts) {
            kept.note(beginning, batch.durable);
        }
        Ok(())
    }

    fn history(&self, run: RunId) -> Vec<Fact> {
        let kept = self.kept();
        let packed = kept.packed.get(&run).map(|resting| resting.packed.clone());
        let batches = kept.runs.get(&run).map(|history| history.batches.clone()).unwrap_or_default();
        drop(kept);
        match packed {
            Some(packed) => unpack(run, &packed),
            None => batches.iter().flat_map(|batch| batch.iter().cloned()).collect(),
        }
    }

    fn record(&self, run: RunId) -> Option<RunRecord> {
        let due = {
            let kept = self.kept();
            let resting = kept.packed.get(&run).and_then(|resting| some_time(resting.due));
            kept.runs.get(&run).map_or(resting, |history| history.due)
        };
        RunRecord::of(&self.history(run), due)
    }

    /// Packs what the store has of a run.
    fn pack(&self, run: RunId) {
        let Some(batches) = self
            .kept()
            .runs
            .get(&run)
            .filter(|history| !history.parked && !history.ended && history.bytes <= PACKED)
            .map(|history| history.batches.clone())
        else {
            return;
        };
        let facts: Vec<Fact> = batches.iter().flat_map(|batch| batch.iter().cloned()).collect();
        drop(batches);
        // Outside the lock: it takes as long as a small step.
        let Some(packed) = self.0.compactor.pack(run, &facts) else { return };
        let mut kept = self.kept();
        let Some(history) = kept.runs.get(&run).filter(|history| history.facts == facts.len() as u64) else { return };
        let (Ok(facts), Ok(bytes), durable) = (u16::try_from(history.facts), u32::try_from(history.bytes), history.durable) else { return };
        let unpacked = kept.runs.remove(&run);
        if kept.runs.capacity() > SMALL && kept.runs.len() < kept.runs.capacity() / 8 {
            let room = kept.runs.len() * 2;
            kept.runs.shrink_to(room);
        }
        let due = unpacked.as_ref().and_then(|history| history.due).unwrap_or(Timestamp::MAX);
        kept.packed.insert(run, Resting { packed, due, bytes, facts, durable });
        drop(kept);
        drop(unpacked);
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn write(&mut self, writes: Vec<Write>, durable: bool) {
        for write in &writes {
            if let Write::Emit(event) = write {
                // Told once more, whoever has taken it before.
                self.published.remove(&event.id);
            }
        }
        let rooms = if durable { &mut self.rooms } else { &mut self.passing.rooms };
        rooms.write(writes);
    }

    /// Has a run's history as it is added to.
    fn unpack(&mut self, run: RunId) {
        if self.packed.is_empty() {
            return;
        }
        let Some(resting) = self.packed.remove(&run) else { return };
        let facts = Arc::new(unpack(run, &resting.packed));
        let history = History {
            batches: vec![facts],
            facts: resting.facts.into(),
            bytes: resting.bytes as usize,
            parked: false,
            due: some_time(resting.due),
            ended: false,
            durable: resting.durable,
        };
        self.runs.insert(run, history);
        if self.packed.capacity() > SMALL && self.packed.len() < self.packed.capacity() / 8 {
            let room = self.packed.len() * 2;
            self.packed.shrink_to(room);
        }
    }

    /// What has to be known of a run's beginning even when its facts are forgotten.
    fn note(&mut self, beginning: &Beginning, durable: bool) {
        match (&beginning.event, beginning.parent, &beginning.part) {
            (_, Some(parent), Some(_)) => self.parts.entry(parent).or_default().push(beginning.run),
            (Some(event), None, None) => {
                let key = InboxKey { pipeline: beginning.pipeline.clone(), flow: beginning.flow.clone(), event: event.id };
                let inbox = if durable { &mut self.inbox } else { &mut self.passing.inbox };
                inbox.take(key, beginning.at);
            }
            _ => {}
        }
    }

    fn pending(&self) -> Pending {
        let (mut runs, mut dispatches) = (Vec::new(), Vec::new());
        let mut pending = Pending::default();
        let mut publish = |events: &[Event]| {
            let known = |event: &Event| PendingEvent { event: event.clone(), published: self.published.contains(&event.id) };
            pending.events.extend(events.iter().map(known));
        };
        self.rooms.emitted().for_each(|event| publish(std::slice::from_ref(event)));
        let unpacked: Vec<(RunId, Vec<Arc<Vec<Fact>>>)> =
            self.packed.iter().map(|(run, resting)| (*run, vec![Arc::new(unpack(*run, &resting.packed))])).collect();
        let resting =
            unpacked.iter().map(|(run, batches)| (run, batches, false, self.packed.get(run).and_then(|resting| some_time(resting.due))));
        let others = self.runs.iter().map(|(run, history)| (run, &history.batches, history.parked || history.ended, history.due));
        for (run, batches, ended, due) in others.chain(resting) {
            for fact in batches.iter().flat_map(|batch| batch.iter()) {
                match fact {
                    Fact::Began(beginning) | Fact::Queued(beginning) if !ended => {
                        let known = (due.unwrap_or(Timestamp::MAX), beginning.at, *run);
                        if runs.last() != Some(&known) {
                            runs.push(known);
                        }
                    }
                    Fact::Emitted { events, .. } | Fact::JobEnded { events, .. } => publish(events),
                    Fact::Dispatched { run: dispatched, .. } => {
                        let began = self.runs.contains_key(dispatched)
                            || self.packed.contains_key(dispatched)
                            || self.parts.get(run).is_some_and(|parts| parts.contains(dispatched));
                        if !began {
                            dispatches.push((*run, *dispatched));
                        }
                    }
                    _ => {}
                }
            }
        }
        runs.sort();
        runs.dedup_by_key(|(.., run)| *run);
        dispatches.sort();
        pending.runs = runs.into_iter().map(|(.., run)| run).collect();
        pending.claimed = pending.runs.iter().filter_map(|run| Some((*run, *self.claims.get(run)?))).collect();
        pending.dispatched = dispatches;
        pending.events.sort_by_key(|pending| (pending.event.time, pending.event.id));
        // One that was told once more is known twice.
        pending.events.dedup_by_key(|pending| pending.event.id);
        pending
    }

    /// Takes the run that ended first out of the line. One that a dead letter names stays until somebody has decided what becomes of it.
    fn first_to_go(&mut self) -> Option<RunId> {
        if self.rooms.is_empty(Room::DeadLetter) {
            return self.ended.pop_front();
        }
        let named = |run: &RunId| {
            let first = self.runs.get(run).and_then(|history| history.batches.first()?.first());
            let Some(Fact::Began(beginning) | Fact::Queued(beginning)) = first else { return false };
            self.rooms.has(Room::DeadLetter, &format!("{}.{}", beginning.pipeline, beginning.flow), &run.to_string())
        };
        let place = self.ended.iter().position(|run| !named(run))?;
        self.ended.remove(place)
    }

    fn forget(&mut self, bounds: &Bounds) -> Vec<History> {
        let mut forgotten = Vec::new();
        while self.ended.len() > bounds.ended_runs || self.ended_bytes > bounds.ended_bytes {
            let Some(run) = self.first_to_go() else { break };
            if !self.parts.is_empty() {
                self.parts.remove(&run);
            }
            if !self.claims.is_empty() {
                self.claims.remove(&run);
            }
            if let Some(history) = self.runs.remove(&run) {
                self.ended_bytes -= history.bytes;
                forgotten.push(history);
            }
        }
        forgotten
    }
}

impl Store for MemoryStore {
    fn commit(&self, batch: Batch) -> Commit {
        Box::pin(ready(self.append(batch)))
    }

    fn write(&self, writes: Vec<Write>) -> Commit {
        if let Err(error) = check_writes(&writes) {
            return Box::pin(ready(Err(error)));
        }
        // What a flow that is not durable has kept is forgotten too.
        let forgotten: Vec<Write> = writes.iter().filter(|write| matches!(write, Write::Forget { .. })).cloned().collect();
        let mut kept = self.kept();
        if !forgotten.is_empty() {
            kept.passing.rooms.write(forgotten);
        }
        kept.write(writes, true);
        drop(kept);
        Box::pin(ready(Ok(())))
    }

    fn facts(&self, run: RunId) -> Answer<Vec<Fact>> {
        Box::pin(ready(Ok(self.history(run))))
    }

    fn rest(&self, run: RunId) {
        self.pack(run);
    }

    fn pending(&self) -> Answer<Pending> {
        Box::pin(ready(Ok(self.kept().pending())))
    }

    fn claim(&self, run: RunId) -> Answer<u32> {
        let mut kept = self.kept();
        let count = kept.claims.entry(run).or_default();
        *count = count.saturating_add(1);
        Box::pin(ready(Ok(*count)))
    }

    fn has_taken(&self, key: InboxKey) -> Answer<bool> {
        let now = self.0.clock.as_ref().map(|clock| clock.now());
        let kept = self.kept();
        Box::pin(ready(Ok(kept.inbox.has(&key, now) || kept.passing.inbox.has(&key, now))))
    }

    fn published(&self, events: Vec<EventId>) {
        let mut kept = self.kept();
        if kept.published.len() > inbox::MOST {
            // What is told twice is taken once.
            kept.published.clear();
        }
        kept.published.extend(events);
    }

    fn kept(&self, room: Room) -> Answer<Vec<KeptValue>> {
        let page = self.first_kept(room, usize::MAX);
        Box::pin(async move { page.await?.whole() })
    }

    fn first_kept(&self, room: Room, most: usize) -> Answer<Page> {
        let inside = self.kept();
        let mut kept = inside.rooms.kept(room, most);
        kept.extend(inside.passing.rooms.kept(room, most - kept.len()));
        Box::pin(ready(Ok(Page { kept, unreadable: Vec::new() })))
    }

    fn holds(&self, room: Room, names: &[(String, String)]) -> Answer<HashSet<(String, String)>> {
        Box::pin(ready(Ok(self.kept().rooms.holds(room, names))))
    }

    fn bundle(&self, revision: Digest) -> Answer<Option<Arc<Bundle>>> {
        let kept = self.kept();
        Box::pin(ready(Ok(kept.rooms.bundle(revision).or_else(|| kept.passing.rooms.bundle(revision)))))
    }

    fn runs(&self, query: RunQuery) -> Answer<Vec<RunRecord>> {
        let known: Vec<RunId> = match query.run {
            Some(run) => vec![run],
            None => {
                let kept = self.kept();
                kept.runs.keys().chain(kept.packed.keys()).copied().filter(|run| query.may_want(*run)).collect()
            }
        };
        let mut records: Vec<RunRecord> =
            known.into_iter().filter_map(|run| self.record(run)).filter(|record| query.wants(record)).collect();
        records.sort_by_key(|record| std::cmp::Reverse(record.run));
        if query.limit > 0 {
            records.truncate(query.limit);
        }
        Box::pin(ready(Ok(records)))
    }

    fn health(&self) -> Health {
        Health::Good
    }
}

fn some_time(due: Timestamp) -> Option<Timestamp> {
    (due != Timestamp::MAX).then_some(due)
}

fn unpack(run: RunId, packed: &Packed) -> Vec<Fact> {
    // It came back the same when it was packed.
    packed.unpack(run).unwrap_or_default()
}

#[cfg(test)]
mod tests;
