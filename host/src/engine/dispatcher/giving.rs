//! What a run decides, given to the store in one batch with all that stands or falls with it.
//!
//! A state, and the tables of dedup and cache, are held from the decision until the store has been given it: what others decide on what they see there
//! is given to the store later, and so it is never kept without it. Nothing is awaited meanwhile. They are taken in one order, the state first.

use std::sync::Arc;

use super::ahead::Decision;
#[cfg(test)]
use super::planted;
use super::publishing::wait_keys;
use super::{Driver, Refused, no_state};
use crate::engine::dead_letters::is_heard;
use crate::engine::run::{Claim, Command, Input, Machine, Measure, Surroundings, set_fields, too_large};
use crate::engine::states::{self, Change, Followed, HeldState};
use crate::engine::waits::{Closing, Place};
use crate::model::activation::{Requester, RunEnd, RunOutcome};
use crate::model::happening::{StateChange, What};
use crate::model::id::JobId;
use crate::model::job::JobOutcome;
use crate::model::port::Commit;
use crate::model::record::{Batch, Fact, LaneId, StepNumber, Write};
use crate::model::size;
use crate::model::time::Timestamp;
use crate::model::value::Value;
use crate::plan::pipeline::Verb;

/// What a run decides on.
#[derive(Clone)]
pub(super) enum Next {
    /// Something that came in.
    Input(Input),
    /// Fields of the state that a step sets.
    Set(LaneId, StepNumber),
}

/// What was decided, before anybody was given it.
pub(super) struct Decided {
    /// Those that the run went ahead of, and behind them what was decided now.
    pub(super) facts: Vec<Fact>,
    /// How many of them stand before those of this decision.
    pub(super) own: usize,
    pub(super) commands: Vec<Command>,
}

impl Decided {
    /// The facts of this decision.
    pub(super) fn own(&self) -> &[Fact] {
        self.facts.get(self.own..).unwrap_or_default()
    }
}

/// What was decided and is on its way: one decision, behind those that the run went ahead of. Boxed wherever it goes: one future hands it to the
/// next, and each would hold it once more.
pub(super) struct Given {
    /// How many facts the run had before these.
    pub(super) first: u64,
    pub(super) facts: Arc<Vec<Fact>>,
    /// The decisions that the run went ahead of: noted and carried out already, but not told.
    pub(super) before: Vec<Decision>,
    /// What the last decision was made on; `None` if the run went ahead of all of them.
    pub(super) on: Option<Next>,
    /// How many of the facts stand before those of the last decision.
    pub(super) own: usize,
    pub(super) commands: Vec<Command>,
    /// `None` if nothing was decided that had to be kept.
    pub(super) commit: Option<Commit>,
    pub(super) changes: Changes,
}

impl Given {
    /// The facts of the last decision: what follows from them is not done yet.
    pub(super) fn own(&self) -> &[Fact] {
        self.facts.get(self.own..).unwrap_or_default()
    }
}

/// How the state has changed with a batch: told once that is kept.
#[derive(Default)]
pub(super) struct Changes {
    /// What a step has set.
    set: Option<Change>,
    /// What followed from the end of jobs that had promised something.
    followed: Vec<(JobId, Followed)>,
    /// Jobs that have succeeded and whose promises stay.
    stay: Vec<JobId>,
}

impl Driver {
    /// Decides, and gives to the store what comes of it; `None` if the run goes on without that.
    pub(super) fn give(&mut self, next: Next) -> Option<Box<Given>> {
        let (first, on) = (self.state.facts(), next.clone());
        let (lane, step) = match next {
            Next::Input(input) => {
                let decided = self.decide(input);
                if self.may_go_ahead(decided.own(), &decided.commands) {
                    self.take_note(decided.own());
                    self.gather(on, first, decided);
                    return None;
                }
                return Some(self.give_decided(decided, first, on, None));
            }
            Next::Set(lane, step) => (lane, step),
        };
        Some(self.give_set(lane, step, first, on, None))
    }

