//! The runs that only wait. Such a run has no task: its record is in the store, its waits are in the table of waits, and what is here is
//! enough to find it and to wake it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::Notify;

use crate::model::activation::Requester;
use crate::model::id::{Digest, IdMap, RunId};
use crate::model::time::Timestamp;

use super::door::DoorKey;
use super::installed::Installed;
use super::states::StateCell;
use super::timers::Timers;

/// What runs of one flow and one place at the door have in common.
pub struct Group {
    /// What they are pinned to, however often their file is loaded anew meanwhile.
    pub(super) installed: Arc<Installed>,
    /// Where they have their place.
    pub(super) door: DoorKey,
    /// As `pipeline.flow`.
    pub(super) target: String,
}

/// What few resting runs have beside that.
pub struct Held {
    /// Who hears of it.
    pub requester: Option<Arc<dyn Requester>>,
    /// The state of the pipeline that it sees.
    pub cell: Option<Arc<StateCell>>,
    /// By which its `cancel_on` is found.
    pub cancel_keys: Vec<Digest>,
}

/// A run that rests, as it is laid down and taken up.
pub struct Stub {
    /// What it has in common with others.
    pub(super) group: Arc<Group>,
    /// When it began.
    pub(super) since: Timestamp,
    /// When it has to be woken; [`Timestamp::MAX`] is never.
    pub(super) due: Timestamp,
    /// What few have.
    pub(super) held: Option<Box<Held>>,
}

/// A run that rests, as it lies in the table. There are very many of these: each byte counts.
pub(super) struct Laid {
    /// What it has in common with others.
    pub(super) group: Arc<Group>,
    /// When it began.
    pub(super) since: Timestamp,
    /// When it has to be woken; [`Timestamp::MAX`] is never.
    pub(super) due: Timestamp,
}

/// All runs that rest.
#[derive(Default)]
pub struct Resting {
    table: Mutex<Table>,
    /// Told when another run is the first to be woken.
    pub(super) changed: Notify,
}

#[derive(Default)]
struct Table {
    stubs: IdMap<RunId, Laid>,
    /// Beside it, since few have anything here.
    held: IdMap<RunId, Box<Held>>,
    timers: Timers,
    groups: HashMap<(usize, DoorKey), Weak<Group>>,
    /// So many groups are looked through for those that nobody belongs to any more.
    most_groups: usize,
    /// Whether a task watches the timers.
    watched: bool,
}

/// What a table is not made smaller below.
const SMALL: usize = 1_024;

impl Resting {
    /// A run rests from now on. Returns whether a task has to begin to watch the timers.
    pub(super) fn lay_down(&self, run: RunId, stub: Stub) -> bool {
        let mut table = self.lock();
        let Stub { group, since, due, held } = stub;
        table.stubs.insert(run, Laid { group, since, due });
        if let Some(held) = held {
            table.held.insert(run, held);
        }
        if due == Timestamp::MAX {
            return false;
        }
        let is_first = table.timers.push(due, run);
        if table.timers.is_crowded(table.stubs.len()) {
            let Table { stubs, timers, .. } = &mut *table;
            timers.rebuild(stubs.iter().filter(|(_, stub)| stub.due != Timestamp::MAX).map(|(run, stub)| (stub.due, *run)));
        }
        let was_watched = std::mem::replace(&mut table.watched, true);
        drop(table);
        if is_first && was_watched {
            self.changed.notify_one();
        }
        !was_watched
    }

    /// Takes a run out, to be woken; `None` if it does not rest.
    pub(super) fn take(&self, run: RunId) -> Option<Stub> {
        let mut table = self.lock();
        let Laid { group, since, due } = table.stubs.remove(&run)?;
        let held = table.held.remove(&run);
        shrink(&mut table.stubs);
        shrink(&mut table.held);
        let was_first = table.timers.first() == Some((due, run));
        drop(table);
        if was_first {
            // Nobody waits for that time any more: no clock must go there for it.
            self.changed.notify_one();
        }
        Some(Stub { group, since, due, held })
    }

    /// When the first is due; `None` if none ever is, and then nobody watches any more.
    pub(super) fn next_due(&self) -> Option<Timestamp> {
        let mut table = self.lock();
        loop {
            let Some((due, run)) = table.timers.first() else {
                table.watched = false;
                return None;
            };
            if table.stubs.get(&run).is_some_and(|stub| stub.due == due) {
                return Some(due);
            }
            table.timers.pop();
        }
    }

    /// The next run that is due by then, taken out of the timers; it rests until it is taken out of the table.
    pub(super) fn pop_due(&self, now: Timestamp) -> Option<RunId> {
        let mut table = self.lock();
        loop {
            let (due, run) = table.timers.first().filter(|(due, _)| *due <= now)?;
            table.timers.pop();
            if table.stubs.get(&run).is_some_and(|stub| stub.due == due) {
                return Some(run);
            }
        }
    }

    /// What runs of this pipeline with that place at the door have in common.
    pub(super) fn group(&self, installed: &Arc<Installed>, door: &DoorKey, target: &str) -> Arc<Group> {
        let mut table = self.lock();
        let key = (Arc::as_ptr(installed).addr(), door.clone());
        if let Some(group) = table.groups.get(&key).and_then(Weak::upgrade) {
            return group;
        }
        if table.groups.len() >= table.most_groups {
            table.groups.retain(|_, group| group.strong_count() > 0);
            table.most_groups = (table.groups.len() * 2).max(64);
        }
        let group = Arc::new(Group { installed: Arc::clone(installed), door: door.clone(), target: target.to_owned() });
        table.groups.insert(key, Arc::downgrade(&group));
        group
    }

    /// What a run that rests is pinned to.
    pub(super) fn installed(&self, run: RunId) -> Option<Arc<Installed>> {
        self.lock().stubs.get(&run).map(|stub| Arc::clone(&stub.group.installed))
    }

    /// What runs of this revision are pinned to, if one of them rests.
    pub(super) fn of_revision(&self, revision: Digest) -> Option<Arc<Installed>> {
        let table = self.lock();
        let mut groups = table.groups.values().filter_map(Weak::upgrade);
        groups.find(|group| group.installed.bound.pipeline.revision == revision).map(|group| Arc::clone(&group.installed))
    }

    /// Whether it rests.
    pub(super) fn contains(&self, run: RunId) -> bool {
        self.lock().stubs.contains_key(&run)
    }

    /// Asks each, in no order.
    pub(super) fn map<T>(&self, ask: impl Fn(RunId, &Laid) -> T) -> Vec<T> {
        self.lock().stubs.iter().map(|(run, stub)| ask(*run, stub)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn shrink<V>(map: &mut IdMap<RunId, V>) {
    if map.capacity() > SMALL && map.len() < map.capacity() / 8 {
        map.shrink_to(map.len() * 2);
    }
}
