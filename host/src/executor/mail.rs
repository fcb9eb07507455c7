//! Mail for executors: what a letter is made of, the conversation that hands it to a server, and what the server's words amount to.
//!
//! A connection lives for one letter. A pool of them would save a few round trips and would bring connections that the server has closed
//! meanwhile, which look like failures of the next letter.

mod address;
mod letter;
mod post;
mod refusal;

pub(super) use address::address;
pub(super) use letter::Draft;
pub(super) use lettre::message::Mailbox;
pub(super) use post::{Encryption, Login, Post};
