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
    pub(super) async fn keep_or_go_on(&mut self, given: Box<Given>) -> After {
        match self.keep(given).await {
            Ok(()) => After::Next,
            Err(refused) => Box::pin(self.goes_on(refused)).await,
        }
    }

    /// Waits until what was given to the store is kept, then does what follows from it, then what was commanded.
    pub(super) async fn keep(&mut self, mut given: Box<Given>) -> Result<(), Refused> {
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
    pub(super) async fn follow_all(&mut self, mut given: Box<Given>) {
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
        let tells = self.tells_of(facts);
        for fact in facts {
            let told = if tells { self.told(fact) } else { None };
            self.follow(fact, &mut changes);
            // Only here may it have to wait for room, and most facts have nothing that goes out.
            if goes_out(fact) {
                Box::pin(self.send(fact)).await;
            }
            if let Some(told) = told {
                self.tell(Some(*told));
            }
            if let Fact::JobEnded { job, .. } = fact {
                self.labels.forget(*job);
            }
        }
        if self.meets {
            self.follow_waits(facts);
            self.tell_asker(facts);
        }
    }

    /// Whether anybody wants to hear of any of these facts.
    pub(super) fn tells_of(&self, facts: &[Fact]) -> bool {
        self.shared.ports.sink.wants_routine() || facts.iter().any(Fact::is_trouble)
    }

    /// What a fact is told as, if anybody wants to hear it. Boxed: it is large, and mostly nobody does.
    pub(super) fn told(&self, fact: &Fact) -> Option<Box<What>> {
        let sink = &self.shared.ports.sink;
        if !(sink.wants_routine() || fact.is_trouble()) {
            return None;
        }
        match fact {
            // Told when everything else of the run is over.
            Fact::Ended { .. } => None,
            _ => self.labels.tell(fact, &self.state, sink.wants_detail()).map(Box::new),
        }
    }

    /// What follows from a fact once it is kept, but for what [goes out](Self::send) and what is told.
    fn follow(&mut self, fact: &Fact, changes: &mut Changes) {
        match fact {
            Fact::JobEnded { job, outcome, .. } => {
                self.settle(*job, outcome);
                self.outboxed.retain(|outboxed| outboxed != job);
                self.tell_changes(changes, Some(*job));
            }
            Fact::FallbackBegan { job, failure, .. } => self.settle(*job, &JobOutcome::of_failure(failure.clone())),
            Fact::Replied { reply } => {
                if let Some(requester) = &self.requester {
                    requester.reply(reply);
                }
            }
            _ => {}
        }
    }

    /// Sends out what of a fact is for others: its events, or the run that it begins.
    async fn send(&mut self, fact: &Fact) {
        match fact {
            // What goes by way of an outbox has the id of its job; the relay publishes it.
            Fact::JobEnded { job, events, .. } => {
                for event in events.iter().filter(|event| event.id != EventId::emitted_by(*job)) {
                    // Nobody waits for what the waits make of it: the job has ended.
                    drop(self.publish(event.clone()).await);
                }
            }
            Fact::Emitted { lane, step, events } => self.publish_step(*lane, *step, events).await,
            Fact::Dispatched { run, part, .. } => self.send_off(*run, part).await,
            _ => {}
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

/// Whether something of a fact is for others.
pub(super) const fn goes_out(fact: &Fact) -> bool {
    match fact {
        Fact::JobEnded { events, .. } => !events.is_empty(),
        Fact::Emitted { .. } | Fact::Dispatched { .. } => true,
        _ => false,
    }
}
