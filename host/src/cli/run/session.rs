//! One session: start, banner, conversation, end. One task does all of it, so that nothing that is shown falls into something else.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;

use futures_util::FutureExt;

use super::beside::Beside;
use super::cannot_begin;
use super::host::Host;
use crate::app::{App, Entrance, JOURNAL_UNUSABLE, Left, Outcome, Settings, look};
use crate::cli::banner;
use crate::cli::exit::{Exit, after_writing, not_started, say};
use crate::cli::signals::{Signal, Signals};
use crate::cli::style::{Style, terminal_width};
use crate::cli::talk::{Manner, Talk};
use crate::cli::typed::Typed;
use crate::cli::{diagnostics, events, notice};
use crate::model::cancel::CancelSignal;
use crate::model::failure::{Failure, FailureKind};
use crate::model::port::StoreError;
use crate::model::value::Value;
use crate::plan::{codes, find};
use crate::telemetry::Detail;
use crate::trigger::stdin::{self as stdin, Conversation, Interrupted, Lines, Said};

/// What the standard streams are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Streams {
    pub(super) input_is_terminal: bool,
    pub(super) output_is_terminal: bool,
    pub(super) error_is_terminal: bool,
    pub(super) talks_on_error: bool,
}

impl Streams {
    const fn talk_is_terminal(self) -> bool {
        if self.talks_on_error { self.error_is_terminal } else { self.output_is_terminal }
    }

    const fn prompts(self) -> bool {
        self.input_is_terminal && self.talk_is_terminal() && self.error_is_terminal
    }

    fn talk_style(self) -> Style {
        if self.talks_on_error { Style::of(&io::stderr()) } else { Style::of(&io::stdout()) }
    }

    fn talk_output(self) -> Box<dyn Write> {
        if self.talks_on_error { Box::new(io::stderr()) } else { Box::new(io::stdout()) }
    }
}

pub(super) struct Session {
    pub(super) settings: Settings,
    pub(super) input: Option<Value>,
    pub(super) streams: Streams,
}

/// Who speaks to the terminal.
pub(super) type Voice = Talk<Box<dyn Write>, io::Stderr>;

/// Why the talk is over.
enum Over {
    /// Its input ended, and every answer was given.
    Done,
    /// Somebody ended it.
    Ended,
    /// Nobody reads any more, or cannot be written to.
    Unwritable(io::Error),
}

impl Session {
    pub(super) async fn run(self) -> Exit {
        let Self { settings, input, streams } = self;
        let mut signals = match Signals::start() {
            Ok(signals) => signals,
            Err(error) => return not_started(&cannot_begin(&error)),
        };
        // A file that is there and broken will be mended.
        let waits = streams.prompts() && input.is_none() && settings.watch && is_named_well(&settings.files);
        if !settings.files.iter().all(|file| file.exists()) {
            // Before anything is made: a mistyped name must not leave a data folder behind.
            return not_there(settings);
        }
        let typed = Typed::here(&settings.data_folder());
        let mut host = match App::after_the_last(settings).await {
            Ok(app) => Host::new(app),
            Err(failure) => return not_started(&typed.failure(&failure)),
        };
        for trouble in host.app.troubles() {
            let code = trouble.code.as_deref().unwrap_or("E0701");
            let word = if code.starts_with('W') { "warning" } else { "error" };
            say(&format!("{word}[{code}]: {}\n", typed.text(&trouble.message)));
        }
        let broken = host.app.broken();
        let gone = CancelSignal::new();
        let writer = match streams.talks_on_error {
            true => match events::start(host.app.subscribe(events::WAITING, Detail::Fine), gone.clone()) {
                Ok(writer) => Some(writer),
                Err(error) => return not_started(&cannot_begin(&error)),
            },
            false => None,
        };
        let mut beside = Beside::of(&host.app, typed.clone());
        let talk = async {
            match begin(&mut host.app, &mut beside, &mut signals, waits).await {
                Begun::Ready => converse(host, input, streams, &mut beside, &mut signals, &gone).await,
                Begun::Ended => end(host, &typed, &mut signals, Exit::Good).await,
                Begun::Refused => end(host, &typed, &mut signals, Exit::NotStarted).await,
            }
        };
        let exit = tokio::select! {
            biased;
            exit = talk => exit,
            // No orderly end: it would have to be written. What is under way goes on with the next start.
            failure = broken => {
                not_started(&typed.failure(&failure));
                Exit::Failed
            }
        };
        drop(beside);
        match writer.map(std::thread::JoinHandle::join) {
            Some(Ok(written)) => after_writing(written, exit),
            // The thread panicked, and the panic hook has told.
            Some(Err(_)) => Exit::Failed,
            None => exit,
        }
    }
}

