//! From what the engine gives to what stands in rows. Done by whoever gives it, so that the thread that writes only writes.

use std::sync::Arc;

use serde::Serialize;

use crate::model::bundle::Bundle;
use crate::model::event::Event;
use crate::model::id::{Digest, EventId, RunId};
use crate::model::port::StoreError;
use crate::model::record::{Batch, Beginning, Fact, Kept, Room, Write};
use crate::model::size::{self, MOST_TOGETHER};
use crate::model::time::Timestamp;

use super::payload::Content;
use super::seal::Sealer;

/// The most that one fact or one kept value may take, in bytes of JSON.
pub(super) const MOST: u64 = size::MOST;

/// Room for a fact to begin with, in bytes: most take less, but for the first of a run.
const ROOM: usize = 192;

/// A batch as its rows.
pub(super) struct Append {
    pub(super) run: RunId,
    pub(super) first: u64,
    pub(super) count: u64,
    pub(super) due: Option<Timestamp>,
    pub(super) facts: Content<String>,
    /// The digest of the facts.
    pub(super) digest: Digest,
    pub(super) changes: Changes,
    pub(super) events: Vec<Emitted>,
    pub(super) writes: Vec<Change>,
}

/// What a batch changes of what is known of its run.
#[derive(Default)]
pub(super) struct Changes {
    /// It was admitted or began.
    pub(super) began: Option<Arc<Beginning>>,
    /// It ended, as what; or what seemed its end was none.
    pub(super) ended: Option<Option<(Timestamp, &'static str)>>,
    /// It belongs to another revision.
    pub(super) revision: Option<Digest>,
    /// What it sent on its way.
    pub(super) dispatched: Vec<RunId>,
}

/// An event that has to reach everybody who hears it.
pub(super) struct Emitted {
    pub(super) event: EventId,
    pub(super) time: Timestamp,
    pub(super) data: Content<String>,
}

/// What is kept or forgotten.
pub(super) enum Change {
    Keep { room: Room, owner: String, key: String, value: Content<String>, until: Option<Timestamp> },
    Forget { room: Room, owner: String, key: Option<String> },
    Bundle(Arc<Bundle>, Vec<Content<Arc<[u8]>>>),
    Emit(Emitted),
}

impl Append {
    /// The rows of a batch.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`] if one value takes more than [`MOST`], or all facts more than [`MOST_TOGETHER`].
    pub(super) fn new(batch: &Batch, sealer: &Sealer) -> Result<Self, StoreError> {
        let facts = sealer.write_list(&batch.facts, ROOM * batch.facts.len(), |bytes, together| {
            fitting(bytes, MOST)?;
            fitting(together, MOST_TOGETHER)
        })?;
        let (mut changes, mut events) = (Changes::default(), Vec::new());
        for fact in &*batch.facts {
            changes.note(fact);
            if let Fact::Emitted { events: emitted, .. } | Fact::JobEnded { events: emitted, .. } = fact {
                for event in emitted {
                    events.push(Emitted::new(event, sealer)?);
                }
            }
        }
        let facts = Content::new(facts);
        let writes = changes_of(&batch.writes, sealer)?;
        let count = batch.facts.len() as u64;
        let digest = facts.digest();
        Ok(Self { run: batch.run, first: batch.first, count, due: batch.due, facts, digest, changes, events, writes })
    }

    /// The rows of facts that were written before as this text, with what is sealed in it; `None` if an event of them cannot be written.
    pub(super) fn again(run: RunId, first: u64, facts: &[Fact], text: String, due: Option<Timestamp>) -> Option<Self> {
        let (mut changes, mut events) = (Changes::default(), Vec::new());
        for fact in facts {
            changes.note(fact);
            if let Fact::Emitted { events: emitted, .. } | Fact::JobEnded { events: emitted, .. } = fact {
                for event in emitted {
                    let data = Content::new(serde_json::to_string(event).ok()?);
                    events.push(Emitted { event: event.id, time: event.time, data });
                }
            }
        }
        let count = facts.len() as u64;
        let facts = Content::new(text);
        Some(Self { run, first, count, due, digest: facts.digest(), facts, changes, events, writes: Vec::new() })
    }

    /// About how many bytes it takes.
    pub(super) fn bytes(&self) -> usize {
        let events: usize = self.events.iter().map(|event| event.data.len()).sum();
        self.facts.len() + events + bytes_of(&self.writes)
    }
}

impl Changes {
    fn note(&mut self, fact: &Fact) {
        match fact {
            Fact::Began(beginning) | Fact::Queued(beginning) => self.began = Some(Arc::clone(beginning)),
            Fact::Ended { outcome, at } => self.ended = Some(Some((*at, outcome.as_str()))),
            Fact::Resumed { .. } => self.ended = Some(None),
            Fact::Migrated { revision, .. } => self.revision = Some(*revision),
            Fact::Dispatched { run, .. } => self.dispatched.push(*run),
            _ => {}
        }
    }
}

impl Emitted {
    fn new(event: &Event, sealer: &Sealer) -> Result<Self, StoreError> {
        Ok(Self { event: event.id, time: event.time, data: Content::new(text(event, sealer)?) })
    }
}

/// What these writes change.
///
/// # Errors
/// [`StoreError::TooLarge`] if one value takes more than [`MOST`].
pub(super) fn changes_of(writes: &[Write], sealer: &Sealer) -> Result<Vec<Change>, StoreError> {
    // Most batches have none.
    if writes.is_empty() {
        return Ok(Vec::new());
    }
    let change = |write: &Write| {
        Ok(match write {
            Write::Keep(Kept { room, owner, key, value, until }) => Change::Keep {
                room: *room,
                owner: owner.clone(),
                key: key.clone(),
                value: Content::new(text(value, sealer)?),
                until: *until,
            },
            Write::Forget { room, owner, key } => Change::Forget { room: *room, owner: owner.clone(), key: key.clone() },
            Write::Bundle(bundle) => {
                let files = bundle.files.iter().map(|(_, content)| Content::new(Arc::clone(content))).collect();
                Change::Bundle(Arc::clone(bundle), files)
            }
            Write::Emit(event) => Change::Emit(Emitted::new(event, sealer)?),
        })
    };
    writes.iter().map(change).collect()
}

/// About how many bytes these changes take.
pub(super) fn bytes_of(changes: &[Change]) -> usize {
    let bytes = |change: &Change| match change {
        Change::Keep { value, .. } => value.len(),
        Change::Forget { .. } => 0,
        Change::Bundle(_, files) => files.iter().map(Content::len).sum(),
        Change::Emit(event) => event.data.len(),
    };
    changes.iter().map(bytes).sum()
}

fn text(what: &impl Serialize, sealer: &Sealer) -> Result<String, StoreError> {
    let text = sealer.write(what)?;
    fitting(text.len() as u64, MOST)?;
    Ok(text)
}

fn fitting(bytes: u64, most: u64) -> Result<(), StoreError> {
    if bytes > most { Err(StoreError::TooLarge { bytes, most }) } else { Ok(()) }
}

/// Nanoseconds as SQLite counts: what lies behind 2262 is its end.
pub(super) fn nanos(at: Timestamp) -> i64 {
    i64::try_from(at.as_nanos()).unwrap_or(i64::MAX)
}

/// The point in time that stands in a column.
pub(super) fn timestamp(nanos: i64) -> Timestamp {
    if nanos == i64::MAX { Timestamp::MAX } else { Timestamp::from_nanos(u64::try_from(nanos).unwrap_or_default()) }
}

#[cfg(test)]
mod tests;
