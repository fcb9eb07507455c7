//! From a package to a component: compiles it, wraps the core module, writes the lock file.

use std::path::Path;

use wit_component::ComponentEncoder;

use crate::toolchain::{TARGET, Toolchain};
use crate::{Error, Guest, lock};

/// Builds the component of a guest and writes it and its lock file: the component's size in bytes.
///
/// # Errors
/// If there is no toolchain for it, the source does not compile, or a file cannot be written.
pub fn build(workspace: &Path, guest: &Guest) -> Result<usize, Error> {
    // A target folder of its own: another compiler builds there, with other flags.
    let target_folder = workspace.join("target-plugin");
    let status = Toolchain::find(workspace)?
        .command(workspace, &guest.package, &target_folder)
        .status()
        .map_err(|error| Error::new(format!("cannot start cargo: {error}")))?;
    if !status.success() {
        return Err(Error::new(format!("{} was not built: see above", guest.package)));
    }
    let module = target_folder.join(TARGET).join("plugin").join(format!("{}.wasm", guest.package.replace('-', "_")));
    let module = std::fs::read(&module).map_err(|error| Error::file("read", &module, error))?;
    let component = ComponentEncoder::default()
        .validate(true)
        .module(&module)
        .and_then(|encoder| encoder.encode())
        .map_err(|error| Error::new(format!("{} cannot be made a component: {error:#}", guest.package)))?;
    let file = guest.component(workspace);
    std::fs::write(&file, &component).map_err(|error| Error::file("write", &file, error))?;
    lock::write(workspace, guest)?;
    Ok(component.len())
}
