//! Everything that a journal has, as lines of JSON: for people who look for something, and for other programs.

use std::fmt::Write as _;
use std::io;
use std::path::Path;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Error, Row};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::encode::timestamp;
use super::payload::{Payloads, Stored};
use super::{FILE, connection};
use crate::model::failure::Failure;
use crate::model::id::{Digest, RunId};

/// Why an export ended early.
#[derive(Debug)]
pub enum NotExported {
    /// The journal cannot be read.
    Store(Failure),
    /// What is exported cannot be written.
    Output(io::Error),
}

impl From<io::Error> for NotExported {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

/// Gives a line for each run, in the order of their ids, which is the one in which they began, with all its facts, then one for each value that is kept. Secrets are in it as they
/// are in the journal: sealed. A host may write meanwhile; the lines say what stood there at one moment. Blocks.
///
/// # Errors
/// The journal cannot be read at all, or a line not be written. What cannot be read of a run stands in its line as `unreadable`.
pub fn export(folder: &Path, line: &mut dyn FnMut(&str) -> io::Result<()>) -> Result<(), NotExported> {
    let path = folder.join(FILE);
    let refuse = |error: Error| NotExported::Store(connection::of(&path, &error));
    let connection = connection::reader(&path).map_err(refuse)?;
    connection.execute_batch("BEGIN").map_err(refuse)?;
    let payloads = Payloads::of(folder, false);
    let mut failed = Ok(());
    let mut told = |text: &str| match line(text) {
        Ok(()) => true,
        Err(error) => {
            failed = Err(NotExported::Output(error));
            false
        }
    };
    let exported = runs(&connection, &payloads, &mut told)
        .and_then(|goes_on| if goes_on { kept(&connection, &payloads, &mut told) } else { Ok(true) });
    exported.map_err(refuse)?;
    failed
}

type Told<'t> = &'t mut dyn FnMut(&str) -> bool;

fn runs(connection: &Connection, payloads: &Payloads, told: Told<'_>) -> Result<bool, Error> {
    let mut statement = connection
        .prepare("SELECT run, pipeline, flow, revision, correlation, parent, event, began, ended, outcome, due FROM runs ORDER BY run")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let run = RunId::new(Uuid::from_bytes(row.get(0)?));
        let mut known = Map::new();
        known.insert("run".to_owned(), json!(run.to_string()));
        for (column, name) in
            (1..).zip(["pipeline", "flow", "revision", "correlation_id", "parent", "event", "began", "ended", "outcome", "due"])
        {
            known.insert(name.to_owned(), value(row, column)?);
        }
        let mut text = Value::Object(known).to_string();
        text.pop();
        match facts(connection, run, payloads)? {
            Ok(facts) => {
                text.push_str(",\"facts\":[");
                for (place, fact) in facts.iter().enumerate() {
                    if place > 0 {
                        text.push(',');
                    }
                    text.push_str(fact.get());
                }
                text.push(']');
            }
            Err(why) => {
                // Writing into a text does not fail.
                let _ = write!(text, ",\"unreadable\":{}", json!(why));
            }
        }
        text.push('}');
        if !told(&text) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The facts of a run as they are stored; why not, if they cannot be read.
fn facts(connection: &Connection, run: RunId, payloads: &Payloads) -> Result<Result<Vec<Box<RawValue>>, String>, Error> {
    let mut statement = connection.prepare_cached("SELECT first, facts, payload FROM journal WHERE run = ?1 ORDER BY first")?;
    let mut rows = statement.query([run.as_uuid().as_bytes()])?;
    let mut facts: Vec<Box<RawValue>> = Vec::new();
    while let Some(row) = rows.next()? {
        let first: i64 = row.get(0)?;
        if usize::try_from(first) != Ok(facts.len()) {
            return Ok(Err(format!("fact {} is not there", facts.len())));
        }
        let text = Stored::of(row, 1)?.text(payloads);
        let read = text.and_then(|text| serde_json::from_str::<Vec<Box<RawValue>>>(&text).map_err(|error| error.to_string()));
        match read {
            Ok(more) => facts.extend(more),
            Err(why) => return Ok(Err(format!("the facts from number {first} on: {why}"))),
        }
    }
    Ok(Ok(facts))
}

fn kept(connection: &Connection, payloads: &Payloads, told: Told<'_>) -> Result<bool, Error> {
    let mut statement = connection.prepare("SELECT room, owner, key, until, value, payload FROM kept ORDER BY position")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let text = Stored::of(row, 4)?.text(payloads);
        let (name, value) = match text.and_then(|text| serde_json::from_str::<Value>(&text).map_err(|error| error.to_string())) {
            Ok(value) => ("value", value),
            Err(why) => ("unreadable", json!(why)),
        };
        let (room, owner, key): (String, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let until = row.get::<_, Option<i64>>(3)?.map(|until| timestamp(until).to_string());
        if !told(&json!({ "room": room, "owner": owner, "key": key, "until": until, name: value }).to_string()) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A column as JSON: ids and times as text.
fn value(row: &Row<'_>, column: usize) -> Result<Value, Error> {
    Ok(match row.get_ref(column)? {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(nanos) => json!(timestamp(nanos).to_string()),
        ValueRef::Real(number) => json!(number),
        ValueRef::Text(text) => json!(String::from_utf8_lossy(text)),
        ValueRef::Blob(bytes) => match (Uuid::from_slice(bytes), <[u8; 32]>::try_from(bytes)) {
            (Ok(id), _) => json!(id.to_string()),
            (Err(_), Ok(digest)) => json!(Digest::from_bytes(digest).to_string()),
            _ => json!(""),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::sqlite::tests::workload::{fill, open};

    #[tokio::test]
    async fn every_run_comes_with_its_facts_and_everything_that_is_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = open(folder.path()).expect("it can be opened");
        fill(&store, 1..=6).await;
        let mut lines: Vec<Value> = Vec::new();
        let mut line = |text: &str| {
            lines.push(serde_json::from_str(text).expect("it is JSON"));
            Ok(())
        };
        export(folder.path(), &mut line).expect("it can be read while it is open");
        let runs: Vec<&Value> = lines.iter().filter(|line| line.get("run").is_some()).collect();
        assert_eq!(runs.len(), 6);
        let ended = runs.iter().find(|run| run["outcome"] == "succeeded").expect("some have ended");
        let facts: Vec<&str> = ended["facts"].as_array().expect("a list").iter().filter_map(|fact| fact["fact"].as_str()).collect();
        assert_eq!(facts, ["began", "step_done", "emitted", "dispatched", "ended"]);
        assert_eq!((&ended["pipeline"], &ended["began"]), (&json!("p"), &json!("1970-01-01T00:00:00.000Z")));
        let kept: Vec<&Value> = lines.iter().filter(|line| line.get("room").is_some()).collect();
        assert_eq!((kept.len(), &kept[0]["owner"], &kept[0]["value"]), (5, &json!("p"), &json!("kept ".repeat(8))));
    }

    #[tokio::test]
    async fn a_reader_that_has_seen_enough_ends_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = open(folder.path()).expect("it can be opened");
        fill(&store, 1..=6).await;
        let mut count = 0;
        let ended = export(folder.path(), &mut |_| {
            count += 1;
            if count == 3 { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(()) }
        });
        assert!(matches!(ended, Err(NotExported::Output(_))) && count == 3);
    }
}
