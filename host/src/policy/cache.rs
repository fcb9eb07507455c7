//! `cache`: a result kept for some time, fetched once by one of those who miss it.

use std::collections::{BTreeMap, HashMap};

use crate::model::id::JobId;
use crate::model::policy::{CacheSettings, PolicyIdentity};
use crate::model::time::Timestamp;
use crate::model::value::Value;

/// How many bytes of results, as JSON, one policy keeps; the least recently used go.
const MOST_BYTES: usize = 64 * 1024 * 1024;
/// How many keys of one policy may be being fetched; a miss beyond that is fetched for itself alone.
const MOST_FLIGHTS: usize = 65_536;

/// What the cache knows of a key.
#[derive(Clone, PartialEq, Debug)]
pub enum Lookup {
    /// A result that is fresh.
    Fresh(Value),
    /// A result past its `ttl` but within its `stale` time.
    Stale {
        /// The result.
        value: Value,
        /// Whether this job is the one that fetches a new one behind it; then [`Table::store`] or [`Table::release`] must follow.
        refresh: bool,
    },
    /// Nothing: this job fetches it; [`Table::store`] or [`Table::release`] must follow.
    Lead,
    /// Nothing yet: another job fetches it.
    Join {
        /// Which.
        leader: JobId,
    },
}

/// What a job fetched.
#[derive(Clone, PartialEq, Debug)]
pub struct Fetched {
    /// The result.
    pub value: Value,
    /// The words by which it can be invalidated together with others.
    pub tags: Vec<String>,
}

/// Which entries are invalidated.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Selector {
    /// The one with this key, as [`key::text`](super::key::text) writes it.
    Key(String),
    /// All whose key begins so, as [`key::prefix`](super::key::prefix) writes it.
    Prefix(String),
    /// All that carry this tag.
    Tag(String),
}

/// Results by policy and key. Keys never meet across policies.
///
/// Own code and not moka, which has the time in its own hands and evicts in the background: this table takes the time as a value, so that a test knows
/// exactly what is in it, and the single flight and the invalidation of what is still being fetched live in the same place as the entries.
#[derive(Debug)]
pub struct Table {
    policies: HashMap<PolicyIdentity, Section>,
    most_bytes: usize,
    /// The keys whose results went before their time.
    gone: Vec<(PolicyIdentity, String)>,
}

impl Default for Table {
    fn default() -> Self {
        Self { policies: HashMap::new(), most_bytes: MOST_BYTES, gone: Vec::new() }
    }
}

#[derive(Debug, Default)]
struct Section {
    entries: HashMap<String, Entry>,
    /// Keys by their last use, the oldest first.
    used: BTreeMap<u64, String>,
    next: u64,
    bytes: usize,
    /// Who fetches what. An invalidation takes the flight out: whoever looks after it does not join a read from before it, and
    /// that read's result is not stored.
    flights: HashMap<String, JobId>,
}

#[derive(Debug)]
struct Entry {
    value: Value,
    bytes: usize,
    tags: Vec<String>,
    stored: Timestamp,
    /// When it goes by what was declared when it was stored.
    until: Timestamp,
    used: u64,
}

impl Table {
    /// An empty table.
    pub fn new() -> Self {
        Self::default()
    }

    /// Looks a key up for a job. Changed settings count at once, also for what was stored under the old ones.
    pub fn lookup(&mut self, identity: &PolicyIdentity, key: &str, job: JobId, settings: &CacheSettings, now: Timestamp) -> Lookup {
        if !self.policies.contains_key(identity) {
            self.policies.insert(identity.clone(), Section::default());
        }
        let Some(section) = self.policies.get_mut(identity) else { return Lookup::Lead };
        let gone = section.shrink(settings.max_entries, self.most_bytes);
        self.gone.extend(gone.into_iter().map(|key| (identity.clone(), key)));
        let Some((stored, until, value)) = section.entries.get(key).map(|entry| (entry.stored, entry.until, entry.value.clone())) else {
            return section.miss(key, job);
        };
        let fresh_until = stored + settings.ttl;
        if now < fresh_until {
            section.touch(key);
            return Lookup::Fresh(value);
        }
        if now < fresh_until + settings.stale {
            section.touch(key);
            let refresh = section.miss(key, job) == Lookup::Lead;
            return Lookup::Stale { value, refresh };
        }
        section.remove(key);
        if now < until {
            self.gone.push((identity.clone(), key.to_owned()));
        }
        section.miss(key, job)
    }

    /// Stores what the job fetched and says whether it did: not if an invalidation came since it began, if the result holds a
    /// secret, or if it is larger than all that may be kept. A degraded result is not stored but released.
    pub fn store(
        &mut self,
        identity: &PolicyIdentity,
        key: &str,
        job: JobId,
        fetched: Fetched,
        settings: &CacheSettings,
        now: Timestamp,
    ) -> bool {
        if !self.release(identity, key, job) {
            return false;
        }
        let until = now + settings.ttl + settings.stale;
        let Some(section) = self.policies.get_mut(identity) else { return false };
        let was_there = section.remove(key);
        let bytes = fetched.value.text().len();
        if settings.max_entries == 0 || bytes > self.most_bytes || fetched.value.tree().holds_secret() {
            if was_there {
                self.gone.push((identity.clone(), key.to_owned()));
            }
            return false;
        }
        let gone = section.shrink(settings.max_entries - 1, self.most_bytes - bytes);
        section.insert(key, fetched, bytes, (now, until));
        self.gone.extend(gone.into_iter().map(|key| (identity.clone(), key)));
        true
    }

