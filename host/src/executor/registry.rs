//! Finds the home of each executor, opens what its grants name, and hands both to each other.

mod open;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::open::Resources;
use super::builtin::{Builtins, Caches};
use super::host_api::HostApi;
use super::index;
use super::redact::Redacting;
use super::rhai::Rhai;
use super::wasm::{self, Wasm};
use crate::files::Files;
use crate::model::executor::{Description, ExecutorReference, Home};
use crate::model::failure::Failure;
use crate::model::happening::What;
use crate::model::port::{Catalog, CatalogProblem, Clock, Executor, Sink};
use crate::model::secret::Secret;

pub use open::{
    BAD_PATH, BAD_PATTERN, CANNOT_OPEN_RESOURCE, CORRUPT_RESOURCE, DOCUMENTS_UNREADABLE, MISSING_SECRET, UNKNOWN_RESOURCE, WRONG_RESOURCE,
};

/// Opening an executor broke off: a mistake in pipehost itself.
pub const BROKE_OFF: &str = "E0550";

/// The value of a secret by its name: from the file of secrets, else from the environment.
pub type SecretSource = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// What a registry stands on.
pub struct RegistrySettings {
    /// The data folder: resources live in `DATA/PIPELINE/`.
    pub data: PathBuf,
    /// The values of secrets that are granted.
    pub secrets: SecretSource,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Hears what was indexed and what was skipped.
    pub sink: Arc<dyn Sink>,
}

/// The homes, and the resources that are open. A file is opened once and shared, also over reloads; it is closed when the
/// last executor that was granted it is gone.
pub struct Registry {
    homes: Arc<Homes>,
    resources: Resources,
}

/// The homes of executors. To add one: a field here, its making in [`Homes::new`], and its arm in `describe` and `open`.
struct Homes {
    builtin: Builtins,
    wasm: Wasm,
    rhai: Rhai,
}

impl Homes {
    fn new(settings: &RegistrySettings) -> Result<Self, Failure> {
        let cache = settings.data.join("compiled");
        Ok(Self {
            builtin: Builtins::new(Arc::clone(&settings.clock)),
            wasm: Wasm::new(wasm::Settings { cache, clock: Arc::clone(&settings.clock) })?,
            rhai: Rhai::new(Arc::clone(&settings.clock)),
        })
    }

    fn describe(&self, files: &Files, reference: &ExecutorReference) -> Result<Description, CatalogProblem> {
        match &reference.home {
            Home::Builtin(_) => self.builtin.describe(reference),
            Home::Wasm(_) => self.wasm.describe_from(files, reference),
            Home::Rhai(_) | Home::Script { .. } => self.rhai.describe_from(files, reference),
        }
    }

    fn open(&self, files: &Files, reference: &ExecutorReference, host: Arc<dyn HostApi>) -> Result<Arc<dyn Executor>, CatalogProblem> {
        match &reference.home {
            Home::Builtin(_) => self.builtin.open(reference, host),
            Home::Wasm(_) => self.wasm.open_from(files, reference, host),
            Home::Rhai(_) | Home::Script { .. } => self.rhai.open_from(files, reference, host),
        }
    }
}

impl Registry {
    /// Makes the homes ready; opens no file.
    ///
    /// # Errors
    /// A home that cannot be made ready.
    pub fn new(settings: RegistrySettings) -> Result<Self, Failure> {
        Ok(Self { homes: Arc::new(Homes::new(&settings)?), resources: Resources::new(settings) })
    }

    /// Where `cache.invalidate` finds the caches: whoever has both the caches and the registry connects them.
    pub fn caches(&self) -> &Caches {
        self.homes.builtin.caches()
    }

    /// Opens an executor and the resources that it is granted. An index is read wholly when it is opened first.
    ///
    /// # Errors
    /// What is wrong with its code, its config, or a resource.
    pub async fn open(&self, reference: &ExecutorReference) -> Result<Arc<dyn Executor>, CatalogProblem> {
        self.open_from(&Files::Disk, reference).await
    }

    /// The same of an executor whose code is read from there. The resources are those of every other.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub async fn open_from(&self, files: &Files, reference: &ExecutorReference) -> Result<Arc<dyn Executor>, CatalogProblem> {
        // Described first: its mistakes are likelier than a file's, and opening files for nothing leaves them behind.
        let of_thread = files.clone();
        self.apart(reference, move |homes, reference| homes.describe(&of_thread, reference).map(|_| ())).await?;
        let services = self.resources.services(reference).await?;
        let granted: Vec<Secret> = services.secrets.values().cloned().collect();
        let of_thread = files.clone();
        let executor = self.apart(reference, move |homes, reference| homes.open(&of_thread, reference, Arc::new(services))).await?;
        Ok(Arc::new(Redacting::new(executor, granted, &reference.config)))
    }

    /// Reading code, and compiling it where the file was changed since it was described, takes long: not on a thread that drives runs.
    async fn apart<T: Send + 'static>(
        &self,
        reference: &ExecutorReference,
        work: impl FnOnce(&Homes, &ExecutorReference) -> Result<T, CatalogProblem> + Send + 'static,
    ) -> Result<T, CatalogProblem> {
        let (homes, of_thread) = (Arc::clone(&self.homes), reference.clone());
        let ended = tokio::task::spawn_blocking(move || work(&homes, &of_thread)).await;
        ended.unwrap_or_else(|_| {
            Err(CatalogProblem {
                code: BROKE_OFF,
                message: format!("executor `{}` could not be opened: pipehost itself made a mistake", reference.name),
                place: None,
                help: Some("report it with this file; what was in force before still is".to_owned()),
            })
        })
    }

    /// Reads the documents anew of all open indexes that one of these changed files or folders concerns. What comes of it
    /// is told to the sink; a failure, which concerns one index only, as a warning there.
    pub async fn refresh_indexes(&self, changed: &[PathBuf]) {
        for index in self.resources.indexes().await {
            if !changed.iter().any(|path| index.concerns(path)) {
                continue;
            }
            if let Err(failure) = index.refresh(false).await {
                self.resources.tell(What::DocumentSkipped {
                    index: index.name().to_owned(),
                    file: index.watched_folder().map(|folder| folder.display().to_string()).unwrap_or_default(),
                    reason: failure.into_particulars().message,
                });
            }
        }
    }

    /// The folders that hold documents of open indexes, each once, in the order of their names.
    ///
    /// An index that is being opened at this moment may be missing: ask when a plan is in force.
    pub fn watched_folders(&self) -> Vec<PathBuf> {
        self.resources.watched_folders()
    }
}

impl Catalog for Registry {
    fn describe(&self, reference: &ExecutorReference) -> Result<Description, CatalogProblem> {
        self.homes.describe(&Files::Disk, reference)
    }

    fn builtins(&self) -> Vec<(&'static str, bool)> {
        self.homes.builtin.names()
    }

    fn has_documents(&self, folder: &Path, pattern: &str) -> bool {
        index::has_documents(folder, pattern)
    }
}

/// A registry as a catalog of what a bundle holds.
pub struct Bundled<'a> {
    /// Describes.
    pub registry: &'a Registry,
    /// Where code is read from.
    pub files: &'a Files,
}

impl Catalog for Bundled<'_> {
    fn describe(&self, reference: &ExecutorReference) -> Result<Description, CatalogProblem> {
        self.registry.homes.describe(self.files, reference)
    }

    fn builtins(&self) -> Vec<(&'static str, bool)> {
        self.registry.builtins()
    }
}

#[cfg(test)]
mod tests;
