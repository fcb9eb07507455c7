//! What starts flows from the outside: one file each.

pub mod mailbox;
pub mod stdin;
