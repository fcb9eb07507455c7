//! What watched files hold, as digests, and how two looks at them differ.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use super::{Watched, aim};
use crate::model::time::Timestamp;

/// File systems round times down to ticks of the kernel, so a file may seem older than it is by this much.
const ROUNDING: Duration = Duration::from_millis(20);

/// What a path is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Content {
    Absent,
    /// There is something that cannot be read, or is no file.
    Unreadable,
    File([u8; 32]),
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    content: Content,
    modified: Timestamp,
}

/// One look at many files.
#[derive(Clone, Default, Debug)]
pub(super) struct Snapshot(BTreeMap<PathBuf, Seen>);

impl Snapshot {
    /// Looks at these files.
    pub(super) fn of_files(files: impl IntoIterator<Item = PathBuf>) -> Self {
        Self(files.into_iter().map(|file| (see(&file), file)).map(|(seen, file)| (file, seen)).collect())
    }

    /// Looks at everything that is watched.
    pub(super) fn of_all(watched: &Watched) -> Self {
        let documents = aim::walk(watched).filter(|entry| !entry.is_folder).map(|entry| entry.path);
        Self::of_files(watched.files.iter().cloned().chain(documents))
    }

    /// Whether the path is one of these files.
    pub(super) fn knows(&self, file: &Path) -> bool {
        self.0.contains_key(file)
    }

    /// Whether any of these files is beneath the path.
    pub(super) fn knows_beneath(&self, folder: &Path) -> bool {
        self.0.range(folder.to_owned()..).take_while(|(path, _)| path.starts_with(folder)).any(|(path, _)| path != folder)
    }

    /// Takes over a later look and returns what is different. If it was a look at everything, what is missing in it is gone.
    pub(super) fn take_over(&mut self, later: Self, everything: bool) -> Vec<PathBuf> {
        let mut changed = BTreeSet::new();
        if everything {
            let gone: Vec<PathBuf> = self.0.keys().filter(|path| !later.knows(path)).cloned().collect();
            for path in gone {
                if self.0.remove(&path).is_some_and(|seen| seen.content != Content::Absent) {
                    changed.insert(path);
                }
            }
        }
        for (path, seen) in later.0 {
            let before = self.0.insert(path.clone(), seen).map_or(Content::Absent, |before| before.content);
            if before != seen.content {
                changed.insert(path);
            }
        }
        changed.into_iter().collect()
    }

    /// What is different from an earlier look among the files that both know, or that are gone from one of these folders, which both
    /// looked at; and what only this one knows that was written at `since` or later, or is not there: whoever asks for it may have read
    /// it a moment ago.
    pub(super) fn against(&self, before: &Self, folders: &[PathBuf], since: Timestamp) -> (Vec<PathBuf>, Vec<PathBuf>) {
        let is_gone = |path: &Path, seen: &Seen| {
            seen.content != Content::Absent && !self.knows(path) && folders.iter().any(|folder| path.starts_with(folder))
        };
        let gone = before.0.iter().filter(|(path, seen)| is_gone(path, seen)).map(|(path, _)| path.clone());
        let (mut changed, mut fresh): (Vec<PathBuf>, Vec<PathBuf>) = (gone.collect(), Vec::new());
        for (path, seen) in &self.0 {
            match before.0.get(path) {
                Some(before) if before.content != seen.content => changed.push(path.clone()),
                Some(_) => {}
                None if seen.content == Content::Absent || seen.modified + ROUNDING >= since => fresh.push(path.clone()),
                None => {}
            }
        }
        (changed, fresh)
    }
}

fn see(file: &Path) -> Seen {
    let metadata = match fs::metadata(file) {
        Ok(metadata) => metadata,
        Err(error) => {
            let absent = matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory);
            return Seen { content: if absent { Content::Absent } else { Content::Unreadable }, modified: Timestamp::EPOCH };
        }
    };
    let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let modified = Timestamp::EPOCH + modified.unwrap_or_default();
    // Opening a pipe or a device could wait for ever.
    let content = if metadata.is_file() { digest(file) } else { Content::Unreadable };
    Seen { content, modified }
}

fn digest(file: &Path) -> Content {
    let mut hasher = blake3::Hasher::new();
    match File::open(file).and_then(|mut file| io::copy(&mut file, &mut hasher)) {
        Ok(_) => Content::File(*hasher.finalize().as_bytes()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Content::Absent,
        Err(_) => Content::Unreadable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_other_bytes_are_a_change() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("a.yaml");
        fs::write(&file, "one").expect("written");
        let mut snapshot = Snapshot::of_files([file.clone()]);
        fs::write(&file, "one").expect("written");
        assert!(snapshot.take_over(Snapshot::of_files([file.clone()]), false).is_empty());
        fs::write(&file, "two").expect("written");
        assert_eq!(snapshot.take_over(Snapshot::of_files([file.clone()]), false), std::slice::from_ref(&file));
        fs::remove_file(&file).expect("removed");
        assert_eq!(snapshot.take_over(Snapshot::of_files([file.clone()]), false), [file]);
    }

    #[test]
    fn what_a_look_at_everything_does_not_find_is_gone() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("guide.md");
        fs::write(&file, "text").expect("written");
        let watched = Watched { folders: vec![folder.path().to_owned()], ..Watched::default() };
        let mut snapshot = Snapshot::of_all(&watched);
        assert!(snapshot.knows(&file) && snapshot.knows_beneath(folder.path()));
        fs::remove_file(&file).expect("removed");
        assert_eq!(snapshot.take_over(Snapshot::of_all(&watched), true), std::slice::from_ref(&file));
        assert!(!snapshot.knows(&file));
    }

    #[test]
    fn a_document_that_went_between_two_looks_is_a_change_and_one_nobody_watches_any_more_is_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("guide.md");
        fs::write(&file, "text").expect("written");
        let watched = Watched { folders: vec![folder.path().to_owned()], ..Watched::default() };
        let before = Snapshot::of_all(&watched);
        fs::remove_file(&file).expect("removed");
        let now = Snapshot::of_all(&watched);
        assert_eq!(now.against(&before, &watched.folders, Timestamp::EPOCH), (vec![file], Vec::new()));
        assert_eq!(now.against(&before, &[], Timestamp::EPOCH), (Vec::new(), Vec::new()));
    }

    #[test]
    fn a_file_that_went_before_it_was_first_looked_at_is_looked_into_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("mail.yaml");
        let now = Snapshot::of_files([file.clone()]);
        assert_eq!(now.against(&Snapshot::default(), &[], Timestamp::EPOCH), (Vec::new(), vec![file]));
        assert_eq!(now.against(&now, &[], Timestamp::EPOCH), (Vec::new(), Vec::new()));
    }

    #[test]
    fn a_folder_in_the_place_of_a_file_is_not_read() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(see(folder.path()).content, Content::Unreadable);
    }
}
