//! By which events flows were begun: each event is taken once by a flow.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use crate::model::record::InboxKey;
use crate::model::time::Timestamp;

/// So many events by which a flow was begun are remembered; the oldest go.
pub(super) const MOST: usize = 100_000;
/// So long each of them is remembered.
const KNOWN_FOR: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// What was taken.
#[derive(Default)]
pub(super) struct Inbox {
    /// Until when each is remembered.
    taken: HashMap<InboxKey, Timestamp>,
    /// In the order in which it came.
    order: VecDeque<InboxKey>,
}

impl Inbox {
    /// Remembers that this was taken at that time. What was taken before stands.
    pub(super) fn take(&mut self, key: InboxKey, at: Timestamp) {
        while let Some(oldest) = self.order.front()
            && (self.order.len() >= MOST || !self.has(oldest, Some(at)))
        {
            if let Some(oldest) = self.order.pop_front() {
                self.taken.remove(&oldest);
            }
        }
        if !self.taken.contains_key(&key) {
            self.taken.insert(key.clone(), at + KNOWN_FOR);
            self.order.push_back(key);
        }
    }

    /// How many are remembered, and how many places they take.
    #[cfg(test)]
    pub(super) fn count(&self) -> (usize, usize) {
        (self.taken.len(), self.order.len())
    }

    /// Whether this was taken, as far as that is remembered at this time; without a time it is remembered until it has to go.
    pub(super) fn has(&self, key: &InboxKey, now: Option<Timestamp>) -> bool {
        self.taken.get(key).is_some_and(|until| now.is_none_or(|now| now < *until))
    }
}
