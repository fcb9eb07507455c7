//! From text to plan: `source` reads files and keeps positions, `raw` knows the grammar, `check` finds what cannot work, `lower` makes the
//! plan, which nobody else can build. Every mistake of every file comes in one go. Nothing but the plan leaves this room.

mod bound;
pub mod cases;
mod check;
pub mod codes;
mod diff;
pub mod expr;
mod load;
mod lower;
pub mod pipeline;
mod raw;
mod rewrite;
mod shape;
mod source;
pub mod template;

pub use bound::{Bound, Install};
pub use diff::{Diff, diff};
pub use load::{Environment, Loaded, load};
pub use lower::outline::{Outline, outline};
pub use rewrite::{Edit, Rewritten, rewrite};
pub use shape::{keeps_shape, misfits};
pub use source::Sources;
