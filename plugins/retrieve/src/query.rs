//! From a question to the words that are worth looking up.

/// The most words that are looked up: more make the search slow and no better.
const MOST: usize = 32;

/// English and German words that stand in every document and so say nothing about any.
const STOP_WORDS: &[&str] = &[
    "a", "about", "all", "also", "am", "an", "and", "any", "are", "as", "at", "be", "been", "but", "by", "can", "could", "did", "do",
    "does", "for", "from", "get", "had", "has", "have", "how", "i", "if", "in", "into", "is", "it", "its", "just", "let", "may", "me",
    "my", "of", "on", "or", "our", "please", "shall", "should", "so", "some", "tell", "than", "that", "the", "their", "them", "then",
    "there", "these", "they", "this", "to", "up", "us", "was", "we", "were", "what", "when", "where", "which", "who", "why", "will",
    "with", "would", "you", "your", "aber", "auch", "auf", "aus", "bei", "das", "dass", "dem", "den", "der", "des", "die", "ein", "eine",
    "einen", "einer", "es", "für", "ich", "im", "ist", "kann", "man", "mit", "nicht", "oder", "sich", "sie", "sind", "und", "von", "was",
    "wenn", "wer", "wie", "wird", "zu",
];

/// The words of a question in their order, in lower case, each once, without punctuation and without words that say nothing.
///
/// A question of nothing but such words keeps them: a weak search is better than none.
pub(crate) fn words(question: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for word in question.split(|character: char| !character.is_alphanumeric() && character != '_') {
        let word = word.trim_matches('_').to_lowercase();
        if !word.is_empty() && !words.contains(&word) && words.len() < MOST * 4 {
            words.push(word);
        }
    }
    let telling: Vec<String> = words.iter().filter(|word| !STOP_WORDS.contains(&word.as_str())).cloned().collect();
    let mut kept = if telling.is_empty() { words } else { telling };
    kept.truncate(MOST);
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_words_that_tell_something() {
        assert_eq!(words("How do retries work, and what is `max_retries`?"), ["retries", "work", "max_retries"]);
    }

    #[test]
    fn says_a_word_once_whatever_its_case() {
        assert_eq!(words("Retry! retry RETRY (breaker)"), ["retry", "breaker"]);
    }

    #[test]
    fn keeps_empty_words_when_there_are_no_others() {
        assert_eq!(words("what is it?"), ["what", "is", "it"]);
    }

    #[test]
    fn nothing_but_punctuation_is_nothing() {
        assert!(words(" ?! ___ -- \u{200b}").is_empty());
    }

    #[test]
    fn is_bounded() {
        let long: Vec<String> = (0..10_000).map(|number| format!("w{number}")).collect();
        assert_eq!(words(&long.join(" ")).len(), MOST);
    }
}
