//! The pure part of `via: outbox`: which events of a run go by way of the outbox, by what key they keep their order, and what an attempt's output will
//! become.

use std::sync::Arc;

use crate::model::event::{Causation, Event};
use crate::model::failure::{Failure, FailureKind};
use crate::model::id::{EventId, EventType, JobId};
use crate::model::port::Outgoing;
use crate::model::time::Timestamp;
use crate::model::types::Origin;
use crate::model::value::Value;
use crate::plan::pipeline::{Step, Verb};
use crate::policy::key;

use super::lanes::Lane;
use super::machine::{Command, Machine, Surroundings};
use super::scope::RunScope;
use super::state::RunState;
use crate::engine::shareable;

impl Machine<'_> {
    /// The key by which what a step emits keeps its order.
    pub(super) fn order_key(&self, lane: &Lane, step: &Step) -> Result<Option<String>, Failure> {
        order_key(self.state, lane, step, self.around)
    }

    /// What has to be kept in the outbox when a job ends with these events.
    pub(super) fn outboxed(&self, job: JobId, events: &[Event]) -> Result<Option<Command>, Failure> {
        // Most jobs tell nothing, and to make an id out of another takes a digest.
        let Some(event) = events.last().map(|last| last.id).filter(|last| *last == EventId::emitted_by(job)) else { return Ok(None) };
        let Some((_, lane, step)) = self.parts(job) else { return Ok(None) };
        let order_key = self.order_key(&lane, self.state.flow.step(step))?;
        Ok(Some(Command::Outbox { event, order_key }))
    }
}

/// An event of a run before it says anything.
pub(super) fn envelope(state: &RunState, id: EventId, event_type: EventType, causation: Causation, now: Timestamp) -> Event {
    let beginning = &state.beginning;
    Event {
        id,
        event_type,
        source: beginning.pipeline.clone(),
        time: now,
        correlation_id: beginning.correlation_id,
        causation,
        scope: state.pipeline.scope.clone(),
        caller: beginning.caller.clone(),
        passed: beginning.passed.clone(),
        data: Value::null(),
    }
}

/// What the output of a job will be told as by way of an outbox; `None` if its step has none.
pub fn outgoing(state: &RunState, job: JobId, around: &Surroundings<'_>) -> Option<Outgoing> {
    let active = state.job(job)?;
    let step = state.flow.step(active.step);
    let (Some(_), Verb::Run(run)) = (&step.outbox, &step.verb) else { return None };
    let event_type = run.emits.clone()?;
    // It was a key when the job was dispatched.
    let order_key = order_key(state, state.lane(active.lane)?, step, around).ok()?;
    let pipeline = Arc::clone(&state.pipeline);
    let exported = pipeline.is_exported(&event_type);
    let event = envelope(state, EventId::emitted_by(job), event_type.clone(), Causation::Job(job), around.now);
    // As the job's end does it: what the executor says it gives, and then what the event is declared to be.
    let declared = run.output.clone();
    let data = Arc::new(move |given: &Value| {
        let received = declared.as_ref().map(|declared| declared.receive(given, Origin::Data)).transpose();
        let output = received.map_err(|mismatches| Failure::new(FailureKind::Bug, shareable::all(&mismatches)).with_code("output_type"))?;
        shareable::event_data(&pipeline, &event_type, output.unwrap_or_else(|| given.clone()))
    });
    Some(Outgoing { event, exported, order_key, data })
}

fn order_key(state: &RunState, lane: &Lane, step: &Step, around: &Surroundings<'_>) -> Result<Option<String>, Failure> {
    let Some(template) = step.outbox.as_ref().and_then(|outbox| outbox.order_key.as_ref()) else { return Ok(None) };
    let scope = RunScope { run: state, state: around.state, now: around.now, random: around.random, extra: state.extra(lane) };
    let value = template.evaluate(&scope)?;
    let canonical = key::text(&value)?;
    // A text as it is: other programs that write into an outbox's table write it so.
    Ok(Some(value.tree().as_text().filter(|text| !text.is_empty()).map_or(canonical, str::to_owned)))
}
