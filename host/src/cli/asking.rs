//! Who is asked about runs: the host of a data folder.

use std::io::{self, Write};
use std::path::PathBuf;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::arguments::Asking;
use super::exit::{Exit, after_writing, not_started, refused};
use super::run::cannot_begin;
use crate::app::DATA_FOLDER;
use crate::control::{Client, NO_HOST, Request};
use crate::model::failure::Failure;

/// Why there is nothing to show.
pub(super) enum Broken {
    Output(io::Error),
    Refused(Failure),
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl From<Failure> for Broken {
    fn from(failure: Failure) -> Self {
        Self::Refused(failure)
    }
}

/// A data folder that is asked.
pub(super) struct Source {
    data: PathBuf,
}

/// Asks the data folder that is named, or the default one.
pub(super) fn ask(asking: &Asking, work: impl AsyncFnOnce(&Source) -> Result<Exit, Broken>) -> Exit {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return not_started(&cannot_begin(&error)),
    };
    let data = asking.data.clone().unwrap_or_else(|| PathBuf::from(DATA_FOLDER));
    match runtime.block_on(work(&Source { data })) {
        Ok(exit) => exit,
        Err(Broken::Output(error)) => after_writing(Err(error), Exit::Good),
        Err(Broken::Refused(failure)) if failure.code.as_deref() == Some(NO_HOST) => not_started(&failure),
        Err(Broken::Refused(failure)) => refused(&failure),
    }
}

impl Source {
    /// What its host lists, and how much more there is.
    ///
    /// # Errors
    /// No host answers, or it refuses.
    pub(super) async fn list<T: DeserializeOwned>(&self, request: &Request) -> Result<(Vec<T>, u64), Failure> {
        Client::connect(&self.data).await?.list(request).await
    }

    /// The one thing that its host says.
    ///
    /// # Errors
    /// As [`list`](Self::list).
    pub(super) async fn one<T: DeserializeOwned>(&self, request: &Request) -> Result<T, Failure> {
        let (mut items, _) = self.list(request).await?;
        items.pop().ok_or_else(|| Failure::new(crate::model::failure::FailureKind::Permanent, "the host answered nothing"))
    }
}

/// Each on a line of its own as JSON.
///
/// # Errors
/// They cannot be written.
pub(super) fn print_json<T: Serialize>(items: &[T]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for item in items {
        serde_json::to_writer(&mut out, item)?;
        out.write_all(b"\n")?;
    }
    out.flush()
}

/// A text for people.
///
/// # Errors
/// It cannot be written.
pub(super) fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}
