//! What a host says of runs and dead letters, with the commands that its texts name as they can be typed where they are read.
//!
//! A host knows neither by which name the program was called nor how its data folder was named. Only pipehost's own texts are looked at: why something
//! stands still, what was done, failures. What runs were given and gave is shown as it is.

use super::typed::Typed;
use crate::app::views::{LetterRow, LetterStory, RunRow, RunStory, Status, TraceNode};
use crate::app::{Asked, MigrationRow, Signalled, Verdict};
use crate::model::activation::RunOutcome;
use crate::model::failure::Failure;

/// Something that a host says.
pub(super) trait Said {
    /// Puts each command in it as it is typed here.
    fn type_commands(&mut self, typed: &Typed);
}

impl Said for String {
    fn type_commands(&mut self, typed: &Typed) {
        *self = typed.text(self).into_owned();
    }
}

impl<T: Said> Said for Option<T> {
    fn type_commands(&mut self, typed: &Typed) {
        self.iter_mut().for_each(|said| said.type_commands(typed));
    }
}

impl Said for Failure {
    fn type_commands(&mut self, typed: &Typed) {
        *self = typed.failure(self);
    }
}

impl Said for RunOutcome {
    fn type_commands(&mut self, typed: &Typed) {
        match self {
            Self::Succeeded | Self::Cancelled { .. } => {}
            Self::Failed { failure } | Self::TimedOut { failure } => failure.type_commands(typed),
            Self::Parked { because, left } => {
                because.type_commands(typed);
                left.iter_mut().for_each(|(_, failure)| failure.type_commands(typed));
            }
        }
    }
}

impl Said for RunRow {
    fn type_commands(&mut self, typed: &Typed) {
        if let Status::Stalled { reason } = &mut self.status {
            reason.type_commands(typed);
        }
    }
}

impl Said for RunStory {
    fn type_commands(&mut self, typed: &Typed) {
        self.row.type_commands(typed);
        for step in &mut self.steps {
            step.failure.type_commands(typed);
            step.attempts.iter_mut().for_each(|attempt| attempt.failure.type_commands(typed));
        }
        self.end.type_commands(typed);
        self.unreadable.type_commands(typed);
    }
}

impl Said for LetterRow {
    fn type_commands(&mut self, typed: &Typed) {
        self.failure.type_commands(typed);
    }
}

impl Said for LetterStory {
    fn type_commands(&mut self, typed: &Typed) {
        self.row.type_commands(typed);
        self.history.type_commands(typed);
    }
}

impl Said for TraceNode {
    fn type_commands(&mut self, typed: &Typed) {
        self.state.type_commands(typed);
        self.error.type_commands(typed);
    }
}

impl Said for Asked {
    fn type_commands(&mut self, typed: &Typed) {
        self.done.type_commands(typed);
    }
}

impl Said for MigrationRow {
    fn type_commands(&mut self, typed: &Typed) {
        self.hindered.iter_mut().for_each(|why| why.type_commands(typed));
    }
}

impl Said for Signalled {
    fn type_commands(&mut self, typed: &Typed) {
        if let Verdict::Refused { message, .. } = &mut self.verdict {
            message.type_commands(typed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::model::failure::FailureKind;

    #[test]
    fn every_text_of_pipehost_s_own_gets_the_data_folder_and_nothing_else_does() {
        let typed = Typed::here(Path::new("dv"));
        let say = "pipehost runs resume 01a2 tries it again";
        let meant = typed.text(say).into_owned();
        assert!(meant.contains(" runs resume --data dv 01a2 "), "{meant}");
        let mut asked = Asked { id: say.to_owned(), begun: None, done: say.to_owned(), status: None };
        asked.type_commands(&typed);
        assert_eq!((asked.id.as_str(), &asked.done), (say, &meant));
        let failure = || Failure::new(FailureKind::Permanent, say).with_cause(Failure::new(FailureKind::Permanent, say));
        let mut end =
            RunOutcome::Parked { because: Box::new(RunOutcome::Failed { failure: failure() }), left: vec![("pay".into(), failure())] };
        end.type_commands(&typed);
        let RunOutcome::Parked { because, left } = end else { panic!("it stays what it is") };
        for failure in because.failure().into_iter().chain(left.iter().map(|(_, failure)| failure)) {
            assert_eq!(failure.message, meant);
            assert_eq!(failure.cause.as_ref().map(|cause| &cause.message), Some(&meant), "what it came of too");
        }
    }
}
