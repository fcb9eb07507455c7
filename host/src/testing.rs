//! Runs the tests that stand in pipeline files, over the same road as production: the loader, the engine, its policies and buses. Only time,
//! ids and what the tests stand in for are others.
//!
//! `suite` finds and loads, `world` is one engine with a clock of its own, `double` stands in for executors, `keeping` is the store, `witness` keeps what was seen,
//! `observed` is that as a value, `compare` finds where it is not what was expected.

mod cliff;
mod compare;
mod coverage;
mod double;
mod keeping;
mod observed;
#[cfg(test)]
mod tests;
mod real;
mod suite;
mod update;
mod witness;
mod world;

pub use coverage::{Count, Coverage, Missed};
pub use keeping::StoreKind;
pub use suite::{FileReport, Report, Settings, TestReport, files_of, run};
pub use update::{Updated, update};
