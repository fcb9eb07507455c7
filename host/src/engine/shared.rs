//! What all runs share, and the way of an activation through the door: loop guard, types, concurrency, start.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, Weak};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::{Notify, oneshot};
use tokio_util::task::TaskTracker;

use crate::bus::{Tracking, loop_guard};
use crate::model::activation::{Activation, Admission, Requester, RunEnd, RunOutcome};
use crate::model::cancel::CancelSignal;
use crate::model::event::Event;
use crate::model::failure::{Failure, FailureKind};
use crate::model::happening::{Happening, Unheard, What};
use crate::model::id::{CorrelationId, Digest, EventId, FlowName, IdMap, PipelineName, RunId};
use crate::model::job::{CancelReason, Job};
use crate::model::port::{Activate, Forget, Invalidate, Receipt, Scope};
use crate::model::record::{Beginning, Fact};
use crate::model::time::Timestamp;
use crate::model::value::Value;
use crate::plan::pipeline::{Flow, Listen, Trigger};
use crate::plan::template::Template;
use crate::plan::{Bound, Rebuild, keeps_shape};
use crate::policy::key;

use super::calls::Callee;
use super::control::Control;
use super::dead_letters::{DeadLetters, is_heard};
use super::door::{Door, DoorKey, Limits};
use super::flights::Flights;
use super::handle::Ports;
use super::idempotency::{self, Repeats};
use super::installed::Installed;
use super::probes::Probes;
use super::recovery::{Known, Stalled};
use super::relay::Relay;
use super::resting::Resting;
use super::run::{Extra, RunScope, RunState};
use super::shareable;
use super::states::States;
use super::telling::run_label;
use super::waits::{Waits, keys};

mod admitting;
mod burying;
mod leaving;
pub mod migrating;
pub mod offering;
pub mod resting;
mod refusing;
mod repeating;
mod restoring;
pub mod reviving;
mod sending;
mod signalling;
mod starting;
mod viewing;

use admitting::Queued;

/// What all runs share.
pub struct Shared {
    pub(super) ports: Ports,
    pub(super) flights: Flights,
    pub(super) waits: Waits,
    pub(super) repeats: Arc<Repeats>,
    pub(super) relay: Relay,
    pub(super) tasks: TaskTracker,
    weak: Weak<Shared>,
    /// Set when the host stops: for what goes on behind a run.
    pub(super) stop: CancelSignal,
    /// Told whenever a run has ended.
    ended: Notify,
    installed: RwLock<HashMap<PipelineName, Arc<Installed>>>,
    door: Mutex<Door<Box<Ticket>>>,
    /// Those that have a task.
    runs: Mutex<IdMap<RunId, Running>>,
    /// Those that only wait. Locked after `runs`.
    resting: Resting,
    /// What the runs are heard by that were called before the host ended, until their callers come back to them.
    rejoins: Mutex<IdMap<RunId, Arc<Callee>>>,
    /// When the runs of a store were taken up, if they were.
    recovered: OnceLock<Timestamp>,
    pub(super) states: States,
    probes: Probes,
    pub(super) dead_letters: DeadLetters,
    pub(super) stalled: Stalled,
    pub(super) known: Known,
    /// Held by who adds to the history of a run that has ended.
    after_ends: tokio::sync::Mutex<()>,
    /// Told when other pipelines are in force.
    pub(super) installed_anew: Notify,
    /// Makes pipelines again out of their bundles.
    pub(super) rebuild: OnceLock<Arc<dyn Rebuild>>,
    /// Those that were made again, by their revisions.
    remade: Mutex<HashMap<Digest, Arc<Installed>>>,
    /// When the engine was made: what rests since before that does not hold up the end of the input.
    made: Timestamp,
    stopping: AtomicBool,
    /// How many runs a stop has left for the next start.
    left_behind: AtomicUsize,
}

/// The code of what comes when the host is stopping.
const STOPPING: &str = "stopping";

