//! How a run's events come into the outbox: with the facts that they belong to, in one transaction.

use std::sync::Arc;

use crate::engine::relay::Entry;
use crate::engine::run::{Command, Surroundings, outgoing};
use crate::model::event::{Causation, Event};
use crate::model::id::{EventId, JobId};
use crate::model::port::{Commit, Outgoing};
use crate::model::record::{Batch, Fact};

use super::Driver;
#[cfg(test)]
use super::planted;

impl Driver {
    /// Gives facts to the store, with what of them goes into the outbox.
    pub(super) fn hand_over(&self, batch: Batch, commands: &[Command]) -> Commit {
        let entries = self.entries(&batch.facts, commands);
        #[cfg(test)]
        let entries = if planted::is(planted::Defect::KeepsNoOutbox) { Vec::new() } else { entries };
        if entries.is_empty() { self.shared.ports.store.commit(batch) } else { self.shared.relay.commit(&self.shared, batch, entries) }
    }

    /// What the output of a job will be told as by way of an outbox.
    pub(super) fn outgoing(&self, job: JobId) -> Option<Outgoing> {
        let active = self.state.job(job)?;
        // Most steps have none, and the state is not looked at for them.
        self.state.flow().step(active.step).outbox.as_ref()?;
        let (state, ports) = (self.pipeline_state(), &self.shared.ports);
        outgoing(&self.state, job, &Surroundings { now: ports.clock.now(), random: &*ports.random, state: &state })
    }

    /// The events among these facts that go into our own outbox: what an executor has written into one of its own is not in ours too.
    fn entries(&self, facts: &[Fact], commands: &[Command]) -> Vec<Entry> {
        let mut entries = Vec::new();
        for command in commands {
            let Command::Outbox { event: id, order_key } = command else { continue };
            let Some(event) = facts.iter().find_map(|fact| event_of(fact, *id)) else { continue };
            if matches!(event.causation, Causation::Job(job) if self.outboxed.contains(&job)) {
                continue;
            }
            let exported = self.installed.bound.pipeline.is_exported(&event.event_type);
            entries.push(Entry::new(Arc::new(event.clone()), exported, order_key.clone()));
        }
        entries
    }
}

fn event_of(fact: &Fact, id: EventId) -> Option<&Event> {
    match fact {
        Fact::Emitted { events, .. } | Fact::JobEnded { events, .. } => events.iter().find(|event| event.id == id),
        _ => None,
    }
}
