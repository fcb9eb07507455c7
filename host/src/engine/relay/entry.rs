//! An event in the outbox, and its form in the store.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::event::Event;
use crate::model::port::OutboxTable;
use crate::model::record::{Kept, Room, Write};
use crate::model::value::Value;

/// An event that everybody who hears it has to have.
pub struct Entry {
    /// The event.
    pub event: Arc<Event>,
    /// Whether it goes onto the global bus as well.
    pub exported: bool,
    /// Events of one key go out one after the other.
    pub order_key: Option<String>,
    /// Where it is kept.
    pub origin: Origin,
    /// Whether it was there before this host took it up, so that some may have it already.
    pub is_old: bool,
}

/// Where an event is kept until everybody has it.
pub enum Origin {
    /// In the host's own store.
    Store,
    /// In a user's database, in this place.
    Table(Arc<dyn OutboxTable>, i64),
}

/// What the store has of it.
#[derive(Serialize, Deserialize)]
struct Stored {
    event: Arc<Event>,
    exported: bool,
    order_key: Option<String>,
}

impl Entry {
    /// One that has just been emitted.
    pub const fn new(event: Arc<Event>, exported: bool, order_key: Option<String>) -> Self {
        Self { event, exported, order_key, origin: Origin::Store, is_old: false }
    }

    /// What keeps it.
    pub fn keep(&self) -> Write {
        let stored = Stored { event: Arc::clone(&self.event), exported: self.exported, order_key: self.order_key.clone() };
        // A map with text keys, of values that are JSON, is JSON.
        let text = serde_json::to_string(&stored).unwrap_or_default();
        let value = Value::from_text(text).unwrap_or_else(|_| Value::null());
        Write::Keep(Kept { room: Room::Outbox, owner: self.event.source.to_string(), key: self.event.id.to_string(), value, until: None })
    }

    /// What forgets it.
    pub(super) fn forget(&self) -> Write {
        Write::Forget { room: Room::Outbox, owner: self.event.source.to_string(), key: Some(self.event.id.to_string()) }
    }

    /// One that the store had from before.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub(super) fn of(kept: &Kept) -> Result<Self, String> {
        let stored: Stored = serde_json::from_str(kept.value.text()).map_err(|error| error.to_string())?;
        if stored.event.id.to_string() != kept.key || stored.event.source.as_str() != kept.owner {
            return Err("its event is another than its key says".to_owned());
        }
        Ok(Self { is_old: true, ..Self::new(stored.event, stored.exported, stored.order_key) })
    }

    /// Where it stands in line; `None` stands in none.
    pub(super) fn line(&self) -> Option<Line> {
        let place = match &self.origin {
            Origin::Store => String::new(),
            Origin::Table(table, _) => table.name().to_owned(),
        };
        Some(Line { place, source: self.event.source.as_str().to_owned(), key: self.order_key.clone()? })
    }

    /// About how many bytes it takes.
    pub(super) fn size(&self) -> usize {
        // What is emitted was written as text for the store.
        256 + self.event.data.text_if_known().map_or(256, str::len) + self.order_key.as_ref().map_or(0, String::len)
    }
}

/// The events of one key, of one pipeline, in one outbox.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Line {
    place: String,
    source: String,
    key: String,
}
