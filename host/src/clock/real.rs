//! The clock of the machine.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::model::port::{Clock, Sleep};
use crate::model::time::Timestamp;

/// So often a wait looks whether the machine's clock was set, or stood still with the machine: later than that nothing is late.
const LOOK: Duration = Duration::from_secs(1);
/// What the machine's clock may be ahead before it is taken to have been set. Less is left to whoever disciplines it.
const AHEAD: Duration = Duration::from_millis(1_500);

/// Real time: the wall clock as it stood when this was made, plus the monotonic time since, plus whatever the wall clock has jumped forward.
///
/// A machine that slept, or whose clock was set forward, has points in time behind it that the monotonic time knows nothing of: waits look for that
/// once a second, so that what was due meanwhile comes at once. It never goes back, also when somebody sets the machine's clock back: what is to come in
/// an hour comes in an hour. Refused is reading the wall clock each time, because deadlines would then move with it.
#[derive(Clone, Debug)]
pub struct RealClock(Arc<Inside>);

#[derive(Debug)]
struct Inside {
    began: Instant,
    epoch: Timestamp,
    /// What the wall clock has jumped forward, in nanoseconds.
    jumped: AtomicU64,
    /// The wall clock.
    wall: fn() -> Timestamp,
}

#[expect(clippy::disallowed_methods, reason = "this is the one home of real time")]
fn wall() -> Timestamp {
    Timestamp::EPOCH + SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

impl RealClock {
    /// A clock that begins at the machine's time. A machine whose clock stands before 1970 is taken to be at 1970.
    pub fn new() -> Self {
        Self::over(wall)
    }

    #[expect(clippy::disallowed_methods, reason = "this is the one home of real time")]
    fn over(wall: fn() -> Timestamp) -> Self {
        Self(Arc::new(Inside { began: Instant::now(), epoch: wall(), jumped: AtomicU64::new(0), wall }))
    }
}

impl Default for RealClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Inside {
    fn now(&self) -> Timestamp {
        self.epoch + self.began.elapsed() + Duration::from_nanos(self.jumped.load(Ordering::Relaxed))
    }

    /// Looks whether the wall clock has jumped forward.
    fn look(&self) {
        let jumped = self.jumped.load(Ordering::Relaxed);
        let ahead = (self.wall)().since(self.now());
        if ahead >= AHEAD {
            let more = u64::try_from(ahead.as_nanos()).unwrap_or(u64::MAX);
            // Another wait that looks at the same moment sees the same jump: it counts once.
            let _ = self.jumped.compare_exchange(jumped, jumped.saturating_add(more), Ordering::Relaxed, Ordering::Relaxed);
        }
    }
}

impl Clock for RealClock {
    fn now(&self) -> Timestamp {
        self.0.now()
    }

    fn sleep_until(&self, at: Timestamp) -> Sleep {
        Box::pin(Wait { inside: Arc::clone(&self.0), at, look: None })
    }
}

/// A wait for a point in time, in pieces after each of which it is looked whether the clock was set.
struct Wait {
    inside: Arc<Inside>,
    at: Timestamp,
    look: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl Future for Wait {
    type Output = ();

    #[expect(clippy::disallowed_methods, reason = "this is the one home of real waits")]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        loop {
            let now = self.inside.now();
            if self.at <= now {
                return Poll::Ready(());
            }
            let piece = self.at.since(now).min(LOOK);
            let look = self.look.get_or_insert_with(|| Box::pin(tokio::time::sleep(piece)));
            std::task::ready!(look.as_mut().poll(context));
            self.look = None;
            self.inside.look();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

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

    /// A wall clock that whoever tests sets.
    static WALL: AtomicU64 = AtomicU64::new(0);

    fn set_wall() -> Timestamp {
        Timestamp::from_nanos(WALL.load(Ordering::Relaxed))
    }

    #[test]
    fn a_jump_forward_counts_once_and_one_back_does_not_count() {
        const HOUR: Duration = Duration::from_secs(3_600);
        let day = Timestamp::EPOCH + HOUR * 24 * 365;
        let set = |to: Timestamp| WALL.store(u64::try_from(to.since(Timestamp::EPOCH).as_nanos()).expect("it fits"), Ordering::Relaxed);
        set(day);
        let clock = RealClock::over(set_wall);
        let is_at = |time: Timestamp| clock.now() >= time && clock.now().since(time) < HOUR;
        for _ in 0..3 {
            set(day + HOUR * 24);
            clock.0.look();
            assert!(is_at(day + HOUR * 24), "a day forth, however often one looks");
        }
        for back in [day + HOUR * 23, day] {
            set(back);
            clock.0.look();
            assert!(is_at(day + HOUR * 24), "it does not go back");
        }
        set(day + HOUR * 25);
        clock.0.look();
        assert!(is_at(day + HOUR * 25), "and an hour forth again");
    }

    #[tokio::test]
    async fn a_wait_that_a_jump_has_left_behind_is_over() {
        let clock = RealClock::new();
        let mut sleep = clock.sleep_until(clock.now() + Duration::from_secs(3_600));
        assert!((&mut sleep).now_or_never().is_none());
        clock.0.jumped.store(3_600_000_000_000, Ordering::Relaxed);
        assert!((&mut sleep).now_or_never().is_some());
    }
}
