//! An executor that writes the event of its output into its own database: a real file, and a host that ends at every point between that database and
//! the record.

use super::meeting::{World as Host, flow, plan, text, work};
use super::outbox::Noting;
use super::*;
use crate::executor::database::{Access, Database};
use crate::model::port::OutboxTable;
use crate::model::types::Type;
use crate::plan::pipeline::{EventMode, Outbox, Pipeline, Trigger, Verb};

/// Writes a row for each job of `main`, and does nothing for the others.
struct Writer {
    description: Description,
    database: Arc<Database>,
}

impl Executor for Writer {
    fn description(&self) -> &Description {
        &self.description
    }

    fn outboxes(&self) -> Vec<Arc<dyn OutboxTable>> {
        vec![Arc::clone(&self.database) as Arc<dyn OutboxTable>]
    }

    fn process(&self, job: Arc<Job>, attempt: Attempt) -> Processing<'_> {
        async move {
            let Some(outgoing) = attempt.channel.outgoing() else { return Ok(Value::null()) };
            assert_eq!(job.flow.as_str(), "main", "nobody else has an outbox");
            let output = self.database.execute_outgoing("INSERT INTO answers VALUES ('yes')", &Value::null(), outgoing).await?;
            attempt.channel.outboxed(Arc::clone(&self.database) as Arc<dyn OutboxTable>);
            Ok(output)
        }
        .boxed()
    }
}

fn writing() -> Pipeline {
    let mut pipeline = plan(vec![flow("main", vec![("save", work())]), flow("hears", vec![("work", work())])]);
    pipeline.events.insert("Done".into(), Type::Any);
    let [main, hears] = &mut pipeline.flows[..] else { panic!("there are two") };
    let main = Arc::get_mut(main).expect("nobody else has it");
    main.steps[0].outbox = Some(Outbox { order_key: Some(text("a")) });
    if let Verb::Run(run) = &mut main.steps[0].verb {
        run.emits = Some("Done".into());
    }
    let hears = Arc::get_mut(hears).expect("nobody else has it");
    hears.triggers = vec![Trigger::Event { types: vec!["Done".into()], mode: EventMode::Direct }];
    pipeline
}

struct Scene {
    _folder: tempfile::TempDir,
    database: Arc<Database>,
    pipeline: Arc<Pipeline>,
}

impl Scene {
    async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let database = Database::open(&folder.path().join("shop.db"), Access::Users).expect("it opens");
        database.execute("CREATE TABLE answers (text TEXT)", &Value::null()).await.expect("it is made");
        Self { _folder: folder, database: Arc::new(database), pipeline: Arc::new(writing()) }
    }

    fn host(&self, store: &Arc<Noting>, seed: u64) -> Host {
        let idle = scripted(|_, _| async { Ok(Value::null()) }.boxed());
        let host = Host::on(store.clone(), Arc::clone(&self.pipeline), &idle, seed);
        let writer = Writer { description: description(), database: Arc::clone(&self.database) };
        let executors = vec![Arc::new(writer) as Arc<dyn Executor>];
        host.engine.install(vec![Arc::new(Bound { pipeline: Arc::clone(&self.pipeline), executors })]);
        host
    }

    async fn count(&self, query: &str) -> i64 {
        let rows = self.database.query(query, &Value::null()).await.expect("rows");
        rows.tree().as_list().and_then(|rows| rows.first()?.field("rows")?.as_int()).expect("a number")
    }
}

#[tokio::test]
async fn wherever_the_host_ends_the_row_is_written_once_and_its_event_heard_once() {
    let (mut cuts, mut over) = (0, false);
    for kept in [false, true] {
        for cut in 1..40 {
            let scene = Scene::new().await;
            let lasting = Noting::lasting();
            let store = Noting::over(lasting.inner.clone(), Arc::clone(&lasting.notes), cut, kept);
            let first = scene.host(&store, 1);
            let lives = async {
                first.engine.recover().await.expect("the store is good");
                first.ask("main").await;
                first.clock.advance(Duration::from_secs(60)).await;
            };
            tokio::select! {
                () = store.over.notified() => over = false,
                () = lives => over = true,
            }
            drop(first);
            let second = scene.host(&lasting, 2);
            second.engine.recover().await.expect("the store is good");
            second.clock.advance(Duration::from_secs(60)).await;
            let cut = format!("cut after {cut}, kept: {kept}");
            let (rows, heard) = (scene.count("SELECT count(*) AS rows FROM answers").await, lasting.notes.taken("hears").len());
            assert!(rows <= 1, "{cut}: the statement ran {rows} times");
            assert_eq!(i64::try_from(heard).expect("few"), rows, "{cut}");
            assert!(second.engine.running().is_empty(), "{cut}");
            if rows == 1 {
                let waiting = scene.count("SELECT count(*) AS rows FROM pipehost_outbox WHERE published IS NULL").await;
                assert_eq!(waiting, 0, "{cut}: it is marked");
            }
            cuts += 1;
            if over {
                assert_eq!(rows, 1, "{cut}: nothing ended it");
                break;
            }
        }
    }
    assert!(over && cuts > 8, "only {cuts} cuts were tried");
}
