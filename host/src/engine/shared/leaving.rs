//! The host stops: runs that are durable are left where they are, the others are cancelled.

use std::sync::atomic::Ordering;

use super::Shared;
use crate::model::id::RunId;
use crate::model::job::CancelReason;

impl Shared {
    /// Takes nothing new, leaves what is durable where it is, and cancels the rest.
    pub(in crate::engine) fn shut(&self, reason: CancelReason) {
        self.stopping.store(true, Ordering::SeqCst);
        self.stop.cancel();
        let waiting = self.lock_door().clear_waiting();
        for guest in waiting {
            match (&guest.ticket.queued, &guest.ticket.requester) {
                // That it waits is recorded.
                (Some(_), requester) => {
                    self.left_behind.fetch_add(1, Ordering::SeqCst);
                    requester.iter().for_each(|requester| requester.left(guest.run));
                }
                // That it was sent on its way is recorded.
                (None, None) if guest.ticket.beginning.part.is_some() && guest.ticket.flow.durable => {
                    self.left_behind.fetch_add(1, Ordering::SeqCst);
                }
                (None, _) => self.never_run(guest.ticket, reason),
            }
        }
        let runs = self.lock_runs();
        // Nobody that runs comes to rest any more once it hears this. One that is durable leaves then.
        for running in runs.values() {
            running.control.cancel(reason);
        }
        let resting = self.resting.map(|run, stub| (run, stub.group.installed.is_durable(&stub.group.door.flow)));
        drop(runs);
        for (run, durable) in resting {
            if durable {
                let Some(stub) = self.resting.take(run) else { continue };
                self.left_behind.fetch_add(1, Ordering::SeqCst);
                let left = stub.held.and_then(|held| held.requester);
                left.into_iter().for_each(|requester| requester.left(run));
            } else if let Some(control) = self.reach(run) {
                control.cancel(reason);
            }
        }
    }

    /// A run is left where it is: it is under way no more, and nobody takes its place.
    pub(in crate::engine) fn depart(&self, run: RunId) {
        self.lock_runs().remove(&run);
        self.left_behind.fetch_add(1, Ordering::SeqCst);
        self.ended.notify_waiters();
    }

    /// How many runs were left for the next start, those that were stalled apart; to be asked when all have ended or left.
    pub(in crate::engine) fn left_behind(&self) -> usize {
        self.left_behind.load(Ordering::SeqCst)
    }
}
