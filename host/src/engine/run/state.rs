//! The state of a run, and the one function that changes it: `apply`, by a fact.

use std::sync::Arc;

use crate::model::activation::RunOutcome;
use crate::model::failure::Failure;
use crate::model::id::JobId;
use crate::model::job::{Job, JobOutcome, ResultSource};
use crate::model::record::{Beginning, BlockNumber, Fact, LaneId, LanePurpose, StepNumber};
use crate::model::time::Timestamp;
use crate::model::value::Value;
use crate::plan::pipeline::{Flow, Pipeline};

/// What is known of a run.
#[derive(Clone, Debug)]
pub struct RunState {
    pub(super) pipeline: Arc<Pipeline>,
    pub(super) flow: Arc<Flow>,
    pub(super) beginning: Arc<Beginning>,
    pub(super) lanes: Vec<Lane>,
    pub(super) next_lane: u32,
    /// By step number: the output of each step that is done; null for one that was skipped.
    pub(super) outputs: Vec<Option<Value>>,
    pub(super) jobs: Vec<ActiveJob>,
    pub(super) replied: bool,
    pub(super) degraded: bool,
    pub(super) unwinding: Option<RunOutcome>,
    pub(super) ended: Option<RunOutcome>,
    pub(super) facts: u64,
}

/// One walk through a block.
#[derive(Clone, PartialEq, Debug)]
pub struct Lane {
    /// Its id.
    pub id: LaneId,
    /// What for.
    pub purpose: LanePurpose,
    /// The block.
    pub block: BlockNumber,
    /// The lane and the step that it was opened from.
    pub parent: Option<(LaneId, StepNumber)>,
    /// How many of the block's steps are done.
    pub position: usize,
    /// The last output: what the lane amounts to.
    pub last: Value,
    /// The failure that stopped its present step, until it is healed.
    pub failed: Option<Failure>,
}

/// A job that has no terminal event yet.
#[derive(Clone, Debug)]
pub struct ActiveJob {
    /// The job, with the number of its latest attempt.
    pub job: Arc<Job>,
    /// The lane it was dispatched in.
    pub lane: LaneId,
    /// The step that dispatched it.
    pub step: StepNumber,
    /// When it was dispatched.
    pub since: Timestamp,
    /// When it must be over, all attempts together.
    pub deadline: Option<Timestamp>,
    /// Where it stands.
    pub phase: JobPhase,
}

/// Where a job stands.
#[derive(Clone, PartialEq, Debug)]
pub enum JobPhase {
    /// Dispatched, nothing tried yet.
    Waiting,
    /// Waits for the result of another job.
    Joined(JobId),
    /// An attempt is under way.
    Running,
    /// An attempt failed; the next is due then.
    BackOff(Timestamp),
    /// There are no more attempts; the steps of its fallback stand in for this.
    FallingBack(Failure),
}

impl RunState {
    /// The state after the first fact.
    pub fn new(pipeline: Arc<Pipeline>, flow: Arc<Flow>, beginning: Arc<Beginning>) -> Self {
        let outputs = vec![None; flow.steps.len()];
        Self {
            pipeline,
            flow,
            beginning,
            lanes: Vec::new(),
            next_lane: 0,
            outputs,
            jobs: Vec::new(),
            replied: false,
            degraded: false,
            unwinding: None,
            ended: None,
            facts: 1,
        }
    }

    /// The state after these facts, the first of which must be [`Fact::Began`]; `None` if it is not.
    pub fn fold(pipeline: &Arc<Pipeline>, flow: &Arc<Flow>, facts: &[Fact]) -> Option<Self> {
        let (Fact::Began(beginning), rest) = facts.split_first()? else { return None };
        let mut state = Self::new(Arc::clone(pipeline), Arc::clone(flow), Arc::clone(beginning));
        rest.iter().for_each(|fact| state.apply(fact));
        Some(state)
    }

    /// How the run began.
    pub fn beginning(&self) -> &Arc<Beginning> {
        &self.beginning
    }

