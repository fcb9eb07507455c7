//! The tables of dedup and cache, which runs share, and those who wait for another one's result.
//!
//! Shared work is polled by the run of the job that leads. When that job ends first, being cancelled or late, its attempt goes over to the first of those
//! who wait, which leads from then on. A task of its own for each shared attempt was refused: it would cost every leader a hop between threads, and
//! the work would need an owner besides those who want it.

mod invalidation;
mod keeping;
mod waiting;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::model::failure::{Failure, FailureKind};
use crate::model::happening::{JobLabel, What};
use crate::model::id::JobId;
use crate::model::job::{JobOutcome, ResultSource};
use crate::model::policy::{DedupWindow, PolicyIdentity};
use crate::model::port::{Forget, Store, Unreadable};
use crate::model::record::{Kept, Room, Write};
use crate::model::time::Timestamp;
use crate::model::value::Value;
use crate::plan::pipeline::Pipeline;
use crate::policy::cache::Selector;
use crate::policy::{cache, deadline, dedup};

use super::run::{Claim, Input, Verdict};
use super::work::Work;
use waiting::Waiting;

/// All flights.
///
/// What the tables of dedup and cache gain and lose is given to the store while they are held, so that the store has it in their order.
pub struct Flights {
    tables: Mutex<Tables>,
    store: Arc<dyn Store>,
}

#[derive(Default)]
struct Tables {
    dedup: dedup::Table,
    cache: cache::Table,
    waiting: Waiting,
    /// Attempts on their way from one run to another, by the job that takes over: at most one a job.
    handed: HashMap<JobId, Work>,
    /// What a job that took over settles besides its own claim.
    inherited: HashMap<JobId, Vec<Claim>>,
    /// What the store has to be given before the tables are let go.
    writes: Vec<Write>,
}

/// What a joined job waited for.
#[derive(Debug)]
pub enum Awaited {
    /// The leader ended so.
    Ended(JobOutcome),
    /// The leader ended without a result and nothing of its is under way: ask anew.
    GivenUp,
    /// The leader's attempt is this job's from now on: [`Flights::take_over`].
    TakeOver,
}

impl Awaited {
    /// What it is to the run of the job that waited.
    pub fn input(self, job: JobId) -> Input {
        match self {
            Self::Ended(outcome) => Input::LeaderEnded { job, outcome: Some(outcome) },
            Self::GivenUp => Input::LeaderEnded { job, outcome: None },
            Self::TakeOver => Input::TakeOver { job },
        }
    }
}

/// Whether a job that ended so says nothing of the work: it was cancelled, or its own deadline passed. Those who wait have deadlines of their own.
pub fn is_given_up(outcome: &JobOutcome) -> bool {
    match outcome {
        JobOutcome::Cancelled { .. } => true,
        JobOutcome::TimedOut { failure } => is_own_deadline(failure),
        JobOutcome::Succeeded { .. } | JobOutcome::Failed { .. } => false,
    }
}

/// Whether it is a job's own deadline that passed, and no limit of a single attempt.
pub fn is_own_deadline(failure: &Failure) -> bool {
    failure.kind == FailureKind::Timeout && failure.code.as_deref() == Some(deadline::CODE)
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
        /// What comes of it.
        ended: oneshot::Receiver<Awaited>,
    },
}

impl Claimed {
    /// What it is told as.
    pub fn told(&self, job: JobLabel) -> Option<What> {
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
    /// None yet.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { tables: Mutex::default(), store }
    }

    /// Asks for a job: dedup first, then the cache, as they stand in the stack.
    pub fn claim(&self, job: JobId, claim: &Claim, now: Timestamp) -> Claimed {
        let mut tables = self.lock();
        let claimed = tables.claim(job, claim, now);
        // What the answer itself has changed belongs to no step: a result that was too old, or one of the cache that answers repeats from now on.
        self.write(tables.writes());
        claimed
    }
    /// A job that leads has ended, and its attempt, if one is under way, is left to the first of those who still wait. What comes back is
    /// wanted by nobody and must be dropped. Without an attempt it is the one that the job itself was about to take over.
    #[must_use = "work that nobody wants is stopped by dropping it"]
    pub fn hand_on(&self, leader: JobId, claim: &Claim, work: Option<Work>) -> Option<Work> {
        if let Some(work) = &work {
            // Before the tables are held: whoever tells something at this moment holds the gate.
            work.park();
        }
        let mut tables = self.lock();
        let work = work.or_else(|| tables.handed.remove(&leader))?;
        tables.hand_on(leader, claim, work)
    }

    /// The attempt that was left to a job.
    pub fn take_over(&self, heir: JobId) -> Option<Work> {
        self.lock().handed.remove(&heir)
    }

