//! The tables of dedup and cache, which runs share, and those who wait for another one's result.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::model::happening::{JobLabel, What};
use crate::model::id::JobId;
use crate::model::job::{JobOutcome, ResultSource};
use crate::model::policy::PolicyIdentity;
use crate::model::time::Timestamp;
use crate::model::value::Value;
use crate::policy::{cache, deadline, dedup};

use super::run::{Claim, Verdict};

/// All flights.
#[derive(Default)]
pub struct Flights {
    tables: Mutex<Tables>,
}

#[derive(Default)]
struct Tables {
    dedup: dedup::Table,
    cache: cache::Table,
    /// By leader. As many as there are joined jobs under way, which the runs' concurrency bounds.
    waiting: HashMap<JobId, Vec<oneshot::Sender<Option<JobOutcome>>>>,
}

/// What the tables answered.
pub enum Claimed {
    /// This, at once.
    Answered(Verdict),
    /// An old result; whether the caller has to fetch a new one behind it.
    Stale {
        /// The old result.
        verdict: Verdict,
        /// Whether to fetch.
        refresh: bool,
    },
    /// Another job does it.
    Joined {
        /// Which.
        leader: JobId,
        /// How it ends; nothing if it is given up.
        ended: oneshot::Receiver<Option<JobOutcome>>,
    },
}

impl Claimed {
    /// What it is told as.
    pub fn told(&self, job: &JobLabel) -> Option<What> {
        let job = job.clone();
        match self {
            Self::Stale { .. } => Some(What::CacheHit { job, stale: true }),
            Self::Joined { .. } => Some(What::Deduplicated { job, verdict: "join" }),
            Self::Answered(Verdict::Done { outcome: JobOutcome::Succeeded { from, .. } }) => Some(match from {
                ResultSource::Cache => What::CacheHit { job, stale: false },
                ResultSource::Skipped => What::Deduplicated { job, verdict: "skip" },
                _ => What::Deduplicated { job, verdict: "repeat" },
            }),
            Self::Answered(Verdict::Refuse(_)) => Some(What::Deduplicated { job, verdict: "reject" }),
            Self::Answered(_) => None,
        }
    }
}

const fn done(output: Value, from: ResultSource) -> Claimed {
    Claimed::Answered(Verdict::Done { outcome: JobOutcome::Succeeded { output, from } })
}

impl Flights {
    /// Asks for a job: dedup first, then the cache, as they stand in the stack.
    pub fn claim(&self, job: JobId, claim: &Claim, now: Timestamp) -> Claimed {
        let mut tables = self.lock();
        if let Some((identity, key, settings)) = &claim.dedup {
            match tables.dedup.claim(identity, key, job, settings, now) {
                dedup::Claim::Lead => {}
                dedup::Claim::Join { leader } => return tables.join(leader),
                dedup::Claim::Skip => return done(Value::null(), ResultSource::Skipped),
                dedup::Claim::Reject(failure) => return Claimed::Answered(Verdict::Refuse(failure)),
                dedup::Claim::Repeat(value) => return done(value, ResultSource::Joined),
            }
        }
        let Some((identity, key, settings, _)) = &claim.cache else { return Claimed::Answered(Verdict::Lead) };
        match tables.cache.lookup(identity, key, job, settings, now) {
            cache::Lookup::Lead => Claimed::Answered(Verdict::Lead),
            cache::Lookup::Join { leader } => tables.join(leader),
            cache::Lookup::Fresh(value) => {
                let outcome = JobOutcome::Succeeded { output: value, from: ResultSource::Cache };
                tables.settle_dedup(job, claim, &outcome, now);
                Claimed::Answered(Verdict::Done { outcome })
            }
            cache::Lookup::Stale { value, refresh } => {
                let outcome = JobOutcome::Succeeded { output: value, from: ResultSource::Cache };
                tables.settle_dedup(job, claim, &outcome, now);
                Claimed::Stale { verdict: Verdict::Done { outcome }, refresh }
            }
        }
    }

    /// A job that led or had joined has ended.
    pub fn settle(&self, job: JobId, claim: &Claim, outcome: &JobOutcome, now: Timestamp) {
        let mut tables = self.lock();
        tables.settle_cache(job, claim, outcome, now);
        tables.settle_dedup(job, claim, outcome, now);
    }

    /// The refresh behind an old result has ended.
    pub fn refreshed(&self, job: JobId, claim: &Claim, outcome: &JobOutcome, now: Timestamp) {
        self.lock().settle_cache(job, claim, outcome, now);
    }

    /// Forgets what no plan names any more.
    pub fn retain(&self, named: &[PolicyIdentity]) {
        let mut tables = self.lock();
        tables.dedup.retain(named);
        tables.cache.retain(named);
    }

    fn lock(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tables {
    fn join(&mut self, leader: JobId) -> Claimed {
        let (sender, ended) = oneshot::channel();
        let waiting = self.waiting.entry(leader).or_default();
        // Those who went away while they waited leave nothing behind.
        waiting.retain(|other| !other.is_closed());
        waiting.push(sender);
        Claimed::Joined { leader, ended }
    }

    fn settle_cache(&mut self, job: JobId, claim: &Claim, outcome: &JobOutcome, now: Timestamp) {
        if let Some((identity, key, settings, tags)) = &claim.cache {
            match outcome {
                JobOutcome::Succeeded { output, from: ResultSource::Executor } => {
                    let fetched = cache::Fetched { value: output.clone(), tags: tags.clone() };
                    self.cache.store(identity, key, job, fetched, settings, now);
                }
                _ => {
                    self.cache.release(identity, key, job);
                }
            }
        }
        self.wake(job, outcome);
    }

    fn settle_dedup(&mut self, job: JobId, claim: &Claim, outcome: &JobOutcome, now: Timestamp) {
        if let Some((identity, key, _)) = &claim.dedup {
            let degraded = matches!(outcome, JobOutcome::Succeeded { from: ResultSource::Fallback, .. });
            self.dedup.settle(identity, key, job, outcome, degraded, now);
        }
        self.wake(job, outcome);
    }

    fn wake(&mut self, leader: JobId, outcome: &JobOutcome) {
        for waiting in self.waiting.remove(&leader).unwrap_or_default() {
            // A leader that was cancelled, or whose own deadline passed, leaves the work to one of those who waited: each has its own deadline.
            let outcome = match outcome {
                JobOutcome::Cancelled { .. } => None,
                JobOutcome::TimedOut { failure } if failure.code.as_deref() == Some(deadline::CODE) => None,
                outcome => Some(outcome.clone()),
            };
            let _ = waiting.send(outcome);
        }
    }
}
