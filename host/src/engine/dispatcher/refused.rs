//! What becomes of a run whose facts the store did not take.
//!
//! What is too large is decided once more, so that the step which came to it fails and the run does what it does after a failed step. A store that is
//! broken, or another host's, ends the host: the run is left as it is recorded, and nobody hears of an end that nobody has recorded.

use std::sync::Arc;

use super::giving::Next;
use super::{Driver, Refused};
use crate::engine::run::{Input, Measure, RunState, too_large, unfolded};
use crate::model::activation::RunOutcome;
use crate::model::failure::{Failure, FailureKind};
use crate::model::id::JobId;
use crate::model::job::{CancelReason, JobOutcome};
use crate::model::port::StoreError;
use crate::model::record::{Batch, Fact};

impl Driver {
    /// Whether a run goes on whose facts, decided on that, were refused. If it does not, it is over for this host.
    pub(super) async fn goes_on(&mut self, first: u64, again: Next, mut refused: Refused) -> bool {
        // First the step fails that came to it; if the store does not take that either, the whole run does.
        let mut again = Some(again);
        for _ in 0..2 {
            self.take_back(&mut refused);
            let StoreError::TooLarge { bytes, .. } = refused.error else { break };
            if !self.is_as_recorded().await {
                self.leave_behind();
                return false;
            }
            let given = match again.take() {
                Some(next) => self.give_measuring(next, Some(Measure::default())),
                None => self.give_measuring(Next::Input(Input::Fail { failure: too_large(bytes) }), Some(Measure::default())),
            };
            match self.keep(given).await {
                Ok(()) => return true,
                Err(error) => refused = error,
            }
        }
        match &refused.error {
            StoreError::TooLarge { .. } => self.give_up(first, &refused).await,
            // Of memory there may be no more for this run, and its end is what makes room.
            StoreError::Full(_) if !self.is_stopping() => self.give_up(first, &refused).await,
            _ => self.leave_behind(),
        }
        false
    }

    /// Has the run stand again as it is recorded. Returns whether it does.
    async fn is_as_recorded(&mut self) -> bool {
        let Ok(facts) = self.shared.ports.store.facts(self.state.beginning().run).await else { return false };
        let (facts, count) = unfolded(facts);
        let flow = Arc::clone(self.state.shared_flow());
        let Some(state) = RunState::fold(&self.installed.bound.pipeline, &flow, &facts) else { return false };
        self.state = state.counting(count);
        self.labels.keep(&self.state);
        true
    }

    /// The store does not take the run's facts any more, whatever they are: nothing may follow from them, so the run stops where it is. The end of what
    /// the store has of it is offered all the same, since that is what makes room.
    async fn give_up(&mut self, first: u64, refused: &Refused) {
        self.settle_all();
        self.works.clear();
        let failure = Failure::new(FailureKind::Permanent, refused.error.to_string()).with_code("store");
        let outcome = RunOutcome::Failed { failure };
        let at = self.shared.ports.clock.now();
        let is_new = |job: JobId| refused.facts.iter().any(|fact| matches!(fact, Fact::JobDispatched { job: other, .. } if *other == job));
        let cancelled =
            |job| Fact::JobEnded { job, outcome: JobOutcome::Cancelled { reason: CancelReason::Shutdown }, events: Vec::new(), at };
        let mut facts: Vec<Fact> = self.labels.jobs().filter(|job| !is_new(*job)).map(cancelled).collect();
        facts.push(Fact::Ended { outcome: outcome.clone(), at });
        if first > 0 {
            let durable = self.state.flow().durable;
            let batch = Batch { durable, ..Batch::of(self.state.beginning().run, first, Arc::new(facts.clone())) };
            // Refused again, it is told all the same: that the job has ended is true.
            let _ = self.shared.ports.store.commit(batch).await;
        }
        for fact in &facts[..facts.len() - 1] {
            self.tell(self.labels.tell(fact, &self.state, true));
        }
        self.end(outcome);
    }
}
