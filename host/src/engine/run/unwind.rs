//! The end of a run: what is due, what gives up, `on_error`, `finally` and the one outcome.

use crate::model::activation::RunOutcome;
use crate::model::failure::{Failure, FailureKind};
use crate::model::id::JobId;
use crate::model::job::{CancelReason, JobOutcome, ResultSource};
use crate::model::record::{Fact, LanePurpose};
use crate::plan::pipeline::Verb;
use crate::policy::deadline;

use super::machine::Machine;
use super::state::{JobPhase, Lane};

impl Machine<'_> {
    /// Looks at everything that may be due: the run's deadline first, since it decides over all the others.
    pub(super) fn tick(&mut self) {
        let now = self.around.now;
        let passed = self.state.beginning.deadline.filter(|due| *due <= now && self.state.unwinding.is_none());
        if let Some(due) = passed {
            let failure = deadline::failure(deadline::Limit::Run(due.since(self.state.beginning.at)));
            self.end_jobs(|| JobOutcome::TimedOut { failure: failure.clone() });
            return self.unwind(RunOutcome::TimedOut { failure });
        }
        let due: Vec<(JobId, JobPhase, bool, u32)> = self
            .state
            .jobs
            .iter()
            .map(|active| {
                let late = active.deadline.is_some_and(|deadline| deadline <= now);
                (active.job.id, active.phase.clone(), late, active.job.attempt)
            })
            .collect();
        for (job, phase, late, attempt) in due {
            match phase {
                _ if late => self.job_is_late(job),
                JobPhase::BackOff(due) if due <= now => self.attempt(job, attempt.saturating_add(1)),
                _ => {}
            }
        }
    }

    fn job_is_late(&mut self, job: JobId) {
        let Some((active, _, number)) = self.parts(job) else { return };
        let declared = match &self.state.flow.step(number).verb {
            Verb::Run(run) => run.policy.deadline,
            _ => None,
        };
        let limit = active.deadline.map_or_else(|| declared.unwrap_or_default(), |due| due.since(active.since));
        let failure = deadline::failure(deadline::Limit::Step(limit));
        self.settle_failure(job, failure);
    }

    /// Nobody wants the run any more. A run that already unwinds goes on doing so.
    pub(super) fn cancel(&mut self, reason: CancelReason) {
        if self.state.unwinding.is_some() {
            return;
        }
        self.end_jobs(|| JobOutcome::Cancelled { reason });
        self.unwind(RunOutcome::Cancelled { reason });
    }

    fn end_jobs(&mut self, outcome: impl Fn() -> JobOutcome) {
        let jobs: Vec<JobId> = self.state.jobs.iter().map(|active| active.job.id).collect();
        for job in jobs {
            self.end_job(job, outcome(), Vec::new());
        }
    }

    /// A lane has come to its end.
    pub(super) fn lane_done(&mut self, lane: &Lane) {
        match (lane.purpose, lane.parent) {
            (LanePurpose::Heal, Some((parent, step))) => {
                self.record(Fact::StepHealed { lane: parent, step, output: lane.last.clone() });
            }
            (LanePurpose::Fallback, Some(parent)) => {
                let job = self.state.jobs.iter().find(|active| (active.lane, active.step) == parent).map(|active| active.job.id);
                if let Some(job) = job {
                    self.end_job(job, JobOutcome::Succeeded { output: lane.last.clone(), from: ResultSource::Fallback }, Vec::new());
                }
            }
            (LanePurpose::OnError, _) => self.finally(),
            (LanePurpose::Finally, _) => self.end(),
            (LanePurpose::Main | LanePurpose::Heal | LanePurpose::Fallback, _) => self.unwind(RunOutcome::Succeeded),
        }
    }

    /// A lane's step failed and nothing heals it.
    pub(super) fn lane_gave_up(&mut self, lane: &Lane, failure: Failure) {
        match (lane.purpose, lane.parent) {
            (LanePurpose::Heal, Some((parent, step))) => {
                // The step that was to be healed fails with what its healing failed with, and is not healed again.
                let cause = self.state.lane(parent).and_then(|lane| lane.failed.clone());
                let failure = cause.filter(|cause| *cause != failure).map_or(failure.clone(), |cause| failure.clone().with_cause(cause));
                self.record(Fact::HealFailed { lane: parent, step, failure: failure.clone() });
                if let Some(parent) = self.state.lane(parent).cloned() {
                    self.lane_gave_up(&parent, failure);
                }
            }
            (LanePurpose::Fallback, Some(parent)) => {
                let job = self.state.jobs.iter().find(|active| (active.lane, active.step) == parent).map(|active| active.job.id);
                if let Some(job) = job {
                    self.end_job(job, JobOutcome::of_failure(failure), Vec::new());
                }
            }
            (LanePurpose::OnError, _) => self.finally(),
            (LanePurpose::Finally, _) => {
                // A run that went well did not, if its last words failed.
                if self.state.unwinding == Some(RunOutcome::Succeeded) {
                    self.record(Fact::Unwinding { outcome: outcome_of(failure), at: self.around.now });
                }
                self.end();
            }
            (LanePurpose::Main | LanePurpose::Heal | LanePurpose::Fallback, _) => self.unwind(outcome_of(failure)),
        }
    }

    /// Gives up what is left of the flow's own steps and goes on to `on_error` and `finally`.
    fn unwind(&mut self, outcome: RunOutcome) {
        let failed = outcome.failure().is_some();
        if outcome == RunOutcome::Succeeded && self.state.flow.finally.is_none() {
            return self.end();
        }
        self.record(Fact::Unwinding { outcome, at: self.around.now });
        match self.state.flow.on_error {
            Some(block) if failed => self.open_lane(LanePurpose::OnError, block, None),
            _ => self.finally(),
        }
    }

    fn finally(&mut self) {
        match self.state.flow.finally {
            Some(block) => self.open_lane(LanePurpose::Finally, block, None),
            None => self.end(),
        }
    }

    fn end(&mut self) {
        let outcome = self.state.unwinding.clone().unwrap_or(RunOutcome::Succeeded);
        self.record(Fact::Ended { outcome, at: self.around.now });
    }
}

fn outcome_of(failure: Failure) -> RunOutcome {
    match failure.kind {
        FailureKind::Timeout => RunOutcome::TimedOut { failure },
        _ => RunOutcome::Failed { failure },
    }
}
