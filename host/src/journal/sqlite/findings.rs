//! What is wrong with a store, in words for people and programs.

use std::fmt;

use super::mark::Mark;
use super::walk::Damage;
use crate::model::id::RunId;

/// How many problems are named at most; those beyond are only counted.
pub const MOST_PROBLEMS: usize = 100;

/// What an examination of a store found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Findings {
    /// How many rows the journal has.
    pub rows: u64,
    /// The position of its last row.
    pub position: i64,
    /// How many transactions were committed.
    pub commits: u64,
    /// What is wrong, at most [`MOST_PROBLEMS`].
    pub problems: Vec<Problem>,
    /// How many more there are.
    pub more: u64,
}

/// One thing that is wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Problem {
    /// Nothing of it can be read.
    Nothing {
        /// What stands in its place.
        why: String,
        /// How far it had come, if its mark says so.
        mark: Option<Mark>,
    },
    /// What SQLite says of its file.
    Structure(String),
    /// An index does not hold what its table does: rows that are there are not found, or found where they are not.
    Index {
        /// The table.
        table: &'static str,
        /// The index.
        index: String,
    },
    /// A place of the journal.
    Journal(Damage),
    /// A row of another table is not what was written.
    Row {
        /// The table.
        table: &'static str,
        /// Its first column.
        key: String,
        /// The run that it is of, if it is of one.
        run: Option<RunId>,
    },
    /// The rows of a table are not those that were written.
    Count {
        /// The table.
        table: &'static str,
        /// How many there ought to be.
        expected: u64,
        /// How many there are.
        found: u64,
    },
    /// The account of the store cannot be read: why.
    Account(String),
    /// The journal ends elsewhere than the account says.
    End {
        /// Up to which position there ought to be rows.
        expected: i64,
        /// Up to which there are.
        found: i64,
    },
    /// The store is not as far as its mark says.
    Behind {
        /// What the mark says.
        expected: Mark,
        /// How far the store is.
        found: Mark,
    },
    /// The mark is gone.
    NoMark,
    /// Neither half of the mark can be read.
    DamagedMark,
    /// A table cannot be read to its end.
    Unreadable {
        /// The table.
        what: &'static str,
        /// What SQLite says.
        why: String,
    },
    /// A large value is gone or damaged: what is wrong with its file.
    File(String),
    /// The key is gone with which secrets were sealed: what is in so many rows cannot be read without it.
    NoKey {
        /// How many.
        rows: u64,
    },
    /// Secrets were sealed with another key than the one that is there: whoever needs what is in so many rows is stalled, and nobody else is.
    OtherKey {
        /// How many.
        rows: u64,
    },
    /// The key cannot be used, and no host starts with it: why, with the way out.
    Key(String),
    /// A row of the journal is as it was written, and cannot be understood: its run is stalled, and nothing else is.
    Unparsed {
        /// Its position.
        position: i64,
        /// Whose facts they are.
        run: RunId,
        /// Why.
        why: String,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing { why, mark: Some(mark) } => write!(
                formatter,
                "{why}: nothing can be read of {} up to row {} of the journal",
                transactions(mark.commits),
                mark.end.position
            ),
            Self::Nothing { why, mark: None } => write!(formatter, "{why}: nothing of it can be read"),
            Self::Structure(why) => write!(formatter, "the file is damaged: {why}"),
            Self::Index { table, index } => write!(formatter, "the index {index} does not hold what {table} does"),
            Self::Journal(damage) => write!(formatter, "{damage}"),
            Self::Row { table, key, run: Some(run) } if *key != run.to_string() => {
                write!(formatter, "row {key} of {table} (run {run}) was changed")
            }
            Self::Row { table, key, .. } => write!(formatter, "row {key} of {table} was changed"),
            Self::Count { table, expected, found } if expected > found => {
                write!(formatter, "{table} has {found} rows, and had {expected}: {} are missing", expected - found)
            }
            Self::Count { table, expected, found } if expected < found => {
                write!(formatter, "{table} has {found} rows, and had {expected}: {} came from nowhere", found - expected)
            }
            Self::Count { table, found, .. } => write!(formatter, "the {found} rows of {table} are not those that were written"),
            Self::Account(why) => write!(formatter, "the account of what the rows must amount to cannot be read: {why}"),
            Self::End { expected, found } => {
                write!(formatter, "the journal has rows up to {found}, and ought to have them up to {expected}")
            }
            Self::Behind { expected, found } => write!(
                formatter,
                "{} {} committed up to row {} of the journal, and it is there up to row {}{}",
                transactions(expected.commits),
                if expected.commits == 1 { "was" } else { "were" },
                expected.end.position,
                found.end.position,
                match expected.commits.checked_sub(found.commits) {
                    Some(lost @ 1..) => format!(": {} lost", transactions(lost)),
                    _ => ", otherwise than it was committed".to_owned(),
                }
            ),
            Self::NoMark => write!(formatter, "the file journal.mark is gone: how far the journal had come is not known"),
            Self::DamagedMark => write!(formatter, "the file journal.mark is damaged: how far the journal had come is not known"),
            Self::Unreadable { what, why } => write!(formatter, "{what} cannot be read to its end: {why}"),
            Self::File(why) => write!(formatter, "a large value is lost: {why}"),
            Self::NoKey { rows } => write!(
                formatter,
                "the file seal.key is gone, and secrets in {} are sealed with it: put it back, or they can never be read",
                rows_of(*rows)
            ),
            Self::OtherKey { rows } => write!(
                formatter,
                "secrets in {} are sealed with another key than the file seal.key has: whatever needs them stands still until that one is put back",
                rows_of(*rows)
            ),
            Self::Key(why) => formatter.write_str(why),
            Self::Unparsed { position, run, why } => {
                write!(formatter, "row {position} of the journal (run {run}) cannot be understood: {why}")
            }
        }
    }
}

