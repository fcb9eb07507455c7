//! A run that goes on before what it has decided is kept, as long as nothing that it does then outlasts a crash.
//!
//! A script that only computes leaves nothing behind: if the host dies, it is as if it had never begun, and the run goes on from what is recorded. So
//! the next attempt of such a one need not wait for the record of the last one: what is decided is gathered, and given to the store as one batch when
//! the run has to wait for something or comes to its end. A chain of small scripts waits for the disk once. Everything that anybody else could notice
//! waits for all of it: facts are told, events published, callers answered, and other executors called only after each fact before them is kept.
//! Progress and log lines are no facts: who hears them hears them again after a crash, here as elsewhere.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::Driver;
use super::giving::{Changes, Decided, Given, Next};
use crate::engine::gate::handles_progress;
use crate::engine::run::{Command, Input};
use crate::model::happening::What;
use crate::model::id::JobId;
use crate::model::record::Fact;
use crate::plan::pipeline::{Verb, Worker};

/// So many decisions of a run wait at most to be given to the store: so much is done again at most if the host dies.
const MOST: usize = 16;

/// So many facts a chain of a few small steps comes to: there is room for them from the beginning.
pub(super) const USUAL_FACTS: usize = 16;

/// What was decided and is not given to the store yet.
#[derive(Default)]
pub(super) struct Gathered {
    /// How many facts the run had before.
    first: u64,
    /// What is decided next comes behind them.
    pub(super) facts: Vec<Fact>,
    decisions: Vec<Decision>,
}

/// One decision of several whose facts stand in one batch.
pub(super) struct Decision {
    /// What was decided on.
    pub(super) on: Next,
    /// How many facts of the batch stand before its own.
    pub(super) from: usize,
    /// What is told once they are kept.
    pub(super) told: Vec<What>,
}

impl Gathered {
    pub(super) const fn is_empty(&self) -> bool {
        self.decisions.is_empty()
    }

    /// How many facts the run had before all of this and a last decision, before which alone it had so many; and the decisions before that.
    pub(super) fn before(self, first: u64) -> (u64, Vec<Decision>) {
        let first = if self.is_empty() { first } else { self.first };
        (first, self.decisions)
    }
}

impl Driver {
    /// Whether all that follows from these facts are attempts that leave nothing behind.
    pub(super) fn may_go_ahead(&self, facts: &[Fact], commands: &[Command]) -> bool {
        let plain = |fact: &Fact| match fact {
            Fact::JobEnded { events, .. } => events.is_empty(),
            Fact::Began(_) | Fact::LaneOpened { .. } | Fact::JobDispatched { .. } | Fact::AttemptStarted { .. } => true,
            Fact::StepDone { .. } | Fact::StepSkipped { .. } => true,
            _ => false,
        };
        !commands.is_empty()
            && self.gathered.decisions.len() < MOST
            && !self.one_by_one
            && !self.meets
            && self.claims.is_empty()
            && self.promised.is_empty()
            && self.outboxed.is_empty()
            && self.taken_up.is_none()
            && facts.iter().all(plain)
            && commands.iter().all(|command| matches!(command, Command::Attempt { job } if self.leaves_nothing_behind(*job)))
    }

    fn leaves_nothing_behind(&self, job: JobId) -> bool {
        let Some(active) = self.state.job(job) else { return false };
        let Verb::Run(step) = &self.state.flow().step(active.step).verb else { return false };
        let Worker::Executor(number) = step.worker else { return false };
        // What is promised or made of progress is seen by other runs.
        let is_noticed = !step.optimistic.is_empty() || handles_progress(step);
        !is_noticed && self.installed.bound.executors.get(number).is_some_and(|executor| executor.only_computes())
    }

    /// Goes on without these facts being kept. They have been noted.
    pub(super) fn gather(&mut self, on: Next, first: u64, decided: Decided) {
        let told = match self.tells_of(decided.own()) {
            true => decided.own().iter().filter_map(|fact| self.told(fact)).map(|told| *told).collect(),
            false => Vec::new(),
        };
        for fact in decided.own() {
            if let Fact::JobEnded { job, .. } = fact {
                self.labels.forget(*job);
            }
        }
        if self.gathered.is_empty() {
            self.gathered.first = first;
        }
        self.gathered.decisions.push(Decision { on, from: decided.own, told });
        self.gathered.facts = decided.facts;
        self.obey(decided.commands);
    }

    /// Gives to the store what was gathered.
    pub(super) fn give_gathered(&mut self) -> Box<Given> {
        let Gathered { first, facts, decisions: before } = std::mem::take(&mut self.gathered);
        let (own, facts) = (facts.len(), Arc::new(facts));
        let commit = self.commit(first, &facts, self.beside(&facts), &[]);
        Box::new(Given { first, facts, before, on: None, own, commands: Vec::new(), commit, changes: Changes::default() })
    }

    /// Goes on for as long as nothing has to be waited for, and gives all of it to the store.
    pub(super) fn compute(&mut self, context: &mut Context<'_>) -> Box<Given> {
        let mut sleep = None;
        loop {
            let input = match self.inputs.pop_front() {
                Some(input) => input,
                None => match self.poll_wait(context, &mut sleep) {
                    Poll::Ready(input) => input,
                    Poll::Pending => break,
                },
            };
            let next = Next::Input(input);
            if self.leaves(&next) {
                break;
            }
            if let Some(given) = self.give(next) {
                return given;
            }
        }
        self.give_gathered()
    }

    /// What has come already, without waiting for anything.
    pub(super) async fn at_once(&mut self) -> Option<Input> {
        let mut sleep = None;
        match poll_fn(|context| Poll::Ready(self.poll_wait(context, &mut sleep))).await {
            Poll::Ready(input) => Some(input),
            Poll::Pending => None,
        }
    }
}
