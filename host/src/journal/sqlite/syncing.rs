//! The thread that waits for the disk: what was committed is answered once it lasts, and the next transaction is prepared meanwhile.
//!
//! SQLite would wait for the disk within each commit, and the thread that writes would do nothing else then: on a quick disk that is a third of its
//! time. So it commits without waiting, and the log is made to last here. Who dies in between has told nobody of what may be gone; what is written
//! behind it in the log is gone then too, never alone there.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use super::gathering::Took;
use super::mark::Mark;
use super::marking::Marking;
use super::queue::{Queue, Written};
use super::serving::{Serving, Shared};
use crate::model::port::{Clock, StoreError};
use crate::telemetry::failpoint;

/// So many transactions wait for the disk at most, beside those that it is at work with; then the thread that writes waits too.
const MOST: usize = 8;

/// Who hears what came of an order once that lasts.
pub(super) type Answer = (oneshot::Sender<Written>, Written);

/// A transaction that was committed; one without a mark was taken back.
#[derive(Default)]
pub(super) struct Committed {
    pub(super) answers: Vec<Answer>,
    /// How far the store has come with it; `None` if it was taken back.
    pub(super) mark: Option<Mark>,
    /// How long it took to prepare it.
    pub(super) work: Duration,
}

/// The thread, as the one that writes has it.
pub(super) struct Syncing(Serving<State>);

/// What the thread needs.
pub(super) struct Disk {
    /// The write-ahead log; `None` for a store that need not outlast the machine.
    pub(super) log: Option<File>,
    pub(super) marking: Marking,
    pub(super) queue: Arc<Queue>,
    pub(super) clock: Arc<dyn Clock>,
}

/// By which readers know that what they have read lasts.
#[derive(Clone)]
pub(super) struct Lasting(Arc<Shared<State>>);

#[derive(Default)]
struct State {
    waiting: Vec<Committed>,
    /// Whether the thread has nothing to do. Else nobody wakes it: a call of the system that finds nobody costs as much.
    idle: bool,
    /// How many transactions were begun to be committed.
    begun: u64,
    /// How many of them last, or were taken back.
    lasting: watch::Sender<u64>,
    closed: bool,
    /// Why nothing lasts any more.
    failed: Option<String>,
}

/// Opens the write-ahead log beside the file at this path, to have it made to last.
///
/// # Errors
/// It is not there, or may not be written to.
pub(super) fn log_of(path: &Path) -> io::Result<File> {
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    // Some systems want the right to write for making a file last. SQLite has its locks on the file and its index, none on the log: closing this one
    // gives none of them away.
    OpenOptions::new().read(true).write(true).open(PathBuf::from(name))
}

impl Syncing {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system has none.
    pub(super) fn start(disk: Disk) -> io::Result<Self> {
        Serving::start("journal-sync", move |shared: &Shared<State>| shared.run(disk)).map(Self)
    }

    /// For readers.
    pub(super) fn lasting(&self) -> Lasting {
        Lasting(Arc::clone(self.0.shared()))
    }

    /// A transaction is about to be committed: from now on readers may see it. [`give`](Self::give) has to follow.
    pub(super) fn begin(&self) {
        self.0.shared().state().begun += 1;
    }

    /// The transaction was committed, or taken back: it is answered once it lasts. Waits while too many wait.
    pub(super) fn give(&self, committed: Committed) {
        let mut state = self.0.shared().wait_while(|state| state.waiting.len() >= MOST && state.failed.is_none());
        state.waiting.push(committed);
        let idle = state.idle;
        drop(state);
        if idle {
            self.0.shared().tell();
        }
    }

    /// Waits until all that was given lasts and is answered.
    pub(super) fn finish(&mut self) {
        self.0.end(|state| state.closed = true);
    }
}

impl Drop for Syncing {
    fn drop(&mut self) {
        self.finish();
    }
}

impl Shared<State> {
    fn run(&self, mut disk: Disk) {
        while let Some(all) = self.take() {
            let (transactions, orders) = (all.len(), all.iter().map(|committed| committed.answers.len()).sum());
            let lasts = self.make_last(&mut disk, &all);
            disk.queue.answered((transactions, orders), lasts.as_ref().copied().unwrap_or_default(), disk.clock.now());
            match lasts {
                Ok(_) => {
                    for (answer, written) in all.into_iter().flat_map(|committed| committed.answers) {
                        // Whoever does not listen any more wants no answer.
                        let _ = answer.send(written);
                    }
                    self.state().lasting.send_modify(|lasting| *lasting += transactions as u64);
                }
                Err(why) => {
                    self.fail(&why);
                    disk.queue.break_down(&why);
                    for (answer, _) in all.into_iter().flat_map(|committed| committed.answers) {
                        // As above.
                        let _ = answer.send(Written::Refused(StoreError::Broken(why.clone())));
                    }
                }
            }
        }
    }

    /// Makes what was committed last, and then the mark of it: no mark may know of more than is there after a power cut.
    fn make_last(&self, disk: &mut Disk, all: &[Committed]) -> Result<Took, String> {
        if let Some(why) = self.state().failed.clone() {
            return Err(why);
        }
        let began = disk.clock.now();
        if let Some(log) = &disk.log {
            // Never again after it failed: the next call could say that all is well though this one's bytes are gone.
            log.sync_data().map_err(|error| format!("the journal cannot be made to last: {error}"))?;
        }
        failpoint::reach("journal.after_sync");
        if let Some(mark) = all.iter().rev().find_map(|committed| committed.mark) {
            // Nothing may be acknowledged that no mark would miss.
            disk.marking.set(mark).map_err(|error| format!("the mark cannot be written: {error}"))?;
        }
        Ok(Took { work: all.iter().map(|committed| committed.work).sum(), disk: disk.clock.now().since(began) })
    }

