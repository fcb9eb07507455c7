//! What people get wrong in YAML and the parser meets only later, or takes for something else: a colon that is missing in a line before, and what is
//! wrong within or behind quotes.

use super::SourceFile;
use super::tree::Span;

/// A mistake in words of ours: where it stands, what it is, and the way out.
pub(super) type Slip = (Span, String, String);

/// A line whose key has no colon, or no space behind it. The parser finds it where a later line begins. With `sure` nothing else can be wrong; else
/// the line has to be `key value` and stand exactly above the one in which the parser stopped.
pub(super) fn missing_colon(file: &SourceFile, at: usize, sure: bool) -> Option<Slip> {
    let ends = file.characters.iter().skip(at).all(|character| character.is_whitespace());
    let found = file.line_of(at.min(file.characters.len()));
    let candidates = if ends && sure { found + 1 } else { found };
    let (line, begin) = (0..candidates).rev().find_map(|line| {
        let begin = content_begin(file.line_text(line));
        let first = file.line_text(line).get(begin)?;
        (*first != '#').then_some((line, begin))
    })?;
    if !sure && begin != content_begin(file.line_text(found)) {
        return None;
    }
    let written: String = file.line_text(line).get(begin..)?.iter().collect();
    let text = written.split(" #").next().unwrap_or_default().trim_end();
    let start = file.lines.get(line)? + begin;
    let span = Span { start, end: start + text.chars().count() };
    let (word, rest) = text.split_once(' ').map_or((text, ""), |(word, rest)| (word, rest.trim_start()));
    if let Some((key, value)) = word.split_once(':').filter(|(key, value)| is_key(key) && !value.is_empty()) {
        let rest = if rest.is_empty() { String::new() } else { format!(" {rest}") };
        return Some((span, format!("a space is missing after `{key}:`"), format!("write `{key}: {value}{rest}`")));
    }
    if !is_key(word) || text.contains(": ") || text.ends_with(':') || (!sure && rest.is_empty()) {
        return None;
    }
    let help = match rest.split(' ').count() {
        _ if rest.is_empty() => format!("write `{word}:`"),
        1 => format!("write `{word}: {rest}`"),
        _ => format!("write `{word}: …`; a text that goes on from the line before is indented further than its key"),
    };
    Some((span, format!("a `:` is missing after `{word}`"), help))
}

/// Where a line's text begins, behind its indentation and the `- ` of lists.
fn content_begin(line: &[char]) -> usize {
    let mut at = 0;
    loop {
        at += line.iter().skip(at).take_while(|character| **character == ' ').count();
        match (line.get(at), line.get(at + 1)) {
            (Some('-'), Some(' ')) => at += 1,
            _ => return at,
        }
    }
}

fn is_key(word: &str) -> bool {
    word.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && word.chars().all(|character| character.is_ascii_alphanumeric() || matches!(character, '_' | '-' | '.'))
}

/// The first escape in `"…"` that means nothing. The quote opens at `start`.
pub(super) fn escape(file: &SourceFile, start: usize) -> Option<Slip> {
    let mut at = start + 1;
    loop {
        match file.characters.get(at)? {
            '"' => return None,
            '\\' => {}
            _ => {
                at += 1;
                continue;
            }
        }
        let kind = *file.characters.get(at + 1)?;
        let digits = match kind {
            'x' => 2,
            'u' => 4,
            'U' => 8,
            _ if "0abtnvfre \"/\\N_LP\t\n\r".contains(kind) => 0,
            _ => {
                let message = format!("`\\{kind}` means nothing in \"…\"");
                return Some((
                    Span { start: at, end: at + 2 },
                    message,
                    "write \\\\ for a backslash, or the text in '…', where \\ is itself".to_owned(),
                ));
            }
        };
        let written: String = file.characters.iter().skip(at + 2).take(digits).take_while(|digit| digit.is_ascii_hexdigit()).collect();
        let span = Span { start: at, end: at + 2 + written.len() };
        let help = || "write \\\\ for a backslash, or the text in '…', where \\ is itself".to_owned();
        if written.len() < digits {
            return Some((span, format!("`\\{kind}` needs {digits} digits from 0 to f"), help()));
        }
        if digits > 0 && u32::from_str_radix(&written, 16).ok().and_then(char::from_u32).is_none() {
            return Some((span, format!("`\\{kind}{written}` is no character"), help()));
        }
        at += 2 + digits;
    }
}

/// Text behind a quote that is closed: `"a" b`. It begins at `at`.
pub(super) fn behind_quote(file: &SourceFile, at: usize, in_flow: bool) -> Slip {
    let quote =
        file.characters.get(..at.min(file.characters.len())).and_then(|before| before.iter().rev().find(|before| !before.is_whitespace()));
    let close = match (quote, in_flow) {
        (Some('\''), _) => "within '…' a quote is written twice: ''",
        (_, true) => "write the `,` that is missing before it, or all of the value in '…', where \" is itself",
        _ => "write all of the value in '…', where \" is itself, or without quotes around a part of it",
    };
    (Span { start: at, end: at + 1 }, "text stands behind a quote that is closed".to_owned(), close.to_owned())
}

