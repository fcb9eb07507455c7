//! The beginning of a run that has its place: its first facts are kept, then it goes on in a task of its own, or in its caller's while it is
//! short.

use std::cell::Cell;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::oneshot;

use super::admitting::settle;
use super::{Shared, Ticket};
use crate::clock::Busy;
use crate::engine::dispatcher::{Driver, Driving, Opening};
use crate::engine::refusal::{is_doubtful, refusal};
use crate::engine::run::RunState;
use crate::engine::telling::run_label;
use crate::model::activation::{Admission, Requester, RunEnd, RunOutcome};
use crate::model::cancel::CancelSignal;
use crate::model::failure::{Failure, FailureKind};
use crate::model::happening::{Happening, What};
use crate::model::job::CancelReason;
use crate::model::port::{Clock, Receipt, StoreError};
use crate::model::record::Beginning;
use crate::model::value::Value;
use crate::policy::deadline;

/// So long until a store that was full is asked again, where nobody who asked waits for the answer.
pub(super) const FULL: Duration = Duration::from_secs(1);

/// A run whose first facts are on their way into the store. Boxed wherever it goes: one future hands it to the next.
pub(super) struct Starting {
    pub(super) driver: Box<Driver>,
    pub(super) opening: Opening,
    pub(super) beginning: Arc<Beginning>,
    pub(super) requester: Option<Arc<dyn Requester>>,
    pub(super) receipt: Option<Box<dyn Receipt>>,
    /// Told what became of it, if somebody waits for that.
    pub(super) told: Option<oneshot::Sender<Result<(), Failure>>>,
    pub(super) busy: Busy,
}

impl Shared {
    /// Starts a run that waited for its place.
    pub(super) fn start(&self, mut ticket: Box<Ticket>) {
        let Some(shared) = self.weak.upgrade() else { return };
        // Counted from here, so that no clock takes the moment before its first turn for quiet.
        let busy = self.ports.activity.enter();
        self.tasks.spawn(async move {
            let queued = match ticket.queued.take() {
                Some(queued) => {
                    ticket.after_queue = true;
                    queued.kept().await
                }
                None => Ok(()),
            };
            if let Err(error) = queued {
                // Whoever asked was told that it is not admitted.
                shared.left(ticket.beginning.run);
                let is_buried = ticket.beginning.event.is_some() || ticket.beginning.part.is_some();
                if is_buried && matches!(error, StoreError::TooLarge { .. }) {
                    // It was said with its dead letter.
                    return;
                }
                return shared.not_begun(&ticket.beginning, None, ticket.started.take(), &error);
            }
            let told = ticket.started.take();
            if let Some(starting) = shared.open(ticket, told, busy).await {
                shared.keep_first(starting, None).await;
            }
        });
    }

    /// Begins a run that has its place. Returns when its first facts are kept, unless nobody waits for that.
    pub(super) async fn begin(&self, ticket: Box<Ticket>) -> Admission {
        let (run, waits) = (ticket.beginning.run, ticket.waits);
        let is_quick = ticket.installed.is_quick(&ticket.flow.name);
        let opened = self.open(ticket, None, self.ports.activity.enter()).await;
        let Some(mut starting) = opened else { return Admission::Refused(broken_off()) };
        // In memory it is kept at once, and nobody has to wait.
        let first = starting.opening.poll_once();
        if first == Some(Ok(())) {
            settle(starting.receipt.take());
            match () {
                () if starting.driver.is_over(&starting.opening) => self.end_here(*starting),
                () if is_quick => self.drive_here(starting).await,
                () => self.drive(starting),
            }
            return Admission::Started(run);
        }
        let Some(shared) = self.weak.upgrade() else { return Admission::Refused(broken_off()) };
        let (sender, told) = waits.then(oneshot::channel).unzip();
        starting.told = sender;
        // In a task of its own, so that it goes on if whoever asked goes away.
        self.tasks.spawn(shared.kept_first(starting, first));
        match told {
            None => Admission::Started(run),
            Some(told) => match told.await {
                Ok(Ok(())) => Admission::Started(run),
                Ok(Err(failure)) => Admission::Refused(failure),
                Err(_) => Admission::Refused(broken_off()),
            },
        }
    }

