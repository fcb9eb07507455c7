//! Which step of one revision of a flow is which of another: by their ids, and by the places of the steps round about them.

use std::collections::HashMap;

use crate::model::executor::Home;
use crate::model::record::{Beginning, BlockNumber, Fact, LaneId, LanePurpose, Part, StepNumber};
use crate::plan::pipeline::{Flow, OnError, Pipeline, StandIn, Step, Verb, Worker};

/// The numbers of steps, blocks and branches of one revision of a flow in another one.
pub(super) struct Renumbering {
    /// By the old number.
    steps: Vec<Option<StepNumber>>,
    /// By the old number.
    blocks: Vec<Option<BlockNumber>>,
    /// The places of a `parallel`'s branches, by its old number and their old place.
    branches: HashMap<(StepNumber, u32), u32>,
}

impl Renumbering {
    /// Walks both flows from their outermost blocks inwards.
    pub(super) fn between(old: &Flow, new: &Flow) -> Self {
        let mut numbers = Self { steps: vec![None; old.steps.len()], blocks: vec![None; old.blocks.len()], branches: HashMap::new() };
        let both = |one: Option<BlockNumber>, other: Option<BlockNumber>| one.zip(other);
        let outermost = [Some((BlockNumber(0), BlockNumber(0))), both(old.on_error, new.on_error), both(old.finally, new.finally)];
        let mut pairs: Vec<(BlockNumber, BlockNumber)> = outermost.into_iter().flatten().collect();
        while let Some((one, other)) = pairs.pop() {
            numbers.match_block((old, one), (new, other), &mut pairs);
        }
        numbers
    }

    /// The number of a step.
    pub(super) fn step(&self, old: StepNumber) -> Option<StepNumber> {
        self.steps.get(old.0 as usize).copied().flatten()
    }

    /// The number of a block.
    pub(super) fn block(&self, old: BlockNumber) -> Option<BlockNumber> {
        self.blocks.get(old.0 as usize).copied().flatten()
    }

    fn match_block(&mut self, one: (&Flow, BlockNumber), other: (&Flow, BlockNumber), pairs: &mut Vec<(BlockNumber, BlockNumber)>) {
        let ((old, one), (new, other)) = (one, other);
        let steps = |flow: &Flow, block: BlockNumber| flow.blocks.get(block.0 as usize).cloned().unwrap_or_default();
        let Some(block) = self.blocks.get_mut(one.0 as usize) else { return };
        *block = Some(other);
        let candidates = steps(new, other);
        // One that has no id goes by its verb, and by how many of that kind stand before it.
        let mut nameless: HashMap<&str, usize> = HashMap::new();
        for number in steps(old, one) {
            let Some(step) = old.steps.get(number.0 as usize) else { continue };
            let mut same = candidates.iter().filter_map(|number| new.steps.get(number.0 as usize));
            let found = if is_nameless(step) {
                let before = nameless.entry(step.verb.key()).or_default();
                *before += 1;
                same.filter(|other| is_nameless(other) && other.verb.key() == step.verb.key()).nth(*before - 1)
            } else {
                same.find(|other| other.id == step.id)
            };
            let Some(found) = found else { continue };
            if let Some(known) = self.steps.get_mut(number.0 as usize) {
                *known = Some(found.number);
            }
            self.match_inside(step, found, pairs);
        }
    }

    /// The blocks of two steps that are one.
    fn match_inside(&mut self, old: &Step, new: &Step, pairs: &mut Vec<(BlockNumber, BlockNumber)>) {
        if let (Some(OnError::Steps(one)), Some(OnError::Steps(other))) = (old.on_error, new.on_error) {
            pairs.push((one, other));
        }
        match (&old.verb, &new.verb) {
            (Verb::Run(one), Verb::Run(other)) => {
                pairs.extend(one.undo.zip(other.undo).map(|(one, other)| (one.block, other.block)));
                let stand_in = |run: &crate::plan::pipeline::RunStep| match run.policy.fallback.as_ref().map(|fallback| &fallback.stand_in)
                {
                    Some(StandIn::Steps(block)) => Some(*block),
                    _ => None,
                };
                pairs.extend(stand_in(one).zip(stand_in(other)));
            }
            (Verb::Dispatch(one), Verb::Dispatch(other)) => pairs.push((*one, *other)),
            (Verb::Wait(one), Verb::Wait(other)) => {
                pairs.push((one.on_timeout, other.on_timeout));
                pairs.extend(one.remind.as_ref().zip(other.remind.as_ref()).map(|(one, other)| (one.block, other.block)));
            }
            (Verb::Switch(ones), Verb::Switch(others)) => {
                pairs.extend(ones.iter().zip(others).map(|(one, other)| (one.block, other.block)));
            }
            (Verb::Parallel(one), Verb::Parallel(other)) => {
                for (place, (name, block)) in one.branches.iter().enumerate() {
                    let Some(now) = other.branches.iter().position(|(other, _)| other == name) else { continue };
                    let place_of = |place: usize| u32::try_from(place).unwrap_or(u32::MAX);
                    self.branches.insert((old.number, place_of(place)), place_of(now));
                    pairs.extend(other.branches.get(now).map(|(_, other)| (*block, *other)));
                }
            }
            (Verb::Each(one), Verb::Each(other)) => pairs.push((one.block, other.block)),
            _ => {}
        }
    }

