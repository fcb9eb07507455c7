//! Telling work that nobody wants it any more.

use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Arc, OnceLock};

use tokio_util::sync::{CancellationToken, DropGuard, WaitForCancellationFuture, WaitForCancellationFutureOwned};

/// A signal that is set once and stays set. Cloning gives another handle on the same one.
///
/// Every attempt has one, and hardly any is ever waited for: so it is a flag, and becomes the runtime's token, which takes a lock for each
/// clone, when somebody first waits or wants a child of it.
#[derive(Clone, Debug, Default)]
pub struct CancelSignal(Arc<Signal>);

#[derive(Debug, Default)]
struct Signal {
    set: AtomicBool,
    token: OnceLock<CancellationToken>,
}

impl CancelSignal {
    /// One that is not set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets it, and its children.
    pub fn cancel(&self) {
        self.0.set.store(true, Ordering::Release);
        // Either this sees the token of whoever begins to wait meanwhile, or that one sees the flag.
        fence(Ordering::SeqCst);
        if let Some(token) = self.0.token.get() {
            token.cancel();
        }
    }

    /// Whether it is set.
    pub fn is_cancelled(&self) -> bool {
        self.0.set.load(Ordering::Acquire) || self.0.token.get().is_some_and(CancellationToken::is_cancelled)
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
        let token = OnceLock::from(self.token().child_token());
        Self(Arc::new(Signal { set: AtomicBool::new(false), token }))
    }

    /// Sets it when the guard is dropped.
    pub fn drop_guard(self) -> DropGuard {
        self.token().clone().drop_guard()
    }

    fn token(&self) -> &CancellationToken {
        let token = self.0.token.get_or_init(CancellationToken::new);
        fence(Ordering::SeqCst);
        if self.0.set.load(Ordering::Acquire) {
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
