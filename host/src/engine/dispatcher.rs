//! Drives one run: carries out what its machine decides, waits for what comes, and ends it exactly once.
//!
//! A run is one task. Its attempts are polled in that task too, since a hop between threads costs more than a small step's work.

use std::collections::VecDeque;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio_util::sync::WaitForCancellationFutureOwned;

use crate::clock::Busy;
use crate::model::activation::{Requester, RunEnd, RunOutcome};
use crate::model::cancel::CancelSignal;
use crate::model::event::{Event, Scope};
use crate::model::failure::{Failure, FailureKind};
use crate::model::happening::{Happening, What};
use crate::model::id::JobId;
use crate::model::job::{CancelReason, JobOutcome, ResultSource};
use crate::model::port::{Attempt, Sleep, StoreError};
use crate::model::record::{Batch, Fact, LaneId, StepNumber};
use crate::model::time::Timestamp;
use crate::model::types::Origin;
use crate::model::value::Value;
use crate::plan::pipeline::Verb;

use super::flights::Claimed;
use super::gate::{Gate, OnProgress, Parts, handles_progress};
use super::installed::Installed;
use super::run::{Claim, Command, Input, Machine, RunState, Surroundings, Verdict, set_fields};
use super::shared::Shared;
use super::states::StateCell;
use super::telling::{Labels, run_label};

/// The time that a refresh behind an old result has, if its step has no deadline.
const REFRESH: Duration = Duration::from_secs(30);

/// By which others ask a run to stop.
#[derive(Default)]
pub struct Control {
    signal: CancelSignal,
    reason: OnceLock<CancelReason>,
}

impl Control {
    /// Asks; the first reason counts.
    pub fn cancel(&self, reason: CancelReason) {
        let _ = self.reason.set(reason);
        self.signal.cancel();
    }
}

/// One run being driven.
pub struct Driver {
    shared: Arc<Shared>,
    installed: Arc<Installed>,
    state: RunState,
    cell: Option<Arc<StateCell>>,
    requester: Option<Arc<dyn Requester>>,
    control: Arc<Control>,
    /// Whether a cancel was heard: a run is cancelled once.
    heard: bool,
    /// Made when the run first has to wait; most small runs never do.
    cancelled: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    works: Vec<Work>,
    claims: Vec<(JobId, Claim)>,
    labels: Labels,
    inputs: VecDeque<Input>,
}

/// Something under way for a job: an attempt, or the wait for another job's result.
struct Work {
    job: JobId,
    gate: Option<Arc<Gate>>,
    cancel: CancelSignal,
    future: BoxFuture<'static, Input>,
}

/// Facts that the store did not take.
struct Refused {
    facts: Arc<Vec<Fact>>,
    error: StoreError,
}

/// However a run's task ends, those who wait for one of its jobs go on.
impl Drop for Driver {
    fn drop(&mut self) {
        self.settle_all();
    }
}

/// What has been given up is told so, even if its code runs on a thread that cannot be stopped from outside.
impl Drop for Work {
    fn drop(&mut self) {
        self.cancel.cancel();
        if let Some(gate) = &self.gate {
            gate.shut();
        }
    }
}

impl Driver {
    /// A run that is about to begin.
    pub fn new(
        shared: Arc<Shared>,
        installed: Arc<Installed>,
        state: RunState,
        cell: Option<Arc<StateCell>>,
        requester: Option<Arc<dyn Requester>>,
        control: Arc<Control>,
    ) -> Self {
        Self {
            shared,
            installed,
            state,
            cell,
            requester,
            control,
            heard: false,
            cancelled: None,
            works: Vec::new(),
            claims: Vec::new(),
            labels: Labels::default(),
            inputs: VecDeque::new(),
        }
    }

    /// Drives the run to its end.
    pub async fn drive(mut self, mut busy: Busy) {
        let began = Fact::Began(Arc::clone(self.state.beginning()));
        let mut input = Input::Start;
        let mut begun = Some(began);
        loop {
            let first = self.state.facts() - u64::from(begun.is_some());
            let (mut facts, commands) = self.decide(input);
            if let Some(began) = begun.take() {
                facts.insert(0, began);
            }
            if let Err(refused) = self.keep(first, facts, commands).await {
                return self.give_up(first, &refused).await;
            }
            if let Some(outcome) = self.state.ended().cloned() {
                return self.end(outcome);
            }
            input = match self.inputs.pop_front() {
                Some(input) => input,
                None => self.wait(&mut busy).await,
            };
        }
    }

