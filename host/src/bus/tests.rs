//! Events through the bus to a scripted engine.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use uuid::Uuid;

use super::queue::STARTING;
use super::*;
use crate::clock::VirtualClock;
use crate::model::activation::{Activation, Admission, Patience};
use crate::model::event::{Caller, Scope};
use crate::model::failure::{Failure, FailureKind};
use crate::model::fixture::{self, Told};
use crate::model::id::{CorrelationId, EventId, RunId};
use crate::model::job::CancelReason;
use crate::model::port::Receipt;
use crate::model::value::{Tree, Value};

/// Takes activations: flow `slow.main` only while it is open, `bad.main` never, `broken.main` panics.
#[derive(Default)]
struct Engine {
    taken: Mutex<Vec<(String, i64)>>,
    activations: Mutex<Vec<Activation>>,
    open: AtomicBool,
    opened: tokio::sync::Notify,
}

impl Activate for Engine {
    fn activate(&self, activation: Activation) -> BoxFuture<'_, Admission> {
        Box::pin(async move {
            match activation.pipeline.as_str() {
                "bad" => return Admission::Refused(Failure::new(FailureKind::Invalid, "the input is wrong")),
                "broken" => panic!("as scripted"),
                "slow" => {
                    while !self.open.load(Ordering::SeqCst) {
                        self.opened.notified().await;
                    }
                }
                _ => {}
            }
            let number = activation.input.tree().as_int().unwrap_or(-1);
            self.taken.lock().expect("no panic").push((activation.pipeline.to_string(), number));
            self.activations.lock().expect("no panic").push(activation);
            Admission::Started(RunId::new(Uuid::nil()))
        })
    }

    fn cancel(&self, _: RunId, _: CancelReason) {}
}

struct Scene {
    time: VirtualClock,
    activity: Activity,
    told: Arc<Told>,
    engine: Arc<Engine>,
    bus: Bus,
}

impl Scene {
    fn new(subscriptions: Vec<Subscription>) -> Self {
        let activity = Activity::new();
        let time = VirtualClock::new(activity.clone());
        let (told, engine) = (Arc::new(Told::default()), Arc::new(Engine::default()));
        let bus = Bus::counted_by(Arc::new(time.clone()), Arc::clone(&told) as Arc<dyn Sink>, activity.clone());
        let scene = Self { time, activity, told, engine, bus };
        scene.install(subscriptions);
        scene
    }

    fn install(&self, subscriptions: Vec<Subscription>) {
        let engine: Arc<dyn Activate> = Arc::clone(&self.engine) as Arc<dyn Activate>;
        self.bus.install(Topology { subscriptions }, Arc::downgrade(&engine));
    }

    fn open(&self) {
        self.engine.open.store(true, Ordering::SeqCst);
        self.engine.opened.notify_waiters();
    }

    /// Lets the deliveries come to rest.
    async fn settle(&self) {
        self.time.advance(Duration::ZERO).await;
    }

    fn taken_by(&self, pipeline: &str) -> Vec<i64> {
        let taken = self.engine.taken.lock().expect("no panic");
        taken.iter().filter(|(taker, _)| taker == pipeline).map(|(_, number)| *number).collect()
    }

    fn undelivered(&self) -> Vec<(i64, String, String)> {
        let undelivered = self.told.happenings().into_iter().filter_map(|what| match what {
            What::Undelivered { undelivered, subscriber, reason } => {
                Some((undelivered.data.tree().as_int().unwrap_or(-1), subscriber, reason))
            }
            _ => None,
        });
        undelivered.collect()
    }
}

pub(in crate::bus) fn own(pipeline: &str) -> Scope {
    Scope::Private(pipeline.into())
}

pub(in crate::bus) fn observe(pipeline: &str, scope: Scope) -> Subscription {
    Subscription { pipeline: pipeline.into(), flow: "main".into(), types: vec!["Saved".into()], direct: false, scope }
}

fn direct(pipeline: &str, scope: Scope) -> Subscription {
    Subscription { direct: true, ..observe(pipeline, scope) }
}

pub(in crate::bus) fn event(source: &str, scope: Scope, number: i64) -> Event {
    Event {
        source: source.into(),
        correlation_id: CorrelationId::new(Uuid::from_u128(7)),
        scope,
        caller: Caller { id: Some("ann".to_owned()), roles: vec![] },
        data: Value::from(Tree::Int(number)),
        ..fixture::event(number as u128, "Saved")
    }
}

#[tokio::test]
async fn private_events_stay_at_home_unless_they_are_exported() {
    let scene = Scene::new(vec![direct("a", own("a")), observe("b", own("b"))]);
    scene.bus.publish(event("a", own("a"), 1), false).await;
    scene.bus.publish(event("a", own("a"), 2), true).await;
    scene.settle().await;
    assert_eq!((scene.taken_by("a"), scene.taken_by("b")), (vec![1, 2], vec![2]));
}

