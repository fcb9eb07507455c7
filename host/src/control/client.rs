//! Speaks to the host of a data folder: one request, then its answers.

use std::io;
use std::path::Path;
use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use super::request::{Answer, LONGEST_ANSWER, LONGEST_REQUEST, Request, not_understood, refuse};
use super::socket::{self, NO_HOST};
use crate::model::failure::{Failure, FailureKind};
use crate::model::port::Clock;

/// The code of a host that does not answer one who only looks.
pub const SILENT: &str = "E0726";

/// The most items that one list has.
pub const LONGEST_LIST: usize = 1 << 20;

/// A connection to a running host, for one request.
pub struct Client {
    stream: BufReader<UnixStream>,
}

/// So long at most the host is waited for with each answer to a request that only looks. One that stands still, as one that was stopped by a signal,
/// answers nobody.
pub const PATIENCE: Duration = Duration::from_secs(10);

impl Client {
    /// Connects to the host whose data is in this folder. Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// `not_found` with [`NO_HOST`]: nobody answers.
    pub async fn connect(data: &Path) -> Result<Self, Failure> {
        socket::connect(data).await.map(|stream| Self { stream: BufReader::new(stream) })
    }

    /// Asks.
    ///
    /// # Errors
    /// The request is too long, or the host is gone.
    pub async fn ask(&mut self, request: &Request) -> Result<(), Failure> {
        let line = request.line();
        if line.len() > LONGEST_REQUEST {
            let message = format!("the request has {} bytes, and the limit is {LONGEST_REQUEST}; put large data into a file", line.len());
            return Err(refuse(&message));
        }
        self.stream.write_all(line.as_bytes()).await.map_err(|error| gone(&error))
    }

    /// Asks for a list or for one thing, and reads the answers to their end: what was asked for, how much more there is, and what is missing since the
    /// host cannot read it any more. Where the request only looks, each answer is waited for so long as `PATIENCE` says, 10 s. What changes something is
    /// waited for on and on, since nobody knows whether it will be done; `waits` hears once that it takes so long, and why that may be.
    ///
    /// # Errors
    /// The host refused it, as with [`ask`](Self::ask) and [`next`](Self::next), or it is longer than [`LONGEST_LIST`]; with [`SILENT`]: it has not answered.
    pub async fn list<T: DeserializeOwned>(
        &mut self,
        request: &Request,
        clock: &dyn Clock,
        waits: &dyn Fn(&str),
    ) -> Result<(Vec<T>, u64, Option<String>), Failure> {
        self.ask(request).await?;
        let (mut items, mut told) = (Vec::new(), false);
        loop {
            let answer = {
                let mut next = std::pin::pin!(self.next());
                loop {
                    tokio::select! {
                        biased;
                        answer = &mut next => break answer?,
                        () = clock.sleep_until(clock.now() + PATIENCE), if !told => {}
                    }
                    if request.only_looks() {
                        return Err(silent());
                    }
                    told = true;
                    waits(&silence());
                }
            };
            match answer {
                Answer::Item { item } if items.len() < LONGEST_LIST => {
                    items.push(serde_json::from_str(item.text()).map_err(|_| not_understood())?);
                }
                Answer::Done { more, left_out } => return Ok((items, more, left_out)),
                Answer::Refused { failure } => return Err(failure),
                _ => return Err(not_understood()),
            }
        }
    }

    /// The next answer.
    ///
    /// # Errors
    /// The host is gone, or says what cannot be understood.
    pub async fn next(&mut self) -> Result<Answer, Failure> {
        let mut line = Vec::new();
        let read = (&mut self.stream).take(LONGEST_ANSWER as u64).read_until(b'\n', &mut line).await.map_err(|error| gone(&error))?;
        if read == 0 || line.last() != Some(&b'\n') {
            return Err(gone(&io::ErrorKind::UnexpectedEof.into()));
        }
        Answer::parse(&line)
    }
}

fn silent() -> Failure {
    Failure::new(FailureKind::Timeout, silence()).with_code(SILENT)
}

fn silence() -> String {
    format!("the host has not answered for {} s; see whether it was stopped by a signal, or its machine is busy", PATIENCE.as_secs())
}

fn gone(error: &io::Error) -> Failure {
    Failure::new(FailureKind::Transient, format!("the host went away before it had answered ({error})")).with_code(NO_HOST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::RunsWanted;
    use crate::clock::{Activity, VirtualClock};
    use crate::control::request::OneRequest;
    use crate::model::value::Value;

    #[tokio::test]
    async fn a_host_that_stands_still_is_not_waited_for_for_ever_by_one_who_only_looks() {
        let (ours, theirs) = UnixStream::pair().expect("the system has sockets");
        let mut client = Client { stream: BufReader::new(ours) };
        let clock = VirtualClock::new(Activity::new());
        let (began, request) = (clock.now(), Request::Runs(RunsWanted::default()));
        let (asked, ()) = tokio::join!(client.list::<Value>(&request, &clock, &|_| ()), async {
            while clock.sleepers() == 0 {
                tokio::task::yield_now().await;
            }
            clock.advance(PATIENCE).await;
        });
        assert_eq!(asked.expect_err("nobody answers").code.as_deref(), Some(SILENT));
        assert_eq!(clock.now().since(began), PATIENCE);
        drop(theirs);
    }

    #[tokio::test]
    async fn who_changes_something_hears_once_that_the_host_stands_still_and_has_its_answer_when_it_goes_on() {
        let (ours, mut theirs) = UnixStream::pair().expect("the system has sockets");
        let mut client = Client { stream: BufReader::new(ours) };
        let clock = VirtualClock::new(Activity::new());
        let told = std::cell::RefCell::new(Vec::new());
        let waits = |text: &str| told.borrow_mut().push(text.to_owned());
        let request = Request::Cancel(OneRequest { id: "01a2".to_owned() });
        let (asked, ()) = tokio::join!(client.list::<Value>(&request, &clock, &waits), async {
            // Half of the answer comes before the host stands still.
            let answer = Answer::Done { more: 0, left_out: None }.line();
            let (first, second) = answer.as_bytes().split_at(5);
            theirs.write_all(first).await.expect("somebody reads");
            while clock.sleepers() == 0 {
                tokio::task::yield_now().await;
            }
            clock.advance(PATIENCE * 10).await;
            theirs.write_all(second).await.expect("somebody reads");
        });
        assert_eq!(asked.expect("it is answered").1, 0);
        let told = told.into_inner();
        assert!(matches!(told.as_slice(), [once] if once.contains("has not answered for 10 s")), "{told:?}");
    }
}
