//! Where the host of a test is killed, and the store of a test: what it has recorded outlives the host.

use std::future::pending;
use std::sync::{Arc, Mutex, PoisonError};

use crate::clock::Activity;
use crate::journal::memory::MemoryStore;
use crate::model::cancel::CancelSignal;
use crate::model::id::{Digest, FlowName};
use crate::model::port::{Commit, Store, forward_store};
use crate::model::record::{Batch, StepNumber};

use super::witness::Witness;

/// A step of a flow of a revision.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Point {
    pub(super) revision: Digest,
    pub(super) flow: FlowName,
    pub(super) step: StepNumber,
}

/// Where the host is killed: once, when one of these steps is done.
#[derive(Default)]
pub(super) struct Cliff {
    points: Mutex<Vec<Point>>,
    fallen: CancelSignal,
}

impl Cliff {
    /// One that kills the host after these steps.
    pub(super) fn new(points: Vec<Point>) -> Self {
        Self { points: Mutex::new(points), fallen: CancelSignal::new() }
    }

    /// Waits until the host is to be killed.
    pub(super) async fn fallen(&self) {
        self.fallen.cancelled().await;
    }

    /// Whether it was killed here.
    pub(super) fn has_fallen(&self) -> bool {
        self.fallen.is_cancelled()
    }

    /// Whether one of these steps is where it is killed. From then on it never is again.
    fn falls(&self, done: &[Point]) -> bool {
        let mut points = self.points.lock().unwrap_or_else(PoisonError::into_inner);
        let falls = done.iter().any(|point| points.contains(point));
        if falls {
            points.clear();
            self.fallen.cancel();
        }
        falls
    }
}

/// The memory store of a test, whose commits are seen.
pub(super) struct SeenStore {
    pub(super) store: MemoryStore,
    pub(super) witness: Arc<Witness>,
    pub(super) activity: Activity,
    pub(super) cliff: Arc<Cliff>,
}

impl Store for SeenStore {
    fn commit(&self, batch: Batch) -> Commit {
        let (store, witness) = (self.store.clone(), Arc::clone(&self.witness));
        let (activity, cliff) = (self.activity.clone(), Arc::clone(&self.cliff));
        Box::pin(async move {
            // What is dead records nothing more.
            if cliff.fallen.is_cancelled() {
                activity.rest(pending::<()>()).await;
            }
            store.commit(batch.clone()).await?;
            let done = witness.seen().committed(&batch);
            if cliff.falls(&done) {
                // Recorded, and nothing follows from it any more.
                activity.rest(pending::<()>()).await;
            }
            Ok(())
        })
    }

    forward_store!(store: facts);
}
