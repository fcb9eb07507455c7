//! The thread that makes guests yield: it advances the engines' epoch while any guest runs, and sleeps while none does.
//!
//! It is a thread with its own sleep, and not a task that waits by `Clock`: the threads that run tasks may be just what a guest
//! holds, and a virtual clock that stands still must not let a guest run on for ever.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use wasmtime::{Engine, EngineWeak};

/// How long a guest runs before it lets other tasks of its thread run.
pub(super) const TICK: Duration = Duration::from_millis(5);

/// Owns the thread; dropping it ends the thread.
pub(super) struct Ticker {
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct State {
    /// Guests that run.
    running: AtomicUsize,
    /// Jobs that began since the last tick: keeps the thread awake over a row of short ones, which then need not wake it.
    begun: AtomicBool,
    asleep: AtomicBool,
    stopped: AtomicBool,
    engines: Mutex<Vec<EngineWeak>>,
    bell: Condvar,
}

/// Keeps the ticker awake while a guest runs.
pub(super) struct Running(Arc<State>);

impl Ticker {
    /// Starts the thread.
    ///
    /// # Errors
    /// If the system gives no more threads.
    pub(super) fn start() -> std::io::Result<Self> {
        let state = Arc::new(State::default());
        let own = state.clone();
        let thread = std::thread::Builder::new().name("wasm-ticker".to_owned()).spawn(move || own.tick())?;
        Ok(Self { state, thread: Some(thread) })
    }

    /// Has this engine's guests yield too.
    pub(super) fn add(&self, engine: &Engine) {
        self.state.engines.lock().unwrap_or_else(PoisonError::into_inner).push(engine.weak());
    }

    /// To be held while a guest runs.
    pub(super) fn run(&self) -> Running {
        let state = &self.state;
        state.begun.store(true, Ordering::Relaxed);
        state.running.fetch_add(1, Ordering::SeqCst);
        // Either this sees that the thread sleeps, or the thread sees that a guest runs: both orders are total.
        if state.asleep.load(Ordering::SeqCst) {
            state.ring();
        }
        Running(state.clone())
    }
}

impl State {
    fn ring(&self) {
        // The lock makes sure that the thread is either not yet at its last look, or waits already.
        let _engines = self.engines.lock().unwrap_or_else(PoisonError::into_inner);
        self.bell.notify_all();
    }

    fn tick(&self) {
        let mut engines = self.engines.lock().unwrap_or_else(PoisonError::into_inner);
        while !self.stopped.load(Ordering::SeqCst) {
            let idle = self.running.load(Ordering::SeqCst) == 0 && !self.begun.swap(false, Ordering::Relaxed);
            if idle {
                self.asleep.store(true, Ordering::SeqCst);
                if self.running.load(Ordering::SeqCst) == 0 && !self.stopped.load(Ordering::SeqCst) {
                    engines = self.bell.wait(engines).unwrap_or_else(PoisonError::into_inner);
                }
                self.asleep.store(false, Ordering::SeqCst);
            } else {
                engines = self.bell.wait_timeout(engines, TICK).unwrap_or_else(PoisonError::into_inner).0;
                engines.retain(|engine| engine.upgrade().inspect(Engine::increment_epoch).is_some());
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.state.stopped.store(true, Ordering::SeqCst);
        self.state.ring();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_thread_ends_with_its_owner_awake_or_asleep() {
        for running in [false, true] {
            let ticker = Ticker::start().expect("the system gives a thread");
            let guest = running.then(|| ticker.run());
            drop(guest);
            let state = Arc::downgrade(&ticker.state);
            drop(ticker);
            assert_eq!(state.strong_count(), 0);
        }
    }
}