    /// A job that led or had joined has ended.
    pub fn settle(&self, job: JobId, claim: &Claim, outcome: &JobOutcome, now: Timestamp) {
        let mut tables = self.lock();
        // It ended just when it should have taken over: the next one does.
        let unwanted = tables.handed.remove(&job).and_then(|work| tables.hand_on(job, claim, work));
        let inherited = tables.inherited.remove(&job).unwrap_or_default();
        for claim in std::iter::once(claim).chain(&inherited) {
            tables.settle_cache(job, claim, outcome, now);
            tables.settle_dedup(job, claim, outcome, now);
        }
        self.write(tables.writes());
        tables.waiting.wake(job, outcome);
        drop(tables);
        // Dropped outside: it runs code of the executor.
        drop(unwanted);
    }

    /// The refresh behind an old result has ended. It belongs to no step, so that what is kept of it is kept by itself.
    pub fn refreshed(&self, job: JobId, claim: &Claim, outcome: &JobOutcome, now: Timestamp) {
        let mut tables = self.lock();
        tables.settle_cache(job, claim, outcome, now);
        self.write(tables.writes());
        tables.waiting.wake(job, outcome);
    }

    /// Jobs are about to end so: what their results are to others is in the tables from now on, and what is kept of that goes with what `commit` gives
    /// to the store. The tables are held meanwhile, so that an invalidation comes either before or after it, there as here. Nobody is told;
    /// [`settle`](Self::settle) follows once it is kept, and [`take_back`](Self::take_back) if it is not.
    pub fn keep<R>(&self, ended: &[(JobId, &Claim, &JobOutcome)], now: Timestamp, commit: impl FnOnce(Vec<Write>) -> R) -> R {
        let mut tables = self.lock();
        for (job, claim, outcome) in ended.iter().filter(|(.., outcome)| matches!(outcome, JobOutcome::Succeeded { .. })) {
            let inherited = tables.inherited.get(job).cloned().unwrap_or_default();
            for claim in std::iter::once(*claim).chain(&inherited) {
                tables.settle_cache(*job, claim, outcome, now);
                // A key that is held only while its job runs is free when the job has ended, which it has not before that is kept.
                if matches!(&claim.dedup, Some((.., settings)) if settings.window != DedupWindow::Running) {
                    tables.settle_dedup(*job, claim, outcome, now);
                }
            }
        }
        let writes = tables.writes();
        commit(writes)
    }

    /// The end of a job was not kept: its result is nothing to others.
    pub fn take_back(&self, job: JobId, claim: &Claim) {
        let mut tables = self.lock();
        let inherited = tables.inherited.get(&job).cloned().unwrap_or_default();
        for claim in std::iter::once(claim).chain(&inherited) {
            if let Some((identity, key, _)) = &claim.dedup {
                tables.dedup.take_back(identity, key, job);
            }
            if let Some((identity, key, ..)) = &claim.cache {
                tables.forget_cached(identity, &Selector::Key(key.clone()));
            }
        }
        self.write(tables.writes());
    }

    /// Takes results out of a pipeline's caches and says how many: of those of that policy's name, or of the one beside the step `flow.step`.
    ///
    /// # Errors
    /// `invalid` if no step of the pipeline has such a cache, or the key is none.
    pub fn invalidate(&self, pipeline: &Pipeline, policy: &str, forget: &Forget) -> Result<usize, Failure> {
        let identities = invalidation::caches(pipeline, policy)?;
        let selector = invalidation::selector(forget)?;
        let mut tables = self.lock();
        let count = identities.iter().map(|identity| tables.forget_cached(identity, &selector)).sum();
        self.write(tables.writes());
        Ok(count)
    }

    /// Forgets what no plan names any more.
    pub fn retain(&self, named: &[PolicyIdentity]) {
        let mut tables = self.lock();
        tables.dedup.retain(named);
        tables.cache.retain(named);
        self.write(tables.writes());
    }

    /// Has what a store kept, when a host starts. What is of no use any more is forgotten there too; so is what is no result, a miss, which comes back.
    pub fn restore(&self, kept: Vec<Kept>, now: Timestamp) -> Vec<Unreadable> {
        let mut tables = self.lock();
        let mut unreadable = Vec::new();
        for kept in kept {
            if !tables.restore(&kept, now) {
                if !keeping::is_result(&kept) {
                    let why = "it is not what this pipehost writes".to_owned();
                    unreadable.push(Unreadable { owner: kept.owner.clone(), key: kept.key.clone(), why, until: kept.until });
                }
                tables.writes.push(Write::Forget { room: kept.room, owner: kept.owner, key: Some(kept.key) });
            }
        }
        self.write(tables.writes());
        unreadable
    }

