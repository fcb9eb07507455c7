//! The one thread that writes: whatever waits goes into one transaction, which is handed on to be answered once it is on the disk.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::oneshot;

use super::apply::Transaction;
use super::checkpointing::{self, Checkpointing};
use super::connection::{self, Trouble};
use super::guard::Guard;
use super::mark::Mark;
use super::opening::Parts;
use super::payload::Payloads;
use super::places::Places;
use super::queue::{Order, Queue, Waiting, Work, Written};
use super::retention::{self, Retention};
use super::shortage::Shortage;
use super::syncing::{self, Committed, Disk, Lasting, Syncing};
use super::walk::End;
use crate::model::failure::Failure;
use crate::model::id::Digest;
use crate::model::port::{Clock, Health, StoreError};
use crate::telemetry::failpoint;

/// So many bytes of pages are written to the write-ahead log between two steps of taking them over into the file. A page that each transaction changes, as
/// the last one of each index, is taken over once a step.
const STEP: i32 = 16 << 20;

/// So many messages the defect of answering early holds back.
const LATE: usize = 32;

/// What the thread that writes holds.
pub(super) struct Writer {
    connection: Connection,
    epoch: i64,
    head: End,
    guard: Guard,
    syncing: Syncing,
    checkpointing: Checkpointing,
    places: Places,
    around: Around,
    /// How many frames the write-ahead log has.
    frames: Arc<AtomicI32>,
    /// How many frames a step has.
    step: i32,
    next_step: i32,
    /// Whether files that no row names were looked for since the start.
    swept: bool,
    /// What was answered and is not written: nothing, but with a planted defect.
    behind: Vec<Waiting>,
    /// How many pages the file may have; 0 is as many as it likes.
    #[cfg(test)]
    pages: Arc<AtomicI32>,
}

/// What is round the file.
pub(super) struct Around {
    pub(super) queue: Arc<Queue>,
    pub(super) payloads: Payloads,
    pub(super) shortage: Shortage,
    pub(super) retention: Retention,
    pub(super) clock: Arc<dyn Clock>,
}

impl Writer {
    /// One that has not begun.
    ///
    /// # Errors
    /// What SQLite or the system says.
    pub(super) fn new(parts: Parts, around: Around, lasting: bool) -> Result<Self, Failure> {
        let Parts { path, mut connection, epoch, guard, marking } = parts;
        let refuse = |error: rusqlite::Error| connection::of(&path, &error);
        let no_disk = |error: io::Error| connection::of_system(&path, &error, "end other programs, or check that disk");
        let mut log = None;
        if lasting {
            // From here on a commit does not wait for the disk itself.
            connection.execute_batch("PRAGMA synchronous=NORMAL").map_err(refuse)?;
            log = Some(syncing::log_of(&path).map_err(no_disk)?);
        }
        let disk = Disk { log, marking, queue: Arc::clone(&around.queue), clock: Arc::clone(&around.clock) };
        let syncing = Syncing::start(disk).map_err(no_disk)?;
        let checkpointing = Checkpointing::start(&path, lasting).map_err(no_disk)?;
        let page: i32 = connection.query_row("PRAGMA page_size", [], |row| row.get(0)).map_err(refuse)?;
        let step = STEP / page.max(1);
        let head = guard.account().mark.end;
        let frames = Arc::new(AtomicI32::new(0));
        let count = Arc::clone(&frames);
        let hook = connection.wal_hook(Some(move |_: &mut _, frames| {
            count.store(frames, Ordering::Relaxed);
            Ok(())
        }));
        hook.map_err(refuse)?;
        Ok(Self {
            connection,
            epoch,
            head,
            guard,
            syncing,
            checkpointing,
            places: Places::default(),
            around,
            frames,
            step,
            next_step: step,
            swept: false,
            behind: Vec::new(),
            #[cfg(test)]
            pages: Arc::default(),
        })
    }

    /// By which a test has the file run full: so many pages are all that there are.
    #[cfg(test)]
    pub(super) fn limit(&self) -> Arc<AtomicI32> {
        Arc::clone(&self.pages)
    }

    /// For those who read what this writes.
    pub(super) fn lasting(&self) -> Lasting {
        self.syncing.lasting()
    }

