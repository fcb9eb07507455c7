//! What expressions see of a run.

use uuid::Uuid;

use super::state::{JobPhase, Lane, RunState};
use crate::model::activation::RunOutcome;
use crate::model::failure::Failure;
use crate::model::id::JobId;
use crate::model::port::{Random, Root, Scope};
use crate::model::record::LanePurpose;
use crate::model::time::Timestamp;
use crate::model::value::{Map, Tree, Value};

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
    /// In `with`: the job.
    pub job: Option<JobId>,
    /// Where a failure is handled: the failure.
    pub error: Option<&'a Failure>,
    /// In `on_progress`: the progress.
    pub progress: Option<&'a Value>,
    /// In `finally`: how the run ends.
    pub outcome: Option<&'a RunOutcome>,
}

impl RunState {
    /// What is there in expressions of this lane beyond what is there everywhere.
    pub(super) fn extra<'a>(&'a self, lane: &'a Lane) -> Extra<'a> {
        Extra { error: self.handled(lane), outcome: self.unwinding.as_ref(), ..Extra::default() }
    }

    /// The failure that a lane was opened to handle.
    fn handled<'a>(&'a self, lane: &'a Lane) -> Option<&'a Failure> {
        match lane.purpose {
            LanePurpose::Main => None,
            LanePurpose::Heal => self.lane(lane.parent?.0)?.failed.as_ref(),
            LanePurpose::Fallback => {
                let (parent, step) = lane.parent?;
                let active = self.jobs.iter().find(|active| (active.lane, active.step) == (parent, step))?;
                match &active.phase {
                    JobPhase::FallingBack(failure) => Some(failure),
                    _ => None,
                }
            }
            LanePurpose::OnError | LanePurpose::Finally => self.unwinding.as_ref().and_then(RunOutcome::failure),
        }
    }
}

impl Scope for RunScope<'_> {
    fn lookup(&self, root: Root, field: Option<&str>) -> Option<Value> {
        let whole = match root {
            Root::Input => self.run.beginning.input.clone(),
            Root::Event => self.run.beginning.event.as_ref()?.to_value(),
            Root::Trigger => self.run.beginning.trigger.clone(),
            Root::Caller => self.run.beginning.caller.to_value(),
            Root::Steps => return self.step(field?),
            Root::State => self.state.clone(),
            Root::Run => self.of_run(),
            Root::Job => Value::map([("key", Value::string(self.extra.job?.to_string()))]),
            Root::Error => self.extra.error?.to_value(),
            Root::Progress => self.extra.progress?.clone(),
            Root::Env => self.run.pipeline.environment.clone(),
            Root::Secret => self.run.pipeline.secrets.clone(),
            Root::Local => return None,
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
        self.run.outputs.get(step.number.0 as usize)?.clone()
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
