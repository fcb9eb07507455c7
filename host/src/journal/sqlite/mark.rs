//! The high-water mark: a small file beside the database that says how far it has come.
//!
//! One flipped bit in its log makes SQLite drop committed rows without a word. The mark is written after each commit into one of two slots in turn, so
//! that a write that was torn leaves the one before it; it is made to last every 100 ms, or with each commit where the store is strict.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use super::walk::End;
use crate::model::id::Digest;

/// The version of the file's form.
const FORMAT: u32 = 1;
/// The bytes that each slot begins with.
const MAGIC: [u8; 8] = *b"phmark\r\n";
/// Where the second slot begins: no disk tears two places so far apart with one write.
const SECOND: u64 = 4_096;
/// Bytes of a slot: what it begins with, format, commits, position, link, and a digest of these.
const SLOT: usize = 8 + 4 + 8 + 8 + 32 + 32;

/// How far a store has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Mark {
    /// How many transactions were committed.
    pub commits: u64,
    /// Where the chain of the journal ended after the last of them.
    pub end: End,
}

/// What the file says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reading {
    /// There is no file.
    Absent,
    /// There is one, and neither slot of it can be read.
    Damaged,
    /// The later of its slots.
    Mark(Mark),
}

impl Mark {
    /// The bytes of its slot.
    fn to_slot(self) -> [u8; SLOT] {
        let mut content = Vec::with_capacity(SLOT);
        content.extend(MAGIC);
        content.extend(FORMAT.to_le_bytes());
        content.extend(self.commits.to_le_bytes());
        content.extend(self.end.position.to_le_bytes());
        content.extend(self.end.digest.as_bytes());
        let digest = Digest::of(&content);
        content.extend(digest.as_bytes());
        let mut slot = [0; SLOT];
        for (place, byte) in slot.iter_mut().zip(content) {
            *place = byte;
        }
        slot
    }

    /// The mark of a slot; `None` if it was torn, changed or never written.
    fn of_slot(slot: &[u8]) -> Option<Self> {
        let number = |at: usize| slot.get(at..at + 8)?.try_into().ok();
        let end = End { position: i64::from_le_bytes(number(20)?), digest: Digest::from_bytes(slot.get(28..60)?.try_into().ok()?) };
        let mark = Self { commits: u64::from_le_bytes(number(12)?), end };
        // What is compared is all of it: its beginning, format and digest too.
        (slot == mark.to_slot()).then_some(mark)
    }

    /// Where this mark is written.
    const fn place(self) -> u64 {
        if self.commits.is_multiple_of(2) { 0 } else { SECOND }
    }
}

impl Reading {
    /// What these bytes of a file say.
    pub fn of(bytes: &[u8]) -> Self {
        let second = usize::try_from(SECOND).unwrap_or(usize::MAX);
        let slots = [bytes.get(..SLOT), bytes.get(second..).and_then(|rest| rest.get(..SLOT))];
        let later = slots.into_iter().flatten().filter_map(Mark::of_slot).max_by_key(|mark| mark.commits);
        later.map_or(Self::Damaged, Self::Mark)
    }

    /// What the file at this path says.
    ///
    /// # Errors
    /// It is there and cannot be read.
    pub fn at(path: &Path) -> io::Result<Self> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::Absent),
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::new();
        file.take(SECOND * 2).read_to_end(&mut bytes)?;
        Ok(Self::of(&bytes))
    }
}

/// The file, open for writing.
#[derive(Debug)]
pub struct MarkFile(File);

impl MarkFile {
    /// Opens the file at this path, and makes it if it is not there.
    ///
    /// # Errors
    /// It cannot be opened or made.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        Ok(Self(file))
    }

    /// Writes a mark that follows on the one before. It lasts once [`sync`](Self::sync) has ended well.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&mut self, mark: Mark) -> io::Result<()> {
        self.0.seek(SeekFrom::Start(mark.place()))?;
        self.0.write_all(&mark.to_slot())
    }

    /// Writes a mark into both slots, one after the other: from then on no mark needs room that is not there yet.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write_twice(&mut self, mark: Mark) -> io::Result<()> {
        self.write(mark)?;
        self.0.seek(SeekFrom::Start(SECOND - mark.place()))?;
        self.0.write_all(&mark.to_slot())
    }

    /// Empties the file, and writes this mark, which need not follow on what was there; it lasts when this has ended well.
    ///
    /// # Errors
    /// It cannot be written, or made to last.
    pub fn reset(&mut self, mark: Mark) -> io::Result<()> {
        self.0.set_len(0)?;
        self.write_twice(mark)?;
        self.0.sync_all()
    }

    /// Makes what was written last. If it fails, it must not be called again: what was to be written may be gone from memory, and the next call would
    /// say that all is well.
    ///
    /// # Errors
    /// The system cannot make it last.
    pub fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    /// The same file for another thread, which makes it last meanwhile.
    ///
    /// # Errors
    /// The system has no more files for this process.
    pub fn second(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }
}

