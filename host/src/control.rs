//! Lets other programs of this machine and user speak to a running host: one line of JSON in, lines of JSON out, over a socket in the data
//! folder. A small router over the app's commands; it decides nothing itself.

mod client;
mod hearing;
mod look;
mod request;
mod router;
mod server;
mod socket;

pub use client::{Client, LONGEST_LIST, SILENT};
pub use look::{Looked, look};
pub use request::{
    Answer, FewRequest, LONGEST_ANSWER, LONGEST_REQUEST, NOT_UNDERSTOOD, OneRequest, Request, RetryRequest, SendRequest, VERSION,
};
pub use server::{CONNECTIONS, Control};
pub use socket::{NO_HOST, NO_SOCKET};
