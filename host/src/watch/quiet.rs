//! Decides when a burst of writes is over. Pure: times come in, a due time goes out.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::{LONGEST, PAUSE, QUIET};
use crate::model::time::Timestamp;

/// So many files of one burst are told apart; with more, everything is looked at.
const MOST: usize = 4_096;

/// What was hinted at since it was last quiet.
#[derive(Default)]
pub(super) struct Quiet {
    files: BTreeSet<PathBuf>,
    all: bool,
    times: Option<(Timestamp, Timestamp)>,
    /// Whether the pause since the last hint was told.
    paused: bool,
}

/// A burst that is over.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Burst {
    /// The files that were hinted at.
    pub(super) files: BTreeSet<PathBuf>,
    /// Whether any other may have changed too.
    pub(super) all: bool,
    /// When the last hint came.
    pub(super) last_write: Timestamp,
}

impl Quiet {
    pub(super) fn note(&mut self, now: Timestamp, files: impl IntoIterator<Item = PathBuf>) {
        self.files.extend(files);
        if self.files.len() > MOST {
            self.files.clear();
            self.all = true;
        }
        self.touch(now);
    }

    pub(super) fn note_all(&mut self, now: Timestamp) {
        self.all = true;
        self.touch(now);
    }

    fn touch(&mut self, now: Timestamp) {
        let first = self.times.map_or(now, |(first, _)| first);
        self.times = Some((first, now));
        self.paused = false;
    }

    /// When a first pause is long enough to be told.
    pub(super) fn pause_due(&self) -> Option<Timestamp> {
        let (_, last) = self.times.filter(|_| !self.paused)?;
        Some(last + PAUSE)
    }

    /// The files that were hinted at, if a pause is long enough and was not told; which others there may be is not looked up for that.
    pub(super) fn take_pause(&mut self, now: Timestamp) -> Vec<PathBuf> {
        if self.pause_due().is_none_or(|due| due > now) {
            return Vec::new();
        }
        self.paused = true;
        self.files.iter().cloned().collect()
    }

    /// When to look; `None` if there is nothing to look at.
    pub(super) fn due(&self) -> Option<Timestamp> {
        self.times.map(|(first, last)| (last + QUIET).min(first + LONGEST))
    }

    /// What to look at, if it is due.
    pub(super) fn take(&mut self, now: Timestamp) -> Option<Burst> {
        if self.due()? > now {
            return None;
        }
        let (_, last_write) = self.times.take()?;
        Some(Burst { files: std::mem::take(&mut self.files), all: std::mem::take(&mut self.all), last_write })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(milliseconds: u64) -> Timestamp {
        Timestamp::EPOCH + Duration::from_millis(milliseconds)
    }

    fn file(name: &str) -> [PathBuf; 1] {
        [PathBuf::from(name)]
    }

    #[test]
    fn files_saved_together_are_one_burst() {
        let mut quiet = Quiet::default();
        quiet.note(at(0), file("a"));
        quiet.note(at(149), file("b"));
        assert_eq!(quiet.due(), Some(at(299)));
        assert_eq!(quiet.take(at(298)), None);
        let burst = quiet.take(at(299)).expect("it is due");
        assert_eq!((burst.files.len(), burst.last_write), (2, at(149)));
        assert_eq!(quiet.due(), None);
    }

    #[test]
    fn a_pause_is_told_once_and_anew_after_each_further_hint() {
        let mut quiet = Quiet::default();
        quiet.note(at(0), file("a"));
        assert_eq!((quiet.take_pause(at(9)), quiet.pause_due()), (Vec::new(), Some(at(10))));
        assert_eq!(quiet.take_pause(at(10)), file("a"));
        assert_eq!((quiet.take_pause(at(100)), quiet.pause_due()), (Vec::new(), None));
        quiet.note(at(100), file("b"));
        assert_eq!(quiet.take_pause(at(110)), [PathBuf::from("a"), PathBuf::from("b")]);
        assert!(quiet.take(at(250)).is_some());
        assert_eq!(quiet.pause_due(), None);
    }

    #[test]
    fn what_is_written_all_the_time_is_looked_at_nevertheless() {
        let mut quiet = Quiet::default();
        (0..=60).for_each(|step| quiet.note(at(step * 100), file("log")));
        assert_eq!(quiet.due(), Some(at(5_000)));
    }

    #[test]
    fn too_many_files_to_tell_apart_are_all_files() {
        let mut quiet = Quiet::default();
        (0..=MOST).for_each(|number| quiet.note(at(0), file(&number.to_string())));
        let burst = quiet.take(at(150)).expect("it is due");
        assert!(burst.all && burst.files.is_empty());
    }
}
