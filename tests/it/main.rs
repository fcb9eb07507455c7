//! The one integration test binary: what can only be seen from outside the library.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking, and its helpers stand outside #[test] functions"
)]

#[cfg(unix)]
mod asking;
#[cfg(unix)]
mod auth;
mod bad_input;
mod cases;
mod chatbot;
mod cloud_upload;
mod command_line;
mod conformance;
#[cfg(target_os = "linux")]
mod crash;
#[cfg(unix)]
mod crashing;
mod events;
#[cfg(target_os = "linux")]
mod full_disk;
mod full_flow;
#[cfg(unix)]
mod killed;
mod mail;
mod meetings;
mod openai;
mod order_choreography;
mod order_events;
mod order_saga;
mod parts;
mod piped;
mod program;
#[cfg(unix)]
mod purchase;
mod reloading;
#[cfg(unix)]
mod request_routing;
mod resilience;
#[cfg(unix)]
mod response_outbox;
mod revisions;
#[cfg(unix)]
mod search;
mod seeing;
#[cfg(unix)]
mod sending;
mod several;
#[cfg(unix)]
mod shop;
mod store;
mod structures;
#[cfg(unix)]
mod terminal;
mod tests_in_files;
mod tidy;
#[cfg(unix)]
mod told;
mod upload;
