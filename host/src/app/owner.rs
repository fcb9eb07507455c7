//! Who owns the data folder: one host at a time, by a lock that the system takes back however that one ends.

mod ending;

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::path::Path;
use std::time::Duration;

use crate::model::failure::{Failure, FailureKind};
use crate::model::port::Clock;
use crate::telemetry::failpoint;

pub(super) use ending::is_ending;

/// The code of a data folder that another host uses.
pub const OWNED: &str = "E0720";

/// The file in the data folder that is locked; it holds the owner's process id. It stays when the host ends: removing it could take the
/// lock away from one who has just got it.
const LOCK: &str = "lock";

/// So long at most the end of a process is waited for that is about to end: the system takes its locks back while it ends, not at once.
const ENDING: Duration = Duration::from_secs(2);
/// How long is waited before the lock is tried again.
const BETWEEN: Duration = Duration::from_millis(50);

/// The data folder is this process's until this is dropped.
#[derive(Debug)]
pub(super) struct Owner {
    _locked: File,
}

/// Why a data folder is not had.
struct Refusal {
    /// The process that has it, if it is known.
    owner: Option<u32>,
    failure: Failure,
}

/// Takes possession of a data folder that exists.
///
/// # Errors
/// `conflict` with [`OWNED`] if another process has it, or it cannot be locked.
pub(super) fn own(folder: &Path) -> Result<Owner, Failure> {
    take(folder).map_err(|refusal| refusal.failure)
}

/// The same; the end of a process that has it and is about to end, as the system says of one that was killed, is waited for a moment.
///
/// # Errors
/// As [`own`].
pub(super) async fn own_when_left(folder: &Path, clock: &dyn Clock, is_ending: impl Fn(u32) -> bool) -> Result<Owner, Failure> {
    let until = clock.now() + ENDING;
    loop {
        match take(folder) {
            Ok(owner) => return Ok(owner),
            Err(Refusal { owner: Some(owner), .. }) if clock.now() < until && is_ending(owner) => {
                clock.sleep_until(clock.now() + BETWEEN).await;
            }
            Err(refusal) => return Err(refusal.failure),
        }
    }
}

fn take(folder: &Path) -> Result<Owner, Refusal> {
    let shown = folder.display();
    let refuse = |message: String| Refusal { owner: None, failure: Failure::new(FailureKind::Conflict, message).with_code(OWNED) };
    let cannot = |error: io::Error| refuse(format!("the data folder {shown} cannot be locked ({error}); name another with --data DIR"));
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
            let owner = text.trim().parse::<u32>().ok();
            let named = owner.map_or_else(|| "another process".to_owned(), |process| format!("process {process}"));
            let refusal = refuse(format!(
                "the data folder {shown} is in use by {named}; end that one, send to it with pipehost send, or name another folder with --data DIR"
            ));
            return Err(Refusal { owner, ..refusal });
        }
        Err(TryLockError::Error(error)) => return Err(cannot(error)),
    }
    let written = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id()));
    match written.and_then(|()| file.flush()) {
        // The lock is what counts; whom it names is for people, and a disk without room has to let a host go on.
        Err(error) if error.kind() != ErrorKind::StorageFull => Err(cannot(error)),
        _ => Ok(Owner { _locked: file }),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;
    use crate::clock::{Activity, VirtualClock};

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

    #[tokio::test]
    async fn one_that_is_about_to_end_is_waited_for_and_one_that_lives_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let clock = VirtualClock::new(Activity::new());
        let owner = RefCell::new(Some(own(folder.path()).expect("it is free")));
        let wanted = async |is_ending: bool, ends_after: usize| {
            let asked = Cell::new(0);
            let waiting = own_when_left(folder.path(), &clock, |process| {
                assert_eq!(process, std::process::id());
                asked.set(asked.get() + 1);
                if asked.get() == ends_after {
                    drop(owner.take());
                }
                is_ending
            });
            let pass = async {
                loop {
                    clock.advance(BETWEEN).await;
                    tokio::task::yield_now().await;
                }
            };
            tokio::select! {
                biased;
                owned = waiting => (owned, asked.get()),
                () = pass => unreachable!("it goes on for ever"),
            }
        };
        let (refused, asked) = wanted(false, usize::MAX).await;
        assert!(refused.is_err() && asked == 1, "that it lives is said at once");
        let (refused, asked) = wanted(true, usize::MAX).await;
        assert!(refused.is_err() && (30..=41).contains(&asked), "it was waited for, and not for ever: {asked}");
        assert!(wanted(true, 3).await.0.is_ok(), "it has ended");
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
