//! What a line says: the fields of a JSON object, or text.

use std::fmt;

use super::line::LONGEST_LINE;
use crate::model::value::Value;

/// Why a line is not taken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// It is longer than [`LONGEST_LINE`].
    TooLong {
        /// How long it is.
        bytes: usize,
    },
    /// It is not UTF-8.
    NotUtf8 {
        /// Where it stops being so, in bytes from 0.
        offset: usize,
    },
    /// Nothing is in it.
    Empty,
    /// The input broke off.
    Unreadable(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { bytes } => {
                write!(formatter, "it has {bytes} bytes, and the limit is {LONGEST_LINE}; split it, or put long text into a document")
            }
            Self::NotUtf8 { offset } => write!(formatter, "it is not UTF-8 from byte {} on; convert it first", offset + 1),
            Self::Empty => formatter.write_str("it is empty; write a text, or a JSON object with the fields of the input"),
            Self::Unreadable(why) => write!(formatter, "the input cannot be read any further: {why}"),
        }
    }
}

/// The input that a line is: the fields of a line that is a JSON object, else `{ text }` with the whole line.
///
/// A line that looks like JSON and is none is text: people write braces too.
///
/// # Errors
/// [`Refusal::Empty`] for a line of white space.
///
/// ```
/// use pipehost::trigger::stdin::message;
///
/// assert_eq!(message("how do retries work?").unwrap().text(), r#"{"text":"how do retries work?"}"#);
/// assert_eq!(message(r#"{"text":"hi","conversation":"c1"}"#).unwrap().text(), r#"{"text":"hi","conversation":"c1"}"#);
/// ```
pub fn message(line: &str) -> Result<Value, Refusal> {
    let trimmed = line.trim();
    if trimmed.is_empty() {
        return Err(Refusal::Empty);
    }
    let object = trimmed.starts_with('{').then(|| Value::from_text(trimmed).ok()).flatten();
    Ok(object.unwrap_or_else(|| Value::map([("text", Value::string(line))])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_looks_like_json_is_text() {
        for line in ["{ not json", "[1, 2]", "\"quoted\"", "42"] {
            let input = message(line).expect("it says something");
            assert_eq!(input.field("text"), Some(Value::string(line)));
        }
    }

    #[test]
    fn white_space_says_nothing() {
        assert_eq!(message(" \t"), Err(Refusal::Empty));
    }
}
