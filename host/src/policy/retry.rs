//! `retry`: whether a failed attempt is made again, and when.

use std::time::Duration;

use crate::model::failure::{Failure, FailureKind};
use crate::model::policy::RetrySettings;
use crate::model::time::Timestamp;

/// What is asked when an attempt has failed.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// Which attempt failed, from 1.
    pub attempt: u32,
    /// With what.
    pub failure: &'a Failure,
    /// What `should_retry` says of it; without one, `failure.kind.is_retryable()`.
    pub wanted: bool,
    /// Whether the attempt told a progress.
    pub progressed: bool,
    /// What time it is.
    pub now: Timestamp,
    /// When the job must be over.
    pub deadline: Option<Timestamp>,
    /// A drawn number from 0 up to, but without, 1, for the jitter.
    pub fraction: f64,
}

/// Whether it is tried again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Decision {
    /// No: the failure is the job's.
    Stop(StopReason),
    /// Yes, then.
    Again {
        /// When the next attempt begins.
        due: Timestamp,
    },
}

/// Why it is not tried again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StopReason {
    /// It was cancelled or rejected: never tried again, whatever `should_retry` says.
    Final,
    /// `should_retry` is false for it, or its kind is none that is tried again.
    NotWanted,
    /// A progress went out, and `stop_after: first_progress` stands there.
    Progressed,
    /// All retries are used.
    Exhausted,
    /// The wait would end at or after the deadline.
    NoTimeLeft,
}

/// Decides. All sums saturate: any attempt number and any settings are good.
pub fn decide(settings: &RetrySettings, question: Question<'_>) -> Decision {
    if matches!(question.failure.kind, FailureKind::Cancelled | FailureKind::Rejected) {
        return Decision::Stop(StopReason::Final);
    }
    if !question.wanted {
        return Decision::Stop(StopReason::NotWanted);
    }
    if question.progressed && settings.stop_after_first_progress {
        return Decision::Stop(StopReason::Progressed);
    }
    if question.attempt > settings.max_retries {
        return Decision::Stop(StopReason::Exhausted);
    }
    let due = question.now + wait(settings, question.attempt, question.failure.retry_after, question.fraction);
    match question.deadline {
        // An attempt that began at the deadline would have no time: better to say so now than after the wait.
        Some(deadline) if due >= deadline => Decision::Stop(StopReason::NoTimeLeft),
        _ => Decision::Again { due },
    }
}

/// The wait after that attempt. The other side's word counts over our own sum, without jitter: it knows when it has room.
fn wait(settings: &RetrySettings, attempt: u32, retry_after: Option<Duration>, fraction: f64) -> Duration {
    if let Some(asked) = retry_after {
        return asked.min(settings.max_delay);
    }
    let wait = backoff(settings, attempt);
    // A fraction that is none, or out of bounds, is the whole wait.
    if settings.jitter && (0.0..1.0).contains(&fraction) { wait.mul_f64(fraction) } else { wait }
}

