//! Looking after what hosts keep in a data folder, while one uses it or not: whether all of it is there, copies, and accepting a loss.

use std::io;
use std::path::Path;

use super::owner;
use crate::clock::RealClock;
use crate::journal::sqlite::{self, Accepted, Findings, NotExported, Problem, Standing};
use crate::model::failure::{Failure, FailureKind};
use crate::model::port::Clock;

/// The code of a journal of which something may be lost.
pub const DATA_LOSS_SUSPECTED: &str = "E0735";
/// The code of a folder in which no host has kept anything.
pub const NO_JOURNAL: &str = "E0736";

/// What people are told of a host that takes nothing, since something of its journal may be lost.
pub(super) fn suspicion(data: &Path, why: &str) -> Failure {
    let message =
        format!("something of the journal in {} may be lost: {why}; nothing new is taken, and nothing goes on; {WAYS_OUT}", data.display());
    Failure::new(FailureKind::Conflict, message).with_code(DATA_LOSS_SUSPECTED)
}

/// What is told of a journal of which nothing can be read.
pub(super) fn nothing_left(why: &str) -> Failure {
    let message = format!("something of the journal may be lost: {why}; {WAYS_OUT}");
    Failure::new(FailureKind::Conflict, message).with_code(DATA_LOSS_SUSPECTED)
}

/// What can be done where something may be lost.
const WAYS_OUT: &str = "see what is missing, and how a backup is put in its place, with pipehost store verify, or go on without it with pipehost store accept-loss";

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
/// `not_found` with [`NO_JOURNAL`]; else why that cannot be known, as for a journal that a newer host has written.
pub fn verify(data: &Path) -> Result<Findings, Failure> {
    match lost(data)? {
        Some(problem) => Ok(Findings::of(problem)),
        None => sqlite::verify(data),
    }
}

/// Gives everything that is kept, a line of JSON each; see [`sqlite::export`]. Returns what is left out since it cannot be read any more, for people. A
/// host may use the folder meanwhile. Blocks.
///
/// # Errors
/// As [`verify`]; or a line cannot be written.
pub fn export(data: &Path, line: &mut dyn FnMut(&str) -> io::Result<()>) -> Result<Option<String>, NotExported> {
    match lost(data).map_err(NotExported::Store)? {
        Some(problem) => Ok(Some(problem.to_string())),
        None => sqlite::export(data, line),
    }
}

/// Copies everything into a folder that can take the place of the data folder; see [`sqlite::backup`]. A host may use the folder meanwhile. Blocks.
///
/// # Errors
/// As [`verify`]; or the copy cannot be made.
pub fn backup(data: &Path, target: &Path) -> Result<Findings, Failure> {
    match lost(data)? {
        Some(problem) => Err(nothing_left(&problem.to_string())),
        None => sqlite::backup(data, target),
    }
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
    // Before anything is made in a folder that is no host's.
    lost(data)?;
    let _owner = owner::own(data)?;
    match verify(data)? {
        found if !found.is_suspect() => Ok(Acceptance::Nothing),
        found if !yes => Ok(Acceptance::Asked(found)),
        found => {
            let accepted = sqlite::accept_loss(data, &found, RealClock::new().now())?;
            Ok(Acceptance::Done(found, accepted))
        }
    }
}

/// Why nothing can be read of the journal in this folder; `None` if something can.
fn lost(data: &Path) -> Result<Option<Problem>, Failure> {
    match sqlite::standing(data)? {
        Standing::Journal | Standing::Older => Ok(None),
        Standing::Lost(problem) => Ok(Some(problem)),
        Standing::Nothing => {
            let message = format!("there is no journal in {}; name the data folder of a host with --data DIR", data.display());
            Err(Failure::new(FailureKind::NotFound, message).with_code(NO_JOURNAL))
        }
    }
}
