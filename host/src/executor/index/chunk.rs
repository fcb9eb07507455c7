//! Cuts Markdown into chunks: one for each section, a long one at its empty lines; each knows its headings and its lines.

/// How many bytes a chunk has at most: a few paragraphs, what a reader or a model takes in at once.
const MAX_CHUNK: usize = 1_600;

/// A piece of a document.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Chunk {
    /// The headings that it stands under, outermost first, as `Policies › Retry`.
    pub(super) heading: String,
    /// Its first line, from 1.
    pub(super) first_line: usize,
    /// Its last line.
    pub(super) last_line: usize,
    /// Its text without the heading.
    pub(super) text: String,
}

/// Cuts a document. Headings are those that begin with `#`; in fenced code they are none.
pub(super) fn chunks(document: &str) -> Vec<Chunk> {
    let mut cutter = Cutter::default();
    let skipped = front_matter(document);
    for (index, line) in document.lines().enumerate().skip(skipped) {
        cutter.line(index + 1, line);
    }
    cutter.end();
    cutter.chunks
}

/// A document as one piece, its headings left in the text.
pub(super) fn whole(document: &str) -> Chunk {
    Chunk { heading: String::new(), first_line: 1, last_line: document.lines().count().max(1), text: document.trim().to_owned() }
}

/// How many lines of settings between `---` a document begins with.
fn front_matter(document: &str) -> usize {
    let mut lines = document.lines();
    if lines.next().map(str::trim_end) != Some("---") {
        return 0;
    }
    lines.position(|line| line.trim_end() == "---").map_or(0, |position| position + 2)
}

#[derive(Default)]
struct Cutter {
    chunks: Vec<Chunk>,
    /// Levels and words of the headings above the line.
    headings: Vec<(usize, String)>,
    /// What opened the fenced code that the line is in.
    fence: Option<String>,
    text: String,
    first_line: usize,
    last_line: usize,
    /// The last empty line of the chunk at which it may be cut: the length of its text there, and the lines round about.
    cut: Option<(usize, usize)>,
}

impl Cutter {
    fn line(&mut self, number: usize, line: &str) {
        if self.fence.is_none()
            && let Some((level, words)) = heading(line)
        {
            self.end();
            self.headings.retain(|(above, _)| *above < level);
            self.headings.push((level, words.to_owned()));
            return;
        }
        self.follow_fence(line);
        if line.trim().is_empty() && self.fence.is_none() {
            if !self.text.is_empty() {
                self.cut = Some((self.text.len(), self.last_line));
                self.text.push('\n');
            }
            return;
        }
        for piece in pieces(line) {
            self.piece(number, piece);
        }
    }

    fn piece(&mut self, number: usize, piece: &str) {
        // Twice at most: what a cut leaves may still be too much beside a long piece.
        while self.text.len() + piece.len() > MAX_CHUNK && !self.text.is_empty() {
            self.cut_here(number);
        }
        if self.text.is_empty() {
            self.first_line = number;
        }
        self.text.push_str(piece);
        self.text.push('\n');
        self.last_line = number;
    }

    /// Ends the chunk at its last empty line, if that leaves something on both sides, or where it is.
    fn cut_here(&mut self, number: usize) {
        let Some((length, last_line)) = self.cut.take().filter(|(length, _)| *length > MAX_CHUNK / 4) else { return self.end() };
        let rest = self.text.split_off(length).trim_start_matches('\n').to_owned();
        let (mut first_line, last) = (number, self.last_line);
        if !rest.is_empty() {
            // Whole lines stand in the rest, but for a line that was itself cut.
            first_line = (last + 1).saturating_sub(rest.lines().count()).max(last_line);
        }
        self.last_line = last_line;
        self.end();
        self.text = rest;
        self.first_line = first_line;
        self.last_line = last;
    }

    fn end(&mut self) {
        self.cut = None;
        let text = std::mem::take(&mut self.text);
        let text = text.trim_end();
        if text.trim().is_empty() {
            return;
        }
        let heading = self.headings.iter().map(|(_, words)| words.as_str()).collect::<Vec<_>>().join(" › ");
        self.chunks.push(Chunk { heading, first_line: self.first_line, last_line: self.last_line, text: text.to_owned() });
    }

