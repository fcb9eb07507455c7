//! How a run's events and `dispatch`es go out: each waits for room where it has to, and the run hears meanwhile what it must hear.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::engine::handle::Ports;
use crate::engine::run::Input;
use crate::model::cancel::CancelSignal;
use crate::model::event::Event;
use crate::model::id::RunId;
use crate::model::record::Part;
use crate::model::time::Timestamp;

use super::Driver;

impl Driver {
    /// Puts an event on its bus. Where a flow's queue is full, the run waits for it, but hears meanwhile that it is cancelled or that something is due:
    /// then the event waits on behind the run, and all that the run publishes later behind that, so that each flow has them in their order.
    pub(super) async fn send_out(&mut self, event: Event, exported: bool) {
        // What is in memory only is not told again.
        let tracking = self.state.flow().durable.then(|| self.shared.tracking(event.id));
        let before = self.behind.take();
        let is_first = before.is_none();
        let mut waiting = match before {
            None => match self.shared.ports.bus.offer(event, exported, tracking) {
                None => return,
                Some(waiting) => waiting,
            },
            Some(before) => {
                let (bus, activity, stop) = (self.shared.ports.bus.clone(), self.shared.ports.activity.clone(), self.shared.stop.clone());
                async move {
                    // It fails only if it panicked, and then it is over too.
                    drop(activity.rest(before).await);
                    if let Some(waiting) = bus.offer(event, exported, tracking) {
                        until_stopped(waiting, &stop).await;
                    }
                }
                .boxed()
            }
        };
        if self.leaves_behind(&mut waiting).await {
            let (stop, busy) = (self.shared.stop.clone(), self.shared.ports.activity.enter());
            self.behind = Some(self.shared.tasks.spawn(async move {
                let _busy = busy;
                if is_first {
                    until_stopped(waiting, &stop).await;
                } else {
                    // Ends soon after the host stops by itself, and not before its event was offered.
                    waiting.await;
                }
            }));
        }
    }

    /// Sends a run on its way. Where its line is full, the run waits for it as for room for an event; what it leaves behind has no order.
    pub(super) async fn send_off(&mut self, run: RunId, part: &Arc<Part>) {
        let (shared, installed, part) = (Arc::clone(&self.shared), Arc::clone(&self.installed), Arc::clone(part));
        let (flow, by) = (Arc::clone(self.state.shared_flow()), Arc::clone(self.state.beginning()));
        let mut waiting = async move {
            let activity = &shared.ports.activity;
            activity.rest(shared.send_off(&installed, &flow, &by, run, &part)).await;
        }
        .boxed();
        if self.leaves_behind(&mut waiting).await {
            let (stop, busy) = (self.shared.stop.clone(), self.shared.ports.activity.enter());
            self.shared.tasks.spawn(async move {
                let _busy = busy;
                until_stopped(waiting, &stop).await;
            });
        }
    }

    /// Waits for this; true if the run goes on before, since it is cancelled, something is due, or the host stops.
    async fn leaves_behind(&mut self, waiting: &mut BoxFuture<'static, ()>) -> bool {
        let Ports { clock, .. } = &self.shared.ports;
        let (due, is_heard) = (self.state.next_due(), self.heard);
        tokio::select! {
            biased;
            () = waiting => false,
            () = self.control.signal.cancelled(), if !is_heard => true,
            () = clock.sleep_until(due.unwrap_or(Timestamp::MAX)), if due.is_some() => {
                // What is due counts before whatever has come meanwhile.
                self.inputs.push_front(Input::Tick);
                true
            }
        }
    }
}

/// Waits for room until the host stops; who has not got the event by then goes without, which is told.
async fn until_stopped(waiting: BoxFuture<'static, ()>, stop: &CancelSignal) {
    tokio::select! {
        biased;
        () = waiting => {}
        () = stop.cancelled() => {}
    }
}
