//! The door: who runs, who waits and who is sent away, for each concurrency key. Pure: it keeps lists and says what to do.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};

use crate::model::activation::Patience;
use crate::model::failure::{Failure, FailureKind};
use crate::model::id::{FlowName, PipelineName, RunId};
use crate::plan::pipeline::WhenFull;

/// What runs are counted by.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct DoorKey {
    /// The pipeline.
    pub pipeline: PipelineName,
    /// The flow.
    pub flow: FlowName,
    /// The value of `concurrency.key`, if there is one.
    pub key: Option<String>,
}

/// The numbers of `concurrency`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// So many at once.
    pub max_concurrent: u32,
    /// So many waiting.
    pub max_queue: u32,
    /// What becomes of one more.
    pub when_full: WhenFull,
}

/// Whoever comes to the door, with what starts it.
#[derive(Debug)]
pub struct Guest<T> {
    /// The run it will be.
    pub run: RunId,
    /// What it does while there is no place.
    pub patience: Patience,
    /// What starts it.
    pub ticket: T,
}

/// What the door says.
#[derive(Debug)]
pub enum Arrival<T> {
    /// Start it.
    Start(T),
    /// It waits; those whose place it took will never start.
    Waits {
        /// Whether whoever came waits outside until it starts; nobody sends it away.
        outside: bool,
        /// The runs that it takes the place of, once they have ended: cancel them.
        cancel: Vec<RunId>,
        /// Those who waited and never will run.
        superseded: Vec<Guest<T>>,
    },
    /// It was forgotten.
    Dropped(T),
    /// It was refused.
    Refused(T, Failure),
}

struct Line<T> {
    running: VecDeque<RunId>,
    waiting: VecDeque<Guest<T>>,
    limits: Limits,
}

/// All lines.
pub struct Door<T> {
    lines: HashMap<DoorKey, Line<T>>,
}

impl<T> Default for Door<T> {
    fn default() -> Self {
        Self { lines: HashMap::new() }
    }
}

impl<T> Door<T> {
    /// Somebody comes. The limits are those of the present revision and apply to the line from now on.
    pub fn arrive(&mut self, key: &DoorKey, limits: Limits, guest: Guest<T>) -> Arrival<T> {
        let line = self.lines.entry(key.clone()).or_insert_with(|| Line { running: VecDeque::new(), waiting: VecDeque::new(), limits });
        line.set(limits);
        if line.has_place() && line.waiting.is_empty() {
            line.running.push_back(guest.run);
            return Arrival::Start(guest.ticket);
        }
        let nothing = |outside| Arrival::Waits { outside, cancel: Vec::new(), superseded: Vec::new() };
        let full = line.waiting.len() >= limits.max_queue as usize;
        let outside = match guest.patience {
            Patience::AsDeclared => false,
            Patience::WaitForRoom => full && limits.when_full == WhenFull::Queue,
            Patience::Wait => true,
        };
        if outside {
            line.waiting.push_back(guest);
            return nothing(true);
        }
        match limits.when_full {
            WhenFull::Queue if full => Arrival::Refused(guest.ticket, refusal(key, limits, FailureKind::Rejected)),
            WhenFull::Queue => {
                line.waiting.push_back(guest);
                nothing(false)
            }
            WhenFull::Drop => Arrival::Dropped(guest.ticket),
            WhenFull::Reject => {
                let kind = if key.key.is_some() { FailureKind::Conflict } else { FailureKind::Rejected };
                Arrival::Refused(guest.ticket, refusal(key, limits, kind))
            }
            WhenFull::Coalesce => {
                let superseded = line.supersede();
                line.waiting.push_back(guest);
                Arrival::Waits { outside: false, cancel: Vec::new(), superseded }
            }
            WhenFull::Replace => {
                let superseded = line.supersede();
                line.waiting.push_back(guest);
                // One place is needed, and the oldest gives it; it may have been told so by one that is now superseded.
                let cancel = line.running.front().copied().into_iter().collect();
                Arrival::Waits { outside: false, cancel, superseded }
            }
        }
    }

