//! From a request to the command of the app that does it, and from there to answers.

use std::io;
use std::sync::Arc;

use super::hearing::Hearing;
use super::look::{Looked, item, look, several};
use super::request::{Answer, Request, SendRequest};
use super::server::Out;
use crate::app::{Commands, Sent};
use crate::model::activation::Requester;

/// Does what is asked and says what comes of it.
///
/// # Errors
/// Nobody reads the answers any more. What was begun goes on.
pub(super) async fn answer(request: Request, commands: &Commands, out: &mut Out<'_>) -> io::Result<()> {
    match request {
        Request::Send(request) => send(request, commands, out).await,
        Request::Cancel(one) => items(commands, item(commands.cancel(&one.id).await), out).await,
        Request::Resume(one) => items(commands, item(commands.resume(&one.id).await), out).await,
        Request::Retry(retry) => items(commands, item(commands.retry(&retry.id, retry.from.as_ref(), retry.repeat).await), out).await,
        Request::Migrate(wanted) => items(commands, several(commands.migrate(&wanted).await.map(|rows| (rows, 0))), out).await,
        Request::Replay(one) => items(commands, item(commands.replay(&one.id).await), out).await,
        Request::Drop(one) => items(commands, item(commands.drop_letter(&one.id).await), out).await,
        Request::Signal(signal) => items(commands, item(commands.signal(signal).await), out).await,
        looks => match look(&looks, commands.views()).await {
            Some(looked) => items(commands, looked, out).await,
            // Whatever does something stands above.
            None => Err(io::ErrorKind::Unsupported.into()),
        },
    }
}

/// Says each of those that were asked for on a line of its own, how many more there are, and what is missing.
async fn items(commands: &Commands, asked: Looked, out: &mut Out<'_>) -> io::Result<()> {
    let (items, more) = match asked {
        Ok(listed) => listed,
        Err(failure) => return out.say(&Answer::Refused { failure }).await,
    };
    for item in items {
        out.say(&Answer::Item { item }).await?;
    }
    out.say(&Answer::Done { more, left_out: commands.views().left_out() }).await
}

async fn send(request: SendRequest, commands: &Commands, out: &mut Out<'_>) -> io::Result<()> {
    let SendRequest { target, input, caller, wait } = request;
    let hearing = Hearing::default();
    // Where nobody waits nobody hears of a bad end, and the host says it.
    let requester = wait.then(|| Arc::new(hearing.clone()) as Arc<dyn Requester>);
    let Sent { run, unread } = match commands.send(&target, input, caller, requester).await {
        Ok(sent) => sent,
        Err(failure) => return out.say(&Answer::Refused { failure }).await,
    };
    out.say(&Answer::Accepted { run, unread }).await?;
    while wait && run.is_some() {
        let answer = hearing.next().await;
        out.say(&answer).await?;
        if matches!(answer, Answer::Ended { .. } | Answer::Left { .. }) {
            break;
        }
    }
    Ok(())
}
