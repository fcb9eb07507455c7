//! Undoing what a run did that does not succeed: what is planned while it goes on, and one undoing after the other when it ends.
//!
//! The input of an undoing is fixed when its step ends, so that whatever happens later, the outputs of other branches included, does not
//! change it.

use crate::model::activation::RunOutcome;
use crate::model::failure::{Failure, FailureKind};
use crate::model::id::{JobId, StepId};
use crate::model::job::{JobOutcome, ResultSource};
use crate::model::record::{Fact, LaneId, LanePurpose, LaneResult, StepNumber};
use crate::model::value::Value;
use crate::plan::pipeline::{Undo, Verb};

use super::lanes::Lane;
use super::machine::Machine;
use super::scope::Extra;

/// What is to be undone if the run does not succeed. At most one entry for each job that a step with `undo` had.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Saga {
    /// In the order in which the steps were done.
    planned: Vec<Planned>,
    /// What is being undone.
    under_way: Option<Planned>,
    /// The steps that could not be undone.
    left: Vec<(StepId, Failure)>,
    /// What was planned for these.
    failed: Vec<Planned>,
}

#[derive(Clone, PartialEq, Debug)]
struct Planned {
    lane: LaneId,
    step: StepNumber,
    /// The undoing job's input, or why there is none.
    input: Result<Value, Failure>,
}

impl Saga {
    /// Plans to undo a step, after all that are planned already.
    pub(super) fn plan(&mut self, lane: LaneId, step: StepNumber, input: Result<Value, Failure>) {
        self.drop_plan(lane, step);
        self.planned.push(Planned { lane, step, input });
    }

    /// There is nothing to undo of a step.
    pub(super) fn drop_plan(&mut self, lane: LaneId, step: StepNumber) {
        if let Some(index) = self.find(lane, step) {
            self.planned.remove(index);
        }
    }

    fn find(&self, lane: LaneId, step: StepNumber) -> Option<usize> {
        // From the end: what changes was planned not long ago.
        self.planned.iter().rposition(|planned| (planned.lane, planned.step) == (lane, step))
    }

    /// The undoing of the step that was done last begins.
    pub(super) fn begin(&mut self) {
        self.under_way = self.planned.pop();
    }

    /// The undoing of a step is over.
    pub(super) fn end(&mut self, step: &StepId, result: &LaneResult) {
        let planned = self.under_way.take();
        if let LaneResult::Failed(failure) = result {
            self.left.push((step.clone(), failure.clone()));
            self.failed.extend(planned);
        }
    }

    /// The input of the undoing that is under way.
    pub(super) fn input(&self) -> Result<Value, Failure> {
        self.under_way.as_ref().map_or_else(|| Ok(Value::null()), |planned| planned.input.clone())
    }

    /// What could not be undone is planned again, to be tried in the same order.
    pub(super) fn reopen(&mut self) {
        self.left.clear();
        self.planned.extend(self.failed.drain(..).rev());
    }

    /// The steps that would be undone: those of a run that is parked, too, which are tried again when it goes on.
    pub(super) fn planned(&self) -> impl Iterator<Item = StepNumber> {
        self.planned.iter().chain(&self.under_way).chain(&self.failed).map(|planned| planned.step)
    }

    fn last(&self) -> Option<(LaneId, StepNumber)> {
        self.planned.last().map(|planned| (planned.lane, planned.step))
    }
}

/// Whether an attempt that failed so may have been done all the same. What the executor called hopeless, and what was rejected before the
/// executor saw it, was not done; a connection that broke may have broken after the other side was done.
pub(super) const fn is_doubtful(kind: FailureKind) -> bool {
    match kind {
        FailureKind::Permanent | FailureKind::Invalid | FailureKind::Denied | FailureKind::Conflict => false,
        FailureKind::NotFound | FailureKind::Rejected => false,
        FailureKind::Transient | FailureKind::Timeout | FailureKind::RateLimited => true,
        FailureKind::Failed | FailureKind::Cancelled | FailureKind::Bug => true,
    }
}

