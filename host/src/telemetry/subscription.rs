//! A bounded queue of happenings for one listener, which forgets the oldest rather than hold anybody up.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::{Detail, Telemetry};
use crate::model::happening::Happening;

/// What a subscriber is told.
#[derive(Clone, PartialEq, Debug)]
pub enum Told {
    /// Something happened.
    Happening(Arc<Happening>),
    /// So many happenings were forgotten here, because this subscriber was slower than its queue is long.
    Lost(u64),
}

/// What one listener hears. Dropping it ends the subscription.
pub struct Subscription {
    queue: Arc<Queue>,
    telemetry: Telemetry,
}

impl Subscription {
    pub(super) fn new(queue: Arc<Queue>, telemetry: Telemetry) -> Self {
        Self { queue, telemetry }
    }

    /// Waits for the next; `None` when nothing more will come. Dropping the wait loses nothing.
    pub async fn next(&mut self) -> Option<Told> {
        loop {
            // `notify_one` keeps a permit when nobody waits, so what comes between the look and the wait ends the wait.
            match self.queue.take() {
                Taken::Told(told) => return Some(told),
                Taken::Over => return None,
                Taken::Nothing => self.queue.filled.notified().await,
            }
        }
    }

    /// The next, if it is there already.
    pub fn try_next(&mut self) -> Option<Told> {
        match self.queue.take() {
            Taken::Told(told) => Some(told),
            Taken::Over | Taken::Nothing => None,
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.telemetry.forget(&self.queue);
    }
}

pub(super) struct Queue {
    capacity: usize,
    detail: Detail,
    waiting: Mutex<Waiting>,
    filled: Notify,
}

#[derive(Default)]
struct Waiting {
    happenings: VecDeque<Arc<Happening>>,
    lost: u64,
    closed: bool,
}

enum Taken {
    Told(Told),
    Nothing,
    Over,
}

impl Queue {
    pub(super) fn new(capacity: usize, detail: Detail) -> Self {
        Self { capacity: capacity.max(1), detail, waiting: Mutex::default(), filled: Notify::new() }
    }

    pub(super) const fn detail(&self) -> Detail {
        self.detail
    }

    pub(super) fn push(&self, happening: Arc<Happening>) {
        let mut waiting = self.lock();
        if waiting.happenings.len() == self.capacity {
            waiting.happenings.pop_front();
            waiting.lost += 1;
        }
        waiting.happenings.push_back(happening);
        drop(waiting);
        self.filled.notify_one();
    }

    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_one();
    }

    fn take(&self) -> Taken {
        let mut waiting = self.lock();
        // What was lost is older than what waits, so it is told first.
        match std::mem::take(&mut waiting.lost) {
            0 => {}
            lost => return Taken::Told(Told::Lost(lost)),
        }
        match waiting.happenings.pop_front() {
            Some(happening) => Taken::Told(Told::Happening(happening)),
            None if waiting.closed => Taken::Over,
            None => Taken::Nothing,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
