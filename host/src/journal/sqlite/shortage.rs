//! What a store does while there is no room, or while another program holds its file: it frees its ballast for runs under way, takes no new ones, and
//! looks from time to time whether there is room again, or the file is free.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

use super::ballast::Ballast;
use super::connection::Trouble;
use super::queue::Queue;
use crate::model::port::{Clock, Health};

/// How long it waits before it looks again.
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);

/// What hinders the store.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hindrance {
    /// There is no room.
    NoRoom,
    /// Another program holds the file.
    Held,
}

/// Whether there is room, and the file nobody else's.
pub(super) struct Shortage {
    ballast: Ballast,
    clock: Arc<dyn Clock>,
    /// Where it can wait; the thread that writes has no clock of its own to sleep by.
    runtime: Option<Handle>,
    hindered: Option<Hindrance>,
    /// Whether a look is under way.
    looking: bool,
}

impl Shortage {
    /// Begins as if there were room; [`prepare`](Self::prepare) finds out.
    pub(super) fn new(ballast: Ballast, clock: Arc<dyn Clock>, runtime: Option<Handle>) -> Self {
        Self { ballast, clock, runtime, hindered: None, looking: false }
    }

    /// Holds the ballast; without room for it, the store begins as a full one.
    pub(super) fn prepare(&mut self, queue: &Arc<Queue>) {
        if !self.ballast.restore() {
            let why = "there is no room for the ballast that lets runs under way finish";
            self.begin(Hindrance::NoRoom, Health::Full(why.to_owned()), queue);
        }
    }

    /// To be called when something could not be written. True if room was freed for it, so that it can be tried again at once.
    pub(super) fn met(&mut self, trouble: &Trouble, queue: &Arc<Queue>) -> bool {
        match trouble {
            Trouble::Full(why) => {
                self.begin(Hindrance::NoRoom, Health::Full(why.clone()), queue);
                self.ballast.release()
            }
            Trouble::Held(why) => {
                self.begin(Hindrance::Held, Health::Held(why.clone()), queue);
                false
            }
            Trouble::Broken(_) | Trouble::Taken => false,
        }
    }

    /// Whether there is room again, as much as the ballast takes, and the file is free, which `is_free` finds out.
    pub(super) fn look(&mut self, queue: &Arc<Queue>, is_free: impl FnOnce() -> bool) {
        self.looking = false;
        let Some(hindrance) = self.hindered else { return };
        let is_over = match hindrance {
            Hindrance::NoRoom => self.ballast.restore(),
            Hindrance::Held => is_free(),
        };
        if is_over { self.end(queue) } else { self.look_later(queue) }
    }

    /// To be called when something was written: then the file is free, and there may be room again, which the next look finds out.
    pub(super) fn wrote(&mut self, queue: &Arc<Queue>) {
        match self.hindered {
            Some(Hindrance::NoRoom) => self.look_later(queue),
            Some(Hindrance::Held) => self.end(queue),
            None => {}
        }
    }

    /// The look that was under way has come to its end.
    pub(super) const fn looked(&mut self) {
        self.looking = false;
    }

    fn begin(&mut self, hindrance: Hindrance, health: Health, queue: &Arc<Queue>) {
        // Where there was no room before somebody held it, there may be none still.
        if self.hindered != Some(Hindrance::NoRoom) {
            self.hindered = Some(hindrance);
            queue.set_health(health);
        }
        self.look_later(queue);
    }

    fn end(&mut self, queue: &Arc<Queue>) {
        self.hindered = None;
        queue.set_health(Health::Good);
    }

    fn look_later(&mut self, queue: &Arc<Queue>) {
        if std::mem::replace(&mut self.looking, true) {
            return;
        }
        if let Some(runtime) = &self.runtime {
            let (clock, queue) = (Arc::clone(&self.clock), Arc::downgrade(queue));
            runtime.spawn(async move {
                clock.sleep_until(clock.now() + BETWEEN_LOOKS).await;
                if let Some(queue) = queue.upgrade() {
                    queue.look();
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Activity, VirtualClock};
    use crate::journal::conformance::filler;
    use crate::journal::sqlite::encode::Append;
    use crate::journal::sqlite::queue::Order;
    use crate::journal::sqlite::seal::Sealer;
    use crate::model::id::RunId;
    use crate::model::port::StoreError;
    use crate::model::record::Batch;

    fn shortage(folder: &std::path::Path) -> (Shortage, Arc<Queue>) {
        let clock = Arc::new(VirtualClock::new(Activity::new()));
        (Shortage::new(Ballast::of(folder, 100_000), clock, None), Arc::new(Queue::new()))
    }

    /// What comes of beginning a run.
    fn begun(queue: &Queue) -> Result<(), StoreError> {
        let batch = Batch::of(RunId::new(uuid::Uuid::nil()), 0, Arc::new(vec![filler("x")]));
        let append = Append::new(&batch, &Sealer::none()).expect("it can be written");
        queue.give(Order::Append(Box::new(append))).map(drop)
    }

    #[test]
    fn a_file_that_another_program_holds_takes_nothing_new_until_it_is_free_and_the_ballast_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let (mut shortage, queue) = shortage(folder.path());
        shortage.prepare(&queue);
        let held = || Trouble::Held("database is locked".to_owned());
        assert!(!shortage.met(&held(), &queue), "there is nothing to be freed");
        assert_eq!(queue.health(), Health::Held("database is locked".to_owned()));
        assert_eq!(begun(&queue), Err(StoreError::Busy("database is locked".to_owned())));
        queue.give(Order::Flush).expect("what goes on is taken");
        shortage.look(&queue, || false);
        assert!(begun(&queue).is_err());
        shortage.look(&queue, || true);
        assert_eq!((queue.health(), begun(&queue)), (Health::Good, Ok(())));
        // What could be written says so too.
        assert!(!shortage.met(&held(), &queue));
        shortage.wrote(&queue);
        assert_eq!(queue.health(), Health::Good);
        assert!(folder.path().join("ballast").exists());
    }

    #[test]
    fn where_there_is_no_room_that_somebody_holds_the_file_too_hides_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let (mut shortage, queue) = shortage(folder.path());
        shortage.prepare(&queue);
        assert!(shortage.met(&Trouble::Full("no room".to_owned()), &queue), "the ballast was freed");
        assert!(!shortage.met(&Trouble::Held("locked".to_owned()), &queue));
        shortage.wrote(&queue);
        assert_eq!(queue.health(), Health::Full("no room".to_owned()));
        shortage.look(&queue, || unreachable!("it was not held alone"));
        assert_eq!(queue.health(), Health::Good);
        assert!(folder.path().join("ballast").exists());
    }
}
