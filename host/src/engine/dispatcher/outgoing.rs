//! How a run's events go out: each waits for room where it has to, and the run hears meanwhile what it must hear.

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::engine::handle::Ports;
use crate::engine::run::Input;
use crate::model::cancel::CancelSignal;
use crate::model::event::Event;
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
        let Ports { clock, activity, .. } = &self.shared.ports;
        let due = self.state.next_due();
        let is_heard = self.heard;
        let interrupted = tokio::select! {
            biased;
            () = &mut waiting => false,
            () = self.control.signal.cancelled(), if !is_heard => true,
            () = clock.sleep_until(due.unwrap_or(Timestamp::MAX)), if due.is_some() => {
                // What is due counts before whatever has come meanwhile.
                self.inputs.push_front(Input::Tick);
                true
            }
        };
        if interrupted {
            let (stop, busy) = (self.shared.stop.clone(), activity.enter());
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
}

/// Waits for room until the host stops; who has not got the event by then goes without, which is told.
async fn until_stopped(waiting: BoxFuture<'static, ()>, stop: &CancelSignal) {
    tokio::select! {
        biased;
        () = waiting => {}
        () = stop.cancelled() => {}
    }
}
