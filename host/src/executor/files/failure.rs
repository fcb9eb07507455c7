//! What goes wrong with files, in the words and kinds that policies go by.

use std::io::{Error, ErrorKind};
use std::path::Path;

use crate::model::failure::{Failure, FailureKind};
use crate::model::id::ResourceName;

/// `what` was to be done with the file: `read` or `written`.
pub(super) fn of(folder: &ResourceName, path: &Path, file: &str, what: &str, error: &Error) -> Failure {
    let (kind, code, way_out) = match error.kind() {
        ErrorKind::NotFound => (FailureKind::NotFound, "no_such_file", format!("look into {}", path.display())),
        // It has no number of the system: the walk beneath the folder refused it.
        ErrorKind::PermissionDenied if error.raw_os_error().is_none() => (
            FailureKind::Denied,
            "outside_folder",
            "write it beneath the folder, without `..`, a leading `/` and links that lead out".to_owned(),
        ),
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            (FailureKind::Denied, "file_rights", format!("give this user the right to, in {}", path.display()))
        }
        ErrorKind::AlreadyExists => (FailureKind::Conflict, "file_exists", "choose another name, or write mode: replace".to_owned()),
        ErrorKind::NotADirectory | ErrorKind::IsADirectory | ErrorKind::InvalidFilename => {
            (FailureKind::Invalid, "no_file", "name a plain file".to_owned())
        }
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
            (FailureKind::Permanent, "disk_full", "make room on the disk".to_owned())
        }
        _ => (FailureKind::Failed, "file", format!("look into {}", path.display())),
    };
    Failure::new(kind, format!("{file:?} in the folder {folder} cannot be {what}: {error}; {way_out}")).with_code(code)
}
