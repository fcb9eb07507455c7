//! What only all files together show: events that nobody can hear, types that do not agree, flows that start each other for ever.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::branches::{Body, inside};
use super::fit::may_be;
use crate::model::diagnostic::{Diagnostic, Place};
use crate::model::event::Scope;
use crate::model::id::EventType;
use crate::model::record::BlockNumber;
use crate::plan::codes;
use crate::plan::pipeline::{EventMode, Flow, Listen, Pipeline, Plan, Trigger, Verb, Worker};
use crate::plan::raw::closest;

/// Where a file can name an event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::plan) enum Named {
    /// Below `events`.
    Declared,
    /// In `bus.exports`.
    Exported,
    /// In a trigger, a `wait` or a `cancel_on`.
    Heard,
}

/// Where a pipeline's files name an event, which the plan does not keep.
pub(in crate::plan) type Places<'p> = &'p dyn Fn(&Pipeline, Named, &EventType) -> Place;

/// Everything that is found in the whole plan.
pub(in crate::plan) fn check(plan: &Plan, places: Places<'_>) -> Vec<Diagnostic> {
    let pipelines: Vec<(&Pipeline, BTreeSet<&EventType>)> =
        plan.pipelines.values().map(|pipeline| (&**pipeline, emitted(pipeline))).collect();
    let mut found = Vec::new();
    for (pipeline, _) in &pipelines {
        for flow in &pipeline.flows {
            for event in observed(flow) {
                subscription(pipeline, flow, event, &pipelines, places, &mut found);
            }
            listening(pipeline, flow, &pipelines, places, &mut found);
        }
        // One file alone says nothing of who else will be there.
        if pipelines.len() > 1 {
            unheard(pipeline, &pipelines, places, &mut found);
        }
    }
    cycles(&pipelines, &mut found);
    found
}

/// The events that a pipeline's steps and executors may emit.
fn emitted(pipeline: &Pipeline) -> BTreeSet<&EventType> {
    let steps = pipeline.flows.iter().flat_map(|flow| &flow.steps).flat_map(|step| match &step.verb {
        Verb::Emit(events) => events.iter().map(|(event, _)| event).collect(),
        Verb::Run(run) => run.emits.iter().collect(),
        _ => Vec::new(),
    });
    let granted = pipeline.executors.iter().flat_map(|executor| &executor.reference.grants.emit);
    steps.chain(granted).collect()
}

fn observed(flow: &Flow) -> impl Iterator<Item = &EventType> {
    flow.triggers.iter().flat_map(|trigger| match trigger {
        Trigger::Event { types, mode: EventMode::Observe } => types.as_slice(),
        _ => &[],
    })
}

/// Whether what one pipeline emits comes to another one.
fn reaches(from: &Pipeline, event: &EventType, to: &Pipeline) -> bool {
    from.scope == Scope::Global || from.exports.contains(event) || (from.scope == to.scope && matches!(from.scope, Scope::Named(_)))
}

fn subscription(
    pipeline: &Pipeline,
    flow: &Flow,
    event: &EventType,
    all: &[(&Pipeline, BTreeSet<&EventType>)],
    places: Places<'_>,
    found: &mut Vec<Diagnostic>,
) {
    let others: Vec<&Pipeline> =
        all.iter().filter(|(other, emits)| other.name != pipeline.name && emits.contains(event)).map(|(other, _)| *other).collect();
    let here = || places(pipeline, Named::Heard, event);
    let heard: Vec<&Pipeline> = others.iter().copied().filter(|other| reaches(other, event, pipeline)).collect();
    for other in &heard {
        let (Some(declared), Some(emitted)) = (pipeline.events.get(event), other.events.get(event)) else { continue };
        if !may_be(emitted, declared) {
            let message = format!("`{event}` is declared as {declared}, and `{}` emits it as {emitted}", pipeline_name(other));
            let diagnostic = Diagnostic::error(codes::EVENT_TYPES, places(pipeline, Named::Declared, event), message)
                .with_related(places(other, Named::Declared, event), "there it is declared otherwise")
                .with_help("declare it alike, or once in a library that both import");
            if !found.contains(&diagnostic) {
                found.push(diagnostic);
            }
        }
    }
    if !heard.is_empty() {
        return;
    }
    match others.first() {
        Some(other) => found.push(never_hears(pipeline, flow, event, other, "emits", places)),
        None if all.len() > 1 => {
            let message = format!("no other loaded pipeline emits `{event}`, so nothing starts the flow `{}` with it", flow.name);
            let known = all.iter().flat_map(|(_, emits)| emits).map(|emitted| emitted.as_str());
            let help = match closest(event.as_str(), known) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "name the file of the pipeline that emits it too; for this pipeline's own events write mode: direct".to_owned(),
            };
            found.push(Diagnostic::warning(codes::NOBODY_EMITS, here(), message).with_help(help));
        }
        None => {}
    }
}

