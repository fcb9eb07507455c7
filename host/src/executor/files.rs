//! Folders that executors were granted: files beneath them, and nothing else. The only room that names the crate that opens them.
//!
//! Every path is walked from the open folder (cap-std), so that neither `..` nor a symbolic link leads out, also when somebody changes
//! the folder meanwhile. A folder is opened for each call: it may come, go and come back while a pipeline is in force.

mod draft;
mod failure;

use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions};

use crate::model::failure::{Failure, FailureKind};
use crate::model::id::ResourceName;

pub use draft::Draft;

/// The longest name of a file with its folders, in bytes.
pub const MAX_NAME: usize = 1 << 10;

/// A folder that may be read and written.
pub struct Folder {
    name: ResourceName,
    path: PathBuf,
}

/// Which bytes of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Range {
    /// The first, from 0.
    pub offset: u64,
    /// How many; `None` up to the end.
    pub length: Option<u64>,
}

/// What a file is and holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Content {
    /// The bytes that were asked for.
    pub bytes: Vec<u8>,
    /// How many the whole file has.
    pub size: u64,
    /// When it was changed last, as RFC 3339; `None` where the system does not say.
    pub modified: Option<String>,
}

/// What becomes of a file that is there already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// It is replaced as a whole, at one instant.
    Replace,
    /// It stays, and the call fails as `conflict`.
    Create,
    /// What is written stands behind what it holds.
    Append,
}

impl Folder {
    /// A folder under the name that grants use. Nothing is opened yet.
    pub fn new(name: ResourceName, path: PathBuf) -> Self {
        Self { name, path }
    }