#[tokio::test]
async fn direct_takes_ones_own_events_and_observe_the_others() {
    let scene = Scene::new(vec![direct("a", Scope::Global), observe("b", own("b"))]);
    scene.bus.publish(event("a", Scope::Global, 1), false).await;
    scene.bus.publish(event("b", Scope::Global, 2), false).await;
    scene.settle().await;
    assert_eq!((scene.taken_by("a"), scene.taken_by("b")), (vec![1], vec![1]));
}

#[tokio::test]
async fn a_named_scope_is_shared_by_those_who_name_it() {
    let shop = || Scope::Named("shop".to_owned());
    let scene = Scene::new(vec![observe("b", shop()), observe("c", Scope::Named("other".to_owned()))]);
    scene.bus.publish(event("a", shop(), 1), false).await;
    scene.settle().await;
    assert_eq!((scene.taken_by("b"), scene.taken_by("c")), (vec![1], vec![]));
}

#[tokio::test]
async fn a_flow_gets_an_event_once_over_two_buses_two_triggers_and_a_repeat() {
    let shop = || Scope::Named("shop".to_owned());
    let scene = Scene::new(vec![observe("b", shop()), observe("b", shop()), direct("b", shop())]);
    assert_eq!(scene.bus.subscribers(), 1);
    for _ in 0..2 {
        scene.bus.publish(event("a", shop(), 1), true).await;
    }
    scene.settle().await;
    assert_eq!((scene.taken_by("b"), scene.undelivered()), (vec![1], vec![]));
}

#[tokio::test]
async fn other_types_are_not_heard() {
    let scene = Scene::new(vec![observe("b", own("b"))]);
    scene.bus.publish(Event { event_type: "Dropped".into(), ..event("a", Scope::Global, 1) }, true).await;
    scene.settle().await;
    assert!(scene.taken_by("b").is_empty());
}

#[tokio::test]
async fn an_activation_carries_the_event_and_waits_for_a_place() {
    let scene = Scene::new(vec![observe("b", own("b"))]);
    scene.bus.publish(event("a", Scope::Global, 5), false).await;
    scene.settle().await;
    let activation = scene.engine.activations.lock().expect("no panic").remove(0);
    assert_eq!((activation.pipeline.as_str(), activation.flow.as_str(), activation.patience), ("b", "main", Patience::WaitForRoom));
    assert_eq!(activation.correlation_id, Some(CorrelationId::new(Uuid::from_u128(7))));
    assert_eq!((activation.caller.id.as_deref(), activation.input.tree().as_int()), (Some("ann"), Some(5)));
    assert_eq!(activation.event.as_deref(), Some(&event("a", Scope::Global, 5)));
}

#[tokio::test]
async fn a_slow_flow_holds_nobody_else_up_and_keeps_the_order() {
    let scene = Scene::new(vec![observe("slow", own("slow")), observe("fast", own("fast"))]);
    for number in 0..100 {
        scene.bus.publish(event("a", Scope::Global, number), false).await;
    }
    scene.settle().await;
    let all: Vec<_> = (0..100).collect();
    assert_eq!((scene.taken_by("slow").len(), scene.taken_by("fast")), (0, all.clone()));
    scene.open();
    scene.settle().await;
    assert_eq!((scene.taken_by("slow"), scene.undelivered()), (all, vec![]));
}

#[tokio::test]
async fn a_full_queue_is_waited_for_and_then_that_flow_goes_without() {
    let scene = Scene::new(vec![observe("slow", own("slow")), observe("fast", own("fast"))]);
    let room = QUEUE as i64 + 1;
    for number in 0..room {
        scene.bus.publish(event("a", Scope::Global, number), false).await;
        if number % 100 == 0 {
            scene.settle().await;
        }
    }
    let began = scene.time.now();
    let (bus, busy) = (scene.bus.clone(), scene.activity.enter());
    let late = tokio::spawn(async move {
        let _busy = busy;
        bus.publish(event("a", Scope::Global, room), false).await;
    });
    scene.time.advance(PATIENCE - Duration::from_secs(1)).await;
    assert!(!late.is_finished());
    assert_eq!(scene.taken_by("fast").len() as i64, room + 1, "the other has it already");
    scene.time.advance(Duration::from_secs(1)).await;
    assert!(late.is_finished());
    assert_eq!(scene.time.now().since(began), PATIENCE);
    let undelivered = scene.undelivered();
    assert_eq!((undelivered.len(), undelivered[0].0, undelivered[0].1.as_str()), (1, room, "slow.main"));
    scene.open();
    scene.settle().await;
    assert_eq!(scene.taken_by("slow"), (0..room).collect::<Vec<_>>());
}

