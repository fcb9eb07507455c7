//! Time, waits, ids and randomness.

use std::future::Future;
use std::pin::Pin;

use uuid::Uuid;

use crate::model::time::Timestamp;

/// A wait for a point in time. Dropping it ends the wait.
pub type Sleep = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The one source of time and waits, real or virtual.
pub trait Clock: Send + Sync {
    /// What time it is. Never goes back within a process.
    fn now(&self) -> Timestamp;

    /// Waits until that point; ends at once if it has passed.
    fn sleep_until(&self, at: Timestamp) -> Sleep;
}

/// The one source of ids and randomness; seeded in tests.
pub trait Random: Send + Sync {
    /// An id of version 7: sortable by `now`.
    fn id(&self, now: Timestamp) -> Uuid;

    /// A number from 0 up to, but without, 1.
    fn fraction(&self) -> f64;
}
