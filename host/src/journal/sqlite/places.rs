//! Where the runs under way are, so that most batches need look at no row but the one that they write.
//!
//! Refused was keeping the number of facts in each run's row: it would be written with each batch, which is most of what a batch costs.

use super::runs_row::Entry;
use crate::model::id::{IdMap, RunId};

/// So many are known at most; then all are looked up again. One takes about 300 bytes.
const MOST: usize = 16_384;

/// Where a run is.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Place {
    /// How many facts it has.
    pub(super) facts: u64,
    /// Its row.
    pub(super) entry: Entry,
}

/// What is known of runs, as the last transaction has left it or the one under way has it. What only the one under way knows is wrong if that is
/// taken back: then everything is [cleared](Self::clear).
#[derive(Default)]
pub(super) struct Places(IdMap<RunId, Place>);

impl Places {
    /// Where this run is, if that is known. Whoever takes it sets it again.
    pub(super) fn take(&mut self, run: RunId) -> Option<Place> {
        self.0.remove(&run)
    }

    /// Whether it is known where this run is.
    pub(super) fn knows(&self, run: RunId) -> bool {
        self.0.contains_key(&run)
    }

    /// It is here now. Of one that has ended nothing more is expected.
    pub(super) fn set(&mut self, run: RunId, place: Place) {
        if place.entry.row.ended.is_some() {
            return;
        }
        if self.0.len() >= MOST {
            self.clear();
        }
        self.0.insert(run, place);
    }

    /// Knows nothing of any run.
    pub(super) fn clear(&mut self) {
        self.0 = IdMap::default();
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn no_more_is_known_than_there_is_room_for() {
        let mut places = Places::default();
        let place = Place { facts: 1, entry: Entry::default() };
        for number in 0..=MOST {
            places.set(RunId::new(Uuid::from_u128(number as u128)), place.clone());
            assert!(places.0.len() <= MOST);
        }
        assert_eq!(places.take(RunId::new(Uuid::from_u128(MOST as u128))), Some(place));
        assert_eq!(places.take(RunId::new(Uuid::from_u128(0))), None);
    }
}
