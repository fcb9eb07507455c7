//! Whether all runs that the last host left are known: who holds a key of `dedup` or `cache` has it again only then.
//!
//! Runs that are due go on before the others are read, and may come to a step with a key that one of the others holds. Such a step waits; all else goes on.

use tokio::sync::watch;

/// Whether they are.
pub struct Known(watch::Sender<bool>);

/// As long as this is held they are not.
pub(super) struct Unknown<'a>(&'a Known);

impl Default for Known {
    fn default() -> Self {
        Self(watch::Sender::new(true))
    }
}

impl Known {
    /// From now on they are not, until what this gives is dropped.
    pub(super) fn begin(&self) -> Unknown<'_> {
        self.0.send_replace(false);
        Unknown(self)
    }

    /// Whether all are known.
    pub fn are_all(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until all are known.
    pub async fn wait(&self) {
        // It does not close while this holds it.
        let _ = self.0.subscribe().wait_for(|known| *known).await;
    }
}

impl Drop for Unknown<'_> {
    fn drop(&mut self) {
        self.0.0.send_replace(true);
    }
}
