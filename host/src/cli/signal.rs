//! `pipehost signal`: answers a run that waits, and says what came of it.

use super::arguments::SignalTo;
use super::asking::{Broken, Source, ask, print, print_json};
use super::environment;
use super::exit::{Exit, refused, say};
use super::send::note;
use crate::app::{REFUSED, Signal, Signalled, Verdict};
use crate::control::Request;
use crate::model::failure::{Failure, FailureKind};
use crate::model::value::Value;

/// The code of an answer of nobody.
const NOBODY: &str = "E0778";

/// Answers, and waits for the run's decision.
pub(super) fn signal(arguments: &SignalTo) -> Exit {
    let Some(caller) = arguments.caller.clone().or_else(user) else {
        say(&format!("error[{NOBODY}]: neither USER nor the system tells who you are; say who answers, with --as ID\n"));
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
    signalled.unread.iter().for_each(|sentence| note(sentence));
    let exit = match &signalled.verdict {
        Verdict::Refused { message, .. } => refused(&Failure::new(FailureKind::Conflict, message.clone()).with_code(REFUSED)),
        Verdict::Taken | Verdict::Kept { .. } => Exit::Good,
    };
    let run = signalled.run;
    match &signalled.verdict {
        _ if arguments.asking.json => print_json(&[signalled])?,
        Verdict::Refused { .. } => {}
        Verdict::Taken => print(&format!("run {run} took {event} and goes on\n"))?,
        Verdict::Kept { open } => {
            let open = open.as_ref().map_or_else(String::new, |open| format!(": {open}"));
            print(&format!("run {run} does not wait for this {event} now; it is kept for a wait that comes to it{open}\n"))?;
        }
    }
    Ok(exit)
}

/// The name of whoever uses the program: as the environment tells it, else as the system has it.
fn user() -> Option<String> {
    let variables = environment::read(None).map(|environment| environment.variables).unwrap_or_default();
    let told = ["USER", "LOGNAME"].iter().find_map(|name| variables.get(*name).filter(|user| !user.is_empty()).cloned());
    told.or_else(user_of_process)
}

/// Services and containers often have no `USER`.
#[cfg(unix)]
fn user_of_process() -> Option<String> {
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    name_of(rustix::process::getuid().as_raw(), &users)
}

#[cfg(not(unix))]
const fn user_of_process() -> Option<String> {
    None
}

/// The name of a user's number in the system's list: `name:password:number:…`, a user a line.
#[cfg(unix)]
fn name_of(number: u32, users: &str) -> Option<String> {
    let mut users = users.lines().map(|line| line.split(':'));
    users.find_map(|mut fields| {
        let name = fields.next().filter(|name| !name.is_empty())?;
        (fields.nth(1)?.parse() == Ok(number)).then(|| name.to_owned())
    })
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_known_by_the_number_and_nobody_is_made_up() {
        let users = "root:x:0:0:root:/root:/bin/sh\n# a line of another kind\n:x:7:7::/:\nalice:x:1000:1000::/:/bin/sh\n";
        assert_eq!(name_of(0, users).as_deref(), Some("root"));
        assert_eq!(name_of(1000, users).as_deref(), Some("alice"));
        assert_eq!((name_of(100, users), name_of(7, users)), (None, None));
    }
}