/// `base_delay × multiplier^(attempt - 1)`, at most `max_delay`.
pub fn backoff(settings: &RetrySettings, attempt: u32) -> Duration {
    if settings.base_delay.is_zero() {
        return Duration::ZERO;
    }
    let power = i32::try_from(attempt.saturating_sub(1)).unwrap_or(i32::MAX);
    let seconds = settings.base_delay.as_secs_f64() * settings.multiplier.powi(power);
    // Not a number, below zero and beyond what a duration holds: only a huge one comes of a sane multiplier, so it is the longest wait.
    Duration::try_from_secs_f64(seconds).map_or(settings.max_delay, |wait| wait.min(settings.max_delay))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const NOW: Timestamp = Timestamp::from_nanos(1_000_000_000_000);

    fn ask(attempt: u32, failure: &Failure) -> Question<'_> {
        let wanted = failure.kind.is_retryable();
        Question { attempt, failure, wanted, progressed: false, now: NOW, deadline: None, fraction: 0.5 }
    }

    fn transient() -> Failure {
        Failure::new(FailureKind::Transient, "busy")
    }

    #[test]
    fn waits_one_two_four_seconds_and_then_gives_up() {
        let failure = transient();
        let settings = RetrySettings::default();
        let decisions: Vec<_> = (1..=4).map(|attempt| decide(&settings, ask(attempt, &failure))).collect();
        let again = |seconds| Decision::Again { due: NOW + SECOND * seconds };
        assert_eq!(decisions, [again(1), again(2), again(4), Decision::Stop(StopReason::Exhausted)]);
    }

    #[test]
    fn waits_saturate_at_the_longest() {
        let settings = RetrySettings::default();
        for attempt in [6, 64, 10_000, u32::MAX] {
            assert_eq!(backoff(&settings, attempt), SECOND * 30, "attempt {attempt}");
        }
        assert_eq!(backoff(&settings, 5), SECOND * 16);
    }

    #[test]
    fn extreme_multipliers_and_delays_do_no_harm() {
        let with = |base_delay, multiplier, max_delay| RetrySettings { base_delay, multiplier, max_delay, ..RetrySettings::default() };
        assert_eq!(backoff(&with(SECOND, 1.0, SECOND * 30), u32::MAX), SECOND);
        assert_eq!(backoff(&with(SECOND, 0.5, SECOND * 30), 3), SECOND / 4);
        assert_eq!(backoff(&with(SECOND, 0.0, SECOND * 30), 10_000), Duration::ZERO);
        assert_eq!(backoff(&with(Duration::ZERO, f64::MAX, SECOND * 30), u32::MAX), Duration::ZERO);
        assert_eq!(backoff(&with(Duration::MAX, f64::MAX, Duration::MAX), 2), Duration::MAX);
        assert_eq!(backoff(&with(SECOND, f64::NAN, SECOND * 30), 2), SECOND * 30);
        assert_eq!(backoff(&with(SECOND, f64::INFINITY, SECOND * 30), 2), SECOND * 30);
        assert_eq!(backoff(&with(SECOND, -2.0, SECOND * 30), 2), SECOND * 30);
    }

    #[test]
    fn what_the_other_side_asked_for_counts_and_is_cut() {
        let settings = RetrySettings { jitter: true, ..RetrySettings::default() };
        let failure = transient().with_retry_after(SECOND * 7);
        assert_eq!(decide(&settings, ask(1, &failure)), Decision::Again { due: NOW + SECOND * 7 });
        let failure = transient().with_retry_after(Duration::MAX);
        assert_eq!(decide(&settings, ask(1, &failure)), Decision::Again { due: NOW + SECOND * 30 });
    }

    #[test]
    fn a_wait_that_does_not_fit_the_deadline_stops_at_once() {
        let failure = transient();
        let with = |deadline| decide(&RetrySettings::default(), Question { deadline: Some(deadline), ..ask(3, &failure) });
        assert_eq!(with(NOW + SECOND * 4), Decision::Stop(StopReason::NoTimeLeft));
        assert_eq!(with(NOW + SECOND * 4 + Duration::from_nanos(1)), Decision::Again { due: NOW + SECOND * 4 });
        assert_eq!(with(Timestamp::EPOCH), Decision::Stop(StopReason::NoTimeLeft));
    }

    #[test]
    fn cancelled_and_rejected_are_never_tried_again() {
        for kind in [FailureKind::Cancelled, FailureKind::Rejected] {
            let failure = Failure::new(kind, "x");
            let decision = decide(&RetrySettings::default(), Question { wanted: true, ..ask(1, &failure) });
            assert_eq!(decision, Decision::Stop(StopReason::Final));
        }
    }

    #[test]
    fn what_is_wanted_goes_by_the_word_of_should_retry() {
        let (invalid, busy) = (Failure::new(FailureKind::Invalid, "x"), transient());
        let settings = RetrySettings::default();
        assert_eq!(decide(&settings, ask(1, &invalid)), Decision::Stop(StopReason::NotWanted));
        assert!(matches!(decide(&settings, Question { wanted: true, ..ask(1, &invalid) }), Decision::Again { .. }));
        assert_eq!(decide(&settings, Question { wanted: false, ..ask(1, &busy) }), Decision::Stop(StopReason::NotWanted));
    }

    #[test]
    fn a_progress_ends_the_retrying_only_where_it_is_asked_to() {
        let failure = transient();
        let question = Question { progressed: true, ..ask(1, &failure) };
        let settings = RetrySettings { stop_after_first_progress: true, ..RetrySettings::default() };
        assert_eq!(decide(&settings, question), Decision::Stop(StopReason::Progressed));
        assert!(matches!(decide(&RetrySettings::default(), question), Decision::Again { .. }));
        assert!(matches!(decide(&settings, ask(1, &failure)), Decision::Again { .. }));
    }

    proptest! {
        #[test]
        fn a_wait_is_never_longer_than_the_longest(
            attempt: u32, base in 0_u64.., longest in 0_u64.., multiplier: f64, fraction: f64, jitter: bool, asked in prop::option::of(0_u64..),
        ) {
            let settings = RetrySettings {
                base_delay: Duration::from_millis(base), max_delay: Duration::from_millis(longest), multiplier, jitter, ..RetrySettings::default()
            };
            prop_assert!(wait(&settings, attempt, asked.map(Duration::from_secs), fraction) <= settings.max_delay);
        }

        #[test]
        fn waits_do_not_shrink_from_one_attempt_to_the_next(attempt in 1_u32..u32::MAX, base in 0_u64..100_000, multiplier in 1.0..10.0) {
            let settings = RetrySettings { base_delay: Duration::from_millis(base), multiplier, max_retries: u32::MAX, ..RetrySettings::default() };
            prop_assert!(backoff(&settings, attempt) <= backoff(&settings, attempt + 1));
        }

        #[test]
        fn at_most_so_many_retries_are_made(max_retries in 0_u32..20) {
            let settings = RetrySettings { max_retries, base_delay: Duration::ZERO, ..RetrySettings::default() };
            let failure = transient();
            let made = (1..).take_while(|attempt| matches!(decide(&settings, ask(*attempt, &failure)), Decision::Again { .. })).count();
            prop_assert_eq!(made as u32, max_retries);
        }
    }
}
