//! A real file: rows that stand or fall with what they tell of, and rows of other programs.

use std::sync::Arc;

use super::super::Access;
use super::*;
use crate::model::failure::FailureKind;
use crate::model::id::JobId;

struct Scene {
    folder: tempfile::TempDir,
    database: Database,
}

impl Scene {
    async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let database = Database::open(&folder.path().join("shop.db"), Access::Users).expect("it opens");
        database.execute("CREATE TABLE answers (id TEXT PRIMARY KEY, text TEXT)", &Value::null()).await.expect("it is made");
        Self { folder, database }
    }

    async fn answers(&self) -> Vec<String> {
        let rows = self.database.query("SELECT id FROM answers ORDER BY id", &Value::null()).await.expect("rows");
        rows.tree().as_list().unwrap_or_default().iter().filter_map(|row| Some(row.field("id")?.as_text()?.to_owned())).collect()
    }

    async fn waiting(&self, after: i64) -> Vec<OutboxRow> {
        self.database.waiting("shop".into(), after, 10).await.expect("it can be read")
    }

    async fn count(&self) -> i64 {
        let rows = self.database.query("SELECT count(*) AS rows FROM pipehost_outbox", &Value::null()).await.expect("rows");
        rows.tree().as_list().and_then(|rows| rows[0].field("rows")?.as_int()).expect("a number")
    }
}

fn outgoing(job: u128) -> Outgoing {
    let job = JobId::new(Uuid::from_u128(job));
    let event = Event {
        id: EventId::emitted_by(job),
        event_type: "Answered".into(),
        source: "shop".into(),
        time: Timestamp::from_nanos(1_795_269_619_954_695_032),
        correlation_id: CorrelationId::new(Uuid::from_u128(9)),
        causation: Causation::Job(job),
        scope: Scope::Named("trade".to_owned()),
        caller: Caller { id: Some("ada".to_owned()), roles: vec!["clerk".to_owned()] },
        passed: vec![("shop.main".to_owned(), 2)],
        data: Value::null(),
    };
    Outgoing { event, exported: true, order_key: Some("o1".to_owned()), data: Arc::new(|output| Ok(output.clone())) }
}

const INSERT: &str = "INSERT INTO answers VALUES (?1, 'yes')";

fn named(name: &str) -> Value {
    Value::from_text(format!("[\"{name}\"]")).expect("JSON")
}

