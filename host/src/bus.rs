//! Events on their way from whoever emits them to the flows that hear them: scopes, subscriptions, ordered and bounded delivery.

pub mod loop_guard;
pub mod topology;

mod delivery;
mod queue;
mod receipt;
mod seen;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Either, join_all, select};
use indexmap::IndexMap;
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;

use crate::clock::Activity;
use crate::model::event::Event;
use crate::model::failure::Failure;
use crate::model::happening::What;
use crate::model::id::{EventType, FlowName, PipelineName};
use crate::model::port::{Activate, Clock, Sink};
use delivery::{Office, Stop};
use queue::{Letter, Posted, Subscriber};
use receipt::Share;
pub use receipt::Tracking;
use seen::Seen;
use topology::{Ears, Target, by_type};
pub use topology::{Subscription, Topology};

/// How many events wait for one flow.
pub const QUEUE: usize = 1_024;
/// How long an event waits for room in a full queue before that flow goes without it.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Why nothing is delivered at the end.
const STOPPING: &str = "the host is stopping";

/// All buses of the host: which of them an event goes to stands in the event. A cheap handle; all clones are the same.
#[derive(Clone)]
pub struct Bus(Arc<Inside>);

struct Inside {
    office: Arc<Office>,
    routes: RwLock<Routes>,
}

#[derive(Default)]
struct Routes {
    /// In the order of the plan, so that equal runs go equal ways.
    subscribers: IndexMap<Target, Route>,
    /// The same by the types of events.
    by_type: HashMap<EventType, Ears>,
    /// How many there ever were.
    numbers: u64,
    stopped: bool,
}

struct Route {
    subscriber: Arc<Subscriber>,
    subscriptions: Vec<Subscription>,
}

impl Bus {
    /// A bus that nobody hears yet. Its waits are counted as running; use [`counted_by`](Self::counted_by) where a virtual clock shall
    /// jump over them.
    pub fn new(clock: Arc<dyn Clock>, sink: Arc<dyn Sink>) -> Self {
        Self::counted_by(clock, sink, Activity::new())
    }

    /// The same; deliveries are counted by `activity`, and a publisher's wait for room is counted out of it, so events must be published from
    /// what it counts in.
    pub fn counted_by(clock: Arc<dyn Clock>, sink: Arc<dyn Sink>, activity: Activity) -> Self {
        let (seen, activate, tasks) = (Mutex::new(Seen::default()), Mutex::default(), TaskTracker::new());
        let office = Arc::new(Office { clock, sink, activity, seen, activate, tasks });
        Self(Arc::new(Inside { office, routes: RwLock::default() }))
    }

    /// Puts other subscriptions in force, at one instant. A flow that subscribed before and still does keeps its queue; the queue of a flow that no
    /// longer does is emptied, and each event in it told as [`What::Undelivered`].
    ///
    /// Does nothing on a bus that was stopped.
    pub fn install(&self, topology: Topology, activate: Weak<dyn Activate>) {
        let mut routes = self.0.routes.write().unwrap_or_else(PoisonError::into_inner);
        if routes.stopped {
            return;
        }
        *self.0.office.activate.lock().unwrap_or_else(PoisonError::into_inner) = Some(activate);
        let mut before = std::mem::take(&mut routes.subscribers);
        for (target, subscriptions) in topology.by_target() {
            let subscriber = match before.swap_remove(&target) {
                Some(route) => route.subscriber,
                None => {
                    routes.numbers += 1;
                    Subscriber::new(target.clone(), routes.numbers)
                }
            };
            routes.subscribers.insert(target, Route { subscriber, subscriptions });
        }
        routes.by_type = by_type(routes.subscribers.values().map(|route| (&route.subscriber, &route.subscriptions[..])));
        for gone in before.into_values() {
            gone.subscriber.close("the flow no longer hears such events: other files are in force");
        }
    }

    /// Puts an event on its bus, and on the global one too if it is `exported`. Returns when every flow that hears it has it in its queue.
    ///
    /// A queue that is full is waited for up to 30 seconds; then that flow goes without, which is told as [`What::Undelivered`]. The others are not affected.
    /// One emitter's events keep their order if each is published after the one before has returned.
    pub async fn publish(&self, event: Event, exported: bool) {
        if let Some(waiting) = self.offer(event, exported, None) {
            waiting.await;
        }
    }

