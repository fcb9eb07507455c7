//! Facts in one SQLite file: whatever a commit that has ended well has written is there after a crash, and after a power cut.

mod accept;
mod account;
mod apply;
mod archive;
mod backup;
mod ballast;
mod chain;
mod checkpointing;
mod connection;
mod encode;
mod export;
mod findings;
mod gathering;
mod guard;
mod held;
mod indexes;
mod mark;
mod marking;
mod opening;
mod payload;
mod places;
mod queue;
mod read;
mod rescue;
mod retention;
mod rooms;
mod runs_row;
mod salvage;
mod schema;
mod seal;
mod sealed;
mod serving;
mod shortage;
mod standing;
mod sum;
mod syncing;
mod verify;
mod walk;
mod writer;

use std::collections::HashSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::memory::MemoryStore;
use crate::model::bundle::Bundle;
use crate::model::failure::Failure;
use crate::model::id::{Digest, EventId, RunId};
use crate::model::port::{Answer, Clock, Commit, Health, Page, Pending, RunQuery, RunRecord, Store, StoreError};
use crate::model::record::{Batch, Fact, InboxKey, Kept, Room, Write};
use crate::model::time::Timestamp;

pub use accept::{Accepted, NOT_ACCEPTED, accept_loss};
pub use archive::{Archive, NO_JOURNAL};
pub use backup::{NO_BACKUP, backup};
pub use connection::{BAD_DISK, CANNOT_OPEN, NO_ROOM};
pub use export::{NotExported, export};
pub use findings::{Findings, MOST_PROBLEMS, Problem};
pub use marking::{EVERY, Integrity};
pub use retention::Retention;
pub use schema::{FORMAT, NEWER, NOT_UPGRADED};
pub use seal::{NO_KEY, Secrets};
pub use standing::Standing;
pub use walk::Damage;

use ballast::Ballast;
use encode::{Append, changes_of};
use opening::Opening;
use payload::Payloads;
use queue::{Order, Queue, Written};
use read::{Damaged, Readers};
use seal::Sealer;
use shortage::Shortage;
use verify::Depth;
use writer::{Around, Writer};

/// What stands in a data folder in the place of a journal. Blocks; changes nothing, and may be done while a host writes.
///
/// # Errors
/// With [`NEWER`] as its code, or with [`CANNOT_OPEN`]: it is of format 0, or whether something is lost cannot be known.
pub fn standing(folder: &Path) -> Result<Standing, Failure> {
    let path = folder.join(FILE);
    match standing::of(&path)? {
        Standing::Older => Err(schema::older(&path)),
        standing => Ok(standing),
    }
}

/// Looks closely at the journal in a data folder, which [stands](standing) there. Blocks; changes nothing, and may be done while a host writes.
///
/// # Errors
/// The file cannot be opened, or its mark not be read.
pub fn verify(folder: &Path) -> Result<Findings, Failure> {
    verify::examine(&folder.join(FILE), Depth::Whole)
}

/// The file in the data folder. Its write-ahead log and its index stand beside it while a host runs.
pub const FILE: &str = "journal.db";

/// How a store works.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    /// Whether what is committed survives a power cut: each commit waits for the disk. True by default; a test of a file needs it not, and
    /// is quicker without.
    pub lasting: bool,
    /// When the mark is made to last that says how far the store has come. From time to time by default.
    pub integrity: Integrity,
    /// How many bytes are held for the day when there is no room, so that runs under way can finish; 4 MiB by default.
    pub ballast: u64,
    /// How long what is over is kept.
    pub retention: Retention,
    /// How often what is old is looked after; `None` is only when [`SqliteStore::tidy`] is called. Every minute by default.
    pub tidy_every: Option<Duration>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            lasting: true,
            integrity: Integrity::default(),
            ballast: 4 << 20,
            retention: Retention::default(),
            tidy_every: Some(Duration::from_secs(60)),
        }
    }
}

/// The SQLite store. Cloning gives another handle on the same one; the last one closes it, when everything that waits is written.
///
/// Facts of flows that are not durable are in a memory store inside, as is what is written with them.
#[derive(Clone)]
pub struct SqliteStore(Arc<Inside>);

