//! What grants name: databases, stores, indexes and folders.

use std::path::PathBuf;

use super::id::ResourceName;

/// One entry of `resources:`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Resource {
    /// The name that grants use.
    pub name: ResourceName,
    /// What it is and where.
    pub kind: ResourceKind,
}

/// What a resource is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ResourceKind {
    /// A SQLite file, relative to `DATA/PIPELINE/`.
    Sqlite(PathBuf),
    /// A key-value store's file, relative to `DATA/PIPELINE/`.
    Kv(PathBuf),
    /// The documents that match a glob pattern beside the pipeline's file, and their full-text index.
    Index {
        /// The folder that the pattern is relative to.
        folder: PathBuf,
        /// The pattern, as `docs/**/*.md`.
        pattern: String,
    },
    /// An index of nothing but what executors put into it.
    IndexStore,
    /// A folder beside the pipeline's file, absolute.
    Folder(PathBuf),
}
