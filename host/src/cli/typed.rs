//! Commands that texts name, as they can be typed where they are read: with the program's name and the data folder that were used.
//!
//! Whoever names a command in a message knows neither; only here is both known.

use std::borrow::Cow;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::app::DATA_FOLDER;
use crate::model::failure::Failure;

/// The program's name in texts.
const PROGRAM: &str = "pipehost";

/// The commands that ask a data folder, with the words that follow them; none if nothing does.
const ASKING: [(&str, &[&str]); 6] = [
    ("send", &[]),
    ("signal", &[]),
    ("trace", &[]),
    ("runs", &["list", "show", "cancel", "resume", "retry", "migrate"]),
    ("dlq", &["list", "show", "replay", "drop"]),
    ("store", &["verify", "export", "backup", "accept-loss"]),
];
/// The others.
const OTHERS: [&str; 8] = ["run", "check", "test", "explain", "show", "fmt", "schema", "graph"];

/// How commands are typed here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Typed {
    program: String,
    /// The data folder, unless it is the one that is asked where none is named.
    data: Option<PathBuf>,
}

impl Typed {
    /// With the name by which this program was called, and this data folder.
    pub(super) fn here(data: &Path) -> Self {
        Self::new(std::env::args_os().next(), data)
    }

    fn new(called: Option<OsString>, data: &Path) -> Self {
        // A path from the root is no name to type again; a name without a folder was found by the shell.
        let called = called.map(PathBuf::from).filter(|called| called.is_relative() && called.components().count() > 1);
        let program = called.map_or_else(|| PROGRAM.to_owned(), |called| quoted(&called.display().to_string()));
        Self { program, data: (data != Path::new(DATA_FOLDER)).then(|| data.to_owned()) }
    }

    /// The command of these words, the first of which say which it is: `runs list`.
    pub(super) fn command(&self, words: &str) -> String {
        let data = self.data.as_ref().map_or_else(String::new, |data| format!(" --data {}", quoted(&data.display().to_string())));
        format!("{} {words}{data}", self.program)
    }

    /// The text with each command that it names as it is typed here.
    pub(super) fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut typed = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once(PROGRAM) {
            typed.push_str(before);
            let named = if before.ends_with(is_of_word) { None } else { named(after) };
            match named {
                Some((words, asks)) => {
                    let words = after.get(..words).unwrap_or_default();
                    let is_complete = after.get(words.len()..).is_some_and(|rest| rest.starts_with(" --data"));
                    match asks && !is_complete {
                        true => typed.push_str(&self.command(words.trim_start())),
                        false => typed.push_str(&format!("{}{words}", self.program)),
                    }
                    rest = after.get(words.len()..).unwrap_or_default();
                }
                None => {
                    typed.push_str(PROGRAM);
                    rest = after;
                }
            }
        }
        if rest.len() == text.len() {
            return Cow::Borrowed(text);
        }
        typed.push_str(rest);
        Cow::Owned(typed)
    }

    /// The failure with its message so, and those of what it came of.
    pub(super) fn failure(&self, failure: &Failure) -> Failure {
        failure.clone().with_texts(&|text| self.text(text).into_owned())
    }
}

/// How long the words of a command are that stand behind the program's name, and whether it asks a data folder; `None` if they are none.
fn named(after: &str) -> Option<(usize, bool)> {
    let (first, rest) = word(after)?;
    let end = after.len() - rest.len();
    let Some((_, next)) = ASKING.iter().find(|(name, _)| *name == first) else {
        return OTHERS.contains(&first).then_some((end, false));
    };
    if next.is_empty() {
        return Some((end, true));
    }
    let (second, rest) = word(rest)?;
    next.contains(&second).then_some((after.len() - rest.len(), true))
}

/// The next word, which follows one blank, and what is behind it.
fn word(text: &str) -> Option<(&str, &str)> {
    let text = text.strip_prefix(' ')?;
    let end = text.find(|character| !is_of_word(character)).unwrap_or(text.len());
    Some(text.split_at(end)).filter(|(word, _)| !word.is_empty())
}

fn is_of_word(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '-' | '_' | '/' | '.')
}

/// As a shell takes it as one word.
pub(super) fn quoted(text: &str) -> String {
    let plain = text.chars().all(is_of_word);
    if plain && !text.is_empty() { text.to_owned() } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(called: &str, data: &str) -> Typed {
        Typed::new(Some(called.into()), Path::new(data))
    }

    #[test]
    fn a_command_in_a_text_gets_the_data_folder_that_was_used() {
        let here = typed("pipehost", "pipelines/.pipehost");
        for (text, shown) in [
            ("see pipehost runs list", "see pipehost runs list --data pipelines/.pipehost"),
            ("`pipehost dlq drop 01a2` forgets it", "`pipehost dlq drop --data pipelines/.pipehost 01a2` forgets it"),
            (
                "pipehost runs show 01a2 tells how; pipehost runs resume 01a2 tries it again",
                "pipehost runs show --data pipelines/.pipehost 01a2 tells how; pipehost runs resume --data pipelines/.pipehost 01a2 tries it again",
            ),
            ("start one with pipehost run FILE", "start one with pipehost run FILE"),
            ("pipehost trace --data other 01a2", "pipehost trace --data other 01a2"),
        ] {
            assert_eq!(here.text(text), shown);
        }
    }

    #[test]
    fn what_is_no_command_stays_as_it_is() {
        let here = typed("./pipehost", "elsewhere");
        for text in ["pipehost is ending", "pipehost runs event-driven systems", "a/.pipehost runs list", "pipehost", "pipehost  send", ""]
        {
            assert_eq!(here.text(text), text);
        }
    }

    #[test]
    fn the_program_is_called_as_it_was_called() {
        assert_eq!(typed("target/release/pipehost", ".pipehost").text("see pipehost dlq list"), "see target/release/pipehost dlq list");
        assert_eq!(typed("/usr/bin/pipehost", ".pipehost").text("see pipehost dlq list"), "see pipehost dlq list");
        let spaced = typed("my tools/pipehost", "its data");
        assert_eq!(spaced.command("runs list"), "'my tools/pipehost' runs list --data 'its data'");
        assert_eq!(spaced.text("pipehost run FILE"), "'my tools/pipehost' run FILE");
    }

    #[test]
    fn what_a_shell_would_take_apart_is_quoted() {
        assert_eq!(quoted("a/.pipehost"), "a/.pipehost");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
    }
}
