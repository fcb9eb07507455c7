//! What becomes of rows of runs, and that nobody else changes them.

use std::path::Path;

use super::*;
use crate::journal::sqlite::tests::workload::run;
use crate::journal::sqlite::{connection, schema, verify};

fn row() -> RunRow {
    let id = |number| Uuid::from_u128(number);
    RunRow {
        pipeline: Some(PipelineName::new("p")),
        flow: Some(FlowName::new("main")),
        revision: Some(Digest::of(b"p")),
        correlation: Some(CorrelationId::new(id(7))),
        parent: Some(RunId::new(id(8))),
        event: Some(EventId::new(id(9))),
        began: Some(10),
        ended: None,
        outcome: None,
        due: Some(11),
        epoch: 1,
        claims: 0,
    }
}

fn empty(folder: &Path) -> Connection {
    let path = folder.join("journal.db");
    let mut connection = connection::writer(&path, false).expect("it can be made");
    let payloads = crate::journal::sqlite::payload::Payloads::of(folder, false);
    schema::prepare(&mut connection, &path, &payloads).expect("it can be made");
    connection
}

/// The sum over the table as it is, each digest made by SQLite.
fn whole(connection: &Connection) -> Sum {
    let columns = verify::columns(connection, "runs").expect("it is there").join(", ");
    let mut statement = connection.prepare(&format!("SELECT digest, row_digest('runs', {columns}) FROM runs")).expect("it is there");
    let mut rows = statement.query([]).expect("it can be read");
    let mut sum = Sum::default();
    while let Some(row) = rows.next().expect("it can be read") {
        let digest = |column| row.get_ref(column).expect("there").as_blob().ok().and_then(RowDigest::from_bytes).expect("a digest");
        assert_eq!(digest(0), digest(1), "it is of all columns as they stand there");
        sum.add(digest(0));
    }
    sum
}

#[test]
fn each_change_is_written_and_counted() {
    let folder = tempfile::tempdir().expect("a folder");
    let connection = empty(folder.path());
    let mut runs = Runs::of(&connection);
    let mut bare = runs.add(run(1), RunRow { epoch: 1, ..RunRow::default() }).expect("added").expect("it is new");
    let mut entry = runs.add(run(2), row()).expect("added").expect("it is new");
    assert_eq!(runs.add(run(2), RunRow::default()).expect("looked at"), None, "one that is there stays as it is");
    let ended = RunRow { ended: Some(20), outcome: Some("failed".into()), ..row() };
    let all = RunRow { revision: Some(Digest::of(b"q")), began: Some(15), claims: 2, ..ended.clone() };
    let steps = [
        RunRow { due: None, ..row() },
        RunRow { due: Some(30), epoch: 2, claims: 1, ..row() },
        RunRow { due: Some(30), epoch: 2, claims: 2, ..row() },
        ended,
        RunRow { epoch: 3, ..row() },
        all.clone(),
        all,
    ];
    for to in steps {
        runs.change(run(2), &mut entry, to.clone()).expect("changed");
        assert_eq!(entry.row, to);
        assert_eq!(runs.find(run(2)).expect("read"), Some((entry.clone(), 0)));
        assert_eq!(runs.changed, whole(&connection), "{to:?}");
    }
    let begun = RunRow { began: Some(1), ..bare.row.clone() };
    runs.change(run(1), &mut bare, begun).expect("changed");
    assert_eq!(runs.changed, whole(&connection));
    for number in [2, 2, 9] {
        runs.remove(run(number).as_uuid().as_bytes()).expect("removed");
        assert_eq!((runs.changed, runs.changed.rows()), (whole(&connection), 1));
    }
    assert_eq!(runs.find(run(2)).expect("read"), None);
}

#[test]
fn a_row_that_another_program_has_changed_is_not_taken_for_what_it_ought_to_be() {
    let folder = tempfile::tempdir().expect("a folder");
    let connection = empty(folder.path());
    let mut runs = Runs::of(&connection);
    let mut entry = runs.add(run(1), row()).expect("added").expect("it is new");
    connection.execute_batch("UPDATE runs SET digest = zeroblob(16)").expect("changed");
    runs.change(run(1), &mut entry, RunRow { claims: 1, ..row() }).expect("changed");
    assert_eq!(runs.changed, whole(&connection), "what was counted in is what is counted out");
    connection.execute_batch("DELETE FROM runs").expect("deleted");
    let before = runs.changed;
    runs.change(run(1), &mut entry, RunRow { claims: 2, ..row() }).expect("nothing is there to be changed");
    assert_eq!((runs.changed, whole(&connection).rows()), (before, 0), "a row that vanished is missed");
}

#[test]
fn no_other_file_changes_the_table() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/journal/sqlite");
    let mut changing = Vec::new();
    for entry in std::fs::read_dir(folder).expect("it is there") {
        let path = entry.expect("it can be listed").path();
        if !path.is_file() || path.ends_with("tests.rs") {
            continue;
        }
        // Statements may go over several lines.
        let text = std::fs::read_to_string(&path).expect("it is text").split_whitespace().collect::<Vec<_>>().join(" ");
        let text = text.split("mod tests {").next().unwrap_or_default();
        let changes = ["INTO runs ", "UPDATE runs ", "DELETE FROM runs ", "UPDATE OR FAIL runs "].iter().any(|words| text.contains(words));
        if changes {
            changing.push(path.file_name().expect("it has a name").to_string_lossy().into_owned());
        }
    }
    changing.sort();
    // In `schema` they are moved from an older form, before anything is counted.
    assert_eq!(changing, ["runs_row.rs", "schema.rs"]);
}
