//! Who hears what: the subscriptions of all flows, and the rule by which one hears an event.

use std::collections::HashMap;
use std::sync::Arc;

use indexmap::IndexMap;

use super::queue::Subscriber;
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

/// A flow that hears events of some type.
pub(in crate::bus) struct Ear {
    pub(in crate::bus) subscriber: Arc<Subscriber>,
    /// Those of its triggers that name the type.
    pub(in crate::bus) subscriptions: Vec<Subscription>,
}

/// All that hear events of some type, in the order of the plan.
pub(in crate::bus) type Ears = Arc<[Ear]>;

impl Ear {
    pub(in crate::bus) fn hears(&self, event: &Event, exported: bool) -> bool {
        self.subscriptions.iter().any(|subscription| heard(subscription, event, exported))
    }
}

/// Who hears each type of events, so that an event is compared only with those to whom it could go.
pub(in crate::bus) fn by_type<'a>(flows: impl Iterator<Item = (&'a Arc<Subscriber>, &'a [Subscription])>) -> HashMap<EventType, Ears> {
    let mut all: HashMap<EventType, Vec<Ear>> = HashMap::new();
    for (subscriber, subscriptions) in flows {
        for subscription in subscriptions {
            for event_type in &subscription.types {
                let ears = all.entry(event_type.clone()).or_default();
                match ears.last_mut().filter(|ear| ear.subscriber.number == subscriber.number) {
                    Some(ear) => ear.subscriptions.push(subscription.clone()),
                    None => ears.push(Ear { subscriber: Arc::clone(subscriber), subscriptions: vec![subscription.clone()] }),
                }
            }
        }
    }
    all.into_iter().map(|(event_type, ears)| (event_type, ears.into())).collect()
}

/// Whether a subscription takes the event.
pub(in crate::bus) fn heard(subscription: &Subscription, event: &Event, exported: bool) -> bool {
    subscription.hears(&event.source, &event.event_type, &event.scope, exported)
}
