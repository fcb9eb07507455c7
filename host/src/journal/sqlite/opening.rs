//! What is done before a store takes anything: whether all of it is there, and counting this start.

use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::ballast::Ballast;
use super::findings::Findings;
use super::guard::Guard;
use super::marking::Marking;
use super::payload::Payloads;
use super::standing::{self, Standing};
use super::verify::{self, Depth, mark_path};
use super::{Options, connection, schema};
use crate::model::failure::Failure;

/// How a store is opened.
pub(super) enum Opening {
    /// It takes what comes.
    Good(Box<Parts>),
    /// It is read only: what may be lost of it.
    Suspect(Findings),
}

/// What the thread that writes needs.
pub(super) struct Parts {
    pub(super) path: PathBuf,
    pub(super) connection: Connection,
    pub(super) epoch: i64,
    pub(super) guard: Guard,
    pub(super) marking: Marking,
}

/// As [`open`]; where there is no room for it, the ballast is given for that. The store finds out then that there is no room for anything new.
///
/// # Errors
/// As [`open`].
pub(super) fn open_at_any_rate(path: &Path, options: Options, payloads: &Payloads, ballast: &Ballast) -> Result<Opening, Failure> {
    match open(path, options, payloads) {
        Err(failure) if connection::is_for_want_of_room(&failure) && ballast.release() => open(path, options, payloads),
        opened => opened,
    }
}

/// Opens the journal at this path, and makes it if it is not there. One whose rows are not all there is left as it is.
///
/// # Errors
/// The failure's code says why it cannot be opened at all.
pub(super) fn open(path: &Path, options: Options, payloads: &Payloads) -> Result<Opening, Failure> {
    let refuse = |error: rusqlite::Error| connection::of(path, &error);
    // Nothing may be written before it is known that nothing is lost: to write on behind a damaged log overwrites what could still be read of it.
    let findings = match standing::of(path)? {
        Standing::Journal => verify::examine(path, Depth::Start)?,
        Standing::Lost(problem) => Findings::of(problem),
        Standing::Nothing | Standing::Older => Findings::default(),
    };
    if findings.is_suspect() {
        return Ok(Opening::Suspect(findings));
    }
    let mark = mark_path(path);
    let mut connection = connection::writer(path, options.lasting)?;
    if schema::prepare(&mut connection, path, payloads)? || !mark.exists() {
        take_over(&connection, path)?;
    }
    let no_account = || {
        connection::cannot_open(
            path,
            "it has no account of its rows",
            "restore it from a copy, or accept the loss with pipehost store accept-loss",
        )
    };
    let mut guard = Guard::install(&connection).map_err(refuse)?.ok_or_else(no_account)?;
    let (epoch, reached) = schema::next_epoch(&mut connection, &mut guard).map_err(refuse)?;
    let marking = Marking::start(&mark, reached, options.integrity, options.lasting);
    let marking = marking.map_err(|error| connection::of_system(&mark, &error, "give this user the right to write the file"))?;
    guard.marked();
    Ok(Opening::Good(Box::new(Parts { path: path.to_owned(), connection, epoch, guard, marking })))
}

/// Has the tables in the file itself, and on the disk, before there is a mark: were they in the log only, whoever cuts that at its beginning would leave a
/// file without any, of which nothing could be read.
fn take_over(connection: &Connection, path: &Path) -> Result<(), Failure> {
    let taken = connection.query_row("PRAGMA wal_checkpoint(FULL)", [], |row| Ok((row.get::<_, i64>(1)?, row.get::<_, i64>(2)?)));
    match taken {
        Ok((frames, taken)) if frames == taken => Ok(()),
        Ok(_) => Err(connection::cannot_open(path, "another program holds it", "end the program that holds it")),
        Err(error) => Err(connection::of(path, &error)),
    }
}
