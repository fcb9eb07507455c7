//! Those who wait for another job's result, by the job that leads, in the order in which they came.

use std::collections::{HashMap, VecDeque};

use tokio::sync::oneshot;

use crate::model::id::JobId;
use crate::model::job::JobOutcome;

use super::{Awaited, is_given_up};

/// All who wait: as many as there are joined jobs under way, which the runs' concurrency bounds.
#[derive(Default)]
pub(super) struct Waiting(HashMap<JobId, VecDeque<Waiter>>);

struct Waiter {
    job: JobId,
    told: oneshot::Sender<Awaited>,
}

impl Waiting {
    /// One more waits.
    pub(super) fn join(&mut self, leader: JobId, job: JobId) -> oneshot::Receiver<Awaited> {
        let (told, ended) = oneshot::channel();
        let waiters = self.0.entry(leader).or_default();
        // Those who went away leave nothing behind. Looked for each time their number has doubled, so that ten thousand who come do not
        // look at each other fifty million times.
        if waiters.len().is_power_of_two() {
            waiters.retain(|other| !other.told.is_closed());
        }
        waiters.push_back(Waiter { job, told });
        ended
    }

    /// Tells the first that still waits to take over, and has the others wait for it.
    pub(super) fn inherit(&mut self, leader: JobId) -> Option<JobId> {
        let mut waiters = self.0.remove(&leader)?;
        let heir = loop {
            let first = waiters.pop_front()?;
            if first.told.send(Awaited::TakeOver).is_ok() {
                break first.job;
            }
        };
        if !waiters.is_empty() {
            self.0.entry(heir).or_default().extend(waiters);
        }
        Some(heir)
    }

    /// The leader ended: all who wait are told.
    pub(super) fn wake(&mut self, leader: JobId, outcome: &JobOutcome) {
        for waiter in self.0.remove(&leader).unwrap_or_default() {
            let told = if is_given_up(outcome) { Awaited::GivenUp } else { Awaited::Ended(outcome.clone()) };
            // Whoever went away in this moment need not be told.
            let _ = waiter.told.send(told);
        }
    }
}
