//! Which executors may run for real in a test, and the registries that open them.

use std::path::Path;
use std::sync::Arc;

use tempfile::TempDir;

use crate::executor::registry::{Registry, RegistrySettings, SecretSource};
use crate::model::executor::{ExecutorReference, Home};
use crate::model::failure::{Failure, FailureKind};
use crate::model::port::{CatalogProblem, Clock, Executor, Invalidate, Sink};
use crate::plan::Environment;

/// The built-ins that do nothing but compute, tell, and forget what the host has kept.
const PURE: [&str; 4] = [ON_CACHES, "index.merge", "log", "transform"];

/// The built-in that works on its host's own caches.
const ON_CACHES: &str = "cache.invalidate";

/// Whether an executor must be opened by the test's own registry, as it works on the host that the test has to itself.
pub(super) fn works_on_its_host(reference: &ExecutorReference) -> bool {
    matches!(&reference.home, Home::Builtin(name) if name.as_str() == ON_CACHES)
}

/// Why an executor that nothing stands in for must not run for real; `None` if it needs nothing from outside.
pub(super) fn reaches_outside(reference: &ExecutorReference) -> Option<String> {
    let grants = &reference.grants;
    let granted = [
        ("http", grants.http.is_empty()),
        ("mail", grants.mail.is_empty()),
        ("sql", grants.sql.is_empty()),
        ("kv", grants.kv.is_empty()),
        ("index", grants.index.is_empty()),
        ("llm", grants.llm.is_empty()),
        ("files", grants.files.is_empty()),
    ];
    if let Some((grant, _)) = granted.into_iter().find(|(_, none)| !none) {
        return Some(format!("it is granted `{grant}`"));
    }
    match &reference.home {
        Home::Builtin(name) if !PURE.contains(&name.as_str()) => Some(format!("the built-in `{name}` may reach outside")),
        Home::Builtin(_) | Home::Wasm(_) | Home::Rhai(_) | Home::Script { .. } => None,
    }
}

/// A registry whose clock and data are a test's own.
pub(super) struct OwnRegistry {
    registry: Registry,
    // Goes when the test ends.
    _folder: TempDir,
}

impl OwnRegistry {
    /// A registry over an empty folder. What is compiled of components already lies in `compiled`, so that no test compiles them again.
    pub(super) fn new(compiled: &Path, environment: &Environment, clock: Arc<dyn Clock>, sink: Arc<dyn Sink>) -> Result<Self, Failure> {
        let refuse =
            |error: std::io::Error| Failure::new(FailureKind::Failed, format!("a folder for a test's data cannot be made: {error}"));
        let folder = tempfile::Builder::new().prefix("pipehost-test-").tempdir().map_err(refuse)?;
        let data = folder.path().to_owned();
        // A component that is not there in compiled form is compiled: only time is lost by what fails here.
        let _ = copy_files(compiled, &data.join("compiled"));
        let registry = Registry::new(RegistrySettings { data, secrets: secrets(environment), clock, sink })?;
        Ok(Self { registry, _folder: folder })
    }

    /// From now on `cache.invalidate` works on these.
    pub(super) fn connect(&self, caches: &Arc<dyn Invalidate>) {
        self.registry.caches().connect(caches);
    }

    /// Opens an executor with its resources.
    pub(super) async fn open(&self, reference: &ExecutorReference) -> Result<Arc<dyn Executor>, CatalogProblem> {
        self.registry.open(reference).await
    }
}

/// Secrets as an environment has them.
pub(super) fn secrets(environment: &Environment) -> SecretSource {
    let environment = environment.clone();
    Arc::new(move |name| environment.secrets.get(name).or_else(|| environment.variables.get(name)).cloned())
}

/// The files of a folder, as their owner alone may read and write them.
fn copy_files(from: &Path, to: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().mode(0o700).create(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        if entry.path().extension().is_some_and(|ending| ending == "compiled") {
            std::fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}
