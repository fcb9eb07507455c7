//! What the threads of a server, or of whoever reads a pipe, share with a test that waits until they have come so far.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long one program may live, and so how long anything is waited for. Each ends within a second or two on an idle machine.
pub(crate) const LIFETIME: Duration = Duration::from_secs(60);

/// What a mutex holds. Another test that panicked with the lock has left nothing half done.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A value that several threads change, each telling the others.
#[derive(Default)]
pub(crate) struct Shared<T> {
    state: Mutex<T>,
    changed: Condvar,
}

impl<T> Shared<T> {
    /// The value, for whoever only looks, or changes what nobody waits for.
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        lock(&self.state)
    }

    /// Changes it, and tells all who wait.
    pub(crate) fn change<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        let changed = change(&mut self.lock());
        self.changed.notify_all();
        changed
    }

    /// Waits until it is so, and leaves it locked. Panics when that takes longer than any program may live.
    #[track_caller]
    pub(crate) fn until(&self, is_so: impl Fn(&T) -> bool) -> MutexGuard<'_, T> {
        let waited = self.changed.wait_timeout_while(self.lock(), LIFETIME, |state| !is_so(state));
        let (state, late) = waited.unwrap_or_else(PoisonError::into_inner);
        assert!(!late.timed_out(), "it never came to that");
        state
    }

    /// Waits for the next change, with no bound of its own: for what a watchdog ends.
    pub(crate) fn next<'a>(&'a self, state: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }
}
