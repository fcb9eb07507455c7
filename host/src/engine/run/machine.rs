//! `decide`: what a run does next, given its state and what came in.

use std::sync::Arc;

use crate::model::event::{Causation, Event};
use crate::model::failure::{Failure, FailureKind};
use crate::model::id::{EventId, EventType, JobId, RunId};
use crate::model::job::{CancelReason, Emission, JobOutcome, ResultSource};
use crate::model::policy::{CacheSettings, DedupSettings, PolicyIdentity};
use crate::model::port::{Expression, Random};
use crate::model::record::{BlockNumber, Fact, LaneId, LanePurpose, RefusedAnswer, StepNumber};
use crate::model::time::Timestamp;
use crate::model::value::Value;
use crate::plan::pipeline::{Fail, Flow, OnError, Verb};
use crate::plan::template::Template;

use super::lanes::Lane;
use super::measure::Measure;
use super::outbox::envelope;
use super::scope::{Extra, RunScope};
use super::state::RunState;
use crate::engine::shareable;

/// So many facts of one batch at most, give or take those of one step: a run with a hundred thousand small steps must not keep all of them
/// in memory before the first is kept, and has to hear that it is cancelled between them.
const MOST_FACTS: usize = 1_000;

/// What came in.
#[derive(Clone, Debug)]
pub enum Input {
    /// Begin.
    Start,
    /// Go on from what is recorded.
    Resume,
    /// Something may be due.
    Tick,
    /// An attempt ended.
    AttemptEnded {
        /// The job.
        job: JobId,
        /// Which try.
        attempt: u32,
        /// How.
        result: Result<Value, Failure>,
        /// What the executor emitted in it.
        emissions: Vec<Emission>,
        /// Whether it told any progress.
        progressed: bool,
        /// Whether what it did is degraded: a called flow in which a fallback stood in.
        degraded: bool,
    },
    /// The tables of dedup and cache have answered.
    Claimed {
        /// The job that asked.
        job: JobId,
        /// The answer.
        verdict: Verdict,
    },
    /// The job that a job had joined ended.
    LeaderEnded {
        /// The job that waited.
        job: JobId,
        /// How its leader ended; `None` if the leader was given up, so that somebody else must lead.
        outcome: Option<JobOutcome>,
    },
    /// The job that a job had joined ended before its attempt did, and the attempt is left to the one that waited.
    TakeOver {
        /// The job that waited.
        job: JobId,
    },
    /// The state was set, or could not be.
    StateSet {
        /// The lane.
        lane: LaneId,
        /// The step.
        step: StepNumber,
        /// `{ before, after }`.
        result: Result<Value, Failure>,
    },
    /// Events came that meet waits of this run.
    Answered {
        /// The events, the oldest first; at most one of them is taken.
        events: Vec<Arc<Event>>,
        /// The waits that they meet, the one that was opened first in front.
        waits: Vec<(LaneId, StepNumber)>,
        /// Why they are refused if none of the waits goes on; `None` if that is no refusal.
        otherwise: Option<RefusedAnswer>,
    },
    /// The events of an `emit` step are out, and the waits that they met have answered.
    Published {
        /// The lane.
        lane: LaneId,
        /// The step.
        step: StepNumber,
        /// The runs that did not take them.
        refused: Vec<(RunId, RefusedAnswer)>,
    },
    /// The run was parked, and somebody wants what could not be undone to be tried again.
    Reopen,
    /// What the run has come to cannot be recorded, whichever of its steps it is: it fails.
    Fail {
        /// Why.
        failure: Failure,
    },
    /// Somebody no longer wants the run.
    Cancel {
        /// Why.
        reason: CancelReason,
    },
}

/// What has to be done outside now. Everything else follows from the facts: publishing, replying, settling, shutting gates.
#[derive(Debug)]
pub enum Command {
    /// Start the attempt that the job's latest number names.
    Attempt {
        /// The job.
        job: JobId,
    },
    /// Ask the tables of dedup and cache.
    Claim {
        /// The job.
        job: JobId,
        /// What to ask.
        claim: Box<Claim>,
    },
    /// Go on with the attempt that the job's leader left to it.
    TakeOver {
        /// The job.
        job: JobId,
    },
    /// Set fields of the pipeline's state and come back with [`Input::StateSet`] before anything else.
    SetState {
        /// The lane.
        lane: LaneId,
        /// The step.
        step: StepNumber,
    },
    /// Keep an event that these facts hold in the outbox, and do not publish it: done with the facts, not after them.
    Outbox {
        /// The event.
        event: EventId,
        /// Events of one key go out one after the other.
        order_key: Option<String>,
    },
    /// Come back with [`Input::Tick`]: there is more to decide, and what is decided so far is enough for one batch.
    GoOn,
}

