//! The state of a run, and the one function that changes it: `apply`, by a fact.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::activation::RunOutcome;
use crate::model::failure::Failure;
use crate::model::id::JobId;
use crate::model::job::{Job, JobOutcome};
use crate::model::record::{Beginning, Fact, LaneId, LanePurpose, LaneResult, StepNumber, beginning_of};
use crate::model::time::Timestamp;
use crate::model::value::Value;
use crate::plan::pipeline::{Flow, Pipeline};

use super::dispatching::Publishing;
use super::lanes::{Lane, Lanes};
use super::saga::{Saga, is_doubtful};

/// What is known of a run.
#[derive(Clone, Debug)]
pub struct RunState {
    pub(super) pipeline: Arc<Pipeline>,
    pub(super) flow: Arc<Flow>,
    pub(super) beginning: Arc<Beginning>,
    pub(super) lanes: Lanes,
    /// By step number: the output of each of the flow's own steps that is done, and of those of `on_error` and `finally`; null for one that
    /// was skipped. What is inside a step has its outputs in its lane.
    pub(super) outputs: Vec<Option<Value>>,
    /// Boxed: a map's node has room for eleven, and most runs have one job at a time.
    pub(super) jobs: BTreeMap<JobId, Box<ActiveJob>>,
    /// What is to be undone if the run does not succeed.
    pub(super) saga: Saga,
    pub(super) replied: bool,
    pub(super) degraded: bool,
    pub(super) unwinding: Option<RunOutcome>,
    /// Whether the flow's `on_error` was begun.
    pub(super) on_error_begun: bool,
    /// Whether the flow's `finally` was begun.
    pub(super) finally_begun: bool,
    pub(super) ended: Option<RunOutcome>,
    pub(super) output: Value,
    pub(super) facts: u64,
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
    /// Whether an attempt failed so that nobody knows whether it was done.
    pub doubtful: bool,
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
        let mut outputs = vec![None; flow.steps.len()];
        for (step, output) in beginning.part.iter().flat_map(|part| &part.outputs) {
            if let Some(known) = outputs.get_mut(step.0 as usize) {
                *known = Some(output.clone());
            }
        }
        Self {
            pipeline,
            flow,
            beginning,
            lanes: Lanes::default(),
            outputs,
            jobs: BTreeMap::new(),
            saga: Saga::default(),
            replied: false,
            degraded: false,
            unwinding: None,
            on_error_begun: false,
            finally_begun: false,
            ended: None,
            output: Value::null(),
            facts: 1,
        }
    }

    /// The state after these facts, the first of which must be [`Fact::Began`], or [`Fact::Queued`] for a run that waited at the door; `None` if
    /// it is not. Of a run that went over to another revision, whose pipeline and flow these must be then, it begins anew there.
    pub fn fold(pipeline: &Arc<Pipeline>, flow: &Arc<Flow>, facts: &[Fact]) -> Option<Self> {
        let migrated = facts.iter().enumerate().rev().find_map(|(number, fact)| match fact {
            Fact::Migrated { facts, .. } => Some((number, facts)),
            _ => None,
        });
        if let Some((number, history)) = migrated {
            let mut state = Self::fold(pipeline, flow, history)?;
            let (before, after) = facts.split_at(number + 1);
            state.facts = before.len() as u64;
            after.iter().for_each(|fact| state.apply(fact));
            return Some(state);
        }
        let mut state = Self::new(Arc::clone(pipeline), Arc::clone(flow), Arc::clone(beginning_of(facts)?));
        facts.iter().skip(1).for_each(|fact| state.apply(fact));
        Some(state)
    }

    /// The same, of a run of which the store has so many facts: not all of them are history after a migration.
    pub fn counting(mut self, facts: u64) -> Self {
        self.facts = facts;
        self
    }

    /// The same for a run that waited at the door, which is a fact of its own.
    pub(in crate::engine) fn after_queue(mut self) -> Self {
        self.facts += 1;
        self
    }

    /// How the run began.
    pub fn beginning(&self) -> &Arc<Beginning> {
        &self.beginning
    }

    /// How it ended, if it has.
    pub const fn ended(&self) -> Option<&RunOutcome> {
        self.ended.as_ref()
    }

    /// Whether what is left of it is its end: its own steps are given up.
    pub const fn is_unwinding(&self) -> bool {
        self.unwinding.is_some()
    }

    /// Whether a fallback stood in somewhere.
    pub const fn is_degraded(&self) -> bool {
        self.degraded
    }

    /// The last output of its own steps; null while it is under way and unless it succeeded.
    pub fn output(&self) -> Value {
        self.output.clone()
    }

    /// The pipeline it is pinned to.
    pub fn pipeline(&self) -> &Pipeline {
        &self.pipeline
    }

    /// Its flow.
    pub fn flow(&self) -> &Flow {
        &self.flow
    }

    /// Its flow, for a run of one of its steps.
    pub const fn shared_flow(&self) -> &Arc<Flow> {
        &self.flow
    }

    /// How many facts made it.
    pub const fn facts(&self) -> u64 {
        self.facts
    }

    /// The jobs without a terminal event.
    pub fn jobs(&self) -> impl Iterator<Item = &ActiveJob> {
        self.jobs.values().map(|active| &**active)
    }

    /// A job, unless it has its terminal event.
    pub fn job(&self, id: JobId) -> Option<&ActiveJob> {
        self.jobs.get(&id).map(|active| &**active)
    }

    /// A copy for expressions of one lane: of a run with thousands of them, only what that one sees.
    pub fn seen_from(&self, lane: LaneId) -> Self {
        Self {
            pipeline: Arc::clone(&self.pipeline),
            flow: Arc::clone(&self.flow),
            beginning: Arc::clone(&self.beginning),
            lanes: self.lanes.only(lane),
            outputs: self.outputs.clone(),
            jobs: BTreeMap::new(),
            saga: Saga::default(),
            unwinding: self.unwinding.clone(),
            ended: None,
            output: Value::null(),
            ..*self
        }
    }

    /// The next point in time at which something is due: a retry, a job's deadline, the end of a sleep, something of a wait,
    /// the run's deadline.
    pub fn next_due(&self) -> Option<Timestamp> {
        let own = self.unwinding.is_none().then_some(self.beginning.deadline).flatten();
        let mut next = earlier(own, self.lanes.next_rest());
        for active in self.jobs.values() {
            if let JobPhase::BackOff(due) = active.phase {
                next = earlier(next, Some(due));
            }
            next = earlier(next, active.deadline);
        }
        for wait in self.waits() {
            next = earlier(next, Some(self.wait_due(wait)));
        }
        next
    }

    /// Takes one fact into account.
    pub fn apply(&mut self, fact: &Fact) {
        self.facts += 1;
        match fact {
            Fact::Queued(_) | Fact::Began(_) | Fact::AnswerRefused { .. } | Fact::Dispatched { .. } => {}
            Fact::Resumed { .. } => self.reopen(),
            Fact::Migrated { .. } => {}
            Fact::Emitted { lane, step, events } => {
                self.lanes.publish(Publishing { lane: *lane, step: *step, event: events.first().map(|event| event.id) });
            }
            Fact::WaitBegan { .. } | Fact::Reminded { .. } | Fact::WaitEnded { .. } => self.apply_to_waits(fact),
            Fact::LaneOpened { lane, purpose, block, parent } => {
                let (id, purpose, block, parent) = (*lane, *purpose, *block, *parent);
                self.open_lane(Lane { id, purpose, block, parent, position: 0 });
            }
            Fact::ItemsTaken { lane, items, .. } => {
                if let Some(round) = self.lanes.round_mut(*lane) {
                    round.items = Arc::clone(items);
                }
            }
            Fact::LaneEnded { lane, result } => self.end_lane(*lane, result),
            Fact::SleepBegan { lane, due, .. } => self.lanes.set_rest(*lane, Some(*due)),
            Fact::StepSkipped { lane, step } => self.complete(*lane, *step, Value::null(), false),
            Fact::StepDone { lane, step, output } | Fact::StepHealed { lane, step, output } => {
                self.complete(*lane, *step, output.clone(), true);
            }
            Fact::StepFailed { lane, failure, .. } | Fact::HealFailed { lane, failure, .. } => self.fail(*lane, failure.clone()),
            Fact::JobDispatched { lane, step, job, input, at, deadline } => {
                let active = self.new_job(*lane, *step, *job, input.clone(), *at, *deadline);
                self.jobs.insert(*job, Box::new(active));
                self.lanes.set_job(*lane, *job);
            }
            Fact::JobJoined { job, leader } => self.set_phase(*job, JobPhase::Joined(*leader)),
            Fact::AttemptStarted { job, attempt, .. } => self.start_attempt(*job, *attempt),
            Fact::Retrying { job, due, failure, .. } => {
                self.set_phase(*job, JobPhase::BackOff(*due));
                if let Some(active) = self.jobs.get_mut(job) {
                    active.doubtful |= is_doubtful(failure.kind);
                }
            }
            Fact::FallbackBegan { job, failure, .. } => {
                self.set_phase(*job, JobPhase::FallingBack(failure.clone()));
                // The fallback stands outside the deadline, so the deadline has had its say.
                if let Some(active) = self.jobs.get_mut(job) {
                    active.deadline = None;
                }
            }
            Fact::JobEnded { job, outcome, .. } => self.end_job(*job, outcome),
            Fact::UndoPlanned { lane, step, input } => self.saga.plan(*lane, *step, Ok(input.clone())),
            Fact::UndoImpossible { lane, step, failure } => self.saga.plan(*lane, *step, Err(failure.clone())),
            Fact::UndoDropped { lane, step } => self.saga.drop_plan(*lane, *step),
            Fact::Replied { .. } => self.replied = true,
            Fact::Unwinding { outcome, .. } => {
                self.take_output(outcome);
                self.lanes.clear();
                self.unwinding = Some(outcome.clone());
            }
            Fact::Ended { outcome, .. } => {
                self.take_output(outcome);
                self.lanes.clear();
                self.ended = Some(outcome.clone());
            }
        }
    }

    /// A parked run goes on with what could not be undone; what else was left of it is over.
    fn reopen(&mut self) {
        if let Some(RunOutcome::Parked { because, .. }) = self.ended.take() {
            self.unwinding = Some(*because);
            self.saga.reopen();
        }
    }

    /// What the run amounts to, once its own steps are over.
    fn take_output(&mut self, outcome: &RunOutcome) {
        match self.lanes.outermost().filter(|lane| lane.purpose == LanePurpose::Main) {
            _ if *outcome != RunOutcome::Succeeded => self.output = Value::null(),
            Some(main) => self.output = self.lanes.last(main.id),
            None => {}
        }
    }

    /// Every open lane, and whether its present step is under way.
    pub(super) fn open_lanes(&self) -> impl Iterator<Item = (LaneId, bool)> {
        self.lanes.all()
    }

    pub(super) fn lane(&self, id: LaneId) -> Option<&Lane> {
        self.lanes.get(id)
    }

    /// The step that a lane is at, or that stopped it.
    pub(super) fn present_step(&self, lane: LaneId) -> Option<StepNumber> {
        let lane = self.lanes.get(lane)?;
        self.flow.block(lane.block).get(lane.position).copied()
    }

    fn start_attempt(&mut self, job: JobId, attempt: u32) {
        let Some(active) = self.jobs.get_mut(&job) else { return };
        if active.job.attempt != attempt {
            Arc::make_mut(&mut active.job).attempt = attempt;
        }
        active.phase = JobPhase::Running;
    }

    fn set_phase(&mut self, job: JobId, phase: JobPhase) {
        if let Some(active) = self.jobs.get_mut(&job) {
            active.phase = phase;
        }
    }

    fn open_lane(&mut self, lane: Lane) {
        match lane.purpose {
            LanePurpose::Branch(place) | LanePurpose::Item(place) => {
                if let Some(round) = lane.parent.and_then(|(parent, _)| self.lanes.round_mut(parent)) {
                    round.open(place);
                }
            }
            LanePurpose::Undo => {
                self.lanes.clear();
                self.saga.begin();
            }
            LanePurpose::OnError => self.on_error_begun = true,
            LanePurpose::Finally => self.finally_begun = true,
            _ => {}
        }
        // What is left after the flow's own steps comes one after the other, each in the place of the one before.
        if lane.parent.is_none() {
            self.lanes.clear();
        }
        self.lanes.open(lane);
    }

    fn end_lane(&mut self, id: LaneId, result: &LaneResult) {
        let Some(lane) = self.lanes.get(id).copied() else { return };
        match (lane.purpose, lane.parent) {
            (LanePurpose::Branch(place) | LanePurpose::Item(place), Some((parent, _))) => {
                if let Some(round) = self.lanes.round_mut(parent) {
                    round.end(place, result);
                }
            }
            (LanePurpose::Undo, Some((_, step))) => self.saga.end(&self.flow.step(step).id, result),
            _ => {}
        }
        self.lanes.close(id);
    }

    fn complete(&mut self, id: LaneId, step: StepNumber, output: Value, counts: bool) {
        let Some(lane) = self.lanes.step_done(id, counts.then_some(&output)) else { return };
        match lane.purpose {
            LanePurpose::Main | LanePurpose::OnError | LanePurpose::Finally => {
                if let Some(known) = self.outputs.get_mut(step.0 as usize) {
                    *known = Some(output);
                }
            }
            _ => self.lanes.keep_output(id, step, output),
        }
    }

    fn fail(&mut self, id: LaneId, failure: Failure) {
        self.lanes.step_failed(id, failure);
    }

    fn new_job(&self, lane: LaneId, step: StepNumber, id: JobId, input: Value, since: Timestamp, deadline: Option<Timestamp>) -> ActiveJob {
        let executor = match &self.flow.step(step).verb {
            crate::plan::pipeline::Verb::Run(run) => self.pipeline.worker_name(&run.worker),
            _ => "none".into(),
        };
        let job = Job {
            id,
            run: self.beginning.run,
            correlation_id: self.beginning.correlation_id,
            pipeline: self.beginning.pipeline.clone(),
            flow: self.beginning.flow.clone(),
            step: self.flow.step(self.undoes(lane).unwrap_or(step)).id.clone(),
            executor,
            attempt: 1,
            input,
        };
        ActiveJob { job: Arc::new(job), lane, step, since, deadline, phase: JobPhase::Waiting, doubtful: false }
    }

    /// The step that a lane undoes, if that is what it is for.
    pub fn undoes(&self, lane: LaneId) -> Option<StepNumber> {
        let lane = self.lanes.get(lane).filter(|lane| lane.purpose == LanePurpose::Undo)?;
        lane.parent.map(|(_, step)| step)
    }

    fn end_job(&mut self, id: JobId, outcome: &JobOutcome) {
        let Some(active) = self.jobs.remove(&id) else { return };
        match outcome {
            JobOutcome::Succeeded { output, from } => {
                self.degraded |= from.is_degraded();
                self.complete(active.lane, active.step, output.clone(), true);
            }
            JobOutcome::Failed { failure } | JobOutcome::TimedOut { failure } => {
                self.fail(active.lane, failure.clone().at_step(&active.job.step));
            }
            JobOutcome::Cancelled { .. } => {
                let failure = Failure::new(crate::model::failure::FailureKind::Cancelled, "the job was cancelled");
                self.fail(active.lane, failure.at_step(&active.job.step));
            }
        }
    }
}

/// The earlier of two points in time, of those that there are.
fn earlier(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// Equal if what a run does next is equal: used to show that a state is the fold of its facts.
impl PartialEq for RunState {
    fn eq(&self, other: &Self) -> bool {
        let jobs = |state: &Self| -> Vec<_> {
            let job = |active: &ActiveJob| {
                let place = (active.lane, active.step, active.deadline);
                (active.job.id, active.job.attempt, place, active.phase.clone(), active.doubtful)
            };
            state.jobs.values().map(|active| job(active)).collect()
        };
        self.lanes == other.lanes
            && self.outputs == other.outputs
            && jobs(self) == jobs(other)
            && self.saga == other.saga
            && self.replied == other.replied
            && self.degraded == other.degraded
            && self.unwinding == other.unwinding
            && (self.on_error_begun, self.finally_begun) == (other.on_error_begun, other.finally_begun)
            && self.ended == other.ended
            && self.facts == other.facts
    }
}
