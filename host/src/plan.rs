//! From text to plan: `source` reads files and keeps positions, `raw` knows the grammar, `check` finds what cannot work, `lower` makes the
//! plan, which nobody else can build. Every mistake of every file comes in one go. Nothing but the plan leaves this room.

pub mod expr;