    fn follow_fence(&mut self, line: &str) {
        let line = line.trim_start();
        let marks = |mark: char| line.chars().take_while(|character| *character == mark).count();
        match &self.fence {
            Some(opened) if line.starts_with(opened.as_str()) && line.trim_end().chars().all(|each| opened.starts_with(each)) => {
                self.fence = None;
            }
            Some(_) => {}
            None => {
                self.fence = ['`', '~'].into_iter().find(|mark| marks(*mark) >= 3).map(|mark| mark.to_string().repeat(marks(mark)));
            }
        }
    }
}

fn heading(line: &str) -> Option<(usize, &str)> {
    let level = line.bytes().take_while(|byte| *byte == b'#').count();
    let words = line.get(level..)?;
    let is_heading = (1..=6).contains(&level) && (words.is_empty() || words.starts_with([' ', '\t']));
    is_heading.then(|| (level, words.trim().trim_end_matches('#').trim_end()))
}

/// A line in pieces of at most [`MAX_CHUNK`] bytes.
fn pieces(line: &str) -> impl Iterator<Item = &str> {
    let mut rest = line;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (piece, after) = rest.split_at(rest.floor_char_boundary(MAX_CHUNK));
        rest = after;
        Some(piece)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(document: &str) -> Vec<(String, usize, usize, String)> {
        chunks(document).into_iter().map(|chunk| (chunk.heading, chunk.first_line, chunk.last_line, chunk.text)).collect()
    }

    #[test]
    fn what_a_cut_leaves_is_cut_again_beside_a_long_line() {
        let document = format!("{}\n\n{}\n{}\n", "a".repeat(500), "b".repeat(300), "c".repeat(MAX_CHUNK));
        assert_eq!(chunks(&document).iter().map(|chunk| chunk.text.len()).collect::<Vec<_>>(), [500, 300, MAX_CHUNK]);
    }

    #[test]
    fn sections_keep_their_headings_and_lines() {
        let document = "---\ntitle: x\n---\n# Guide\n\nFirst.\nSecond.\n\n## Retry\n\n```sh\n# no heading\n```\n## Empty\n# Other #\nLast.";
        let text = |text: &str| text.to_owned();
        assert_eq!(
            shown(document),
            [
                (text("Guide"), 6, 7, text("First.\nSecond.")),
                (text("Guide › Retry"), 11, 13, text("```sh\n# no heading\n```")),
                (text("Other"), 16, 16, text("Last.")),
            ]
        );
    }

    #[test]
    fn a_long_section_is_cut_at_an_empty_line() {
        let paragraph = "word ".repeat(160);
        let cut = shown(&format!("# A\n{paragraph}\n\n{paragraph}\nmore\n\n{paragraph}\n"));
        let lines: Vec<_> = cut.iter().map(|(_, first, last, _)| (*first, *last)).collect();
        assert_eq!(lines, [(2, 2), (4, 5), (7, 7)]);
    }

    proptest! {
        #[test]
        fn every_line_with_words_is_in_a_chunk_that_says_so(document in "([#`~ ]{0,4}[a-zé]{0,9}\n{0,2}){0,40}", long in 0_usize..5_000) {
            let document = format!("{document}\n{}\nend", "x".repeat(long));
            let lines: Vec<&str> = document.lines().collect();
            for chunk in chunks(&document) {
                prop_assert!(chunk.text.len() <= MAX_CHUNK + 1);
                prop_assert!(1 <= chunk.first_line && chunk.first_line <= chunk.last_line && chunk.last_line <= lines.len());
                let within = lines[chunk.first_line - 1..chunk.last_line].join("\n");
                for line in chunk.text.lines() {
                    prop_assert!(within.contains(line), "{:?} is not in lines {}-{}", line, chunk.first_line, chunk.last_line);
                }
            }
        }
    }
}