    /// How it ended, if it has.
    pub const fn ended(&self) -> Option<&RunOutcome> {
        self.ended.as_ref()
    }

    /// Whether a fallback stood in somewhere.
    pub const fn is_degraded(&self) -> bool {
        self.degraded
    }

    /// The pipeline it is pinned to.
    pub fn pipeline(&self) -> &Pipeline {
        &self.pipeline
    }

    /// Its flow.
    pub fn flow(&self) -> &Flow {
        &self.flow
    }

    /// How many facts made it.
    pub const fn facts(&self) -> u64 {
        self.facts
    }

    /// The jobs without a terminal event.
    pub fn jobs(&self) -> &[ActiveJob] {
        &self.jobs
    }

    /// The next point in time at which something is due: a retry, a job's deadline, the run's.
    pub fn next_due(&self) -> Option<Timestamp> {
        let jobs = self.jobs.iter().flat_map(|active| {
            let retry = match active.phase {
                JobPhase::BackOff(due) => Some(due),
                _ => None,
            };
            retry.into_iter().chain(active.deadline)
        });
        let own = self.unwinding.is_none().then_some(self.beginning.deadline).flatten();
        jobs.chain(own).min()
    }

    /// Takes one fact into account.
    pub fn apply(&mut self, fact: &Fact) {
        self.facts += 1;
        match fact {
            Fact::Began(_) | Fact::Emitted { .. } => {}
            Fact::LaneOpened { lane, purpose, block, parent } => self.open_lane(*lane, *purpose, *block, *parent),
            Fact::StepSkipped { lane, step } => self.complete(*lane, *step, Value::null(), false),
            Fact::StepDone { lane, step, output } | Fact::StepHealed { lane, step, output } => {
                self.lanes.retain(|other| other.parent != Some((*lane, *step)));
                self.complete(*lane, *step, output.clone(), true);
            }
            Fact::StepFailed { lane, step, failure } | Fact::HealFailed { lane, step, failure } => {
                self.lanes.retain(|other| other.parent != Some((*lane, *step)));
                if let Some(lane) = self.lane_mut(*lane) {
                    lane.failed = Some(failure.clone());
                }
            }
            Fact::JobDispatched { lane, step, job, input, at, deadline } => {
                let active = self.new_job(*lane, *step, *job, input.clone(), *at, *deadline);
                self.jobs.push(active);
            }
            Fact::JobJoined { job, leader } => self.set_phase(*job, JobPhase::Joined(*leader)),
            Fact::AttemptStarted { job, attempt, .. } => {
                if let Some(active) = self.job_mut(*job) {
                    if active.job.attempt != *attempt {
                        Arc::make_mut(&mut active.job).attempt = *attempt;
                    }
                    active.phase = JobPhase::Running;
                }
            }
            Fact::Retrying { job, due, .. } => self.set_phase(*job, JobPhase::BackOff(*due)),
            Fact::FallbackBegan { job, failure } => {
                self.set_phase(*job, JobPhase::FallingBack(failure.clone()));
                // The fallback stands outside the deadline, so the deadline has had its say.
                if let Some(active) = self.job_mut(*job) {
                    active.deadline = None;
                }
            }
            Fact::JobEnded { job, outcome, .. } => self.end_job(*job, outcome),
            Fact::Replied { .. } => self.replied = true,
            Fact::Unwinding { outcome, .. } => {
                self.lanes.clear();
                self.unwinding = Some(outcome.clone());
            }
            Fact::Ended { outcome, .. } => {
                self.lanes.clear();
                self.ended = Some(outcome.clone());
            }
        }
    }

    pub(super) fn lane(&self, id: LaneId) -> Option<&Lane> {
        self.lanes.iter().find(|lane| lane.id == id)
    }

    fn lane_mut(&mut self, id: LaneId) -> Option<&mut Lane> {
        self.lanes.iter_mut().find(|lane| lane.id == id)
    }

