//! What the store cannot give at this moment is asked for again after waits that double: nothing that the last host left behind, and no run that wakes,
//! is left lying for a moment's sake. What was done before is not done again, so that the whole of it is repeated from where it came to a stand.

use std::time::Duration;

use crate::engine::shared::Shared;
use crate::model::happening::What;
use crate::model::port::{Health, StoreError};

/// The wait before the store is asked again, and the longest: it doubles.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// So often at most something is asked for that cannot be read, though the store says that nothing is wrong with it: what is damaged stays so.
const READS: u32 = 6;

impl Shared {
    /// What the store answers. While that is an error which may pass it is asked again, as long as this host does not stop; each time that is told. For
    /// whoever is counted as [busy](crate::clock::Busy): it rests meanwhile.
    ///
    /// # Errors
    /// One that does not pass, or the last before the stop.
    pub(in crate::engine) async fn insist<T, F>(&self, mut ask: impl FnMut() -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let (mut wait, mut asked) = (FIRST_WAIT, 0);
        loop {
            let error = match ask().await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            asked += 1;
            if !may_pass(&error, &self.ports.store.health(), asked) {
                return Err(error);
            }
            self.tell(What::StoreBusy { reason: error.to_string(), wait });
            let sleep = self.ports.clock.sleep_until(self.ports.clock.now() + wait);
            let is_stopped = self.ports.activity.rest(async {
                tokio::select! {
                    biased;
                    () = self.stop.cancelled() => true,
                    () = sleep => false,
                }
            });
            if is_stopped.await {
                return Err(error);
            }
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }
}

/// Whether it is worth asking again what was answered so, and asked for so often.
const fn may_pass(error: &StoreError, health: &Health, asked: u32) -> bool {
    match error {
        StoreError::Busy(_) | StoreError::Full(_) => !matches!(health, Health::Broken(_) | Health::Suspect(_)),
        // The store is not broken by what could not be read of it: there may have been too many open files, or no memory.
        StoreError::Broken(_) => matches!(health, Health::Good | Health::Full(_) | Health::Held(_)) && asked < READS,
        StoreError::OutOfOrder { .. }
        | StoreError::Fenced { .. }
        | StoreError::TooLarge { .. }
        | StoreError::Unreadable(_)
        | StoreError::Suspect(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_pass_is_asked_for_again_and_what_is_damaged_a_few_times_only() {
        let why = || "why".to_owned();
        let asked_again = |error: &StoreError, health: &Health| (1..1_000).take_while(|asked| may_pass(error, health, *asked)).count();
        assert_eq!(asked_again(&StoreError::Busy(why()), &Health::Good), 999);
        assert_eq!(asked_again(&StoreError::Full(why()), &Health::Full(why())), 999);
        assert_eq!(asked_again(&StoreError::Broken(why()), &Health::Good), READS as usize - 1);
        for health in [Health::Broken(why()), Health::Suspect(why())] {
            for error in [StoreError::Busy(why()), StoreError::Broken(why())] {
                assert_eq!(asked_again(&error, &health), 0, "{error:?} {health:?}");
            }
        }
        for error in [StoreError::Suspect(why()), StoreError::Unreadable(why())] {
            assert_eq!(asked_again(&error, &Health::Good), 0, "{error:?}");
        }
    }
}
