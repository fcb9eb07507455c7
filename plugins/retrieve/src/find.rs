//! One find of the index, and where it stands.

use pipehost_plugin::{Json, json};
use serde::Deserialize;

/// A chunk of a document that the index found.
#[derive(Clone, PartialEq, Debug, Deserialize)]
pub(crate) struct Find {
    pub(crate) id: String,
    pub(crate) text: String,
    /// Empty for what was added without a file.
    #[serde(default)]
    pub(crate) file: Option<String>,
    #[serde(default)]
    pub(crate) lines: Option<Lines>,
    #[serde(default)]
    pub(crate) heading: Option<String>,
    pub(crate) score: f64,
}

/// The first and the last line, from 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Lines {
    pub(crate) first: usize,
    pub(crate) last: usize,
}

/// Takes `12` and `12-18`. What is no range of lines is an error: it would be quoted as a place.
impl TryFrom<String> for Lines {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let (first, last) = text.split_once('-').unwrap_or((&text, &text));
        match (first.trim().parse(), last.trim().parse()) {
            (Ok(first), Ok(last)) if first <= last => Ok(Self { first, last }),
            _ => Err(format!("`{text}` is no range of lines as `12-18`")),
        }
    }
}

impl Find {
    /// As the next step gets it: absent parts are empty texts.
    pub(crate) fn to_json(&self) -> Json {
        let lines = match self.lines {
            Some(Lines { first, last }) if first == last => first.to_string(),
            Some(Lines { first, last }) => format!("{first}-{last}"),
            None => String::new(),
        };
        json!({
            "id": self.id,
            "text": self.text,
            "file": self.file.as_deref().unwrap_or_default(),
            "lines": lines,
            "heading": self.heading.as_deref().unwrap_or_default(),
            "score": self.score,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_and_written() {
        let text = |text: &str| Lines::try_from(text.to_owned());
        assert_eq!(text("12-18"), Ok(Lines { first: 12, last: 18 }));
        assert_eq!(text("7"), Ok(Lines { first: 7, last: 7 }));
        for wrong in ["", "x", "9-3", "3-", "-1"] {
            assert!(text(wrong).is_err(), "{wrong}");
        }
        let find = Find { id: "a".into(), text: "t".into(), file: None, lines: text("12-18").ok(), heading: None, score: 0.5 };
        let expected = json!({ "id": "a", "text": "t", "file": "", "lines": "12-18", "heading": "", "score": 0.5 });
        assert_eq!(find.to_json(), expected);
    }
}
