//! The engine: takes activations, drives runs, hands their facts to the store, and what follows from them to the buses.
//!
//! `run` decides and touches nothing; `dispatcher` touches and decides nothing; `door` counts who runs and who waits.

mod calls;
mod control;
mod dead_letters;
mod dispatcher;
mod door;
#[cfg(test)]
mod fixture;
mod flights;
mod gate;
mod handle;
mod idempotency;
mod installed;
mod keeping;
mod probes;
mod recovery;
mod refusal;
mod relay;
mod resting;
pub mod run;
mod shareable;
mod shared;
mod states;
mod telling;
#[cfg(test)]
mod tests;
mod timers;
mod unreadable;
mod view;
mod waits;
mod work;

pub use dead_letters::DeadLetter;
pub use handle::{Emitted, Engine, Left, Migrated, MigrationOutcome, Outside, Ports, subscriptions};
pub use recovery::Recovered;
pub use refusal::UNKNOWN_PIPELINE;
pub use view::{RunStatus, RunView};
pub use waits::listens;

/// The code of an answer that leaves out what the run will ask for, where nobody can say yet what that is.
pub const ANSWER_LACKS: &str = "E0776";
