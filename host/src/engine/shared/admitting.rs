//! Through the door: what repeats a request, who has a place, and who waits for one.
//!
//! Whoever asks hears that a run was admitted when that is kept: with its beginning, or, where it waits at the door, as a fact of its own.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared as Often};
use tokio::sync::oneshot;

use super::{Shared, Ticket};
use crate::engine::dead_letters::{is_heard, unheard};
use crate::engine::door::{Arrival, Guest};
use crate::engine::idempotency::{self, Fan, Request};
use crate::engine::refusal::refusal;
use crate::engine::telling::run_label;
use crate::model::activation::{Activation, Admission, Patience, Requester, RunEnd, RunOutcome};
use crate::model::failure::{Failure, FailureKind};
use crate::model::happening::{Happening, What};
use crate::model::id::RunId;
use crate::model::job::CancelReason;
use crate::model::port::{Activate, Receipt, StoreError};
use crate::model::record::{Batch, Fact, InboxKey};
use crate::model::value::Value;

/// That a run waits at the door is kept, or on its way into the store.
pub(super) enum Queued {
    Kept,
    OnItsWay(Often<BoxFuture<'static, Result<(), StoreError>>>),
}

impl Queued {
    /// Waits until it is kept.
    pub(super) async fn kept(self) -> Result<(), StoreError> {
        match self {
            Self::Kept => Ok(()),
            Self::OnItsWay(kept) => kept.await,
        }
    }

    fn another(&self) -> Self {
        match self {
            Self::Kept => Self::Kept,
            Self::OnItsWay(kept) => Self::OnItsWay(kept.clone()),
        }
    }
}

impl Shared {
    /// The whole way of an activation. With a receipt it is an event's: nobody waits until the run's first facts are kept, the receipt says it.
    pub(super) async fn take_in(&self, activation: Activation, receipt: Option<Box<dyn Receipt>>) -> Admission {
        let patience = activation.patience;
        let (pipeline, flow) = (activation.pipeline.clone(), activation.flow.clone());
        if let Some(event) = &activation.event {
            let key = InboxKey { pipeline: pipeline.clone(), flow: flow.clone(), event: event.id };
            match self.took_before(key, event).await {
                Ok(false) => {}
                Ok(true) => {
                    settle(receipt);
                    return Admission::Dropped;
                }
                // To start it could be to do twice what is done. The event is told again when the host starts anew.
                Err(error) => return Admission::Refused(refusal(&error)),
            }
        }
        let admission = match self.prepare(activation) {
            Ok(mut ticket) => {
                ticket.waits = receipt.is_none();
                ticket.receipt = receipt;
                match ticket.circles.take() {
                    Some(failure) => Box::pin(self.record_refused(ticket, failure)).await,
                    None if ticket.idempotency.is_some() => Box::pin(self.admit_once(ticket, patience)).await,
                    None => self.admit(ticket, patience).await,
                }
            }
            Err(failure) => {
                // An event that comes when the host stops is told again when it starts anew.
                if failure.code.as_deref() != Some(super::STOPPING) {
                    settle(receipt);
                }
                Admission::Refused(failure)
            }
        };
        let reason = match &admission {
            Admission::Started(_) | Admission::Queued(_) => return admission,
            Admission::Dropped => "dropped: no place is free".to_owned(),
            Admission::Refused(failure) => failure.to_string(),
        };
        self.tell(What::NotAdmitted { target: format!("{pipeline}.{flow}"), reason });
        admission
    }

    /// Through the door, unless it repeats a request that is known.
    async fn admit_once(&self, mut ticket: Box<Ticket>, patience: Patience) -> Admission {
        let Some((key, retention)) = ticket.idempotency else { return self.admit(ticket, patience).await };
        let fan = Fan::new(idempotency::Parts {
            run: ticket.beginning.run,
            request: (format!("{}.{}", ticket.beginning.pipeline, ticket.beginning.flow), key),
            retention,
            own: ticket.requester.take(),
            reply: None,
            repeats: Arc::clone(&self.repeats),
            clock: Arc::clone(&self.ports.clock),
            store: Arc::clone(&self.ports.store),
        });
        let fan = match self.repeats.ask(key, fan, self.ports.clock.now()) {
            Request::First(fan) => fan,
            Request::Repeats(run) => {
                settle(ticket.receipt.take());
                return Admission::Started(run);
            }
            Request::Refused(failure) => {
                settle(ticket.receipt.take());
                return Admission::Refused(failure);
            }
        };
        ticket.requester = Some(Arc::clone(&fan) as Arc<dyn Requester>);
        let admission = self.admit(ticket, patience).await;
        match &admission {
            Admission::Started(_) | Admission::Queued(_) => {}
            Admission::Dropped => fan.refused(&Failure::new(FailureKind::Rejected, "no place was free").with_code("concurrency")),
            Admission::Refused(failure) => fan.refused(failure),
        }
        admission
    }

