//! Receipts: when every flow that hears an event has it for good, whoever published it is told.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::oneshot;

use super::queue::Place;
use crate::model::failure::{Failure, FailureKind};
use crate::model::port::Receipt;

/// Follows one event to all who hear it, and does something once each has it for good. What is lost on the way, since the host stops, is never
/// taken for received: then nothing is done.
pub struct Tracking(Arc<Tracked>);

impl Tracking {
    /// Does this once everybody has the event, on whatever task is the last to have it: it must be quick.
    pub fn new(done: impl FnOnce() + Send + 'static) -> Self {
        let done: Box<dyn FnOnce() + Send> = Box::new(done);
        Self(Arc::new(Tracked { left: AtomicUsize::new(1), done: Mutex::new(Some(done)) }))
    }

    /// One more hears it.
    pub(in crate::bus) fn share(&self) -> Share {
        self.0.left.fetch_add(1, Ordering::Relaxed);
        Share::Tracked(Arc::clone(&self.0))
    }

    /// All who hear it are known.
    pub(in crate::bus) fn offered(self) {
        self.0.settle();
    }
}

/// What is followed.
pub(in crate::bus) struct Tracked {
    /// So many have not settled, the publisher included.
    left: AtomicUsize,
    done: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl Tracked {
    fn settle(&self) {
        if self.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            let done = self.done.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(done) = done {
                done();
            }
        }
    }
}

/// One flow's part of it.
#[derive(Clone)]
pub(in crate::bus) enum Share {
    /// One of several that are counted. Settled by one of its clones only.
    Tracked(Arc<Tracked>),
    /// One that is asked whether the flow has taken it.
    Asked(Arc<Mutex<Asked>>),
}

/// What is known of one flow's answer.
pub(in crate::bus) struct Asked {
    /// Whether its run's first facts are kept, or none will be.
    settled: bool,
    /// Whether it was not refused.
    admitted: bool,
    answer: Option<oneshot::Sender<Result<(), Failure>>>,
}

impl Share {
    /// One whose answer is awaited: whether the flow has it for good, or why not.
    pub(in crate::bus) fn asked() -> (Self, BoxFuture<'static, Result<(), Failure>>) {
        let (sender, answer) = oneshot::channel();
        let asked = Asked { settled: false, admitted: false, answer: Some(sender) };
        let answer = async move { answer.await.unwrap_or_else(|_| Err(lost("it was lost on its way"))) };
        (Self::Asked(Arc::new(Mutex::new(asked))), answer.boxed())
    }

    /// That flow has the event for good, or never will.
    pub(in crate::bus) fn settle(self) {
        match self {
            Self::Tracked(tracked) => tracked.settle(),
            Self::Asked(asked) => {
                let mut asked = asked.lock().unwrap_or_else(PoisonError::into_inner);
                asked.settled = true;
                asked.tell();
            }
        }
    }

    /// That flow took the event before.
    pub(in crate::bus) fn repeated(self) {
        self.admitted(&Ok(()));
        self.settle();
    }

    /// What the flow said to the event.
    pub(in crate::bus) fn admitted(&self, admitted: &Result<(), Failure>) {
        let Self::Asked(asked) = self else { return };
        let mut asked = asked.lock().unwrap_or_else(PoisonError::into_inner);
        match admitted {
            Ok(()) => asked.admitted = true,
            Err(failure) => {
                // Whoever asked may be gone.
                let _ = asked.answer.take().map(|answer| answer.send(Err(failure.clone())));
            }
        }
        asked.tell();
    }

    /// That flow goes without the event.
    pub(in crate::bus) fn give_up(self, why: &str) {
        self.admitted(&Err(lost(why)));
        self.settle();
    }
}

impl Asked {
    fn tell(&mut self) {
        if self.settled && self.admitted {
            let _ = self.answer.take().map(|answer| answer.send(Ok(())));
        }
    }
}

/// An event that came too late, or whose flow went: it may come again.
pub(in crate::bus) fn lost(why: impl Into<String>) -> Failure {
    Failure::new(FailureKind::Rejected, why).with_code("undelivered")
}

/// What goes along with an event to the flow: its part of the tracking, and its place among those that are being started.
pub(in crate::bus) struct Slip {
    pub(in crate::bus) share: Option<Share>,
    pub(in crate::bus) _place: Place,
}

impl Receipt for Slip {
    fn settle(self: Box<Self>) {
        if let Some(share) = self.share {
            share.settle();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_done_once_and_only_when_all_have_settled() {
        let count = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        let tracking = Tracking::new(move || {
            counted.fetch_add(1, Ordering::SeqCst);
        });
        let shares = [tracking.share(), tracking.share()];
        tracking.offered();
        for share in shares {
            assert_eq!(count.load(Ordering::SeqCst), 0);
            share.settle();
        }
        assert_eq!(count.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn what_is_dropped_was_not_received() {
        let count = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        let tracking = Tracking::new(move || {
            counted.fetch_add(1, Ordering::SeqCst);
        });
        drop(tracking.share());
        tracking.offered();
        assert_eq!(count.load(Ordering::SeqCst), 0);
    }
}
