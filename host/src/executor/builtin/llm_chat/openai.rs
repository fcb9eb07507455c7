//! Asks a server that speaks the OpenAI protocol, and reads its answer as it streams.

mod reply;
mod request;
mod sse;
mod status;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::{Client, Response};

pub(in crate::executor::builtin) use self::status::of_error;

use self::reply::Reply;
use self::sse::Parser;
use super::super::endpoint::shown_url;
use super::citations;
use super::config::Config;
use super::passage::{Passage, Question, tell};
use crate::executor::http::retry_after;
use crate::model::failure::{Failure, FailureKind};
use crate::model::port::{Clock, JobChannel};
use crate::model::secret::Secret;
use crate::model::value::Value;

/// How long making a connection may take.
const CONNECT: Duration = Duration::from_secs(10);
/// How many bytes an answer may have in all, with everything round about the text.
const MAX_ANSWER: usize = 16 << 20;
/// How many bytes of an error's page are read.
const MAX_ERROR: usize = 64 << 10;
/// How long the counts that may follow a finished answer are waited for.
const AFTER_FINISH: Duration = Duration::from_secs(1);

/// A server and how to ask it.
pub(super) struct OpenAi {
    config: Config,
    client: Client,
    clock: Arc<dyn Clock>,
}

impl OpenAi {
    /// Makes ready to ask; connects to nothing yet.
    ///
    /// # Errors
    /// What is wrong, and the way out: no root certificates for an https address, a key that no header can hold.
    pub(super) fn new(config: Config, clock: Arc<dyn Clock>) -> Result<Self, (String, &'static str)> {
        // One provider for the whole process; that it is there already is fine.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = Client::builder()
            // An address is granted as written: neither a proxy of the system nor a redirect leads elsewhere.
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            // Retrying is the policies' business.
            .retry(reqwest::retry::never())
            .connect_timeout(CONNECT);
        // Without TLS no certificates are needed, and a machine may have none.
        let builder = if config.url.scheme() == "http" { builder.tls_certs_only([]) } else { builder };
        let client = builder.build().map_err(|error| {
            (
                format!("no connection can be made ready: {}", causes(&error.without_url())),
                "install the system's root certificates (package ca-certificates)",
            )
        })?;
        if config.api_key.as_ref().is_some_and(|key| bearer(key).is_err()) {
            return Err(("api_key holds characters that no header can hold".to_owned(), "check the secret for line breaks"));
        }
        Ok(Self { config, client, clock })
    }

    /// Asks, and tells the answer token by token.
    ///
    /// # Errors
    /// `timeout` if the server says nothing for `idle_timeout`; `transient` for a connection that fails or breaks off;
    /// what the HTTP status or an error in the stream amounts to. None of them holds the key.
    pub(super) async fn answer(&self, question: &Question, passages: &[Passage], channel: &dyn JobChannel) -> Result<Value, Failure> {
        let answered = self.ask(question, passages, channel).await;
        answered.map_err(|failure| failure.with_texts(&|text| self.without_key(text)))
    }

    async fn ask(&self, question: &Question, passages: &[Passage], channel: &dyn JobChannel) -> Result<Value, Failure> {
        let body = request::body(&self.config, question, passages);
        let mut request = self.client.post(self.config.url.clone()).header(CONTENT_TYPE, "application/json");
        request = request.header(ACCEPT, "text/event-stream, application/json").body(body);
        if let Some(key) = &self.config.api_key {
            let value = bearer(key).map_err(|_| Failure::new(FailureKind::Invalid, "api_key holds characters that no header can hold"))?;
            request = request.header(AUTHORIZATION, value);
        }
        let response = self.in_time(self.config.idle_timeout, request.send()).await?.map_err(|error| self.broken(error))?;
        if !response.status().is_success() {
            return Err(self.refused(response).await);
        }
        if header(&response, CONTENT_TYPE.as_str()).is_some_and(|kind| kind.starts_with("text/html")) {
            let message = format!("{} answered with a web page; base_url usually ends in /v1", self.shown());
            return Err(Failure::new(FailureKind::Permanent, message).with_code("no_api"));
        }
        let reply = self.read(response, channel).await?;
        let cited = citations::numbers(&reply.text, passages.len());
        let cited = cited.iter().filter_map(|number| passages.get(number - 1).map(|passage| (*number, passage)));
        let model = reply.model.as_deref().or(self.config.model.as_deref());
        Ok(citations::output(&reply.text, "openai", model, citations::value(cited), reply.usage_value()))
    }

    async fn read(&self, response: Response, channel: &dyn JobChannel) -> Result<Reply, Failure> {
        let mut stream = response.bytes_stream();
        let mut reader = Reader::default();
        let mut heard = self.clock.now();
        loop {
            // A connection that is held open after the end, or breaks there, takes nothing from the answer.
            let patience = if reader.reply.finished { AFTER_FINISH } else { self.config.idle_timeout };
            let piece = tokio::select! {
                piece = stream.next() => piece,
                () = self.clock.sleep_until(heard + patience) => {
                    return if reader.reply.finished { reader.end(channel) } else { Err(self.silent(self.config.idle_timeout)) };
                }
            };
            match piece {
                None => return reader.end(channel),
                Some(Err(_)) if reader.reply.finished => return reader.end(channel),
                Some(Err(error)) => return Err(self.broken(error)),
                Some(Ok(piece)) => {
                    if reader.take(&piece, channel)? {
                        heard = self.clock.now();
                    }
                    if reader.reply.done {
                        return reader.end(channel);
                    }
                }
            }
        }
    }