    pub(super) async fn admit(&self, mut ticket: Box<Ticket>, patience: Patience) -> Admission {
        let run = ticket.beginning.run;
        let (limits, key) = (ticket.limits, ticket.door.clone());
        let started = (patience != Patience::AsDeclared).then(|| {
            let (sender, started) = oneshot::channel();
            ticket.started = Some(sender);
            started
        });
        let (arrival, queued) = {
            let mut door = self.lock_door();
            let arrival = door.arrive(&key, limits, Guest { run, patience, ticket });
            // Under the door's lock: whoever is told to cancel this run finds it either waiting or under way, and that it waits is given to
            // the store before whatever comes of it.
            let queued = match &arrival {
                Arrival::Start(ticket) => {
                    self.register(ticket);
                    None
                }
                Arrival::Waits { outside: false, .. } => door.newest(&key).map(|ticket| self.queue(ticket)),
                _ => None,
            };
            (arrival, queued)
        };
        match arrival {
            Arrival::Start(ticket) => self.begin(ticket).await,
            Arrival::Waits { outside, cancel, superseded } => {
                for guest in superseded {
                    self.never_run(guest.ticket, CancelReason::Replaced);
                }
                for replaced in cancel {
                    self.cancel(replaced, CancelReason::Replaced);
                }
                if let Some(queued) = queued {
                    return self.acknowledge(run, queued).await;
                }
                let Some(started) = started.filter(|_| outside) else { return Admission::Queued(run) };
                let mut waits = Withdraw { shared: self, run: Some(run) };
                let started = started.await;
                waits.run = None;
                match started {
                    Ok(Ok(())) => Admission::Started(run),
                    Ok(Err(failure)) => Admission::Refused(failure),
                    // It was withdrawn while it waited if nobody tells it.
                    Err(_) => Admission::Dropped,
                }
            }
            Arrival::Dropped(mut ticket) => {
                settle(ticket.receipt.take());
                Admission::Dropped
            }
            Arrival::Refused(mut ticket, failure) => {
                settle(ticket.receipt.take());
                Admission::Refused(failure)
            }
        }
    }

    /// Gives to the store that a run waits at the door. What comes back is for whoever waits for that; `None` if nobody does.
    fn queue(&self, ticket: &mut Ticket) -> Option<Queued> {
        // What is kept in memory only is lost with the line itself.
        if !ticket.flow.durable {
            settle(ticket.receipt.take());
            return None;
        }
        let receipt = ticket.receipt.take();
        let patient = receipt.is_some() || !ticket.waits;
        let beginning = Arc::clone(&ticket.beginning);
        let facts = Arc::new(vec![Fact::Queued(Arc::clone(&beginning))]);
        let (run, writes) = (ticket.beginning.run, ticket.installed.bundle_write());
        let batch = move || Batch { writes: writes.clone(), ..Batch::of(run, 0, Arc::clone(&facts)) };
        let mut commit = self.ports.store.commit(batch());
        let first = (&mut commit).now_or_never();
        let queued = match first {
            Some(Ok(())) => {
                settle(receipt);
                Queued::Kept
            }
            first => {
                let (sender, kept) = oneshot::channel();
                let (clock, stop, store) = (Arc::clone(&self.ports.clock), self.stop.clone(), Arc::clone(&self.ports.store));
                let shared = self.weak.upgrade();
                let mut busy = self.ports.activity.enter();
                self.tasks.spawn(async move {
                    let mut result = match first {
                        Some(result) => result,
                        None => commit.await,
                    };
                    while patient && super::starting::is_full(&result) && super::starting::is_room_awaited(&clock, &stop, &mut busy).await {
                        result = store.commit(batch()).await;
                    }
                    match (&result, receipt, shared) {
                        (Ok(()), receipt, _) => settle(receipt),
                        (Err(error), Some(receipt), Some(shared)) => {
                            if shared.bury(&beginning, true, receipt, error).await {
                                // Nobody asked for it who would have to hear that it never runs.
                                drop(shared.lock_door().withdraw(beginning.run));
                            }
                        }
                        (Err(error), None, Some(shared)) if patient => {
                            if shared.bury_part(&beginning, true, &refusal(error)).await {
                                drop(shared.lock_door().withdraw(beginning.run));
                            }
                        }
                        (Err(_), ..) => {}
                    }
                    let _ = sender.send(result);
                });
                let gone = || StoreError::Broken("what is given to it is not answered".to_owned());
                Queued::OnItsWay(async move { kept.await.unwrap_or_else(|_| Err(gone())) }.boxed().shared())
            }
        };
        let waited_for = (!patient).then(|| queued.another());
        ticket.queued = Some(queued);
        waited_for
    }

