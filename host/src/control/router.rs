//! From a request to the command of the app that does it, and from there to answers.

use std::io;
use std::sync::Arc;

use super::hearing::Hearing;
use serde::Serialize;

use super::request::{Answer, Request, SendRequest};
use super::server::Out;
use crate::app::Commands;
use crate::model::failure::Failure;
use crate::model::value::Value;

/// Does what is asked and says what comes of it.
///
/// # Errors
/// Nobody reads the answers any more. What was begun goes on.
pub(super) async fn answer(request: Request, commands: &Commands, out: &mut Out<'_>) -> io::Result<()> {
    match request {
        Request::Send(request) => send(request, commands, out).await,
        Request::Runs(wanted) => {
            let listed = commands.views().runs(&wanted).await;
            items(listed.map(|listed| (listed.items, u64::from(listed.more))), out).await
        }
        Request::Run(one) => item(commands.views().run(&one.id).await, out).await,
        Request::Trace(one) => {
            let trace = commands.views().trace(&one.id).await;
            items(trace.map(|trace| (trace.nodes, trace.left_out as u64)), out).await
        }
        Request::Cancel(one) => item(commands.cancel(&one.id).await, out).await,
        Request::Signal(signal) => item(commands.signal(signal).await, out).await,
    }
}

/// Says the one thing that was asked for.
async fn item<T: Serialize>(asked: Result<T, Failure>, out: &mut Out<'_>) -> io::Result<()> {
    items(asked.map(|one| (vec![one], 0)), out).await
}

/// Says each of those that were asked for on a line of its own, and how many more there are.
async fn items<T: Serialize>(asked: Result<(Vec<T>, u64), Failure>, out: &mut Out<'_>) -> io::Result<()> {
    let (items, more) = match asked {
        Ok(listed) => listed,
        Err(failure) => return out.say(&Answer::Refused { failure }).await,
    };
    for item in items {
        // As a value, not as JSON's own tree: the order of its fields is kept.
        let item = Value::from_text(serde_json::to_string(&item)?.as_str())?;
        out.say(&Answer::Item { item }).await?;
    }
    out.say(&Answer::Done { more }).await
}

async fn send(request: SendRequest, commands: &Commands, out: &mut Out<'_>) -> io::Result<()> {
    let SendRequest { target, input, wait } = request;
    let hearing = Hearing::default();
    let run = match commands.send(&target, input, Arc::new(hearing.clone())).await {
        Ok(run) => run,
        Err(failure) => return out.say(&Answer::Refused { failure }).await,
    };
    out.say(&Answer::Accepted { run }).await?;
    while wait && run.is_some() {
        let answer = hearing.next().await;
        out.say(&answer).await?;
        if matches!(answer, Answer::Ended { .. }) {
            break;
        }
    }
    Ok(())
}
