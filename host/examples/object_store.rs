//! An object store to try `pipelines/upload.yaml` with: the one of the tests, on a port of its own. It counts and digests what it is sent
//! and keeps none of it.
//!
//! `cargo run --release --example object_store [ADDRESS]`

#![allow(
    dead_code,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "the tests use more of the store; here it is a program that may end with a panic and prints where it is"
)]

#[path = "../../tests/it/program/object_store.rs"]
mod object_store;
#[path = "../../tests/it/program/http.rs"]
mod http;
#[path = "../../tests/it/program/shared.rs"]
mod shared;

use object_store::ObjectStore;

fn main() {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9000".to_owned());
    let store = ObjectStore::at(&address);
    println!("an object store at {}; Ctrl-C ends it", store.origin());
    loop {
        std::thread::park();
    }
}