#[tokio::test]
async fn who_waits_for_room_gets_it_in_the_order_of_waiting() {
    let scene = Scene::new(vec![observe("slow", own("slow"))]);
    let room = QUEUE as i64 + 1;
    for number in 0..room {
        scene.bus.publish(event("a", Scope::Global, number), false).await;
        if number == 0 {
            scene.settle().await;
        }
    }
    for number in room..room + 3 {
        let (bus, busy) = (scene.bus.clone(), scene.activity.enter());
        tokio::spawn(async move {
            let _busy = busy;
            bus.publish(event("a", Scope::Global, number), false).await;
        });
        scene.settle().await;
    }
    scene.open();
    scene.settle().await;
    assert_eq!(scene.taken_by("slow"), (0..room + 3).collect::<Vec<_>>());
    assert!(scene.undelivered().is_empty());
}

#[tokio::test]
async fn a_refusal_and_a_panic_are_told_and_stop_nobody() {
    let scene = Scene::new(vec![observe("bad", own("bad")), observe("broken", own("broken")), observe("fast", own("fast"))]);
    for number in 0..2 {
        scene.bus.publish(event("a", Scope::Global, number), false).await;
        scene.settle().await;
    }
    assert_eq!(scene.taken_by("fast"), [0, 1]);
    let mut told: Vec<_> = scene.undelivered().into_iter().map(|(number, subscriber, _)| (subscriber, number)).collect();
    told.sort();
    let expected = [("bad.main", 0), ("bad.main", 1), ("broken.main", 0), ("broken.main", 1)];
    assert_eq!(told, expected.map(|(subscriber, number)| (subscriber.to_owned(), number)));
    assert!(scene.undelivered().iter().any(|(_, _, reason)| reason == "the input is wrong"));
}

