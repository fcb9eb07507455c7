//! `pipehost send`: starts a flow of a running host by its name, and shows what comes of it.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::time::Duration;

use super::arguments::SendTo;
use super::elsewhere::say_where;
use super::exit::{Exit, after_writing, not_started, refused, say};
use super::run::cannot_begin;
use super::signals::Signals;
use super::style::{Style, harmless, terminal_width};
use super::talk::{Manner, Talk};
use super::typed::Typed;
use crate::app::DATA_FOLDER;
use crate::clock::RealClock;
use crate::control::{Answer, Client, NO_HOST, Request, SendRequest};
use crate::model::activation::{RunEnd, RunOutcome};
use crate::model::failure::Failure;
use crate::model::id::RunId;
use crate::model::port::{Clock, Sleep};
use crate::model::value::{Tree, Value};
use crate::trigger::stdin::Said;

/// Sends, and waits for the end of the run unless that is not wanted.
pub(super) fn send(arguments: SendTo) -> Exit {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return not_started(&cannot_begin(&error)),
    };
    let SendTo { target, input, caller, wait: _, no_wait, json, data } = arguments;
    let folder = data.clone().unwrap_or_else(|| PathBuf::from(DATA_FOLDER));
    let typed = Typed::here(&folder);
    let request = Request::Send(SendRequest { target, input: input.unwrap_or_else(|| Value::map([])), caller, wait: !no_wait });
    runtime.block_on(async {
        let client = match Client::connect(&folder).await {
            Ok(client) => client,
            Err(failure) => return say_where(not_started(&typed.failure(&failure)), data.as_deref()),
        };
        // Ctrl-C is heard from here on: once it is asked for, the run goes on without whoever asked.
        let mut answers = match Answers::of(client, &typed) {
            Ok(answers) => answers,
            Err(error) => return not_started(&cannot_begin(&error)),
        };
        if let Err(failure) = answers.client.ask(&request).await {
            return refused(&typed.failure(&failure));
        }
        let shown = if json { as_json(&mut answers, !no_wait).await } else { as_talk(&mut answers, !no_wait, &typed).await };
        match shown {
            Ok(exit) => exit,
            Err(Broken::Output(error)) => after_writing(Err(error), Exit::Good),
            Err(Broken::Host(failure)) => refused(&typed.failure(&failure)),
            Err(Broken::Gone(run)) => gone(run, &typed),
            Err(Broken::Interrupted(run)) => interrupted(run, &typed),
        }
    })
}

/// Why the answers could not be shown to their end.
enum Broken {
    Output(io::Error),
    Host(Failure),
    /// The host went away without a word after it had admitted this run.
    Gone(RunId),
    /// Somebody waits no longer for this run, or before it is known which it is.
    Interrupted(Option<RunId>),
}

/// So long nothing comes before a person is told that the run is under way.
const QUIET: Duration = Duration::from_secs(2);

/// The answers as they come, and the wish to wait for them no longer.
struct Answers {
    client: Client,
    signals: Signals,
    /// The run, once it is admitted.
    admitted: Option<RunId>,
    /// Over when it is time to say that the run is under way; `None` where nobody sits, and once anything came of the run.
    quiet: Option<Sleep>,
    typed: Typed,
}

impl Answers {
    fn of(client: Client, typed: &Typed) -> io::Result<Self> {
        let clock = RealClock::new();
        let quiet = io::stderr().is_terminal().then(|| clock.sleep_until(clock.now() + QUIET));
        Ok(Self { client, signals: Signals::start()?, admitted: None, quiet, typed: typed.clone() })
    }

    /// The next one.
    async fn next(&mut self) -> Result<Answer, Broken> {
        let Self { client, signals, admitted, quiet, typed } = self;
        let mut hearing = std::pin::pin!(heard(client, *admitted));
        let answer = loop {
            tokio::select! {
                biased;
                answer = &mut hearing => break answer?,
                _ = signals.next() => return Err(Broken::Interrupted(*admitted)),
                () = until(quiet) => {
                    *quiet = None;
                    if let Some(run) = *admitted {
                        let text = format!("run {run} is under way: pipehost runs show {run} tells how it stands; Ctrl-C ends only this waiting\n");
                        say(&typed.text(&text));
                    }
                }
            }
        };
        match answer {
            Answer::Accepted { run, ref unread } => {
                *admitted = run;
                unread.iter().for_each(|sentence| note(sentence));
            }
            _ => *quiet = None,
        }
        Ok(answer)
    }
}

/// Says what is no mistake, and hardly meant.
pub(super) fn note(sentence: &str) {
    say(&format!("note: {}\n", harmless(sentence)));
}

