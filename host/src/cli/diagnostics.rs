//! Mistakes for people, for programs and for GitHub: the same list in three ways of writing.

use std::path::Path;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};
use serde_json::json;

use crate::model::diagnostic::{Diagnostic, Place, Severity};
use crate::plan::Sources;

/// For people: `error[E0203]: message`, the place, the line with a caret, and the way out. Ends with a line that counts them; empty for none.
pub fn text(diagnostics: &[Diagnostic], sources: &Sources, colour: bool) -> String {
    let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
    let mut shown = String::new();
    for diagnostic in sorted(diagnostics) {
        shown.push_str(&one(diagnostic, sources, &renderer));
        shown.push_str("\n\n");
    }
    shown.push_str(&count(diagnostics));
    shown
}

/// For programs: a JSON list of objects with `severity`, `code`, `message`, `file`, `line`, `column`, `length`, `label`, `related` and `help`.
pub fn json(diagnostics: &[Diagnostic], _: &Sources, _: bool) -> String {
    let place =
        |place: &Place| json!({ "file": place.file.to_string_lossy(), "line": place.line, "column": place.column, "length": place.length });
    let list: Vec<_> = sorted(diagnostics)
        .into_iter()
        .map(|diagnostic| {
            let related: Vec<_> = diagnostic
                .related
                .iter()
                .map(|(at, words)| {
                    let mut object = place(at);
                    object["message"] = json!(words);
                    object
                })
                .collect();
            let mut object = place(&diagnostic.place);
            object["severity"] = json!(diagnostic.severity);
            object["code"] = json!(diagnostic.code);
            object["message"] = json!(diagnostic.message);
            object["label"] = json!(diagnostic.label);
            object["related"] = json!(related);
            object["help"] = json!(diagnostic.help);
            object
        })
        .collect();
    let mut shown = serde_json::to_string_pretty(&list).unwrap_or_default();
    shown.push('\n');
    shown
}

/// For GitHub: one workflow command a line, which it shows beside the line of the file.
pub fn github(diagnostics: &[Diagnostic], _: &Sources, _: bool) -> String {
    let property = |text: &str| escaped(text).replace(':', "%3A").replace(',', "%2C");
    let mut shown = String::new();
    for diagnostic in sorted(diagnostics) {
        let command = match diagnostic.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let place = &diagnostic.place;
        let mut message = diagnostic.message.clone();
        if let Some(help) = &diagnostic.help {
            message.push_str("\nhelp: ");
            message.push_str(help);
        }
        let line = if place.line > 0 {
            format!(",line={},col={},endColumn={}", place.line, place.column, place.column + place.length)
        } else {
            String::new()
        };
        let file = property(&place.file.to_string_lossy());
        shown.push_str(&format!("::{command} file={file}{line},title={}::{}\n", property(diagnostic.code), escaped(&message)));
    }
    shown
}

fn escaped(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn sorted(diagnostics: &[Diagnostic]) -> Vec<&Diagnostic> {
    let mut sorted: Vec<&Diagnostic> = diagnostics.iter().collect();
    sorted.sort_by(|one, other| one.place.cmp(&other.place).then(one.code.cmp(other.code)));
    sorted
}

/// `2 errors, 1 warning`.
fn count(diagnostics: &[Diagnostic]) -> String {
    let count = |severity: Severity, word: &str| match diagnostics.iter().filter(|diagnostic| diagnostic.severity == severity).count() {
        0 => None,
        1 => Some(format!("1 {word}")),
        number => Some(format!("{number} {word}s")),
    };
    let parts: Vec<String> = [count(Severity::Error, "error"), count(Severity::Warning, "warning")].into_iter().flatten().collect();
    if parts.is_empty() { String::new() } else { format!("{}\n", parts.join(", ")) }
}

fn one(diagnostic: &Diagnostic, sources: &Sources, renderer: &Renderer) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let mut group = level.primary_title(diagnostic.message.as_str()).id(diagnostic.code).element_of(diagnostic, sources);
    for (place, words) in diagnostic.related.iter().filter(|(place, _)| place.file != diagnostic.place.file) {
        group = with_snippet(group, &[(place, Some(words.as_str()), AnnotationKind::Context)], sources);
    }
    let mut report = vec![group];
    if let Some(help) = &diagnostic.help {
        report.push(Group::with_title(Level::HELP.secondary_title(help.as_str())));
    }
    indented(renderer.render(&report))
}

