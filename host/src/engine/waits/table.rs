//! The table of waits. Pure: it takes values and a time, and says whom an event concerns.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use crate::bus::topology::comes_by;
use crate::model::event::{Event, Scope};
use crate::model::id::{Digest, EventId, EventType, RunId};
use crate::model::record::{LaneId, RefusedAnswer, StepNumber};
use crate::model::time::Timestamp;
use crate::plan::pipeline::{Listen, Pipeline};

use super::key::of_event;
use super::numbers::Numbers;
use super::open::{Open, OpenWaits};
use super::replay::Replayed;

/// So many events are kept for waits that begin after them; the oldest go.
pub(super) const KEPT: usize = 10_000;
/// So many waits that are over are remembered, to tell a late answer from a second one; the oldest go.
pub(super) const CLOSED: usize = 10_000;
/// So long they are remembered.
pub(super) const MEMORY: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// So many lists of fields are looked at for each type of event; waits with further ones take no event that came before them.
const SHAPES: usize = 64;

/// One wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// Its run.
    pub run: RunId,
    /// The lane it stands in.
    pub lane: LaneId,
    /// Its step.
    pub step: StepNumber,
}

/// How a wait came to its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Closing {
    /// It took this event.
    Took(EventId),
    /// Its time passed, or its run went on without it.
    GivenUp,
}

/// Whom an event concerns.
#[derive(Debug, Default)]
pub struct Found {
    /// The runs under way that have to decide whether they take it.
    pub offers: Vec<Offer>,
    /// The runs whose `cancel_on` it meets.
    pub cancels: Vec<RunId>,
    /// The waits of runs that are over which it would have met, one of each run.
    pub over: Vec<(Place, RefusedAnswer)>,
    /// The event that is kept no more, because there are too many.
    pub forgotten: Option<Arc<Event>>,
}

/// What a run is asked.
#[derive(Debug)]
pub struct Offer {
    /// The run.
    pub run: RunId,
    /// The waits that may take it, the one that was opened first in front; if none is open, the one that was.
    pub waits: Vec<(LaneId, StepNumber)>,
    /// Why it is refused if none is open.
    pub otherwise: Option<RefusedAnswer>,
    /// By which the event and the waits met.
    pub keys: Vec<Digest>,
}

/// The table.
#[derive(Default)]
pub(super) struct Table {
    /// By type: the lists of fields, each sorted, that waits look at.
    shapes: HashMap<EventType, Vec<Vec<String>>>,
    open: OpenWaits,
    closed: HashMap<Digest, Vec<Closed>>,
    /// The order in which they were closed.
    closed_order: VecDeque<(Timestamp, Digest, Place)>,
    runs: HashMap<RunId, Listening>,
    /// When each run that may wait began, as numbers of `next`.
    begun: Numbers,
    kept: BTreeMap<u64, Kept>,
    kept_by_key: HashMap<Digest, Vec<u64>>,
    kept_by_id: HashMap<EventId, u64>,
    next: u64,
    /// What was published before the host ended.
    pub(super) replayed: Replayed,
    /// Whether runs may still come that began before what is kept.
    pub(super) is_waiting_for_runs: bool,
}

struct Listening {
    since: u64,
    pipeline: Arc<Pipeline>,
}

struct Closed {
    place: Place,
    scope: Scope,
    closing: Closing,
    at: Timestamp,
}

struct Kept {
    event: Arc<Event>,
    exported: bool,
    keys: Vec<Digest>,
    /// The runs that were offered it.
    used: Vec<RunId>,
}

impl Table {
    pub(super) fn learn(&mut self, listen: &Listen) {
        let mut fields: Vec<String> = listen.matching.iter().map(|(name, _)| name.clone()).collect();
        fields.sort();
        for event_type in &listen.types {
            let shapes = self.shapes.entry(event_type.clone()).or_default();
            if !shapes.contains(&fields) && shapes.len() < SHAPES {
                shapes.push(fields.clone());
            }
        }
    }

