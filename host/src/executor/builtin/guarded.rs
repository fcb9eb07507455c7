//! What stands round every built-in: the wall limit, the bound on its output, and the guard against a panic.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;

use crate::executor::limit::Limit;
use crate::model::executor::Description;
use crate::model::failure::{Failure, FailureKind};
use crate::model::grant::Limits;
use crate::model::job::Job;
use crate::model::port::{Attempt, Clock, Executor, OutboxTable, Processing};
use crate::model::value::{Tree, Value};

/// The code of a failure that was a panic.
const PANIC: &str = "panic";

/// A built-in with its guard.
pub(super) struct Guarded {
    executor: Arc<dyn Executor>,
    limits: Limits,
    clock: Arc<dyn Clock>,
}

impl Guarded {
    pub(super) fn new(executor: Arc<dyn Executor>, limits: Limits, clock: Arc<dyn Clock>) -> Self {
        Self { executor, limits, clock }
    }

    fn who(&self, job: &Job) -> String {
        format!("executor `{}` (built-in `{}`) in job {}", job.executor, self.executor.description().name, job.id)
    }
}

impl Executor for Guarded {
    fn description(&self) -> &Description {
        self.executor.description()
    }

    fn outboxes(&self) -> Vec<Arc<dyn OutboxTable>> {
        self.executor.outboxes()
    }

    fn process(&self, job: Arc<Job>, attempt: Attempt) -> Processing<'_> {
        async move {
            // Begun inside, so that a panic while it begins is caught as well.
            let given = Arc::clone(&job);
            let work = AssertUnwindSafe(async move { self.executor.process(given, attempt).await }).catch_unwind();
            let ended = tokio::select! {
                biased;
                ended = work => ended,
                () = self.clock.sleep_until(self.clock.now() + self.limits.wall) => {
                    return Err(Limit::Wall.failure(&self.limits, &self.who(&job)));
                }
            };
            let Ok(result) = ended else {
                // What it said went to the panic hook, which writes it where mistakes of the program go.
                let message = format!("{} panicked: this is a mistake of the program and not of the pipeline; report it", self.who(&job));
                return Err(Failure::new(FailureKind::Bug, message).with_code(PANIC));
            };
            let output = result?;
            if fits(&output, self.limits.output) { Ok(output) } else { Err(Limit::Output.failure(&self.limits, &self.who(&job))) }
        }
        .boxed()
    }
}

/// Whether a value's JSON is at most so long, escapes not counted. No text is made for it.
fn fits(value: &Value, most: u64) -> bool {
    match (value.text_if_known(), value.tree_if_known()) {
        (Some(text), _) => text.len() as u64 <= most,
        (None, Some(tree)) => rest(tree, most).is_some(),
        (None, None) => value.text().len() as u64 <= most,
    }
}

/// What is left of a length behind a tree; none if it does not suffice. Each item brings the bracket or comma before it.
fn rest(tree: &Tree, left: u64) -> Option<u64> {
    match tree {
        Tree::Text(text) => left.checked_sub(text.len() as u64 + 2),
        Tree::List(items) => items.iter().try_fold(left.checked_sub(1)?, |left, item| rest(item, left.checked_sub(1)?)),
        Tree::Map(fields) => {
            fields.iter().try_fold(left.checked_sub(1)?, |left, (name, field)| rest(field, left.checked_sub(name.len() as u64 + 4)?))
        }
        Tree::Null | Tree::Bool(_) | Tree::Int(_) | Tree::Float(_) | Tree::Secret(_) => left.checked_sub(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_measured_without_its_text() {
        let value = |text: &str| {
            let value = Value::from_text(text).expect("this is JSON");
            Value::from(value.tree().clone())
        };
        for text in [r#"{"a":[1,2,"text"],"b":null}"#, "[]", r#""text""#, "[[[[1]]]]"] {
            assert!(fits(&value(text), text.len() as u64), "{text}");
            assert!(!fits(&value(text), text.len() as u64 / 3), "{text}");
        }
        assert!(!fits(&Value::from_text("\"12345\"").expect("this is JSON"), 6));
    }
}
