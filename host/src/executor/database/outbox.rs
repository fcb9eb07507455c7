//! The outbox of a user's own database: the table `pipehost_outbox`, whose rows stand or fall with what they tell of.
//!
//! Other programs may write into it too: the columns `id`, `source`, `type` and `data` are needed, `order_key`, `time` and `correlation_id` may be
//! given, and the others are the host's.

use std::path::Path;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use rusqlite::{Connection, OptionalExtension};
use uuid::Uuid;

use super::connection::HostTransaction;
use super::session::{Cell, Session};
use super::{Database, execute, failure};
use crate::model::event::{Caller, Causation, Event, Scope};
use crate::model::failure::Failure;
use crate::model::id::{CorrelationId, EventId, EventType, PipelineName};
use crate::model::port::{OUTBOX_KEPT, OutboxEvent, OutboxRow, OutboxTable, Outgoing};
use crate::model::time::Timestamp;
use crate::model::value::Value;

/// Made when the first event is written.
const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS pipehost_outbox (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    source TEXT NOT NULL,
    type TEXT NOT NULL,
    data TEXT NOT NULL,
    order_key TEXT,
    time TEXT,
    correlation_id TEXT,
    causation TEXT,
    scope TEXT,
    exported INTEGER,
    caller TEXT,
    passed TEXT,
    output TEXT,
    published INTEGER,
    refused TEXT
);
CREATE INDEX IF NOT EXISTS pipehost_outbox_waiting ON pipehost_outbox (source, position) WHERE published IS NULL AND refused IS NULL;
CREATE INDEX IF NOT EXISTS pipehost_outbox_published ON pipehost_outbox (published) WHERE published IS NOT NULL;
";

/// So many rows at most are deleted with each that is published.
const SWEPT: i64 = 16;

impl Database {
    /// Writes with one statement, and the event that its result becomes into the outbox, in one transaction. An event that stands there already says
    /// that this was done before: then what it gave comes back, and nothing is done.
    ///
    /// # Errors
    /// As [`Database::execute`], and `invalid` if the result is not what the event is declared to be; then neither is written.
    pub async fn execute_outgoing(&self, statement: &str, parameters: &Value, outgoing: Outgoing) -> Result<Value, Failure> {
        let (statement, parameters) = (statement.to_owned(), parameters.clone());
        self.work(&self.writer, move |connection, path| {
            let mut transaction = HostTransaction::begin(connection, path)?;
            transaction.connection().execute_batch(SCHEMA).map_err(|error| failure::of(path, error))?;
            if let Some(output) = done_before(transaction.connection(), path, outgoing.event.id)? {
                return Ok(output);
            }
            let output = transaction.as_user(|connection, path| execute(connection, path, &statement, &parameters))?;
            let event = outgoing.event(&output)?;
            insert(&Session::new(transaction.connection(), path), &event, &outgoing, &output)?;
            transaction.commit()?;
            Ok(output)
        })
        .await
    }
}

fn done_before(connection: &Connection, path: &Path, id: EventId) -> Result<Option<Value>, Failure> {
    let query = "SELECT coalesce(output, 'null') FROM pipehost_outbox WHERE id = ?1";
    let output: Option<String> =
        connection.query_row(query, [id.to_string()], |row| row.get(0)).optional().map_err(|error| failure::of(path, error))?;
    Ok(output.map(|output| Value::from_text(output).unwrap_or_else(|_| Value::null())))
}

fn insert(session: &Session<'_>, event: &Event, outgoing: &Outgoing, output: &Value) -> Result<(), Failure> {
    let optional = |text: Option<String>| text.map_or(Cell::Null, Cell::Text);
    let cells = [
        Cell::text(event.id.to_string()),
        Cell::text(event.source.as_str()),
        Cell::text(event.event_type.as_str()),
        Cell::text(event.data.text()),
        optional(outgoing.order_key.clone()),
        optional(json(&event.time).map(|quoted| quoted.trim_matches('"').to_owned())),
        Cell::text(event.correlation_id.to_string()),
        optional(json(&event.causation)),
        optional(json(&event.scope)),
        Cell::Int(i64::from(outgoing.exported)),
        optional(json(&event.caller)),
        optional(json(&event.passed)),
        Cell::text(output.text()),
    ];
    let insert = "INSERT INTO pipehost_outbox
        (id, source, type, data, order_key, time, correlation_id, causation, scope, exported, caller, passed, output)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)";
    session.run(insert, &cells).map(|_| ())
}

fn json(value: &impl serde::Serialize) -> Option<String> {
    serde_json::to_string(value).ok()
}

impl OutboxTable for Database {
    fn name(&self) -> &str {
        &self.shown
    }

