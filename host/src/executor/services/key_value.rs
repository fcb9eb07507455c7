//! A key-value store: one table in a SQLite file of our own.

use std::path::Path;

use crate::executor::database::{Access, Cell, Database};
use crate::model::failure::{Failure, FailureKind};
use crate::model::value::Value;

/// The longest key, in bytes.
pub const MAX_KEY: usize = 1 << 10;
/// The largest value, in bytes of JSON.
pub const MAX_VALUE: usize = 1 << 20;

/// An open store.
pub struct KeyValue(Database);

impl KeyValue {
    /// Opens the file, and makes it where it is not there. Blocks only for that; the table is made by the first use.
    ///
    /// # Errors
    /// As [`Database::open`].
    pub async fn open(path: &Path) -> Result<Self, Failure> {
        let path = path.to_owned();
        let opened = tokio::task::spawn_blocking(move || Database::open(&path, Access::Own)).await;
        let database = opened.unwrap_or_else(|panic| Err(Failure::new(FailureKind::Bug, format!("opening a store broke off: {panic}"))))?;
        let table = "CREATE TABLE IF NOT EXISTS entries (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID";
        database.write(move |session| session.batch(table)).await?;
        Ok(Self(database))
    }

    /// A value; null if there is none.
    ///
    /// # Errors
    /// `permanent` if the file is damaged or what stands in it is no JSON.
    pub async fn get(&self, key: &str) -> Result<Value, Failure> {
        let key = Cell::text(key);
        let rows = self.0.read(move |session| session.rows("SELECT value FROM entries WHERE key = ?1", &[key])).await?;
        let Some(cell) = rows.into_iter().flatten().next() else { return Ok(Value::null()) };
        Value::from_text(cell.into_text()).map_err(|error| {
            let message = format!("{} holds a value that is no JSON: {error}; set it anew", self.0.path().display());
            Failure::new(FailureKind::Permanent, message)
        })
    }

    /// Keeps a value under a key of up to [`MAX_KEY`] bytes.
    ///
    /// # Errors
    /// `invalid` for a key or a value that is too large, or holds a secret.
    pub async fn set(&self, key: &str, value: &Value) -> Result<(), Failure> {
        let invalid = |message: String| Err(Failure::new(FailureKind::Invalid, message));
        if key.len() > MAX_KEY {
            return invalid(format!("a key has {} bytes, and {MAX_KEY} are the most", key.len()));
        }
        if value.tree().holds_secret() {
            return invalid(format!("the value for {key:?} holds a secret, and secrets are not written into stores"));
        }
        if value.text().len() > MAX_VALUE {
            return invalid(format!("the value for {key:?} has {} bytes, and {MAX_VALUE} are the most", value.text().len()));
        }
        let cells = [Cell::text(key), Cell::text(value.text())];
        let upsert = "INSERT INTO entries (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value";
        self.0.write(move |session| session.run(upsert, &cells)).await.map(|_| ())
    }

    /// Forgets a value: whether there was one.
    ///
    /// # Errors
    /// As [`Database::execute`].
    pub async fn delete(&self, key: &str) -> Result<bool, Failure> {
        let key = Cell::text(key);
        self.0.write(move |session| session.run("DELETE FROM entries WHERE key = ?1", &[key])).await.map(|changed| changed > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::secret::Secret;
    use crate::model::value::Tree;

    #[tokio::test]
    async fn a_value_is_kept_over_a_new_opening_until_it_is_deleted() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("store.db");
        let value = Value::from_text(r#"{"a":[1,null]}"#).expect("JSON");
        KeyValue::open(&path).await.expect("it opens").set("k", &value).await.expect("kept");
        let store = KeyValue::open(&path).await.expect("it opens again");
        assert_eq!(store.get("k").await, Ok(value));
        assert_eq!((store.delete("k").await, store.delete("k").await), (Ok(true), Ok(false)));
        assert_eq!(store.get("k").await, Ok(Value::null()));
    }

    #[tokio::test]
    async fn what_is_too_large_or_secret_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = KeyValue::open(&folder.path().join("store.db")).await.expect("it opens");
        let fits = Value::string("x".repeat(MAX_VALUE - 2));
        assert!(store.set(&"k".repeat(MAX_KEY), &fits).await.is_ok());
        assert!(store.set(&"k".repeat(MAX_KEY + 1), &Value::null()).await.is_err());
        assert!(store.set("k", &Value::string("x".repeat(MAX_VALUE - 1))).await.is_err());
        assert!(store.set("k", &Value::from(Tree::Secret(Secret::new("A", "b")))).await.is_err());
    }
}
