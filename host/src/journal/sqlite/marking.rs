//! Writes the mark after each commit, and makes it last every 100 ms on a thread of its own.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::Duration;

use super::mark::{Mark, MarkFile};
use super::serving::{Serving, Shared};

/// How long a mark may be in memory only: a power cut within this time after a commit leaves nothing that knows of that commit but SQLite itself.
pub const EVERY: Duration = Duration::from_millis(100);

/// When the mark is made to last.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Integrity {
    /// Every 100 ms and at the stop.
    #[default]
    Usual,
    /// With each commit, before it is acknowledged. One more wait for the disk for each group of commits.
    Strict,
}

/// The mark of an open store.
pub(super) struct Marking {
    file: MarkFile,
    /// When it is made to last, and the thread that does it; `None` for stores that need not outlast the machine.
    lasting: Option<(Integrity, Serving<State>)>,
}

#[derive(Default)]
struct State {
    written: bool,
    stopping: bool,
    failed: Option<String>,
}

impl Marking {
    /// Opens the file at this path, sets it to what the store has, and makes it last from now on. Without `lasting` it is never waited for the disk.
    ///
    /// # Errors
    /// The file cannot be made, written or made to last.
    pub(super) fn start(path: &Path, mark: Mark, integrity: Integrity, lasting: bool) -> io::Result<Self> {
        let is_new = !path.exists();
        let mut file = MarkFile::open(path)?;
        file.write_twice(mark)?;
        if !lasting {
            return Ok(Self { file, lasting: None });
        }
        file.sync()?;
        if is_new && let Some(folder) = path.parent() {
            // Its name has to last too.
            File::open(folder)?.sync_all()?;
        }
        let other = file.second()?;
        let thread = Serving::start("journal-mark", move |shared: &Shared<State>| shared.keep(&other))?;
        Ok(Self { file, lasting: Some((integrity, thread)) })
    }

    /// Writes the mark of a commit, before that is acknowledged.
    ///
    /// # Errors
    /// It cannot be written or made to last, or the one before could not: nothing more must be acknowledged.
    pub(super) fn set(&mut self, mark: Mark) -> io::Result<()> {
        let Some((integrity, thread)) = &self.lasting else { return self.file.write(mark) };
        if let Some(why) = &thread.shared().state().failed {
            return Err(io::Error::other(why.clone()));
        }
        self.file.write(mark)?;
        if *integrity == Integrity::Strict {
            return self.file.sync();
        }
        let first = !std::mem::replace(&mut thread.shared().state().written, true);
        if first {
            thread.shared().tell();
        }
        Ok(())
    }
}

impl Shared<State> {
    /// Makes the mark last until the store stops.
    fn keep(&self, file: &MarkFile) {
        loop {
            drop(self.wait_while(|state| !state.written && !state.stopping));
            let mut state = self.wait_at_most(EVERY, |state| !state.stopping);
            let (written, stopping) = (std::mem::take(&mut state.written), state.stopping);
            drop(state);
            if written && let Err(error) = file.sync() {
                // Never again: the next call could say that all is well though this one's bytes are gone.
                self.state().failed = Some(format!("the mark cannot be made to last: {error}"));
                return;
            }
            if stopping {
                return;
            }
        }
    }
}

impl Drop for Marking {
    fn drop(&mut self) {
        if let Some((_, thread)) = &mut self.lasting {
            thread.end(|state| state.stopping = true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::sqlite::mark::Reading;

    fn mark(commits: u64) -> Mark {
        Mark { commits, ..Mark::default() }
    }

    #[test]
    fn what_was_set_last_is_there_after_the_stop_however_it_is_made_to_last() {
        for (integrity, lasting) in [(Integrity::Usual, true), (Integrity::Strict, true), (Integrity::Usual, false)] {
            let folder = tempfile::tempdir().expect("a folder");
            let path = folder.path().join("mark");
            let mut marking = Marking::start(&path, mark(4), integrity, lasting).expect("it can be made");
            (5..50).for_each(|commits| marking.set(mark(commits)).expect("written"));
            assert_eq!(Reading::at(&path).expect("it is there"), Reading::Mark(mark(49)), "also before the stop");
            drop(marking);
            assert_eq!(Reading::at(&path).expect("it is there"), Reading::Mark(mark(49)));
        }
    }

    #[test]
    fn a_mark_that_could_not_be_made_to_last_is_told_with_the_next_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut marking = Marking::start(&folder.path().join("mark"), mark(1), Integrity::Usual, true).expect("it can be made");
        let (_, thread) = marking.lasting.as_ref().expect("it lasts");
        thread.shared().state().failed = Some("no disk".to_owned());
        let refused = marking.set(mark(2)).expect_err("nothing must be acknowledged any more");
        assert_eq!(refused.to_string(), "no disk");
    }
}
