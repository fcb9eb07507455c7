//! The clock of the machine.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::model::port::{Clock, Sleep};
use crate::model::time::Timestamp;

/// Real time: the wall clock as it stood when this was made, plus the monotonic time since.
///
/// It never goes back, also when somebody sets the machine's clock; refused is reading the wall clock each time, because
/// deadlines would then move with it.
#[derive(Clone, Debug)]
pub struct RealClock {
    began: Instant,
    epoch: Timestamp,
}

impl RealClock {
    /// A clock that begins at the machine's time. A machine whose clock stands before 1970 is taken to be at 1970.
    #[expect(clippy::disallowed_methods, reason = "this is the one home of real time")]
    pub fn new() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { began: Instant::now(), epoch: Timestamp::EPOCH + wall }
    }
}

impl Default for RealClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for RealClock {
    fn now(&self) -> Timestamp {
        self.epoch + self.began.elapsed()
    }

    #[expect(clippy::disallowed_methods, reason = "this is the one home of real waits")]
    fn sleep_until(&self, at: Timestamp) -> Sleep {
        match self.began.checked_add(at.since(self.epoch)) {
            Some(due) => Box::pin(tokio::time::sleep_until(due.into())),
            // Later than this machine can count.
            None => Box::pin(std::future::pending()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_wait_ends_when_it_is_due_and_not_before() {
        let clock = RealClock::new();
        let due = clock.now() + Duration::from_millis(2);
        clock.sleep_until(due).await;
        assert!(clock.now() >= due);
        clock.sleep_until(Timestamp::EPOCH).await;
    }

    #[test]
    fn time_does_not_go_back() {
        let clock = RealClock::new();
        let times: Vec<_> = (0..1_000).map(|_| clock.now()).collect();
        assert!(times.is_sorted());
    }
}
