//! The task that follows the files: watch, then reload or read documents again, then watch what there is now.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::broadcast;

use crate::executor::registry::Registry;
use crate::model::cancel::CancelSignal;
use crate::model::happening::{Happening, What};
use crate::model::port::{Clock, Sink};
use crate::model::time::Timestamp;
use crate::plan::ENDINGS;
use crate::reload::{Outcome, Reload, Report, documents};
use crate::watch::{Change, Flat, Notice, Watch, Watched};

pub(super) struct Follower {
    pub(super) reload: Reload,
    pub(super) registry: Arc<Registry>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) reports: broadcast::Sender<Arc<Report>>,
    pub(super) sink: Arc<dyn Sink>,
    pub(super) data: PathBuf,
}

impl Follower {
    /// Follows until the signal is set. `began` is when the files in force were begun to be read.
    pub(super) async fn run(mut self, began: Timestamp, stop: CancelSignal) {
        let mut watch = Watch::start(Arc::clone(&self.clock));
        // What is dropped half way is a candidate, or a wait: neither has changed anything.
        let _ = stop.run_until_cancelled(self.follow(&mut watch, began)).await;
        watch.stop().await;
    }

    async fn follow(&mut self, watch: &mut Watch, began: Timestamp) {
        let mut began = began;
        loop {
            watch.replace(self.watched(), began).await;
            match watch.next().await {
                Some(Notice::Changed(change)) => {
                    began = self.clock.now();
                    self.take(&change).await;
                }
                Some(Notice::Unchanged) => self.sink.accept(Happening { time: self.clock.now(), run: None, what: What::Unchanged }),
                Some(Notice::Polling { reason }) => {
                    tracing::warn!(target: "pipehost::reload", "files are compared every second instead of watched: {reason}");
                }
                None => return,
            }
        }
    }

    async fn take(&mut self, change: &Change) {
        let documents = documents(change, &self.registry.watched_folders());
        if !documents.is_empty() {
            self.registry.refresh_indexes(&documents).await;
        }
        if self.reload.is_about_plan(change) {
            let report = self.reload.attempt(Some(change)).await;
            if change.assumed && report.outcome == Outcome::Unchanged {
                return;
            }
            // An error means that nobody listens.
            let _ = self.reports.send(Arc::new(report));
        }
    }

    fn watched(&self) -> Watched {
        let files = self.reload.files().to_vec();
        let flat = self.reload.folders().into_iter().map(|folder| Flat { folder, endings: ENDINGS }).collect();
        Watched { files, folders: self.registry.watched_folders(), flat, ignored: vec![self.data.clone()] }
    }
}
