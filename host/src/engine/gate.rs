//! The gate of one attempt: what an executor tells passes through it until the terminal event shuts it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::executor::grants;
use crate::model::activation::Requester;
use crate::model::failure::{Failure, FailureKind};
use crate::model::happening::{Happening, JobLabel, LogLevel, RunLabel, What};
use crate::model::id::EventType;
use crate::model::job::Emission;
use crate::model::port::{Clock, JobChannel, Random, Sink};
use crate::model::value::Value;
use crate::plan::pipeline::{Pipeline, RunStep, Verb};

use super::run::{Extra, RunScope, RunState};
use super::shareable;
use super::states::StateCell;

/// Where an attempt's progress, events and log lines go. Shut exactly once; whatever comes later is dropped, counted and told.
///
/// It is all done in the caller's own call, so order is kept, nothing queues up, and a progress is either before the terminal event or not at all.
pub struct Gate {
    inner: Mutex<Inner>,
    late: AtomicU64,
    parts: Parts,
}

/// What a gate needs of the outside.
pub struct Parts {
    /// Whose it is.
    pub run: RunLabel,
    /// The job.
    pub job: JobLabel,
    /// Where happenings go.
    pub sink: Arc<dyn Sink>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Who hears the progress of a step with `stream: true`.
    pub requester: Option<Arc<dyn Requester>>,
    /// The pipeline, for what is declared and granted.
    pub pipeline: Arc<Pipeline>,
    /// The number of the executor in the pipeline.
    pub executor: usize,
    /// What each progress sets.
    pub on_progress: Option<OnProgress>,
}

/// `on_progress` of a step: sets fields of the state with every progress.
pub struct OnProgress {
    /// The run as it was when the job was dispatched.
    pub run: RunState,
    /// The step, in the run's flow.
    pub step: crate::model::record::StepNumber,
    /// The state.
    pub cell: Arc<StateCell>,
    /// The key of the state.
    pub key: Option<String>,
    /// `uuid()`.
    pub random: Arc<dyn Random>,
}

struct Inner {
    open: bool,
    progressed: bool,
    emissions: Vec<Emission>,
    logged: u64,
}

impl Gate {
    /// An open gate.
    pub fn open(parts: Parts) -> Self {
        let inner = Inner { open: true, progressed: false, emissions: Vec::new(), logged: 0 };
        Self { inner: Mutex::new(inner), late: AtomicU64::new(0), parts }
    }

    /// Shuts it. Returns what was emitted and whether there was any progress.
    pub fn shut(&self) -> (Vec<Emission>, bool) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.open = false;
        (std::mem::take(&mut inner.emissions), inner.progressed)
    }

    fn tell(&self, what: What) {
        let run = Some(self.parts.run.clone());
        self.parts.sink.accept(Happening { time: self.parts.clock.now(), run, what });
    }

    fn too_late(&self, what: &'static str) {
        self.late.fetch_add(1, Ordering::Relaxed);
        self.tell(What::LateDropped { job: self.parts.job.clone(), what });
    }

    fn set_state(&self, handler: &OnProgress, progress: &Value) {
        let Verb::Run(step) = &handler.run.flow().step(handler.step).verb else { return };
        let settings = &self.parts.pipeline.state;
        for fields in &step.on_progress {
            let changed = handler.cell.change(settings, |state| {
                let extra = Extra { progress: Some(progress), ..Extra::default() };
                let scope = RunScope { run: &handler.run, state, now: self.parts.clock.now(), random: &*handler.random, extra };
                fields.iter().map(|(name, template)| Ok((name.clone(), template.evaluate(&scope)?))).collect()
            });
            match changed {
                Ok(change) => self.tell(What::StateSet { key: handler.key.clone(), version: change.version, after: change.after }),
                // A progress is no step: what is wrong with its handler is told, and does not fail the job.
                Err(failure) => self.tell(What::Log {
                    job: self.parts.job.clone(),
                    level: LogLevel::Warn,
                    message: format!("on_progress failed: {failure}"),
                }),
            }
        }
    }
}

impl JobChannel for Gate {
    fn progress(&self, progress: Value) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if !inner.open {
            drop(inner);
            return self.too_late("progress");
        }
        inner.progressed = true;
        if let Some(handler) = &self.parts.on_progress {
            self.set_state(handler, &progress);
        }
        if let Some(requester) = &self.parts.requester {
            requester.progress(&progress);
        }
        if self.parts.sink.wants_detail() {
            self.tell(What::Progress { job: self.parts.job.clone(), progress });
        }
    }

    fn emit(&self, event_type: EventType, data: Value) -> Result<(), Failure> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if !inner.open {
            drop(inner);
            self.too_late("emit");
            return Err(Failure::new(FailureKind::Rejected, "the job has ended; nothing is emitted any more").with_code("late"));
        }
        let Some(declared) = self.parts.pipeline.executors.get(self.parts.executor) else { return Ok(()) };
        let reference = &declared.reference;
        grants::emit(&reference.name, &reference.grants, event_type.as_str())?;
        if inner.emissions.len() >= reference.limits.events as usize {
            let message =
                format!("{} emitted more than {} events in one attempt; raise limits.events", reference.name, reference.limits.events);
            return Err(Failure::new(FailureKind::Permanent, message).with_code("limit_events"));
        }
        let data = shareable::event_data(&self.parts.pipeline, &event_type, data)?;
        inner.emissions.push(Emission { event_type, data });
        Ok(())
    }

    fn log(&self, level: LogLevel, message: String) {
        let limit = self.parts.pipeline.executors.get(self.parts.executor).map_or(0, |declared| declared.reference.limits.log);
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if !inner.open {
            drop(inner);
            return self.too_late("log");
        }
        let before = inner.logged;
        inner.logged = before.saturating_add(message.len() as u64);
        let message = match () {
            () if inner.logged <= limit => message,
            // The first line beyond the limit is replaced by the word that there are more; the others go silently.
            () if before <= limit => format!("more than {limit} bytes logged in one attempt; the rest is dropped (limits.log)"),
            () => return,
        };
        drop(inner);
        self.tell(What::Log { job: self.parts.job.clone(), level, message });
    }
}

/// Whether a step wants each of its progresses handled.
pub fn handles_progress(step: &RunStep) -> bool {
    !step.on_progress.is_empty()
}
