//! Counts a guest's memory and tables against their limits.

use wasmtime::ResourceLimiter;

use crate::executor::limit::{Limit, TABLE_ELEMENTS};

/// Counts a guest's memory and tables, all of them together, and remembers what was refused.
pub(super) struct Meter {
    memory: u64,
    allowed: u64,
    elements: usize,
    pub(super) refused: Option<Limit>,
}

impl Meter {
    pub(super) const fn new(allowed: u64) -> Self {
        Self { memory: 0, allowed, elements: 0, refused: None }
    }
}

impl ResourceLimiter for Meter {
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let after = self.memory.saturating_add(desired.saturating_sub(current) as u64);
        if after > self.allowed {
            self.refused = Some(Limit::Memory);
            return Ok(false);
        }
        self.memory = after;
        Ok(true)
    }

    fn table_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let after = self.elements.saturating_add(desired.saturating_sub(current));
        if after > TABLE_ELEMENTS {
            self.refused = Some(Limit::Table);
            return Ok(false);
        }
        self.elements = after;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memories_of_a_guest_count_together() {
        let mut meter = Meter::new(100);
        assert!(meter.memory_growing(0, 60, None).is_ok_and(|granted| granted));
        assert!(meter.memory_growing(0, 40, None).is_ok_and(|granted| granted));
        assert_eq!(meter.refused, None);
        assert!(meter.memory_growing(40, 41, None).is_ok_and(|granted| !granted));
        assert_eq!(meter.refused, Some(Limit::Memory));
    }
}
