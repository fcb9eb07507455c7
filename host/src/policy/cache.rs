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
mod tests {
    use std::time::Duration;

    use uuid::Uuid;

    use super::*;
    use crate::model::secret::Secret;
    use crate::model::value::Tree;

    const SECOND: Duration = Duration::from_secs(1);
    const NOW: Timestamp = Timestamp::from_nanos(1_000_000_000_000);
    const SETTINGS: CacheSettings = CacheSettings { ttl: Duration::from_secs(10), stale: Duration::from_secs(5), max_entries: 3 };

    fn policy(name: &str) -> PolicyIdentity {
        PolicyIdentity::Named { owner: "p".to_owned(), policy: name.to_owned() }
    }

    fn job(number: u128) -> JobId {
        JobId::new(Uuid::from_u128(number))
    }

    fn of(value: Value, tags: &[&str]) -> Fetched {
        Fetched { value, tags: tags.iter().map(|tag| (*tag).to_owned()).collect() }
    }

    fn filled(keys: &[&str]) -> Table {
        let mut table = Table::new();
        for (number, key) in keys.iter().enumerate() {
            let job = job(number as u128);
            assert_eq!(table.lookup(&policy("a"), key, job, &SETTINGS, NOW), Lookup::Lead);
            assert!(table.store(&policy("a"), key, job, of(Value::string(*key), &[&format!("tag of {key}")]), &SETTINGS, NOW));
        }
        table
    }

    fn has(table: &mut Table, key: &str) -> bool {
        matches!(table.lookup(&policy("a"), key, job(999), &SETTINGS, NOW), Lookup::Fresh(_))
    }

    #[test]
    fn a_miss_is_fetched_once() {
        let (mut table, a) = (Table::new(), policy("a"));
        assert_eq!(table.lookup(&a, "k", job(1), &SETTINGS, NOW), Lookup::Lead);
        assert_eq!(table.lookup(&a, "k", job(2), &SETTINGS, NOW), Lookup::Join { leader: job(1) });
        assert!(table.store(&a, "k", job(1), of(Value::string("v"), &[]), &SETTINGS, NOW));
        assert_eq!(table.lookup(&a, "k", job(2), &SETTINGS, NOW), Lookup::Fresh(Value::string("v")));
    }

    #[test]
    fn a_failure_is_not_stored_and_the_next_one_fetches() {
        let (mut table, a) = (Table::new(), policy("a"));
        table.lookup(&a, "k", job(1), &SETTINGS, NOW);
        assert!(!table.release(&a, "k", job(2)), "job 2 does not fetch");
        assert!(table.release(&a, "k", job(1)));
        assert_eq!(table.lookup(&a, "k", job(2), &SETTINGS, NOW), Lookup::Lead);
    }

    #[test]
    fn a_stale_result_is_served_while_one_job_fetches() {
        let (mut table, a) = (filled(&["k"]), policy("a"));
        let value = Value::string("k");
        assert_eq!(table.lookup(&a, "k", job(1), &SETTINGS, NOW + SECOND * 9), Lookup::Fresh(value.clone()));
        let late = NOW + SECOND * 10;
        assert_eq!(table.lookup(&a, "k", job(2), &SETTINGS, late), Lookup::Stale { value: value.clone(), refresh: true });
        assert_eq!(table.lookup(&a, "k", job(3), &SETTINGS, late), Lookup::Stale { value, refresh: false });
        assert!(table.store(&a, "k", job(2), of(Value::string("new"), &[]), &SETTINGS, late));
        assert_eq!(table.lookup(&a, "k", job(4), &SETTINGS, late + SECOND * 9), Lookup::Fresh(Value::string("new")));
        assert_eq!(table.lookup(&a, "k", job(5), &SETTINGS, late + SECOND * 15), Lookup::Lead);
        assert_eq!(table.len(&a), 0, "what is past its stale time is gone");
    }

    #[test]
    fn what_was_stored_before_answers_by_its_own_times_and_the_bounds_hold() {
        let (mut table, a) = (Table::new(), policy("a"));
        table.most_bytes = 10;
        let until = NOW + SECOND * 15;
        for key in ["1", "2", "3"] {
            assert!(table.restore(&a, key, of(Value::string("12"), &["t"]), (NOW, until), NOW + SECOND * 9));
        }
        assert_eq!(table.take_gone(), [(a.clone(), "1".to_owned())], "4 bytes each, so that the first goes for the third");
        assert!(!table.restore(&a, "3", of(Value::string("other"), &[]), (NOW, until), NOW + SECOND * 9), "it is there");
        assert!(!table.restore(&a, "4", of(Value::string("12"), &[]), (NOW, until), until), "its time is over");
        assert!(!table.restore(&a, "4", of(Value::string("123456789"), &[]), (NOW, until), NOW), "it is larger than all");
        assert_eq!(table.lookup(&a, "3", job(1), &SETTINGS, NOW + SECOND * 9), Lookup::Fresh(Value::string("12")));
        let late = table.lookup(&a, "3", job(1), &SETTINGS, NOW + SECOND * 10);
        assert_eq!(late, Lookup::Stale { value: Value::string("12"), refresh: true });
        assert_eq!(table.invalidate(&a, &Selector::Tag("t".to_owned())).len(), 2);
    }

