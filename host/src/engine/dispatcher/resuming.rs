//! A run that goes on after the host ended without goodbye.

use std::sync::Arc;

use tokio_util::task::task_tracker::TaskTrackerToken;

use super::giving::Next;
use super::{Driver, Driving};
use crate::clock::Busy;
use crate::engine::flights::Claimed;
use crate::engine::run::{Claim, Input, RunState, Surroundings, Verdict};
use crate::model::id::JobId;
use crate::model::job::CancelReason;
use crate::model::port::Activate;
use crate::model::record::Fact;

/// By which whoever has taken a run up hears that it has got on: it is dropped then, or with the run's task.
pub struct TakenUp {
    /// Whether to begin an attempt again is not to have got on yet.
    beyond_attempts: bool,
    _token: TaskTrackerToken,
}

impl TakenUp {
    /// Until it has recorded something.
    pub const fn until_recorded(token: TaskTrackerToken) -> Self {
        Self { beyond_attempts: false, _token: token }
    }

    /// Until it has recorded more than that it begins an attempt again.
    pub const fn until_further(token: TaskTrackerToken) -> Self {
        Self { beyond_attempts: true, _token: token }
    }

    fn is_over_with(&self, facts: &[Fact]) -> bool {
        !self.beyond_attempts || facts.iter().any(|fact| !matches!(fact, Fact::AttemptStarted { .. }))
    }
}

impl Driver {
    /// A run that is about to go on. From here on others find its waits and its shared jobs.
    pub fn again(driving: Driving, facts: &[Fact]) -> Box<Self> {
        let mut driver = Self::new(driving);
        driver.labels.learn(&driver.state, facts);
        driver.labels.keep(&driver.state);
        driver.rejoining = driver.state.calling();
        driver.hold_claims();
        for wait in driver.state.waits().cloned().collect::<Vec<_>>() {
            driver.listen(wait.lane, wait.step, &wait.matching);
        }
        driver
    }

    /// What its jobs hold of the tables of dedup and cache.
    pub fn claims(&self) -> &[(JobId, Claim)] {
        &self.claims
    }

    /// Lets go of this once it has got so far.
    pub fn counted_by(&mut self, taken_up: Option<TakenUp>) {
        self.taken_up = taken_up;
    }

    /// These facts are kept: whoever waits for as much hears it.
    pub(super) fn let_go(&mut self, facts: &[Fact]) {
        if self.taken_up.as_ref().is_some_and(|taken_up| taken_up.is_over_with(facts)) {
            self.taken_up = None;
        }
    }

    /// Drives it to its end. What these `emit` steps emitted may not have reached everybody.
    pub async fn resume(mut self: Box<Self>, publish: Vec<Fact>, busy: Busy) {
        self.promise_again();
        for fact in publish {
            if let Fact::Emitted { lane, step, events } = fact {
                self.publish_step(lane, step, &events).await;
            }
        }
        let first = self.resumed();
        self.go(Next::Input(first), busy).await;
    }

    /// How it goes on. One that nobody wants any more begins nothing again: what it had under way is given up, the runs that it had called too.
    fn resumed(&mut self) -> Input {
        if !self.is_unheard() || self.state.is_unwinding() {
            return Input::Resume;
        }
        for child in self.state.called().collect::<Vec<_>>() {
            drop(self.shared.rejoin(child));
            self.shared.cancel(child, CancelReason::Parent);
        }
        self.hear()
    }

    /// The `emit` steps of which it is not known what others made of their events.
    pub fn to_publish(state: &RunState, facts: &[Fact]) -> Vec<Fact> {
        let is_open = |fact: &&Fact| match fact {
            Fact::Emitted { lane, step, .. } => state.publishing().any(|open| (open.lane, open.step) == (*lane, *step)),
            _ => false,
        };
        // A step in a loop stands in another lane each time, so that the last one is the one.
        facts.iter().rev().filter(is_open).take(state.publishing().count()).cloned().collect()
    }

    /// The keys that its jobs under way had are theirs again; whoever came first has one that two had.
    fn hold_claims(&mut self) {
        let pipeline_state = self.pipeline_state();
        let now = self.shared.ports.clock.now();
        let random = Arc::clone(&self.shared.ports.random);
        let held = self.state.held(&Surroundings { now, random: &*random, state: &pipeline_state });
        for (job, claim) in held {
            if let Claimed::Answered(Verdict::Lead) = self.shared.flights.claim(job, &claim, now) {
                self.claims.push((job, claim));
            }
        }
    }
}
