//! From YAML events to a tree, refusing what people write by mistake: tags, merge keys, doubled keys, unquoted braces.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError};

use super::SourceFile;
use super::slip::{self, Slip};
use super::tree::{Content, Key, Node, Scalar, Span, Style};
use crate::model::diagnostic::Diagnostic;
use crate::plan::codes;

/// How many values a file may have: far more than anybody writes.
const MOST_NODES: usize = 100_000;
/// How many of them may come of aliases: far less than a bomb of aliases makes. Each is a copy, which a small file could ask for very often.
const MOST_COPIES: usize = 10_000;
/// The keys of a map with more are found by their hashes.
const FEW_KEYS: usize = 16;
/// How deep lists and maps may stand in each other.
const DEEPEST: usize = 64;

/// A list or a map that is not at its end.
struct Open {
    node: Node,
    key: Option<Key>,
    anchor: usize,
    /// The places of a map's keys, once there are more than a few.
    places: HashMap<String, usize>,
}

struct Builder<'a> {
    file: &'a SourceFile,
    open: Vec<Open>,
    anchors: HashMap<usize, (Node, usize)>,
    nodes: usize,
    copies: usize,
    root: Option<Node>,
    found: Vec<Diagnostic>,
    documents: usize,
}

/// The tree of a file and what is wrong with it. A syntax error gives no tree and ends the reading.
pub(super) fn parse(file: &SourceFile) -> (Option<Node>, Vec<Diagnostic>) {
    let mut builder =
        Builder { file, open: Vec::new(), anchors: HashMap::new(), nodes: 0, copies: 0, root: None, found: Vec::new(), documents: 0 };
    for event in Parser::new_from_str(&file.text) {
        let stop = match event {
            Ok((event, span)) => builder.take(event, Span { start: span.start.index(), end: span.end.index() }),
            Err(error) => Err(Box::new(builder.syntax(&error))),
        };
        if let Err(diagnostic) = stop {
            builder.found.push(*diagnostic);
            return (None, builder.found);
        }
    }
    if builder.root.is_none() {
        let diagnostic = Diagnostic::error(codes::DOCUMENT, file.place(Span { start: 0, end: 1 }), "the file is empty")
            .with_help("begin it with `pipeline: NAME`, a `trigger` and `steps`");
        builder.found.push(diagnostic);
    }
    // What a tag, a merge key or an odd key hides would only be missed elsewhere: first things first.
    let hides = |found: &Diagnostic| matches!(found.code, codes::TAG | codes::MERGE | codes::KEY);
    let root = builder.root.filter(|_| !builder.found.iter().any(hides));
    (root, builder.found)
}

