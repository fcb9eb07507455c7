//! The place at the door and the task of a run that goes on.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, PoisonError};
use std::task::Poll;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::admitting::Queued;
use super::{Running, Shared, Ticket, cancel_keys_of, evaluate_key, limits, request_key};
use crate::engine::calls::Callee;
use crate::engine::control::Control;
use crate::engine::dispatcher::{Driver, Driving, TakenUp};
use crate::engine::door::{DoorKey, Guest, Limits};
use crate::engine::idempotency::{self, Fan};
use crate::engine::installed::Installed;
use crate::engine::recovery::{Revived, Waiting};
use crate::engine::run::{Claim, Extra, RunScope, RunState};
use crate::model::activation::{Patience, Requester};
use crate::model::event::Event;
use crate::model::id::{Digest, FlowName, JobId, RunId};
use crate::model::job::CancelReason;
use crate::model::port::StoreError;
use crate::model::record::{Beginning, Fact, InboxKey};
use crate::model::time::Timestamp;
use crate::model::value::Value;
use crate::plan::pipeline::{Concurrency, Flow};

/// So many pipelines that were made again are kept before those that no run needs any more are looked for.
const REMADE: usize = 64;

impl Resuming {
    /// What drives it, for who has it go on in another way.
    pub(super) fn into_driver(self) -> Box<Driver> {
        self.driver
    }

    /// What it holds of the tables of dedup and cache from now on.
    pub(in crate::engine) fn claims(&self) -> &[(JobId, Claim)] {
        self.driver.claims()
    }

    /// The same, which lets go of this once it has got so far.
    pub(in crate::engine) fn counted_by(mut self, taken_up: Option<TakenUp>) -> Self {
        self.driver.counted_by(taken_up);
        self
    }
}

/// A run that is about to go on.
pub struct Resuming {
    driver: Box<Driver>,
    publish: Vec<Fact>,
    beginning: Arc<Beginning>,
    requester: Option<Arc<dyn Requester>>,
}

impl Shared {
    /// Events up to now may have been taken before the host ended.
    pub(in crate::engine) fn recovering(&self, now: Timestamp) {
        let _first_time_counts = self.recovered.set(now);
    }

    /// Whether the flow took the event before the host ended.
    ///
    /// # Errors
    /// That is not known, and will not be.
    pub(super) async fn took_before(&self, key: InboxKey, event: &Event) -> Result<bool, StoreError> {
        match self.recovered.get() {
            Some(recovered) if event.time <= *recovered => {
                // Whoever brings it may rest meanwhile, and that would look as if no event were on its way: the host would end with it.
                let _busy = self.ports.activity.enter();
                self.insist(|| self.ports.store.has_taken(key.clone())).await
            }
            _ => Ok(false),
        }
    }

    /// Whether a run is under way.
    pub(in crate::engine) fn is_live(&self, run: RunId) -> bool {
        self.is_under_way(run)
    }

    /// A call will come back to that run.
    pub(in crate::engine) fn expect_rejoin(&self, run: RunId, callee: Arc<Callee>) {
        self.rejoins.lock().unwrap_or_else(PoisonError::into_inner).insert(run, callee);
    }

    /// Gives a run its place back, however full the line is: it had one.
    pub(in crate::engine) fn take_up(self: &Arc<Self>, revived: Revived, requester: Option<Arc<dyn Requester>>) -> Resuming {
        let Revived { installed, flow, state, facts, control } = revived;
        let beginning = Arc::clone(state.beginning());
        let now = self.ports.clock.now();
        let null = Value::null();
        let (key, cancel_keys, request) = {
            let scope = RunScope { run: &state, state: &null, now, random: &*self.ports.random, extra: Extra::default() };
            // They were keys when it began.
            let key = evaluate_key(flow.concurrency.key.as_ref(), &scope).ok().flatten();
            let request = request_key(&flow, &beginning, &scope).ok().flatten().filter(|_| beginning.part.is_none());
            (key, cancel_keys_of(&flow, &scope).unwrap_or_default(), request)
        };
        let (door, limits) = place_of(&beginning, &flow, key);
        let requester = match request {
            Some((key, retention)) => self.fan_again(&beginning, key, retention, requester, &facts),
            None => requester,
        };
        {
            let mut lines = self.lock_door();
            lines.resume(&door, limits, beginning.run);
            let (installed, control, since) = (Arc::clone(&installed), Arc::clone(&control), beginning.at);
            self.lock_runs().insert(beginning.run, Running { installed, control, door, since });
        }
        if self.waits.cancel_on(beginning.run, &cancel_keys) {
            control.cancel(CancelReason::Event);
        }
        let has_state = !installed.bound.pipeline.state.initial.is_empty();
        let cell = has_state.then(|| self.states.cell(&beginning.pipeline, beginning.state_key.as_deref()));
        let publish = Driver::to_publish(&state, &facts);
        let shared = Arc::clone(self);
        let driving = Driving { shared, installed, state, cell, requester: requester.clone(), control, cancel_keys };
        Resuming { driver: Driver::again(driving, &facts), publish, beginning, requester }
    }

    /// Repeats of the request that began a run join it again.
    fn fan_again(
        &self,
        beginning: &Beginning,
        key: Digest,
        retention: Duration,
        own: Option<Arc<dyn Requester>>,
        facts: &[Fact],
    ) -> Option<Arc<dyn Requester>> {
        let reply = facts.iter().find_map(|fact| match fact {
            Fact::Replied { reply } => Some(reply.clone()),
            _ => None,
        });
        let (repeats, clock) = (Arc::clone(&self.repeats), Arc::clone(&self.ports.clock));
        let request = (format!("{}.{}", beginning.pipeline, beginning.flow), key);
        let store = Arc::clone(&self.ports.store);
        let fan = Fan::new(idempotency::Parts { run: beginning.run, request, retention, own: own.clone(), reply, repeats, clock, store });
        match self.repeats.go_on(key, fan) {
            Some(fan) => Some(fan),
            // Nothing was started before the runs were taken up, so that this does not come to pass; the run goes on in any case.
            None => own,
        }
    }

