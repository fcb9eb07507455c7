//! Telling work that nobody wants it any more.

use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Arc, LazyLock, OnceLock};

use tokio_util::sync::{CancellationToken, DropGuard, WaitForCancellationFuture, WaitForCancellationFutureOwned};

/// A signal that is set once and stays set. Cloning gives another handle on the same one.
///
/// Every attempt has one, and hardly any is ever waited for: so it is a flag, and becomes the runtime's token, which takes a lock for each
/// clone, when somebody first waits or wants a child of it. One that is [never](Self::never) set has not even the flag.
#[derive(Clone, Debug)]
pub struct CancelSignal(Option<Arc<Signal>>);

#[derive(Debug, Default)]
struct Signal {
    set: AtomicBool,
    token: OnceLock<CancellationToken>,
}

/// What is waited for by whoever waits for a signal that is never set.
static NEVER: LazyLock<CancellationToken> = LazyLock::new(CancellationToken::new);

impl Default for CancelSignal {
    fn default() -> Self {
        Self(Some(Arc::default()))
    }
}

impl CancelSignal {
    /// One that is not set.
    pub fn new() -> Self {
        Self::default()
    }

    /// One that stays as it is, for what is over before anybody could want to set it.
    pub const fn never() -> Self {
        Self(None)
    }

    /// Sets it, and its children.
    pub fn cancel(&self) {
        let Some(signal) = &self.0 else { return };
        signal.set.store(true, Ordering::Release);
        // Either this sees the token of whoever begins to wait meanwhile, or that one sees the flag.
        fence(Ordering::SeqCst);
        if let Some(token) = signal.token.get() {
            token.cancel();
        }
    }

    /// Whether it is set.
    pub fn is_cancelled(&self) -> bool {
        let Some(signal) = &self.0 else { return false };
        signal.set.load(Ordering::Acquire) || signal.token.get().is_some_and(CancellationToken::is_cancelled)
    }

    /// Waits until it is set; ends at once if it is.
    pub fn cancelled(&self) -> WaitForCancellationFuture<'_> {
        self.token().cancelled()
    }

    /// The same, without a borrow.
    pub fn cancelled_owned(self) -> WaitForCancellationFutureOwned {
        self.token().clone().cancelled_owned()
    }

    /// Waits for a future until this is set; `None` if that was first.
    pub async fn run_until_cancelled<F: Future>(&self, future: F) -> Option<F::Output> {
        self.token().run_until_cancelled(future).await
    }

    /// One that is set with this one, and can be set without it.
    pub fn child_token(&self) -> Self {
        if self.0.is_none() {
            return Self::new();
        }
        let token = OnceLock::from(self.token().child_token());
        Self(Some(Arc::new(Signal { set: AtomicBool::new(false), token })))
    }

    /// Sets it when the guard is dropped.
    pub fn drop_guard(self) -> DropGuard {
        let token = if self.0.is_some() { self.token().clone() } else { CancellationToken::new() };
        token.drop_guard()
    }

    fn token(&self) -> &CancellationToken {
        let Some(signal) = &self.0 else { return &NEVER };
        let token = signal.token.get_or_init(CancellationToken::new);
        fence(Ordering::SeqCst);
        if signal.set.load(Ordering::Acquire) {
            token.cancel();
        }
        token
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn whoever_waits_hears_of_it_whether_it_was_set_before_or_after() {
        let (before, after) = (CancelSignal::new(), CancelSignal::new());
        before.cancel();
        assert!(before.cancelled().now_or_never().is_some() && before.clone().cancelled_owned().now_or_never().is_some());
        let mut waits = Box::pin(after.cancelled());
        assert!((&mut waits).now_or_never().is_none());
        after.clone().cancel();
        assert!(waits.now_or_never().is_some() && after.is_cancelled());
    }

    #[test]
    fn a_child_is_set_with_its_parent_and_a_parent_not_with_its_child() {
        let parent = CancelSignal::new();
        let (child, alone) = (parent.child_token(), parent.child_token());
        drop(alone.clone().drop_guard());
        assert!(alone.is_cancelled() && !parent.is_cancelled() && !child.is_cancelled());
        parent.cancel();
        assert!(child.is_cancelled() && child.cancelled().now_or_never().is_some());
        assert!(parent.child_token().is_cancelled(), "a child of one that is set is set");
    }

    #[test]
    fn one_that_is_never_set_stays_as_it_is_and_so_do_its_children() {
        let never = CancelSignal::never();
        let child = never.child_token();
        never.cancel();
        drop(never.clone().drop_guard());
        assert!(!never.is_cancelled() && !child.is_cancelled() && never.cancelled().now_or_never().is_none());
        child.cancel();
        assert!(child.is_cancelled() && never.clone().cancelled_owned().now_or_never().is_none());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn nobody_misses_it_who_begins_to_wait_as_it_is_set() {
        for _ in 0..500 {
            let signal = CancelSignal::new();
            let waiting = signal.clone();
            let waits = tokio::spawn(async move { waiting.cancelled().await });
            signal.cancel();
            waits.await.expect("it ends");
        }
    }
}