/// A mistake of which no line is shown stands as far in as one with a line.
fn indented(rendered: String) -> String {
    let arrow = |line: &str| without_colours(line).starts_with("--> ");
    let Some(at) = rendered.lines().position(arrow) else { return rendered };
    let line = |(number, line): (usize, &str)| if number == at || number == at + 1 { format!(" {line}") } else { line.to_owned() };
    rendered.lines().enumerate().map(line).collect::<Vec<_>>().join("\n")
}

/// A line without the colours that it begins with.
fn without_colours(mut line: &str) -> &str {
    while let Some((_, rest)) = line.strip_prefix("\x1b[").and_then(|rest| rest.split_once('m')) {
        line = rest;
    }
    line
}

/// Puts a diagnostic's own place, and others of the same file, below its title.
trait ElementOf<'a> {
    fn element_of(self, diagnostic: &'a Diagnostic, sources: &'a Sources) -> Group<'a>;
}

impl<'a> ElementOf<'a> for annotate_snippets::Title<'a> {
    fn element_of(self, diagnostic: &'a Diagnostic, sources: &'a Sources) -> Group<'a> {
        let mut marks = vec![(&diagnostic.place, diagnostic.label.as_deref(), AnnotationKind::Primary)];
        let same = diagnostic.related.iter().filter(|(place, _)| place.file == diagnostic.place.file && place.line > 0);
        marks.extend(same.map(|(place, words)| (place, Some(words.as_str()), AnnotationKind::Context)));
        with_snippet(Group::with_title(self), &marks, sources)
    }
}

type Mark<'a> = (&'a Place, Option<&'a str>, AnnotationKind);

fn with_snippet<'a>(group: Group<'a>, marks: &[Mark<'a>], sources: &'a Sources) -> Group<'a> {
    let Some((first, ..)) = marks.first() else { return group };
    let path = first.file.to_string_lossy();
    let text = if first.line > 0 { sources.text(&first.file) } else { None };
    let Some(text) = text else {
        let origin = Origin::path(path);
        let origin = if first.line > 0 { origin.line(first.line).char_column(first.column) } else { origin };
        return group.element(origin);
    };
    let from = marks.iter().map(|(place, ..)| place.line).min().unwrap_or(1);
    let to = marks.iter().map(|(place, ..)| place.line).max().unwrap_or(from);
    let mut source = String::new();
    let mut spans = Vec::new();
    for (number, line) in text.lines().enumerate().skip(from - 1).take(to + 1 - from).map(|(index, line)| (index + 1, line)) {
        let here: Vec<&Mark<'a>> = marks.iter().filter(|(place, ..)| place.line == number).collect();
        let line = clean(line);
        for (place, words, kind) in here {
            let column = place.column.saturating_sub(1);
            let start = byte(&line, column);
            let end = byte(&line, column + place.length).max(start);
            spans.push((source.len() + start..source.len() + end, *words, *kind));
        }
        source.push_str(&line);
        source.push('\n');
    }
    if spans.is_empty() {
        return group.element(Origin::path(path).line(first.line).char_column(first.column));
    }
    let annotations = spans.into_iter().map(|(span, words, kind)| kind.span(span).label(words.map(str::to_owned)));
    group.element(Snippet::source(source).line_start(from).path(path).annotations(annotations.collect::<Vec<_>>()))
}

/// A line that can be shown: control characters would move a terminal's cursor.
fn clean(line: &str) -> String {
    line.chars().map(|character| if character.is_control() && character != '\t' { '\u{fffd}' } else { character }).collect()
}

