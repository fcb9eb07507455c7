//! The text of a key: what `dedup` and `cache` tell jobs apart by.

use crate::model::failure::{Failure, FailureKind};
use crate::model::value::{Tree, Value};

/// How long a key may be. Longer ones are held in memory for every entry; `hash(x)` makes them short.
const LONGEST: usize = 4_096;

/// The canonical text of a key: a scalar or a list of scalars, so that `1` and `"1"` are two keys and `["a", "b"]` is not `["ab"]`.
///
/// # Errors
/// `invalid` for null, a list that holds a null, an empty list, a map, a secret, a number that is none, or more than 4096 bytes: such keys
/// would make strangers share a result, or show what must not be shown.
pub fn text(key: &Value) -> Result<String, Failure> {
    let mut text = String::new();
    match key.tree() {
        Tree::List(items) if items.is_empty() => return Err(unfit("it is an empty list", "name what tells the jobs apart")),
        Tree::List(items) => {
            text.push('[');
            for (place, item) in items.iter().enumerate() {
                if place > 0 {
                    text.push(',');
                }
                scalar(item, &mut text)?;
            }
            text.push(']');
        }
        single => scalar(single, &mut text)?,
    }
    if text.len() > LONGEST {
        return Err(unfit("it is longer than 4096 bytes", "write `hash(…)` round it"));
    }
    Ok(text)
}

/// What the texts of all keys begin with that begin with this one: a text's first letters, or a list's first items.
///
/// # Errors
/// As [`text`].
pub fn prefix(key: &Value) -> Result<String, Failure> {
    let mut prefix = text(key)?;
    // What closes the text or the list is not part of what they begin with.
    if prefix.ends_with(['"', ']']) {
        prefix.pop();
    }
    Ok(prefix)
}

fn scalar(item: &Tree, text: &mut String) -> Result<(), Failure> {
    match item {
        Tree::Null => Err(unfit("it is null or holds a null", "make sure that the field is there, or stand something in with `??`")),
        Tree::Bool(flag) => {
            text.push_str(if *flag { "true" } else { "false" });
            Ok(())
        }
        Tree::Int(number) => {
            text.push_str(&number.to_string());
            Ok(())
        }
        // `1.0` and `1` are equal in expressions, so they are the same key.
        Tree::Float(number) if number.fract() == 0.0 && number.abs() < 9e15 => {
            text.push_str(&(*number as i64).to_string());
            Ok(())
        }
        Tree::Float(number) if number.is_finite() => {
            text.push_str(&number.to_string());
            Ok(())
        }
        Tree::Float(_) => Err(unfit("it holds a number that is none", "check what it is computed from")),
        Tree::Text(word) => {
            // Quoted as JSON does it, so that no text can look like a number or like the end of an item.
            text.push_str(&serde_json::Value::from(word.as_str()).to_string());
            Ok(())
        }
        Tree::List(_) | Tree::Map(_) => Err(unfit("it holds a list or a map", "use its fields, or `hash(…)` of it")),
        Tree::Secret(_) => Err(unfit("it holds a secret, and keys are kept", "use something that may be seen")),
    }
}

fn unfit(why: &str, way_out: &str) -> Failure {
    Failure::new(FailureKind::Invalid, format!("this key cannot be used: {why}; {way_out}")).with_code("key")
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;
    use crate::model::secret::Secret;

    fn of(json: &str) -> Result<String, Failure> {
        text(&Value::from_text(json).expect("this is JSON"))
    }

    #[test]
    fn unlike_keys_have_unlike_texts() {
        let keys = [
            "1",
            "\"1\"",
            "true",
            "\"true\"",
            "[1]",
            "\"[1]\"",
            r#"["a","b"]"#,
            r#"["ab"]"#,
            r#"["a,b"]"#,
            r#"["a\",\"b"]"#,
            "\"\"",
            "1.5",
        ];
        let mut seen = HashMap::new();
        for key in keys {
            let before = seen.insert(of(key).expect("a fit key"), key);
            assert_eq!(before, None, "{key} is taken for another");
        }
    }

    #[test]
    fn equal_numbers_are_the_same_key() {
        assert_eq!(of("1"), of("1.0"));
        assert_eq!(of("0"), of("-0.0"));
    }

    #[test]
    fn a_null_is_never_a_shared_blank() {
        for key in ["null", "[null]", r#"["a",null]"#, "[]", "{}", r#"[["a"]]"#] {
            assert_eq!(of(key).map_err(|failure| failure.kind), Err(FailureKind::Invalid), "{key} was taken");
        }
        assert!(text(&Value::from(Tree::Float(f64::NAN))).is_err());
        assert!(text(&Value::from(Tree::Secret(Secret::new("KEY", "hunter2")))).is_err());
        assert!(text(&Value::string("x".repeat(4_095))).is_err());
        assert!(text(&Value::string("x".repeat(4_094))).is_ok());
    }

    #[test]
    fn a_prefix_is_what_longer_keys_begin_with() {
        let prefix = |json: &str| prefix(&Value::from_text(json).expect("this is JSON")).expect("a fit key");
        for (short, long) in [(r#""user:""#, r#""user:7""#), (r#"["a"]"#, r#"["a","b"]"#), (r#"["a"]"#, r#"["a"]"#)] {
            assert!(of(long).expect("a fit key").starts_with(&prefix(short)), "{long} does not begin with {short}");
        }
        assert!(!of(r#"["ab"]"#).expect("a fit key").starts_with(&prefix(r#"["a"]"#)));
    }

    proptest! {
        #[test]
        fn two_lists_of_words_meet_only_if_they_are_equal(one in prop::collection::vec(".{0,4}", 1..4), other in prop::collection::vec(".{0,4}", 1..4)) {
            let key = |words: &[String]| text(&Value::from(Tree::List(words.iter().map(|word| Tree::Text(word.clone())).collect())));
            prop_assert_eq!(key(&one) == key(&other), one == other);
        }
    }
}