#[tokio::test]
async fn a_flow_that_goes_has_its_queue_told_and_one_that_stays_keeps_it() {
    let scene = Scene::new(vec![observe("slow", own("slow")), observe("fast", own("fast"))]);
    for number in 0..5 {
        scene.bus.publish(event("a", Scope::Global, number), false).await;
    }
    scene.settle().await;
    scene.install(vec![observe("slow", own("slow"))]);
    scene.bus.publish(event("a", Scope::Global, 5), false).await;
    scene.settle().await;
    assert!(scene.undelivered().is_empty(), "the queue of who stays is kept");
    scene.install(vec![]);
    scene.settle().await;
    let told: Vec<_> = scene.undelivered().into_iter().map(|(number, _, _)| number).collect();
    assert_eq!(told, [0, 1, 2, 3, 4, 5]);
    assert_eq!((scene.taken_by("fast"), scene.taken_by("slow"), scene.bus.subscribers()), (vec![0, 1, 2, 3, 4], vec![], 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_lost_or_doubled_while_other_files_come_into_force() {
    let scene = Arc::new(Scene::new(vec![observe("fast", own("fast"))]));
    let emitters: Vec<_> = (0..3_i64)
        .map(|emitter| {
            let bus = scene.bus.clone();
            tokio::spawn(async move {
                for number in emitter * 1_000..(emitter + 1) * 1_000 {
                    bus.publish(event("a", Scope::Global, number), false).await;
                }
            })
        })
        .collect();
    for round in 0..50 {
        let mut subscriptions = vec![observe("fast", own("fast"))];
        if round % 2 == 0 {
            subscriptions.push(observe("guest", own("guest")));
        }
        scene.install(subscriptions);
        tokio::task::yield_now().await;
    }
    for emitter in emitters {
        emitter.await.expect("no panic");
    }
    while scene.taken_by("fast").len() < 3_000 {
        tokio::task::yield_now().await;
    }
    let taken = scene.taken_by("fast");
    for emitter in 0..3 {
        let own: Vec<_> = taken.iter().copied().filter(|number| number / 1_000 == emitter).collect();
        assert_eq!(own, (emitter * 1_000..(emitter + 1) * 1_000).collect::<Vec<_>>(), "emitter {emitter}");
    }
    assert_eq!(taken.len(), 3_000);
}

#[tokio::test]
async fn a_stop_tells_what_was_waiting_and_what_comes_later() {
    let scene = Scene::new(vec![observe("slow", own("slow"))]);
    for number in 0..3 {
        scene.bus.publish(event("a", Scope::Global, number), false).await;
    }
    scene.settle().await;
    scene.bus.stop().await;
    scene.bus.publish(event("a", Scope::Global, 3), false).await;
    scene.install(vec![observe("fast", own("fast"))]);
    let told: Vec<_> = scene.undelivered().into_iter().map(|(number, _, reason)| (number, reason)).collect();
    assert_eq!(told, [0, 1, 2, 3].map(|number| (number, "the host is stopping".to_owned())));
    assert_eq!((scene.bus.subscribers(), scene.activity.running()), (1, 0));
    assert!(scene.bus.stop().now_or_never().is_some(), "a second stop has nothing to wait for");
}

#[tokio::test]
async fn events_without_an_engine_are_told() {
    let scene = Scene::new(vec![]);
    let gone: Arc<dyn Activate> = Arc::new(Engine::default());
    scene.bus.install(Topology { subscriptions: vec![observe("fast", own("fast"))] }, Arc::downgrade(&gone));
    drop(gone);
    scene.bus.publish(event("a", Scope::Global, 1), false).await;
    scene.settle().await;
    assert_eq!(scene.undelivered(), [(1, "fast.main".to_owned(), "the host is stopping".to_owned())]);
}

#[tokio::test]
async fn a_hundred_flows_get_all_events_each_in_its_order() {
    let names: Vec<String> = (0..100).map(|number| format!("p{number}")).collect();
    let scene = Scene::new(names.iter().map(|name| observe(name, own(name))).collect());
    let all: Vec<i64> = (0..50).collect();
    for number in &all {
        scene.bus.publish(event("a", Scope::Global, *number), false).await;
        if number % 7 == 0 {
            tokio::task::yield_now().await;
        }
    }
    scene.settle().await;
    assert!(names.iter().all(|name| scene.taken_by(name) == all));
    assert_eq!((scene.undelivered(), scene.activity.running()), (vec![], 0));
}

/// Takes every event at once, and keeps its receipt.
#[derive(Default)]
struct Collector(Mutex<Vec<(EventId, Box<dyn Receipt>)>>);

impl Activate for Collector {
    fn activate(&self, _: Activation) -> BoxFuture<'_, Admission> {
        std::future::ready(Admission::Dropped).boxed()
    }

    fn deliver(
        self: Arc<Self>,
        _: &PipelineName,
        _: &FlowName,
        event: &Arc<Event>,
        receipt: Box<dyn Receipt>,
    ) -> BoxFuture<'static, Admission> {
        self.0.lock().expect("no panic").push((event.id, receipt));
        std::future::ready(Admission::Started(RunId::new(Uuid::nil()))).boxed()
    }

    fn cancel(&self, _: RunId, _: CancelReason) {}
}

#[tokio::test]
async fn only_so_many_runs_of_a_flow_are_on_their_way_into_the_store() {
    let scene = Scene::new(vec![]);
    let collector = Arc::new(Collector::default());
    let activate = Arc::clone(&collector) as Arc<dyn Activate>;
    scene.bus.install(Topology { subscriptions: vec![observe("b", own("b"))] }, Arc::downgrade(&activate));
    for number in 0..300 {
        scene.bus.publish(event("a", Scope::Global, number), false).await;
    }
    let taken = || collector.0.lock().expect("no panic").len();
    scene.settle().await;
    assert_eq!((taken(), scene.activity.running()), (STARTING, 0), "the next waits, and is not counted as running");
    let kept: Vec<_> = collector.0.lock().expect("no panic").drain(..10).collect();
    kept.into_iter().for_each(|(_, receipt)| receipt.settle());
    scene.settle().await;
    assert_eq!(taken(), STARTING, "as many as have come into the store");
    let kept: Vec<_> = collector.0.lock().expect("no panic").drain(..).collect();
    scene.settle().await;
    assert_eq!(taken(), 0);
    let mut order: Vec<EventId> = kept.iter().map(|(id, _)| *id).collect();
    drop(kept);
    scene.settle().await;
    order.extend(collector.0.lock().expect("no panic").iter().map(|(id, _)| *id));
    let expected: Vec<EventId> = (10..300).map(|number| EventId::new(Uuid::from_u128(number))).collect();
    assert_eq!(order, expected);
}

#[tokio::test]
async fn an_event_that_is_brought_again_is_taken_by_those_who_have_not_got_it() {
    let scene = Scene::new(vec![observe("b", own("b")), observe("c", own("c")), observe("bad", own("bad"))]);
    let told = Arc::new(event("a", Scope::Global, 1));
    let target = |pipeline: &str| (PipelineName::from(pipeline), FlowName::from("main"));
    let busy = scene.activity.enter();
    assert!(scene.bus.deliver(&told, false, &[target("b")]).await.is_empty());
    let refused = scene.bus.deliver(&told, false, &[target("b"), target("c"), target("bad")]).await;
    assert_eq!(refused.iter().map(|(target, _)| target.0.as_str()).collect::<Vec<_>>(), ["bad"]);
    scene.bus.publish(event("a", Scope::Global, 1), false).await;
    drop(busy);
    scene.settle().await;
    assert_eq!((scene.taken_by("b"), scene.taken_by("c")), (vec![1], vec![1]));
    assert_eq!(scene.undelivered().len(), 2, "who refused it is asked again, and refuses it again");
}
