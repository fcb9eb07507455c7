//! Whether the thread that writes waits for more before it begins a transaction.
//!
//! Whoever was just answered often gives the next order at once: a run goes on to its next step. If the next transaction began without them, those
//! who wait would split into groups that keep each other waiting.
//!
//! Where the disk is slow, each wait for it would serve only a part of them. So what comes while the disk is at work waits for its end, as it would
//! anyway; then it is waited for those who were answered, as long as the disk took at most: at worst an order lasts twice as long then, the bound
//! that no rule without foresight beats. Refused was a fixed pause: it is too long for a quick disk and too short for a slow one.
//!
//! Where the disk is quick, and most of the time is our own work, some are written while others are at work. It is waited for a fifth of all that
//! there are, for twice as long as the last ones took to write. Refused was to begin with whoever is there, as each transaction has its own price,
//! and to wait for all or half of them: then either side waits for the other.

use std::time::Duration;

use crate::model::time::Timestamp;

/// The most that is waited, however slow the disk.
const MOST: Duration = Duration::from_millis(20);

/// Of so many that were answered, [`Gathering::back`] says how many came back.
const WHOLE: usize = 1_024;

/// On a quick disk it is waited for one of so many that there are at once.
const SHARE: usize = 5;

/// Where fewer than these of a [`WHOLE`] come back, it is not waited for them…
const FEW: usize = WHOLE / 4;

/// …but once in so many transactions, as it could not be learned otherwise that they come again.
const LOOK_AGAIN: u32 = 32;

/// How long a transaction took.
#[derive(Clone, Copy, Default)]
pub(super) struct Took {
    /// Until all of it was committed.
    pub(super) work: Duration,
    /// From then on until it was on the disk.
    pub(super) disk: Duration,
}

/// What the thread that writes does where somebody waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Next {
    /// It begins.
    Begin,
    /// It asks again once what is under way has been answered.
    AfterAnswer,
    /// It waits for so many, and so long at most.
    Gather(usize, Duration),
}

/// What is known of the last transactions and of those who were answered after them.
pub(super) struct Gathering {
    /// How many transactions were committed and are not answered, and how many orders they have.
    under_way: (usize, usize),
    /// How many orders are being written.
    at_work: usize,
    /// How many orders there were at once lately, from being given until being answered.
    at_once: usize,
    /// How long those took that were answered last.
    took: Took,
    /// How many orders they had.
    answered: usize,
    /// How many waited already when they were answered.
    behind: usize,
    at: Timestamp,
    /// How many of a [`WHOLE`] came back lately, the last time counting half.
    back: usize,
    /// How many transactions began without a wait, as too few came back.
    passed: u32,
    /// Whether it was waited for those who were answered last.
    waited: bool,
}

impl Gathering {
    /// Nobody was answered yet.
    pub(super) fn new() -> Self {
        Self {
            under_way: (0, 0),
            at_work: 0,
            at_once: 0,
            took: Took::default(),
            answered: 0,
            behind: 0,
            at: Timestamp::from_nanos(0),
            back: WHOLE,
            passed: 0,
            waited: false,
        }
    }

    /// What the thread that writes does now.
    pub(super) fn next(&mut self, now: Timestamp) -> Next {
        if self.took.disk < self.took.work {
            return Next::Gather(self.at_once / SHARE, (self.took.work * 2).min(MOST));
        }
        if self.under_way.0 > 0 {
            return Next::AfterAnswer;
        }
        self.after_a_slow_disk(now).map_or(Next::Begin, |(enough, patience)| Next::Gather(enough, patience))
    }

    /// For how many it is worth to wait, and for how long.
    fn after_a_slow_disk(&mut self, now: Timestamp) -> Option<(usize, Duration)> {
        let enough = self.behind + self.answered * self.back.max(FEW) / WHOLE;
        let left = self.took.disk.min(MOST).checked_sub(now.since(self.at))?;
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
        (self.answered, self.at_work, self.waited) = (0, orders, false);
    }

    /// A transaction with so many orders was committed, and waits for the disk.
    pub(super) const fn committed(&mut self, orders: usize) {
        self.under_way.0 += 1;
        self.under_way.1 += orders;
        self.at_work = 0;
    }

