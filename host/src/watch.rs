//! Tells when watched files have other content than before: one change for all files that were saved together. The only room that
//! names `notify`.
//!
//! What the system reports is taken as a hint only: folders are watched rather than files, so that an editor's rename-over and a
//! delete-and-recreate are seen; after [`QUIET`] without a further hint the content is compared, so that saving the same bytes is no
//! change. Where the system cannot watch, the content is compared every [`POLL`].

mod aim;
mod content;
mod eyes;
mod quiet;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, spawn_blocking};

use crate::model::port::Clock;
use crate::model::time::Timestamp;

use content::Snapshot;
use eyes::{Eyes, Hint};
use quiet::Quiet;

/// How long nothing more may be written before what was written is looked at.
pub const QUIET: Duration = Duration::from_millis(150);

/// After so long without a further hint the files are told as touched: most saves are complete by then, and who has
/// much to prepare need not wait for the end of [`QUIET`].
pub const PAUSE: Duration = Duration::from_millis(10);

/// After so long it is looked at even if something is still written all the time.
pub const LONGEST: Duration = Duration::from_secs(5);

/// How often content is compared where the system cannot watch.
pub const POLL: Duration = Duration::from_secs(1);

/// What to watch. Paths may be relative; they come back in [`Change::files`] as they were given.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Watched {
    /// Files, whether or not they exist.
    pub files: Vec<PathBuf>,
    /// Folders of which every file counts, however deep; hidden ones (`.name`) beneath them do not.
    pub folders: Vec<PathBuf>,
    /// Folders of which only files directly in them count, and of those only some.
    pub flat: Vec<Flat>,
    /// Folders within those that do not count, as the data folder.
    pub ignored: Vec<PathBuf>,
}

impl Watched {
    fn all_folders(&self) -> Vec<PathBuf> {
        self.folders.iter().chain(self.flat.iter().map(|flat| &flat.folder)).cloned().collect()
    }
}

/// A folder of which the files directly in it count whose names end in one of these ways, hidden ones not.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Flat {
    /// The folder.
    pub folder: PathBuf,
    /// The endings without their dot, as `yaml`.
    pub endings: &'static [&'static str],
}

impl Flat {
    /// Whether a file of that path counts, as seen from the folder's own path `root`.
    fn counts(&self, root: &Path, path: &Path) -> bool {
        let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().first() == Some(&b'.'));
        let ends = path.extension().is_some_and(|ending| self.endings.iter().any(|known| ending == *known));
        path.parent() == Some(root) && ends && !hidden
    }
}

/// Files that have other content than before.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// Which: changed, new and gone ones, in the order of their names, at least one.
    pub files: Vec<PathBuf>,
    /// When the last of them was written, as far as the system told.
    pub last_write: Timestamp,
    /// When it had been quiet for long enough.
    pub quiet_at: Timestamp,
    /// Whether this is a precaution: the files were written about when watching them began, and may have been read before or after.
    pub assumed: bool,
}

/// What the watch has to tell.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Notice {
    /// Content changed.
    Changed(Change),
    /// Something was written to these files, and a change may follow when it is quiet. A hint: it may be missing, come more than once, and be
    /// about files that are half written or have the same bytes as before.
    Touched(Vec<PathBuf>),
    /// Files were written, and all have the same bytes as before.
    Unchanged,
    /// From now on content is compared every [`POLL`], because the system cannot watch everything.
    Polling {
        /// Why not, and what can be done.
        reason: String,
    },
}

/// A handle on the task that watches. Dropping it ends the task.
pub struct Watch {
    orders: mpsc::Sender<Order>,
    notices: mpsc::Receiver<Notice>,
    task: JoinHandle<()>,
}

struct Order {
    watched: Watched,
    since: Timestamp,
    done: oneshot::Sender<()>,
}

impl Watch {
    /// Starts a task that watches nothing yet. Must be called within a Tokio runtime.
    pub fn start(clock: Arc<dyn Clock>) -> Self {
        let (orders, taken) = mpsc::channel(1);
        let (told, notices) = mpsc::channel(1);
        let task = tokio::spawn(Watcher::new(clock).run(taken, told));
        Self { orders, notices, task }
    }

    /// Watches this and nothing else from now on; returns when that is so. What is known of files that were watched before stays
    /// known. A file that is new to the watch and was written at `since` or later comes as an assumed change: `since` is when the
    /// caller began to read the files.
    pub async fn replace(&self, watched: Watched, since: Timestamp) {
        let (done, armed) = oneshot::channel();
        if self.orders.send(Order { watched, since, done }).await.is_ok() {
            // An error means that the task has ended, and then there is nothing to wait for.
            let _ = armed.await;
        }
    }

    /// Waits for the next notice; `None` when the task has ended. Dropping the wait loses nothing.
    pub async fn next(&mut self) -> Option<Notice> {
        self.notices.recv().await
    }

    /// Ends the task and waits until it has ended.
    pub async fn stop(self) {
        let Self { orders, notices, task } = self;
        drop((orders, notices));
        // It fails only if the task panicked, which the panic hook has told.
        let _ = task.await;
    }
}

struct Watcher {
    clock: Arc<dyn Clock>,
    eyes: Eyes,
    hints: mpsc::Receiver<Hint>,
    watched: Arc<Watched>,
    snapshot: Snapshot,
    quiet: Quiet,
    /// Told in one go when the other side has time, so that a slow listener gets one change for many.
    change: Option<Change>,
    unchanged: bool,
    touched: Vec<PathBuf>,
    trouble: Option<String>,
    poll_at: Option<Timestamp>,
}

