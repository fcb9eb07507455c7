//! What the facts of a run that has not ended amount to: whether it works, waits at the door, or cannot go on.

use std::collections::HashMap;
use std::sync::Arc;

use crate::engine::control::Control;
use crate::engine::installed::Installed;
use crate::engine::run::{JobPhase, RunState, unfolded};
use crate::engine::shared::Shared;
use crate::engine::waits::{Closing, Place, keys};
use crate::model::id::{Digest, JobId, RunId};
use crate::model::port::StoreError;
use crate::model::record::{Beginning, Fact, StepNumber, beginning_of, end_of};
use crate::model::time::Timestamp;
use crate::model::value::Value;
use crate::plan::pipeline::{Flow, Verb};

use super::stalled::Reason;

/// So many attempts of a job may be cut off in a row by the end of the host: one more would hardly be the first that is not, and whatever it is that ends
/// the host would end it for all other runs again and again.
const CUT_OFF: usize = 25;

/// A run that goes on.
pub struct Revived {
    /// What it is pinned to.
    pub installed: Arc<Installed>,
    /// Its flow.
    pub flow: Arc<Flow>,
    /// The fold of its facts.
    pub state: RunState,
    /// Its facts.
    pub facts: Vec<Fact>,
    /// By which others reach it.
    pub control: Arc<Control>,
}

/// A run that waits at the door.
pub struct Waiting {
    /// What it is pinned to.
    pub installed: Arc<Installed>,
    /// Its flow.
    pub flow: Arc<Flow>,
    /// How it was admitted.
    pub beginning: Arc<Beginning>,
}

/// What a run was found to be.
pub(super) enum Found {
    /// It has ended, is under way already, or is not known.
    Nothing,
    /// It goes on.
    Working(Box<Revived>),
    /// It waits at the door.
    Queued(Waiting),
    /// It belongs to a revision that is not in force and was not made again yet.
    Elsewhere(Reason),
    /// It cannot go on.
    Stalled(Reason),
}

impl Revived {
    pub(super) fn beginning(&self) -> &Arc<Beginning> {
        self.state.beginning()
    }

    pub(super) fn run(&self) -> RunId {
        self.beginning().run
    }

    /// Whether it has to wait until all others are known: it was called, has called, or works on what others may have asked for too.
    pub(super) fn depends(&self) -> bool {
        let beginning = self.beginning();
        let is_called = beginning.parent.is_some() && beginning.part.is_none();
        let is_shared = |step: StepNumber| match &self.state.flow().step(step).verb {
            Verb::Run(run) => run.policy.dedup.is_some() || run.policy.cache.is_some(),
            _ => false,
        };
        is_called || self.state.jobs().any(|active| !matches!(active.phase, JobPhase::BackOff(_)) || is_shared(active.step))
    }

    /// Whether it only waits for an event or a time.
    pub(super) fn only_waits(&self) -> bool {
        self.state.jobs().next().is_none() && self.state.may_rest()
    }

    /// Whether it does something as soon as it goes on.
    pub(super) fn acts_at_once(&self, now: Timestamp) -> bool {
        let is_busy = self.state.jobs().any(|active| !matches!(active.phase, JobPhase::BackOff(_)));
        is_busy || !(self.only_waits() || self.state.jobs().next().is_some()) || self.state.next_due().is_some_and(|due| due <= now)
    }

    /// Whether a job of it was cut off so often that it is taken for what ends the host.
    pub(super) fn is_cut_off(&self) -> bool {
        self.cut_off() > CUT_OFF
    }

    /// How many attempts of a job of it were cut off in a row: of the one of which most were.
    pub(super) fn cut_off(&self) -> usize {
        let mut cut_off: HashMap<JobId, usize> = HashMap::new();
        for fact in &self.facts {
            match fact {
                Fact::AttemptStarted { job, .. } => *cut_off.entry(*job).or_default() += 1,
                Fact::Retrying { job, .. } => drop(cut_off.remove(job)),
                _ => {}
            }
        }
        self.state.jobs().filter_map(|active| cut_off.get(&active.job.id)).max().copied().unwrap_or_default()
    }

