//! Who is asked about runs: the host of a data folder, or what the last one left in it.

use std::cell::Cell;
use std::io::{self, Write};
use std::path::PathBuf;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::arguments::Asking;
use super::elsewhere::say_where;
use super::environment;
use super::exit::{Exit, after_writing, incomplete, not_started, refused, say};
use super::run::cannot_begin;
use super::said::Said;
use super::typed::Typed;
use crate::app::DATA_FOLDER;
use crate::app::views::archive;
use crate::clock::RealClock;
use crate::control::{Client, Request, SILENT, look};
use crate::model::failure::{Failure, FailureKind};
use crate::model::value::Value;

/// Why there is nothing to show.
pub(super) enum Broken {
    /// It cannot be written.
    Output(io::Error),
    /// Nobody is there to be asked.
    Unopened(Failure),
    /// It was refused.
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

/// What is said where the journal is looked at, and no host is asked.
#[derive(Clone, Copy)]
struct Instead {
    /// Why, of each run.
    why: &'static str,
    /// Why, before the data folder's name.
    of: &'static str,
    /// What it is that is seen.
    what: &'static str,
}

const NO_HOST: Instead = Instead { why: "no host runs", of: "no host runs on", what: "this is what the last one left" };
const NO_ANSWER: Instead =
    Instead { why: "its host does not answer", of: "no answer comes from the host of", what: "this is what its journal has" };

/// A data folder that is asked.
pub(super) struct Source {
    data: PathBuf,
    typed: Typed,
    /// Whether something is missing in what was shown.
    misses: Cell<bool>,
}

/// Asks the data folder that is named, or the default one.
pub(super) fn ask(asking: &Asking, work: impl AsyncFnOnce(&Source) -> Result<Exit, Broken>) -> Exit {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return not_started(&cannot_begin(&error)),
    };
    let data = asking.data.clone().unwrap_or_else(|| PathBuf::from(DATA_FOLDER));
    let typed = Typed::here(&data);
    let source = Source { data, typed: typed.clone(), misses: Cell::new(false) };
    match runtime.block_on(work(&source)) {
        Ok(Exit::Good) if source.misses.get() => Exit::Failed,
        Ok(exit) => exit,
        Err(Broken::Output(error)) => after_writing(Err(error), Exit::Good),
        Err(Broken::Unopened(failure)) => say_where(not_started(&typed.failure(&failure)), asking.data.as_deref()),
        Err(Broken::Refused(failure)) => refused(&typed.failure(&failure)),
    }
}

impl Source {
    /// How commands are typed that go to the same folder.
    pub(super) const fn typed(&self) -> &Typed {
        &self.typed
    }

    /// What is listed, and how much more there is. What only looks needs no host: what the last one left is looked at then.
    ///
    /// # Errors
    /// No host answers and none has left anything, or it is refused.
    pub(super) async fn list<T: DeserializeOwned + Said>(&self, request: &Request) -> Result<(Vec<T>, u64), Broken> {
        let (mut items, more) = match Client::connect(&self.data).await {
            Ok(mut client) => match client.list(request, &RealClock::new(), &|why| say(&format!("{why}. It is waited for\n"))).await {
                Ok((items, more, left_out)) => {
                    self.say_left_out(left_out);
                    (items, more)
                }
                // One that stands still holds nothing that the journal does not have, but for runs that are not durable.
                Err(failure) if failure.code.as_deref() == Some(SILENT) => self.left(request, failure, NO_ANSWER).await?,
                Err(failure) => return Err(failure.into()),
            },
            Err(failure) => self.left(request, failure, NO_HOST).await?,
        };
        items.iter_mut().for_each(|item: &mut T| item.type_commands(&self.typed));
        Ok((items, more))
    }

    /// Says what is missing in what is shown.
    fn say_left_out(&self, left_out: Option<String>) {
        let Some(why) = left_out else { return };
        self.misses.set(true);
        incomplete(&self.typed, &why);
    }

    /// The one thing that is told.
    ///
    /// # Errors
    /// As [`list`](Self::list).
    pub(super) async fn one<T: DeserializeOwned + Said>(&self, request: &Request) -> Result<T, Broken> {
        let (mut items, _) = self.list(request).await?;
        let nothing = || Broken::Refused(Failure::new(FailureKind::Permanent, "the host answered nothing"));
        items.pop().ok_or_else(nothing)
    }

    /// The same from what the last host left, or has kept so far, with a line that says so.
    async fn left<T: DeserializeOwned>(&self, request: &Request, no_host: Failure, instead: Instead) -> Result<(Vec<T>, u64), Broken> {
        if !request.only_looks() {
            return Err(Broken::Unopened(no_host));
        }
        let views =
            environment::read(None).and_then(|environment| archive(&self.data, environment, instead.why)).map_err(Broken::Unopened)?;
        let Some(looked) = look(request, &views).await else { return Err(Broken::Unopened(no_host)) };
        let (items, more) = looked?;
        say(&format!("{} the data folder {}; {}\n", instead.of, self.data.display(), instead.what));
        self.say_left_out(views.left_out());
        let read = |item: &Value| serde_json::from_str(item.text()).map_err(io::Error::from);
        Ok((items.iter().map(read).collect::<Result<_, _>>()?, more))
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
