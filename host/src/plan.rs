//! From text to plan: `source` reads files and keeps positions, `raw` knows the grammar, `check` finds what cannot work, `lower` makes the
//! plan, which nobody else can build. Every mistake of every file comes in one go. Nothing but the plan leaves this room.

mod bound;
pub mod cases;
mod check;
pub mod codes;
mod diff;
mod expand;
pub mod expr;
mod given;
mod layout;
mod load;
mod lower;
pub mod pipeline;
mod raw;
mod reference;
mod rewrite;
mod schema;
mod shape;
mod source;
pub mod template;

pub use bound::{Bound, Install, Rebuild};
pub use diff::{Diff, diff};
pub use expand::expanded;
pub use given::{ENDINGS, Given, belongs, find, libraries_only, load_given, say_gone};
pub use layout::{Layout, layout};
pub use load::{Environment, Loaded, load, load_bundle};
pub use lower::outline::{Outline, outline};
pub use raw::closest;
pub use reference::reference;
pub use rewrite::{Edit, Rewritten, rewrite};
pub use schema::schema;
pub use shape::{keeps_shape, misfits};
pub use source::Sources;
