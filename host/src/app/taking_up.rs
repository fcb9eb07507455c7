//! What the last host left behind is taken up once: when the first files are in force, and before anything is started.

use std::sync::Arc;

use tokio::sync::OnceCell;

use crate::engine::{Engine, Recovered};
use crate::model::port::StoreError;
use crate::reload::Outcome;

/// Takes up what was left behind, once. Clones do it once together.
#[derive(Clone)]
pub(super) struct TakingUp {
    engine: Engine,
    done: Arc<OnceCell<Result<Recovered, StoreError>>>,
}

impl TakingUp {
    pub(super) fn of(engine: &Engine) -> Self {
        Self { engine: engine.clone(), done: Arc::default() }
    }

    /// To be called after each reload, before anybody hears of it.
    pub(super) async fn after(&self, outcome: &Outcome) {
        if *outcome != Outcome::Refused {
            self.done.get_or_init(|| self.engine.recover()).await;
        }
    }

    /// What it came to; `None` before.
    pub(super) fn came_to(&self) -> Option<Result<Recovered, StoreError>> {
        self.done.get().cloned()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::StreamExt;
    use futures_util::stream;

    use crate::app::{App, Settings};
    use crate::clock::RealClock;
    use crate::model::activation::{Activation, Admission};

    use crate::model::port::{Activate, Clock, RunQuery, Store};
    use crate::model::time::Timestamp;

    use crate::model::value::Value;

    const PIPELINE: &str = "
pipeline: waiting
events: { Answer: { request: string } }
flows:
  long:
    trigger: manual
    concurrency: { max_concurrent: 1000000 }
    steps:
      - id: answer
        wait: { event: Answer, match: { request: '${run.id}' }, timeout: 24h, on_timeout: [{ reply: nobody }] }
  short:
    trigger: manual
    concurrency: { max_concurrent: 1000000 }
    input: { timeout: string }
    steps:
      - id: answer
        wait: { event: Answer, match: { request: '${run.id}' }, timeout: '${input.timeout}', on_timeout: [{ reply: nobody }] }
";

    async fn started(folder: &std::path::Path) -> App {
        let file = folder.join("waiting.yaml");
        std::fs::write(&file, PIPELINE).expect("written");
        let settings = Settings::new(vec![file], folder.join("data"));
        let mut app = App::new(settings).expect("it can be made");
        app.start().await.expect("the first start");
        app
    }

    async fn start(app: &App, flow: &str, count: usize, input: impl Fn() -> Value) {
        let one = || {
            let activation = Activation::new("waiting", flow, input());
            let engine = app.commands.engine.clone();
            async move { assert!(matches!(engine.activate(activation).await, Admission::Started(_))) }
        };
        stream::iter((0..count).map(|_| one())).buffer_unordered(512).collect::<Vec<()>>().await;
    }

    /// `cargo test -p pipehost --lib app::taking_up -- --ignored --nocapture` prints how late the timers were.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "takes minutes, and measures the machine"]
    async fn ten_thousand_timers_that_are_due_at_the_start_fire_while_very_many_others_wait() {
        let (long, short) = (90_000, 10_000);
        let folder = tempfile::tempdir().expect("a folder");
        let clock = RealClock::new();
        let app = started(folder.path()).await;
        let began = clock.now();
        start(&app, "long", long, Value::null).await;
        let due = clock.now() + Duration::from_secs(60);
        let timeout = || Value::map([("timeout", Value::string(format!("{}ms", due.since(clock.now()).as_millis())))]);
        start(&app, "short", short, timeout).await;
        println!("{} runs wait, started in {:.1} s", long + short, clock.now().since(began).as_secs_f64());
        assert!(clock.now() < due, "the machine is too slow for this");
        app.stop().await;
        clock.sleep_until(due + Duration::from_secs(1)).await;
        let restart = clock.now();
        let app = started(folder.path()).await;
        // Whatever is late is late for whoever waits since the start of the program, however long its files take to be read.
        let recovered = app.recovered().expect("files are in force").expect("the journal is good");
        println!("all are known {:.2} s after the start: {recovered:?}", clock.now().since(restart).as_secs_f64());
        let of_short = || RunQuery { flow: Some("short".into()), ..RunQuery::default() };
        let ended = loop {
            let runs = app.store.runs(of_short()).await.expect("it can be read");
            let ended: Vec<Timestamp> = runs.iter().filter_map(|run| run.ended.as_ref().map(|(at, _)| *at)).collect();
            if ended.len() == short {
                break ended;
            }
            clock.sleep_until(clock.now() + Duration::from_millis(200)).await;
        };
        let mut late: Vec<f64> = ended.into_iter().map(|at| at.since(restart).as_secs_f64()).collect();
        late.sort_by(f64::total_cmp);
        println!("{short} timers fired: half after {:.2} s, the last after {:.2} s", late[short / 2], late[short - 1]);
        app.stop().await;
        assert!(late[short - 1] < 2.0, "the last was {:.2} s late", late[short - 1]);
    }
}
