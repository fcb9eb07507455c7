//! Who is running: what lets a virtual clock know that nothing will happen before the next due time.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU8, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;
use tokio::sync::Notify;

/// A counter of what runs. Cloning gives another handle on the same counter.
///
/// Whoever works holds a [`Busy`]; whoever waits for something that only time or another counted one can bring waits
/// inside [`Busy::rest`]. While the count is not zero a virtual clock does not jump.
#[derive(Clone, Debug, Default)]
pub struct Activity(Arc<Counter>);

#[derive(Debug, Default)]
struct Counter {
    running: AtomicI64,
    quiet: Notify,
}

impl Activity {
    /// A counter at zero.
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts one more as running until the guard is dropped.
    pub fn enter(&self) -> Busy {
        self.raise();
        Busy(self.clone())
    }

    /// Waits for `future` with the count lowered. Only for code that runs inside somebody's [`Busy`], as a policy's wait
    /// inside a run's task; whoever holds the guard itself calls [`Busy::rest`].
    pub fn rest<F: Future>(&self, future: F) -> Rest<F> {
        let state = Arc::new(RestState { activity: self.clone(), stage: AtomicU8::new(POLLED), waker: AtomicWaker::new() });
        Rest { waker: Waker::from(Arc::clone(&state)), state, future: Box::pin(future) }
    }

    /// How many are running.
    pub fn running(&self) -> usize {
        usize::try_from(self.0.running.load(Ordering::Acquire)).unwrap_or(0)
    }

    /// Waits until nothing runs; ends at once if nothing does.
    pub async fn idle(&self) {
        loop {
            let quiet = self.0.quiet.notified();
            let mut quiet = std::pin::pin!(quiet);
            // Registered before the count is read, so that the last one's notice cannot fall between.
            quiet.as_mut().enable();
            if self.running() == 0 {
                return;
            }
            quiet.await;
        }
    }

    fn raise(&self) {
        self.0.running.fetch_add(1, Ordering::AcqRel);
    }

    fn lower(&self) {
        if self.0.running.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.quiet.notify_waiters();
        }
    }
}

/// Counts its holder as running.
#[derive(Debug)]
pub struct Busy(Activity);

impl Busy {
    /// Waits for `future` with the count lowered. It is counted again from the moment it is woken, not from when it is
    /// polled, so that nobody sees the gap between the two as quiet.
    ///
    /// Exclusive, because a holder that rested twice at once would be counted out twice.
    pub async fn rest<F: Future>(&mut self, future: F) -> F::Output {
        self.0.rest(future).await
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.lower();
    }
}

/// Being polled, or between two polls without a wait: counted.
const POLLED: u8 = 0;
/// Woken while it was being polled: counted, and it must not come to rest.
const WOKEN: u8 = 1;
/// Waiting: not counted.
const RESTING: u8 = 2;

struct RestState {
    activity: Activity,
    stage: AtomicU8,
    waker: AtomicWaker,
}

impl Wake for RestState {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.stage.swap(WOKEN, Ordering::AcqRel) == RESTING {
            self.activity.raise();
        }
        self.waker.wake();
    }
}

/// A wait that is not counted as running.
pub struct Rest<F> {
    state: Arc<RestState>,
    waker: Waker,
    // Boxed: pinning a field in place needs unsafe code, and a rest is a wait, never the hot path of one that is ready.
    future: Pin<Box<F>>,
}

impl<F: Future> Future for Rest<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        this.state.waker.register(context.waker());
        // Polled without having been woken, as the loser of a select may be: it runs while it is polled.
        if this.state.stage.swap(POLLED, Ordering::AcqRel) == RESTING {
            this.state.activity.raise();
        }
        let polled = this.future.as_mut().poll(&mut Context::from_waker(&this.waker));
        if polled.is_pending() {
            // Counted out only after it is said that it rests: a waker that comes between raises the count first, so it errs upwards.
            let rests = this.state.stage.compare_exchange(POLLED, RESTING, Ordering::AcqRel, Ordering::Acquire).is_ok();
            if rests {
                this.state.activity.lower();
            }
        }
        polled
    }
}

impl<F> Drop for Rest<F> {
    fn drop(&mut self) {
        // Its holder goes on without it.
        if self.state.stage.swap(WOKEN, Ordering::AcqRel) == RESTING {
            self.state.activity.raise();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn is_idle_when_the_last_one_is_gone() {
        let activity = Activity::new();
        let (first, second) = (activity.enter(), activity.enter());
        drop(first);
        assert!(activity.idle().now_or_never().is_none());
        drop(second);
        activity.idle().await;
    }

    #[tokio::test]
    async fn a_rest_is_counted_again_as_soon_as_it_is_woken() {
        let activity = Activity::new();
        let (sender, receiver) = oneshot::channel::<()>();
        let mut busy = activity.enter();
        let task = tokio::spawn(async move { busy.rest(receiver).await });
        activity.idle().await;
        sender.send(()).expect("somebody waits");
        assert_eq!(activity.running(), 1, "before the woken task was polled");
        task.await.expect("no panic").expect("it was sent");
        assert_eq!(activity.running(), 0);
    }

    #[tokio::test]
    async fn a_rest_that_is_dropped_leaves_its_holder_running() {
        let activity = Activity::new();
        let mut busy = activity.enter();
        assert!(busy.rest(std::future::pending::<()>()).now_or_never().is_none());
        assert_eq!(activity.running(), 1);
        drop(busy);
        assert_eq!(activity.running(), 0);
    }

    #[tokio::test]
    async fn what_is_ready_at_once_never_rests() {
        let activity = Activity::new();
        let mut busy = activity.enter();
        assert_eq!(busy.rest(std::future::ready(7)).await, 7);
        assert_eq!(activity.running(), 1);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn the_count_comes_out_even_under_many_threads() {
        let activity = Activity::new();
        let tasks: Vec<_> = (0..64)
            .map(|_| {
                let mut busy = activity.enter();
                tokio::spawn(async move {
                    for _ in 0..50 {
                        busy.rest(tokio::task::yield_now()).await;
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("no panic");
        }
        activity.idle().await;
        assert_eq!(activity.running(), 0);
    }
}
