//! Which steps and branches of a pipeline its tests have taken.

use std::collections::{HashMap, HashSet};

use crate::model::diagnostic::Place;
use crate::model::id::{Digest, FlowName, PipelineName};
use crate::model::record::{BlockNumber, Fact, StepNumber};
use crate::plan::pipeline::{Flow, OnError, Pipeline, RunStep, StandIn, Verb};

/// What was walked through, by flow.
#[derive(Clone, Debug, Default)]
pub(super) struct Walked(HashMap<(PipelineName, Digest, FlowName), WalkedFlow>);

#[derive(Clone, Debug, Default)]
struct WalkedFlow {
    done: HashSet<StepNumber>,
    skipped: HashSet<StepNumber>,
    blocks: HashSet<BlockNumber>,
}

impl Walked {
    /// What a fact says of the way that a run takes.
    pub(super) fn learn(&mut self, pipeline: &PipelineName, revision: Digest, flow: &FlowName, fact: &Fact) {
        let key = (pipeline.clone(), revision, flow.clone());
        match fact {
            Fact::StepSkipped { step, .. } => drop(self.0.entry(key).or_default().skipped.insert(*step)),
            Fact::LaneOpened { block, parent, .. } => {
                let flow = self.0.entry(key).or_default();
                flow.blocks.insert(*block);
                flow.done.extend(parent.map(|(_, step)| step));
            }
            Fact::StepDone { step, .. }
            | Fact::StepFailed { step, .. }
            | Fact::StepHealed { step, .. }
            | Fact::HealFailed { step, .. }
            | Fact::JobDispatched { step, .. }
            | Fact::ItemsTaken { step, .. }
            | Fact::SleepBegan { step, .. }
            | Fact::WaitBegan { step, .. }
            | Fact::Dispatched { step, .. }
            | Fact::Emitted { step, .. } => drop(self.0.entry(key).or_default().done.insert(*step)),
            _ => {}
        }
    }

    /// Adds what another test walked through.
    pub(super) fn add(&mut self, other: Self) {
        for (key, flow) in other.0 {
            let own = self.0.entry(key).or_default();
            own.done.extend(flow.done);
            own.skipped.extend(flow.skipped);
            own.blocks.extend(flow.blocks);
        }
    }
}

/// How much of a pipeline its tests have taken.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Coverage {
    /// Its steps.
    pub steps: Count,
    /// Its branches: a `when` that was true and one that was false, each list of steps that is not always done.
    pub branches: Count,
    /// What was never taken, in the order of the file.
    pub missed: Vec<Missed>,
}

/// So many of so many.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Count {
    /// How many were taken.
    pub taken: usize,
    /// How many there are.
    pub all: usize,
}

impl Count {
    fn add(&mut self, taken: bool) -> bool {
        self.all += 1;
        self.taken += usize::from(taken);
        taken
    }
}

/// Something that no test has taken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Missed {
    /// Where it stands.
    pub place: Place,
    /// What it is, as "step `save`" or "`when` of step `save` is never false".
    pub what: String,
}

/// What of a pipeline was taken.
pub(super) fn coverage(pipeline: &Pipeline, walked: &Walked) -> Coverage {
    let mut coverage = Coverage::default();
    let nothing = WalkedFlow::default();
    for flow in &pipeline.flows {
        let walked = walked.0.get(&(pipeline.name.clone(), pipeline.revision, flow.name.clone())).unwrap_or(&nothing);
        of_flow(flow, walked, &mut coverage);
    }
    coverage.missed.sort_by(|one, other| one.place.cmp(&other.place));
    coverage
}

fn of_flow(flow: &Flow, walked: &WalkedFlow, coverage: &mut Coverage) {
    let mut miss = |place: &Place, what: String| coverage.missed.push(Missed { place: place.clone(), what });
    for step in &flow.steps {
        let done = walked.done.contains(&step.number);
        let name = step_name(step.id.as_str(), step.place.line);
        if !coverage.steps.add(done) {
            miss(&step.place, name.clone());
        }
        if step.when.is_some() {
            coverage.branches.add(done);
            // That it was never true is said by the step itself.
            if !coverage.branches.add(walked.skipped.contains(&step.number)) {
                miss(&step.place, format!("`when` of {name} is never false"));
            }
        }
    }
    for (index, block) in flow.blocks.iter().enumerate().skip(1) {
        let number = BlockNumber(u32::try_from(index).unwrap_or(u32::MAX));
        if flow.finally == Some(number) {
            continue;
        }
        let place = block.first().map_or(&flow.place, |step| &flow.step(*step).place);
        if !coverage.branches.add(walked.blocks.contains(&number)) {
            miss(place, block_name(flow, number));
        }
    }
}

fn step_name(id: &str, line: usize) -> String {
    if id.starts_with('#') { format!("the step on line {line}") } else { format!("step `{id}`") }
}

fn block_name(flow: &Flow, number: BlockNumber) -> String {
    if flow.on_error == Some(number) {
        return format!("`on_error` of the flow `{}`", flow.name);
    }
    for step in &flow.steps {
        let name = step_name(step.id.as_str(), step.place.line);
        if step.on_error == Some(OnError::Steps(number)) {
            return format!("`on_error` of {name}");
        }
        let fallback = |run: &RunStep| {
            run.policy.fallback.as_ref().is_some_and(|fallback| matches!(fallback.stand_in, StandIn::Steps(block) if block == number))
        };
        let found =
            match &step.verb {
                Verb::Run(run) if fallback(run) => Some("`fallback`".to_owned()),
                Verb::Run(run) if run.undo.is_some_and(|undo| undo.block == number) => Some("`undo`".to_owned()),
                Verb::Dispatch(block) if *block == number => Some("the work".to_owned()),
                Verb::Wait(wait) if wait.on_timeout == number => Some("`on_timeout`".to_owned()),
                Verb::Wait(wait) if wait.remind.as_ref().is_some_and(|remind| remind.block == number) => Some("`remind`".to_owned()),
                Verb::Switch(cases) => {
                    let at = cases.iter().position(|case| case.block == number);
                    at.map(|at| {
                        if cases.get(at).is_some_and(|case| case.when.is_none()) { "`else`".to_owned() } else { format!("case {}", at + 1) }
                    })
                }
                Verb::Parallel(parallel) => {
                    parallel.branches.iter().find(|(_, block)| *block == number).map(|(branch, _)| format!("branch `{branch}`"))
                }
                Verb::Each(each) if each.block == number => Some("the rounds".to_owned()),
                _ => None,
            };
        if let Some(found) = found {
            return format!("{found} of {name}");
        }
    }
    "this branch".to_owned()
}
