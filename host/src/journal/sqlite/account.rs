//! The account of a store: what its rows must amount to. It is written in every transaction, and says after it whether all of them are there.

use super::mark::Mark;
use super::sum::Sum;
use super::walk::End;
use crate::model::id::Digest;

/// The tables whose rows are summed, in the order of their sums; the journal has its chain.
pub const SUMMED: [&str; 9] = ["meta", "runs", "inbox", "events", "dispatched", "kept", "bundles", "bundle_files", "gaps"];

/// The one of them whose rows are counted by whoever writes them, and by no trigger.
pub const COUNTED_BY_HAND: &str = "runs";

/// How many transactions were committed, where the chain of the journal ends, and the sum over each other table.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Account {
    /// How far the store has come.
    pub mark: Mark,
    /// The sums, in the order of [`SUMMED`].
    pub sums: [Sum; SUMMED.len()],
    /// Whether there is a mark beside the store that has to be as far. A copy of the store has none until it is opened.
    pub marked: bool,
}

/// The bytes that are stored, their digest apart.
const CONTENT: usize = SUMS + SUMMED.len() * Sum::BYTES;
/// Where the sums begin: behind commits, position, digest, and whether there is a mark.
const SUMS: usize = 8 + 8 + 32 + 1;

impl Account {
    /// What is stored.
    pub fn to_bytes(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(CONTENT + 32);
        bytes.extend_from_slice(&self.mark.commits.to_le_bytes());
        bytes.extend_from_slice(&self.mark.end.position.to_le_bytes());
        bytes.extend_from_slice(self.mark.end.digest.as_bytes());
        bytes.push(u8::from(self.marked));
        for sum in self.sums {
            bytes.extend_from_slice(&sum.to_bytes());
        }
        let digest = Digest::of(&bytes);
        bytes.extend_from_slice(digest.as_bytes());
        bytes
    }

    /// The account that was stored as these bytes; `None` if they are not as they were written.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (content, stored) = bytes.split_at_checked(CONTENT)?;
        if Digest::of(content).as_bytes() != stored {
            return None;
        }
        let number = |at: usize| content.get(at..at + 8)?.try_into().ok();
        let end = End { position: i64::from_le_bytes(number(8)?), digest: Digest::from_bytes(content.get(16..48)?.try_into().ok()?) };
        let mut sums = [Sum::default(); SUMMED.len()];
        for (sum, bytes) in sums.iter_mut().zip(content.get(SUMS..)?.chunks(Sum::BYTES)) {
            *sum = Sum::from_bytes(bytes)?;
        }
        let mark = Mark { commits: u64::from_le_bytes(number(0)?), end };
        Some(Self { mark, sums, marked: content.get(SUMS - 1) == Some(&1) })
    }

    /// The sum over this table, to be changed; `None` if it is none of those that are summed.
    pub fn sum_mut(&mut self, table: &str) -> Option<&mut Sum> {
        let place = SUMMED.iter().position(|name| *name == table)?;
        self.sums.get_mut(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::sqlite::sum::RowHasher;

    fn account() -> Account {
        let mut account = Account { mark: Mark { commits: 7, ..Mark::default() }, marked: true, ..Account::default() };
        account.mark.end.position = 9;
        for table in SUMMED {
            account.sum_mut(table).expect("it is summed").add(RowHasher::of(table).end());
        }
        account
    }

    #[test]
    fn an_account_comes_back_as_it_was_written() {
        for account in [account(), Account::default()] {
            assert_eq!(Account::from_bytes(&account.to_bytes()), Some(account));
        }
        assert_eq!(account().sum_mut("journal"), None);
    }

    #[test]
    fn one_with_a_flipped_bit_or_of_another_length_is_none() {
        let bytes = account().to_bytes();
        for at in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[at / 8] ^= 1 << (at % 8);
            assert_eq!(Account::from_bytes(&flipped), None, "bit {at}");
        }
        for length in 0..bytes.len() {
            assert_eq!(Account::from_bytes(&bytes[..length]), None);
        }
        assert_eq!(Account::from_bytes(&[&bytes[..], &[0]].concat()), None);
    }
}