struct Running {
    installed: Arc<Installed>,
    control: Arc<Control>,
    door: DoorKey,
    since: Timestamp,
}

/// A run that has not begun.
struct Ticket {
    installed: Arc<Installed>,
    flow: Arc<Flow>,
    control: Arc<Control>,
    beginning: Arc<Beginning>,
    requester: Option<Arc<dyn Requester>>,
    door: DoorKey,
    limits: Limits,
    /// The time for the whole run, from when it begins; what it was handed down stands in the beginning.
    own_deadline: Option<Duration>,
    /// By which its `cancel_on` is found.
    cancel_keys: Vec<Digest>,
    /// By what a repeated request is known, and for how long.
    idempotency: Option<(Digest, Duration)>,
    /// Why it must not start, if its chain of causes goes in circles.
    circles: Option<Failure>,
    /// Told when it starts, for whoever waits outside.
    started: Option<oneshot::Sender<Result<(), Failure>>>,
    /// Whether whoever brings it waits until it is kept.
    waits: bool,
    /// Settled when it is kept that it began, or waits at the door.
    receipt: Option<Box<dyn Receipt>>,
    /// Where it waits at the door: that this is kept, or on its way into the store.
    queued: Option<Queued>,
    /// Whether that it waited is the first fact of it.
    after_queue: bool,
    /// What it takes over from a run that it does again.
    copied: Vec<Fact>,
}

impl std::fmt::Debug for Ticket {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Ticket").field("run", &self.beginning.run).finish_non_exhaustive()
    }
}

impl Activate for Shared {
    fn activate(&self, activation: Activation) -> BoxFuture<'_, Admission> {
        self.take_in(activation, None).boxed()
    }

    fn deliver(
        self: Arc<Self>,
        pipeline: &PipelineName,
        flow: &FlowName,
        event: &Arc<Event>,
        receipt: Box<dyn Receipt>,
    ) -> BoxFuture<'static, Admission> {
        let activation = Activation::of_event(pipeline, flow, event);
        async move { self.take_in(activation, Some(receipt)).await }.boxed()
    }

    fn cancel(&self, run: RunId, reason: CancelReason) {
        loop {
            let mut door = self.lock_door();
            let Some(control) = self.reach(run) else {
                let waiting = door.withdraw(run);
                drop(door);
                if let Some(ticket) = waiting {
                    self.never_run(ticket, reason);
                }
                return;
            };
            drop(door);
            // One that has just come to rest is woken for it.
            if control.cancel(reason) {
                return;
            }
        }
    }
}

impl Invalidate for Shared {
    fn invalidate(&self, job: &Job, policy: &str, forget: &Forget) -> Result<usize, Failure> {
        // A run knows the policies of the revision that it began with, whatever its file has become.
        let pinned = self.lock_runs().get(&job.run).map(|running| Arc::clone(&running.installed));
        let Some(installed) = pinned.or_else(|| self.find(&job.pipeline)) else { return Ok(0) };
        self.flights.invalidate(&installed.bound.pipeline, policy, forget)
    }
}

impl Shared {
    pub(super) fn new(ports: Ports) -> Arc<Self> {
        let made = ports.clock.now();
        Arc::new_cyclic(|weak| Self {
            flights: Flights::new(Arc::clone(&ports.store)),
            ports,
            waits: Waits::default(),
            repeats: Arc::default(),
            relay: Relay::default(),
            tasks: TaskTracker::new(),
            weak: weak.clone(),
            stop: CancelSignal::new(),
            ended: Notify::new(),
            installed: RwLock::default(),
            door: Mutex::default(),
            runs: Mutex::default(),
            resting: Resting::default(),
            rejoins: Mutex::default(),
            recovered: OnceLock::new(),
            known: Known::default(),
            states: States::default(),
            probes: Probes::default(),
            dead_letters: DeadLetters::default(),
            stalled: Stalled::default(),
            after_ends: tokio::sync::Mutex::default(),
            installed_anew: Notify::new(),
            rebuild: OnceLock::new(),
            remade: Mutex::default(),
            made,
            stopping: AtomicBool::new(false),
            left_behind: AtomicUsize::new(0),
        })
    }

