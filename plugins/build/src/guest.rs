//! The guests of the workspace: which there are, and which files belong to each.

use std::path::{Path, PathBuf};

use crate::Error;

/// A guest: a folder with its source, and its component beside it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Guest {
    /// Its name: that of its folder and of its component.
    pub name: String,
    /// The cargo package.
    pub package: String,
    /// Its folder, relative to the workspace, with `/`.
    pub folder: String,
}

impl Guest {
    /// Every guest of a workspace, by name.
    ///
    /// # Errors
    /// If the folders cannot be read.
    pub fn all(workspace: &Path) -> Result<Vec<Self>, Error> {
        let mut guests = Vec::new();
        for (parent, prefix) in [("plugins", "plugin"), ("tests/guests", "guest")] {
            let folder = workspace.join(parent);
            for entry in std::fs::read_dir(&folder).map_err(|error| Error::file("read", &folder, error))? {
                let entry = entry.map_err(|error| Error::file("read", &folder, error))?;
                let name = entry.file_name().to_string_lossy().into_owned();
                // This tool lies among the plugins and is none.
                if name != "build" && entry.path().join("Cargo.toml").is_file() {
                    guests.push(Self { package: format!("{prefix}-{name}"), folder: format!("{parent}/{name}"), name });
                }
            }
        }
        guests.sort_by(|left, right| left.name.cmp(&right.name));
        Ok(guests)
    }

    /// Its component's path.
    pub fn component(&self, workspace: &Path) -> PathBuf {
        workspace.join(&self.folder).join(format!("{}.wasm", self.name))
    }

    /// Its lock file's path.
    pub fn lock(&self, workspace: &Path) -> PathBuf {
        workspace.join(&self.folder).join(format!("{}.lock", self.name))
    }

    /// The paths, relative to the workspace, of all that its component is made of: folders stand for all files in them.
    pub(crate) fn sources(&self) -> Vec<String> {
        let own = ["Cargo.toml", "src"].map(|part| format!("{}/{part}", self.folder));
        let shared = ["plugin-api/Cargo.toml", "plugin-api/src", "plugin-api/wit"].map(str::to_owned);
        own.into_iter().chain(shared).collect()
    }
}
