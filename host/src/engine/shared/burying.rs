//! What becomes of an event or a `dispatch` whose run the store will never take, since its very first facts are too large: it is a dead letter. To tell it
//! again with each start would come to the same.

use std::sync::Arc;
use std::time::Duration;

use super::Shared;
use super::admitting::settle;
use crate::engine::dead_letters::{DeadLetter, DeadLetters};
use crate::engine::refusal::{STORE_TOO_LARGE, refusal};
use crate::engine::telling::run_label;
use crate::model::activation::RunOutcome;
use crate::model::failure::Failure;
use crate::model::happening::{Happening, Unheard, What};
use crate::model::port::{Receipt, StoreError};
use crate::model::record::{Batch, Beginning, Fact, Part};
use crate::model::value::Value;

impl Shared {
    /// Takes note of what the store said to the first facts of an event's run. If it is that they are too large, the run is among the dead letters before
    /// the event counts as taken, unless its flow is not durable, and whoever watches hears of it. Returns whether it was that.
    pub(super) async fn bury(&self, beginning: &Beginning, is_durable: bool, receipt: Box<dyn Receipt>, error: &StoreError) -> bool {
        if !matches!(error, StoreError::TooLarge { .. }) {
            return false;
        }
        let (failure, now) = (refusal(error), self.ports.clock.now());
        let outcome = RunOutcome::Failed { failure: failure.clone() };
        let is_letter = is_durable && self.put_letter(DeadLetters::letter(beginning, outcome.as_str(), Some(failure), now)).await;
        if is_letter || !is_durable {
            settle(Some(receipt));
        }
        let unheard = is_letter.then_some(Unheard::DeadLetter);
        let what = What::RunEnded { outcome, elapsed: Duration::ZERO, unheard };
        self.ports.sink.accept(Happening { time: now, run: Some(run_label(beginning)), what });
        self.tell_gone_letters();
        true
    }

    /// The same for a `dispatch` of a durable flow: it is recorded as a run that failed, without what it was to do, and so it counts as begun. Returns
    /// whether it was that, and nobody else tells it.
    pub(super) async fn bury_part(&self, beginning: &Beginning, is_durable: bool, failure: &Failure) -> bool {
        let is_too_large = failure.code.as_deref() == Some(STORE_TOO_LARGE);
        let Some(part) = beginning.part.as_ref().filter(|_| is_too_large && is_durable) else { return false };
        let part = Part { block: part.block, input: Value::null(), outputs: Vec::new(), locals: Vec::new() };
        let rest = Beginning { part: Some(Arc::new(part)), event: None, input: Value::null(), trigger: Value::null(), ..beginning.clone() };
        let (beginning, at) = (Arc::new(rest), self.ports.clock.now());
        let outcome = RunOutcome::Failed { failure: failure.clone() };
        let facts = vec![Fact::Began(Arc::clone(&beginning)), Fact::Ended { outcome: outcome.clone(), at }];
        let writes = self.dead_letters.of_run(&beginning, &outcome, at);
        let is_letter = self.ports.store.commit(Batch { writes, ..Batch::of(beginning.run, 0, Arc::new(facts)) }).await.is_ok();
        if !is_letter {
            // It is sent on its way again with the next start, and comes to this again.
            drop(self.dead_letters.forget_run(&beginning));
        }
        let unheard = is_letter.then_some(Unheard::DeadLetter);
        let what = What::RunEnded { outcome, elapsed: Duration::ZERO, unheard };
        self.ports.sink.accept(Happening { time: at, run: Some(run_label(&beginning)), what });
        self.tell_gone_letters();
        true
    }

    /// Keeps it, and says whether that could be done: if not, the event is told again with the next start, and comes to this again.
    async fn put_letter(&self, mut letter: DeadLetter) -> bool {
        let mut written = self.ports.store.write(self.dead_letters.add(&letter)).await;
        if let Err(StoreError::TooLarge { .. }) = written {
            // Not even the event fits: that there was one is known all the same.
            letter.event = None;
            written = self.ports.store.write(self.dead_letters.add(&letter)).await;
        }
        if written.is_err() {
            drop(self.dead_letters.forget(&letter.owner, &letter.key));
        }
        written.is_ok()
    }
}

/// Whether this is all that is recorded of a `dispatch` that was too large: not what it was to do.
pub(super) fn is_without_its_part(facts: &[Fact]) -> bool {
    match facts {
        [Fact::Began(beginning), Fact::Ended { outcome, .. }] => {
            let code = outcome.failure().and_then(|failure| failure.code.as_deref());
            beginning.part.is_some() && code == Some(STORE_TOO_LARGE)
        }
        _ => false,
    }
}