fn rows_of(count: u64) -> String {
    if count == 1 { "1 row".to_owned() } else { format!("{count} rows") }
}

fn transactions(count: u64) -> String {
    if count == 1 { "1 transaction".to_owned() } else { format!("{count} transactions") }
}

impl Problem {
    /// Whether something may be lost; otherwise it is all there, and cannot be read as things are.
    pub const fn is_loss(&self) -> bool {
        !matches!(self, Self::Unparsed { .. } | Self::OtherKey { .. } | Self::Key(_))
    }

    /// The run that it concerns, where it concerns one.
    pub const fn run(&self) -> Option<RunId> {
        match self {
            Self::Journal(Damage::Changed { run, .. }) | Self::Row { run, .. } => *run,
            Self::Unparsed { run, .. } => Some(*run),
            _ => None,
        }
    }
}

impl Findings {
    /// This one problem.
    pub fn of(problem: Problem) -> Self {
        Self { problems: vec![problem], ..Self::default() }
    }

    /// Whether something may be lost.
    pub fn is_suspect(&self) -> bool {
        self.problems.iter().any(Problem::is_loss)
    }

    /// What is wrong, in one sentence that names the first problems; `None` if nothing may be lost.
    pub fn suspicion(&self) -> Option<String> {
        let losses: Vec<String> = self.problems.iter().filter(|problem| problem.is_loss()).take(NAMED).map(ToString::to_string).collect();
        let all = self.problems.iter().filter(|problem| problem.is_loss()).count() as u64 + self.more;
        let more = match all.saturating_sub(losses.len() as u64) {
            0 => String::new(),
            more => format!("; and {more} more"),
        };
        (!losses.is_empty()).then(|| format!("{}{more}", losses.join("; ")))
    }

    /// The runs that are concerned, as far as that is known, each once.
    pub fn runs(&self) -> Vec<RunId> {
        let mut runs: Vec<RunId> = self.problems.iter().filter_map(Problem::run).collect();
        runs.sort();
        runs.dedup();
        runs
    }

    pub(super) fn add(&mut self, problem: Problem) {
        if self.problems.len() < MOST_PROBLEMS {
            self.problems.push(problem);
        } else {
            self.more += 1;
        }
    }

    /// Adds one that is named before all others.
    pub(super) fn add_first(&mut self, problem: Problem) {
        self.problems.insert(0, problem);
        if self.problems.len() > MOST_PROBLEMS {
            self.problems.pop();
            self.more += 1;
        }
    }
}

/// So many problems stand in one sentence.
const NAMED: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::sqlite::walk::End;

    #[test]
    fn the_sentence_names_the_first_problems_and_counts_the_others() {
        let mut findings = Findings::default();
        assert_eq!(findings.suspicion(), None);
        findings.add(Problem::Unparsed { position: 3, run: RunId::new(uuid::Uuid::nil()), why: "no JSON".to_owned() });
        assert_eq!((findings.suspicion(), findings.is_suspect()), (None, false), "that stalls its run only");
        let mark = |commits, position| Mark { commits, end: End { position, ..End::default() } };
        findings.add(Problem::Behind { expected: mark(9, 40), found: mark(8, 37) });
        let expected = "9 transactions were committed up to row 40 of the journal, and it is there up to row 37: 1 transaction lost";
        assert_eq!(findings.suspicion().as_deref(), Some(expected));
        (0..300).for_each(|_| findings.add(Problem::Count { table: "kept", expected: 3, found: 1 }));
        let sentence = findings.suspicion().expect("there are some");
        assert!(sentence.ends_with("kept has 1 rows, and had 3: 2 are missing; and 298 more"), "{sentence}");
        assert_eq!(findings.problems.len(), MOST_PROBLEMS);
        findings.add_first(Problem::NoMark);
        assert_eq!(findings.problems.first(), Some(&Problem::NoMark));
    }
}
