//! Where the files of a plan are read from: the disk, or the bundle of a revision, whose files may be edited, broken or gone meanwhile.

use std::io::{self, Read as _};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use crate::model::bundle::Bundle;

/// Where the files of a plan are read from.
#[derive(Clone, Debug, Default)]
pub enum Files {
    /// The disk, as it is at the moment.
    #[default]
    Disk,
    /// A bundle, and nothing else: what it does not have is not there.
    Bundle(Arc<Bundle>),
}

/// What a path leads to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Found {
    /// A file of so many bytes.
    File(u64),
    /// A folder.
    Folder,
    /// Something else that can be read: a pipe, a device. How long it is nobody knows.
    Other,
}

impl Files {
    /// What a path leads to.
    ///
    /// # Errors
    /// `NotFound` if it leads nowhere, else what hinders looking.
    pub fn look(&self, path: &Path) -> io::Result<Found> {
        match self {
            Self::Disk => std::fs::metadata(path).map(|found| match found.is_dir() {
                true => Found::Folder,
                false if found.is_file() => Found::File(found.len()),
                false => Found::Other,
            }),
            Self::Bundle(bundle) => content(bundle, path).map(|content| Found::File(content.len() as u64)),
        }
    }

    /// What a file holds; of one with more than `most` bytes, one byte more than that.
    ///
    /// # Errors
    /// As [`look`](Self::look).
    pub fn read(&self, path: &Path, most: u64) -> io::Result<Arc<[u8]>> {
        match self {
            Self::Disk => {
                let mut bytes = Vec::new();
                // A pipe or a growing file has no length to go by.
                std::fs::File::open(path)?.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
                Ok(bytes.into())
            }
            Self::Bundle(bundle) => content(bundle, path).cloned(),
        }
    }

    /// The one name of a file to which several ways of writing it lead. In a bundle, in which links are gone, files of the same content are one.
    pub fn identity(&self, path: &Path) -> PathBuf {
        match self {
            Self::Disk => std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()),
            Self::Bundle(bundle) => {
                let same = content(bundle, path).ok().and_then(|content| bundle.files.iter().find(|(_, other)| other == content));
                same.map_or_else(|| plain(path), |(path, _)| path.clone())
            }
        }
    }

    /// The path by which a file is read that is named so: what stands beside it is looked for there. In a bundle that is the path by which it was read when
    /// the bundle was made.
    pub fn way_to(&self, path: PathBuf) -> PathBuf {
        match self {
            Self::Disk => path,
            Self::Bundle(_) => self.identity(&path),
        }
    }

    /// Whether a file lies beneath a folder, wherever links lead. What a bundle has was looked at when it was made.
    ///
    /// # Errors
    /// As [`look`](Self::look).
    pub fn lies_beneath(&self, file: &Path, folder: &Path) -> io::Result<bool> {
        match self {
            Self::Disk => {
                let there = std::fs::canonicalize(file)?;
                let here = std::fs::canonicalize(if folder.as_os_str().is_empty() { Path::new(".") } else { folder });
                Ok(here.is_ok_and(|here| there.starts_with(here)))
            }
            Self::Bundle(_) => Ok(plain(file).starts_with(plain(folder))),
        }
    }
}

/// A path from the root, without `.` and `..`: by such paths a bundle knows its files, wherever a later host is started.
pub fn plain(path: &Path) -> PathBuf {
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut plain = PathBuf::new();
    for part in whole.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                plain.pop();
            }
            part => plain.push(part),
        }
    }
    plain
}

fn content<'a>(bundle: &'a Bundle, path: &Path) -> io::Result<&'a Arc<[u8]>> {
    let wanted = plain(path);
    let found = bundle.files.iter().find(|(path, _)| *path == wanted);
    found.map(|(_, content)| content).ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "its bundle does not have it"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::bundle;
    use crate::model::id::Digest;

    fn bundled(files: &[(&str, &str)]) -> Files {
        let files = files.iter().map(|(path, text)| (PathBuf::from(path), Arc::from(text.as_bytes()))).collect();
        Files::Bundle(Arc::new(Bundle {
            format: bundle::FORMAT,
            revision: Digest::of(b"p"),
            pipeline: "p".into(),
            file: "/gone/p.yaml".into(),
            files,
        }))
    }

    #[test]
    fn a_bundle_has_what_it_has_whatever_the_disk_has() {
        let folder = tempfile::tempdir().expect("a folder");
        let on_disk = folder.path().join("other.yaml");
        std::fs::write(&on_disk, "other").expect("written");
        let files = bundled(&[("/gone/p.yaml", "pipeline: p")]);
        assert_eq!(files.read(Path::new("/gone/x/.././p.yaml"), 100).expect("it has it").as_ref(), b"pipeline: p");
        assert_eq!(files.look(Path::new("/gone/p.yaml")).expect("it has it"), Found::File(11));
        assert_eq!(files.read(&on_disk, 100).expect_err("the bundle does not have it").kind(), io::ErrorKind::NotFound);
        assert_eq!(Files::Disk.read(&on_disk, 3).expect("it is there").len(), 4, "one more than allowed shows that it is too much");
        assert_eq!(Files::Disk.look(folder.path()).expect("it is there"), Found::Folder);
    }

    #[test]
    fn two_ways_to_one_file_are_one_file() {
        let files = bundled(&[("/gone/lib.yaml", "library: l"), ("/gone/link/lib.yaml", "library: l")]);
        let way = files.way_to("/gone/link/lib.yaml".into());
        assert_eq!(way, PathBuf::from("/gone/lib.yaml"));
        assert_eq!(files.identity(Path::new("/gone/other/../lib.yaml")), way);
        assert_eq!(files.identity(Path::new("/gone/nothing.yaml")), PathBuf::from("/gone/nothing.yaml"));
    }

    #[test]
    fn what_lies_outside_a_folder_is_not_beneath_it() {
        let files = bundled(&[]);
        assert!(files.lies_beneath(Path::new("/a/b/c.rhai"), Path::new("/a/b")).expect("it is plain"));
        assert!(!files.lies_beneath(Path::new("/a/b/../c.rhai"), Path::new("/a/b")).expect("it is plain"));
        let folder = tempfile::tempdir().expect("a folder");
        assert!(Files::Disk.lies_beneath(&folder.path().join("no.rhai"), folder.path()).is_err());
    }
}
