//! The program: all of it is in the library, so that tests can reach it.

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// Here and not in the library, so that whoever measures what is held can use another one.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    pipehost::cli::main()
}
