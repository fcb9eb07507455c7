//! What SQLite's errors amount to: the kind that policies go by, and a sentence that names the file and the way out.

use std::path::Path;

use rusqlite::{Error, ErrorCode};

use super::connection;
use crate::model::failure::{Failure, FailureKind};

/// The code of a failure to open a file that may be a sound database.
pub const CANNOT_OPEN: &str = "cannot_open";
/// The code of a failure that says that the file is no sound database.
pub const CORRUPT: &str = "corrupt";

pub(super) fn cannot_open(path: &Path, why: &str, way_out: &str) -> Failure {
    let message = format!("{} cannot be opened as a database: {why}; {way_out}", path.display());
    Failure::new(FailureKind::Permanent, message).with_code(CANNOT_OPEN)
}

pub(super) fn of(path: &Path, error: Error) -> Failure {
    let invalid = |message: String| Failure::new(FailureKind::Invalid, message).with_code("sql");
    match error {
        Error::SqliteFailure(code, message) => of_code(path, code.code, message.unwrap_or_else(|| code.to_string())),
        Error::SqlInputError { error, msg, .. } => of_code(path, error.code, msg),
        Error::MultipleStatement => invalid("several statements in one call; write one statement a call".to_owned()),
        other => invalid(format!("{}: {other}", path.display())),
    }
}

fn of_code(path: &Path, code: ErrorCode, message: String) -> Failure {
    let file = path.display();
    let permanent = |message: String, code: &str| Failure::new(FailureKind::Permanent, message).with_code(code);
    match code {
        ErrorCode::ConstraintViolation => Failure::new(FailureKind::Conflict, message).with_code("constraint"),
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed => {
            Failure::new(FailureKind::Transient, format!("{file} is in use by another program: {message}")).with_code("busy")
        }
        ErrorCode::DiskFull => permanent(format!("{file} cannot grow: {message}; make room on that disk"), "disk_full"),
        ErrorCode::ReadOnly => permanent(
            format!("{file} may not be written to: {message}; give this user the right to write the file and its folder"),
            "read_only",
        ),
        ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt => permanent(
            format!("{file} is damaged or no SQLite database: {message}; restore it from a copy, or move it away and a new one is made"),
            CORRUPT,
        ),
        ErrorCode::CannotOpen | ErrorCode::PermissionDenied => {
            cannot_open(path, &message, "check that the file and its folder may be read and written by this user")
        }
        ErrorCode::SystemIoFailure => permanent(format!("{file} cannot be read or written: {message}; check that disk"), "io"),
        ErrorCode::OperationInterrupted => {
            Failure::new(FailureKind::Cancelled, "the statement was ended because nobody waits for it any more")
        }
        ErrorCode::AuthorizationForStatementDenied => connection::not_allowed(path),
        ErrorCode::OutOfMemory => Failure::new(FailureKind::Transient, format!("{file}: {message}")).with_code("memory"),
        // A function that is denied inside an allowed statement has no code of its own.
        _ if message.starts_with("not authorized") => connection::not_allowed(path),
        _ if message.starts_with("no such table") => {
            let message = format!("{message} in {file}; make it first, as CREATE TABLE IF NOT EXISTS …");
            Failure::new(FailureKind::Invalid, message).with_code("no_such_table")
        }
        _ => Failure::new(FailureKind::Invalid, format!("the statement is wrong: {message}")).with_code("sql"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(code: ErrorCode) -> Failure {
        of_code(Path::new("data/chat.db"), code, "because".to_owned())
    }

    #[test]
    fn a_full_a_read_only_and_a_damaged_file_are_permanent_and_named() {
        for code in [ErrorCode::DiskFull, ErrorCode::ReadOnly, ErrorCode::NotADatabase, ErrorCode::DatabaseCorrupt, ErrorCode::CannotOpen] {
            let failure = failure(code);
            assert_eq!(failure.kind, FailureKind::Permanent);
            assert!(failure.message.contains("data/chat.db") && failure.message.contains(';'), "{failure}");
        }
    }

    #[test]
    fn a_busy_file_is_worth_another_try() {
        assert_eq!(failure(ErrorCode::DatabaseBusy).kind, FailureKind::Transient);
        assert_eq!(failure(ErrorCode::DatabaseLocked).kind, FailureKind::Transient);
    }
}
