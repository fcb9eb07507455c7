//! `dedup`: one of several equal jobs at a time, and for some time after it.

use std::collections::{BTreeMap, HashMap};

use crate::model::failure::{Failure, FailureKind};
use crate::model::id::JobId;
use crate::model::job::{JobOutcome, ResultSource};
use crate::model::policy::{DedupSettings, DedupWindow, OnDuplicate, PolicyIdentity};
use crate::model::time::Timestamp;
use crate::model::value::Value;

/// The code of a job that was refused because another has its key.
pub const DUPLICATE: &str = "duplicate";
/// The code of a job that was refused because the table holds as many keys as it can.
pub const FULL: &str = "dedup_full";

/// How many keys, running and kept together, over all policies.
const MOST_KEYS: usize = 65_536;
/// How many bytes of kept results, as JSON, over all policies.
const MOST_BYTES: usize = 64 * 1024 * 1024;

/// What becomes of a job whose key was looked up.
#[derive(Clone, PartialEq, Debug)]
pub enum Claim {
    /// It has the key: it does the work, and [`Table::settle`] must follow.
    Lead,
    /// It waits for the leader's result and takes it.
    Join {
        /// Whose.
        leader: JobId,
    },
    /// It succeeds with null.
    Skip,
    /// It fails with this: a duplicate, or a full table.
    Reject(Failure),
    /// It succeeds with a result that was kept.
    Repeat(Value),
}

/// What is kept of a success, for its repeats.
#[derive(Clone, PartialEq, Debug)]
pub struct KeptResult {
    /// The job that succeeded.
    pub job: JobId,
    /// Its result; `None` if it is too large or holds a secret.
    pub value: Option<Value>,
    /// When it succeeded.
    pub settled: Timestamp,
    /// When it goes.
    pub until: Timestamp,
}

/// Which keys are taken, by policy. Keys never meet across policies.
///
/// It holds at most 65,536 keys. A full one refuses new keys and forgets none: whoever asked for a duplicate to be found must not
/// have its work done twice because others had many keys. Results beyond 64 MiB in sum, and those that hold a secret, are not kept;
/// their keys are, and a repeat is rejected.
#[derive(Debug)]
pub struct Table {
    policies: HashMap<PolicyIdentity, HashMap<String, Entry>>,
    /// The kept ones by the time they go, each with a number that makes it unique.
    expiries: BTreeMap<(Timestamp, u64), (PolicyIdentity, String)>,
    /// The keys whose results went before their time.
    gone: Vec<(PolicyIdentity, String)>,
    next: u64,
    keys: usize,
    bytes: usize,
    most_keys: usize,
    most_bytes: usize,
}

#[derive(Debug)]
enum Entry {
    Running { leader: JobId, window: DedupWindow },
    Kept { job: JobId, value: Option<Value>, bytes: usize, settled: Timestamp, until: (Timestamp, u64) },
}

impl Default for Table {
    fn default() -> Self {
        Self::with_bounds(MOST_KEYS, MOST_BYTES)
    }
}

impl Table {
    /// An empty table.
    pub fn new() -> Self {
        Self::default()
    }

    fn with_bounds(most_keys: usize, most_bytes: usize) -> Self {
        let (policies, expiries) = (HashMap::new(), BTreeMap::new());
        Self { policies, expiries, gone: Vec::new(), next: 0, keys: 0, bytes: 0, most_keys, most_bytes }
    }

    /// Asks for the key for a job. A job that has it already leads again, as after a crash.
    ///
    /// `on_duplicate` says what a duplicate gets, also within a window after a success: joining it is having its result.
    pub fn claim(&mut self, identity: &PolicyIdentity, key: &str, job: JobId, settings: &DedupSettings, now: Timestamp) -> Claim {
        self.expire(now);
        let found = match self.policies.get(identity).and_then(|keys| keys.get(key)) {
            Some(Entry::Running { leader, .. }) if *leader == job => return Claim::Lead,
            Some(Entry::Running { leader, .. }) => Some(match settings.on_duplicate {
                OnDuplicate::Join => Claim::Join { leader: *leader },
                OnDuplicate::Skip => Claim::Skip,
                OnDuplicate::Reject => Claim::Reject(duplicate(*leader, "is running with the same `dedup` key")),
            }),
            // A window that was shortened by a reload counts at once; a longer one counts for what is kept from then on.
            Some(Entry::Kept { job, value, settled, .. }) if within(settings.window, *settled, now) => {
                Some(match (settings.on_duplicate, value) {
                    (OnDuplicate::Skip, _) => Claim::Skip,
                    (OnDuplicate::Join, Some(value)) => Claim::Repeat(value.clone()),
                    (OnDuplicate::Join, None) => Claim::Reject(duplicate(*job, "did this already, and its result could not be kept")),
                    (OnDuplicate::Reject, _) => Claim::Reject(duplicate(*job, "did this already within the `while` of its `dedup`")),
                })
            }
            Some(Entry::Kept { .. }) | None => None,
        };
        if let Some(found) = found {
            return found;
        }
        if self.remove(identity, key) {
            self.gone.push((identity.clone(), key.to_owned()));
        }
        if self.keys >= self.most_keys {
            let message =
                format!("{} `dedup` keys are held, and no more can be; shorten `while`, or wait until running jobs end", self.most_keys);
            return Claim::Reject(Failure::new(FailureKind::Rejected, message).with_code(FULL));
        }
        let entry = Entry::Running { leader: job, window: settings.window };
        self.policies.entry(identity.clone()).or_default().insert(key.to_owned(), entry);
        self.keys += 1;
        Claim::Lead
    }

