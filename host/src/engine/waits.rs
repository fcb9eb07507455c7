//! The waits and `cancel_on` listens of all runs, and the events that were published before anybody waited for them.
//!
//! The table only finds the way: whether a wait takes an event is decided by its run, whose facts are what counts.

mod kept;
mod key;
mod numbers;
mod open;
mod replay;
mod table;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::model::event::{Event, Scope};
use crate::model::id::{Digest, EventType, RunId};
use crate::model::record::{LaneId, RefusedAnswer, StepNumber, Write};
use crate::model::time::Timestamp;
use crate::plan::pipeline::{Flow, Listen, Pipeline, Verb};

pub use kept::{Closed, read as read_closed};
pub use key::keys;
use table::Table;
pub use table::{Closing, Found, Offer, Place};

/// The table behind a lock that is held for a few look-ups.
#[derive(Default)]
pub struct Waits(Mutex<Table>);

/// Every listen of a flow: its waits, and what cancels its runs.
pub fn listens(flow: &Flow) -> impl Iterator<Item = &Listen> {
    let waits = flow.steps.iter().filter_map(|step| match &step.verb {
        Verb::Wait(wait) => Some(&wait.listen),
        _ => None,
    });
    waits.chain(&flow.cancel_on)
}

impl Waits {
    /// Learns what the flows of these pipelines may wait for: such events are kept for waits that begin after them.
    pub fn install<'a>(&self, pipelines: impl Iterator<Item = &'a Arc<Pipeline>>) {
        let mut table = self.lock();
        for flow in pipelines.flat_map(|pipeline| &pipeline.flows) {
            listens(flow).for_each(|listen| table.learn(listen));
        }
    }

    /// A run that may wait begins: events from now on are kept for it.
    pub fn begin(&self, run: RunId, pipeline: &Arc<Pipeline>) {
        self.lock().begin(run, pipeline);
    }

    /// These were published before the host ended, the oldest first, each with whether it was exported. Until [all runs are
    /// known](Self::all_are_known) nothing is forgotten.
    pub fn replay(&self, events: Vec<(Arc<Event>, bool)>) {
        self.lock().replay(events);
    }

    /// More is waited for than when events were replayed.
    pub fn learned(&self) {
        self.lock().replay_again();
    }

    /// A run that may wait began at that time, before the host ended.
    pub fn begin_at(&self, run: RunId, pipeline: &Arc<Pipeline>, at: Timestamp) {
        self.lock().begin_at(run, pipeline, at);
    }

    /// All runs that go on are known.
    pub fn all_are_known(&self) {
        self.lock().all_are_known();
    }

    /// A run is over: nothing is kept for it any more.
    pub fn end(&self, run: RunId) {
        self.lock().end(run);
    }

    /// A wait is open from now on. Returns the events that were published since its run began and that no earlier wait of it was offered.
    pub fn open(&self, place: Place, keys: &[Digest]) -> Vec<Arc<Event>> {
        self.lock().open(place, keys)
    }

    /// Events with these keys cancel the run from now on. Returns whether one has come since it began.
    pub fn cancel_on(&self, run: RunId, keys: &[Digest]) -> bool {
        self.lock().cancel_on(run, keys)
    }

    /// Events with these keys cancel the run no more.
    pub fn stop_cancelling(&self, run: RunId, keys: &[Digest]) {
        self.lock().stop_cancelling(run, keys);
    }

    /// A wait is over. Returns what is forgotten for it, though its time is not over.
    pub fn close(&self, place: Place, keys: &[Digest], closing: Closing, now: Timestamp) -> Vec<Write> {
        self.lock().close(place, keys, closing, now).into_iter().map(kept::forget).collect()
    }

    /// What is kept of waits of a run that are about to be over, with the facts that close them.
    pub fn closing(&self, run: RunId, over: impl Iterator<Item = (Place, Vec<Digest>, Closing)>, at: Timestamp) -> Vec<Write> {
        let scope = self.lock().scope(run).cloned();
        let kept =
            |scope: Scope| over.map(move |(place, keys, closing)| kept::of(Closed { place, keys, scope: scope.clone(), closing, at }));
        scope.map_or_else(Vec::new, |scope| kept(scope).collect())
    }

    /// Has a wait that was over before the host ended. Returns what is of no use any more.
    pub fn restore_closed(&self, closed: Closed, now: Timestamp) -> Vec<Write> {
        let Closed { place, keys, scope, closing, at } = closed;
        self.lock().remember(place, &keys, &scope, closing, (at, now)).into_iter().map(kept::forget).collect()
    }

    /// A run goes over to another revision: its waits, open and over, have other numbers there. Each with its keys, its lane, and its step before and after.
    pub fn renumber(&self, run: RunId, pipeline: &Arc<Pipeline>, waits: &[(Vec<Digest>, LaneId, StepNumber, StepNumber)]) {
        self.lock().renumber(run, pipeline, waits);
    }

    /// The run has taken or refused an event that had been kept for it.
    pub fn used(&self, run: RunId, event: &Event) {
        self.lock().used(run, event.id);
    }

    /// Whether anybody ever waits for events of that type.
    pub fn concerns(&self, event_type: &EventType) -> bool {
        self.lock().concerns(event_type)
    }

    /// Whom an event concerns that is published now.
    pub fn offer(&self, event: &Arc<Event>, exported: bool, now: Timestamp) -> Found {
        self.lock().offer(event, exported, now)
    }

    /// Why a wait that is over takes nothing more; `None` if that is forgotten.
    pub fn why_closed(&self, run: RunId, wait: (LaneId, StepNumber), keys: &[Digest]) -> Option<RefusedAnswer> {
        self.lock().why_closed(Place { run, lane: wait.0, step: wait.1 }, keys)
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