    pub(super) fn replace(&self, bounds: Vec<Arc<Bound>>) {
        let mut table = self.installed.write().unwrap_or_else(PoisonError::into_inner);
        for bound in &bounds {
            let old = table.get(&bound.pipeline.name);
            // A plan that does not keep the shape comes this far only if its file says that the states may go.
            if old.is_some_and(|old| !keeps_shape(&old.bound.pipeline.state, &bound.pipeline.state)) {
                self.states.forget(&bound.pipeline.name, &*self.ports.store);
            }
        }
        self.waits.install(bounds.iter().map(|bound| &bound.pipeline));
        let installed = |bound: Arc<Bound>| (bound.pipeline.name.clone(), Arc::new(Installed::new(bound, &self.ports.policies)));
        *table = bounds.iter().cloned().map(installed).collect();
        drop(table);
        if let Some(shared) = self.weak.upgrade() {
            self.probes.replace(&shared, &bounds);
        }
        self.adjust_door();
        self.installed_anew.notify_one();
    }

    /// Changed numbers of `concurrency` apply at once: whoever waits and has a place now starts.
    fn adjust_door(&self) {
        let mut door = self.lock_door();
        let mut start = door.adjust(|key| {
            let installed = self.find(&key.pipeline)?;
            let flow = installed.bound.pipeline.flows.iter().find(|flow| flow.name == key.flow)?;
            Some(limits(flow))
        });
        self.register_all(&mut start);
        drop(door);
        for ticket in start {
            self.start(ticket);
        }
    }

    pub(super) fn bounds(&self) -> Vec<Arc<Bound>> {
        self.installed.read().unwrap_or_else(PoisonError::into_inner).values().map(|installed| Arc::clone(&installed.bound)).collect()
    }

    pub(super) fn state(&self, pipeline: &PipelineName, key: Option<&str>) -> Option<Value> {
        let bound = Arc::clone(&self.find(pipeline)?.bound);
        let cell = self.states.find(pipeline, key).unwrap_or_default();
        Some(cell.view(&bound.pipeline.state, bound.pipeline.revision))
    }

    pub(super) fn states_held(&self) -> usize {
        self.states.len()
    }

    /// A run has ended: its place is free for those who wait.
    pub(super) fn left(&self, run: RunId) {
        let mut door = self.lock_door();
        let Some(running) = self.lock_runs().remove(&run) else { return };
        let mut next = door.leave(running.door, run);
        self.register_all(&mut next);
        drop(door);
        for ticket in next {
            self.start(ticket);
        }
        self.ended.notify_waiters();
    }

    /// What follows an event to all who hear it: once they all have it, it need not be told again after a crash.
    pub(super) fn tracking(&self, event: EventId) -> Tracking {
        let store = Arc::clone(&self.ports.store);
        Tracking::new(move || store.published(vec![event]))
    }

    /// Waits until no run is under way or waits, and no event is on its way to a flow.
    pub(super) async fn quiet(&self) {
        loop {
            let ended = self.ended.notified();
            let mut ended = std::pin::pin!(ended);
            ended.as_mut().enable();
            self.ports.activity.idle().await;
            if self.is_nobody_under_way() {
                return;
            }
            ended.await;
        }
    }

    /// Waits until a run neither is under way nor waits at the door. It may be over already.
    pub(super) async fn until_over(&self, run: RunId) {
        loop {
            let mut ended = std::pin::pin!(self.ended.notified());
            ended.as_mut().enable();
            if !self.is_live(run) && !self.lock_door().waiting(|ticket| ticket.beginning.run).contains(&run) {
                return;
            }
            ended.await;
        }
    }

