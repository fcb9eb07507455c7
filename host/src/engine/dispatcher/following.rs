//! What follows from a run's facts once they are kept: whoever waits is answered, events go out, and the sink is told, in the order of the facts.

use super::giving::{Changes, Given};
#[cfg(test)]
use super::planted;
use super::refused::After;
use super::{Driver, Refused};
use crate::engine::telling::run_label;
use crate::model::happening::{Happening, What};
use crate::model::id::{EventId, JobId};
use crate::model::job::JobOutcome;
use crate::model::record::Fact;
use crate::model::time::Timestamp;
use crate::telemetry::failpoint;

impl Driver {
    /// Waits until what was given to the store is kept, then does what follows from it. What the store does not take is seen to.
    pub(super) async fn keep_or_go_on(&mut self, given: Given) -> After {
        match self.keep(given).await {
            Ok(()) => After::Next,
            Err(refused) => Box::pin(self.goes_on(refused)).await,
        }
    }

    /// Waits until what was given to the store is kept, then does what follows from it, then what was commanded.
    pub(super) async fn keep(&mut self, mut given: Given) -> Result<(), Refused> {
        let Some(commit) = given.commit.take() else {
            if self.meets {
                self.tell_asker(&[]);
            }
            self.obey(given.commands);
            return Ok(());
        };
        self.take_note(given.own());
        if acts_early() {
            let changes = std::mem::take(&mut given.changes);
            self.tell_before(&given);
            self.act(given.own(), changes).await;
            let kept = commit.await;
            self.obey(std::mem::take(&mut given.commands));
            return kept.map_err(|error| Refused { given, error });
        }
        let since = self.since();
        let kept = commit.await;
        self.has_waited(since);
        if let Err(error) = kept {
            return Err(Refused { given, error });
        }
        failpoint::reach("run.kept");
        self.let_go(&given.facts);
        self.follow_all(given).await;
        failpoint::reach("run.published");
        Ok(())
    }

    /// Does what follows from facts that are kept, and then what was commanded.
    pub(super) async fn follow_all(&mut self, mut given: Given) {
        self.tell_before(&given);
        let changes = std::mem::take(&mut given.changes);
        self.act(given.own(), changes).await;
        self.obey(given.commands);
    }

    /// Tells what the run went ahead of.
    fn tell_before(&self, given: &Given) {
        for what in given.before.iter().flat_map(|decision| &decision.told) {
            self.tell(Some(what.clone()));
        }
    }

    /// When a store that takes time is given something.
    pub(super) fn since(&self) -> Option<Timestamp> {
        self.state.flow().durable.then(|| self.shared.ports.clock.now())
    }

    pub(super) fn has_waited(&mut self, since: Option<Timestamp>) {
        if let Some(since) = since {
            self.waited += self.shared.ports.clock.now().since(since);
        }
    }

    /// What has to be known of facts before anybody else hears of them.
    pub(super) fn take_note(&mut self, facts: &[Fact]) {
        self.labels.learn(&self.state, facts);
        for fact in facts {
            self.leave(fact);
        }
    }

    /// Does what follows from facts that are kept.
    async fn act(&mut self, facts: &[Fact], mut changes: Changes) {
        self.confirm(&changes);
        self.tell_changes(&mut changes, None);
        for fact in facts {
            self.follow(fact, &mut changes).await;
        }
        if self.meets {
            self.follow_waits(facts);
            self.tell_asker(facts);
        }
    }

    /// What follows from a fact once it is kept.
    async fn follow(&mut self, fact: &Fact, changes: &mut Changes) {
        let sink = &self.shared.ports.sink;
        let told = if sink.wants_routine() || fact.is_trouble() { self.labels.tell(fact, &self.state, sink.wants_detail()) } else { None };
        match fact {
            Fact::JobEnded { job, outcome, events, .. } => {
                self.settle(*job, outcome);
                self.outboxed.retain(|outboxed| outboxed != job);
                self.tell_changes(changes, Some(*job));
                // What goes by way of an outbox has the id of its job; the relay publishes it.
                for event in events.iter().filter(|event| event.id != EventId::emitted_by(*job)) {
                    // Nobody waits for what the waits make of it: the job has ended.
                    drop(Box::pin(self.publish(event.clone())).await);
                }
                self.tell(told);
                self.labels.forget(*job);
            }
            Fact::FallbackBegan { job, failure } => {
                self.settle(*job, &JobOutcome::of_failure(failure.clone()));
                self.tell(told);
            }
            Fact::Emitted { lane, step, events } => Box::pin(self.publish_step(*lane, *step, events)).await,
            Fact::Dispatched { run, part, .. } => {
                let (shared, state) = (&self.shared, &self.state);
                Box::pin(shared.send_off(&self.installed, state.shared_flow(), state.beginning(), *run, part)).await;
                self.tell(told);
            }
            Fact::Replied { reply } => {
                if let Some(requester) = &self.requester {
                    requester.reply(reply);
                }
                self.tell(told);
            }
            // Told when everything else of the run is over.
            Fact::Ended { .. } => {}
            _ => self.tell(told),
        }
    }

    pub(super) fn tell(&self, what: Option<What>) {
        if let Some(what) = what {
            let run = Some(run_label(self.state.beginning()));
            self.shared.ports.sink.accept(Happening { time: self.shared.ports.clock.now(), run, what });
        }
    }

    pub(super) fn settle(&mut self, job: JobId, outcome: &JobOutcome) {
        let Some(index) = self.claims.iter().position(|(other, _)| *other == job) else { return };
        let (_, claim) = self.claims.swap_remove(index);
        self.shared.flights.settle(job, &claim, outcome, self.shared.ports.clock.now());
    }
}

/// Whether what follows from facts is done before they are kept: a defect that tests plant.
fn acts_early() -> bool {
    #[cfg(test)]
    if planted::is(planted::Defect::ActsBeforeItIsKept) {
        return true;
    }
    failpoint::is_planted("early_publish")
}
