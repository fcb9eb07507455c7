//! An answer to one run. What it leaves out of what the run will ask for is put in, also before the run has come to its wait.

use std::sync::Arc;

use super::Shared;
use crate::engine::ANSWER_LACKS;
use crate::engine::handle::{Emitted, Outside};
use crate::engine::refusal::silent;
use crate::engine::run::{Extra, LeftOut, RunScope, RunState};
use crate::model::event::Caller;
use crate::model::failure::{Failure, FailureKind};
use crate::model::id::{EventType, RunId};
use crate::model::record::{Fact, beginning_of};
use crate::model::value::{Map, Tree, Value};
use crate::plan::pipeline::Pipeline;

impl Shared {
    /// Puts an event for one run on its pipeline's bus.
    pub async fn signal(&self, run: RunId, event_type: EventType, data: Value, caller: Caller) -> Result<Emitted, Failure> {
        let facts = self.ports.store.facts(run).await;
        let facts = facts.map_err(|error| silent(&format!("run {run} did not get the answer"), &error))?;
        let Some(beginning) = beginning_of(&facts) else {
            return Err(Failure::new(FailureKind::NotFound, format!("there is no run {run}")).with_code("unknown_run"));
        };
        let (pipeline, correlation_id) = (beginning.pipeline.clone(), Some(beginning.correlation_id));
        // What its events are says the revision that it belongs to: its pipeline may have others now, or be gone.
        let installed = self.installed_of(run).or_else(|| self.find(&pipeline));
        let data = match &installed {
            Some(installed) => self.completed(&installed.bound.pipeline, &facts, &event_type, data)?,
            None => data,
        };
        self.emit_as(installed, Outside { pipeline, event_type, data, caller, correlation_id }).await
    }

    /// The data with the fields of `match` that it leaves out.
    fn completed(&self, pipeline: &Arc<Pipeline>, facts: &[Fact], event_type: &EventType, data: Value) -> Result<Value, Failure> {
        let flow = beginning_of(facts).and_then(|beginning| pipeline.flows.iter().find(|flow| flow.name == beginning.flow));
        let run = flow.and_then(|flow| RunState::fold(pipeline, flow, facts)).filter(|run| run.ended().is_none());
        let (Some(run), Tree::Map(given)) = (run, data.tree()) else { return Ok(data) };
        // What the state is now it need not be when the run waits: a match that reads it is not known yet.
        let (state, now, random) = (Value::null(), self.ports.clock.now(), &*self.ports.random);
        let scope = RunScope { run: &run, state: &state, now, random, extra: Extra::default() };
        match scope.left_out(event_type, given) {
            LeftOut::Known(fields) if fields.is_empty() => Ok(data),
            LeftOut::Known(fields) => {
                let fields = fields.into_iter().map(|(name, value)| (name, value.tree().clone()));
                let given = given.iter().map(|(name, field)| (name.clone(), field.clone()));
                Ok(Value::from(Tree::Map(given.chain(fields).collect::<Map>())))
            }
            LeftOut::Unknown(fields) => {
                let (id, fields) = (run.beginning().run, fields.join(", "));
                let message = format!(
                    "run {id} has not come to its wait for {event_type}, so that nobody knows yet what to put in for {fields}: write it in the data, or answer once the run waits"
                );
                Err(Failure::new(FailureKind::Invalid, message).with_code(ANSWER_LACKS))
            }
        }
    }
}
