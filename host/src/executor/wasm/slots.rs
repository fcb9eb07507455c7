//! Places for jobs: so many run at once, so many wait, the next is rejected.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::model::failure::{Failure, FailureKind};

/// How many guests run at once, over all executors.
pub(super) const JOBS: usize = 64;

/// How many jobs wait for a place.
const WAITING: usize = 1_024;

/// The places of a home.
pub(super) struct Slots {
    free: Arc<Semaphore>,
    waiting: AtomicUsize,
    most_waiting: usize,
}

/// A place; free again when it is dropped.
pub(super) type Slot = OwnedSemaphorePermit;

/// Counts one who waits, also if it gives up.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Slots {
    pub(super) fn new() -> Self {
        Self::with(JOBS, WAITING)
    }

    fn with(jobs: usize, most_waiting: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(jobs)), waiting: AtomicUsize::new(0), most_waiting }
    }

    /// Waits for a place, in the order of asking.
    ///
    /// # Errors
    /// `rejected` if too many wait already.
    pub(super) async fn take(&self) -> Result<Slot, Failure> {
        if let Ok(slot) = self.free.clone().try_acquire_owned() {
            return Ok(slot);
        }
        let full = || {
            let message = format!(
                "{} components run and {} jobs wait for a place: fewer runs at once (`concurrency`), or a `bulkhead`",
                JOBS, self.most_waiting
            );
            Failure::new(FailureKind::Rejected, message).with_code("wasm_full")
        };
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= self.most_waiting {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(full());
        }
        let _waiting = Waiting(&self.waiting);
        self.free.clone().acquire_owned().await.map_err(|_| full())
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn the_one_after_the_last_that_may_wait_is_rejected() {
        let slots = Slots::with(1, 1);
        let first = slots.take().await.expect("it is free");
        let mut second = Box::pin(slots.take());
        assert!((&mut second).now_or_never().is_none(), "it waits");
        let third = slots.take().await.expect_err("too many wait");
        assert_eq!((third.kind, third.code.as_deref()), (FailureKind::Rejected, Some("wasm_full")));
        drop(first);
        drop(second.await.expect("its turn came"));
        // Who gives up waiting leaves the queue.
        let held = slots.take().await.expect("it is free");
        drop(Box::pin(slots.take()));
        let mut fourth = Box::pin(slots.take());
        assert!((&mut fourth).now_or_never().is_none());
        drop(fourth);
        assert_eq!(slots.waiting.load(Ordering::Relaxed), 0);
        drop(held);
    }
}
