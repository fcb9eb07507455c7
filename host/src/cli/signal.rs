//! `pipehost signal`: answers a run that waits, and says what came of it.

use super::arguments::SignalTo;
use super::asking::{Broken, Source, ask, print, print_json};
use super::environment;
use super::exit::{Exit, refused, say};
use crate::app::{REFUSED, Signal, Signalled, Verdict};
use crate::control::Request;
use crate::model::failure::{Failure, FailureKind};
use crate::model::value::Value;

/// Answers, and waits for the run's decision.
pub(super) fn signal(arguments: &SignalTo) -> Exit {
    let Some(caller) = arguments.caller.clone().or_else(user) else {
        say("error: the system does not tell who you are; say who answers, with --as ID\n");
        return Exit::Usage;
    };
    let signal = Signal {
        run: arguments.run.clone(),
        event: arguments.event.as_str().into(),
        data: arguments.content.clone().unwrap_or_else(|| Value::map([])),
        caller,
    };
    ask(&arguments.asking, async |source| answer(arguments, signal, source).await)
}

async fn answer(arguments: &SignalTo, signal: Signal, source: &Source) -> Result<Exit, Broken> {
    let event = signal.event.clone();
    let signalled: Signalled = source.one(&Request::Signal(signal)).await?;
    let exit = match &signalled.verdict {
        Verdict::Refused { message, .. } => refused(&Failure::new(FailureKind::Conflict, message.clone()).with_code(REFUSED)),
        Verdict::Taken | Verdict::Kept => Exit::Good,
    };
    let run = signalled.run;
    match &signalled.verdict {
        _ if arguments.asking.json => print_json(&[signalled])?,
        Verdict::Refused { .. } => {}
        Verdict::Taken => print(&format!("run {run} took {event} and goes on\n"))?,
        Verdict::Kept => print(&format!("run {run} does not wait for this {event} now; it is kept for a wait that comes to it\n"))?,
    }
    Ok(exit)
}

/// The name of whoever uses the program, as the system tells it.
fn user() -> Option<String> {
    let variables = environment::read(None).ok()?.variables;
    ["USER", "LOGNAME"].iter().find_map(|name| variables.get(*name).filter(|user| !user.is_empty()).cloned())
}
