//! Room that is held for the day when there is none: freed then, so that runs under way can finish what they have begun.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

/// The file in the data folder.
const FILE: &str = "ballast";
/// How it is called while it is made: what is not whole holds no room worth counting on.
const DRAFT: &str = "ballast.draft";

/// The file that holds the room.
#[derive(Debug)]
pub(super) struct Ballast {
    folder: PathBuf,
    bytes: u64,
}

impl Ballast {
    /// The ballast of this data folder, of so many bytes; with 0 it holds no room.
    pub(super) fn of(folder: &Path, bytes: u64) -> Self {
        Self { folder: folder.to_owned(), bytes }
    }

    /// Frees its room. False if it held none.
    pub(super) fn release(&self) -> bool {
        let _ = fs::remove_file(self.folder.join(DRAFT));
        fs::remove_file(self.folder.join(FILE)).is_ok()
    }

    /// Holds the room again. False if there is not that much room: then it takes none at all.
    pub(super) fn restore(&self) -> bool {
        let path = self.folder.join(FILE);
        if self.bytes == 0 || fs::metadata(&path).is_ok_and(|known| known.len() == self.bytes) {
            return true;
        }
        let draft = self.folder.join(DRAFT);
        let made = self.fill(&draft).and_then(|()| fs::rename(&draft, &path));
        if made.is_err() {
            let _ = fs::remove_file(&draft);
        }
        made.is_ok()
    }

    /// Written, and not only given a length, which takes no room on most file systems.
    fn fill(&self, path: &Path) -> std::io::Result<()> {
        let mut file = File::create(path)?;
        let block = [0; 64 << 10];
        let mut left = usize::try_from(self.bytes).unwrap_or(usize::MAX);
        while left > 0 {
            let part = &block[..left.min(block.len())];
            file.write_all(part)?;
            left -= part.len();
        }
        file.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_there_until_it_is_released_and_can_be_had_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let ballast = Ballast::of(folder.path(), 100_000);
        assert!(!ballast.release());
        for _ in 0..2 {
            assert!(ballast.restore());
            assert_eq!(fs::metadata(folder.path().join(FILE)).expect("it is there").len(), 100_000);
        }
        assert!(ballast.release());
        assert!(!ballast.release());
        assert!(Ballast::of(folder.path(), 0).restore());
        assert_eq!(fs::read_dir(folder.path()).expect("it is there").count(), 0);
    }
}
