//! The host stops, and a durable run is left where it is: the next start goes on with it.

use super::Driver;
use super::giving::Next;
use crate::engine::run::Input;
use crate::model::job::CancelReason;

impl Driver {
    /// Whether the run is left where it is instead of hearing this. What has succeeded is still recorded, and so is that somebody no longer wants the
    /// run; what fails now fails because of the stop.
    pub(super) fn leaves(&self, next: &Next) -> bool {
        let counts = match next {
            Next::Input(Input::AttemptEnded { result, .. }) => result.is_ok(),
            Next::Input(Input::Cancel { reason }) => *reason != CancelReason::Shutdown,
            _ => false,
        };
        self.is_stopping() && !counts
    }

    /// Whether the host stops and the run survives that.
    pub(super) fn is_stopping(&self) -> bool {
        self.state.flow().durable && self.shared.stop.is_cancelled()
    }

    /// Its attempts are given up, and nothing is recorded.
    pub(super) fn leave_behind(&mut self) {
        self.left = true;
        self.works.clear();
        self.answers.clear();
        let run = self.state.beginning().run;
        self.shared.depart(run);
        if let Some(requester) = &self.requester {
            requester.left(run);
        }
    }
}
