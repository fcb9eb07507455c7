//! Delivering: the rounds that bring one event to many flows, and who stays with a flow that has to be waited for.
//!
//! A round is a task that goes from flow to flow with an event. Where a flow takes it at once, as most do, that is all; where one has to be
//! waited for, the flow gets a task of its own until its queue is empty, and the round goes on. A task for each flow would be a hop to
//! it and back for each event, which costs more than the delivery.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Either, select};
use tokio::task::coop::consume_budget;
use tokio_util::task::TaskTracker;

use super::STOPPING;
use super::queue::{Letter, Place, Subscriber};
use super::receipt::{Share, Slip, lost};
use super::seen::Seen;
use super::topology::Ears;
use crate::clock::{Activity, Busy};
use crate::model::activation::Admission;
use crate::model::event::Event;
use crate::model::failure::{Failure, FailureKind};
use crate::model::happening::{Happening, What};
use crate::model::port::{Activate, Clock, Sink};

/// So many flows one task goes round to; more are shared out, so that those whose runs take a thread do not all take the same one.
const ROUND: usize = 32;
/// So many events in a row a flow gets in a round; if more are waiting, it gets a task of its own.
const IN_A_ROW: usize = 16;

/// What publishers and deliveries need.
pub(in crate::bus) struct Office {
    pub(in crate::bus) clock: Arc<dyn Clock>,
    pub(in crate::bus) sink: Arc<dyn Sink>,
    pub(in crate::bus) activity: Activity,
    pub(in crate::bus) seen: Mutex<Seen>,
    /// Whom events start; `None` before anybody subscribed.
    pub(in crate::bus) activate: Mutex<Option<Weak<dyn Activate>>>,
    /// All deliveries.
    pub(in crate::bus) tasks: TaskTracker,
}

/// A flow that a round goes to, by its place among those that hear such events, and its part of what follows the event.
pub(in crate::bus) struct Stop {
    pub(in crate::bus) ear: usize,
    pub(in crate::bus) share: Option<Share>,
}

/// How far the deliveries to one flow are.
enum Visit {
    /// What comes next is in its queue.
    Next,
    /// This is to be handed over; with a place if it was waited for.
    Letter(Letter, Option<Place>),
    /// As many runs as may be are on their way into the store.
    NoPlace(Letter),
    /// The flow has not answered yet.
    Unanswered(Letter, BoxFuture<'static, Answer>),
}

/// What a flow says to an event, unless it panics.
type Answer = std::thread::Result<Admission>;

impl Office {
    /// Brings an event to flows that hear it and to whom nobody is delivering.
    pub(in crate::bus) fn go_round(self: &Arc<Self>, event: &Arc<Event>, ears: &Ears, again: bool, mut stops: Vec<Stop>) {
        while !stops.is_empty() {
            let rest = if stops.len() > ROUND { stops.split_off(ROUND) } else { Vec::new() };
            let (office, event, ears, busy) = (Arc::clone(self), Arc::clone(event), Arc::clone(ears), self.activity.enter());
            self.tasks.spawn(async move {
                for Stop { ear, share } in stops {
                    let Some(ear) = ears.get(ear) else { continue };
                    office.call_on(&ear.subscriber, Letter { event: Arc::clone(&event), share, again });
                    // Others on this thread have their turns too.
                    consume_budget().await;
                }
                drop(busy);
            });
            stops = rest;
        }
    }

    /// Gives a flow its next events as long as it takes them at once, and for a little while.
    fn call_on(self: &Arc<Self>, subscriber: &Arc<Subscriber>, first: Letter) {
        let mut visit = Visit::Letter(first, None);
        for _ in 0..IN_A_ROW {
            let Visit::Letter(letter, place) = visit else { break };
            visit = match self.hand_over(subscriber, letter, place) {
                Visit::Next => match subscriber.next() {
                    Some(letter) => Visit::Letter(letter, None),
                    None => return,
                },
                waits => waits,
            };
        }
        let attending = Arc::clone(self).attend(Arc::clone(subscriber), visit, self.activity.enter());
        self.tasks.spawn(attending);
    }

