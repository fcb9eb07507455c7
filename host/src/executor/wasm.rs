//! The home of executors that are WebAssembly components. The only room that names wasmtime.
//!
//! A file becomes [`code`](self) once (read, compiled or taken from the cache, checked, asked to describe itself); each job then
//! gets a fresh store from it. What a guest may do to its host is bounded in every direction, and each bound has a name.

mod abi;
mod cache;
mod calls;
mod code;
mod engines;
mod guest;
mod kept;
mod meter;
mod opened;
mod problem;
mod reveal;
mod slots;
mod ticker;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};

use moka::sync::Cache as Memory;

use crate::executor::host_api::HostApi;
use crate::files::Files;
use crate::model::executor::{CodeFile, Description, ExecutorReference, Home};
use crate::model::failure::{Failure, FailureKind};
use crate::model::port::{CatalogProblem, Clock, Executor};

pub use problem::CODES;

use cache::Cache;
use code::{Code, CodeKey};
use engines::Engines;
use opened::Opened;
use slots::Slots;

/// How much code is kept ready in memory: so many components, the least used go first.
const READY: u64 = 64;

/// What the home of components needs.
pub struct Settings {
    /// The folder for compiled code. It is created with the first component, if it is missing; only this user may write to it.
    pub cache: PathBuf,
    /// The source of time.
    pub clock: Arc<dyn Clock>,
}

/// The home of components; a cheap handle. Its ticker thread ends with the last handle and the last executor.
#[derive(Clone)]
pub struct Wasm(Arc<Shared>);

struct Shared {
    engines: Engines,
    /// The folder for compiled code.
    folder: PathBuf,
    /// Opened with the first component: who runs none finds no folder of ours.
    cache: OnceLock<Option<Cache>>,
    ready: Memory<CodeKey, Arc<Code>>,
    slots: Slots,
    /// Held while a guest describes itself: the pool has one place beside those of the jobs.
    describing: Mutex<()>,
    clock: Arc<dyn Clock>,
}

impl Shared {
    /// Where compiled code is kept, if it can be.
    fn cache(&self) -> Option<&Cache> {
        let open = || {
            Cache::open(self.folder.clone(), Arc::clone(&self.clock))
                .inspect_err(|error| {
                    tracing::warn!(folder = %self.folder.display(), "compiled components are not kept: {error}");
                })
                .ok()
        };
        self.cache.get_or_init(open).as_ref()
    }
}

impl Wasm {
    /// Prepares the engines. A folder for compiled code that cannot be used is no failure: components are then compiled at each start.
    ///
    /// # Errors
    /// `permanent` if this machine cannot run WebAssembly at all.
    pub fn new(settings: Settings) -> Result<Self, Failure> {
        let engines = Engines::new().map_err(|error| {
            Failure::new(FailureKind::Permanent, format!("this machine cannot run WebAssembly: {error:#}")).with_code("wasm_engine")
        })?;
        let shared = Shared {
            engines,
            folder: settings.cache,
            cache: OnceLock::new(),
            ready: Memory::new(READY),
            slots: Slots::new(),
            describing: Mutex::default(),
            clock: settings.clock,
        };
        Ok(Self(Arc::new(shared)))
    }

    /// What a component says of itself. The first time it is compiled, on a thread of its own; the caller waits for it, so call
    /// this where waiting is allowed.
    ///
    /// # Errors
    /// What is wrong with the file, which version of the contract it needs, or what it does not export: see [`CODES`].
    pub fn describe(&self, reference: &ExecutorReference) -> Result<Description, CatalogProblem> {
        self.describe_from(&Files::Disk, reference)
    }

    /// The same of a component that is read from there.
    ///
    /// # Errors
    /// As [`describe`](Self::describe).
    pub fn describe_from(&self, files: &Files, reference: &ExecutorReference) -> Result<Description, CatalogProblem> {
        self.code(files, reference).map(|(code, read_from)| code.description(Some(read_from)))
    }

    /// An executor of a component, with the host as it may use it. Waits as [`describe`](Self::describe) does.
    ///
    /// # Errors
    /// As [`describe`](Self::describe).
    pub fn open(&self, reference: &ExecutorReference, host: Arc<dyn HostApi>) -> Result<Arc<dyn Executor>, CatalogProblem> {
        self.open_from(&Files::Disk, reference, host)
    }

    /// The same of a component that is read from there.
    ///
    /// # Errors
    /// As [`describe`](Self::describe).
    pub fn open_from(
        &self,
        files: &Files,
        reference: &ExecutorReference,
        host: Arc<dyn HostApi>,
    ) -> Result<Arc<dyn Executor>, CatalogProblem> {
        let (code, _) = self.code(files, reference)?;
        let description = code.description(None);
        Ok(Arc::new(Opened::new(self.0.clone(), code, description, reference, host)))
    }

    fn code(&self, files: &Files, reference: &ExecutorReference) -> Result<(Arc<Code>, CodeFile), CatalogProblem> {
        let Home::Wasm(path) = &reference.home else { return Err(problem::not_a_component_reference(reference)) };
        let source = code::read(files, path)?;
        let key = CodeKey::new(source.digest, &reference.limits, reference.reuse);
        let shared = &self.0;
        // One compilation at a time for one component, however many ask for it.
        let code = shared.ready.try_get_with(key.clone(), || code::load(shared, &source, &key, &reference.limits, path).map(Arc::new));
        let read_from = CodeFile { path: path.clone(), content: Arc::clone(&source.bytes) };
        code.map(|code| (code, read_from)).map_err(|problem: Arc<CatalogProblem>| (*problem).clone())
    }
}

#[cfg(test)]
mod tests;
