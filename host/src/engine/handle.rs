//! The handle of the engine: plans are swapped here, runs are seen here, and here the host stops.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::bus::{Bus, Subscription, Topology};
use crate::clock::Activity;
use crate::model::activation::{Activation, Admission};
use crate::model::event::Caller;
use crate::model::failure::Failure;
use crate::model::id::{CorrelationId, EventId, EventType, PipelineName, RunId};
use crate::model::job::CancelReason;
use crate::model::port::{Activate, Clock, Invalidate, Random, Sink, Store, StoreError};
use crate::model::record::{Fact, RefusedAnswer};
use crate::model::value::Value;
use crate::plan::pipeline::{EventMode, Flow, Pipeline, Trigger};
use crate::plan::{Bound, Install};
use crate::policy::Policies;

use super::shared::Shared;
pub use super::shared::migrating::{Migrated, MigrationOutcome};
use super::view::RunView;

/// What the engine needs of the outside.
pub struct Ports {
    /// Where facts are kept.
    pub store: Arc<dyn Store>,
    /// Time and waits.
    pub clock: Arc<dyn Clock>,
    /// Ids and jitter.
    pub random: Arc<dyn Random>,
    /// Where happenings go.
    pub sink: Arc<dyn Sink>,
    /// The attempt half of the policies.
    pub policies: Policies,
    /// The buses.
    pub bus: Bus,
    /// What runs, for whoever drives a virtual clock.
    pub activity: Activity,
}

/// The engine. Cheap to clone; the runs end when [`stop`](Self::stop) is awaited.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
}

/// An event that somebody outside puts on a pipeline's bus.
#[derive(Clone, Debug)]
pub struct Outside {
    /// The pipeline.
    pub pipeline: PipelineName,
    /// The type.
    pub event_type: EventType,
    /// What it says.
    pub data: Value,
    /// Who says it.
    pub caller: Caller,
    /// What request it belongs to; `None` begins a new one.
    pub correlation_id: Option<CorrelationId>,
}

/// What became of an event that somebody outside put on a bus.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Emitted {
    /// The event.
    pub id: EventId,
    /// The runs that wait or waited for it and did not take it, and why.
    pub refused: Vec<(RunId, RefusedAnswer)>,
}

impl Engine {
    /// An engine without a plan.
    pub fn new(ports: Ports) -> Self {
        Self { shared: Shared::new(ports) }
    }

    /// What is in force.
    pub fn installed(&self) -> Vec<Arc<Bound>> {
        self.shared.bounds()
    }

    /// The runs under way, those that only wait too, the oldest first. Of those that wait for an event it is not said for which: see
    /// [`views`](Self::views).
    pub fn running(&self) -> Vec<RunView> {
        self.shared.under_way()
    }

    /// All runs that have not ended, those too that wait at the door or are stalled, the oldest first. What a resting run waits for stands in
    /// the store: it is looked up for the 1,000 oldest of these.
    pub async fn views(&self) -> Vec<RunView> {
        self.shared.views().await
    }

    /// A pipeline's state; `None` if there is no such pipeline.
    pub fn state(&self, pipeline: &PipelineName, key: Option<&str>) -> Option<Value> {
        self.shared.state(pipeline, key)
    }

    /// How many states there are, over all pipelines and keys.
    pub fn states(&self) -> usize {
        self.shared.states_held()
    }

    /// The facts of a run in their order; empty if the store has it no more.
    ///
    /// # Errors
    /// What is wrong with the store.
    pub async fn facts(&self, run: RunId) -> Result<Vec<Fact>, StoreError> {
        self.shared.ports.store.facts(run).await
    }