/// The help for a value that begins with `*` or `&`: the value in quotes, if it is plain where it ends.
pub(super) fn quoted(file: &SourceFile, at: usize, in_flow: bool) -> String {
    let rest = file.characters.iter().skip(at).take_while(|character| **character != '\n');
    let value: String = rest.take_while(|character| !in_flow || !",]}".contains(**character)).collect();
    let value = value.trim_end();
    let before = at.checked_sub(1).and_then(|before| file.characters.get(before));
    let is_whole = before.is_none_or(|before| before.is_whitespace() || (in_flow && "[{,".contains(*before)));
    if is_whole && !value.contains(['\'', '#']) && (1..60).contains(&value.chars().count()) {
        format!("quote it if it is text: '{value}'")
    } else {
        "quote the whole value if it is text: '…'".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::SourceFile;

    /// The line, the text at the place, the message and the help of the only mistake.
    fn told(text: &str) -> (usize, String, String, String) {
        let file = SourceFile::new(Path::new("x.yaml"), text);
        let found = file.parse().1;
        assert_eq!(found.len(), 1, "{text}: {found:?}");
        let at = &found[0].place;
        let line = text.lines().nth(at.line - 1).unwrap_or_default();
        let here = line.chars().skip(at.column - 1).take(at.length).collect();
        (at.line, here, found[0].message.clone(), found[0].help.clone().unwrap_or_default())
    }

    #[test]
    fn a_missing_colon_is_told_in_its_own_line() {
        for (text, line, here, help) in [
            ("a: 1\ntrigger manual\nb: 2\n", 2, "trigger manual", "write `trigger: manual`"),
            ("a:\n  - run log\n    with: { b: c }\n", 2, "run log", "write `run: log`"),
            ("a:\n  - id: b\n    run log # why\n    with: { b: c }\n", 3, "run log", "write `run: log`"),
            ("pipeline p\ntrigger: manual\n", 1, "pipeline p", "write `pipeline: p`"),
            ("a:\n  - run: log\n    with\n      b: c\n", 3, "with", "write `with:`"),
            ("a: b\nsteps\n\n# why\n  - run: log\n", 2, "steps", "write `steps:`"),
            ("a: b\nfinally\n", 2, "finally", "write `finally:`"),
            ("a: b\nfinally", 2, "finally", "write `finally:`"),
            ("a: one\nand more text\nb: c\n", 2, "and more text", "write `and: …`; a text"),
        ] {
            let (found_line, found, message, found_help) = told(text);
            assert_eq!((found_line, found.as_str()), (line, here), "{text}: {message}");
            assert!(message.starts_with("a `:` is missing after `") && found_help.starts_with(help), "{text}: {message}, {found_help}");
        }
        let (line, here, message, help) = told("a: b\ntrigger:manual\nc: d\n");
        assert_eq!((line, here.as_str(), message.as_str()), (2, "trigger:manual", "a space is missing after `trigger:`"));
        assert_eq!(help, "write `trigger: manual`");
    }

    #[test]
    fn a_colon_too_many_is_not_taken_for_one_too_few() {
        for text in ["a: b: c\n", "a:\n  - one two\nb: c: d\n", "a:\n  - shared\n   b: c\n"] {
            let (_, _, message, _) = told(text);
            assert!(!message.contains("is missing"), "{text}: {message}");
        }
    }

    #[test]
    fn what_is_wrong_in_quotes_is_told_where_it_stands() {
        for (text, here, message, help) in [
            ("a: \"C:\\path\\docs\"\n", "\\p", "`\\p` means nothing", "write \\\\"),
            ("a: \"say \\d\"\n", "\\d", "`\\d` means nothing", "in '…'"),
            ("a: \"\\\\ \\x4\"\n", "\\x4", "needs 2 digits", "write \\\\"),
            ("a: \"\\ud800\"\n", "\\ud800", "is no character", "write \\\\"),
            ("a: \"b\" c\n", "c", "behind a quote that is closed", "in '…'"),
            ("a: 'it's'\n", "s", "behind a quote that is closed", "written twice"),
            ("a: { b: \"c\" d: 1 }\n", "d", "behind a quote that is closed", "`,`"),
            ("a: { b: [\"c\" \"d\"] }\n", "\"", "behind a quote that is closed", "`,`"),
        ] {
            let (_, found, found_message, found_help) = told(text);
            assert_eq!(found, here, "{text}: {found_message}");
            assert!(found_message.contains(message) && found_help.contains(help), "{text}: {found_message}, {found_help}");
        }
    }

    #[test]
    fn a_star_or_ampersand_of_no_name_is_told_as_what_yaml_takes_it_for() {
        for (text, message, help) in [
            ("a: *\n", "`*` begins an alias", "'*'"),
            ("a: { b: * }\n", "`*` begins an alias", "'*'"),
            ("a: [*, b]\n", "`*` begins an alias", "'*'"),
            ("a: { b }*\n", "`*` begins an alias", "the whole value"),
            ("a: & b\n", "`&` begins an anchor", "'& b'"),
        ] {
            let (_, found, found_message, found_help) = told(text);
            assert!(found == "*" || found == "&", "{text}: {found}");
            assert!(found_message.contains(message) && found_help.contains(help), "{text}: {found_message}, {found_help}");
        }
    }

    #[test]
    fn what_stands_too_deep_in_itself_is_told_so_however_it_is_written() {
        for (open, close) in [("[", "]"), ("{ a: ", "}"), ("- ", "")] {
            for depth in [65, 300, 5_000] {
                let text = format!("a:\n  {}1{}\n", open.repeat(depth), close.repeat(depth));
                let (_, _, message, _) = told(&text);
                assert!(message.contains("more than 64 deep"), "{depth} times {open}: {message}");
            }
        }
    }
}
