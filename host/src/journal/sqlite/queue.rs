//! What waits to be written: in the order in which it was given, bounded, and given without waiting.

use std::collections::VecDeque;
use std::mem::discriminant;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::{oneshot, watch};

use super::encode::{Append, Change, bytes_of};
use super::gathering::{Gathering, Next, Took};
use crate::model::id::{EventId, RunId};
use crate::model::port::{Health, StoreError};
use crate::model::time::Timestamp;

/// So many messages wait at most before new runs, and what is written for no run, are refused. A run that goes on is always taken: it has
/// one commit under way, so that these are no more than there are runs.
pub(super) const MOST_WAITING: usize = 65_536;

/// So many messages go into one transaction at most.
const MESSAGES: usize = 1_024;
/// So many bytes go into one transaction, but for the last message.
const BYTES: usize = 4 << 20;

/// So many events that everybody has taken wait to be marked so; then they are taken along without waiting for something else to be
/// written. Up to then a mark costs no transaction of its own: after a crash the event is told again, and taken once.
const MARKS: usize = 1_024;
/// So many of them wait at most, while a transaction takes long or there is no room for one. What is over that is forgotten: such an event is told again by
/// the next start, and taken once. To have whoever marks wait was refused: a disk without room would hold up runs that have nothing to write.
const MOST_MARKS: usize = 65_536;

/// One thing to be written.
pub(super) enum Order {
    /// Facts of a run.
    Append(Box<Append>),
    /// What belongs to no run.
    Write(Vec<Change>),
    /// A host takes a run up.
    Claim(RunId),
    /// Nothing: whoever gave it wants to know that all before it is written.
    Flush,
}

/// What came of an order.
pub(super) enum Written {
    /// It is on the disk.
    Done,
    /// So often in a row the run was taken up.
    Claimed(u32),
    /// It does not follow on what is there; nothing of it was written.
    Refused(StoreError),
}

/// An order whose giver waits.
pub(super) struct Waiting {
    pub(super) order: Order,
    pub(super) answer: oneshot::Sender<Written>,
}

/// What the thread that writes is to do next.
#[derive(Default)]
pub(super) struct Work {
    pub(super) orders: Vec<Waiting>,
    pub(super) published: Vec<EventId>,
    /// Somebody asked it to look after what is old.
    pub(super) tidy: bool,
    /// It is time to look whether there is room again.
    pub(super) look: bool,
}

impl Work {
    /// Whether there is nothing to be written.
    pub(super) const fn is_empty(&self) -> bool {
        self.orders.is_empty() && self.published.is_empty()
    }
}

/// The queue, and what is known of the store's health.
pub(super) struct Queue {
    state: Mutex<State>,
    wake: Condvar,
    /// Why it is broken, for whoever ends the host then.
    broken: watch::Sender<Option<String>>,
    /// Whether new runs are taken, for whoever tells people: [`Health::Good`], or why not.
    short: watch::Sender<Health>,
}

struct State {
    waiting: VecDeque<Waiting>,
    published: Vec<EventId>,
    tidy: bool,
    /// Whoever waits until nothing old is left.
    tidied: Vec<oneshot::Sender<Written>>,
    look: bool,
    closed: bool,
    health: Health,
    /// As soon as so many orders wait, the thread that writes is woken; while it is at work, nobody wakes it.
    enough: usize,
    /// Whether it waits for what is under way to be answered. Else nobody wakes it for that: a call of the system that finds nobody costs as much.
    after_answer: bool,
    gathering: Gathering,
}

impl State {
    /// Whether there is something to do that waits for nobody.
    const fn is_urgent(&self) -> bool {
        self.tidy || self.look || self.closed
    }
}

impl Queue {
    /// An empty one.
    pub(super) fn new() -> Self {
        let state = State {
            waiting: VecDeque::new(),
            published: Vec::new(),
            tidy: false,
            tidied: Vec::new(),
            look: false,
            closed: false,
            health: Health::Good,
            enough: usize::MAX,
            after_answer: false,
            gathering: Gathering::new(),
        };
        Self { state: Mutex::new(state), wake: Condvar::new(), broken: watch::Sender::new(None), short: watch::Sender::new(Health::Good) }
    }