    /// Checks an activation: whether there is such a flow, whether its causes go in circles, whether its input is what is declared.
    fn prepare(&self, activation: Activation) -> Result<Box<Ticket>, Failure> {
        if self.stopping.load(Ordering::SeqCst) {
            return Err(Failure::new(FailureKind::Rejected, "the host is stopping").with_code(STOPPING));
        }
        let unknown = || {
            let message = format!("there is no flow {}.{}", activation.pipeline, activation.flow);
            Failure::new(FailureKind::NotFound, message).with_code("unknown_flow")
        };
        let installed = self.find(&activation.pipeline).ok_or_else(unknown)?;
        let bound = &installed.bound;
        let (flow, target) = installed.target(&activation.flow).ok_or_else(unknown)?;
        let flow = Arc::clone(flow);
        let parent = activation.parent.as_deref();
        let before = match parent {
            Some(parent) => &parent.passed[..],
            None => activation.event.as_ref().map_or(&[][..], |event| &event.passed),
        };
        // A chain of causes that goes in circles is not started, but it is recorded: somebody has to find it.
        let (passed, circles) = match loop_guard::passed(before, target) {
            Ok(passed) => (passed, None),
            Err(failure) => (before.to_vec(), Some(failure)),
        };
        let input = flow.input.receive(&activation.input, activation.origin).map_err(|mismatches| {
            let mismatches = shareable::all(&mismatches);
            Failure::new(FailureKind::Invalid, format!("the input of {target} is not what it declares: {mismatches}")).with_code("input")
        })?;
        let now = self.ports.clock.now();
        let random = &self.ports.random;
        let mut beginning = Beginning {
            run: parent.map_or_else(|| RunId::new(random.id(now)), |parent| parent.run),
            pipeline: activation.pipeline,
            flow: activation.flow,
            revision: bound.pipeline.revision,
            correlation_id: activation.correlation_id.unwrap_or_else(|| CorrelationId::new(random.id(now))),
            event: activation.event.map(|event| (*event).clone()),
            input,
            trigger: activation.trigger,
            caller: activation.caller,
            state_key: None,
            at: now,
            deadline: parent.and_then(|parent| parent.deadline),
            passed,
            parent: parent.map(|parent| parent.by),
            part: None,
            retry_of: None,
        };
        let keyed = flow.state_key.is_some() || flow.concurrency.key.is_some() || !flow.cancel_on.is_empty() || flow.idempotency.is_some();
        let mut idempotency = None;
        let mut cancel_keys = Vec::new();
        let mut door = DoorKey { pipeline: beginning.pipeline.clone(), flow: beginning.flow.clone(), key: None };
        if keyed {
            let state = RunState::new(Arc::clone(&bound.pipeline), Arc::clone(&flow), Arc::new(beginning.clone()));
            let null = Value::null();
            let scope = RunScope { run: &state, state: &null, now, random: &**random, extra: Extra::default() };
            beginning.state_key = evaluate_key(flow.state_key.as_ref(), &scope)?;
            door.key = evaluate_key(flow.concurrency.key.as_ref(), &scope)?;
            cancel_keys = cancel_keys_of(&flow, &scope)?;
            idempotency = request_key(&flow, &beginning, &scope)?;
        }
        if !bound.pipeline.state.initial.is_empty() {
            self.states.check(&beginning.pipeline, beginning.state_key.as_deref())?;
        }
        // Boxed: it goes through the door and through several hands.
        Ok(Box::new(Ticket {
            control: Arc::new(Control::default()),
            own_deadline: flow.deadline,
            requester: activation.requester,
            started: None,
            waits: true,
            receipt: None,
            queued: None,
            after_queue: false,
            copied: Vec::new(),
            limits: limits(&flow),
            installed,
            flow,
            beginning: Arc::new(beginning),
            door,
            cancel_keys,
            idempotency,
            circles,
        }))
    }

    /// From the moment at which it has a place, a run can be found and cancelled.
    fn register(&self, ticket: &Ticket) {
        let Ticket { installed, control, beginning, door, .. } = ticket;
        let (installed, control, door) = (Arc::clone(installed), Arc::clone(control), door.clone());
        self.lock_runs().insert(beginning.run, Running { installed, control, door, since: beginning.at });
    }