    #[test]
    fn what_goes_before_its_time_is_told_and_nothing_else() {
        let mut table = filled(&["a", "b", "c"]);
        let a = policy("a");
        table.lookup(&a, "d", job(9), &SETTINGS, NOW);
        table.store(&a, "d", job(9), of(Value::null(), &[]), &SETTINGS, NOW);
        assert_eq!(table.take_gone(), [(a.clone(), "a".to_owned())], "there is room for three");
        let shorter = CacheSettings { ttl: SECOND, stale: Duration::ZERO, ..SETTINGS };
        table.lookup(&a, "b", job(8), &shorter, NOW + SECOND);
        assert_eq!(table.take_gone(), [(a.clone(), "b".to_owned())]);
        table.lookup(&a, "c", job(8), &SETTINGS, NOW + SECOND * 15);
        assert_eq!(table.take_gone(), [], "its time was over");
        table.retain(&[]);
        assert_eq!(table.take_gone(), [(a, "d".to_owned())]);
    }

    #[test]
    fn the_least_recently_used_goes() {
        let mut table = filled(&["a", "b", "c"]);
        assert!(has(&mut table, "a"));
        table.lookup(&policy("a"), "d", job(9), &SETTINGS, NOW);
        table.store(&policy("a"), "d", job(9), of(Value::null(), &[]), &SETTINGS, NOW);
        assert_eq!((has(&mut table, "a"), has(&mut table, "b"), has(&mut table, "c"), has(&mut table, "d")), (true, false, true, true));
    }

    #[test]
    fn fewer_entries_and_a_shorter_life_count_at_once() {
        let (mut table, a) = (filled(&["a", "b", "c"]), policy("a"));
        let fewer = CacheSettings { max_entries: 1, ..SETTINGS };
        assert!(matches!(table.lookup(&a, "c", job(9), &fewer, NOW), Lookup::Fresh(_)));
        assert_eq!(table.len(&a), 1);
        let shorter = CacheSettings { ttl: SECOND, stale: Duration::ZERO, ..SETTINGS };
        assert_eq!(table.lookup(&a, "c", job(9), &shorter, NOW + SECOND), Lookup::Lead);
        let none = CacheSettings { max_entries: 0, ..SETTINGS };
        assert!(!table.store(&a, "c", job(9), of(Value::null(), &[]), &none, NOW));
    }

    #[test]
    fn a_read_from_before_an_invalidation_is_neither_stored_nor_joined() {
        for selector in [Selector::Key("k".to_owned()), Selector::Prefix("k".to_owned()), Selector::Tag("any".to_owned())] {
            let (mut table, a) = (Table::new(), policy("a"));
            table.lookup(&a, "k", job(1), &SETTINGS, NOW);
            table.invalidate(&a, &selector);
            assert_eq!(table.lookup(&a, "k", job(2), &SETTINGS, NOW), Lookup::Lead, "{selector:?}");
            assert!(!table.store(&a, "k", job(1), of(Value::string("old"), &[]), &SETTINGS, NOW));
            assert!(table.store(&a, "k", job(2), of(Value::string("new"), &[]), &SETTINGS, NOW));
        }
    }

