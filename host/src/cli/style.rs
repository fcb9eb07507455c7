//! Colours, where they are wanted.

use std::io::IsTerminal;

/// Whether and how text is coloured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Style(bool);

impl Style {
    /// Colours for a stream that is a terminal, unless `NO_COLOR` is set to anything or the terminal is dumb.
    pub(super) fn of(stream: &impl IsTerminal) -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|terminal| terminal == "dumb");
        Self(stream.is_terminal() && !refused && !dumb)
    }

    /// No colours.
    #[cfg(test)]
    pub(super) const PLAIN: Self = Self(false);

    pub(super) const fn is_coloured(self) -> bool {
        self.0
    }

    pub(super) fn bold(self, text: &str) -> String {
        self.wrap("1", text)
    }

    pub(super) fn dim(self, text: &str) -> String {
        self.wrap("2", text)
    }

    pub(super) fn red(self, text: &str) -> String {
        self.wrap("31", text)
    }

    pub(super) fn yellow(self, text: &str) -> String {
        self.wrap("33", text)
    }

    pub(super) fn green(self, text: &str) -> String {
        self.wrap("32", text)
    }

    fn wrap(self, code: &str, text: &str) -> String {
        if self.0 && !text.is_empty() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// How many columns the terminal behind the standard output has; `None` if it is none, or does not say, or takes no commands.
pub(super) fn terminal_width() -> Option<usize> {
    let dumb = std::env::var_os("TERM").is_some_and(|terminal| terminal == "dumb");
    let size = if dumb { None } else { terminal_size::terminal_size_of(std::io::stdout()) };
    size.map(|(width, _)| usize::from(width.0))
}

/// The text without what would command a terminal: answers come from documents and servers, which may hold anything.
pub(super) fn harmless(text: &str) -> String {
    let keep = |character: char| matches!(character, '\n' | '\t') || !character.is_control();
    text.chars().filter(|character| keep(*character)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_commands_a_terminal_is_left_out() {
        assert_eq!(harmless("a\x1b[2Jb\tc\n\u{9b}31m\r"), "a[2Jb\tc\n31m");
    }

    #[test]
    fn plain_text_stays_as_it_is() {
        assert_eq!(Style::PLAIN.red("no"), "no");
    }
}
