//! Branches of a `parallel` that set the same field of the state: which of them is the last is left to chance.

use std::collections::BTreeMap;

use crate::model::diagnostic::{Diagnostic, Place};
use crate::model::record::{BlockNumber, StepNumber};
use crate::plan::codes;
use crate::plan::pipeline::{OnError, StandIn, Step, Verb};
use crate::plan::raw::Findings;

/// The steps and blocks of a flow, as they are lowered.
#[derive(Clone, Copy)]
pub(in crate::plan) struct Body<'s> {
    /// By number.
    pub(in crate::plan) steps: &'s [Step],
    /// By number.
    pub(in crate::plan) blocks: &'s [Vec<StepNumber>],
}

impl<'s> Body<'s> {
    /// The steps of a block.
    pub(in crate::plan) fn block(self, block: BlockNumber) -> impl Iterator<Item = &'s Step> {
        let numbers = self.blocks.get(block.0 as usize).map(Vec::as_slice).unwrap_or_default();
        numbers.iter().filter_map(move |number| self.steps.get(number.0 as usize))
    }
}

/// Warns of every field that two branches set.
pub(in crate::plan) fn check(findings: &Findings<'_>, body: Body<'_>) {
    for step in body.steps {
        let Verb::Parallel(parallel) = &step.verb else { continue };
        let mut first: BTreeMap<&str, (&str, &Place)> = BTreeMap::new();
        for (branch, block) in &parallel.branches {
            let mut set = BTreeMap::new();
            collect(body, *block, &mut set);
            for (field, place) in set {
                match first.get(field) {
                    None => {
                        first.insert(field, (branch, place));
                    }
                    Some((other, before)) => {
                        let message = format!("the branches `{other}` and `{branch}` both set `{field}`: either may be the last");
                        let diagnostic = Diagnostic::warning(codes::SAME_FIELD, place.clone(), message)
                            .with_related((*before).clone(), "the other one is here");
                        findings.add(diagnostic, "set it after the `parallel`, or let each branch have a field of its own");
                    }
                }
            }
        }
    }
}

/// The fields that the steps of a block set, and where; those inside them too.
fn collect<'s>(body: Body<'s>, block: BlockNumber, set: &mut BTreeMap<&'s str, &'s Place>) {
    for step in body.block(block) {
        let mut note = |fields: &'s [(String, crate::plan::template::Template)]| {
            for (field, _) in fields {
                set.entry(field).or_insert(&step.place);
            }
        };
        match &step.verb {
            Verb::Set(fields) => note(fields),
            Verb::Run(run) => {
                note(&run.optimistic);
                run.on_progress.iter().for_each(|fields| note(fields));
            }
            _ => {}
        }
        for block in inside(step) {
            collect(body, block, set);
        }
    }
}

/// The blocks inside a step that are done in its time: all but an undo and what is dispatched.
pub(in crate::plan) fn inside(step: &Step) -> Vec<BlockNumber> {
    let mut blocks = match &step.verb {
        Verb::Switch(cases) => cases.iter().map(|case| case.block).collect(),
        Verb::Parallel(parallel) => parallel.branches.iter().map(|(_, block)| *block).collect(),
        Verb::Each(each) => vec![each.block],
        Verb::Wait(wait) => std::iter::once(wait.on_timeout).chain(wait.remind.as_ref().map(|remind| remind.block)).collect(),
        Verb::Run(run) => match run.policy.fallback.as_ref().map(|fallback| &fallback.stand_in) {
            Some(StandIn::Steps(block)) => vec![*block],
            _ => Vec::new(),
        },
        _ => Vec::new(),
    };
    if let Some(OnError::Steps(block)) = step.on_error {
        blocks.push(block);
    }
    blocks
}
