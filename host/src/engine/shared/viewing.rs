//! The runs that have not ended, as others see them.

use std::sync::Arc;

use super::{Running, Shared};
use crate::engine::installed::Installed;
use crate::engine::refusal::suspected;
use crate::engine::run::RunState;
use crate::engine::view::{RunStatus, RunView};
use crate::model::id::RunId;
use crate::model::port::Health;
use crate::model::record::{Fact, beginning_of};

/// What so many resting runs wait for is looked up for one view of all.
const LOOKED_UP: usize = 1_000;

impl Shared {
    /// Why a run that has not ended does not go on: it is stalled, or nothing goes on, since data may be lost. `None` if it goes on.
    pub(in crate::engine) fn why_stalled(&self, run: RunId) -> Option<String> {
        if self.stalled.contains(run) {
            return Some(self.stalled.why(run));
        }
        match self.ports.store.health() {
            Health::Suspect(why) => Some(suspected(&why)),
            Health::Good | Health::Full(_) | Health::Held(_) | Health::Broken(_) => None,
        }
    }

    /// The runs under way, at rest or not, the oldest first.
    pub(in crate::engine) fn under_way(&self) -> Vec<RunView> {
        let mut views: Vec<RunView> = self.seen().into_iter().map(|(view, _)| view).collect();
        views.sort_by_key(|view| (view.since, view.run));
        views
    }

    /// The same with those that wait at the door, and with what the resting ones wait for.
    pub(in crate::engine) async fn views(&self) -> Vec<RunView> {
        let mut seen = self.seen();
        let queued = self.lock_door().waiting(|ticket| {
            let (run, since) = (ticket.beginning.run, ticket.beginning.at);
            RunView { run, target: format!("{}.{}", ticket.beginning.pipeline, ticket.beginning.flow), since, status: RunStatus::Queued }
        });
        seen.extend(queued.into_iter().chain(self.stalled.views()).map(|view| (view, None)));
        seen.sort_by_key(|(view, _)| (view.since, view.run));
        let mut views = Vec::with_capacity(seen.len());
        let mut looked_up = 0;
        for (mut view, installed) in seen {
            if let Some(installed) = installed.filter(|_| looked_up < LOOKED_UP) {
                looked_up += 1;
                view.status = self.status_at_rest(&view, &installed).await;
            }
            views.push(view);
        }
        views
    }

    /// Where a resting run stands, read from its facts.
    async fn status_at_rest(&self, view: &RunView, installed: &Arc<Installed>) -> RunStatus {
        let facts = self.ports.store.facts(view.run).await.unwrap_or_default();
        folded(installed, &facts).map_or_else(|| view.status.clone(), |state| RunStatus::at_rest(&state))
    }

    /// Each with what it is pinned to, if it rests.
    fn seen(&self) -> Vec<(RunView, Option<Arc<Installed>>)> {
        let view = |(run, running): (&RunId, &Running)| {
            let target = format!("{}.{}", running.door.pipeline, running.door.flow);
            (RunView { run: *run, target, since: running.since, status: running.control.status() }, None)
        };
        let runs = self.lock_runs();
        let mut seen: Vec<_> = runs.iter().map(view).collect();
        seen.extend(self.resting_views());
        seen
    }
}

/// The fold of a run's facts, if the flow is there.
pub(super) fn folded(installed: &Arc<Installed>, facts: &[Fact]) -> Option<RunState> {
    let beginning = beginning_of(facts)?;
    let pipeline = &installed.bound.pipeline;
    let flow = pipeline.flows.iter().find(|flow| flow.name == beginning.flow)?;
    RunState::fold(pipeline, flow, facts)
}
