//! Going on after the host ended: the runs that the store has without an end are taken up where their facts end.
//!
//! What is due comes first, and a run that depends on no other goes on before the next is read: a host with very many waiting runs must not be late for
//! those whose time has come. Runs that have work under way may hold what others wait for, or have called others: they go on once all are known.
//! Runs that were at work when one host after the other ended come last and one by one, since one of them may be what ends the hosts: see `alone`.

mod again;
mod alone;
mod classify;
mod holding;
mod insisting;
mod known;
mod stalled;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use tokio_util::task::TaskTracker;

use crate::clock::Busy;

use crate::model::activation::Requester;
use crate::model::event::{Event, Scope};
use crate::model::happening::{Happening, What};
use crate::model::id::RunId;
use crate::model::job::CancelReason;
use crate::model::port::{Answer, Pending, StoreError};
use crate::model::record::{Beginning, Fact, InboxKey, beginning_of};
use crate::telemetry::failpoint;

use super::calls::Callee;
use super::dispatcher::TakenUp;
use super::installed::Installed;
use super::run::unfolded;
use super::shared::Shared;
use super::telling::run_label;
use super::unreadable;

use classify::Found;
pub use classify::{Revived, Waiting};
pub use known::Known;
use known::Unknown;
use stalled::Reason;
pub use stalled::Stalled;

/// So many runs are read at once.
const AT_ONCE: usize = 512;
/// So many such batches are read ahead of the one that is set going.
const AHEAD: usize = 2;
/// So long at most those that only wait are not read, while those that are due have not recorded anything yet.
const GIVE_WAY: Duration = Duration::from_secs(1);
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
    /// Runs that may be what ended the last hosts: they are taken up after all others, one by one.
    pub one_by_one: usize,
    /// Runs that cannot go on; each goes on by itself when what hinders it is gone.
    pub stalled: usize,
}

impl Recovered {
    /// All that are not stalled.
    pub const fn under_way(&self) -> usize {
        self.going_on + self.waiting + self.queued + self.one_by_one
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
    /// How often in a row these were taken up already without anything being recorded of them.
    claimed: HashMap<RunId, u32>,
    /// Those that may be what ended the last hosts.
    suspects: Vec<Revived>,
}

/// What came of reading a batch of runs.
enum Read {
    /// What each amounts to.
    All(Vec<(RunId, Found)>),
    /// The store gave none of them.
    Nothing(Vec<RunId>, StoreError),
}

impl Shared {
    /// Takes up every run that the store has without an end. While the store cannot be asked, that is tried again until this host stops.
    ///
    /// # Errors
    /// What is wrong with the store for good; then nothing goes on. What is wrong with one run makes that one stalled.
    pub async fn recover(self: &Arc<Self>) -> Result<Recovered, StoreError> {
        let mut busy = self.ports.activity.enter();
        let unknown = self.known.begin();
        self.restore().await?;
        let store = &self.ports.store;
        let mut pending = self.insist(|| store.pending()).await?;
        for event in &pending.unreadable {
            self.tell(What::Unreadable { failure: unreadable::of_event(event) });
        }
        let mine = self.relay.take_up(self, &pending.events).await?;
        self.recovering(self.ports.clock.now());
        self.remember_events(&pending);
        let claimed = pending.claimed.iter().copied().collect();
        let (mut recovered, mut held) = (Recovered::default(), Held { claimed, ..Held::default() });
        self.take_up_all(&pending.runs, false, &mut busy, &mut recovered, &mut held).await;
        if self.stop.is_cancelled() {
            return Ok(recovered);
        }
        let elsewhere = std::mem::take(&mut held.elsewhere);
        self.remake(&elsewhere).await;
        self.take_up_all(&elsewhere, true, &mut busy, &mut recovered, &mut held).await;
        self.take_up_held(held, unknown, &mut recovered).await;
        self.stalled_have_changed();
        self.send_again(std::mem::take(&mut pending.dispatched));
        let unheard: Vec<Event> = pending
            .events
            .into_iter()
            .filter(|pending| !pending.published && !mine.has(&pending.event))
            .map(|pending| pending.event)
            .collect();
        self.publish_again(unheard).await?;
        self.relay.start(self);
        recovered.stalled = self.stalled.without_a_turn();
        Ok(recovered)
    }

