//! Where tests have the host die, and defects that they plant into it to see whether they would find them. Only debug builds have either: in a
//! release build these are nothing.
//!
//! `PIPEHOST_DIE_AT=NAME:N` ends the process the Nth time that it comes to the point of that name, as `kill -9` would: nothing is flushed, closed or
//! told; `PIPEHOST_STOP_AT` has it stand still there until it is told to go on. `PIPEHOST_PLANTED=NAME,…` plants the defects of these names. The names stand where [`reach`] and [`is_planted`] are called.

#[cfg(debug_assertions)]
use std::sync::OnceLock;
#[cfg(debug_assertions)]
use std::sync::atomic::{AtomicU64, Ordering};

/// Where something is to happen to the process.
#[cfg(debug_assertions)]
struct Point {
    name: String,
    left: AtomicU64,
}

#[cfg(debug_assertions)]
impl Point {
    /// The one that this variable names.
    fn of(variable: &str) -> Option<Self> {
        let text = named(variable)?;
        let (name, left) = text.split_once(':')?;
        Some(Self { name: name.to_owned(), left: AtomicU64::new(left.parse().ok()?) })
    }

    /// Whether it is reached now: once.
    fn is_reached(&self, name: &str) -> bool {
        self.name == name && self.left.fetch_sub(1, Ordering::Relaxed) == 1
    }
}

#[cfg(debug_assertions)]
fn named(variable: &str) -> Option<String> {
    std::env::var_os(variable)?.into_string().ok()
}

/// The process comes to the point of this name.
#[cfg(debug_assertions)]
pub fn reach(name: &str) {
    static DEATH: OnceLock<Option<Point>> = OnceLock::new();
    static STOP: OnceLock<Option<Point>> = OnceLock::new();
    if DEATH.get_or_init(|| Point::of("PIPEHOST_DIE_AT")).as_ref().is_some_and(|point| point.is_reached(name)) {
        std::process::abort();
    }
    if STOP.get_or_init(|| Point::of("PIPEHOST_STOP_AT")).as_ref().is_some_and(|point| point.is_reached(name)) {
        // It stops the whole process, and is given to this thread: if another had to have its turn first, this one would go on meanwhile. Where there
        // is no `kill` it goes on, and the test that asked for it says so.
        let thread = std::fs::read_link("/proc/thread-self").unwrap_or_default();
        let _ = std::process::Command::new("kill").arg("-STOP").args(thread.file_name()).status();
    }
}

/// Nothing, in a release build.
#[cfg(not(debug_assertions))]
pub const fn reach(_: &str) {}

/// Whether this defect was planted.
#[cfg(debug_assertions)]
pub fn is_planted(defect: &str) -> bool {
    static PLANTED: OnceLock<Option<String>> = OnceLock::new();
    let planted = PLANTED.get_or_init(|| named("PIPEHOST_PLANTED"));
    planted.as_deref().is_some_and(|planted| planted.split(',').any(|name| name == defect))
}

/// Never, in a release build.
#[cfg(not(debug_assertions))]
pub const fn is_planted(_: &str) -> bool {
    false
}