#[tokio::test]
async fn the_row_and_its_event_are_there_together_and_the_event_is_what_it_was() {
    let scene = Scene::new().await;
    assert!(scene.waiting(0).await.is_empty(), "there is no table");
    let output = scene.database.execute_outgoing(INSERT, &named("one"), outgoing(1)).await.expect("it is written");
    assert_eq!(output.text(), r#"{"changed":1,"last_id":1}"#);
    let rows = scene.waiting(0).await;
    let [row] = rows.as_slice() else { panic!("one row: {rows:?}") };
    let read = row.event.as_ref().expect("it can be read");
    assert_eq!(read.event, outgoing(1).event(&output).expect("it fits"));
    assert_eq!((row.order_key.as_deref(), read.exported, read.is_timed), (Some("o1"), Some(true), true));
    assert!(scene.database.waiting("other".into(), 0, 10).await.expect("it can be read").is_empty(), "it is another pipeline's");
    assert!(scene.waiting(row.place).await.is_empty(), "nothing is behind it");
}

#[tokio::test]
async fn what_a_statement_returns_is_part_of_the_output() {
    let scene = Scene::new().await;
    let statement = "INSERT INTO answers VALUES (?1, 'yes') ON CONFLICT DO NOTHING RETURNING id, text";
    let output = scene.database.execute_outgoing(statement, &named("one"), outgoing(1)).await.expect("it is written");
    assert_eq!(output.text(), r#"{"changed":1,"last_id":1,"row":{"id":"one","text":"yes"}}"#);
    let again = scene.database.execute(statement, &named("one")).await.expect("it is there");
    assert_eq!(again.text(), r#"{"changed":0,"last_id":1,"row":null}"#);
}

#[tokio::test]
async fn what_fails_leaves_neither_and_the_rules_for_users_statements_hold_after_it() {
    let scene = Scene::new().await;
    scene.database.execute_outgoing(INSERT, &named("one"), outgoing(1)).await.expect("it is written");
    let twice = scene.database.execute_outgoing(INSERT, &named("one"), outgoing(2)).await.expect_err("it is there");
    assert_eq!(twice.kind, FailureKind::Conflict);
    let misfit = Outgoing { data: Arc::new(|_| Err(Failure::new(FailureKind::Invalid, "it does not fit"))), ..outgoing(3) };
    assert!(scene.database.execute_outgoing(INSERT, &named("two"), misfit).await.is_err());
    let ended = scene.database.execute_outgoing("INSERT OR ROLLBACK INTO answers VALUES (?1, 'yes')", &named("one"), outgoing(4)).await;
    assert!(ended.is_err());
    for statement in ["COMMIT", "ATTACH 'x.db' AS x", "PRAGMA journal_mode=DELETE"] {
        let refused = scene.database.execute_outgoing(statement, &Value::null(), outgoing(5)).await.expect_err("it is not allowed");
        assert_eq!(refused.kind, FailureKind::Denied, "{statement}");
        let refused = scene.database.execute(statement, &Value::null()).await.expect_err("it is not allowed");
        assert_eq!(refused.kind, FailureKind::Denied, "{statement}");
    }
    assert_eq!((scene.answers().await, scene.count().await), (vec!["one".to_owned()], 1));
    scene.database.execute_outgoing(INSERT, &named("two"), outgoing(6)).await.expect("it goes on");
}

#[tokio::test]
async fn an_attempt_that_is_made_again_finds_that_it_was_done() {
    let scene = Scene::new().await;
    let first = scene.database.execute_outgoing(INSERT, &named("one"), outgoing(1)).await.expect("it is written");
    scene.database.execute(INSERT, &named("other")).await.expect("it is written");
    let again = scene.database.execute_outgoing(INSERT, &named("one"), outgoing(1)).await.expect("it was done");
    assert_eq!(first, again);
    let place = scene.waiting(0).await[0].place;
    let now = Timestamp::EPOCH + OUTBOX_KEPT;
    scene.database.published(place, now).await.expect("it is marked");
    scene.database.execute_outgoing(INSERT, &named("one"), outgoing(1)).await.expect("it was done, and is known for a week");
    assert!(scene.waiting(0).await.is_empty());
    scene.database.execute_outgoing(INSERT, &named("two"), outgoing(2)).await.expect("it is written");
    let place = scene.waiting(0).await[0].place;
    scene.database.published(place, now + OUTBOX_KEPT + std::time::Duration::from_secs(1)).await.expect("it is marked");
    assert_eq!(scene.count().await, 1, "the one before it was kept long enough");
}

#[tokio::test]
async fn another_program_may_write_rows_and_what_is_no_event_says_why() {
    let scene = Scene::new().await;
    scene.database.execute_outgoing(INSERT, &named("one"), outgoing(1)).await.expect("it is written");
    let other = rusqlite::Connection::open(scene.folder.path().join("shop.db")).expect("it opens");
    let rows = "INSERT INTO pipehost_outbox (id, source, type, data, order_key) VALUES
        ('00000000-0000-0000-0000-000000000007', 'shop', 'Answered', '{\"a\":1}', 'o1'),
        ('seven', 'shop', 'Answered', '{}', NULL),
        ('00000000-0000-0000-0000-000000000008', 'shop', 'Answered', '{', NULL),
        ('00000000-0000-0000-0000-000000000009', 'shop', 'Answered', x'00ff', 'k')";
    other.execute_batch(rows).expect("it is written");
    let rows = scene.waiting(1).await;
    let plain = rows[0].event.as_ref().expect("it can be read");
    assert_eq!((plain.exported, plain.is_timed, plain.event.causation), (None, false, Causation::Outside));
    assert_eq!(plain.event.data.text(), r#"{"a":1}"#);
    let why: Vec<&String> = rows[1..].iter().map(|row| row.event.as_ref().expect_err("it cannot be read")).collect();
    assert_eq!(why[0], "`id` is \"seven\", which is no UUID");
    assert!(why[1].starts_with("`data` is no JSON"), "{}", why[1]);
    assert!(why[2].starts_with("`data` is no JSON"), "{}", why[2]);
    for row in &rows[1..] {
        scene.database.refused(row.place, "it is none".to_owned()).await.expect("it is marked");
    }
    assert_eq!(scene.waiting(0).await.len(), 2);
}