    /// Writes until the queue is closed and empty, or the store is broken.
    pub(super) fn run(mut self) {
        self.around.shortage.prepare(&self.around.queue);
        while let Some(mut work) = self.around.queue.take(|| self.around.clock.now()) {
            let (tidy, look) = (work.tidy, work.look);
            if !work.is_empty() {
                self.carry_out(&mut work);
            }
            if look {
                let connection = &self.connection;
                self.around.shortage.look(&self.around.queue, || connection::is_free(connection));
            }
            if tidy {
                self.tidy();
            }
            // The log may grow on where it cannot be taken over for want of room.
            if let Err(Trouble::Broken(why)) = self.take_over() {
                self.around.queue.break_down(&why);
            }
        }
        self.end();
    }

    /// Leaves one file without a log, which is what people copy. If that fails, the next start has the log to go on from.
    fn end(&mut self) {
        self.syncing.finish();
        self.checkpointing.finish();
        if self.around.queue.health() == Health::Good {
            let _ = self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        }
    }

    /// Writes all of it, or holds it until there is room.
    fn carry_out(&mut self, work: &mut Work) {
        if failpoint::is_planted("early_answer") {
            return self.answer_early(work);
        }
        let mut is_last = false;
        loop {
            let trouble = match self.write(work) {
                Ok(()) => return self.around.shortage.wrote(&self.around.queue),
                Err(trouble) => trouble,
            };
            let freed = self.around.shortage.met(&trouble, &self.around.queue);
            if trouble == Trouble::Taken {
                fence(work);
            }
            let error = StoreError::from(trouble);
            if let StoreError::Broken(why) = &error {
                self.around.queue.break_down(why);
                return refuse(work, |_| true, &error);
            }
            refuse(work, |waiting| is_last || waiting.order.is_new(), &error);
            if work.orders.is_empty() {
                // What was to be marked as published can be told again.
                return;
            }
            // Once it is closed nobody will make room any more: it is tried one last time.
            if !freed {
                is_last = !self.around.queue.wait_for_look();
                self.around.shortage.looked();
            }
        }
    }

    /// A defect that tests plant: what is answered is written some time later.
    fn answer_early(&mut self, work: &mut Work) {
        for Waiting { order, answer } in work.orders.drain(..) {
            let (nobody, _) = oneshot::channel();
            let _ = answer.send(if matches!(order, Order::Claim(_)) { Written::Claimed(1) } else { Written::Done });
            self.behind.push(Waiting { order, answer: nobody });
        }
        if self.behind.len() >= LATE {
            let mut late = Work { orders: std::mem::take(&mut self.behind), ..Work::default() };
            let _ = self.write(&mut late);
        }
    }

    /// Commits all of it, and has it answered once it lasts. What cannot be committed stays as it is.
    fn write(&mut self, work: &mut Work) -> Result<(), Trouble> {
        let began = self.around.clock.now();
        let written = self.prepare(|transaction| {
            let mut written = Vec::with_capacity(work.orders.len());
            // First: what is told once more with one of these orders is not marked by what came of it before.
            transaction.publish(&work.published)?;
            for Waiting { order, .. } in &work.orders {
                written.push(transaction.apply(order)?);
            }
            Ok(written)
        });
        let (mark, written) = written?;
        let answers = work.orders.drain(..).map(|waiting| waiting.answer).zip(written).collect();
        self.hand_over(Committed { answers, mark: Some(mark), work: self.around.clock.now().since(began) });
        Ok(())
    }

