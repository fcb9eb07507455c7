//! When which resting run is due: one heap for all of them, of which one task watches the first. Pure: it is told the times.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::model::id::RunId;
use crate::model::time::Timestamp;

/// So many entries that are over may stand in the heap beside those that are not, and at most half of it.
const OVER: usize = 64;

/// The due times of runs.
///
/// A run that is woken early leaves its entry behind: to find it in the heap would cost more than to pass over it when it comes up. Refused is
/// a wheel, whose slots have to be gone through for times that are weeks apart.
#[derive(Default)]
pub struct Timers(BinaryHeap<Reverse<(Timestamp, RunId)>>);

impl Timers {
    /// A run is due then. Returns whether that is before all others.
    pub fn push(&mut self, due: Timestamp, run: RunId) -> bool {
        let is_first = self.first().is_none_or(|(first, _)| due < first);
        self.0.push(Reverse((due, run)));
        is_first
    }

    /// The first that is due, and when.
    pub fn first(&self) -> Option<(Timestamp, RunId)> {
        self.0.peek().map(|Reverse(first)| *first)
    }

    /// Takes out the first.
    pub fn pop(&mut self) -> Option<(Timestamp, RunId)> {
        self.0.pop().map(|Reverse(first)| first)
    }

    /// Whether too much of the heap is over, if so many runs rest.
    pub fn is_crowded(&self, resting: usize) -> bool {
        self.0.len() > resting.saturating_mul(2).saturating_add(OVER)
    }

    /// Begins anew with these.
    pub fn rebuild(&mut self, due: impl Iterator<Item = (Timestamp, RunId)>) {
        self.0.clear();
        self.0.extend(due.map(Reverse));
        self.0.shrink_to(self.0.len() * 2);
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn entry(due: u64) -> (Timestamp, RunId) {
        (Timestamp::from_nanos(due), RunId::new(Uuid::from_u128(u128::from(due))))
    }

    #[test]
    fn the_first_that_is_due_comes_first() {
        let mut timers = Timers::default();
        let earliest: Vec<bool> = [3, 5, 1, 2].map(entry).into_iter().map(|(due, run)| timers.push(due, run)).collect();
        assert_eq!(earliest, [true, false, true, false]);
        assert_eq!(std::iter::from_fn(|| timers.pop()).collect::<Vec<_>>(), [1, 2, 3, 5].map(entry));
    }

    #[test]
    fn what_is_over_does_not_pile_up() {
        let mut timers = Timers::default();
        for due in 0..200 {
            let (due, run) = entry(due);
            timers.push(due, run);
            if timers.is_crowded(1) {
                timers.rebuild(std::iter::once((due, run)));
            }
            assert!(timers.len() <= 67);
        }
    }
}
