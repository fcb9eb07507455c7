//! Finds and reads the files of an index.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};

use globset::{GlobBuilder, GlobMatcher};

use super::Skipped;
use crate::model::failure::{Failure, FailureKind};
use crate::model::id::Digest;

/// The largest file that is read, in bytes.
pub const MAX_FILE: u64 = 4 << 20;
/// How many files an index has at most.
pub const MAX_FILES: usize = 10_000;
/// How deep folders are followed, counted from the pattern's fixed part.
const MAX_DEPTH: usize = 32;

/// Why a pattern cannot be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BadPattern(pub String);

/// Which files an index has.
pub(super) struct Documents {
    folder: PathBuf,
    /// The folder with the fixed part of the pattern.
    base: PathBuf,
    /// Whether the pattern itself names what begins with a full stop.
    hidden: bool,
    matcher: GlobMatcher,
}

/// A file that the pattern matches.
#[derive(PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Found {
    /// Relative to the folder, with `/` on every system.
    file: String,
    path: PathBuf,
}

/// A file and what stands in it.
#[derive(Debug)]
pub(super) struct Document {
    /// Relative to the folder, with `/` on every system.
    pub(super) file: String,
    /// Of its bytes.
    pub(super) digest: Digest,
    pub(super) text: String,
}

impl Documents {
    pub(super) fn new(folder: &Path, pattern: &str) -> Result<Self, BadPattern> {
        let pattern = pattern.strip_prefix("./").unwrap_or(pattern);
        if pattern.is_empty() || pattern.starts_with('/') || pattern.split('/').any(|part| part == "..") {
            return Err(BadPattern(format!(
                "{pattern:?} leads out of the folder of its file; write a pattern beneath it, as docs/**/*.md"
            )));
        }
        let glob = GlobBuilder::new(pattern).literal_separator(true).build();
        let glob = glob.map_err(|error| BadPattern(format!("{error}; write a pattern as docs/**/*.md")))?;
        let parts: Vec<&str> = pattern.split('/').collect();
        let fixed = parts.iter().take(parts.len() - 1).take_while(|part| !part.contains(['*', '?', '[', '{', '\\']));
        Ok(Self {
            folder: folder.to_owned(),
            base: fixed.fold(folder.to_owned(), |base, part| base.join(part)),
            hidden: parts.iter().any(|part| part.starts_with('.')),
            matcher: glob.compile_matcher(),
        })
    }

    pub(super) fn base(&self) -> &Path {
        &self.base
    }

    pub(super) fn concerns(&self, path: &Path) -> bool {
        // A watcher may tell absolute paths, and ones without symbolic links, of a folder that was named otherwise.
        let Ok(path) = std::path::absolute(path) else { return true };
        let named = std::path::absolute(&self.folder).ok();
        let real = self.folder.canonicalize().ok();
        let fixed = self.base.strip_prefix(&self.folder).unwrap_or(Path::new(""));
        named.into_iter().chain(real).any(|folder| {
            let base = folder.join(fixed);
            let Ok(relative) = path.strip_prefix(&folder) else { return base.starts_with(&path) };
            // What has no extension may be a folder that came or went with its files.
            self.matcher.is_match(relative) || base.starts_with(&path) || (path.starts_with(&base) && path.extension().is_none())
        })
    }

    /// Whether there is any file.
    pub(super) fn any(&self) -> bool {
        let files = self.entries().flatten().filter(|entry| !entry.file_type().is_dir());
        files.filter_map(|entry| entry.path().strip_prefix(&self.folder).ok().map(Path::to_owned)).any(|file| self.matcher.is_match(file))
    }

    fn entries(&self) -> impl Iterator<Item = walkdir::Result<walkdir::DirEntry>> {
        let hidden = self.hidden;
        let visible =
            move |entry: &walkdir::DirEntry| hidden || entry.depth() == 0 || !entry.file_name().as_encoded_bytes().starts_with(b".");
        walkdir::WalkDir::new(&self.base).max_depth(MAX_DEPTH).into_iter().filter_entry(visible)
    }

