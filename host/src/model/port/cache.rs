//! Takes results out of caches.

use crate::model::failure::Failure;
use crate::model::job::Job;
use crate::model::value::Value;

/// Which results of a cache go.
#[derive(Clone, PartialEq, Debug)]
pub enum Forget {
    /// The one with this key.
    Key(Value),
    /// All whose key begins with this one: a text's first letters, or a list's first items.
    Prefix(Value),
    /// All that carry this tag.
    Tag(String),
}

/// Takes results out of caches: implemented by the engine, called by `cache.invalidate`.
pub trait Invalidate: Send + Sync {
    /// Takes out what the job's pipeline may: `policy` is the name of one of its policies, or `flow.step` for a cache that stands beside a step.
    /// What is being fetched for it at this moment is not stored. Says how many results went.
    ///
    /// # Errors
    /// `invalid` (`unknown_cache`) if there is no such cache, and for a key that is null, holds a null, or is none.
    fn invalidate(&self, job: &Job, policy: &str, forget: &Forget) -> Result<usize, Failure>;
}
