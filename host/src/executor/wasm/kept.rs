//! Live instances that wait for the next job, for executors with `reuse: true`.

use std::sync::{Mutex, PoisonError};

use wasmtime::Store;

use super::abi;
use super::guest::Guest;

/// How many live instances of one executor wait for work. Each keeps its memory.
const MOST: usize = 4;

/// An instance and its store.
pub(super) struct Live {
    pub(super) store: Store<Guest>,
    pub(super) component: abi::Component,
}

/// The instances that wait. One that failed never comes back here: it was dropped where it failed.
#[derive(Default)]
pub(super) struct Kept(Mutex<Vec<Live>>);

impl Kept {
    /// The one that worked last: its memory is warm.
    pub(super) fn take(&self) -> Option<Live> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    /// Keeps one for later, unless enough wait already.
    pub(super) fn put(&self, mut live: Live) {
        // What it worked on is no longer its own.
        live.store.data_mut().work = None;
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() < MOST {
            waiting.push(live);
        }
    }
}
