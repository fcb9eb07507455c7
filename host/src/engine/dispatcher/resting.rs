//! When a run may leave its task, and how it goes on in the next one.

use super::giving::Next;
use super::publishing::Listening;
use super::{Driver, Driving};
use crate::clock::Busy;
use crate::engine::resting::Held;
use crate::engine::shared::resting::REST;
use crate::engine::view::RunStatus;

impl Driver {
    /// Leaves the task, if the run only waits and nothing is due soon. What is left behind is in the store, but for what it holds.
    pub(super) fn rest(&mut self) -> bool {
        if !self.only_waits() {
            return false;
        }
        let due = self.state.next_due();
        if due.is_some_and(|due| due <= self.shared.ports.clock.now() + REST) {
            return false;
        }
        let is_held = self.requester.is_some() || self.cell.is_some() || !self.cancel_keys.is_empty();
        let held = is_held
            .then(|| Box::new(Held { requester: self.requester.clone(), cell: self.cell.clone(), cancel_keys: self.cancel_keys.clone() }));
        self.rested = self.shared.lay_down(self.state.beginning().run, due, &self.control, held);
        self.rested
    }

    /// Says where it stands, for whoever looks at it while it waits.
    pub(super) fn stand(&self) {
        let is_idle = self.works.is_empty() && self.answers.is_empty();
        self.control.stands(if is_idle { RunStatus::at_rest(&self.state) } else { RunStatus::Running });
    }

    /// Whether nothing of it is under way but open waits and sleeps. One that was cancelled or unwinds stays: it is soon over.
    fn only_waits(&self) -> bool {
        let is_idle = self.works.is_empty() && self.answers.is_empty() && self.claims.is_empty() && self.promised.is_empty();
        is_idle
            && !self.heard
            && self.asked.is_none()
            && self.behind.as_ref().is_none_or(tokio::task::JoinHandle::is_finished)
            && self.state.jobs().next().is_none()
            && self.state.may_rest()
    }

    /// One that rested and whose waits others find as before.
    pub fn awake(driving: Driving) -> Box<Self> {
        let mut driver = Self::new(driving);
        driver.listening = driver.state.waits().filter_map(|wait| Listening::of(&driver.state, wait)).collect();
        driver
    }

    /// Goes on with whatever woke it, as if it had waited in its task.
    pub async fn wake(mut self: Box<Self>, mut busy: Busy) {
        let input = self.wait(&mut busy).await;
        self.go(Next::Input(input), busy).await;
    }
}
