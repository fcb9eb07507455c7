//! Whether the thread that writes waits for more before it begins a transaction.
//!
//! Whoever was just answered often gives the next order at once: a run goes on to its next step. If the next transaction began without them, those
//! who wait would split into two halves that keep each other waiting for the disk, and each wait for it would serve half as many. So it is waited
//! for them, as long as the disk took with the last transaction at most: at worst an order lasts then twice as long, the bound that no rule without
//! foresight beats. Where the disk is quick, and most of a transaction is our own work, it is not waited at all: then it is better that one half is
//! written while the other one is at work. Refused was a fixed pause: it is too long for a quick disk and too short for a slow one.

use std::time::Duration;

use crate::model::time::Timestamp;

/// The most that is waited, however slow the disk.
const MOST: Duration = Duration::from_millis(20);

/// Of so many that were answered, [`Gathering::back`] says how many came back.
const WHOLE: usize = 1_024;

/// Where fewer than these of a [`WHOLE`] come back, it is not waited for them…
const FEW: usize = WHOLE / 4;

/// …but once in so many transactions, as it could not be learned otherwise that they come again.
const LOOK_AGAIN: u32 = 32;

/// How long a transaction took.
#[derive(Clone, Copy, Default)]
pub(super) struct Took {
    /// Until all of it was prepared.
    pub(super) work: Duration,
    /// From then on until it was on the disk.
    pub(super) disk: Duration,
}

/// What is known of the last transaction and of those who were answered after it.
pub(super) struct Gathering {
    answered: usize,
    /// How many waited already when they were answered.
    behind: usize,
    at: Timestamp,
    /// How long it may be waited for them.
    patience: Duration,
    /// How many of a [`WHOLE`] came back lately, the last time counting half.
    back: usize,
    /// How many transactions began without a wait, as too few came back.
    passed: u32,
    /// Whether it was waited for those who were answered last.
    waited: bool,
}

impl Gathering {
    /// Nobody was answered yet.
    pub(super) const fn new() -> Self {
        Self { answered: 0, behind: 0, at: Timestamp::from_nanos(0), patience: Duration::ZERO, back: WHOLE, passed: 0, waited: false }
    }

    /// So many were answered now, after a transaction that took so long, while so many waited already.
    pub(super) fn answered(&mut self, answered: usize, behind: usize, took: Took, at: Timestamp) {
        let patience = if took.disk >= took.work { took.disk.min(MOST) } else { Duration::ZERO };
        (self.answered, self.behind, self.patience, self.at, self.waited) = (answered, behind, patience, at, false);
    }

    /// For how many it is worth to wait, and for how long, where somebody waits; `None` to begin at once.
    pub(super) fn more(&mut self, now: Timestamp) -> Option<(usize, Duration)> {
        let enough = self.behind + self.answered * self.back.max(FEW) / WHOLE;
        let left = self.patience.checked_sub(now.since(self.at))?;
        if self.answered == 0 || left.is_zero() {
            return None;
        }
        if self.back < FEW {
            self.passed += 1;
            if self.passed < LOOK_AGAIN {
                return None;
            }
            self.passed = 0;
        }
        self.waited = true;
        Some((enough, left))
    }

    /// A transaction begins with so many.
    pub(super) fn begin(&mut self, orders: usize) {
        if self.waited {
            let back = orders.saturating_sub(self.behind).min(self.answered) * WHOLE / self.answered.max(1);
            self.back = usize::midpoint(self.back, back);
        }
        self.answered = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DISK: Duration = Duration::from_millis(4);
    const SLOW: Took = Took { work: Duration::from_millis(1), disk: DISK };

    fn at(micros: u64) -> Timestamp {
        Timestamp::from_nanos(micros * 1_000)
    }

    #[test]
    fn it_is_waited_for_those_who_were_answered_and_no_longer_than_the_disk_took() {
        let mut gathering = Gathering::new();
        assert_eq!(gathering.more(at(0)), None, "nobody was answered");
        gathering.answered(32, 32, SLOW, at(1_000));
        assert_eq!(gathering.more(at(1_000)), Some((64, DISK)));
        gathering.begin(64);
        gathering.answered(64, 0, SLOW, at(9_000));
        assert_eq!(gathering.more(at(10_000)), Some((64, Duration::from_millis(3))), "one of four has passed");
        gathering.begin(64);
        gathering.answered(64, 0, SLOW, at(20_000));
        assert_eq!(gathering.more(at(24_000)), None, "who comes so late waits for nobody");
        gathering.answered(64, 0, Took { disk: Duration::from_secs(3), ..SLOW }, at(20_000));
        assert_eq!(gathering.more(at(20_000)), Some((64, MOST)));
        gathering.answered(64, 0, Took { disk: Duration::from_micros(300), ..SLOW }, at(20_000));
        assert_eq!(gathering.more(at(20_000)), None, "the disk is quick");
    }

    #[test]
    fn it_is_not_waited_for_those_who_do_not_come_back_until_they_do_again() {
        let mut gathering = Gathering::new();
        let mut waits = Vec::new();
        for transaction in 0..100_u64 {
            gathering.answered(16, 4, SLOW, at(transaction * 10_000));
            let more = gathering.more(at(transaction * 10_000));
            waits.push(more.is_some());
            // Up to the seventieth nobody of the sixteen comes back, then all of them.
            gathering.begin(if transaction < 70 || more.is_none() { 4 } else { 20 });
        }
        assert_eq!(waits.iter().take(70).filter(|waited| **waited).count(), 5, "three until that is learned, and once in 32: {waits:?}");
        assert!(waits[98..].iter().all(|waited| *waited), "{waits:?}");
    }

    #[test]
    fn what_nobody_waited_for_teaches_nothing() {
        let mut gathering = Gathering::new();
        for transaction in 0..10 {
            gathering.answered(8, 8, SLOW, at(transaction * 100_000));
            assert_eq!(gathering.more(at(transaction * 100_000 + 50_000)), None);
            gathering.begin(1);
        }
        gathering.answered(8, 8, SLOW, at(0));
        assert_eq!(gathering.more(at(0)), Some((16, DISK)));
    }
}
