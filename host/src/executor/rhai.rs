//! Rhai: one script is one executor. Its file, or the text in the YAML, has `fn process(job)` and perhaps `fn describe()`.
//!
//! The objects mirror the WIT interfaces of WASM plugins: `job` (the parameter), `progress(value)`, `bus.emit(type, data)`,
//! `log.debug/info/warn/error(text)`, `sql.query/execute`, `index.search/put`, `kv.get/set/delete`, `config`, `secret(name)`,
//! `cancelled()` and `remaining()`. Failures are thrown: `throw transient("busy", 5)`.

mod body;
mod describe;
mod engine;
mod failure;
mod load;
mod objects;
mod reads;
mod running;
mod script;
mod slips;

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::host_api::HostApi;
use crate::files::Files;
use crate::model::executor::{Description, ExecutorReference};
use crate::model::port::{CatalogProblem, Clock, Executor};

/// Every code of this home, with what it means: the guide lists them.
pub const CODES: [(&str, &str); 6] = [
    ("E0510", "a script cannot be read"),
    ("E0511", "a script is no Rhai"),
    ("E0512", "a script has no fn process(job)"),
    ("E0513", "an import of a script failed"),
    ("E0514", "describe() of a script failed or gives something else than a description"),
    ("E0515", "a script calls what an object of the host does not have, or reads what a job does not have"),
];

/// Scripts that run or wait on threads of their own at one time; the others wait for a place.
const THREADS: usize = 64;

/// The home of scripts.
#[derive(Clone)]
pub struct Rhai {
    clock: Arc<dyn Clock>,
    places: Arc<Semaphore>,
}

impl Rhai {
    /// The home, with no script in it yet. All its scripts share one bound on threads.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, places: Arc::new(Semaphore::new(THREADS)) }
    }

    /// What a script says of itself; nothing of it is started but `describe()`, with bounded operations and no host.
    ///
    /// # Errors
    /// That it cannot be read, parsed, imported or described, with file, line and column.
    pub fn describe(&self, reference: &ExecutorReference) -> Result<Description, CatalogProblem> {
        self.describe_from(&Files::Disk, reference)
    }

    /// The same of a script that is read from there, as is what it imports.
    ///
    /// # Errors
    /// As [`describe`](Self::describe).
    pub fn describe_from(&self, files: &Files, reference: &ExecutorReference) -> Result<Description, CatalogProblem> {
        let mut loaded = load::load(files, &reference.home, &reference.limits)?;
        let read_from = std::mem::take(&mut loaded.files);
        Ok(Description { files: read_from, ..describe::describe(&loaded, reference)? })
    }

    /// Makes a script an executor. It is compiled once; a change of the file shows in what is opened later.
    ///
    /// # Errors
    /// As [`describe`](Self::describe).
    pub fn open(&self, reference: &ExecutorReference, host: Arc<dyn HostApi>) -> Result<Arc<dyn Executor>, CatalogProblem> {
        self.open_from(&Files::Disk, reference, host)
    }

    /// The same of a script that is read from there, as is what it imports.
    ///
    /// # Errors
    /// As [`describe`](Self::describe).
    pub fn open_from(
        &self,
        files: &Files,
        reference: &ExecutorReference,
        host: Arc<dyn HostApi>,
    ) -> Result<Arc<dyn Executor>, CatalogProblem> {
        let mut loaded = load::load(files, &reference.home, &reference.limits)?;
        // An executor at work has no use for them.
        loaded.files.clear();
        let description = describe::describe(&loaded, reference)?;
        let (clock, places) = (Arc::clone(&self.clock), Arc::clone(&self.places));
        Ok(Arc::new(script::Script::new(loaded, description, reference.limits.clone(), host, clock, places)))
    }
}

#[cfg(test)]
mod tests;
