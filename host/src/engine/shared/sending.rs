//! A `dispatch` on its way: a run of its own for one step, of the revision that dispatched it.

use std::sync::Arc;

use super::starting::FULL;
use super::{Shared, Ticket};
use crate::engine::control::Control;
use crate::engine::door::{DoorKey, Limits};
use crate::engine::installed::Installed;
use crate::engine::refusal::STORE_FULL;
use crate::model::activation::{Admission, Patience};
use crate::model::failure::{Failure, FailureKind};
use crate::model::happening::What;
use crate::model::id::{FlowName, RunId};
use crate::model::record::{Beginning, Part};
use crate::plan::pipeline::{Concurrency, Flow};

impl Shared {
    /// Starts the run of a `dispatch`, or has it wait: each step with `dispatch` has a line of its own, 256 at once and 1024 waiting. One more waits here
    /// until there is room for it. That it was sent on its way is recorded: it is sent again after a crash.
    pub async fn send_off(&self, installed: &Arc<Installed>, flow: &Arc<Flow>, by: &Beginning, run: RunId, part: &Arc<Part>) {
        let failure = loop {
            match self.send(installed, flow, by, (run, part), Patience::WaitForRoom).await {
                Ok(()) => return,
                // It waited for its place, and then the store had none.
                Err(failure) if failure.code.as_deref() == Some(STORE_FULL) && !self.stop.is_cancelled() => {
                    self.ports.clock.sleep_until(self.ports.clock.now() + FULL).await;
                }
                Err(failure) => break failure,
            }
        };
        if self.stop.is_cancelled() && flow.durable {
            // The next start sends it.
            return;
        }
        if !self.bury_part(&self.sent(by, run, part), flow.durable, &failure).await {
            let target = format!("{}.{}.{}", by.pipeline, by.flow, step_of(flow, part));
            self.tell(What::NotAdmitted { target, reason: failure.to_string() });
        }
    }

    /// The same for somebody who wants it now: it ends when the run's first facts are kept.
    ///
    /// # Errors
    /// Why there is no such run.
    pub(super) async fn send_now(
        &self,
        installed: &Arc<Installed>,
        flow: &Arc<Flow>,
        by: &Beginning,
        run: RunId,
        part: &Arc<Part>,
    ) -> Result<(), Failure> {
        self.send(installed, flow, by, (run, part), Patience::AsDeclared).await
    }

    /// How a run begins that was sent on its way.
    fn sent(&self, by: &Beginning, run: RunId, part: &Arc<Part>) -> Beginning {
        let (at, parent) = (self.ports.clock.now(), Some(by.run));
        Beginning { run, at, deadline: None, parent, part: Some(Arc::clone(part)), ..by.clone() }
    }

    async fn send(
        &self,
        installed: &Arc<Installed>,
        flow: &Arc<Flow>,
        by: &Beginning,
        (run, part): (RunId, &Arc<Part>),
        patience: Patience,
    ) -> Result<(), Failure> {
        let beginning = self.sent(by, run, part);
        if !installed.bound.pipeline.state.initial.is_empty() {
            self.states.check(&by.pipeline, by.state_key.as_deref())?;
        }
        let Concurrency { max_concurrent, max_queue, when_full, .. } = Concurrency::default();
        let name = FlowName::new(format!("{}.{}", by.flow, step_of(flow, part)));
        let ticket = Box::new(Ticket {
            installed: Arc::clone(installed),
            flow: Arc::clone(flow),
            control: Arc::new(Control::default()),
            beginning: Arc::new(beginning),
            requester: None,
            door: DoorKey { pipeline: by.pipeline.clone(), flow: name, key: None },
            limits: Limits { max_concurrent, max_queue, when_full },
            circles: None,
            started: None,
            waits: patience == Patience::AsDeclared,
            receipt: None,
            queued: None,
            after_queue: false,
            copied: Vec::new(),
            own_deadline: None,
            cancel_keys: Vec::new(),
            idempotency: None,
        });
        match self.admit(ticket, patience).await {
            Admission::Started(_) | Admission::Queued(_) => Ok(()),
            Admission::Dropped => Err(Failure::new(FailureKind::Rejected, "no place was free").with_code("concurrency")),
            Admission::Refused(failure) => Err(failure),
        }
    }
}

/// The name of the step that a part is.
fn step_of(flow: &Flow, part: &Part) -> String {
    flow.block(part.block).first().map(|step| flow.step(*step).id.to_string()).unwrap_or_default()
}
