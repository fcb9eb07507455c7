//! Keeps the account of a store up with every change of its rows, whoever makes it.
//!
//! Each row of a summed table has a column `digest` that SQLite fills by the function `row_digest`, and triggers that exist on the writing connection
//! only tell of each change. So no statement of the writer can forget to count, and another program that writes into the file fails or shows. The rows of
//! runs alone are counted by whoever writes them: see [`runs_row`](super::runs_row).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::functions::{Context, FunctionFlags};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Error, OptionalExtension, params};

use super::account::{Account, COUNTED_BY_HAND, SUMMED};
use super::mark::Mark;
use super::schema;
use super::sum::{RowDigest, RowHasher, Sum};
use super::walk::{End, Gap};
use crate::model::id::Digest;

/// What is counted on the connection that writes.
pub(super) struct Guard {
    /// As the last transaction that was committed has left it.
    committed: Account,
    live: Arc<Mutex<Live>>,
}

/// As the transaction under way has it.
#[derive(Default)]
struct Live {
    account: Account,
    /// Rows of the journal that were deleted.
    deleted: BTreeMap<i64, Digest>,
}

/// Teaches a connection the function `row_digest(table, column, …)`.
///
/// # Errors
/// What SQLite says.
pub(super) fn teach(connection: &Connection) -> Result<(), Error> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC | FunctionFlags::SQLITE_INNOCUOUS;
    connection.create_scalar_function("row_digest", -1, flags, |context| Ok(row_digest(context)?.as_bytes().to_vec()))
}

fn row_digest(context: &Context<'_>) -> Result<RowDigest, Error> {
    if context.is_empty() {
        // A file may say what it likes.
        return Err(Error::UserFunctionError("row_digest needs the name of a table".into()));
    }
    let table = context.get_raw(0).as_str().map_err(|error| Error::UserFunctionError(Box::new(error)))?;
    let columns = (1..context.len()).map(|column| context.get_raw(column));
    let hasher = columns.fold(RowHasher::of(table), |hasher, value| match value {
        ValueRef::Null => hasher.absent(),
        ValueRef::Integer(number) => hasher.number(number),
        // There is none in these tables; one that stands there is not what was written.
        ValueRef::Real(number) => hasher.bytes(&number.to_le_bytes()),
        ValueRef::Text(text) => hasher.text(text),
        ValueRef::Blob(bytes) => hasher.bytes(bytes),
    });
    Ok(hasher.end())
}

/// The account that a store has; `None` if it has none that can be read.
///
/// # Errors
/// What SQLite says.
pub(super) fn account(connection: &Connection) -> Result<Option<Account>, Error> {
    let (table, row) = place(schema::format(connection)?);
    let found = format!("SELECT value FROM {table} WHERE {row}");
    let stored = connection.query_row(&found, [], |row| row.get::<_, Option<Vec<u8>>>(0)).optional()?;
    Ok(stored.flatten().and_then(|bytes| Account::from_bytes(&bytes)))
}

/// In which row of which table a file of this format has its account.
const fn place(format: i32) -> (&'static str, &'static str) {
    // In a table of its own it is in nobody's way: no trigger has to ask whether it is that row.
    if format < 2 { ("meta", "name = 'account'") } else { ("account", "one = 1") }
}

/// Notes in the account of a store that no mark stands beside it. An account that cannot be read is left as it is: whoever opens the store is told.
///
/// # Errors
/// What SQLite says.
pub(super) fn unmark(connection: &Connection) -> Result<(), Error> {
    if let Ok(Some(account)) = account(connection) {
        let (table, row) = place(schema::format(connection)?);
        let update = format!("UPDATE {table} SET value = ?1 WHERE {row}");
        connection.execute(&update, [Account { marked: false, ..account }.to_bytes()])?;
    }
    Ok(())
}