    /// Decides, and gives that to the store. A step that comes to more than a store takes fails.
    pub(super) fn give_measuring(&mut self, next: Next) -> Box<Given> {
        let (first, on, measure) = (self.state.facts(), next.clone(), Some(Measure::default()));
        match next {
            Next::Input(input) => {
                let pipeline_state = self.pipeline_state();
                let decided = self.decide_seeing(input, &pipeline_state, measure);
                self.give_decided(decided, first, on, None)
            }
            Next::Set(lane, step) => self.give_set(lane, step, first, on, measure),
        }
    }

    /// Sets fields of the state, decides what follows, and gives both to the store.
    fn give_set(&mut self, lane: LaneId, step: StepNumber, first: u64, on: Next, measure: Option<Measure>) -> Box<Given> {
        let Some(cell) = self.cell.clone() else {
            let decided = self.decide_seeing(Input::StateSet { lane, step, result: Err(no_state()) }, &Value::null(), measure);
            return self.give_decided(decided, first, on, None);
        };
        let installed = Arc::clone(&self.installed);
        let (settings, revision) = (&installed.bound.pipeline.state, installed.bound.pipeline.revision);
        let mut held = cell.hold();
        let (ports, now) = (&self.shared.ports, self.shared.ports.clock.now());
        let fields = |state: &Value| {
            let fields = set_fields(&self.state, lane, step, &Surroundings { now, random: &*ports.random, state })?;
            match measure.map(|_| size::of(&fields)) {
                // Its output says what was there before, too, and the state is kept as a whole.
                Some(bytes) if bytes > size::MOST / 4 => Err(too_large(bytes)),
                _ => Ok(fields),
            }
        };
        let changed = held.change(settings, fields, || {
            let depends = matches!(&self.state.flow().step(step).verb, Verb::Set(fields) if states::depends_on_state(fields));
            depends.then(|| self.fields(lane, step))
        });
        let mut set = None;
        let result = changed.map(|change| {
            let value = change.to_value();
            set = Some(change);
            value
        });
        let pipeline_state = held.view(settings, revision);
        let decided = self.decide_seeing(Input::StateSet { lane, step, result }, &pipeline_state, measure);
        self.give_decided(decided, first, on, Some((held, set)))
    }

    /// Decides, with the state as it is at this moment.
    pub(super) fn decide(&mut self, input: Input) -> Decided {
        let pipeline_state = self.pipeline_state();
        self.decide_seeing(input, &pipeline_state, None)
    }

    fn decide_seeing(&mut self, input: Input, pipeline_state: &Value, measure: Option<Measure>) -> Decided {
        let around = Surroundings { now: self.shared.ports.clock.now(), random: &*self.shared.ports.random, state: pipeline_state };
        let behind = std::mem::take(&mut self.gathered.facts);
        let (own, room) = (behind.len(), std::mem::take(&mut self.room));
        let (facts, commands) = Machine::decide_behind(&mut self.state, input, &around, measure, (behind, room));
        Decided { facts, own, commands }
    }

