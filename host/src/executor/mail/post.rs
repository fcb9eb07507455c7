//! The conversation with a server: connecting, TLS, login, and handing a letter over.

use std::sync::Arc;
use std::time::Duration;

use lettre::Address;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Quit, Rcpt};
use lettre::transport::smtp::extension::{ClientId, Extension, MailBodyParameter, MailParameter};

use super::letter::Letter;
use super::refusal::{Stage, failure};
use crate::executor::excerpt::excerpt;
use crate::model::failure::{Failure, FailureKind};
use crate::model::grant::MailServer;
use crate::model::port::Clock;
use crate::model::secret::Secret;

/// How long a server may take to say good-bye: the letter is handed over, or refused, already.
const GOOD_BYE: Duration = Duration::from_secs(1);

/// How what is said is kept from others.
#[derive(Clone)]
pub(in crate::executor) enum Encryption {
    /// Not at all.
    None,
    /// By TLS, which is asked for after the greeting; without it nothing more is said.
    StartTls(TlsParameters),
    /// By TLS from the first byte on.
    Tls(TlsParameters),
}

impl Encryption {
    /// The one of that name, with a server of that name: `starttls`, `tls` or `none`; nothing for another word.
    ///
    /// # Errors
    /// Why there can be no TLS.
    pub(in crate::executor) fn named(word: &str, host: &str) -> Result<Option<Self>, String> {
        let parameters = || TlsParameters::new(host.to_owned()).map_err(|error| excerpt(&error.to_string()));
        Ok(match word {
            "none" => Some(Self::None),
            "starttls" => Some(Self::StartTls(parameters()?)),
            "tls" => Some(Self::Tls(parameters()?)),
            _ => None,
        })
    }
}

/// Who we say we are.
#[derive(Clone)]
pub(in crate::executor) struct Login {
    pub(in crate::executor) user: Secret,
    pub(in crate::executor) password: Secret,
}

/// A server, and how to talk to it. A connection lives for one letter.
pub(in crate::executor) struct Post {
    pub(in crate::executor) encryption: Encryption,
    pub(in crate::executor) login: Option<Login>,
    pub(in crate::executor) clock: Arc<dyn Clock>,
}

impl Post {
    /// Hands a letter over: all recipients get it, or none. Dropping the future ends the connection; a letter whose end the server had
    /// by then may have been taken.
    ///
    /// # Errors
    /// As [`failure`] says; `permanent` if the server does not offer what the letter or the settings need.
    pub(in crate::executor) async fn deliver(&self, server: &MailServer, letter: &Letter) -> Result<(), Failure> {
        let mut connection = self.connect(server).await?;
        let delivered = self.hand_over(server, &mut connection, letter).await;
        // A server that says nothing now must not make a success of a minute, or of a failure another one.
        let until = self.clock.now() + GOOD_BYE;
        tokio::select! {
            _ = connection.command(Quit) => {}
            () = self.clock.sleep_until(until) => {}
        }
        delivered
    }

    async fn connect(&self, server: &MailServer) -> Result<AsyncSmtpConnection, Failure> {
        let hello = ClientId::default();
        let wrapped = if let Encryption::Tls(parameters) = &self.encryption { Some(parameters.clone()) } else { None };
        // No time limit of its own: `timeout` beside the step, the deadline and `limits.wall` drop this future.
        let connected = AsyncSmtpConnection::connect_tokio1((server.host.as_str(), server.port), None, &hello, wrapped, None).await;
        let mut connection = connected.map_err(|error| failure(server, Stage::Greeting, &error))?;
        if let Encryption::StartTls(parameters) = &self.encryption {
            if !connection.can_starttls() {
                let message = format!(
                    "{server} does not offer STARTTLS, and nothing is said without it; write config: {{ tls: tls }} for TLS from the first byte on, \
                     or {{ tls: none }} to go without"
                );
                return Err(Failure::new(FailureKind::Permanent, message).with_code("tls"));
            }
            connection.starttls(parameters.clone(), &hello).await.map_err(|error| failure(server, Stage::Greeting, &error))?;
        }
        Ok(connection)
    }

    async fn hand_over(&self, server: &MailServer, connection: &mut AsyncSmtpConnection, letter: &Letter) -> Result<(), Failure> {
        if let Some(login) = &self.login {
            let mechanisms = [Mechanism::Plain, Mechanism::Login];
            if connection.server_info().get_auth_mechanism(&mechanisms).is_none() {
                let message =
                    format!("{server} offers no login that we know (PLAIN, LOGIN); leave `user` and `password` out if it wants none");
                return Err(Failure::new(FailureKind::Permanent, message).with_code("login"));
            }
            let credentials = Credentials::new(login.user.reveal().to_owned(), login.password.reveal().to_owned());
            connection.auth(&mechanisms, &credentials).await.map_err(|error| failure(server, Stage::Login, &error))?;
        }
        let parameters = parameters(server, connection, letter)?;
        let begun = connection.command(Mail::new(Some(letter.from.clone()), parameters)).await;
        begun.map_err(|error| failure(server, Stage::Sender(letter.from.as_ref()), &error))?;
        for recipient in &letter.recipients {
            let taken = connection.command(Rcpt::new(recipient.clone(), Vec::new())).await;
            // The first that is refused is the letter's end: who gets it and who does not would depend on the attempt.
            taken.map_err(|error| failure(server, Stage::Recipient(recipient.as_ref()), &error))?;
        }
        connection.command(Data).await.map_err(|error| failure(server, Stage::Content, &error))?;
        connection.message(&letter.bytes).await.map_err(|error| failure(server, Stage::Content, &error))?;
        Ok(())
    }
}

/// What the server has to be told of a letter beside its sender.
fn parameters(server: &MailServer, connection: &AsyncSmtpConnection, letter: &Letter) -> Result<Vec<MailParameter>, Failure> {
    let is_plain = |address: &Address| address.to_string().is_ascii();
    let mut parameters = Vec::new();
    if !(is_plain(&letter.from) && letter.recipients.iter().all(is_plain)) {
        if !connection.server_info().supports_feature(Extension::SmtpUtfEight) {
            let message = format!("{server} takes only addresses of plain letters, and one of this letter's has others");
            return Err(Failure::new(FailureKind::Invalid, message).with_code("recipient"));
        }
        parameters.push(MailParameter::SmtpUtfEight);
    }
    // Text and headers are written in plain letters; only an address can have made it otherwise.
    if !letter.bytes.is_ascii() && connection.server_info().supports_feature(Extension::EightBitMime) {
        parameters.push(MailParameter::Body(MailBodyParameter::EightBitMime));
    }
    Ok(parameters)
}
