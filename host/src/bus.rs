//! Events on their way from whoever emits them to the flows that hear them: scopes, subscriptions, ordered and bounded delivery.

pub mod loop_guard;
pub mod topology;

mod delivery;
mod receipt;
mod seen;

use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Either, join_all, select};
use indexmap::IndexMap;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::clock::Activity;
use crate::model::event::Event;
use crate::model::failure::Failure;
use crate::model::happening::{Happening, What};
use crate::model::id::{FlowName, PipelineName};
use crate::model::port::{Activate, Clock, Sink};
use delivery::{Letter, Subscriber};
use receipt::Share;
pub use receipt::Tracking;
pub use topology::{Subscription, Topology};
use topology::{Target, heard};

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
    office: Office,
    routes: RwLock<Routes>,
}

/// What a publisher and a delivery both need.
#[derive(Clone)]
struct Office {
    clock: Arc<dyn Clock>,
    sink: Arc<dyn Sink>,
    activity: Activity,
}

#[derive(Default)]
struct Routes {
    /// In the order of the plan, so that equal runs go equal ways.
    subscribers: IndexMap<Target, Route>,
    /// Deliveries that were closed and may still be telling what was in their queues.
    ending: Vec<JoinHandle<()>>,
    stopped: bool,
}

struct Route {
    subscriber: Arc<Subscriber>,
    subscriptions: Vec<Subscription>,
    /// `None` once somebody waits for it.
    task: Option<JoinHandle<()>>,
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
        Self(Arc::new(Inside { office: Office { clock, sink, activity }, routes: RwLock::default() }))
    }

    /// Puts other subscriptions in force, at one instant. A flow that subscribed before and still does keeps its queue; the queue of a flow that no
    /// longer does is emptied, and each event in it told as [`What::Undelivered`]. Must be called within a Tokio runtime, whose tasks deliver.
    ///
    /// Does nothing on a bus that was stopped.
    pub fn install(&self, topology: Topology, activate: Weak<dyn Activate>) {
        let mut routes = self.0.routes.write().unwrap_or_else(PoisonError::into_inner);
        if routes.stopped {
            return;
        }
        let mut before = std::mem::take(&mut routes.subscribers);
        for (target, subscriptions) in topology.by_target() {
            let route = match before.swap_remove(&target) {
                Some(route) => {
                    route.subscriber.set(Weak::clone(&activate));
                    Route { subscriptions, ..route }
                }
                None => {
                    let (subscriber, task) = Subscriber::start(target.clone(), Weak::clone(&activate), self.0.office.clone());
                    Route { subscriber, subscriptions, task: Some(task) }
                }
            };
            routes.subscribers.insert(target, route);
        }
        routes.ending.retain(|task| !task.is_finished());
        for gone in before.into_values() {
            gone.subscriber.close("the flow no longer hears such events: other files are in force");
            routes.ending.extend(gone.task);
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
    pub fn offer(&self, event: Event, exported: bool, tracking: Option<Tracking>) -> Option<BoxFuture<'static, ()>> {
        let office = &self.0.office;
        office.tell(What::Published { published: event.clone() });
        let event = Arc::new(event);
        let mut full = Vec::new();
        for subscriber in self.hearers(&event, exported) {
            let share = tracking.as_ref().map(Tracking::share);
            match subscriber.queue.try_send(Letter { event: Arc::clone(&event), share }) {
                Ok(()) => {}
                Err(mpsc::error::TrySendError::Full(letter)) => {
                    let waits = Waits { office: office.clone(), subscriber, letter: Some(letter) };
                    full.push(waits.send());
                }
                Err(mpsc::error::TrySendError::Closed(letter)) => office.give_up(letter, &subscriber.name, subscriber.closed_why()),
            }
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
    /// It must be polled within what `activity` counts.
    pub fn deliver(
        &self,
        event: &Arc<Event>,
        exported: bool,
        to: &[(PipelineName, FlowName)],
    ) -> BoxFuture<'static, Vec<((PipelineName, FlowName), Failure)>> {
        let office = self.0.office.clone();
        let deliveries: Vec<_> = self
            .hearers(event, exported)
            .into_iter()
            .filter(|subscriber| to.contains(&subscriber.target))
            .map(|subscriber| {
                let (share, answer) = Share::asked();
                let letter = Letter { event: Arc::clone(event), share: Some(share) };
                let waits = Waits { office: office.clone(), subscriber, letter: Some(letter) };
                async move {
                    let target = waits.subscriber.target.clone();
                    waits.send().await;
                    Some((target, answer.await.err()?))
                }
            })
            .collect();
        async move { office.activity.rest(join_all(deliveries)).await.into_iter().flatten().collect() }.boxed()
    }

    /// Takes no more events, ends all deliveries and tells what was still in the queues. Events published after it are told as undelivered.
    pub async fn stop(&self) {
        let tasks: Vec<_> = {
            let mut routes = self.0.routes.write().unwrap_or_else(PoisonError::into_inner);
            routes.stopped = true;
            let mut tasks = std::mem::take(&mut routes.ending);
            for route in routes.subscribers.values_mut() {
                // The route stays, so that a late event finds it closed and is told.
                route.subscriber.close(STOPPING);
                tasks.extend(route.task.take());
            }
            tasks
        };
        for task in tasks {
            // A task that panicked has ended too.
            drop(task.await);
        }
    }

    /// The flows that hear an event, in the order of the plan.
    pub fn targets(&self, event: &Event, exported: bool) -> Vec<(PipelineName, FlowName)> {
        let routes = self.0.routes.read().unwrap_or_else(PoisonError::into_inner);
        let hears = |route: &Route| route.subscriptions.iter().any(|subscription| heard(subscription, event, exported));
        routes.subscribers.iter().filter(|(_, route)| hears(route)).map(|(target, _)| target.clone()).collect()
    }

    /// How many flows subscribe.
    pub fn subscribers(&self) -> usize {
        self.0.routes.read().unwrap_or_else(PoisonError::into_inner).subscribers.len()
    }

    fn hearers(&self, event: &Event, exported: bool) -> Vec<Arc<Subscriber>> {
        let routes = self.0.routes.read().unwrap_or_else(PoisonError::into_inner);
        let hears = |route: &&Route| route.subscriptions.iter().any(|subscription| heard(subscription, event, exported));
        routes.subscribers.values().filter(hears).map(|route| Arc::clone(&route.subscriber)).collect()
    }
}

/// An event that waits for room in one flow's queue.
struct Waits {
    office: Office,
    subscriber: Arc<Subscriber>,
    /// Until it is sent.
    letter: Option<Letter>,
}

impl Waits {
    async fn send(mut self) {
        let late = self.office.clock.sleep_until(self.office.clock.now() + PATIENCE);
        let subscriber = Arc::clone(&self.subscriber);
        let room = std::pin::pin!(subscriber.queue.reserve());
        let ended = select(room, late).await;
        let Some(letter) = self.letter.take() else { return };
        match ended {
            Either::Left((Ok(place), _)) => place.send(letter),
            Either::Left((Err(_), _)) => self.office.give_up(letter, &subscriber.name, subscriber.closed_why()),
            Either::Right(_) => {
                let why =
                    format!("{QUEUE} events wait for the flow, and for 30s none was taken; make it faster, or raise its `max_concurrent`");
                self.office.give_up(letter, &subscriber.name, why);
            }
        }
    }
}

/// Nobody waits any more, and nothing is lost silently.
impl Drop for Waits {
    fn drop(&mut self) {
        if let Some(letter) = self.letter.take() {
            self.office.give_up(letter, &self.subscriber.name, STOPPING);
        }
    }
}

impl Office {
    fn tell(&self, what: What) {
        self.sink.accept(Happening { time: self.clock.now(), run: None, what });
    }

    /// A flow goes without an event. What the end of the host takes is told again when it starts anew, if somebody follows it.
    fn give_up(&self, letter: Letter, subscriber: &str, why: impl Into<String>) {
        let why = why.into();
        match letter.share {
            Some(_) if why == STOPPING => {}
            share => {
                self.undelivered(&letter.event, subscriber, why.as_str());
                if let Some(share) = share {
                    share.give_up(&why);
                }
            }
        }
    }

    fn undelivered(&self, event: &Event, subscriber: &str, reason: impl Into<String>) {
        self.tell(What::Undelivered { undelivered: event.clone(), subscriber: subscriber.to_owned(), reason: reason.into() });
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