fn byte(line: &str, character: usize) -> usize {
    line.char_indices().nth(character).map_or(line.len(), |(index, _)| index)
}

/// The file that is meant, for callers that show places without their lines.
pub fn place(place: &Place) -> String {
    let file: &Path = &place.file;
    if place.line == 0 { file.display().to_string() } else { format!("{}:{}:{}", file.display(), place.line, place.column) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(line: &str, column: usize, length: usize) -> String {
        let file = std::path::PathBuf::from("a.yaml");
        let mut sources = Sources::default();
        sources.insert(file.clone(), line);
        let place = Place { file, line: 1, column, length };
        text(&[Diagnostic::error("E0201", place, "this is wrong").with_help("write it right")], &sources, false)
    }

    #[test]
    fn a_mistake_is_shown_with_its_line_a_caret_and_the_way_out() {
        let expected =
            "error[E0201]: this is wrong\n --> a.yaml:1:4\n  |\n1 | a: bad # why\n  |    ^^^\n  |\nhelp: write it right\n\n1 error\n";
        assert_eq!(shown("a: bad # why\n", 4, 3), expected);
    }

    #[test]
    fn a_mistake_of_a_whole_file_stands_as_far_in_as_one_with_a_line() {
        let whole = Diagnostic::error("E0101", Place::whole("no.yaml"), "there is no file no.yaml");
        let sources = Sources::default();
        let expected = "error[E0101]: there is no file no.yaml\n --> no.yaml\n\n1 error\n";
        assert_eq!(text(std::slice::from_ref(&whole), &sources, false), expected);
        let whole = whole.with_help("check the spelling");
        let expected = "error[E0101]: there is no file no.yaml\n --> no.yaml\n  |\nhelp: check the spelling\n\n1 error\n";
        assert_eq!(text(std::slice::from_ref(&whole), &sources, false), expected);
        let coloured = text(&[whole], &sources, true);
        let bare: Vec<&str> = coloured.lines().map(|line| without_colours(line.trim_start())).collect();
        assert!(bare.iter().any(|line| line.starts_with("-->")), "{coloured:?}");
        assert!(coloured.lines().skip(1).take(2).all(|line| line.starts_with(' ')), "{coloured:?}");
    }

    #[test]
    fn tabs_wide_characters_and_places_beyond_the_line_do_no_harm() {
        assert!(shown("a:\t日本 bad", 7, 3).contains("a.yaml:1:7"));
        assert!(shown("a", 9, 9).contains("a.yaml:1"));
        assert!(shown("", 1, 1).contains("a.yaml:1"));
        assert!(!shown("a: \u{1b}[2Jbad", 4, 1).contains('\u{1b}'), "a file cannot clear the screen");
    }

    #[test]
    fn a_very_long_line_is_cut_round_the_place() {
        let line = format!("{}bad{}", "x".repeat(200_000), "y".repeat(200_000));
        let shown = shown(&line, 200_001, 3);
        assert!(shown.len() < 2_000, "{} bytes", shown.len());
        assert!(shown.contains("bad") && shown.contains("a.yaml:1:200001"), "{shown}");
    }

    #[test]
    fn programs_and_github_get_the_same() {
        let place = Place { file: "a,b.yaml".into(), line: 2, column: 3, length: 4 };
        let list = [Diagnostic::warning("W0401", place, "100% unused\nreally").with_help("take it out")];
        let github = github(&list, &Sources::default(), false);
        assert_eq!(github, "::warning file=a%2Cb.yaml,line=2,col=3,endColumn=7,title=W0401::100%25 unused%0Areally%0Ahelp: take it out\n");
        let json: serde_json::Value = serde_json::from_str(&json(&list, &Sources::default(), false)).expect("this is JSON");
        assert_eq!((&json[0]["line"], &json[0]["severity"], &json[0]["code"]), (&json!(2), &json!("warning"), &json!("W0401")));
    }
}
