//! What is in force for each step and why: the policy stack in its order, settings of flows, grants and limits of executors, each with
//! where it comes from, and who hears each event. Pure: from a plan to values that a program can read.

mod executor;
mod policy;

use serde::Serialize;

use super::hearing::{Hearer, hearers};
use crate::model::diagnostic::Place;
use crate::model::event::Scope;
use crate::model::id::EventType;
use crate::model::policy::show_duration;
use crate::plan::pipeline::{EventMode, Flow, Join, Outbox, Pipeline, Plan, RunStep, Step, Trigger, Verb, WaitStep, WhenFull, Written};

pub use executor::{ExecutorView, WantView};
pub use policy::LayerView;

/// A pipeline, explained.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Explanation {
    /// Its name.
    pub pipeline: String,
    /// Its file.
    pub file: String,
    /// Its bus: `private`, `global` or a name.
    pub bus: String,
    /// The events that also go to the global bus.
    pub exports: Vec<String>,
    /// Its flows.
    pub flows: Vec<FlowView>,
    /// The executors that the shown steps use.
    pub executors: Vec<ExecutorView>,
}

/// A flow, explained.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct FlowView {
    /// Its name.
    pub flow: String,
    /// Where it begins.
    pub place: Place,
    /// What starts it.
    pub triggers: Vec<String>,
    /// Its settings, those with defaults too.
    pub settings: Vec<Setting>,
    /// Its steps that have something to be explained: all but `set`, `reply` and `fail`.
    pub steps: Vec<StepView>,
}

/// A step, explained.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct StepView {
    /// Its id, or its number as `#3`.
    pub step: String,
    /// Its verb.
    pub verb: &'static str,
    /// Who does it: an executor, or a flow that is called.
    pub executor: Option<String>,
    /// What it waits for or walks over; for what an executor or a flow does, what undoes it and what it sets while it runs; how its event goes out.
    pub detail: Option<String>,
    /// Where it stands.
    pub place: Place,
    /// Its policy stack, outermost first. A layer that is not here is not there.
    pub layers: Vec<LayerView>,
    /// The events that it emits.
    pub emits: Vec<EmissionView>,
}

/// An event and who hears it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct EmissionView {
    /// Its type.
    pub event: String,
    /// The buses that it goes onto.
    pub buses: Vec<String>,
    /// The flows of all files that hear it, as `pipeline.flow`.
    pub heard_by: Vec<Hearer>,
}

/// A value and where it comes from.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Setting {
    /// Its key.
    pub name: String,
    /// Its value, as YAML has it; `none` for what is not set and has no default.
    pub value: String,
    /// Where it comes from.
    #[serde(flatten)]
    pub from: From,
}

/// Where a value comes from.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(tag = "from", rename_all = "snake_case")]
pub enum From {
    /// Nobody wrote it.
    Default,
    /// It is written in the flow or the executor.
    File {
        /// Where.
        place: Place,
    },
    /// It stands beside the step.
    Step {
        /// Where.
        place: Place,
    },
    /// It stands in a named policy.
    Policy {
        /// The policy's name.
        policy: String,
        /// Where.
        place: Place,
    },
}

/// Which part is to be explained; all of it by default.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Part {
    /// Only this flow.
    pub flow: Option<String>,
    /// Only this step of it.
    pub step: Option<String>,
}

/// Explains a part of a pipeline. The plan says who hears its events. A flow or step that there is not gives no such view.
pub fn explain(plan: &Plan, pipeline: &Pipeline, part: &Part) -> Explanation {
    let flows: Vec<FlowView> = pipeline
        .flows
        .iter()
        .filter(|flow| part.flow.as_deref().is_none_or(|wanted| flow.name.as_str() == wanted))
        .map(|flow| explain_flow(plan, pipeline, flow, part.step.as_deref()))
        .collect();
    let all = part.flow.is_none();
    let executors = pipeline.executors.iter().filter(|declared| {
        let name = declared.reference.name.as_str();
        all || flows.iter().flat_map(|flow| &flow.steps).any(|step| step.executor.as_deref() == Some(name))
    });
    Explanation {
        pipeline: pipeline.name.to_string(),
        file: pipeline.file.display().to_string(),
        bus: bus(&pipeline.scope).to_owned(),
        exports: pipeline.exports.iter().map(ToString::to_string).collect(),
        executors: executors.map(|declared| executor::explain(plan, pipeline, declared)).collect(),
        flows,
    }
}

