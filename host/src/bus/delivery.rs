//! One flow's queue and the task that empties it: one event after the other, in the order in which they came.

use std::future::{Future, poll_fn};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::Poll;

use futures_util::FutureExt;
use futures_util::future::{Either, select};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinHandle;

use super::receipt::{Share, Slip, lost};
use super::seen::Seen;
use super::topology::Target;
use super::{Office, QUEUE, STOPPING};
use crate::clock::Busy;
use crate::model::activation::{Activation, Admission, Patience};
use crate::model::cancel::CancelSignal;
use crate::model::event::Event;
use crate::model::failure::{Failure, FailureKind};
use crate::model::port::Activate;

/// So many runs of a flow may be at once on their way into the store. One after the other would be one wait for the disk each.
const STARTING: usize = 256;

/// An event on its way to a flow.
pub(in crate::bus) struct Letter {
    pub(in crate::bus) event: Arc<Event>,
    /// The flow's part of what follows the event, if somebody does.
    pub(in crate::bus) share: Option<Share>,
}

/// What publishers know of a flow.
pub(in crate::bus) struct Subscriber {
    /// As people see it: `pipeline.flow`.
    pub(in crate::bus) name: String,
    pub(in crate::bus) target: Target,
    pub(in crate::bus) queue: mpsc::Sender<Letter>,
    activate: Mutex<Weak<dyn Activate>>,
    closing: CancelSignal,
    why: OnceLock<&'static str>,
}

impl Subscriber {
    /// Starts its deliveries.
    pub(in crate::bus) fn start(target: Target, activate: Weak<dyn Activate>, office: Office) -> (Arc<Self>, JoinHandle<()>) {
        let (queue, events) = mpsc::channel(QUEUE);
        let name = format!("{}.{}", target.0, target.1);
        let (of_all, closing) = (target.clone(), CancelSignal::new());
        let subscriber = Arc::new(Self { name, target: of_all, queue, activate: Mutex::new(activate), closing, why: OnceLock::new() });
        let places = Arc::new(Semaphore::new(STARTING));
        let delivery = Delivery { subscriber: Arc::clone(&subscriber), target, office, places };
        (subscriber, tokio::spawn(delivery.run(events)))
    }

    /// Whom the next events start.
    pub(in crate::bus) fn set(&self, activate: Weak<dyn Activate>) {
        *self.activate() = activate;
    }

    /// Ends its deliveries; what is in the queue is told as undelivered.
    pub(in crate::bus) fn close(&self, why: &'static str) {
        let _first_reason_stays = self.why.set(why);
        self.closing.cancel();
    }

    /// Why it takes no more.
    pub(in crate::bus) fn closed_why(&self) -> &'static str {
        self.why.get().copied().unwrap_or("its deliveries have ended")
    }

    fn activate(&self) -> MutexGuard<'_, Weak<dyn Activate>> {
        self.activate.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Delivery {
    subscriber: Arc<Subscriber>,
    target: Target,
    office: Office,
    /// For those that are on their way into the store.
    places: Arc<Semaphore>,
}

impl Delivery {
    async fn run(self, mut events: mpsc::Receiver<Letter>) {
        let mut busy = self.office.activity.enter();
        let mut seen = Seen::default();
        // One for all events: to begin to listen costs more than to go on with it.
        let mut closing = std::pin::pin!(self.subscriber.closing.cancelled());
        loop {
            // Closing counts more: what is in the queue is told, not started.
            let next = poll_fn(|context| match closing.as_mut().poll(context) {
                Poll::Ready(()) => Poll::Ready(None),
                Poll::Pending => events.poll_recv(context),
            });
            let Some(letter) = busy.rest(next).await else { break };
            if !seen.is_new(letter.event.id) {
                letter.share.into_iter().for_each(Share::repeated);
                continue;
            }
            let id = letter.event.id;
            if !self.deliver(letter, &mut busy).await {
                // It has not got it: who has it in keeping may bring it again.
                seen.forget(id);
            }
        }
        events.close();
        while let Some(letter) = busy.rest(events.recv()).await {
            if seen.is_new(letter.event.id) {
                self.office.give_up(letter, &self.subscriber.name, self.subscriber.closed_why());
            }
        }
    }

    /// Starts the flow, however long that takes; only the end of the subscription ends the wait. Returns whether it was not refused.
    async fn deliver(&self, letter: Letter, busy: &mut Busy) -> bool {
        let share = letter.share.clone();
        let event = Arc::clone(&letter.event);
        let admitted = self.start(letter, busy).await;
        if let Err(why) = &admitted
            // What the end of the host takes is told again when it starts anew.
            && !(share.is_some() && why.message == STOPPING)
        {
            self.office.undelivered(&event, &self.subscriber.name, why.message.as_str());
        }
        if let Some(share) = share {
            share.admitted(&admitted);
        }
        admitted.is_ok()
    }

    async fn start(&self, letter: Letter, busy: &mut Busy) -> Result<(), Failure> {
        let Some(place) = self.place(busy).await else { return Err(lost(self.subscriber.closed_why())) };
        let Some(activate) = self.subscriber.activate().upgrade() else { return Err(lost(STOPPING)) };
        let slip = Box::new(Slip { share: letter.share, _place: place });
        // A panic in one handler must not take the others' events with it.
        let mut admission = std::pin::pin!(AssertUnwindSafe(activate.deliver(self.activation(&letter.event), slip)).catch_unwind());
        let admitted = match admission.as_mut().now_or_never() {
            // Mostly there is a place at once.
            Some(admitted) => admitted,
            None => match busy.rest(select(admission, std::pin::pin!(self.subscriber.closing.cancelled()))).await {
                Either::Left((admitted, _)) => admitted,
                Either::Right(_) => return Err(lost(self.subscriber.closed_why())),
            },
        };
        match admitted {
            Ok(Admission::Started(_) | Admission::Queued(_) | Admission::Dropped) => Ok(()),
            Ok(Admission::Refused(failure)) => Err(failure),
            Err(_) => {
                let message = "starting the flow panicked: a mistake in pipehost; please report it";
                Err(Failure::new(FailureKind::Bug, message).with_code("panic"))
            }
        }
    }

    /// A place among those that are being started; `None` if the subscription ends first.
    async fn place(&self, busy: &mut Busy) -> Option<OwnedSemaphorePermit> {
        if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            return Some(place);
        }
        let place = std::pin::pin!(Arc::clone(&self.places).acquire_owned());
        match busy.rest(select(place, std::pin::pin!(self.subscriber.closing.cancelled()))).await {
            Either::Left((place, _)) => place.ok(),
            Either::Right(_) => None,
        }
    }

    fn activation(&self, event: &Arc<Event>) -> Activation {
        let (pipeline, flow) = self.target.clone();
        Activation { patience: Patience::WaitForRoom, ..Activation::of_event(pipeline, flow, Arc::clone(event)) }
    }
}
