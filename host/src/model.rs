//! Floor 0: the words every other room speaks. Values, identities, failures, events, jobs, types, settings and the ports.
//!
//! Nothing here opens a file, reads a clock or holds a channel to the outside; other rooms import from here, and this room from none.

pub mod activation;
pub mod bundle;
pub mod cancel;
pub mod diagnostic;
pub mod event;
pub mod executor;
pub mod failure;
#[cfg(test)]
pub(crate) mod fixture;
pub mod grant;
pub mod happening;
pub mod id;
pub mod job;
pub mod json;
pub mod policy;
pub mod port;
pub mod record;
pub mod resource;
pub mod secret;
pub mod size;
pub mod time;
pub mod types;
pub mod value;
