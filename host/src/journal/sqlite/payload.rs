//! What is too large for a row: files named after the digest of what they hold, so that the same content is there once.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::connection::Trouble;
use crate::model::id::Digest;
use crate::telemetry::failpoint;

/// The folder in the data folder.
pub(super) const FOLDER: &str = "payloads";
/// What takes more bytes than this goes into a file of its own: a row of that size would push others out of the pages that are read with them.
const LARGE: usize = 64 << 10;
/// How a file is called while it is written.
const DRAFT: &str = "draft";

/// Text or bytes on their way into a row: they stand in the row itself, or in a file that the row names.
pub(super) enum Content<T> {
    /// In the row itself.
    Here(T),
    /// In the file of this digest.
    File(Digest, T),
}

impl<T: AsRef<[u8]>> Content<T> {
    /// What is large goes into a file.
    pub(super) fn new(content: T) -> Self {
        if content.as_ref().len() > LARGE { Self::File(Digest::of(content.as_ref()), content) } else { Self::Here(content) }
    }

    /// What stands in the row itself; `None` if a file has it.
    pub(super) fn here(&self) -> Option<&T> {
        match self {
            Self::Here(content) => Some(content),
            Self::File(..) => None,
        }
    }

    /// The name of the file that has it, as it stands in the row; `None` if the row has it itself.
    pub(super) fn file(&self) -> Option<String> {
        match self {
            Self::Here(_) => None,
            Self::File(digest, _) => Some(digest.to_string()),
        }
    }

    /// The digest of what it is.
    pub(super) fn digest(&self) -> Digest {
        match self {
            Self::Here(content) => Digest::of(content.as_ref()),
            Self::File(digest, _) => *digest,
        }
    }

    /// How many bytes it takes.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Here(content) | Self::File(_, content) => content.as_ref().len(),
        }
    }
}

/// Text as it stands in a row: itself, or the name of its file.
pub(super) struct Stored {
    here: Option<String>,
    file: Option<String>,
}

impl Stored {
    /// Reads two columns of a row, of which `column` is the first: the text, and the name of the file that has it.
    pub(super) fn of(row: &rusqlite::Row<'_>, column: usize) -> Result<Self, rusqlite::Error> {
        Ok(Self { here: row.get(column)?, file: row.get(column + 1)? })
    }

    /// The text.
    ///
    /// # Errors
    /// Its file is gone or damaged; in words.
    pub(super) fn text(self, payloads: &Payloads) -> Result<String, String> {
        match (self.here, self.file) {
            (Some(text), _) => Ok(text),
            (None, Some(file)) => String::from_utf8(payloads.get(&file)?).map_err(|_| "its file holds no text".to_owned()),
            (None, None) => Err("it is not there".to_owned()),
        }
    }
}

/// The folder of such files.
#[derive(Clone, Debug)]
pub(super) struct Payloads {
    folder: PathBuf,
    /// Whether a file has to survive a power cut.
    lasting: bool,
    /// Whether all names that are in the folder are on the disk, and its own too. Not so before this host has seen to it: the one before may have been
    /// killed between a name and its fsync.
    named: Arc<AtomicBool>,
    /// Whether it is only looked at: nothing is written into it.
    looks: bool,
}

impl Payloads {
    /// Those of this data folder; the folder is made with the first of them.
    pub(super) fn of(data: &Path, lasting: bool) -> Self {
        Self { folder: data.join(FOLDER), lasting, named: Arc::default(), looks: false }
    }

    /// The same for whoever only looks: what is put there is forgotten.
    pub(super) fn to_look(data: &Path) -> Self {
        Self { looks: true, ..Self::of(data, false) }
    }

    /// Has the file there before a row names it: written, on the disk, under its name, and the name on the disk.
    pub(super) fn put<T: AsRef<[u8]>>(&self, content: &Content<T>) -> Result<(), Trouble> {
        let Content::File(digest, content) = content else { return Ok(()) };
        if self.looks {
            return Ok(());
        }
        let path = self.folder.join(digest.to_string());
        self.have(&path, content.as_ref()).map_err(|error| trouble(&path, &error))
    }

