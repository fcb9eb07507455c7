//! What a server's refusal, or its silence, amounts to. Pure.

use std::error::Error as _;

use lettre::transport::smtp::Error;

use crate::executor::excerpt::excerpt;
use crate::model::failure::{Failure, FailureKind};
use crate::model::grant::MailServer;

/// How far the conversation had come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage<'a> {
    /// Connecting, TLS and greeting.
    Greeting,
    /// Saying who we are.
    Login,
    /// Who writes.
    Sender(&'a str),
    /// One of those who get it.
    Recipient(&'a str),
    /// The letter itself.
    Content,
}

/// The failure of an attempt that came to that stage.
///
/// What may pass is tried again by whoever set a `retry`: 4xx, and connections that fail. 5xx will be said again however often one asks: it
/// is `denied` where it is about who we are, `invalid` where it is about a recipient, else `permanent`.
pub(super) fn failure(server: &MailServer, stage: Stage<'_>, error: &Error) -> Failure {
    let Some(status) = error.status().map(u16::from) else { return broken(server, stage, error) };
    // A server that refuses a login may repeat it in its words, in a form that is not searched for.
    let words = match stage {
        Stage::Login => String::new(),
        _ => error.source().map(|source| format!(": {}", excerpt(&source.to_string()))).unwrap_or_default(),
    };
    let answered = |what: &str| format!("{server} answered {status} to {what}{words}");
    let is_login = matches!(status, 530 | 534 | 535 | 538) || (stage == Stage::Login && status >= 500);
    let (kind, code, message) = match stage {
        _ if status < 500 => (FailureKind::Transient, "busy", answered(&what(stage))),
        _ if is_login => (FailureKind::Denied, "login", answered("the login; look at `user` and `password`")),
        Stage::Greeting | Stage::Login => (FailureKind::Permanent, "greeting", answered("the greeting")),
        Stage::Sender(_) => (FailureKind::Permanent, "sender", answered(&what(stage))),
        Stage::Recipient(_) => (FailureKind::Invalid, "recipient", answered(&what(stage))),
        Stage::Content => (FailureKind::Permanent, "content", answered(&what(stage))),
    };
    Failure::new(kind, message).with_code(code).with_status(status)
}

fn what(stage: Stage<'_>) -> String {
    match stage {
        Stage::Greeting => "the greeting".to_owned(),
        Stage::Login => "the login".to_owned(),
        Stage::Sender(address) => format!("the sender {address}"),
        Stage::Recipient(address) => format!("the recipient {address}"),
        Stage::Content => "the letter".to_owned(),
    }
}

/// A connection that could not be made, or ended before the server had answered.
fn broken(server: &MailServer, stage: Stage<'_>, error: &Error) -> Failure {
    let mut deepest: &dyn std::error::Error = error;
    let mut certificate = false;
    while let Some(source) = deepest.source() {
        deepest = source;
        // What TLS finds wrong with the other side arrives as data that is not valid.
        let io = deepest.downcast_ref::<std::io::Error>();
        certificate |= io.is_some_and(|io| io.kind() == std::io::ErrorKind::InvalidData);
    }
    let why = excerpt(&deepest.to_string());
    if certificate || error.is_tls() {
        let message = format!("{server} does not speak TLS as it should: {why}; look at `tls`, and at the server's certificate");
        return Failure::new(FailureKind::Permanent, message).with_code("tls");
    }
    let message = match stage {
        Stage::Greeting => format!("no connection to {server}: {why}"),
        _ => format!("the connection to {server} ended at {}: {why}", what(stage)),
    };
    Failure::new(FailureKind::Transient, message).with_code("connection")
}
