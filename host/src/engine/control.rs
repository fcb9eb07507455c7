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

use super::view::RunStatus;
use super::waits::Offer;

/// So many events wait for a run to decide on them; one more is refused.
pub(super) const LETTERS: usize = 1_024;

/// By which others reach a run under way.
#[derive(Default)]
pub struct Control {
    pub(super) signal: CancelSignal,
    reason: OnceLock<CancelReason>,
    letters: Mutex<Letters>,
    woken: AtomicWaker,
    status: Mutex<RunStatus>,
}

/// What lies before the run.
#[derive(Default)]
struct Letters {
    waiting: VecDeque<Letter>,
    /// Whether the run has left this control, to rest.
    left: bool,
}

/// What became of a letter.
pub enum Posted {
    /// The run will look at it.
    In,
    /// There was no room.
    Full,
    /// The run rests: it has to be reached anew.
    Left(Letter),
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
    /// Asks it to stop; the first reason counts. Returns whether the run will hear it: one that rests has to be reached anew.
    pub fn cancel(&self, reason: CancelReason) -> bool {
        let _ = self.reason.set(reason);
        self.signal.cancel();
        !self.letters().left
    }

    /// The run leaves this control, unless somebody has asked something of it. Returns whether it left.
    pub fn leave(&self) -> bool {
        let mut letters = self.letters();
        // Whoever cancels sets the signal before it looks whether the run has left.
        letters.left = letters.waiting.is_empty() && !self.signal.is_cancelled();
        letters.left
    }

    /// Why it was asked to stop.
    pub fn reason(&self) -> CancelReason {
        self.reason.get().copied().unwrap_or(CancelReason::Requested)
    }

    /// Where the run stands now.
    pub fn stands(&self, status: RunStatus) {
        *self.status.lock().unwrap_or_else(PoisonError::into_inner) = status;
    }

    /// Where the run stood when it last had to wait.
    pub fn status(&self) -> RunStatus {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Brings an event.
    pub fn post(&self, letter: Letter) -> Posted {
        let mut letters = self.letters();
        if letters.left {
            return Posted::Left(letter);
        }
        if letters.waiting.len() >= LETTERS {
            return Posted::Full;
        }
        letters.waiting.push_back(letter);
        drop(letters);
        self.woken.wake();
        Posted::In
    }

    /// The next event; the waker is woken when one comes.
    pub fn next_letter(&self, waker: &Waker) -> Option<Letter> {
        self.woken.register(waker);
        self.letters().waiting.pop_front()
    }

    fn letters(&self) -> MutexGuard<'_, Letters> {
        self.letters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