fn explain_flow(plan: &Plan, pipeline: &Pipeline, flow: &Flow, wanted: Option<&str>) -> FlowView {
    let steps = flow.steps.iter().filter(|step| wanted.is_none_or(|wanted| step.id.as_str() == wanted));
    FlowView {
        flow: flow.name.to_string(),
        place: flow.place.clone(),
        triggers: flow.triggers.iter().map(trigger).collect(),
        settings: settings(flow),
        steps: steps.filter_map(|step| explain_step(plan, pipeline, flow, step)).collect(),
    }
}

fn explain_step(plan: &Plan, pipeline: &Pipeline, flow: &Flow, step: &Step) -> Option<StepView> {
    let mut run: Option<&RunStep> = None;
    let mut events: Vec<&EventType> = Vec::new();
    match &step.verb {
        Verb::Run(step) => {
            run = Some(step);
            events.extend(&step.emits);
        }
        Verb::Emit(emitted) => events.extend(emitted.iter().map(|(event, _)| event)),
        Verb::Set(_) | Verb::Reply(_) | Verb::Fail(_) => return None,
        // What a `dispatch` has done is a `run` step of its own.
        Verb::Dispatch(_) | Verb::Wait(_) | Verb::Switch(_) | Verb::Parallel(_) | Verb::Each(_) | Verb::Sleep(_) => {}
    }
    let details: Vec<String> = detail(pipeline, flow, step).into_iter().chain(step.outbox.as_ref().map(kept)).collect();
    Some(StepView {
        step: step.id.to_string(),
        verb: step.verb.key(),
        executor: run.map(|run| pipeline.worker_name(&run.worker).to_string()),
        detail: (!details.is_empty()).then(|| details.join("; ")),
        place: step.place.clone(),
        layers: run.map(|run| policy::layers(pipeline, run)).unwrap_or_default(),
        emits: events.into_iter().map(|event| emission(plan, pipeline, event)).collect(),
    })
}

/// What is said of a step beside its verb and who does it.
fn detail(pipeline: &Pipeline, flow: &Flow, step: &Step) -> Option<String> {
    match &step.verb {
        Verb::Run(run) => beside(pipeline, flow, run),
        Verb::Wait(wait) => Some(waited_for(wait)),
        Verb::Switch(cases) => {
            let cases: Vec<&str> = cases.iter().map(|case| case.when.as_ref().map_or("else", |when| when.source())).collect();
            Some(cases.join("; "))
        }
        Verb::Parallel(parallel) => {
            let branches: Vec<&str> = parallel.branches.iter().map(|(branch, _)| branch.as_str()).collect();
            let join = match parallel.join {
                Join::All => "all of them must succeed".to_owned(),
                Join::Quorum(number) => format!("{number} of them must succeed"),
            };
            Some(format!("{}; {join}", branches.join(", ")))
        }
        Verb::Each(each) => Some(format!("{} in {}; {} at a time", each.name, each.over.source(), each.max_concurrent)),
        Verb::Sleep(time) => Some(time.words()),
        Verb::Dispatch(_) | Verb::Emit(_) | Verb::Set(_) | Verb::Reply(_) | Verb::Fail(_) => None,
    }
}

/// How long an event is kept that goes out by the outbox.
fn kept(outbox: &Outbox) -> String {
    match &outbox.order_key {
        Some(key) => format!("its event is kept until everybody has it, and goes out in the order of {}", key.source()),
        None => "its event is kept until everybody has it".to_owned(),
    }
}

