//! Going on after the host ended without goodbye: the runs that the store has without an end are taken up where their facts end.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::model::activation::Requester;
use crate::model::event::{Event, Scope};
use crate::model::happening::{Happening, What};
use crate::model::id::RunId;
use crate::model::job::CancelReason;
use crate::model::port::{Pending, StoreError};
use crate::model::record::{Beginning, Fact, InboxKey, StepNumber, beginning_of};
use crate::model::time::Timestamp;
use crate::model::value::Value;
use crate::plan::pipeline::{Flow, Verb};

use super::calls::Callee;
use super::control::Control;
use super::installed::Installed;
use super::run::{RunState, unfolded};
use super::shared::Shared;
use super::telling::run_label;
use super::waits::{Closing, Place, keys, listens};

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

impl Revived {
    fn beginning(&self) -> &Arc<Beginning> {
        self.state.beginning()
    }

    fn run(&self) -> RunId {
        self.beginning().run
    }

    fn may_wait(&self) -> bool {
        listens(&self.flow).next().is_some()
    }

    /// The reply that it has given.
    fn reply(&self) -> Option<Value> {
        self.facts.iter().find_map(|fact| match fact {
            Fact::Replied { reply } => Some(reply.clone()),
            _ => None,
        })
    }
}

impl Shared {
    /// Takes up every run that the store has without an end. Returns how many go on.
    ///
    /// # Errors
    /// What is wrong with the store; then nothing goes on.
    pub async fn recover(self: &Arc<Self>) -> Result<usize, StoreError> {
        let _busy = self.ports.activity.enter();
        self.restore().await?;
        let store = &self.ports.store;
        let pending = store.pending().await?;
        let mut revived = Vec::new();
        for run in &pending.runs {
            let facts = store.facts(*run).await?;
            revived.extend(self.revive(facts));
        }
        let mine = self.relay.take_up(self).await?;
        self.recovering(self.ports.clock.now());
        let events: Vec<Event> = pending.events.iter().map(|pending| pending.event.clone()).collect();
        self.remember_waits(&revived, &events);
        let called: HashSet<RunId> = revived.iter().flat_map(|run| run.state.called().collect::<Vec<_>>()).collect();
        let count = revived.len();
        let mut drivers = Vec::with_capacity(count);
        // All are known before the first goes on, so that each finds the others.
        for revived in revived {
            let requester = self.requester(&revived, &called);
            drivers.push(self.take_up(revived, requester));
        }
        drivers.into_iter().for_each(|driver| self.go_on(driver));
        self.send_again(&pending).await?;
        let unheard: Vec<Event> = pending
            .events
            .iter()
            .filter(|pending| !pending.published && !mine.has(&pending.event))
            .map(|pending| pending.event.clone())
            .collect();
        self.publish_again(&unheard).await?;
        self.relay.start(self);
        Ok(count)
    }

    /// Takes up one run that stood still.
    pub(super) async fn take_up_again(self: &Arc<Self>, run: RunId) {
        let Ok(facts) = self.ports.store.facts(run).await else { return };
        let Some(revived) = self.revive(facts) else { return };
        self.remember_waits(std::slice::from_ref(&revived), &[]);
        let requester = self.requester(&revived, &HashSet::new());
        let driver = self.take_up(revived, requester);
        self.go_on(driver);
    }

    /// The run as its facts have it, if what it is pinned to is in force.
    fn revive(&self, facts: Vec<Fact>) -> Option<Revived> {
        let (facts, count) = unfolded(facts);
        let beginning = beginning_of(&facts)?;
        if self.is_live(beginning.run) {
            return None;
        }
        let found = self.pinned(beginning).and_then(|(installed, flow)| {
            let state = RunState::fold(&installed.bound.pipeline, &flow, &facts).ok_or("its facts do not begin with its beginning")?;
            Ok((installed, flow, state.counting(count)))
        });
        let run = Some(run_label(beginning));
        let tell = |what| self.ports.sink.accept(Happening { time: self.ports.clock.now(), run, what });
        match found {
            Ok((installed, flow, state)) => {
                tell(What::Recovered);
                Some(Revived { installed, flow, state, facts, control: Arc::new(Control::default()) })
            }
            Err(reason) => {
                tell(What::Stalled { reason: reason.to_owned() });
                None
            }
        }
    }

