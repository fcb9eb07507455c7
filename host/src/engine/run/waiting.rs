//! `wait`: what it begins with, which event it takes, and what is due while nothing comes.

use std::sync::Arc;

use crate::model::event::Event;
use crate::model::failure::Failure;
use crate::model::id::EventType;
use crate::model::record::{Fact, LaneId, LanePurpose, RefusedAnswer, StepNumber};
use crate::model::time::Timestamp;
use crate::model::value::{Map, Value};
use crate::plan::pipeline::{Verb, WaitStep};
use crate::plan::template::Template;
use crate::policy::key;

use super::lanes::Lane;
use super::machine::{Machine, truth};
use super::rest::duration;
use super::scope::{Extra, RunScope};
use super::state::RunState;

/// A wait that goes on.
#[derive(Clone, PartialEq, Debug)]
pub struct OpenWait {
    /// The lane it stands in.
    pub lane: LaneId,
    /// Its step.
    pub step: StepNumber,
    /// What the fields of `match` came to.
    pub matching: Vec<(String, Value)>,
    /// When it began.
    pub since: Timestamp,
    /// When it gives up.
    pub due: Timestamp,
    /// How many reminders were due.
    pub reminders: usize,
}

impl RunState {
    /// The waits that go on.
    pub fn waits(&self) -> impl Iterator<Item = &OpenWait> {
        self.lanes.waits().values()
    }

    /// Whether it goes on only when a wait or a sleep of it does: nobody has to answer it, and its end has not begun.
    pub fn may_rest(&self) -> bool {
        let is_idle = self.ended.is_none() && self.unwinding.is_none() && self.jobs.is_empty() && self.publishing().next().is_none();
        is_idle && (self.waits().next().is_some() || self.lanes.next_rest().is_some())
    }

    /// When something of a wait is due next: a reminder, its end.
    pub(super) fn wait_due(&self, wait: &OpenWait) -> Timestamp {
        self.reminder_due(wait).unwrap_or(wait.due).min(wait.due)
    }

    fn reminder_due(&self, wait: &OpenWait) -> Option<Timestamp> {
        let Verb::Wait(declared) = &self.flow.step(wait.step).verb else { return None };
        let after = declared.remind.as_ref()?.after.get(wait.reminders)?;
        Some(wait.since + *after)
    }

    fn wait(&self, lane: LaneId, step: StepNumber) -> Option<&OpenWait> {
        self.lanes.waits().get(&lane).filter(|wait| wait.step == step)
    }

    /// Takes a fact about a wait into account.
    pub(super) fn apply_to_waits(&mut self, fact: &Fact) {
        match fact {
            Fact::WaitBegan { lane, step, matching, at, due } => self.lanes.begin_wait(OpenWait {
                lane: *lane,
                step: *step,
                matching: matching.clone(),
                since: *at,
                due: *due,
                reminders: 0,
            }),
            Fact::Reminded { lane, reminder, .. } => {
                if let Some(wait) = self.lanes.wait_mut(*lane) {
                    wait.reminders = *reminder as usize + 1;
                }
            }
            Fact::WaitEnded { lane, .. } => self.lanes.end_wait(*lane),
            _ => {}
        }
    }
}

/// The fields of `match` that an answer leaves out.
#[derive(PartialEq, Debug)]
pub enum LeftOut {
    /// They will have to be these.
    Known(Vec<(String, Value)>),
    /// They are not known before the run comes to its wait.
    Unknown(Vec<String>),
}

impl RunScope<'_> {
    /// What an answer leaves out of what the run will ask for. Of several waits the first counts that is not over and whose `match` can be evaluated already; what cancels
    /// the run comes after them.
    pub fn left_out(&self, event: &EventType, given: &Map) -> LeftOut {
        let flow = &self.run.flow;
        let to_come = flow.steps.iter().filter_map(|step| match &step.verb {
            Verb::Wait(wait) if !matches!(self.run.outputs.get(step.number.0 as usize), Some(Some(_))) => Some(&wait.listen),
            _ => None,
        });
        let listens: Vec<_> = to_come.chain(&flow.cancel_on).filter(|listen| listen.types.contains(event)).collect();
        let lacking: Vec<Vec<&(String, Template)>> =
            listens.iter().map(|listen| listen.matching.iter().filter(|(name, _)| !given.contains_key(name)).collect()).collect();
        // Where nothing is waited for any more there is nothing to put in: it comes too late, which is said by whoever knows of waits that are over.
        if lacking.is_empty() || lacking.iter().any(Vec::is_empty) {
            return LeftOut::Known(Vec::new());
        }
        let known = lacking.iter().find_map(|fields| fields.iter().map(|field| self.field(field).ok()).collect());
        let unknown = || lacking.first().into_iter().flatten().map(|(name, _)| name.clone()).collect();
        known.map_or_else(|| LeftOut::Unknown(unknown()), LeftOut::Known)
    }

    /// A field of `match` with what it has to be.
    fn field(&self, (name, template): &(String, Template)) -> Result<(String, Value), Failure> {
        let value = template.evaluate(self)?;
        key::text(&value).map_err(|failure| {
            let message = format!("match {name}: {}", failure.message);
            failure.with_message(message)
        })?;
        Ok((name.clone(), value))
    }
}

