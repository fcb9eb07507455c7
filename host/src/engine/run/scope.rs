//! What expressions see of a run.

use uuid::Uuid;

use super::lanes::Lane;
use super::state::{JobPhase, RunState};
use crate::model::activation::RunOutcome;
use crate::model::event::Event;
use crate::model::failure::Failure;
use crate::model::id::JobId;
use crate::model::port::{Random, Root, Scope};
use crate::model::record::{LaneId, LanePurpose, StepNumber};
use crate::model::time::Timestamp;
use crate::model::value::{Map, Tree, Value};
use crate::plan::pipeline::Verb;

/// A run as expressions see it at one moment.
pub struct RunScope<'a> {
    /// The run.
    pub run: &'a RunState,
    /// The pipeline's state at this moment.
    pub state: &'a Value,
    /// `now()`.
    pub now: Timestamp,
    /// `uuid()`.
    pub random: &'a dyn Random,
    /// What is there in some places only.
    pub extra: Extra<'a>,
}

/// What is there in some places only.
#[derive(Clone, Copy, Default)]
pub struct Extra<'a> {
    /// The lane: its steps and items are seen, and those of the lanes round about it. Without one, the flow's own steps.
    pub lane: Option<LaneId>,
    /// A step with its output, where that is not recorded yet.
    pub own: Option<(StepNumber, &'a Value)>,
    /// In `with`: the job.
    pub job: Option<JobId>,
    /// Where a failure is handled: the failure. In `finally` also, if there was one.
    pub error: Option<&'a Failure>,
    /// In `where` of a `wait`: the event that came.
    pub event: Option<&'a Event>,
    /// In `on_progress`: the progress.
    pub progress: Option<&'a Value>,
    /// In `finally`: how the run ends.
    pub outcome: Option<&'a RunOutcome>,
}

impl RunState {
    /// What is there in expressions of this lane beyond what is there everywhere.
    pub(super) fn extra<'a>(&'a self, lane: &'a Lane) -> Extra<'a> {
        Extra { lane: Some(lane.id), error: self.handled(lane), outcome: self.unwinding.as_ref(), ..Extra::default() }
    }

    /// The failure that a lane was opened to handle.
    fn handled<'a>(&'a self, lane: &'a Lane) -> Option<&'a Failure> {
        match lane.purpose {
            LanePurpose::Main | LanePurpose::Undo => None,
            LanePurpose::Case | LanePurpose::Branch(_) | LanePurpose::Item(_) | LanePurpose::OnTimeout | LanePurpose::Reminder(_) => {
                self.handled(self.lane(lane.parent?.0)?)
            }
            LanePurpose::Heal => self.lanes.failed(lane.parent?.0),
            LanePurpose::Fallback => {
                let job = self.lanes.job(lane.parent?.0)?;
                match &self.jobs.get(&job)?.phase {
                    JobPhase::FallingBack(failure) => Some(failure),
                    _ => None,
                }
            }
            LanePurpose::OnError | LanePurpose::Finally => self.unwinding.as_ref().and_then(RunOutcome::failure),
        }
    }
}

impl RunState {
    /// The outputs that a lane sees, for a run that goes on without this one.
    pub(super) fn outputs_seen(&self, lane: LaneId) -> Vec<(StepNumber, Value)> {
        let numbers = (0..).map(StepNumber).take(self.outputs.len());
        numbers.filter_map(|step| Some((step, self.output_of(Some(lane), step)?))).collect()
    }

    /// The items round about a lane with their names, innermost last, and `index`.
    pub(super) fn locals_seen(&self, lane: LaneId) -> Vec<(String, Value)> {
        let mut locals = self.beginning.part.as_ref().map(|part| part.locals.clone()).unwrap_or_default();
        let rounds: Vec<_> = self.lanes.outward(Some(lane)).filter(|lane| matches!(lane.purpose, LanePurpose::Item(_))).collect();
        for lane in rounds.into_iter().rev() {
            let Some(Verb::Each(each)) = lane.parent.map(|(_, step)| &self.flow.step(step).verb) else { continue };
            let item = |name: &str| Some((name.to_owned(), self.local(Some(lane.id), name)?));
            locals.extend([item(&each.name), item("index")].into_iter().flatten());
        }
        locals
    }