    /// Those who waited at the door have a place now. The time at the door is not the run's, but it is its caller's.
    fn register_all(&self, tickets: &mut [Box<Ticket>]) {
        if tickets.is_empty() {
            return;
        }
        let now = self.ports.clock.now();
        for ticket in tickets {
            Arc::make_mut(&mut ticket.beginning).at = now;
            self.register(ticket);
        }
    }

    /// A run's task panicked: a mistake in pipehost, which must not take the run's place and its caller with it.
    fn broke_off(&self, beginning: &Beginning, requester: Option<&dyn Requester>) {
        let failure = Failure::new(FailureKind::Bug, "pipehost made a mistake in this run; please report it").with_code("panic");
        let outcome = RunOutcome::Failed { failure };
        let (now, run) = (self.ports.clock.now(), Some(run_label(beginning)));
        let unheard = if is_heard(requester) { None } else { Some(Unheard::Recorded) };
        let what = What::RunEnded { outcome: outcome.clone(), elapsed: now.since(beginning.at), unheard };
        self.ports.sink.accept(Happening { time: now, run, what });
        self.left(beginning.run);
        if let Some(requester) = requester {
            requester.end(&RunEnd { run: beginning.run, outcome, degraded: false, output: Value::null() });
        }
    }

    pub(super) fn tell(&self, what: What) {
        self.ports.sink.accept(Happening { time: self.ports.clock.now(), run: None, what });
    }

    /// What hears a run that was called before the host ended: for its caller, once.
    pub(super) fn rejoin(&self, child: RunId) -> Option<Arc<Callee>> {
        self.rejoins.lock().unwrap_or_else(PoisonError::into_inner).remove(&child)
    }

    /// What starts a flow that is in force; `None` if there is none of that name.
    pub(super) fn triggers(&self, pipeline: &PipelineName, flow: &FlowName) -> Option<Vec<Trigger>> {
        let installed = self.find(pipeline)?;
        installed.bound.pipeline.flows.iter().find(|known| known.name == *flow).map(|flow| flow.triggers.clone())
    }

    pub(super) fn find(&self, pipeline: &PipelineName) -> Option<Arc<Installed>> {
        self.installed.read().unwrap_or_else(PoisonError::into_inner).get(pipeline).cloned()
    }

    fn lock_runs(&self) -> MutexGuard<'_, IdMap<RunId, Running>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_door(&self) -> MutexGuard<'_, Door<Box<Ticket>>> {
        self.door.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn limits(flow: &Flow) -> Limits {
    let concurrency = &flow.concurrency;
    Limits { max_concurrent: concurrency.max_concurrent, max_queue: concurrency.max_queue, when_full: concurrency.when_full }
}

fn evaluate_key(template: Option<&Template>, scope: &dyn Scope) -> Result<Option<String>, Failure> {
    template.map(|template| template.evaluate(scope).and_then(|value| key::text(&value))).transpose()
}

/// By which the events are found that cancel a run.
fn cancel_keys_of(flow: &Flow, scope: &dyn Scope) -> Result<Vec<Digest>, Failure> {
    let of_listen = |listen: &Listen| {
        let field = |(name, template): &(String, Template)| Ok((name.clone(), template.evaluate(scope)?));
        keys(&listen.types, &listen.matching.iter().map(field).collect::<Result<Vec<_>, Failure>>()?)
    };
    Ok(flow.cancel_on.iter().map(of_listen).collect::<Result<Vec<_>, Failure>>()?.concat())
}

/// By what a repeated request is known, and for how long.
fn request_key(flow: &Flow, beginning: &Beginning, scope: &dyn Scope) -> Result<Option<(Digest, Duration)>, Failure> {
    let Some(idempotency) = &flow.idempotency else { return Ok(None) };
    let key = key::text(&idempotency.key.evaluate(scope)?)?;
    Ok(Some((idempotency::key(&beginning.pipeline, &beginning.flow, &key), idempotency.retention)))
}
