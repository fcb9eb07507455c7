//! A run that goes on before what it has decided is on the disk, as long as nothing that it does then outlasts a crash.
//!
//! A script that only computes leaves nothing behind: if the host dies, it is as if it had never begun, and the run goes on from what is recorded. So
//! the next attempt of such a one need not wait for the record of the last one. Everything that anybody else could notice waits for all of it: facts
//! are told, events published, callers answered, and other executors called only after each fact before them is kept. Progress and log lines are no
//! facts: who hears them hears them again after a crash, here as elsewhere.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use futures_util::FutureExt;

use super::giving::Given;
use super::{Driver, Refused};
use crate::engine::gate::handles_progress;
use crate::engine::run::{Command, Input};
use crate::model::happening::What;
use crate::model::id::JobId;
use crate::model::port::{Commit, StoreError};
use crate::model::record::Fact;
use crate::plan::pipeline::{Verb, Worker};
use crate::telemetry::failpoint;

/// So many batches of a run may be on their way to the disk at once.
const MOST: usize = 16;

/// Facts that are on their way to the disk while the run has gone on.
pub(super) struct Ahead {
    facts: Arc<Vec<Fact>>,
    commit: Commit,
    /// What is told once they are kept.
    told: Vec<What>,
}

impl Driver {
    /// Goes on without waiting until this is kept, if that may be. Otherwise gives it back, its commit perhaps already at its end.
    pub(super) fn go_ahead(&mut self, mut given: Given) -> Option<(Given, Option<Result<(), StoreError>>)> {
        if !self.may_go_ahead(&given) {
            return Some((given, None));
        }
        let Some(mut commit) = given.commit.take() else { return Some((given, None)) };
        // What the store does not take it mostly says at once.
        if let Some(kept) = (&mut commit).now_or_never() {
            return Some((given, Some(kept)));
        }
        self.take_note(&given.facts);
        let told = given.facts.iter().filter_map(|fact| self.follow_ahead(fact)).collect();
        self.ahead.push_back(Ahead { facts: given.facts, commit, told });
        self.obey(given.commands);
        None
    }

    /// Whether all that follows from this are attempts that leave nothing behind.
    fn may_go_ahead(&self, given: &Given) -> bool {
        let plain = |fact: &Fact| match fact {
            Fact::JobEnded { events, .. } => events.is_empty(),
            Fact::JobDispatched { .. } | Fact::AttemptStarted { .. } | Fact::StepDone { .. } => true,
            _ => false,
        };
        !given.commands.is_empty()
            && self.ahead.len() < MOST
            && !self.meets
            && self.claims.is_empty()
            && self.promised.is_empty()
            && self.outboxed.is_empty()
            && self.taken_up.is_none()
            && given.changes.is_none()
            && given.facts.iter().all(plain)
            && given.commands.iter().all(|command| matches!(command, Command::Attempt { job } if self.leaves_nothing_behind(*job)))
    }

    fn leaves_nothing_behind(&self, job: JobId) -> bool {
        let Some(active) = self.state.job(job) else { return false };
        let Verb::Run(step) = &self.state.flow().step(active.step).verb else { return false };
        let Worker::Executor(number) = step.worker else { return false };
        // What is promised or made of progress is seen by other runs.
        let is_noticed = !step.optimistic.is_empty() || handles_progress(step);
        !is_noticed && self.installed.bound.executors.get(number).is_some_and(|executor| executor.only_computes())
    }

    /// What follows from a fact for the run itself. Returns what is to be told of it.
    fn follow_ahead(&mut self, fact: &Fact) -> Option<What> {
        let sink = &self.shared.ports.sink;
        let told = if sink.wants_routine() || fact.is_trouble() { self.labels.tell(fact, &self.state, sink.wants_detail()) } else { None };
        if let Fact::JobEnded { job, .. } = fact {
            self.labels.forget(*job);
        }
        told
    }

    /// Waits until all is kept that the run went ahead of, and tells it. False if the store did not take it: then the run is left as it is recorded.
    pub(super) async fn catch_up(&mut self) -> bool {
        while let Some(Ahead { facts, commit, told }) = self.ahead.pop_front() {
            if commit.await.is_err() {
                // Nobody has heard of anything that is not recorded.
                self.ahead.clear();
                return false;
            }
            failpoint::reach("run.kept");
            self.let_go(&facts);
            told.into_iter().for_each(|what| self.tell(Some(what)));
            failpoint::reach("run.published");
        }
        true
    }

    /// What has come already, without waiting for anything.
    pub(super) async fn at_once(&mut self) -> Option<Input> {
        let mut sleep = None;
        match poll_fn(|context| Poll::Ready(self.poll_wait(context, &mut sleep))).await {
            Poll::Ready(input) => Some(input),
            Poll::Pending => None,
        }
    }

    /// Waits until what was given to the store is kept, after all that the run went ahead of, and does what follows. `None` if the run is left.
    pub(super) async fn keep_in_turn(&mut self, given: Given) -> Option<Result<(), Refused>> {
        let Some((given, kept)) = self.go_ahead(given) else { return Some(Ok(())) };
        if !self.catch_up().await {
            return None;
        }
        Some(self.keep_once(given, kept).await)
    }
}
