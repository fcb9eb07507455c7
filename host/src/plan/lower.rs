//! From trees to the plan: compiles what stands in a pipeline's file, and finds what is wrong with it on the way. Whatever is wrong is
//! noted and left out, so that the rest is looked at too; a plan comes of it only if nothing was.

mod bundling;
pub(in crate::plan) mod cases;
pub(in crate::plan) mod call;
mod each;
pub(in crate::plan) mod emissions;
pub(in crate::plan) mod event;
mod executor;
mod flow;
pub(in crate::plan) mod import;
mod load_time;
mod outbox;
pub(in crate::plan) mod outline;
mod parallel;
pub(in crate::plan) mod pipeline;
mod policy;
mod resource;
mod revision;
mod run;
mod sleep;
mod state;
mod step;
mod switch;
mod template;
pub(in crate::plan) mod trigger;
mod undo;
mod wait;