    pub(super) fn job(&self, id: JobId) -> Option<&ActiveJob> {
        self.jobs.iter().find(|active| active.job.id == id)
    }

    fn job_mut(&mut self, id: JobId) -> Option<&mut ActiveJob> {
        self.jobs.iter_mut().find(|active| active.job.id == id)
    }

    fn set_phase(&mut self, job: JobId, phase: JobPhase) {
        if let Some(active) = self.job_mut(job) {
            active.phase = phase;
        }
    }

    fn open_lane(&mut self, id: LaneId, purpose: LanePurpose, block: BlockNumber, parent: Option<(LaneId, StepNumber)>) {
        // What is left after the flow's own steps comes one after the other, each in the place of the one before.
        if parent.is_none() {
            self.lanes.clear();
        }
        self.next_lane = self.next_lane.max(id.0 + 1);
        self.lanes.push(Lane { id, purpose, block, parent, position: 0, last: Value::null(), failed: None });
    }

    fn complete(&mut self, lane: LaneId, step: StepNumber, output: Value, counts: bool) {
        if let Some(known) = self.outputs.get_mut(step.0 as usize) {
            *known = Some(output.clone());
        }
        if let Some(lane) = self.lane_mut(lane) {
            lane.position += 1;
            lane.failed = None;
            if counts {
                lane.last = output;
            }
        }
    }

    fn new_job(&self, lane: LaneId, step: StepNumber, id: JobId, input: Value, since: Timestamp, deadline: Option<Timestamp>) -> ActiveJob {
        let declared = self.flow.step(step);
        let executor = match &declared.verb {
            crate::plan::pipeline::Verb::Run(run) => self.pipeline.executors[run.executor].reference.name.clone(),
            _ => "none".into(),
        };
        let job = Job {
            id,
            run: self.beginning.run,
            correlation_id: self.beginning.correlation_id,
            pipeline: self.beginning.pipeline.clone(),
            flow: self.beginning.flow.clone(),
            step: declared.id.clone(),
            executor,
            attempt: 1,
            input,
        };
        ActiveJob { job: Arc::new(job), lane, step, since, deadline, phase: JobPhase::Waiting }
    }

    fn end_job(&mut self, id: JobId, outcome: &JobOutcome) {
        let Some(index) = self.jobs.iter().position(|active| active.job.id == id) else { return };
        let active = self.jobs.swap_remove(index);
        self.lanes.retain(|lane| lane.parent != Some((active.lane, active.step)));
        match outcome {
            JobOutcome::Succeeded { output, from } => {
                self.degraded |= *from == ResultSource::Fallback;
                self.complete(active.lane, active.step, output.clone(), true);
            }
            JobOutcome::Failed { failure } | JobOutcome::TimedOut { failure } => {
                let failure = failure.clone().at_step(&active.job.step);
                if let Some(lane) = self.lane_mut(active.lane) {
                    lane.failed = Some(failure);
                }
            }
            JobOutcome::Cancelled { .. } => {
                let failure = Failure::new(crate::model::failure::FailureKind::Cancelled, "the job was cancelled");
                if let Some(lane) = self.lane_mut(active.lane) {
                    lane.failed = Some(failure.at_step(&active.job.step));
                }
            }
        }
    }
}

/// Equal if what a run does next is equal: used to show that a state is the fold of its facts.
impl PartialEq for RunState {
    fn eq(&self, other: &Self) -> bool {
        let jobs = |state: &Self| -> Vec<_> {
            let job =
                |active: &ActiveJob| (active.job.id, active.job.attempt, active.lane, active.step, active.deadline, active.phase.clone());
            state.jobs.iter().map(job).collect()
        };
        self.lanes == other.lanes
            && self.next_lane == other.next_lane
            && self.outputs == other.outputs
            && jobs(self) == jobs(other)
            && self.replied == other.replied
            && self.degraded == other.degraded
            && self.unwinding == other.unwinding
            && self.ended == other.ended
            && self.facts == other.facts
    }
}