/// What a mark says of the store that it belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// The store is as far as the mark, or further: it was cut off between a commit and its mark.
    Fits,
    /// The store is not as far as the mark.
    Behind,
    /// The store is as far, and ends otherwise.
    Differs,
}

impl Mark {
    /// What this mark says of a store that has come so far.
    pub fn judges(&self, store: &Self) -> Verdict {
        match store.commits.cmp(&self.commits) {
            std::cmp::Ordering::Less => Verdict::Behind,
            std::cmp::Ordering::Equal if store.end != self.end => Verdict::Differs,
            std::cmp::Ordering::Greater if store.end.position < self.end.position => Verdict::Behind,
            _ => Verdict::Fits,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(commits: u64) -> Mark {
        let position = i64::try_from(commits * 3).expect("it is small");
        Mark { commits, end: End { position, digest: Digest::of(&commits.to_le_bytes()) } }
    }

    fn written(marks: &[u64]) -> Vec<u8> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("mark");
        let mut file = MarkFile::open(&path).expect("it can be made");
        for commits in marks {
            file.write(mark(*commits)).expect("written");
        }
        file.sync().expect("it lasts");
        assert_eq!(Reading::at(&path).expect("it is there"), Reading::Mark(mark(*marks.last().expect("one was written"))));
        std::fs::read(path).expect("it is there")
    }

    #[test]
    fn the_last_mark_is_read_and_no_file_is_no_mark() {
        written(&[1]);
        written(&[1, 2, 3]);
        assert_eq!(Reading::at(Path::new("not/there")).expect("that is no error"), Reading::Absent);
    }

    #[test]
    fn a_flipped_bit_leaves_the_mark_before_it_or_the_last_one() {
        let bytes = written(&[6, 7]);
        for at in (0..SLOT).chain(4_096..4_096 + SLOT) {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << bit;
                let left = if at < SLOT { 7 } else { 6 };
                assert_eq!(Reading::of(&flipped), Reading::Mark(mark(left)), "bit {bit} of byte {at}");
            }
        }
    }

    #[test]
    fn a_file_that_was_cut_short_says_the_older_mark_or_that_it_is_damaged() {
        let bytes = written(&[6, 7]);
        for length in 0..bytes.len() {
            let expected = if length < SLOT { Reading::Damaged } else { Reading::Mark(mark(6)) };
            assert_eq!(Reading::of(&bytes[..length]), expected, "{length}");
        }
        assert_eq!(Reading::of(&bytes), Reading::Mark(mark(7)));
    }

    #[test]
    fn a_mark_that_is_set_back_leaves_nothing_of_what_was_there() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("mark");
        let mut file = MarkFile::open(&path).expect("it can be made");
        [8, 9].into_iter().for_each(|commits| file.write(mark(commits)).expect("written"));
        file.reset(mark(3)).expect("written");
        assert_eq!(Reading::at(&path).expect("it is there"), Reading::Mark(mark(3)));
    }

    #[test]
    fn a_store_that_is_behind_its_mark_or_ends_otherwise_does_not_fit() {
        let known = mark(5);
        assert_eq!(known.judges(&mark(5)), Verdict::Fits);
        assert_eq!(known.judges(&mark(6)), Verdict::Fits, "it was cut off before the mark was written");
        assert_eq!(known.judges(&mark(4)), Verdict::Behind);
        assert_eq!(known.judges(&Mark { commits: 5, end: mark(4).end }), Verdict::Differs);
        assert_eq!(known.judges(&Mark { commits: 9, end: mark(4).end }), Verdict::Behind, "a journal grows only");
    }
}