/// Makes the account of a store from what stands in it, within the transaction that has changed the form of its tables. What it says is not known to be
/// all that there was.
///
/// # Errors
/// What SQLite says.
pub(super) fn recount(connection: &Connection, commits: u64) -> Result<(), Error> {
    let mut account = Account { mark: Mark { commits, end: end(connection)? }, ..Account::default() };
    for table in SUMMED {
        let Some(sum) = account.sum_mut(table) else { continue };
        let mut rows = connection.prepare(&format!("SELECT digest FROM {table}"))?;
        let mut rows = rows.query([])?;
        while let Some(row) = rows.next()? {
            sum.add(digest_of(row.get_ref(0)?)?);
        }
    }
    connection.execute("INSERT OR REPLACE INTO account (one, value) VALUES (1, ?1)", [account.to_bytes()])?;
    Ok(())
}

/// What of a table is in no sum in a file of this format: the row with the sums.
pub(super) fn uncounted(format: i32, table: &str) -> &'static str {
    if format < 2 && table == "meta" { " WHERE name <> 'account'" } else { "" }
}

/// Where the chain ends, if all of it is there.
fn end(connection: &Connection) -> Result<End, Error> {
    let last = "SELECT position, digest FROM journal UNION ALL SELECT last, cover FROM gaps ORDER BY 1 DESC LIMIT 1";
    let end =
        connection.query_row(last, [], |row| Ok(End { position: row.get(0)?, digest: Digest::from_bytes(row.get(1)?) })).optional()?;
    Ok(end.unwrap_or_default())
}

fn digest_of(value: ValueRef<'_>) -> Result<RowDigest, Error> {
    let bytes = value.as_blob().map_err(|error| Error::UserFunctionError(Box::new(error)))?;
    RowDigest::from_bytes(bytes).ok_or_else(|| Error::UserFunctionError("a row's digest is too short or too long".into()))
}

impl Guard {
    /// Counts what this connection writes from now on; `None` if the store has no account that can be read.
    ///
    /// # Errors
    /// What SQLite says.
    pub(super) fn install(connection: &Connection) -> Result<Option<Self>, Error> {
        let Some(committed) = account(connection)? else { return Ok(None) };
        let live = Arc::new(Mutex::new(Live { account: committed, deleted: BTreeMap::new() }));
        let flags = FunctionFlags::SQLITE_UTF8;
        let counted = Arc::clone(&live);
        connection.create_scalar_function("row_changed", 3, flags, move |context| lock(&counted).changed(context))?;
        let counted = Arc::clone(&live);
        connection.create_scalar_function("row_deleted", 2, flags, move |context| {
            let digest = context.get_raw(1).as_blob().ok().and_then(|bytes| bytes.try_into().ok()).map(Digest::from_bytes);
            let digest = digest.ok_or_else(|| Error::UserFunctionError("a row's digest is too short or too long".into()))?;
            lock(&counted).deleted.insert(context.get(0)?, digest);
            Ok(rusqlite::types::Null)
        })?;
        connection.execute_batch(&triggers())?;
        Ok(Some(Self { committed, live }))
    }

    /// Takes the account as it stands within a transaction that has begun.
    ///
    /// # Errors
    /// What SQLite says, or that it cannot be read any more.
    pub(super) fn reread(&mut self, connection: &Connection) -> Result<(), Error> {
        self.committed = account(connection)?.ok_or_else(|| Error::UserFunctionError("the account of the rows cannot be read".into()))?;
        self.begin();
        Ok(())
    }

    /// A transaction begins, or is taken back: what was counted since the last commit is forgotten.
    pub(super) fn begin(&self) {
        *lock(&self.live) = Live { account: self.committed, deleted: BTreeMap::new() };
    }

    /// Writes the account into the transaction under way, as the last thing before it is committed. `runs` is by how much the sum over the rows of runs
    /// has changed in it.
    ///
    /// # Errors
    /// What SQLite says.
    pub(super) fn enter(&self, connection: &Connection, end: End, runs: Sum) -> Result<(), Error> {
        let deleted = std::mem::take(&mut lock(&self.live).deleted);
        for gap in Gap::of(deleted.into_iter().map(|(position, digest)| End { position, digest })) {
            note(connection, gap)?;
        }
        let bytes = {
            let mut live = lock(&self.live);
            if let Some(sum) = live.account.sum_mut(COUNTED_BY_HAND) {
                sum.join(runs);
            }
            live.account.mark = Mark { commits: self.committed.mark.commits.saturating_add(1), end };
            live.account.to_bytes()
        };
        connection.prepare_cached("UPDATE account SET value = ?1 WHERE one = 1")?.execute([bytes])?;
        Ok(())
    }