    /// Gives an order; what comes of it comes through the channel.
    ///
    /// # Errors
    /// The store is full, broken or closed: the order is not taken.
    pub(super) fn give(&self, order: Order) -> Result<oneshot::Receiver<Written>, StoreError> {
        let mut state = self.state();
        match &state.health {
            _ if state.closed => return Err(closed()),
            Health::Good => {}
            Health::Full(why) if order.is_new() => return Err(StoreError::Full(why.clone())),
            Health::Held(why) if order.is_new() => return Err(StoreError::Busy(why.clone())),
            Health::Full(_) | Health::Held(_) => {}
            Health::Suspect(why) => return Err(StoreError::Suspect(why.clone())),
            Health::Broken(why) => return Err(StoreError::Broken(why.clone())),
        }
        if state.waiting.len() >= MOST_WAITING && order.may_be_refused() {
            return Err(StoreError::Full(format!("{MOST_WAITING} messages wait to be written")));
        }
        let (answer, answered) = oneshot::channel();
        state.waiting.push_back(Waiting { order, answer });
        let enough = state.waiting.len() >= state.enough;
        drop(state);
        // A call of the thread that writes costs more than all else here, also while that does not sleep.
        if enough {
            self.wake.notify_one();
        }
        Ok(answered)
    }

    /// Marks events, with whatever is written next. While [`MOST_MARKS`] wait, and once nothing is written any more, that is forgotten.
    pub(super) fn publish(&self, events: Vec<EventId>) {
        let mut state = self.state();
        if state.closed || matches!(state.health, Health::Broken(_)) {
            return;
        }
        let room = MOST_MARKS.saturating_sub(state.published.len());
        state.published.extend(events.into_iter().take(room));
        if state.published.len() >= MARKS {
            drop(state);
            self.wake.notify_one();
        }
    }

    /// Has what is old looked after.
    pub(super) fn tidy(&self) {
        self.state().tidy = true;
        self.wake.notify_one();
    }

    /// The same; what comes through the channel says that nothing old is left.
    pub(super) fn tidy_wholly(&self) -> oneshot::Receiver<Written> {
        let (answer, answered) = oneshot::channel();
        self.state().tidied.push(answer);
        self.tidy();
        answered
    }

    /// Nothing old is left.
    pub(super) fn tidied(&self) {
        let tidied = std::mem::take(&mut self.state().tidied);
        for answer in tidied {
            let _ = answer.send(Written::Done);
        }
    }

    /// Has it looked whether there is room again.
    pub(super) fn look(&self) {
        self.state().look = true;
        self.wake.notify_all();
    }

    /// Waits until it is time to look. False if the queue was closed meanwhile, or before.
    pub(super) fn wait_for_look(&self) -> bool {
        let mut state = self.wake.wait_while(self.state(), |state| !state.look && !state.closed).unwrap_or_else(PoisonError::into_inner);
        state.look = false;
        !state.closed
    }

    /// A transaction with so many orders was committed, and waits for the disk.
    pub(super) fn committed(&self, orders: usize) {
        self.state().gathering.committed(orders);
    }

    /// So many transactions are answered now that had so many orders and took so long together.
    pub(super) fn answered(&self, (transactions, orders): (usize, usize), took: Took, now: Timestamp) {
        let mut state = self.state();
        let behind = state.waiting.len();
        state.gathering.answered((transactions, orders), behind, took, now);
        let waits = state.after_answer;
        drop(state);
        if waits {
            self.wake.notify_one();
        }
    }

    /// Waits for something to do, and then for as many orders and as long as it is worth; `None` once it is closed and empty.
    pub(super) fn take(&self, now: impl Fn() -> Timestamp) -> Option<Work> {
        let idle = |state: &mut State| state.waiting.is_empty() && state.published.len() < MARKS && !state.is_urgent();
        let mut state = self.state();
        loop {
            state.enough = 1;
            state = self.wake.wait_while(state, idle).unwrap_or_else(PoisonError::into_inner);
            match state.gathering.next(now()) {
                _ if state.is_urgent() => break,
                Next::Begin => break,
                Next::AfterAnswer => {
                    (state.enough, state.after_answer) = (usize::MAX, true);
                    state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
                    state.after_answer = false;
                }
                Next::Gather(enough, patience) => {
                    state.enough = enough.min(MESSAGES);
                    let few = |state: &mut State| state.waiting.len() < state.enough && !state.is_urgent();
                    state = self.wake.wait_timeout_while(state, patience, few).unwrap_or_else(PoisonError::into_inner).0;
                    break;
                }
            }
        }
        state.enough = usize::MAX;
        let (mut orders, mut bytes) = (Vec::new(), 0);
        while orders.len() < MESSAGES && bytes < BYTES {
            let Some(waiting) = state.waiting.pop_front() else { break };
            bytes += waiting.order.bytes();
            orders.push(waiting);
        }
        state.gathering.begin(orders.len());
        let work = Work {
            orders,
            published: std::mem::take(&mut state.published),
            tidy: std::mem::take(&mut state.tidy),
            look: std::mem::take(&mut state.look),
        };
        let over = state.closed && work.is_empty();
        (!over).then_some(work)
    }