    /// Reads these runs, has those go on that depend on no other, and holds the others.
    async fn take_up_all(self: &Arc<Self>, runs: &[RunId], remade: bool, busy: &mut Busy, recovered: &mut Recovered, held: &mut Held) {
        let batches: Vec<_> = runs.chunks(AT_ONCE).map(|batch| Arc::clone(self).read_some(batch.to_vec())).collect();
        let mut batches = stream::iter(batches).buffered(AHEAD);
        let mut firing = TaskTracker::new();
        while let Some(found) = batches.next().await {
            failpoint::reach("recovery.reading");
            if self.stop.is_cancelled() {
                return;
            }
            let mut alone = Vec::new();
            let found = match found {
                Read::All(found) => found,
                Read::Nothing(runs, error) => self.read_again(runs, error).await,
            };
            for (run, found) in found {
                match found {
                    Found::Nothing => {}
                    // Why it could not be made again is known better there.
                    Found::Elsewhere(_) if self.stalled.contains(run) => {}
                    Found::Elsewhere(reason) if remade => self.stall(run, reason, None),
                    Found::Elsewhere(_) => held.elsewhere.push(run),
                    Found::Stalled(reason) => self.stall(run, reason, None),
                    Found::Queued(waiting) => held.queued.push(waiting),
                    Found::Working(revived) => {
                        held.called.extend(revived.state.called());
                        let claims = held.claimed.get(&run).copied().unwrap_or_default();
                        let place = if self.is_suspect(&revived, claims) {
                            &mut held.suspects
                        } else if revived.depends() {
                            &mut held.working
                        } else {
                            &mut alone
                        };
                        place.push(*revived);
                    }
                }
            }
            let acting = self.set_going(alone, &HashSet::new(), recovered, &firing).await;
            if acting == 0 && !firing.is_empty() {
                self.give_way(&std::mem::take(&mut firing), GIVE_WAY, busy).await;
            }
        }
    }

    /// What some runs amount to by their facts. In a task of its own, so that it goes on while those before them are set going.
    async fn read_some(self: Arc<Self>, runs: Vec<RunId>) -> Read {
        let names = runs.clone();
        let tasks = self.tasks.clone();
        let read = tasks.spawn(async move {
            match self.ports.store.facts_of(&runs).await {
                Ok(all) => Read::All(self.classify_all(&runs, all)),
                Err(error) => Read::Nothing(runs, error),
            }
        });
        read.await.unwrap_or_else(|error| {
            let stalled = |run| (run, Found::Stalled(Reason::Unreadable(format!("pipehost made a mistake when it was read: {error}"))));
            Read::All(names.into_iter().map(stalled).collect())
        })
    }

    /// The same for those that the store would not give the first time.
    async fn read_again(&self, runs: Vec<RunId>, error: StoreError) -> Vec<(RunId, Found)> {
        let mut first = Some(error);
        let ask = || -> Answer<Vec<Result<Vec<Fact>, StoreError>>> {
            match first.take() {
                // It is waited before it is asked again.
                Some(error) => Box::pin(std::future::ready(Err(error))),
                None => self.ports.store.facts_of(&runs),
            }
        };
        let all = self.insist(ask).await.unwrap_or_else(|error| vec![Err(error); runs.len()]);
        self.classify_all(&runs, all)
    }

    fn classify_all(&self, runs: &[RunId], all: Vec<Result<Vec<Fact>, StoreError>>) -> Vec<(RunId, Found)> {
        runs.iter().zip(all).map(|(run, facts)| (*run, self.classify(*run, facts))).collect()
    }

    /// Those that are due come first: until they have recorded what they were due for, nothing else is read, unless that takes them longer than this.
    async fn give_way(&self, firing: &TaskTracker, longest: Duration, busy: &mut Busy) {
        firing.close();
        let late = self.ports.clock.sleep_until(self.ports.clock.now() + longest);
        let over = async {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => {}
                () = firing.wait() => {}
                () = late => {}
            }
        };
        busy.rest(over).await;
    }

    async fn take_up_held(self: &Arc<Self>, held: Held, unknown: Unknown<'_>, recovered: &mut Recovered) {
        let Held { working, queued, called, claimed, mut suspects, .. } = held;
        self.set_going(working, &called, recovered, &TaskTracker::new()).await;
        suspects.iter_mut().for_each(|revived| self.hold_claims(revived));
        drop(unknown);
        recovered.queued += queued.len();
        for waiting in queued {
            let requester = self.requester(&waiting.beginning, None, &called);
            self.put_in_line(waiting, requester);
        }
        self.fill_places();
        recovered.one_by_one = self.take_up_suspects(suspects, &claimed, called).await;
    }

