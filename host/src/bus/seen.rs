//! The ids of the events that a flow has taken, so that it takes each once.

use std::collections::VecDeque;

use crate::model::id::{EventId, IdMap};

/// So many ids are remembered; the oldest go. Repeats come soon after (one event on two buses, one told again after a crash), and what
/// must be told apart for longer has `idempotency`.
const MOST: usize = 4_096;

/// The ids of the last events.
#[derive(Debug, Default)]
pub(in crate::bus) struct Seen {
    order: VecDeque<EventId>,
    ids: IdMap<EventId, ()>,
}

impl Seen {
    /// Whether the id is new; from now on it is not.
    pub(in crate::bus) fn is_new(&mut self, id: EventId) -> bool {
        if self.ids.insert(id, ()).is_some() {
            return false;
        }
        self.order.push_back(id);
        if self.order.len() > MOST
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
        true
    }

    /// It was not taken after all: it is new if it comes again. Its place in the order stays, so that it may be forgotten a little early then.
    pub(in crate::bus) fn forget(&mut self, id: EventId) {
        self.ids.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn an_id_is_new_once_and_the_oldest_are_forgotten() {
        let id = |number: usize| EventId::new(Uuid::from_u128(number as u128));
        let mut seen = Seen::default();
        assert!((0..=MOST).all(|number| seen.is_new(id(number))));
        assert!(!seen.is_new(id(1)));
        assert!(seen.is_new(id(0)), "the oldest went");
        assert_eq!((seen.order.len(), seen.ids.len()), (MOST, MOST));
        seen.forget(id(0));
        assert!(seen.is_new(id(0)), "it was not taken");
        assert!(!seen.is_new(id(0)));
    }
}
