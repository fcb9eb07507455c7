//! What a user's words become in FTS5's language: quoted words and nothing else.

use crate::executor::words::content_words;

/// How many different words a search looks for at most.
const MAX_WORDS: usize = 32;

/// A query that matches what holds any of the words; `None` if there is no word.
pub(super) fn matching(query: &str) -> Option<String> {
    // A word has letters and digits only, so that no quote and no operator is ever in it.
    let words: Vec<String> = content_words(query).into_iter().take(MAX_WORDS).map(|word| format!("\"{word}\"")).collect();
    (!words.is_empty()).then(|| words.join(" OR "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_query_is_syntax() {
        assert_eq!(matching("\"retry\" NEAR(backoff) AND text: * -x"), Some("\"retry\" OR \"near\" OR \"backoff\" OR \"text\"".to_owned()));
        assert_eq!(matching(" * ( \" "), None);
    }
}
