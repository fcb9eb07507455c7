//! pipehost: a plugin-based pipeline host. A YAML file wires executors into an event-driven system; the host runs it.
//!
//! The rooms stand here in the order in which data passes them; ARCHITECTURE.md has the picture and the floors.

// What everybody speaks.
pub mod model;

// From text to plan, and what changes it.
pub mod plan;
pub mod watch;
pub mod reload;

// From the outside to a run.
pub mod trigger;
pub mod engine;
pub mod policy;
pub mod executor;
pub mod script;
pub mod files;

// From a run to the outside.
pub mod bus;
pub mod journal;
pub mod telemetry;
pub mod clock;

// Where all of it is put together, spoken to and shown.
pub mod app;
pub mod testing;
#[cfg(unix)]
pub mod control;
pub mod cli;