    /// The files, in the order of their names. A folder that is not there has none.
    pub(super) fn find(&self) -> Result<Vec<Result<Found, Skipped>>, Failure> {
        if !self.base.exists() {
            return Ok(Vec::new());
        }
        let mut found = BTreeSet::new();
        let mut skipped = Vec::new();
        for entry in self.entries() {
            match entry {
                Ok(entry) => {
                    let Ok(relative) = entry.path().strip_prefix(&self.folder) else { continue };
                    if self.matcher.is_match(relative) && !entry.file_type().is_dir() {
                        found.insert(Found { file: slashed(relative), path: entry.path().to_owned() });
                    }
                }
                Err(error) if error.depth() == 0 => {
                    let message = format!("the documents in {} cannot be read: {error}; give this user the right to", self.base.display());
                    return Err(Failure::new(FailureKind::Permanent, message).with_code("documents"));
                }
                Err(error) => skipped.push(Err(Skipped {
                    file: error.path().map(slashed).unwrap_or_default(),
                    digest: None,
                    reason: format!("it cannot be read: {error}"),
                })),
            }
            if found.len() > MAX_FILES {
                let message = format!("{} has more than {MAX_FILES} matching files; narrow the pattern", self.base.display());
                return Err(Failure::new(FailureKind::Invalid, message).with_code("documents"));
            }
        }
        Ok(found.into_iter().map(Ok).chain(skipped).collect())
    }
}

impl Found {
    pub(super) fn read(self) -> Result<Document, Skipped> {
        let mut bytes = Vec::new();
        let read = std::fs::File::open(&self.path).and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes));
        let skip = |digest: Option<Digest>, reason: String| Err(Skipped { file: self.file.clone(), digest, reason });
        if let Err(error) = read {
            return skip(None, format!("it cannot be read: {error}"));
        }
        let digest = Digest::of(&bytes);
        if bytes.len() as u64 > MAX_FILE {
            return skip(Some(digest), format!("it has more than {} MiB; split it", MAX_FILE >> 20));
        }
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Document { file: self.file, digest, text }),
            Err(error) => {
                skip(Some(digest), format!("it is not UTF-8 from byte {} on; save it as UTF-8", error.utf8_error().valid_up_to()))
            }
        }
    }
}

fn slashed(path: &Path) -> String {
    let parts: Vec<_> = path.components().map(|part| part.as_os_str().to_string_lossy()).collect();
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_stays_beneath_its_folder() {
        for pattern in ["", "/etc/*.md", "../*.md", "docs/../../x.md", "docs/[.md"] {
            assert!(Documents::new(Path::new("/f"), pattern).is_err(), "{pattern:?} was taken");
        }
    }

    #[test]
    fn a_folder_that_was_named_relatively_is_known_by_its_absolute_name() {
        let documents = Documents::new(Path::new("pipelines"), "docs/*.md").expect("a pattern");
        let here = std::env::current_dir().expect("a folder");
        assert!(documents.concerns(&here.join("pipelines/docs/a.md")));
        assert!(documents.concerns(Path::new("pipelines/docs/a.md")));
        assert!(!documents.concerns(&here.join("docs/a.md")));
    }

    #[test]
    fn what_can_change_the_index_concerns_it() {
        let documents = Documents::new(Path::new("/f"), "docs/**/*.md").expect("a pattern");
        assert_eq!(documents.base(), Path::new("/f/docs"));
        for (path, concerns) in [
            ("/f/docs/a.md", true),
            ("/f/docs/a/b.md", true),
            ("/f/docs/a", true),
            ("/f/docs", true),
            ("/f", true),
            ("/f/docs/a.txt", false),
            ("/f/a.md", false),
            ("/g/docs/a.md", false),
        ] {
            assert_eq!(documents.concerns(Path::new(path)), concerns, "{path}");
        }
    }
}