    pub(super) fn concerns(&self, event_type: &EventType) -> bool {
        self.shapes.contains_key(event_type)
    }

    pub(super) fn begin(&mut self, run: RunId, pipeline: &Arc<Pipeline>) {
        let since = self.number();
        self.begin_as(run, pipeline, since);
    }

    pub(super) fn begin_as(&mut self, run: RunId, pipeline: &Arc<Pipeline>, since: u64) {
        self.begun.insert(since);
        self.runs.insert(run, Listening { since, pipeline: Arc::clone(pipeline) });
    }

    pub(super) fn end(&mut self, run: RunId) {
        let Some(listening) = self.runs.remove(&run) else { return };
        self.begun.remove(listening.since);
        self.forget_useless();
    }

    pub(super) fn forget_useless(&mut self) {
        if self.is_waiting_for_runs {
            return;
        }
        // An event is of use only to a run that began before it.
        let oldest = self.begun.first().unwrap_or(u64::MAX);
        while let Some(first) = self.kept.first_key_value().map(|(number, _)| *number).filter(|number| *number < oldest) {
            self.forget(first);
        }
    }

    pub(super) fn open(&mut self, place: Place, keys: &[Digest]) -> Vec<Arc<Event>> {
        let order = self.order();
        for key in keys {
            self.open.push(key, Open::new(place.run, Some((place.lane, place.step)), order));
        }
        self.came_before(place.run, keys)
    }

    pub(super) fn cancel_on(&mut self, run: RunId, keys: &[Digest]) -> bool {
        let order = self.order();
        for key in keys {
            self.open.push(key, Open::new(run, None, order));
        }
        !self.came_before(run, keys).is_empty()
    }

    pub(super) fn close(&mut self, place: Place, keys: &[Digest], closing: Closing, now: Timestamp) -> Vec<Place> {
        let scope = self.runs.get(&place.run).map(|listening| listening.pipeline.scope.clone());
        for key in keys {
            self.open.remove(key, |open| open.run() == place.run && open.wait() == Some((place.lane, place.step)));
        }
        scope.map_or_else(Vec::new, |scope| self.remember(place, keys, &scope, closing, (now, now)))
    }

    /// Remembers a wait that was closed at that time. Returns those that are forgotten for it, though their time is not over.
    pub(super) fn remember(
        &mut self,
        place: Place,
        keys: &[Digest],
        scope: &Scope,
        closing: Closing,
        (at, now): (Timestamp, Timestamp),
    ) -> Vec<Place> {
        for key in keys {
            let closed = self.closed.entry(*key).or_default();
            // One that goes on after a restart has read of its waits that are over what is kept of them, too.
            if !closed.iter().any(|closed| closed.place == place) {
                closed.push(Closed { place, scope: scope.clone(), closing, at });
                self.closed_order.push_back((at, *key, place));
            }
        }
        let mut early = Vec::new();
        let is_over = |at: &Timestamp| now.since(*at) > MEMORY;
        while self.closed_order.len() > CLOSED || self.closed_order.front().is_some_and(|(at, _, _)| is_over(at)) {
            if let Some((at, _, place)) = self.closed_order.front()
                && !is_over(at)
                && early.last() != Some(place)
            {
                early.push(*place);
            }
            self.forget_closed();
        }
        early
    }

    /// The scope that a run under way hears.
    pub(super) fn scope(&self, run: RunId) -> Option<&Scope> {
        self.runs.get(&run).map(|listening| &listening.pipeline.scope)
    }

    pub(super) fn renumber(&mut self, run: RunId, pipeline: &Arc<Pipeline>, waits: &[(Vec<Digest>, LaneId, StepNumber, StepNumber)]) {
        if let Some(listening) = self.runs.get_mut(&run) {
            listening.pipeline = Arc::clone(pipeline);
        }
        for (keys, lane, from, to) in waits {
            let (before, after) = (Place { run, lane: *lane, step: *from }, Place { run, lane: *lane, step: *to });
            for key in keys {
                self.open.renumber(key, before, *to);
                for closed in self.closed.get_mut(key).into_iter().flatten().filter(|closed| closed.place == before) {
                    closed.place = after;
                }
            }
        }
    }

