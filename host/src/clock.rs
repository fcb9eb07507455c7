//! The one home of real time, waits, ids and randomness, with the virtual clock beside it.
//!
//! No other room names `Instant::now`, `SystemTime`, `tokio::time` or a random generator: whoever needs one takes a
//! [`Clock`](crate::model::port::Clock) or a [`Random`](crate::model::port::Random), so that tests run hours in milliseconds.

mod activity;
mod random;
mod real;
mod simulated;

pub use activity::{Activity, Busy, Rest};
pub use random::{SeededRandom, SystemRandom, uuid_at};
pub use real::RealClock;
pub use simulated::VirtualClock;
