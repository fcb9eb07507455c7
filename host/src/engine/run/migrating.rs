//! A run that goes over to another revision of its pipeline: whether it can, and its history in the numbers of that revision. Pure.
//!
//! What is done stays done: each finished step has to be there still, at the same place, with an output that fits. What is open has to be
//! there as it is. Whatever comes later may be anything.

mod history;
mod matching;

use std::sync::Arc;

use crate::model::activation::RunOutcome;
use crate::model::job::JobOutcome;
use crate::model::record::{Beginning, Fact, LaneId, StepNumber};
use crate::model::types::Origin;
use crate::model::value::Value;
use crate::plan::pipeline::{Flow, Pipeline, RunStep, Step, Verb};

use super::state::RunState;
use matching::{Renumbering, named, work};

pub use history::unfolded;

/// What comes of looking at a run.
#[derive(Clone, PartialEq, Debug)]
pub enum Migration {
    /// It belongs to that revision.
    Already,
    /// It can: its history as [`Fact::Migrated`] holds it.
    Possible(Vec<Fact>),
    /// It cannot: everything that hinders it, for people, with the names of steps.
    Hindered(Vec<String>),
}

/// Looks at a run of an older revision. `facts` are its history in the numbers of that revision, as [`unfolded`] gives it.
pub fn migrate(old: &Arc<Pipeline>, facts: &[Fact], new: &Arc<Pipeline>) -> Migration {
    let begun = facts.iter().position(|fact| matches!(fact, Fact::Began(_))).and_then(|begun| facts.get(begun..));
    let Some((facts, Some(Fact::Began(beginning)))) = begun.map(|facts| (facts, facts.first())) else {
        return Migration::Hindered(vec![
            "it waits for its place and has not begun; ask again when it has, or cancel it and start it anew".to_owned(),
        ]);
    };
    if beginning.revision == new.revision {
        return Migration::Already;
    }
    let Some(state) = folded(old, facts) else {
        return Migration::Hindered(vec!["its history is not one of the revision that it belongs to".to_owned()]);
    };
    // A parked one may still have what it owes undone by a better `undo`.
    if state.ended().is_some_and(|outcome| !matches!(outcome, RunOutcome::Parked { .. })) {
        return Migration::Hindered(vec!["it has ended".to_owned()]);
    }
    let Some(flow) = new.flows.iter().find(|flow| flow.name == beginning.flow) else {
        return Migration::Hindered(vec![format!("there is no flow `{}` any more", beginning.flow)]);
    };
    let numbers = Renumbering::between(state.shared_flow(), flow);
    let mut look = Look { state: &state, old, new, flow, numbers: &numbers, found: Vec::new() };
    let input = look.input(beginning);
    look.done(facts);
    look.open();
    look.undoable();
    look.part(beginning);
    let found = look.found;
    let Some(input) = input.filter(|_| found.is_empty()) else { return Migration::Hindered(found) };
    let began = Beginning { revision: new.revision, input, ..(**beginning).clone() };
    match numbers.translate(began, facts) {
        Ok(facts) => Migration::Possible(facts),
        Err(step) => Migration::Hindered(vec![gone(state.flow().step(step))]),
    }
}

fn folded(pipeline: &Arc<Pipeline>, facts: &[Fact]) -> Option<RunState> {
    let Some(Fact::Began(beginning)) = facts.first() else { return None };
    let flow = pipeline.flows.iter().find(|flow| flow.name == beginning.flow)?;
    RunState::fold(pipeline, flow, facts)
}

fn gone(step: &Step) -> String {
    format!("{} is done, and is not there any more", named(step))
}

struct Look<'a> {
    state: &'a RunState,
    old: &'a Pipeline,
    new: &'a Pipeline,
    flow: &'a Flow,
    numbers: &'a Renumbering,
    found: Vec<String>,
}

