//! Where the facts of runs are kept: in memory, where a run's history is there while it runs and some time after and does not survive the
//! process; or in a SQLite file, which does.

mod compact;
pub mod memory;
pub mod sqlite;

pub use memory::MemoryStore;
pub use sqlite::SqliteStore;

#[cfg(test)]
mod conformance;
