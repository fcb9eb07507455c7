//! Accepting a loss: what can still be read goes into a new journal, and what was there is kept beside it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::{Connection, TransactionBehavior, params};
use serde_json::json;

use super::findings::Findings;
use super::mark::{Mark, MarkFile, Reading};
use super::payload::{self, Payloads};
use super::salvage::{Salvaged, salvage};
use super::seal::Sealer;
use super::standing::{self, Standing};
use super::verify::mark_path;
use super::{FILE, connection, guard, schema};
use crate::model::failure::{Failure, FailureKind};
use crate::model::id::RunId;
use crate::model::port::StoreError;
use crate::model::time::Timestamp;

/// The code of a loss that could not be accepted.
pub const NOT_ACCEPTED: &str = "E0738";

/// How the new journal is called until it takes the old one's place.
const DRAFT: &str = "journal.new";

/// What came of accepting a loss.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Accepted {
    /// The folder with what was there before.
    pub copy: PathBuf,
    /// How many rows of the journal are there still.
    pub rows: u64,
    /// How many could be read and were left out: they were changed, or lie behind one of their run that is gone.
    pub dropped: u64,
    /// How many rows of other tables were left out since they were changed, by table.
    pub others: Vec<(String, u64)>,
    /// The runs of which facts are gone: with how many they had, where that is known, and how many they have. One that has none is gone.
    pub runs: Vec<(RunId, Option<u64>, u64)>,
}

/// Makes a new journal of what can be read of the one in this folder, which no host uses. What was there is kept in a folder beside it; the new journal
/// has a record of what was accepted, and when. Blocks.
///
/// # Errors
/// `failed` with [`NOT_ACCEPTED`]: then the journal is what it was.
pub fn accept_loss(folder: &Path, found: &Findings, now: Timestamp) -> Result<Accepted, Failure> {
    let refuse = |why: String| {
        let message = format!(
            "the loss in {} cannot be accepted: {why}; the journal is as it was; make room on that disk, and see that this user may write there",
            folder.display()
        );
        Failure::new(FailureKind::Failed, message).with_code(NOT_ACCEPTED)
    };
    let copy = put_by(folder).map_err(|error| refuse(format!("what is there cannot be kept: {error}")))?;
    let draft = folder.join(DRAFT);
    clear(&draft);
    let salvaged = make(folder, &copy, &draft, found, now);
    let (salvaged, mark) = salvaged.map_err(|why| {
        clear(&draft);
        refuse(why)
    })?;
    replace(folder, &draft, mark).map_err(|error| refuse(error.to_string()))?;
    // One that is gone is among what is lost: from here on secrets are sealed with a new one.
    Sealer::of(folder, Arc::new(|_| None))?;
    Ok(Accepted {
        copy,
        rows: salvaged.rows,
        dropped: salvaged.dropped,
        others: salvaged.others.into_iter().map(|(table, count)| (table.to_owned(), count)).collect(),
        runs: salvaged.runs.into_iter().map(|(run, (had, has))| (run, had, has)).collect(),
    })
}

