//! What a run's jobs promise the state: `optimistic`, from the dispatch to the terminal event.
//!
//! It is taken back if the job does not succeed. A job for which a fallback stands in succeeds, so that its promise stands while the steps of the
//! fallback are at work, and stays: whoever looks at the state then sees what whoever waits for the step gets. A fallback that means something else sets
//! it in its own steps.

use std::sync::Arc;

use crate::engine::run::{ActiveJob, JobPhase, Surroundings, set_fields};
use crate::engine::states::{Fields, Followed};
use crate::model::failure::Failure;
use crate::model::happening::{StateChange, What};
use crate::model::id::JobId;
use crate::model::record::{LaneId, StepNumber};
use crate::plan::pipeline::Verb;

use super::{Driver, no_state};

impl Driver {
    /// What a step sets, as often as it is needed: at this time, with what the run knows now.
    pub(super) fn fields(&self, lane: LaneId, step: StepNumber) -> Fields {
        let (run, random, now) = (self.state.seen_from(lane), Arc::clone(&self.shared.ports.random), self.shared.ports.clock.now());
        Box::new(move |state| set_fields(&run, lane, step, &Surroundings { now, random: &*random, state }))
    }

    /// Puts what a job promises into the state before anything of it begins. Once a job: a retry finds it there.
    pub(super) fn promise(&mut self, job: JobId) -> Result<(), Failure> {
        let Some(active) = self.state.job(job) else { return Ok(()) };
        let promises = matches!(&self.state.flow().step(active.step).verb, Verb::Run(step) if !step.optimistic.is_empty());
        if !promises || self.promised.contains(&job) {
            return Ok(());
        }
        let cell = self.cell.as_ref().ok_or_else(no_state)?;
        let change = cell.promise(&self.installed.bound.pipeline.state, job, self.fields(active.lane, active.step))?;
        self.promised.push(job);
        let key = self.state.beginning().state_key.clone();
        let (version, after) = (change.version, change.after);
        self.tell(Some(What::StateSet { key, version, change: StateChange::Optimistic, after, because: None }));
        Ok(())
    }

    /// What jobs under way had promised when the host ended: a promise is not kept, so that it is made again. Those that are tried or asked for again
    /// promise anew with that.
    pub(super) fn promise_again(&mut self) {
        let stays = |active: &&ActiveJob| matches!(active.phase, JobPhase::BackOff(_) | JobPhase::FallingBack(_));
        let jobs: Vec<JobId> = self.state.jobs().filter(stays).map(|active| active.job.id).collect();
        for job in jobs {
            // What cannot be promised any more now is tried once more with the next attempt, which fails with it.
            let _ = self.promise(job);
        }
    }

    /// The run does not go on: what its jobs promised is taken back. Nothing is kept of it, since nothing was.
    pub(super) fn break_promises(&mut self) {
        let Some(cell) = &self.cell else { return };
        for job in std::mem::take(&mut self.promised) {
            for followed in cell.settle(&self.installed.bound.pipeline.state, job, false) {
                let key = self.state.beginning().state_key.clone();
                let Followed { version, change, after, because } = followed;
                self.tell(Some(What::StateSet { key, version, change, after, because }));
            }
        }
    }
}
