//! `deadline`: the time for a step with all its retries; on a flow, for the whole run.

use std::time::Duration;

use crate::model::failure::{Failure, FailureKind};
use crate::model::policy::show_duration;
use crate::model::time::Timestamp;

/// The code of a failure because a deadline passed.
pub const CODE: &str = "deadline";

/// When it must be over: the earlier of what it has from `now` on and what it was handed down.
pub fn earliest(now: Timestamp, own: Option<Duration>, outer: Option<Timestamp>) -> Option<Timestamp> {
    own.map(|own| now + own).into_iter().chain(outer).min()
}

/// Which deadline passed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Limit {
    /// The step's own, of this length.
    Step(Duration),
    /// The run's own, of this length.
    Run(Duration),
    /// One that came from outside: of the run that called this one.
    HandedDown,
}

/// The failure of what was not over in time; its message names the limit and the YAML to change.
pub fn failure(limit: Limit) -> Failure {
    let message = match limit {
        Limit::Step(time) => {
            format!("the step with all its retries took longer than its `deadline: {}`", show_duration(time))
        }
        Limit::Run(time) => format!("the run took longer than its flow's `deadline: {}`", show_duration(time)),
        Limit::HandedDown => "the deadline of whoever asked for this has passed".to_owned(),
    };
    Failure::new(FailureKind::Timeout, message).with_code(CODE)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_earlier_of_two_binds() {
        let now = Timestamp::EPOCH + SECOND * 10;
        assert_eq!(earliest(now, None, None), None);
        assert_eq!(earliest(now, Some(SECOND), None), Some(now + SECOND));
        assert_eq!(earliest(now, None, Some(now + SECOND)), Some(now + SECOND));
        assert_eq!(earliest(now, Some(SECOND * 5), Some(now + SECOND)), Some(now + SECOND));
        assert_eq!(earliest(now, Some(SECOND), Some(now + SECOND * 5)), Some(now + SECOND));
        assert_eq!(earliest(now, Some(Duration::MAX), None), Some(Timestamp::MAX));
    }

    #[test]
    fn the_message_names_the_limit() {
        let failure = failure(Limit::Step(SECOND * 60));
        assert_eq!(failure.message, "the step with all its retries took longer than its `deadline: 1m`");
        assert_eq!((failure.kind, failure.code.as_deref()), (FailureKind::Timeout, Some("deadline")));
    }
}
