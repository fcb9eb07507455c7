//! What the numbers in facts are called in the file: steps, verbs, branches. Without the file's revision they stay numbers.

use std::sync::Arc;

use crate::model::id::{EventType, FlowName};
use crate::model::record::StepNumber;
use crate::plan::pipeline::{Flow, Pipeline, Step, Verb};

/// The names within one flow of one revision.
#[derive(Clone, Default)]
pub(super) struct Names(Option<(Arc<Pipeline>, Arc<Flow>)>);

impl Names {
    /// Those of that flow, if the pipeline is known and has it.
    pub(super) fn of(pipeline: Option<Arc<Pipeline>>, flow: &FlowName) -> Self {
        let found = pipeline.and_then(|pipeline| {
            let flow = pipeline.flows.iter().find(|known| known.name == *flow).cloned()?;
            Some((pipeline, flow))
        });
        Self(found)
    }

    /// A step's id; its number as `#3` if it has none or is not known.
    pub(super) fn step(&self, number: StepNumber) -> String {
        self.find(number).map_or_else(|| format!("#{}", u64::from(number.0) + 1), |step| step.id.to_string())
    }

    /// A step's verb.
    pub(super) fn verb(&self, number: StepNumber) -> Option<&'static str> {
        Some(self.find(number)?.verb.key())
    }

    /// Who does it.
    pub(super) fn executor(&self, number: StepNumber) -> Option<String> {
        match (&self.find(number)?.verb, &self.0) {
            (Verb::Run(run), Some((pipeline, _))) => Some(pipeline.worker_name(&run.worker).to_string()),
            _ => None,
        }
    }

    /// Whether it calls a flow: each attempt of it is a run.
    pub(super) fn calls(&self, number: StepNumber) -> bool {
        self.verb(number) == Some("call")
    }

    /// The types of events that a `wait` takes.
    pub(super) fn awaited(&self, number: StepNumber) -> Vec<EventType> {
        match self.find(number).map(|step| &step.verb) {
            Some(Verb::Wait(wait)) => wait.listen.types.clone(),
            _ => Vec::new(),
        }
    }

    /// The name of a branch of a `parallel`; its place if it is not known.
    pub(super) fn branch(&self, number: StepNumber, place: u32) -> String {
        let branch = self.find(number).and_then(|step| match &step.verb {
            Verb::Parallel(parallel) => parallel.branches.get(place as usize),
            _ => None,
        });
        branch.map_or_else(|| place.to_string(), |(name, _)| name.clone())
    }

    fn find(&self, number: StepNumber) -> Option<&Step> {
        self.0.as_ref()?.1.steps.get(number.0 as usize)
    }
}
