//! What outlives runs, read back when a host starts. What cannot be read hinders itself only, and is told.

use std::collections::HashMap;
use std::sync::Arc;

use super::Shared;
use crate::engine::dead_letters::DeadLetters;
use crate::engine::states::{Restored, Unfit};
use crate::engine::unreadable;
use crate::engine::waits::read_closed;
use crate::model::happening::{StateChange, What};
use crate::model::id::PipelineName;
use crate::model::port::{Page, StoreError, Unreadable};
use crate::model::record::{Kept, Room, Write};
use crate::plan::Bound;

impl Shared {
    /// Has what the store kept: dead letters, states of pipelines, results that answer duplicates and repeats, and waits that are over. To be called once,
    /// after the first plan is in force and before any run goes on. What is of no use any more is forgotten in the store.
    ///
    /// # Errors
    /// What is wrong with the store; then nothing may be started, since it would begin from a state that is not what was. What is wrong with one thing in
    /// it is no error.
    pub(in crate::engine) async fn restore(&self) -> Result<(), StoreError> {
        let store = &self.ports.store;
        let now = self.ports.clock.now();
        let letters = self.insist(|| store.first_kept(Room::DeadLetter, usize::MAX)).await?;
        self.dead_letters.load(&letters);
        self.tell_unreadable(Room::DeadLetter, &letters.unreadable);
        let mut writes = self.restore_states(letters.kept).await?;
        for room in [Room::Dedup, Room::Cache] {
            let Page { kept, unreadable } = self.insist(|| store.first_kept(room, usize::MAX)).await?;
            let broken = self.flights.restore(kept, now);
            self.tell_unreadable(room, &[unreadable, broken].concat());
        }
        let Page { kept, unreadable } = self.insist(|| store.first_kept(Room::Answer, usize::MAX)).await?;
        let (forgotten, broken) = self.repeats.restore(kept, now);
        let unreadable = [unreadable, broken].concat();
        self.repeats.refuse(&unreadable);
        self.tell_unreadable(Room::Answer, &unreadable);
        writes.extend(forgotten);
        let Page { kept, unreadable } = self.insist(|| store.first_kept(Room::Wait, usize::MAX)).await?;
        self.tell_unreadable(Room::Wait, &unreadable);
        for kept in kept {
            match read_closed(&kept) {
                Some(closed) => writes.extend(self.waits.restore_closed(closed, now)),
                None => writes.push(Write::Forget { room: kept.room, owner: kept.owner, key: Some(kept.key) }),
            }
        }
        if writes.is_empty() {
            return Ok(());
        }
        let write = || async {
            match store.write(writes.clone()).await {
                // What is of no use is so at the next start too, when there may be room to say so.
                Err(StoreError::Full(_)) => Ok(()),
                written => written,
            }
        };
        self.insist(write).await
    }

    /// Has the states that can be read; whoever needs one that cannot is refused, until somebody drops the dead letter that stands for it. Returns what is
    /// written of that.
    async fn restore_states(&self, letters: Vec<Kept>) -> Result<Vec<Write>, StoreError> {
        let bounds: HashMap<PipelineName, Arc<Bound>> =
            self.bounds().into_iter().map(|bound| (bound.pipeline.name.clone(), bound)).collect();
        let Page { kept, mut unreadable } = self.insist(|| self.ports.store.first_kept(Room::State, usize::MAX)).await?;
        let settings = |name: &PipelineName| bounds.get(name).map(|bound| &bound.pipeline.state);
        let Restored { forgotten: mut writes, unfit, unreadable: broken } = self.states.restore(kept, settings);
        for Unfit { key, version, after, failure } in unfit {
            self.tell(What::StateSet { key, version, change: StateChange::Dropped, after, because: Some(failure) });
        }
        unreadable.extend(broken);
        self.states.refuse(&unreadable);
        self.tell_unreadable(Room::State, &unreadable);
        let standing: Vec<String> = unreadable.iter().map(|state| unreadable::letter_of_state(&state.owner, &state.key)).collect();
        // Those of states that can be read again are over.
        for letter in letters.iter().filter_map(crate::engine::DeadLetter::read) {
            if letter.cause == unreadable::STATE && !standing.contains(&letter.key) {
                writes.extend(self.dead_letters.forget(&letter.owner, &letter.key));
            }
        }
        for (state, letter) in unreadable.iter().zip(standing) {
            if !self.dead_letters.has(&state.owner, &letter) {
                let failure = unreadable::failure(Room::State, state);
                writes.extend(self.dead_letters.add(&DeadLetters::of_state(state, failure, self.ports.clock.now())));
            }
        }
        self.tell_gone_letters();
        Ok(writes)
    }

    /// Tells of things in a room that cannot be read.
    fn tell_unreadable(&self, room: Room, all: &[Unreadable]) {
        for one in all {
            self.tell(What::Unreadable { failure: unreadable::failure(room, one) });
        }
    }
}
