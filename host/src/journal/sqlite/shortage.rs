//! What a store does while there is no room: it frees its ballast for runs under way, takes no new ones, and looks from time to time
//! whether there is room again.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

use super::ballast::Ballast;
use super::connection::Trouble;
use super::queue::Queue;
use crate::model::port::{Clock, Health};

/// How long it waits, while there is no room, before it looks again.
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);

/// Whether there is room.
pub(super) struct Shortage {
    ballast: Ballast,
    clock: Arc<dyn Clock>,
    /// Where it can wait; the thread that writes has no clock of its own to sleep by.
    runtime: Option<Handle>,
    short: bool,
    /// Whether a look is under way.
    looking: bool,
}

impl Shortage {
    /// Begins as if there were room; [`prepare`](Self::prepare) finds out.
    pub(super) fn new(ballast: Ballast, clock: Arc<dyn Clock>, runtime: Option<Handle>) -> Self {
        Self { ballast, clock, runtime, short: false, looking: false }
    }

    /// Holds the ballast; without room for it, the store begins as a full one.
    pub(super) fn prepare(&mut self, queue: &Arc<Queue>) {
        if !self.ballast.restore() {
            self.begin("there is no room for the ballast that lets runs under way finish", queue);
        }
    }

    /// To be called when something could not be written. True if room was freed for it, so that it can be tried again at once.
    pub(super) fn met(&mut self, trouble: &Trouble, queue: &Arc<Queue>) -> bool {
        match trouble {
            Trouble::Full(why) => {
                self.begin(why, queue);
                self.ballast.release()
            }
            Trouble::Held(why) => {
                self.begin(why, queue);
                false
            }
            Trouble::Broken(_) | Trouble::Taken => false,
        }
    }

    /// Whether there is room again: as much as the ballast takes.
    pub(super) fn look(&mut self, queue: &Arc<Queue>) {
        self.looking = false;
        if self.short {
            if self.ballast.restore() {
                self.short = false;
                queue.set_health(Health::Good);
            } else {
                self.look_later(queue);
            }
        }
    }

    /// To be called when something was written: there may be room again, which the next look finds out.
    pub(super) fn wrote(&mut self, queue: &Arc<Queue>) {
        if self.short {
            self.look_later(queue);
        }
    }

    /// The look that was under way has come to its end.
    pub(super) const fn looked(&mut self) {
        self.looking = false;
    }

    fn begin(&mut self, why: &str, queue: &Arc<Queue>) {
        self.short = true;
        queue.set_health(Health::Full(why.to_owned()));
        self.look_later(queue);
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
