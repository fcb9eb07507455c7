//! `dispatch`: what a run of its own is given, and the `emit` step, which is done when every wait it meets has answered.

use std::sync::Arc;

use crate::model::event::Causation;
use crate::model::failure::Failure;
use crate::model::id::{EventId, EventType, JobId, RunId};
use crate::model::record::{BlockNumber, Fact, LaneId, LanePurpose, Part, RefusedAnswer, StepNumber};
use crate::model::value::{Map, Tree, Value};
use crate::plan::pipeline::{Step, Verb};
use crate::plan::template::Template;

use super::lanes::Lane;
use super::machine::{Command, Machine};
use super::scope::Extra;
use super::state::RunState;

/// An `emit` step whose events are on their way.
#[derive(Clone, PartialEq, Debug)]
pub struct Publishing {
    /// Its lane.
    pub lane: LaneId,
    /// The step.
    pub step: StepNumber,
    /// Its first event.
    pub event: Option<EventId>,
}

impl RunState {
    /// The `emit` steps whose events are recorded and of which it is not yet known who refused them.
    pub fn publishing(&self) -> impl Iterator<Item = &Publishing> {
        self.lanes.publishing().values()
    }

    /// The one step that the run does, if it was dispatched.
    pub(super) fn part(&self) -> Option<&Arc<Part>> {
        self.beginning.part.as_ref()
    }

    /// What runs when the run failed. A dispatched step's failure is its own.
    pub(super) fn on_error_block(&self) -> Option<BlockNumber> {
        self.flow.on_error.filter(|_| self.part().is_none())
    }

    /// What runs at the end in any case. Belongs to the run that dispatched.
    pub(super) fn finally_block(&self) -> Option<BlockNumber> {
        self.flow.finally.filter(|_| self.part().is_none())
    }

    /// The id and the input that a dispatched step's job has.
    pub(super) fn given_job(&self, lane: &Lane, step: StepNumber) -> Option<(JobId, Value)> {
        let part = self.part().filter(|part| lane.purpose == LanePurpose::Main && self.flow.block(part.block).contains(&step))?;
        Some((JobId::new(self.beginning.run.as_uuid()), part.input.clone()))
    }
}

impl Machine<'_> {
    /// Sends a run of its own on its way: it has that step's `with` as it is now.
    pub(super) fn send_off(&mut self, lane: &Lane, step: StepNumber, block: BlockNumber) -> Result<Value, Failure> {
        let run = RunId::dispatched_by(self.state.beginning.run, lane.id.0, step.0);
        let flow = self.flow;
        let inner = flow.block(block).first().map(|inner| &flow.step(*inner).verb);
        let input = match inner {
            Some(Verb::Run(run_step)) => match &run_step.with {
                // The job's id is the run's, so that `job.key` is known before the job is.
                Some(with) => with.evaluate(&self.scope(Extra { job: Some(JobId::new(run.as_uuid())), ..self.extra(lane) }))?,
                None => Value::null(),
            },
            _ => Value::null(),
        };
        let part = Part { block, input, outputs: self.state.outputs_seen(lane.id), locals: self.state.locals_seen(lane.id) };
        self.fits(&part)?;
        self.record(Fact::Dispatched { lane: lane.id, step, run, part: Arc::new(part) });
        Ok(Value::map([("id", Value::string(run.to_string()))]))
    }

    pub(super) fn emit(&mut self, lane: &Lane, step: &Step, events: &[(EventType, Template)]) -> Result<(), Failure> {
        let order_key = self.order_key(lane, step)?;
        let mut emitted = Vec::with_capacity(events.len());
        for (event_type, data) in events {
            let data = self.evaluate(data, lane)?;
            emitted.push(self.event(event_type.clone(), data, Causation::Run(self.state.beginning.run))?);
        }
        self.fits(&emitted)?;
        if step.outbox.is_some() {
            self.commands.extend(emitted.iter().map(|event| Command::Outbox { event: event.id, order_key: order_key.clone() }));
        }
        self.record(Fact::Emitted { lane: lane.id, step: step.number, events: emitted });
        Ok(())
    }

    /// The events of an `emit` step are published, and every wait that they met has answered.
    pub(super) fn published(&mut self, lane: LaneId, step: StepNumber, refused: Vec<(RunId, RefusedAnswer)>) {
        let publishing = self.state.lanes.publishing().get(&lane).filter(|publishing| publishing.step == step);
        let Some(publishing) = publishing else { return };
        let id = publishing.event.map_or(Tree::Null, |event| Tree::Text(event.to_string()));
        let refusal = |(run, reason): (RunId, RefusedAnswer)| {
            let fields = [("run".to_owned(), Tree::Text(run.to_string())), ("reason".to_owned(), Tree::from(reason.as_str()))];
            Tree::Map(Map::from_iter(fields))
        };
        let refused = Tree::List(refused.into_iter().map(refusal).collect());
        let mut output = vec![("id", Value::from(id))];
        if self.state.flow.step(step).outbox.is_none() {
            output.push(("refused", Value::from(refused)));
        }
        self.record(Fact::StepDone { lane, step, output: Value::map(output) });
    }
}
