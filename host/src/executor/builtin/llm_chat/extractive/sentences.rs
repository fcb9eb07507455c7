//! Takes a passage of Markdown apart into sentences that can be quoted.

use crate::executor::excerpt::{cut, one_line};

/// The longest quote of one sentence, in bytes.
const MAX_SENTENCE: usize = 600;

/// A sentence, a list item or a row of a table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Sentence {
    /// Its text, with white space made one space.
    pub(super) text: String,
    /// Which paragraph of the passage it is of: quotes do not join paragraphs.
    pub(super) paragraph: usize,
    /// Whether it is a line of code.
    pub(super) is_code: bool,
}

/// The sentences of a passage, in its order.
pub(super) fn sentences(passage: &str) -> Vec<Sentence> {
    let mut found = Vec::new();
    let mut paragraph = String::new();
    let mut number = 0;
    let mut in_code = false;
    for line in passage.lines() {
        let bare = line.trim();
        let is_fence = bare.starts_with("```") || bare.starts_with("~~~");
        let item = item(bare);
        if is_fence || in_code || bare.is_empty() || item.is_some() || bare.starts_with('|') || bare.starts_with('#') {
            end_paragraph(&mut paragraph, &mut number, &mut found);
        }
        if is_fence {
            in_code = !in_code;
        } else if in_code {
            push(bare, number, true, &mut found);
        } else if bare.starts_with('|') {
            let cells: Vec<&str> = bare.split('|').map(str::trim).filter(|cell| !cell.is_empty()).collect();
            let is_rule = cells.iter().all(|cell| cell.chars().all(|mark| matches!(mark, '-' | ':')));
            if is_rule {
                // What stands above the rule names the columns and says nothing.
                found.pop();
            } else {
                push(&cells.join(" | "), number, false, &mut found);
                number += 1;
            }
        } else if !bare.starts_with('#') {
            if !paragraph.is_empty() {
                paragraph.push(' ');
            }
            paragraph.push_str(item.unwrap_or_else(|| bare.trim_start_matches("> ")));
        }
    }
    end_paragraph(&mut paragraph, &mut number, &mut found);
    found
}

/// What stands behind a list item's mark.
fn item(line: &str) -> Option<&str> {
    if let Some(text) = ["- ", "* ", "+ "].iter().find_map(|mark| line.strip_prefix(mark)) {
        return Some(text.trim_start());
    }
    let digits = line.bytes().take_while(u8::is_ascii_digit).count();
    let rest = line.get(digits..).filter(|_| (1..=3).contains(&digits))?;
    rest.strip_prefix(". ").or_else(|| rest.strip_prefix(") "))
}

fn end_paragraph(paragraph: &mut String, number: &mut usize, found: &mut Vec<Sentence>) {
    let text = std::mem::take(paragraph);
    if text.is_empty() {
        return;
    }
    let mut start = 0;
    let mut in_code = false;
    for (index, mark) in text.char_indices() {
        let after = index + mark.len_utf8();
        // A question mark of code asks nothing. A lone backtick joins what is left of the paragraph and loses none of it.
        if mark == '`' {
            in_code = !in_code;
        }
        if !in_code && matches!(mark, '.' | '!' | '?') && is_end(&text[start..index], &text[after..]) {
            push(&text[start..after], *number, false, found);
            start = after;
        }
    }
    push(&text[start..], *number, false, found);
    *number += 1;
}

/// Whether a full stop between these two ends a sentence: `e.g.` and `0.5` do not.
fn is_end(before: &str, after: &str) -> bool {
    let mut next = after.chars();
    if next.next().is_some_and(|space| !space.is_whitespace()) {
        return false;
    }
    let last_word = before.rsplit(char::is_whitespace).next().unwrap_or_default();
    let is_short_form = last_word.contains('.') || matches!(last_word, "etc" | "vs" | "cf" | "ca");
    !is_short_form && !next.next().is_some_and(char::is_lowercase)
}

fn push(text: &str, paragraph: usize, is_code: bool, found: &mut Vec<Sentence>) {
    let text = cut(one_line(text), MAX_SENTENCE);
    if text.chars().any(char::is_alphanumeric) {
        found.push(Sentence { text, paragraph, is_code });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_are_found_in_what_guides_are_written_in() {
        let passage = "A retry waits `a ?? 0.5s`, e.g. once. Then it\ntries again!\n\n- one item\n- another. With two.\n\n| key | meaning |\n|---|---|\n| `max_retries` | re-tries |\n\n```yaml\nretry: 3\n```\n";
        let found: Vec<_> = sentences(passage).into_iter().map(|each| (each.text, each.paragraph, each.is_code)).collect();
        let expected = [
            ("A retry waits `a ?? 0.5s`, e.g. once.", 0, false),
            ("Then it tries again!", 0, false),
            ("one item", 1, false),
            ("another.", 2, false),
            ("With two.", 2, false),
            ("`max_retries` | re-tries", 4, false),
            ("retry: 3", 5, true),
        ];
        assert_eq!(found, expected.map(|(text, paragraph, code)| (text.to_owned(), paragraph, code)));
    }
}