    /// The transaction was committed. Returns what has to be marked.
    pub(super) fn committed(&mut self) -> Mark {
        self.committed = lock(&self.live).account;
        self.committed.mark
    }

    /// From the next transaction on there is a mark beside the store.
    pub(super) fn marked(&mut self) {
        self.committed.marked = true;
    }

    /// As the last transaction that was committed has left it.
    pub(super) const fn account(&self) -> &Account {
        &self.committed
    }
}

impl Live {
    fn changed(&mut self, context: &Context<'_>) -> Result<rusqlite::types::Null, Error> {
        let sum = context
            .get_raw(0)
            .as_i64()
            .ok()
            .and_then(|place| usize::try_from(place).ok())
            .and_then(|place| self.account.sums.get_mut(place));
        let sum = sum.ok_or_else(|| Error::UserFunctionError("no table has this number".into()))?;
        if !matches!(context.get_raw(1), ValueRef::Null) {
            sum.take(digest_of(context.get_raw(1))?);
        }
        if !matches!(context.get_raw(2), ValueRef::Null) {
            sum.add(digest_of(context.get_raw(2))?);
        }
        Ok(rusqlite::types::Null)
    }
}

/// Puts a gap where rows were deleted, and makes one of it and those that it touches.
fn note(connection: &Connection, mut gap: Gap) -> Result<(), Error> {
    let find = |sql: &str, position: i64| {
        let found = connection
            .prepare_cached(sql)?
            .query_row([position], |row| Ok(Gap { first: row.get(0)?, last: row.get(1)?, digest: Digest::from_bytes(row.get(2)?) }));
        found.optional()
    };
    let mut delete = connection.prepare_cached("DELETE FROM gaps WHERE first = ?1")?;
    let before = find("SELECT first, last, cover FROM gaps WHERE first < ?1 ORDER BY first DESC LIMIT 1", gap.first)?;
    if let Some((before, joined)) = before.and_then(|before| Some((before, before.joined(gap)?))) {
        delete.execute([before.first])?;
        gap = joined;
    }
    let after = find("SELECT first, last, cover FROM gaps WHERE first > ?1 ORDER BY first LIMIT 1", gap.last)?;
    if let Some((after, joined)) = after.and_then(|after| Some((after, gap.joined(after)?))) {
        delete.execute([after.first])?;
        gap = joined;
    }
    connection.prepare_cached("INSERT INTO gaps (first, last, cover) VALUES (?1, ?2, ?3)")?.execute(params![
        gap.first,
        gap.last,
        gap.digest.as_bytes()
    ])?;
    Ok(())
}

/// The triggers, which the file does not have: a program that only reads it needs none of our functions.
fn triggers() -> String {
    let of_table = |(place, table): (usize, &str)| {
        format!(
            "CREATE TEMP TRIGGER {table}_added AFTER INSERT ON main.{table} BEGIN SELECT row_changed({place}, NULL, NEW.digest); END;
             CREATE TEMP TRIGGER {table}_changed AFTER UPDATE ON main.{table} BEGIN SELECT row_changed({place}, OLD.digest, NEW.digest); END;
             CREATE TEMP TRIGGER {table}_deleted AFTER DELETE ON main.{table} BEGIN SELECT row_changed({place}, OLD.digest, NULL); END;"
        )
    };
    let tables: String = SUMMED.into_iter().enumerate().filter(|(_, table)| *table != COUNTED_BY_HAND).map(of_table).collect();
    // A row that is replaced is deleted without a trigger otherwise.
    format!(
        "PRAGMA recursive_triggers=ON; {tables}
         CREATE TEMP TRIGGER journal_deleted AFTER DELETE ON main.journal BEGIN SELECT row_deleted(OLD.position, OLD.digest); END;"
    )
}

fn lock(live: &Mutex<Live>) -> MutexGuard<'_, Live> {
    // What a panic has left half counted shows when the store is opened next.
    live.lock().unwrap_or_else(PoisonError::into_inner)
}