/// What a job asks of the tables of dedup and cache.
#[derive(Clone, Debug)]
pub struct Claim {
    /// Whose table, by what key, with which numbers.
    pub dedup: Option<(PolicyIdentity, String, DedupSettings)>,
    /// The same for the cache, with tags.
    pub cache: Option<(PolicyIdentity, String, CacheSettings, Vec<String>)>,
}

impl Claim {
    /// What of it the other one does not ask for too; `None` if that is nothing.
    pub fn without(&self, other: &Self) -> Option<Self> {
        let dedup = self
            .dedup
            .clone()
            .filter(|(identity, key, _)| other.dedup.as_ref().is_none_or(|(other, same, _)| (other, same) != (identity, key)));
        let cache = self
            .cache
            .clone()
            .filter(|(identity, key, ..)| other.cache.as_ref().is_none_or(|(other, same, ..)| (other, same) != (identity, key)));
        (dedup.is_some() || cache.is_some()).then_some(Self { dedup, cache })
    }
}

/// What the tables of dedup and cache answer.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// Do it.
    Lead,
    /// Wait for that job's result.
    Join(JobId),
    /// Here is the result.
    Done {
        /// The outcome to end with: a hit, a repeat, a skip.
        outcome: JobOutcome,
    },
    /// Refused.
    Refuse(Failure),
}

/// What a decision needs to know of the outside.
pub struct Surroundings<'a> {
    /// What time it is.
    pub now: Timestamp,
    /// New ids, and jitter.
    pub random: &'a dyn Random,
    /// The pipeline's state at this moment.
    pub state: &'a Value,
}

/// A decision under way: facts are applied as they are found, so that each next one builds on them.
pub struct Machine<'a> {
    pub(super) state: &'a mut RunState,
    /// The state's own flow, to be read while the state changes.
    pub(super) flow: &'a Flow,
    pub(super) around: &'a Surroundings<'a>,
    pub(super) facts: Vec<Fact>,
    pub(super) commands: Vec<Command>,
    /// What is recorded is measured, since the store has refused it for its size.
    pub(super) measure: Option<Measure>,
}

