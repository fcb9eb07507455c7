//! Where the runs under way are, so that most batches need look at no row but the one that they write.
//!
//! Refused was keeping the number of facts in each run's row: it would be written with each batch, which is most of what a batch costs.

use crate::model::id::{IdMap, RunId};

/// So many are known at most; then all are looked up again.
const MOST: usize = 65_536;

/// Where a run is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place {
    /// How many facts it has.
    pub(super) facts: u64,
    /// The start of the host that touched it last.
    pub(super) epoch: i64,
    /// As its row has it.
    pub(super) due: Option<i64>,
    /// How often it was taken up since its last fact.
    pub(super) claims: u32,
}

/// What is known of runs, as the last transaction has left it or the one under way has it. What only the one under way knows is wrong if that is
/// taken back: then everything is [cleared](Self::clear).
#[derive(Default)]
pub(super) struct Places(IdMap<RunId, Place>);

impl Places {
    /// Where this run is, if that is known.
    pub(super) fn get(&self, run: RunId) -> Option<Place> {
        self.0.get(&run).copied()
    }

    /// It is here now.
    pub(super) fn set(&mut self, run: RunId, place: Place) {
        if self.0.len() >= MOST {
            self.clear();
        }
        self.0.insert(run, place);
    }

    /// Nothing is expected of it any more.
    pub(super) fn forget(&mut self, run: RunId) {
        self.0.remove(&run);
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
        let place = Place { facts: 1, epoch: 1, due: None, claims: 0 };
        for number in 0..=MOST {
            places.set(RunId::new(Uuid::from_u128(number as u128)), place);
            assert!(places.0.len() <= MOST);
        }
        assert_eq!(places.get(RunId::new(Uuid::from_u128(MOST as u128))), Some(place));
        assert_eq!(places.get(RunId::new(Uuid::from_u128(0))), None);
    }
}
