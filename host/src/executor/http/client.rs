//! Sends a request, and follows where it is sent on to; each step asks anew whether it may go there.

use std::error::Error;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, LOCATION};
use reqwest::{Client, Method, Response, Url};
use tokio::io::AsyncReadExt;

use super::answer::Answer;
use super::reach::{Reach, Refused, shown};
use super::request::{Body, Request};
use crate::executor::files::Folder;
use crate::model::failure::{Failure, FailureKind};
use crate::model::id::ExecutorName;
use crate::model::policy::show_duration;
use crate::model::port::Clock;
use crate::model::time::Timestamp;

/// How long making a connection may take.
const CONNECT: Duration = Duration::from_secs(10);
/// How often a request is sent on at most.
const MAX_REDIRECTS: usize = 10;
/// Connections to one host that are kept for the next requests, and for how long.
const KEPT: (usize, Duration) = (16, Duration::from_secs(60));
/// The largest piece of a file that is in memory at once, in bytes.
const PIECE: u64 = 128 << 10;

/// What requests of one executor need.
pub struct Settings {
    /// Whose they are: refusals name it.
    pub executor: ExecutorName,
    /// The origins of `grants: { http }`.
    pub granted: Vec<String>,
    /// Addresses of the executor's own `config`, which count as granted literally.
    pub configured: Vec<String>,
    /// Measures how long the other side says nothing.
    pub clock: Arc<dyn Clock>,
}

/// The requests of one executor: where they may go, and its kept connections.
pub struct Http {
    executor: ExecutorName,
    reach: Reach,
    pub(super) clock: Arc<dyn Clock>,
    /// Made by the first request: a machine may have no certificates, and most executors ask nobody.
    client: OnceLock<Result<Client, String>>,
}

/// When something was last heard or sent: what idling is measured from.
#[derive(Clone)]
pub(super) struct Activity(Arc<Mutex<Timestamp>>);

impl Activity {
    fn new(now: Timestamp) -> Self {
        Self(Arc::new(Mutex::new(now)))
    }

