//! Drives one run: carries out what its machine decides, waits for what comes, and ends it exactly once.
//!
//! A run is one task. Its attempts are polled in that task too, since a hop between threads costs more than a small step's work.

mod ahead;
mod attempts;
mod following;
mod giving;
mod leaving;
mod opening;
mod outboxing;
mod outgoing;
#[cfg(test)]
pub mod planted;
mod promises;
mod refused;

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::WaitForCancellationFutureOwned;

use crate::clock::Busy;
use crate::model::activation::{Requester, RunEnd, RunOutcome};
use crate::model::failure::{Failure, FailureKind};
use crate::model::happening::What;
use crate::model::id::{Digest, EventId, JobId};
use crate::model::job::{CancelReason, JobOutcome};
use crate::model::port::{Sleep, StoreError};
use crate::model::record::{Fact, LaneId, RefusedAnswer, StepNumber};
use crate::model::time::Timestamp;
use crate::model::value::Value;

use super::control::Control;
use super::dead_letters::{is_heard, unheard};
use super::flights::{self, Awaited, Claimed};
use super::installed::Installed;
use super::run::{Claim, Command, Input, RunState, Verdict};
use super::shared::Shared;
use super::states::StateCell;
use super::telling::Labels;
use super::work::Work;

mod publishing;
mod refreshing;
mod resting;
mod resuming;

use ahead::Gathered;
use giving::{Given, Next};
pub use opening::Opening;
use publishing::Listening;
use refused::After;
pub use resuming::TakenUp;

fn no_state() -> Failure {
    Failure::new(FailureKind::Bug, "the pipeline has no state").with_code("no_state")
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
    /// Whether events may meet it: its flow has a `wait` or a `cancel_on`.
    meets: bool,
    /// Made when the run first has to wait; most small runs never do.
    cancelled: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    works: Vec<Work>,
    claims: Vec<(JobId, Claim)>,
    /// Jobs whose `optimistic` stands in the state and is not settled.
    promised: Vec<JobId>,
    /// What asks the tables of dedup and cache while it is not known yet who holds what.
    postponed: Vec<Command>,
    /// The step whose fields are set before anything else is decided.
    setting: Option<(LaneId, StepNumber)>,
    labels: Labels,
    inputs: VecDeque<Input>,
    /// What was commanded is gone from here: room for what is commanded next.
    room: Vec<Command>,
    /// What the run went ahead of and the store has yet to be given.
    gathered: Gathered,
    /// Whether each decision is kept before the next, whatever that is.
    one_by_one: bool,
    /// How long it has waited for a store that takes time.
    waited: Duration,
    /// `emit` steps whose events are out, and that wait for what others make of them.
    answers: Vec<BoxFuture<'static, Input>>,
    /// Who brought the event that is being decided on, and why it is refused if nothing is recorded of it.
    asked: Option<(EventId, RefusedAnswer, oneshot::Sender<Option<RefusedAnswer>>)>,
    listening: Vec<Listening>,
    /// By which its `cancel_on` is found.
    cancel_keys: Vec<Digest>,
    /// Events that wait for room in a queue and that the run has left behind.
    behind: Option<JoinHandle<()>>,
    /// The calls that come back to the run which they started before the host ended.
    rejoining: Vec<JobId>,
    /// Jobs whose executor has written the event that their output becomes into an outbox of its own.
    outboxed: Vec<JobId>,
    /// Whether it left its task to rest: its waits stay open.
    rested: bool,
    /// Whether it was left where it is, since the host stops.
    left: bool,
    /// Held by one that was taken up when the host started, until it has got on.
    taken_up: Option<TakenUp>,
}

/// What a run needs to be driven.
pub struct Driving {
    /// What all runs share.
    pub shared: Arc<Shared>,
    /// What it is pinned to.
    pub installed: Arc<Installed>,
    /// Its state.
    pub state: RunState,
    /// The state of the pipeline that it sees.
    pub cell: Option<Arc<StateCell>>,
    /// Who hears of it.
    pub requester: Option<Arc<dyn Requester>>,
    /// By which others reach it.
    pub control: Arc<Control>,
    /// By which its `cancel_on` is found.
    pub cancel_keys: Vec<Digest>,
}

/// What the store did not take.
struct Refused {
    given: Box<Given>,
    error: StoreError,
}

/// However a run's task ends, those who wait for one of its jobs go on.
impl Drop for Driver {
    fn drop(&mut self) {
        self.settle_all();
        if !self.rested && !self.left {
            self.stop_listening();
        }
    }
}

impl Driver {
    /// A run that is about to begin. Boxed: its task is moved about until it runs, and this is most of it.
    pub fn new(driving: Driving) -> Box<Self> {
        let Driving { shared, installed, state, cell, requester, control, cancel_keys } = driving;
        let meets = installed.meets(&state.beginning().flow);
        Box::new(Self {
            shared,
            installed,
            state,
            cell,
            requester,
            control,
            heard: false,
            meets,
            cancelled: None,
            works: Vec::new(),
            claims: Vec::new(),
            promised: Vec::new(),
            postponed: Vec::new(),
            setting: None,
            labels: Labels::default(),
            inputs: VecDeque::new(),
            room: Vec::new(),
            gathered: Gathered::default(),
            one_by_one: false,
            waited: Duration::ZERO,
            answers: Vec::new(),
            asked: None,
            listening: Vec::new(),
            cancel_keys,
            behind: None,
            rejoining: Vec::new(),
            outboxed: Vec::new(),
            rested: false,
            left: false,
            taken_up: None,
        })
    }

