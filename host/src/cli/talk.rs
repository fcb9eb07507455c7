//! Shows a conversation: at a terminal the words as they come, else one reply a line.

use std::io::{self, Write};

use super::notice;
use super::style::{Style, harmless};
use super::typed::Typed;
use super::wrap::Wrap;
use crate::model::activation::{RunEnd, RunOutcome};
use crate::model::failure::Failure;
use crate::model::id::RunId;
use crate::model::job::CancelReason;
use crate::model::value::{Tree, Value};
use crate::trigger::stdin::Said;

/// Where a message is asked for.
const PROMPT: &str = "> ";

/// How a conversation is shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Manner {
    /// At a terminal: tokens as they come, then what else the reply says.
    Words {
        /// Whether a message is asked for.
        prompt: bool,
    },
    /// One reply a line, as JSON.
    Lines,
}

/// Shows what is said: answers on `out`, what is said about them on `aside`.
pub(super) struct Talk<Out, Aside> {
    out: Out,
    aside: Aside,
    manner: Manner,
    style: Style,
    /// Whether something stands on the terminal's line, so that the next thing needs a line of its own.
    mid_line: bool,
    /// Whether that something is the prompt.
    asked: bool,
    /// Whether tokens of this answer were shown, so that its text need not be.
    streamed: bool,
    /// The error that this reply told, so that the end need not tell it again.
    told_error: Option<String>,
    failed: bool,
    /// How wide the terminal is: asked anew for each answer, because people pull at its corners.
    width: fn() -> Option<usize>,
    wrap: Wrap,
    /// Whether there is one message only, so that its number says nothing.
    single: bool,
    /// How commands are typed that it names, if that is known.
    typed: Option<Typed>,
}

impl<Out: Write, Aside: Write> Talk<Out, Aside> {
    pub(super) fn new(out: Out, aside: Aside, manner: Manner, style: Style) -> Self {
        let told_error = None;
        let (width, wrap): (fn() -> Option<usize>, _) = (|| None, Wrap::default());
        Self {
            out,
            aside,
            manner,
            style,
            mid_line: false,
            asked: false,
            streamed: false,
            told_error,
            failed: false,
            width,
            wrap,
            single: false,
            typed: None,
        }
    }

    /// The same, broken between words at the edge of a terminal that is so wide.
    pub(super) fn fitted_to(self, width: fn() -> Option<usize>) -> Self {
        Self { width, ..self }
    }

    /// The same, with the commands that it names as they are typed here.
    pub(super) fn typing(self, typed: Typed) -> Self {
        Self { typed: Some(typed), ..self }
    }

    /// The same for one message, which is not called by its number.
    pub(super) fn for_one(self) -> Self {
        Self { single: true, ..self }
    }

    /// Whether a line was not taken, or a run did not succeed.
    pub(super) const fn has_failed(&self) -> bool {
        self.failed
    }

    /// Whether an answer is being written, so that nothing should come between.
    pub(super) const fn is_busy(&self) -> bool {
        self.mid_line && !self.asked
    }

    /// Shows one thing.
    ///
    /// # Errors
    /// The output cannot be written; a broken pipe means that nobody reads any more.
    pub(super) fn show(&mut self, said: Said) -> io::Result<()> {
        match said {
            Said::Ready => self.ask(),
            Said::Tokens(tokens) => self.tokens(&tokens),
            Said::Reply(reply) => self.reply(&reply),
            Said::Ended { line, end } => self.end(line, &end),
            Said::Left(run) => self.left(run),
            Said::NotTaken { line, refusal } => self.mistake(&self.on_line("not taken", line, &refusal.to_string())),
            Said::NotStarted { line, failure } => self.mistake(&self.on_line("not started", line, &failure.message)),
            Said::Dropped { line } => self.mistake(&self.on_line("dropped", line, "too many messages are under way")),
            Said::Over => self.own_line(),
        }
    }

    /// A line was entered at the prompt: whoever typed it has ended its line, and nothing is asked until it is answered.
    pub(super) const fn entered(&mut self) {
        if self.asked {
            (self.asked, self.mid_line) = (false, false);
        }
    }

    /// Says something on a line of its own, and asks again if it was asked.
    pub(super) fn beside(&mut self, text: &str) -> io::Result<()> {
        let asked = self.asked;
        if asked {
            // Over the prompt: what was typed so far stays with the terminal and counts.
            self.out.write_all(b"\r\x1b[K")?;
            self.out.flush()?;
            (self.mid_line, self.asked) = (false, false);
        }
        self.own_line()?;
        self.aside.write_all(text.trim_end_matches('\n').as_bytes())?;
        self.aside.write_all(b"\n")?;
        self.aside.flush()?;
        if asked { self.ask() } else { Ok(()) }
    }

    fn ask(&mut self) -> io::Result<()> {
        if self.manner != (Manner::Words { prompt: true }) {
            return Ok(());
        }
        self.own_line()?;
        write!(self.out, "{}", self.style.bold(PROMPT))?;
        (self.mid_line, self.asked) = (true, true);
        self.out.flush()
    }

    fn tokens(&mut self, tokens: &str) -> io::Result<()> {
        if self.manner == Manner::Lines {
            return Ok(());
        }
        let tokens = harmless(tokens);
        self.entered();
        if !self.mid_line {
            self.wrap = Wrap::new((self.width)());
        }
        let tokens = self.wrap.feed(&tokens);
        self.out.write_all(tokens.as_bytes())?;
        self.streamed = true;
        if !tokens.is_empty() {
            self.mid_line = !tokens.ends_with('\n');
        }
        self.out.flush()
    }