    /// Takes nothing more; what waits is still written.
    pub(super) fn close(&self) {
        self.state().closed = true;
        self.wake.notify_all();
    }

    /// Tells once it is broken, and why.
    pub(super) fn broken(&self) -> watch::Receiver<Option<String>> {
        self.broken.subscribe()
    }

    /// What is known of the store's health.
    pub(super) fn health(&self) -> Health {
        self.state().health.clone()
    }

    /// Sets what is known of the store's health. Once broken, it stays so.
    pub(super) fn set_health(&self, health: Health) {
        let mut state = self.state();
        if !matches!(state.health, Health::Broken(_)) {
            state.health = health;
        }
        let now = match &state.health {
            short @ (Health::Full(_) | Health::Held(_)) => short.clone(),
            Health::Good | Health::Suspect(_) | Health::Broken(_) => Health::Good,
        };
        self.short.send_if_modified(|before| {
            let has_changed = discriminant(before) != discriminant(&now);
            *before = now;
            has_changed
        });
    }

    /// Tells when new runs are not taken any more, for want of room or since another program holds the file, and when they are again.
    pub(super) fn short(&self) -> watch::Receiver<Health> {
        self.short.subscribe()
    }

    /// Refuses everything that waits and that will come.
    pub(super) fn break_down(&self, why: &str) {
        let mut state = self.state();
        state.health = Health::Broken(why.to_owned());
        self.broken.send_replace(Some(why.to_owned()));
        let waiting = std::mem::take(&mut state.waiting);
        state.published = Vec::new();
        // Whoever waits for the end of a tidying hears that there is nobody who does it.
        state.tidied.clear();
        drop(state);
        for Waiting { answer, .. } in waiting {
            // Whoever does not listen any more wants no answer.
            let _ = answer.send(Written::Refused(StoreError::Broken(why.to_owned())));
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Order {
    /// The run that it is about.
    pub(super) fn run(&self) -> Option<RunId> {
        match self {
            Self::Append(append) => Some(append.run),
            Self::Claim(run) => Some(*run),
            Self::Write(_) | Self::Flush => None,
        }
    }

    /// Whether it begins a run.
    pub(super) fn is_new(&self) -> bool {
        matches!(self, Self::Append(append) if append.first == 0)
    }

    /// Whether a store that has no room may refuse it: nothing that was acknowledged depends on it.
    fn may_be_refused(&self) -> bool {
        self.is_new() || matches!(self, Self::Write(_))
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Append(append) => append.bytes(),
            Self::Write(changes) => bytes_of(changes),
            Self::Claim(_) | Self::Flush => 0,
        }
    }
}

/// What a store answers that has been closed.
pub(super) fn closed() -> StoreError {
    StoreError::Broken("the store is closed".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(count: usize) -> Vec<EventId> {
        (0..count as u128).map(|number| EventId::new(uuid::Uuid::from_u128(number))).collect()
    }

    /// How many marks there are to be written.
    fn marks(queue: &Queue) -> usize {
        queue.look();
        queue.take(|| Timestamp::EPOCH).expect("it is not closed").published.len()
    }

    #[test]
    fn marks_that_nobody_takes_for_want_of_room_are_bounded_and_those_over_it_are_forgotten() {
        let queue = Queue::new();
        queue.set_health(Health::Full("no room".to_owned()));
        for event in events(MOST_MARKS - 1) {
            queue.publish(vec![event]);
        }
        queue.publish(events(3));
        queue.publish(events(1));
        assert_eq!(queue.state().published.len(), MOST_MARKS);
        // Once they are taken there is room for others.
        assert_eq!(marks(&queue), MOST_MARKS);
        queue.publish(events(2));
        assert_eq!(marks(&queue), 2);
    }

    #[test]
    fn a_broken_store_keeps_no_marks_and_takes_none() {
        let queue = Queue::new();
        queue.publish(events(2));
        queue.break_down("fsync failed");
        queue.publish(events(2));
        assert_eq!(marks(&queue), 0);
    }
}
