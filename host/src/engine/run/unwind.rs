//! The end of a run: what is due, what gives up, `on_error`, `finally` and the one outcome.

use crate::model::activation::RunOutcome;
use crate::model::failure::{Failure, FailureKind};
use crate::model::id::JobId;
use crate::model::job::{CancelReason, JobOutcome, ResultSource};
use crate::model::record::{Fact, LanePurpose, LaneResult};
use crate::model::value::Value;
use crate::plan::pipeline::Verb;
use crate::policy::deadline;

use super::lanes::Lane;
use super::machine::Machine;
use super::state::JobPhase;

impl Machine<'_> {
    /// Looks at everything that may be due: the run's deadline first, since it decides over all the others.
    pub(super) fn tick(&mut self) {
        let now = self.around.now;
        let passed = self.state.beginning.deadline.filter(|due| *due <= now && self.state.unwinding.is_none());
        if let Some(due) = passed {
            let own = self.state.flow.deadline.filter(|own| self.state.beginning.at + *own == due);
            let failure = deadline::failure(own.map_or(deadline::Limit::HandedDown, deadline::Limit::Run));
            self.end_jobs(|| JobOutcome::TimedOut { failure: failure.clone() });
            return self.unwind(RunOutcome::TimedOut { failure });
        }
        let due: Vec<(JobId, JobPhase, bool, u32)> = self
            .state
            .jobs()
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
        self.wake();
        self.tick_waits();
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

    /// The run fails, whatever it is at; where it unwinds already, what it is at fails.
    pub(super) fn fail(&mut self, failure: &Failure) {
        self.end_jobs(|| JobOutcome::Failed { failure: failure.clone() });
        if self.state.unwinding.is_none() {
            self.unwind(RunOutcome::Failed { failure: failure.clone() });
        }
    }

    fn end_jobs(&mut self, outcome: impl Fn() -> JobOutcome) {
        // Those that stand in for others come before these.
        let jobs: Vec<JobId> = self.state.jobs.keys().copied().collect();
        for job in jobs.into_iter().rev() {
            self.end_job(job, outcome(), Vec::new());
        }
    }

    /// A parked run goes on: what could not be undone is tried again, and nothing else of its end is repeated.
    pub(super) fn reopen(&mut self) {
        if matches!(self.state.ended, Some(RunOutcome::Parked { .. })) {
            self.record(Fact::Resumed { at: self.around.now });
            self.wind_up();
        }
    }

    /// A lane has come to its end.
    pub(super) fn lane_done(&mut self, lane: &Lane) {
        match (lane.purpose, lane.parent) {
            (LanePurpose::Heal, Some((parent, step))) => {
                let output = self.state.lanes.last(lane.id);
                if let Err(failure) = self.fits(&output) {
                    return self.lane_gave_up(lane, failure);
                }
                self.record(Fact::StepHealed { lane: parent, step, output });
            }
            (LanePurpose::Fallback, Some((parent, _))) => {
                if let Some(job) = self.state.lanes.job(parent) {
                    let output = self.state.lanes.last(lane.id);
                    self.end_job(job, JobOutcome::Succeeded { output, from: ResultSource::Fallback }, Vec::new());
                }
            }
            (LanePurpose::Case, Some((parent, step))) => {
                self.record(Fact::StepDone { lane: parent, step, output: self.state.lanes.last(lane.id) });
            }
            (LanePurpose::Branch(_) | LanePurpose::Item(_), _) => {
                self.lane_ended(lane, LaneResult::Succeeded(self.state.lanes.last(lane.id)));
            }
            (LanePurpose::OnTimeout, Some((parent, step))) => {
                self.record(Fact::StepDone { lane: parent, step, output: Value::null() });
            }
            (LanePurpose::Reminder(_), _) => {
                self.record(Fact::LaneEnded { lane: lane.id, result: LaneResult::Succeeded(self.state.lanes.last(lane.id)) });
            }
            (LanePurpose::Undo, _) => {
                self.record(Fact::LaneEnded { lane: lane.id, result: LaneResult::Succeeded(self.state.lanes.last(lane.id)) });
                self.wind_up();
            }
            (LanePurpose::OnError | LanePurpose::Finally, _) => self.wind_up(),
            (LanePurpose::Main | LanePurpose::Heal | LanePurpose::Fallback | LanePurpose::Case | LanePurpose::OnTimeout, _) => {
                self.unwind(RunOutcome::Succeeded);
            }
        }
    }

    /// A lane's step failed and nothing heals it.
    pub(super) fn lane_gave_up(&mut self, lane: &Lane, failure: Failure) {
        match (lane.purpose, lane.parent) {
            (LanePurpose::Heal, Some((parent, step))) => {
                // The step that was to be healed fails with what its healing failed with, and is not healed again.
                let cause = self.state.lanes.failed(parent).cloned();
                let failure = cause.filter(|cause| *cause != failure).map_or(failure.clone(), |cause| failure.clone().with_cause(cause));
                self.record(Fact::HealFailed { lane: parent, step, failure: failure.clone() });
                if let Some(parent) = self.state.lane(parent).copied() {
                    self.lane_gave_up(&parent, failure);
                }
            }
            (LanePurpose::Fallback, Some((parent, _))) => {
                if let Some(job) = self.state.lanes.job(parent) {
                    self.end_job(job, JobOutcome::of_failure(failure), Vec::new());
                }
            }
            // The step that the branch was taken by fails with it, and may be healed.
            (LanePurpose::Case, Some((parent, step))) => self.fail_step(parent, step, failure),
            (LanePurpose::Branch(_) | LanePurpose::Item(_), _) => self.lane_ended(lane, LaneResult::Failed(failure)),
            (LanePurpose::OnTimeout, Some((parent, step))) => self.record(Fact::StepFailed { lane: parent, step, failure }),
            (LanePurpose::Reminder(_), _) => self.record(Fact::LaneEnded { lane: lane.id, result: LaneResult::Failed(failure) }),
            (LanePurpose::Undo, _) => {
                self.record(Fact::LaneEnded { lane: lane.id, result: LaneResult::Failed(failure) });
                self.wind_up();
            }
            (LanePurpose::OnError, _) => self.wind_up(),
            (LanePurpose::Finally, _) => {
                // A run that went well did not, if its last words failed: then what it did is undone after them.
                if self.state.unwinding == Some(RunOutcome::Succeeded) {
                    self.record(Fact::Unwinding { outcome: outcome_of(failure), at: self.around.now });
                }
                self.wind_up();
            }
            (LanePurpose::Main | LanePurpose::Heal | LanePurpose::Fallback | LanePurpose::Case | LanePurpose::OnTimeout, _) => {
                self.unwind(outcome_of(failure));
            }
        }
    }

    /// Gives up what is left of the flow's own steps.
    fn unwind(&mut self, outcome: RunOutcome) {
        if outcome != RunOutcome::Succeeded || self.state.finally_block().is_some() {
            self.record(Fact::Unwinding { outcome, at: self.around.now });
        }
        self.wind_up();
    }

    /// What is left of a run, one after the other: what it did is undone if it did not succeed, then `on_error` unless it was cancelled,
    /// then `finally`, then its end.
    fn wind_up(&mut self) {
        if self.state.unwinding.as_ref().is_some_and(|outcome| *outcome != RunOutcome::Succeeded) {
            if self.undo_next() {
                return;
            }
            self.park();
        }
        match (self.state.on_error_block(), self.state.finally_block()) {
            (Some(block), _) if self.has_failed() && !self.state.on_error_begun && !self.state.finally_begun => {
                self.open_lane(LanePurpose::OnError, block, None);
            }
            (_, Some(block)) if !self.state.finally_begun => self.open_lane(LanePurpose::Finally, block, None),
            _ => self.end(),
        }
    }

    /// Whether a failure is why the run unwinds.
    fn has_failed(&self) -> bool {
        let because = match &self.state.unwinding {
            Some(RunOutcome::Parked { because, .. }) => Some(&**because),
            outcome => outcome.as_ref(),
        };
        matches!(because, Some(RunOutcome::Failed { .. } | RunOutcome::TimedOut { .. }))
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
