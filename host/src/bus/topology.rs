//! Who hears what: the subscriptions of all flows, and the rule by which one hears an event.

use indexmap::IndexMap;

use crate::model::event::{Event, Scope};
use crate::model::id::{EventType, FlowName, PipelineName};

/// The subscriptions of all pipelines in force.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Topology {
    /// Each event trigger of each flow; a flow may have several.
    pub subscriptions: Vec<Subscription>,
}

/// One event trigger of a flow.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Subscription {
    /// The pipeline.
    pub pipeline: PipelineName,
    /// The flow that is started.
    pub flow: FlowName,
    /// The types that it hears.
    pub types: Vec<EventType>,
    /// Whether it hears its own pipeline's events; else it hears the others'.
    pub direct: bool,
    /// The pipeline's own bus.
    pub scope: Scope,
}

/// A flow that is started by events: it has one queue, however many triggers it has.
pub(in crate::bus) type Target = (PipelineName, FlowName);

impl Subscription {
    /// Whether it hears an event of that type: one that its pipeline, `source`, puts onto the bus `scope`, and onto the global one too if
    /// it is `exported`. A pipeline hears its own bus and the global one.
    pub fn hears(&self, source: &PipelineName, event_type: &EventType, scope: &Scope, exported: bool) -> bool {
        let comes_by = exported || *scope == Scope::Global || *scope == self.scope;
        let own = *source == self.pipeline;
        comes_by && own == self.direct && self.types.contains(event_type)
    }
}

impl Topology {
    pub(in crate::bus) fn by_target(self) -> IndexMap<Target, Vec<Subscription>> {
        let mut targets: IndexMap<Target, Vec<Subscription>> = IndexMap::new();
        for subscription in self.subscriptions {
            let target = (subscription.pipeline.clone(), subscription.flow.clone());
            targets.entry(target).or_default().push(subscription);
        }
        targets
    }
}

/// Whether an event comes by a pipeline with that bus of its own: it hears its own bus and the global one, and an exported event goes to both.
pub fn comes_by(own: &Scope, event: &Event, exported: bool) -> bool {
    exported || event.scope == Scope::Global || event.scope == *own
}

/// Whether a subscription takes the event.
pub(in crate::bus) fn heard(subscription: &Subscription, event: &Event, exported: bool) -> bool {
    subscription.hears(&event.source, &event.event_type, &event.scope, exported)
}