    /// Waits until its first facts are kept, and drives it.
    async fn keep_first(&self, mut starting: Box<Starting>, first: Option<Result<(), StoreError>>) {
        let mut result = match first {
            Some(result) => result,
            None => starting.opening.kept().await,
        };
        if matches!(result, Err(StoreError::TooLarge { .. })) && starting.driver.offer_alone(&mut starting.opening) {
            result = starting.opening.kept().await;
        }
        let patient = starting.told.is_none();
        while patient && is_full(&result) && is_room_awaited(&self.ports.clock, &self.stop, &mut starting.busy).await {
            starting.driver.offer_again(&mut starting.opening);
            result = starting.opening.kept().await;
        }
        let Err(error) = result else {
            settle(starting.receipt.take());
            if let Some(told) = starting.told.take() {
                let _ = told.send(Ok(()));
            }
            return self.carry_on(starting).await;
        };
        let Starting { driver, beginning, requester, receipt, told, .. } = *starting;
        let is_durable = driver.is_durable();
        // Nothing was kept, so that nothing follows.
        drop(driver);
        self.left(beginning.run);
        let is_buried = match receipt {
            Some(receipt) => self.bury(&beginning, is_durable, receipt, &error).await,
            None => told.is_none() && self.bury_part(&beginning, is_durable, &refusal(&error)).await,
        };
        if is_buried {
            return;
        }
        self.not_begun(&beginning, requester.as_deref(), told, &error);
    }

    fn not_begun(
        &self,
        beginning: &Beginning,
        requester: Option<&dyn Requester>,
        told: Option<oneshot::Sender<Result<(), Failure>>>,
        error: &StoreError,
    ) {
        let failure = refusal(error);
        // Who is still there says what became of it; else it is said here.
        if told.is_some_and(|told| told.send(Err(failure.clone())).is_ok()) {
            return;
        }
        if is_doubtful(error) {
            // It may be recorded, and then the next start goes on with it: nobody hears of an end that it does not have.
            self.tell(What::NotAdmitted { target: format!("{}.{}", beginning.pipeline, beginning.flow), reason: failure.to_string() });
            requester.into_iter().for_each(|requester| requester.left(beginning.run));
            return;
        }
        let outcome = RunOutcome::Failed { failure };
        // Nothing of it is kept that could be looked at.
        let what = What::RunEnded { outcome: outcome.clone(), elapsed: Duration::ZERO, unheard: None };
        self.ports.sink.accept(Happening { time: self.ports.clock.now(), run: Some(run_label(beginning)), what });
        if let Some(requester) = requester {
            requester.end(&RunEnd { run: beginning.run, outcome, degraded: false, output: Value::null() });
        }
    }

    /// Ends a run that is over with its first facts: without a task, since there is nothing to wait for.
    fn end_here(&self, starting: Starting) {
        let Starting { driver, opening, beginning, requester, .. } = starting;
        if catch_unwind(AssertUnwindSafe(|| driver.end_at_once(opening))).is_err() {
            self.broke_off(&beginning, requester.as_deref());
        }
    }

    /// Drives a run in a task of its own.
    fn drive(&self, starting: Box<Starting>) {
        let Some(shared) = self.weak.upgrade() else { return };
        self.tasks.spawn(shared.carried_on(starting));
    }

    /// Drives a run in the caller's own task: to its end, if it never has to wait; else it goes on in a task of its own.
    ///
    /// Only for flows whose runs are short by experience: making a task and going over to it costs as much as such a run's work, while
    /// the others are worth another thread.
    async fn drive_here(&self, starting: Box<Starting>) {
        let Some(shared) = self.weak.upgrade() else { return };
        let mut task = shared.carried_on(starting);
        // Who waits for all tasks waits for this one too.
        let counted = self.tasks.token();
        let is_over = match Turn::begin() {
            Some(_turn) => poll_fn(|context| Poll::Ready(task.as_mut().poll(context).is_ready())).await,
            None => false,
        };
        if !is_over {
            self.tasks.spawn(task);
        }
        drop(counted);
    }

