//! What can still be read of a damaged file, put together in a temporary one that answers in its place: what accepting the loss would keep.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use rusqlite::{Connection, TransactionBehavior};

use super::payload::Payloads;
use super::salvage::{Salvaged, salvage};
use super::{connection, schema};
use crate::model::id::RunId;
use crate::model::port::StoreError;

/// So many runs are named of those of which something is gone.
const NAMED: usize = 3;

/// The temporary file, which SQLite removes with its connection, and what is not in it.
pub(super) struct Rescue {
    connection: Mutex<Connection>,
    salvaged: Salvaged,
    why: String,
}

impl Rescue {
    /// Reads all that can be read of the journal at this path, which cannot be read as it is for this reason. Blocks; changes nothing of it.
    ///
    /// # Errors
    /// [`StoreError::Suspect`]: there is no room for what was read.
    pub(super) fn of(path: &Path, why: &str) -> Result<Self, StoreError> {
        let folder = path.parent().unwrap_or(Path::new(""));
        let refuse = |error: &dyn std::fmt::Display| StoreError::Suspect(format!("{why}, and what is left of it neither: {error}"));
        let mut into = connection::temporary().map_err(|error| refuse(&error))?;
        let payloads = Payloads::to_look(folder);
        schema::prepare(&mut into, path, &payloads).map_err(|failure| refuse(&failure.message))?;
        let salvaged = {
            let from = connection::reader(path).map_err(|error| refuse(&error))?;
            let transaction = into.transaction_with_behavior(TransactionBehavior::Immediate).map_err(|error| refuse(&error))?;
            let salvaged = salvage(&from, &transaction, &payloads).map_err(|trouble| refuse(&StoreError::from(trouble)))?;
            transaction.commit().map_err(|error| refuse(&error))?;
            salvaged
        };
        Ok(Self { connection: Mutex::new(into), salvaged, why: why.to_owned() })
    }

    /// Reads in the temporary file; one reads at a time. Blocks.
    pub(super) fn read<T>(&self, work: impl FnOnce(&Connection) -> T) -> T {
        work(&self.connection.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Why these are not all facts of that run; `None` if nothing of it is gone.
    pub(super) fn lacks(&self, run: RunId, facts: usize) -> Option<String> {
        let (had, has) = self.salvaged.runs.get(&run)?;
        let is_less = facts as u64 <= *has || had.is_some_and(|had| (facts as u64) < had);
        is_less.then(|| format!("its record is damaged: {}", amount(*had, *has)))
    }

    /// What is left out, in one sentence for people.
    pub(super) fn left_out(&self) -> String {
        let Salvaged { dropped, others, runs, .. } = &self.salvaged;
        let mut parts = vec![self.why.clone()];
        let tables = [("journal", *dropped)].into_iter().chain(others.iter().map(|(table, count)| (*table, *count)));
        parts.extend(
            tables.filter(|(_, count)| *count > 0).map(|(table, count)| format!("{table} has {count} more rows that are not good")),
        );
        parts.extend(runs.iter().take(NAMED).map(|(run, (had, has))| match has {
            0 => format!("run {run} is gone"),
            _ => format!("of run {run} there are {}", amount(*had, *has)),
        }));
        if runs.len() > NAMED {
            parts.push(format!("something is gone of {} more runs", runs.len() - NAMED));
        }
        parts.join("; ")
    }
}

/// How many facts of a run there are, of how many.
fn amount(had: Option<u64>, has: u64) -> String {
    match had {
        Some(had) => format!("{has} of {had} facts"),
        None => format!("the first {has} facts"),
    }
}

#[cfg(test)]
mod tests {
    use crate::journal::sqlite::tests::workload::{filled, open, read, run};
    use crate::journal::sqlite::{Archive, FILE, connection, export};
    use crate::model::port::{Health, RunQuery, Store, StoreError};

    const RUNS: u128 = 99;

    /// A folder with a journal of which one page cannot be read: of the journal itself, or of the rows of runs.
    async fn torn(table: &str) -> tempfile::TempDir {
        let folder = filled(RUNS).await;
        let path = folder.path().join(FILE);
        let sql = format!("SELECT pageno FROM dbstat WHERE name = '{table}' AND pagetype = 'leaf' ORDER BY pageno LIMIT 1 OFFSET 1");
        let page: u32 = {
            let connection = connection::reader(&path).expect("it can be opened");
            connection.query_row(&sql, [], |row| row.get(0)).expect("it has several")
        };
        let mut bytes = std::fs::read(&path).expect("it is there");
        let at = usize::try_from(page - 1).expect("it is small") * usize::from(connection::PAGE);
        bytes[at..at + usize::from(connection::PAGE)].fill(0xa5);
        std::fs::write(&path, bytes).expect("written");
        folder
    }

    #[tokio::test]
    async fn a_page_that_cannot_be_read_hides_only_what_was_on_it() {
        let whole = {
            let folder = filled(RUNS).await;
            let store = open(folder.path()).expect("it can be opened");
            read(&store, RUNS).await
        };
        for table in ["journal", "runs"] {
            let folder = torn(table).await;
            let suspect = open(folder.path()).expect("it opens");
            assert!(matches!(suspect.health(), Health::Suspect(_)), "{table}");
            for store in [&suspect as &dyn Store, &Archive::open(folder.path()).expect("it can be looked at")] {
                let listed = store.runs(RunQuery::default()).await.expect("some can be read");
                assert!(listed.len() > 30, "{} of {table}", listed.len());
                let (mut good, mut damaged) = (0, 0);
                for number in 1..=RUNS {
                    match store.facts(run(number)).await {
                        Ok(facts) => {
                            assert_eq!(Some(Ok(facts)), whole.facts_of(number), "run {number}, {table}");
                            good += 1;
                        }
                        Err(StoreError::Unreadable(why)) => {
                            assert!(why.contains("its record is damaged"), "{why}");
                            damaged += 1;
                        }
                        Err(error) => panic!("run {number}, {table}: {error}"),
                    }
                }
                assert!(good > 30 && (damaged > 0) == (table == "journal"), "{good} good, {damaged} damaged of {table}");
                assert!(store.left_out().is_some(), "{table}");
            }
            let mut lines = 0;
            let mut line = |text: &str| {
                lines += usize::from(text.contains("\"facts\""));
                Ok(())
            };
            let left_out = export(folder.path(), &mut line).expect("what is left can be exported");
            assert!(
                lines > 30 && left_out.is_some_and(|left_out| left_out.contains("cannot be read to its end")),
                "{lines} lines of {table}"
            );
        }
    }

    #[tokio::test]
    async fn nothing_is_left_out_of_a_good_journal() {
        let folder = filled(3).await;
        let store = Archive::open(folder.path()).expect("it can be looked at");
        assert_eq!(store.runs(RunQuery::default()).await.map(|runs| runs.len()), Ok(3));
        assert_eq!((store.left_out(), export(folder.path(), &mut |_| Ok(())).ok()), (None, Some(None)));
    }
}
