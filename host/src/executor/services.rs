//! What the host does for one executor: the calls of [`HostApi`], each checked against the grants before anything else.

pub mod key_value;

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::FutureExt;

use self::key_value::KeyValue;
use super::database::Database;
use super::files::Folder;
use super::grants::{self, ResourceGrant};
use super::host_api::{HostApi, HostCall};
use super::http::{Body, Folders, Http, Request};
use super::index::{Entry, Index, Search};
use crate::model::failure::{Failure, FailureKind};
use crate::model::grant::{Grants, Limits};
use crate::model::id::{ExecutorName, ResourceName};
use crate::model::port::{OutboxTable, Outgoing};
use crate::model::secret::Secret;
use crate::model::value::{Tree, Value};

/// How many hits a search gives at most, however many were asked for.
pub const MAX_HITS: u32 = 100;

/// The host as one executor may use it.
pub struct Services {
    /// Whose services these are: refusals name it.
    pub executor: ExecutorName,
    /// Its configuration.
    pub config: Value,
    /// What it may use.
    pub grants: Grants,
    /// The granted databases.
    pub databases: BTreeMap<ResourceName, Arc<Database>>,
    /// The granted key-value stores.
    pub stores: BTreeMap<ResourceName, Arc<KeyValue>>,
    /// The granted indexes.
    pub indexes: BTreeMap<ResourceName, Arc<Index>>,
    /// The granted folders.
    pub folders: BTreeMap<ResourceName, Arc<Folder>>,
    /// Its requests, and where they may go.
    pub http: Http,
    /// Bounds what an answer may be.
    pub limits: Limits,
    /// The granted secrets.
    pub secrets: BTreeMap<String, Secret>,
}

impl Services {
    fn granted<'a, T>(&self, kind: ResourceGrant, asked: Option<&str>, open: &'a BTreeMap<ResourceName, T>) -> Result<&'a T, Failure> {
        let name = grants::resource(&self.executor, &self.grants, kind, asked)?;
        open.get(name).ok_or_else(|| {
            let message = format!("{} {name:?} is granted and not open; declare it under resources", kind.as_str());
            Failure::new(FailureKind::NotFound, message)
        })
    }
}

/// Makes a call of a check that may refuse and a future that does the work.
macro_rules! call {
    ($check:expr, |$granted:ident| $work:expr) => {
        async move {
            let $granted = $check?;
            $work.await
        }
        .boxed()
    };
}

impl HostApi for Services {
    fn sql_query<'a>(&'a self, database: Option<&'a str>, statement: &'a str, parameters: &'a Value) -> HostCall<'a> {
        call!(self.granted(ResourceGrant::Sql, database, &self.databases), |database| database.query(statement, parameters))
    }

    fn sql_execute<'a>(&'a self, database: Option<&'a str>, statement: &'a str, parameters: &'a Value) -> HostCall<'a> {
        call!(self.granted(ResourceGrant::Sql, database, &self.databases), |database| database.execute(statement, parameters))
    }