    /// One transaction that nobody waits for.
    fn transact<T>(&mut self, work: impl FnOnce(&mut Transaction<'_>) -> Result<T, Trouble>) -> Result<T, Trouble> {
        let (mark, done) = self.prepare(work)?;
        self.hand_over(Committed { mark: Some(mark), ..Committed::default() });
        Ok(done)
    }

    /// Commits one transaction. What is refused in it has changed nothing; all else stands when this ends well, and nothing otherwise. It has to be
    /// given on to be made to last.
    fn prepare<T>(&mut self, work: impl FnOnce(&mut Transaction<'_>) -> Result<T, Trouble>) -> Result<(Mark, T), Trouble> {
        let done = self.attempt(work);
        if done.is_err() {
            self.places.clear();
        }
        done
    }

    fn attempt<T>(&mut self, work: impl FnOnce(&mut Transaction<'_>) -> Result<T, Trouble>) -> Result<(Mark, T), Trouble> {
        #[cfg(test)]
        self.connection.execute_batch(&format!(
            "PRAGMA max_page_count = {}",
            match self.pages.load(Ordering::Relaxed) {
                0 => i32::MAX,
                pages => pages,
            }
        ))?;
        self.guard.begin();
        let begun = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        // Read under the lock of the transaction: whoever has opened the file since has counted it up.
        let newest: i64 = begun.prepare_cached("SELECT value FROM meta WHERE name = 'epoch'")?.query_row([], |row| row.get(0))?;
        if newest != self.epoch && !failpoint::is_planted("no_epoch_check") {
            return Err(Trouble::Taken);
        }
        if newest != self.epoch {
            // Whoever plants that has a store that knows of no other host, and yet writes behind its last row.
            self.places.clear();
            self.head = begun.query_row("SELECT position, digest FROM journal ORDER BY position DESC LIMIT 1", [], |row| {
                Ok(End { position: row.get(0)?, digest: Digest::from_bytes(row.get(1)?) })
            })?;
        }
        let mut transaction = Transaction::new(&begun, self.epoch, self.head, &self.around.payloads, &mut self.places);
        let done = work(&mut transaction)?;
        let (head, runs) = transaction.end();
        self.guard.enter(&begun, head, runs)?;
        failpoint::reach("journal.before_commit");
        self.syncing.begin();
        if let Err(error) = begun.commit() {
            self.hand_over(Committed::default());
            return Err(error.into());
        }
        failpoint::reach("journal.after_commit");
        self.head = head;
        Ok((self.guard.committed(), done))
    }

    /// Waits until all that was committed lasts.
    fn wait_for_disk(&self) -> Result<(), Trouble> {
        let (answer, answered) = oneshot::channel();
        self.syncing.begin();
        self.hand_over(Committed { answers: vec![(answer, Written::Done)], ..Committed::default() });
        match answered.blocking_recv() {
            Ok(Written::Refused(error)) => Err(Trouble::Broken(error.to_string())),
            Ok(Written::Done | Written::Claimed(_)) => Ok(()),
            Err(_) => Err(Trouble::Broken("nobody makes the journal last any more".to_owned())),
        }
    }

    fn hand_over(&self, committed: Committed) {
        self.around.queue.committed(committed.answers.len());
        self.syncing.give(committed);
    }

    /// Removes some of what is old, and asks to be called again if there is more.
    fn tidy(&mut self) {
        let (retention, now, epoch) = (self.around.retention, self.around.clock.now(), self.epoch);
        let tidied = self.transact(|transaction| retention.tidy(transaction, now, epoch)).and_then(|mut tidied| {
            // Runs may have gone that were looked at again. First: what comes below may fail.
            self.places.clear();
            if !std::mem::replace(&mut self.swept, true) {
                tidied.files.extend(self.around.payloads.names());
            }
            if !tidied.files.is_empty() {
                // Rows that a power cut brings back must find their files.
                self.wait_for_disk()?;
            }
            retention::collect(&self.connection, &self.around.payloads, tidied.files)?;
            Ok(tidied.more)
        });
        match tidied {
            Ok(true) => self.around.queue.tidy(),
            Ok(false) => self.around.queue.tidied(),
            Err(Trouble::Broken(why)) => self.around.queue.break_down(&why),
            // Next time there may be room.
            Err(Trouble::Full(_) | Trouble::Held(_) | Trouble::Taken) => self.around.queue.tidied(),
        }
    }

    /// Has what the write-ahead log has taken over into the file, once it has grown by a step, and takes over the rest when that is done. Between two
    /// transactions nobody writes, so that the log is begun anew then, unless somebody reads what was before: then the next step does it.
    fn take_over(&mut self) -> Result<(), Trouble> {
        let frames = self.frames.load(Ordering::Relaxed);
        if let Some(done) = self.checkpointing.ended() {
            self.next_step = frames.saturating_add(self.step);
            done?;
            let (frames, taken) = checkpointing::take_over(&self.connection)?;
            if taken == frames {
                self.next_step = self.step;
            }
        } else if frames >= self.next_step {
            self.checkpointing.ask();
        }
        Ok(())
    }
}

/// Refuses what is about runs, which are another host's now.
fn fence(work: &mut Work) {
    for waiting in std::mem::take(&mut work.orders) {
        match waiting.order.run() {
            // Whoever does not listen any more wants no answer.
            Some(run) => drop(waiting.answer.send(Written::Refused(StoreError::Fenced { run }))),
            None => work.orders.push(waiting),
        }
    }
}

/// Refuses some of what waits.
fn refuse(work: &mut Work, which: impl Fn(&Waiting) -> bool, error: &StoreError) {
    let (refused, kept) = std::mem::take(&mut work.orders).into_iter().partition(which);
    work.orders = kept;
    let refused: Vec<Waiting> = refused;
    for Waiting { answer, .. } in refused {
        // Whoever does not listen any more wants no answer.
        let _ = answer.send(Written::Refused(error.clone()));
    }
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::time::Duration;

    use super::*;
    use crate::clock::{Activity, VirtualClock};
    use crate::journal::sqlite::ballast::Ballast;
    use crate::journal::sqlite::encode::Change;
    use crate::journal::sqlite::marking::{Integrity, Marking};
    use crate::journal::sqlite::opening::{self, Opening};
    use crate::journal::sqlite::payload::Content;
    use crate::journal::sqlite::{FILE, Options};
    use crate::model::record::Room;
    use crate::model::time::Timestamp;

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn the_file_of_a_row_that_went_stays_until_the_disk_has_it_that_the_row_went() {
        let folder = tempfile::tempdir().expect("a folder");
        let virtual_clock = VirtualClock::new(Activity::new());
        let (clock, queue): (Arc<dyn Clock>, _) = (Arc::new(virtual_clock.clone()), Arc::new(Queue::new()));
        let payloads = Payloads::of(folder.path(), false);
        let options = Options { lasting: false, ..Options::default() };
        let Ok(Opening::Good(parts)) = opening::open(&folder.path().join(FILE), options, &payloads) else { panic!("it is good") };
        let around = Around {
            queue: Arc::clone(&queue),
            payloads: payloads.clone(),
            shortage: Shortage::new(Ballast::of(folder.path(), 0), Arc::clone(&clock), None),
            retention: options.retention,
            clock: Arc::clone(&clock),
        };
        let mut writer = Writer::new(*parts, around, false).expect("it can be written");
        let keep = |writer: &mut Writer, key: &str, until| {
            let value = Content::new(key.repeat(100_000));
            let change = Change::Keep { room: Room::Cache, owner: "p".to_owned(), key: key.to_owned(), value, until: Some(until) };
            let waiting = Waiting { order: Order::Write(vec![change]), answer: oneshot::channel().0 };
            writer.carry_out(&mut Work { orders: vec![waiting], ..Work::default() });
        };
        let minute = |minutes: u64| Timestamp::EPOCH + Duration::from_secs(minutes * 60);
        keep(&mut writer, "a", minute(1));
        keep(&mut writer, "b", minute(3));
        virtual_clock.advance(Duration::from_secs(120)).await;
        // On a thread of its own, as it may wait.
        let tidied = |mut writer: Writer| {
            std::thread::spawn(move || {
                writer.tidy();
                writer
            })
        };
        let mut writer = tidied(writer).join().expect("no panic");
        assert_eq!(payloads.names().len(), 1, "the file of the row that went is gone");
        // What cannot be made to last: the system refuses it.
        let log = Some(OpenOptions::new().write(true).open("/dev/null").expect("it is there"));
        let marking = Marking::start(&folder.path().join("other.mark"), Mark::default(), Integrity::Usual, false).expect("it can be made");
        writer.syncing = Syncing::start(Disk { log, marking, queue: Arc::clone(&queue), clock }).expect("a thread");
        virtual_clock.advance(Duration::from_secs(120)).await;
        drop(tidied(writer).join().expect("no panic"));
        assert_eq!(payloads.names().len(), 1, "a power cut may bring its row back");
        assert!(matches!(queue.health(), Health::Broken(_)));
    }
}
