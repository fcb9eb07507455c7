//! A run that was under way when the host ended: what it has to do again.

use std::sync::Arc;

use crate::model::id::{JobId, RunId};
use crate::plan::pipeline::{Verb, Worker};

use super::machine::{Claim, Command, Machine, Surroundings};
use super::state::{ActiveJob, JobPhase, RunState};

impl RunState {
    /// The runs that its calls under way have started.
    pub fn called(&self) -> impl Iterator<Item = RunId> {
        let running = self.jobs.values().filter(|active| active.phase == JobPhase::Running && self.is_call(active));
        running.map(|active| RunId::started_by(active.job.id, active.job.attempt))
    }

    /// The jobs that call a flow and whose attempt was under way.
    pub fn calling(&self) -> Vec<JobId> {
        let running = self.jobs.values().filter(|active| active.phase == JobPhase::Running && self.is_call(active));
        running.map(|active| active.job.id).collect()
    }

    fn is_call(&self, active: &ActiveJob) -> bool {
        match &self.flow.step(active.step).verb {
            Verb::Run(run) => matches!(run.worker, Worker::Flow { .. }),
            _ => false,
        }
    }

    /// What the jobs under way hold of the tables of dedup and cache.
    pub fn held(&mut self, around: &Surroundings<'_>) -> Vec<(JobId, Claim)> {
        let flow = Arc::clone(&self.flow);
        let working = |active: &&ActiveJob| matches!(active.phase, JobPhase::Running | JobPhase::BackOff(_));
        let jobs: Vec<JobId> = self.jobs().filter(working).map(|active| active.job.id).collect();
        let machine = Machine { state: self, flow: &flow, around, facts: Vec::new(), commands: Vec::new(), measure: None };
        let claim = |job: JobId| {
            let (_, lane, step) = machine.parts(job)?;
            let Verb::Run(run) = &flow.step(step).verb else { return None };
            Some((job, machine.claim(&lane, run).ok()??))
        };
        jobs.into_iter().filter_map(claim).collect()
    }
}

impl Machine<'_> {
    /// Goes on from what is recorded. Attempts that were under way are made again under the next number; a called run goes on by itself, so
    /// that its call only comes back to it.
    pub(super) fn resume(&mut self) {
        if self.state.lanes.outermost().is_none() && self.state.unwinding.is_none() {
            return self.begin();
        }
        let jobs: Vec<(JobId, JobPhase, u32, bool)> = {
            let of_job = |active: &ActiveJob| (active.job.id, active.phase.clone(), active.job.attempt, self.state.is_call(active));
            self.state.jobs().map(of_job).collect()
        };
        for (job, phase, attempt, is_call) in jobs {
            match phase {
                JobPhase::Waiting | JobPhase::Joined(_) => self.claim_again(job),
                JobPhase::Running if is_call => self.commands.push(Command::Attempt { job }),
                JobPhase::Running => self.attempt(job, attempt.saturating_add(1)),
                // Its time is still known, or the steps of its fallback go on.
                JobPhase::BackOff(_) | JobPhase::FallingBack(_) => {}
            }
        }
    }
}
