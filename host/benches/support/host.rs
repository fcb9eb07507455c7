//! A whole host on files in a folder of its own, for measuring runs from activation to reply.

#![allow(dead_code, reason = "each benchmark uses its own part of this file")]

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use pipehost::app::{App, Settings};
use pipehost::model::activation::{Activation, Admission, Requester, RunEnd};
use pipehost::model::id::{FlowName, PipelineName};
use pipehost::model::port::Activate;
use pipehost::model::value::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

/// A host.
pub struct Host {
    runtime: Runtime,
    activate: Arc<dyn Activate>,
    /// Its pipeline, and the flow `main` of that.
    target: (PipelineName, FlowName),
    _app: App,
    folder: TempDir,
}

/// Takes the reply of one run.
struct Taker(Mutex<Taken>);

/// The reply so far, and who waits for it.
type Taken = (Option<Value>, Option<oneshot::Sender<Option<Value>>>);

impl Requester for Taker {
    fn progress(&self, _: &Value) {}

    fn reply(&self, reply: &Value) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0 = Some(reply.clone());
    }

    fn end(&self, _: &RunEnd) {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let reply = taken.0.take();
        let _ = taken.1.take().map(|sender| sender.send(reply));
    }
}

impl Host {
    /// A host with these files, the first of which is the pipeline. One thread: what is measured is work, not the hop to another thread.
    pub fn new(files: &[(&str, &[u8])]) -> Self {
        Self::start(files, false)
    }

    /// The same, and it puts changes of the files in force.
    pub fn watching(files: &[(&str, &[u8])]) -> Self {
        Self::start(files, true)
    }

    fn start(files: &[(&str, &[u8])], watch: bool) -> Self {
        let folder = tempfile::tempdir().expect("there is a place for files");
        for (name, content) in files {
            std::fs::write(folder.path().join(name), content).expect("the file can be written");
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("the runtime starts");
        let settings = Settings { watch, ..Settings::new(vec![folder.path().join(files[0].0)], folder.path().join("data")) };
        let app = runtime.block_on(async {
            let mut app = App::new(settings).expect("the host can be made");
            let report = app.start().await.expect("it starts once");
            assert!(!app.pipelines().is_empty(), "the pipeline is refused: {report:?}");
            app
        });
        let target = (app.pipelines()[0].name.clone(), FlowName::from("main"));
        Self { runtime, activate: app.activate(), target, _app: app, folder }
    }

    /// One run of its flow `main` with this event as JSON text; its reply as JSON text.
    pub fn run(&self, event: &str) -> Value {
        let mut run = std::pin::pin!(async {
            let reply = self.start_run(event).await.await.expect("the run ends").expect("the run replies");
            reply.text();
            reply
        });
        // Whoever brings events has a task already: beginning to block and ending it again for each is no part of a run.
        let at_once = {
            let _within = self.runtime.enter();
            run.as_mut().now_or_never()
        };
        at_once.unwrap_or_else(|| self.runtime.block_on(run))
    }

    /// So many runs of it at the same time; all their replies.
    pub fn together(&self, event: &str, number: usize) -> Vec<Value> {
        self.runtime.block_on(async {
            let mut replies = Vec::with_capacity(number);
            for _ in 0..number {
                replies.push(self.start_run(event).await);
            }
            let mut values = Vec::with_capacity(number);
            for reply in replies {
                let reply = reply.await.expect("the run ends").expect("the run replies");
                reply.text();
                values.push(reply);
            }
            values
        })
    }

    async fn start_run(&self, event: &str) -> oneshot::Receiver<Option<Value>> {
        let (sender, reply) = oneshot::channel();
        let taker = Arc::new(Taker(Mutex::new((None, Some(sender)))));
        let (pipeline, flow) = self.target.clone();
        let input = Value::from_text(event).expect("the event is JSON");
        let activation = Activation { requester: Some(taker), ..Activation::new(pipeline, flow, input) };
        let admission = self.activate.activate(activation).await;
        assert!(matches!(admission, Admission::Started(_)), "the run is not admitted: {admission:?}");
        reply
    }

    /// Writes one of its files.
    pub fn write(&self, name: &str, content: &[u8]) {
        std::fs::write(self.folder.path().join(name), content).expect("the file can be written");
    }

    /// Lets the host do what it has to do for so long.
    #[allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]
    pub fn pause(&self, time: Duration) {
        self.runtime.block_on(async { tokio::time::sleep(time).await });
    }
}