impl Machine<'_> {
    /// Decides what follows from an input. Returns the facts, which the state has taken in already, and what has to be done once they are kept.
    pub fn decide(state: &mut RunState, input: Input, around: &Surroundings<'_>) -> (Vec<Fact>, Vec<Command>) {
        Self::decide_behind(state, input, around, None, (Vec::new(), Vec::new()))
    }

    /// The same, behind facts that are given to the store together with these, so that none is moved. With a measure, a step whose facts are larger than
    /// a store takes fails in the place of being done.
    pub fn decide_behind(
        state: &mut RunState,
        input: Input,
        around: &Surroundings<'_>,
        measure: Option<Measure>,
        (facts, commands): (Vec<Fact>, Vec<Command>),
    ) -> (Vec<Fact>, Vec<Command>) {
        // One handle for the whole of it: all threads count those of a flow in one place.
        let flow = Arc::clone(&state.flow);
        let mut machine = Machine { state, flow: &flow, around, facts, commands, measure };
        if machine.state.ended.is_none() || matches!(input, Input::Reopen) {
            machine.take(input);
        }
        // A job that was begun and given up in one decision, since a branch beside it was over at once, asks for nothing any more.
        let Machine { state, facts, mut commands, .. } = machine;
        commands.retain(|command| match command {
            Command::Attempt { job } | Command::TakeOver { job } | Command::Claim { job, .. } => state.job(*job).is_some(),
            Command::SetState { .. } | Command::Outbox { .. } | Command::GoOn => true,
        });
        (facts, commands)
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Start => self.begin(),
            Input::Resume => self.resume(),
            Input::Reopen => self.reopen(),
            Input::Tick => self.tick(),
            Input::AttemptEnded { job, attempt, result, emissions, progressed, degraded } => {
                let from = if degraded { ResultSource::Degraded } else { ResultSource::Executor };
                self.attempt_ended(job, attempt, result.map(|output| (output, from)), emissions, progressed);
            }
            Input::Answered { events, waits, otherwise } => self.answered(&events, &waits, otherwise),
            Input::Published { lane, step, refused } => self.published(lane, step, refused),
            Input::Claimed { job, verdict } => self.claimed(job, verdict),
            Input::LeaderEnded { job, outcome } => self.leader_ended(job, outcome),
            Input::TakeOver { job } => self.take_over(job),
            Input::StateSet { lane, step, result } => self.state_set(lane, step, result),
            Input::Fail { failure } => self.fail(&failure),
            Input::Cancel { reason } => self.cancel(reason),
        }
        self.advance();
    }

    pub(super) fn begin(&mut self) {
        let block = self.state.part().map_or(BlockNumber(0), |part| part.block);
        self.open_lane(LanePurpose::Main, block, None);
    }

    pub(super) fn record(&mut self, fact: Fact) {
        // Facts are large: one is put where it stays, and then looked at.
        match self.measure {
            None => self.facts.push(fact),
            Some(_) => {
                let fact = self.fitting(fact);
                self.facts.push(fact);
            }
        }
        if let Some(fact) = self.facts.last() {
            self.state.apply(fact);
        }
    }

    pub(super) fn open_lane(&mut self, purpose: LanePurpose, block: BlockNumber, parent: Option<(LaneId, StepNumber)>) {
        self.record(Fact::LaneOpened { lane: self.state.lanes.next(), purpose, block, parent });
    }

    fn state_set(&mut self, lane: LaneId, step: StepNumber, result: Result<Value, Failure>) {
        // A lane that was given up meanwhile takes no answer.
        match result {
            _ if self.state.present_step(lane) != Some(step) => {}
            Ok(output) => self.record(Fact::StepDone { lane, step, output }),
            Err(failure) => self.fail_step(lane, step, failure),
        }
    }

    /// Goes on in every lane until each waits for something or the run has ended.
    fn advance(&mut self) {
        while self.state.ended.is_none() {
            let Some(lane) = self.state.lanes.ready().copied() else { return };
            if self.facts.len() >= MOST_FACTS || self.measure.as_ref().is_some_and(Measure::is_full) {
                return self.commands.push(Command::GoOn);
            }
            if let Some(failure) = self.state.lanes.failed(lane.id).cloned() {
                self.lane_failed(&lane, failure);
                continue;
            }
            match self.state.flow.block(lane.block).get(lane.position) {
                None => self.lane_done(&lane),
                Some(&step) => {
                    if self.begin_step(&lane, step).is_break() {
                        return;
                    }
                }
            }
        }
    }

    /// Begins a step. Breaks if the step has to be carried out before anything else is decided.
    fn begin_step(&mut self, lane: &Lane, number: StepNumber) -> std::ops::ControlFlow<()> {
        let step = self.flow.step(number);
        if let Some(when) = &step.when {
            match self.condition(when, lane) {
                Ok(true) => {}
                Ok(false) => {
                    self.record(Fact::StepSkipped { lane: lane.id, step: number });
                    return std::ops::ControlFlow::Continue(());
                }
                Err(failure) => {
                    self.fail_step(lane.id, number, failure);
                    return std::ops::ControlFlow::Continue(());
                }
            }
        }
        let done = match &step.verb {
            Verb::Set(_) => {
                self.commands.push(Command::SetState { lane: lane.id, step: number });
                return std::ops::ControlFlow::Break(());
            }
            Verb::Run(run) => {
                self.dispatch(lane, step, run);
                return std::ops::ControlFlow::Continue(());
            }
            Verb::Switch(cases) => {
                self.switch(lane, number, cases);
                return std::ops::ControlFlow::Continue(());
            }
            Verb::Parallel(parallel) => {
                self.parallel(lane, number, parallel);
                return std::ops::ControlFlow::Continue(());
            }
            Verb::Each(each) => {
                self.each(lane, number, each);
                return std::ops::ControlFlow::Continue(());
            }
            Verb::Sleep(length) => {
                self.sleep(lane, number, length);
                return std::ops::ControlFlow::Continue(());
            }
            Verb::Wait(wait) => {
                if let Err(failure) = self.begin_wait(lane, number, wait) {
                    self.fail_step(lane.id, number, failure);
                }
                return std::ops::ControlFlow::Continue(());
            }
            Verb::Dispatch(block) => self.send_off(lane, number, *block),
            Verb::Emit(events) => {
                if let Err(failure) = self.emit(lane, step, events) {
                    self.fail_step(lane.id, number, failure);
                }
                return std::ops::ControlFlow::Continue(());
            }
            Verb::Reply(reply) => self.reply(lane, reply),
            Verb::Fail(fail) => Err(self.own_failure(lane, fail)),
        };
        match done {
            Ok(output) => self.record(Fact::StepDone { lane: lane.id, step: number, output }),
            Err(failure) => self.fail_step(lane.id, number, failure),
        }
        std::ops::ControlFlow::Continue(())
    }

    pub(super) fn fail_step(&mut self, lane: LaneId, step: StepNumber, failure: Failure) {
        let failure = failure.at_step(&self.state.flow.step(self.state.undoes(lane).unwrap_or(step)).id);
        self.record(Fact::StepFailed { lane, step, failure });
    }

    fn reply(&mut self, lane: &Lane, reply: &Template) -> Result<Value, Failure> {
        let reply = self.evaluate(reply, lane)?;
        // The first reply answers. A path with two is refused at load; `on_error` may answer again after the steps did.
        if !self.state.replied {
            self.fits(&reply)?;
            self.record(Fact::Replied { reply });
        }
        Ok(Value::null())
    }

    fn own_failure(&self, lane: &Lane, fail: &Fail) -> Failure {
        let failure = match fail {
            Fail::PassOn(error) => self.evaluate(error, lane).map(|error| Failure::from_value(&error)),
            Fail::New { kind, code, message } => self.evaluate(message, lane).and_then(|message| {
                let failure = Failure::new(*kind, message.tree().as_text().map_or_else(|| message.text().to_owned(), str::to_owned));
                match code {
                    Some(code) => {
                        let code = self.evaluate(code, lane)?;
                        Ok(failure.with_code(code.tree().as_text().map_or_else(|| code.text().to_owned(), str::to_owned)))
                    }
                    None => Ok(failure),
                }
            }),
        };
        failure.unwrap_or_else(|failure| failure)
    }

    /// An event of this pipeline, its data checked against what is declared.
    pub(super) fn event(&self, event_type: EventType, data: Value, causation: Causation) -> Result<Event, Failure> {
        let data = shareable::event_data(&self.state.pipeline, &event_type, data)?;
        let id = EventId::new(self.around.random.id(self.around.now));
        Ok(Event { data, ..envelope(self.state, id, event_type, causation, self.around.now) })
    }

    pub(super) fn scope<'b>(&'b self, extra: Extra<'b>) -> RunScope<'b> {
        RunScope { run: self.state, state: self.around.state, now: self.around.now, random: self.around.random, extra }
    }

    pub(super) fn extra<'b>(&'b self, lane: &'b Lane) -> Extra<'b> {
        self.state.extra(lane)
    }

    pub(super) fn evaluate(&self, template: &Template, lane: &Lane) -> Result<Value, Failure> {
        template.evaluate(&self.scope(self.extra(lane)))
    }

    pub(super) fn condition(&self, expression: &std::sync::Arc<dyn Expression>, lane: &Lane) -> Result<bool, Failure> {
        truth(expression, &self.scope(self.extra(lane)))
    }

    /// A step's failure that no job stands behind any more: healed, or the lane's.
    fn lane_failed(&mut self, lane: &Lane, failure: Failure) {
        let step = self.state.flow.block(lane.block).get(lane.position).copied();
        let heal = step.and_then(|step| self.state.flow.step(step).on_error.map(|heal| (step, heal)));
        match heal {
            Some((step, OnError::Ignore)) => self.record(Fact::StepHealed { lane: lane.id, step, output: Value::null() }),
            Some((step, OnError::Steps(block))) => self.open_lane(LanePurpose::Heal, block, Some((lane.id, step))),
            None => self.lane_gave_up(lane, failure),
        }
    }
}

