//! A thread that serves the one that writes, and the state that both look at: under a lock, with a word to whoever waits for it to change.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

/// What is shared.
#[derive(Default)]
pub(super) struct Shared<S> {
    state: Mutex<S>,
    changed: Condvar,
}

/// The thread, as whoever has it serve has it. It has to be [ended](Self::end) before it goes.
pub(super) struct Serving<S> {
    shared: Arc<Shared<S>>,
    /// `None` once it has ended.
    thread: Option<JoinHandle<()>>,
}

impl<S> Shared<S> {
    /// The state, for this thread alone.
    pub(super) fn state(&self) -> MutexGuard<'_, S> {
        // A panic leaves nothing half done in states as small as these.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits while the state is so.
    pub(super) fn wait_while(&self, is_so: impl FnMut(&mut S) -> bool) -> MutexGuard<'_, S> {
        self.changed.wait_while(self.state(), is_so).unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits while the state is so, and this long at most.
    pub(super) fn wait_at_most(&self, long: Duration, is_so: impl FnMut(&mut S) -> bool) -> MutexGuard<'_, S> {
        self.changed.wait_timeout_while(self.state(), long, is_so).unwrap_or_else(PoisonError::into_inner).0
    }

    /// Has those who wait look again. A call of the system, also where nobody waits.
    pub(super) fn tell(&self) {
        self.changed.notify_all();
    }
}

impl<S: Default + Send + 'static> Serving<S> {
    /// Starts a thread of this name.
    ///
    /// # Errors
    /// The system has none.
    pub(super) fn start(name: &str, work: impl FnOnce(&Shared<S>) + Send + 'static) -> io::Result<Self> {
        let shared = Arc::<Shared<S>>::default();
        let own = Arc::clone(&shared);
        let thread = Builder::new().name(name.to_owned()).spawn(move || work(&own))?;
        Ok(Self { shared, thread: Some(thread) })
    }
}

impl<S> Serving<S> {
    /// What is shared.
    pub(super) const fn shared(&self) -> &Arc<Shared<S>> {
        &self.shared
    }

    /// Says in the state that it is over, and waits until the thread has ended.
    pub(super) fn end(&mut self, is_over: impl FnOnce(&mut S)) {
        is_over(&mut self.shared.state());
        self.shared.tell();
        if let Some(thread) = self.thread.take() {
            // It fails only if it panicked, which the panic hook has told.
            let _ = thread.join();
        }
    }
}