    /// Gives to the store what belongs to no step. The call is what counts: nothing waits for its end, since whatever comes after it in a run is kept
    /// after it too.
    fn write(&self, writes: Vec<Write>) {
        if !writes.is_empty() {
            drop(self.store.write(writes));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tables {
    fn claim(&mut self, job: JobId, claim: &Claim, now: Timestamp) -> Claimed {
        if let Some((identity, key, settings)) = &claim.dedup {
            match self.dedup.claim(identity, key, job, settings, now) {
                dedup::Claim::Lead => {}
                dedup::Claim::Join { leader } => return self.join(leader, job),
                dedup::Claim::Skip => return done(Value::null(), ResultSource::Skipped),
                dedup::Claim::Reject(failure) => return Claimed::Answered(Verdict::Refuse(failure)),
                dedup::Claim::Repeat(value) => return done(value, ResultSource::Joined),
            }
        }
        let Some((identity, key, settings, _)) = &claim.cache else { return Claimed::Answered(Verdict::Lead) };
        match self.cache.lookup(identity, key, job, settings, now) {
            cache::Lookup::Lead => Claimed::Answered(Verdict::Lead),
            cache::Lookup::Join { leader } => self.join(leader, job),
            cache::Lookup::Fresh(value) => {
                let outcome = JobOutcome::Succeeded { output: value, from: ResultSource::Cache };
                self.settle_dedup(job, claim, &outcome, now);
                self.waiting.wake(job, &outcome);
                Claimed::Answered(Verdict::Done { outcome })
            }
            cache::Lookup::Stale { value, refresh } => {
                let outcome = JobOutcome::Succeeded { output: value, from: ResultSource::Cache };
                self.settle_dedup(job, claim, &outcome, now);
                self.waiting.wake(job, &outcome);
                Claimed::Stale { verdict: Verdict::Done { outcome }, refresh }
            }
        }
    }

    fn join(&mut self, leader: JobId, job: JobId) -> Claimed {
        Claimed::Joined { leader, ended: self.waiting.join(leader, job) }
    }

    fn hand_on(&mut self, leader: JobId, claim: &Claim, work: Work) -> Option<Work> {
        let Some(heir) = self.waiting.inherit(leader) else { return Some(work) };
        let mut claims = self.inherited.remove(&leader).unwrap_or_default();
        // One of each: the same key may have gone through many hands.
        if !claims.iter().any(|other| same_keys(other, claim)) {
            claims.push(claim.clone());
        }
        for claim in &claims {
            if let Some((identity, key, _)) = &claim.dedup {
                self.dedup.pass_on(identity, key, leader, heir);
            }
            if let Some((identity, key, ..)) = &claim.cache {
                self.cache.pass_on(identity, key, leader, heir);
            }
        }
        self.inherited.insert(heir, claims);
        self.handed.insert(heir, work);
        None
    }

    fn settle_cache(&mut self, job: JobId, claim: &Claim, outcome: &JobOutcome, now: Timestamp) {
        let Some((identity, key, settings, tags)) = &claim.cache else { return };
        match outcome {
            JobOutcome::Succeeded { output, from: ResultSource::Executor } => {
                let fetched = cache::Fetched { value: output.clone(), tags: tags.clone() };
                if self.cache.store(identity, key, job, fetched, settings, now) {
                    self.writes.push(Write::Keep(keeping::fetched(identity, key, (output, tags), now, settings)));
                }
            }
            _ => {
                self.cache.release(identity, key, job);
            }
        }
    }

    fn settle_dedup(&mut self, job: JobId, claim: &Claim, outcome: &JobOutcome, now: Timestamp) {
        let Some((identity, key, _)) = &claim.dedup else { return };
        let degraded = matches!(outcome, JobOutcome::Succeeded { from, .. } if from.is_degraded());
        if let Some(kept) = self.dedup.settle(identity, key, job, outcome, degraded, now) {
            self.writes.push(Write::Keep(keeping::result(identity, key, &kept)));
        }
    }

    fn forget_cached(&mut self, identity: &PolicyIdentity, selector: &Selector) -> usize {
        let gone = self.cache.invalidate(identity, selector);
        self.writes.extend(gone.iter().map(|key| keeping::forget(Room::Cache, identity, key)));
        gone.len()
    }

    fn restore(&mut self, kept: &Kept, now: Timestamp) -> bool {
        match kept.room {
            Room::Dedup => {
                keeping::read_result(kept).is_some_and(|(identity, result)| self.dedup.restore(&identity, &kept.key, result, now))
            }
            Room::Cache => keeping::read_fetched(kept)
                .is_some_and(|(identity, fetched, times)| self.cache.restore(&identity, &kept.key, fetched, times, now)),
            _ => false,
        }
    }

    /// What the store has to be given.
    fn writes(&mut self) -> Vec<Write> {
        let mut writes = std::mem::take(&mut self.writes);
        // What went came before: what made it go is kept in its place or beside it.
        let gone = self.dedup.take_gone().into_iter().map(|gone| (Room::Dedup, gone));
        let gone = gone.chain(self.cache.take_gone().into_iter().map(|gone| (Room::Cache, gone)));
        let forgotten: Vec<Write> = gone.map(|(room, (identity, key))| keeping::forget(room, &identity, &key)).collect();
        if !forgotten.is_empty() {
            writes.splice(0..0, forgotten);
        }
        writes
    }
}

fn same_keys(one: &Claim, other: &Claim) -> bool {
    let dedup = |claim: &Claim| claim.dedup.as_ref().map(|(identity, key, _)| (identity.clone(), key.clone()));
    let cache = |claim: &Claim| claim.cache.as_ref().map(|(identity, key, ..)| (identity.clone(), key.clone()));
    dedup(one) == dedup(other) && cache(one) == cache(other)
}