    pub(super) fn used(&mut self, run: RunId, event: EventId) {
        if let Some(kept) = self.kept_by_id.get(&event).and_then(|number| self.kept.get_mut(number))
            && !kept.used.contains(&run)
        {
            kept.used.push(run);
        }
    }

    pub(super) fn offer(&mut self, event: &Arc<Event>, exported: bool, now: Timestamp) -> Found {
        let Some(shapes) = self.shapes.get(&event.event_type) else { return Found::default() };
        let data = event.data.tree();
        let keys: Vec<Digest> = shapes.iter().filter_map(|fields| of_event(&event.event_type, data, fields)).collect();
        let mut found = Found::default();
        if keys.is_empty() {
            return found;
        }
        let used = self.kept_by_id.get(&event.id).and_then(|number| self.kept.get(number)).map(|kept| kept.used.clone());
        let offered_before = |run: RunId| used.as_ref().is_some_and(|used| used.contains(&run));
        self.find_open(event, exported, &keys, &mut found);
        found.offers.retain(|offer| !offered_before(offer.run));
        self.find_closed(event, exported, &keys, now, &mut found);
        if used.is_none() && (self.is_waiting_for_runs || !self.begun.is_empty()) {
            found.forgotten = self.keep(event, exported, keys);
        }
        for run in found.offers.iter().map(|offer| offer.run).collect::<Vec<_>>() {
            self.used(run, event.id);
        }
        found
    }

    pub(super) fn why_closed(&self, place: Place, keys: &[Digest]) -> Option<RefusedAnswer> {
        let mut closed = keys.iter().filter_map(|key| self.closed.get(key)).flatten();
        closed.find(|closed| closed.place == place).map(|closed| closed.closing.reason())
    }

    fn find_open(&self, event: &Event, exported: bool, keys: &[Digest], found: &mut Found) {
        let mut open: Vec<&Open> = keys.iter().flat_map(|key| self.open.get(key)).collect();
        open.retain(|open| self.hears(open.run(), event, exported));
        open.sort_by_key(|open| open.order());
        for open in open {
            let run = open.run();
            let Some(wait) = open.wait() else {
                if !found.cancels.contains(&run) {
                    found.cancels.push(run);
                }
                continue;
            };
            match found.offers.iter_mut().find(|offer| offer.run == run) {
                Some(offer) if offer.waits.contains(&wait) => {}
                Some(offer) => offer.waits.push(wait),
                None => found.offers.push(Offer { run, waits: vec![wait], otherwise: None, keys: keys.to_vec() }),
            }
        }
    }

    fn find_closed(&self, event: &Event, exported: bool, keys: &[Digest], now: Timestamp, found: &mut Found) {
        let closed = keys.iter().filter_map(|key| self.closed.get(key)).flatten();
        let closed: Vec<&Closed> = closed
            .filter(|closed| now.since(closed.at) <= MEMORY && comes_by(&closed.scope, event, exported))
            .filter(|closed| !found.offers.iter().any(|offer| offer.run == closed.place.run))
            .collect();
        let took_it = |run: RunId| closed.iter().any(|closed| closed.place.run == run && closed.closing == Closing::Took(event.id));
        // The last that was closed has the word.
        for closed in closed.iter().rev() {
            let Place { run, lane, step } = closed.place;
            let known = found.over.iter().any(|(other, _)| other.run == run) || found.offers.iter().any(|offer| offer.run == run);
            if known || took_it(run) {
                continue;
            }
            let reason = closed.closing.reason();
            match self.runs.contains_key(&run) {
                true => found.offers.push(Offer { run, waits: vec![(lane, step)], otherwise: Some(reason), keys: keys.to_vec() }),
                false => found.over.push((closed.place, reason)),
            }
        }
    }

    fn hears(&self, run: RunId, event: &Event, exported: bool) -> bool {
        self.runs.get(&run).is_some_and(|listening| comes_by(&listening.pipeline.scope, event, exported))
    }

