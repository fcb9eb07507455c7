//! The handle of the engine: plans are swapped here, runs are seen here, and here the host stops.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::bus::{Bus, Subscription, Topology};
use crate::clock::Activity;
use crate::model::activation::{Activation, Admission};
use crate::model::id::{PipelineName, RunId};
use crate::model::job::CancelReason;
use crate::model::port::{Activate, Clock, Random, Sink, Store, StoreError};
use crate::model::record::Fact;
use crate::model::time::Timestamp;
use crate::model::value::Value;
use crate::plan::pipeline::{EventMode, Flow, Pipeline, Trigger};
use crate::plan::{Bound, Install};
use crate::policy::Policies;

use super::shared::Shared;

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

/// A run under way, as others see it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RunView {
    /// The run.
    pub run: RunId,
    /// Its pipeline and flow, as `pipeline.flow`.
    pub target: String,
    /// When it began.
    pub since: Timestamp,
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

    /// The runs under way, the oldest first.
    pub fn running(&self) -> Vec<RunView> {
        self.shared.views()
    }

    /// A pipeline's state; `None` if there is no such pipeline.
    pub fn state(&self, pipeline: &PipelineName, key: Option<&str>) -> Option<Value> {
        self.shared.state(pipeline, key)
    }

    /// The facts of a run in their order; empty if the store has it no more.
    ///
    /// # Errors
    /// What is wrong with the store.
    pub async fn facts(&self, run: RunId) -> Result<Vec<Fact>, StoreError> {
        self.shared.ports.store.facts(run).await
    }

    /// Waits until no run is under way or waits, and no event is on its way to a flow.
    pub async fn quiet(&self) {
        self.shared.quiet().await;
    }

    /// Takes nothing new, cancels all runs and waits until each has ended, its `finally` too.
    pub async fn stop(&self, reason: CancelReason) {
        self.shared.shut(reason);
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
        self.shared.ports.bus.stop().await;
    }
}

fn subscriptions(pipeline: &Pipeline) -> Vec<Subscription> {
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