    /// A run that had a place before the host ended has it again, however full the line is.
    pub fn resume(&mut self, key: &DoorKey, limits: Limits, run: RunId) {
        let line = self.lines.entry(key.clone()).or_insert_with(|| Line { running: VecDeque::new(), waiting: VecDeque::new(), limits });
        line.running.push_back(run);
    }

    /// One that waited before the host ended waits again, behind those that were put back before it. Nobody starts before the lines are
    /// [filled](Self::fill).
    pub fn wait_again(&mut self, key: &DoorKey, limits: Limits, guest: Guest<T>) {
        let line = self.lines.entry(key.clone()).or_insert_with(|| Line { running: VecDeque::new(), waiting: VecDeque::new(), limits });
        line.set(limits);
        line.waiting.push_back(guest);
    }

    /// Gives the free places of all lines to those who came first.
    pub fn fill(&mut self) -> Vec<T> {
        self.lines.values_mut().flat_map(Line::fill).collect()
    }

    /// A run has ended, its `finally` too: whoever may start now, in the order in which they came.
    pub fn leave(&mut self, key: DoorKey, run: RunId) -> Vec<T> {
        // Found once, to be changed and perhaps forgotten.
        let Entry::Occupied(mut entry) = self.lines.entry(key) else { return Vec::new() };
        let line = entry.get_mut();
        // The one that leaves is mostly among the first: it is not looked for behind its place.
        if let Some(index) = line.running.iter().position(|other| *other == run) {
            line.running.remove(index);
        }
        let start = line.fill();
        // That of a flow without a key stays for its next run; there are no more of these than flows.
        if line.is_empty() && entry.key().key.is_some() {
            entry.remove();
        }
        start
    }

    /// Other limits are in force: whoever may start now, of each line in the order in which they came. Where there are fewer places than before, nobody
    /// who runs is sent away; the places are gone as they become free. A line of which nothing is said keeps its limits.
    pub fn adjust(&mut self, limits: impl Fn(&DoorKey) -> Option<Limits>) -> Vec<T> {
        let mut start = Vec::new();
        self.lines.retain(|key, line| match limits(key) {
            Some(limits) => {
                line.set(limits);
                start.extend(line.fill());
                true
            }
            None => !line.is_empty(),
        });
        start
    }

    /// One that waits goes away again. `None` if it does not wait.
    pub fn withdraw(&mut self, run: RunId) -> Option<T> {
        self.lines.values_mut().find_map(|line| {
            let index = line.waiting.iter().position(|guest| guest.run == run)?;
            line.waiting.remove(index).map(|guest| guest.ticket)
        })
    }

    /// Who came last to a line and waits there.
    pub fn newest(&mut self, key: &DoorKey) -> Option<&mut T> {
        self.lines.get_mut(key)?.waiting.back_mut().map(|guest| &mut guest.ticket)
    }

    /// Asks each of those who wait, in no order of lines.
    pub fn waiting<U>(&self, ask: impl Fn(&T) -> U) -> Vec<U> {
        self.lines.values().flat_map(|line| &line.waiting).map(|guest| ask(&guest.ticket)).collect()
    }

    /// All who wait are sent away: the host stops.
    pub fn clear_waiting(&mut self) -> Vec<Guest<T>> {
        self.lines.values_mut().flat_map(|line| line.waiting.drain(..)).collect()
    }
}

impl<T> Line<T> {
    fn is_empty(&self) -> bool {
        self.running.is_empty() && self.waiting.is_empty()
    }

    fn has_place(&self) -> bool {
        self.running.len() < self.limits.max_concurrent as usize
    }

    fn set(&mut self, limits: Limits) {
        self.limits = Limits { max_concurrent: limits.max_concurrent.max(1), ..limits };
    }

    /// Gives the free places to those who came first.
    fn fill(&mut self) -> Vec<T> {
        let mut start = Vec::new();
        while self.has_place() {
            let Some(guest) = self.waiting.pop_front() else { break };
            self.running.push_back(guest.run);
            start.push(guest.ticket);
        }
        start
    }

