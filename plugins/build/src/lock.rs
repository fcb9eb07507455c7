//! The lock file of a component: the BLAKE3 digest of every file that it was made of, and its own.
//!
//! One line a file, `DIGEST  PATH`, sorted by path; paths are relative to the workspace. Line ends do not count, so that a checkout
//! that changes them is not stale.

use std::collections::BTreeMap;
use std::path::Path;

use walkdir::WalkDir;

use crate::{Error, Guest};

/// A component that is not what its sources say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stale {
    /// The files that were changed, added or removed since it was built.
    pub files: Vec<String>,
    /// One sentence with the command that builds it anew.
    pub message: String,
}

/// Compares a component with its lock file; needs no WebAssembly toolchain.
///
/// # Errors
/// What differs, and the command that mends it.
pub fn check(workspace: &Path, guest: &Guest) -> Result<(), Stale> {
    let stale = |files: Vec<String>, why: String| {
        let command = format!("cargo run -p plugin-build -- {}", guest.name);
        Err(Stale { files, message: format!("{}/{}.wasm is stale: {why}. Build it anew: {command}", guest.folder, guest.name) })
    };
    let now = match digests(workspace, guest) {
        Ok(now) => now,
        Err(error) => return stale(Vec::new(), error.to_string()),
    };
    let locked = match std::fs::read_to_string(guest.lock(workspace)) {
        Ok(text) => read(&text),
        Err(error) => return stale(Vec::new(), format!("its lock file cannot be read ({error})")),
    };
    let files: Vec<String> = now.keys().chain(locked.keys()).filter(|path| now.get(*path) != locked.get(*path)).cloned().collect();
    let files: Vec<String> = files.into_iter().collect::<std::collections::BTreeSet<_>>().into_iter().collect();
    match files.as_slice() {
        [] => Ok(()),
        [file] => stale(files.clone(), format!("{file} is not what it was built from")),
        [file, others @ ..] => stale(files.clone(), format!("{file} and {} more are not what it was built from", others.len())),
    }
}

/// Writes the lock file of a component that was just built.
pub(crate) fn write(workspace: &Path, guest: &Guest) -> Result<(), Error> {
    let text: String = digests(workspace, guest)?.into_iter().map(|(path, digest)| format!("{digest}  {path}\n")).collect();
    let lock = guest.lock(workspace);
    std::fs::write(&lock, text).map_err(|error| Error::file("write", &lock, error))
}

fn read(text: &str) -> BTreeMap<String, String> {
    text.lines().filter_map(|line| line.split_once("  ")).map(|(digest, path)| (path.to_owned(), digest.to_owned())).collect()
}

fn digests(workspace: &Path, guest: &Guest) -> Result<BTreeMap<String, String>, Error> {
    let mut digests = BTreeMap::new();
    for source in guest.sources() {
        for entry in WalkDir::new(workspace.join(&source)) {
            let entry = entry.map_err(|error| Error::new(format!("cannot read {source}: {error}")))?;
            if entry.file_type().is_file() {
                let relative = entry.path().strip_prefix(workspace).unwrap_or(entry.path());
                let path: Vec<_> = relative.iter().map(|part| part.to_string_lossy()).collect();
                let content = std::fs::read(entry.path()).map_err(|error| Error::file("read", entry.path(), error))?;
                digests.insert(path.join("/"), blake3::hash(&without_returns(content)).to_string());
            }
        }
    }
    let component = guest.component(workspace);
    let content = std::fs::read(&component).map_err(|error| Error::file("read", &component, error))?;
    digests.insert(format!("{}/{}.wasm", guest.folder, guest.name), blake3::hash(&content).to_string());
    Ok(digests)
}

fn without_returns(mut content: Vec<u8>) -> Vec<u8> {
    content.retain(|byte| *byte != b'\r');
    content
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace;

    #[test]
    fn every_committed_component_is_as_new_as_its_sources() {
        let guests = Guest::all(&workspace()).expect("the folders of the workspace can be read");
        assert!(guests.iter().any(|guest| guest.name == "retrieve"), "{guests:?}");
        for guest in guests {
            if let Err(stale) = check(&workspace(), &guest) {
                panic!("{}\nchanged: {}", stale.message, stale.files.join(", "));
            }
        }
    }

    #[test]
    fn a_changed_source_is_named_with_the_command_that_builds_anew() {
        let guest = Guest { name: "retrieve".into(), package: "plugin-retrieve".into(), folder: "plugins/retrieve".into() };
        let root = tempfile::tempdir().expect("a folder for the test");
        let put = |path: &str, text: &str| {
            let file = root.path().join(path);
            std::fs::create_dir_all(file.parent().expect("it has one")).expect("the folder is ours");
            std::fs::write(file, text).expect("the folder is ours");
        };
        for path in ["plugin-api/Cargo.toml", "plugin-api/src/lib.rs", "plugin-api/wit/executor.wit"] {
            put(path, "shared\n");
        }
        for path in ["Cargo.toml", "src/lib.rs", "retrieve.wasm"] {
            put(&format!("plugins/retrieve/{path}"), "own\n");
        }
        write(root.path(), &guest).expect("the folder is ours");
        assert_eq!(check(root.path(), &guest), Ok(()));
        put("plugins/retrieve/src/lib.rs", "own\r\n");
        assert_eq!(check(root.path(), &guest), Ok(()), "line ends do not count");
        put("plugin-api/wit/executor.wit", "changed\n");
        let stale = check(root.path(), &guest).expect_err("the contract was changed");
        assert_eq!(stale.files, ["plugin-api/wit/executor.wit"]);
        assert!(stale.message.ends_with("cargo run -p plugin-build -- retrieve"), "{}", stale.message);
    }
}
