//! Jobs of a run: dispatch, claims, attempts, retries and the one end of each.

use std::time::Duration;

use crate::model::event::{Causation, Event};
use crate::model::failure::{Failure, FailureKind};
use crate::model::id::{EventId, JobId};
use crate::model::job::{Emission, JobOutcome, ResultSource};
use crate::model::record::{Fact, LanePurpose};
use crate::model::types::Origin;
use crate::model::value::{Tree, Value};
use crate::plan::pipeline::{RunStep, StandIn, Step, Verb};
use crate::policy::{deadline, fallback, key, retry};

use super::lanes::Lane;
use super::machine::{Claim, Command, Machine, Verdict, truth};
use super::scope::Extra;
use super::state::{ActiveJob, JobPhase};
use crate::engine::shareable;

/// The time that a job of `on_error` or `finally` has if nothing else is said: these steps are not cancelled with the run.
const CLEAN_UP: Duration = Duration::from_secs(30);

impl Machine<'_> {
    pub(super) fn dispatch(&mut self, lane: &Lane, step: &Step, run: &RunStep) {
        let given = self.state.given_job(lane, step.number);
        let id = given.as_ref().map_or_else(|| JobId::new(self.around.random.id(self.around.now)), |(id, _)| *id);
        let input = match (given, &run.with) {
            (Some((_, input)), _) => Ok(input),
            // It was fixed when what is undone was done.
            _ if lane.purpose == LanePurpose::Undo => self.state.saga.input(),
            (None, None) => Ok(Value::null()),
            (None, Some(with)) => with.evaluate(&self.scope(Extra { job: Some(id), ..self.extra(lane) })),
        };
        // Found out before anything is done: what was done could not be told of.
        let input = input.and_then(|input| self.order_key(lane, step).map(|_| input));
        let input = input.and_then(|input| self.fits(&input).map(|()| input));
        let input = match input {
            Ok(input) => input,
            Err(failure) => return self.fail_step(lane.id, step.number, failure),
        };
        let now = self.around.now;
        let own = run.policy.deadline.or_else(|| self.state.unwinding.is_some().then_some(CLEAN_UP));
        let outer = self.state.unwinding.is_none().then_some(self.state.beginning.deadline).flatten();
        let due = deadline::earliest(now, own, outer);
        self.record(Fact::JobDispatched { lane: lane.id, step: step.number, job: id, input, at: now, deadline: due });
        match self.claim(lane, run) {
            Ok(None) => self.attempt(id, 1),
            Ok(Some(claim)) => self.commands.push(Command::Claim { job: id, claim: Box::new(claim) }),
            Err(failure) => self.settle_failure(id, failure),
        }
    }

    /// What the job has to ask of the tables of dedup and cache, if anything.
    pub(super) fn claim(&self, lane: &Lane, run: &RunStep) -> Result<Option<Claim>, Failure> {
        if run.policy.dedup.is_none() && run.policy.cache.is_none() {
            return Ok(None);
        }
        let dedup = match &run.policy.dedup {
            Some(keyed) => Some((keyed.identity.clone(), key::text(&self.evaluate(&keyed.key, lane)?)?, keyed.settings)),
            None => None,
        };
        let cache = match &run.policy.cache {
            Some(cache) => {
                let text = key::text(&self.evaluate(&cache.keyed.key, lane)?)?;
                let tags = match &cache.tags {
                    Some(tags) => tag_list(&self.evaluate(tags, lane)?)?,
                    None => Vec::new(),
                };
                Some((cache.keyed.identity.clone(), text, cache.keyed.settings, tags))
            }
            None => None,
        };
        Ok(Some(Claim { dedup, cache }))
    }

    pub(super) fn claimed(&mut self, job: JobId, verdict: Verdict) {
        if !self.state.job(job).is_some_and(|active| active.phase == JobPhase::Waiting || matches!(active.phase, JobPhase::Joined(_))) {
            return;
        }
        match verdict {
            Verdict::Lead => self.attempt(job, 1),
            Verdict::Join(leader) => self.record(Fact::JobJoined { job, leader }),
            Verdict::Done { outcome } => self.end_job(job, outcome, Vec::new()),
            Verdict::Refuse(failure) => self.settle_failure(job, failure),
        }
    }

    pub(super) fn leader_ended(&mut self, job: JobId, outcome: Option<JobOutcome>) {
        if !self.state.job(job).is_some_and(|active| matches!(active.phase, JobPhase::Joined(_))) {
            return;
        }
        match outcome {
            Some(JobOutcome::Succeeded { output, from }) => {
                let from = if from.is_degraded() { ResultSource::JoinedDegraded } else { ResultSource::Joined };
                self.end_job(job, JobOutcome::Succeeded { output, from }, Vec::new());
            }
            Some(JobOutcome::Failed { failure } | JobOutcome::TimedOut { failure }) => self.settle_failure(job, failure),
            Some(JobOutcome::Cancelled { .. }) | None => self.claim_again(job),
        }
    }

    /// The leader has ended and its attempt goes on: it is this job's first from now on, under this job's own retry and deadline.
    pub(super) fn take_over(&mut self, job: JobId) {
        if self.state.job(job).is_some_and(|active| matches!(active.phase, JobPhase::Joined(_))) {
            self.record(Fact::AttemptStarted { job, attempt: 1, at: self.around.now });
            self.commands.push(Command::TakeOver { job });
        }
    }

    /// The leader was given up: one of those who waited must lead.
    pub(super) fn claim_again(&mut self, job: JobId) {
        let Some((active, lane, run)) = self.parts(job) else { return };
        let flow = self.flow;
        let Verb::Run(run) = &flow.step(run).verb else { return };
        match self.claim(&lane, run) {
            Ok(Some(claim)) => self.commands.push(Command::Claim { job: active.job.id, claim: Box::new(claim) }),
            Ok(None) => self.attempt(job, 1),
            Err(failure) => self.settle_failure(job, failure),
        }
    }

    pub(super) fn attempt(&mut self, job: JobId, attempt: u32) {
        if let Err(failure) = self.plan_attempt(job) {
            return self.end_job(job, JobOutcome::of_failure(failure), Vec::new());
        }
        self.record(Fact::AttemptStarted { job, attempt, at: self.around.now });
        self.commands.push(Command::Attempt { job });
    }

    pub(super) fn attempt_ended(
        &mut self,
        job: JobId,
        attempt: u32,
        result: Result<(Value, ResultSource), Failure>,
        emissions: Vec<Emission>,
        progressed: bool,
    ) {
        // An attempt that was given up may still come to its end; its job has gone on without it.
        if !self.state.job(job).is_some_and(|active| active.job.attempt == attempt && active.phase == JobPhase::Running) {
            return;
        }
        if let Err(failure) = &result {
            self.attempt_was_not_done(job, failure);
        }
        let result = result.and_then(|(output, from)| Ok((self.success(job, output, emissions)?, from)));
        match result {
            Ok(((output, events), from)) => self.end_job(job, JobOutcome::Succeeded { output, from }, events),
            Err(failure) => self.attempt_failed(job, failure, progressed),
        }
    }

    /// The output as declared, and the events that go out with it in their order.
    fn success(&self, job: JobId, output: Value, emissions: Vec<Emission>) -> Result<(Value, Vec<Event>), Failure> {
        let flow = self.flow;
        let Some(active) = self.state.job(job) else { return Ok((output, Vec::new())) };
        let Verb::Run(run) = &flow.step(active.step).verb else { return Ok((output, Vec::new())) };
        let output = match &run.output {
            Some(declared) => declared.receive(&output, Origin::Data).map_err(|mismatches| {
                let mismatches = shareable::all(&mismatches);
                let message = format!("the output of {} is not what it declares: {mismatches}", active.job.executor);
                Failure::new(FailureKind::Bug, message).with_code("output_type")
            })?,
            None => output,
        };
        let cause = Causation::Job(job);
        let mut events =
            emissions.into_iter().map(|emission| self.event(emission.event_type, emission.data, cause)).collect::<Result<Vec<_>, _>>()?;
        events.extend(self.own_event(job, &output)?);
        Ok((output, events))
    }

    fn attempt_failed(&mut self, job: JobId, failure: Failure, progressed: bool) {
        let Some((active, lane, step)) = self.parts(job) else { return };
        let flow = self.flow;
        let Verb::Run(run) = &flow.step(step).verb else { return };
        let Some(retry) = &run.policy.retry else { return self.settle_failure(job, failure) };
        let wanted = match &retry.should_retry {
            None => Ok(failure.kind.is_retryable()),
            Some(expression) => truth(expression, &self.scope(Extra { error: Some(&failure), ..self.extra(&lane) })),
        };
        let wanted = match wanted {
            Ok(wanted) => wanted,
            Err(broken) => return self.settle_failure(job, broken.with_cause(failure)),
        };
        let question = retry::Question {
            attempt: active.job.attempt,
            failure: &failure,
            wanted,
            progressed,
            now: self.around.now,
            deadline: active.deadline,
            fraction: self.around.random.fraction(),
        };
        match retry::decide(&retry.settings, question) {
            retry::Decision::Again { due } => {
                let at = self.around.now;
                self.record(Fact::Retrying { job, attempt: active.job.attempt, failure, at, due });
            }
            retry::Decision::Stop(_) => self.settle_failure(job, failure),
        }
    }

    /// No more attempts: a fallback stands in, or the job has failed.
    pub(super) fn settle_failure(&mut self, job: JobId, failure: Failure) {
        let Some((active, lane, number)) = self.parts(job) else { return };
        let flow = self.flow;
        let Verb::Run(run) = &flow.step(number).verb else { return };
        let failure = failure.at_step(&active.job.step);
        let Some(fallback) = &run.policy.fallback else {
            return self.end_job(job, JobOutcome::of_failure(failure), Vec::new());
        };
        let extra = Extra { error: Some(&failure), ..self.extra(&lane) };
        let applies = match &fallback.when {
            None => Ok(fallback::applies_by_default(&failure)),
            Some(when) => truth(when, &self.scope(extra)),
        };
        if let Ok(true) = applies {
            // What equal jobs share is the failure, and it is settled here: each of them has its own fallback.
            self.record(Fact::FallbackBegan { job, failure: failure.clone(), at: Some(self.around.now) });
        }
        let outcome = match (applies, &fallback.stand_in) {
            (Ok(true), StandIn::Value(value)) => match value.evaluate(&self.scope(Extra { error: Some(&failure), ..self.extra(&lane) })) {
                Ok(output) => JobOutcome::Succeeded { output, from: ResultSource::Fallback },
                Err(broken) => JobOutcome::of_failure(broken.with_cause(failure)),
            },
            (Ok(true), StandIn::Steps(block)) => {
                return self.open_lane(LanePurpose::Fallback, *block, Some((lane.id, number)));
            }
            (Ok(false), _) => JobOutcome::of_failure(failure),
            (Err(broken), _) => JobOutcome::of_failure(broken.with_cause(failure)),
        };
        self.end_job(job, outcome, Vec::new());
    }

    /// The one end of a job. An output that the cache or a fallback gave is the step's output too, so it goes out as the step's `emits`;
    /// one that another job gave went out with that job.
    pub(super) fn end_job(&mut self, job: JobId, outcome: JobOutcome, mut events: Vec<Event>) {
        let mut outcome = outcome;
        if let JobOutcome::Succeeded { output, from: ResultSource::Cache | ResultSource::Fallback } = &outcome {
            match self.own_event(job, output) {
                Ok(event) => events.extend(event),
                Err(failure) => outcome = JobOutcome::of_failure(failure),
            }
        }
        let outbox = match self.outboxed(job, &events) {
            Ok(outbox) => outbox,
            Err(failure) => {
                (outcome, events) = (JobOutcome::of_failure(failure), Vec::new());
                None
            }
        };
        let undo = match self.plan_done(job, &outcome) {
            Some(Ok(planned)) => Some(planned),
            Some(Err((impossible, failure))) => {
                (outcome, events) = (JobOutcome::of_failure(failure), Vec::new());
                // What was planned when it was tried will do.
                (!self.is_planned(job)).then_some(impossible)
            }
            None => None,
        };
        // It was done, and is undone if the run does not succeed: but nobody can ever read what it gave.
        if let (true, Err(failure)) = (matches!(outcome, JobOutcome::Succeeded { .. }), self.fits(&(&outcome, &events))) {
            (outcome, events) = (JobOutcome::of_failure(failure), Vec::new());
        }
        self.commands.extend(outbox.filter(|_| !events.is_empty()));
        self.record(Fact::JobEnded { job, outcome, events, at: self.around.now });
        undo.into_iter().for_each(|fact| self.record(fact));
    }

    /// What a step's `emits` makes of an output.
    fn own_event(&self, job: JobId, output: &Value) -> Result<Option<Event>, Failure> {
        let Some(active) = self.state.job(job) else { return Ok(None) };
        let Verb::Run(run) = &self.state.flow.step(active.step).verb else { return Ok(None) };
        let event = run.emits.clone().map(|event_type| self.event(event_type, output.clone(), Causation::Job(job))).transpose()?;
        let is_outboxed = self.state.flow.step(active.step).outbox.is_some();
        Ok(event.map(|event| if is_outboxed { Event { id: EventId::emitted_by(job), ..event } } else { event }))
    }

    /// The job, the lane and the step it was dispatched in; `None` once it has ended.
    pub(super) fn parts(&self, job: JobId) -> Option<(ActiveJob, Lane, crate::model::record::StepNumber)> {
        let active = self.state.job(job)?.clone();
        let lane = *self.state.lane(active.lane)?;
        let step = active.step;
        Some((active, lane, step))
    }
}

fn tag_list(tags: &Value) -> Result<Vec<String>, Failure> {
    let refuse = || Failure::new(FailureKind::Invalid, "the tags of a cache are texts, and one of them is not").with_code("cache_tags");
    match tags.tree() {
        Tree::Text(tag) => Ok(vec![tag.clone()]),
        Tree::List(tags) => tags.iter().map(|tag| tag.as_text().map(str::to_owned).ok_or_else(refuse)).collect(),
        _ => Err(refuse()),
    }
}
