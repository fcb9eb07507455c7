//! What a guest's calls into the host do: convert, count, and hand on to [`HostApi`], where the grants are checked.

use std::sync::Arc;

use super::abi::{self, config, failure_for_guest, index, kv, log, run, secrets, sql, types};
use super::guest::{Guest, Work};
use crate::executor::host_api::HostApi;
use crate::executor::limit::Limit;
use crate::model::failure::{Failure, FailureKind};
use crate::model::id::EventType;
use crate::model::value::Value;

type Told<T> = wasmtime::Result<T>;
type Answer<T> = wasmtime::Result<Result<T, types::Failure>>;

impl Guest {
    fn host(&self) -> Result<Arc<dyn HostApi>, types::Failure> {
        self.work.as_ref().map(|work| work.host.clone()).ok_or_else(while_describing)
    }

    /// Stops the guest at once: it cannot catch this.
    fn exceed<T>(&mut self, limit: Limit) -> wasmtime::Result<T> {
        self.exceeded = Some(limit);
        Err(wasmtime::Error::msg(limit.code()))
    }

    /// JSON text of a guest. Text that is no JSON is a mistake of the guest and stops it.
    fn json(&mut self, text: String, what: &str) -> wasmtime::Result<Value> {
        if text.len() as u64 > self.longest_text {
            return self.exceed(Limit::Output);
        }
        Value::from_text(text).map_err(|error| wasmtime::Error::msg(format!("{what} is no JSON: {error}")))
    }
}

fn while_describing() -> types::Failure {
    failure_for_guest(Failure::new(FailureKind::Denied, "`describe` may not use the host: it is asked before anything is granted"))
}

fn text(answer: Result<Value, Failure>) -> Result<String, types::Failure> {
    answer.map(|value| value.text().to_owned()).map_err(failure_for_guest)
}

impl types::Host for Guest {}

impl run::Host for Guest {
    async fn progress(&mut self, progress: String) -> Told<()> {
        let progress = self.json(progress, "its progress")?;
        if let Some(work) = &self.work {
            work.attempt.channel.progress(progress);
        }
        Ok(())
    }

    async fn emit(&mut self, event_type: String, data: String) -> Answer<()> {
        let data = self.json(data, "the data of its event")?;
        let Some(work) = &mut self.work else { return Ok(Err(while_describing())) };
        match work.events_left.checked_sub(1) {
            None => self.exceed(Limit::Events),
            Some(left) => {
                work.events_left = left;
                Ok(work.attempt.channel.emit(EventType::new(event_type), data).map_err(failure_for_guest))
            }
        }
    }

    async fn cancelled(&mut self) -> Told<bool> {
        Ok(self.work.as_ref().is_some_and(|work| work.attempt.cancel.is_cancelled()))
    }

    async fn remaining(&mut self) -> Told<Option<u64>> {
        let left = |work: &Work| Some(work.attempt.deadline?.since(work.clock.now()));
        Ok(self.work.as_ref().and_then(left).map(|left| u64::try_from(left.as_millis()).unwrap_or(u64::MAX)))
    }
}

impl log::Host for Guest {
    async fn write(&mut self, level: log::Level, message: String) -> Told<()> {
        if let Some(work) = &self.work {
            work.attempt.channel.log(abi::level_of_guest(level), message);
        }
        Ok(())
    }
}

impl kv::Host for Guest {
    async fn get(&mut self, store: Option<String>, key: String) -> Answer<String> {
        let host = match self.host() {
            Ok(host) => host,
            Err(failure) => return Ok(Err(failure)),
        };
        Ok(text(host.kv_get(store.as_deref(), &key).await))
    }

    async fn set(&mut self, store: Option<String>, key: String, value: String) -> Answer<()> {
        let value = self.json(value, "the value that it keeps")?;
        let host = match self.host() {
            Ok(host) => host,
            Err(failure) => return Ok(Err(failure)),
        };
        Ok(host.kv_set(store.as_deref(), &key, &value).await.map(|_| ()).map_err(failure_for_guest))
    }

    async fn delete(&mut self, store: Option<String>, key: String) -> Answer<bool> {
        let host = match self.host() {
            Ok(host) => host,
            Err(failure) => return Ok(Err(failure)),
        };
        let answer = host.kv_delete(store.as_deref(), &key).await;
        Ok(answer.map(|was_there| was_there.tree().as_bool().unwrap_or(false)).map_err(failure_for_guest))
    }
}

impl sql::Host for Guest {
    async fn query(&mut self, database: Option<String>, statement: String, parameters: String) -> Answer<String> {
        let parameters = self.json(parameters, "the list of parameters")?;
        let host = match self.host() {
            Ok(host) => host,
            Err(failure) => return Ok(Err(failure)),
        };
        Ok(text(host.sql_query(database.as_deref(), &statement, &parameters).await))
    }

