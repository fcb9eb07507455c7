//! What the host does for guests and scripts: the same calls for WASM and Rhai, each checked against the grants in one place.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::files::Folder;
use super::http::Request;
use super::index::{Entry, Search};
use crate::model::failure::{Failure, FailureKind};
use crate::model::port::{OutboxTable, Outgoing};
use crate::model::secret::Secret;
use crate::model::value::Value;

/// A call into the host under way. Dropping it abandons the call.
pub type HostCall<'a, T = Value> = BoxFuture<'a, Result<T, Failure>>;

/// The host as one executor may use it. What is not granted is `denied`, and the message shows the YAML to add.
///
/// Where a resource is asked for by name, `None` means the only one that is granted. What a host does not offer at all it refuses.
pub trait HostApi: Send + Sync {
    /// Reads rows: a list of maps, one a row. The parameters are a list (`?1`) or a map (`:name`); null where there are none.
    fn sql_query<'a>(&'a self, _database: Option<&'a str>, _statement: &'a str, _parameters: &'a Value) -> HostCall<'a> {
        absent("databases")
    }

    /// Writes: `{ changed: int, last_id: int }`.
    fn sql_execute<'a>(&'a self, _database: Option<&'a str>, _statement: &'a str, _parameters: &'a Value) -> HostCall<'a> {
        absent("databases")
    }

    /// The same, and writes the event that the result becomes into the database's outbox, in one transaction. What the job has done before, as its
    /// event stands there already, is not done again: what it gave then comes back.
    fn sql_execute_outgoing<'a>(
        &'a self,
        _database: Option<&'a str>,
        _statement: &'a str,
        _parameters: &'a Value,
        _outgoing: Outgoing,
    ) -> HostCall<'a, (Value, Arc<dyn OutboxTable>)> {
        Box::pin(async move { Err(refusal("an outbox")) })
    }

    /// The outboxes of the granted databases.
    fn outboxes(&self) -> Vec<Arc<dyn OutboxTable>> {
        Vec::new()
    }

    /// Searches: a list of `{ id, text, file, lines, heading, score }`, best first.
    fn index_search<'a>(&'a self, _index: Option<&'a str>, _query: &'a str, _top_k: u32) -> HostCall<'a> {
        absent("an index")
    }

    /// Adds a document: `{ chunks: int }`. One with the same id is replaced.
    fn index_put<'a>(&'a self, _index: Option<&'a str>, _id: &'a str, _text: &'a str) -> HostCall<'a> {
        absent("an index")
    }

    /// Searches by words, by a vector or by both, a page at a time: the hits of a search, each with `rank` and `data`.
    fn index_find<'a>(&'a self, _index: Option<&'a str>, _search: Search) -> HostCall<'a> {
        absent("an index")
    }

    /// Adds a document with all that it can be found by: `{ chunks: int }`.
    fn index_add<'a>(&'a self, _index: Option<&'a str>, _entry: Entry) -> HostCall<'a> {
        absent("an index")
    }

    /// Sends a request: `{ status, headers, size, body, json, bytes, file }`.
    fn http_request<'a>(&'a self, _request: &'a Request) -> HostCall<'a> {
        absent("connections")
    }

    /// A granted folder.
    ///
    /// # Errors
    /// `denied` if it is not granted.
    fn folder(&self, _folder: Option<&str>) -> Result<Arc<Folder>, Failure> {
        Err(refusal("folders"))
    }

    /// A value of a key-value store; null if there is none.
    fn kv_get<'a>(&'a self, _store: Option<&'a str>, _key: &'a str) -> HostCall<'a> {
        absent("stores")
    }

    /// Keeps a value; null comes back.
    fn kv_set<'a>(&'a self, _store: Option<&'a str>, _key: &'a str, _value: &'a Value) -> HostCall<'a> {
        absent("stores")
    }

    /// Forgets a value: whether there was one.
    fn kv_delete<'a>(&'a self, _store: Option<&'a str>, _key: &'a str) -> HostCall<'a> {
        absent("stores")
    }

    /// A granted secret.
    ///
    /// # Errors
    /// `denied` if it is not granted.
    fn secret(&self, _name: &str) -> Result<Secret, Failure> {
        Err(refusal("secrets"))
    }

    /// The executor's `config`.
    fn config(&self) -> &Value;
}

fn absent<'a>(what: &'static str) -> HostCall<'a> {
    Box::pin(async move { Err(refusal(what)) })
}

fn refusal(what: &str) -> Failure {
    Failure::new(FailureKind::Denied, format!("this host does not offer {what}")).with_code("not_granted")
}
