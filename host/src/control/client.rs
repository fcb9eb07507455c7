//! Speaks to the host of a data folder: one request, then its answers.

use std::io;
use std::path::Path;

use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use super::request::{Answer, LONGEST_ANSWER, LONGEST_REQUEST, Request, not_understood, refuse};
use super::socket::{self, NO_HOST};
use crate::model::failure::{Failure, FailureKind};

/// The most items that one list has.
pub const LONGEST_LIST: usize = 1 << 20;

/// A connection to a running host, for one request.
pub struct Client {
    stream: BufReader<UnixStream>,
}

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

    /// Asks for a list or for one thing, and reads the answers to their end: what was asked for, and how much more there is.
    ///
    /// # Errors
    /// The host refused it, as with [`ask`](Self::ask) and [`next`](Self::next), or it is longer than [`LONGEST_LIST`].
    pub async fn list<T: DeserializeOwned>(&mut self, request: &Request) -> Result<(Vec<T>, u64), Failure> {
        self.ask(request).await?;
        let mut items = Vec::new();
        loop {
            match self.next().await? {
                Answer::Item { item } if items.len() < LONGEST_LIST => {
                    items.push(serde_json::from_str(item.text()).map_err(|_| not_understood())?);
                }
                Answer::Done { more } => return Ok((items, more)),
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

fn gone(error: &io::Error) -> Failure {
    Failure::new(FailureKind::Transient, format!("the host went away before it had answered ({error})")).with_code(NO_HOST)
}
