//! A run that is done again from one of its steps on: what it takes over from the one before.

use std::collections::{HashMap, HashSet};

use crate::model::id::{JobId, RunId, StepId};
use crate::model::job::JobOutcome;
use crate::model::record::{BlockNumber, Fact, LaneId, LanePurpose, StepNumber};
use crate::model::value::Value;
use crate::plan::pipeline::Flow;

/// What became of a step of a flow's own steps.
enum Done {
    Skipped,
    With(Value),
}

/// The facts that a new run of `flow` takes over, so that it goes on at `from`: that the steps before it are done, with what they gave in `run`, whose flow
/// was `old` and whose facts are these. Steps are the same if their ids are.
///
/// # Errors
/// Why it cannot go on there, for people.
pub fn taken_over(run: RunId, facts: &[Fact], old: &Flow, flow: &Flow, from: &StepId) -> Result<Vec<Fact>, String> {
    let own = flow.block(BlockNumber(0));
    let id_of = |number: &StepNumber| &flow.step(*number).id;
    let Some(place) = own.iter().position(|number| id_of(number) == from) else {
        if flow.steps.iter().any(|step| step.id == *from) {
            return Err(format!("the step {from} is within another step, and a run goes on only from one of the flow's own steps"));
        }
        let known: Vec<&str> = own.iter().map(|number| id_of(number).as_str()).collect();
        return Err(format!("the flow {} has no step {from}; its own steps are {}", flow.name, known.join(", ")));
    };
    let (done, undone) = of_own_steps(facts);
    let lane = LaneId(0);
    let mut taken = vec![Fact::LaneOpened { lane, purpose: LanePurpose::Main, block: BlockNumber(0), parent: None }];
    for step in &own[..place] {
        let id = id_of(step);
        let before = old.block(BlockNumber(0)).iter().find(|number| old.step(**number).id == *id);
        if before.is_some_and(|number| undone.contains(number)) {
            return Err(format!("what the step {id} did was undone when run {run} ended; do it again from its first step"));
        }
        match before.and_then(|number| done.get(number)) {
            Some(Done::Skipped) => taken.push(Fact::StepSkipped { lane, step: *step }),
            Some(Done::With(output)) => taken.push(Fact::StepDone { lane, step: *step, output: output.clone() }),
            None => {
                return Err(format!(
                    "the step {id}, which comes before {from}, was not done in run {run}; do it again from {id} or before"
                ));
            }
        }
    }
    Ok(taken)
}

/// What became of the flow's own steps, and which of them were undone.
fn of_own_steps(facts: &[Fact]) -> (HashMap<StepNumber, Done>, HashSet<StepNumber>) {
    let main = facts.iter().find_map(|fact| match fact {
        Fact::LaneOpened { lane, purpose: LanePurpose::Main, .. } => Some(*lane),
        _ => None,
    });
    let (mut done, mut undone) = (HashMap::new(), HashSet::new());
    let mut jobs: HashMap<JobId, StepNumber> = HashMap::new();
    for fact in facts {
        match fact {
            Fact::StepSkipped { lane, step } if main == Some(*lane) => drop(done.insert(*step, Done::Skipped)),
            Fact::StepDone { lane, step, output } | Fact::StepHealed { lane, step, output } if main == Some(*lane) => {
                done.insert(*step, Done::With(output.clone()));
            }
            Fact::JobDispatched { lane, step, job, .. } if main == Some(*lane) => drop(jobs.insert(*job, *step)),
            Fact::JobEnded { job, outcome: JobOutcome::Succeeded { output, .. }, .. } => {
                if let Some(step) = jobs.get(job) {
                    done.insert(*step, Done::With(output.clone()));
                }
            }
            Fact::LaneOpened { purpose: LanePurpose::Undo, parent: Some((lane, step)), .. } if main == Some(*lane) => {
                undone.insert(*step);
            }
            _ => {}
        }
    }
    (done, undone)
}
