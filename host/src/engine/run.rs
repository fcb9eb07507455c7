//! The run as a pure state machine: state and input to facts and commands. Its state is the fold of its facts.
//!
//! Nothing in here waits, locks or reads a clock. That is what lets tests try every order of results, cancels and due times.

mod jobs;
mod machine;
mod scope;
mod state;
#[cfg(test)]
mod tests;
mod unwind;

pub use machine::{Claim, Command, Input, Machine, Surroundings, Verdict, set_fields};
pub use scope::{Extra, RunScope};
pub use state::{ActiveJob, JobPhase, Lane, RunState};
