//! `cache.invalidate`: takes results out of a cache.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use futures_util::FutureExt;

use super::declare::{describe, field, optional, record};
use super::{checked_input, text};
use crate::model::executor::Description;
use crate::model::failure::{Failure, FailureKind};
use crate::model::job::Job;
use crate::model::port::{Attempt, Executor, Forget, Invalidate, Processing};
use crate::model::types::Type;
use crate::model::value::{Tree, Value};

/// Its dotted name.
pub(super) const NAME: &str = "cache.invalidate";

/// The caches, which are made after the executors: set when both are there. Weak, since who has the caches has the executors too.
#[derive(Clone, Default)]
pub struct Caches(Arc<Mutex<Option<Weak<dyn Invalidate>>>>);

impl Caches {
    /// From now on these are the caches: a test's host is killed and comes again with others.
    pub fn connect(&self, caches: &Arc<dyn Invalidate>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::downgrade(caches));
    }

    fn get(&self) -> Option<Arc<dyn Invalidate>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).as_ref().and_then(Weak::upgrade)
    }
}

/// Input `{ policy, key | prefix | tag }`; output `{ removed }`.
pub(super) fn description() -> Description {
    let input = record([
        field("policy", Type::String, "the policy whose cache it is, or flow.step for one that stands beside a step"),
        optional("key", Type::Any, "the key of the result that goes"),
        optional("prefix", Type::Any, "all results go whose key begins so: a text's first letters, a list's first items"),
        optional("tag", Type::String, "all results go that carry this tag"),
    ]);
    let output = record([field("removed", Type::Int, "how many results went")]);
    describe(NAME, "Takes results out of a cache", input, output)
}

pub(super) struct CacheInvalidate {
    description: Description,
    caches: Caches,
}

impl CacheInvalidate {
    pub(super) const fn new(description: Description, caches: Caches) -> Self {
        Self { description, caches }
    }
}

impl Executor for CacheInvalidate {
    fn description(&self) -> &Description {
        &self.description
    }

    fn process(&self, job: Arc<Job>, _: Attempt) -> Processing<'_> {
        async move {
            let input = checked_input(&self.description, &job)?;
            let given = |name: &str| input.field(name).filter(|value| !value.is_null());
            // A key that came to null must not pass for one that was left out and take more than was meant.
            let forget = match (given("key"), given("prefix"), given("tag")) {
                (Some(key), None, None) => Forget::Key(key),
                (None, Some(prefix), None) => Forget::Prefix(prefix),
                (None, None, Some(tag)) => Forget::Tag(tag.tree().as_text().unwrap_or_default().to_owned()),
                _ => {
                    let message = "say what goes by exactly one of `key`, `prefix` and `tag`, and one that is not null";
                    return Err(Failure::new(FailureKind::Invalid, message).with_code("input"));
                }
            };
            let Some(caches) = self.caches.get() else {
                return Err(Failure::new(FailureKind::Rejected, "the host is stopping, and its caches are gone").with_code("stopping"));
            };
            let removed = caches.invalidate(&job, text(input.tree(), "policy"), &forget)?;
            Ok(Value::map([("removed", Value::from(Tree::Int(i64::try_from(removed).unwrap_or(i64::MAX))))]))
        }
        .boxed()
    }
}