impl Builder<'_> {
    fn error(&self, code: &'static str, span: Span, message: impl Into<String>) -> Diagnostic {
        Diagnostic::error(code, self.file.place(span), message)
    }

    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Box<Diagnostic>> {
        match event {
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    let diagnostic = self.error(codes::DOCUMENT, span, "a second document begins here, and a file is one pipeline");
                    return Err(Box::new(diagnostic.with_help("put it into a file of its own")));
                }
            }
            Event::Scalar(text, style, anchor, tag) => {
                if let Some(tag) = tag {
                    let written = format!("{}{}", tag.handle, tag.suffix);
                    self.tag(&written, span);
                }
                let style = match style {
                    ScalarStyle::SingleQuoted => Style::Single,
                    ScalarStyle::DoubleQuoted => Style::Double,
                    ScalarStyle::Literal => Style::Literal,
                    ScalarStyle::Folded => Style::Folded,
                    ScalarStyle::Plain => Style::Plain,
                };
                let node = Node { span, content: Content::Scalar(Scalar::new(text.into_owned(), style)) };
                self.place(node, anchor, 1)?;
            }
            Event::SequenceStart(anchor, tag) => {
                if let Some(tag) = tag {
                    self.tag(&format!("{}{}", tag.handle, tag.suffix), span);
                }
                self.begin(Content::List(Vec::new()), span, anchor)?;
            }
            Event::MappingStart(anchor, tag) => {
                if let Some(tag) = tag {
                    self.tag(&format!("{}{}", tag.handle, tag.suffix), span);
                }
                self.begin(Content::Map(Vec::new()), span, anchor)?;
            }
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(Open { node, anchor, .. }) = self.open.pop() {
                    let size = if anchor > 0 { size(&node) } else { 0 };
                    self.place(node, anchor, size)?;
                }
            }
            Event::Alias(anchor) => match self.anchors.get(&anchor).map(|(_, size)| *size) {
                Some(size) => {
                    // Counted before it is copied.
                    self.count_copies(size, span)?;
                    if let Some((node, _)) = self.anchors.get(&anchor) {
                        let node = node.clone();
                        self.place(node, 0, 0)?;
                    }
                }
                None => {
                    let diagnostic = self.error(codes::ALIAS, span, "an alias stands within the value that it names");
                    return Err(Box::new(diagnostic.with_help("write the value out, or quote it if it is text")));
                }
            },
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
        }
        Ok(())
    }

    fn tag(&mut self, written: &str, span: Span) {
        let diagnostic = self
            .error(codes::TAG, span, format!("{written} is a YAML tag here, and tags are not used"))
            .with_help("quote the whole value: an expression that begins with `!` is written as '!x'");
        self.found.push(diagnostic);
    }

    fn begin(&mut self, content: Content, span: Span, anchor: usize) -> Result<(), Box<Diagnostic>> {
        self.count(1, span)?;
        if self.open.len() >= DEEPEST {
            return Err(Box::new(self.too_deep(span)));
        }
        // The braces make this a likely slip: `{ a: {x} }` is a map whose key is a map.
        let span = Span { start: span.start, end: span.start + 1 };
        self.open.push(Open { node: Node { span, content }, key: None, anchor, places: HashMap::new() });
        Ok(())
    }

    fn too_deep(&self, span: Span) -> Diagnostic {
        let message = format!("lists and maps stand more than {DEEPEST} deep in each other");
        self.error(codes::TOO_MANY, span, message).with_help("make the file flatter")
    }

    fn count(&mut self, more: usize, span: Span) -> Result<(), Box<Diagnostic>> {
        self.nodes = self.nodes.saturating_add(more);
        if self.nodes > MOST_NODES {
            let message = format!("the file has more than {MOST_NODES} values");
            return Err(Box::new(self.error(codes::TOO_MANY, span, message).with_help("make several pipelines of it")));
        }
        Ok(())
    }

    fn count_copies(&mut self, more: usize, span: Span) -> Result<(), Box<Diagnostic>> {
        self.copies = self.copies.saturating_add(more);
        if self.copies > MOST_COPIES {
            let message = format!("the aliases of the file stand for more than {MOST_COPIES} values");
            return Err(Box::new(
                self.error(codes::TOO_MANY, span, message).with_help("use fewer aliases (`*name`), above all aliases of aliases"),
            ));
        }
        self.count(more, span)
    }

    /// Puts a finished value where it belongs.
    fn place(&mut self, node: Node, anchor: usize, size: usize) -> Result<(), Box<Diagnostic>> {
        if size == 1 {
            self.count(1, node.span)?;
        }
        if anchor > 0 {
            self.anchors.insert(anchor, (node.clone(), size.max(1)));
        }
        let is_key = self.open.last().is_some_and(|open| matches!(open.node.content, Content::Map(_)) && open.key.is_none());
        let new_key = if is_key { Some(self.key(&node)?) } else { None };
        let Some(Open { node: parent, key, places, .. }) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        match &mut parent.content {
            Content::List(items) => items.push(node),
            Content::Map(entries) => match key.take() {
                Some(key) => {
                    if let Some(first) = find(entries, places, &key.name) {
                        let first = self.file.place(first);
                        let message = format!("the key `{}` stands twice in this map", key.name);
                        let diagnostic = Diagnostic::error(codes::DUPLICATE_KEY, self.file.place(key.span), message)
                            .with_related(first, "here it stands first")
                            .with_help("keep one of them");
                        self.found.push(diagnostic);
                    } else {
                        if entries.len() >= FEW_KEYS {
                            let known = places.len();
                            places.extend(entries.iter().enumerate().skip(known).map(|(at, (key, _))| (key.name.clone(), at)));
                        }
                        entries.push((key, node));
                    }
                }
                None => *key = new_key,
            },
            Content::Scalar(_) => {}
        }
        Ok(())
    }

    fn key(&mut self, node: &Node) -> Result<Key, Box<Diagnostic>> {
        let Some(scalar) = node.scalar() else {
            let diagnostic = self.error(codes::KEY, node.span, "a list or a map stands here as a key");
            return Err(Box::new(diagnostic.with_help("text with braces or brackets has to be quoted: '{…}'")));
        };
        if scalar.text == "<<" && scalar.style == Style::Plain {
            let diagnostic = self
                .error(codes::MERGE, node.span, "`<<` (YAML's merge key) is not used")
                .with_help("write the keys out, or give shared settings a name under `policies`");
            self.found.push(diagnostic);
        }
        if scalar.value.as_text().is_none() {
            let message = format!("a key is text, and `{}` is read as {}", scalar.text, scalar.value.kind());
            let diagnostic = self.error(codes::KEY, node.span, message).with_help(format!("quote it: '{}'", scalar.text));
            self.found.push(diagnostic);
        }
        Ok(Key { name: scalar.text.clone(), span: node.span })
    }

    /// A syntax error in our words: what people meant, not what the parser met.
    fn syntax(&self, error: &ScanError) -> Diagnostic {
        let at = error.marker().index();
        let here = |code, message: &str| self.error(code, Span { start: at, end: at + 1 }, message);
        let line = self.file.line_text(self.file.line_of(at.min(self.file.characters.len())));
        let in_flow = self.in_flow_map();
        let before = at.checked_sub(1).and_then(|index| self.file.characters.get(index));
        if let Some((span, message, help)) = self.slip(error.info(), at) {
            return self.error(codes::SYNTAX, span, message).with_help(help);
        }
        match (self.file.characters.get(at), before) {
            (Some('{'), Some('$')) if in_flow => {
                let start = at - 1;
                Diagnostic {
                    place: self.file.place(Span { start, end: start + 2 }),
                    ..here(codes::UNQUOTED, "`${` without quotes inside `{ … }`")
                }
                .with_help(quoted_help(line))
            }
            (Some('{' | '}'), _) if in_flow => here(codes::UNQUOTED, "a brace without quotes inside `{ … }`").with_help(quoted_help(line)),
            _ if error.info().contains("recursion limit") => self.too_deep(Span { start: at, end: at + 1 }),
            (Some('*'), _) if error.info().contains("anchor or alias") => here(
                codes::ALIAS,
                "`*` begins an alias in YAML, and no name follows",
            )
            .with_help(slip::quoted(self.file, at, self.is_in_flow(at))),
            _ if error.info().contains("unknown anchor") => {
                let start = at.saturating_sub(usize::from(self.file.characters.get(at) != Some(&'*')));
                Diagnostic {
                    place: self.file.place(Span { start, end: start + 1 }),
                    ..here(codes::ALIAS, "a value that begins with `*` is a YAML alias, and nothing has that name")
                }
                .with_help("quote the whole value if it is text, as in '*.md'")
            }
            _ if line.iter().take_while(|character| character.is_whitespace()).any(|character| *character == '\t') => {
                here(codes::SYNTAX, "a tab stands where the line is indented").with_help("indent with spaces; YAML takes no tabs there")
            }
            (Some(character @ ('@' | '`' | '%')), _) => {
                here(codes::SYNTAX, &format!("a value cannot begin with `{character}`")).with_help("quote the whole value")
            }
            _ if error.info().contains("indentation in quoted") => {
                here(codes::SYNTAX, "a quote that opens here is not closed, and what follows is not indented")
                    .with_help("close it, or indent the lines on which the text goes on; within '…' a quote is written twice: ''")
            }
            _ if error.info().contains("quoted scalar") => here(codes::SYNTAX, "a quote that opens here is never closed")
                .with_help("close it; within '…' a quote is written twice: ''"),
            _ if error.info().contains("mapping values are not allowed") => {
                here(codes::SYNTAX, "a `: ` that belongs to no key of this place")
                    .with_help("quote the value if it holds `: `; or check how far the line is indented")
            }
            _ if error.info().contains("flow") || self.innermost_flow().is_some() => {
                let diagnostic = match self.innermost_flow().or_else(|| self.opened_just_before(at)) {
                    // At its end a file shows nothing: what is wrong stands where it opens.
                    Some(open) if self.is_over(at) => self.error(
                        codes::SYNTAX,
                        open,
                        "a list `[ … ]` or map `{ … }` opens here and is never closed, or a `,` is missing in it",
                    ),
                    open => {
                        let diagnostic = here(codes::SYNTAX, "a list `[ … ]` or map `{ … }` is not closed, or a `,` is missing in it");
                        open.into_iter()
                            .fold(diagnostic, |diagnostic, open| diagnostic.with_related(self.file.place(open), "it opens here"))
                    }
                };
                diagnostic.with_help("check the commas and brackets; text with any of , [ ] { } has to be quoted there")
            }
            _ if error.info().contains("block") => here(codes::SYNTAX, "this line fits nowhere")
                .with_help("check how far it is indented, and whether a `-` or a `:` is missing"),
            _ if error.info().contains("tab") => here(codes::SYNTAX, "a tab stands where YAML takes none")
                .with_help("look for a tab here and at the beginning of the next line, and write spaces"),
            _ => here(codes::SYNTAX, &format!("this is not YAML: {}", error.info()))
                .with_help("check this line and the one before it; text with signs of YAML in it is written in '…'"),
        }
    }

    /// What is wrong if the parser does not say it, or only later.
    fn slip(&self, info: &str, at: usize) -> Option<Slip> {
        if info.contains("simple key expect") {
            return slip::missing_colon(self.file, at, true);
        }
        if info.contains("mapping values are not allowed") {
            return slip::missing_colon(self.file, at, false);
        }
        if info.contains("trailing content after") {
            return Some(slip::behind_quote(self.file, at, self.is_in_flow(at)));
        }
        if info.contains("parsing a quoted scalar") {
            return slip::escape(self.file, at);
        }
        let is_anchor = info.contains("anchor or alias") && self.file.characters.get(at) == Some(&'&');
        is_anchor.then(|| {
            let message = "`&` begins an anchor in YAML, and no name follows".to_owned();
            (Span { start: at, end: at + 1 }, message, slip::quoted(self.file, at, self.is_in_flow(at)))
        })
    }

    /// Where the innermost list or map with brackets opens that is not closed.
    fn innermost_flow(&self) -> Option<Span> {
        let open = self.open.last()?;
        let bracket = self.file.characters.get(open.node.span.start)?;
        matches!(bracket, '{' | '[').then_some(open.node.span)
    }

    /// A bracket right before, of which the parser has told nothing yet.
    fn opened_just_before(&self, at: usize) -> Option<Span> {
        let before = self.file.characters.get(..at.min(self.file.characters.len()))?;
        let last = before.iter().rposition(|character| !character.is_whitespace())?;
        matches!(before.get(last), Some('[' | '{')).then_some(Span { start: last, end: last + 1 })
    }

    /// Whether a list or map with brackets is open there.
    fn is_in_flow(&self, at: usize) -> bool {
        self.innermost_flow().is_some() || self.opened_just_before(at).is_some()
    }

    /// Whether nothing but white space follows.
    fn is_over(&self, at: usize) -> bool {
        self.file.characters.iter().skip(at).all(|character| character.is_whitespace())
    }

    fn in_flow_map(&self) -> bool {
        self.open
            .iter()
            .rev()
            .any(|open| matches!(open.node.content, Content::Map(_)) && self.file.characters.get(open.node.span.start) == Some(&'{'))
    }
}

