//! Which passages an answer names, and the output that says so.

use super::passage::Passage;
use crate::model::value::{Tree, Value};

/// The numbers in brackets, as `[1]` or `[1, 3]`, that are numbers of passages: each once, in the order of the text.
pub(super) fn numbers(text: &str, passages: usize) -> Vec<usize> {
    let mut numbers = Vec::new();
    for bracket in text.split('[').skip(1) {
        let Some((inside, _)) = bracket.split_once(']') else { continue };
        for number in inside.split(',').map_while(|part| part.trim().parse::<usize>().ok()) {
            if (1..=passages).contains(&number) && !numbers.contains(&number) {
                numbers.push(number);
            }
        }
    }
    numbers
}

/// The `citations` of the output.
pub(super) fn value<'a>(cited: impl IntoIterator<Item = (usize, &'a Passage)>) -> Value {
    let citation = |(number, passage): (usize, &Passage)| {
        let number = Value::from(Tree::Int(i64::try_from(number).unwrap_or(i64::MAX)));
        let citation =
            [("number", number), ("file", Value::string(passage.file.as_str())), ("lines", Value::string(passage.lines.as_str()))];
        Value::map(citation).tree().clone()
    };
    Value::from(Tree::List(cited.into_iter().map(citation).collect()))
}

/// The output of `llm.chat`.
pub(super) fn output(text: &str, provider: &str, model: Option<&str>, citations: Value, usage: Value) -> Value {
    Value::map([
        ("text", Value::string(text)),
        ("provider", Value::string(provider)),
        ("model", model.map_or_else(Value::null, Value::string)),
        ("citations", citations),
        ("usage", usage),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_numbers_of_passages_count_and_each_once() {
        assert_eq!(numbers("So [2], and [1, 3][2]; not [4], [0], [x], [1", 3), [2, 1, 3]);
        assert_eq!(numbers("[99999999999999999999] [", 3), Vec::<usize>::new());
    }
}
