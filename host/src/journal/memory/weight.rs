//! About how much facts hold: what is counted is their data.

use serde::Serialize;

use crate::model::event::Event;
use crate::model::job::JobOutcome;
use crate::model::port::StoreError;
use crate::model::record::{Fact, LaneResult, Part, Write};
use crate::model::size::{self, MOST, MOST_TOGETHER};
use crate::model::value::{Tree, Value};

/// What a fact takes beside its data.
const FACT: usize = 200;
/// What a value is taken to hold that has only an executor's own form, which cannot say how much it is: to know better would mean converting it.
const NATIVE: usize = 1_024;

/// What is estimated to hold less takes less than [`MOST`] as JSON, whatever is escaped in it, and is not measured.
const SMALL_ENOUGH: usize = (MOST / 8) as usize;

/// About how many bytes these facts hold.
///
/// # Errors
/// [`StoreError::TooLarge`] if one of them takes more than [`MOST`], or all of them more than [`MOST_TOGETHER`], as in every store.
pub(super) fn weigh_facts(facts: &[Fact]) -> Result<usize, StoreError> {
    let mut all = 0;
    for fact in facts {
        let bytes = weigh_fact(fact);
        all += bytes;
        if bytes > SMALL_ENOUGH {
            fitting(fact)?;
        }
    }
    if all as u64 > MOST_TOGETHER / 8 {
        let bytes = facts.iter().map(size::of).sum();
        if bytes > MOST_TOGETHER {
            return Err(StoreError::TooLarge { bytes, most: MOST_TOGETHER });
        }
    }
    Ok(all)
}

/// Makes sure that what is kept is no larger than any store keeps.
///
/// # Errors
/// [`StoreError::TooLarge`] if one value takes more than [`MOST`].
pub(super) fn check_writes(writes: &[Write]) -> Result<(), StoreError> {
    for write in writes {
        match write {
            Write::Keep(kept) if weigh(&kept.value) > SMALL_ENOUGH => drop(fitting(&kept.value)?),
            Write::Emit(event) if weigh_event(event) > SMALL_ENOUGH => drop(fitting(&**event)?),
            Write::Keep(_) | Write::Emit(_) | Write::Forget { .. } | Write::Bundle(_) => {}
        }
    }
    Ok(())
}

/// How many bytes of JSON it takes.
fn fitting(what: &impl Serialize) -> Result<u64, StoreError> {
    match size::of(what) {
        bytes if bytes > MOST => Err(StoreError::TooLarge { bytes, most: MOST }),
        bytes => Ok(bytes),
    }
}

/// About how many bytes a fact takes.
fn weigh_fact(fact: &Fact) -> usize {
    let data = match fact {
        Fact::Began(beginning) | Fact::Queued(beginning) => {
            let part = beginning.part.as_deref().map_or(0, weigh_part);
            weigh(&beginning.input) + weigh(&beginning.trigger) + beginning.event.as_ref().map_or(0, weigh_event) + part + FACT
        }
        Fact::StepDone { output, .. } | Fact::StepHealed { output, .. } => weigh(output),
        Fact::JobDispatched { input, .. } | Fact::UndoPlanned { input, .. } => weigh(input),
        Fact::ItemsTaken { items, .. } => items.iter().map(weigh).sum(),
        Fact::LaneEnded { result: LaneResult::Succeeded(output), .. } => weigh(output),
        Fact::JobEnded { outcome, events, .. } => {
            let output = if let JobOutcome::Succeeded { output, .. } = outcome { weigh(output) } else { FACT };
            output + events.iter().map(weigh_event).sum::<usize>()
        }
        Fact::Emitted { events, .. } => events.iter().map(weigh_event).sum(),
        Fact::WaitBegan { matching, .. } => matching.iter().map(|(name, value)| name.len() + weigh(value)).sum(),
        Fact::WaitEnded { event: Some(event), .. } | Fact::AnswerRefused { event, .. } => weigh_event(event),
        Fact::Dispatched { part, .. } => weigh_part(part),
        Fact::Replied { reply } => weigh(reply),
        Fact::Migrated { facts, .. } => facts.iter().map(weigh_fact).sum(),
        Fact::StepFailed { failure, .. } | Fact::Retrying { failure, .. } => failure.message.len(),
        _ => 0,
    };
    FACT + data
}

fn weigh_part(part: &Part) -> usize {
    let outputs: usize = part.outputs.iter().map(|(_, output)| weigh(output)).sum();
    weigh(&part.input) + outputs + part.locals.iter().map(|(name, value)| name.len() + weigh(value)).sum::<usize>()
}

fn weigh_event(event: &Event) -> usize {
    FACT + event.passed.len() * 64 + weigh(&event.data)
}

fn weigh(value: &Value) -> usize {
    match (value.text_if_known(), value.tree_if_known()) {
        (Some(text), _) => text.len(),
        (None, Some(tree)) => weigh_tree(tree),
        (None, None) => value.native_weight().unwrap_or(NATIVE),
    }
}

fn weigh_tree(tree: &Tree) -> usize {
    let inside = match tree {
        Tree::Text(text) => text.len(),
        Tree::List(items) => items.iter().map(weigh_tree).sum(),
        Tree::Map(fields) => fields.iter().map(|(name, field)| name.len() + weigh_tree(field)).sum(),
        _ => 0,
    };
    size_of::<Tree>() + inside
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::value::Native;

    #[test]
    fn values_are_weighed_by_the_form_they_have() {
        let text = Value::from_text("[1,2,3]").expect("this is JSON");
        assert_eq!(weigh(&text), 7);
        assert!(weigh(&Value::string("x".repeat(100))) >= 100);
    }

    /// What only an executor can read, and what it says of its size.
    struct Own(Option<usize>);

    impl Native for Own {
        fn to_tree(&self) -> Tree {
            Tree::Text("x".repeat(self.0.unwrap_or_default()))
        }

        fn field(&self, _: &str) -> Option<Value> {
            None
        }

        fn weight(&self) -> Option<usize> {
            self.0
        }

        fn as_any(&self) -> &dyn std::any::Any {
            self
        }
    }

    #[test]
    fn a_value_that_only_an_executor_has_weighs_what_that_says_and_is_refused_where_it_is_too_large() {
        assert_eq!(weigh(&Value::from_native(Own(None))), NATIVE);
        assert_eq!(weigh(&Value::from_native(Own(Some(70)))), 70);
        let replied = |bytes: u64| Fact::Replied { reply: Value::from_native(Own(Some(bytes as usize))) };
        assert!(weigh_facts(&[replied(MOST / 2)]).is_ok());
        assert!(matches!(weigh_facts(&[replied(MOST + 1)]), Err(StoreError::TooLarge { .. })));
    }
}
