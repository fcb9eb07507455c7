//! `kv.get`, `kv.set` and `kv.delete`: values by their keys, in a granted store.

use std::sync::Arc;

use futures_util::FutureExt;

use super::declare::{describe, field, optional, record, want};
use super::{checked_input, text};
use crate::executor::host_api::HostApi;
use crate::model::executor::Description;
use crate::model::job::Job;
use crate::model::port::{Attempt, Executor, Processing};
use crate::model::types::Type;
use crate::model::value::{Tree, Value};

/// Which of the three.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verb {
    Get,
    Set,
    Delete,
}

/// Input `{ key, store }` and for `kv.set` `value`; output `{ value }`, null, or `{ deleted }`.
pub(super) fn description(verb: Verb) -> Description {
    let key = field("key", Type::String, "at most 1 KiB");
    let store = optional("store", Type::String, "the store, if more than one is granted");
    let described = match verb {
        Verb::Get => {
            let output = record([field("value", Type::Any, "what was kept; null if there is nothing")]);
            describe("kv.get", "Reads a value by its key", record([key, store]), output)
        }
        Verb::Set => {
            let value = field("value", Type::Any, "what to keep: at most 1 MiB of JSON, without secrets");
            describe("kv.set", "Keeps a value under a key", record([key, value, store]), Type::Any)
        }
        Verb::Delete => {
            let output = record([field("deleted", Type::Bool, "whether there was a value")]);
            describe("kv.delete", "Forgets the value of a key", record([key, store]), output)
        }
    };
    Description { wants: vec![want("kv", "to keep values")], ..described }
}

pub(super) struct Kv {
    verb: Verb,
    description: Description,
    host: Arc<dyn HostApi>,
}

impl Kv {
    pub(super) fn new(verb: Verb, description: Description, host: Arc<dyn HostApi>) -> Self {
        Self { verb, description, host }
    }
}

impl Executor for Kv {
    fn description(&self) -> &Description {
        &self.description
    }

    fn process(&self, job: Arc<Job>, _: Attempt) -> Processing<'_> {
        async move {
            let input = checked_input(&self.description, &job)?;
            let tree = input.tree();
            let (store, key) = (tree.field("store").and_then(Tree::as_text), text(tree, "key"));
            match self.verb {
                Verb::Get => Ok(Value::map([("value", self.host.kv_get(store, key).await?)])),
                Verb::Set => self.host.kv_set(store, key, &input.field("value").unwrap_or_else(Value::null)).await,
                Verb::Delete => Ok(Value::map([("deleted", self.host.kv_delete(store, key).await?)])),
            }
        }
        .boxed()
    }
}
