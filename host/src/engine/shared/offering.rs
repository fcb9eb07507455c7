//! An event on its way to the waits of runs, and what they answer.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::Shared;
use crate::engine::control::{Letter, Posted};
use crate::engine::handle::{Emitted, Outside};
use crate::engine::installed::Installed;
use crate::engine::refusal::{UNKNOWN_PIPELINE, refusal};
use crate::engine::shareable;
use crate::engine::waits::Place;
use crate::model::event::{Causation, Event, Scope};
use crate::model::failure::{Failure, FailureKind};
use crate::model::happening::What;
use crate::model::id::{CorrelationId, Digest, EventId, RunId};
use crate::model::job::CancelReason;
use crate::model::port::Activate;
use crate::model::record::{LaneId, RefusedAnswer, StepNumber, Write};

/// A run that an event concerned.
pub struct Heard {
    run: RunId,
    event: Arc<Event>,
    answer: Answer,
}

enum Answer {
    Refused(RefusedAnswer),
    /// Its run has ended; the receiver hears when that is recorded.
    TooLate(RefusedAnswer, oneshot::Receiver<()>),
    Asked(Asked),
}

/// What a run was asked that was under way.
struct Asked {
    decided: oneshot::Receiver<Option<RefusedAnswer>>,
    waits: Vec<(LaneId, StepNumber)>,
    otherwise: Option<RefusedAnswer>,
    keys: Vec<Digest>,
}

impl Shared {
    /// Offers an event to every wait that it meets, and cancels the runs whose `cancel_on` it meets. Each run decides for itself; what it
    /// decided is known by [`refusals`].
    pub fn offer(&self, event: &Arc<Event>, exported: bool) -> Vec<Heard> {
        let found = self.waits.offer(event, exported, self.ports.clock.now());
        if let Some(forgotten) = found.forgotten {
            let reason = "too many events are kept for waits to come, and this is the oldest".to_owned();
            self.tell(What::Undelivered { undelivered: (*forgotten).clone(), subscriber: "waits".to_owned(), reason });
        }
        found.cancels.iter().for_each(|run| self.cancel(*run, CancelReason::Event));
        let heard = |run, answer| Heard { run, event: Arc::clone(event), answer };
        let too_late = |place: Place, reason| heard(place.run, Answer::TooLate(reason, self.refuse_after_end(place, event, reason)));
        let mut all: Vec<Heard> = found.over.into_iter().map(|(place, reason)| too_late(place, reason)).collect();
        for offer in found.offers {
            let run = offer.run;
            let (sender, decided) = oneshot::channel();
            let asked = Asked { decided, waits: offer.waits.clone(), otherwise: offer.otherwise, keys: offer.keys.clone() };
            let posted = self.post(run, Letter { event: Arc::clone(event), offer, answer: sender });
            all.push(heard(run, if posted { Answer::Asked(asked) } else { Answer::Refused(RefusedAnswer::Full) }));
        }
        all.iter().for_each(|heard| {
            if let Answer::Refused(reason) = heard.answer {
                self.tell_refused(heard.run, &heard.event, reason);
            }
        });
        all
    }

    /// Brings a letter to a run; false if there was no room. The letter of a run that has just ended is dropped, which is an answer too.
    fn post(&self, run: RunId, mut letter: Letter) -> bool {
        while let Some(control) = self.reach(run) {
            match control.post(letter) {
                Posted::In => return true,
                Posted::Full => return false,
                // It came to rest in between.
                Posted::Left(back) => letter = back,
            }
        }
        true
    }

    /// Puts an event on a pipeline's bus as from outside.
    pub async fn emit(&self, outside: Outside) -> Result<Emitted, Failure> {
        let installed = self.find(&outside.pipeline);
        self.emit_as(installed, outside).await
    }

    /// The same as the pipeline is in one of its revisions.
    pub(super) async fn emit_as(&self, installed: Option<Arc<Installed>>, outside: Outside) -> Result<Emitted, Failure> {
        let Outside { pipeline, event_type, data, caller, correlation_id } = outside;
        let unknown = || Failure::new(FailureKind::NotFound, format!("there is no pipeline {pipeline}")).with_code(UNKNOWN_PIPELINE);
        let installed = installed.ok_or_else(unknown)?;
        let plan = &installed.bound.pipeline;
        let data = shareable::event_data(plan, &event_type, data)?;
        let (now, random) = (self.ports.clock.now(), &self.ports.random);
        let event = Event {
            id: EventId::new(random.id(now)),
            time: now,
            correlation_id: correlation_id.unwrap_or_else(|| CorrelationId::new(random.id(now))),
            causation: Causation::Outside,
            scope: plan.scope.clone(),
            source: pipeline,
            passed: Vec::new(),
            event_type,
            caller,
            data,
        };
        let exported = event.scope != Scope::Global && plan.exports.contains(&event.event_type);
        let is_heard = self.waits.concerns(&event.event_type) || !self.ports.bus.targets(&event, exported).is_empty();
        let tracking = is_heard.then(|| self.tracking(event.id));
        let event = Arc::new(event);
        if is_heard {
            // Whoever brings it hears that it was taken in only when it cannot be lost any more, whatever those who hear it have made of it by then.
            self.ports.store.write(vec![Write::Emit(Arc::clone(&event))]).await.map_err(|error| refusal(&error))?;
        }
        if let Some(waiting) = self.ports.bus.offer((*event).clone(), exported, tracking) {
            waiting.await;
        }
        let heard = self.offer(&event, exported);
        Ok(Emitted { id: event.id, refused: refusals(self, heard).await })
    }
}

/// Waits until each of these runs has decided; the runs that did not take the event, and why.
pub async fn refusals(shared: &Shared, heard: Vec<Heard>) -> Vec<(RunId, RefusedAnswer)> {
    let mut refused = Vec::new();
    for Heard { run, event, answer } in heard {
        match answer {
            Answer::Refused(reason) => refused.push((run, reason)),
            Answer::TooLate(reason, recorded) => {
                // Without an answer the host ends: it is refused all the same.
                let _ = recorded.await;
                refused.push((run, reason));
            }
            Answer::Asked(Asked { decided, waits, otherwise, keys }) => match decided.await {
                Ok(None) => {}
                Ok(Some(reason)) => refused.push((run, reason)),
                // It ended before it came to it.
                Err(_) => {
                    let closed = waits.iter().find_map(|wait| shared.waits.why_closed(run, *wait, &keys));
                    let reason = closed.or(otherwise).unwrap_or(RefusedAnswer::Late);
                    if let Some((lane, step)) = waits.first() {
                        let place = Place { run, lane: *lane, step: *step };
                        let _ = shared.refuse_after_end(place, &event, reason).await;
                    }
                    refused.push((run, reason));
                }
            },
        }
    }
    refused
}
