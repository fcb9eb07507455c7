//! From an offset inside a scalar's value back to the file: quotes, escapes, folded lines and indentation lie between them.

use super::tree::{Scalar, Span, Style};

/// The span of `length` bytes at the byte `offset` of a scalar's value, as exactly as the way of writing allows.
pub(super) fn within(file: &[char], scalar: &Scalar, span: Span, offset: usize, length: usize) -> Span {
    let written = file.get(span.start..span.end.min(file.len())).unwrap_or_default();
    let before = characters(&scalar.text, offset);
    let through = characters(&scalar.text, offset.saturating_add(length.max(1)));
    let map = align(written, scalar);
    let Some(start) = map.get(before).or(map.last()).copied() else {
        return span;
    };
    let end = map.get(through.saturating_sub(1)).copied().filter(|last| *last >= start).map_or(start + 1, |last| last + 1);
    Span { start: span.start + start, end: span.start + end }
}

fn characters(text: &str, offset: usize) -> usize {
    text.char_indices().take_while(|(index, _)| *index < offset).count()
}

/// For each character of the value the character of the file that it came from. Shorter than the value where the two do not fit.
fn align(written: &[char], scalar: &Scalar) -> Vec<usize> {
    let block = matches!(scalar.style, Style::Literal | Style::Folded);
    // The parser lets a block scalar begin with its first line's text, so the first line shows no indentation: the others do.
    let indent = if block { block_indent(written) } else { 0 };
    let mut at = usize::from(matches!(scalar.style, Style::Single | Style::Double));
    let mut map = Vec::with_capacity(scalar.text.len());
    let mut after_break = false;
    for character in scalar.text.chars() {
        if after_break && block {
            at += written.iter().skip(at).take(indent).take_while(|space| **space == ' ').count();
        }
        after_break = false;
        if character == '\\' || !matches!(character, ' ' | '\t' | '\n') {
            while let Some(here) = written.get(at) {
                let line_ends = *here == '\\' && scalar.style == Style::Double && written.get(at + 1) == Some(&'\n');
                if line_ends {
                    at += 2;
                } else if here.is_whitespace() && *here != character {
                    at += 1;
                } else {
                    break;
                }
            }
        }
        let Some(here) = written.get(at) else { break };
        map.push(at);
        at += match (scalar.style, here) {
            (Style::Double, '\\') => match written.get(at + 1) {
                Some('x') => 4,
                Some('u') => 6,
                Some('U') => 10,
                _ => 2,
            },
            (Style::Single, '\'') => 2,
            _ => 1,
        };
        if *here == '\n' {
            after_break = true;
        } else if *here != character && here.is_whitespace() && character == ' ' {
            while written.get(at).is_some_and(|space| *space == ' ' || *space == '\t') {
                at += 1;
            }
        }
    }
    map
}

fn block_indent(written: &[char]) -> usize {
    let lines = written.split(|character| *character == '\n').skip(1);
    lines
        .filter(|line| line.iter().any(|character| !character.is_whitespace()))
        .map(|line| line.iter().take_while(|character| **character == ' ').count())
        .min()
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::SourceFile;

    /// The text of the file at which the value's `needle` is said to stand.
    fn found(yaml: &str, needle: &str) -> String {
        let file = SourceFile::new(Path::new("x.yaml"), yaml);
        let node = file.parse().0.expect("this is YAML");
        let value = node.get("a").expect("there is an a");
        let scalar = value.scalar().expect("it is a scalar");
        let offset = scalar.text.find(needle).expect("the value holds it");
        let span = file.within(scalar, value.span, offset, needle.len());
        yaml.chars().skip(span.start).take(span.end - span.start).collect()
    }

    #[test]
    fn offsets_lead_back_to_the_file_in_every_way_of_writing() {
        for yaml in [
            "a: one two needle x",
            "a: 'it''s é needle'",
            "a: \"tab\\t \\u00e9 \\\"needle\\\"\"",
            "a: one\n  two\n  needle x\n",
            "a: |\n  one\n    two\n  needle\n",
            "a: >-\n  one\n  two\n\n  needle\n",
            "a: \"one\n  two needle\"",
        ] {
            assert_eq!(found(yaml, "needle"), "needle", "in {yaml:?}");
        }
    }
}