    /// Waits until it is kept that a run waits at the door.
    async fn acknowledge(&self, run: RunId, queued: Option<Queued>) -> Admission {
        let Some(queued) = queued else { return Admission::Queued(run) };
        match queued.kept().await {
            Ok(()) => Admission::Queued(run),
            Err(error) => {
                // If it has its place by now, its start finds the same.
                drop(self.lock_door().withdraw(run));
                Admission::Refused(refusal(&error))
            }
        }
    }

    /// A run that is over before its first step: recorded as failed, for whoever looks for it.
    async fn record_refused(&self, mut ticket: Box<Ticket>, failure: Failure) -> Admission {
        let at = self.ports.clock.now();
        let outcome = RunOutcome::Failed { failure: failure.clone() };
        let durable = ticket.flow.durable;
        let mut writes = if durable { ticket.installed.bundle_write() } else { Vec::new() };
        let receipt = ticket.receipt.take();
        let is_asked = is_heard(ticket.requester.as_deref());
        let beginning = ticket.beginning;
        if durable && !is_asked {
            writes.extend(self.dead_letters.of_run(&beginning, &outcome, at));
        }
        let facts = vec![Fact::Began(Arc::clone(&beginning)), Fact::Ended { outcome: outcome.clone(), at }];
        let batch = Batch { writes, durable, ..Batch::of(beginning.run, 0, Arc::new(facts)) };
        let failure = match self.ports.store.commit(batch).await {
            Ok(()) => {
                settle(receipt);
                failure
            }
            Err(error) => {
                if let Some(receipt) = receipt {
                    self.bury(&beginning, durable, receipt, &error).await;
                }
                return Admission::Refused(refusal(&error).with_cause(failure));
            }
        };
        let unheard = if is_asked { None } else { unheard(&beginning, &outcome, durable) };
        let what = What::RunEnded { outcome, elapsed: std::time::Duration::ZERO, unheard };
        self.ports.sink.accept(Happening { time: at, run: Some(run_label(&beginning)), what });
        Admission::Refused(failure)
    }

    /// One that waited and never will run still has its one end; if it was recorded that it waited, that is recorded first.
    pub(super) fn never_run(&self, mut ticket: Box<Ticket>, reason: CancelReason) {
        let outcome = RunOutcome::Cancelled { reason };
        let Some(_) = ticket.queued.take() else { return self.tell_never_run(&ticket, outcome) };
        let fact = Fact::Ended { outcome: outcome.clone(), at: self.ports.clock.now() };
        let mut commit = self.ports.store.commit(Batch::of(ticket.beginning.run, 1, Arc::new(vec![fact])));
        if let Some(kept) = (&mut commit).now_or_never() {
            return self.tell_if_kept(kept, &ticket, outcome);
        }
        let Some(shared) = self.weak.upgrade() else { return };
        let busy = self.ports.activity.enter();
        self.tasks.spawn(async move {
            shared.tell_if_kept(commit.await, &ticket, outcome);
            drop(busy);
        });
    }

    /// Refused, it comes up again when the host starts anew: then that is not its end.
    fn tell_if_kept(&self, kept: Result<(), StoreError>, ticket: &Ticket, outcome: RunOutcome) {
        match kept {
            Ok(()) => self.tell_never_run(ticket, outcome),
            Err(_) => ticket.requester.iter().for_each(|requester| requester.left(ticket.beginning.run)),
        }
    }

    fn tell_never_run(&self, ticket: &Ticket, outcome: RunOutcome) {
        let what = What::RunEnded { outcome: outcome.clone(), elapsed: std::time::Duration::ZERO, unheard: None };
        let run = Some(run_label(&ticket.beginning));
        self.ports.sink.accept(Happening { time: self.ports.clock.now(), run, what });
        if let Some(requester) = &ticket.requester {
            requester.end(&RunEnd { run: ticket.beginning.run, outcome, degraded: false, output: Value::null() });
        }
    }
}

pub(super) fn settle(receipt: Option<Box<dyn Receipt>>) {
    if let Some(receipt) = receipt {
        receipt.settle();
    }
}

/// Takes a run that waits outside away from the door again, if whoever brought it goes away first.
struct Withdraw<'a> {
    shared: &'a Shared,
    run: Option<RunId>,
}

impl Drop for Withdraw<'_> {
    fn drop(&mut self) {
        if let Some(run) = self.run {
            self.shared.cancel(run, CancelReason::Requested);
        }
    }
}