    fn pinned(&self, beginning: &Beginning) -> Result<(Arc<Installed>, Arc<Flow>), &'static str> {
        let installed = self.find(&beginning.pipeline).ok_or("its pipeline is not loaded; start the host with its file")?;
        if installed.bound.pipeline.revision != beginning.revision {
            return Err("its file has changed since it began; start the host with the file as it was");
        }
        let flow = installed.bound.pipeline.flows.iter().find(|flow| flow.name == beginning.flow).cloned();
        Ok((installed, flow.ok_or("its flow is not there any more")?))
    }

    /// What was published in the order in which runs began, so that a run takes only what came after it; and which waits are over.
    fn remember_waits(&self, revived: &[Revived], events: &[Event]) {
        enum Moment<'a> {
            Began(&'a Revived),
            Published(&'a Event),
        }
        let began = revived.iter().filter(|run| run.may_wait()).map(|run| (run.beginning().at, Moment::Began(run)));
        let published = events.iter().map(|event| (event.time, Moment::Published(event)));
        let mut moments: Vec<(Timestamp, Moment<'_>)> = began.chain(published).collect();
        moments.sort_by_key(|(at, _)| *at);
        for (at, moment) in moments {
            match moment {
                Moment::Began(run) => self.waits.begin(run.run(), &run.installed.bound.pipeline),
                Moment::Published(event) => drop(self.waits.offer(&Arc::new(event.clone()), self.is_exported(event), at)),
            }
        }
        revived.iter().for_each(|run| self.remember_closed(run));
    }

    fn remember_closed(&self, revived: &Revived) {
        let run = revived.run();
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
                    self.waits.close(place, &keys.unwrap_or_default(), closing, *at);
                }
                _ => {}
            }
        }
    }

    /// Who hears a run that goes on: the call that comes back to it. One whose caller went on without it is not wanted any more.
    fn requester(&self, revived: &Revived, called: &HashSet<RunId>) -> Option<Arc<dyn Requester>> {
        let beginning = revived.beginning();
        if beginning.parent.is_none() || beginning.part.is_some() {
            return None;
        }
        if !called.contains(&beginning.run) {
            revived.control.cancel(CancelReason::Parent);
            return None;
        }
        let callee = Arc::new(Callee::with_reply(revived.reply()));
        self.expect_rejoin(beginning.run, Arc::clone(&callee));
        Some(callee)
    }

    /// Starts what was dispatched and never began.
    async fn send_again(&self, pending: &Pending) -> Result<(), StoreError> {
        for (by, run) in &pending.dispatched {
            let (facts, _) = unfolded(self.ports.store.facts(*by).await?);
            let Some(beginning) = beginning_of(&facts) else { continue };
            let part = facts.iter().find_map(|fact| match fact {
                Fact::Dispatched { run: dispatched, part, .. } if dispatched == run => Some(Arc::clone(part)),
                _ => None,
            });
            if let (Some(part), Ok((installed, flow))) = (part, self.pinned(beginning)) {
                self.send_off(&installed, &flow, beginning, *run, &part).await;
            }
        }
        Ok(())
    }

    /// Publishes again what some flow has not taken.
    async fn publish_again(&self, events: &[Event]) -> Result<(), StoreError> {
        for event in events {
            let exported = self.is_exported(event);
            for (pipeline, flow) in self.ports.bus.targets(event, exported) {
                let key = InboxKey { pipeline, flow, event: event.id };
                if !self.ports.store.has_taken(key).await? {
                    self.ports.bus.publish(event.clone(), exported).await;
                    break;
                }
            }
        }
        Ok(())
    }

    fn is_exported(&self, event: &Event) -> bool {
        let exports = |installed: Arc<Installed>| installed.bound.pipeline.exports.contains(&event.event_type);
        event.scope != Scope::Global && self.find(&event.source).is_some_and(exports)
    }
}

fn wait_keys(flow: &Flow, step: StepNumber, matching: &[(String, Value)]) -> Option<Vec<crate::model::id::Digest>> {
    let Verb::Wait(wait) = &flow.step(step).verb else { return None };
    keys(&wait.listen.types, matching).ok()
}
