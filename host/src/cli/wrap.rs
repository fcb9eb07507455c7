//! Breaks text between words at the edge of a terminal, though it comes in pieces: a word that grows over the edge is taken back and put
//! onto the next line. Refused: holding each word back until it is complete, because then the answer no longer comes as it is made.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Where the cursor stands, and the word that it stands in.
#[derive(Clone, Debug, Default)]
pub(super) struct Wrap {
    /// The terminal's columns; `None` if they are not known, and nothing is broken.
    width: Option<usize>,
    column: usize,
    word: String,
    /// The word's columns.
    cells: usize,
}

impl Wrap {
    /// For a terminal of so many columns, at the beginning of a line.
    pub(super) fn new(width: Option<usize>) -> Self {
        // Narrower than this, words are best left to the terminal.
        Self { width: width.filter(|width| *width >= 20), ..Self::default() }
    }

    /// What to write for the next piece.
    pub(super) fn feed(&mut self, text: &str) -> String {
        let Some(width) = self.width else { return text.to_owned() };
        // The last column stays free: behind it terminals differ in where the cursor stands.
        let limit = width - 1;
        let mut out = String::with_capacity(text.len() + 16);
        // Of the word, what was written before stands on the terminal, and the rest in `out` from here.
        let (mut shown, mut start) = (self.cells, 0);
        for character in text.chars() {
            let cells = character.width().unwrap_or(0);
            if character == '\n' || character.is_whitespace() {
                if character == '\n' || self.column + cells > limit {
                    out.push('\n');
                    self.column = 0;
                } else {
                    out.push(character);
                    // A tab is as wide as the terminal likes; at most this.
                    self.column += if character == '\t' { 8 } else { cells };
                }
                self.word.clear();
                (self.cells, shown, start) = (0, 0, out.len());
                continue;
            }
            if self.column + cells > limit {
                if self.cells < self.column {
                    out.truncate(start);
                    if shown > 0 {
                        out.push_str(&format!("\x1b[{shown}D\x1b[K"));
                    }
                    out.push('\n');
                    start = out.len();
                    out.push_str(&self.word);
                    (self.column, shown) = (self.cells, 0);
                } else {
                    // A word that is longer than the line is left to the terminal.
                    self.word.clear();
                    (self.column, self.cells, shown, start) = (0, 0, 0, out.len());
                }
            }
            out.push(character);
            self.word.push(character);
            self.cells += cells;
            self.column += cells;
        }
        out
    }
}

/// Joins words to lines that end at the edge of a terminal. The first begins in column `indent`, and so do all others. `joint` stands at the
/// end of each line but the last: what makes one command of several lines, or nothing. Without a width, and where the rest of the line is too
/// narrow to be worth it, it is one line.
pub(super) fn hanging<'a>(words: impl IntoIterator<Item = &'a str>, width: Option<usize>, indent: usize, joint: &str) -> String {
    // The last column stays free here too.
    let room = width.map(|width| width.saturating_sub(indent + 1)).filter(|room| *room >= 20);
    let room = room.map_or(usize::MAX, |room| room - joint.width());
    let (mut out, mut column) = (String::new(), 0);
    for word in words {
        let cells = word.width();
        if column > 0 && cells + 1 > room.saturating_sub(column) {
            out.push_str(joint);
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', indent));
            column = 0;
        } else if column > 0 {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += cells;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_broken_between_words() {
        let text = "how do retries work in a pipeline\nnext line";
        assert_eq!(Wrap::new(Some(20)).feed(text), "how do retries work\nin a pipeline\nnext line");
        assert_eq!(Wrap::new(None).feed(text), text);
        assert_eq!(Wrap::new(Some(3)).feed(text), text, "too narrow to be worth it");
    }

    #[test]
    fn lines_that_hang_begin_beneath_the_first_word() {
        let text = || "how do retries work in a pipeline".split(' ');
        assert_eq!(hanging(text(), Some(26), 4, ""), "how do retries work\n    in a pipeline");
        assert_eq!(hanging(text(), Some(25), 4, " \\"), "how do retries \\\n    work in a pipeline");
        assert_eq!(hanging(text(), Some(24), 4, ""), "how do retries work in a pipeline", "too narrow to be worth it");
        assert_eq!(hanging(text(), None, 4, ""), "how do retries work in a pipeline");
        let long = "x".repeat(50);
        assert_eq!(hanging(["a", &long, "b"], Some(30), 2, ""), format!("a\n  {long}\n  b"), "a long word is left to the terminal");
    }

    #[test]
    fn a_word_that_grows_over_the_edge_is_taken_back() {
        let mut wrap = Wrap::new(Some(20));
        assert_eq!(wrap.feed("0123456789 01234"), "0123456789 01234");
        assert_eq!(wrap.feed("5678"), "\x1b[5D\x1b[K\n012345678");
        assert_eq!(wrap.feed(" x"), " x");
    }

    #[test]
    fn wide_characters_count_twice_and_long_words_are_left_alone() {
        assert_eq!(Wrap::new(Some(20)).feed("日本日本日本日本 日本"), "日本日本日本日本 \n日本");
        let long = "x".repeat(50);
        assert_eq!(Wrap::new(Some(20)).feed(&long), long);
    }
}
