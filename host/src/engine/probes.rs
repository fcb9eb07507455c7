//! Asks the probes of open breakers: one task for each breaker that has a probe, started when a plan is put in force and stopped by the next one.

use std::collections::HashSet;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt;

use crate::clock::Busy;
use crate::model::cancel::CancelSignal;
use crate::model::failure::{Failure, FailureKind};
use crate::model::happening::{Happening, JobLabel, LogLevel, What};
use crate::model::id::{CorrelationId, EventType, FlowName, JobId, RunId};
use crate::model::job::Job;
use crate::model::policy::{PolicyIdentity, ProbeSettings, show_duration};
use crate::model::port::{Attempt, Clock, Executor, JobChannel, Sink};
use crate::model::value::Value;
use crate::plan::Bound;
use crate::plan::pipeline::Verb;
use crate::policy::breaker::Breaker;

use super::handle::Ports;
use super::shared::Shared;

/// What a probe's step is called.
const STEP: &str = "probe";

/// The probes of the plan in force.
#[derive(Default)]
pub(super) struct Probes {
    /// Stops those that were started last.
    stop: Mutex<CancelSignal>,
}

impl Probes {
    /// Starts the probes of these pipelines in the place of those before. A breaker that several steps or pipelines share has one, that of the first.
    pub(super) fn replace(&self, shared: &Arc<Shared>, bounds: &[Arc<Bound>]) {
        let stop = shared.stop.child_token();
        std::mem::replace(&mut *self.stop.lock().unwrap_or_else(PoisonError::into_inner), stop.clone()).cancel();
        let mut watched: HashSet<PolicyIdentity> = HashSet::new();
        for bound in bounds {
            for flow in &bound.pipeline.flows {
                for step in &flow.steps {
                    let Verb::Run(run) = &step.verb else { continue };
                    let (Some(settings), Some((identity, _))) = (&run.attempt.probe, &run.attempt.breaker) else { continue };
                    let breaker = shared.ports.policies.breaker(identity);
                    let executor = bound.executors.get(settings.executor);
                    let (Some(breaker), Some(executor)) = (breaker, executor) else { continue };
                    if !watched.insert(identity.clone()) {
                        continue;
                    }
                    let probe = Probe {
                        breaker,
                        executor: Arc::clone(executor),
                        bound: Arc::clone(bound),
                        flow: flow.name.clone(),
                        settings: settings.clone(),
                    };
                    let (shared, stop) = (Arc::clone(shared), stop.clone());
                    let busy = shared.ports.activity.enter();
                    let tasks = shared.tasks.clone();
                    tasks.spawn(async move { probe.watch(&shared.ports, busy, &stop).await });
                }
            }
        }
    }
}

/// The probe of one breaker.
struct Probe {
    breaker: Arc<Breaker>,
    executor: Arc<dyn Executor>,
    bound: Arc<Bound>,
    flow: FlowName,
    settings: ProbeSettings,
}

impl Probe {
    /// Asks every so long while the breaker is open, until it is stopped.
    async fn watch(&self, ports: &Ports, mut busy: Busy, stop: &CancelSignal) {
        let watching = async {
            loop {
                busy.rest(self.breaker.opened()).await;
                busy.rest(ports.clock.sleep_until(ports.clock.now() + self.settings.every)).await;
                if self.breaker.is_open() {
                    let result = busy.rest(self.ask(ports)).await;
                    self.breaker.probed(result);
                }
            }
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = watching => {}
        }
    }

    /// One question: an executor call with the grants of the pipeline, beside all runs, without policies.
    async fn ask(&self, ports: &Ports) -> Result<(), Failure> {
        let now = ports.clock.now();
        let (due, cancel) = (now + self.settings.every, CancelSignal::new());
        let job = self.job(ports);
        let label = JobLabel { step: STEP.into(), job: job.id, executor: job.executor.clone(), undo: false };
        let channel = Arc::new(Channel { label, sink: Arc::clone(&ports.sink), clock: Arc::clone(&ports.clock) });
        let attempt = Attempt { deadline: Some(due), cancel: cancel.clone(), channel };
        let counted = ports.activity.enter();
        // An executor may panic before it gives a future, too.
        let call = async {
            let _counted = counted;
            self.executor.process(Arc::new(job), attempt).await
        };
        let ended = tokio::select! {
            biased;
            ended = AssertUnwindSafe(call).catch_unwind() => ended,
            () = ports.clock.sleep_until(due) => {
                let message = format!("the probe took longer than its `every: {}`", show_duration(self.settings.every));
                Ok(Err(Failure::new(FailureKind::Timeout, message).with_code("probe")))
            }
        };
        // What runs on a thread of its own hears it by this.
        cancel.cancel();
        ended
            .unwrap_or_else(|_| Err(Failure::new(FailureKind::Bug, "the probe's executor panicked; see the log").with_code("panic")))
            .map(drop)
    }

    fn job(&self, ports: &Ports) -> Job {
        let id = || ports.random.id(ports.clock.now());
        let declared = self.bound.pipeline.executors.get(self.settings.executor);
        Job {
            id: JobId::new(id()),
            run: RunId::new(id()),
            correlation_id: CorrelationId::new(id()),
            pipeline: self.bound.pipeline.name.clone(),
            flow: self.flow.clone(),
            step: STEP.into(),
            executor: declared.map_or_else(|| STEP.into(), |declared| declared.reference.name.clone()),
            attempt: 1,
            input: self.settings.input.clone(),
        }
    }
}

/// What a probe tells: its log lines are logged, nobody waits for its progress, and it emits nothing.
struct Channel {
    label: JobLabel,
    sink: Arc<dyn Sink>,
    clock: Arc<dyn Clock>,
}

impl JobChannel for Channel {
    fn progress(&self, _: Value) {}

    fn emit(&self, _: EventType, _: Value) -> Result<(), Failure> {
        Err(Failure::new(FailureKind::Rejected, "a breaker's probe emits nothing").with_code("probe"))
    }

    fn log(&self, level: LogLevel, message: String) {
        let what = What::Log { job: self.label.clone(), level, message };
        self.sink.accept(Happening { time: self.clock.now(), run: None, what });
    }
}
