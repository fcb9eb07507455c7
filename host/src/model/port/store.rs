//! Where the facts of runs are kept.

use std::fmt;

use futures_util::future::BoxFuture;

use crate::model::event::Event;
use crate::model::id::RunId;
use crate::model::record::{Batch, Fact, InboxKey};

/// A commit under way; it is durable, as far as this store is, when it ends well.
pub type Commit = BoxFuture<'static, Result<(), StoreError>>;

/// Keeps the facts of runs. Nothing that a fact says is published before its commit has ended well.
pub trait Store: Send + Sync {
    /// Appends facts to a run, all or none.
    fn commit(&self, batch: Batch) -> Commit;

    /// The facts of a run in their order; empty if it is unknown or has been forgotten.
    fn facts(&self, run: RunId) -> BoxFuture<'static, Result<Vec<Fact>, StoreError>>;

    /// Nothing will be added to this run for a while: a store may keep it in less room. What it gives of it stays the same.
    fn rest(&self, run: RunId);

    /// What a host that starts has to take up.
    fn pending(&self) -> BoxFuture<'static, Result<Pending, StoreError>>;

    /// Whether a run of that flow was begun by that event; false once that is so long ago that it is forgotten.
    fn has_taken(&self, key: InboxKey) -> BoxFuture<'static, Result<bool, StoreError>>;
}

/// What a host that starts has to take up.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Pending {
    /// The runs that have not ended, the one that began first in front.
    pub runs: Vec<RunId>,
    /// What was dispatched and never began: the run that dispatched, which may have ended, and the one that it sent on its way.
    pub dispatched: Vec<(RunId, RunId)>,
    /// The events of all runs that are known, the oldest first: some may not have reached everybody.
    pub events: Vec<Event>,
}

/// Why a store did not take or give something.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StoreError {
    /// A batch does not follow on what the store has of the run: somebody else writes to it.
    OutOfOrder {
        /// The run.
        run: RunId,
        /// The number that was due.
        expected: u64,
        /// The number that came.
        found: u64,
    },
    /// The store cannot take more.
    Full(String),
    /// The store is broken and must not be written to any more.
    Broken(String),
}

impl fmt::Display for StoreError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfOrder { run, expected, found } => {
                write!(formatter, "run {run} is at fact {expected}, and fact {found} came: two hosts write to one store")
            }
            Self::Full(why) => write!(formatter, "the store is full: {why}"),
            Self::Broken(why) => write!(formatter, "the store is broken: {why}"),
        }
    }
}

impl std::error::Error for StoreError {}
