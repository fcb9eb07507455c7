//! `mail.send`: hands a letter to the mail server that was granted.

use std::sync::Arc;

use futures_util::FutureExt;

use super::declare::{describe, field, list, optional, record, want, with_default};
use super::{checked_input, wrong_config};
use crate::executor::grants;
use crate::executor::mail::{Draft, Encryption, Login, Mailbox, Post, address};
use crate::model::executor::{Description, ExecutorReference};
use crate::model::failure::Failure;
use crate::model::grant::Grants;
use crate::model::id::ExecutorName;
use crate::model::job::Job;
use crate::model::port::{Attempt, CatalogProblem, Clock, Executor, Processing};
use crate::model::types::Type;
use crate::model::value::{Map, Tree, Value};

const NAME: &str = "mail.send";

const HELP: &str = "it takes { from, tls, user, password }, as { from: ['Shop <shop@example.com>'], tls: starttls, user: '${secret.SMTP_USER}', password: '${secret.SMTP_PASSWORD}' }";

/// Input, output and config as the guide shows them.
pub(super) fn description() -> Description {
    let input = record([
        field("to", Type::Any, "an address, as ada@example.com or 'Ada <ada@example.com>', or a list of them"),
        optional("cc", Type::Any, "who gets a copy: as `to`"),
        optional("bcc", Type::Any, "who gets a copy that the others do not see: as `to`"),
        optional("from", Type::String, "who writes: one of the config's addresses; null: the first of them"),
        optional("reply_to", Type::Any, "who gets the answers: as `to`"),
        field("subject", Type::String, "what it is about"),
        field("text", Type::String, "what it says"),
        optional("html", Type::String, "the same as HTML, for those who can show it"),
        optional("headers", Type::Any, "a map of headers of one's own, as X-Order"),
    ]);
    let output = record([
        field("message_id", Type::String, "the letter's Message-ID: the same for each attempt of the job"),
        field("accepted", list(Type::String), "the addresses that the server has taken it for: all of them"),
    ]);
    let config = record([
        field("from", list(Type::String), "the addresses that it may write as; the first is the one it writes as unless told"),
        with_default("tls", Type::String, "starttls", "starttls, tls (from the first byte on) or none"),
        optional("user", Type::Secret, "who it says it is to the server"),
        optional("password", Type::Secret, "and its password"),
    ]);
    let described = describe(NAME, "Sends mail over SMTP", input, output);
    Description { config: Some(config), wants: vec![want("mail", "to hand its letters to")], ..described }
}

pub(super) struct MailSend {
    description: Description,
    executor: ExecutorName,
    grants: Grants,
    senders: Vec<Mailbox>,
    post: Post,
}

impl MailSend {
    /// # Errors
    /// What is wrong with the config.
    pub(super) fn new(
        description: Description,
        config: &Value,
        reference: &ExecutorReference,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, CatalogProblem> {
        let wrong = |message: &str| wrong_config(NAME, message, HELP);
        let tree = config.tree();
        let written = tree.field("from").and_then(Tree::as_list).unwrap_or_default();
        let read = |item: &Tree| address("from", item.as_text().unwrap_or_default()).map_err(|failure| wrong(&failure.message));
        let senders = written.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        if senders.is_empty() {
            return Err(wrong("from is empty, and a letter has a sender"));
        }
        let login = login(tree).map_err(wrong)?;
        let server = reference.grants.mail.first();
        let word = tree.field("tls").and_then(Tree::as_text).unwrap_or_default();
        let encryption =
            Encryption::named(word, server.map_or("localhost", |server| &server.host)).map_err(|why| wrong(&format!("TLS: {why}")))?;
        let encryption = encryption.ok_or_else(|| wrong("tls is starttls, tls or none"))?;
        if matches!(encryption, Encryption::None) && login.is_some() && server.is_some_and(|server| !server.is_this_machine()) {
            return Err(wrong("with tls: none everybody on the way would hear the password"));
        }
        let (executor, grants) = (reference.name.clone(), reference.grants.clone());
        Ok(Self { description, executor, grants, senders, post: Post { encryption, login, clock } })
    }

    /// Who writes.
    fn sender(&self, asked: Option<&str>) -> Result<&Mailbox, Failure> {
        let Some(asked) = asked else {
            return self.senders.first().ok_or_else(|| grants::refused_sender(&self.executor, &[], "nobody"));
        };
        let wanted = address("from", asked)?;
        self.senders.iter().find(|sender| sender.email == wanted.email).ok_or_else(|| {
            let allowed: Vec<String> = self.senders.iter().map(ToString::to_string).collect();
            grants::refused_sender(&self.executor, &allowed, asked)
        })
    }
}

impl Executor for MailSend {
    fn description(&self) -> &Description {
        &self.description
    }

    fn process(&self, job: Arc<Job>, _: Attempt) -> Processing<'_> {
        async move {
            let server = grants::mail_server(&self.executor, &self.grants)?;
            let input = checked_input(&self.description, &job)?;
            let sender = self.sender(input.tree().field("from").and_then(Tree::as_text))?;
            let letter = Draft::read(input.tree())?.into_letter(sender, &job.key(), self.post.clock.now())?;
            self.post.deliver(server, &letter).await?;
            let accepted = letter.recipients.iter().map(|address| Tree::from(address.to_string().as_str())).collect();
            let output = [("message_id", Tree::Text(letter.message_id)), ("accepted", Tree::List(accepted))];
            Ok(Value::from(Tree::Map(output.map(|(name, field)| (name.to_owned(), field)).into_iter().collect::<Map>())))
        }
        .boxed()
    }
}

fn login(config: &Tree) -> Result<Option<Login>, &'static str> {
    let secret = |name: &str| match config.field(name) {
        Some(Tree::Secret(secret)) if !secret.reveal().is_empty() => Some(secret.clone()),
        _ => None,
    };
    match (secret("user"), secret("password")) {
        (Some(user), Some(password)) => Ok(Some(Login { user, password })),
        (None, None) => Ok(None),
        _ => Err("user and password go together"),
    }
}
