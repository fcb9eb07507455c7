//! Goes along the chain of the journal, and finds rows that are gone or changed.
//!
//! Rows that retention deletes leave a gap, which has the digest that the last of them had: the chain goes on from there.

use std::fmt;

use super::chain::{self, Row};
use crate::model::id::{Digest, RunId};

/// How many places of damage are named at most; those beyond are only counted.
pub const MOST_DAMAGE: usize = 100;

/// Where a chain ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct End {
    /// The position of the last row; 0 if there was none yet.
    pub position: i64,
    /// Its digest.
    pub digest: Digest,
}

/// Rows that retention has deleted, one after the other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Gap {
    /// The position of the first of them.
    pub(super) first: i64,
    /// The position of the last of them.
    pub(super) last: i64,
    /// The digest that the last of them had.
    pub(super) digest: Digest,
}

impl Default for End {
    fn default() -> Self {
        Self { position: 0, digest: Digest::of(chain::ORIGIN) }
    }
}

impl Gap {
    /// One gap of two that touch, the second of which begins where the first ends; `None` if they do not touch.
    pub(super) fn joined(self, next: Self) -> Option<Self> {
        (self.last.checked_add(1)? == next.first).then_some(Self { first: self.first, last: next.last, digest: next.digest })
    }

    /// The gaps that these deleted rows leave, which come in the order of their positions: as few as there can be.
    pub(super) fn of(deleted: impl IntoIterator<Item = End>) -> Vec<Self> {
        let mut gaps: Vec<Self> = Vec::new();
        for row in deleted {
            let gap = Self { first: row.position, last: row.position, digest: row.digest };
            match gaps.last_mut().and_then(|last| Some((last.joined(gap)?, last))) {
                Some((joined, last)) => *last = joined,
                None => gaps.push(gap),
            }
        }
        gaps
    }
}

/// What is wrong at one place of a journal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Damage {
    /// Rows are not there, and retention did not delete them.
    Missing {
        /// The position of the first.
        first: i64,
        /// The position of the last.
        last: i64,
    },
    /// A row is not what was written there.
    Changed {
        /// Its position.
        position: i64,
        /// Whose facts it says that it holds.
        run: Option<RunId>,
    },
    /// What stands in the place of deleted rows does not fit what stands round about it.
    Gap {
        /// The position at which it begins.
        first: i64,
    },
}

/// `row 7 (run …) was changed`.
impl fmt::Display for Damage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { first, last } if first == last => write!(formatter, "row {first} of the journal is missing"),
            Self::Missing { first, last } => write!(formatter, "rows {first} to {last} of the journal are missing"),
            Self::Changed { position, run: Some(run) } => write!(formatter, "row {position} of the journal (run {run}) was changed"),
            Self::Changed { position, run: None } => write!(formatter, "row {position} of the journal was changed"),
            Self::Gap { first } => write!(formatter, "the gap at row {first} of the journal does not fit its neighbours"),
        }
    }
}

/// Goes along a journal from its first row to its last.
#[derive(Debug, Default)]
pub(super) struct Walk {
    end: End,
    /// What the last row's digest ought to have been, where the stored one was another: if the next row follows on this, the digest alone was changed.
    meant: Option<Digest>,
    found: Vec<Damage>,
    more: u64,
    rows: u64,
}

/// What a walk found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Walked {
    /// Where the chain ends.
    pub(super) end: End,
    /// How many rows there are.
    pub(super) rows: u64,
    /// What does not fit, in the order of the positions, at most [`MOST_DAMAGE`].
    pub(super) damage: Vec<Damage>,
    /// How many more there are.
    pub(super) more: u64,
}

impl Walk {
    /// Looks at the next row, with the digest that is stored for it. Says whether it is what was written.
    pub(super) fn row(&mut self, row: &Row<'_>, stored: Digest) -> bool {
        self.rows += 1;
        let follows = self.come_to(row.position);
        let computed = chain::digest(&self.end.digest, row);
        // Behind rows that are missing nothing tells what this one's digest should be: what it has is taken, and the rows behind it tell whether it was right.
        let fits = !follows || computed == stored || self.meant.is_some_and(|meant| chain::digest(&meant, row) == stored);
        if !fits {
            self.add(Damage::Changed { position: row.position, run: Some(row.run) });
        }
        self.meant = (!fits).then_some(computed);
        self.end = End { position: row.position, digest: stored };
        fits
    }

    /// Looks at the next row, which cannot be read, but for its position and perhaps the digest that is stored for it.
    pub(super) fn unreadable(&mut self, position: i64, stored: Option<Digest>) {
        self.rows += 1;
        self.come_to(position);
        self.add(Damage::Changed { position, run: None });
        self.meant = None;
        match stored {
            Some(digest) => self.end = End { position, digest },
            // The next row is taken as it is, as behind one that is missing.
            None => self.end.position = position.saturating_sub(1).max(self.end.position),
        }
    }

    /// Looks at the next gap.
    pub(super) fn gap(&mut self, gap: Gap) {
        let follows = self.come_to(gap.first);
        if gap.last < gap.first || !follows && gap.first <= self.end.position {
            self.add(Damage::Gap { first: gap.first });
        }
        self.meant = None;
        self.end = End { position: gap.last.max(self.end.position), digest: gap.digest };
    }

    /// The end of the journal.
    pub(super) fn end(self) -> Walked {
        Walked { end: self.end, rows: self.rows, damage: self.found, more: self.more }
    }

    /// Notes what is missing before a position. Says whether it is the next.
    fn come_to(&mut self, position: i64) -> bool {
        let next = self.end.position.saturating_add(1);
        if position > next {
            self.add(Damage::Missing { first: next, last: position - 1 });
        } else if position < next {
            // A gap says that it was deleted.
            self.add(Damage::Gap { first: position });
        }
        if position != next {
            self.meant = None;
        }
        position == next
    }

