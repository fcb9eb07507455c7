//! Facts on a bus.

use serde::{Deserialize, Serialize};

use super::id::{CorrelationId, EventId, EventType, JobId, PipelineName, RunId};
use super::time::Timestamp;
use super::value::{Map, Tree, Value};

/// Who may see an event.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// The pipeline's own bus.
    Private(PipelineName),
    /// A bus that the pipelines share which name it.
    Named(String),
    /// The bus of all pipelines.
    Global,
}

/// Who started a run: known where the trigger authenticates.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Caller {
    /// Who it is; null for a trigger that does not ask.
    pub id: Option<String>,
    /// The roles that the trigger vouches for.
    pub roles: Vec<String>,
}

impl Caller {
    /// Whether nobody asked who it is.
    pub const fn is_nobody(&self) -> bool {
        self.id.is_none() && self.roles.is_empty()
    }

    /// What expressions see as `caller`.
    pub fn to_value(&self) -> Value {
        let roles = self.roles.iter().map(|role| Tree::from(role.as_str())).collect();
        let id = self.id.as_deref().map_or(Tree::Null, Tree::from);
        Value::from(Tree::Map(Map::from_iter([("id".to_owned(), id), ("roles".to_owned(), Tree::List(roles))])))
    }
}

/// What caused an event: the job whose output or emission it is, the run whose `emit` step it is, or somebody outside.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Causation {
    /// A job.
    Job(JobId),
    /// A run.
    Run(RunId),
    /// Somebody outside, as a signal.
    Outside,
}

/// A fact on a bus; fields are named as CloudEvents 1.0 names them. What is null or empty in it, or nobody's, is left out of its text.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Event {
    /// Its id: each flow takes an id once.
    pub id: EventId,
    /// Its type, as `ChatSaved`.
    #[serde(rename = "type")]
    pub event_type: EventType,
    /// The pipeline that emitted it.
    pub source: PipelineName,
    /// When it was emitted.
    pub time: Timestamp,
    /// What request it belongs to.
    pub correlation_id: CorrelationId,
    /// What caused it.
    pub causation: Causation,
    /// Which bus it is on.
    pub scope: Scope,
    /// Who started the run that emitted it.
    #[serde(default, skip_serializing_if = "Caller::is_nobody")]
    pub caller: Caller,
    /// How often this chain of causes has passed each flow, as `pipeline.flow`: what the loop guard counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub passed: Vec<(String, u32)>,
    /// What it says.
    #[serde(default = "Value::null", skip_serializing_if = "Value::is_null")]
    pub data: Value,
}

impl Event {
    /// What expressions see as `event`.
    pub fn to_value(&self) -> Value {
        let text = |text: String| Tree::Text(text);
        let causation = match self.causation {
            Causation::Job(job) => text(job.to_string()),
            Causation::Run(run) => text(run.to_string()),
            Causation::Outside => Tree::Null,
        };
        let scope = match &self.scope {
            Scope::Private(pipeline) => pipeline.to_string(),
            Scope::Named(name) => name.clone(),
            Scope::Global => "global".to_owned(),
        };
        let fields = [
            ("id", text(self.id.to_string())),
            ("type", text(self.event_type.to_string())),
            ("source", text(self.source.to_string())),
            ("time", text(self.time.to_string())),
            ("correlation_id", text(self.correlation_id.to_string())),
            ("causation_id", causation),
            ("scope", text(scope)),
            ("caller", self.caller.to_value().tree().clone()),
            ("data", self.data.tree().clone()),
        ];
        Value::from(Tree::Map(fields.into_iter().map(|(name, field)| (name.to_owned(), field)).collect()))
    }
}
