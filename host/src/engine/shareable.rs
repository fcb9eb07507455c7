//! What may leave a run: the data of events and the fields of states, which others read and which are written down.

use crate::model::failure::{Failure, FailureKind};
use crate::model::id::EventType;
use crate::model::types::{Mismatch, Origin};
use crate::model::value::{DEEPEST, Value};
use crate::plan::pipeline::Pipeline;

/// Whether a value may stand in an event or in a state; `place` names it in the refusal.
///
/// # Errors
/// `invalid` for what holds a secret (`secret`), and for what is nested too deeply to be read back (`too_deep`).
pub(super) fn check(value: &Value, place: &str) -> Result<(), Failure> {
    let refuse = |why: &str, code: &str| Failure::new(FailureKind::Invalid, format!("{place} {why}")).with_code(code);
    match value.tree() {
        tree if tree.is_deeper_than(DEEPEST) => Err(refuse(&format!("is nested deeper than {DEEPEST} lists and maps"), "too_deep")),
        tree if tree.holds_secret() => Err(refuse("holds a secret, which may only be passed where a secret is declared", "secret")),
        _ => Ok(()),
    }
}

/// The data of an event, as the pipeline declares it.
///
/// # Errors
/// What [`check`] refuses, and `invalid` (`event_type`) for what is not of the declared type.
pub(super) fn event_data(pipeline: &Pipeline, event_type: &EventType, data: Value) -> Result<Value, Failure> {
    check(&data, &format!("the data of event {event_type}"))?;
    let Some(declared) = pipeline.events.get(event_type) else { return Ok(data) };
    declared.conform(&data, Origin::Data).map_err(|mismatches| {
        let message = format!("the data of event {event_type} is not what is declared: {}", all(&mismatches));
        Failure::new(FailureKind::Invalid, message).with_code("event_type")
    })
}

/// All mismatches in one line.
pub(super) fn all(mismatches: &[Mismatch]) -> String {
    let mismatches: Vec<_> = mismatches.iter().map(ToString::to_string).collect();
    mismatches.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::secret::Secret;
    use crate::model::value::Tree;

    #[test]
    fn a_secret_and_what_is_too_deep_are_refused_by_name() {
        let secret = Value::from(Tree::List(vec![Tree::Secret(Secret::new("KEY", "hunter2"))]));
        let refused = check(&secret, "the data of event Told").expect_err("it holds a secret");
        assert_eq!(refused.code.as_deref(), Some("secret"));
        assert!(!refused.message.contains("hunter2"));
        let deep = (0..=DEEPEST).fold(Tree::Null, |tree, _| Tree::List(vec![tree]));
        assert_eq!(check(&Value::from(deep), "it").expect_err("it is too deep").code.as_deref(), Some("too_deep"));
        let fitting = (0..DEEPEST).fold(Tree::Null, |tree, _| Tree::List(vec![tree]));
        assert!(check(&Value::from(fitting), "it").is_ok());
    }
}
