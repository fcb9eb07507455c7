//! What was seen, as a value in the words of `expect`: shaped after what is expected, since calls and events may be counted or listed.

use std::sync::Arc;

use crate::engine::Engine;
use crate::model::activation::RunOutcome;
use crate::model::event::{Event, Scope};
use crate::model::id::{Digest, PipelineName};
use crate::model::record::StepNumber;
use crate::model::value::{Map, Tree, Value};
use crate::plan::cases::{Written, WrittenContent};
use crate::plan::pipeline::{Pipeline, Step};

use super::witness::{Seen, SeenCall, SeenEnd, SeenRun};

/// What is looked at: what was seen, and the pipelines that were in force at some time.
pub(super) struct View<'a> {
    pub(super) seen: &'a Seen,
    pub(super) engine: &'a Engine,
    /// The pipeline whose test it is.
    pub(super) own: &'a PipelineName,
    /// Every pipeline that was in force in this test, the newest last.
    pub(super) pipelines: &'a [Arc<Pipeline>],
}

impl View<'_> {
    /// What an expectation speaks of.
    pub(super) fn whole(&self, expected: &Written) -> Tree {
        let mut whole = self.seen.subject().and_then(|number| self.seen.runs.get(number)).map(|run| self.run(run)).unwrap_or_default();
        // Of what no run is about, nothing was seen.
        for (name, nothing) in [("state", self.state(None)), ("steps", Tree::Map(Map::new()))] {
            whole.entry(name.to_owned()).or_insert(nothing);
        }
        for field in expected.fields() {
            let seen = match field.name.as_str() {
                "runs" => Tree::List(self.seen.runs.iter().map(|run| Tree::Map(self.run(run))).collect()),
                "calls" => self.calls(&field.value),
                "events" => self.events(&field.value, |_| true),
                "bus" => self.buses(&field.value),
                _ => continue,
            };
            whole.insert(field.name.clone(), seen);
        }
        Tree::Map(whole)
    }

    /// `runs` and `events`, as values that a test sends may read them.
    pub(super) fn locals(&self, name: &str) -> Option<Value> {
        let tree = match name {
            "runs" => Tree::List(self.seen.runs.iter().map(|run| Tree::Map(self.run(run))).collect()),
            "events" => {
                let mut events = Map::new();
                for event in &self.seen.events {
                    if let Tree::List(list) = events.entry(event.event_type.to_string()).or_insert_with(|| Tree::List(Vec::new())) {
                        list.push(event.to_value().tree().clone());
                    }
                }
                Tree::Map(events)
            }
            _ => return None,
        };
        Some(Value::from(tree))
    }

    fn run(&self, run: &SeenRun) -> Map {
        let text = |text: &str| Tree::Text(text.to_owned());
        let (outcome, reason, error) = match &run.end {
            SeenEnd::Running => ("running", Tree::Null, Tree::Null),
            SeenEnd::Dropped => ("dropped", Tree::Null, Tree::Null),
            SeenEnd::Refused(failure) => ("refused", Tree::Null, failure.to_value().tree().clone()),
            SeenEnd::Ended(outcome) => {
                let reason = match outcome {
                    RunOutcome::Cancelled { reason } => text(reason.as_str()),
                    _ => Tree::Null,
                };
                (outcome.as_str(), reason, outcome.failure().map(|failure| failure.to_value().tree().clone()).unwrap_or_default())
            }
        };
        let value = |value: &Option<Value>| value.as_ref().map(|value| value.tree().clone()).unwrap_or_default();
        let progress = run.asker.as_ref().map(|asker| asker.heard()).unwrap_or_default();
        let fields = [
            ("id", run.run.map_or(Tree::Null, |run| Tree::Text(run.to_string()))),
            ("pipeline", text(run.pipeline.as_str())),
            ("flow", text(run.flow.as_str())),
            ("outcome", text(outcome)),
            ("reason", reason),
            ("error", error),
            ("input", value(&run.input)),
            ("reply", value(&run.reply)),
            ("steps", self.steps(run)),
            ("degraded", Tree::Bool(run.degraded)),
            ("progress", Tree::List(progress.iter().map(|progress| progress.tree().clone()).collect())),
            ("undone", self.undone(run)),
            ("state", self.state(Some(run))),
            ("state_history", self.history(run)),
        ];
        fields.into_iter().map(|(name, field)| (name.to_owned(), field)).collect()
    }

    /// The steps of a run's flow, of the revision that it is pinned to.
    fn flow_of(&self, run: &SeenRun) -> &[Step] {
        let of_revision =
            |revision: Digest| move |pipeline: &&Arc<Pipeline>| pipeline.name == run.pipeline && pipeline.revision == revision;
        let pipeline = run.revision.and_then(|revision| self.pipelines.iter().rfind(of_revision(revision)));
        let flow = pipeline.and_then(|pipeline| pipeline.flows.iter().find(|flow| flow.name == run.flow));
        flow.map(|flow| flow.steps.as_slice()).unwrap_or_default()
    }

    /// What each step that was done came to, by its id.
    fn steps(&self, run: &SeenRun) -> Tree {
        let output = |step: &Step| Some((step.id.to_string(), run.outputs.get(&step.number)?.tree().clone()));
        Tree::Map(self.flow_of(run).iter().filter_map(output).collect())
    }

    /// The steps that were undone, in the order in which they were.
    fn undone(&self, run: &SeenRun) -> Tree {
        let steps = self.flow_of(run);
        let id = |number: &StepNumber| steps.iter().find(|step| step.number == *number).map(|step| Tree::Text(step.id.to_string()));
        Tree::List(run.undone.iter().filter_map(id).collect())
    }

    fn state(&self, run: Option<&SeenRun>) -> Tree {
        let (pipeline, key) = run.map_or((self.own, None), |run| (&run.pipeline, run.state_key.as_deref()));
        self.engine.state(pipeline, key).map(|state| state.tree().clone()).unwrap_or_default()
    }

    /// What each field of the run's state changed to, in order. A `set` that leaves a field as it is is no change.
    fn history(&self, run: &SeenRun) -> Tree {
        let initial = self.pipelines.iter().rfind(|pipeline| pipeline.name == run.pipeline).map(|pipeline| &pipeline.state.initial);
        let changes = self.seen.changes.iter().filter(|change| change.pipeline == run.pipeline && change.key == run.state_key);
        let mut history: Map = initial.into_iter().flatten().map(|(field, _)| (field.clone(), Tree::List(Vec::new()))).collect();
        for (field, value) in changes.flat_map(|change| &change.after) {
            if let Tree::List(values) = history.entry(field.clone()).or_insert_with(|| Tree::List(Vec::new())) {
                let before = values.last().or_else(|| initial.and_then(|initial| initial.get(field)));
                if before != Some(value) {
                    values.push(value.clone());
                }
            }
        }
        Tree::Map(history)
    }

    fn calls(&self, expected: &Written) -> Tree {
        if let WrittenContent::Map(fields) = &expected.content {
            let count = |name: &str| self.seen.calls.iter().filter(|call| self.is_called(call, name)).count();
            return Tree::Map(fields.iter().map(|field| (field.name.clone(), number(count(&field.name)))).collect());
        }
        let mut wanted = expected.items().iter();
        let call = |call: &SeenCall| {
            let shown = || Tree::Text(if call.step.as_str().starts_with('#') { call.executor.to_string() } else { call.step.to_string() });
            match wanted.next().map(|wanted| &wanted.content) {
                Some(WrittenContent::Scalar(Tree::Text(name))) if self.is_called(call, name) => Tree::Text(name.clone()),
                Some(WrittenContent::Map(fields)) => match fields.first().filter(|field| self.is_called(call, &field.name)) {
                    Some(field) => Tree::Map(Map::from_iter([(field.name.clone(), call.input.tree().clone())])),
                    None => shown(),
                },
                _ => shown(),
            }
        };
        Tree::List(self.seen.calls.iter().map(call).collect())
    }

    /// Whether a call is one of that executor or of that step, in this pipeline or as `pipeline.executor` in another.
    fn is_called(&self, call: &SeenCall, name: &str) -> bool {
        if call.pipeline == *self.own {
            return call.executor.as_str() == name || call.step.as_str() == name.strip_prefix("steps.").unwrap_or(name);
        }
        name.split_once('.').is_some_and(|(pipeline, executor)| call.pipeline.as_str() == pipeline && call.executor.as_str() == executor)
    }

    /// Events of the expected types: how many, or their data, as is expected.
    fn events(&self, expected: &Written, counts: impl Fn(&Event) -> bool) -> Tree {
        let of_type = |field: &crate::plan::cases::WrittenField| {
            let events = self.seen.events.iter().filter(|event| event.event_type.as_str() == field.name && counts(event));
            let seen = match &field.value.content {
                WrittenContent::List(_) => Tree::List(events.map(|event| event.data.tree().clone()).collect()),
                WrittenContent::Scalar(_) | WrittenContent::Map(_) => number(events.count()),
            };
            (field.name.clone(), seen)
        };
        Tree::Map(expected.fields().iter().map(of_type).collect())
    }

    fn buses(&self, expected: &Written) -> Tree {
        let exported = |event: &Event| {
            let source = self.pipelines.iter().rfind(|pipeline| pipeline.name == event.source);
            source.is_some_and(|pipeline| pipeline.exports.contains(&event.event_type))
        };
        let bus = |field: &crate::plan::cases::WrittenField| {
            let is_on = |event: &Event| match field.name.as_str() {
                "global" => event.scope == Scope::Global || exported(event),
                "private" => event.scope == Scope::Private(self.own.clone()),
                name => event.scope == Scope::Named(name.to_owned()),
            };
            (field.name.clone(), self.events(&field.value, is_on))
        };
        Tree::Map(expected.fields().iter().map(bus).collect())
    }
}

fn number(count: usize) -> Tree {
    Tree::Int(i64::try_from(count).unwrap_or(i64::MAX))
}
