//! A `dispatch` on its way: a run of its own for one step, of the revision that dispatched it.

use std::sync::Arc;

use super::{Shared, Ticket};
use crate::engine::control::Control;
use crate::engine::door::{DoorKey, Limits};
use crate::engine::installed::Installed;
use crate::model::activation::{Admission, Patience};
use crate::model::happening::What;
use crate::model::id::{FlowName, RunId};
use crate::model::record::{Beginning, Part};
use crate::plan::pipeline::{Concurrency, Flow};

impl Shared {
    /// Starts the run of a `dispatch`, or has it wait: each step with `dispatch` has a line of its own, 256 at once and 1024 waiting. One
    /// more is told as [`What::NotAdmitted`].
    pub async fn send_off(&self, installed: &Arc<Installed>, flow: &Arc<Flow>, by: &Beginning, run: RunId, part: &Arc<Part>) {
        let step = flow.block(part.block).first().map(|step| flow.step(*step).id.to_string()).unwrap_or_default();
        let target = format!("{}.{}.{step}", by.pipeline, by.flow);
        let now = self.ports.clock.now();
        let beginning = Beginning { run, at: now, deadline: None, parent: Some(by.run), part: Some(Arc::clone(part)), ..by.clone() };
        if !installed.bound.pipeline.state.initial.is_empty()
            && let Err(failure) = self.states.check(&by.pipeline, by.state_key.as_deref())
        {
            return self.tell(What::NotAdmitted { target, reason: failure.to_string() });
        }
        let Concurrency { max_concurrent, max_queue, when_full, .. } = Concurrency::default();
        let ticket = Box::new(Ticket {
            installed: Arc::clone(installed),
            flow: Arc::clone(flow),
            control: Arc::new(Control::default()),
            beginning,
            requester: None,
            door: DoorKey { pipeline: by.pipeline.clone(), flow: FlowName::new(format!("{}.{step}", by.flow)), key: None },
            limits: Limits { max_concurrent, max_queue, when_full },
            circles: None,
            started: None,
            // That it was sent on its way is recorded; it is sent again after a crash.
            waits: false,
            receipt: None,
            queued: None,
            after_queue: false,
            copied: Vec::new(),
            own_deadline: None,
            cancel_keys: Vec::new(),
            idempotency: None,
        });
        if let Admission::Refused(failure) = self.admit(ticket, Patience::AsDeclared).await {
            self.tell(What::NotAdmitted { target, reason: failure.to_string() });
        }
    }
}
