//! The place at the door and the task of a run that goes on.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;

use super::{Running, Shared, cancel_keys_of, evaluate_key, request_key};
use crate::engine::calls::Callee;
use crate::engine::dispatcher::{Driver, Driving};
use crate::engine::door::{DoorKey, Limits};
use crate::engine::idempotency::{self, Fan, Request};
use crate::engine::recovery::Revived;
use crate::engine::run::{Extra, RunScope};
use crate::model::activation::Requester;
use crate::model::event::Event;
use crate::model::id::{Digest, FlowName, RunId};
use crate::model::job::CancelReason;
use crate::model::record::{Beginning, Fact, InboxKey};
use crate::model::time::Timestamp;
use crate::model::value::Value;
use crate::plan::pipeline::Concurrency;

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
    pub(super) async fn took_before(&self, key: InboxKey, event: &Event) -> bool {
        match self.recovered.get() {
            Some(recovered) if event.time <= *recovered => self.ports.store.has_taken(key).await.unwrap_or(false),
            _ => false,
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
        let whole = DoorKey { pipeline: beginning.pipeline.clone(), flow: beginning.flow.clone(), key };
        let (door, concurrency) = match &beginning.part {
            None => (whole, &flow.concurrency),
            Some(part) => {
                let step = flow.block(part.block).first().map(|step| flow.step(*step).id.to_string()).unwrap_or_default();
                (DoorKey { flow: FlowName::new(format!("{}.{step}", beginning.flow)), key: None, ..whole }, &Concurrency::default())
            }
        };
        let limits =
            Limits { max_concurrent: concurrency.max_concurrent, max_queue: concurrency.max_queue, when_full: concurrency.when_full };
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
        match self.repeats.ask(key, fan, self.ports.clock.now()) {
            Request::First(fan) => Some(fan),
            // Nothing was started before the runs were taken up, so that this does not come to pass; the run goes on in any case.
            Request::Repeats(_) | Request::Refused(_) => own,
        }
    }

    /// Has it go on.
    pub(in crate::engine) fn go_on(self: &Arc<Self>, resuming: Resuming) {
        let shared = Arc::clone(self);
        let Resuming { driver, publish, beginning, requester } = resuming;
        let busy = self.ports.activity.enter();
        self.tasks.spawn(async move {
            if AssertUnwindSafe(driver.resume(publish, busy)).catch_unwind().await.is_err() {
                shared.broke_off(&beginning, requester.as_deref());
            }
        });
    }
}
