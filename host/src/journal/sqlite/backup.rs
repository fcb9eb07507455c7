//! A copy of a journal that a host may be writing to, in a folder that can take the place of the one it is of.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::Path;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, Error, ErrorCode};

use super::findings::Findings;
use super::seal::Sealer;
use super::verify::{self, Depth};
use super::{FILE, connection, guard, payload, seal};
use crate::model::failure::{Failure, FailureKind};

/// The code of a backup that cannot be made.
pub const NO_BACKUP: &str = "E0737";

/// How the copy is called until all that belongs to it is there.
const DRAFT: &str = "journal.draft";
/// What SQLite keeps beside it while it is written.
const DRAFT_LOG: &str = "journal.draft-journal";

/// So often a backup is begun anew because the host forgot a run while its large values were copied.
const TRIES: usize = 3;

/// Copies the journal of a data folder, its large values and the key of its secrets into another folder, which must not be there or be empty, but for what
/// a copy that was cut off has left. What it has is what the journal had at one moment. Returns what an examination of the copy finds: a damaged journal has
/// a damaged copy. Blocks.
///
/// # Errors
/// With [`NO_KEY`](super::NO_KEY): the key cannot be used, and a copy with it could not either. `failed` with [`NO_BACKUP`]; what was copied up to then is
/// removed.
pub fn backup(folder: &Path, target: &Path) -> Result<Findings, Failure> {
    let refuse = |why: &str, way_out: &str| {
        let message = format!("the backup {} cannot be made: {why}; {way_out}", target.display());
        Failure::new(FailureKind::Failed, message).with_code(NO_BACKUP)
    };
    Sealer::to_look(folder)?;
    let elsewhere = "name a folder that is empty or not there, on a disk with room";
    let was_there = match is_free(target) {
        Ok(true) => true,
        Ok(false) => return Err(refuse("there is something in it", elsewhere)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => return Err(refuse(&format!("{}: {error}", target.display()), elsewhere)),
    };
    match fill(folder, target) {
        Ok(()) => {}
        Err(why) => {
            clear(target);
            if !was_there {
                // Whoever put something there meanwhile keeps it.
                let _ = fs::remove_dir(target);
            }
            return Err(match why {
                NotCopied::Damaged(why) => refuse(&why, "pipehost store export gives what can still be read of the journal"),
                NotCopied::Other(why) => refuse(&why, elsewhere),
            });
        }
    }
    let file = target.join(FILE);
    let findings = verify::examine(&file, Depth::Whole)?;
    // The examination is over, and so is what it left beside the file.
    let _ = fs::remove_file(target.join(format!("{FILE}-shm")));
    let _ = fs::remove_file(target.join(format!("{FILE}-wal")));
    Ok(findings)
}

/// Why there is no copy.
enum NotCopied {
    /// The journal cannot be read to its end.
    Damaged(String),
    /// Anything else, as a disk without room.
    Other(String),
}

impl From<Error> for NotCopied {
    fn from(error: Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Damaged(error.to_string()),
            _ => Self::Other(error.to_string()),
        }
    }
}

/// Whether nothing is in the way in this folder. What a copy has left that was cut off is none: its draft, and what only stands beside that.
fn is_free(target: &Path) -> io::Result<bool> {
    let names: Vec<_> = fs::read_dir(target)?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<_>>()?;
    let is_ours = |name: &OsString| [DRAFT, DRAFT_LOG, payload::FOLDER, seal::FILE].iter().any(|own| name == own);
    let was_cut_off = names.iter().any(|name| name == DRAFT) && names.iter().all(is_ours);
    if was_cut_off {
        clear(target);
    }
    Ok(names.is_empty() || was_cut_off)
}

/// Removes what a copy that was not finished has left.
fn clear(target: &Path) {
    for name in [DRAFT, DRAFT_LOG, seal::FILE] {
        let _ = fs::remove_file(target.join(name));
    }
    let _ = fs::remove_dir_all(target.join(payload::FOLDER));
}

/// Copies all that belongs to the journal.
fn fill(folder: &Path, target: &Path) -> Result<(), NotCopied> {
    let with = |path: &Path, error: &io::Error| NotCopied::Other(format!("{}: {error}", path.display()));
    fs::create_dir_all(target).map_err(|error| with(target, &error))?;
    let draft = target.join(DRAFT);
    for _ in 0..TRIES {
        copy(&folder.join(FILE), &draft)?;
        let names = Connection::open(&draft).and_then(|copy| verify::names(&copy))?;
        if copy_files(folder, target, &names).map_err(|(path, error)| with(Path::new(&path), &error))? {
            break;
        }
    }
    let key = folder.join(seal::FILE);
    if key.exists() {
        copy_file(&key, &target.join(seal::FILE)).map_err(|error| with(&key, &error))?;
    }
    let file = target.join(FILE);
    fs::rename(&draft, &file).and_then(|()| File::open(target)?.sync_all()).map_err(|error| with(&file, &error))
}

