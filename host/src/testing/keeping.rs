//! The store of a test: what it has recorded outlives each host of the test.

use std::sync::Arc;

use tempfile::TempDir;

use crate::executor::registry::SecretSource;
use crate::journal::memory::MemoryStore;
use crate::journal::sqlite::{Options, SqliteStore};
use crate::model::failure::{Failure, FailureKind};
use crate::model::port::{Clock, Store};

/// Which store tests run on. What they show is the same on each.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum StoreKind {
    /// In memory: the quicker one.
    #[default]
    Memory,
    /// The one that `pipehost run` uses, in a folder of the test's own.
    Sqlite,
}

/// The store of one test.
pub(super) enum TestStore {
    /// In memory; made for the first host.
    Memory(Option<MemoryStore>),
    /// In a file, which is closed when a host ends, and opened anew for the next.
    Sqlite {
        /// Before the folder: it is closed first.
        open: Option<SqliteStore>,
        /// Goes when the test ends.
        folder: TempDir,
    },
}

impl TestStore {
    /// An empty one.
    ///
    /// # Errors
    /// No folder can be made.
    pub(super) fn new(kind: StoreKind) -> std::io::Result<Self> {
        Ok(match kind {
            StoreKind::Memory => Self::Memory(None),
            StoreKind::Sqlite => Self::Sqlite { open: None, folder: tempfile::Builder::new().prefix("pipehost-test-").tempdir()? },
        })
    }

    /// The store as the next host of the test finds it: whatever the last one gave it is written.
    ///
    /// # Errors
    /// It cannot be opened.
    pub(super) fn open(&mut self, clock: &Arc<dyn Clock>, secrets: SecretSource) -> Result<Arc<dyn Store>, Failure> {
        match self {
            Self::Memory(store) => {
                let store = store.get_or_insert_with(|| MemoryStore::timed(Arc::clone(clock)));
                store.restart();
                Ok(Arc::new(store.clone()))
            }
            Self::Sqlite { open, folder } => {
                if let Some(store) = open.take() {
                    store.close();
                }
                // Nobody pulls the plug in a test, time stands unless the test lets it pass, and there is no other host that needs the room.
                let options = Options { lasting: false, ballast: 0, tidy_every: None, ..Options::default() };
                let store = SqliteStore::open(folder.path(), clock, secrets, options)
                    .map_err(|failure| Failure::new(FailureKind::Failed, format!("the store of a test: {}", failure.message)))?;
                Ok(Arc::new(open.insert(store).clone()))
            }
        }
    }
}
