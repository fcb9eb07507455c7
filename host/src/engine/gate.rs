//! The gate of one attempt: what an executor tells passes through it until the terminal event shuts it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::executor::grants;
use crate::model::activation::Requester;
use crate::model::executor::ExecutorReference;
use crate::model::failure::{Failure, FailureKind};
use crate::model::happening::{Happening, JobLabel, LogLevel, StateChange, What};
use crate::model::id::EventType;
use crate::model::job::{Emission, Job};
use crate::model::port::{JobChannel, OutboxTable, Outgoing, Random};
use crate::model::record::{Beginning, LaneId};
use crate::model::time::Timestamp;
use crate::model::value::Value;
use crate::plan::pipeline::{Pipeline, RunStep, Verb};
use crate::plan::template::Template;

use super::installed::Installed;
use super::run::{Extra, RunScope, RunState};
use super::shareable;
use super::shared::Shared;
use super::states::{self, Fields, StateCell};
use super::telling::run_label;

/// Where an attempt's progress, events and log lines go. Shut exactly once; whatever comes later is dropped, counted and told.
///
/// It is all done in the caller's own call, so order is kept, nothing queues up, and a progress is either before the terminal event or not at all.
///
/// Work that goes on for another job keeps its gate: it is parked when the one job ends, and adopted when the other has the work.
pub struct Gate {
    inner: Mutex<Inner>,
    late: AtomicU64,
}

/// What a gate needs of the outside. Handles only: labels are made when something is told, and of most attempts nothing is. Whoever tells
/// something without the gate's lock takes handles of its own.
#[derive(Clone)]
pub struct Parts {
    /// What all runs share.
    pub shared: Arc<Shared>,
    /// The revision that the run is pinned to, for what is declared and granted.
    pub installed: Arc<Installed>,
    /// Whose it is.
    pub beginning: Arc<Beginning>,
    /// The job.
    pub job: Arc<Job>,
    /// Whether the job undoes another one.
    pub undo: bool,
    /// Who hears the progress of a step with `stream: true`.
    pub requester: Option<Arc<dyn Requester>>,
    /// The number of the executor in the pipeline; `None` for a called flow, whose events are its own.
    pub executor: Option<usize>,
    /// What each progress sets.
    pub on_progress: Option<Arc<OnProgress>>,
    /// The event that the output becomes by way of an outbox.
    pub outgoing: Option<Arc<Outgoing>>,
}

/// `on_progress` of a step: sets fields of the state with every progress.
pub struct OnProgress {
    /// The run as it was when the job was dispatched.
    pub run: RunState,
    /// The lane that dispatched it.
    pub lane: LaneId,
    /// The step, in the run's flow.
    pub step: crate::model::record::StepNumber,
    /// The state.
    pub cell: Arc<StateCell>,
    /// The key of the state.
    pub key: Option<String>,
    /// `uuid()`.
    pub random: Arc<dyn Random>,
}

/// Who hears what comes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Those that the parts name.
    Open,
    /// Nobody yet: events are held, progress and log lines are too late for the one job and too early for the other.
    Parked,
    /// Nobody any more.
    Shut,
}

struct Inner {
    stage: Stage,
    parts: Parts,
    progressed: bool,
    emissions: Vec<Emission>,
    logged: u64,
    outbox: Outbox,
}

/// Whether the executor writes the event that its output becomes in a transaction of its own.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outbox {
    /// It has not asked for it.
    Unasked,
    /// It may: the event is this job's, so that no other job can take the work over.
    Asked,
    /// It did.
    Written,
}

/// What has passed a gate until it was shut.
pub struct Passed {
    /// What was emitted.
    pub emissions: Vec<Emission>,
    /// Whether there was any progress.
    pub progressed: bool,
    /// Whether the event that the output becomes stands in an outbox of the executor's.
    pub is_outboxed: bool,
}