    fn came_before(&self, run: RunId, keys: &[Digest]) -> Vec<Arc<Event>> {
        let Some(listening) = self.runs.get(&run) else { return Vec::new() };
        let mut numbers: Vec<u64> = keys.iter().filter_map(|key| self.kept_by_key.get(key)).flatten().copied().collect();
        numbers.sort_unstable();
        numbers.dedup();
        let kept = numbers.iter().filter(|number| **number > listening.since).filter_map(|number| self.kept.get(number));
        let heard = kept.filter(|kept| !kept.used.contains(&run) && comes_by(&listening.pipeline.scope, &kept.event, kept.exported));
        heard.map(|kept| Arc::clone(&kept.event)).collect()
    }

    fn keep(&mut self, event: &Arc<Event>, exported: bool, keys: Vec<Digest>) -> Option<Arc<Event>> {
        let number = self.number();
        self.keep_as(number, event, exported, keys)
    }

    /// Keeps it under that number; one that is kept already is found by these keys too.
    pub(super) fn keep_as(&mut self, number: u64, event: &Arc<Event>, exported: bool, keys: Vec<Digest>) -> Option<Arc<Event>> {
        if let Some(kept) = self.kept.get_mut(&number) {
            for key in keys.into_iter().filter(|key| !kept.keys.contains(key)).collect::<Vec<_>>() {
                self.kept_by_key.entry(key).or_default().push(number);
                kept.keys.push(key);
            }
            return None;
        }
        keys.iter().for_each(|key| self.kept_by_key.entry(*key).or_insert_with(|| Vec::with_capacity(1)).push(number));
        self.kept_by_id.insert(event.id, number);
        self.kept.insert(number, Kept { event: Arc::clone(event), exported, keys, used: Vec::new() });
        if self.kept.len() <= KEPT {
            return None;
        }
        let oldest = self.kept.first_key_value().map(|(number, _)| *number)?;
        self.forget(oldest)
    }

    fn forget(&mut self, number: u64) -> Option<Arc<Event>> {
        let kept = self.kept.remove(&number)?;
        self.kept_by_id.remove(&kept.event.id);
        for key in &kept.keys {
            if let Some(numbers) = self.kept_by_key.get_mut(key) {
                numbers.retain(|other| *other != number);
                if numbers.is_empty() {
                    self.kept_by_key.remove(key);
                }
            }
        }
        Some(kept.event)
    }

    fn forget_closed(&mut self) {
        let Some((_, key, place)) = self.closed_order.pop_front() else { return };
        let Some(closed) = self.closed.get_mut(&key) else { return };
        // Its step may have another number since then; what was closed first stands first.
        if let Some(index) = closed.iter().position(|closed| (closed.place.run, closed.place.lane) == (place.run, place.lane)) {
            closed.remove(index);
        }
        if closed.is_empty() {
            self.closed.remove(&key);
        }
    }

    pub(super) fn stop_cancelling(&mut self, run: RunId, keys: &[Digest]) {
        for key in keys {
            self.open.remove(key, |open| open.run() == run && open.wait().is_none());
        }
    }

    pub(super) fn shapes_of(&self, event_type: &EventType) -> impl Iterator<Item = &Vec<String>> {
        self.shapes.get(event_type).into_iter().flatten()
    }

    /// Numbers from here on are higher.
    pub(super) fn skip_to(&mut self, number: u64) {
        self.next = self.next.max(number);
    }

    pub(super) fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// The place of a wait in the order in which waits were opened.
    fn order(&mut self) -> NonZeroU64 {
        NonZeroU64::MIN.saturating_add(self.number())
    }

    #[cfg(test)]
    pub(super) fn sizes(&self) -> (usize, usize, usize) {
        (self.open.len(), self.kept.len(), self.closed_order.len())
    }
}

impl Closing {
    const fn reason(self) -> RefusedAnswer {
        match self {
            Self::Took(_) => RefusedAnswer::Double,
            Self::GivenUp => RefusedAnswer::Late,
        }
    }
}