    fn waiting(&self, source: PipelineName, after: i64, most: usize) -> BoxFuture<'_, Result<Vec<OutboxRow>, Failure>> {
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        self.read(move |session| {
            if session.rows("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'pipehost_outbox'", &[])?.is_empty() {
                return Ok(Vec::new());
            }
            let query = "SELECT position, id, type, data, order_key, time, correlation_id, causation, scope, exported, caller, passed
                FROM pipehost_outbox
                WHERE source = ?1 AND position > ?2 AND published IS NULL AND refused IS NULL
                ORDER BY position LIMIT ?3";
            let rows = session.rows(query, &[Cell::text(source.as_str()), Cell::Int(after), Cell::Int(most)])?;
            Ok(rows.into_iter().map(|cells| row(&source, cells)).collect())
        })
        .boxed()
    }

    fn published(&self, place: i64, now: Timestamp) -> BoxFuture<'_, Result<(), Failure>> {
        self.work(&self.writer, move |connection, path| {
            let session = Session::new(connection, path);
            let milliseconds = |time: Timestamp| Cell::Int(i64::try_from(time.as_millis()).unwrap_or(i64::MAX));
            session.run("UPDATE pipehost_outbox SET published = ?2 WHERE position = ?1", &[Cell::Int(place), milliseconds(now)])?;
            let kept = u64::try_from(OUTBOX_KEPT.as_nanos()).unwrap_or(u64::MAX);
            let old = milliseconds(Timestamp::from_nanos(now.as_nanos().saturating_sub(kept)));
            let sweep = "DELETE FROM pipehost_outbox WHERE position IN
                (SELECT position FROM pipehost_outbox WHERE published IS NOT NULL AND published < ?1 LIMIT ?2)";
            session.run(sweep, &[old, Cell::Int(SWEPT)]).map(|_| ())
        })
        .boxed()
    }

    fn refused(&self, place: i64, why: String) -> BoxFuture<'_, Result<(), Failure>> {
        self.work(&self.writer, move |connection, path| {
            let statement = "UPDATE pipehost_outbox SET refused = ?2 WHERE position = ?1";
            Session::new(connection, path).run(statement, &[Cell::Int(place), Cell::Text(why)]).map(|_| ())
        })
        .boxed()
    }
}

/// What a row says. Whatever another program has written, it is a row: one that says nothing of use has the reason in its place.
fn row(source: &PipelineName, cells: Vec<Cell>) -> OutboxRow {
    let mut cells = cells.into_iter();
    let mut next = || cells.next().unwrap_or(Cell::Null);
    let place = next().as_int();
    let id = next().into_text();
    let (event_type, data, order_key) = (next().into_text(), next().into_text(), next().into_text());
    let (time, correlation, causation, scope) = (next().into_text(), next().into_text(), next().into_text(), next().into_text());
    let exported = match next() {
        Cell::Int(exported) => Some(exported != 0),
        _ => None,
    };
    let (caller, passed) = (next().into_text(), next().into_text());
    let read = || -> Result<OutboxEvent, String> {
        let uuid = |column: &str, text: &str| Uuid::parse_str(text).map_err(|_| format!("`{column}` is {text:?}, which is no UUID"));
        let event_id = EventId::new(uuid("id", &id)?);
        let correlation_id = if correlation.is_empty() { event_id.as_uuid() } else { uuid("correlation_id", &correlation)? };
        let is_timed = !time.is_empty();
        let time = if is_timed { from_json("time", &format!("\"{time}\""))? } else { Timestamp::EPOCH };
        let event = Event {
            id: event_id,
            event_type: EventType::new(event_type),
            source: source.clone(),
            time,
            correlation_id: CorrelationId::new(correlation_id),
            causation: if causation.is_empty() { Causation::Outside } else { from_json("causation", &causation)? },
            scope: if scope.is_empty() { Scope::Private(source.clone()) } else { from_json("scope", &scope)? },
            caller: if caller.is_empty() { Caller::default() } else { from_json("caller", &caller)? },
            passed: if passed.is_empty() { Vec::new() } else { from_json("passed", &passed)? },
            data: Value::from_text(data).map_err(|error| format!("`data` is no JSON: {error}"))?,
        };
        // Both or none: a bus without a word on exports would be half of what the pipeline declares.
        let exported = exported.filter(|_| !scope.is_empty());
        Ok(OutboxEvent { id: event_id, event, is_timed, exported })
    };
    let event = read();
    OutboxRow { place, id, event, order_key: Some(order_key).filter(|key| !key.is_empty()) }
}

fn from_json<T: serde::de::DeserializeOwned>(column: &str, text: &str) -> Result<T, String> {
    serde_json::from_str(text).map_err(|_| format!("`{column}` is {text}, which is none"))
}

#[cfg(test)]
mod tests;