    /// The output of a step as a lane sees it: its own, that of a lane round about it, or the flow's. Other items and branches are not seen.
    fn output_of(&self, lane: Option<LaneId>, step: StepNumber) -> Option<Value> {
        let nearest = self.lanes.outward(lane).find_map(|lane| self.lanes.output(lane.id, step));
        nearest.cloned().or_else(|| self.outputs.get(step.0 as usize)?.clone())
    }

    /// The item of that name of the innermost `each` that has it, or its `index`.
    fn local(&self, lane: Option<LaneId>, name: &str) -> Option<Value> {
        let nearest = self.lanes.outward(lane).find_map(|lane| {
            let (LanePurpose::Item(place), Some((parent, step))) = (lane.purpose, lane.parent) else { return None };
            let Verb::Each(each) = &self.flow.step(step).verb else { return None };
            match name {
                _ if name == each.name => self.lanes.round(parent)?.items.get(place as usize).cloned(),
                "index" => Some(Value::from(Tree::Int(i64::from(place)))),
                _ => None,
            }
        });
        let given = || self.beginning.part.as_ref()?.locals.iter().rev().find(|(known, _)| known == name).map(|(_, local)| local.clone());
        nearest.or_else(given)
    }
}

impl Scope for RunScope<'_> {
    fn lookup(&self, root: Root, field: Option<&str>) -> Option<Value> {
        let whole = match root {
            Root::Input => self.run.beginning.input.clone(),
            Root::Event => self.extra.event.or(self.run.beginning.event.as_ref())?.to_value(),
            Root::Trigger => self.run.beginning.trigger.clone(),
            Root::Caller => self.run.beginning.caller.to_value(),
            Root::Steps => return self.step(field?),
            Root::State => self.state.clone(),
            Root::Run => self.of_run(),
            Root::Job => Value::map([("key", Value::string(self.extra.job?.to_string()))]),
            // Only what comes last may ask where nothing failed.
            Root::Error => match (self.extra.error, self.extra.outcome) {
                (Some(error), _) => error.to_value(),
                (None, outcome) => outcome.map(|_| Value::null())?,
            },
            Root::Progress => self.extra.progress?.clone(),
            Root::Env => self.run.pipeline.environment.clone(),
            Root::Secret => self.run.pipeline.secrets.clone(),
            Root::Local => return self.run.local(self.extra.lane, field?),
        };
        match field {
            Some(field) => whole.field(field),
            None => Some(whole),
        }
    }

    fn now(&self) -> Timestamp {
        self.now
    }

    fn uuid(&self) -> Uuid {
        self.random.id(self.now)
    }
}

impl RunScope<'_> {
    fn step(&self, id: &str) -> Option<Value> {
        let step = self.run.flow.steps.iter().find(|step| step.id.as_str() == id)?;
        match self.extra.own {
            Some((own, output)) if own == step.number => Some(output.clone()),
            _ => self.run.output_of(self.extra.lane, step.number),
        }
    }

    fn of_run(&self) -> Value {
        let beginning = &self.run.beginning;
        let fields = [
            ("id", Tree::Text(beginning.run.to_string())),
            ("correlation_id", Tree::Text(beginning.correlation_id.to_string())),
            ("revision", Tree::Text(beginning.revision.short())),
            ("elapsed", Tree::Float(self.now.since(beginning.at).as_secs_f64())),
            ("degraded", Tree::Bool(self.run.degraded)),
            ("outcome", self.extra.outcome.map_or(Tree::Null, |outcome| Tree::from(outcome.as_str()))),
        ];
        Value::from(Tree::Map(fields.into_iter().map(|(name, field)| (name.to_owned(), field)).collect::<Map>()))
    }
}
