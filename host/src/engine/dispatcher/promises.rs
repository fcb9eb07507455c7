//! What a run's jobs promise the state: `optimistic`, from the dispatch to the terminal event.

use std::sync::Arc;

use crate::engine::run::{Surroundings, set_fields};
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

    /// What a job promised stays, or is taken back.
    pub(super) fn keep_promise(&mut self, job: JobId, succeeded: bool) {
        let Some(index) = self.promised.iter().position(|other| *other == job) else { return };
        self.promised.swap_remove(index);
        let Some(cell) = &self.cell else { return };
        for followed in cell.settle(&self.installed.bound.pipeline.state, job, succeeded) {
            let key = self.state.beginning().state_key.clone();
            let Followed { version, change, after, because } = followed;
            self.tell(Some(What::StateSet { key, version, change, after, because }));
        }
    }
}
