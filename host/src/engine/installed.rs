//! A pipeline in force, with the attempt half of its policies made ready: what a run is pinned to.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::model::id::FlowName;
use crate::model::record::StepNumber;
use crate::plan::Bound;
use crate::plan::pipeline::{Flow, Verb};
use crate::policy::{AttemptStack, Policies};

/// A pipeline in force.
///
/// The stacks are made once, when it is put in force: that is the instant at which changed numbers apply, and a run of an older revision
/// must not bring the old numbers back with each of its attempts.
pub(super) struct Installed {
    pub(super) bound: Arc<Bound>,
    stacks: HashMap<FlowName, Vec<AttemptStack>>,
    /// The flows with a `wait`.
    waiting: HashSet<FlowName>,
}

impl Installed {
    pub(super) fn new(bound: Arc<Bound>, policies: &Policies) -> Self {
        let stack = |verb: &Verb| match verb {
            Verb::Run(run) => policies.stack(&run.attempt),
            _ => AttemptStack::default(),
        };
        let stacks = bound.pipeline.flows.iter().map(|flow| {
            let stacks = flow.steps.iter().map(|step| stack(&step.verb)).collect();
            (flow.name.clone(), stacks)
        });
        let waits = |flow: &&Arc<Flow>| flow.steps.iter().any(|step| matches!(step.verb, Verb::Wait(_)));
        let waiting = bound.pipeline.flows.iter().filter(waits).map(|flow| flow.name.clone()).collect();
        Self { stacks: stacks.collect(), waiting, bound }
    }

    /// Whether a flow's runs may wait for events.
    pub(super) fn waits(&self, flow: &FlowName) -> bool {
        self.waiting.contains(flow)
    }

    pub(super) fn stack(&self, flow: &FlowName, step: StepNumber) -> AttemptStack {
        self.stacks.get(flow).and_then(|stacks| stacks.get(step.0 as usize)).cloned().unwrap_or_default()
    }
}
