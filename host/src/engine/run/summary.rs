//! What a run that has ended amounts to, read from its facts alone: its pipeline may not be in force any more.

use std::collections::HashMap;

use crate::model::activation::RunOutcome;
use crate::model::id::JobId;
use crate::model::job::JobOutcome;
use crate::model::record::{Fact, LaneId, LanePurpose};
use crate::model::value::Value;

/// Whether a fallback stood in somewhere, and the last output of its own steps; null unless it succeeded.
pub fn summary(facts: &[Fact]) -> (bool, Value) {
    let mut main = None;
    let mut lanes: HashMap<JobId, LaneId> = HashMap::new();
    let (mut degraded, mut output) = (false, Value::null());
    for fact in facts {
        match fact {
            Fact::LaneOpened { lane, purpose: LanePurpose::Main, .. } => main = Some(*lane),
            Fact::JobDispatched { job, lane, .. } => {
                lanes.insert(*job, *lane);
            }
            Fact::JobEnded { job, outcome: JobOutcome::Succeeded { output: of_job, from }, .. } => {
                degraded |= from.is_degraded();
                if main.is_some() && lanes.get(job).copied() == main {
                    output = of_job.clone();
                }
            }
            Fact::StepDone { lane, output: of_step, .. } | Fact::StepHealed { lane, output: of_step, .. } if main == Some(*lane) => {
                output = of_step.clone();
            }
            Fact::Ended { outcome, .. } if *outcome != RunOutcome::Succeeded => output = Value::null(),
            _ => {}
        }
    }
    (degraded, output)
}
