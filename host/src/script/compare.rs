//! Comparisons that fail where plain Rhai says `false`: a misspelt field in an approval guard must not skip the approval.

use std::cmp::Ordering;

use rhai::{Dynamic, Engine, EvalAltResult, Position};

use super::form::{Shape, kind_of};
use crate::model::secret::Secret;

/// Makes `==`, `!=`, `<`, `<=`, `>` and `>=` of this engine fail on unlike kinds. Fast operators must be off for it to hold.
///
/// Whole numbers and fractions are alike, texts and characters too. Anything may be compared with null by `==` and `!=`.
pub fn register_strict_comparisons(engine: &mut Engine) {
    engine
        .register_fn("==", |left: Dynamic, right: Dynamic| equal(&left, &right).map_err(failed))
        .register_fn("!=", |left: Dynamic, right: Dynamic| equal(&left, &right).map(|equal| !equal).map_err(failed))
        .register_fn("<", |left: Dynamic, right: Dynamic| order(&left, &right, Ordering::is_lt))
        .register_fn("<=", |left: Dynamic, right: Dynamic| order(&left, &right, Ordering::is_le))
        .register_fn(">", |left: Dynamic, right: Dynamic| order(&left, &right, Ordering::is_gt))
        .register_fn(">=", |left: Dynamic, right: Dynamic| order(&left, &right, Ordering::is_ge));
}

fn failed(message: String) -> Box<EvalAltResult> {
    EvalAltResult::ErrorRuntime(message.into(), Position::NONE).into()
}

/// Whether two values are the same, lists and maps through and through.
///
/// # Errors
/// That the kinds differ, in words.
pub fn equal(left: &Dynamic, right: &Dynamic) -> Result<bool, String> {
    let equal = match (Shape::of(left), Shape::of(right)) {
        (Shape::Shared, _) => return equal(&left.flatten_clone(), right),
        (_, Shape::Shared) => return equal(left, &right.flatten_clone()),
        (Shape::Null, Shape::Null) => true,
        (Shape::Null, _) | (_, Shape::Null) => false,
        (Shape::Bool(left), Shape::Bool(right)) => left == right,
        (Shape::List, Shape::List) => return equal_lists(left, right),
        (Shape::Map, Shape::Map) => return equal_maps(left, right),
        (Shape::Bytes, Shape::Bytes) => left.as_blob_ref().ok().as_deref() == right.as_blob_ref().ok().as_deref(),
        (Shape::Secret, Shape::Secret) => left.read_lock::<Secret>().as_deref() == right.read_lock::<Secret>().as_deref(),
        _ => match ordering(left, right) {
            Some(ordering) => ordering == Some(Ordering::Equal),
            None => return Err(format!("{} and {} cannot be compared", kind_of(left), kind_of(right))),
        },
    };
    Ok(equal)
}

fn equal_lists(left: &Dynamic, right: &Dynamic) -> Result<bool, String> {
    let (Ok(left), Ok(right)) = (left.as_array_ref(), right.as_array_ref()) else { return Ok(false) };
    if left.len() != right.len() {
        return Ok(false);
    }
    for (left, right) in left.iter().zip(right.iter()) {
        if !equal(left, right)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn equal_maps(left: &Dynamic, right: &Dynamic) -> Result<bool, String> {
    let (Ok(left), Ok(right)) = (left.as_map_ref(), right.as_map_ref()) else { return Ok(false) };
    if !left.keys().eq(right.keys()) {
        return Ok(false);
    }
    for (left, right) in left.values().zip(right.values()) {
        if !equal(left, right)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn order(left: &Dynamic, right: &Dynamic, holds: fn(Ordering) -> bool) -> Result<bool, Box<EvalAltResult>> {
    match ordering(left, right) {
        Some(ordering) => Ok(ordering.is_some_and(holds)),
        None => Err(failed(format!("{} and {} have no order", kind_of(left), kind_of(right)))),
    }
}

/// `None` where the two are not alike or have no order; `Some(None)` for a fraction that is no number.
fn ordering(left: &Dynamic, right: &Dynamic) -> Option<Option<Ordering>> {
    match (Shape::of(left), Shape::of(right)) {
        (Shape::Shared, _) => ordering(&left.flatten_clone(), right),
        (_, Shape::Shared) => ordering(left, &right.flatten_clone()),
        (Shape::Int(left), Shape::Int(right)) => Some(Some(left.cmp(&right))),
        (Shape::Int(left), Shape::Float(right)) => Some((left as f64).partial_cmp(&right)),
        (Shape::Float(left), Shape::Int(right)) => Some(left.partial_cmp(&(right as f64))),
        (Shape::Float(left), Shape::Float(right)) => Some(left.partial_cmp(&right)),
        (Shape::Text, Shape::Text) => {
            let (left, right) = (left.as_immutable_string_ref().ok()?, right.as_immutable_string_ref().ok()?);
            Some(Some(left.as_str().cmp(right.as_str())))
        }
        (Shape::Text, Shape::Character(right)) => {
            let left = left.as_immutable_string_ref().ok()?;
            Some(Some(left.as_str().cmp(right.encode_utf8(&mut [0; 4]))))
        }
        (Shape::Character(left), Shape::Text) => {
            let right = right.as_immutable_string_ref().ok()?;
            Some(Some((*left.encode_utf8(&mut [0; 4])).cmp(right.as_str())))
        }
        (Shape::Character(left), Shape::Character(right)) => Some(Some(left.cmp(&right))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::bare_engine;
    use super::*;

    fn strict() -> Engine {
        let mut engine = bare_engine();
        engine.set_fast_operators(false);
        register_strict_comparisons(&mut engine);
        engine
    }

    #[test]
    fn unlike_kinds_are_an_error_and_never_false() {
        for comparison in ["() > 3", "1 < \"2\"", "1 == \"1\"", "true != 1", "[] == #{}", "true < false", "[1] == [\"1\"]"] {
            assert!(strict().eval_expression::<bool>(comparison).is_err(), "{comparison} was taken");
        }
    }

    #[test]
    fn like_kinds_compare_as_in_any_language() {
        for comparison in [
            "1 == 1.0",
            "1 < 1.5",
            "\"a\" < \"b\"",
            "\"abc\"[0] == \"a\"",
            "[1, [2]] == [1.0, [2]]",
            "#{a: 1} != #{b: 1}",
            "() == ()",
            "5 != ()",
        ] {
            assert_eq!(strict().eval_expression::<bool>(comparison).ok(), Some(true), "{comparison}");
        }
    }
}
