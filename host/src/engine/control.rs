//! By which others reach a run under way: they ask it to stop, and bring it events that meet its waits.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Waker;

use futures_util::task::AtomicWaker;
use tokio::sync::oneshot;

use crate::model::cancel::CancelSignal;
use crate::model::event::Event;
use crate::model::job::CancelReason;
use crate::model::record::RefusedAnswer;

use super::waits::Offer;

/// So many events wait for a run to decide on them; one more is refused.
pub(super) const LETTERS: usize = 1_024;

/// By which others reach a run under way.
#[derive(Default)]
pub struct Control {
    pub(super) signal: CancelSignal,
    reason: OnceLock<CancelReason>,
    letters: Mutex<VecDeque<Letter>>,
    woken: AtomicWaker,
}

/// An event that meets waits of the run.
pub struct Letter {
    /// The event.
    pub event: Arc<Event>,
    /// Which waits.
    pub offer: Offer,
    /// Told when the run's decision is recorded: why it was refused, or nothing if it was taken.
    pub answer: oneshot::Sender<Option<RefusedAnswer>>,
}

impl Control {
    /// Asks it to stop; the first reason counts.
    pub fn cancel(&self, reason: CancelReason) {
        let _ = self.reason.set(reason);
        self.signal.cancel();
    }

    /// Why it was asked to stop.
    pub fn reason(&self) -> CancelReason {
        self.reason.get().copied().unwrap_or(CancelReason::Requested)
    }

    /// Brings an event. Returns whether there was room.
    pub fn post(&self, letter: Letter) -> bool {
        let mut letters = self.letters();
        if letters.len() >= LETTERS {
            return false;
        }
        letters.push_back(letter);
        drop(letters);
        self.woken.wake();
        true
    }

    /// The next event; the waker is woken when one comes.
    pub fn next_letter(&self, waker: &Waker) -> Option<Letter> {
        self.woken.register(waker);
        self.letters().pop_front()
    }

    fn letters(&self) -> MutexGuard<'_, VecDeque<Letter>> {
        self.letters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
