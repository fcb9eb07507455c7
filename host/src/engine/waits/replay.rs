//! What was published before the host ended, in its order among the beginnings of the runs that may wait for it.
//!
//! Runs are taken up in the order in which they are due, not in that of their beginnings. So each event has a number with room before the next one, and
//! a run is put between the events by the time at which it began.

use std::collections::HashMap;
use std::sync::Arc;

use super::key::of_event;
use super::table::Table;
use crate::model::event::Event;
use crate::model::id::RunId;
use crate::model::time::Timestamp;
use crate::plan::pipeline::Pipeline;

/// So many runs may have begun between two events.
const GAP: u64 = 1 << 24;

/// The events, and who was put between them.
#[derive(Default)]
pub(super) struct Replayed {
    /// The oldest first, with their numbers.
    events: Vec<(Arc<Event>, bool, u64)>,
    /// The number before all of them.
    base: u64,
    /// How many runs were put behind so many events.
    begun: HashMap<usize, u64>,
}

impl Table {
    /// These were published, the oldest first. From now on nothing is forgotten until all runs are known.
    pub(super) fn replay(&mut self, events: Vec<(Arc<Event>, bool)>) {
        let base = self.number();
        let numbered = events.into_iter().zip(1_u64..).map(|((event, exported), place)| (event, exported, base + place * GAP));
        self.replayed = Replayed { events: numbered.collect(), base, begun: HashMap::new() };
        self.skip_to(base + (self.replayed.events.len() as u64 + 1) * GAP);
        self.is_waiting_for_runs = true;
        self.replay_again();
    }

    /// Keeps those that meet what is waited for by now.
    pub(super) fn replay_again(&mut self) {
        let replayed = std::mem::take(&mut self.replayed);
        for (event, exported, number) in &replayed.events {
            let data = event.data.tree();
            let keys: Vec<_> = self.shapes_of(&event.event_type).filter_map(|fields| of_event(&event.event_type, data, fields)).collect();
            if !keys.is_empty() {
                self.keep_as(*number, event, *exported, keys);
            }
        }
        self.replayed = replayed;
    }

    /// A run that may wait began at that time, before the host ended.
    pub(super) fn begin_at(&mut self, run: RunId, pipeline: &Arc<Pipeline>, at: Timestamp) {
        let Replayed { events, base, begun } = &mut self.replayed;
        let before = events.partition_point(|(event, _, _)| event.time < at);
        let place = begun.entry(before).or_default();
        *place = (*place + 1).min(GAP - 1);
        let floor = before.checked_sub(1).and_then(|last| events.get(last)).map_or(*base, |(_, _, number)| *number);
        let since = floor + *place;
        self.begin_as(run, pipeline, since);
    }

    /// All runs that go on are known: what none of them can take is forgotten.
    pub(super) fn all_are_known(&mut self) {
        self.is_waiting_for_runs = false;
        self.forget_useless();
    }
}
