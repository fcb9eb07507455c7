//! What an attempt of a job is made of: who does its work, and what its gate needs of the outside.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::Driver;
use crate::engine::calls::{Call, Calling};
use crate::engine::gate::{OnProgress, Parts, handles_progress};
use crate::model::id::JobId;
use crate::model::port::Executor;
use crate::plan::pipeline::{RunStep, Verb, Worker};

/// Who does the work of an attempt, and where a called flow says that it was degraded.
type Doing = (Arc<dyn Executor>, Option<Arc<AtomicBool>>);

impl Driver {
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
                let (call, degraded) = Call::new(Calling {
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