    /// Reads a part of a file, of at most so many bytes.
    ///
    /// # Errors
    /// `not_found` for no such file, `denied` for one that is not beneath the folder, `invalid` for one that is none or a part behind its
    /// end, `too_large` as `Ok(Err(bytes))` left to the caller, who knows which limit it was.
    pub async fn read(self: &Arc<Self>, file: &str, range: Range, most: u64) -> Result<Result<Content, u64>, Failure> {
        self.apart(file, move |folder, file| {
            let (mut open, size, modified) = folder.open_file(file)?;
            let length = folder.part(file, range, size)?;
            if length > most {
                return Ok(Err(length));
            }
            let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or_default());
            let read = open.seek(SeekFrom::Start(range.offset)).and_then(|_| open.take(length).read_to_end(&mut bytes));
            read.map_err(|error| folder.failure(file, "read", &error))?;
            Ok(Ok(Content { bytes, size, modified }))
        })
        .await
    }

    /// Opens a part of a file for reading piece by piece: the file where the part begins, and how many bytes it has.
    ///
    /// # Errors
    /// As [`Folder::read`].
    pub async fn open(self: &Arc<Self>, file: &str, range: Range) -> Result<(tokio::fs::File, u64), Failure> {
        let (open, length) = self
            .apart(file, move |folder, file| {
                let (mut open, size, _) = folder.open_file(file)?;
                let length = folder.part(file, range, size)?;
                open.seek(SeekFrom::Start(range.offset)).map_err(|error| folder.failure(file, "read", &error))?;
                Ok((open.into_std(), length))
            })
            .await?;
        Ok((tokio::fs::File::from_std(open), length))
    }

    /// Writes a whole file or adds to one, and waits until the disk has it: its size then. Folders of its name are made.
    ///
    /// # Errors
    /// `conflict` for [`Mode::Create`] and a file that is there, `denied` for one that is not beneath the folder, `permanent` for a disk
    /// that is full.
    pub async fn write(self: &Arc<Self>, file: &str, bytes: Vec<u8>, mode: Mode) -> Result<u64, Failure> {
        self.apart(file, move |folder, file| {
            if mode == Mode::Append {
                let failed = |error: std::io::Error| folder.failure(file, "written", &error);
                let (parent, name) = folder.parent(file)?;
                let mut open = parent.open_with(name, OpenOptions::new().append(true).create(true)).map_err(failed)?;
                open.write_all(&bytes).and_then(|()| open.sync_all()).map_err(failed)?;
                return open.metadata().map(|metadata| metadata.len()).map_err(failed);
            }
            let (mut draft, mut open) = Draft::begin(folder, file)?;
            open.write_all(&bytes).map_err(|error| folder.failure(file, "written", &error))?;
            draft.keep(&open, mode)?;
            Ok(bytes.len() as u64)
        })
        .await
    }

    /// Begins a file that is written piece by piece and appears, or replaces the one of that name, when [`Draft::keep`] is called.
    ///
    /// # Errors
    /// As [`Folder::write`].
    pub async fn begin(self: &Arc<Self>, file: &str) -> Result<(Draft, std::fs::File), Failure> {
        self.apart(file, Draft::begin).await
    }

    /// Reading and writing files blocks: not on a thread that drives runs.
    async fn apart<T: Send + 'static>(
        self: &Arc<Self>,
        file: &str,
        work: impl FnOnce(&Arc<Self>, &str) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        if file.is_empty() || file.len() > MAX_NAME || file.contains('\0') {
            let message =
                format!("the name of a file has {} bytes, and between 1 and {MAX_NAME} without a zero byte are wanted", file.len());
            return Err(Failure::new(FailureKind::Invalid, message).with_code("file_name"));
        }
        let (folder, file) = (Arc::clone(self), file.to_owned());
        let done = tokio::task::spawn_blocking(move || work(&folder, &file)).await;
        done.unwrap_or_else(|panic| Err(Failure::new(FailureKind::Bug, format!("work on a file broke off: {panic}"))))
    }

    fn open_file(&self, file: &str) -> Result<(cap_std::fs::File, u64, Option<String>), Failure> {
        let failed = |error: std::io::Error| self.failure(file, "read", &error);
        let root = Dir::open_ambient_dir(&self.path, ambient_authority()).map_err(failed)?;
        // Asked before it is opened: opening a pipe waits for somebody to write into it.
        let metadata = root.metadata(file).map_err(failed)?;
        if !metadata.is_file() {
            let what = if metadata.is_dir() { "a folder" } else { "no plain file" };
            let message = format!("{file:?} in {} is {what}", self.name);
            return Err(Failure::new(FailureKind::Invalid, message).with_code("no_file"));
        }
        let open = root.open(file).map_err(failed)?;
        let metadata = open.metadata().map_err(failed)?;
        let modified = metadata.modified().ok().and_then(|time| jiff::Timestamp::try_from(time.into_std()).ok());
        Ok((open, metadata.len(), modified.map(|time| time.to_string())))
    }

    /// How many bytes a part of a file of that size has.
    fn part(&self, file: &str, range: Range, size: u64) -> Result<u64, Failure> {
        let left = size.checked_sub(range.offset);
        match (left, range.length) {
            (Some(left), None) => Ok(left),
            (Some(left), Some(length)) if length <= left => Ok(length),
            _ => {
                let length = range.length.map_or_else(String::new, |length| format!(" {length} bytes"));
                let message = format!("{file:?} in {} has {size} bytes: there are not{length} from {} on", self.name, range.offset);
                Err(Failure::new(FailureKind::Invalid, message).with_code("file_range"))
            }
        }
    }

    /// The folder that a file is to stand in, made where it is not there, and the file's own name.
    fn parent<'a>(&self, file: &'a str) -> Result<(Dir, &'a str), Failure> {
        let failed = |error: std::io::Error| self.failure(file, "written", &error);
        let path = Path::new(file);
        let Some(name) = path.file_name().and_then(|name| name.to_str()).filter(|name| file.ends_with(name)) else {
            let message = format!("{file:?} names no file");
            return Err(Failure::new(FailureKind::Invalid, message).with_code("file_name"));
        };
        std::fs::create_dir_all(&self.path).map_err(failed)?;
        let root = Dir::open_ambient_dir(&self.path, ambient_authority()).map_err(failed)?;
        match path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            None => Ok((root, name)),
            Some(parent) => root.create_dir_all(parent).and_then(|()| root.open_dir(parent)).map(|parent| (parent, name)).map_err(failed),
        }
    }

    fn failure(&self, file: &str, what: &str, error: &std::io::Error) -> Failure {
        failure::of(&self.name, &self.path, file, what, error)
    }
}

#[cfg(test)]
mod tests;