    fn reply(&mut self, reply: &Value) -> io::Result<()> {
        if self.manner == Manner::Lines {
            writeln!(self.out, "{}", reply.text())?;
            return self.out.flush();
        }
        self.entered();
        match reply.tree() {
            Tree::Map(fields) => {
                if let Some(text) = fields.get("text").filter(|_| !self.streamed) {
                    writeln!(self.out, "{}", self.wrapped(&readable(text)))?;
                }
                self.told_error = fields.get("error").and_then(Tree::as_text).map(str::to_owned);
                for (name, field) in fields.iter().filter(|(name, field)| *name != "text" && **field != Tree::Null) {
                    self.own_line()?;
                    let line = self.wrapped(&format!("{name}: {}", readable(field)));
                    let line = if name == "error" { self.style.red(&line) } else { self.style.dim(&line) };
                    writeln!(self.out, "{line}")?;
                }
            }
            other => {
                self.own_line()?;
                writeln!(self.out, "{}", self.wrapped(&readable(other)))?;
            }
        }
        self.out.flush()
    }

    /// The final fragment, whatever came before.
    fn end(&mut self, line: u64, end: &RunEnd) -> io::Result<()> {
        let told_error = self.told_error.take();
        self.streamed = false;
        let words = self.manner != Manner::Lines;
        match &end.outcome {
            RunOutcome::Succeeded if words && end.degraded => {
                self.own_line()?;
                writeln!(self.out, "{}", self.style.dim("(not the real answer: a fallback stood in)"))?;
            }
            RunOutcome::Succeeded => {}
            RunOutcome::Cancelled { reason } => {
                self.failed = true;
                let text = match reason {
                    CancelReason::Replaced => "cancelled: a newer message took its place",
                    CancelReason::Shutdown => "cancelled: pipehost is ending",
                    CancelReason::Requested | CancelReason::Sibling | CancelReason::Parent => "cancelled",
                    CancelReason::Event => "cancelled: an event called it off",
                };
                if words {
                    self.cut_off(text)?;
                } else {
                    self.mistake(&self.of_line(line, &format!("run {}: {text}", end.run)))?;
                }
            }
            RunOutcome::Failed { failure } | RunOutcome::TimedOut { failure } => {
                self.failed = true;
                if !words || told_error.as_deref() != Some(&failure.message) {
                    self.mistake(&self.of_line(line, &failed(failure)))?;
                }
            }
            RunOutcome::Parked { because, left } => {
                self.failed = true;
                match because.failure() {
                    Some(failure) => self.mistake(&self.of_line(line, &failed(failure)))?,
                    None if words => self.cut_off("cancelled")?,
                    None => {}
                }
                let what = format!("run {} {}; {}", end.run, notice::parked(left), notice::resumes(end.run));
                let what = self.typed.as_ref().map_or_else(|| what.clone(), |typed| typed.text(&what).into_owned());
                self.mistake(&self.of_line(line, &what))?;
            }
        }
        if words {
            self.own_line()?;
            // A blank line between an answer and the next prompt.
            writeln!(self.out)?;
        }
        self.out.flush()
    }

    /// Ends the line on which an answer came, or on which somebody pressed Ctrl-C.
    fn cut_off(&mut self, text: &str) -> io::Result<()> {
        let gap = if self.mid_line { " " } else { "" };
        writeln!(self.out, "{gap}{}", self.style.yellow(text))?;
        self.mid_line = false;
        Ok(())
    }

    /// The run goes on without anybody here: the answer does not come any more, but what it does is not lost.
    fn left(&mut self, run: RunId) -> io::Result<()> {
        self.failed = true;
        (self.told_error, self.streamed) = (None, false);
        if self.manner == Manner::Lines {
            return self.mistake(&format!("run {run}: pipehost is ending; the run goes on when it starts again"));
        }
        self.entered();
        self.cut_off("pipehost is ending; this goes on when it starts again")?;
        writeln!(self.out)?;
        self.out.flush()
    }

    fn mistake(&mut self, text: &str) -> io::Result<()> {
        self.failed = true;
        self.entered();
        self.own_line()?;
        writeln!(self.aside, "{}", self.style.red(&harmless(text)))?;
        self.aside.flush()
    }

    fn on_line(&self, what: &str, line: u64, why: &str) -> String {
        match self.manner {
            Manner::Words { prompt: true } => format!("{what}: {why}"),
            _ if self.single => format!("{what}: {why}"),
            _ => format!("line {line} {what}: {why}"),
        }
    }

    /// What came of a line: which one it was can be seen only where somebody types.
    fn of_line(&self, line: u64, text: &str) -> String {
        match self.manner {
            Manner::Words { prompt: true } => text.to_owned(),
            _ if self.single => text.to_owned(),
            _ => format!("line {line}: {text}"),
        }
    }

    fn wrapped(&self, text: &str) -> String {
        Wrap::new((self.width)()).feed(text)
    }

    fn own_line(&mut self) -> io::Result<()> {
        self.asked = false;
        if std::mem::take(&mut self.mid_line) {
            writeln!(self.out)?;
            self.out.flush()?;
        }
        Ok(())
    }
}

/// `error in step answer: the server answered 503 (transient)`.
fn failed(failure: &Failure) -> String {
    let step = failure.step.as_ref().map_or_else(String::new, |step| format!(" in step {step}"));
    format!("error{step}: {} ({})", failure.message, failure.kind)
}

fn readable(tree: &Tree) -> String {
    match tree {
        Tree::Text(text) => harmless(text),
        other => harmless(&serde_json::to_string(other).unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests;
