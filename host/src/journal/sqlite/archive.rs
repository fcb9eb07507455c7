//! The journal of a host that does not run, to be looked at only: no thread, no new number, nothing made that is not there.

use std::path::Path;
use std::sync::Arc;

use super::payload::Payloads;
use super::read::{self, Damaged, Readers};
use super::seal::Sealer;
use super::standing::{self, Standing};
use super::{FILE, connection, rooms, schema, verify};
use crate::model::bundle::Bundle;
use crate::model::failure::{Failure, FailureKind};
use crate::model::id::{Digest, EventId, RunId};
use crate::model::port::{Answer, Commit, Health, Page, Pending, RunQuery, RunRecord, Store, StoreError};
use crate::model::record::{Batch, Fact, InboxKey, Kept, Room, Write};

/// The code of a data folder in which no host has kept anything.
pub const NO_JOURNAL: &str = "E0771";

/// A journal that is only read. Values of secrets that were read by their names are left away: names are all that is shown.
pub struct Archive {
    readers: Readers,
    /// What is missing at its end, in words.
    behind: Option<String>,
}

impl Archive {
    /// Opens the journal of a data folder. Blocks; must be called within a Tokio runtime.
    ///
    /// # Errors
    /// `not_found` with [`NO_JOURNAL`]; with [`CANNOT_OPEN`](super::CANNOT_OPEN), or [`NEWER`](super::NEWER) for one of another format.
    pub fn open(folder: &Path) -> Result<Self, Failure> {
        let path = folder.join(FILE);
        let standing = standing::of(&path)?;
        if standing == Standing::Nothing {
            let shown = folder.display();
            let message = format!(
                "no host runs on the data folder {shown}, and none has kept anything in it; start one with pipehost run FILE, or name its data folder with --data DIR"
            );
            return Err(Failure::new(FailureKind::NotFound, message).with_code(NO_JOURNAL));
        }
        let damaged = match standing {
            Standing::Lost(problem) => Damaged::Nothing(problem.to_string()),
            _ => {
                let connection = connection::reader(&path).map_err(|error| connection::of(&path, &error))?;
                schema::is_of_this_host(&connection, &path)?;
                Damaged::IsReadRound
            }
        };
        let sealer = Sealer::to_look(folder)?;
        let behind = verify::behind(&path).map(|problem| problem.to_string());
        Ok(Self { readers: Readers::new(path, Arc::new(sealer), Payloads::of(folder, true), None, None, damaged), behind })
    }
}

/// A journal that is only read takes nothing.
fn refused<T: Send + 'static>() -> Answer<T> {
    Box::pin(std::future::ready(Err(StoreError::Suspect("the journal was opened to be looked at only".to_owned()))))
}

impl Store for Archive {
    fn commit(&self, _: Batch) -> Commit {
        refused()
    }

    fn write(&self, _: Vec<Write>) -> Commit {
        refused()
    }

    fn facts(&self, run: RunId) -> Answer<Vec<Fact>> {
        self.readers.facts(run)
    }

    fn rest(&self, _: RunId) {}

    fn pending(&self) -> Answer<Pending> {
        self.readers.read(read::pending)
    }

    fn claim(&self, _: RunId) -> Answer<u32> {
        refused()
    }

    fn has_taken(&self, key: InboxKey) -> Answer<bool> {
        self.readers.read(move |connection, _, _| read::has_taken(connection, &key))
    }

    fn published(&self, _: Vec<EventId>) {}

    fn kept(&self, room: Room) -> Answer<Vec<Kept>> {
        let page = self.first_kept(room, usize::MAX);
        Box::pin(async move { page.await?.whole() })
    }

    fn first_kept(&self, room: Room, most: usize) -> Answer<Page> {
        self.readers.read(move |connection, sealer, payloads| rooms::kept(connection, (room, most), sealer, payloads))
    }

    fn bundle(&self, revision: Digest) -> Answer<Option<Arc<Bundle>>> {
        self.readers.read(move |connection, _, payloads| rooms::bundle(connection, revision, payloads))
    }

    fn runs(&self, query: RunQuery) -> Answer<Vec<RunRecord>> {
        self.readers.read(move |connection, _, _| read::runs(connection, &query))
    }

    fn health(&self) -> Health {
        Health::Suspect("the journal was opened to be looked at only".to_owned())
    }

    fn left_out(&self) -> Option<String> {
        self.readers.left_out().or_else(|| self.behind.clone())
    }
}
