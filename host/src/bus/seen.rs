//! The ids of the events that were published, and who has taken them, so that each flow takes each once.
//!
//! One table for all flows: that an event is new is found out once, when it is published, and then it is new to all. Only for one that comes again,
//! which is rare, it is asked flow by flow.

use std::collections::VecDeque;
use std::sync::Arc;

use super::queue::Subscriber;
use super::topology::Ears;
use crate::model::event::Event;
use crate::model::id::{EventId, IdMap};

/// So many ids are remembered; the oldest go. Repeats come soon after (one event on two buses, one told again after a crash), and what
/// must be told apart for longer has `idempotency`.
const MOST: usize = 16_384;

/// The ids of the last events.
#[derive(Default)]
pub(in crate::bus) struct Seen {
    order: VecDeque<EventId>,
    taken: IdMap<EventId, Taken>,
}

/// Who has taken an event.
#[derive(Default)]
struct Taken {
    /// It was published to those of them who hear it, and whether it was exported.
    published: Option<(Ears, bool)>,
    /// Of whom that is not so, or who have it though they are none of them: by their numbers.
    except: Vec<(u64, bool)>,
}

impl Taken {
    fn has(&self, subscriber: &Subscriber, event: &Event) -> bool {
        if let Some((_, has)) = self.except.iter().find(|(number, _)| *number == subscriber.number) {
            return *has;
        }
        let Some((ears, exported)) = &self.published else { return false };
        ears.iter().any(|ear| ear.subscriber.number == subscriber.number && ear.hears(event, *exported))
    }

    fn set(&mut self, subscriber: &Subscriber, has: bool) {
        self.except.retain(|(number, _)| *number != subscriber.number);
        self.except.push((subscriber.number, has));
    }
}

impl Seen {
    /// Whether the event was never published before; from now on all of these who hear it have it.
    pub(in crate::bus) fn is_first(&mut self, id: EventId, ears: &Ears, exported: bool) -> bool {
        if self.taken.contains_key(&id) {
            return false;
        }
        self.remember(id, Taken { published: Some((Arc::clone(ears), exported)), except: Vec::new() });
        true
    }

    /// Whether the flow has not got the event; from now on it has.
    pub(in crate::bus) fn is_new_to(&mut self, subscriber: &Subscriber, event: &Event) -> bool {
        match self.taken.get_mut(&event.id) {
            Some(taken) if taken.has(subscriber, event) => false,
            Some(taken) => {
                taken.set(subscriber, true);
                true
            }
            None => {
                self.remember(event.id, Taken { published: None, except: vec![(subscriber.number, true)] });
                true
            }
        }
    }

    /// The flow has not taken it after all: it is new to it if it comes again.
    pub(in crate::bus) fn forget(&mut self, id: EventId, subscriber: &Subscriber) {
        if let Some(taken) = self.taken.get_mut(&id) {
            taken.set(subscriber, false);
        }
    }

    fn remember(&mut self, id: EventId, taken: Taken) {
        self.taken.insert(id, taken);
        self.order.push_back(id);
        if self.order.len() > MOST
            && let Some(oldest) = self.order.pop_front()
        {
            self.taken.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::bus::tests::{event, observe, own};
    use crate::bus::topology::Ear;
    use crate::model::event::Scope;

    fn told(number: usize) -> Event {
        Event { id: EventId::new(Uuid::from_u128(number as u128)), ..event("a", own("a"), 0) }
    }

    fn ears(numbers: std::ops::Range<u64>) -> Ears {
        let ear = |number| Ear {
            subscriber: Subscriber::new(("b".into(), "main".into()), number),
            subscriptions: vec![observe("b", Scope::Named("shop".to_owned()))],
        };
        numbers.map(ear).collect()
    }

    #[test]
    fn an_id_is_first_once_and_the_oldest_are_forgotten() {
        let mut seen = Seen::default();
        let nobody = ears(0..0);
        assert!((0..=MOST).all(|number| seen.is_first(told(number).id, &nobody, true)));
        assert!(!seen.is_first(told(1).id, &nobody, true));
        assert!(seen.is_first(told(0).id, &nobody, true), "the oldest went");
        assert_eq!((seen.order.len(), seen.taken.len()), (MOST, MOST));
    }

    #[test]
    fn who_heard_it_has_it_and_who_lost_it_takes_it_again() {
        let (mut seen, ears, event) = (Seen::default(), ears(0..2), told(7));
        let [one, other] = [&ears[0].subscriber, &ears[1].subscriber];
        assert!(seen.is_first(event.id, &ears, true));
        assert!(!seen.is_new_to(one, &event) && !seen.is_new_to(other, &event));
        seen.forget(event.id, one);
        assert!(!seen.is_new_to(other, &event));
        assert!(seen.is_new_to(one, &event), "it was not taken");
        assert!(!seen.is_new_to(one, &event));
    }

    #[test]
    fn who_did_not_hear_it_has_not_got_it() {
        let (mut seen, of_then, later, event) = (Seen::default(), ears(0..1), ears(1..2), told(7));
        assert!(seen.is_first(event.id, &of_then, false));
        assert!(seen.is_new_to(&of_then[0].subscriber, &event), "it was private, and comes exported now");
        assert!(seen.is_new_to(&later[0].subscriber, &event), "it subscribed later");
        assert!(!seen.is_new_to(&later[0].subscriber, &event));
    }

    #[test]
    fn one_that_was_brought_to_some_is_new_to_the_others() {
        let (mut seen, ears, event) = (Seen::default(), ears(0..2), told(7));
        assert!(seen.is_new_to(&ears[0].subscriber, &event));
        assert!(!seen.is_first(event.id, &ears, true));
        assert!(!seen.is_new_to(&ears[0].subscriber, &event));
        assert!(seen.is_new_to(&ears[1].subscriber, &event));
    }
}
