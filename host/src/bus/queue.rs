//! One flow's queue: who may put events into it, who takes them out, and who waits outside while it is full.
//!
//! At most one task at a time delivers to a flow. It takes the flow with the first event and lets it go when nothing is left, so that a flow
//! nobody sends to costs no task, and an event to a flow that is idle never lies in a queue.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::sync::{Notify, oneshot};

use super::QUEUE;
use super::receipt::Share;
use super::topology::Target;
use crate::model::cancel::CancelSignal;
use crate::model::event::Event;

/// So many runs of a flow may be at once on their way into the store. One after the other would be one wait for the disk each.
pub(in crate::bus) const STARTING: usize = 256;

/// An event on its way to a flow.
pub(in crate::bus) struct Letter {
    pub(in crate::bus) event: Arc<Event>,
    /// The flow's part of what follows the event, if somebody does.
    pub(in crate::bus) share: Option<Share>,
    /// Whether the event was published before, so that the flow may have it.
    pub(in crate::bus) again: bool,
}

/// What became of an event at a flow's queue.
pub(in crate::bus) enum Posted {
    /// Nobody was delivering to the flow: now whoever posted it does, beginning with this event.
    Yours(Letter),
    /// It is in the queue.
    Queued,
    /// The queue is full: it waits outside under this number, and whoever posted it is told when it is in.
    Waits(u64, oneshot::Receiver<()>),
    /// The flow takes no more.
    Closed(Letter),
}

/// A flow that hears events.
pub(in crate::bus) struct Subscriber {
    /// As people see it: `pipeline.flow`.
    pub(in crate::bus) name: String,
    pub(in crate::bus) target: Target,
    /// Which it is of all that the bus ever had.
    pub(in crate::bus) number: u64,
    pub(in crate::bus) closing: CancelSignal,
    mail: Mutex<Mail>,
    why: OnceLock<&'static str>,
    starting: AtomicUsize,
    freed: Notify,
}

#[derive(Default)]
struct Mail {
    /// Whether somebody delivers to it. If not, nothing is in the queue, and nobody waits outside.
    attended: bool,
    closed: bool,
    letters: VecDeque<Letter>,
    /// As many as publishers wait for room.
    outside: VecDeque<Outside>,
    /// How many ever waited outside.
    waited: u64,
}

struct Outside {
    number: u64,
    letter: Letter,
    entered: oneshot::Sender<()>,
}

impl Subscriber {
    pub(in crate::bus) fn new(target: Target, number: u64) -> Arc<Self> {
        Arc::new(Self {
            name: format!("{}.{}", target.0, target.1),
            target,
            number,
            closing: CancelSignal::new(),
            mail: Mutex::default(),
            why: OnceLock::new(),
            starting: AtomicUsize::new(0),
            freed: Notify::new(),
        })
    }

    /// Puts an event into the queue, behind all that were posted before.
    pub(in crate::bus) fn post(&self, letter: Letter) -> Posted {
        let mut mail = self.mail();
        if mail.closed {
            return Posted::Closed(letter);
        }
        if !mail.attended {
            mail.attended = true;
            return Posted::Yours(letter);
        }
        if mail.letters.len() < QUEUE {
            mail.letters.push_back(letter);
            return Posted::Queued;
        }
        let (entered, waiting) = oneshot::channel();
        mail.waited += 1;
        let number = mail.waited;
        mail.outside.push_back(Outside { number, letter, entered });
        Posted::Waits(number, waiting)
    }

    /// Takes an event away that still waits outside.
    pub(in crate::bus) fn withdraw(&self, number: u64) -> Option<Letter> {
        let mut mail = self.mail();
        let at = mail.outside.iter().position(|outside| outside.number == number)?;
        mail.outside.remove(at).map(|outside| outside.letter)
    }

    /// The next event for whoever delivers to this flow; with `None` it is let go.
    pub(in crate::bus) fn next(&self) -> Option<Letter> {
        let mut mail = self.mail();
        let Some(letter) = mail.letters.pop_front() else {
            mail.attended = false;
            return None;
        };
        if let Some(Outside { letter, entered, .. }) = mail.outside.pop_front() {
            mail.letters.push_back(letter);
            // Whoever waited may have given up at this moment.
            let _ = entered.send(());
        }
        Some(letter)
    }

    /// Takes no more events. What is in the queue is told as undelivered by whoever delivers.
    pub(in crate::bus) fn close(&self, why: &'static str) {
        let _first_reason_stays = self.why.set(why);
        self.mail().closed = true;
        self.closing.cancel();
    }

    /// Why it takes no more, once that is so.
    pub(in crate::bus) fn closed(&self) -> Option<&'static str> {
        self.why.get().copied()
    }

    /// The same, for who knows that it takes no more.
    pub(in crate::bus) fn closed_why(&self) -> &'static str {
        self.closed().unwrap_or("its deliveries have ended")
    }

    fn mail(&self) -> MutexGuard<'_, Mail> {
        self.mail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place among the runs of a flow that are on their way into the store.
pub(in crate::bus) struct Place(Arc<Subscriber>);

impl Place {
    /// A place, if one is free.
    pub(in crate::bus) fn of(subscriber: &Arc<Subscriber>) -> Option<Self> {
        if subscriber.starting.fetch_add(1, Ordering::AcqRel) < STARTING {
            return Some(Self(Arc::clone(subscriber)));
        }
        free(subscriber);
        None
    }

    /// Waits for a place.
    pub(in crate::bus) async fn wait(subscriber: &Arc<Subscriber>) -> Self {
        loop {
            let mut freed = std::pin::pin!(subscriber.freed.notified());
            // Registered before it is tried, so that a place which becomes free between the two is not missed.
            freed.as_mut().enable();
            if let Some(place) = Self::of(subscriber) {
                return place;
            }
            freed.await;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        free(&self.0);
    }
}

fn free(subscriber: &Subscriber) {
    if subscriber.starting.fetch_sub(1, Ordering::AcqRel) == STARTING {
        subscriber.freed.notify_one();
    }
}
