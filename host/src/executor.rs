//! Executors: one port, three homes. Only `dyn Executor` leaves this room; grants say no in one place.

// What all homes offer their guests, and who may have it.
pub mod database;
mod excerpt;
pub mod files;
pub mod grants;
pub mod host_api;
pub mod http;
pub mod index;
mod limit;
mod mail;
mod redact;
pub mod services;
mod words;

// The homes, and who finds the right one.
pub mod builtin;
pub mod rhai;
pub mod wasm;
pub mod registry;

#[cfg(test)]
mod test_support;
