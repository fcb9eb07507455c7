//! Answers that come when the run that waited for them has ended: they are refused, and that stands in its history.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::Shared;
use crate::engine::waits::Place;
use crate::model::event::Event;
use crate::model::happening::What;
use crate::model::id::{EventId, RunId};
use crate::model::port::StoreError;
use crate::model::record::{Batch, Fact, RefusedAnswer, end_of};

/// So many are recorded of a run after its end, so that nobody can fill the store with answers; further ones are only told.
pub(in crate::engine) const MOST: usize = 64;

/// As what the run is added to, try by try: a store that keeps runs apart which are not durable knows it as one of the two.
const TRIES: [bool; 4] = [true, false, true, false];

impl Shared {
    /// Refuses an event that met a wait of a run which has ended. It is told once it is recorded, or cannot be; so is the receiver.
    pub(super) fn refuse_after_end(&self, place: Place, event: &Arc<Event>, reason: RefusedAnswer) -> oneshot::Receiver<()> {
        let (sender, told) = oneshot::channel();
        let Some(shared) = self.weak.upgrade() else { return told };
        let (event, busy) = (Arc::clone(event), self.ports.activity.enter());
        self.tasks.spawn(async move {
            shared.record_answer(place, &event, reason).await;
            shared.tell_refused(place.run, &event, reason);
            // Whoever brought it may be gone.
            let _ = sender.send(());
            drop(busy);
        });
        told
    }

    /// Adds it to the run's history. Whether that can be done changes nothing for whoever answered: the run may be forgotten, or the store full.
    async fn record_answer(&self, place: Place, event: &Arc<Event>, reason: RefusedAnswer) {
        let Place { run, lane, step } = place;
        let _turn = self.after_ends.lock().await;
        for durable in TRIES {
            let Ok(facts) = self.ports.store.facts(run).await else { return };
            if !has_room_for(&facts, event.id) {
                return;
            }
            let fact = Fact::AnswerRefused { lane, step, event: Arc::clone(event), reason };
            let batch = Batch { durable, ..Batch::of(run, facts.len() as u64, Arc::new(vec![fact])) };
            let Err(StoreError::OutOfOrder { .. }) = self.ports.store.commit(batch).await else { return };
        }
    }

    pub(super) fn tell_refused(&self, run: RunId, event: &Event, reason: RefusedAnswer) {
        self.tell(What::AnswerRefused { refused: event.clone(), waiting: run, reason: reason.as_str() });
    }
}

/// Whether a run with these facts gets one more for that event: it has ended, does not have it yet, and has not had too many.
fn has_room_for(facts: &[Fact], event: EventId) -> bool {
    let is_refused = |fact: &&Fact| matches!(fact, Fact::AnswerRefused { .. });
    let is_known = facts.iter().any(|fact| matches!(fact, Fact::AnswerRefused { event: known, .. } if known.id == event));
    end_of(facts).is_some() && !is_known && facts.iter().rev().take_while(is_refused).count() < MOST
}