    /// The same, without the wait: every flow whose queue has room has the event already, and what comes back waits for the others. It must be
    /// polled within what `activity` counts; where it is dropped, the flows that have not got the event go without, which is told unless the event is
    /// tracked: then it is told again when the host starts anew.
    ///
    /// Must be called within a Tokio runtime, whose tasks deliver.
    pub fn offer(&self, event: Event, exported: bool, tracking: Option<Tracking>) -> Option<BoxFuture<'static, ()>> {
        let office = &self.0.office;
        let event = Arc::new(event);
        if office.sink.wants_routine() {
            office.tell(What::Published { published: (*event).clone() });
        }
        let ears = self.ears(&event.event_type);
        let mut full = Vec::new();
        if let Some(ears) = ears {
            let again = !office.seen().is_first(event.id, &ears, exported);
            let mut stops = Vec::with_capacity(ears.len());
            for (ear, hearer) in ears.iter().enumerate().filter(|(_, ear)| ear.hears(&event, exported)) {
                let letter = Letter { event: Arc::clone(&event), share: tracking.as_ref().map(Tracking::share), again };
                match hearer.subscriber.post(letter) {
                    Posted::Yours(Letter { share, .. }) => stops.push(Stop { ear, share }),
                    Posted::Queued => {}
                    Posted::Waits(number, entered) => full.push(self.waits(&hearer.subscriber, number, entered).entered()),
                    Posted::Closed(letter) => office.give_up(letter, &hearer.subscriber, hearer.subscriber.closed_why()),
                }
            }
            office.go_round(&event, &ears, again, stops);
        }
        if let Some(tracking) = tracking {
            tracking.offered();
        }
        let activity = office.activity.clone();
        (!full.is_empty()).then(|| async move { drop(activity.rest(join_all(full)).await) }.boxed())
    }

    /// Brings an event to those of these flows that hear it, and waits until each has it for good, however long that takes. Who has not taken it comes
    /// back, with why: `rejected` may be tried again, since a flow that has it already takes it once. Nothing tells that it is published.
    ///
    /// It must be polled within what `activity` counts, and called within a Tokio runtime.
    pub fn deliver(
        &self,
        event: &Arc<Event>,
        exported: bool,
        to: &[(PipelineName, FlowName)],
    ) -> BoxFuture<'static, Vec<((PipelineName, FlowName), Failure)>> {
        let office = &self.0.office;
        let (mut deliveries, mut stops) = (Vec::new(), Vec::new());
        let Some(ears) = self.ears(&event.event_type) else { return std::future::ready(Vec::new()).boxed() };
        for (ear, hearer) in ears.iter().enumerate() {
            let subscriber = &hearer.subscriber;
            if !to.contains(&subscriber.target) || !hearer.hears(event, exported) {
                continue;
            }
            let (share, answer) = Share::asked();
            let mut waits = None;
            // It may have the event: not all are asked each time.
            match subscriber.post(Letter { event: Arc::clone(event), share: Some(share), again: true }) {
                Posted::Yours(Letter { share, .. }) => stops.push(Stop { ear, share }),
                Posted::Queued => {}
                Posted::Waits(number, entered) => waits = Some(self.waits(subscriber, number, entered)),
                Posted::Closed(letter) => office.give_up(letter, subscriber, subscriber.closed_why()),
            }
            let target = subscriber.target.clone();
            deliveries.push(async move {
                if let Some(waits) = waits {
                    waits.entered().await;
                }
                Some((target, answer.await.err()?))
            });
        }
        office.go_round(event, &ears, true, stops);
        let activity = office.activity.clone();
        async move { activity.rest(join_all(deliveries)).await.into_iter().flatten().collect() }.boxed()
    }

    /// Takes no more events, ends all deliveries and tells what was still in the queues. Events published after it are told as undelivered.
    pub async fn stop(&self) {
        {
            let mut routes = self.0.routes.write().unwrap_or_else(PoisonError::into_inner);
            routes.stopped = true;
            // The routes stay, so that a late event finds them closed and is told.
            routes.subscribers.values().for_each(|route| route.subscriber.close(STOPPING));
        }
        self.0.office.tasks.close();
        self.0.office.tasks.wait().await;
    }

    /// The flows that hear an event, in the order of the plan.
    pub fn targets(&self, event: &Event, exported: bool) -> Vec<(PipelineName, FlowName)> {
        let Some(ears) = self.ears(&event.event_type) else { return Vec::new() };
        ears.iter().filter(|ear| ear.hears(event, exported)).map(|ear| ear.subscriber.target.clone()).collect()
    }

    /// How many flows subscribe.
    pub fn subscribers(&self) -> usize {
        self.0.routes.read().unwrap_or_else(PoisonError::into_inner).subscribers.len()
    }

    fn ears(&self, event_type: &EventType) -> Option<Ears> {
        self.0.routes.read().unwrap_or_else(PoisonError::into_inner).by_type.get(event_type).map(Arc::clone)
    }

    fn waits(&self, subscriber: &Arc<Subscriber>, number: u64, entered: oneshot::Receiver<()>) -> Waits {
        Waits { office: Arc::clone(&self.0.office), subscriber: Arc::clone(subscriber), number, entered: Some(entered) }
    }
}

/// An event that waits for room in one flow's queue.
struct Waits {
    office: Arc<Office>,
    subscriber: Arc<Subscriber>,
    number: u64,
    /// Until it is over.
    entered: Option<oneshot::Receiver<()>>,
}

impl Waits {
    async fn entered(mut self) {
        let Some(entered) = self.entered.as_mut() else { return };
        let late = self.office.clock.sleep_until(self.office.clock.now() + PATIENCE);
        let is_in = matches!(select(entered, late).await, Either::Left(_));
        self.entered = None;
        if !is_in {
            self.give_up(format!(
                "{QUEUE} events wait for the flow, and for 30s none was taken; make it faster, or raise its `max_concurrent`"
            ));
        }
    }

    /// It may have got in at this moment.
    fn give_up(&self, why: impl Into<String>) {
        if let Some(letter) = self.subscriber.withdraw(self.number) {
            self.office.give_up(letter, &self.subscriber, why);
        }
    }
}

/// Nobody waits any more, and nothing is lost silently.
impl Drop for Waits {
    fn drop(&mut self) {
        if self.entered.is_some() {
            self.give_up(STOPPING);
        }
    }
}

/// Whoever forgets to stop the bus still leaves no delivery behind.
impl Drop for Inside {
    fn drop(&mut self) {
        let routes = self.routes.get_mut().unwrap_or_else(PoisonError::into_inner);
        for route in routes.subscribers.values() {
            route.subscriber.close(STOPPING);
        }
    }
}

#[cfg(test)]
mod tests;
