//! The beginning of a run that has its place: in a task of its own, or in its caller's while it is short.

use std::cell::Cell;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::{Shared, Ticket};
use crate::engine::dispatcher::{Driver, Driving};
use crate::engine::run::RunState;
use crate::model::job::CancelReason;
use crate::model::record::Beginning;
use crate::policy::deadline;

impl Shared {
    /// Starts a run in a task of its own.
    pub(super) fn start(&self, ticket: Box<Ticket>) {
        if let Some(task) = self.task(ticket) {
            self.tasks.spawn(task);
        }
    }

    /// Starts a run in the caller's own task: to its end, if it never has to wait; else it goes on in a task of its own.
    ///
    /// Only for flows whose runs are short by experience: making a task and going over to it costs as much as such a run's work, while
    /// the others are worth another thread.
    pub(super) async fn start_here(&self, ticket: Box<Ticket>) {
        let Some(mut task) = self.task(ticket) else { return };
        // Who waits for all tasks waits for this one too.
        let counted = self.tasks.token();
        let is_over = match Turn::begin() {
            Some(_turn) => std::future::poll_fn(|context| Poll::Ready(task.as_mut().poll(context).is_ready())).await,
            None => false,
        };
        if !is_over {
            self.tasks.spawn(task);
        }
        drop(counted);
    }

    /// The task of a run that has its place. Boxed: spawning moves a future about several times.
    fn task(&self, ticket: Box<Ticket>) -> Option<BoxFuture<'static, ()>> {
        let shared = self.weak.upgrade()?;
        let due = deadline::earliest(ticket.beginning.at, ticket.own_deadline, ticket.beginning.deadline);
        let beginning = Beginning { deadline: due, ..ticket.beginning };
        let control = ticket.control;
        if self.stopping.load(Ordering::SeqCst) {
            control.cancel(CancelReason::Shutdown);
        }
        let beginning = Arc::new(beginning);
        let pipeline = &ticket.installed.bound.pipeline;
        let cancel_keys = ticket.cancel_keys;
        if ticket.installed.meets(&beginning.flow) {
            self.waits.begin(beginning.run, pipeline);
            self.waits.cancel_on(beginning.run, &cancel_keys);
        }
        let state = RunState::new(Arc::clone(pipeline), ticket.flow, Arc::clone(&beginning));
        let requester = ticket.requester.clone();
        // Made now and not at the door, so that whoever is sent away leaves no state behind.
        let has_state = !ticket.installed.bound.pipeline.state.initial.is_empty();
        let cell = has_state.then(|| self.states.cell(&beginning.pipeline, beginning.state_key.as_deref()));
        let driver = Driver::new(Driving {
            shared: Arc::clone(&shared),
            installed: ticket.installed,
            state,
            cell,
            requester: ticket.requester,
            control,
            cancel_keys,
        });
        if let Some(started) = ticket.started {
            let _ = started.send(());
        }
        // Counted from here, so that no clock takes the moment before its first turn for quiet.
        let busy = self.ports.activity.enter();
        Some(Box::pin(async move {
            if AssertUnwindSafe(driver.drive(busy)).catch_unwind().await.is_err() {
                shared.broke_off(&beginning, requester.as_deref());
            }
        }))
    }
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
