//! The sum over the rows that are not in the chain: it does not depend on their order, and is kept up with each change.
//!
//! Rows of these tables are replaced and deleted, so that a chain of them would have to be walked anew each time. What is added and taken away is each
//! row's digest, lane by lane: a row that vanished, came from nowhere or was changed leaves another sum.

/// How many bytes a digest of a row has where it is stored.
pub const BYTES: usize = 16;

/// The digest of one row: of its table, its key and its content. Only damage is meant to be found, not somebody who computes digests too: half a digest
/// is enough for that.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RowDigest([u8; BYTES]);

/// The sum of the digests of many rows, and how many they are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Sum {
    lanes: [u64; 2],
    rows: u64,
}

/// Makes the digest of a row from its columns, in their order. They are gathered first: to hash many small pieces one after the other takes several times
/// as long.
pub struct RowHasher(Vec<u8>);

/// About how many bytes a row of the journal's tables has.
const USUAL: usize = 384;

impl RowHasher {
    /// Of a row of this table.
    pub fn of(table: &str) -> Self {
        let mut gathered = Vec::with_capacity(USUAL);
        gathered.extend((table.len() as u64).to_le_bytes());
        gathered.extend(table.as_bytes());
        Self(gathered)
    }

    /// With nothing in the next column.
    #[must_use]
    pub fn absent(mut self) -> Self {
        self.0.push(0);
        self
    }

    /// With a number in the next column.
    #[must_use]
    pub fn number(mut self, number: i64) -> Self {
        self.0.push(1);
        self.0.extend(number.to_le_bytes());
        self
    }

    /// With bytes in the next column. Their length is hashed too, so that no two rows meet.
    #[must_use]
    pub fn bytes(self, bytes: &[u8]) -> Self {
        self.sized(2, bytes)
    }

    /// With a text in the next column; in SQLite's files, one bit is the difference between a text and bytes.
    #[must_use]
    pub fn text(self, text: &[u8]) -> Self {
        self.sized(3, text)
    }

    fn sized(mut self, kind: u8, bytes: &[u8]) -> Self {
        self.0.push(kind);
        self.0.extend((bytes.len() as u64).to_le_bytes());
        self.0.extend(bytes);
        self
    }

    /// The digest.
    pub fn end(self) -> RowDigest {
        let mut digest = [0; BYTES];
        for (byte, hashed) in digest.iter_mut().zip(blake3::hash(&self.0).as_bytes()) {
            *byte = *hashed;
        }
        RowDigest(digest)
    }
}

impl RowDigest {
    /// The digest that was stored as these bytes; `None` if they are not as many as one has.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// What is stored.
    pub const fn as_bytes(&self) -> &[u8; BYTES] {
        &self.0
    }

    fn lanes(self) -> [u64; 2] {
        let lane = |bytes: &[u8]| bytes.iter().rev().fold(0, |lane, byte| lane << 8 | u64::from(*byte));
        let (first, second) = self.0.split_at(8);
        [lane(first), lane(second)]
    }
}

impl Sum {
    /// How many bytes it has where it is stored.
    pub const BYTES: usize = 24;

    /// Counts a row in.
    pub fn add(&mut self, digest: RowDigest) {
        for (lane, added) in self.lanes.iter_mut().zip(digest.lanes()) {
            *lane = lane.wrapping_add(added);
        }
        self.rows = self.rows.wrapping_add(1);
    }

    /// Counts a row out.
    pub fn take(&mut self, digest: RowDigest) {
        for (lane, taken) in self.lanes.iter_mut().zip(digest.lanes()) {
            *lane = lane.wrapping_sub(taken);
        }
        self.rows = self.rows.wrapping_sub(1);
    }

    /// Counts in and out what this sum did.
    pub fn join(&mut self, other: Self) {
        for (lane, joined) in self.lanes.iter_mut().zip(other.lanes) {
            *lane = lane.wrapping_add(joined);
        }
        self.rows = self.rows.wrapping_add(other.rows);
    }

    /// How many rows were counted in and not out again.
    pub const fn rows(&self) -> u64 {
        self.rows
    }

    /// The sum that was stored as these bytes; `None` if they are not as many as one has.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (numbers, rest) = bytes.as_chunks::<8>();
        match (numbers, rest) {
            ([first, second, rows], []) => {
                Some(Self { lanes: [u64::from_le_bytes(*first), u64::from_le_bytes(*second)], rows: u64::from_le_bytes(*rows) })
            }
            _ => None,
        }
    }

    /// What is stored.
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        let numbers = self.lanes.into_iter().chain([self.rows]).flat_map(u64::to_le_bytes);
        for (place, byte) in bytes.iter_mut().zip(numbers) {
            *place = byte;
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(number: i64) -> RowDigest {
        RowHasher::of("kept").number(number).bytes(b"value").absent().end()
    }

    #[test]
    fn the_order_of_adding_and_taking_does_not_matter() {
        let mut one = Sum::default();
        [1, 2, 3].into_iter().for_each(|number| one.add(row(number)));
        one.take(row(2));
        let mut other = Sum::default();
        other.take(row(2));
        [3, 1, 2].into_iter().for_each(|number| other.add(row(number)));
        assert_eq!(one, other);
        assert_eq!((Sum::from_bytes(&one.to_bytes()), one.rows()), (Some(one), 2));
        let (mut whole, mut change) = (one, Sum::default());
        change.take(row(3));
        change.add(row(4));
        change.take(row(1));
        whole.join(change);
        one.take(row(3));
        one.add(row(4));
        one.take(row(1));
        assert_eq!(whole, one, "what was counted by itself is counted in, also where more was taken than added");
        assert_eq!(Sum::from_bytes(b"short"), None);
    }

    #[test]
    fn a_row_that_vanished_came_twice_or_changed_leaves_another_sum() {
        let sum = |numbers: &[i64]| {
            let mut sum = Sum::default();
            numbers.iter().for_each(|number| sum.add(row(*number)));
            sum
        };
        let whole = sum(&[1, 2, 3]);
        for other in [&[1, 2][..], &[1, 2, 3, 3], &[1, 2, 4], &[]] {
            assert_ne!(sum(other), whole, "{other:?}");
        }
    }

    #[test]
    fn columns_do_not_run_into_each_other() {
        let rows = [
            RowHasher::of("kept").bytes(b"ab").bytes(b"c").end(),
            RowHasher::of("kept").bytes(b"a").bytes(b"bc").end(),
            RowHasher::of("keptab").bytes(b"c").end(),
            RowHasher::of("kept").text(b"ab").bytes(b"c").end(),
            RowHasher::of("kept").bytes(b"ab").bytes(b"c").absent().end(),
            RowHasher::of("kept").number(0).end(),
            RowHasher::of("kept").absent().end(),
        ];
        for (index, one) in rows.iter().enumerate() {
            assert!(rows.iter().skip(index + 1).all(|other| other != one), "{index}");
        }
    }
}