struct Inside {
    path: PathBuf,
    queue: Arc<Queue>,
    readers: Readers,
    sealer: Arc<Sealer>,
    memory: MemoryStore,
    writer: Mutex<Option<JoinHandle<()>>>,
    tidier: Option<AbortHandle>,
    #[cfg(test)]
    pages: Arc<std::sync::atomic::AtomicI32>,
}

impl SqliteStore {
    /// Opens the journal in a data folder that is there, and makes it if there is none. Blocks; must be called within a Tokio runtime.
    ///
    /// # Errors
    /// With [`CANNOT_OPEN`], [`NO_ROOM`], [`BAD_DISK`], [`NEWER`], [`NOT_UPGRADED`] or [`NO_KEY`] as its code, the file's name and the way out.
    pub fn open(folder: &Path, clock: &Arc<dyn Clock>, secrets: Secrets, options: Options) -> Result<Self, Failure> {
        let path = folder.join(FILE);
        let payloads = Payloads::of(folder, options.lasting);
        let ballast = Ballast::of(folder, options.ballast);
        let opening = opening::open_at_any_rate(&path, options, &payloads, &ballast)?;
        if options.lasting {
            // The name of a file that was made just now lasts as what is in it does.
            let synced = File::open(folder).and_then(|folder| folder.sync_all());
            synced.map_err(|error| connection::of_system(folder, &error, "check that disk"))?;
        }
        let sealer = Arc::new(match &opening {
            Opening::Good(_) => Sealer::of(folder, secrets)?,
            // Whoever only reads has no use for a new key, and one that is to be put back must find its place free.
            Opening::Suspect(_) => Sealer::if_there(folder, secrets)?.unwrap_or_else(Sealer::none),
        });
        let queue = Arc::new(Queue::new());
        let runtime = Handle::try_current().ok();
        let tidier = runtime.as_ref().zip(options.tidy_every).map(|(runtime, every)| tidy_every(runtime, every, clock, &queue));
        let around = Around {
            queue: Arc::clone(&queue),
            payloads: payloads.clone(),
            shortage: Shortage::new(ballast, Arc::clone(clock), runtime),
            retention: options.retention,
            clock: Arc::clone(clock),
        };
        #[cfg(test)]
        let mut pages = Arc::default();
        let (mut lasting, mut damaged) = (None, Damaged::IsTold);
        let thread = match opening {
            Opening::Good(parts) => {
                let writer = Writer::new(*parts, around, options.lasting)?;
                lasting = Some(writer.lasting());
                #[cfg(test)]
                {
                    pages = writer.limit();
                }
                let thread = Builder::new().name("journal".to_owned()).spawn(move || writer.run());
                let refuse = |error| connection::cannot_open(&path, &format!("no thread can be started: {error}"), "end other programs");
                Some(thread.map_err(refuse)?)
            }
            Opening::Suspect(findings) => {
                damaged = Damaged::of(&findings);
                queue.set_health(Health::Suspect(findings.suspicion().unwrap_or_default()));
                None
            }
        };
        let readers = Readers::new(path.clone(), Arc::clone(&sealer), payloads, Some(Arc::clone(clock)), lasting, damaged);
        Ok(Self(Arc::new(Inside {
            path,
            queue,
            readers,
            sealer,
            memory: MemoryStore::timed(Arc::clone(clock)),
            writer: Mutex::new(thread),
            tidier,
            #[cfg(test)]
            pages,
        })))
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Writes everything that waits and takes nothing more. Blocks until that is done. Dropping the last handle does the same.
    pub fn close(&self) {
        self.0.close();
    }

    /// Removes everything that is old; see [`Retention`].
    pub fn tidy(&self) -> Commit {
        let tidied = self.0.queue.tidy_wholly();
        Box::pin(async move { tidied.await.map(drop).map_err(|_| queue::closed()) })
    }

    /// Waits until nothing can be written any more, and says why; for ever, if that does not come to pass. Whoever holds this holds no handle.
    pub fn broken(&self) -> impl Future<Output = String> + Send + use<> {
        let mut broken = self.0.queue.broken();
        async move {
            match broken.wait_for(Option::is_some).await.map(|why| why.clone()) {
                Ok(Some(why)) => why,
                // It was closed, and was not broken.
                _ => std::future::pending().await,
            }
        }
    }

    /// Whether new runs are taken: [`Health::Good`], or [`Health::Full`] or [`Health::Held`] with the reason. Told anew when that changes.
    pub fn short(&self) -> watch::Receiver<Health> {
        self.0.queue.short()
    }

    /// Waits until everything is written that was given before.
    fn flushed(&self) -> Commit {
        self.order(Order::Flush)
    }

    fn order(&self, order: Order) -> Commit {
        let given = self.0.queue.give(order);
        Box::pin(async move {
            match given?.await {
                Ok(Written::Refused(error)) => Err(error),
                Ok(Written::Done | Written::Claimed(_)) => Ok(()),
                Err(_) => Err(queue::closed()),
            }
        })
    }

    /// Runs that are kept in memory only, as this store orders those that are pending.
    fn runs_in_memory(&self) -> Answer<Vec<RunRecord>> {
        self.0.memory.runs(RunQuery { outcome: Some("open".to_owned()), ..RunQuery::default() })
    }
}

impl Inside {
    fn close(&self) {
        if let Some(tidier) = &self.tidier {
            tidier.abort();
        }
        self.queue.close();
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer {
            // It fails only if it panicked, which the panic hook has told.
            let _ = writer.join();
        }
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.close();
    }
}

impl Store for SqliteStore {
    fn commit(&self, batch: Batch) -> Commit {
        if !batch.durable {
            return self.0.memory.commit(batch);
        }
        match Append::new(&batch, &self.0.sealer) {
            Ok(append) => self.order(Order::Append(Box::new(append))),
            Err(error) => Box::pin(std::future::ready(Err(error))),
        }
    }