impl Machine<'_> {
    /// Plans to undo a step whose outcome nobody may ever know, before its attempt begins. What was planned for an earlier attempt stays.
    ///
    /// # Errors
    /// What `undo.with` failed with: such a step must not begin.
    pub(super) fn plan_attempt(&mut self, job: JobId) -> Result<(), Failure> {
        let Some((lane, step, undo)) = self.undo_of(job) else { return Ok(()) };
        if undo.on_attempt && self.state.saga.find(lane.id, step).is_none() {
            let input = self.undo_input(job, &lane, step, undo, &Value::null())?;
            self.record(Fact::UndoPlanned { lane: lane.id, step, input });
        }
        Ok(())
    }

    /// The executor said that an attempt was not done: unless an earlier one is in doubt, nothing has to be undone.
    pub(super) fn attempt_was_not_done(&mut self, job: JobId, failure: &Failure) {
        let in_doubt = is_doubtful(failure.kind) || self.state.job(job).is_none_or(|active| active.doubtful);
        let Some((lane, step, _)) = self.undo_of(job).filter(|_| !in_doubt) else { return };
        if self.state.saga.find(lane.id, step).is_some() {
            self.record(Fact::UndoDropped { lane: lane.id, step });
        }
    }

    /// What is to be recorded with the end of a job that was done: that it will be undone, with what. A step whose `undo.with` fails is
    /// done and cannot be undone; it fails, so that the run does not do more of what it could not take back.
    pub(super) fn plan_done(&self, job: JobId, outcome: &JobOutcome) -> Option<Result<Fact, (Fact, Failure)>> {
        // Only what this run's own job did is undone.
        let JobOutcome::Succeeded { output, from: ResultSource::Executor | ResultSource::Degraded } = outcome else { return None };
        let (lane, step, undo) = self.undo_of(job)?;
        let lane_id = lane.id;
        Some(match self.undo_input(job, &lane, step, undo, output) {
            Ok(input) => Ok(Fact::UndoPlanned { lane: lane_id, step, input }),
            Err(failure) => Err((Fact::UndoImpossible { lane: lane_id, step, failure: failure.clone() }, failure)),
        })
    }

    /// Whether undoing a job's step is planned already.
    pub(super) fn is_planned(&self, job: JobId) -> bool {
        self.state.job(job).is_some_and(|active| self.state.saga.find(active.lane, active.step).is_some())
    }

    fn undo_of(&self, job: JobId) -> Option<(Lane, StepNumber, Undo)> {
        // What `on_error` and `finally` do is not taken back: they are what takes back.
        let active = self.state.job(job).filter(|_| self.state.unwinding.is_none())?;
        let Verb::Run(run) = &self.state.flow.step(active.step).verb else { return None };
        let undo = run.undo?;
        Some((*self.state.lane(active.lane)?, active.step, undo))
    }

    fn undo_input(&self, job: JobId, lane: &Lane, step: StepNumber, undo: Undo, output: &Value) -> Result<Value, Failure> {
        let undoing = self.state.flow.block(undo.block).first().map(|number| self.state.flow.step(*number));
        let Some(Verb::Run(run)) = undoing.map(|undoing| &undoing.verb) else { return Ok(Value::null()) };
        let Some(with) = &run.with else { return Ok(Value::null()) };
        // The key is that of the job that is undone: by it the other side knows what this is about.
        let extra = Extra { job: Some(job), own: Some((step, output)), ..self.extra(lane) };
        let input = with.evaluate(&self.scope(extra)).and_then(|input| self.fits(&input).map(|()| input));
        input.map_err(|failure| failure.at_step(&self.state.flow.step(step).id))
    }

    /// Begins to undo the step that was done last. Returns whether there was one.
    pub(super) fn undo_next(&mut self) -> bool {
        let Some((lane, step)) = self.state.saga.last() else { return false };
        let flow = self.flow;
        let block = match &flow.step(step).verb {
            Verb::Run(run) => run.undo.map(|undo| undo.block),
            _ => None,
        };
        let Some(block) = block else {
            self.record(Fact::UndoDropped { lane, step });
            return self.undo_next();
        };
        self.open_lane(LanePurpose::Undo, block, Some((lane, step)));
        true
    }

    /// What the run ends as, now that everything that could be undone is: parked if something was left.
    pub(super) fn park(&mut self) {
        let left = self.state.saga.left.clone();
        let Some(because) = self.state.unwinding.clone().filter(|_| !left.is_empty()) else { return };
        if !matches!(because, RunOutcome::Parked { .. }) {
            let outcome = RunOutcome::Parked { because: Box::new(because), left };
            self.record(Fact::Unwinding { outcome, at: self.around.now });
        }
    }
}