    fn sql_execute_outgoing<'a>(
        &'a self,
        database: Option<&'a str>,
        statement: &'a str,
        parameters: &'a Value,
        outgoing: Outgoing,
    ) -> HostCall<'a, (Value, Arc<dyn OutboxTable>)> {
        async move {
            let database = self.granted(ResourceGrant::Sql, database, &self.databases)?;
            let output = database.execute_outgoing(statement, parameters, outgoing).await?;
            Ok((output, Arc::clone(database) as Arc<dyn OutboxTable>))
        }
        .boxed()
    }

    fn outboxes(&self) -> Vec<Arc<dyn OutboxTable>> {
        self.databases.values().map(|database| Arc::clone(database) as Arc<dyn OutboxTable>).collect()
    }

    fn index_search<'a>(&'a self, index: Option<&'a str>, query: &'a str, top_k: u32) -> HostCall<'a> {
        call!(self.granted(ResourceGrant::Index, index, &self.indexes), |index| index.search(query, top_k.clamp(1, MAX_HITS)))
    }

    fn index_put<'a>(&'a self, index: Option<&'a str>, id: &'a str, text: &'a str) -> HostCall<'a> {
        call!(self.granted(ResourceGrant::Index, index, &self.indexes), |index| index.put(Entry {
            id: id.to_owned(),
            text: text.to_owned(),
            ..Entry::default()
        }))
    }

    fn index_find<'a>(&'a self, index: Option<&'a str>, search: Search) -> HostCall<'a> {
        call!(self.granted(ResourceGrant::Index, index, &self.indexes), |index| index.find(search))
    }

    fn index_add<'a>(&'a self, index: Option<&'a str>, entry: Entry) -> HostCall<'a> {
        call!(self.granted(ResourceGrant::Index, index, &self.indexes), |index| index.put(entry))
    }

    fn http_request<'a>(&'a self, request: &'a Request) -> HostCall<'a> {
        async move {
            let body = match &request.body {
                Body::File { folder, .. } => Some(self.folder(folder.as_deref())?),
                Body::None | Body::Bytes(_) => None,
            };
            let into = request.into.as_ref().map(|into| self.folder(into.folder.as_deref())).transpose()?;
            self.http.exchange(request, Folders { body: body.as_ref(), into: into.as_ref() }, &self.limits).await
        }
        .boxed()
    }

    fn folder(&self, folder: Option<&str>) -> Result<Arc<Folder>, Failure> {
        self.granted(ResourceGrant::Files, folder, &self.folders).map(Arc::clone)
    }

    fn kv_get<'a>(&'a self, store: Option<&'a str>, key: &'a str) -> HostCall<'a> {
        call!(self.granted(ResourceGrant::Kv, store, &self.stores), |store| store.get(key))
    }

    fn kv_set<'a>(&'a self, store: Option<&'a str>, key: &'a str, value: &'a Value) -> HostCall<'a> {
        call!(self.granted(ResourceGrant::Kv, store, &self.stores), |store| store.set(key, value).map(|done| done.map(|()| Value::null())))
    }

    fn kv_delete<'a>(&'a self, store: Option<&'a str>, key: &'a str) -> HostCall<'a> {
        call!(self.granted(ResourceGrant::Kv, store, &self.stores), |store| store
            .delete(key)
            .map(|done| done.map(|there_was| Value::from(Tree::Bool(there_was)))))
    }

    fn secret(&self, name: &str) -> Result<Secret, Failure> {
        grants::secret(&self.executor, &self.grants, name)?;
        self.secrets.get(name).cloned().ok_or_else(|| {
            let message =
                format!("the secret {name} is granted and has no value; give it with --secrets FILE or as the environment variable {name}");
            Failure::new(FailureKind::NotFound, message)
        })
    }

    fn config(&self) -> &Value {
        &self.config
    }
}

#[cfg(test)]
mod tests {
    use super::super::database::Access;
    use super::*;

    fn services(folder: &tempfile::TempDir) -> Services {
        let database = Database::open(&folder.path().join("chat.db"), Access::Users).expect("it opens");
        Services {
            executor: "save".into(),
            config: Value::null(),
            grants: Grants { sql: vec!["main".into()], secrets: vec!["A".to_owned(), "B".to_owned()], ..Grants::default() },
            databases: BTreeMap::from([("main".into(), Arc::new(database))]),
            stores: BTreeMap::new(),
            indexes: BTreeMap::new(),
            folders: BTreeMap::new(),
            http: crate::executor::test_support::no_http(),
            limits: Limits::default(),
            secrets: BTreeMap::from([("A".to_owned(), Secret::new("A", "hunter2")), ("C".to_owned(), Secret::new("C", "x"))]),
        }
    }

    fn request(json: &str) -> Request {
        Request::read(Value::from_text(json).expect("JSON").tree()).expect("a request")
    }

    #[tokio::test]
    async fn each_call_asks_the_grants_first() {
        let folder = tempfile::tempdir().expect("a folder");
        let services = services(&folder);
        let null = Value::null();
        assert!(services.sql_query(None, "SELECT 1", &null).await.is_ok());
        assert!(services.sql_execute(Some("main"), "CREATE TABLE t (a)", &null).await.is_ok());
        let refused = [
            services.sql_query(Some("other"), "SELECT 1", &null).await,
            services.sql_execute(Some("other"), "SELECT 1", &null).await,
            services.index_search(None, "words", 3).await,
            services.index_put(None, "id", "text").await,
            services.index_find(None, Search::default()).await,
            services.index_add(None, Entry::default()).await,
            services.http_request(&request(r#"{"url":"https://api.example.com/"}"#)).await,
            services.http_request(&request(r#"{"url":"https://api.example.com/","body":{"file":"a"}}"#)).await,
            services.http_request(&request(r#"{"url":"https://api.example.com/","into":{"file":"a"}}"#)).await,
            services.kv_get(None, "key").await,
            services.kv_set(None, "key", &null).await,
            services.kv_delete(None, "key").await,
        ];
        for refusal in refused {
            assert_eq!(refusal.expect_err("not granted").kind, FailureKind::Denied);
        }
    }

    #[test]
    fn a_secret_must_be_granted_and_there() {
        let folder = tempfile::tempdir().expect("a folder");
        let services = services(&folder);
        assert_eq!(services.secret("A").expect("granted").reveal(), "hunter2");
        assert_eq!(services.secret("B").expect_err("it has no value").kind, FailureKind::NotFound);
        assert_eq!(services.secret("C").expect_err("not granted").kind, FailureKind::Denied);
    }
}
