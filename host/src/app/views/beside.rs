//! What is known of runs beside the store: by a host that carries them out, or by nobody.

use std::path::Path;
use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::pinned::Pinned;
use super::status::Status;
use super::{Beside, Views};
use crate::app::registry;
use crate::clock::RealClock;
use crate::engine::Engine;
use crate::journal::sqlite::Archive;
use crate::model::failure::Failure;
use crate::model::id::{Digest, PipelineName, RunId};
use crate::model::port::{Clock, Sink, Store};
use crate::plan::Environment;
use crate::plan::pipeline::Pipeline;
use crate::telemetry::Telemetry;

/// Views of the runs of a host.
pub(in crate::app) fn of_host(engine: Engine, store: Arc<dyn Store>, pinned: Pinned) -> Views {
    Views::new(store, Arc::new(Host { engine, pinned }))
}

struct Host {
    engine: Engine,
    pinned: Pinned,
}

impl Beside for Host {
    fn pipeline(&self, name: PipelineName, revision: Digest) -> BoxFuture<'_, Option<Arc<Pipeline>>> {
        Box::pin(async move {
            match self.engine.pipeline(&name, revision) {
                Some(pipeline) => Some(pipeline),
                None => self.pinned.find(revision).await,
            }
        })
    }

    fn stalled(&self, run: RunId, _: &Status) -> Option<String> {
        self.engine.why_stalled(run)
    }
}

/// Views of the runs that the last host left in a data folder; `why` says in words why none is asked. Must be called within a Tokio runtime.
///
/// # Errors
/// There is none, or it cannot be read; see [`Archive::open`].
pub fn archive(data: &Path, environment: Environment, why: &'static str) -> Result<Views, Failure> {
    let store: Arc<dyn Store> = Arc::new(Archive::open(data)?);
    let (clock, sink): (Arc<dyn Clock>, Arc<dyn Sink>) = (Arc::new(RealClock::new()), Arc::new(Telemetry::new()));
    let environment = Arc::new(environment);
    let registry = Arc::new(registry(data, &environment, &clock, &sink)?);
    let pinned = Pinned::new(Arc::clone(&store), registry, environment);
    Ok(Views::new(store, Arc::new(Nobody { pinned, why })))
}

struct Nobody {
    pinned: Pinned,
    why: &'static str,
}

impl Beside for Nobody {
    fn pipeline(&self, _: PipelineName, revision: Digest) -> BoxFuture<'_, Option<Arc<Pipeline>>> {
        Box::pin(self.pinned.find(revision))
    }

    /// Nothing goes on.
    fn stalled(&self, _: RunId, status: &Status) -> Option<String> {
        Some(format!("{}; it was {status}", self.why))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::RunsWanted;
    use crate::journal::sqlite::{NO_JOURNAL, Options, SqliteStore};
    use crate::model::event::Caller;
    use crate::model::id::CorrelationId;
    use crate::model::record::{Batch, Beginning, Fact};
    use crate::model::time::Timestamp;
    use crate::model::value::Value;

    #[tokio::test]
    async fn what_a_host_left_is_listed_and_told_without_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let refused = archive(folder.path(), Environment::default(), "no host runs").err().expect("nothing was kept in it");
        assert_eq!(refused.code.as_deref(), Some(NO_JOURNAL));
        let run = RunId::new(uuid::Uuid::from_u128(7));
        let clock: Arc<dyn Clock> = Arc::new(RealClock::new());
        let store = SqliteStore::open(folder.path(), &clock, Arc::new(|_| None), Options { lasting: false, ..Options::default() });
        let store = store.expect("it can be made");
        let beginning = Beginning {
            run,
            pipeline: "shop".into(),
            flow: "order".into(),
            revision: Digest::of(b"gone"),
            correlation_id: CorrelationId::new(uuid::Uuid::from_u128(8)),
            event: None,
            input: Value::map([("order", Value::string("o1"))]),
            trigger: Value::null(),
            caller: Caller::default(),
            state_key: None,
            at: Timestamp::EPOCH,
            deadline: None,
            passed: Vec::new(),
            parent: None,
            part: None,
            retry_of: None,
        };
        let facts = vec![Fact::Began(Arc::new(beginning))];
        store.commit(Batch::of(run, 0, Arc::new(facts))).await.expect("kept");
        store.close();
        drop(store);
        let views = archive(folder.path(), Environment::default(), "no host runs").expect("it can be looked at");
        let listed = views.runs(&RunsWanted { limit: 5, ..RunsWanted::default() }).await.expect("it can be read");
        let stalled = Status::Stalled { reason: "no host runs; it was running".to_owned() };
        assert_eq!(listed.items.iter().map(|row| (row.run, &row.status)).collect::<Vec<_>>(), [(run, &stalled)]);
        let story = views.run("00000000-0000-0000-0000-000000000007").await.expect("it is there");
        assert_eq!(story.input.text(), r#"{"order":"o1"}"#);
        assert_eq!(views.letters(5).await.expect("it can be read").items, []);
    }
}
