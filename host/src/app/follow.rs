//! The task that follows the files: watch, then reload or read documents again, then watch what there is now.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::broadcast;
use tokio::task::{JoinHandle, spawn_blocking};

use super::taking_up::TakingUp;
use crate::executor::registry::Registry;
use crate::model::cancel::CancelSignal;
use crate::model::happening::{Happening, What};
use crate::model::port::{Catalog, Clock, Sink};
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
    /// What compiles code in advance: one thread at a time.
    pub(super) preparing: Option<JoinHandle<()>>,
    /// For a host whose first files were refused.
    pub(super) taking_up: TakingUp,
}

impl Follower {
    /// Begins to watch; returns when every later write is seen. `began` is when the files in force were begun to be read.
    pub(super) async fn watch(&self, began: Timestamp) -> Watch {
        let watch = Watch::start(Arc::clone(&self.clock));
        watch.replace(self.watched(), began).await;
        watch
    }

    /// Follows until the signal is set.
    pub(super) async fn run(mut self, mut watch: Watch, stop: CancelSignal) {
        // What is dropped half way is a candidate, or a wait: neither has changed anything.
        let _ = stop.run_until_cancelled(self.follow(&mut watch)).await;
        watch.stop().await;
        if let Some(preparing) = self.preparing {
            // It fails only if it panicked, which the panic hook has told.
            let _ = preparing.await;
        }
    }

    async fn follow(&mut self, watch: &mut Watch) {
        while let Some(notice) = watch.next().await {
            match notice {
                Notice::Changed(change) => {
                    let began = self.clock.now();
                    self.take(&change).await;
                    watch.replace(self.watched(), began).await;
                }
                Notice::Unchanged => self.sink.accept(Happening { time: self.clock.now(), run: None, what: What::Unchanged }),
                Notice::Polling { reason } => {
                    tracing::warn!(target: "pipehost::reload", "files are compared every second instead of watched: {reason}");
                }
                Notice::Touched(files) => self.prepare(&files),
            }
        }
    }

    /// Compiles components that may have changed while it is not yet quiet: the candidate then finds what it needs in the home's memory, or
    /// waits for the rest of it. What is half written is no component, and what is wrong with one is told by the candidate.
    fn prepare(&mut self, files: &[PathBuf]) {
        let references = self.reload.compiled_from(files);
        if references.is_empty() || self.preparing.as_ref().is_some_and(|preparing| !preparing.is_finished()) {
            return;
        }
        let registry = Arc::clone(&self.registry);
        self.preparing = Some(spawn_blocking(move || references.iter().for_each(|reference| drop(registry.describe(reference)))));
    }

    async fn take(&mut self, change: &Change) {
        let documents = documents(change, &self.registry.watched_folders());
        if !documents.is_empty() {
            self.registry.refresh_indexes(&documents).await;
        }
        if self.reload.is_about_plan(change) {
            let report = self.reload.attempt(Some(change)).await;
            self.taking_up.after(&report.outcome).await;
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

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::time::Duration;

    use super::super::{App, Settings};
    use crate::clock::RealClock;
    use crate::model::port::Clock;
    use crate::reload::Outcome;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_is_written_right_after_the_start_is_seen_whatever_its_time_says() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("p.yaml");
        let pipeline = |reply: &str| format!("pipeline: p\ntrigger: manual\ndurable: false\nsteps:\n  - reply: {reply}\n");
        fs::write(&file, pipeline("old")).expect("written");
        let settings = Settings { watch: true, ..Settings::new(vec![file.clone()], folder.path().join("data")) };
        let mut app = App::new(settings).expect("it can be made");
        app.start().await.expect("the first start");
        let mut reports = app.reports();
        fs::write(&file, pipeline("new")).expect("written");
        // As a copy that keeps times, or a machine whose clock stands wrong: nothing but the watch itself can tell.
        let copy = File::options().write(true).open(&file).expect("opened");
        let before = copy.metadata().and_then(|metadata| metadata.modified()).expect("its time") - Duration::from_secs(3_600);
        copy.set_modified(before).expect("marked as old");
        let clock = RealClock::new();
        // A write is two steps, and on a busy machine the empty file between them is seen too.
        let swapped = async {
            loop {
                let report = reports.recv().await.expect("a report");
                if matches!(&report.outcome, Outcome::Swapped { changed, .. } if *changed == ["p".into()]) {
                    return;
                }
            }
        };
        tokio::select! {
            () = swapped => {}
            () = clock.sleep_until(clock.now() + Duration::from_secs(20)) => panic!("the write was not seen within 20 s"),
        }
        app.stop().await;
    }
}
