//! What came of it that the store did not take or give what a run needs: for people, with the way out. Pure.

use crate::model::failure::{Failure, FailureKind};
use crate::model::id::RunId;
use crate::model::port::StoreError;

/// The code of a run that was not begun because the store is full.
pub const STORE_FULL: &str = "E0750";
/// The code of a run that was not begun because the store may have lost something.
pub const STORE_SUSPECT: &str = "E0751";
/// The code of a run that was not begun because its input is larger than the store takes.
pub const STORE_TOO_LARGE: &str = "E0752";
/// The code of a run that was not begun because the store is broken.
pub const STORE_BROKEN: &str = "E0753";
/// The code of a run that was not begun because another program holds the store.
pub const STORE_HELD: &str = "E0762";
/// The code of a run that cannot be resumed, done again or called off, and of a dead letter that cannot be replayed.
pub const NOT_AGAIN: &str = "E0754";
/// The code of something that is asked of a run, or that a run needs, where the store does not give what it has of it or does not take the answer.
pub const STORE_SILENT: &str = "E0760";
/// The code of a run that ends because the store takes no more of it.
pub const STORE_STOPS: &str = "E0761";

/// The code of something that is asked of a pipeline which is neither in force nor made again.
pub const UNKNOWN_PIPELINE: &str = "unknown_pipeline";

/// The refusal of a run whose first facts were not taken, or of which that is not known.
pub fn refusal(error: &StoreError) -> Failure {
    let (kind, code, way_out) = match error {
        StoreError::Full(_) => (FailureKind::Rejected, STORE_FULL, "make room where the data folder is, and try again"),
        StoreError::Busy(_) => {
            (FailureKind::Rejected, STORE_HELD, "end the program that holds it, or wait until it is done, and try again")
        }
        StoreError::Suspect(_) => {
            (FailureKind::Rejected, STORE_SUSPECT, "see `pipehost store verify`; `pipehost store accept-loss` goes on without what is lost")
        }
        StoreError::TooLarge { .. } => (FailureKind::Invalid, STORE_TOO_LARGE, "put large content into a file, and pass its path"),
        StoreError::OutOfOrder { .. } | StoreError::Fenced { .. } | StoreError::Unreadable(_) | StoreError::Broken(_) => {
            (FailureKind::Permanent, STORE_BROKEN, "end pipehost and start it again; if that does not help, see `pipehost store verify`")
        }
    };
    let what = if is_doubtful(error) { "it is not known whether this was started" } else { "nothing was started" };
    Failure::new(kind, format!("{what}: {error}; {way_out}")).with_code(code)
}

/// The failure of what was asked of a run under way, or needed by it: `what` says what did not come to pass.
pub fn silent(what: &str, error: &StoreError) -> Failure {
    let kind = match error {
        StoreError::Busy(_) | StoreError::Full(_) | StoreError::Suspect(_) => FailureKind::Rejected,
        StoreError::OutOfOrder { .. }
        | StoreError::Fenced { .. }
        | StoreError::TooLarge { .. }
        | StoreError::Unreadable(_)
        | StoreError::Broken(_) => FailureKind::Permanent,
    };
    Failure::new(kind, format!("{what}: {error}; {}", way_out(error))).with_code(STORE_SILENT)
}

/// Why nothing goes on while data may be lost, and the way out.
pub fn suspected(why: &str) -> String {
    let error = StoreError::Suspect(why.to_owned());
    format!("{error}; {}", way_out(&error))
}

/// The failure of a run that waited and of which the store has nothing any more by which it could go on.
pub fn forgotten(run: RunId) -> Failure {
    let message = format!(
        "run {run} waited and cannot go on: the store has forgotten it; see `pipehost store verify`, and start its flow again if it is still wanted"
    );
    Failure::new(FailureKind::Permanent, message).with_code(STORE_SILENT)
}