    async fn go(mut self: Box<Self>, mut next: Next, mut busy: Busy) {
        loop {
            if self.leaves(&next) {
                if !self.gathered.is_empty() {
                    let gathered = self.give_gathered();
                    let _ = self.keep(gathered).await;
                }
                return self.leave_behind();
            }
            if let Some(given) = self.give(next) {
                match self.keep_or_go_on(given).await {
                    After::Next => {}
                    After::Again(again) => {
                        next = again;
                        continue;
                    }
                    After::Over => return,
                }
            }
            match self.next(&mut busy).await {
                Some(following) => next = following,
                None => return,
            }
        }
    }

    /// What the run decides on next; `None` once it has ended or rests.
    async fn next(&mut self, busy: &mut Busy) -> Option<Next> {
        if let Some(outcome) = self.state.ended().cloned() {
            self.end(outcome);
            return None;
        }
        if !self.postponed.is_empty() {
            // No longer than it takes to read what the last host left.
            busy.rest(self.shared.known.wait()).await;
            let postponed = std::mem::take(&mut self.postponed);
            self.obey(postponed);
        }
        if let Some((lane, step)) = self.setting.take() {
            // Before whatever waits: what is decided next builds on this.
            return Some(Next::Set(lane, step));
        }
        if !self.gathered.is_empty() && self.inputs.is_empty() {
            if let Some(input) = self.at_once().await {
                return Some(Next::Input(input));
            }
            let gathered = self.give_gathered();
            match self.keep_or_go_on(gathered).await {
                After::Next => {}
                After::Again(again) => return Some(again),
                After::Over => return None,
            }
        }
        match self.inputs.pop_front() {
            Some(input) => Some(Next::Input(input)),
            None if self.rest() => None,
            None => Some(Next::Input(self.wait(busy).await)),
        }
    }

    fn pipeline_state(&self) -> Value {
        self.cell
            .as_ref()
            .map_or_else(Value::null, |cell| cell.view(&self.installed.bound.pipeline.state, self.installed.bound.pipeline.revision))
    }

    fn obey(&mut self, mut commands: Vec<Command>) {
        for command in commands.drain(..) {
            self.carry_out(command);
        }
        self.room = commands;
    }

    /// The terminal event shuts the job's gate, before anybody can hear of it. Work that others wait for too goes on with one of them.
    fn leave(&mut self, fact: &Fact) {
        let (job, given_up) = match fact {
            Fact::JobEnded { job, outcome, .. } => (*job, flights::is_given_up(outcome)),
            Fact::FallbackBegan { job, failure, .. } => (*job, flights::is_own_deadline(failure)),
            Fact::Retrying { job, .. } => (*job, false),
            _ => return,
        };
        if given_up {
            self.hand_on(job);
        }
        self.works.retain(|work| work.job() != job);
    }

    /// Leaves a shared job's work to one of those who wait for it, if there is one; else it is given up.
    fn hand_on(&mut self, job: JobId) {
        let Some((_, claim)) = self.claims.iter().find(|(other, _)| *other == job) else { return };
        let work = self
            .works
            .iter()
            .position(|work| work.job() == job && work.is_attempt() && !work.is_bound())
            .map(|index| self.works.swap_remove(index));
        drop(self.shared.flights.hand_on(job, claim, work));
    }

    fn carry_out(&mut self, command: Command) {
        match command {
            Command::Claim { .. } | Command::TakeOver { .. } if !self.shared.known.are_all() => self.postponed.push(command),
            Command::Attempt { job } => self.start_attempt(job),
            Command::Claim { job, claim } => self.claim(job, *claim),
            Command::TakeOver { job } => self.take_over(job),
            // A run that never has to wait hears here that nobody wants it.
            Command::SetState { .. } | Command::GoOn if self.is_unheard() => {
                let cancel = self.hear();
                self.inputs.push_front(cancel);
            }
            Command::SetState { lane, step } => self.setting = Some((lane, step)),
            Command::GoOn => self.inputs.push_back(Input::Tick),
            // Done with the facts that it came with.
            Command::Outbox { .. } => {}
        }
    }