impl Gate {
    /// An open gate.
    pub fn open(parts: Parts) -> Self {
        let inner = Inner { stage: Stage::Open, parts, progressed: false, emissions: Vec::new(), logged: 0, outbox: Outbox::Unasked };
        Self { inner: Mutex::new(inner), late: AtomicU64::new(0) }
    }

    /// The job has ended and its work goes on: what was emitted stays held for whoever takes the work over.
    pub fn park(&self) {
        let mut inner = self.lock();
        if inner.stage == Stage::Open {
            inner.stage = Stage::Parked;
        }
    }

    /// Another job has the work now. What was held that its executor may not emit is dropped and told; progress begins anew, since
    /// nobody who asked for this job has seen any.
    pub fn adopt(&self, parts: Parts) {
        let mut inner = self.lock();
        if inner.stage == Stage::Shut {
            return;
        }
        inner.stage = Stage::Open;
        inner.progressed = false;
        inner.parts = parts.clone();
        let before = inner.emissions.len();
        inner.emissions.retain(|emission| parts.may_emit(&emission.event_type).is_ok());
        for _ in inner.emissions.len()..before {
            self.late.fetch_add(1, Ordering::Relaxed);
            parts.tell(What::LateDropped { job: parts.label(), what: "emit" });
        }
    }

    /// Whether what the executor does is bound to this job: its event may stand in an outbox already.
    pub fn is_bound(&self) -> bool {
        self.lock().outbox != Outbox::Unasked
    }

    /// Whether the event that the output becomes stands in an outbox of the executor's.
    pub fn is_outboxed(&self) -> bool {
        self.lock().outbox == Outbox::Written
    }

    /// Shuts it. Returns what has passed it.
    pub fn shut(&self) -> Passed {
        let mut inner = self.lock();
        inner.stage = Stage::Shut;
        let (progressed, is_outboxed) = (inner.progressed, inner.outbox == Outbox::Written);
        Passed { emissions: std::mem::take(&mut inner.emissions), progressed, is_outboxed }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn too_late(&self, inner: MutexGuard<'_, Inner>, what: &'static str) {
        let parts = inner.parts.clone();
        drop(inner);
        self.late.fetch_add(1, Ordering::Relaxed);
        parts.tell(What::LateDropped { job: parts.label(), what });
    }
}

impl Parts {
    fn tell(&self, what: What) {
        let ports = &self.shared.ports;
        ports.sink.accept(Happening { time: ports.clock.now(), run: Some(run_label(&self.beginning)), what });
    }

    fn label(&self) -> JobLabel {
        JobLabel { step: self.job.step.clone(), job: self.job.id, executor: self.job.executor.clone(), undo: self.undo }
    }

    fn pipeline(&self) -> &Pipeline {
        &self.installed.bound.pipeline
    }

    fn reference(&self) -> Option<&ExecutorReference> {
        self.pipeline().executors.get(self.executor?).map(|declared| &declared.reference)
    }

    fn may_emit(&self, event_type: &EventType) -> Result<(), Failure> {
        self.reference().map_or(Ok(()), |reference| grants::emit(&reference.name, &reference.grants, event_type.as_str()))
    }