/// Says which of the files that are named are not there, with all that is wrong with the others.
fn not_there(settings: Settings) -> Exit {
    let loaded = match look(&settings.files, settings.data, settings.environment) {
        Ok(loaded) => loaded,
        Err(failure) => return not_started(&failure),
    };
    let style = Style::of(&io::stderr());
    let shown = diagnostics::text(&loaded.diagnostics, &loaded.sources, style.is_coloured());
    say(&format!("{shown}{}\n", style.red("Nothing was started.")));
    Exit::NotStarted
}

/// Whether each file and folder is named once: what is named wrongly cannot be mended by saving.
fn is_named_well(given: &[PathBuf]) -> bool {
    find(given).diagnostics.iter().all(|diagnostic| diagnostic.code != codes::GIVEN_TWICE)
}

fn cannot_go_on(error: &StoreError) -> Failure {
    let message = format!("what the last host left behind cannot be taken up: {error}; see `pipehost store verify`");
    Failure::new(FailureKind::Permanent, message).with_code(JOURNAL_UNUSABLE)
}

/// How the start went.
enum Begun {
    Ready,
    Ended,
    Refused,
}

/// Starts, and waits for better files if that is wanted.
async fn begin(app: &mut App, beside: &mut Beside, signals: &mut Signals, waits: bool) -> Begun {
    let report = tokio::select! {
        report = app.start() => report,
        _ = signals.next() => return Begun::Ended,
        never = beside.listen() => match never {},
    };
    let Some(mut report) = report else { return Begun::Refused };
    loop {
        say(&beside.mistakes(&report));
        if report.outcome != Outcome::Refused {
            beside.started = true;
            // Where data may be lost it stays up, to be asked about it, and takes nothing.
            return match app.recovered() {
                Some(Err(error)) if !matches!(error, StoreError::Suspect(_)) => {
                    not_started(&beside.typed.failure(&cannot_go_on(&error)));
                    Begun::Refused
                }
                _ => Begun::Ready,
            };
        }
        if !waits {
            return Begun::Refused;
        }
        say(&format!(
            "{}\n",
            beside
                .style
                .bold("Waiting for a better version: mend the file and save it; variables are read anew at the next start. Ctrl-C ends.")
        ));
        report = tokio::select! {
            report = beside.report() => report,
            _ = signals.next() => return Begun::Ended,
        };
    }
}