    /// A history in the new numbers.
    ///
    /// # Errors
    /// A step that has no number there.
    pub(super) fn translate(&self, began: Beginning, facts: &[Fact]) -> Result<Vec<Fact>, StepNumber> {
        let part = began.part.as_deref().map(|part| self.part(part).map(Into::into)).transpose()?;
        let began = Fact::Began(Beginning { part, ..began }.into());
        let rest = facts.iter().skip(1).filter_map(|fact| self.fact(fact).transpose());
        std::iter::once(Ok(began)).chain(rest).collect()
    }

    fn part(&self, part: &Part) -> Result<Part, StepNumber> {
        let output = |(step, output): &(StepNumber, crate::model::value::Value)| Ok((self.known(*step)?, output.clone()));
        Ok(Part {
            block: self.block(part.block).ok_or(StepNumber(0))?,
            outputs: part.outputs.iter().map(output).collect::<Result<_, _>>()?,
            ..part.clone()
        })
    }

    fn known(&self, step: StepNumber) -> Result<StepNumber, StepNumber> {
        self.step(step).ok_or(step)
    }

    fn purpose(&self, purpose: LanePurpose, parent: Option<(LaneId, StepNumber)>) -> Result<LanePurpose, StepNumber> {
        match (purpose, parent) {
            (LanePurpose::Branch(place), Some((_, step))) => {
                self.branches.get(&(step, place)).map(|place| LanePurpose::Branch(*place)).ok_or(step)
            }
            _ => Ok(purpose),
        }
    }

    /// A fact in the new numbers; `None` is one that says nothing there.
    fn fact(&self, fact: &Fact) -> Result<Option<Fact>, StepNumber> {
        let mut fact = fact.clone();
        match &mut fact {
            Fact::LaneOpened { purpose, block, parent, .. } => {
                *purpose = self.purpose(*purpose, *parent)?;
                *block = self.block(*block).ok_or_else(|| parent.map_or(StepNumber(0), |(_, step)| step))?;
                if let Some((_, step)) = parent {
                    *step = self.known(*step)?;
                }
            }
            // Of a wait that is over nothing follows any more.
            Fact::AnswerRefused { step, .. } => match self.step(*step) {
                Some(now) => *step = now,
                None => return Ok(None),
            },
            Fact::Dispatched { step, part, .. } => {
                *step = self.known(*step)?;
                *part = self.part(part)?.into();
            }
            Fact::StepSkipped { step, .. }
            | Fact::StepDone { step, .. }
            | Fact::StepFailed { step, .. }
            | Fact::StepHealed { step, .. }
            | Fact::HealFailed { step, .. }
            | Fact::JobDispatched { step, .. }
            | Fact::Emitted { step, .. }
            | Fact::ItemsTaken { step, .. }
            | Fact::SleepBegan { step, .. }
            | Fact::WaitBegan { step, .. }
            | Fact::Reminded { step, .. }
            | Fact::WaitEnded { step, .. }
            | Fact::UndoPlanned { step, .. }
            | Fact::UndoImpossible { step, .. }
            | Fact::UndoDropped { step, .. } => *step = self.known(*step)?,
            Fact::Queued(_)
            | Fact::Began(_)
            | Fact::JobJoined { .. }
            | Fact::AttemptStarted { .. }
            | Fact::Retrying { .. }
            | Fact::FallbackBegan { .. }
            | Fact::JobEnded { .. }
            | Fact::LaneEnded { .. }
            | Fact::Replied { .. }
            | Fact::Unwinding { .. }
            | Fact::Ended { .. }
            | Fact::Resumed { .. }
            | Fact::Migrated { .. } => {}
        }
        Ok(Some(fact))
    }
}

/// Whether nobody gave it an id.
fn is_nameless(step: &Step) -> bool {
    step.id.as_str().starts_with('#')
}

/// A step as its author knows it.
pub(super) fn named(step: &Step) -> String {
    match is_nameless(step) {
        true => format!("the `{}` on line {}", step.verb.key(), step.place.line),
        false => format!("`{}`", step.id),
    }
}

/// Who does a step's work, by name and kind.
pub(super) fn work(pipeline: &Pipeline, worker: &Worker) -> String {
    match worker {
        Worker::Flow { pipeline, flow } => format!("the flow {pipeline}.{flow}"),
        Worker::Executor(number) => match pipeline.executors.get(*number).map(|declared| &declared.reference) {
            None => "nobody".to_owned(),
            Some(reference) => match &reference.home {
                Home::Wasm(_) => format!("the component `{}`", reference.name),
                Home::Rhai(_) | Home::Script { .. } => format!("the script `{}`", reference.name),
                Home::Builtin(name) => format!("the built-in {name}"),
            },
        },
    }
}
