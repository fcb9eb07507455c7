//! Who owns the data folder: one host at a time, by a lock that the system takes back however that one ends.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

use crate::model::failure::{Failure, FailureKind};
use crate::telemetry::failpoint;

/// The code of a data folder that another host uses.
pub const OWNED: &str = "E0720";

/// The file in the data folder that is locked; it holds the owner's process id. It stays when the host ends: removing it could take the
/// lock away from one who has just got it.
const LOCK: &str = "lock";

/// The data folder is this process's until this is dropped.
#[derive(Debug)]
pub(super) struct Owner {
    _locked: File,
}

/// Takes possession of a data folder that exists.
///
/// # Errors
/// `conflict` with [`OWNED`] if another process has it, or it cannot be locked.
pub(super) fn own(folder: &Path) -> Result<Owner, Failure> {
    let shown = folder.display();
    let refuse = |message: String| Failure::new(FailureKind::Conflict, message).with_code(OWNED);
    let cannot =
        |error: std::io::Error| refuse(format!("the data folder {shown} cannot be locked ({error}); name another with --data DIR"));
    let path = folder.join(LOCK);
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(cannot)?;
    match file.try_lock() {
        Ok(()) => {}
        // On some network file systems locks do nothing.
        Err(TryLockError::WouldBlock) if failpoint::is_planted("no_lock") => {}
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            // Whoever has it may be about to write its id.
            let _ = Read::by_ref(&mut file).take(20).read_to_string(&mut text);
            let owner = match text.trim().parse::<u32>() {
                Ok(process) => format!("process {process}"),
                Err(_) => "another process".to_owned(),
            };
            return Err(refuse(format!(
                "the data folder {shown} is in use by {owner}; end that one, send to it with pipehost send, or name another folder with --data DIR"
            )));
        }
        Err(TryLockError::Error(error)) => return Err(cannot(error)),
    }
    let written = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id()));
    written.and_then(|()| file.flush()).map_err(cannot)?;
    Ok(Owner { _locked: file })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_owner_whose_process_is_named_and_is_free_after_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let owner = own(folder.path()).expect("it is free");
        let failure = own(folder.path()).expect_err("it has an owner");
        assert_eq!(failure.code.as_deref(), Some(OWNED));
        assert!(failure.message.contains(&format!("process {}", std::process::id())), "{failure}");
        drop(owner);
        own(folder.path()).expect("it is free again");
    }

    #[test]
    fn what_a_dead_owner_left_is_no_hindrance() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join(LOCK), "4294967295\n and more").expect("written");
        let _owner = own(folder.path()).expect("nobody holds it");
        let text = std::fs::read_to_string(folder.path().join(LOCK)).expect("it is there");
        assert_eq!(text.trim(), std::process::id().to_string());
    }
}