    fn write(&self, writes: Vec<Write>) -> Commit {
        // What a flow that is not durable has kept is forgotten there too.
        let forgotten = writes.iter().filter(|write| matches!(write, Write::Forget { .. })).cloned().collect::<Vec<_>>();
        if !forgotten.is_empty() {
            drop(self.0.memory.write(forgotten));
        }
        match changes_of(&writes, &self.0.sealer) {
            Ok(changes) => self.order(Order::Write(changes)),
            Err(error) => Box::pin(std::future::ready(Err(error))),
        }
    }

    fn facts(&self, run: RunId) -> Answer<Vec<Fact>> {
        if self.0.memory.knows(run) {
            return self.0.memory.facts(run);
        }
        self.0.readers.facts(run)
    }

    fn facts_of(&self, runs: &[RunId]) -> Answer<Vec<Result<Vec<Fact>, StoreError>>> {
        if runs.iter().any(|run| self.0.memory.knows(*run)) {
            let all = join_all(runs.iter().map(|run| self.facts(*run)));
            return Box::pin(async move { Ok(all.await) });
        }
        let runs = runs.to_vec();
        self.0.readers.read(move |connection, sealer, payloads| {
            Ok(runs.into_iter().map(|run| read::facts(connection, run, sealer, payloads)).collect())
        })
    }

    fn rest(&self, run: RunId) {
        self.0.memory.rest(run);
    }

    fn pending(&self) -> Answer<Pending> {
        let (flushed, in_memory, others) = (self.flushed(), self.0.memory.pending(), self.runs_in_memory());
        let (read, records) =
            (self.0.readers.read(read::pending), self.0.readers.read(|connection, _, _| read::runs(connection, &open_runs())));
        Box::pin(async move {
            flushed.await?;
            let (mut pending, memory, others) = (read.await?, in_memory.await?, others.await?);
            if !others.is_empty() {
                let mut records = records.await?;
                records.extend(others);
                records.sort_by_key(|record| (record.due.unwrap_or(Timestamp::MAX), record.began, record.run));
                pending.runs = records.into_iter().map(|record| record.run).collect();
            }
            pending.claimed.extend(memory.claimed);
            pending.dispatched.extend(memory.dispatched);
            pending.dispatched.sort();
            pending.events.extend(memory.events);
            pending.events.sort_by_key(|pending| (pending.event.time, pending.event.id));
            Ok(pending)
        })
    }

