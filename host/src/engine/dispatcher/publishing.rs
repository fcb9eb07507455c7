//! How a run meets others: its events go out and are offered to waits, and events that meet its own waits come in.

use std::sync::Arc;
use std::task::Context;

use futures_util::FutureExt;

use crate::model::event::{Event, Scope};
use crate::model::id::Digest;
use crate::model::record::{Fact, LaneId, RefusedAnswer, StepNumber};
use crate::plan::pipeline::Verb;

use super::Driver;
use crate::engine::run::{Input, OpenWait, RunState};
use crate::engine::shared::offering::{Heard, refusals};
use crate::engine::waits::{Closing, Place, keys};

/// A wait of this run that others can find.
pub(super) struct Listening {
    pub(super) lane: LaneId,
    pub(super) step: StepNumber,
    pub(super) keys: Vec<Digest>,
}

impl Listening {
    /// A wait that others find already.
    pub(super) fn of(state: &RunState, wait: &OpenWait) -> Option<Self> {
        let keys = wait_keys(state, wait.step, &wait.matching)?;
        Some(Self { lane: wait.lane, step: wait.step, keys })
    }
}

impl Driver {
    /// Publishes an event and offers it to whoever waits for it.
    pub(super) async fn publish(&mut self, event: Event) -> Vec<Heard> {
        let exported = event.scope != Scope::Global && self.installed.bound.pipeline.exports.contains(&event.event_type);
        let offered = self.shared.waits.concerns(&event.event_type).then(|| Arc::new(event.clone()));
        self.send_out(event, exported).await;
        offered.map(|event| self.shared.offer(&event, exported)).unwrap_or_default()
    }

    /// Publishes what an `emit` step emits. The step is done when every wait that it met has answered; other lanes go on meanwhile.
    pub(super) async fn publish_step(&mut self, lane: LaneId, step: StepNumber, events: &[Event]) {
        if self.state.flow().step(step).outbox.is_some() {
            // The relay has it in keeping.
            return self.inputs.push_back(Input::Published { lane, step, refused: Vec::new() });
        }
        let mut heard = Vec::new();
        for event in events {
            heard.extend(self.publish(event.clone()).await);
        }
        if heard.is_empty() {
            return self.inputs.push_back(Input::Published { lane, step, refused: Vec::new() });
        }
        let shared = Arc::clone(&self.shared);
        let answers = async move { Input::Published { lane, step, refused: refusals(&shared, heard).await } };
        self.answers.push(answers.boxed());
    }

    /// The next event that others have brought, as an input; who brought it is told once the decision is kept.
    pub(super) fn next_letter(&mut self, context: &Context<'_>) -> Option<Input> {
        let letter = self.control.next_letter(context.waker())?;
        let run = self.state.beginning().run;
        let offer = letter.offer;
        // Asked only now: the wait may have come to its end while the event was on its way.
        let closed = offer.waits.iter().find_map(|wait| self.shared.waits.why_closed(run, *wait, &offer.keys));
        let otherwise = offer.otherwise.or(closed).unwrap_or(RefusedAnswer::Late);
        let input = Input::Answered { events: vec![Arc::clone(&letter.event)], waits: offer.waits, otherwise: Some(otherwise) };
        self.asked = Some((letter.event.id, otherwise, letter.answer));
        Some(input)
    }

    /// What was decided on the event that somebody brought is kept: they are told.
    pub(super) fn tell_asker(&mut self, facts: &[Fact]) {
        let Some((id, otherwise, answer)) = self.asked.take() else { return };
        let decided = facts.iter().find_map(|fact| match fact {
            Fact::WaitEnded { event: Some(event), .. } if event.id == id => Some(None),
            Fact::AnswerRefused { event, reason, .. } if event.id == id => Some(Some(*reason)),
            _ => None,
        });
        // Whoever asked may be gone.
        let _ = answer.send(decided.unwrap_or(Some(otherwise)));
    }

    /// Lets others find the waits that began, and no longer those that are over.
    pub(super) fn follow_waits(&mut self, facts: &[Fact]) {
        let run = self.state.beginning().run;
        for fact in facts {
            match fact {
                Fact::WaitBegan { lane, step, matching, .. } => self.listen(*lane, *step, matching),
                Fact::AnswerRefused { event, .. } => self.shared.waits.used(run, event),
                Fact::WaitEnded { event: Some(event), lane, step, .. } => {
                    self.shared.waits.used(run, event);
                    self.close_waits(|listening| (listening.lane, listening.step) == (*lane, *step), Closing::Took(event.id));
                }
                _ => {}
            }
        }
        if !self.listening.is_empty() {
            let open: Vec<_> = self.state.waits().map(|wait| (wait.lane, wait.step)).collect();
            self.close_waits(|listening| !open.contains(&(listening.lane, listening.step)), Closing::GivenUp);
        }
    }

    /// Lets others find a wait, and takes what came before it.
    pub(super) fn listen(&mut self, lane: LaneId, step: StepNumber, matching: &[(String, crate::model::value::Value)]) {
        let Some(keys) = wait_keys(&self.state, step, matching) else { return };
        let place = Place { run: self.state.beginning().run, lane, step };
        let events = self.shared.waits.open(place, &keys);
        self.listening.push(Listening { lane, step, keys });
        if !events.is_empty() {
            self.inputs.push_back(Input::Answered { events, waits: vec![(lane, step)], otherwise: None });
        }
    }

    /// Nobody finds this run's waits any more.
    pub(super) fn stop_listening(&mut self) {
        if !std::mem::take(&mut self.meets) {
            return;
        }
        self.close_waits(|_| true, Closing::GivenUp);
        let run = self.state.beginning().run;
        self.shared.waits.stop_cancelling(run, &self.cancel_keys);
        self.shared.waits.end(run);
    }

    fn close_waits(&mut self, is_over: impl Fn(&Listening) -> bool, closing: Closing) {
        let (run, now) = (self.state.beginning().run, self.shared.ports.clock.now());
        let waits = &self.shared.waits;
        let mut forgotten = Vec::new();
        self.listening.retain(|listening| {
            let over = is_over(listening);
            if over {
                forgotten.extend(waits.close(Place { run, lane: listening.lane, step: listening.step }, &listening.keys, closing, now));
            }
            !over
        });
        if !forgotten.is_empty() {
            drop(self.shared.ports.store.write(forgotten));
        }
    }
}

/// The keys of a wait; `None` if that step is none.
pub(super) fn wait_keys(state: &RunState, step: StepNumber, matching: &[(String, crate::model::value::Value)]) -> Option<Vec<Digest>> {
    let Verb::Wait(wait) = &state.flow().step(step).verb else { return None };
    // They were keys when the wait began.
    keys(&wait.listen.types, matching).ok()
}
