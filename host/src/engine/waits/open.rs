//! The waits that are open, by what they wait for.

use std::collections::HashMap;
use std::num::NonZeroU64;

use super::Place;
use crate::model::id::{Digest, RunId};
use crate::model::record::{LaneId, StepNumber};

/// One wait, or one `cancel_on`. There are very many of these: each byte counts.
#[derive(Clone, Debug)]
pub(super) struct Open {
    run: RunId,
    lane: LaneId,
    step: StepNumber,
    order: NonZeroU64,
}

/// No lane has this number: it stands for a `cancel_on`.
const CANCEL_ON: LaneId = LaneId(u32::MAX);

impl Open {
    /// A wait, or, without its lane and step, a `cancel_on`.
    pub(super) fn new(run: RunId, wait: Option<(LaneId, StepNumber)>, order: NonZeroU64) -> Self {
        let (lane, step) = wait.unwrap_or((CANCEL_ON, StepNumber(0)));
        Self { run, lane, step, order }
    }

    /// Its run.
    pub(super) const fn run(&self) -> RunId {
        self.run
    }

    /// Its lane and step; `None` is a `cancel_on`.
    pub(super) fn wait(&self) -> Option<(LaneId, StepNumber)> {
        (self.lane != CANCEL_ON).then_some((self.lane, self.step))
    }

    /// The one that was opened first has the lowest.
    pub(super) const fn order(&self) -> NonZeroU64 {
        self.order
    }
}

/// Mostly one run alone waits for what it waits for.
enum Few {
    One(Open),
    Many(Vec<Open>),
}

/// The waits by the first half of their keys: 128 bits of a digest are as far apart as ids are.
#[derive(Default)]
pub(super) struct OpenWaits(HashMap<u128, Few>);

/// The map is not made smaller below.
const SMALL: usize = 1_024;

impl OpenWaits {
    pub(super) fn push(&mut self, key: &Digest, open: Open) {
        let Some(few) = self.0.get_mut(&half(key)) else {
            self.0.insert(half(key), Few::One(open));
            return;
        };
        match few {
            Few::Many(all) => all.push(open),
            Few::One(one) => *few = Few::Many(vec![one.clone(), open]),
        }
    }

    pub(super) fn get(&self, key: &Digest) -> &[Open] {
        match self.0.get(&half(key)) {
            None => &[],
            Some(Few::One(one)) => std::slice::from_ref(one),
            Some(Few::Many(all)) => all,
        }
    }

    pub(super) fn remove(&mut self, key: &Digest, is_it: impl Fn(&Open) -> bool) {
        let is_empty = match self.0.get_mut(&half(key)) {
            None => false,
            Some(Few::One(one)) => is_it(one),
            Some(Few::Many(all)) => {
                all.retain(|open| !is_it(open));
                all.is_empty()
            }
        };
        if is_empty {
            self.0.remove(&half(key));
        }
        if self.0.capacity() > SMALL && self.0.len() < self.0.capacity() / 8 {
            self.0.shrink_to(self.0.len() * 2);
        }
    }

    /// A wait has another step's number from now on.
    pub(super) fn renumber(&mut self, key: &Digest, before: Place, to: StepNumber) {
        let all = match self.0.get_mut(&half(key)) {
            None => &mut [][..],
            Some(Few::One(one)) => std::slice::from_mut(one),
            Some(Few::Many(all)) => all,
        };
        for open in all.iter_mut().filter(|open| (open.run, open.lane, open.step) == (before.run, before.lane, before.step)) {
            open.step = to;
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

fn half(key: &Digest) -> u128 {
    key.as_bytes().iter().take(16).fold(0, |half, byte| half << 8 | u128::from(*byte))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn open(number: u64) -> Open {
        let order = NonZeroU64::new(number).expect("from one on");
        Open::new(RunId::new(Uuid::from_u128(number.into())), Some((LaneId(0), StepNumber(1))), order)
    }

    #[test]
    fn one_that_waits_alone_takes_no_room_of_its_own() {
        assert_eq!(size_of::<Few>(), 32);
    }

    #[test]
    fn several_may_wait_for_the_same() {
        let (key, mut waits) = (Digest::of(b"key"), OpenWaits::default());
        (1..4).for_each(|number| waits.push(&key, open(number)));
        waits.remove(&key, |open| open.order().get() == 2);
        assert_eq!(waits.get(&key).iter().map(|open| open.order().get()).collect::<Vec<_>>(), [1, 3]);
        waits.remove(&key, |_| true);
        assert_eq!((waits.get(&key).len(), waits.len()), (0, 0));
    }

    #[test]
    fn what_cancels_a_run_is_no_wait() {
        let order = NonZeroU64::MIN;
        assert_eq!(Open::new(RunId::new(Uuid::nil()), None, order).wait(), None);
        assert_eq!(open(1).wait(), Some((LaneId(0), StepNumber(1))));
    }
}