    /// All that waits; `None` once it is closed and nothing does.
    fn take(&self) -> Option<Vec<Committed>> {
        let mut state = self.wait_while(|state| {
            state.idle = state.waiting.is_empty() && !state.closed;
            state.idle
        });
        let all = std::mem::take(&mut state.waiting);
        drop(state);
        // Only so many are waited for.
        if all.len() >= MOST {
            self.tell();
        }
        (!all.is_empty()).then_some(all)
    }

    fn fail(&self, why: &str) {
        let mut state = self.state();
        state.failed.get_or_insert_with(|| why.to_owned());
        // Whoever waits looks why.
        state.lasting.send_modify(|_| {});
        drop(state);
        self.tell();
    }
}

impl Lasting {
    /// Waits until all lasts that could be read up to now.
    ///
    /// # Errors
    /// [`StoreError::Broken`]: it cannot be made to last.
    pub(super) async fn wait(&self) -> Result<(), StoreError> {
        let (begun, mut lasting) = {
            let state = self.0.state();
            (state.begun, state.lasting.subscribe())
        };
        loop {
            if *lasting.borrow_and_update() >= begun {
                return Ok(());
            }
            if let Some(why) = self.0.state().failed.clone() {
                return Err(StoreError::Broken(why));
            }
            // It does not close while this holds it.
            let _ = lasting.changed().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::FutureExt as _;

    use super::*;
    use crate::clock::{Activity, VirtualClock};
    use crate::journal::sqlite::marking::Integrity;
    use crate::journal::sqlite::queue::Order;
    use crate::model::port::Health;

    fn committed(commits: u64) -> (Committed, oneshot::Receiver<Written>) {
        let (answer, answered) = oneshot::channel();
        let mark = Some(Mark { commits, ..Mark::default() });
        (Committed { answers: vec![(answer, Written::Done)], mark, work: Duration::ZERO }, answered)
    }

    /// A thread with this file as its log, and what it tells.
    fn on(log: &Path, folder: &Path) -> (Syncing, Arc<Queue>) {
        let queue = Arc::new(Queue::new());
        let marking = Marking::start(&folder.join("mark"), Mark::default(), Integrity::Usual, true).expect("it can be made");
        let log = OpenOptions::new().write(true).open(log).expect("it is there");
        let disk = Disk { log: Some(log), marking, queue: Arc::clone(&queue), clock: Arc::new(VirtualClock::new(Activity::new())) };
        (Syncing::start(disk).expect("a thread"), queue)
    }

    #[tokio::test]
    async fn what_was_handed_over_is_answered_once_it_lasts_also_while_the_store_closes() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("log");
        File::create(&log).expect("made");
        let (mut syncing, queue) = on(&log, folder.path());
        let mut answers = Vec::new();
        for commits in 1..20 {
            let (committed, answered) = committed(commits);
            syncing.begin();
            syncing.give(committed);
            answers.push(answered);
        }
        syncing.finish();
        for answered in answers {
            assert!(matches!(answered.await, Ok(Written::Done)));
        }
        assert_eq!(syncing.lasting().wait().now_or_never(), Some(Ok(())));
        assert_eq!(queue.health(), Health::Good);
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn nothing_is_answered_well_from_the_first_failure_on_and_who_reads_hears_of_it() {
        let folder = tempfile::tempdir().expect("a folder");
        // What cannot be made to last: the system refuses it.
        let (syncing, queue) = on(Path::new("/dev/null"), folder.path());
        let (lasting, mut answers) = (syncing.lasting(), Vec::new());
        for commits in 1..4 {
            let (committed, answered) = committed(commits);
            syncing.begin();
            syncing.give(committed);
            answers.push(answered);
        }
        for answered in answers {
            let Ok(Written::Refused(StoreError::Broken(why))) = answered.await else { panic!("it was answered well") };
            assert!(why.contains("cannot be made to last"), "{why}");
        }
        assert!(matches!(lasting.wait().await, Err(StoreError::Broken(_))));
        assert!(matches!(queue.health(), Health::Broken(_)) && queue.give(Order::Flush).is_err());
    }

    #[test]
    fn who_reads_waits_for_all_that_was_begun_and_for_nothing_else() {
        let shared = Arc::<Shared<State>>::default();
        let lasting = Lasting(Arc::clone(&shared));
        assert_eq!(lasting.wait().now_or_never(), Some(Ok(())));
        shared.state().begun = 2;
        let mut reading = pin!(lasting.wait());
        assert_eq!(reading.as_mut().now_or_never(), None);
        shared.state().lasting.send_replace(1);
        assert_eq!(reading.as_mut().now_or_never(), None, "one of two");
        shared.state().begun = 3;
        shared.state().lasting.send_replace(2);
        assert_eq!(reading.now_or_never(), Some(Ok(())), "what was begun later was not seen");
    }

    #[test]
    fn who_writes_waits_while_too_much_waits_for_the_disk() {
        let syncing = Syncing(Serving::start("nothing", |_| {}).expect("a thread"));
        let mut taken = Vec::new();
        std::thread::scope(|scope| {
            scope.spawn(|| (0..50 * MOST).for_each(|_| syncing.give(Committed::default())));
            while taken.iter().sum::<usize>() < 50 * MOST {
                taken.push(syncing.0.shared().take().map_or(0, |all| all.len()));
            }
        });
        assert!(taken.iter().all(|most| *most <= MOST), "{taken:?}");
    }
}
