//! Exit codes: what a shell goes by.

use std::io;
use std::process::ExitCode;

use super::style::harmless;
use super::typed::Typed;
use crate::app::store::DATA_LOSS_SUSPECTED;
use crate::model::failure::Failure;

/// How the program ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Exit {
    /// All is well; warnings alone are.
    Good = 0,
    /// Errors were found, or a run failed whose answer somebody waited for.
    Failed = 1,
    /// The command line asks for what is not there.
    Usage = 2,
    /// It could not start.
    NotStarted = 3,
    /// The host ended before the run did; the run goes on when it starts again.
    Left = 4,
    /// Somebody ended the waiting with Ctrl-C, and what was waited for goes on. The code that shells have for it.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Says on standard error why it could not start.
pub(super) fn not_started(failure: &Failure) -> Exit {
    let code = failure.code.as_deref().unwrap_or("E0701");
    say(&format!("error[{code}]: {}\n", failure.message));
    Exit::NotStarted
}

/// Says on standard error why what was asked for is not done.
pub(super) fn refused(failure: &Failure) -> Exit {
    let message = harmless(&failure.message);
    match failure.code.as_deref().filter(|code| code.starts_with('E')) {
        Some(code) => say(&format!("error[{code}]: {message}\n")),
        None => say(&format!("error: {message} ({})\n", failure.kind)),
    }
    Exit::Failed
}

/// Says on standard error what is missing in what was shown, since the journal cannot be read to its end.
pub(super) fn incomplete(typed: &Typed, left_out: &str) -> Exit {
    let message = format!("this is what can still be read of a damaged journal: {left_out}; pipehost store verify says what can be done");
    say(&format!("error[{DATA_LOSS_SUSPECTED}]: {}\n", harmless(&typed.text(&message))));
    Exit::Failed
}

/// How the program ends once it has written, or cannot write: a reader that has seen enough is no mistake, and no excuse for one.
pub(super) fn after_writing(written: io::Result<()>, otherwise: Exit) -> Exit {
    match written {
        Ok(()) => otherwise,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => otherwise,
        Err(error) => {
            say(&format!("error[E0706]: the output cannot be written: {error}\n"));
            Exit::Failed
        }
    }
}

/// Writes to standard error. If nobody listens there any more, there is nobody left to tell.
pub(super) fn say(text: &str) {
    use io::Write;
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_has_seen_enough_changes_nothing_of_how_it_ended() {
        for exit in [Exit::Good, Exit::Failed] {
            assert_eq!(after_writing(Err(io::ErrorKind::BrokenPipe.into()), exit), exit);
            assert_eq!(after_writing(Ok(()), exit), exit);
            assert_eq!(after_writing(Err(io::ErrorKind::StorageFull.into()), exit), Exit::Failed);
        }
    }
}