/// The failure of a run of which the store takes no more, whatever it is.
pub fn stops(error: &StoreError) -> Failure {
    let message = format!("the run ends here, since the store takes no more of it: {error}; {}", way_out(error));
    Failure::new(FailureKind::Permanent, message).with_code(STORE_STOPS)
}

/// What people can do where a run is under way.
const fn way_out(error: &StoreError) -> &'static str {
    match error {
        StoreError::Busy(_) => "end the program that holds it, and try again",
        StoreError::Full(_) => "make room where the data folder is, and try again",
        StoreError::Suspect(_) => "see `pipehost store verify`; `pipehost store accept-loss` goes on without what is lost",
        StoreError::TooLarge { .. } => "put large content into a file, and pass its path",
        StoreError::Unreadable(_) => "put right what hinders it, and start pipehost again",
        StoreError::OutOfOrder { .. } | StoreError::Fenced { .. } => "let one host only use the data folder, and ask that one",
        StoreError::Broken(_) => {
            "try again; if that does not help, end pipehost and start it again, and if that does not either, see `pipehost store verify`"
        }
    }
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
                StoreError::Busy("database is locked".to_owned()),
                "E0762",
                "nothing was started: somebody else holds the store: database is locked; end the program that holds it, or wait until it is \
                 done, and try again",
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

    #[test]
    fn what_the_store_does_not_give_of_a_run_under_way_says_the_way_out() {
        let why = || "why".to_owned();
        let run = RunId::new(uuid::Uuid::from_u128(7));
        let cases = [
            (
                StoreError::Busy(why()),
                FailureKind::Rejected,
                "what: somebody else holds the store: why; end the program that holds it, and try again",
            ),
            (
                StoreError::Full(why()),
                FailureKind::Rejected,
                "what: the store is full: why; make room where the data folder is, and try again",
            ),
            (
                StoreError::Suspect(why()),
                FailureKind::Rejected,
                "what: data may be lost: why; see `pipehost store verify`; `pipehost store accept-loss` goes on without what is lost",
            ),
            (
                StoreError::TooLarge { bytes: 20_000_000, most: 16 << 20 },
                FailureKind::Permanent,
                "what: a value of 20000000 bytes is more than the store takes, which is 16 MiB; put large content into a file, and pass its path",
            ),
            (
                StoreError::Unreadable(why()),
                FailureKind::Permanent,
                "what: it cannot be read: why; put right what hinders it, and start pipehost again",
            ),
            (
                StoreError::Fenced { run },
                FailureKind::Permanent,
                "what: run 00000000-0000-0000-0000-000000000007 belongs to another host now; let one host only use the data folder, and ask that one",
            ),
            (
                StoreError::Broken(why()),
                FailureKind::Permanent,
                "what: the store is broken: why; try again; if that does not help, end pipehost and start it again, and if that does not \
                 either, see `pipehost store verify`",
            ),
        ];
        for (error, kind, text) in cases {
            let failure = silent("what", &error);
            assert_eq!((failure.kind, failure.code.as_deref(), failure.message.as_str()), (kind, Some("E0760"), text));
        }
        let failure = forgotten(run);
        let text = "run 00000000-0000-0000-0000-000000000007 waited and cannot go on: the store has forgotten it; see `pipehost store \
                    verify`, and start its flow again if it is still wanted";
        assert_eq!((failure.code.as_deref(), failure.message.as_str()), (Some("E0760"), text));
    }

    #[test]
    fn a_run_of_which_the_store_takes_no_more_says_why_and_the_way_out() {
        let failure = stops(&StoreError::Full("100 MiB are held".to_owned()));
        let text = "the run ends here, since the store takes no more of it: the store is full: 100 MiB are held; make room where the data \
                    folder is, and try again";
        assert_eq!((failure.kind, failure.code.as_deref(), failure.message.as_str()), (FailureKind::Permanent, Some("E0761"), text));
    }
}
