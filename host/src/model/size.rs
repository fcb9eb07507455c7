//! How much a store takes of one thing, and of what stands or falls together; and how much something takes.

use std::io;

use serde::Serialize;

/// The most that one fact or one kept value may take, in bytes of JSON: 16 MiB.
pub const MOST: u64 = 16 << 20;

/// The most that all facts of one batch may take together, in bytes of JSON: 64 MiB.
pub const MOST_TOGETHER: u64 = 64 << 20;

/// How many bytes of JSON it takes. Nothing of it is kept meanwhile.
pub fn of(what: &impl Serialize) -> u64 {
    let mut counter = Counter(0);
    // What cannot be written takes nothing: whoever writes it finds that out.
    let _ = serde_json::to_writer(&mut counter, what);
    counter.0
}

struct Counter(u64);

impl io::Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.saturating_add(bytes.len() as u64);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_as_long_as_its_text() {
        for what in [serde_json::json!(null), serde_json::json!({ "a": [1, "\n\u{1}ä", { "b": 0.5 }] })] {
            assert_eq!(of(&what), serde_json::to_string(&what).map_or(0, |text| text.len() as u64));
        }
    }
}