    fn add(&mut self, damage: Damage) {
        if self.found.len() < MOST_DAMAGE {
            self.found.push(damage);
        } else {
            self.more += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn run() -> RunId {
        RunId::new(Uuid::from_u128(7))
    }

    fn row(position: i64, content: &str) -> Row<'_> {
        let content = chain::Content::of(2, Some(content), None).expect("there is some");
        Row { position, run: run(), first: position.unsigned_abs() * 2, count: 2, content }
    }

    const CONTENTS: [&str; 6] = ["one", "two", "three", "four", "five", "six"];

    /// Where the chain ends after each of the rows.
    fn ends() -> Vec<End> {
        let mut end = End::default();
        let chained = CONTENTS.iter().zip(1..).map(|(content, position)| {
            end = End { position, digest: chain::digest(&end.digest, &row(position, content)) };
            end
        });
        chained.collect()
    }

    fn whole() -> Vec<(i64, &'static str, Digest)> {
        ends().into_iter().zip(CONTENTS).map(|(end, content)| (end.position, content, end.digest)).collect()
    }

    fn walk(rows: &[(i64, &str, Digest)]) -> Walked {
        let mut walk = Walk::default();
        for (position, content, digest) in rows {
            walk.row(&row(*position, content), *digest);
        }
        walk.end()
    }

    #[test]
    fn a_journal_as_it_was_written_fits() {
        let walked = walk(&whole());
        assert_eq!((walked.damage, walked.rows, walked.end), (vec![], 6, ends()[5]));
    }

    #[test]
    fn a_changed_content_a_changed_digest_and_a_row_of_another_place_are_each_found_once() {
        let found = vec![Damage::Changed { position: 3, run: Some(run()) }];
        let mut rows = whole();
        rows[2].1 = "threw";
        assert_eq!(walk(&rows).damage, found);
        let mut rows = whole();
        rows[2].2 = Digest::of(b"another");
        assert_eq!(walk(&rows).damage, found, "the row behind one whose digest was changed is as it was");
        let mut rows = whole();
        rows.swap(2, 3);
        (rows[2].0, rows[3].0) = (3, 4);
        assert_eq!(walk(&rows).damage[0], found[0]);
    }

    #[test]
    fn rows_that_are_missing_are_named_and_those_behind_them_are_not_blamed() {
        let mut rows = whole();
        rows.drain(1..3);
        assert_eq!(walk(&rows).damage, [Damage::Missing { first: 2, last: 3 }]);
        rows.remove(0);
        assert_eq!(walk(&rows).damage, [Damage::Missing { first: 1, last: 3 }]);
        assert_eq!(walk(&rows[..2]).end.position, 5, "what is missing at the end shows in where the chain ends");
    }

    #[test]
    fn a_row_that_cannot_be_read_is_named_alone() {
        for stored in [Some(ends()[2].digest), None] {
            let mut walk = Walk::default();
            for (position, content, digest) in whole() {
                match position {
                    3 => walk.unreadable(3, stored),
                    _ => drop(walk.row(&row(position, content), digest)),
                }
            }
            let damage = walk.end().damage;
            assert_eq!(damage[0], Damage::Changed { position: 3, run: None });
            assert!(damage.iter().skip(1).all(|damage| *damage == Damage::Missing { first: 3, last: 3 }), "{damage:?}");
        }
    }

    #[test]
    fn the_chain_goes_over_what_retention_has_deleted() {
        let (rows, ends) = (whole(), ends());
        let gaps = Gap::of([ends[0], ends[1], ends[3]]);
        assert_eq!(gaps, [Gap { first: 1, last: 2, digest: ends[1].digest }, Gap { first: 4, last: 4, digest: ends[3].digest }]);
        let passes = |gaps: [Gap; 2]| {
            let mut walk = Walk::default();
            walk.gap(gaps[0]);
            walk.row(&row(3, rows[2].1), rows[2].2);
            walk.gap(gaps[1]);
            walk.row(&row(5, rows[4].1), rows[4].2);
            walk.row(&row(6, rows[5].1), rows[5].2);
            walk.end().damage
        };
        assert_eq!(passes([gaps[0], gaps[1]]), []);
        let other = Digest::of(b"another");
        assert_eq!(passes([Gap { digest: other, ..gaps[0] }, gaps[1]]), [Damage::Changed { position: 3, run: Some(run()) }]);
        assert_eq!(passes([Gap { last: 3, ..gaps[0] }, gaps[1]]), [Damage::Gap { first: 3 }], "a gap does not reach over a row");
        assert_eq!(passes([Gap { last: 1, ..gaps[0] }, gaps[1]]), [Damage::Missing { first: 2, last: 2 }]);
    }

    #[test]
    fn gaps_that_touch_are_one() {
        let gap = |first, last: i64| Gap { first, last, digest: Digest::of(&last.to_le_bytes()) };
        assert_eq!(gap(1, 3).joined(gap(4, 9)), Some(Gap { first: 1, ..gap(4, 9) }));
        assert_eq!(gap(1, 3).joined(gap(5, 9)), None);
        assert_eq!(gap(5, i64::MAX).joined(gap(0, 0)), None);
    }

    #[test]
    fn more_damage_than_anybody_reads_is_counted() {
        let mut walk = Walk::default();
        for position in 1..=250 {
            walk.row(&row(position, "x"), Digest::of(b"another"));
        }
        let walked = walk.end();
        assert_eq!((walked.damage.len(), walked.more), (MOST_DAMAGE, 150));
    }
}
