//! The engine: takes activations, drives runs, hands their facts to the store, and what follows from them to the buses.
//!
//! `run` decides and touches nothing; `dispatcher` touches and decides nothing; `door` counts who runs and who waits.

mod calls;
mod control;
mod dispatcher;
mod door;
#[cfg(test)]
mod fixture;
mod flights;
mod gate;
mod handle;
mod idempotency;
mod installed;
mod probes;
mod recovery;
mod resting;
pub mod run;
mod shareable;
mod shared;
mod states;
mod telling;
#[cfg(test)]
mod tests;
mod timers;
mod waits;
mod work;

pub use handle::{Emitted, Engine, Outside, Ports, RunView, subscriptions};
