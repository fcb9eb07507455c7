//! The one stack of policies, one file a layer; [`stack`] has the order, once.
//!
//! The job half (`fallback`, `dedup`, `cache`, `deadline`, `retry`) are pure deciders that the run drives: values and a time in,
//! values out. The attempt half (`breaker`, `rate_limit`, `bulkhead`, `timeout`) wraps one executor call.

pub mod key;
pub mod stack;

// The job half, outermost first.
pub mod cache;
pub mod deadline;
pub mod dedup;
pub mod fallback;
pub mod retry;

// The attempt half, outermost first.
pub mod breaker;
pub mod bulkhead;
pub mod rate_limit;
pub mod timeout;

// Whose state a layer has.
mod shared;

#[cfg(test)]
mod scripted;

pub use shared::Policies;
pub use stack::AttemptStack;
