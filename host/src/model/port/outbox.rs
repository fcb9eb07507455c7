//! Outboxes in users' own databases: an executor writes an event in the transaction of what it tells of, and the engine relays it from there.

use std::fmt;
use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::model::event::Event;
use crate::model::failure::Failure;
use crate::model::id::{EventId, PipelineName};
use crate::model::time::Timestamp;
use crate::model::value::Value;

/// The event that an attempt's output becomes, for an executor that can write it in its own transaction.
#[derive(Clone)]
pub struct Outgoing {
    /// The event without its data. Its id is that of the job, so that an attempt that is made again finds what the first one wrote.
    pub event: Event,
    /// Whether it goes onto the global bus as well.
    pub exported: bool,
    /// Events of one key go out one after the other.
    pub order_key: Option<String>,
    /// What the event says, made of the output.
    pub data: MakeData,
}

/// Makes an event's data of an output. Fails with `invalid` for what the event is not declared to be.
pub type MakeData = Arc<dyn Fn(&Value) -> Result<Value, Failure> + Send + Sync>;

impl Outgoing {
    /// The event that an output becomes.
    ///
    /// # Errors
    /// `invalid` if the output is not what the event is declared to be.
    pub fn event(&self, output: &Value) -> Result<Event, Failure> {
        Ok(Event { data: (self.data)(output)?, ..self.event.clone() })
    }
}

impl fmt::Debug for Outgoing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Outgoing").field("event", &self.event).finish_non_exhaustive()
    }
}

/// An outbox in a database. Each pipeline relays what it is the source of.
pub trait OutboxTable: Send + Sync {
    /// Where it is, for people; two of one name are the same.
    fn name(&self) -> &str;

    /// What waits there of this source behind a place, the first in front. Empty where there is no table.
    ///
    /// # Errors
    /// What is wrong with the database.
    fn waiting(&self, source: PipelineName, after: i64, most: usize) -> BoxFuture<'_, Result<Vec<OutboxRow>, Failure>>;

    /// Everybody has that one. It is kept for [`OUTBOX_KEPT`] and then deleted.
    ///
    /// # Errors
    /// What is wrong with the database.
    fn published(&self, place: i64, now: Timestamp) -> BoxFuture<'_, Result<(), Failure>>;

    /// That one can not be brought to a good end, and waits no more.
    ///
    /// # Errors
    /// What is wrong with the database.
    fn refused(&self, place: i64, why: String) -> BoxFuture<'_, Result<(), Failure>>;
}

/// So long a published event stays in its table: a step that is attempted again finds there that it was done.
pub const OUTBOX_KEPT: std::time::Duration = std::time::Duration::from_hours(7 * 24);

/// One event in an outbox's table.
#[derive(Clone, PartialEq, Debug)]
pub struct OutboxRow {
    /// Its place in the table, ascending.
    pub place: i64,
    /// Its id as it stands there, for people.
    pub id: String,
    /// What it says, or why it cannot be read.
    pub event: Result<OutboxEvent, String>,
    /// Events of one key go out one after the other.
    pub order_key: Option<String>,
}

/// An event as it stands in a table. What another program left out is what the pipeline declares.
#[derive(Clone, PartialEq, Debug)]
pub struct OutboxEvent {
    /// Its id.
    pub id: EventId,
    /// What it is. `scope` and `time` count only where they are given.
    pub event: Event,
    /// Whether `time` was given.
    pub is_timed: bool,
    /// Whether it goes onto the global bus as well; `None` leaves its bus and that to the pipeline.
    pub exported: Option<bool>,
}
