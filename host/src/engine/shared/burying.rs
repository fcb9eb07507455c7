//! What becomes of an event whose run the store will never take, since its very first facts are too large: it is a dead letter. To tell it again with
//! each start would come to the same.

use std::time::Duration;

use super::Shared;
use super::admitting::settle;
use crate::engine::dead_letters::{DeadLetter, DeadLetters};
use crate::engine::refusal::refusal;
use crate::engine::telling::run_label;
use crate::model::activation::RunOutcome;
use crate::model::happening::{Happening, Unheard, What};
use crate::model::port::{Receipt, StoreError};
use crate::model::record::Beginning;

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
