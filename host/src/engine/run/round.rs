//! What the lanes of one `parallel` or `each` have come to while some of them are under way.

use std::sync::Arc;

use crate::model::failure::Failure;
use crate::model::record::LaneResult;
use crate::model::value::Value;

/// What the lanes of one step have come to. Of a lane that has ended nothing is kept but its output.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Round {
    /// What an `each` goes through.
    pub(super) items: Arc<Vec<Value>>,
    /// How many lanes were opened, in the order of branches and items.
    pub(super) opened: u32,
    /// How many have succeeded.
    pub(super) succeeded: usize,
    /// By place; nothing for those that did not succeed, or not yet.
    results: Vec<Option<Value>>,
    /// Those that failed, with their places, in the order in which they did.
    pub(super) failures: Vec<(u32, Failure)>,
}

impl Round {
    /// A lane was opened.
    pub(super) fn open(&mut self, place: u32) {
        self.opened = self.opened.max(place.saturating_add(1));
    }

    /// A lane came to its end.
    pub(super) fn end(&mut self, place: u32, result: &LaneResult) {
        match result {
            LaneResult::Succeeded(output) => {
                let index = place as usize;
                if self.results.len() <= index {
                    self.results.resize(index + 1, None);
                }
                if let Some(result) = self.results.get_mut(index) {
                    *result = Some(output.clone());
                }
                self.succeeded += 1;
            }
            LaneResult::Failed(failure) => self.failures.push((place, failure.clone())),
            LaneResult::Cancelled => {}
        }
    }

    /// The output at a place; null for one that did not succeed.
    pub(super) fn result(&self, place: usize) -> Value {
        self.results.get(place).cloned().flatten().unwrap_or_else(Value::null)
    }
}
