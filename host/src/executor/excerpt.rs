//! The beginning of a text that is too long to be shown or handed on as it is. Pure.

/// The longest excerpt, in bytes.
const LONGEST: usize = 300;

/// The text, if it has no more than so many bytes; else its first characters in that room, and `…` after it.
pub(super) fn cut(mut text: String, longest: usize) -> String {
    if text.len() > longest {
        text.truncate(text.floor_char_boundary(longest));
        text.push('…');
    }
    text
}

/// The text on one line, with one space between words.
pub(super) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The first 300 bytes of a text, on one line.
pub(super) fn excerpt(text: &str) -> String {
    cut(one_line(text), LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_characters_and_says_so() {
        assert_eq!(cut("äöü".to_owned(), 6), "äöü");
        assert_eq!(cut("äöü".to_owned(), 5), "äö…");
        assert_eq!(excerpt(" it  broke\nhere "), "it broke here");
        assert_eq!(excerpt(&"é".repeat(151)), "é".repeat(150) + "…");
    }
}