/// The line as it should have been, if it is plain which value was meant; else the rule.
fn quoted_help(line: &[char]) -> String {
    let line: String = line.iter().collect();
    let value = line.find("${").or_else(|| line.rfind(": ").map(|colon| colon + 2)).and_then(|_| {
        let inner = line.find('{').map(|open| open + 1)?;
        let rest = line.get(inner..)?;
        let colon = rest.find(": ")? + 2;
        let value = rest.get(colon..)?.trim_end();
        let value = value.strip_suffix('}').unwrap_or(value).trim();
        (!value.is_empty() && !value.contains(',') && !value.contains('\'') && !value.contains(": ") && value.chars().count() < 60)
            .then(|| value.to_owned())
    });
    match value {
        Some(value) => format!("quote it: '{value}'"),
        None => "quote it: a value with `{` or `}` inside `{ … }` is written in '…'".to_owned(),
    }
}

/// Where a key stands in a map already. The last one or all of them are not among the places yet.
fn find(entries: &[(Key, Node)], places: &HashMap<String, usize>, name: &str) -> Option<Span> {
    let at = places.get(name).copied();
    let at = at.or_else(|| Some(places.len() + entries.get(places.len()..)?.iter().position(|(key, _)| key.name == name)?))?;
    entries.get(at).map(|(key, _)| key.span)
}

