//! Defects for the simulation to find: a check counts only once it has failed. Planted for one thread, and in tests only.

use std::cell::Cell;

/// What a host could do wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Defect {
    /// What follows from facts is done before they are kept.
    ActsBeforeItIsKept,
    /// States are not kept with the step that changes them.
    KeepsNoState,
    /// Results of `dedup` and `cache` are not kept with the end of their job.
    KeepsNoResults,
    /// What goes by way of the outbox is not kept in it.
    KeepsNoOutbox,
    /// Which events a flow has taken is not looked up.
    TakesTwice,
    /// Executors say that they only compute, and do not.
    OnlySeemsToCompute,
}

thread_local! {
    static PLANTED: Cell<Option<Defect>> = const { Cell::new(None) };
}

/// From now on the hosts of this thread have this defect, or none.
pub fn plant(defect: Option<Defect>) {
    PLANTED.set(defect);
}

/// Whether the hosts of this thread have this one.
pub fn is(defect: Defect) -> bool {
    PLANTED.get() == Some(defect)
}
