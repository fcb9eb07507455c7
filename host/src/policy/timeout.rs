//! `timeout`: the time for one attempt.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};

use crate::model::failure::{Failure, FailureKind};
use crate::model::job::Job;
use crate::model::policy::show_duration;
use crate::model::port::{Attempt, Clock};
use crate::model::value::Value;
use crate::policy::deadline;
use crate::policy::stack::Inner;

/// The code of an attempt that took too long.
pub const CODE: &str = "timeout";

/// The wrapper. It has no state, so it belongs to one stack.
#[derive(Clone)]
pub struct Timeout {
    limit: Duration,
    clock: Arc<dyn Clock>,
}

impl Timeout {
    /// One of that length.
    pub fn new(limit: Duration, clock: Arc<dyn Clock>) -> Self {
        Self { limit, clock }
    }

    /// One call; it is dropped when its time is over. The executor is told the earlier of this and of what was handed down.
    ///
    /// # Errors
    /// `timeout` if it took too long, else what came of the call. A result that is there when the time is over counts.
    pub async fn call(&self, inner: Inner<'_>, job: Arc<Job>, mut attempt: Attempt) -> Result<Value, Failure> {
        let now = self.clock.now();
        attempt.deadline = deadline::earliest(now, Some(self.limit), attempt.deadline);
        match select(inner.call(job, attempt), self.clock.sleep_until(now + self.limit)).await {
            Either::Left((result, _)) => result,
            Either::Right(_) => {
                let message = format!("the attempt took longer than its `timeout: {}`", show_duration(self.limit));
                Err(Failure::new(FailureKind::Timeout, message).with_code(CODE))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::time::Timestamp;
    use crate::policy::scripted::{Scene, Script};

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test]
    async fn an_attempt_that_takes_too_long_is_dropped() {
        let scene = Scene::new();
        let script = Script::taking(scene.rests(SECOND * 60));
        let timeout = Timeout::new(SECOND * 10, scene.clock());
        let failure = scene.time.run(timeout.call(script.inner(), scene.job(), scene.attempt())).await.expect_err("too long");
        assert_eq!((failure.kind, failure.code.as_deref()), (FailureKind::Timeout, Some("timeout")));
        assert_eq!(failure.message, "the attempt took longer than its `timeout: 10s`");
        assert_eq!(scene.time_now(), Timestamp::EPOCH + SECOND * 10);
        assert_eq!(scene.time.sleepers(), 0, "the work was dropped");
    }

    #[tokio::test]
    async fn an_attempt_in_time_is_left_alone() {
        let scene = Scene::new();
        let script = Script::taking(scene.rests(SECOND * 9));
        let timeout = Timeout::new(SECOND * 10, scene.clock());
        assert!(scene.time.run(timeout.call(script.inner(), scene.job(), scene.attempt())).await.is_ok());
    }

    #[tokio::test]
    async fn the_executor_is_told_the_earlier_limit() {
        let scene = Scene::new();
        let timeout = Timeout::new(SECOND * 10, scene.clock());
        for (outer, told) in [(None, SECOND * 10), (Some(SECOND * 3), SECOND * 3), (Some(SECOND * 30), SECOND * 10)] {
            let script = Script::ok();
            let attempt = Attempt { deadline: outer.map(|outer| Timestamp::EPOCH + outer), ..scene.attempt() };
            assert!(timeout.call(script.inner(), scene.job(), attempt).await.is_ok());
            assert_eq!(script.deadlines(), [Some(Timestamp::EPOCH + told)]);
        }
    }

    #[tokio::test]
    async fn no_time_at_all_is_enough_for_what_is_there_at_once() {
        let scene = Scene::new();
        let timeout = Timeout::new(Duration::ZERO, scene.clock());
        assert!(timeout.call(Script::ok().inner(), scene.job(), scene.attempt()).await.is_ok());
        let never = Script::failing(FailureKind::Failed, 0).then_never();
        assert!(timeout.call(never.inner(), scene.job(), scene.attempt()).await.is_err());
    }
}