    async fn refused(&self, response: Response) -> Failure {
        let status = response.status().as_u16();
        let retry_after = header(&response, RETRY_AFTER.as_str()).and_then(|text| retry_after(text, self.clock.now()));
        let location = header(&response, LOCATION.as_str()).map(shown_url);
        let mut page = Vec::new();
        let mut stream = response.bytes_stream();
        // What cannot be read of an error's page is not worth another error.
        while let Ok(Some(Ok(piece))) = self.in_time(self.config.idle_timeout, stream.next()).await {
            page.extend_from_slice(&piece);
            if page.len() >= MAX_ERROR {
                page.truncate(MAX_ERROR);
                break;
            }
        }
        status::failure(status, &self.shown(), &String::from_utf8_lossy(&page), location.as_deref(), retry_after)
    }

    async fn in_time<T>(&self, limit: Duration, work: impl Future<Output = T>) -> Result<T, Failure> {
        tokio::select! {
            done = work => Ok(done),
            () = self.clock.sleep_until(self.clock.now() + limit) => Err(self.silent(limit)),
        }
    }

    fn silent(&self, limit: Duration) -> Failure {
        let message = format!(
            "{} said nothing for {}; raise idle_timeout if the model needs longer to begin",
            self.shown(),
            crate::model::policy::show_duration(limit)
        );
        Failure::new(FailureKind::Timeout, message).with_code("idle")
    }

    fn broken(&self, error: reqwest::Error) -> Failure {
        let what = if error.is_connect() { "cannot be reached" } else { "broke off" };
        let message =
            format!("{} {what}: {}; check that the server runs and that base_url is right", self.shown(), causes(&error.without_url()));
        Failure::new(FailureKind::Transient, message).with_code("connection")
    }

    fn shown(&self) -> String {
        shown_url(self.config.url.as_str())
    }

    /// Servers like to repeat the key that they refuse.
    fn without_key(&self, text: &str) -> String {
        match &self.config.api_key {
            Some(key) => text.replace(key.reveal().trim(), &key.to_string()),
            None => text.to_owned(),
        }
    }
}

fn bearer(key: &Secret) -> Result<HeaderValue, reqwest::header::InvalidHeaderValue> {
    let mut value = HeaderValue::try_from(format!("Bearer {}", key.reveal().trim()))?;
    value.set_sensitive(true);
    Ok(value)
}

fn header<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
    response.headers().get(name)?.to_str().ok()
}

/// What an error came of in the end: the layers above it only say that something went wrong below them.
fn causes(error: &dyn std::error::Error) -> String {
    let mut last = error;
    while let Some(inner) = last.source() {
        last = inner;
    }
    last.to_string()
}

/// What has come of an answer: a stream of events, or one JSON document where the server does not stream.
#[derive(Default)]
struct Reader {
    received: usize,
    form: Form,
    reply: Reply,
}

#[derive(Default)]
enum Form {
    #[default]
    Unknown,
    Stream(Parser),
    Document(Vec<u8>),
}

impl Reader {
    /// Takes a piece; whether it said anything. Comments that only keep the connection open do not.
    fn take(&mut self, piece: &Bytes, channel: &dyn JobChannel) -> Result<bool, Failure> {
        self.received = self.received.saturating_add(piece.len());
        if self.received > MAX_ANSWER {
            let message = format!("the answer has more than {} MiB; set max_tokens", MAX_ANSWER >> 20);
            return Err(Failure::new(FailureKind::Permanent, message).with_code("answer_too_large"));
        }
        if matches!(self.form, Form::Unknown)
            && let Some(first) = piece.iter().find(|byte| !byte.is_ascii_whitespace())
        {
            self.form = if *first == b'{' { Form::Document(Vec::new()) } else { Form::Stream(Parser::default()) };
        }
        match &mut self.form {
            Form::Unknown => Ok(false),
            Form::Document(document) => {
                document.extend_from_slice(piece);
                Ok(true)
            }
            Form::Stream(parser) => {
                let events = parser.feed(piece);
                for event in &events {
                    self.reply.event(event)?.into_iter().for_each(|token| tell(channel, &token));
                }
                Ok(!events.is_empty())
            }
        }
    }

    fn end(mut self, channel: &dyn JobChannel) -> Result<Reply, Failure> {
        let token = match &mut self.form {
            Form::Unknown => None,
            Form::Document(document) => self.reply.document(&String::from_utf8_lossy(document))?,
            // The last event may lack the empty line behind it.
            Form::Stream(parser) => parser.end().map(|event| self.reply.event(&event)).transpose()?.flatten(),
        };
        token.into_iter().for_each(|token| tell(channel, &token));
        self.reply.end()
    }
}