impl Watcher {
    fn new(clock: Arc<dyn Clock>) -> Self {
        let (eyes, hints) = Eyes::new();
        Self {
            clock,
            eyes,
            hints,
            watched: Arc::default(),
            snapshot: Snapshot::default(),
            quiet: Quiet::default(),
            change: None,
            unchanged: false,
            touched: Vec::new(),
            trouble: None,
            poll_at: None,
        }
    }

    async fn run(mut self, mut orders: mpsc::Receiver<Order>, notices: mpsc::Sender<Notice>) {
        loop {
            let due = [self.quiet.due(), self.quiet.pause_due(), self.poll_at].into_iter().flatten().min();
            let clock = Arc::clone(&self.clock);
            let waking = async move {
                match due {
                    Some(due) => clock.sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                order = orders.recv() => match order {
                    Some(order) => self.replace(order).await,
                    None => return,
                },
                Some(hint) = self.hints.recv() => self.note(&hint),
                () = waking => self.look().await,
                permit = notices.reserve(), if self.has_news() => match permit {
                    Ok(permit) => if let Some(notice) = self.news() { permit.send(notice) },
                    Err(_) => return,
                },
            }
        }
    }

    fn note(&mut self, hint: &Hint) {
        let now = self.clock.now();
        if self.eyes.overflowed() {
            self.quiet.note_all(now);
        }
        match self.eyes.meaning(hint, &self.snapshot) {
            aim::Meaning::Nothing => {}
            aim::Meaning::Files(files) => self.quiet.note(now, files),
            aim::Meaning::Structure => self.quiet.note_all(now),
        }
    }

    async fn replace(&mut self, order: Order) {
        self.watched = Arc::new(order.watched);
        self.aim().await;
        let before = std::mem::take(&mut self.snapshot);
        let now = self.read(None).await;
        let (changed, assumed) = now.against(&before, &self.watched.all_folders(), order.since);
        self.snapshot = now;
        let at = self.clock.now();
        if !changed.is_empty() {
            self.tell_change(Change { files: changed, last_write: at, quiet_at: at, assumed: false });
        }
        if !assumed.is_empty() {
            self.tell_change(Change { files: assumed, last_write: at, quiet_at: at, assumed: true });
        }
        // Nobody waits any more if the caller was dropped.
        let _ = order.done.send(());
    }

    /// Looks because it is quiet, or because it is time to compare.
    async fn look(&mut self) {
        let now = self.clock.now();
        self.touched.extend(self.quiet.take_pause(now));
        if let Some(burst) = self.quiet.take(now) {
            // It is told what became of them.
            self.touched.clear();
            if burst.all {
                self.aim().await;
            }
            let seen = self.read(if burst.all { None } else { Some(burst.files.clone()) }).await;
            let changed = self.snapshot.take_over(seen, burst.all);
            if changed.is_empty() {
                // A hint about structure alone, as a new folder, is nothing that anybody saved.
                self.unchanged |= burst.files.iter().any(|file| self.snapshot.knows(file));
            } else {
                self.tell_change(Change { files: changed, last_write: burst.last_write, quiet_at: now, assumed: false });
            }
        }
        if self.poll_at.is_some_and(|at| at <= now) {
            let seen = self.read(None).await;
            let changed = self.snapshot.clone().take_over(seen, true);
            if !changed.is_empty() {
                // Told only once it stays so: it may be half written.
                self.quiet.note(self.clock.now(), changed);
            }
            self.poll_at = Some(self.clock.now() + POLL);
        }
    }

    /// Points the system's watches to where they are needed now. Files are read and calls wait in the kernel, so not on this thread.
    async fn aim(&mut self) {
        let watched = Arc::clone(&self.watched);
        let mut eyes = std::mem::take(&mut self.eyes);
        let aimed = spawn_blocking(move || {
            let trouble = eyes.aim(&watched);
            (eyes, trouble)
        });
        let Ok((eyes, trouble)) = aimed.await else { return };
        self.eyes = eyes;
        match trouble {
            None => self.poll_at = None,
            Some(reason) if self.poll_at.is_none() => {
                self.poll_at = Some(self.clock.now() + POLL);
                self.trouble = Some(reason);
            }
            Some(_) => {}
        }
    }

    async fn read(&self, files: Option<BTreeSet<PathBuf>>) -> Snapshot {
        let watched = Arc::clone(&self.watched);
        spawn_blocking(move || match files {
            Some(files) => Snapshot::of_files(files),
            None => Snapshot::of_all(&watched),
        })
        .await
        .unwrap_or_default()
    }

    fn tell_change(&mut self, change: Change) {
        self.change = Some(match self.change.take() {
            None => change,
            Some(earlier) => {
                let files: BTreeSet<PathBuf> = earlier.files.into_iter().chain(change.files).collect();
                Change { files: files.into_iter().collect(), assumed: earlier.assumed && change.assumed, ..change }
            }
        });
    }

    const fn has_news(&self) -> bool {
        self.change.is_some() || self.unchanged || self.trouble.is_some() || !self.touched.is_empty()
    }

    fn news(&mut self) -> Option<Notice> {
        if let Some(reason) = self.trouble.take() {
            return Some(Notice::Polling { reason });
        }
        if let Some(change) = self.change.take() {
            self.unchanged = false;
            return Some(Notice::Changed(change));
        }
        if std::mem::take(&mut self.unchanged) {
            return Some(Notice::Unchanged);
        }
        (!self.touched.is_empty()).then(|| Notice::Touched(std::mem::take(&mut self.touched)))
    }
}

#[cfg(test)]
mod tests;
