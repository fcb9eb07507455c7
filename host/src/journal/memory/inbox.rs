//! By which events flows were begun: each event is taken once by a flow.

use std::collections::{HashSet, VecDeque};

use crate::model::record::InboxKey;

/// So many events by which a flow was begun are remembered; the oldest go.
pub(super) const MOST: usize = 100_000;

/// What was taken.
#[derive(Default)]
pub(super) struct Inbox {
    taken: HashSet<InboxKey>,
    /// In the order in which it came.
    order: VecDeque<InboxKey>,
}

impl Inbox {
    /// Remembers that this was taken.
    pub(super) fn take(&mut self, key: InboxKey) {
        if self.taken.insert(key.clone()) {
            self.order.push_back(key);
        }
        if self.order.len() > MOST
            && let Some(oldest) = self.order.pop_front()
        {
            self.taken.remove(&oldest);
        }
    }

    /// Whether this was taken.
    pub(super) fn has(&self, key: &InboxKey) -> bool {
        self.taken.contains(key)
    }
}
