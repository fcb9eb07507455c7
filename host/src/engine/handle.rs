//! The handle of the engine: plans are swapped here, runs are seen here, and here the host stops.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::bus::{Bus, Subscription, Topology};
use crate::clock::Activity;
use crate::model::activation::{Activation, Admission};
use crate::model::event::Caller;
use crate::model::failure::Failure;
use crate::model::id::{CorrelationId, Digest, EventId, EventType, PipelineName, RunId, StepId};
use crate::model::job::CancelReason;
use crate::model::port::{Activate, Clock, Invalidate, Random, Sink, Store, StoreError};
use crate::model::record::{Fact, RefusedAnswer};
use crate::model::value::Value;
use crate::plan::pipeline::{EventMode, Flow, Pipeline, Trigger};
use crate::plan::{Bound, Install, Rebuild};
use crate::policy::Policies;

use super::dead_letters::DeadLetter;
use super::recovery::Recovered;
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

/// What a stop has left for the next start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Left {
    /// Durable runs that were under way, waited or had no place yet: they go on.
    pub runs: usize,
    /// Runs that were stalled, and are until what hinders them is gone.
    pub stalled: usize,
}

impl Left {
    /// Whether there is nothing to say of it.
    pub const fn is_nothing(self) -> bool {
        self.runs + self.stalled == 0
    }
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

    /// Why a run that has not ended cannot go on, and the way out; `None` unless it is stalled, or nothing goes on, since data may be lost.
    pub fn why_stalled(&self, run: RunId) -> Option<String> {
        self.shared.why_stalled(run)
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
    pub async fn recover(&self) -> Result<Recovered, StoreError> {
        self.shared.recover().await
    }

    /// A pipeline as it is in one of its revisions, if that is in force or runs under way are pinned to it.
    pub fn pipeline(&self, name: &PipelineName, revision: Digest) -> Option<Arc<Pipeline>> {
        self.shared.of_revision(name, revision).map(|installed| Arc::clone(&installed.bound.pipeline))
    }

    /// Has a parked run go on with what could not be undone, or a stalled one be tried again. Returns once that is recorded.
    ///
    /// # Errors
    /// `not_found` if the run is not known, `conflict` if it is neither parked nor stalled, `rejected` if what hinders it is still there or data may be
    /// lost.
    pub async fn resume(&self, run: RunId) -> Result<(), Failure> {
        self.shared.resume(run).await
    }

    /// Does a run that has ended again, as a new run of what is in force now and with the same input: from its first step, or from that one on with
    /// what the steps before it gave. Returns the new run.
    ///
    /// # Errors
    /// `not_found` if the run is not known, `conflict` if it has not ended or its request has an answer or is under way, `invalid` if it cannot go on
    /// from that step, and whatever refuses a run.
    pub async fn retry(&self, run: RunId, from: Option<&StepId>) -> Result<RunId, Failure> {
        self.shared.retry(run, from, false).await
    }

    /// The same, although the request of the run, known by the `idempotency` of its flow, may have its answer: then it is done a second time.
    ///
    /// # Errors
    /// As [`retry`](Self::retry); an answer is none of them.
    pub async fn retry_although_answered(&self, run: RunId, from: Option<&StepId>) -> Result<RunId, Failure> {
        self.shared.retry(run, from, true).await
    }

    /// Cancels a run, wherever it stands: under way, waiting, at the door or stalled. What it did is undone, and its `finally` is done; a stalled run is
    /// taken up for that.
    ///
    /// # Errors
    /// `not_found` if the run is not known, `conflict` if it has ended, `rejected` if it is stalled and cannot be taken up: then it stays as it is.
    pub async fn call_off(&self, run: RunId) -> Result<(), Failure> {
        self.shared.call_off(run).await
    }

    /// What nobody could bring to a good end, the oldest first.
    ///
    /// # Errors
    /// What is wrong with the store.
    pub async fn dead_letters(&self) -> Result<Vec<DeadLetter>, Failure> {
        self.shared.letters().await
    }

    /// Does what a dead letter is about again, with the same input and event as a new run of what is in force now, and drops it. Returns the new run;
    /// `None` for an event, which is published again.
    ///
    /// # Errors
    /// `not_found` if there is none by that key, `conflict` if its run is not at its end, and whatever refuses a run: then it stays.
    pub async fn replay(&self, key: &str) -> Result<Option<RunId>, Failure> {
        self.shared.replay(key).await
    }

    /// Forgets a dead letter.
    ///
    /// # Errors
    /// `not_found` if there is none by that key.
    pub async fn drop_letter(&self, key: &str) -> Result<(), Failure> {
        self.shared.drop_letter(key).await
    }

    /// Has a run, or all open ones of older revisions, go over to the revision in force; with `dry_run` nothing is changed, and it is only said whether
    /// they could. One by one: each is recorded with its migration, or stays what it is.
    ///
    /// # Errors
    /// `not_found` for a run that the store does not know; what is wrong with the store.
    pub async fn migrate(&self, run: Option<RunId>, dry_run: bool) -> Result<Vec<Migrated>, Failure> {
        self.shared.migrate(run, dry_run).await
    }

    /// Puts an event on a pipeline's bus as from outside. Returns once the event is recorded and every wait that it met has answered: it reaches each flow
    /// that hears it, whatever ends the host meanwhile.
    ///
    /// # Errors
    /// `not_found` if there is no such pipeline, `invalid` if the data is not what is declared, and why the store did not take it: then nobody hears it.
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

    /// How many events with `via: outbox` wait for somebody who has not taken them yet. Those that found no room in memory are not counted.
    pub fn in_outbox(&self) -> usize {
        self.shared.relay.waiting()
    }

    /// Waits until no run is under way or waits, and no event is on its way to a flow.
    pub async fn quiet(&self) {
        self.shared.quiet().await;
    }

    /// The caches of the pipelines in force.
    pub fn caches(&self) -> Arc<dyn Invalidate> {
        Arc::clone(&self.shared) as Arc<dyn Invalidate>
    }

    /// How pipelines are made again out of their bundles, for runs of a revision that is in force no more. Said once, before runs are taken up.
    pub fn rebuilds_with(&self, rebuild: Arc<dyn Rebuild>) {
        let _first_counts = self.shared.rebuild.set(rebuild);
    }

    /// Takes nothing new, leaves durable runs where they are, cancels the others, and waits until each of these has ended, its `finally` too. The
    /// next start goes on with what was left, which is returned.
    pub async fn stop(&self, reason: CancelReason) -> Left {
        self.shared.shut(reason);
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
        self.shared.ports.bus.stop().await;
        Left { runs: self.shared.left_behind(), stalled: self.shared.stalled.len() }
    }

    /// Waits until a run is under way no more: it has ended, or was left for the next start. One that is not under way is not waited for.
    pub async fn until_over(&self, run: RunId) {
        self.shared.until_over(run).await;
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
        self.shared.replace(bounds.clone());
        let activate = Arc::clone(&self.shared) as Arc<dyn Activate>;
        self.shared.ports.bus.install(topology, Arc::downgrade(&activate));
        // What waited for these files goes out only now, when those who hear it are known.
        self.shared.relay.install(&bounds);
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
