//! Whether a process has something to do: what only waits for its turn on a busy machine is not stuck.

use std::fs;
use std::path::Path;

/// Whether no thread of this process is at work: none has its turn, waits for it, or waits for the disk.
pub(super) fn is_idle(process: u32) -> bool {
    let threads = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    threads.map(|thread| thread.path()).all(|thread| !is_at_work(&thread))
}

fn is_at_work(thread: &Path) -> bool {
    // The name before it may hold anything, a bracket too.
    let status = fs::read_to_string(thread.join("stat")).unwrap_or_default();
    let state = status.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    matches!(state, Some('R' | 'D'))
}

#[test]
fn whoever_works_is_not_idle_and_whoever_waits_is() {
    let mut waits = std::process::Command::new("sleep").arg("60").spawn().expect("it starts");
    while !is_idle(waits.id()) {
        std::thread::yield_now();
    }
    assert!(!is_idle(std::process::id()), "this thread has its turn");
    waits.kill().expect("it can be ended");
    waits.wait().expect("it ends");
}