fn size(node: &Node) -> usize {
    match &node.content {
        Content::Scalar(_) => 1,
        Content::List(items) => 1 + items.iter().map(size).sum::<usize>(),
        Content::Map(entries) => 1 + entries.iter().map(|(_, value)| 1 + size(value)).sum::<usize>(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn found(text: &str) -> Vec<(usize, Option<usize>, String)> {
        let file = SourceFile::new(Path::new("x.yaml"), text);
        let related = |found: &Diagnostic| found.related.first().map(|(place, _)| place.line);
        parse(&file).1.into_iter().map(|found| (found.place.line, related(&found), found.message)).collect()
    }

    #[test]
    fn a_doubled_key_is_found_in_a_map_of_any_width() {
        for width in [1, 2, FEW_KEYS - 1, FEW_KEYS, FEW_KEYS + 1, 100] {
            let keys: String = (0..width).map(|key| format!("k{key}: 1\n")).collect();
            for doubled in [0, width / 2, width - 1] {
                let text = format!("{keys}k{doubled}: 2\nk{doubled}: 3\n");
                let message = || format!("the key `k{doubled}` stands twice in this map");
                let expected = [(width + 1, Some(doubled + 1), message()), (width + 2, Some(doubled + 1), message())];
                assert_eq!(found(&text), expected, "the key {doubled} of {width}");
            }
            assert_eq!(found(&keys), []);
        }
    }

    #[test]
    fn there_are_only_so_many_values_and_fewer_that_come_of_aliases() {
        let list = |values: usize| format!("a: [{}]\n", "1, ".repeat(values));
        assert_eq!(found(&list(MOST_NODES - 3)), []);
        let expected = [(1, None, "the file has more than 100000 values".to_owned())];
        assert_eq!(found(&list(MOST_NODES - 2)), expected);
        let copies = |aliases: usize| format!("a: &a [{}]\nb: [{}]\n", "1, ".repeat(99), "*a, ".repeat(aliases));
        assert_eq!(found(&copies(MOST_COPIES / 100)), []);
        let expected = [(2, None, "the aliases of the file stand for more than 10000 values".to_owned())];
        assert_eq!(found(&copies(MOST_COPIES / 100 + 1)), expected);
    }
}
