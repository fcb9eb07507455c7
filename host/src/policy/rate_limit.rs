//! `rate_limit`: so many calls in so much time.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::{Either, select};

use crate::clock::Activity;
use crate::model::failure::{Failure, FailureKind};
use crate::model::job::Job;
use crate::model::policy::{RateLimitSettings, show_duration, show_wait};
use crate::model::port::{Attempt, Clock};
use crate::model::time::Timestamp;
use crate::model::value::Value;
use crate::policy::stack::{Inner, cancelled};

/// The code of a call that found no turn in time.
pub const CODE: &str = "rate_limit";

/// The pure gauge: the generic cell rate algorithm, which knows all it must from one point in time.
///
/// Own code and not the governor crate: its limiters have their numbers for life, while a reload changes ours and keeps what was
/// used up; and a turn taken there cannot be given back by a call that was cancelled while it waited.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Gauge {
    settings: RateLimitSettings,
    /// When all that was used up will have been paid back.
    level: Timestamp,
}

/// A turn that was taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Turn {
    /// When it comes.
    pub due: Timestamp,
    level: Timestamp,
}

/// Why no turn was taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoTurn {
    /// The next one comes only after so long.
    In(Duration),
    /// The limit is zero: none ever comes.
    Never,
}

impl Gauge {
    /// An unused one.
    pub const fn new(settings: RateLimitSettings) -> Self {
        Self { settings, level: Timestamp::EPOCH }
    }

    /// Takes the next turn if it comes within `max_wait` and before `deadline`; else nothing is taken.
    ///
    /// # Errors
    /// How long the wait would be.
    pub fn take(&mut self, now: Timestamp, deadline: Option<Timestamp>) -> Result<Turn, NoTurn> {
        let Some(cost) = cost(&self.settings) else { return Err(NoTurn::Never) };
        let level = self.level.max(now) + cost;
        // The burst may run ahead of the even pace by all but the call itself.
        let ahead = cost.saturating_mul(self.settings.burst.max(1));
        let due = Timestamp::from_nanos(level.as_nanos().saturating_sub(nanos(ahead))).max(now);
        let wait = due.since(now);
        if wait > self.settings.max_wait || deadline.is_some_and(|deadline| due >= deadline && due > now) {
            return Err(NoTurn::In(wait));
        }
        self.level = level;
        Ok(Turn { due, level })
    }

    /// Gives a turn back that nobody uses. Only the last one can be: those behind it have been told their times already.
    pub fn give_back(&mut self, turn: Turn) {
        if let (true, Some(cost)) = (self.level == turn.level, cost(&self.settings)) {
            self.level = Timestamp::from_nanos(self.level.as_nanos().saturating_sub(nanos(cost)));
        }
    }

    /// Other numbers from now on. So many calls as were used up stay used up, at the new pace.
    pub fn set(&mut self, settings: RateLimitSettings, now: Timestamp) {
        if settings == self.settings {
            return;
        }
        let (before, after) = (cost(&self.settings), cost(&settings));
        self.settings = settings;
        self.level = match (before, after) {
            (Some(before), Some(after)) if !before.is_zero() => {
                let used = u128::from(nanos(self.level.since(now)));
                let used = used * u128::from(nanos(after)) / u128::from(nanos(before));
                now + Duration::from_nanos(u64::try_from(used).unwrap_or(u64::MAX))
            }
            _ => now,
        };
    }
}