    async fn execute(&mut self, database: Option<String>, statement: String, parameters: String) -> Answer<String> {
        let parameters = self.json(parameters, "the list of parameters")?;
        let host = match self.host() {
            Ok(host) => host,
            Err(failure) => return Ok(Err(failure)),
        };
        Ok(text(host.sql_execute(database.as_deref(), &statement, &parameters).await))
    }
}

impl index::Host for Guest {
    async fn search(&mut self, index: Option<String>, query: String, top_k: u32) -> Answer<String> {
        let host = match self.host() {
            Ok(host) => host,
            Err(failure) => return Ok(Err(failure)),
        };
        Ok(text(host.index_search(index.as_deref(), &query, top_k).await))
    }

    async fn put(&mut self, index: Option<String>, id: String, document: String) -> Answer<String> {
        let host = match self.host() {
            Ok(host) => host,
            Err(failure) => return Ok(Err(failure)),
        };
        Ok(text(host.index_put(index.as_deref(), &id, &document).await))
    }
}

impl secrets::Host for Guest {
    async fn get(&mut self, name: String) -> Answer<String> {
        let host = match self.host() {
            Ok(host) => host,
            Err(failure) => return Ok(Err(failure)),
        };
        Ok(host.secret(&name).map(|secret| secret.reveal().to_owned()).map_err(failure_for_guest))
    }
}

impl config::Host for Guest {
    async fn get(&mut self) -> Told<String> {
        Ok(self.work.as_ref().map_or_else(|| "null".to_owned(), |work| work.config.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executor::wasm::tests::{Host, Still};
    use crate::model::fixture::attempt;
    use crate::model::grant::Limits;

    fn guest() -> wasmtime::Store<Guest> {
        Guest::store(&wasmtime::Engine::default(), &Limits { output: 10, ..Limits::default() })
    }

    fn at_work() -> wasmtime::Store<Guest> {
        let mut store = guest();
        store.data_mut().begin(Work {
            host: Arc::new(Host(Value::null())),
            config: "{}".into(),
            clock: Arc::new(Still::default()),
            attempt: attempt(),
            events_left: 1,
        });
        store
    }

    #[tokio::test]
    async fn calls_are_handed_on_with_what_they_mean() {
        let mut store = at_work();
        let guest = store.data_mut();
        assert_eq!(config::Host::get(guest).await.ok().as_deref(), Some("{}"));
        assert!(matches!(secrets::Host::get(guest, "KEY".to_owned()).await, Ok(Ok(value)) if value == "hunter2"));
        assert!(matches!(kv::Host::get(guest, None, "k".to_owned()).await, Ok(Ok(value)) if value == "null"));
        assert!(matches!(kv::Host::set(guest, None, "k".to_owned(), "1".to_owned()).await, Ok(Ok(()))));
        assert!(matches!(kv::Host::delete(guest, None, "k".to_owned()).await, Ok(Ok(true))));
        assert!(matches!(sql::Host::query(guest, None, "select 1".to_owned(), "null".to_owned()).await, Ok(Ok(rows)) if rows == "[1]"));
        assert!(
            matches!(sql::Host::execute(guest, None, "x".to_owned(), "[]".to_owned()).await, Ok(Err(failure)) if failure.message == "read only")
        );
    }

    #[tokio::test]
    async fn nothing_of_the_host_can_be_used_while_it_describes_itself() {
        let mut store = guest();
        let guest = store.data_mut();
        let denied = |answer: Answer<String>| matches!(answer, Ok(Err(failure)) if failure.kind == types::FailureKind::Denied);
        assert!(denied(secrets::Host::get(guest, "KEY".to_owned()).await));
        assert!(denied(index::Host::search(guest, None, "q".to_owned(), 1).await));
        assert!(denied(sql::Host::query(guest, None, "select 1".to_owned(), "null".to_owned()).await));
        assert_eq!(config::Host::get(guest).await.ok().as_deref(), Some("null"));
    }

    #[tokio::test]
    async fn what_goes_beyond_a_limit_stops_the_guest() {
        let mut store = at_work();
        let guest = store.data_mut();
        assert!(run::Host::progress(guest, "1234567890".to_owned()).await.is_ok());
        assert!(run::Host::progress(guest, "12345678901".to_owned()).await.is_err());
        assert_eq!(guest.exceeded.take(), Some(Limit::Output));
        assert!(run::Host::emit(guest, "E".to_owned(), "1".to_owned()).await.is_ok());
        assert!(run::Host::emit(guest, "E".to_owned(), "1".to_owned()).await.is_err());
        assert_eq!(guest.exceeded.take(), Some(Limit::Events));
        assert!(run::Host::progress(guest, "{".to_owned()).await.is_err());
        assert_eq!(guest.exceeded, None, "text that is no JSON is a mistake and no limit");
    }
}