    /// Nobody takes a run up by itself any more: the request that began it is not free until somebody has decided about the run.
    pub(in crate::engine) fn hold_request(&self, state: &RunState) {
        let beginning = state.beginning();
        if beginning.part.is_some() {
            return;
        }
        let null = Value::null();
        let now = self.ports.clock.now();
        let scope = RunScope { run: state, state: &null, now, random: &*self.ports.random, extra: Extra::default() };
        if let Ok(Some((key, _))) = request_key(state.flow(), beginning, &scope) {
            self.repeats.hold(key, beginning.run);
        }
    }

    /// Puts a run back into its line, which is filled once all are in theirs.
    pub(in crate::engine) fn put_in_line(&self, waiting: Waiting, requester: Option<Arc<dyn Requester>>) {
        let Waiting { installed, flow, beginning } = waiting;
        let state = RunState::new(Arc::clone(&installed.bound.pipeline), Arc::clone(&flow), Arc::clone(&beginning));
        let null = Value::null();
        let now = self.ports.clock.now();
        let scope = RunScope { run: &state, state: &null, now, random: &*self.ports.random, extra: Extra::default() };
        let key = evaluate_key(flow.concurrency.key.as_ref(), &scope).ok().flatten();
        let request = request_key(&flow, &beginning, &scope).ok().flatten().filter(|_| beginning.part.is_none());
        let cancel_keys = cancel_keys_of(&flow, &scope).unwrap_or_default();
        let (door, limits) = place_of(&beginning, &flow, key);
        let requester = match request {
            Some((key, retention)) => self.fan_again(&beginning, key, retention, requester, &[]),
            None => requester,
        };
        let run = beginning.run;
        let own_deadline = flow.deadline.filter(|_| beginning.part.is_none());
        let ticket = Box::new(Ticket {
            installed,
            flow,
            control: Arc::new(Control::default()),
            beginning,
            requester,
            door: door.clone(),
            limits,
            own_deadline,
            cancel_keys,
            idempotency: None,
            circles: None,
            started: None,
            waits: false,
            receipt: None,
            queued: Some(Queued::Kept),
            after_queue: true,
            copied: Vec::new(),
        });
        self.lock_door().wait_again(&door, limits, Guest { run, patience: Patience::AsDeclared, ticket });
    }

    /// Those who were put back into their lines and have a place now start.
    pub(in crate::engine) fn fill_places(&self) {
        let mut door = self.lock_door();
        let mut start = door.fill();
        self.register_all(&mut start);
        drop(door);
        for ticket in start {
            self.start(ticket);
        }
    }

    /// A pipeline that was made again.
    pub(in crate::engine) fn remade_of(&self, revision: Digest) -> Option<Arc<Installed>> {
        self.remade.lock().unwrap_or_else(PoisonError::into_inner).get(&revision).cloned()
    }

    /// Keeps a pipeline that was made again for all its runs.
    pub(in crate::engine) fn keep_remade(&self, revision: Digest, installed: Arc<Installed>) {
        let mut remade = self.remade.lock().unwrap_or_else(PoisonError::into_inner);
        if remade.len() >= REMADE {
            remade.retain(|_, installed| Arc::strong_count(installed) > 1);
        }
        remade.insert(revision, installed);
    }

    /// Has it go on.
    pub(in crate::engine) fn go_on(self: &Arc<Self>, resuming: Resuming) {
        self.tasks.spawn(Arc::clone(self).resumed(resuming));
    }

    /// The same for one that has nothing to do but rest: most of them rest at once, and a task for each would cost more than that.
    pub(in crate::engine) async fn lay_to_rest(self: &Arc<Self>, resuming: Resuming) {
        let mut task = Arc::clone(self).resumed(resuming);
        let rests = std::future::poll_fn(|context| Poll::Ready(task.as_mut().poll(context).is_ready())).await;
        if !rests {
            self.tasks.spawn(task);
        }
    }

    fn resumed(self: Arc<Self>, resuming: Resuming) -> BoxFuture<'static, ()> {
        let Resuming { driver, publish, beginning, requester } = resuming;
        let busy = self.ports.activity.enter();
        Box::pin(async move {
            if AssertUnwindSafe(driver.resume(publish, busy)).catch_unwind().await.is_err() {
                self.broke_off(&beginning, requester.as_deref());
            }
        })
    }
}

/// Where a run has its place at the door. Each step with `dispatch` has a line of its own.
fn place_of(beginning: &Beginning, flow: &Flow, key: Option<String>) -> (DoorKey, Limits) {
    let whole = DoorKey { pipeline: beginning.pipeline.clone(), flow: beginning.flow.clone(), key };
    let Some(part) = &beginning.part else { return (whole, limits(flow)) };
    let step = flow.block(part.block).first().map(|step| flow.step(*step).id.to_string()).unwrap_or_default();
    let Concurrency { max_concurrent, max_queue, when_full, .. } = Concurrency::default();
    let door = DoorKey { flow: FlowName::new(format!("{}.{step}", beginning.flow)), key: None, ..whole };
    (door, Limits { max_concurrent, max_queue, when_full })
}
