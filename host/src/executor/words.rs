//! The words of a text that carry its meaning: what a search asks for and what an answer is chosen by.

/// English words that say nothing of what a text is about. Sorted, for the binary search.
const STOP_WORDS: [&str; 102] = [
    "a", "about", "after", "again", "all", "also", "am", "an", "and", "any", "are", "as", "at", "be", "because", "been", "before", "being",
    "but", "by", "can", "could", "did", "do", "does", "doing", "done", "explain", "for", "from", "get", "give", "had", "has", "have", "he",
    "her", "here", "him", "his", "how", "i", "if", "in", "into", "is", "it", "its", "just", "let", "like", "make", "may", "me", "mean",
    "might", "more", "most", "must", "my", "no", "not", "of", "on", "or", "other", "our", "out", "please", "shall", "she", "should", "so",
    "some", "tell", "than", "that", "the", "their", "them", "then", "there", "these", "they", "this", "those", "to", "us", "was", "we",
    "were", "what", "when", "where", "which", "who", "why", "will", "with", "would", "you", "your",
];

/// The words of a text, in lower case and in its order: runs of letters and digits.
pub(super) fn words(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split(|character: char| !character.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_lowercase)
}

/// Whether a word in lower case says nothing of what a text is about.
pub(super) fn is_stop_word(word: &str) -> bool {
    STOP_WORDS.binary_search(&word).is_ok() || (word.len() == 1 && !word.starts_with(|first: char| first.is_numeric()))
}

/// The words of a text without stop words, each once, in its order; all words where nothing else would be left.
pub(super) fn content_words(text: &str) -> Vec<String> {
    let mut content: Vec<String> = Vec::new();
    let mut all: Vec<String> = Vec::new();
    for word in words(text) {
        let list = if is_stop_word(&word) { &mut all } else { &mut content };
        if !list.contains(&word) {
            list.push(word);
        }
    }
    if content.is_empty() { all } else { content }
}

/// The stem of a word in lower case, by a few rules of English: `retries`, `retried` and `retrying` are all `retry`.
pub(super) fn stem(word: &str) -> String {
    if !word.is_ascii() || word.len() < 4 {
        return word.to_owned();
    }
    if let Some(start) = word.strip_suffix("ies").or_else(|| word.strip_suffix("ied")) {
        return format!("{start}y");
    }
    let plural_free = match word.strip_suffix('s') {
        Some(start) if !start.ends_with(['s', 'u', 'i']) => start,
        _ => word,
    };
    let bare = ["ing", "ed", "er"].iter().find_map(|ending| plural_free.strip_suffix(ending).filter(|start| start.len() > 2));
    let mut bare = bare.unwrap_or(plural_free).to_owned();
    let mut ending = bare.bytes().rev();
    if let (Some(last), Some(other)) = (ending.next(), ending.next())
        && last == other
        && !matches!(last, b'a' | b'e' | b'i' | b'o' | b'u' | b's')
    {
        bare.pop();
    }
    if bare.len() > 3 && bare.ends_with('e') {
        bare.pop();
    }
    bare
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stop_words_can_be_searched() {
        assert!(STOP_WORDS.is_sorted());
        assert!(is_stop_word("the") && is_stop_word("x") && !is_stop_word("7") && !is_stop_word("retry"));
    }

    #[test]
    fn forms_of_one_word_have_one_stem() {
        for forms in [
            &["retry", "retries", "retried", "retrying"][..],
            &["cancel", "cancels", "cancelled", "cancelling"],
            &["cache", "caches", "cached", "caching"],
            &["breaker", "breakers", "break", "breaking"],
            &["policy", "policies"],
        ] {
            let stems: Vec<_> = forms.iter().map(|form| stem(form)).collect();
            assert!(stems.iter().all(|each| *each == stems[0]), "{stems:?}");
        }
        assert_ne!(stem("status"), stem("state"));
    }

    #[test]
    fn a_question_of_stop_words_only_keeps_them() {
        assert_eq!(content_words("How do retries WORK, how?"), ["retries", "work"]);
        assert_eq!(content_words("who are you?"), ["who", "are", "you"]);
        assert_eq!(content_words("?!"), Vec::<String>::new());
    }
}
