//! Everything that a journal has, as lines of JSON: for people who look for something, and for other programs.

use std::fmt::Write as _;
use std::io;
use std::path::Path;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Error, Row};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::encode::timestamp;
use super::payload::{Payloads, Stored};
use super::rescue::Rescue;
use super::{FILE, connection, verify};
use crate::model::failure::Failure;
use crate::model::id::{Digest, RunId};
use crate::model::port::StoreError;
use crate::model::record::Fact;

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
/// Where the file cannot be read, the rest of the lines is what can still be read of it; returns what is left out then, or what its mark says
/// that there was and is not there.
///
/// # Errors
/// The journal cannot be opened, or a line not be written. What cannot be read of a run stands in its line as `unreadable`.
pub fn export(folder: &Path, line: &mut dyn FnMut(&str) -> io::Result<()>) -> Result<Option<String>, NotExported> {
    let path = folder.join(FILE);
    let refuse = |error: Error| NotExported::Store(connection::of(&path, &error));
    let behind = verify::behind(&path).map(|problem| problem.to_string());
    let file = connection::reader(&path).map_err(refuse)?;
    file.execute_batch("BEGIN").map_err(refuse)?;
    let payloads = Payloads::of(folder, false);
    let mut ended = None;
    let mut told = |text: &str| match line(text) {
        Ok(()) => true,
        Err(error) => {
            ended = Some(NotExported::Output(error));
            false
        }
    };
    let mut reached = Reached::default();
    let left_out = match lines(&file, &payloads, &mut reached, &mut told) {
        Ok(()) => behind,
        Err(error) => {
            let unreadable =
                |error: StoreError| NotExported::Store(connection::cannot_open(&path, &error.to_string(), "make room on this machine"));
            let rescue = Rescue::of(&path, &format!("the journal cannot be read to its end: {error}")).map_err(unreadable)?;
            rescue.read(|connection| lines(connection, &payloads, &mut reached, &mut told)).map_err(refuse)?;
            Some(rescue.left_out())
        }
    };
    ended.map_or(Ok(left_out), Err)
}

type Told<'t> = &'t mut dyn FnMut(&str) -> bool;

/// How far the lines have come, so that another file goes on there.
#[derive(Default)]
struct Reached {
    /// The last run of which there was a line.
    run: Option<[u8; 16]>,
    /// The place of the last value of which there was one.
    kept: Option<i64>,
}

/// Gives all lines that were not given yet, until nobody wants more.
fn lines(connection: &Connection, payloads: &Payloads, reached: &mut Reached, told: Told<'_>) -> Result<(), Error> {
    if runs(connection, payloads, &mut reached.run, told)? {
        kept(connection, payloads, &mut reached.kept, told)?;
    }
    Ok(())
}

/// The columns of a run that stand in its line, and how they are called there.
const COLUMNS: [&str; 10] = ["pipeline", "flow", "revision", "correlation_id", "parent", "event", "began", "ended", "outcome", "due"];

fn runs(connection: &Connection, payloads: &Payloads, reached: &mut Option<[u8; 16]>, told: Told<'_>) -> Result<bool, Error> {
    let mut statement = connection.prepare(
        "SELECT run, pipeline, flow, revision, correlation, parent, event, began, ended, outcome, due FROM runs WHERE run > ?1 ORDER BY run",
    )?;
    let mut rows = statement.query([reached.map_or_else(Vec::new, |run| run.to_vec())])?;
    while let Some(row) = rows.next()? {
        let bytes: [u8; 16] = row.get(0)?;
        let run = RunId::new(Uuid::from_bytes(bytes));
        let mut known = Map::new();
        known.insert("run".to_owned(), json!(run.to_string()));
        for (column, name) in (1..).zip(COLUMNS) {
            let value = value(row, column)?;
            if !value.is_null() {
                known.insert(name.to_owned(), value);
            }
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
        *reached = Some(bytes);
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
        let read = text.and_then(|text| as_now(&text));
        match read {
            Ok(more) => facts.extend(more),
            Err(why) => return Ok(Err(format!("the facts from number {first} on: {why}"))),
        }
    }
    Ok(Ok(facts))
}

/// Facts as this host writes them: earlier ones also wrote what is null, empty or nobody's. What is sealed stays so.
fn as_now(text: &str) -> Result<Vec<Box<RawValue>>, String> {
    let now = serde_json::from_str::<Vec<Fact>>(text).ok().and_then(|facts| facts.iter().map(|fact| to_raw_value(fact).ok()).collect());
    match now {
        Some(facts) => Ok(facts),
        // What this host does not understand is shown as it stands there.
        None => serde_json::from_str(text).map_err(|error| error.to_string()),
    }
}

fn kept(connection: &Connection, payloads: &Payloads, reached: &mut Option<i64>, told: Told<'_>) -> Result<bool, Error> {
    let mut statement =
        connection.prepare("SELECT room, owner, key, until, value, payload, position FROM kept WHERE position > ?1 ORDER BY position")?;
    let mut rows = statement.query([reached.unwrap_or(i64::MIN)])?;
    while let Some(row) = rows.next()? {
        let text = Stored::of(row, 4)?.text(payloads);
        let (name, value) = match text.and_then(|text| serde_json::from_str::<Value>(&text).map_err(|error| error.to_string())) {
            Ok(value) => ("value", value),
            Err(why) => ("unreadable", json!(why)),
        };
        let (room, owner, key): (String, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let mut known = json!({ "room": room, "owner": owner, "key": key, name: value });
        if let Some(until) = row.get::<_, Option<i64>>(3)? {
            known["until"] = json!(timestamp(until).to_string());
        }
        *reached = Some(row.get(6)?);
        if !told(&known.to_string()) {
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
        let fields = lines.iter().filter_map(Value::as_object).flat_map(Map::values);
        assert!(fields.into_iter().all(|field| !field.is_null()), "what has nothing to say is left out");
        assert_eq!((kept.len(), &kept[0]["owner"], &kept[0]["value"]), (5, &json!("p"), &json!("kept ".repeat(8))));
    }

    #[test]
    fn facts_of_earlier_hosts_are_given_as_this_one_writes_them_and_what_is_sealed_stays_so() {
        let old = r#"[{"fact":"step_done","lane":0,"step":1,"output":{"token":{"$sealed":"YQ=="},"none":null}},{"fact":"lane_opened","lane":0,"purpose":"main","block":0,"parent":null}]"#;
        let now: Vec<String> = as_now(old).expect("it is JSON").iter().map(|fact| fact.get().to_owned()).collect();
        let step = r#"{"fact":"step_done","step":1,"output":{"token":{"$sealed":"YQ=="},"none":null}}"#;
        assert_eq!(now, [step, r#"{"fact":"lane_opened","purpose":"main","block":0}"#]);
        let unknown = r#"{"fact":"of tomorrow","at":null}"#;
        assert_eq!(as_now(&format!("[{unknown}]")).expect("it is JSON")[0].get(), unknown);
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
