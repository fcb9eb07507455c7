//! The allocator of the program, for the host and its twin alike: what is measured is what users get.

use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;