    /// Two reads, an invalidation, and the first read going over to another job, in every order that there is.
    #[test]
    fn in_no_order_does_a_read_from_before_an_invalidation_come_back() {
        const MOVES: [&str; 6] = ["one begins", "one is handed on", "one ends", "two begins", "two ends", "invalidate"];
        fn orders(left: &[usize], order: &mut Vec<usize>, all: &mut Vec<Vec<usize>>) {
            if left.is_empty() {
                all.push(order.clone());
            }
            for next in left {
                order.push(*next);
                let rest: Vec<usize> = left.iter().copied().filter(|other| other != next).collect();
                orders(&rest, order, all);
                order.pop();
            }
        }
        let mut all = Vec::new();
        orders(&[0, 1, 2, 3, 4, 5], &mut Vec::new(), &mut all);
        for selector in [Selector::Key("k".to_owned()), Selector::Prefix("k".to_owned()), Selector::Tag("t".to_owned())] {
            for order in &all {
                let at = |name: &str| order.iter().position(|index| MOVES[*index] == name).unwrap_or_default();
                let possible = at("one begins") < at("one is handed on") && at("one is handed on") < at("one ends");
                if !possible || at("two begins") > at("two ends") {
                    continue;
                }
                let (mut table, a) = (Table::new(), policy("a"));
                let mut led = [false; 2];
                for index in order {
                    match *index {
                        0 => led[0] = table.lookup(&a, "k", job(1), &SETTINGS, NOW) == Lookup::Lead,
                        1 if led[0] => table.pass_on(&a, "k", job(1), job(3)),
                        2 if led[0] => drop(table.store(&a, "k", job(3), of(Value::string("one"), &["t"]), &SETTINGS, NOW)),
                        3 => led[1] = table.lookup(&a, "k", job(2), &SETTINGS, NOW) == Lookup::Lead,
                        4 if led[1] => drop(table.store(&a, "k", job(2), of(Value::string("two"), &["t"]), &SETTINGS, NOW)),
                        5 => drop(table.invalidate(&a, &selector)),
                        _ => {}
                    }
                }
                let kept = match table.lookup(&a, "k", job(9), &SETTINGS, NOW) {
                    Lookup::Fresh(value) => Some(value),
                    _ => None,
                };
                let after = |begins: &str| at(begins) > at("invalidate");
                // Whoever leads after the invalidation is kept; nobody who led before it is.
                let wanted = [("one", led[0] && after("one begins")), ("two", led[1] && after("two begins"))];
                let wanted: Vec<Value> = wanted.iter().filter(|(_, kept)| *kept).map(|(name, _)| Value::string(*name)).collect();
                assert_eq!(kept.is_some(), !wanted.is_empty(), "{selector:?} {order:?}");
                assert!(kept.is_none_or(|kept| wanted.contains(&kept)), "{selector:?} {order:?}");
            }
        }
    }

    #[test]
    fn an_invalidation_of_others_does_no_harm() {
        let (mut table, a) = (Table::new(), policy("a"));
        table.lookup(&a, "k", job(1), &SETTINGS, NOW);
        table.invalidate(&a, &Selector::Key("other".to_owned()));
        table.invalidate(&policy("b"), &Selector::Key("k".to_owned()));
        assert!(table.store(&a, "k", job(1), of(Value::null(), &[]), &SETTINGS, NOW));
    }

    #[test]
    fn entries_go_by_key_prefix_and_tag() {
        let keys = ["x1", "x2", "y"];
        let left = |selector: Selector| {
            let mut table = filled(&keys);
            let gone = table.invalidate(&policy("a"), &selector).len();
            (gone, keys.map(|key| has(&mut table, key)))
        };
        assert_eq!(left(Selector::Key("x1".to_owned())), (1, [false, true, true]));
        assert_eq!(left(Selector::Prefix("x".to_owned())), (2, [false, false, true]));
        assert_eq!(left(Selector::Tag("tag of y".to_owned())), (1, [true, true, false]));
        assert_eq!(left(Selector::Tag("no".to_owned())), (0, [true, true, true]));
    }

    #[test]
    fn keys_do_not_meet_across_policies() {
        let mut table = filled(&["k"]);
        assert_eq!(table.lookup(&policy("b"), "k", job(9), &SETTINGS, NOW), Lookup::Lead);
        table.retain(&[policy("b")]);
        assert_eq!(table.len(&policy("a")), 0);
        assert_eq!(table.lookup(&policy("b"), "k", job(8), &SETTINGS, NOW), Lookup::Join { leader: job(9) });
    }

    #[test]
    fn a_secret_is_not_stored() {
        let (mut table, a) = (Table::new(), policy("a"));
        table.lookup(&a, "k", job(1), &SETTINGS, NOW);
        let secret = Value::from(Tree::List(vec![Tree::Secret(Secret::new("KEY", "x"))]));
        assert!(!table.store(&a, "k", job(1), of(secret, &[]), &SETTINGS, NOW));
        assert_eq!(table.len(&a), 0);
    }

    #[test]
    fn what_is_too_large_pushes_the_others_out_and_no_more() {
        let (mut table, a) = (filled(&["a"]), policy("a"));
        table.most_bytes = 100;
        let large = Value::string("x".repeat(90));
        table.lookup(&a, "b", job(1), &SETTINGS, NOW);
        assert!(table.store(&a, "b", job(1), of(large, &[]), &SETTINGS, NOW));
        assert!(has(&mut table, "a"), "both fit");
        let larger = Value::string("x".repeat(98));
        table.lookup(&a, "c", job(2), &SETTINGS, NOW);
        assert!(table.store(&a, "c", job(2), of(larger, &[]), &SETTINGS, NOW));
        assert_eq!(table.len(&a), 1);
        table.lookup(&a, "d", job(3), &SETTINGS, NOW);
        assert!(!table.store(&a, "d", job(3), of(Value::string("x".repeat(100)), &[]), &SETTINGS, NOW));
    }
}
