//! How an attempt of a job begins: who does its work, at once or while the run waits for it, and what its gate needs of the outside.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::Driver;
use crate::engine::calls::{self, Calling};
use crate::engine::gate::{Gate, OnProgress, Parts, handles_progress};
use crate::engine::run::{ActiveJob, Input};
use crate::engine::work::{Call, Work, call_at_once, ended};
use crate::model::cancel::CancelSignal;
use crate::model::id::JobId;
use crate::model::port::{Attempt, Executor};
use crate::model::time::Timestamp;
use crate::plan::pipeline::{RunStep, Verb, Worker};

/// Who does the work of an attempt, and where a called flow says that it was degraded.
type Doing = (Arc<dyn Executor>, Option<Arc<AtomicBool>>);

/// An attempt that has begun.
enum Begun {
    /// It is over already.
    Over {
        input: Input,
        /// Whether its executor has written the event that its output becomes into an outbox of its own.
        is_outboxed: bool,
    },
    UnderWay(Work),
}

impl Driver {
    pub(super) fn start_attempt(&mut self, job: JobId) {
        if let Err(failure) = self.promise(job) {
            let number = self.state.job(job).map_or(1, |active| active.job.attempt);
            let (emissions, progressed, degraded) = (Vec::new(), false, false);
            let result = Err(failure);
            return self.inputs.push_back(Input::AttemptEnded { job, attempt: number, result, emissions, progressed, degraded });
        }
        match self.begin_attempt(job) {
            Some(Begun::Over { input, is_outboxed }) => {
                self.outboxed.extend(is_outboxed.then_some(job));
                self.inputs.push_back(input);
            }
            Some(Begun::UnderWay(work)) => {
                self.works.retain(|other| other.job() != job);
                self.works.push(work);
            }
            None => {}
        }
    }

    /// Begins an attempt of a job. One that is over at once has nobody who could stop it or wait for it, and is spared what these need.
    fn begin_attempt(&self, job: JobId) -> Option<Begun> {
        let active = self.state.job(job)?;
        let Verb::Run(step) = &self.state.flow().step(active.step).verb else { return None };
        // What came meanwhile is heard first, and of many branches one comes after the other: what each has come to is taken in before the next begins.
        let may_wait = self.meets || self.is_unheard() || self.is_stopping() || !self.inputs.is_empty();
        let quick = match step.worker {
            Worker::Executor(number) if !may_wait => self.installed.bound.executors.get(number),
            _ => None,
        };
        let (Some(executor), Some(stack)) = (quick, self.installed.stack(&active.job.flow, active.step)) else {
            return self.prepare(job, false).map(Begun::UnderWay);
        };
        let gate = Arc::new(Gate::open(self.parts(job, false)?));
        let attempt =
            Attempt { deadline: self.told_deadline(active, false), cancel: CancelSignal::never(), channel: Arc::clone(&gate) as _ };
        match call_at_once(&**executor, stack, &active.job, attempt) {
            Ok(result) => {
                let passed = gate.shut();
                let is_outboxed = passed.is_outboxed;
                Some(Begun::Over { input: ended(job, active.job.attempt, passed, result, false), is_outboxed })
            }
            Err(attempt) => {
                let attempt = Attempt { cancel: CancelSignal::new(), ..attempt };
                Some(Begun::UnderWay(self.under_way(active, gate, attempt, (Arc::clone(executor), None))))
            }
        }
    }

    /// An attempt of a job, ready to be polled. A silent one tells nobody of its progress.
    pub(super) fn prepare(&self, job: JobId, silent: bool) -> Option<Work> {
        let active = self.state.job(job)?;
        let Verb::Run(step) = &self.state.flow().step(active.step).verb else { return None };
        let doing = self.worker(job, step, silent)?;
        let gate = Arc::new(Gate::open(self.parts(job, silent)?));
        let (deadline, cancel) = (self.told_deadline(active, silent), CancelSignal::new());
        let attempt = Attempt { deadline, cancel, channel: Arc::clone(&gate) as _ };
        Some(self.under_way(active, gate, attempt, doing))
    }

    fn under_way(&self, active: &ActiveJob, gate: Arc<Gate>, attempt: Attempt, (executor, degraded): Doing) -> Work {
        let stack = self.installed.stack(&active.job.flow, active.step).cloned().unwrap_or_default();
        let call = Call { executor, stack, job: Arc::clone(&active.job), attempt, activity: self.shared.ports.activity.clone() };
        Work::attempt(active.job.attempt, gate, call, degraded)
    }

    /// The deadline that an attempt is told. Who joins has a deadline of their own, so that shared work is not told the leader's: it is stopped when the
    /// last one has gone.
    fn told_deadline(&self, active: &ActiveJob, silent: bool) -> Option<Timestamp> {
        let is_shared = silent || self.claims.iter().any(|(other, _)| *other == active.job.id);
        if is_shared { None } else { active.deadline }
    }

    /// What the gate of a job's attempt needs of the outside. A silent one tells nobody of its progress.
    pub(super) fn parts(&self, job: JobId, silent: bool) -> Option<Parts> {
        let active = self.state.job(job)?;
        let Verb::Run(step) = &self.state.flow().step(active.step).verb else { return None };
        let executor = match step.worker {
            Worker::Executor(number) => Some(number),
            Worker::Flow { .. } => None,
        };
        let on_progress = (handles_progress(step) && !silent).then(|| {
            let cell = Arc::clone(self.cell.as_ref()?);
            let key = self.state.beginning().state_key.clone();
            let run = self.state.seen_from(active.lane);
            Some(OnProgress { run, lane: active.lane, step: active.step, cell, key, random: Arc::clone(&self.shared.ports.random) })
        });
        Some(Parts {
            shared: Arc::clone(&self.shared),
            installed: Arc::clone(&self.installed),
            beginning: Arc::clone(self.state.beginning()),
            job: Arc::clone(&active.job),
            undo: self.labels.is_undoing(job)?,
            requester: if step.stream && !silent { self.requester.clone() } else { None },
            executor,
            on_progress: on_progress.flatten().map(Arc::new),
            outgoing: if silent { None } else { self.outgoing(job).map(Arc::new) },
        })
    }

    /// Who does the work of an attempt.
    pub(super) fn worker(&self, job: JobId, step: &RunStep, silent: bool) -> Option<Doing> {
        match &step.worker {
            Worker::Executor(number) => Some((Arc::clone(self.installed.bound.executors.get(*number)?), None)),
            Worker::Flow { pipeline, flow } => {
                let (call, degraded) = calls::Call::new(Calling {
                    shared: Arc::clone(&self.shared),
                    pipeline: pipeline.clone(),
                    flow: flow.clone(),
                    from: Arc::clone(self.state.beginning()),
                    stream: !silent && (step.stream || handles_progress(step)),
                    again: self.rejoining.contains(&job),
                });
                Some((Arc::new(call), Some(degraded)))
            }
        }
    }
}
