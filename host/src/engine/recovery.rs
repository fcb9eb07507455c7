//! Going on after the host ended: the runs that the store has without an end are taken up where their facts end.
//!
//! What is due comes first, and a run that depends on no other goes on before the next is read: a host with very many waiting runs must not be late for
//! those whose time has come. Runs that have work under way may hold what others wait for, or have called others: they go on once all are known.

mod again;
mod classify;
mod stalled;

use std::collections::HashSet;
use std::sync::Arc;

use futures_util::future::join_all;

use crate::model::activation::Requester;
use crate::model::event::{Event, Scope};
use crate::model::happening::{Happening, What};
use crate::model::id::{PipelineName, RunId};
use crate::model::job::CancelReason;
use crate::model::port::{Pending, StoreError, Unreadable};
use crate::model::record::{Beginning, Fact, InboxKey, Room, beginning_of};
use crate::telemetry::failpoint;

use super::calls::Callee;
use super::installed::Installed;
use super::run::unfolded;
use super::shared::Shared;
use super::telling::run_label;

use classify::Found;
pub use classify::{Revived, Waiting};
pub use stalled::Stalled;

/// So many runs are read at once.
const AT_ONCE: usize = 512;
/// So often in a row a run is taken up without anything being recorded of it since; then it is among the dead letters.
pub const CLAIMS: u32 = 5;

/// What a host found that it could take up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Recovered {
    /// Runs that go on with what they were doing.
    pub going_on: usize,
    /// Runs that wait for an event or a time.
    pub waiting: usize,
    /// Runs that wait for a place.
    pub queued: usize,
    /// Runs that cannot go on; each goes on by itself when what hinders it is gone.
    pub stalled: usize,
}

impl Recovered {
    /// All that are not stalled.
    pub const fn under_way(&self) -> usize {
        self.going_on + self.waiting + self.queued
    }

    /// Whether there was nothing.
    pub const fn is_nothing(&self) -> bool {
        self.under_way() + self.stalled == 0
    }
}

/// What has to wait until all runs are known.
#[derive(Default)]
struct Held {
    working: Vec<Revived>,
    queued: Vec<Waiting>,
    /// Those whose revision is not in force: made again after all others are read.
    elsewhere: Vec<RunId>,
    /// The runs that were called by one that is taken up.
    called: HashSet<RunId>,
}

impl Shared {
    /// Takes up every run that the store has without an end.
    ///
    /// # Errors
    /// What is wrong with the store; then nothing goes on. What is wrong with one run makes that one stalled.
    pub async fn recover(self: &Arc<Self>) -> Result<Recovered, StoreError> {
        let _busy = self.ports.activity.enter();
        self.restore().await?;
        let store = &self.ports.store;
        self.dead_letters.load(&store.first_kept(Room::DeadLetter, usize::MAX).await?.kept);
        let pending = store.pending().await?;
        for Unreadable { key, why, .. } in &pending.unreadable {
            self.tell_unreadable(key.clone(), format!("this event cannot be read, and who has not taken it goes without it: {why}"));
        }
        let mine = self.relay.take_up(self).await?;
        self.recovering(self.ports.clock.now());
        self.remember_events(&pending);
        let (mut recovered, mut held) = (Recovered::default(), Held::default());
        for runs in pending.runs.chunks(AT_ONCE) {
            if self.stop.is_cancelled() {
                return Ok(recovered);
            }
            self.take_up_some(runs, false, &mut recovered, &mut held).await;
        }
        let elsewhere = std::mem::take(&mut held.elsewhere);
        self.remake(&elsewhere).await;
        for runs in elsewhere.chunks(AT_ONCE) {
            self.take_up_some(runs, true, &mut recovered, &mut held).await;
        }
        self.take_up_held(held, &mut recovered).await;
        self.stalled_have_changed();
        self.send_again(&pending).await?;
        let unheard: Vec<Event> = pending
            .events
            .into_iter()
            .filter(|pending| !pending.published && !mine.has(&pending.event))
            .map(|pending| pending.event)
            .collect();
        self.publish_again(unheard).await?;
        self.relay.start(self);
        recovered.stalled = self.stalled.len();
        Ok(recovered)
    }

    /// Reads some runs, has those go on that depend on no other, and holds the others.
    async fn take_up_some(self: &Arc<Self>, runs: &[RunId], remade: bool, recovered: &mut Recovered, held: &mut Held) {
        let all = join_all(runs.iter().map(|run| self.ports.store.facts(*run))).await;
        failpoint::reach("recovery.reading");
        let mut alone = Vec::new();
        for (run, facts) in runs.iter().zip(all) {
            match self.classify(*run, facts) {
                Found::Nothing => {}
                // Why it could not be made again is known better there.
                Found::Elsewhere(_) if self.stalled.contains(*run) => {}
                Found::Elsewhere(reason) if remade => self.stall(*run, reason, None),
                Found::Elsewhere(_) => held.elsewhere.push(*run),
                Found::Stalled(reason) => self.stall(*run, reason, None),
                Found::Queued(waiting) => held.queued.push(waiting),
                Found::Working(revived) => {
                    held.called.extend(revived.state.called());
                    match revived.depends() {
                        true => held.working.push(*revived),
                        false => alone.push(*revived),
                    }
                }
            }
        }
        self.set_going(alone, &HashSet::new(), recovered).await;
    }