    fn decide(&mut self, input: Input) -> (Vec<Fact>, Vec<Command>) {
        let pipeline_state = self.pipeline_state();
        let around = Surroundings { now: self.shared.ports.clock.now(), random: &*self.shared.ports.random, state: &pipeline_state };
        Machine::decide(&mut self.state, input, &around)
    }

    fn pipeline_state(&self) -> Value {
        self.cell
            .as_ref()
            .map_or_else(Value::null, |cell| cell.view(&self.installed.bound.pipeline.state, self.installed.bound.pipeline.revision))
    }

    /// Keeps facts, then does what follows from them, then what was commanded.
    async fn keep(&mut self, first: u64, facts: Vec<Fact>, commands: Vec<Command>) -> Result<(), Refused> {
        if !facts.is_empty() {
            self.labels.learn(&self.state, &facts);
            for fact in &facts {
                // The terminal event shuts the job's gate, before anybody can hear of it.
                if let Fact::JobEnded { job, .. } | Fact::Retrying { job, .. } | Fact::FallbackBegan { job, .. } = fact {
                    self.works.retain(|work| work.job != *job);
                }
            }
            let facts = Arc::new(facts);
            let batch = Batch { run: self.state.beginning().run, first, facts: Arc::clone(&facts) };
            if let Err(error) = self.shared.ports.store.commit(batch).await {
                return Err(Refused { facts, error });
            }
            for fact in &*facts {
                self.follow(fact).await;
            }
        }
        for command in commands {
            self.carry_out(command);
        }
        Ok(())
    }

    /// What follows from a fact once it is kept.
    async fn follow(&mut self, fact: &Fact) {
        let sink = &self.shared.ports.sink;
        let told = if sink.wants_routine() || fact.is_trouble() { self.labels.tell(fact, &self.state, sink.wants_detail()) } else { None };
        match fact {
            Fact::JobEnded { job, outcome, events, .. } => {
                self.settle(*job, outcome);
                for event in events {
                    self.publish(event.clone()).await;
                }
                self.tell(told);
                self.labels.forget(*job);
            }
            Fact::FallbackBegan { job, failure } => {
                self.settle(*job, &JobOutcome::of_failure(failure.clone()));
                self.tell(told);
            }
            Fact::Emitted { events, .. } => {
                for event in events {
                    self.publish(event.clone()).await;
                }
            }
            Fact::Replied { reply } => {
                if let Some(requester) = &self.requester {
                    requester.reply(reply);
                }
                self.tell(told);
            }
            // Told when everything else of the run is over.
            Fact::Ended { .. } => {}
            _ => self.tell(told),
        }
    }

    fn tell(&self, what: Option<What>) {
        if let Some(what) = what {
            let run = Some(run_label(self.state.beginning()));
            self.shared.ports.sink.accept(Happening { time: self.shared.ports.clock.now(), run, what });
        }
    }

    async fn publish(&mut self, event: Event) {
        let exported = event.scope != Scope::Global && self.installed.bound.pipeline.exports.contains(&event.event_type);
        self.shared.ports.bus.publish(event, exported).await;
    }

    fn settle(&mut self, job: JobId, outcome: &JobOutcome) {
        let Some(index) = self.claims.iter().position(|(other, _)| *other == job) else { return };
        let (_, claim) = self.claims.swap_remove(index);
        self.shared.flights.settle(job, &claim, outcome, self.shared.ports.clock.now());
    }

    fn carry_out(&mut self, command: Command) {
        match command {
            Command::Attempt { job } => self.start_attempt(job),
            Command::Claim { job, claim } => self.claim(job, *claim),
            Command::SetState { lane, step } => self.set_state(lane, step),
        }
    }

    fn claim(&mut self, job: JobId, claim: Claim) {
        let claimed = self.shared.flights.claim(job, &claim, self.shared.ports.clock.now());
        let told = self.labels.get(job).and_then(|label| claimed.told(label));
        self.tell(told);
        let verdict = match claimed {
            Claimed::Answered(verdict) => verdict,
            Claimed::Stale { verdict, refresh } => {
                if refresh {
                    self.refresh(job, &claim);
                }
                verdict
            }
            Claimed::Joined { leader, ended } => {
                let future = async move { Input::LeaderEnded { job, outcome: ended.await.ok().flatten() } };
                self.works.push(Work { job, gate: None, cancel: CancelSignal::new(), future: future.boxed() });
                Verdict::Join(leader)
            }
        };
        if matches!(verdict, Verdict::Lead | Verdict::Join(_)) {
            self.claims.retain(|(other, _)| *other != job);
            self.claims.push((job, claim));
        }
        self.inputs.push_back(Input::Claimed { job, verdict });
    }

