//! A pipeline in force, with the attempt half of its policies made ready: what a run is pinned to.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use crate::model::id::FlowName;
use crate::model::record::{StepNumber, Write};
use crate::plan::Bound;
use crate::plan::pipeline::{Flow, Verb};
use crate::policy::{AttemptStack, Policies};

use super::waits::listens;

/// A run that takes at most this from its beginning to its end is short.
const SHORT: Duration = Duration::from_micros(100);
/// So is one of its own time that is less than what it waited for its store, up to this: whoever asked waits once for a disk then, and not twice.
const SHORT_BESIDE_A_DISK: Duration = Duration::from_millis(1);
/// The credit with which a run begins in its caller's own task, and the most that a flow can have. Each short run gives one.
const TRUSTED: u32 = 16;
const MOST_CREDIT: u32 = 32;
/// What a run costs that is not short: a flow that has become slow is found out after a few, and one of which a run was short of the
/// processor stays what it is.
const SLOW_RUN: u32 = 8;

/// A pipeline in force.
///
/// The stacks are made once, when it is put in force: that is the instant at which changed numbers apply, and a run of an older revision
/// must not bring the old numbers back with each of its attempts.
pub(super) struct Installed {
    pub(super) bound: Arc<Bound>,
    /// A list: a pipeline has a few flows, and every attempt looks into it.
    flows: Vec<OfFlow>,
    /// Whether this host has kept what it is made of.
    bundle_is_kept: AtomicBool,
}

/// What is made ready for one flow.
struct OfFlow {
    flow: Arc<Flow>,
    /// As `pipeline.flow`: what the loop guard counts.
    target: String,
    /// By step number.
    stacks: Vec<AttemptStack>,
    /// Whether events may meet its runs: it has a `wait` or a `cancel_on`.
    meets: bool,
    /// What its short runs have earned, less what the others cost.
    credit: AtomicU32,
}

impl Installed {
    pub(super) fn new(bound: Arc<Bound>, policies: &Policies) -> Self {
        let stack = |verb: &Verb| match verb {
            Verb::Run(run) => policies.stack(&run.attempt),
            _ => AttemptStack::default(),
        };
        let of_flow = |flow: &Arc<Flow>| OfFlow {
            flow: Arc::clone(flow),
            target: format!("{}.{}", bound.pipeline.name, flow.name),
            stacks: flow.steps.iter().map(|step| stack(&step.verb)).collect(),
            meets: listens(flow).next().is_some(),
            credit: AtomicU32::new(0),
        };
        Self { flows: bound.pipeline.flows.iter().map(of_flow).collect(), bundle_is_kept: AtomicBool::new(false), bound }
    }

    /// A flow, with the words `pipeline.flow` for it.
    pub(super) fn target(&self, flow: &FlowName) -> Option<(&Arc<Flow>, &str)> {
        self.flow(flow).map(|flow| (&flow.flow, flow.target.as_str()))
    }

    /// Whether events may meet a flow's runs; runs of another flow are spared what only these need.
    pub(super) fn meets(&self, flow: &FlowName) -> bool {
        self.flow(flow).is_some_and(|flow| flow.meets)
    }

    /// What it is made of, to be kept with its first run. It may be large: once it is kept it is not written again.
    pub(super) fn bundle_write(&self) -> Vec<Write> {
        match self.bundle_is_kept.load(Ordering::Relaxed) {
            true => Vec::new(),
            false => vec![Write::Bundle(Arc::clone(&self.bound.pipeline.bundle))],
        }
    }

    /// What it is made of is kept.
    pub(super) fn bundle_is_kept(&self) {
        // Written only when it changes: other threads read it.
        if !self.bundle_is_kept.load(Ordering::Relaxed) {
            self.bundle_is_kept.store(true, Ordering::Relaxed);
        }
    }

    /// Whether a flow's runs survive the host. The line of a `dispatch` has the flow's name before its own.
    pub(super) fn is_durable(&self, flow: &FlowName) -> bool {
        let name = flow.as_str().split('.').next().unwrap_or_default();
        self.bound.pipeline.flows.iter().any(|flow| flow.name.as_str() == name && flow.durable)
    }

    /// Whether a flow's runs are short, by experience.
    pub(super) fn is_quick(&self, flow: &FlowName) -> bool {
        self.flow(flow).is_some_and(|flow| flow.credit.load(Ordering::Relaxed) >= TRUSTED)
    }

    /// A run of a flow took so long, beside what it waited for its store.
    pub(super) fn learn(&self, flow: &FlowName, took: Duration, waited: Duration) {
        let Some(flow) = self.flow(flow) else { return };
        let before = flow.credit.load(Ordering::Relaxed);
        let after = if is_short(took, waited) { (before + 1).min(MOST_CREDIT) } else { before.saturating_sub(SLOW_RUN) };
        // Written only when it changes: other threads read it.
        if after != before {
            flow.credit.store(after, Ordering::Relaxed);
        }
    }

    pub(super) fn stack(&self, flow: &FlowName, step: StepNumber) -> Option<&AttemptStack> {
        self.flow(flow)?.stacks.get(step.0 as usize)
    }

    fn flow(&self, name: &FlowName) -> Option<&OfFlow> {
        self.flows.iter().find(|flow| flow.flow.name == *name)
    }
}

/// Whether a run is short that took so long, beside what it waited for its store.
fn is_short(took: Duration, waited: Duration) -> bool {
    took <= SHORT.max(waited.min(SHORT_BESIDE_A_DISK))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_short_by_its_own_time_or_beside_the_disk_for_which_it_waited() {
        let short = |took, waited| is_short(Duration::from_micros(took), Duration::from_micros(waited));
        assert!(short(100, 0) && !short(101, 0), "in memory");
        assert!(short(101, 150) && !short(151, 150), "beside a quick disk");
        assert!(short(1_000, 9_000) && !short(1_001, 9_000), "beside a slow one");
    }
}
