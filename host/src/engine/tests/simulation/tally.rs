//! How often each thing happened that a host has to bear: a simulation in which one of them is missing shows less than it says.

use std::sync::atomic::{AtomicU64, Ordering};

/// What happened in all seeds together.
#[derive(Default, Debug)]
pub struct Tally {
    /// Hosts that died at a commit.
    pub crashes: AtomicU64,
    /// Commits that were kept and said so late.
    pub late: AtomicU64,
    /// Commits of which it was said after it was said of a later one.
    pub overtaken: AtomicU64,
    /// Events that came again.
    pub repeated: AtomicU64,
    /// Answers that nobody had asked for any more, or that came beside another.
    pub answers: AtomicU64,
    /// Hosts that began after a while in which nobody was there for what came due.
    pub overdue: AtomicU64,
    /// Attempts that only compute and began before it was known that what they follow from is kept.
    pub ahead: AtomicU64,
}

impl Tally {
    /// What has not happened once.
    pub fn missing(&self) -> Vec<&'static str> {
        let all = [
            ("crash", &self.crashes),
            ("delay", &self.late),
            ("reorder", &self.overtaken),
            ("duplicate", &self.repeated),
            ("answers beside others", &self.answers),
            ("overdue timers", &self.overdue),
            ("steps ahead of their records", &self.ahead),
        ];
        all.into_iter().filter(|(_, count)| count.load(Ordering::Relaxed) == 0).map(|(name, _)| name).collect()
    }
}