    fn claim(&self, run: RunId) -> Answer<u32> {
        if self.0.memory.knows(run) {
            return self.0.memory.claim(run);
        }
        let given = self.0.queue.give(Order::Claim(run));
        Box::pin(async move {
            match given?.await {
                Ok(Written::Claimed(count)) => Ok(count),
                Ok(Written::Refused(error)) => Err(error),
                Ok(Written::Done) | Err(_) => Err(queue::closed()),
            }
        })
    }

    fn has_taken(&self, key: InboxKey) -> Answer<bool> {
        let in_memory = self.0.memory.has_taken(key.clone());
        let read = self.0.readers.read(move |connection, _, _| read::has_taken(connection, &key));
        Box::pin(async move { Ok(in_memory.await? || read.await?) })
    }

    fn published(&self, events: Vec<EventId>) {
        self.0.memory.published(events.clone());
        self.0.queue.publish(events);
    }

    fn kept(&self, room: Room) -> Answer<Vec<Kept>> {
        let page = self.first_kept(room, usize::MAX);
        Box::pin(async move { page.await?.whole() })
    }

    fn first_kept(&self, room: Room, most: usize) -> Answer<Page> {
        let in_memory = self.0.memory.first_kept(room, most);
        let read = self.0.readers.read(move |connection, sealer, payloads| rooms::kept(connection, (room, most), sealer, payloads));
        Box::pin(async move {
            let (mut page, others) = (read.await?, in_memory.await?);
            page.kept.extend(others.kept);
            page.kept.truncate(most);
            Ok(page)
        })
    }

    fn holds(&self, room: Room, names: &[(String, String)]) -> Answer<HashSet<(String, String)>> {
        let in_memory = self.0.memory.holds(room, names);
        let names = names.to_vec();
        let read = self.0.readers.read(move |connection, _, _| rooms::holds(connection, room, &names));
        Box::pin(async move {
            let mut held = read.await?;
            held.extend(in_memory.await?);
            Ok(held)
        })
    }

    fn bundle(&self, revision: Digest) -> Answer<Option<Arc<Bundle>>> {
        let in_memory = self.0.memory.bundle(revision);
        let read = self.0.readers.read(move |connection, _, payloads| rooms::bundle(connection, revision, payloads));
        Box::pin(async move {
            match in_memory.await? {
                Some(bundle) => Ok(Some(bundle)),
                None => read.await,
            }
        })
    }

    fn runs(&self, query: RunQuery) -> Answer<Vec<RunRecord>> {
        let in_memory = self.0.memory.runs(query.clone());
        let limit = query.limit;
        let read = self.0.readers.read(move |connection, _, _| read::runs(connection, &query));
        Box::pin(async move {
            let (mut records, others) = (read.await?, in_memory.await?);
            if !others.is_empty() {
                records.extend(others);
                records.sort_by_key(|record| std::cmp::Reverse(record.run));
                if limit > 0 {
                    records.truncate(limit);
                }
            }
            Ok(records)
        })
    }

    fn health(&self) -> Health {
        self.0.queue.health()
    }

    fn left_out(&self) -> Option<String> {
        let suspicion = || match self.health() {
            Health::Suspect(why) => Some(why),
            Health::Good | Health::Full(_) | Health::Held(_) | Health::Broken(_) => None,
        };
        self.0.readers.left_out().or_else(suspicion)
    }
}

/// Has what is old looked after from time to time, until it is aborted.
fn tidy_every(runtime: &Handle, every: Duration, clock: &Arc<dyn Clock>, queue: &Arc<Queue>) -> AbortHandle {
    let (clock, queue) = (Arc::clone(clock), Arc::clone(queue));
    let task = runtime.spawn(async move {
        loop {
            clock.sleep_until(clock.now() + every).await;
            queue.tidy();
        }
    });
    task.abort_handle()
}

fn open_runs() -> RunQuery {
    RunQuery { outcome: Some("open".to_owned()), ..RunQuery::default() }
}

#[cfg(test)]
mod tests;
