//! What was done outside, by job: it outlives the hosts, as the world does.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;

use super::super::super::dispatcher::planted::{self, Defect};
use super::faults::Unsaid;
use super::shapes::Draw;
use super::tally::Tally;
use crate::clock::{Activity, VirtualClock};
use crate::model::executor::Description;
use crate::model::failure::{Failure, FailureKind};
use crate::model::id::{JobId, RunId};
use crate::model::job::Job;
use crate::model::port::{Attempt, Clock, Executor, Processing};
use crate::model::value::Value;

/// What was done.
#[derive(Default)]
pub struct Ledger {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// By its key: whose effect it is, and how often it was asked for.
    effects: HashMap<JobId, (RunId, String, usize)>,
    /// The attempts under way, by run.
    running: HashMap<RunId, usize>,
    /// The jobs of executors that only compute.
    computed: HashSet<JobId>,
    /// What must never be.
    wrong: Vec<String>,
}

impl Ledger {
    /// Each effect: its key, its run and step.
    pub fn effects(&self) -> Vec<(JobId, RunId, String)> {
        let inner = self.inner.lock().unwrap();
        inner.effects.iter().map(|(job, (run, step, _))| (*job, *run, step.clone())).collect()
    }

    /// How many attempts of a run are under way.
    pub fn running(&self, run: RunId) -> usize {
        self.inner.lock().unwrap().running.get(&run).copied().unwrap_or_default()
    }

    /// Whether an executor that only computes has done it.
    pub fn is_computed(&self, job: JobId) -> bool {
        self.inner.lock().unwrap().computed.contains(&job)
    }

    /// What must never be and was, if anything.
    pub fn wrong(&self) -> Option<String> {
        self.inner.lock().unwrap().wrong.first().cloned()
    }

    /// Takes note of something that must never be.
    pub fn is_wrong(&self, what: String) {
        self.inner.lock().unwrap().wrong.push(what);
    }

    fn apply(&self, job: &Job) {
        let mut inner = self.inner.lock().unwrap();
        inner.effects.entry(job.id).or_insert_with(|| (job.run, job.step.to_string(), 0)).2 += 1;
    }
}

/// One attempt under way.
struct Running(Arc<Ledger>, RunId);

impl Running {
    fn begin(ledger: &Arc<Ledger>, run: RunId) -> Self {
        *ledger.inner.lock().unwrap().running.entry(run).or_default() += 1;
        Self(Arc::clone(ledger), run)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(count) = self.0.inner.lock().unwrap().running.get_mut(&self.1) {
            *count -= 1;
        }
    }
}

/// Works on the ledger, honouring the key of each job: takes its time, and fails at times, before or after it was done. One that only computes leaves nothing
/// there.
pub struct Worker {
    pub computes: bool,
    pub ledger: Arc<Ledger>,
    pub clock: VirtualClock,
    pub activity: Activity,
    pub seed: u64,
    pub unsaid: Unsaid,
    pub tally: Arc<Tally>,
    pub description: Description,
}

impl Worker {
    /// Notes whether this attempt is ahead of its records: only what computes may be.
    fn note_whether_ahead(&self, job: &Job) {
        // Work that several share may begin while the end of its own run is on its way.
        let is_shared = job.step.as_str().starts_with(['k', 'u']);
        match self.unsaid.is_ahead(job.id, job.attempt) {
            true if self.computes => drop(self.tally.ahead.fetch_add(1, Ordering::Relaxed)),
            true if !is_shared => self.ledger.is_wrong(format!("{} of run {} began before that was recorded", job.step, job.run)),
            _ => {}
        }
    }

    fn does(&self, job: &Job) {
        match self.computes {
            true => drop(self.ledger.inner.lock().unwrap().computed.insert(job.id)),
            false => self.ledger.apply(job),
        }
    }
}

impl Executor for Worker {
    fn description(&self) -> &Description {
        &self.description
    }

    fn only_computes(&self) -> bool {
        self.computes || planted::is(Defect::OnlySeemsToCompute)
    }

    fn process(&self, job: Arc<Job>, _: Attempt) -> Processing<'_> {
        self.note_whether_ahead(&job);
        let (low, high) = job.id.as_uuid().as_u64_pair();
        let of_job = self.seed ^ low ^ high.rotate_left(7);
        let draw = Draw::new(of_job ^ u64::from(job.attempt) << 3);
        // Of the whole job, so that what has failed for good was never done.
        let is_hopeless = job.step.as_str().starts_with(['o', 'u']) && Draw::new(of_job).chance(25);
        // Work that several share goes on for the others when its own run has ended.
        let is_shared = job.step.as_str().starts_with(['k', 'u']);
        let running = (!is_shared).then(|| Running::begin(&self.ledger, job.run));
        async move {
            let _running = running;
            if draw.chance(if self.computes { 20 } else { 60 }) {
                let due = self.clock.now() + Duration::from_millis(draw.below(20_000));
                self.activity.rest(self.clock.sleep_until(due)).await;
            }
            let busy = || Err(Failure::new(FailureKind::Transient, "busy"));
            if job.attempt < 8 && draw.chance(15) {
                return busy();
            }
            if is_hopeless {
                return Err(Failure::new(FailureKind::Permanent, "never"));
            }
            self.does(&job);
            if job.attempt < 8 && draw.chance(15) { busy() } else { Ok(Value::string("done")) }
        }
        .boxed()
    }
}
