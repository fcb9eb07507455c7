//! Ids and randomness, from the system or from a seed.

use std::cell::RefCell;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use rand::rngs::{StdRng, SysRng};
use rand::{Rng, SeedableRng};
use uuid::Uuid;

use crate::model::port::Random;
use crate::model::time::Timestamp;

/// Randomness of the system: one generator a thread, seeded by the operating system once.
///
/// Ids are made for every run, job and event, so no lock and no system call is taken for one. Ids of one `SystemRandom`
/// grow strictly, also within a millisecond.
#[derive(Debug, Default)]
pub struct SystemRandom {
    last: AtomicU64,
}

thread_local! {
    static GENERATOR: RefCell<StdRng> = RefCell::new(seeded_by_the_system());
}

fn seeded_by_the_system() -> StdRng {
    StdRng::try_from_rng(&mut SysRng).unwrap_or_else(|_| {
        // The standard library got its own seed from the system when the process began: enough for ids and jitter, which are no secrets.
        StdRng::seed_from_u64(RandomState::new().build_hasher().finish())
    })
}

impl SystemRandom {
    /// A source of its own; ids grow within each source.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Random for SystemRandom {
    fn id(&self, now: Timestamp) -> Uuid {
        let noise = GENERATOR.with_borrow_mut(StdRng::next_u64);
        uuid_at(next_stamp(&self.last, now), noise)
    }

    fn fraction(&self) -> f64 {
        fraction_of(GENERATOR.with_borrow_mut(StdRng::next_u64))
    }
}

/// Randomness of a seed: the same calls in the same order give the same ids and numbers.
#[derive(Debug)]
pub struct SeededRandom {
    generator: Mutex<StdRng>,
    last: AtomicU64,
}

impl SeededRandom {
    /// The source of that seed.
    pub fn new(seed: u64) -> Self {
        Self { generator: Mutex::new(StdRng::seed_from_u64(seed)), last: AtomicU64::new(0) }
    }

    fn next(&self) -> u64 {
        self.generator.lock().unwrap_or_else(PoisonError::into_inner).next_u64()
    }
}

impl Random for SeededRandom {
    fn id(&self, now: Timestamp) -> Uuid {
        let noise = self.next();
        uuid_at(next_stamp(&self.last, now), noise)
    }

    fn fraction(&self) -> f64 {
        fraction_of(self.next())
    }
}

/// The time of an id: 48 bits of milliseconds, then 12 bits of what is left of the millisecond, as RFC 9562 section 6.2 method 3 has it;
/// one more than the last where the clock has not moved on.
fn next_stamp(last: &AtomicU64, now: Timestamp) -> u64 {
    let part = (now.as_nanos() % 1_000_000) * 4_096 / 1_000_000;
    let stamp = now.as_millis() << 12 | part;
    let before = last.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(stamp.max(last.saturating_add(1))));
    let before = before.unwrap_or_else(|before| before);
    stamp.max(before.saturating_add(1))
}

/// An id of version 7: `stamp` is 60 bits of time (48 of milliseconds, 12 below them), `noise` gives the 62 bits after it.
pub const fn uuid_at(stamp: u64, noise: u64) -> Uuid {
    let high = (stamp >> 12) << 16 | 0x7000 | (stamp & 0xfff);
    let low = 1 << 63 | noise >> 2;
    Uuid::from_u64_pair(high, low)
}

/// A number from 0 up to, but without, 1, of the 53 bits that such a number has.
fn fraction_of(noise: u64) -> f64 {
    (noise >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ids_are_of_version_seven_and_grow() {
        let random = SystemRandom::new();
        let now = Timestamp::from_nanos(1_790_000_000_000_000_000);
        let ids: Vec<_> = (0..10_000).map(|_| random.id(now)).collect();
        assert!(ids.is_sorted_by(|one, next| one < next));
        assert_eq!((ids[0].get_version_num(), ids[0].get_variant()), (7, uuid::Variant::RFC4122));
        let seconds = ids[0].get_timestamp().map(|time| time.to_unix().0);
        assert_eq!(seconds, Some(1_790_000_000));
    }

    #[test]
    fn threads_do_not_make_the_same_id() {
        let random = SystemRandom::new();
        let ids: Vec<Uuid> = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..4).map(|_| scope.spawn(|| (0..2_000).map(|_| random.id(Timestamp::EPOCH)).collect::<Vec<_>>())).collect();
            threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect()
        });
        assert_eq!(ids.iter().collect::<HashSet<_>>().len(), 8_000);
    }

    #[test]
    fn a_seed_gives_the_same_again() {
        let draw = |seed| {
            let random = SeededRandom::new(seed);
            (random.id(Timestamp::EPOCH), random.id(Timestamp::EPOCH), random.fraction().to_bits())
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }

    proptest! {
        #[test]
        fn a_fraction_is_never_one(noise: u64) {
            let fraction = fraction_of(noise);
            prop_assert!((0.0..1.0).contains(&fraction));
        }

        #[test]
        fn every_time_gives_a_valid_id(nanos: u64, noise: u64) {
            let id = uuid_at(next_stamp(&AtomicU64::new(0), Timestamp::from_nanos(nanos)), noise);
            prop_assert_eq!(id.get_version_num(), 7);
        }
    }
}
