//! Why the store did not take a run's first facts, so that the run was not begun: for people, with the way out.

use crate::model::failure::{Failure, FailureKind};
use crate::model::port::StoreError;

/// The code of a run that was not begun because the store is full.
pub const STORE_FULL: &str = "E0750";
/// The code of a run that was not begun because the store may have lost something.
pub const STORE_SUSPECT: &str = "E0751";
/// The code of a run that was not begun because its input is larger than the store takes.
pub const STORE_TOO_LARGE: &str = "E0752";
/// The code of a run that was not begun because the store is broken.
pub const STORE_BROKEN: &str = "E0753";
/// The code of a run that cannot be resumed, done again or called off, and of a dead letter that cannot be replayed.
pub const NOT_AGAIN: &str = "E0754";

/// The refusal of a run whose first facts were not taken, or of which that is not known.
pub fn refusal(error: &StoreError) -> Failure {
    let (kind, code, way_out) = match error {
        StoreError::Full(_) => (FailureKind::Rejected, STORE_FULL, "make room where the data folder is, and try again"),
        StoreError::Suspect(_) => {
            (FailureKind::Rejected, STORE_SUSPECT, "see `pipehost store verify`; `pipehost store accept-loss` goes on without what is lost")
        }
        StoreError::TooLarge { .. } => (FailureKind::Invalid, STORE_TOO_LARGE, "put large content into a file, and pass its path"),
        StoreError::OutOfOrder { .. }
        | StoreError::Fenced { .. }
        | StoreError::Unreadable(_)
        | StoreError::Busy(_)
        | StoreError::Broken(_) => {
            (FailureKind::Permanent, STORE_BROKEN, "end pipehost and start it again; if that does not help, see `pipehost store verify`")
        }
    };
    let what = if is_doubtful(error) { "it is not known whether this was started" } else { "nothing was started" };
    Failure::new(kind, format!("{what}: {error}; {way_out}")).with_code(code)
}

/// Whether what the store was given may be on its disk all the same: then nobody may hear that it came to nothing.
pub const fn is_doubtful(error: &StoreError) -> bool {
    match error {
        StoreError::Broken(_) | StoreError::Fenced { .. } | StoreError::OutOfOrder { .. } | StoreError::Unreadable(_) => true,
        StoreError::Full(_) | StoreError::Busy(_) | StoreError::Suspect(_) | StoreError::TooLarge { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_says_whether_nothing_was_started_and_the_way_out() {
        let refusals = [
            (
                StoreError::Full("the disk has 1 MiB left".to_owned()),
                "E0750",
                "nothing was started: the store is full: the disk has 1 MiB left; make room where the data folder is, and try again",
            ),
            (
                StoreError::Suspect("rows 3 to 5 are missing".to_owned()),
                "E0751",
                "nothing was started: data may be lost: rows 3 to 5 are missing; see `pipehost store verify`; `pipehost store accept-loss` \
                 goes on without what is lost",
            ),
            (
                StoreError::TooLarge { bytes: 20_000_000, most: 16 << 20 },
                "E0752",
                "nothing was started: a value of 20000000 bytes is more than the store takes, which is 16 MiB; put large content into a file, \
                 and pass its path",
            ),
            (
                StoreError::Broken("fsync failed".to_owned()),
                "E0753",
                "it is not known whether this was started: the store is broken: fsync failed; end pipehost and start it again; if that does \
                 not help, see `pipehost store verify`",
            ),
        ];
        for (error, code, text) in refusals {
            let failure = refusal(&error);
            assert_eq!((failure.code.as_deref(), failure.message.as_str()), (Some(code), text));
        }
    }
}