    pub(super) fn heard(&self, now: Timestamp) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }

    fn last(&self) -> Timestamp {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where one step of a request goes, and what of it goes along.
struct Step {
    url: Url,
    method: Method,
    with_body: bool,
    with_credentials: bool,
}

impl Http {
    /// Makes ready to ask; connects to nothing yet.
    pub fn new(settings: Settings) -> Self {
        let Settings { executor, granted, configured, clock } = settings;
        Self { executor: executor.clone(), reach: Reach::new(executor, granted, &configured), clock, client: OnceLock::new() }
    }

    /// Whose requests these are.
    pub(super) fn executor(&self) -> &ExecutorName {
        &self.executor
    }

    /// Sends a request and waits until its answer begins. `folder` has the file of its body. Dropping the future, or the answer, closes the
    /// connection.
    ///
    /// # Errors
    /// `denied` for an address that is not granted, `transient` for a connection that fails, `timeout` for one that idles, `permanent` for
    /// more than ten redirects; what is wrong with the body's file. A status is no error here.
    pub(in crate::executor) async fn send(&self, request: &Request, folder: Option<&Arc<Folder>>) -> Result<Answer, Failure> {
        let sent = self.follow(request, folder).await;
        sent.map_err(|failure| {
            let message = request.without_secrets(&failure.message);
            failure.with_message(message)
        })
    }

    async fn follow(&self, request: &Request, folder: Option<&Arc<Folder>>) -> Result<Answer, Failure> {
        let mut step = Step { url: request.url.clone(), method: request.method.clone(), with_body: true, with_credentials: true };
        for _ in 0..=MAX_REDIRECTS {
            self.reach.check(&step.url)?;
            let activity = Activity::new(self.clock.now());
            let response = self.once(request, &step, folder, &activity).await?;
            let Some(next) = redirect(&response, &step, &request.accept)? else {
                return Ok(Answer::new(response, activity, request, &step.method, &step.url));
            };
            // What says who asks is for whom it was written; once dropped it does not come back.
            let with_credentials = step.with_credentials && next.url.origin() == step.url.origin();
            step = Step { with_credentials, with_body: step.with_body && next.with_body, ..next };
        }
        let message = format!("{} {} is sent on more than {MAX_REDIRECTS} times", request.method, shown(&request.url));
        Err(Failure::new(FailureKind::Permanent, message).with_code("too_many_redirects"))
    }

    async fn once(&self, request: &Request, step: &Step, folder: Option<&Arc<Folder>>, activity: &Activity) -> Result<Response, Failure> {
        let mut building = self.client()?.request(step.method.clone(), step.url.clone());
        let mut headers = request.headers.clone();
        if step.with_credentials {
            headers.extend(request.credentials.clone());
        }
        // A stream that fails ends the request with an error of the connection; what it was stands here.
        let unread = Arc::new(Mutex::new(None));
        match (&request.body, folder) {
            (Body::Bytes(bytes), _) if step.with_body => building = building.body(bytes.clone()),
            (Body::File { file, range, .. }, Some(folder)) if step.with_body => {
                let (open, length) = folder.open(file, *range).await?;
                // With its length written, no server has to take it in chunks of unknown number, which many refuse.
                headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
                headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/octet-stream"));
                let source = Source { open, left: length, file: file.clone(), unread: Arc::clone(&unread) };
                building = building.body(reqwest::Body::wrap_stream(source.pieces(Arc::clone(&self.clock), activity.clone())));
            }
            _ => {
                headers.remove(CONTENT_TYPE);
            }
        }
        let sending = building.headers(headers).send();
        let sent = self.in_time(activity, request.idle, &step.url, sending).await?;
        sent.map_err(|error| unread.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_else(|| broken(&step.url, error)))
    }

    fn client(&self) -> Result<&Client, Failure> {
        let made = self.client.get_or_init(|| {
            // One provider for the whole process; that it is there already is fine.
            let _ = rustls::crypto::ring::default_provider().install_default();
            let builder = Client::builder()
                .no_proxy()
                .redirect(reqwest::redirect::Policy::none())
                // Retrying is the policies' business.
                .retry(reqwest::retry::never())
                .connect_timeout(CONNECT)
                .pool_max_idle_per_host(KEPT.0)
                .pool_idle_timeout(KEPT.1)
                .dns_resolver(self.reach.resolver());
            // Without TLS no certificates are needed, and a machine may have none.
            let builder = if self.reach.is_secure() { builder } else { builder.tls_certs_only([]) };
            builder.build().map_err(|error| causes(&error))
        });
        made.as_ref().map_err(|why| {
            let message =
                format!("no connection can be made ready: {why}; install the system's root certificates (package ca-certificates)");
            Failure::new(FailureKind::Permanent, message).with_code("certificates")
        })
    }

    /// Waits for work that is given up when nothing happens for so long.
    pub(super) async fn in_time<T>(
        &self,
        activity: &Activity,
        idle: Duration,
        url: &Url,
        work: impl Future<Output = T>,
    ) -> Result<T, Failure> {
        tokio::pin!(work);
        loop {
            let until = activity.last() + idle;
            tokio::select! {
                biased;
                done = &mut work => return Ok(done),
                () = self.clock.sleep_until(until) => {
                    if activity.last() + idle <= self.clock.now() {
                        let message = format!("{} said nothing for {}; raise idle_timeout if it needs longer", shown(url), show_duration(idle));
                        return Err(Failure::new(FailureKind::Timeout, message).with_code("idle"));
                    }
                }
            }
        }
    }
}

/// Where an answer sends the request on to, if it does.
fn redirect(response: &Response, step: &Step, accept: &[u16]) -> Result<Option<Step>, Failure> {
    let status = response.status().as_u16();
    let location = response.headers().get(LOCATION).filter(|_| matches!(status, 301 | 302 | 303 | 307 | 308) && !accept.contains(&status));
    let Some(location) = location else { return Ok(None) };
    let url = location.to_str().ok().and_then(|location| step.url.join(location).ok()).ok_or_else(|| {
        let message = format!("{} answered {status} and sends on to what is no address", shown(&step.url));
        Failure::new(FailureKind::Permanent, message).with_code("redirect").with_status(status)
    })?;
    // As browsers do it: what was posted is asked for by GET, but for the two statuses that were made to keep it.
    let asks = match status {
        303 => step.method != Method::HEAD,
        301 | 302 => step.method == Method::POST,
        _ => false,
    };
    let method = if asks { Method::GET } else { step.method.clone() };
    Ok(Some(Step { url, method, with_body: !asks, with_credentials: false }))
}

/// A part of a file under way.
struct Source {
    open: tokio::fs::File,
    left: u64,
    file: String,
    unread: Arc<Mutex<Option<Failure>>>,
}

impl Source {
    /// The part in pieces of at most [`PIECE`] bytes, the next of which is read when the one before has gone.
    fn pieces(self, clock: Arc<dyn Clock>, activity: Activity) -> impl Stream<Item = Result<Bytes, std::io::Error>> + Send + 'static {
        futures_util::stream::try_unfold(self, move |mut source| {
            activity.heard(clock.now());
            async move {
                if source.left == 0 {
                    return Ok(None);
                }
                let mut piece = vec![0; usize::try_from(source.left.min(PIECE)).unwrap_or_default()];
                let read = match source.open.read(&mut piece).await {
                    Ok(0) => Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof)),
                    other => other,
                };
                let length = read.inspect_err(|error| {
                    let message = format!("{:?} changed or went while it was sent: {error}; send what nobody writes to", source.file);
                    let failure = Failure::new(FailureKind::Failed, message).with_code("file");
                    *source.unread.lock().unwrap_or_else(PoisonError::into_inner) = Some(failure);
                })?;
                piece.truncate(length);
                source.left -= length as u64;
                Ok(Some((Bytes::from(piece), source)))
            }
        })
    }
}

/// A connection that could not be made or ended too early.
pub(super) fn broken(url: &Url, error: reqwest::Error) -> Failure {
    let mut cause = error.source();
    while let Some(inner) = cause {
        if let Some(refused) = inner.downcast_ref::<Refused>() {
            return Failure::new(FailureKind::Denied, refused.to_string()).with_code("not_granted");
        }
        cause = inner.source();
    }
    let what = if error.is_connect() { "cannot be reached" } else { "broke off" };
    let message = format!("{} {what}: {}", shown(url), causes(&error.without_url()));
    Failure::new(FailureKind::Transient, message).with_code("connection")
}

/// An error with what caused it: the outermost alone says nothing of use.
fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    text
}
