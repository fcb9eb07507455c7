//! What one side tells and another takes when it is ready: told under a lock that is held for a moment, waited for outside of it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Holds what was told and not taken. Clones are the same mailbox; one of them takes. What it holds bounds itself.
pub struct Mailbox<T>(Arc<Inside<T>>);

#[derive(Default)]
struct Inside<T> {
    told: Mutex<T>,
    more: Notify,
}

impl<T> Clone for Mailbox<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Default> Default for Mailbox<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T> Mailbox<T> {
    /// Waits until there is something to take. Dropping the wait loses nothing.
    pub async fn next<R>(&self, mut take: impl FnMut(&mut T) -> Option<R>) -> R {
        loop {
            // A permit is kept while nobody waits, so nothing falls between the look and the wait.
            if let Some(taken) = take(&mut self.lock()) {
                return taken;
            }
            self.0.more.notified().await;
        }
    }

    /// Changes what it holds, and wakes whoever waits.
    pub fn tell(&self, change: impl FnOnce(&mut T)) {
        change(&mut self.lock());
        self.0.more.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, T> {
        self.0.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_told_before_and_while_somebody_waits_is_taken_in_its_order() {
        let mailbox = Mailbox::<Vec<u32>>::default();
        let take = |told: &mut Vec<u32>| if told.is_empty() { None } else { Some(told.remove(0)) };
        mailbox.tell(|told| told.push(1));
        mailbox.tell(|told| told.push(2));
        assert_eq!((mailbox.next(take).await, mailbox.next(take).await), (1, 2));
        let other = mailbox.clone();
        let (taken, ()) = tokio::join!(mailbox.next(take), async move { other.tell(|told| told.push(3)) });
        assert_eq!(taken, 3);
    }
}
