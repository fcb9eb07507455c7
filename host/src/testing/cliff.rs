//! Where the host of a test is killed: by what its store is given.

use std::future::{pending, ready};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use futures_util::future::BoxFuture;

use crate::clock::Activity;
use crate::model::bundle::Bundle;
use crate::model::cancel::CancelSignal;
use crate::model::id::{Digest, EventId, FlowName, RunId};
use crate::model::port::{Answer, Commit, Health, Page, Pending, RunQuery, RunRecord, Store};
use crate::model::record::{Batch, Fact, InboxKey, Kept, Room, StepNumber, Write};

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

/// The store of a test, whose commits are seen.
pub(super) struct SeenStore {
    pub(super) store: Arc<dyn Store>,
    pub(super) witness: Arc<Witness>,
    pub(super) activity: Activity,
    pub(super) cliff: Arc<Cliff>,
}

/// Waits here and now until the store has answered: a store may have threads of its own, and what comes first would be theirs to say. So a
/// test comes to the same on each store, every time.
fn at_once<T: Send + 'static>(mut answer: BoxFuture<'static, T>) -> BoxFuture<'static, T> {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    loop {
        match answer.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(answered) => return Box::pin(ready(answered)),
            Poll::Pending => thread::park(),
        }
    }
}

impl Store for SeenStore {
    fn commit(&self, batch: Batch) -> Commit {
        let (witness, activity, cliff) = (Arc::clone(&self.witness), self.activity.clone(), Arc::clone(&self.cliff));
        // What is dead records nothing more.
        if cliff.fallen.is_cancelled() {
            return Box::pin(async move {
                activity.rest(pending::<()>()).await;
                Ok(())
            });
        }
        let commit = at_once(self.store.commit(batch.clone()));
        Box::pin(async move {
            commit.await?;
            let done = witness.seen().committed(&batch);
            if cliff.falls(&done) {
                // Recorded, and nothing follows from it any more.
                activity.rest(pending::<()>()).await;
            }
            Ok(())
        })
    }

    fn write(&self, writes: Vec<Write>) -> Commit {
        at_once(self.store.write(writes))
    }

    fn facts(&self, run: RunId) -> Answer<Vec<Fact>> {
        at_once(self.store.facts(run))
    }

    fn rest(&self, run: RunId) {
        self.store.rest(run);
    }

    fn pending(&self) -> Answer<Pending> {
        at_once(self.store.pending())
    }

    fn claim(&self, run: RunId) -> Answer<u32> {
        at_once(self.store.claim(run))
    }

    fn has_taken(&self, key: InboxKey) -> Answer<bool> {
        at_once(self.store.has_taken(key))
    }

    fn published(&self, events: Vec<EventId>) {
        self.store.published(events);
    }

    fn kept(&self, room: Room) -> Answer<Vec<Kept>> {
        at_once(self.store.kept(room))
    }

    fn first_kept(&self, room: Room, most: usize) -> Answer<Page> {
        at_once(self.store.first_kept(room, most))
    }

    fn bundle(&self, revision: Digest) -> Answer<Option<Arc<Bundle>>> {
        at_once(self.store.bundle(revision))
    }

    fn runs(&self, query: RunQuery) -> Answer<Vec<RunRecord>> {
        at_once(self.store.runs(query))
    }

    fn health(&self) -> Health {
        self.store.health()
    }
}