    /// Takes up every run that the store has without an end: it goes on from the last thing that is recorded of it. To be called once, after
    /// the first plan is in force and before anything is started. Returns how many go on; one that cannot is told as
    /// [`What::Stalled`](crate::model::happening::What) and stays in the store.
    ///
    /// Attempts that were under way are made again, with the same job and key; due times are what they were, and what is overdue is done at
    /// once. Events that may not have reached everybody are published again. States of pipelines, results of `dedup`, `cache` and `idempotency`, and
    /// waits that are over are what they were.
    ///
    /// # Errors
    /// What is wrong with the store; then nothing goes on.
    pub async fn recover(&self) -> Result<usize, StoreError> {
        self.shared.recover().await
    }

    /// Has a run, or all open ones of older revisions, go over to the revision in force; with `dry_run` nothing is changed, and it is only said whether
    /// they could. One by one: each is recorded with its migration, or stays what it is.
    ///
    /// # Errors
    /// `not_found` for a run that the store does not know; what is wrong with the store.
    pub async fn migrate(&self, run: Option<RunId>, dry_run: bool) -> Result<Vec<Migrated>, Failure> {
        self.shared.migrate(run, dry_run).await
    }

    /// Puts an event on a pipeline's bus as from outside. Returns once every wait that it met has answered.
    ///
    /// # Errors
    /// `not_found` if there is no such pipeline, `invalid` if the data is not what is declared.
    pub async fn emit(&self, outside: Outside) -> Result<Emitted, Failure> {
        self.shared.emit(outside).await
    }

    /// The same for one run: the event goes onto the bus of its pipeline and belongs to its request.
    ///
    /// # Errors
    /// As [`emit`](Self::emit); `not_found` if the store does not know the run.
    pub async fn signal(&self, run: RunId, event_type: EventType, data: Value, caller: Caller) -> Result<Emitted, Failure> {
        self.shared.signal(run, event_type, data, caller).await
    }

    /// Waits until no run is under way or waits, and no event is on its way to a flow.
    pub async fn quiet(&self) {
        self.shared.quiet().await;
    }

    /// The caches of the pipelines in force.
    pub fn caches(&self) -> Arc<dyn Invalidate> {
        Arc::clone(&self.shared) as Arc<dyn Invalidate>
    }

    /// Takes nothing new, cancels all runs and waits until each has ended, its `finally` too.
    pub async fn stop(&self, reason: CancelReason) {
        self.shared.shut(reason);
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
        self.shared.ports.bus.stop().await;
    }
}

/// Which events start which flows of a pipeline.
pub fn subscriptions(pipeline: &Pipeline) -> Vec<Subscription> {
    let of_flow = |flow: &Arc<Flow>| {
        let event = |trigger: &Trigger| match trigger {
            Trigger::Event { types, mode } => Some(Subscription {
                pipeline: pipeline.name.clone(),
                flow: flow.name.clone(),
                types: types.clone(),
                direct: *mode == EventMode::Direct,
                scope: pipeline.scope.clone(),
            }),
            Trigger::StdinLine | Trigger::Manual => None,
        };
        flow.triggers.iter().filter_map(event).collect::<Vec<_>>()
    };
    pipeline.flows.iter().flat_map(of_flow).collect()
}

impl Install for Engine {
    fn install(&self, bounds: Vec<Arc<Bound>>) {
        let topology = Topology { subscriptions: bounds.iter().flat_map(|bound| subscriptions(&bound.pipeline)).collect() };
        let named: Vec<_> = bounds.iter().flat_map(|bound| bound.pipeline.policies()).collect();
        self.shared.ports.policies.retain(&named);
        self.shared.flights.retain(&named);
        self.shared.replace(bounds);
        let activate = Arc::clone(&self.shared) as Arc<dyn Activate>;
        self.shared.ports.bus.install(topology, Arc::downgrade(&activate));
    }
}

impl Activate for Engine {
    fn activate(&self, activation: Activation) -> BoxFuture<'_, Admission> {
        self.shared.activate(activation)
    }

    fn cancel(&self, run: RunId, reason: CancelReason) {
        self.shared.cancel(run, reason);
    }
}
