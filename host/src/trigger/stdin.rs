//! Lines of the standard input as activations, and what comes of them in the order of the lines.

mod conversation;
mod hearing;
mod line;
mod message;

pub use conversation::{Conversation, Interrupted, MOST_UNDER_WAY, Manner, Said, Target};
pub use line::{LONGEST_LINE, Line, Lines};
pub use message::{Refusal, message};