    /// Stays with a flow until its queue is empty, however long that takes; only the end of the subscription ends a wait.
    async fn attend(self: Arc<Self>, subscriber: Arc<Subscriber>, mut visit: Visit, mut busy: Busy) {
        loop {
            visit = match visit {
                Visit::Next => match subscriber.next() {
                    Some(letter) => Visit::Letter(letter, None),
                    None => return,
                },
                Visit::Letter(letter, place) => {
                    consume_budget().await;
                    self.hand_over(&subscriber, letter, place)
                }
                Visit::NoPlace(letter) => {
                    let (place, closing) = (std::pin::pin!(Place::wait(&subscriber)), std::pin::pin!(subscriber.closing.cancelled()));
                    match busy.rest(select(place, closing)).await {
                        Either::Left((place, _)) => Visit::Letter(letter, Some(place)),
                        Either::Right(_) => Visit::Letter(letter, None),
                    }
                }
                Visit::Unanswered(letter, answer) => {
                    let closing = std::pin::pin!(subscriber.closing.cancelled());
                    let admitted = match busy.rest(select(answer, closing)).await {
                        Either::Left((answer, _)) => admitted(answer),
                        Either::Right(_) => Err(lost(subscriber.closed_why())),
                    };
                    self.answered(&subscriber, letter, &admitted);
                    Visit::Next
                }
            };
        }
    }

    /// Starts the flow with the event, unless it has it or takes no more.
    fn hand_over(&self, subscriber: &Arc<Subscriber>, letter: Letter, place: Option<Place>) -> Visit {
        if letter.again && !self.seen().is_new_to(subscriber, &letter.event) {
            letter.share.into_iter().for_each(Share::repeated);
            return Visit::Next;
        }
        if let Some(why) = subscriber.closed() {
            self.give_up(letter, subscriber, why);
            return Visit::Next;
        }
        let Some(place) = place.or_else(|| Place::of(subscriber)) else { return Visit::NoPlace(letter) };
        let activate = self.activate.lock().unwrap_or_else(PoisonError::into_inner).as_ref().and_then(Weak::upgrade);
        let Some(activate) = activate else {
            self.answered(subscriber, letter, &Err(lost(STOPPING)));
            return Visit::Next;
        };
        let slip = Box::new(Slip { share: letter.share.clone(), _place: place });
        // A panic in one handler must not take the others' events with it.
        let (pipeline, flow) = &subscriber.target;
        let answer = catch_unwind(AssertUnwindSafe(|| activate.deliver(pipeline, flow, &letter.event, slip)));
        let answer = match answer {
            Ok(answer) => {
                let mut answer = AssertUnwindSafe(answer).catch_unwind();
                // Mostly there is a place at once.
                match (&mut answer).now_or_never() {
                    Some(answer) => answer,
                    None => return Visit::Unanswered(letter, answer.boxed()),
                }
            }
            Err(panic) => Err(panic),
        };
        self.answered(subscriber, letter, &admitted(answer));
        Visit::Next
    }

    fn answered(&self, subscriber: &Subscriber, letter: Letter, admitted: &Result<(), Failure>) {
        if let Err(why) = admitted {
            // It has not got it: who has it in keeping may bring it again.
            self.seen().forget(letter.event.id, subscriber);
            // What the end of the host takes is told again when it starts anew.
            if letter.share.is_none() || why.message != STOPPING {
                self.undelivered(&letter.event, &subscriber.name, why.message.as_str());
            }
        }
        if let Some(share) = letter.share {
            share.admitted(admitted);
        }
    }

    /// A flow goes without an event. What the end of the host takes is told again when it starts anew, if somebody follows it.
    pub(in crate::bus) fn give_up(&self, letter: Letter, subscriber: &Subscriber, why: impl Into<String>) {
        let why = why.into();
        self.seen().forget(letter.event.id, subscriber);
        match letter.share {
            Some(_) if why == STOPPING => {}
            share => {
                self.undelivered(&letter.event, &subscriber.name, why.as_str());
                if let Some(share) = share {
                    share.give_up(&why);
                }
            }
        }
    }

    fn undelivered(&self, event: &Event, subscriber: &str, reason: impl Into<String>) {
        self.tell(What::Undelivered { undelivered: event.clone(), subscriber: subscriber.to_owned(), reason: reason.into() });
    }

    pub(in crate::bus) fn tell(&self, what: What) {
        self.sink.accept(Happening { time: self.clock.now(), run: None, what });
    }

    pub(in crate::bus) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn admitted(answer: Answer) -> Result<(), Failure> {
    match answer {
        Ok(Admission::Started(_) | Admission::Queued(_) | Admission::Dropped) => Ok(()),
        Ok(Admission::Refused(failure)) => Err(failure),
        Err(_) => {
            let message = "starting the flow panicked: a mistake in pipehost; please report it";
            Err(Failure::new(FailureKind::Bug, message).with_code("panic"))
        }
    }
}
