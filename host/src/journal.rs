//! Where the facts of runs are kept. In memory: a run's history is there while it runs and some time after, and does not survive the process.

mod compact;
pub mod memory;

pub use memory::MemoryStore;

#[cfg(test)]
mod conformance;