    /// `set` is the state, if it is held already, and what was set in it.
    pub(super) fn give_decided(
        &mut self,
        Decided { facts, own, commands }: Decided,
        first: u64,
        on: Next,
        set: Option<(HeldState<'_>, Option<Change>)>,
    ) -> Box<Given> {
        let (first, before) = std::mem::take(&mut self.gathered).before(first);
        let facts = Arc::new(facts);
        let (held, set) = set.unzip();
        let mut changes = Changes { set: set.flatten(), ..Changes::default() };
        let mut writes = self.beside(&facts);
        let cell = if self.promised.is_empty() { None } else { self.cell.clone() };
        let held = held.or_else(|| {
            let settles = |fact: &Fact| matches!(fact, Fact::JobEnded { job, .. } if self.promised.contains(job));
            cell.as_ref().filter(|_| facts.iter().any(settles)).map(|cell| cell.hold())
        });
        let held = held.map(|mut held| {
            writes.extend(self.change_state(&mut held, &facts, &mut changes));
            held
        });
        let commit = self.commit(first, &facts, writes, &commands);
        drop(held);
        Box::new(Given { first, facts, before, on: Some(on), own, commands, commit, changes })
    }

    /// What stands or falls with these facts and is in no state and no table of dedup and cache.
    pub(super) fn beside(&self, facts: &[Fact]) -> Vec<Write> {
        let mut writes = self.closing_waits(facts);
        if matches!(facts.first(), Some(Fact::Began(_))) && self.state.flow().durable {
            writes.extend(self.installed.bundle_write());
        }
        if let Some(Fact::Ended { outcome, at }) = facts.last() {
            writes.extend(self.requester.as_ref().and_then(|requester| self.answer(&**requester, outcome, facts)));
            if self.state.flow().durable {
                writes.extend(self.letters(outcome, *at));
            }
        }
        writes
    }

    /// What this end means for the dead letters: nobody waited for the run and it did not go well, or one of it goes, since it has come to its end
    /// after all.
    fn letters(&self, outcome: &RunOutcome, at: Timestamp) -> Vec<Write> {
        let (letters, beginning) = (&self.shared.dead_letters, self.state.beginning());
        let of_run = if is_heard(self.requester.as_deref()) { Vec::new() } else { letters.of_run(beginning, outcome, at) };
        match outcome {
            RunOutcome::Parked { .. } => of_run,
            _ if of_run.is_empty() => letters.forget_run(beginning).into_iter().collect(),
            _ => of_run,
        }
    }

    /// Facts for the store, with what stands or falls with them.
    pub(super) fn batch(&self, first: u64, facts: &Arc<Vec<Fact>>, writes: Vec<Write>) -> Batch {
        let (due, durable) = (self.state.next_due(), self.state.flow().durable);
        Batch { writes, due, durable, ..Batch::of(self.state.beginning().run, first, Arc::clone(facts)) }
    }

    /// What the jobs that end have promised stays or is taken back. Returns what is kept of the state, if anything has changed.
    fn change_state(&mut self, held: &mut HeldState<'_>, facts: &[Fact], changes: &mut Changes) -> Option<Write> {
        let installed = Arc::clone(&self.installed);
        let settings = &installed.bound.pipeline.state;
        let mut changed = changes.set.is_some();
        for fact in facts {
            let Fact::JobEnded { job, outcome, .. } = fact else { continue };
            let Some(index) = self.promised.iter().position(|other| other == job) else { continue };
            self.promised.swap_remove(index);
            let succeeded = matches!(outcome, JobOutcome::Succeeded { .. });
            let followed = held.settle(settings, *job, succeeded);
            changes.stay.extend(succeeded.then_some(*job));
            changes.followed.extend(followed.into_iter().map(|followed| (*job, followed)));
            changed = true;
        }
        #[cfg(test)]
        if planted::is(planted::Defect::KeepsNoState) {
            return None;
        }
        let beginning = self.state.beginning();
        changed.then(|| held.kept(&beginning.pipeline, beginning.state_key.as_deref())).flatten()
    }

    /// Gives it all to the store. Results of dedup and cache are added to it while their tables are held.
    pub(super) fn commit(&self, first: u64, facts: &Arc<Vec<Fact>>, mut writes: Vec<Write>, commands: &[Command]) -> Option<Commit> {
        let store = &self.shared.ports.store;
        if facts.is_empty() {
            return (!writes.is_empty()).then(|| store.write(writes));
        }
        let give = |writes| Some(self.hand_over(self.batch(first, facts, writes), commands));
        if self.claims.is_empty() {
            return give(writes);
        }
        let ended: Vec<(JobId, &Claim, &JobOutcome)> = facts.iter().filter_map(|fact| self.claimed_end(fact)).collect();
        if ended.is_empty() {
            return give(writes);
        }
        self.shared.flights.keep(&ended, self.shared.ports.clock.now(), |results| {
            #[cfg(test)]
            let results = if planted::is(planted::Defect::KeepsNoResults) { Vec::new() } else { results };
            writes.extend(results);
            give(writes)
        })
    }

    /// The end of a job that has asked the tables of dedup and cache.
    fn claimed_end<'a>(&'a self, fact: &'a Fact) -> Option<(JobId, &'a Claim, &'a JobOutcome)> {
        let Fact::JobEnded { job, outcome, .. } = fact else { return None };
        let (_, claim) = self.claims.iter().find(|(other, _)| other == job)?;
        Some((*job, claim, outcome))
    }