    /// Another job has the work from now on, and the key with it. Does nothing if `leader` does not lead.
    pub fn pass_on(&mut self, identity: &PolicyIdentity, key: &str, leader: JobId, heir: JobId) {
        if let Some(Entry::Running { leader: job, .. }) = self.policies.get_mut(identity).and_then(|keys| keys.get_mut(key))
            && *job == leader
        {
            *job = heir;
        }
    }

    /// Tells how the leader ended. A success is kept as long as the window says, if it is the executor's own and not a degraded one's; anything else frees the
    /// key. Does nothing if the job does not lead. Returns what is kept.
    pub fn settle(
        &mut self,
        identity: &PolicyIdentity,
        key: &str,
        job: JobId,
        outcome: &JobOutcome,
        degraded: bool,
        now: Timestamp,
    ) -> Option<KeptResult> {
        let window = match self.policies.get(identity).and_then(|keys| keys.get(key)) {
            Some(Entry::Running { leader, window }) if *leader == job => *window,
            _ => return None,
        };
        self.remove(identity, key);
        let (DedupWindow::Keep(keep), JobOutcome::Succeeded { output, from }) = (window, outcome) else { return None };
        if degraded || keep.is_zero() || matches!(from, ResultSource::Fallback | ResultSource::Skipped) {
            return None;
        }
        let value = (!output.tree().holds_secret()).then(|| output.clone());
        Some(self.keep(identity, key, KeptResult { job, value, settled: now, until: now + keep }))
    }

    /// Has what was kept before the host ended, and says whether it has: not if it is over, if somebody has its key, or if the table is full.
    pub fn restore(&mut self, identity: &PolicyIdentity, key: &str, kept: KeptResult, now: Timestamp) -> bool {
        let is_known = self.policies.get(identity).is_some_and(|keys| keys.contains_key(key));
        if kept.until <= now || is_known || self.keys >= self.most_keys {
            return false;
        }
        self.keep(identity, key, kept);
        true
    }

    /// What a job has just had kept is not kept after all.
    pub fn take_back(&mut self, identity: &PolicyIdentity, key: &str, job: JobId) {
        if let Some(Entry::Kept { job: of_kept, .. }) = self.policies.get(identity).and_then(|keys| keys.get(key))
            && *of_kept == job
        {
            self.remove(identity, key);
        }
    }

    /// The keys whose results went before their time since this was last asked: whoever keeps them elsewhere forgets them.
    pub fn take_gone(&mut self) -> Vec<(PolicyIdentity, String)> {
        std::mem::take(&mut self.gone)
    }

    fn keep(&mut self, identity: &PolicyIdentity, key: &str, kept: KeptResult) -> KeptResult {
        let room = self.most_bytes.saturating_sub(self.bytes);
        let (value, bytes) = match kept.value {
            Some(value) if value.text().len() <= room => (Some(value.clone()), value.text().len()),
            _ => (None, 0),
        };
        let kept = KeptResult { value, ..kept };
        let until = (kept.until, self.next);
        self.next += 1;
        self.expiries.insert(until, (identity.clone(), key.to_owned()));
        let entry = Entry::Kept { job: kept.job, value: kept.value.clone(), bytes, settled: kept.settled, until };
        self.policies.entry(identity.clone()).or_default().insert(key.to_owned(), entry);
        self.keys += 1;
        self.bytes += bytes;
        kept
    }

    /// Forgets what was kept for policies that no plan names any more. Running ones stay until they are settled.
    pub fn retain(&mut self, named: &[PolicyIdentity]) {
        let gone: Vec<_> = self.expiries.values().filter(|(identity, _)| !named.contains(identity)).cloned().collect();
        for (identity, key) in gone {
            self.remove(&identity, &key);
            self.gone.push((identity, key));
        }
    }

    /// How many keys are held.
    pub fn len(&self) -> usize {
        self.keys
    }

    /// Whether no key is held.
    pub fn is_empty(&self) -> bool {
        self.keys == 0
    }

    fn expire(&mut self, now: Timestamp) {
        while let Some(first) = self.expiries.first_entry() {
            if first.key().0 > now {
                return;
            }
            let (identity, key) = first.get().clone();
            self.remove(&identity, &key);
        }
    }

    /// Returns whether a result was there.
    fn remove(&mut self, identity: &PolicyIdentity, key: &str) -> bool {
        let Some(keys) = self.policies.get_mut(identity) else { return false };
        let Some(entry) = keys.remove(key) else { return false };
        if keys.is_empty() {
            self.policies.remove(identity);
        }
        self.keys -= 1;
        let Entry::Kept { bytes, until, .. } = entry else { return false };
        self.bytes -= bytes;
        self.expiries.remove(&until);
        true
    }
}

fn within(window: DedupWindow, settled: Timestamp, now: Timestamp) -> bool {
    match window {
        DedupWindow::Running => false,
        DedupWindow::Keep(keep) => now < settled + keep,
    }
}

fn duplicate(other: JobId, why: &str) -> Failure {
    Failure::new(FailureKind::Rejected, format!("a duplicate: job {other} {why}")).with_code(DUPLICATE)
}

#[cfg(test)]
mod tests;
