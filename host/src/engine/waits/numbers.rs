//! A set of numbers that are given out one after the other, of which the lowest is asked for: mostly a bit each.

use std::collections::BTreeMap;

/// The set: by its number divided by 64, each word of which any bit is set.
#[derive(Default)]
pub(super) struct Numbers(BTreeMap<u64, u64>);

impl Numbers {
    pub(super) fn insert(&mut self, number: u64) {
        *self.0.entry(number / 64).or_default() |= bit(number);
    }

    pub(super) fn remove(&mut self, number: u64) {
        let Some(word) = self.0.get_mut(&(number / 64)) else { return };
        *word &= !bit(number);
        if *word == 0 {
            self.0.remove(&(number / 64));
        }
    }

    /// The lowest.
    pub(super) fn first(&self) -> Option<u64> {
        self.0.first_key_value().map(|(place, word)| place * 64 + u64::from(word.trailing_zeros()))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

const fn bit(number: u64) -> u64 {
    1 << (number % 64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_is_found_whatever_goes() {
        let mut numbers = Numbers::default();
        let given = [3, 63, 64, 65, 1_000, u64::MAX];
        given.iter().for_each(|number| numbers.insert(*number));
        numbers.remove(64);
        numbers.remove(64);
        numbers.remove(7);
        let mut found = Vec::new();
        while let Some(first) = numbers.first() {
            found.push(first);
            numbers.remove(first);
        }
        assert_eq!(found, [3, 63, 65, 1_000, u64::MAX]);
        assert!(numbers.is_empty());
    }
}