    fn set_state(&self, handler: &OnProgress, progress: &Value) {
        let Verb::Run(step) = &handler.run.flow().step(handler.step).verb else { return };
        let settings = &self.pipeline().state;
        for fields in &step.on_progress {
            let now = self.shared.ports.clock.now();
            let again = || {
                if !states::depends_on_state(fields) {
                    return None;
                }
                let (run, random, lane) = (handler.run.clone(), Arc::clone(&handler.random), handler.lane);
                let (fields, progress) = (fields.clone(), progress.clone());
                let same: Fields = Box::new(move |state| evaluate(&fields, (&run, lane), &progress, (state, now, &*random)));
                Some(same)
            };
            let seen = (&handler.run, handler.lane);
            let changed = handler.cell.change(settings, |state| evaluate(fields, seen, progress, (state, now, &*handler.random)), again);
            match changed {
                Ok(change) => {
                    let (key, version, after) = (handler.key.clone(), change.version, change.after);
                    self.tell(What::StateSet { key, version, change: StateChange::Set, after, because: None });
                }
                // A progress is no step: what is wrong with its handler is told, and does not fail the job.
                Err(failure) => {
                    self.tell(What::Log { job: self.label(), level: LogLevel::Warn, message: format!("on_progress failed: {failure}") });
                }
            }
        }
    }
}

impl JobChannel for Gate {
    fn progress(&self, progress: Value) {
        let mut inner = self.lock();
        if inner.stage != Stage::Open {
            return self.too_late(inner, "progress");
        }
        inner.progressed = true;
        let parts = &inner.parts;
        if let Some(handler) = &parts.on_progress {
            parts.set_state(handler, &progress);
        }
        if let Some(requester) = &parts.requester {
            requester.progress(&progress);
        }
        if parts.shared.ports.sink.wants_detail() {
            parts.tell(What::Progress { job: parts.label(), progress });
        }
    }

    fn emit(&self, event_type: EventType, data: Value) -> Result<(), Failure> {
        let mut inner = self.lock();
        if inner.stage == Stage::Shut {
            self.too_late(inner, "emit");
            return Err(Failure::new(FailureKind::Rejected, "the job has ended; nothing is emitted any more").with_code("late"));
        }
        let Inner { parts, emissions, .. } = &mut *inner;
        let Some(reference) = parts.reference() else { return Ok(()) };
        parts.may_emit(&event_type)?;
        if emissions.len() >= reference.limits.events as usize {
            let message =
                format!("{} emitted more than {} events in one attempt; raise limits.events", reference.name, reference.limits.events);
            return Err(Failure::new(FailureKind::Permanent, message).with_code("limit_events"));
        }
        let data = shareable::event_data(parts.pipeline(), &event_type, data)?;
        emissions.push(Emission { event_type, data });
        Ok(())
    }

    fn outgoing(&self) -> Option<Outgoing> {
        let mut inner = self.lock();
        let outgoing = inner.parts.outgoing.as_deref().cloned().filter(|_| inner.stage == Stage::Open)?;
        inner.outbox = Outbox::Asked;
        Some(outgoing)
    }

    fn outboxed(&self, table: Arc<dyn OutboxTable>) {
        let parts = {
            let mut inner = self.lock();
            inner.outbox = Outbox::Written;
            inner.parts.clone()
        };
        parts.shared.relay.written(&parts.shared, &parts.beginning.pipeline, table);
    }

    fn log(&self, level: LogLevel, message: String) {
        let mut inner = self.lock();
        if inner.stage != Stage::Open {
            return self.too_late(inner, "log");
        }
        let limit = inner.parts.reference().map_or(0, |reference| reference.limits.log);
        let before = inner.logged;
        inner.logged = before.saturating_add(message.len() as u64);
        let message = match () {
            () if inner.logged <= limit => message,
            // The first line beyond the limit is replaced by the word that there are more; the others go silently.
            () if before <= limit => format!("more than {limit} bytes logged in one attempt; the rest is dropped (limits.log)"),
            () => return,
        };
        let parts = inner.parts.clone();
        drop(inner);
        parts.tell(What::Log { job: parts.label(), level, message });
    }
}

/// What a progress sets, given the state, the time and randomness.
fn evaluate(
    fields: &[(String, Template)],
    (run, lane): (&RunState, LaneId),
    progress: &Value,
    (state, now, random): (&Value, Timestamp, &dyn Random),
) -> Result<Vec<(String, Value)>, Failure> {
    let scope = RunScope { run, state, now, random, extra: Extra { lane: Some(lane), progress: Some(progress), ..Extra::default() } };
    fields.iter().map(|(name, template)| Ok((name.clone(), template.evaluate(&scope)?))).collect()
}

/// Whether a step wants each of its progresses handled.
pub fn handles_progress(step: &RunStep) -> bool {
    !step.on_progress.is_empty()
}