    /// When it last began an attempt; never is before any time.
    pub(super) fn attempted(&self) -> Option<Timestamp> {
        self.facts.iter().rev().find_map(|fact| match fact {
            Fact::AttemptStarted { at, .. } => Some(*at),
            _ => None,
        })
    }

    /// The reply that it has given.
    pub(super) fn reply(&self) -> Option<Value> {
        self.facts.iter().find_map(|fact| match fact {
            Fact::Replied { reply } => Some(reply.clone()),
            _ => None,
        })
    }
}

impl Shared {
    /// What a run is, by its facts.
    pub(super) fn classify(&self, run: RunId, facts: Result<Vec<Fact>, StoreError>) -> Found {
        if self.is_live(run) {
            return Found::Nothing;
        }
        let (facts, count) = match facts {
            Ok(facts) => unfolded(facts),
            Err(error) => return Found::Stalled(Reason::Unreadable(error.to_string())),
        };
        let Some(beginning) = beginning_of(&facts).map(Arc::clone) else { return Found::Nothing };
        let (installed, flow) = match self.pinned(&beginning) {
            Ok(pinned) => pinned,
            Err(reason) => return Found::Elsewhere(reason),
        };
        if end_of(&facts).is_some() {
            return Found::Nothing;
        }
        let has_state = !installed.bound.pipeline.state.initial.is_empty();
        if has_state && let Some(failure) = self.states.why_unreadable(&beginning.pipeline, beginning.state_key.as_deref()) {
            return Found::Stalled(Reason::no_state(&beginning, failure.into_particulars().message));
        }
        match facts.last() {
            None => return Found::Nothing,
            Some(Fact::Queued(_)) => return Found::Queued(Waiting { installed, flow, beginning }),
            Some(_) => {}
        }
        match RunState::fold(&installed.bound.pipeline, &flow, &facts) {
            Some(state) => {
                let state = state.counting(count);
                let revived = Revived { installed, flow, state, facts, control: Arc::new(Control::default()) };
                self.remember_waits(&revived);
                Found::Working(Box::new(revived))
            }
            None => Found::Stalled(Reason::Unreadable("its facts do not begin with its beginning".to_owned())),
        }
    }

    fn remember_waits(&self, revived: &Revived) {
        if !revived.installed.meets(&revived.flow.name) {
            return;
        }
        let run = revived.run();
        self.waits.begin_at(run, &revived.installed.bound.pipeline, revived.beginning().at);
        let mut began: HashMap<_, &Vec<(String, Value)>> = HashMap::new();
        for fact in &revived.facts {
            match fact {
                Fact::WaitBegan { lane, step, matching, .. } => drop(began.insert((*lane, *step), matching)),
                Fact::AnswerRefused { event, .. } => self.waits.used(run, event),
                Fact::WaitEnded { lane, step, event, at } => {
                    let closing = event.as_ref().map_or(Closing::GivenUp, |event| Closing::Took(event.id));
                    if let Some(event) = event {
                        self.waits.used(run, event);
                    }
                    let keys = began.get(&(*lane, *step)).and_then(|matching| wait_keys(&revived.flow, *step, matching));
                    let place = Place { run, lane: *lane, step: *step };
                    // What is forgotten for it is not kept either: it is read from these facts each time.
                    drop(self.waits.close(place, &keys.unwrap_or_default(), closing, *at));
                }
                _ => {}
            }
        }
    }
}

fn wait_keys(flow: &Flow, step: StepNumber, matching: &[(String, Value)]) -> Option<Vec<Digest>> {
    let Verb::Wait(wait) = &flow.step(step).verb else { return None };
    keys(&wait.listen.types, matching).ok()
}
