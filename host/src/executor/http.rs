//! Requests over HTTP for executors: where they may go, and what answers amount to.
//!
//! One filter for all of them (`reach`): an address is granted by scheme, host and port; every address that is connected to is
//! looked at, whether it was written as numbers or came from the resolver, anew for each redirect. Neither a proxy of the system nor a
//! redirect leads elsewhere.

mod address;
mod answer;
mod client;
mod reach;
mod request;
mod status;
mod value;

pub use client::{Http, Settings};
pub use request::{Body, Download, METHODS, Request};

pub(super) use answer::Answer;
pub(super) use status::{kind, retry_after};
pub(super) use value::Folders;

#[cfg(test)]
mod tests;