/// The time that one call uses up, rounded up so that never more than `limit` pass; `None` if none may.
fn cost(settings: &RateLimitSettings) -> Option<Duration> {
    (settings.limit > 0).then(|| Duration::from_nanos(nanos(settings.per).div_ceil(u64::from(settings.limit))))
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The wrapper: one for each identity, shared by all who name it.
pub struct RateLimit {
    name: String,
    gauge: Mutex<Gauge>,
    clock: Arc<dyn Clock>,
    activity: Activity,
}

impl RateLimit {
    /// An unused one; `name` is what people see.
    pub fn new(name: String, settings: RateLimitSettings, clock: Arc<dyn Clock>, activity: Activity) -> Self {
        Self { name, gauge: Mutex::new(Gauge::new(settings)), clock, activity }
    }

    /// Other numbers from now on; what was used up stays so.
    pub fn set(&self, settings: RateLimitSettings) {
        let now = self.clock.now();
        self.gauge().set(settings, now);
    }

    /// One call, at its turn.
    ///
    /// # Errors
    /// `rejected` if no turn comes in time, `cancelled` if nobody wants it any more while it waits, else what came of the call.
    pub async fn call(&self, inner: Inner<'_>, job: Arc<Job>, attempt: Attempt) -> Result<Value, Failure> {
        let now = self.clock.now();
        let taken = {
            let mut gauge = self.gauge();
            gauge.take(now, attempt.deadline).map_err(|why| self.refusal(&gauge.settings, why))
        };
        let turn = taken?;
        if turn.due > now {
            let mut waiting = Waiting { limit: self, turn: Some(turn) };
            let cancel = std::pin::pin!(attempt.cancel.cancelled());
            let wait = select(self.clock.sleep_until(turn.due), cancel);
            match self.activity.rest(wait).await {
                Either::Left(_) => waiting.turn = None,
                Either::Right(_) => return Err(cancelled("while it waited for its turn under `rate_limit`")),
            }
        }
        inner.call(job, attempt).await
    }

    fn refusal(&self, settings: &RateLimitSettings, why: NoTurn) -> Failure {
        let (name, limit, per) = (&self.name, settings.limit, show_duration(settings.per));
        match why {
            NoTurn::In(wait) => {
                let (wait_text, most) = (show_wait(wait), show_duration(settings.max_wait));
                let message = format!(
                    "the rate limit of `{name}`, {limit} calls in {per}, is used up: the next turn comes in {wait_text}, and `max_wait` is {most}"
                );
                Failure::new(FailureKind::Rejected, message).with_retry_after(wait)
            }
            NoTurn::Never => Failure::new(FailureKind::Rejected, format!("the rate limit of `{name}` lets no call through: its `limit` is 0")),
        }
        .with_code(CODE)
    }

    fn gauge(&self) -> MutexGuard<'_, Gauge> {
        self.gauge.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Waiting<'a> {
    limit: &'a RateLimit,
    turn: Option<Turn>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(turn) = self.turn.take() {
            self.limit.gauge().give_back(turn);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::policy::scripted::{Scene, Script};

    const SECOND: Duration = Duration::from_secs(1);
    const NOW: Timestamp = Timestamp::from_nanos(1_000_000_000_000);

    fn settings(limit: u32, burst: u32, max_wait: Duration) -> RateLimitSettings {
        RateLimitSettings { limit, per: SECOND, burst, max_wait }
    }

    #[test]
    fn a_burst_passes_and_then_the_even_pace() {
        let mut gauge = Gauge::new(settings(2, 2, Duration::ZERO));
        let mut passes = |at: Duration| gauge.take(NOW + at, None).is_ok();
        let half = SECOND / 2;
        assert_eq!([passes(Duration::ZERO), passes(Duration::ZERO), passes(Duration::ZERO)], [true, true, false]);
        assert_eq!([passes(half - Duration::from_nanos(1)), passes(half), passes(half)], [false, true, false]);
        assert_eq!([passes(SECOND * 9), passes(SECOND * 9), passes(SECOND * 9)], [true, true, false]);
    }

    #[test]
    fn turns_are_told_in_order_up_to_the_longest_wait() {
        let mut gauge = Gauge::new(settings(1, 1, SECOND * 2));
        let dues: Vec<_> = (0..4).map(|_| gauge.take(NOW, None).map(|turn| turn.due)).collect();
        assert_eq!(dues, [Ok(NOW), Ok(NOW + SECOND), Ok(NOW + SECOND * 2), Err(NoTurn::In(SECOND * 3))]);
    }

    #[test]
    fn a_turn_at_or_after_the_deadline_is_not_taken() {
        let mut gauge = Gauge::new(settings(1, 1, SECOND * 9));
        assert!(gauge.take(NOW, Some(NOW + SECOND)).is_ok());
        assert_eq!(gauge.take(NOW, Some(NOW + SECOND)), Err(NoTurn::In(SECOND)));
        assert!(gauge.take(NOW, Some(NOW + SECOND * 2)).is_ok());
    }

    #[test]
    fn only_the_last_turn_can_be_given_back() {
        let mut gauge = Gauge::new(settings(1, 1, SECOND * 9));
        let turns: Vec<_> = (0..3).filter_map(|_| gauge.take(NOW, None).ok()).collect();
        gauge.give_back(turns[1]);
        assert_eq!(gauge.take(NOW, None).map(|turn| turn.due), Ok(NOW + SECOND * 3));
        let last = gauge.take(NOW, None).expect("a turn");
        gauge.give_back(last);
        assert_eq!(gauge.take(NOW, None).map(|turn| turn.due), Ok(last.due));
    }

    #[test]
    fn other_numbers_count_at_once_and_what_was_used_stays_used() {
        let mut gauge = Gauge::new(settings(1, 1, SECOND * 99));
        for _ in 0..3 {
            gauge.take(NOW, None).expect("a turn");
        }
        gauge.set(settings(10, 1, SECOND * 99), NOW);
        assert_eq!(gauge.take(NOW, None).map(|turn| turn.due), Ok(NOW + SECOND * 3 / 10));
    }

    #[test]
    fn zeros_do_no_harm() {
        assert_eq!(Gauge::new(settings(0, 1, SECOND)).take(NOW, None), Err(NoTurn::Never));
        let mut free = Gauge::new(RateLimitSettings { per: Duration::ZERO, ..settings(1, 0, Duration::ZERO) });
        assert!((0..100).all(|_| free.take(NOW, None).is_ok()));
        let mut none = Gauge::new(settings(0, 0, SECOND));
        none.set(settings(1, 0, Duration::ZERO), NOW);
        assert_eq!([none.take(NOW, None).is_ok(), none.take(NOW, None).is_ok()], [true, false]);
        let mut slow = Gauge::new(RateLimitSettings { per: Duration::MAX, ..settings(1, u32::MAX, Duration::MAX) });
        assert!(slow.take(NOW, None).is_ok());
    }

    proptest! {
        #[test]
        fn never_more_than_the_burst_and_the_pace_pass(limit in 1_u32..20, burst in 1_u32..10, steps in prop::collection::vec(0_u64..400_000_000, 1..200)) {
            let mut gauge = Gauge::new(settings(limit, burst, Duration::ZERO));
            let (mut now, mut passed) = (NOW, Vec::new());
            for step in steps {
                now = now + Duration::from_nanos(step);
                if gauge.take(now, None).is_ok() {
                    passed.push(now);
                }
            }
            for (place, from) in passed.iter().enumerate() {
                let inside = passed[place..].iter().filter(|at| at.since(*from) < SECOND).count() as u32;
                prop_assert!(inside <= limit + burst, "{} calls in one second", inside);
            }
        }
    }

    #[tokio::test]
    async fn a_call_waits_for_its_turn_and_one_too_many_is_rejected() {
        let scene = Scene::new();
        let limit = RateLimit::new("p/api".to_owned(), settings(1, 1, SECOND), scene.clock(), scene.activity.clone());
        let script = Script::ok();
        let call = || limit.call(script.inner(), scene.job(), scene.attempt());
        let calls = async { tokio::join!(call(), call(), call()) };
        let (first, second, third) = scene.time.run(calls).await;
        assert!(first.is_ok() && second.is_ok());
        assert_eq!(scene.clock().now(), Timestamp::EPOCH + SECOND);
        let failure = third.expect_err("one too many");
        assert_eq!((failure.code.as_deref(), failure.retry_after), (Some("rate_limit"), Some(SECOND * 2)));
        assert_eq!(script.calls(), 2);
    }

    #[tokio::test]
    async fn a_cancelled_wait_ends_at_once_and_gives_its_turn_back() {
        let scene = Scene::new();
        let limit = RateLimit::new("p/api".to_owned(), settings(1, 1, SECOND), scene.clock(), scene.activity.clone());
        let script = Script::ok();
        assert!(limit.call(script.inner(), scene.job(), scene.attempt()).await.is_ok());
        let attempt = scene.attempt();
        let cancel = attempt.cancel.clone();
        let waits = limit.call(script.inner(), scene.job(), attempt);
        let (result, ()) = tokio::join!(waits, async { cancel.cancel() });
        assert_eq!(result.map_err(|failure| failure.kind), Err(FailureKind::Cancelled));
        assert_eq!(limit.gauge().take(scene.clock().now(), None).map(|turn| turn.due), Ok(Timestamp::EPOCH + SECOND));
        assert_eq!(script.calls(), 1);
    }
}
