//! How often events were refused: kept beside the outbox, so that one which nobody takes is found out across starts too.
//!
//! Refused was counting in the entry itself: what is written anew goes to the end of its room, and would come behind those that have to follow it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::engine::keeping::{read, written};
use crate::model::id::{EventId, IdMap};
use crate::model::record::{Kept, Room, Write};
use crate::model::time::Timestamp;
use crate::model::value::{Tree, Value};

use super::entry::Entry;

/// So long at most a count outlives its entry, whose end it goes with if nothing comes between.
const KEPT_FOR: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The counts of those that were refused at least once: no more than there are entries in memory.
#[derive(Default)]
pub(super) struct Tries(Mutex<IdMap<EventId, u32>>);

impl Tries {
    /// Takes note of what a store has.
    pub(super) fn load(&self, kept: &[Kept]) {
        let known = |kept: &Kept| {
            let event = serde_json::from_value(serde_json::Value::String(kept.key.clone())).ok()?;
            Some((event, read::<u32>(&kept.value, "tries")?))
        };
        self.lock().extend(kept.iter().filter_map(known));
    }

    /// It was refused once more. Returns how often in all, and what keeps that.
    pub(super) fn refused(&self, entry: &Entry, now: Timestamp) -> (u32, Write) {
        let mut counts = self.lock();
        let count = counts.entry(entry.event.id).or_default();
        *count = count.saturating_add(1);
        let (owner, key) = name(entry);
        let value = Value::from(Tree::Map([("tries".to_owned(), written(&*count))].into_iter().collect()));
        (*count, Write::Keep(Kept { room: Room::Try, owner, key, value, until: Some(now + KEPT_FOR) }))
    }

    /// It is over. Returns what forgets its count, if there is one.
    pub(super) fn over(&self, entry: &Entry) -> Option<Write> {
        self.lock().remove(&entry.event.id)?;
        let (owner, key) = name(entry);
        Some(Write::Forget { room: Room::Try, owner, key: Some(key) })
    }

    fn lock(&self) -> MutexGuard<'_, IdMap<EventId, u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn name(entry: &Entry) -> (String, String) {
    (entry.event.source.to_string(), entry.event.id.to_string())
}