impl Look<'_> {
    fn hinders(&mut self, why: String) {
        if !self.found.contains(&why) {
            self.found.push(why);
        }
    }

    fn old_step(&self, step: StepNumber) -> Option<&Step> {
        self.state.flow().steps.get(step.0 as usize)
    }

    fn new_step(&self, step: StepNumber) -> Option<&Step> {
        self.flow.steps.get(self.numbers.step(step)?.0 as usize)
    }

    /// The input as the flow declares it now.
    fn input(&mut self, beginning: &Beginning) -> Option<Value> {
        if !self.flow.durable {
            self.hinders("its flow is not durable any more".to_owned());
        }
        match self.flow.input.conform(&beginning.input, Origin::Data) {
            Ok(input) => Some(input),
            Err(mismatches) => {
                let mismatches: Vec<String> = mismatches.iter().map(ToString::to_string).collect();
                self.hinders(format!("its input is not what the flow takes now: {}", mismatches.join(", ")));
                None
            }
        }
    }

    /// The steps that are done.
    fn done(&mut self, facts: &[Fact]) {
        let mut dispatched: Vec<(crate::model::id::JobId, StepNumber)> = Vec::new();
        for fact in facts {
            match fact {
                Fact::JobDispatched { job, step, .. } => dispatched.push((*job, *step)),
                Fact::JobEnded { job, outcome: JobOutcome::Succeeded { output, .. }, .. } => {
                    if let Some((_, step)) = dispatched.iter().rev().find(|(known, _)| known == job) {
                        self.finished(*step, Some(output));
                    }
                }
                Fact::StepHealed { step, output, .. } => self.finished(*step, Some(output)),
                Fact::StepDone { step, .. } | Fact::StepSkipped { step, .. } => self.finished(*step, None),
                _ => {}
            }
        }
    }

    fn finished(&mut self, step: StepNumber, output: Option<&Value>) {
        let Some(old) = self.old_step(step) else { return };
        let why = match self.new_step(step) {
            None => Some(gone(old)),
            Some(new) => match (&old.verb, &new.verb) {
                (Verb::Run(was), Verb::Run(is)) => output.and_then(|output| self.misfit(old, (was, is), output)),
                (was, is) => (was.key() != is.key()).then(|| format!("{} was a `{}`, and is a `{}` now", named(old), was.key(), is.key())),
            },
        };
        why.into_iter().for_each(|why| self.hinders(why));
    }

    /// Why the output of a job that is done is not one that the step gives now.
    fn misfit(&self, step: &Step, (was, is): (&RunStep, &RunStep), output: &Value) -> Option<String> {
        let Some(wanted) = &is.output else {
            let (was, is) = (work(self.old, &was.worker), work(self.new, &is.worker));
            // What it gives nobody says: only who does the same work gives the same.
            return (was != is).then(|| format!("{} was done by {was}, and is now by {is}, which does not say what it gives", named(step)));
        };
        let mismatches = wanted.conform(output, Origin::Data).err()?;
        let mismatches: Vec<String> = mismatches.iter().map(ToString::to_string).collect();
        Some(format!("what {} gave is not what it gives now: {}", named(step), mismatches.join(", ")))
    }

    /// The lanes that are open: what is done in each stands first in its block, and what is under way follows.
    fn open(&mut self) {
        let lanes: Vec<(LaneId, bool)> = self.state.open_lanes().collect();
        for (id, is_under_way) in lanes {
            let Some(lane) = self.state.lane(id) else { continue };
            let old = self.state.flow().block(lane.block);
            let Some(new) = self.numbers.block(lane.block).and_then(|block| self.flow.blocks.get(block.0 as usize)) else {
                let inside = lane.parent.and_then(|(_, step)| self.old_step(step)).map_or_else(|| "the flow".to_owned(), named);
                self.hinders(format!("the steps that it does for {inside} are not there any more"));
                continue;
            };
            let position = lane.position;
            for (place, step) in old.iter().take(position + usize::from(is_under_way)).enumerate() {
                let Some(known) = self.old_step(*step) else { continue };
                match (self.numbers.step(*step), new.get(place)) {
                    (Some(now), Some(there)) if now == *there => {}
                    (Some(_), _) => {
                        let word = if place < position { "is done" } else { "is under way" };
                        self.hinders(format!("{} {word}, and stands at another place now", named(known)));
                        break;
                    }
                    (None, _) if place < position => self.hinders(gone(known)),
                    (None, _) => self.hinders(format!("{} is under way, and is not there any more", named(known))),
                }
            }
            if let Some(step) = old.get(position).filter(|_| is_under_way) {
                self.under_way(*step);
            }
        }
    }

    /// A step that has begun and is not done.
    fn under_way(&mut self, step: StepNumber) {
        let (Some(old), Some(new)) = (self.old_step(step), self.new_step(step)) else { return };
        let why = match (&old.verb, &new.verb) {
            (Verb::Wait(was), Verb::Wait(is)) => {
                let types = |listen: &crate::plan::pipeline::Listen| {
                    let mut types: Vec<String> = listen.types.iter().map(ToString::to_string).collect();
                    types.sort();
                    types
                };
                let fields = |listen: &crate::plan::pipeline::Listen| {
                    let mut fields: Vec<String> = listen.matching.iter().map(|(name, _)| name.clone()).collect();
                    fields.sort();
                    fields
                };
                let (before, now) = (types(&was.listen), types(&is.listen));
                let (matched, matches) = (fields(&was.listen), fields(&is.listen));
                if before != now {
                    Some(format!("{} waits for {}, and now would for {}", named(old), before.join(", "), now.join(", ")))
                } else {
                    (matched != matches)
                        .then(|| format!("{} matches {}, and now would {}", named(old), matched.join(", "), matches.join(", ")))
                }
            }
            (Verb::Run(was), Verb::Run(is)) => {
                let (was, is) = (work(self.old, &was.worker), work(self.new, &is.worker));
                (was != is).then(|| format!("{} is being done by {was}, and now would be by {is}", named(old)))
            }
            (was, is) => (was.key() != is.key()).then(|| format!("{} is a `{}`, and would be a `{}` now", named(old), was.key(), is.key())),
        };
        why.into_iter().for_each(|why| self.hinders(why));
    }

    /// What would be undone if the run did not succeed.
    fn undoable(&mut self) {
        let planned: Vec<StepNumber> = self.state.saga.planned().collect();
        for step in planned {
            let has_undo = self.new_step(step).is_some_and(|step| matches!(&step.verb, Verb::Run(run) if run.undo.is_some()));
            if let Some(old) = self.old_step(step).filter(|_| !has_undo) {
                self.hinders(format!("{} would be undone if the run fails, and has no `undo` any more", named(old)));
            }
        }
    }

    /// The one step of a run that was dispatched.
    fn part(&mut self, beginning: &Beginning) {
        if let Some(part) = &beginning.part
            && self.numbers.block(part.block).is_none()
        {
            self.hinders("the `dispatch` that it does is not there any more".to_owned());
        }
    }
}