impl Machine<'_> {
    pub(super) fn begin_wait(&mut self, lane: &Lane, step: StepNumber, wait: &WaitStep) -> Result<(), Failure> {
        let matching = self.matching(lane, &wait.listen.matching)?;
        let timeout = duration(&self.evaluate(&wait.timeout, lane)?)?;
        self.fits(&matching)?;
        let at = self.around.now;
        self.record(Fact::WaitBegan { lane: lane.id, step, matching, at, due: at + timeout });
        Ok(())
    }

    fn matching(&self, lane: &Lane, declared: &[(String, Template)]) -> Result<Vec<(String, Value)>, Failure> {
        let scope = self.scope(self.extra(lane));
        declared.iter().map(|field| scope.field(field)).collect()
    }

    /// Events came that meet these waits, the one that was opened first in front: the first event that one of them takes is taken, and
    /// those before it are refused. `otherwise` is why, if none of the waits goes on; without it that is no refusal.
    pub(super) fn answered(&mut self, events: &[Arc<Event>], waits: &[(LaneId, StepNumber)], otherwise: Option<RefusedAnswer>) {
        for event in events {
            let open: Vec<_> = waits.iter().copied().filter(|(lane, step)| self.state.wait(*lane, *step).is_some()).collect();
            let taking = open.iter().copied().find(|(lane, step)| self.takes(*lane, *step, event));
            if let Some((lane, step)) = taking {
                return self.take_answer(lane, step, event);
            }
            let (place, reason) = match open.first() {
                Some(first) => (Some(first), Some(RefusedAnswer::Guard)),
                None => (waits.first(), otherwise),
            };
            if let (Some((lane, step)), Some(reason)) = (place, reason) {
                self.record(Fact::AnswerRefused { lane: *lane, step: *step, event: Arc::clone(event), reason });
            }
        }
    }

    /// Whether the guard holds. One that cannot be evaluated does not.
    fn takes(&self, lane: LaneId, step: StepNumber, event: &Event) -> bool {
        let Verb::Wait(wait) = &self.state.flow.step(step).verb else { return false };
        let Some(guard) = &wait.guard else { return true };
        let Some(lane) = self.state.lane(lane) else { return false };
        truth(guard, &self.scope(Extra { event: Some(event), ..self.extra(lane) })).unwrap_or(false)
    }

    fn take_answer(&mut self, lane: LaneId, step: StepNumber, event: &Arc<Event>) {
        self.end_wait(lane, step, Some(Arc::clone(event)));
        self.record(Fact::StepDone { lane, step, output: event.to_value() });
    }

    fn end_wait(&mut self, lane: LaneId, step: StepNumber, event: Option<Arc<Event>>) {
        self.cancel_inside(lane);
        self.record(Fact::WaitEnded { lane, step, event, at: self.around.now });
    }

    /// Looks at what of the waits may be due.
    pub(super) fn tick_waits(&mut self) {
        for wait in self.state.waits().cloned().collect::<Vec<_>>() {
            // One that ended may have taken another with it.
            if self.state.wait(wait.lane, wait.step).is_none() {
                continue;
            }
            let flow = self.flow;
            let Verb::Wait(declared) = &flow.step(wait.step).verb else { continue };
            if wait.due <= self.around.now {
                self.end_wait(wait.lane, wait.step, None);
                self.open_lane(LanePurpose::OnTimeout, declared.on_timeout, Some((wait.lane, wait.step)));
                continue;
            }
            let Some(remind) = &declared.remind else { continue };
            let passed = remind.after.iter().take_while(|after| wait.since + **after <= self.around.now).count();
            for reminder in wait.reminders..passed {
                let reminder = u32::try_from(reminder).unwrap_or(u32::MAX);
                self.record(Fact::Reminded { lane: wait.lane, step: wait.step, reminder, at: Some(self.around.now) });
                self.open_lane(LanePurpose::Reminder(reminder), remind.block, Some((wait.lane, wait.step)));
            }
        }
    }
}
