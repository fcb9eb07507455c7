//! Comments that hold `${`: an expression that was switched off, or text that a ` #` cut short without a word.

use super::SourceFile;
use super::tree::{Content, Node, Style};
use crate::model::diagnostic::Diagnostic;
use crate::plan::codes;
use crate::plan::source::Span;

/// The warnings for one file.
pub(super) fn check(file: &SourceFile, root: &Node) -> Vec<Diagnostic> {
    // Hints where there is none at all are looked for first: most files have no such comment.
    if !file.text.contains('#') || !file.text.contains("${") {
        return Vec::new();
    }
    let mut found = Vec::new();
    each(file, root, &mut |comment, text, before| {
        if text.contains("${") {
            found.push(warn(file, comment, text, before));
        }
    });
    found
}

impl SourceFile {
    /// The text of every comment, in their order, without white space at its end.
    pub(in crate::plan) fn comments(&self, root: &Node) -> Vec<String> {
        let mut comments = Vec::new();
        each(self, root, &mut |_, text, _| comments.push(text.trim_end().to_owned()));
        comments
    }
}

/// Takes a comment: its place, its text, and the scalar before it.
type Visit<'a> = dyn FnMut(Span, &str, Option<(Span, Style)>) + 'a;

/// Visits each comment with its place, its text, and the scalar before it.
fn each(file: &SourceFile, root: &Node, visit: &mut Visit<'_>) {
    let mut scalars = Vec::new();
    collect(root, &mut scalars);
    scalars.sort_unstable_by_key(|(span, _)| span.start);
    let mut next = 0;
    let mut at = 0;
    while let Some(character) = file.characters.get(at) {
        while scalars.get(next).is_some_and(|(span, _)| span.end <= at) {
            next += 1;
        }
        match scalars.get(next) {
            Some((span, _)) if span.start <= at => at = span.end.max(at + 1),
            _ if *character == '#' && (at == 0 || file.characters.get(at - 1).is_some_and(|before| before.is_whitespace())) => {
                let end = file
                    .characters
                    .iter()
                    .skip(at)
                    .position(|character| *character == '\n')
                    .map_or(file.characters.len(), |length| at + length);
                let comment: String = file.characters.get(at..end).unwrap_or_default().iter().collect();
                let before = next.checked_sub(1).and_then(|index| scalars.get(index)).map(|(span, style)| (*span, *style));
                visit(Span { start: at, end }, &comment, before);
                at = end.max(at + 1);
            }
            _ => at += 1,
        }
    }
}

fn warn(file: &SourceFile, comment: Span, text: &str, before: Option<(Span, Style)>) -> Diagnostic {
    let cut = before.filter(|(span, style)| {
        *style == Style::Plain && file.line_of(span.start) == file.line_of(comment.start) && !text.starts_with("# ")
    });
    match cut {
        Some((span, _)) => {
            let value: String = file.characters.get(span.start..span.end).unwrap_or_default().iter().collect();
            let whole = format!("{value} {}", text.trim_end()).replace('\'', "''");
            Diagnostic::warning(codes::CUT_VALUE, file.place(comment), format!("the value is `{value}` only: ` #` begins a comment"))
                .with_help(format!("quote the whole value: '{whole}'"))
        }
        None => Diagnostic::warning(codes::EXPRESSION_IN_COMMENT, file.place(comment), "this comment holds `${`, which does nothing there")
            .with_help("quote the value if ` #` was meant as text; otherwise leave the `${` out of the comment"),
    }
}

fn collect(node: &Node, scalars: &mut Vec<(Span, Style)>) {
    match &node.content {
        Content::Scalar(scalar) => scalars.push((node.span, scalar.style)),
        Content::List(items) => items.iter().for_each(|item| collect(item, scalars)),
        Content::Map(entries) => {
            for (key, value) in entries {
                scalars.push((key.span, Style::Double));
                collect(value, scalars);
            }
        }
    }
}
