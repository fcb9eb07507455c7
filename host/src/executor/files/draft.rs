//! A file that is being written under another name, so that nobody ever reads half of one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cap_std::fs::{Dir, OpenOptions};

use super::{Folder, Mode};
use crate::model::failure::Failure;

/// Names of leftovers of an earlier process that are passed over before it is a failure.
const TRIES: u32 = 1_000;

/// A file under way. Dropping it before [`Draft::keep`] removes it.
pub struct Draft {
    folder: Arc<Folder>,
    file: String,
    parent: Dir,
    name: String,
    temporary: String,
    kept: bool,
}

impl Draft {
    /// Makes the file under its other name: `.NAME.PROCESS-NUMBER.part`, beside where it will be. Blocks.
    pub(super) fn begin(folder: &Arc<Folder>, file: &str) -> Result<(Self, std::fs::File), Failure> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let (parent, name) = folder.parent(file)?;
        let mut left = TRIES;
        loop {
            let temporary = format!(".{name}.{}-{}.part", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
            match parent.open_with(&temporary, OpenOptions::new().write(true).create_new(true)) {
                Ok(open) => {
                    let draft =
                        Self { folder: Arc::clone(folder), file: file.to_owned(), name: name.to_owned(), parent, temporary, kept: false };
                    return Ok((draft, open.into_std()));
                }
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && left > 0 => left -= 1,
                Err(error) => return Err(folder.failure(file, "written", &error)),
            }
        }
    }

    /// Waits until the disk has what was written, and gives it its name. Blocks.
    ///
    /// # Errors
    /// As [`Folder::write`].
    pub fn keep(&mut self, open: &std::fs::File, mode: Mode) -> Result<(), Failure> {
        let named = open.sync_all().and_then(|()| match mode {
            // A link fails where the name is taken, a renaming would not.
            Mode::Create => self.parent.hard_link(&self.temporary, &self.parent, &self.name),
            Mode::Replace | Mode::Append => {
                self.parent.rename(&self.temporary, &self.parent, &self.name)?;
                self.kept = true;
                Ok(())
            }
        });
        named.map_err(|error| self.folder.failure(&self.file, "written", &error))?;
        // So that the name outlives a power cut too. Not every system lets a folder be synchronised; what could be done is done.
        let _ = self.parent.try_clone().and_then(|parent| parent.into_std_file().sync_all());
        Ok(())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.kept {
            let _ = self.parent.remove_file(&self.temporary);
        }
    }
}