    /// Counts those that have something to do at once, and has all of them go on. Returns how many have
    /// something to do at once; `firing` is empty when each of these has recorded something.
    async fn set_going(
        self: &Arc<Self>,
        revived: Vec<Revived>,
        called: &HashSet<RunId>,
        recovered: &mut Recovered,
        firing: &TaskTracker,
    ) -> usize {
        let now = self.ports.clock.now();
        let counts = join_all(revived.iter().map(|revived| async {
            match revived.acts_at_once(now) {
                true => self.ports.store.claim(revived.run()).await.unwrap_or(1),
                // What only waits may do so over any number of starts.
                false => 0,
            }
        }));
        let (mut at_once, mut acting, mut resting) = (0, Vec::new(), Vec::new());
        // All are known before the first goes on, so that each finds the others.
        let counts = counts.await;
        failpoint::reach("recovery.claimed");
        for (count, revived) in counts.into_iter().zip(revived) {
            self.tell_of(revived.beginning(), What::Recovered);
            let only_waits = revived.only_waits();
            match only_waits {
                true => recovered.waiting += 1,
                false => recovered.going_on += 1,
            }
            let requester = self.requester(revived.beginning(), Some(&revived), called);
            let resuming = self.take_up(revived, requester);
            at_once += usize::from(count > 0);
            match only_waits && count == 0 {
                true => resting.push(resuming),
                false => acting.push(resuming.counted_by((count > 0).then(|| TakenUp::until_recorded(firing.token())))),
            }
        }
        acting.into_iter().for_each(|driver| self.go_on(driver));
        for driver in resting {
            self.lay_to_rest(driver).await;
        }
        at_once
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

    /// Starts what was dispatched and never began: in a task of its own, since a line may be full for long.
    fn send_again(self: &Arc<Self>, dispatched: Vec<(RunId, RunId)>) {
        if dispatched.is_empty() {
            return;
        }
        let (shared, busy) = (Arc::clone(self), self.ports.activity.enter());
        self.tasks.spawn(async move {
            for of_one in dispatched.chunk_by(|one, other| one.0 == other.0) {
                tokio::select! {
                    biased;
                    () = shared.stop.cancelled() => break,
                    () = shared.send_again_of(of_one) => {}
                }
            }
            drop(busy);
        });
    }

    /// The same for what one run has dispatched, which stands in front of each.
    async fn send_again_of(self: &Arc<Self>, dispatched: &[(RunId, RunId)]) {
        let Some((by, _)) = dispatched.first() else { return };
        let facts = match self.insist(|| self.ports.store.facts(*by)).await {
            Ok(facts) => facts,
            Err(error) => return self.tell(What::Unreadable { failure: unreadable::of_sender(by, &error.to_string()) }),
        };
        let (facts, _) = unfolded(facts);
        let Some(beginning) = beginning_of(&facts) else { return };
        let pinned = self.pinned_or_remade(beginning).await;
        let missing: HashSet<RunId> = dispatched.iter().map(|(_, run)| *run).collect();
        for fact in &facts {
            let Fact::Dispatched { run, part, .. } = fact else { continue };
            match &pinned {
                _ if !missing.contains(run) => {}
                Ok((installed, flow)) => self.ports.activity.rest(self.send_off(installed, flow, beginning, *run, part)).await,
                // It has no facts by which it could be stalled.
                Err(reason) => self.tell(What::Unreadable { failure: unreadable::of_sent(run, by, reason.text()) }),
            }
        }
    }

    /// Publishes again what some flow has not taken. What all have taken is known from now on.
    async fn publish_again(&self, events: Vec<Event>) -> Result<(), StoreError> {
        for event in events {
            let exported = self.is_exported(&event);
            let mut is_missing = false;
            for (pipeline, flow) in self.ports.bus.targets(&event, exported) {
                let key = InboxKey { pipeline, flow, event: event.id };
                is_missing |= !self.insist(|| self.ports.store.has_taken(key.clone())).await?;
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

    fn tell_of(&self, beginning: &Beginning, what: What) {
        self.ports.sink.accept(Happening { time: self.ports.clock.now(), run: Some(run_label(beginning)), what });
    }
}
