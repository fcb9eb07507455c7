//! Which folders the system has to watch so that no change is missed, and what a hint about a path means.
//!
//! A file is watched through its folder, and so is every link on the way to it; where a folder is missing, the nearest one that exists
//! is watched for the missing one to come.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

use walkdir::WalkDir;

use super::content::Snapshot;
use super::{Flat, Watched};

/// So many folders are watched at most; what is beyond is compared from time to time.
pub(super) const MOST_FOLDERS: usize = 4_096;
/// So many files of watched folders are looked at, at most.
const MOST_FILES: usize = 65_536;
/// Links may lead to links so often, as in the kernel.
const MOST_LINKS: usize = 40;

/// What has to be watched, and why.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Aim {
    /// Folders that exist, each watched without what is beneath it.
    pub(super) folders: BTreeSet<PathBuf>,
    /// Paths at which a watched file may be hinted at: its own and those behind links; with the names under which it was given.
    names: BTreeMap<PathBuf, BTreeSet<PathBuf>>,
    /// Paths whose coming or going changes what has to be watched: links and missing folders.
    hinges: BTreeSet<PathBuf>,
    /// Folders of which every file counts, absolute, with the name under which each was given.
    roots: Vec<(PathBuf, PathBuf)>,
    /// Folders of which only what is directly in them counts, absolute.
    flat: Vec<(PathBuf, Flat)>,
    ignored: Vec<PathBuf>,
    /// Whether there was more than fits.
    pub(super) cut: bool,
}

/// What a hint means.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Meaning {
    /// Not about anything that is watched.
    Nothing,
    /// About these files.
    Files(Vec<PathBuf>),
    /// Folders or links changed: anything may be different, and other folders may have to be watched.
    Structure,
}

impl Aim {
    /// What has to be watched, as the files and folders are at this moment.
    pub(super) fn at(watched: &Watched) -> Self {
        let mut aim = Self { ignored: watched.ignored.iter().map(|path| absolute(path)).collect(), ..Self::default() };
        for file in &watched.files {
            aim.follow(&absolute(file), Some(file), 0);
        }
        for folder in &watched.folders {
            let root = absolute(folder);
            aim.follow(&root, None, 0);
            aim.roots.push((root, folder.clone()));
        }
        for flat in &watched.flat {
            let root = absolute(&flat.folder);
            aim.follow(&root, None, 0);
            aim.flat.push((root, flat.clone()));
        }
        for entry in walk(watched) {
            let path = absolute(&entry.path);
            if entry.is_link {
                aim.follow(&path, (!entry.is_folder).then_some(&entry.path), 0);
            }
            if entry.is_folder {
                aim.add_folder(path);
            }
        }
        aim
    }

    /// Walks down a path and notes every link on it, where those lead, and where it breaks off.
    fn follow(&mut self, path: &Path, given: Option<&PathBuf>, links: usize) {
        if let Some(given) = given {
            self.names.entry(path.to_owned()).or_default().insert(given.clone());
        }
        if links > MOST_LINKS {
            return;
        }
        let mut prefix = PathBuf::new();
        let mut components = path.components();
        while let Some(component) = components.next() {
            prefix.push(component);
            let Some(folder) = prefix.parent() else { continue };
            let Ok(metadata) = fs::symlink_metadata(&prefix) else {
                self.add_folder(folder.to_owned());
                self.hinges.insert(prefix);
                return;
            };
            if metadata.is_symlink() {
                self.add_folder(folder.to_owned());
                self.hinges.insert(prefix.clone());
                if let Ok(target) = fs::read_link(&prefix) {
                    self.follow(&normal(&folder.join(target).join(components.as_path())), given, links + 1);
                }
            }
        }
        match path.parent() {
            Some(folder) if given.is_some() => self.add_folder(folder.to_owned()),
            // Itself for what is in it, and its parent for the day on which it goes.
            Some(folder) => {
                self.add_folder(folder.to_owned());
                self.add_folder(path.to_owned());
                self.hinges.insert(path.to_owned());
            }
            None => {}
        }
    }

