//! The run as a pure state machine: state and input to facts and commands. Its state is the fold of its facts.
//!
//! Nothing in here waits, locks or reads a clock. That is what lets tests try every order of results, cancels and due times.

mod branches;
mod dispatching;
mod jobs;
mod lanes;
mod machine;
mod measure;
mod migrating;
mod outbox;
mod rest;
mod resuming;
mod retrying;
mod round;
mod saga;
mod scope;
mod state;
mod summary;
#[cfg(test)]
mod tests;
mod unwind;
mod waiting;

pub use lanes::Lane;
pub use machine::{Claim, Command, Input, Machine, Surroundings, Verdict, set_fields};
pub use measure::{Measure, too_large};
pub use migrating::{Migration, migrate, unfolded};
pub use outbox::outgoing;
pub use retrying::taken_over;
pub use scope::{Extra, RunScope};
pub use state::{ActiveJob, JobPhase, RunState};
pub use summary::summary;
pub use waiting::{LeftOut, OpenWait};
