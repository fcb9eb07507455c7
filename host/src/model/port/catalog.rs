//! What the plan needs to know of executors while it checks files.

use std::path::{Path, PathBuf};

use crate::model::executor::{Description, ExecutorReference};

/// The code of a built-in that there is not.
pub const UNKNOWN_BUILTIN: &str = "E0540";

/// Describes executors without starting anything, so that `check` sees scripts' mistakes, schemas and wants.
pub trait Catalog: Send + Sync {
    /// What an executor says of itself.
    ///
    /// # Errors
    /// What is wrong with its code or its declaration.
    fn describe(&self, reference: &ExecutorReference) -> Result<Description, CatalogProblem>;

    /// The dotted names of all built-ins; those that need no declaration have `true`.
    fn builtins(&self) -> Vec<(&'static str, bool)>;

    /// Whether an index of this pattern in this folder has any file at this moment. Who cannot see that says yes.
    fn has_documents(&self, _folder: &Path, _pattern: &str) -> bool {
        true
    }
}

/// Why an executor cannot be described. The plan knows the place in the YAML; this knows the place in the code.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CatalogProblem {
    /// The code of the diagnostic, as `E0501`.
    pub code: &'static str,
    /// What is wrong, without a full stop.
    pub message: String,
    /// The file it is wrong in, with line and column from 1, where that is not the YAML.
    pub place: Option<(PathBuf, usize, usize)>,
    /// The way out.
    pub help: Option<String>,
}