    /// Fetches anew what the cache served although it was old. Nobody waits for it and nobody hears of it but the cache.
    fn refresh(&self, job: JobId, claim: &Claim) {
        let Some(mut prepared) = self.prepare(job, true) else { return };
        let Some(active) = self.state.jobs().iter().find(|active| active.job.id == job) else { return };
        let declared = match &self.state.flow().step(active.step).verb {
            Verb::Run(step) => step.output.clone(),
            _ => None,
        };
        let (shared, claim) = (Arc::clone(&self.shared), claim.clone());
        let due = active.deadline.unwrap_or(shared.ports.clock.now() + REFRESH);
        let busy = shared.ports.activity.enter();
        self.shared.tasks.spawn(async move {
            let _busy = busy;
            let result = tokio::select! {
                biased;
                () = shared.stop.cancelled() => None,
                () = shared.ports.clock.sleep_until(due) => None,
                input = &mut prepared.future => match input {
                    Input::AttemptEnded { result: Ok(output), .. } => match declared {
                        Some(declared) => declared.conform(&output, Origin::Data).ok(),
                        None => Some(output),
                    },
                    _ => None,
                },
            };
            let outcome = match result {
                Some(output) => JobOutcome::Succeeded { output, from: ResultSource::Executor },
                None => JobOutcome::Cancelled { reason: CancelReason::Requested },
            };
            shared.flights.refreshed(job, &claim, &outcome, shared.ports.clock.now());
        });
    }

    fn set_state(&mut self, lane: LaneId, step: StepNumber) {
        let result = match &self.cell {
            None => Err(Failure::new(FailureKind::Bug, "the pipeline has no state").with_code("no_state")),
            Some(cell) => {
                let ports = &self.shared.ports;
                cell.change(&self.installed.bound.pipeline.state, |now| {
                    let around = Surroundings { now: ports.clock.now(), random: &*ports.random, state: now };
                    set_fields(&self.state, lane, step, &around)
                })
            }
        };
        let result = result.map(|change| {
            let key = self.state.beginning().state_key.clone();
            let value = change.to_value();
            if self.shared.ports.sink.wants_routine() {
                self.tell(Some(What::StateSet { key, version: change.version, after: change.after }));
            }
            value
        });
        self.inputs.push_back(Input::StateSet { lane, step, result });
    }

    fn start_attempt(&mut self, job: JobId) {
        if let Some(work) = self.prepare(job, false) {
            self.works.retain(|other| other.job != job);
            self.works.push(work);
        }
    }

    /// An attempt of a job, ready to be polled. A silent one tells nobody of its progress.
    fn prepare(&self, job: JobId, silent: bool) -> Option<Work> {
        let active = self.state.jobs().iter().find(|active| active.job.id == job)?;
        let Verb::Run(step) = &self.state.flow().step(active.step).verb else { return None };
        let executor = Arc::clone(self.installed.bound.executors.get(step.executor)?);
        let ports = &self.shared.ports;
        let on_progress = (handles_progress(step) && !silent).then(|| {
            let cell = Arc::clone(self.cell.as_ref()?);
            let key = self.state.beginning().state_key.clone();
            Some(OnProgress { run: self.state.clone(), step: active.step, cell, key, random: Arc::clone(&ports.random) })
        });
        let gate = Arc::new(Gate::open(Parts {
            run: run_label(self.state.beginning()),
            job: self.labels.get(job)?.clone(),
            sink: Arc::clone(&ports.sink),
            clock: Arc::clone(&ports.clock),
            requester: if step.stream && !silent { self.requester.clone() } else { None },
            pipeline: Arc::clone(&self.installed.bound.pipeline),
            executor: step.executor,
            on_progress: on_progress.flatten(),
        }));
        let cancel = CancelSignal::new();
        let channel = Arc::clone(&gate) as Arc<dyn crate::model::port::JobChannel>;
        let attempt = Attempt { deadline: active.deadline, cancel: cancel.clone(), channel };
        let (stack, subject) = (self.installed.stack(&active.job.flow, active.step), Arc::clone(&active.job));
        let (activity, own_gate) = (ports.activity.clone(), Arc::clone(&gate));
        let future = async move {
            let _busy = activity.enter();
            let number = subject.attempt;
            // An executor may panic before it gives a future, too.
            let call = async { stack.call(&*executor, subject, attempt).await };
            let result = AssertUnwindSafe(call).catch_unwind().await;
            let result =
                result.unwrap_or_else(|_| Err(Failure::new(FailureKind::Bug, "the executor panicked; see the log").with_code("panic")));
            let (emissions, progressed) = own_gate.shut();
            Input::AttemptEnded { job, attempt: number, result, emissions, progressed }
        };
        Some(Work { job, gate: Some(gate), cancel, future: future.boxed() })
    }