    fn have(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        if !self.named.load(Ordering::Relaxed) {
            self.name_all()?;
        }
        // No file gets its name before all that it holds is on the disk.
        if fs::metadata(path).is_ok_and(|known| known.len() == content.len() as u64) {
            return Ok(());
        }
        self.write(path, content)
    }

    /// Has the folder there, with all names that are in it.
    fn name_all(&self) -> io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        if self.lasting {
            if let Some(data) = self.folder.parent().filter(|_| !failpoint::is_planted("payload_folder_unnamed")) {
                File::open(data)?.sync_all()?;
            }
            File::open(&self.folder)?.sync_all()?;
        }
        self.named.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn write(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let draft = self.folder.join(DRAFT);
        let mut file = File::create(&draft)?;
        let lasts = self.lasting && !failpoint::is_planted("payload_unsynced");
        let written = file.write_all(content).and_then(|()| if lasts { file.sync_all() } else { Ok(()) });
        if let Err(error) = written {
            // It holds room that others need.
            let _ = fs::remove_file(&draft);
            return Err(error);
        }
        // Whoever finds it under its name before that is on the disk sees to it.
        self.named.store(false, Ordering::Relaxed);
        fs::rename(&draft, path)?;
        failpoint::reach("payload.renamed");
        if self.lasting && !failpoint::is_planted("payload_unnamed") {
            File::open(&self.folder)?.sync_all()?;
        }
        self.named.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// What a file holds.
    ///
    /// # Errors
    /// It is not there, or holds something else; in words.
    pub(super) fn get(&self, name: &str) -> Result<Vec<u8>, String> {
        let path = self.folder.join(name);
        let content = fs::read(&path).map_err(|error| format!("its file {} cannot be read: {error}", path.display()))?;
        if Digest::from_hex(name) != Some(Digest::of(&content)) {
            return Err(format!("its file {} is damaged", path.display()));
        }
        Ok(content)
    }

    /// Removes files that no row names any more. One that cannot be removed now is met again when the host starts.
    pub(super) fn remove<'a>(&self, names: impl IntoIterator<Item = &'a String>) {
        for name in names {
            let _ = fs::remove_file(self.folder.join(name));
        }
    }

    /// The files that are there: what a crash between file and row has left is among them.
    pub(super) fn names(&self) -> HashSet<String> {
        let Ok(entries) = fs::read_dir(&self.folder) else { return HashSet::new() };
        entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect()
    }
}

/// What an error of a file means: no room may pass, anything else leaves it unknown what is on the disk.
pub(super) fn trouble(path: &Path, error: &io::Error) -> Trouble {
    let why = format!("{} cannot be written: {error}", path.display());
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Trouble::Full(why),
        _ => Trouble::Broken(why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_large_is_a_file_that_is_there_once_and_is_known_by_what_it_holds() {
        let folder = tempfile::tempdir().expect("a folder");
        let payloads = Payloads::of(folder.path(), true);
        let small = Content::new("x".repeat(LARGE));
        assert!(small.here().is_some() && small.file().is_none());
        let large = Content::new("x".repeat(LARGE + 1));
        let name = large.file().expect("it is large");
        for _ in 0..2 {
            payloads.put(&large).expect("there is room");
        }
        assert_eq!(payloads.names(), HashSet::from([name.clone()]));
        assert_eq!(payloads.get(&name).expect("it is whole").len(), LARGE + 1);
        fs::write(folder.path().join(FOLDER).join(&name), "y").expect("written");
        assert!(payloads.get(&name).expect_err("it is not what it was").contains("damaged"));
        payloads.put(&large).expect("there is room");
        payloads.get(&name).expect("what is shorter than it has to be is written again");
        payloads.remove([&name]);
        assert!(payloads.get(&name).is_err() && payloads.names().is_empty());
    }

    #[test]
    fn no_room_may_pass_and_anything_else_does_not() {
        let trouble = |kind| trouble(Path::new("x"), &io::Error::from(kind));
        assert!(matches!(trouble(ErrorKind::StorageFull), Trouble::Full(_)));
        assert!(matches!(trouble(ErrorKind::Other), Trouble::Broken(_)));
    }
}
