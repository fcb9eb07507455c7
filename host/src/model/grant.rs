//! What an executor may use and how much of it. Nothing is granted that is not written.

use std::time::Duration;

use super::id::{EventType, ResourceName};

/// What the YAML grants one executor. All lists are empty by default: deny.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Grants {
    /// Origins that may be connected to: scheme, host and port, as `https://api.example.com`.
    pub http: Vec<String>,
    /// Databases that may be read and written.
    pub sql: Vec<ResourceName>,
    /// Key-value stores that may be read and written.
    pub kv: Vec<ResourceName>,
    /// Indexes that may be searched and added to.
    pub index: Vec<ResourceName>,
    /// Executors of a language model that may be asked.
    pub llm: Vec<String>,
    /// Secrets that may be read, by name.
    pub secrets: Vec<String>,
    /// Environment variables that may be read.
    pub env: Vec<String>,
    /// Folders that may be read and written.
    pub files: Vec<ResourceName>,
    /// Types of events that may be emitted.
    pub emit: Vec<EventType>,
}

/// The limits of one job. Each has a default that is finite.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Memory of a guest, or of a script's values, in bytes.
    pub memory: u64,
    /// Wall clock over the whole invocation: the backstop behind `timeout`.
    pub wall: Duration,
    /// Output in bytes of JSON.
    pub output: u64,
    /// Events emitted in one attempt.
    pub events: u32,
    /// Log text in bytes.
    pub log: u64,
    /// Operations of a script.
    pub operations: u64,
    /// How deep a script's calls may nest.
    pub call_depth: u32,
    /// Bytes of a guest's stack.
    pub stack: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: 64 << 20,
            wall: Duration::from_secs(300),
            output: 16 << 20,
            events: 1_000,
            log: 64 << 10,
            operations: 50_000_000,
            call_depth: 64,
            stack: 512 << 10,
        }
    }
}
