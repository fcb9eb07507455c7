//! Receipts: when every flow that hears an event has it for good, whoever published it is told.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OwnedSemaphorePermit;

use crate::model::port::Receipt;

/// Follows one event to all who hear it, and does something once each has it for good. What is lost on the way, since the host stops, is never
/// taken for received: then nothing is done.
pub struct Tracking(Share);

impl Tracking {
    /// Does this once everybody has the event, on whatever task is the last to have it: it must be quick.
    pub fn new(done: impl FnOnce() + Send + 'static) -> Self {
        let done: Box<dyn FnOnce() + Send> = Box::new(done);
        Self(Share(Arc::new(Tracked { left: AtomicUsize::new(1), done: Mutex::new(Some(done)) })))
    }

    /// One more hears it.
    pub(in crate::bus) fn share(&self) -> Share {
        let Share(tracked) = &self.0;
        tracked.left.fetch_add(1, Ordering::Relaxed);
        Share(Arc::clone(tracked))
    }

    /// All who hear it are known.
    pub(in crate::bus) fn offered(self) {
        self.0.settle();
    }
}

struct Tracked {
    /// So many have not settled, the publisher included.
    left: AtomicUsize,
    done: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

/// One flow's part of it.
pub(in crate::bus) struct Share(Arc<Tracked>);

impl Share {
    /// That flow has the event for good.
    pub(in crate::bus) fn settle(self) {
        if self.0.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            let done = self.0.done.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(done) = done {
                done();
            }
        }
    }
}

/// What goes along with an event to the flow: its part of the tracking, and its place among those that are being started.
pub(in crate::bus) struct Slip {
    pub(in crate::bus) share: Option<Share>,
    pub(in crate::bus) _place: OwnedSemaphorePermit,
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
