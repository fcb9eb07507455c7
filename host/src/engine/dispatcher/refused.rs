//! What becomes of a run whose facts the store did not take.
//!
//! What is too large is decided once more, so that the step which came to it fails and the run does what it does after a failed step. A store that is
//! broken, or another host's, ends the host: the run is left as it is recorded, and nobody hears of an end that nobody has recorded.

use std::sync::Arc;

use super::giving::{Changes, Given, Next};
use super::{Driver, Refused};
use crate::engine::refusal::stops;
use crate::engine::run::{Input, RunState, too_large, unfolded};
use crate::model::activation::RunOutcome;
use crate::model::id::JobId;
use crate::model::job::{CancelReason, JobOutcome};
use crate::model::port::StoreError;
use crate::model::record::{Batch, Fact};

/// How a run goes on once the store has answered.
pub(super) enum After {
    /// With what comes.
    Next,
    /// This is decided once more.
    Again(Next),
    /// Not here: it is over for this host.
    Over,
}

impl Driver {
    /// How a run goes on whose facts were refused.
    pub(super) async fn goes_on(&mut self, mut refused: Refused) -> After {
        if let StoreError::TooLarge { .. } = refused.error
            && let Some((alone, again)) = self.alone(&mut refused.given)
        {
            self.take_back(&mut refused);
            match self.keep(alone).await {
                Ok(()) => return self.once_more(again).await.map_or(After::Over, After::Again),
                Err(error) => refused = error,
            }
        }
        // First the step fails that came to it; if the store does not take that either, the whole run does.
        let mut again = refused.given.on.take();
        for _ in 0..2 {
            self.take_back(&mut refused);
            let StoreError::TooLarge { bytes, .. } = refused.error else { break };
            if !self.is_as_recorded().await {
                self.leave_behind();
                return After::Over;
            }
            let given = self.give_measuring(again.take().unwrap_or_else(|| Next::Input(Input::Fail { failure: too_large(bytes) })));
            match self.keep(given).await {
                Ok(()) => return After::Next,
                Err(error) => refused = error,
            }
        }
        let Refused { given, error } = refused;
        let Given { first, facts, .. } = *given;
        match error {
            StoreError::TooLarge { .. } => self.give_up(first, &facts, &error).await,
            // Of memory there may be no more for this run, and its end is what makes room.
            StoreError::Full(_) if !self.is_stopping() => self.give_up(first, &facts, &error).await,
            _ => self.leave_behind(),
        }
        After::Over
    }

    /// The first of several decisions, given to the store by itself, and what the one behind it was decided on; `None` if there is but one. From here
    /// on the run has each of them kept before the next, so that it is known which is too large.
    pub(super) fn alone(&mut self, given: &mut Given) -> Option<(Box<Given>, Next)> {
        let mut decisions = std::mem::take(&mut given.before).into_iter();
        let (alone, behind) = (decisions.next()?, decisions.next());
        let (again, count) = match behind {
            Some(behind) => (behind.on, behind.from),
            None => (given.on.take()?, given.own),
        };
        self.one_by_one = true;
        let facts = Arc::new(given.facts.get(..count)?.to_vec());
        let commit = self.commit(given.first, &facts, self.beside(&facts), &[]);
        let (first, on, before) = (given.first, Some(alone.on.clone()), vec![alone]);
        let alone = Given { first, own: facts.len(), facts, before, on, commands: Vec::new(), commit, changes: Changes::default() };
        Some((Box::new(alone), again))
    }

    /// What the run went ahead to has come to nothing: it stands again as it is recorded, and decides this anew. `None` if it is over for this host.
    pub(super) async fn once_more(&mut self, again: Next) -> Option<Next> {
        self.works.clear();
        if self.is_as_recorded().await {
            return Some(again);
        }
        self.leave_behind();
        None
    }

    /// Has the run stand again as it is recorded. Returns whether it does.
    async fn is_as_recorded(&mut self) -> bool {
        let Ok(facts) = self.shared.ports.store.facts(self.state.beginning().run).await else { return false };
        let (facts, count) = unfolded(facts);
        let flow = Arc::clone(self.state.shared_flow());
        let Some(state) = RunState::fold(&self.installed.bound.pipeline, &flow, &facts) else { return false };
        self.state = state.counting(count);
        // Of jobs that had ended further on nothing is known any more.
        self.labels.learn(&self.state, &facts);
        self.labels.keep(&self.state);
        true
    }

    /// The store does not take the run's facts any more, whatever they are: nothing may follow from them, so the run stops where it is. The end of what
    /// the store has of it is offered all the same, since that is what makes room.
    async fn give_up(&mut self, first: u64, refused: &[Fact], error: &StoreError) {
        self.settle_all();
        self.works.clear();
        let outcome = RunOutcome::Failed { failure: stops(error) };
        let at = self.shared.ports.clock.now();
        let is_new = |job: JobId| refused.iter().any(|fact| matches!(fact, Fact::JobDispatched { job: other, .. } if *other == job));
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