/// Until then; for ever without a time.
async fn until(sleep: &mut Option<Sleep>) {
    match sleep {
        Some(sleep) => sleep.as_mut().await,
        None => std::future::pending().await,
    }
}

/// The next answer for that run.
async fn heard(client: &mut Client, admitted: Option<RunId>) -> Result<Answer, Broken> {
    client.next().await.map_err(|failure| match admitted {
        Some(run) if failure.code.as_deref() == Some(NO_HOST) => Broken::Gone(run),
        None if failure.code.as_deref() == Some(NO_HOST) => {
            let message = format!("{}; {UNKNOWN}", failure.message);
            Broken::Host(failure.with_message(message))
        }
        _ => Broken::Host(failure),
    })
}

const UNKNOWN: &str = "whether it has begun a run is not known: pipehost runs list tells";

/// Ctrl-C ends only the waiting.
fn interrupted(run: Option<RunId>, typed: &Typed) -> Exit {
    let text = match run {
        Some(run) => format!("run {run} goes on: pipehost runs show {run} tells how it stands, pipehost runs cancel {run} ends it\n"),
        None => format!("{UNKNOWN}\n"),
    };
    say(&typed.text(&text));
    Exit::Interrupted
}

/// A run that was admitted is kept, however the host has ended.
fn gone(run: RunId, typed: &Typed) -> Exit {
    let text = format!(
        "run {run}: the host went away; a durable run goes on when it starts again, and pipehost runs show {run} tells how it stands\n"
    );
    say(&typed.text(&text));
    Exit::Left
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

/// Each answer as its line.
async fn as_json(answers: &mut Answers, waits: bool) -> Result<Exit, Broken> {
    loop {
        let answer = answers.next().await?;
        let mut out = io::stdout().lock();
        out.write_all(answer.line().as_bytes())?;
        out.flush()?;
        if let Some(exit) = last(&answer, waits) {
            return Ok(exit);
        }
    }
}

/// At a terminal the words as they come, else the reply as one line of JSON.
async fn as_talk(answers: &mut Answers, waits: bool, typed: &Typed) -> Result<Exit, Broken> {
    let manner = if io::stdout().is_terminal() { Manner::Words { prompt: false } } else { Manner::Lines };
    let talk = Talk::new(io::stdout(), io::stderr(), manner, Style::of(&io::stdout())).for_one();
    let mut talk = talk.fitted_to(terminal_width).typing(typed.clone());
    loop {
        let answer = answers.next().await?;
        let exit = last(&answer, waits);
        match answer {
            Answer::Accepted { run, .. } if exit.is_some() => {
                let text = run.map_or(Tree::Null, |run| Tree::from(run.to_string().as_str()));
                writeln!(io::stdout(), "{}", Value::map([("run", Value::from(text))]).text())?;
                if run.is_none() {
                    talk.beside("dropped: too many messages are under way")?;
                }
            }
            Answer::Accepted { .. } => {}
            Answer::Progress { progress } => {
                if let Some(Tree::Text(token)) = progress.field("token").as_ref().map(Value::tree) {
                    talk.show(Said::Tokens(token.clone()))?;
                }
            }
            Answer::Lost { .. } => talk.show(Said::Tokens("…".to_owned()))?,
            Answer::Reply { reply } => talk.show(Said::Reply(reply))?,
            Answer::Ended { run, degraded, outcome } => {
                talk.show(Said::Ended { line: 1, end: RunEnd { run, outcome, degraded, output: Value::null() } })?;
            }
            Answer::Left { run } => {
                talk.show(Said::Left(run))?;
                talk.beside(&typed.text(&format!("pipehost runs show {run} tells how it stands")))?;
            }
            Answer::Refused { failure } => return Ok(refused(&typed.failure(&failure))),
            // They answer other requests.
            Answer::Item { .. } | Answer::Done { .. } => {}
        }
        if let Some(exit) = exit {
            return Ok(exit);
        }
    }
}

/// How the program ends, if nothing comes after this answer.
fn last(answer: &Answer, waits: bool) -> Option<Exit> {
    match answer {
        Answer::Accepted { run: None, .. } => Some(Exit::Failed),
        Answer::Accepted { .. } => (!waits).then_some(Exit::Good),
        Answer::Progress { .. } | Answer::Lost { .. } | Answer::Reply { .. } => None,
        Answer::Left { .. } => Some(Exit::Left),
        Answer::Ended { outcome: RunOutcome::Succeeded, .. } => Some(Exit::Good),
        Answer::Ended { .. } | Answer::Refused { .. } | Answer::Item { .. } | Answer::Done { .. } => Some(Exit::Failed),
    }
}