/// Events that a run listens for and that only others declare: one of them has to let them out.
fn listening(pipeline: &Pipeline, flow: &Flow, all: &[(&Pipeline, BTreeSet<&EventType>)], places: Places<'_>, found: &mut Vec<Diagnostic>) {
    let events: BTreeSet<&EventType> = listens(flow).flat_map(|listen| &listen.types).collect();
    for event in events.into_iter().filter(|event| !pipeline.events.contains_key(*event)) {
        let mut declaring = all.iter().map(|(other, _)| *other).filter(|other| other.events.contains_key(event));
        let Some(first) = declaring.next() else { continue };
        if !std::iter::once(first).chain(declaring).any(|other| reaches(other, event, pipeline)) {
            found.push(never_hears(pipeline, flow, event, first, "declares", places));
        }
    }
}

/// What a flow's runs listen for.
fn listens(flow: &Flow) -> impl Iterator<Item = &Listen> {
    let waits = flow.steps.iter().filter_map(|step| match &step.verb {
        Verb::Wait(wait) => Some(&wait.listen),
        _ => None,
    });
    waits.chain(&flow.cancel_on)
}

fn never_hears(pipeline: &Pipeline, flow: &Flow, event: &EventType, other: &Pipeline, does: &str, places: Places<'_>) -> Diagnostic {
    let message = format!("the flow `{}` never hears `{event}`: `{}` {does} it and does not export it", flow.name, pipeline_name(other));
    Diagnostic::error(codes::NOT_EXPORTED, places(pipeline, Named::Heard, event), message)
        .with_related(places(other, Named::Declared, event), "it is declared here")
        .with_help(format!("write bus: {{ exports: [{event}] }} in the file of `{}`", pipeline_name(other)))
}

fn pipeline_name(pipeline: &Pipeline) -> &str {
    pipeline.name.as_str()
}

/// Exports that no other loaded pipeline hears.
fn unheard(pipeline: &Pipeline, all: &[(&Pipeline, BTreeSet<&EventType>)], places: Places<'_>, found: &mut Vec<Diagnostic>) {
    for event in &pipeline.exports {
        let hears = |flow: &Flow| observed(flow).any(|heard| heard == event) || listens(flow).any(|listen| listen.types.contains(event));
        if all.iter().any(|(other, _)| other.name != pipeline.name && other.flows.iter().any(|flow| hears(flow))) {
            continue;
        }
        let message = format!("no loaded pipeline hears `{event}`, which `{}` exports", pipeline.name);
        let help = "take it out of `exports`, or name the file of whoever hears it too";
        found.push(Diagnostic::warning(codes::UNHEARD, places(pipeline, Named::Exported, event), message).with_help(help));
    }
}

/// So many circles are told at once.
const MOST_CIRCLES: usize = 16;

/// One flow of all, by the place of its pipeline and its own.
type FlowAt = (usize, usize);

/// What a flow does in any case, and what follows from it.
struct Step {
    to: FlowAt,
    by_call: bool,
}

/// Flows that start each other in a circle with no condition on the way.
fn cycles(all: &[(&Pipeline, BTreeSet<&EventType>)], found: &mut Vec<Diagnostic>) {
    let mut hearers: BTreeMap<&EventType, Vec<(FlowAt, EventMode)>> = BTreeMap::new();
    let mut by_name: BTreeMap<(&str, &str), FlowAt> = BTreeMap::new();
    for (number, (pipeline, _)) in all.iter().enumerate() {
        for (at, flow) in pipeline.flows.iter().enumerate() {
            by_name.insert((pipeline.name.as_str(), flow.name.as_str()), (number, at));
            for trigger in &flow.triggers {
                if let Trigger::Event { types, mode } = trigger {
                    types.iter().for_each(|event| hearers.entry(event).or_default().push(((number, at), *mode)));
                }
            }
        }
    }
    let mut next: BTreeMap<FlowAt, Vec<Step>> = BTreeMap::new();
    for (number, (pipeline, _)) in all.iter().enumerate() {
        for (at, flow) in pipeline.flows.iter().enumerate() {
            let mut steps = Vec::new();
            for does in certain(flow) {
                match does {
                    Does::Call(pipeline, flow) => {
                        steps.extend(by_name.get(&(pipeline, flow)).map(|to| Step { to: *to, by_call: true }));
                    }
                    Does::Emit(event) => {
                        for (to, mode) in hearers.get(event).into_iter().flatten() {
                            let other = all.get(to.0).map(|(other, _)| *other);
                            let comes = match mode {
                                EventMode::Direct => to.0 == number,
                                EventMode::Observe => to.0 != number && other.is_some_and(|other| reaches(pipeline, event, other)),
                            };
                            steps.extend(comes.then_some(Step { to: *to, by_call: false }));
                        }
                    }
                }
            }
            next.insert((number, at), steps);
        }
    }
    strip(&mut next);
    for _ in 0..MOST_CIRCLES {
        let Some((begin, _)) = next.first_key_value() else { return };
        let circle = walk(&next, *begin);
        tell(all, &next, &circle, found);
        circle.iter().for_each(|at| drop(next.remove(at)));
        strip(&mut next);
    }
}

