//! `pipehost send`: starts a flow of a running host by its name, and shows what comes of it.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;

use super::arguments::SendTo;
use super::elsewhere::say_where;
use super::exit::{Exit, after_writing, not_started, refused};
use super::run::cannot_begin;
use super::style::{Style, terminal_width};
use super::talk::{Manner, Talk};
use crate::app::DATA_FOLDER;
use crate::control::{Answer, Client, Request, SendRequest};
use crate::model::activation::{RunEnd, RunOutcome};
use crate::model::failure::Failure;
use crate::model::value::{Tree, Value};
use crate::trigger::stdin::Said;

/// Sends, and waits for the end of the run unless that is not wanted.
pub(super) fn send(arguments: SendTo) -> Exit {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return not_started(&cannot_begin(&error)),
    };
    let SendTo { target, input, wait: _, no_wait, json, data } = arguments;
    let folder = data.clone().unwrap_or_else(|| PathBuf::from(DATA_FOLDER));
    let request = Request::Send(SendRequest { target, input: input.unwrap_or_else(|| Value::map([])), wait: !no_wait });
    runtime.block_on(async {
        let mut client = match Client::connect(&folder).await {
            Ok(client) => client,
            Err(failure) => return say_where(not_started(&failure), data.as_deref()),
        };
        if let Err(failure) = client.ask(&request).await {
            return refused(&failure);
        }
        let shown = if json { as_json(&mut client, !no_wait).await } else { as_talk(&mut client, !no_wait).await };
        match shown {
            Ok(exit) => exit,
            Err(Broken::Output(error)) => after_writing(Err(error), Exit::Good),
            Err(Broken::Host(failure)) => refused(&failure),
        }
    })
}

/// Why the answers could not be shown to their end.
enum Broken {
    Output(io::Error),
    Host(Failure),
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl From<Failure> for Broken {
    fn from(failure: Failure) -> Self {
        Self::Host(failure)
    }
}

/// Each answer as its line.
async fn as_json(client: &mut Client, waits: bool) -> Result<Exit, Broken> {
    loop {
        let answer = client.next().await?;
        let mut out = io::stdout().lock();
        out.write_all(answer.line().as_bytes())?;
        out.flush()?;
        if let Some(exit) = last(&answer, waits) {
            return Ok(exit);
        }
    }
}

/// At a terminal the words as they come, else the reply as one line of JSON.
async fn as_talk(client: &mut Client, waits: bool) -> Result<Exit, Broken> {
    let manner = if io::stdout().is_terminal() { Manner::Words { prompt: false } } else { Manner::Lines };
    let mut talk = Talk::new(io::stdout(), io::stderr(), manner, Style::of(&io::stdout())).for_one().fitted_to(terminal_width);
    loop {
        let answer = client.next().await?;
        let exit = last(&answer, waits);
        match answer {
            Answer::Accepted { run } if exit.is_some() => {
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
            Answer::Ended { run, degraded, outcome } => talk.show(Said::Ended(RunEnd { run, outcome, degraded, output: Value::null() }))?,
            Answer::Refused { failure } => return Ok(refused(&failure)),
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
        Answer::Accepted { run: None } => Some(Exit::Failed),
        Answer::Accepted { .. } => (!waits).then_some(Exit::Good),
        Answer::Progress { .. } | Answer::Lost { .. } | Answer::Reply { .. } => None,
        Answer::Ended { outcome: RunOutcome::Succeeded, .. } => Some(Exit::Good),
        Answer::Ended { .. } | Answer::Refused { .. } | Answer::Item { .. } | Answer::Done { .. } => Some(Exit::Failed),
    }
}
