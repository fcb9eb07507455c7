//! What outlives runs, read back when a host starts.

use std::collections::HashMap;
use std::sync::Arc;

use super::Shared;
use crate::engine::states::{Restored, Unfit};
use crate::engine::waits::read_closed;
use crate::model::happening::{StateChange, What};
use crate::model::id::PipelineName;
use crate::model::port::StoreError;
use crate::model::record::{Room, Write};
use crate::plan::Bound;

impl Shared {
    /// Has what the store kept: states of pipelines, results that answer duplicates and repeats, and waits that are over. To be called once, after the
    /// first plan is in force and before any run goes on. What is of no use any more is forgotten in the store.
    ///
    /// # Errors
    /// What is wrong with the store; then nothing may be started, since it would begin from a state that is not what was.
    pub(in crate::engine) async fn restore(&self) -> Result<(), StoreError> {
        let (store, now) = (&self.ports.store, self.ports.clock.now());
        let bounds: HashMap<PipelineName, Arc<Bound>> =
            self.bounds().into_iter().map(|bound| (bound.pipeline.name.clone(), bound)).collect();
        let states = store.kept(Room::State).await?;
        let Restored { mut forgotten, unfit } = self.states.restore(states, |name| bounds.get(name).map(|bound| &bound.pipeline.state));
        for Unfit { key, version, after, failure } in unfit {
            self.tell(What::StateSet { key, version, change: StateChange::Dropped, after, because: Some(failure) });
        }
        for room in [Room::Dedup, Room::Cache] {
            self.flights.restore(store.kept(room).await?, now);
        }
        forgotten.extend(self.repeats.restore(store.kept(Room::Answer).await?, now));
        for kept in store.kept(Room::Wait).await? {
            match read_closed(&kept) {
                Some(closed) => forgotten.extend(self.waits.restore_closed(closed, now)),
                None => forgotten.push(Write::Forget { room: kept.room, owner: kept.owner, key: Some(kept.key) }),
            }
        }
        if !forgotten.is_empty() {
            store.write(forgotten).await?;
        }
        Ok(())
    }
}
