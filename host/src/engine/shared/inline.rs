//! The bound on runs that begin in their caller's own task: one inside the other never, so that a chain of them cannot use up the stack.

use std::cell::Cell;

thread_local! {
    static TAKEN: Cell<bool> = const { Cell::new(false) };
}

/// A run's first turn in its caller's own task.
pub(super) struct Turn(());

impl Turn {
    /// Begins one; `None` if this thread is within one already: a run that a run starts has a task of its own.
    pub(super) fn begin() -> Option<Self> {
        // Made only then: one that is dropped ends the turn.
        (!TAKEN.replace(true)).then(|| Self(()))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        TAKEN.set(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_turn_at_a_time_on_a_thread() {
        let turn = Turn::begin().expect("the first");
        assert!(Turn::begin().is_none() && Turn::begin().is_none());
        drop(turn);
        assert!(Turn::begin().is_some());
        assert!(Turn::begin().is_some(), "the one before is over");
    }
}