async fn converse(
    mut host: Host,
    input: Option<Value>,
    streams: Streams,
    beside: &mut Beside,
    signals: &mut Signals,
    gone: &CancelSignal,
) -> Exit {
    let once = input.is_some();
    let typed = beside.typed.clone();
    let manner = if streams.talk_is_terminal() { Manner::Words { prompt: streams.prompts() && !once } } else { Manner::Lines };
    let mut talk: Voice = Talk::new(streams.talk_output(), io::stderr(), manner, streams.talk_style()).typing(typed.clone());
    if !streams.talks_on_error {
        talk = talk.fitted_to(terminal_width);
    }
    if once {
        talk = talk.for_one();
    }
    let conversation = match input {
        Some(input) => Some(Conversation::once(input, host.app.activate(), Box::new(host.app.target(Entrance::Once)))),
        None => match listen(&host.app, streams) {
            Ok(conversation) => conversation,
            Err(error) => return end(host, &typed, signals, not_started(&cannot_begin(&error))).await,
        },
    };
    beside.catch_up();
    if !once {
        #[cfg(unix)]
        host.open(&typed).await;
        let width = terminal_width().filter(|_| io::stderr().is_terminal());
        let ways = banner::Ways { sends: host.is_open(), typed: typed.clone(), last: how_to_leave(conversation.is_some(), streams), width };
        say(&banner::text(&host.app, &beside.indexed, beside.style, &ways));
    }
    // Before the first prompt and the first line. What cannot be said is found at the end.
    let _ = beside.say_all(&mut talk);
    let is_typed = streams.input_is_terminal && !once;
    let Some(mut conversation) = conversation else {
        let over = attend(&mut talk, beside, signals, gone).await;
        let exit = end(host, &typed, signals, Exit::Good).await;
        // What happened in the last moment; if it cannot be said, that was found already.
        let _ = beside.say_last(&mut talk);
        return after(over, exit);
    };
    let over = speak(&mut conversation, &mut talk, beside, signals, gone, is_typed).await;
    conversation.end_input();
    let over = match over {
        Over::Done => {
            // What the last runs emitted may have started others, and nobody asked for their end.
            let asked = quieten(&host.app, &mut talk, beside, signals).await;
            say(&stays(host.app.in_outbox()));
            finish(host, &mut conversation, &mut talk, beside, signals, asked).await
        }
        Over::Ended => finish(host, &mut conversation, &mut talk, beside, signals, true).await,
        Over::Unwritable(error) => {
            end(host, &typed, signals, Exit::Good).await;
            Err(error)
        }
    };
    match over {
        Ok(None) => {
            let answered = is_typed || !talk.has_failed();
            if answered { Exit::Good } else { Exit::Failed }
        }
        Ok(Some(forced)) => forced,
        Err(error) => after_writing(Err(error), Exit::Good),
    }
}

/// Reads lines, if a flow takes them.
fn listen(app: &App, streams: Streams) -> io::Result<Option<Conversation>> {
    let target = app.target(Entrance::Lines);
    if target().is_none() {
        return Ok(None);
    }
    let manner = if streams.input_is_terminal { stdin::Manner::Typed } else { stdin::Manner::Piped };
    let lines = Lines::start(io::stdin())?;
    Ok(Some(Conversation::new(lines, app.activate(), Box::new(target), manner)))
}

const fn how_to_leave(listens: bool, streams: Streams) -> &'static str {
    match (listens, streams.input_is_terminal) {
        (true, true) => "Type a message. Ctrl-C cancels an answer; at the prompt it ends pipehost, and so does Ctrl-D.",
        (true, false) => "Reading messages from standard input, one a line.",
        (false, _) => "No flow reads standard input. It stays until Ctrl-C or SIGTERM ends it.",
    }
}

/// Talks until it is over.
async fn speak(
    conversation: &mut Conversation,
    talk: &mut Voice,
    beside: &mut Beside,
    signals: &mut Signals,
    gone: &CancelSignal,
    typed: bool,
) -> Over {
    loop {
        let shown = tokio::select! {
            said = conversation.next() => match said {
                Said::Over => return Over::Done,
                said => {
                    let between = matches!(said, Said::Ready | Said::Ended { .. });
                    talk.show(said).and_then(|()| if between { beside.say_all(talk) } else { Ok(()) })
                }
            },
            () = beside.wait() => {
                if conversation.is_answering() {
                    talk.entered();
                }
                beside.say_if_quiet(talk)
            }
            signal = signals.next() => match signal {
                Signal::Interrupt if typed => match conversation.interrupt() {
                    Interrupted::Cancelled => Ok(()),
                    Interrupted::Nothing | Interrupted::Again => return Over::Ended,
                },
                Signal::Interrupt | Signal::End => return Over::Ended,
            },
            () = gone.cancelled() => return Over::Unwritable(io::ErrorKind::BrokenPipe.into()),
        };
        if let Err(error) = shown {
            return Over::Unwritable(error);
        }
    }
}

