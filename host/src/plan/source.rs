//! Reads pipeline files and makes trees of them in which every key and value knows its place. The only room that knows YAML crates.

mod agree;
mod comments;
mod layout;
pub(in crate::plan) mod other;
mod parse;
mod position;
mod slip;
mod tree;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(in crate::plan) use tree::{Content, Key, Node, Scalar, Span, Style};

use super::codes;
use crate::files::{Files, Found};
use crate::model::diagnostic::{Diagnostic, Place};

/// The largest file that is read, in bytes. A pipeline is written by people; more than this is a mistake in the file's name.
pub(in crate::plan) const LARGEST_FILE: u64 = 4 << 20;

/// The texts of all files that were read, for showing mistakes in them.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    texts: BTreeMap<PathBuf, Arc<str>>,
}

impl Sources {
    /// The text of a file that was read; `None` for one that could not be.
    pub fn text(&self, file: &Path) -> Option<&str> {
        self.texts.get(file).map(|text| &**text)
    }

    /// Adds a text, as that of a script which a mistake was found in.
    pub fn insert(&mut self, file: PathBuf, text: impl Into<Arc<str>>) {
        self.texts.insert(file, text.into());
    }
}

/// One file with a table of its characters and lines.
#[derive(Debug)]
pub(in crate::plan) struct SourceFile {
    /// As the user named it.
    pub(in crate::plan) path: PathBuf,
    /// Its text without a byte order mark.
    pub(in crate::plan) text: Arc<str>,
    characters: Vec<char>,
    /// The number of the first character of each line.
    lines: Vec<usize>,
}

impl SourceFile {
    /// Reads a file from the disk.
    ///
    /// # Errors
    /// What hinders it: it is missing, a folder, too large, or no UTF-8.
    pub(in crate::plan) fn read(path: &Path) -> Result<Self, Box<Diagnostic>> {
        Self::read_from(&Files::Disk, path)
    }

    /// Reads a file from there.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub(in crate::plan) fn read_from(files: &Files, path: &Path) -> Result<Self, Box<Diagnostic>> {
        let refuse = |code, message: String, help: &str| Box::new(Diagnostic::error(code, Place::whole(path), message).with_help(help));
        let data_elsewhere = "is this the right file? documents and data belong beside the pipeline, not in it";
        let shown = path.display();
        let found = files.look(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => refuse(
                codes::UNREADABLE,
                format!("there is no file {shown}"),
                "check the spelling; the path is relative to the folder that you are in",
            ),
            _ => refuse(codes::UNREADABLE, format!("{shown} cannot be read: {error}"), "check who may read it"),
        })?;
        if found == Found::Folder {
            return Err(refuse(
                codes::UNREADABLE,
                format!("{shown} is a folder, not a file"),
                "name the pipeline files in it, as a shell's *.yaml does",
            ));
        }
        if let Found::File(size) = found
            && size > LARGEST_FILE
        {
            let message = format!("{shown} has {size} bytes; a pipeline file may have {LARGEST_FILE}");
            return Err(refuse(codes::TOO_LARGE, message, data_elsewhere));
        }
        let bytes = files
            .read(path, LARGEST_FILE)
            .map_err(|error| refuse(codes::UNREADABLE, format!("{shown} cannot be read: {error}"), "check who may read it"))?;
        if bytes.len() as u64 > LARGEST_FILE {
            let message = format!("{shown} has more than the {LARGEST_FILE} bytes that a pipeline file may have");
            return Err(refuse(codes::TOO_LARGE, message, data_elsewhere));
        }
        match std::str::from_utf8(&bytes) {
            Ok(text) => Ok(Self::new(path, text)),
            Err(error) => {
                let at = error.valid_up_to();
                let good = String::from_utf8_lossy(bytes.get(..at).unwrap_or_default()).into_owned();
                let line = good.matches('\n').count() + 1;
                let message = format!("{shown} is not UTF-8: the byte {at} (on line {line}) fits nowhere");
                Err(refuse(codes::NOT_UTF8, message, "save it as UTF-8, which every editor offers"))
            }
        }
    }

    /// A file that was read already.
    pub(in crate::plan) fn new(path: &Path, text: &str) -> Self {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let characters: Vec<char> = text.chars().collect();
        let mut lines = vec![0];
        lines.extend(characters.iter().enumerate().filter(|(_, character)| **character == '\n').map(|(index, _)| index + 1));
        Self { path: path.to_owned(), text: text.into(), characters, lines }
    }

    /// Its tree, with what was found on the way. No tree, if it has a syntax error.
    pub(in crate::plan) fn parse(&self) -> (Option<Node>, Vec<Diagnostic>) {
        let (node, mut found) = parse::parse(self);
        if let Some(node) = &node {
            found.extend(comments::check(self, node));
            if !found.iter().any(|diagnostic| diagnostic.severity == crate::model::diagnostic::Severity::Error) {
                found.extend(agree::check(self, node));
            }
        }
        (node, found)
    }

    /// Where a span is, in words for people. A span over several lines is cut to its first.
    pub(in crate::plan) fn place(&self, span: Span) -> Place {
        let start = span.start.min(self.characters.len());
        let line = self.line_of(start);
        let begin = self.lines.get(line).copied().unwrap_or_default();
        let end = self.lines.get(line + 1).map_or(self.characters.len(), |next| next - 1);
        let length = span.end.min(end).saturating_sub(start).max(1);
        Place { file: self.path.clone(), line: line + 1, column: start - begin + 1, length }
    }

    /// The span of so many characters at a byte offset of a scalar's value.
    pub(in crate::plan) fn within(&self, scalar: &Scalar, span: Span, offset: usize, length: usize) -> Span {
        position::within(&self.characters, scalar, span, offset, length)
    }

    fn line_of(&self, character: usize) -> usize {
        self.lines.partition_point(|begin| *begin <= character).saturating_sub(1)
    }

    fn line_text(&self, line: usize) -> &[char] {
        let begin = self.lines.get(line).copied().unwrap_or_default();
        let end = self.lines.get(line + 1).map_or(self.characters.len(), |next| next - 1);
        self.characters.get(begin..end).unwrap_or_default()
    }
}