/// Copies the file by itself, as it is at one moment, and notes in the copy that no mark stands beside it.
fn copy(from: &Path, to: &Path) -> Result<(), rusqlite::Error> {
    let _ = fs::remove_file(to);
    let source = connection::reader(from)?;
    let mut target = Connection::open(to)?;
    {
        let backup = Backup::new(&source, &mut target)?;
        // All at once: a copy in steps is begun anew by each write of a host. Its readers and its writer are not held up.
        while matches!(backup.step(-1)?, StepResult::More | StepResult::Busy | StepResult::Locked) {}
    }
    // One file, whatever the journal's own way of writing is.
    target.query_row("PRAGMA journal_mode=DELETE", [], |_| Ok(()))?;
    guard::teach(&target)?;
    guard::unmark(&target)
}

/// Copies these files; false if one is gone, as its run was forgotten meanwhile, or is missing for good.
fn copy_files(folder: &Path, target: &Path, names: &[String]) -> Result<bool, (String, io::Error)> {
    let (from, to) = (folder.join(payload::FOLDER), target.join(payload::FOLDER));
    let mut whole = true;
    if !names.is_empty() {
        fs::create_dir_all(&to).map_err(|error| (to.display().to_string(), error))?;
    }
    for name in names {
        match copy_file(&from.join(name), &to.join(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => whole = false,
            copied => copied.map_err(|error| (to.join(name).display().to_string(), error))?,
        }
    }
    if !names.is_empty() {
        // Their names last too.
        File::open(&to).and_then(|folder| folder.sync_all()).map_err(|error| (to.display().to_string(), error))?;
    }
    Ok(whole)
}

fn copy_file(from: &Path, to: &Path) -> io::Result<()> {
    fs::copy(from, to)?;
    File::open(to)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::sqlite::tests::workload::{fill, filled, open, read};
    use crate::model::port::{Health, Store};

    const RUNS: u128 = 20;

    #[tokio::test]
    async fn a_backup_of_an_open_store_opens_and_has_everything() {
        let (folder, other) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let target = other.path().join("copy");
        let store = open(folder.path()).expect("it can be opened");
        fill(&store, 1..=RUNS).await;
        let whole = read(&store, RUNS).await;
        assert_eq!(backup(folder.path(), &target).expect("there is room").problems, []);
        // The host goes on, and the copy does not.
        fill(&store, RUNS + 1..=RUNS + 5).await;
        let mut files: Vec<_> = fs::read_dir(&target).expect("it was made").map(|entry| entry.expect("listed").file_name()).collect();
        files.sort();
        assert_eq!(files.first().map(|name| name.as_os_str()), Some(std::ffi::OsStr::new(FILE)));
        for _ in 0..2 {
            let copy = open(&target).expect("it can be opened");
            assert_eq!(copy.health(), Health::Good);
            assert_eq!(read(&copy, RUNS).await, whole);
            copy.close();
        }
    }

    #[tokio::test]
    async fn what_a_copy_has_left_that_was_cut_off_is_in_nobody_s_way_and_a_refused_one_leaves_nothing() {
        let (folder, other) = (filled(RUNS).await, tempfile::tempdir().expect("a folder"));
        let target = other.path().join("copy");
        fs::create_dir_all(target.join(payload::FOLDER)).expect("made");
        fs::write(target.join(DRAFT), "half a copy").expect("written");
        fs::write(target.join(payload::FOLDER).join("half"), "of a value").expect("written");
        assert_eq!(backup(folder.path(), &target).expect("there is room").problems, []);
        assert!(!target.join(DRAFT).exists() && !target.join(payload::FOLDER).exists());
        let second = other.path().join("second");
        fs::remove_file(folder.path().join(FILE)).expect("it is there");
        let refused = backup(folder.path(), &second).expect_err("the journal is gone");
        assert!(refused.code.as_deref() == Some(NO_BACKUP) && !second.exists(), "{refused}");
        fs::create_dir_all(&second).expect("made");
        backup(folder.path(), &second).expect_err("the journal is gone");
        assert_eq!(fs::read_dir(&second).map(Iterator::count).ok(), Some(0), "the folder stays, and is empty");
    }

    #[tokio::test]
    async fn a_folder_with_something_in_it_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = open(folder.path()).expect("it can be opened");
        let failure = backup(folder.path(), folder.path()).expect_err("the journal is there");
        assert_eq!(failure.code.as_deref(), Some(NO_BACKUP));
        assert!(failure.message.contains("there is something in it"), "{failure}");
        store.close();
    }
}
