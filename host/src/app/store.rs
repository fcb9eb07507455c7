//! Looking after what hosts keep in a data folder, while one uses it or not: whether all of it is there, copies, and accepting a loss.

use std::io;
use std::path::Path;

use super::owner;
use crate::clock::RealClock;
use crate::journal::sqlite::{self, Accepted, Depth, FILE, Findings, NotExported};
use crate::model::failure::{Failure, FailureKind};
use crate::model::port::Clock;

/// The code of a journal of which something may be lost.
pub const DATA_LOSS_SUSPECTED: &str = "E0735";
/// The code of a folder in which no host has kept anything.
pub const NO_JOURNAL: &str = "E0736";

/// What people are told of a host that takes nothing, since something of its journal may be lost.
pub(super) fn suspicion(data: &Path, why: &str) -> Failure {
    let message = format!(
        "something of the journal in {} may be lost: {why}; nothing new is taken, and nothing goes on; see what is missing with pipehost store verify, put a backup in its place, or go on without it with pipehost store accept-loss",
        data.display()
    );
    Failure::new(FailureKind::Conflict, message).with_code(DATA_LOSS_SUSPECTED)
}

/// What people are told when the journal cannot be written any more.
pub(super) fn broken(data: &Path, why: &str) -> Failure {
    let message = format!(
        "the journal in {} cannot be written any more: {why}; nothing that was acknowledged is lost; see to that disk, and start it again",
        data.display()
    );
    Failure::new(FailureKind::Permanent, message).with_code(sqlite::BAD_DISK)
}

/// Whether all is there that was acknowledged. A host may use the folder meanwhile. Blocks.
///
/// # Errors
/// `not_found` with [`NO_JOURNAL`]; else why the journal cannot be opened at all.
pub fn verify(data: &Path) -> Result<Findings, Failure> {
    there(data)?;
    sqlite::verify(data, Depth::Whole)
}

/// Gives everything that is kept, a line of JSON each; see [`sqlite::export`]. A host may use the folder meanwhile. Blocks.
///
/// # Errors
/// As [`verify`]; or a line cannot be written.
pub fn export(data: &Path, line: &mut dyn FnMut(&str) -> io::Result<()>) -> Result<(), NotExported> {
    there(data).map_err(NotExported::Store)?;
    sqlite::export(data, line)
}

/// Copies everything into a folder that can take the place of the data folder; see [`sqlite::backup`]. A host may use the folder meanwhile. Blocks.
///
/// # Errors
/// As [`verify`]; or the copy cannot be made.
pub fn backup(data: &Path, target: &Path) -> Result<Findings, Failure> {
    there(data)?;
    sqlite::backup(data, target)
}

/// What is to be accepted, or what came of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Acceptance {
    /// Nothing is lost.
    Nothing,
    /// This is lost, and nobody has said yet that it may be.
    Asked(Findings),
    /// It was accepted.
    Done(Findings, Accepted),
}

/// Makes a journal that hosts start with of one of which something is lost; without `yes` it is only said what that is. Blocks.
///
/// # Errors
/// A host uses the folder; there is no journal and no mark of one; or it cannot be made.
pub fn accept_loss(data: &Path, yes: bool) -> Result<Acceptance, Failure> {
    if !data.join(FILE).with_extension("mark").exists() {
        there(data)?;
    }
    let _owner = owner::own(data)?;
    match sqlite::lost(data)? {
        found if !found.is_suspect() => Ok(Acceptance::Nothing),
        found if !yes => Ok(Acceptance::Asked(found)),
        found => {
            let accepted = sqlite::accept_loss(data, &found, RealClock::new().now())?;
            Ok(Acceptance::Done(found, accepted))
        }
    }
}

fn there(data: &Path) -> Result<(), Failure> {
    if sqlite::is_there(data)? {
        return Ok(());
    }
    let message = format!("there is no journal in {}; name the data folder of a host with --data DIR", data.display());
    Err(Failure::new(FailureKind::NotFound, message).with_code(NO_JOURNAL))
}