    /// Has what was stored before the host ended, and says whether it has: not if it is over, if it is there, or if it is larger than all that may
    /// be kept. To be called in the order in which things were stored: what was stored first goes first.
    pub fn restore(
        &mut self,
        identity: &PolicyIdentity,
        key: &str,
        fetched: Fetched,
        (stored, until): (Timestamp, Timestamp),
        now: Timestamp,
    ) -> bool {
        let bytes = fetched.value.text().len();
        let section = self.policies.entry(identity.clone()).or_default();
        if until <= now || bytes > self.most_bytes || section.entries.contains_key(key) {
            return false;
        }
        let gone = section.shrink(u64::MAX, self.most_bytes - bytes);
        section.insert(key, fetched, bytes, (stored, until));
        self.gone.extend(gone.into_iter().map(|key| (identity.clone(), key)));
        true
    }

    /// The keys whose results went before their time since this was last asked, invalidated ones apart: whoever keeps them elsewhere forgets them.
    pub fn take_gone(&mut self) -> Vec<(PolicyIdentity, String)> {
        std::mem::take(&mut self.gone)
    }

    /// Tells that the job fetched nothing that can be stored: it failed, or its result is degraded. The next one that misses
    /// fetches. Says whether the job was the one that fetched.
    pub fn release(&mut self, identity: &PolicyIdentity, key: &str, job: JobId) -> bool {
        let Some(section) = self.policies.get_mut(identity) else { return false };
        let led = section.flights.get(key) == Some(&job);
        if led {
            section.flights.remove(key);
        }
        led
    }

    /// Another job fetches from now on, in the same flight. Does nothing if `leader` does not fetch, as after an invalidation: what was
    /// begun before it is not stored, whoever ends it.
    pub fn pass_on(&mut self, identity: &PolicyIdentity, key: &str, leader: JobId, heir: JobId) {
        if let Some(job) = self.policies.get_mut(identity).and_then(|section| section.flights.get_mut(key))
            && *job == leader
        {
            *job = heir;
        }
    }

    /// Takes entries out and says which; what is being fetched for them is not stored. The tags of what is being fetched are not known
    /// yet, so a tag stops all of the policy's.
    pub fn invalidate(&mut self, identity: &PolicyIdentity, selector: &Selector) -> Vec<String> {
        let Some(section) = self.policies.get_mut(identity) else { return Vec::new() };
        let meets = |key: &str| match selector {
            Selector::Key(wanted) => key == wanted,
            Selector::Prefix(prefix) => key.starts_with(prefix.as_str()),
            Selector::Tag(_) => true,
        };
        section.flights.retain(|key, _| !meets(key));
        let gone: Vec<String> = match selector {
            Selector::Key(key) => section.entries.contains_key(key).then(|| key.clone()).into_iter().collect(),
            Selector::Prefix(_) => section.entries.keys().filter(|key| meets(key)).cloned().collect(),
            Selector::Tag(tag) => {
                let tagged = section.entries.iter().filter(|(_, entry)| entry.tags.contains(tag));
                tagged.map(|(key, _)| key.clone()).collect()
            }
        };
        for key in &gone {
            section.remove(key);
        }
        gone
    }

    /// Forgets the entries of policies that no plan names any more; what is being fetched for them is not stored.
    pub fn retain(&mut self, named: &[PolicyIdentity]) {
        let Self { policies, gone, .. } = self;
        policies.retain(|identity, section| {
            let stays = named.contains(identity);
            if !stays {
                gone.extend(section.entries.keys().map(|key| (identity.clone(), key.clone())));
            }
            stays
        });
    }

    /// How many entries a policy has, expired ones that nobody looked up included.
    pub fn len(&self, identity: &PolicyIdentity) -> usize {
        self.policies.get(identity).map_or(0, |section| section.entries.len())
    }
}

impl Section {
    fn miss(&mut self, key: &str, job: JobId) -> Lookup {
        match self.flights.get(key) {
            Some(leader) if *leader != job => Lookup::Join { leader: *leader },
            Some(_) => Lookup::Lead,
            None => {
                if self.flights.len() < MOST_FLIGHTS {
                    self.flights.insert(key.to_owned(), job);
                }
                Lookup::Lead
            }
        }
    }

    fn insert(&mut self, key: &str, fetched: Fetched, bytes: usize, (stored, until): (Timestamp, Timestamp)) {
        let Fetched { value, tags } = fetched;
        let used = self.tick();
        self.used.insert(used, key.to_owned());
        self.bytes += bytes;
        self.entries.insert(key.to_owned(), Entry { value, bytes, tags, stored, until, used });
    }

    fn tick(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn touch(&mut self, key: &str) {
        let tick = self.tick();
        let Some(entry) = self.entries.get_mut(key) else { return };
        let before = std::mem::replace(&mut entry.used, tick);
        if let Some(key) = self.used.remove(&before) {
            self.used.insert(tick, key);
        }
    }

    /// Returns whether it was there.
    fn remove(&mut self, key: &str) -> bool {
        let Some(entry) = self.entries.remove(key) else { return false };
        self.used.remove(&entry.used);
        self.bytes -= entry.bytes;
        true
    }

    /// Makes room and returns the keys of what went for it.
    fn shrink(&mut self, entries: u64, bytes: usize) -> Vec<String> {
        let mut gone = Vec::new();
        while self.entries.len() as u64 > entries || self.bytes > bytes {
            let Some((_, key)) = self.used.pop_first() else { break };
            self.remove(&key);
            gone.push(key);
        }
        gone
    }
}

#[cfg(test)]
mod tests;
