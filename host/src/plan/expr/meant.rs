//! Constant text that reads like an expression: the `${` and `}` round it were left out, or are those of another program.

use super::place::word_at;
use super::{Names, engine, word};
use crate::model::port::Root;

/// The expression that a text without `${` was meant to be: a path that begins with a name that expressions know, as `input.text`, `$input.text` or
/// `{{ input.text }}`, with whatever is done to it. A lone word is a constant unless it is marked so, or is what an `each` round about calls
/// its item.
pub(in crate::plan) fn meant<'t>(text: &'t str, names: &Names) -> Option<&'t str> {
    let text = text.trim();
    let bare = text.strip_prefix('$').unwrap_or(text);
    let within = |text: &'t str, open, close| text.strip_prefix(open)?.strip_suffix(close).map(str::trim);
    let bare = within(bare, "{{", "}}").or_else(|| within(bare, "{", "}")).unwrap_or(bare);
    let marked = bare.len() < text.len();
    let name = word_at(bare, 0);
    let rest = bare.get(name.len()..).unwrap_or_default();
    let field = [".", "?."].iter().find_map(|sign| rest.strip_prefix(sign));
    // A full stop ends a sentence.
    let goes_on = field.is_some_and(|field| field.starts_with(|first: char| first.is_alphabetic() || first == '_'))
        || ["[", "?["].iter().any(|sign| rest.starts_with(sign));
    let is_local = names.locals.iter().any(|(local, _)| local == name);
    let is_meant = (is_local || Root::from_name(name).is_some()) && (goes_on || marked || (is_local && rest.is_empty()));
    (is_meant && word::check(bare).is_ok() && engine::parse(bare).is_ok()).then_some(bare)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::types::Type;

    fn found(text: &str) -> Option<&str> {
        meant(text, &Names { locals: vec![("item".to_owned(), Type::Any)], ..Names::default() })
    }

    #[test]
    fn a_path_that_begins_as_expressions_do_was_meant_to_be_one_whatever_marks_it() {
        for text in ["input.text", "$input.text", "{{input.text}}", "{ input.text }", " ${ input.text } "] {
            assert_eq!(found(text), Some("input.text"), "{text}");
        }
        for text in ["steps.a?.b[0]", "state.placed + 1", "item", "item.id", "event[\"type\"]"] {
            assert_eq!(found(text), Some(text));
        }
        assert_eq!((found("{{ input }}"), found("$run")), (Some("input"), Some("run")));
    }

    #[test]
    fn a_constant_is_none() {
        for text in ["", "all", "input", "run", "all.of.it", "inputs.a", "{all}", "$all", "input. Then", "event.a and b", "{", "é", "2"] {
            assert_eq!(found(text), None, "{text}");
        }
    }
}