    /// Waits for whatever comes first: a cancel, the end of some work, or something that is due. The run rests meanwhile.
    async fn wait(&mut self, busy: &mut Busy) -> Input {
        let mut sleep = None;
        // Most attempts of small steps are done when they are first polled, and need none of the rest.
        let ready = std::future::poll_fn(|context| Poll::Ready(self.poll_wait(context, &mut sleep))).await;
        match ready {
            Poll::Ready(input) => input,
            Poll::Pending => busy.rest(std::future::poll_fn(|context| self.poll_wait(context, &mut sleep))).await,
        }
    }

    fn poll_wait(&mut self, context: &mut Context<'_>, sleep: &mut Option<(Timestamp, Sleep)>) -> Poll<Input> {
        if !self.heard && self.control.signal.is_cancelled() {
            return Poll::Ready(self.hear());
        }
        for index in 0..self.works.len() {
            if let Poll::Ready(input) = self.works[index].future.as_mut().poll(context) {
                self.works.swap_remove(index);
                return Poll::Ready(input);
            }
        }
        if !self.heard {
            let signal = &self.control.signal;
            let cancelled = self.cancelled.get_or_insert_with(|| Box::pin(signal.clone().cancelled_owned()));
            if cancelled.as_mut().poll(context).is_ready() {
                return Poll::Ready(self.hear());
            }
        }
        let Some(due) = self.state.next_due() else { return Poll::Pending };
        let (_, sleep) = match sleep {
            Some(known) if known.0 == due => known,
            _ => sleep.insert((due, self.shared.ports.clock.sleep_until(due))),
        };
        std::task::ready!(sleep.as_mut().poll(context));
        Poll::Ready(Input::Tick)
    }

    fn hear(&mut self) -> Input {
        self.heard = true;
        self.cancelled = None;
        Input::Cancel { reason: self.control.reason.get().copied().unwrap_or(CancelReason::Requested) }
    }

    /// The store does not take the run's facts any more: nothing may follow from them, so the run stops where it is. The end of what the
    /// store has of it is offered all the same, since that is what makes room.
    async fn give_up(mut self, first: u64, refused: &Refused) {
        self.works.clear();
        self.settle_all();
        let failure = Failure::new(FailureKind::Permanent, refused.error.to_string()).with_code("store");
        let outcome = RunOutcome::Failed { failure };
        let at = self.shared.ports.clock.now();
        let is_new = |job: JobId| refused.facts.iter().any(|fact| matches!(fact, Fact::JobDispatched { job: other, .. } if *other == job));
        let cancelled =
            |job| Fact::JobEnded { job, outcome: JobOutcome::Cancelled { reason: CancelReason::Shutdown }, events: Vec::new(), at };
        let mut facts: Vec<Fact> = self.labels.jobs().filter(|job| !is_new(*job)).map(cancelled).collect();
        facts.push(Fact::Ended { outcome: outcome.clone(), at });
        if first > 0 {
            let batch = Batch { run: self.state.beginning().run, first, facts: Arc::new(facts.clone()) };
            // Refused again, it is told all the same: that the job has ended is true.
            let _ = self.shared.ports.store.commit(batch).await;
        }
        for fact in &facts[..facts.len() - 1] {
            self.tell(self.labels.tell(fact, &self.state, true));
        }
        self.end(outcome);
    }

    /// Nobody waits for what this run will not do any more.
    fn settle_all(&mut self) {
        let now = self.shared.ports.clock.now();
        for (job, claim) in std::mem::take(&mut self.claims) {
            self.shared.flights.settle(job, &claim, &JobOutcome::Cancelled { reason: CancelReason::Shutdown }, now);
        }
    }

    fn end(self, outcome: RunOutcome) {
        let beginning = self.state.beginning();
        let now = self.shared.ports.clock.now();
        if self.shared.ports.sink.wants_routine() || outcome != RunOutcome::Succeeded {
            self.tell(Some(What::RunEnded { outcome: outcome.clone(), elapsed: now.since(beginning.at) }));
        }
        self.shared.left(beginning);
        if let Some(requester) = &self.requester {
            requester.end(&RunEnd { run: beginning.run, outcome, degraded: self.state.is_degraded() });
        }
    }
}
