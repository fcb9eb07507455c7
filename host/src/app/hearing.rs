//! Who hears an event, over all pipelines of a plan: by the rule of the bus itself.

use serde::Serialize;

use crate::engine::subscriptions;
use crate::model::event::Scope;
use crate::model::id::EventType;
use crate::plan::pipeline::{Pipeline, Plan};

/// A flow that hears an event.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
pub struct Hearer {
    /// The pipeline.
    pub pipeline: String,
    /// The flow.
    pub flow: String,
}

/// The flows that an event of a pipeline starts, each once, in the order of the plan.
pub fn hearers(plan: &Plan, source: &Pipeline, event: &EventType) -> Vec<Hearer> {
    let exported = source.scope != Scope::Global && source.exports.contains(event);
    let mut found: Vec<Hearer> = Vec::new();
    for subscription in plan.pipelines.values().flat_map(|pipeline| subscriptions(pipeline)) {
        if subscription.hears(&source.name, event, &source.scope, exported) {
            let hearer = Hearer { pipeline: subscription.pipeline.to_string(), flow: subscription.flow.to_string() };
            if !found.contains(&hearer) {
                found.push(hearer);
            }
        }
    }
    found
}