    /// What is kept of the waits that are over with these facts.
    fn closing_waits(&self, facts: &[Fact]) -> Vec<Write> {
        if !self.meets || facts.is_empty() {
            return Vec::new();
        }
        let run = self.state.beginning().run;
        let began = facts.iter().filter_map(|fact| match fact {
            Fact::WaitBegan { lane, step, matching, .. } => Some((*lane, *step, wait_keys(&self.state, *step, matching)?)),
            _ => None,
        });
        let known = self.listening.iter().map(|listening| (listening.lane, listening.step, listening.keys.clone()));
        let is_over = self.state.ended().is_some();
        let over = known.chain(began).filter_map(|(lane, step, keys)| {
            let took = facts.iter().find_map(|fact| match fact {
                Fact::WaitEnded { lane: of, step: ended, event: Some(event), .. } if (*of, *ended) == (lane, step) => Some(event.id),
                _ => None,
            });
            let is_open = !is_over && took.is_none() && self.state.waits().any(|wait| (wait.lane, wait.step) == (lane, step));
            (!is_open).then(|| (Place { run, lane, step }, keys, took.map_or(Closing::GivenUp, Closing::Took)))
        });
        self.shared.waits.closing(run, over, self.shared.ports.clock.now())
    }

    /// What is kept of the run's end for whoever asks for the same again.
    fn answer(&self, requester: &dyn Requester, outcome: &RunOutcome, facts: &[Fact]) -> Option<Write> {
        let reply = facts.iter().find_map(|fact| match fact {
            Fact::Replied { reply } => Some(reply),
            _ => None,
        });
        let (run, degraded, output) = (self.state.beginning().run, self.state.is_degraded(), self.state.output());
        requester.keeps(&RunEnd { run, outcome: outcome.clone(), degraded, output }, reply)
    }

    /// What jobs that have succeeded promised stays for good: that is kept.
    pub(super) fn confirm(&self, changes: &Changes) {
        let Some(cell) = &self.cell else { return };
        changes.stay.iter().for_each(|job| cell.confirm(*job));
    }

    /// Tells what was set, or what followed from the end of that job.
    pub(super) fn tell_changes(&self, changes: &mut Changes, of: Option<JobId>) {
        let key = || self.state.beginning().state_key.clone();
        if of.is_none()
            && let Some(Change { version, after, .. }) = changes.set.take()
            && self.shared.ports.sink.wants_routine()
        {
            self.tell(Some(What::StateSet { key: key(), version, change: StateChange::Set, after, because: None }));
        }
        for (_, followed) in changes.followed.extract_if(.., |(job, _)| Some(*job) == of) {
            let Followed { version, change, after, because } = followed;
            self.tell(Some(What::StateSet { key: key(), version, change, after, because }));
        }
    }

    /// The store did not take the batch: what was changed with it is as if it had never been, as far as nobody has built on it. What was taken back
    /// stays so and is told, since the job of it will not succeed any more.
    pub(super) fn take_back(&mut self, refused: &mut Refused) {
        if let (Some(cell), Some(change)) = (&self.cell, refused.given.changes.set.take()) {
            cell.refused(change.version, &change.before);
        }
        // A success that is not kept is none: what it promised is settled by what the job comes to instead.
        let Given { facts, changes, .. } = &mut *refused.given;
        self.promised.append(&mut changes.stay);
        for (job, claim, _) in facts.iter().filter_map(|fact| self.claimed_end(fact)) {
            self.shared.flights.take_back(job, claim);
        }
        let jobs: Vec<JobId> = changes.followed.iter().map(|(job, _)| *job).collect();
        jobs.into_iter().for_each(|job| self.tell_changes(changes, Some(job)));
    }
}
