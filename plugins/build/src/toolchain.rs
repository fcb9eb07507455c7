//! Finds a Rust toolchain that builds for WebAssembly: one with the target, or one with the standard library's source.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Error;

/// What guests are built for.
pub(crate) const TARGET: &str = "wasm32-unknown-unknown";

/// A way to build guests.
pub(crate) struct Toolchain {
    cargo: OsString,
    /// Set where the standard library has to be built too.
    from_source: Option<FromSource>,
    /// Folders whose paths must not stand in a component, and what stands there instead.
    remapped: Vec<(PathBuf, String)>,
}

struct FromSource {
    rustc: PathBuf,
    linker: PathBuf,
}

impl Toolchain {
    /// The first that serves: the compiler in use if it has the target, else a distribution's compiler with its source.
    pub(crate) fn find(workspace: &Path) -> Result<Self, Error> {
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let sysroot = sysroot(Path::new(&rustc));
        if let Some(sysroot) = &sysroot
            && sysroot.join("lib/rustlib").join(TARGET).join("lib").is_dir()
        {
            return Ok(Self { cargo, from_source: None, remapped: remapped(workspace, sysroot) });
        }
        let distribution = PathBuf::from("/usr/bin/rustc");
        if let Some(own) = self::sysroot(&distribution)
            && own.join("lib/rustlib/src/rust/library/std").is_dir()
            && let Some(linker) = [Some(&own), sysroot.as_ref()].into_iter().flatten().find_map(|sysroot| linker(sysroot))
        {
            let remapped = remapped(workspace, &own);
            return Ok(Self { cargo: "/usr/bin/cargo".into(), from_source: Some(FromSource { rustc: distribution, linker }), remapped });
        }
        Err(Error::new(format!("this Rust toolchain cannot build for {TARGET}. Install it: rustup target add {TARGET}")))
    }

    /// The command that builds a package into a target folder; the module lies in `TARGET/plugin/` there.
    pub(crate) fn command(&self, workspace: &Path, package: &str, target_folder: &Path) -> Command {
        let mut command = Command::new(&self.cargo);
        command.current_dir(workspace);
        // What cargo told this tool about itself is not for another cargo.
        for (name, _) in std::env::vars_os().filter(|(name, _)| is_of_cargo(&name.to_string_lossy())) {
            command.env_remove(name);
        }
        command
            .args(["build", "--locked", "--profile", "plugin", "--target", TARGET, "--package", package, "--target-dir"])
            .arg(target_folder);
        if let Some(FromSource { rustc, linker }) = &self.from_source {
            command.arg("-Zbuild-std=std,panic_abort");
            command.env("RUSTC_BOOTSTRAP", "1").env("RUSTC", rustc);
            command.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker);
        }
        let flags: Vec<String> = self.remapped.iter().map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display())).collect();
        command.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
        command
    }
}

fn is_of_cargo(name: &str) -> bool {
    name.starts_with("CARGO_PKG_")
        || name.starts_with("CARGO_MANIFEST_")
        || ["CARGO", "RUSTUP_TOOLCHAIN", "RUSTC", "RUSTFLAGS", "RUSTC_WRAPPER", "LD_LIBRARY_PATH", "CARGO_TARGET_DIR"].contains(&name)
}

fn sysroot(rustc: &Path) -> Option<PathBuf> {
    let output = Command::new(rustc).args(["--print", "sysroot"]).output().ok()?;
    let path = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| PathBuf::from(path.trim()))
}

fn linker(sysroot: &Path) -> Option<PathBuf> {
    let targets = std::fs::read_dir(sysroot.join("lib/rustlib")).ok()?;
    targets.flatten().map(|target| target.path().join("bin/rust-lld")).find(|linker| linker.is_file())
}

/// Panic messages name files; a component is the same whoever builds it, so they name them as the source does.
fn remapped(workspace: &Path, sysroot: &Path) -> Vec<(PathBuf, String)> {
    let mut remapped = vec![(workspace.to_owned(), ".".to_owned())];
    let library = sysroot.join("lib/rustlib/src/rust");
    if let Ok(real) = library.canonicalize() {
        remapped.push((real, "rust".to_owned()));
    }
    // A distribution's library may be a link to where its source package lies.
    if let Ok(real) = library.join("library").canonicalize() {
        remapped.push((real, "rust/library".to_owned()));
    }
    remapped.push((library, "rust".to_owned()));
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from).or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    if let Some(home) = home {
        for registry in std::fs::read_dir(home.join("registry/src")).into_iter().flatten().flatten() {
            remapped.push((registry.path(), "crates".to_owned()));
        }
        remapped.push((home, "cargo".to_owned()));
    }
    // The last prefix that fits wins, so the longer ones come later.
    remapped.sort_by_key(|(from, _)| from.as_os_str().len());
    remapped
}