    async fn take_up_held(self: &Arc<Self>, held: Held, recovered: &mut Recovered) {
        let Held { working, queued, called, .. } = held;
        self.set_going(working, &called, recovered).await;
        recovered.queued += queued.len();
        for waiting in queued {
            let requester = self.requester(&waiting.beginning, None, &called);
            self.put_in_line(waiting, requester);
        }
        self.fill_places();
    }

    /// Counts those that have something to do at once, and has all of them go on but those that have come to nothing too often.
    async fn set_going(self: &Arc<Self>, revived: Vec<Revived>, called: &HashSet<RunId>, recovered: &mut Recovered) {
        let now = self.ports.clock.now();
        let counts = join_all(revived.iter().map(|revived| async {
            match revived.acts_at_once(now) {
                true => self.ports.store.claim(revived.run()).await.unwrap_or(1),
                // What only waits may do so over any number of starts.
                false => 0,
            }
        }));
        let mut drivers = Vec::with_capacity(revived.len());
        // All are known before the first goes on, so that each finds the others.
        let counts = counts.await;
        failpoint::reach("recovery.claimed");
        for (count, revived) in counts.into_iter().zip(revived) {
            if count >= CLAIMS || revived.is_cut_off() {
                self.give_up_on(&revived, called).await;
                continue;
            }
            self.tell_of(revived.beginning(), What::Recovered);
            match revived.only_waits() {
                true => recovered.waiting += 1,
                false => recovered.going_on += 1,
            }
            let requester = self.requester(revived.beginning(), Some(&revived), called);
            drivers.push(self.take_up(revived, requester));
        }
        drivers.into_iter().for_each(|driver| self.go_on(driver));
    }

    /// Who hears a run that goes on: the call that comes back to it. One whose caller went on without it is not wanted any more.
    fn requester(&self, beginning: &Beginning, revived: Option<&Revived>, called: &HashSet<RunId>) -> Option<Arc<dyn Requester>> {
        if beginning.parent.is_none() || beginning.part.is_some() {
            return None;
        }
        if !called.contains(&beginning.run) {
            if let Some(revived) = revived {
                revived.control.cancel(CancelReason::Parent);
            }
            return None;
        }
        let callee = Arc::new(Callee::with_reply(revived.and_then(Revived::reply)));
        self.expect_rejoin(beginning.run, Arc::clone(&callee));
        Some(callee)
    }

    /// What was published and may still be waited for, in its order, so that a run takes only what came after it began.
    fn remember_events(&self, pending: &Pending) {
        let events = pending.events.iter().map(|pending| (Arc::new(pending.event.clone()), self.is_exported(&pending.event)));
        self.waits.replay(events.collect());
    }

    /// Starts what was dispatched and never began.
    async fn send_again(self: &Arc<Self>, pending: &Pending) -> Result<(), StoreError> {
        for (by, run) in &pending.dispatched {
            let facts = match self.ports.store.facts(*by).await {
                Ok(facts) => facts,
                Err(StoreError::Unreadable(why)) => {
                    self.tell_unreadable(by.to_string(), format!("what this run sent on its way cannot begin: {why}"));
                    continue;
                }
                Err(error) => return Err(error),
            };
            let (facts, _) = unfolded(facts);
            let Some(beginning) = beginning_of(&facts) else { continue };
            let part = facts.iter().find_map(|fact| match fact {
                Fact::Dispatched { run: dispatched, part, .. } if dispatched == run => Some(Arc::clone(part)),
                _ => None,
            });
            if let (Some(part), Ok((installed, flow))) = (part, self.pinned_or_remade(beginning).await) {
                self.send_off(&installed, &flow, beginning, *run, &part).await;
            }
        }
        Ok(())
    }

    /// Publishes again what some flow has not taken. What all have taken is known from now on.
    async fn publish_again(&self, events: Vec<Event>) -> Result<(), StoreError> {
        for event in events {
            let exported = self.is_exported(&event);
            let mut is_missing = false;
            for (pipeline, flow) in self.ports.bus.targets(&event, exported) {
                is_missing |= !self.ports.store.has_taken(InboxKey { pipeline, flow, event: event.id }).await?;
            }
            match is_missing {
                true => self.publish_once_more(event).await,
                false => self.ports.store.published(vec![event.id]),
            }
        }
        Ok(())
    }

    /// Publishes an event that nobody could bring to its hearers before.
    pub(super) async fn publish_once_more(&self, event: Event) {
        let exported = self.is_exported(&event);
        let tracking = self.tracking(event.id);
        if let Some(waiting) = self.ports.bus.offer(event, exported, Some(tracking)) {
            waiting.await;
        }
    }

    fn is_exported(&self, event: &Event) -> bool {
        let exports = |installed: Arc<Installed>| installed.bound.pipeline.exports.contains(&event.event_type);
        event.scope != Scope::Global && self.find(&event.source).is_some_and(exports)
    }

    /// Tells of one thing that the store has and cannot read. It stays in the store.
    fn tell_unreadable(&self, entry: String, reason: String) {
        let what = What::OutboxTrouble { source: PipelineName::new("pipehost"), entry, reason };
        self.ports.sink.accept(Happening { time: self.ports.clock.now(), run: None, what });
    }

    fn tell_of(&self, beginning: &Beginning, what: What) {
        self.ports.sink.accept(Happening { time: self.ports.clock.now(), run: Some(run_label(beginning)), what });
    }
}