/// The fields that a `set` step sets, or that a `run` step sets with `optimistic`, evaluated against the state at this moment: called while the state is held.
///
/// # Errors
/// What an expression failed with.
pub fn set_fields(run: &RunState, lane: LaneId, step: StepNumber, around: &Surroundings<'_>) -> Result<Vec<(String, Value)>, Failure> {
    let fields = match &run.flow.step(step).verb {
        Verb::Set(fields) => fields,
        Verb::Run(run) => &run.optimistic,
        _ => return Ok(Vec::new()),
    };
    let extra = run.lane(lane).map_or_else(Extra::default, |lane| run.extra(lane));
    let scope = RunScope { run, state: around.state, now: around.now, random: around.random, extra };
    fields.iter().map(|(name, template)| Ok((name.clone(), template.evaluate(&scope)?))).collect()
}

/// Whether a condition holds. What is no bool is a failure, never truthy.
pub(super) fn truth(expression: &std::sync::Arc<dyn Expression>, scope: &RunScope<'_>) -> Result<bool, Failure> {
    let value = expression.evaluate(scope)?;
    value.tree().as_bool().ok_or_else(|| {
        let message = format!("the condition `{}` is {}, not true or false", expression.source(), value.tree().kind());
        Failure::new(FailureKind::Invalid, message).with_code("condition")
    })
}
