//! The ports: what the inner rooms need of the outer ones, and the outer ones implement.

mod cache;
mod catalog;
mod clock;
mod executor;
mod expression;
mod outbox;
mod store;

pub use cache::{Forget, Invalidate};
pub use catalog::{Catalog, CatalogProblem, UNKNOWN_BUILTIN};
pub use clock::{Clock, Random, Sleep};
pub use executor::{AtOnce, Attempt, Executor, JobChannel, Processing};
pub use expression::{Expression, Reference, Root, Scope};
pub use outbox::{MakeData, OUTBOX_KEPT, OutboxEvent, OutboxRow, OutboxTable, Outgoing};
#[cfg(test)]
pub(crate) use store::forward_store;
pub use store::{Answer, Commit, Health, Page, Pending, PendingEvent, RunQuery, RunRecord, Store, StoreError, Unreadable};

use std::sync::Arc;

use super::activation::{Activation, Admission};
use super::event::Event;
use super::happening::Happening;
use super::id::{FlowName, PipelineName, RunId};
use super::job::CancelReason;

/// Takes what happened. Called on every path, so it must be quick and never block.
pub trait Sink: Send + Sync {
    /// Takes one happening.
    fn accept(&self, happening: Happening);

    /// Whether anybody wants happenings of what goes as it should; if not, they need not be made. Trouble is always taken.
    fn wants_routine(&self) -> bool;

    /// Whether anybody wants happenings as fine as progress and single attempts; if not, they need not be made.
    fn wants_detail(&self) -> bool;
}

/// Starts flows: implemented by the engine, called by triggers and the bus.
pub trait Activate: Send + Sync + 'static {
    /// Starts, queues or refuses; with [`Patience::Wait`](super::activation::Patience) the answer waits for a place.
    fn activate(&self, activation: Activation) -> futures_util::future::BoxFuture<'_, Admission>;

    /// The same for an event that is delivered to a flow. The answer does not wait for the run's first facts to be kept: that is when the receipt is
    /// settled. By itself it waits, and settles whatever came of it.
    fn deliver(
        self: Arc<Self>,
        pipeline: &PipelineName,
        flow: &FlowName,
        event: &Arc<Event>,
        receipt: Box<dyn Receipt>,
    ) -> futures_util::future::BoxFuture<'static, Admission> {
        let activation = Activation::of_event(pipeline, flow, event);
        Box::pin(async move {
            let admission = self.activate(activation).await;
            receipt.settle();
            admission
        })
    }

    /// Asks to cancel a run; does nothing if it has ended or is unknown.
    fn cancel(&self, run: RunId, reason: CancelReason);
}

/// What a flow gives back for an event. Once all who hear the event have settled theirs, it need not be told again after a crash.
pub trait Receipt: Send + Sync {
    /// The flow has the event for good: the first facts of its run are kept, or it will never make anything of it. A receipt that is dropped without
    /// this leaves the event to be told again when the host starts anew.
    fn settle(self: Box<Self>);
}