    /// Boxed: spawning moves a future about several times.
    pub(super) fn kept_first(self: Arc<Self>, starting: Box<Starting>, first: Option<Result<(), StoreError>>) -> BoxFuture<'static, ()> {
        Box::pin(async move { self.keep_first(starting, first).await })
    }

    fn carried_on(self: Arc<Self>, starting: Box<Starting>) -> BoxFuture<'static, ()> {
        Box::pin(async move { self.carry_on(starting).await })
    }

    async fn carry_on(&self, starting: Box<Starting>) {
        let Starting { driver, opening, beginning, requester, busy, .. } = *starting;
        if AssertUnwindSafe(driver.drive(opening, busy)).catch_unwind().await.is_err() {
            self.broke_off(&beginning, requester.as_deref());
        }
    }

    /// Decides how a run that has its place begins, and gives that to the store; a run that is short by experience goes on before, as far as it only
    /// computes. Waits for nothing. `None` if that panicked, which is told.
    async fn open(&self, ticket: Box<Ticket>, told: Option<oneshot::Sender<Result<(), Failure>>>, busy: Busy) -> Option<Box<Starting>> {
        let shared = self.weak.upgrade()?;
        let is_quick = ticket.installed.is_quick(&ticket.flow.name);
        let due = deadline::earliest(ticket.beginning.at, ticket.own_deadline, ticket.beginning.deadline);
        let mut beginning = ticket.beginning;
        if beginning.deadline != due {
            Arc::make_mut(&mut beginning).deadline = due;
        }
        let control = ticket.control;
        if self.stopping.load(Ordering::SeqCst) {
            control.cancel(CancelReason::Shutdown);
        }
        let pipeline = &ticket.installed.bound.pipeline;
        let cancel_keys = ticket.cancel_keys;
        if ticket.installed.meets(&beginning.flow) {
            self.waits.begin(beginning.run, pipeline);
            self.waits.cancel_on(beginning.run, &cancel_keys);
        }
        let mut state = RunState::new(Arc::clone(pipeline), ticket.flow, Arc::clone(&beginning));
        if ticket.after_queue {
            state = state.after_queue();
        }
        let requester = ticket.requester.clone();
        // Made now and not at the door, so that whoever is sent away leaves no state behind.
        let has_state = !ticket.installed.bound.pipeline.state.initial.is_empty();
        let cell = has_state.then(|| self.states.cell(&beginning.pipeline, beginning.state_key.as_deref()));
        let mut driver =
            Driver::new(Driving { shared, installed: ticket.installed, state, cell, requester: ticket.requester, control, cancel_keys });
        let mut copied = ticket.copied;
        let opening = poll_fn(|context| {
            let open = || {
                let turn = is_quick.then(Turn::begin).flatten();
                driver.open(std::mem::take(&mut copied), turn.is_some().then_some(context))
            };
            Poll::Ready(catch_unwind(AssertUnwindSafe(open)))
        });
        let Ok(opening) = opening.await else {
            drop(driver);
            self.broke_off(&beginning, requester.as_deref());
            return None;
        };
        Some(Box::new(Starting { driver, opening, beginning, requester, receipt: ticket.receipt, told, busy }))
    }
}

fn broken_off() -> Failure {
    Failure::new(FailureKind::Bug, "pipehost made a mistake when it began this run; please report it").with_code("panic")
}

/// Whether the store takes nothing new at this moment: it has no room, or another program holds it.
pub(super) const fn is_full(result: &Result<(), StoreError>) -> bool {
    matches!(result, Err(StoreError::Full(_) | StoreError::Busy(_)))
}

/// Waits until a store that took nothing new may be asked again; false if the host stops first.
pub(super) async fn is_room_awaited(clock: &Arc<dyn Clock>, stop: &CancelSignal, busy: &mut Busy) -> bool {
    let sleep = clock.sleep_until(clock.now() + FULL);
    busy.rest(async {
        tokio::select! {
            biased;
            () = stop.cancelled() => false,
            () = sleep => true,
        }
    })
    .await
}

thread_local! {
    static TAKEN: Cell<bool> = const { Cell::new(false) };
}

/// A run's first turn in its caller's own task. One inside the other never: a chain of them could use up the stack.
pub(super) struct Turn(());

impl Turn {
    /// Begins one; `None` if this thread is within one already: a run that a run starts has a task of its own.
    pub(super) fn begin() -> Option<Self> {
        // Made only then: one that is dropped ends the turn.
        (!TAKEN.replace(true)).then(|| Self(()))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        TAKEN.set(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_turn_at_a_time_on_a_thread() {
        let turn = Turn::begin().expect("the first");
        assert!(Turn::begin().is_none() && Turn::begin().is_none());
        drop(turn);
        assert!(Turn::begin().is_some());
        assert!(Turn::begin().is_some(), "the one before is over");
    }
}