/// Takes away what leads into no circle.
fn strip(next: &mut BTreeMap<FlowAt, Vec<Step>>) {
    let known: BTreeSet<FlowAt> = next.keys().copied().collect();
    next.values_mut().for_each(|steps| steps.retain(|step| known.contains(&step.to)));
    let mut before: BTreeMap<FlowAt, Vec<FlowAt>> = BTreeMap::new();
    let mut left: BTreeMap<FlowAt, usize> = BTreeMap::new();
    for (from, steps) in &*next {
        left.insert(*from, steps.len());
        steps.iter().for_each(|step| before.entry(step.to).or_default().push(*from));
    }
    let mut ends: Vec<FlowAt> = left.iter().filter(|(_, steps)| **steps == 0).map(|(at, _)| *at).collect();
    while let Some(end) = ends.pop() {
        next.remove(&end);
        for from in before.get(&end).into_iter().flatten() {
            if let Some(steps) = left.get_mut(from) {
                *steps = steps.saturating_sub(1);
                if *steps == 0 {
                    ends.push(*from);
                }
            }
        }
    }
    let known: BTreeSet<FlowAt> = next.keys().copied().collect();
    next.values_mut().for_each(|steps| steps.retain(|step| known.contains(&step.to)));
}

/// A circle that is reached from a flow; each flow that is left has a next one.
fn walk(next: &BTreeMap<FlowAt, Vec<Step>>, begin: FlowAt) -> Vec<FlowAt> {
    let mut way = vec![begin];
    let mut seen = BTreeMap::from([(begin, 0)]);
    while let Some(step) = way.last().and_then(|at| next.get(at)?.first()) {
        if let Some(from) = seen.insert(step.to, way.len()) {
            return way.split_off(from);
        }
        way.push(step.to);
    }
    way
}

fn tell(all: &[(&Pipeline, BTreeSet<&EventType>)], next: &BTreeMap<FlowAt, Vec<Step>>, circle: &[FlowAt], found: &mut Vec<Diagnostic>) {
    let flow = |at: &FlowAt| all.get(at.0).and_then(|(pipeline, _)| Some((*pipeline, pipeline.flows.get(at.1)?)));
    let shown: Vec<String> =
        circle.iter().chain(circle.first()).filter_map(flow).map(|(pipeline, flow)| format!("{}.{}", pipeline.name, flow.name)).collect();
    let Some((_, first)) = circle.first().and_then(flow) else { return };
    let calls_only = circle.iter().all(|at| next.get(at).and_then(|steps| steps.first()).is_some_and(|step| step.by_call));
    let way = shown.join(" → ");
    found.push(if calls_only {
        let message = format!("these flows call each other for ever: {way}");
        Diagnostic::error(codes::CALL_CIRCLE, first.place.clone(), message)
            .with_help("put a `when` beside one of the calls, or a `switch` round it")
    } else {
        let message = format!("nothing ever ends this circle but the loop guard: {way}");
        Diagnostic::warning(codes::CIRCLE, first.place.clone(), message)
            .with_help("put a `when` beside one of the emitting steps, or a `fail` with a `when` before it")
    });
}

/// What a flow does in every run that succeeds.
enum Does<'f> {
    Emit(&'f EventType),
    Call(&'f str, &'f str),
}

fn certain(flow: &Flow) -> Vec<Does<'_>> {
    let body = Body { steps: &flow.steps, blocks: &flow.blocks };
    let mut does = Vec::new();
    let mut waiting = VecDeque::from([BlockNumber(0)]);
    while let Some(block) = waiting.pop_front() {
        for step in body.block(block) {
            if step.when.is_some() {
                // A condition that may end the run guards all that comes after it.
                if matches!(step.verb, Verb::Fail(_)) {
                    break;
                }
                continue;
            }
            match &step.verb {
                Verb::Emit(events) => does.extend(events.iter().map(|(event, _)| Does::Emit(event))),
                Verb::Run(run) => {
                    does.extend(run.emits.iter().map(Does::Emit));
                    if let Worker::Flow { pipeline, flow } = &run.worker {
                        does.push(Does::Call(pipeline.as_str(), flow.as_str()));
                    }
                }
                Verb::Parallel(_) => waiting.extend(inside(step)),
                // Who answers decides how it goes on.
                Verb::Wait(_) => break,
                _ => {}
            }
        }
    }
    does
}