    fn claim(&mut self, job: JobId, claim: Claim) {
        if let Err(failure) = self.promise(job) {
            return self.inputs.push_back(Input::Claimed { job, verdict: Verdict::Refuse(failure) });
        }
        let claimed = self.shared.flights.claim(job, &claim, self.shared.ports.clock.now());
        let told = self.labels.get(job, &self.state).and_then(|label| claimed.told(label));
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
                let future = async move { ended.await.unwrap_or(Awaited::GivenUp).input(job) };
                self.works.push(Work::wait(job, future.boxed()));
                Verdict::Join(leader)
            }
        };
        if matches!(verdict, Verdict::Lead | Verdict::Join(_)) {
            self.claims.retain(|(other, _)| *other != job);
            self.claims.push((job, claim));
        }
        self.inputs.push_back(Input::Claimed { job, verdict });
    }

    /// The attempt that the job waited for is its own from now on.
    fn take_over(&mut self, job: JobId) {
        let handed = self.shared.flights.take_over(job);
        let (Some(mut work), Some(parts)) = (handed, self.parts(job, false)) else { return self.start_attempt(job) };
        self.tell(self.labels.get(job, &self.state).map(|job| What::Deduplicated { job, verdict: "take_over" }));
        work.adopt(job, 1, parts);
        self.works.push(work);
    }

    /// Waits for whatever comes first: a cancel, the end of some work, or something that is due. The run rests meanwhile.
    async fn wait(&mut self, busy: &mut Busy) -> Input {
        let mut sleep = None;
        // Most attempts of small steps are done when they are first polled, and need none of the rest.
        let ready = std::future::poll_fn(|context| Poll::Ready(self.poll_wait(context, &mut sleep))).await;
        match ready {
            Poll::Ready(input) => input,
            Poll::Pending => {
                self.stand();
                busy.rest(std::future::poll_fn(|context| self.poll_wait(context, &mut sleep))).await
            }
        }
    }

    fn poll_wait(&mut self, context: &mut Context<'_>, sleep: &mut Option<(Timestamp, Sleep)>) -> Poll<Input> {
        if self.is_unheard() {
            return Poll::Ready(self.hear());
        }
        if self.is_stopping() {
            return Poll::Ready(Input::Tick);
        }
        if self.meets
            && let Some(input) = self.next_letter(context)
        {
            return Poll::Ready(input);
        }
        for index in 0..self.answers.len() {
            if let Poll::Ready(input) = self.answers[index].as_mut().poll(context) {
                drop(self.answers.swap_remove(index));
                return Poll::Ready(input);
            }
        }
        for index in 0..self.works.len() {
            if let Poll::Ready(input) = self.works[index].poll(context) {
                let work = self.works.swap_remove(index);
                if work.is_outboxed() {
                    self.outboxed.push(work.job());
                }
                return Poll::Ready(input);
            }
        }
        // One that has heard that it is cancelled still hears that the host stops.
        let signal = if self.heard { &self.shared.stop } else { &self.control.signal };
        let cancelled = self.cancelled.get_or_insert_with(|| Box::pin(signal.clone().cancelled_owned()));
        if (!self.heard || self.state.flow().durable) && cancelled.as_mut().poll(context).is_ready() {
            return Poll::Ready(if self.heard { Input::Tick } else { self.hear() });
        }
        let Some(due) = self.state.next_due() else { return Poll::Pending };
        let (_, sleep) = match sleep {
            Some(known) if known.0 == due => known,
            _ => sleep.insert((due, self.shared.ports.clock.sleep_until(due))),
        };
        std::task::ready!(sleep.as_mut().poll(context));
        Poll::Ready(Input::Tick)
    }

    /// Whether it was cancelled and has not heard of it.
    fn is_unheard(&self) -> bool {
        !self.heard && self.control.signal.is_cancelled()
    }

    fn hear(&mut self) -> Input {
        self.heard = true;
        self.cancelled = None;
        Input::Cancel { reason: self.control.reason() }
    }

    /// Nobody waits for what this run will not do any more; an attempt that is under way goes on with one of those who wait.
    fn settle_all(&mut self) {
        // Of a run that is left where it is nothing is taken back.
        if !self.left {
            self.break_promises();
        }
        if self.claims.is_empty() {
            return;
        }
        let now = self.shared.ports.clock.now();
        for job in self.claims.iter().map(|(job, _)| *job).collect::<Vec<_>>() {
            self.hand_on(job);
        }
        for (job, claim) in std::mem::take(&mut self.claims) {
            self.shared.flights.settle(job, &claim, &JobOutcome::Cancelled { reason: CancelReason::Shutdown }, now);
        }
    }

    fn end(&mut self, outcome: RunOutcome) {
        self.stop_listening();
        let beginning = self.state.beginning();
        let now = self.shared.ports.clock.now();
        if self.shared.ports.sink.wants_routine() || outcome != RunOutcome::Succeeded {
            // Who keeps a result for repeats is always there; it is asked whether anybody waits.
            let is_unheard = !is_heard(self.requester.as_deref());
            let unheard = is_unheard.then(|| unheard(beginning, &outcome, self.state.flow().durable)).flatten();
            self.tell(Some(What::RunEnded { outcome: outcome.clone(), elapsed: now.since(beginning.at), unheard }));
        }
        if outcome != RunOutcome::Succeeded {
            self.shared.tell_gone_letters();
        }
        self.installed.learn(&beginning.flow, now.since(beginning.at).saturating_sub(self.waited), self.waited);
        self.shared.left(beginning.run);
        if let Some(requester) = &self.requester {
            requester.end(&RunEnd { run: beginning.run, outcome, degraded: self.state.is_degraded(), output: self.state.output() });
        }
    }
}