    /// Takes out those who wait and may be sent away.
    fn supersede(&mut self) -> Vec<Guest<T>> {
        let (stay, go) = self.waiting.drain(..).partition(|guest| guest.patience != Patience::AsDeclared);
        self.waiting = stay;
        Vec::from(go)
    }
}

fn refusal(key: &DoorKey, limits: Limits, kind: FailureKind) -> Failure {
    let DoorKey { pipeline, flow, key } = key;
    // A key's text is JSON: a text in it has its quotes already.
    let of = key.as_ref().map(|key| format!(" with the key {key}")).unwrap_or_default();
    let queue = match limits.when_full {
        WhenFull::Queue => format!(" and {} wait", limits.max_queue),
        _ => String::new(),
    };
    let runs = match limits.max_concurrent {
        1 => format!("a run of {pipeline}.{flow}{of} is under way"),
        several => format!("{several} runs of {pipeline}.{flow}{of} are under way"),
    };
    let message = format!("{runs}{queue}; try again later");
    Failure::new(kind, message).with_code("concurrency")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(number: u128) -> RunId {
        RunId::new(uuid::Uuid::from_u128(number))
    }

    fn key(text: &str) -> DoorKey {
        DoorKey { pipeline: "p".into(), flow: "main".into(), key: Some(text.to_owned()) }
    }

    fn guest(number: u128) -> Guest<u128> {
        Guest { run: run(number), patience: Patience::AsDeclared, ticket: number }
    }

    const fn limits(when_full: WhenFull) -> Limits {
        Limits { max_concurrent: 1, max_queue: 1, when_full }
    }

    #[test]
    fn keys_do_not_meet() {
        let mut door = Door::default();
        assert!(matches!(door.arrive(&key("a"), limits(WhenFull::Reject), guest(1)), Arrival::Start(1)));
        assert!(matches!(door.arrive(&key("b"), limits(WhenFull::Reject), guest(2)), Arrival::Start(2)));
    }

    #[test]
    fn a_queue_keeps_the_order_and_a_full_one_rejects() {
        let mut door = Door::default();
        let limits = Limits { max_queue: 2, ..limits(WhenFull::Queue) };
        door.arrive(&key("a"), limits, guest(1));
        door.arrive(&key("a"), limits, guest(2));
        door.arrive(&key("a"), limits, guest(3));
        let Arrival::Refused(4, failure) = door.arrive(&key("a"), limits, guest(4)) else { panic!("the queue was not full") };
        assert_eq!(failure.kind, FailureKind::Rejected);
        assert_eq!(door.leave(key("a"), run(1)), [2]);
        assert_eq!(door.leave(key("a"), run(2)), [3]);
        assert!(door.leave(key("a"), run(3)).is_empty());
        assert!(door.lines.is_empty(), "an empty line is forgotten");
    }

    #[test]
    fn replace_cancels_the_oldest_and_only_the_newest_waits() {
        let mut door = Door::default();
        door.arrive(&key("a"), limits(WhenFull::Replace), guest(1));
        let Arrival::Waits { cancel, superseded, .. } = door.arrive(&key("a"), limits(WhenFull::Replace), guest(2)) else {
            panic!("it has to wait for the end of the first")
        };
        assert_eq!((cancel, superseded.len()), (vec![run(1)], 0));
        let Arrival::Waits { superseded, .. } = door.arrive(&key("a"), limits(WhenFull::Replace), guest(3)) else {
            panic!("it has to wait for the end of the first")
        };
        assert_eq!(superseded.iter().map(|guest| guest.ticket).collect::<Vec<_>>(), [2]);
        assert_eq!(door.leave(key("a"), run(1)), [3]);
    }

    #[test]
    fn a_patient_guest_is_never_sent_away() {
        let mut door = Door::default();
        door.arrive(&key("a"), limits(WhenFull::Replace), guest(1));
        let patient = Guest { patience: Patience::Wait, ..guest(2) };
        assert!(matches!(door.arrive(&key("a"), limits(WhenFull::Replace), patient), Arrival::Waits { cancel, .. } if cancel.is_empty()));
        let Arrival::Waits { superseded, .. } = door.arrive(&key("a"), limits(WhenFull::Replace), guest(3)) else {
            panic!("it has to wait")
        };
        assert!(superseded.is_empty());
        assert_eq!(door.leave(key("a"), run(1)), [2]);
    }

    #[test]
    fn coalesce_keeps_the_newest_and_drop_forgets() {
        let mut door = Door::default();
        door.arrive(&key("a"), limits(WhenFull::Coalesce), guest(1));
        door.arrive(&key("a"), limits(WhenFull::Coalesce), guest(2));
        let Arrival::Waits { cancel, superseded, .. } = door.arrive(&key("a"), limits(WhenFull::Coalesce), guest(3)) else {
            panic!("it has to wait")
        };
        assert_eq!((cancel.len(), superseded.len()), (0, 1));
        assert!(matches!(door.arrive(&key("a"), limits(WhenFull::Drop), guest(4)), Arrival::Dropped(4)));
    }

    #[test]
    fn reject_with_a_key_is_a_conflict() {
        let mut door = Door::default();
        door.arrive(&key("a"), limits(WhenFull::Reject), guest(1));
        let Arrival::Refused(_, failure) = door.arrive(&key("a"), limits(WhenFull::Reject), guest(2)) else { panic!("it is full") };
        assert_eq!((failure.kind, failure.code.as_deref()), (FailureKind::Conflict, Some("concurrency")));
    }

    #[test]
    fn an_event_waits_outside_only_while_the_queue_is_full() {
        let mut door = Door::default();
        let event = |number| Guest { patience: Patience::WaitForRoom, ..guest(number) };
        door.arrive(&key("a"), limits(WhenFull::Queue), event(1));
        assert!(matches!(door.arrive(&key("a"), limits(WhenFull::Queue), event(2)), Arrival::Waits { outside: false, .. }));
        assert!(matches!(door.arrive(&key("a"), limits(WhenFull::Queue), event(3)), Arrival::Waits { outside: true, .. }));
        assert!(matches!(door.arrive(&key("b"), limits(WhenFull::Drop), event(4)), Arrival::Start(4)));
        assert!(matches!(door.arrive(&key("b"), limits(WhenFull::Drop), event(5)), Arrival::Dropped(5)));
    }

    #[test]
    fn more_places_are_taken_at_once_and_fewer_as_they_become_free() {
        let mut door = Door::default();
        let queue = |max_concurrent| Limits { max_concurrent, max_queue: 9, when_full: WhenFull::Queue };
        for number in 1..=5 {
            door.arrive(&key("a"), queue(1), guest(number));
        }
        door.arrive(&key("b"), queue(1), guest(6));
        door.arrive(&key("b"), queue(1), guest(7));
        let only_a = |limits: Limits| move |of: &DoorKey| (*of == key("a")).then_some(limits);
        assert_eq!(door.adjust(only_a(queue(3))), [2, 3]);
        assert!(door.adjust(only_a(queue(1))).is_empty());
        assert!(door.leave(key("a"), run(1)).is_empty() && door.leave(key("a"), run(2)).is_empty());
        assert_eq!(door.leave(key("a"), run(3)), [4]);
        assert_eq!(door.adjust(|_| Some(queue(0))), Vec::<u128>::new(), "there is always one place");
        assert_eq!(door.leave(key("b"), run(6)), [7]);
    }

    #[test]
    fn one_that_waits_can_go_away() {
        let mut door = Door::default();
        door.arrive(&key("a"), limits(WhenFull::Queue), guest(1));
        door.arrive(&key("a"), limits(WhenFull::Queue), guest(2));
        assert_eq!(door.withdraw(run(2)), Some(2));
        assert_eq!(door.withdraw(run(1)), None);
    }
}