/// Copies what is there into a folder beside it: file, log, mark, and the large values.
fn put_by(folder: &Path) -> io::Result<PathBuf> {
    let is_free = |copy: &PathBuf| !copy.exists();
    let copy = (1..=1_000).map(|number| folder.join(format!("journal.lost-{number}"))).find(is_free);
    let copy = copy.ok_or_else(|| io::Error::other("there are a thousand copies already; remove those that nobody needs"))?;
    fs::create_dir_all(&copy)?;
    let mark = mark_path(Path::new(FILE));
    for name in [Path::new(FILE), Path::new(&format!("{FILE}-wal")), &mark] {
        match fs::copy(folder.join(name), copy.join(name)) {
            Ok(_) => File::open(copy.join(name))?.sync_all()?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    let payloads = folder.join(payload::FOLDER);
    if payloads.is_dir() {
        fs::create_dir_all(copy.join(payload::FOLDER))?;
        for entry in fs::read_dir(&payloads)? {
            let (from, name) = entry.map(|entry| (entry.path(), entry.file_name()))?;
            let to = copy.join(payload::FOLDER).join(name);
            // They are never changed, so that a second name is as good as a copy.
            fs::hard_link(&from, &to).or_else(|_| fs::copy(&from, &to).map(drop))?;
        }
    }
    File::open(&copy)?.sync_all()?;
    File::open(folder)?.sync_all()?;
    Ok(copy)
}

/// The new journal, with all that can be read of the copy.
fn make(folder: &Path, copy: &Path, draft: &Path, found: &Findings, now: Timestamp) -> Result<(Salvaged, Mark), String> {
    let text = |error: rusqlite::Error| error.to_string();
    let payloads = Payloads::of(folder, true);
    let marked = match Reading::at(&mark_path(&copy.join(FILE))) {
        Ok(Reading::Mark(mark)) => mark.commits,
        _ => 0,
    };
    let mut into = connection::writer(draft, true).map_err(|failure| failure.into_particulars().message)?;
    schema::prepare(&mut into, draft, &payloads).map_err(|failure| failure.into_particulars().message)?;
    let transaction = into.transaction_with_behavior(TransactionBehavior::Immediate).map_err(text)?;
    let there = copy.join(FILE);
    let from = match standing::of(&there) {
        // Only to open it could change what is kept of it.
        Ok(Standing::Lost(_)) => None,
        _ => connection::reader(&there).ok(),
    };
    let salvaged = match from {
        Some(from) => salvage(&from, &transaction, &payloads).map_err(|trouble| StoreError::from(trouble).to_string())?,
        None => Salvaged::default(),
    };
    transaction.execute("UPDATE meta SET value = ?1 WHERE name = 'epoch'", [salvaged.epoch]).map_err(text)?;
    record(&transaction, copy, found, &salvaged, now).map_err(text)?;
    guard::recount(&transaction, salvaged.commits.max(marked).saturating_add(1)).map_err(text)?;
    transaction.commit().map_err(text)?;
    into.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).map_err(text)?;
    let mark = guard::account(&into).map_err(text)?.ok_or("the new journal cannot be read")?.mark;
    Ok((salvaged, mark))
}

/// Notes in the new journal what was accepted.
fn record(into: &Connection, copy: &Path, found: &Findings, salvaged: &Salvaged, now: Timestamp) -> Result<(), rusqlite::Error> {
    let runs = salvaged.runs.iter().map(|(run, (had, has))| json!({ "run": run.to_string(), "had": had, "has": has }));
    let accepted = json!({
        "at": now.to_string(),
        "lost": found.problems.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "more": found.more,
        "runs": runs.collect::<Vec<_>>(),
        "dropped": salvaged.dropped,
        "copy": copy.file_name().map(|name| name.to_string_lossy().into_owned()),
    });
    let name = format!("accepted {}", copy.file_name().unwrap_or_default().to_string_lossy());
    into.execute("INSERT OR REPLACE INTO meta (name, value) VALUES (?1, ?2)", params![name, accepted.to_string()])?;
    Ok(())
}

/// Puts the new journal in the old one's place. Cut off at any point, the folder is suspect still, or good already.
fn replace(folder: &Path, draft: &Path, mark: Mark) -> io::Result<()> {
    let path = folder.join(FILE);
    // Its log belongs to the old file, and would be taken for the new one's.
    for ending in ["-wal", "-shm"] {
        remove(&folder.join(format!("{FILE}{ending}")))?;
    }
    File::open(folder)?.sync_all()?;
    fs::rename(draft, &path)?;
    File::open(folder)?.sync_all()?;
    clear(draft);
    MarkFile::open(&mark_path(&path))?.reset(mark)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Removes a draft with its log; what cannot be removed now is in nobody's way.
fn clear(draft: &Path) {
    for ending in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(draft.with_file_name(format!("{DRAFT}{ending}")));
    }
}

#[cfg(test)]
mod tests;