    fn add_folder(&mut self, folder: PathBuf) {
        if self.folders.len() < MOST_FOLDERS {
            self.folders.insert(folder);
        } else if !self.folders.contains(&folder) {
            self.cut = true;
        }
    }

    /// What a hint about this path means, given the files that are known.
    pub(super) fn meaning(&self, path: &Path, known: &Snapshot) -> Meaning {
        if self.hinges.contains(path) || self.folders.contains(path) {
            // A link to a file is both: it leads elsewhere now, and the file has other content.
            return Meaning::Structure;
        }
        if let Some(names) = self.names.get(path) {
            return Meaning::Files(names.iter().cloned().collect());
        }
        if self.ignored.iter().any(|ignored| path.starts_with(ignored)) {
            return Meaning::Nothing;
        }
        if let Some((_, flat)) = self.flat.iter().find(|(root, flat)| flat.counts(root, path)) {
            return Meaning::Files(path.file_name().map(|name| flat.folder.join(name)).into_iter().collect());
        }
        for (root, given) in &self.roots {
            let Ok(beneath) = path.strip_prefix(root) else { continue };
            if beneath.components().any(|component| is_hidden(component.as_os_str())) {
                continue;
            }
            let file = given.join(beneath);
            return if path.is_dir() || known.knows_beneath(&file) { Meaning::Structure } else { Meaning::Files(vec![file]) };
        }
        Meaning::Nothing
    }
}

/// A file or folder beneath a watched folder.
pub(super) struct Entry {
    /// Where, beginning with the folder as it was given.
    pub(super) path: PathBuf,
    pub(super) is_folder: bool,
    pub(super) is_link: bool,
}

/// Everything beneath the watched folders that counts, links followed, never in circles.
pub(super) fn walk(watched: &Watched) -> impl Iterator<Item = Entry> {
    let ignored: Vec<PathBuf> = watched.ignored.iter().map(|path| absolute(path)).collect();
    let folders = watched.folders.iter();
    folders
        .flat_map(move |folder| {
            let ignored = ignored.clone();
            WalkDir::new(folder)
                .follow_links(true)
                .sort_by_file_name()
                .into_iter()
                .filter_entry(move |entry| {
                    let hidden = entry.depth() > 0 && is_hidden(entry.file_name());
                    !hidden && !ignored.contains(&absolute(entry.path()))
                })
                // What cannot be read now is found when its folder tells that it changed; a circle is an error of the walk.
                .filter_map(Result::ok)
                .filter(|entry| entry.depth() > 0)
                .map(|entry| Entry { is_folder: entry.file_type().is_dir(), is_link: entry.path_is_symlink(), path: entry.into_path() })
        })
        .chain(watched.flat.iter().flat_map(directly_in))
        .take(MOST_FILES)
}

fn directly_in(flat: &Flat) -> impl Iterator<Item = Entry> {
    let entries = WalkDir::new(&flat.folder).min_depth(1).max_depth(1).follow_links(true).sort_by_file_name();
    entries
        .into_iter()
        .filter_map(Result::ok)
        .filter(|entry| flat.counts(&flat.folder, entry.path()) && !entry.file_type().is_dir())
        .map(|entry| Entry { is_folder: false, is_link: entry.path_is_symlink(), path: entry.into_path() })
}

fn is_hidden(name: &std::ffi::OsStr) -> bool {
    name.as_encoded_bytes().first() == Some(&b'.')
}

/// The path from the root, as hints have it. Where the current folder is gone the path stays as it is.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).map_or_else(|_| path.to_owned(), |path| normal(&path))
}

/// The path without `.` and `..`. Right only as far as the folder before a `..` is no link; where it is one, the link itself is
/// watched, and what it leads to is named by the system.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                normal.pop();
            }
            other => normal.push(other),
        }
    }
    normal
}