/// Says what happens until somebody ends it: for pipelines that nobody talks to.
async fn attend(talk: &mut Voice, beside: &mut Beside, signals: &mut Signals, gone: &CancelSignal) -> Over {
    loop {
        tokio::select! {
            () = beside.wait() => if let Err(error) = beside.say_all(talk) { return Over::Unwritable(error) },
            _ = signals.next() => return Over::Ended,
            () = gone.cancelled() => return Over::Unwritable(io::ErrorKind::BrokenPipe.into()),
        }
    }
}

/// Waits until nothing is under way any more, and says what happens meanwhile. Returns whether somebody asked for the end before.
async fn quieten(app: &App, talk: &mut Voice, beside: &mut Beside, signals: &mut Signals) -> bool {
    let quiet = app.quiet();
    tokio::pin!(quiet);
    loop {
        tokio::select! {
            () = &mut quiet => return false,
            _ = signals.next() => return true,
            // What cannot be said is found at the end.
            () = beside.wait() => drop(beside.say_if_quiet(talk)),
        }
    }
}

/// Stops everything while the ends of what was under way are still said. Once somebody has `asked` for the end, a further signal ends it by
/// force; where the input has ended, the first one only asks for what is done already: both come at once when a shell ends a whole pipe.
async fn finish(
    host: Host,
    conversation: &mut Conversation,
    talk: &mut Voice,
    beside: &mut Beside,
    signals: &mut Signals,
    mut asked: bool,
) -> io::Result<Option<Exit>> {
    let stopping = host.stop();
    tokio::pin!(stopping);
    let mut shown = Ok(());
    let mut over = false;
    let left = loop {
        tokio::select! {
            biased;
            said = conversation.next(), if !over && shown.is_ok() => match said {
                Said::Over => {
                    over = true;
                    shown = talk.show(Said::Over);
                }
                Said::Ready => {}
                said => shown = talk.show(said),
            },
            left = &mut stopping => break left,
            _ = signals.next() => match asked {
                true => return Ok(Some(forced())),
                false => asked = true,
            },
        }
    };
    // What was said in the last moment; nothing more can come.
    while !over && shown.is_ok() {
        match conversation.next().now_or_never() {
            None | Some(Said::Over) => break,
            Some(Said::Ready) => {}
            Some(said) => shown = talk.show(said),
        }
    }
    let shown = shown.and_then(|()| beside.say_last(talk));
    say_left(left, &beside.typed);
    shown.map(|()| None)
}

async fn end(host: Host, typed: &Typed, signals: &mut Signals, exit: Exit) -> Exit {
    tokio::select! {
        left = host.stop() => {
            say_left(left, typed);
            exit
        }
        _ = signals.next() => forced(),
    }
}

fn say_left(left: Left, typed: &Typed) {
    if !left.is_nothing() {
        say(&format!("{}\n", typed.text(&notice::left(left))));
    }
}

/// What is said of events that some flow has refused until now: nobody waits for the next try when the input has ended.
fn stays(in_outbox: usize) -> String {
    match in_outbox {
        0 => String::new(),
        1 => "1 event in the outbox has not reached everybody; the next start sends it on\n".to_owned(),
        count => format!("{count} events in the outbox have not reached everybody; the next start sends them on\n"),
    }
}

fn forced() -> Exit {
    say("ended by force: runs were cut off; those that are durable go on at the next start\n");
    Exit::Failed
}

fn after(over: Over, exit: Exit) -> Exit {
    match over {
        Over::Done | Over::Ended => exit,
        Over::Unwritable(error) => after_writing(Err(error), exit),
    }
}
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_ends_says_how_many_events_stay_for_the_next_start() {
        let said = [
            "",
            "1 event in the outbox has not reached everybody; the next start sends it on\n",
            "2 events in the outbox have not reached everybody; the next start sends them on\n",
        ];
        assert_eq!([0, 1, 2].map(stays), said);
    }
}