/// What undoes a step, and what it sets while it runs.
fn beside(pipeline: &Pipeline, flow: &Flow, run: &RunStep) -> Option<String> {
    let undo = run.undo.map(|undo| {
        let steps = flow.block(undo.block).iter().map(|number| &flow.step(*number).verb);
        let workers = steps.filter_map(|verb| match verb {
            Verb::Run(run) => Some(pipeline.worker_name(&run.worker).to_string()),
            _ => None,
        });
        let unknown = if undo.on_attempt { ", also if its outcome is unknown" } else { "" };
        format!("undone by {}{unknown}", workers.collect::<Vec<_>>().join(", "))
    });
    let fields: Vec<&str> = run.optimistic.iter().map(|(field, _)| field.as_str()).collect();
    let optimistic = (!fields.is_empty()).then(|| format!("sets {} while it runs", fields.join(", ")));
    let parts: Vec<String> = undo.into_iter().chain(optimistic).collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

fn waited_for(wait: &WaitStep) -> String {
    let types: Vec<&str> = wait.listen.types.iter().map(EventType::as_str).collect();
    let matching: Vec<String> = wait.listen.matching.iter().map(|(field, value)| format!("{field} = {}", value.source())).collect();
    let guard = wait.guard.as_ref().map_or_else(String::new, |guard| format!(", if {}", guard.source()));
    let remind = wait.remind.as_ref().map_or_else(String::new, |remind| {
        let after: Vec<String> = remind.after.iter().map(|after| show_duration(*after)).collect();
        format!("; reminds after {}", after.join(", "))
    });
    format!("{} with {}{guard}; at most {}{remind}", types.join(" or "), matching.join(", "), wait.timeout.words())
}

fn emission(plan: &Plan, pipeline: &Pipeline, event: &EventType) -> EmissionView {
    let mut buses = vec![bus(&pipeline.scope).to_owned()];
    if pipeline.scope != Scope::Global && pipeline.exports.contains(event) {
        buses.push("global".to_owned());
    }
    EmissionView { event: event.to_string(), buses, heard_by: hearers(plan, pipeline, event) }
}

/// The word for a bus.
fn bus(scope: &Scope) -> &str {
    match scope {
        Scope::Private(_) => "private",
        Scope::Named(name) => name,
        Scope::Global => "global",
    }
}

fn trigger(trigger: &Trigger) -> String {
    match trigger {
        Trigger::StdinLine => "stdin: line".to_owned(),
        Trigger::Manual => "manual".to_owned(),
        Trigger::Event { types, mode } => {
            let types: Vec<&str> = types.iter().map(EventType::as_str).collect();
            let mode = match mode {
                EventMode::Direct => "direct",
                EventMode::Observe => "observe",
            };
            format!("event: {} ({mode})", types.join(", "))
        }
    }
}

fn settings(flow: &Flow) -> Vec<Setting> {
    let concurrency = &flow.concurrency;
    let when_full = match concurrency.when_full {
        WhenFull::Queue => "queue",
        WhenFull::Drop => "drop",
        WhenFull::Replace => "replace",
        WhenFull::Coalesce => "coalesce",
        WhenFull::Reject => "reject",
    };
    let none = || "none".to_owned();
    let cancel_on: Vec<&str> = flow.cancel_on.iter().flat_map(|listen| &listen.types).map(EventType::as_str).collect();
    let idempotency = flow.idempotency.as_ref();
    let values = [
        ("deadline", flow.deadline.map_or_else(none, show_duration)),
        ("state_key", flow.state_key.as_ref().map_or_else(none, |key| key.source())),
        ("concurrency.key", concurrency.key.as_ref().map_or_else(none, |key| key.source())),
        ("concurrency.max_concurrent", concurrency.max_concurrent.to_string()),
        ("concurrency.max_queue", concurrency.max_queue.to_string()),
        ("concurrency.when_full", when_full.to_owned()),
        ("idempotency.key", idempotency.map_or_else(none, |settings| settings.key.source())),
        ("idempotency.retention", idempotency.map_or_else(none, |settings| show_duration(settings.retention))),
        ("cancel_on", if cancel_on.is_empty() { none() } else { cancel_on.join(", ") }),
        ("durable", flow.durable.to_string()),
    ];
    values.into_iter().map(|(name, value)| Setting { name: name.to_owned(), value, from: in_file(&flow.written, name) }).collect()
}

/// Where a setting of a flow or an executor comes from.
fn in_file(written: &[Written], key: &str) -> From {
    match written.iter().find(|written| written.key == key) {
        Some(written) => From::File { place: written.place.clone() },
        None => From::Default,
    }
}
