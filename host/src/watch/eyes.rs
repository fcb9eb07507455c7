//! The system's own watch: folders in, hints out.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use notify::event::{AccessKind, AccessMode, ModifyKind};
use notify::{ErrorKind, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;

use super::Watched;
use super::aim::{Aim, MOST_FOLDERS, Meaning};
use super::content::Snapshot;

/// So many hints may wait; with more, everything is looked at.
const MOST_HINTS: usize = 1_024;
/// How often an aim is taken anew when folders come and go while it is taken.
const TRIES: usize = 3;

/// Something that the system told.
#[derive(Debug)]
pub(super) struct Hint {
    paths: Vec<PathBuf>,
    /// The system lost count: anything may have changed.
    anything: bool,
}

/// The system's watch and what it is pointed at.
#[derive(Default)]
pub(super) struct Eyes {
    watcher: Option<RecommendedWatcher>,
    /// Why there is no watcher.
    blind: Option<String>,
    aim: Aim,
    watching: BTreeSet<PathBuf>,
    overflow: Arc<AtomicBool>,
}

impl Eyes {
    /// Opens the system's watch. Where that fails, [`aim`](Self::aim) says why.
    pub(super) fn new() -> (Self, mpsc::Receiver<Hint>) {
        let (sender, hints) = mpsc::channel(MOST_HINTS);
        let overflow = Arc::new(AtomicBool::new(false));
        let full = Arc::clone(&overflow);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            let hint = match event {
                Ok(event) if event.need_rescan() => Hint { paths: Vec::new(), anything: true },
                Ok(event) if tells_of_a_write(event.kind) => Hint { paths: event.paths, anything: false },
                Ok(_) => return,
                Err(_) => Hint { paths: Vec::new(), anything: true },
            };
            if sender.try_send(hint).is_err() {
                // Whoever takes the next hint of the full queue sees this.
                full.store(true, Ordering::Release);
            }
        });
        let (watcher, blind) = match watcher {
            Ok(watcher) => (Some(watcher), None),
            Err(error) => (None, Some(explain(&error))),
        };
        (Self { watcher, blind, overflow, ..Self::default() }, hints)
    }

    /// Whether hints were lost since this was last asked.
    pub(super) fn overflowed(&self) -> bool {
        self.overflow.swap(false, Ordering::AcqRel)
    }

    /// What a hint means.
    pub(super) fn meaning(&self, hint: &Hint, known: &Snapshot) -> Meaning {
        let mut files = Vec::new();
        for path in &hint.paths {
            match self.aim.meaning(path, known) {
                Meaning::Nothing => {}
                Meaning::Files(more) => files.extend(more),
                Meaning::Structure => return Meaning::Structure,
            }
        }
        match () {
            () if hint.anything => Meaning::Structure,
            () if files.is_empty() => Meaning::Nothing,
            () => Meaning::Files(files),
        }
    }

    /// Points the watch at what has to be watched now. Returns why not everything can be, if so.
    pub(super) fn aim(&mut self, watched: &Watched) -> Option<String> {
        let mut trouble = None;
        for _ in 0..TRIES {
            self.aim = Aim::at(watched);
            trouble = self.point();
            // A folder that came between the look and the watch would not be hinted at.
            if Aim::at(watched) == self.aim {
                break;
            }
        }
        if self.aim.cut {
            trouble = Some(format!("there are more than {MOST_FOLDERS} folders to watch; name a smaller folder of documents"));
        }
        trouble
    }

    fn point(&mut self) -> Option<String> {
        let Some(watcher) = &mut self.watcher else { return self.blind.clone() };
        let mut trouble = None;
        for folder in self.watching.difference(&self.aim.folders) {
            // It fails if the folder is gone, and then its watch is gone too.
            let _ = watcher.unwatch(folder);
        }
        self.watching.clear();
        for folder in &self.aim.folders {
            // Also what is watched already: a folder that was replaced by another of its name needs a watch of its own.
            match watcher.watch(folder, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    self.watching.insert(folder.clone());
                }
                Err(error) if is_gone(&error) => {}
                Err(error) => trouble = Some(format!("{}: {}", folder.display(), explain(&error))),
            }
        }
        trouble
    }
}

/// Reading a file is no write, and the host reads files itself.
fn tells_of_a_write(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
        EventKind::Access(_) | EventKind::Modify(ModifyKind::Other) => false,
        _ => true,
    }
}

fn is_gone(error: &notify::Error) -> bool {
    match &error.kind {
        ErrorKind::PathNotFound => true,
        ErrorKind::Io(error) => matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory),
        _ => false,
    }
}

fn explain(error: &notify::Error) -> String {
    match &error.kind {
        ErrorKind::MaxFilesWatch => {
            "the system allows no more watches; raise fs.inotify.max_user_watches (as sysctl fs.inotify.max_user_watches=524288)".to_owned()
        }
        ErrorKind::Io(error) => format!("the system cannot watch here: {error}"),
        _ => format!("the system cannot watch here: {error}"),
    }
}
