//! The journal of a host that does not run, to be looked at only: no thread, no new number, nothing made that is not there.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use super::payload::Payloads;
use super::read::{self, Readers};
use super::seal::Sealer;
use super::{FILE, connection, rooms, schema};
use crate::model::bundle::Bundle;
use crate::model::failure::{Failure, FailureKind};
use crate::model::id::{Digest, EventId, RunId};
use crate::model::port::{Answer, Commit, Health, Page, Pending, RunQuery, RunRecord, Store, StoreError};
use crate::model::record::{Batch, Fact, InboxKey, Kept, Room, Write};

/// The code of a data folder in which no host has kept anything.
pub const NO_JOURNAL: &str = "E0771";

/// A journal that is only read. Values of secrets that were read by their names are left away: names are all that is shown.
pub struct Archive(Readers);

impl Archive {
    /// Opens the journal of a data folder. Blocks; must be called within a Tokio runtime.
    ///
    /// # Errors
    /// `not_found` with [`NO_JOURNAL`]; with [`CANNOT_OPEN`](super::CANNOT_OPEN), or [`NEWER`](super::NEWER) for one of another format.
    pub fn open(folder: &Path) -> Result<Self, Failure> {
        let path = folder.join(FILE);
        if !is_there(folder)? {
            let shown = folder.display();
            let message = format!(
                "no host runs on the data folder {shown}, and none has kept anything in it; start one with pipehost run FILE, or name its data folder with --data DIR"
            );
            return Err(Failure::new(FailureKind::NotFound, message).with_code(NO_JOURNAL));
        }
        let connection = connection::reader(&path).map_err(|error| connection::of(&path, &error))?;
        schema::is_of_this_host(&connection, &path)?;
        let sealer = Sealer::to_look(folder)?;
        Ok(Self(Readers::new(path, Arc::new(sealer), Payloads::of(folder, true), None, None)))
    }
}

/// Whether a data folder has a journal.
///
/// # Errors
/// With [`CANNOT_OPEN`](super::CANNOT_OPEN): that is not known, as this user may not look into the folder.
pub fn is_there(folder: &Path) -> Result<bool, Failure> {
    let path = folder.join(FILE);
    match fs::metadata(&path) {
        Ok(file) => Ok(file.is_file()),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            Err(connection::of_system(&path, &error, "do this as the user that the data folder belongs to"))
        }
        Err(_) => Ok(false),
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
        self.0.read(move |connection, sealer, payloads| read::facts(connection, run, sealer, payloads))
    }

    fn rest(&self, _: RunId) {}

    fn pending(&self) -> Answer<Pending> {
        self.0.read(read::pending)
    }

    fn claim(&self, _: RunId) -> Answer<u32> {
        refused()
    }

    fn has_taken(&self, key: InboxKey) -> Answer<bool> {
        self.0.read(move |connection, _, _| read::has_taken(connection, &key))
    }

    fn published(&self, _: Vec<EventId>) {}

    fn kept(&self, room: Room) -> Answer<Vec<Kept>> {
        let page = self.first_kept(room, usize::MAX);
        Box::pin(async move { page.await?.whole() })
    }

    fn first_kept(&self, room: Room, most: usize) -> Answer<Page> {
        self.0.read(move |connection, sealer, payloads| rooms::kept(connection, (room, most), sealer, payloads))
    }

    fn bundle(&self, revision: Digest) -> Answer<Option<Arc<Bundle>>> {
        self.0.read(move |connection, _, payloads| rooms::bundle(connection, revision, payloads))
    }

    fn runs(&self, query: RunQuery) -> Answer<Vec<RunRecord>> {
        self.0.read(move |connection, _, _| read::runs(connection, &query))
    }

    fn health(&self) -> Health {
        Health::Suspect("the journal was opened to be looked at only".to_owned())
    }
}
