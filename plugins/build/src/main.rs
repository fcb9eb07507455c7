//! `cargo run -p plugin-build -- [NAME…]`: builds the named components, or all.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a tool of the workspace talks to whoever builds a plugin")]

use std::process::ExitCode;

use plugin_build::{Error, Guest, build, workspace};

fn main() -> ExitCode {
    let names: Vec<String> = std::env::args().skip(1).collect();
    match run(&names) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(names: &[String]) -> Result<(), Error> {
    let workspace = workspace();
    let guests = Guest::all(&workspace)?;
    if let Some(unknown) = names.iter().find(|name| guests.iter().all(|guest| guest.name != **name)) {
        let known: Vec<&str> = guests.iter().map(|guest| guest.name.as_str()).collect();
        return Err(unknown_guest(unknown, &known));
    }
    for guest in guests.iter().filter(|guest| names.is_empty() || names.contains(&guest.name)) {
        let size = build(&workspace, guest)?;
        println!("{}/{}.wasm: {size} bytes", guest.folder, guest.name);
    }
    Ok(())
}

fn unknown_guest(name: &str, known: &[&str]) -> Error {
    Error::from(format!("there is no guest `{name}`; there are: {}", known.join(", ")))
}
