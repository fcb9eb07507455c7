//! A run that only waits leaves its task, and comes back when an event, a cancel or its due time wakes it.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;

use super::{Running, Shared};
use crate::clock::Busy;
use crate::engine::control::Control;
use crate::engine::dispatcher::{Driver, Driving};
use crate::engine::installed::Installed;
use crate::engine::refusal::{forgotten, silent};
use crate::engine::resting::{Held, Stub};
use crate::engine::run::{RunState, unfolded};
use crate::engine::view::{RunStatus, RunView};
use crate::model::activation::{RunEnd, RunOutcome};
use crate::model::happening::What;
use crate::model::id::RunId;
use crate::model::record::beginning_of;
use crate::model::time::Timestamp;
use crate::model::value::Value;

/// A run for which something is due sooner stays in its task: to come back costs as much as a small step. In the host's own tests every run that
/// waits rests, so that whatever holds for waits is tried with rests.
pub const REST: Duration = if cfg!(test) { Duration::ZERO } else { Duration::from_secs(1) };

impl Shared {
    /// Takes a run out of its task, unless somebody has just reached it. From then on [`reach`](Self::reach) wakes it.
    pub(in crate::engine) fn lay_down(&self, run: RunId, due: Option<Timestamp>, control: &Control, held: Option<Box<Held>>) -> bool {
        let Some(shared) = self.weak.upgrade() else { return false };
        let mut runs = self.lock_runs();
        // Under the lock of the runs, so that whoever finds that the control is left finds the stub.
        let Some(Running { installed, door, since, .. }) = runs.get(&run).filter(|_| control.leave()) else { return false };
        let group = self.resting.group(installed, door, &format!("{}.{}", door.pipeline, door.flow));
        let stub = Stub { group, since: *since, due: due.unwrap_or(Timestamp::MAX), held };
        runs.remove(&run);
        let unwatched = self.resting.lay_down(run, stub);
        drop(runs);
        if unwatched {
            let busy = self.ports.activity.enter();
            self.tasks.spawn(shared.watch(busy));
        }
        self.ports.store.rest(run);
        true
    }

    /// By which a run under way is reached; one that rests is woken for it.
    pub(in crate::engine) fn reach(&self, run: RunId) -> Option<Arc<Control>> {
        let mut runs = self.lock_runs();
        if let Some(running) = runs.get(&run) {
            return Some(Arc::clone(&running.control));
        }
        let shared = self.weak.upgrade()?;
        let stub = self.resting.take(run)?;
        let control = Arc::new(Control::default());
        let group = &stub.group;
        let (installed, door) = (Arc::clone(&group.installed), group.door.clone());
        runs.insert(run, Running { installed, control: Arc::clone(&control), door, since: stub.since });
        drop(runs);
        // Counted from here, so that no clock takes the moment before its first turn for quiet.
        let busy = self.ports.activity.enter();
        self.tasks.spawn(shared.wake(run, stub, Arc::clone(&control), busy));
        Some(control)
    }

    /// Whether a run is under way, at rest or not.
    pub(super) fn is_under_way(&self, run: RunId) -> bool {
        let runs = self.lock_runs();
        runs.contains_key(&run) || self.resting.contains(run)
    }

    /// Whether no run is under way, at rest or not.
    pub(super) fn is_nobody_under_way(&self) -> bool {
        let runs = self.lock_runs();
        // What rested when the host was started rests on: nobody waits here for it.
        runs.is_empty() && !self.resting.map(|_, stub| stub.since >= self.made).contains(&true)
    }

    /// The views of those that rest.
    pub(super) fn resting_views(&self) -> Vec<(RunView, Option<Arc<Installed>>)> {
        self.resting.map(|run, stub| {
            let until = (stub.due != Timestamp::MAX).then_some(stub.due);
            let status = RunStatus::Waiting { events: Vec::new(), until };
            let view = RunView { run, target: stub.group.target.clone(), since: stub.since, status };
            (view, Some(Arc::clone(&stub.group.installed)))
        })
    }

    /// Has a run go on from what is recorded of it, as after a crash.
    pub(super) async fn wake(self: Arc<Self>, run: RunId, stub: Stub, control: Arc<Control>, busy: Busy) {
        let Stub { group, held, .. } = stub;
        let Held { requester, cell, cancel_keys } = held.map_or_else(Held::nothing, |held| *held);
        let facts = self.insist(|| self.ports.store.facts(run)).await.map(unfolded);
        let (facts, count) = match facts {
            Ok((facts, count)) => (Ok(facts), count),
            Err(error) => (Err(error), 0),
        };
        let beginning = match facts.as_deref() {
            Ok(facts) => beginning_of(facts).map(Arc::clone),
            Err(_) => None,
        };
        let pipeline = &group.installed.bound.pipeline;
        let flow = beginning.as_ref().and_then(|beginning| pipeline.flows.iter().find(|flow| flow.name == beginning.flow));
        let state = flow.and_then(|flow| RunState::fold(pipeline, flow, facts.as_deref().unwrap_or_default()));
        let state = state.map(|state| state.counting(count));
        let (Some(beginning), Some(state)) = (beginning, state) else {
            let is_recorded = facts.is_err();
            let failure = match facts {
                Err(error) => silent(&format!("run {run} waited and cannot go on before the next start"), &error),
                Ok(_) => forgotten(run),
            };
            self.tell(What::Stalled { reason: failure.to_string() });
            self.waits.stop_cancelling(run, &cancel_keys);
            self.waits.end(run);
            self.left(run);
            match requester {
                // It is recorded as waiting, and the next start finds it so.
                Some(requester) if is_recorded => requester.left(run),
                Some(requester) => {
                    requester.end(&RunEnd { run, outcome: RunOutcome::Failed { failure }, degraded: false, output: Value::null() });
                }
                None => {}
            }
            return;
        };
        let (shared, installed) = (Arc::clone(&self), Arc::clone(&group.installed));
        let driving = Driving { shared, installed, state, cell, requester: requester.clone(), control, cancel_keys };
        drop((facts, group));
        if AssertUnwindSafe(Driver::awake(driving).wake(busy)).catch_unwind().await.is_err() {
            self.broke_off(&beginning, requester.as_deref());
        }
    }

    /// Wakes each run when it is due, until none that rests ever is.
    async fn watch(self: Arc<Self>, mut busy: Busy) {
        while let Some(due) = self.resting.next_due() {
            let (stop, clock) = (&self.stop, &self.ports.clock);
            let over = busy.rest(async {
                tokio::select! {
                    biased;
                    () = stop.cancelled() => true,
                    () = self.resting.changed.notified() => false,
                    () = clock.sleep_until(due) => false,
                }
            });
            // Whoever stops the host wakes all.
            if over.await {
                return;
            }
            let now = clock.now();
            while let Some(run) = self.resting.pop_due(now) {
                self.reach(run);
            }
        }
    }
}

impl Held {
    pub(super) const fn nothing() -> Self {
        Self { requester: None, cell: None, cancel_keys: Vec::new() }
    }

    /// The same once more.
    pub(super) fn again(&self) -> Self {
        Self { requester: self.requester.clone(), cell: self.cell.clone(), cancel_keys: self.cancel_keys.clone() }
    }
}
