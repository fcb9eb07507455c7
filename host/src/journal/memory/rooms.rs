//! What outlives runs, in memory: the rooms of kept values, and bundles.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use crate::model::bundle::Bundle;
use crate::model::event::Event;
use crate::model::id::Digest;
use crate::model::record::{Kept, Room, Write};

/// So many values a room keeps. Who writes into one has a smaller bound of its own; this one guards against a mistake there.
const MOST: usize = 1 << 20;
/// So many bundles: the oldest go.
const BUNDLES: usize = 256;
/// So many events that no fact holds: the oldest go.
const EMITTED: usize = 1_024;

/// The rooms and bundles.
#[derive(Default)]
pub(super) struct Rooms {
    rooms: HashMap<Room, Kepts>,
    bundles: Vec<Arc<Bundle>>,
    /// Events that no fact holds, the oldest first.
    emitted: VecDeque<Arc<Event>>,
}

#[derive(Default)]
struct Kepts {
    /// By owner and key: its place in the order of writing.
    places: HashMap<(String, String), u64>,
    order: BTreeMap<u64, Kept>,
    next: u64,
}

impl Rooms {
    /// Does what is written.
    pub(super) fn write(&mut self, writes: Vec<Write>) {
        for write in writes {
            match write {
                Write::Keep(kept) => self.rooms.entry(kept.room).or_default().keep(kept),
                Write::Forget { room, owner, key } => self.rooms.entry(room).or_default().forget(&owner, key.as_deref()),
                Write::Bundle(bundle) => self.store(bundle),
                Write::Emit(event) => self.emit(event),
            }
        }
    }

    /// The events that no fact holds.
    pub(super) fn emitted(&self) -> impl Iterator<Item = &Event> {
        self.emitted.iter().map(|event| &**event)
    }

    fn emit(&mut self, event: Arc<Event>) {
        self.emitted.retain(|other| other.id != event.id);
        if self.emitted.len() >= EMITTED {
            self.emitted.pop_front();
        }
        self.emitted.push_back(event);
    }

    /// The first so many of what is kept in a room, what was written first in front.
    pub(super) fn kept(&self, room: Room, most: usize) -> Vec<Kept> {
        self.rooms.get(&room).map(|kept| kept.order.values().take(most).cloned().collect()).unwrap_or_default()
    }

    /// Which of these, by owner and key, are kept in a room.
    pub(super) fn holds(&self, room: Room, names: &[(String, String)]) -> HashSet<(String, String)> {
        let Some(kept) = self.rooms.get(&room) else { return HashSet::new() };
        names.iter().filter(|name| kept.places.contains_key(*name)).cloned().collect()
    }

    /// Whether nothing is kept in a room.
    pub(super) fn is_empty(&self, room: Room) -> bool {
        self.rooms.get(&room).is_none_or(|kept| kept.order.is_empty())
    }

    /// Whether something is kept in a room under this name.
    pub(super) fn has(&self, room: Room, owner: &str, key: &str) -> bool {
        self.rooms.get(&room).is_some_and(|kept| kept.places.contains_key(&(owner.to_owned(), key.to_owned())))
    }

    /// What a revision is made of.
    pub(super) fn bundle(&self, revision: Digest) -> Option<Arc<Bundle>> {
        self.bundles.iter().find(|bundle| bundle.revision == revision).cloned()
    }

    fn store(&mut self, bundle: Arc<Bundle>) {
        if self.bundle(bundle.revision).is_none() {
            if self.bundles.len() >= BUNDLES {
                self.bundles.remove(0);
            }
            self.bundles.push(bundle);
        }
    }
}

impl Kepts {
    fn keep(&mut self, kept: Kept) {
        let name = (kept.owner.clone(), kept.key.clone());
        if let Some(place) = self.places.insert(name, self.next) {
            self.order.remove(&place);
        }
        self.order.insert(self.next, kept);
        self.next += 1;
        if self.order.len() > MOST
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.places.remove(&(oldest.owner, oldest.key));
        }
    }

    fn forget(&mut self, owner: &str, key: Option<&str>) {
        let Self { places, order, .. } = self;
        places.retain(|(of, name), place| {
            let goes = of == owner && key.is_none_or(|key| key == name);
            if goes {
                order.remove(place);
            }
            !goes
        });
    }
}