    /// So many transactions are answered now that had so many orders and took so long together, while so many others wait already.
    pub(super) fn answered(&mut self, (transactions, orders): (usize, usize), behind: usize, took: Took, at: Timestamp) {
        // What was more a while ago is forgotten by and by.
        self.at_once = (self.under_way.1.max(orders) + self.at_work + behind).max(self.at_once - self.at_once.div_ceil(16));
        self.under_way = (self.under_way.0.saturating_sub(transactions), self.under_way.1.saturating_sub(orders));
        (self.answered, self.behind, self.took, self.at) = (orders, behind, took, at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DISK: Duration = Duration::from_millis(4);
    const WORK: Duration = Duration::from_millis(1);
    const SLOW: Took = Took { work: WORK, disk: DISK };

    fn at(micros: u64) -> Timestamp {
        Timestamp::from_nanos(micros * 1_000)
    }

    /// One transaction with so many orders, answered while so many others wait.
    fn write(gathering: &mut Gathering, orders: usize, behind: usize, took: Took, now: Timestamp) {
        gathering.begin(orders);
        gathering.committed(orders);
        gathering.answered((1, orders), behind, took, now);
    }

    #[test]
    fn on_a_slow_disk_it_is_waited_for_those_who_were_answered_and_no_longer_than_the_disk_took() {
        let mut gathering = Gathering::new();
        assert_eq!(gathering.next(at(0)), Next::Begin, "nobody was answered");
        write(&mut gathering, 32, 32, SLOW, at(1_000));
        assert_eq!(gathering.next(at(1_000)), Next::Gather(64, DISK));
        write(&mut gathering, 64, 0, SLOW, at(9_000));
        assert_eq!(gathering.next(at(10_000)), Next::Gather(64, Duration::from_millis(3)), "one of four has passed");
        write(&mut gathering, 64, 0, SLOW, at(20_000));
        assert_eq!(gathering.next(at(24_000)), Next::Begin, "who comes so late waits for nobody");
        write(&mut gathering, 64, 0, Took { disk: Duration::from_secs(3), ..SLOW }, at(20_000));
        assert_eq!(gathering.next(at(20_000)), Next::Gather(64, MOST));
    }

    #[test]
    fn on_a_slow_disk_nothing_begins_before_the_last_is_answered() {
        let mut gathering = Gathering::new();
        write(&mut gathering, 2, 0, SLOW, at(1_000));
        gathering.begin(2);
        gathering.committed(2);
        assert_eq!(gathering.next(at(2_000)), Next::AfterAnswer);
        gathering.answered((1, 2), 1, SLOW, at(6_000));
        assert_eq!(gathering.next(at(6_000)), Next::Gather(3, DISK));
    }

    #[test]
    fn on_a_quick_disk_it_is_waited_for_a_fifth_of_all_and_for_twice_the_work() {
        let quick = Took { work: WORK, disk: Duration::from_micros(300) };
        let mut gathering = Gathering::new();
        gathering.begin(20);
        gathering.committed(20);
        gathering.begin(15);
        // Twenty are answered, fifteen are being written, and thirty wait.
        gathering.answered((1, 20), 30, quick, at(1_000));
        assert_eq!(gathering.next(at(1_100)), Next::Gather(13, WORK * 2), "of 65");
        gathering.committed(15);
        assert_eq!(gathering.next(at(1_200)), Next::Gather(13, WORK * 2), "also while the disk is at work");
        write(&mut gathering, 9, 0, Took { work: MOST, ..quick }, at(2_000));
        assert!(matches!(gathering.next(at(2_000)), Next::Gather(_, MOST)));
        (0..64).for_each(|_| write(&mut gathering, 1, 0, quick, at(3_000)));
        gathering.answered((1, 15), 0, quick, at(3_000));
        (0..64).for_each(|_| write(&mut gathering, 1, 0, quick, at(3_000)));
        assert_eq!(gathering.next(at(3_000)), Next::Gather(0, WORK * 2), "one that comes alone waits for nobody any more");
    }

    #[test]
    fn it_is_not_waited_for_those_who_do_not_come_back_until_they_do_again() {
        let mut gathering = Gathering::new();
        let mut waits = Vec::new();
        for transaction in 0..100_u64 {
            gathering.answered((1, 16), 4, SLOW, at(transaction * 10_000));
            let waited = gathering.next(at(transaction * 10_000)) != Next::Begin;
            waits.push(waited);
            // Up to the seventieth nobody of the sixteen comes back, then all of them.
            gathering.begin(if transaction < 70 || !waited { 4 } else { 20 });
        }
        assert_eq!(waits.iter().take(70).filter(|waited| **waited).count(), 5, "three until that is learned, and once in 32: {waits:?}");
        assert!(waits[98..].iter().all(|waited| *waited), "{waits:?}");
    }

    #[test]
    fn what_nobody_waited_for_teaches_nothing() {
        let mut gathering = Gathering::new();
        for transaction in 0..10 {
            gathering.answered((1, 8), 8, SLOW, at(transaction * 100_000));
            assert_eq!(gathering.next(at(transaction * 100_000 + 50_000)), Next::Begin);
            gathering.begin(1);
        }
        gathering.answered((1, 8), 8, SLOW, at(0));
        assert_eq!(gathering.next(at(0)), Next::Gather(16, DISK));
    }
}
