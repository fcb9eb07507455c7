//! A clock that stands still until it is told to go on, so that a test runs hours in milliseconds.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::future::{Either, select};
use tokio::sync::Notify;

use super::Activity;
use crate::model::port::{Clock, Sleep};
use crate::model::time::Timestamp;

/// How often the others get their turn after the counted ones came to rest: for tasks that nobody counts, as those of a
/// test itself. Whoever must be waited for exactly is counted by [`Activity`].
const TURNS: usize = 16;

/// Virtual time. Cloning gives another handle on the same clock.
#[derive(Clone)]
pub struct VirtualClock {
    shared: Arc<Shared>,
    activity: Activity,
}

struct Shared {
    state: Mutex<State>,
    /// Told when somebody begins to wait.
    asleep: Notify,
}

struct State {
    now: Timestamp,
    /// By due time, then by the order in which the waits were asked for.
    sleepers: BTreeMap<(Timestamp, u64), Option<Waker>>,
    next: u64,
}

impl VirtualClock {
    /// A clock at the epoch that waits for those whom `activity` counts before it jumps.
    pub fn new(activity: Activity) -> Self {
        Self::starting_at(Timestamp::EPOCH, activity)
    }

    /// The same at another time.
    pub fn starting_at(now: Timestamp, activity: Activity) -> Self {
        let state = Mutex::new(State { now, sleepers: BTreeMap::new(), next: 0 });
        Self { shared: Arc::new(Shared { state, asleep: Notify::new() }), activity }
    }

    /// Lets so much time pass: from due time to due time in order, everything running idle before each jump and at the end.
    pub async fn advance(&self, duration: Duration) {
        let end = self.shared.state().now + duration;
        loop {
            self.settle().await;
            if !self.wake_next(end) {
                break;
            }
        }
        self.shared.state().now = end;
        self.settle().await;
    }

    /// Lets as much time pass as `future` needs, and gives what it comes to.
    ///
    /// If nobody waits for a time and `future` is not ready, it waits for something else to happen.
    pub async fn run<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        loop {
            let jump = pin!(self.jump());
            match select(future.as_mut(), jump).await {
                Either::Left((output, _)) => return output,
                Either::Right(((), _)) => {}
            }
        }
    }

    /// Jumps to the next due time and ends that wait; to be called when everything is at [rest](Self::settle). False if nobody waits for a
    /// time: then nothing will ever happen again by itself.
    pub fn next(&self) -> bool {
        self.wake_next(Timestamp::MAX)
    }

    /// How many waits there are.
    pub fn sleepers(&self) -> usize {
        self.shared.state().sleepers.len()
    }

    async fn jump(&self) {
        loop {
            let asleep = self.shared.asleep.notified();
            let mut asleep = pin!(asleep);
            asleep.as_mut().enable();
            self.settle().await;
            if self.wake_next(Timestamp::MAX) {
                return;
            }
            asleep.await;
        }
    }

    /// Lets everything that runs come to rest. No time passes.
    pub async fn settle(&self) {
        for _ in 0..TURNS {
            self.activity.idle().await;
            tokio::task::yield_now().await;
        }
        self.activity.idle().await;
    }

    /// Jumps to the first wait that is due by `end` and ends it; one at a time, so that each sees what the one before it did.
    fn wake_next(&self, end: Timestamp) -> bool {
        let waker = {
            let mut state = self.shared.state();
            let Some(first) = state.sleepers.first_entry() else { return false };
            let due = first.key().0;
            if due > end {
                return false;
            }
            let waker = first.remove();
            state.now = state.now.max(due);
            waker
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        true
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        self.shared.state().now
    }

    fn sleep_until(&self, at: Timestamp) -> Sleep {
        let mut state = self.shared.state();
        if at <= state.now {
            return Box::pin(std::future::ready(()));
        }
        let key = (at, state.next);
        state.next += 1;
        state.sleepers.insert(key, None);
        drop(state);
        self.shared.asleep.notify_waiters();
        Box::pin(Sleeper { shared: Arc::clone(&self.shared), key })
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Sleeper {
    shared: Arc<Shared>,
    key: (Timestamp, u64),
}

impl Future for Sleeper {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        match self.shared.state().sleepers.get_mut(&self.key) {
            Some(waker) => {
                *waker = Some(context.waker().clone());
                Poll::Pending
            }
            None => Poll::Ready(()),
        }
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let waker = self.shared.state().sleepers.remove(&self.key);
        // Dropped only here, outside the lock: a waker's drop may run anything.
        drop(waker);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn clock() -> (VirtualClock, Activity) {
        let activity = Activity::new();
        (VirtualClock::new(activity.clone()), activity)
    }

    #[tokio::test]
    async fn waits_end_in_the_order_of_their_due_times_and_then_of_asking() {
        let (clock, _) = clock();
        let order = Arc::new(Mutex::new(Vec::new()));
        for (name, seconds) in [("c", 3), ("a", 1), ("b", 2), ("b2", 2)] {
            let (sleep, order, clock) = (clock.sleep_until(Timestamp::EPOCH + SECOND * seconds), Arc::clone(&order), clock.clone());
            tokio::spawn(async move {
                sleep.await;
                order.lock().expect("no panic").push((name, clock.now().as_millis()));
            });
        }
        clock.advance(SECOND * 2).await;
        assert_eq!(*order.lock().expect("no panic"), [("a", 1_000), ("b", 2_000), ("b2", 2_000)]);
        assert_eq!(clock.sleepers(), 1);
        clock.advance(SECOND).await;
        assert_eq!(order.lock().expect("no panic").len(), 4);
    }

    #[tokio::test]
    async fn a_wait_that_is_asked_for_on_the_way_is_met_on_the_way() {
        let (clock, activity) = clock();
        let mut busy = activity.enter();
        let walker = clock.clone();
        let task = tokio::spawn(async move {
            for _ in 0..4_000 {
                busy.rest(walker.sleep_until(walker.now() + SECOND)).await;
            }
            walker.now()
        });
        clock.advance(SECOND * 4_000).await;
        assert_eq!(task.await.expect("no panic"), Timestamp::EPOCH + SECOND * 4_000);
    }

    #[tokio::test]
    async fn time_stands_while_a_counted_one_works() {
        let (clock, activity) = clock();
        let busy = activity.enter();
        let advance = clock.clone();
        let task = tokio::spawn(async move { advance.advance(SECOND).await });
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(clock.now(), Timestamp::EPOCH);
        drop(busy);
        task.await.expect("no panic");
        assert_eq!(clock.now(), Timestamp::EPOCH + SECOND);
    }

    #[tokio::test]
    async fn a_dropped_wait_is_forgotten() {
        let (clock, _) = clock();
        drop(clock.sleep_until(Timestamp::MAX));
        assert_eq!(clock.sleepers(), 0);
        clock.sleep_until(Timestamp::EPOCH).await;
    }

    #[tokio::test]
    async fn a_run_takes_the_time_it_needs() {
        let (clock, _) = clock();
        let end = clock
            .run(async {
                clock.sleep_until(Timestamp::EPOCH + SECOND * 14_400).await;
                clock.now()
            })
            .await;
        assert_eq!(end, Timestamp::EPOCH + SECOND * 14_400);
    }
}
