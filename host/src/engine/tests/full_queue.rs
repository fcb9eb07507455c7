//! A run that publishes to a queue that is full.

use tokio::sync::Semaphore;

use super::*;
use crate::bus::{Subscription, Topology};
use crate::model::id::EventType;

/// A flow that takes an event only when it is let.
struct Slow {
    turns: Semaphore,
    taken: Mutex<Vec<EventType>>,
}

impl Activate for Slow {
    fn activate(&self, activation: Activation) -> futures_util::future::BoxFuture<'_, Admission> {
        async move {
            self.turns.acquire().await.expect("it is never closed").forget();
            self.taken.lock().unwrap().extend(activation.event.map(|event| event.event_type.clone()));
            Admission::Dropped
        }
        .boxed()
    }

    fn cancel(&self, _: RunId, _: CancelReason) {}
}

fn noise(number: usize) -> Event {
    event(number as u128, "Noise")
}

/// A world in which a flow hears what the steps emit and has its queue full. Where it `tells`, the executor emits an event of its own first.
async fn crowded(sketch: &Sketch, tells: bool) -> (World, Arc<Slow>) {
    let executor = scripted(move |_, attempt| {
        if tells {
            attempt.channel.emit("Told".into(), Value::null()).expect("it is granted");
        }
        async { Ok(Value::null()) }.boxed()
    });
    let world = World::new(sketch, &executor);
    let slow = Arc::new(Slow { turns: Semaphore::new(0), taken: Mutex::default() });
    let types = vec!["Noise".into(), "Told".into(), "Done".into()];
    let scope = Scope::Private("p".into());
    let subscription = Subscription { pipeline: "p".into(), flow: "slow".into(), types, direct: true, scope };
    let activate: Arc<dyn Activate> = Arc::clone(&slow) as Arc<dyn Activate>;
    world.bus.install(Topology { subscriptions: vec![subscription] }, Arc::downgrade(&activate));
    let mut number = 0;
    loop {
        if world.bus.offer(noise(number), false, None).is_some() {
            // The first one goes into the hand of whoever delivers.
            world.clock.advance(Duration::ZERO).await;
            if world.bus.offer(noise(number + 1_000_000), false, None).is_some() {
                return (world, slow);
            }
        }
        number += 1;
    }
}

fn emitting(steps: usize) -> Sketch {
    Sketch { steps: vec![SketchStep { emits: true, ..SketchStep::default() }; steps], ..Sketch::default() }
}

#[tokio::test]
async fn a_cancel_is_heard_at_once_and_the_event_goes_its_way() {
    let (world, slow) = crowded(&emitting(2), true).await;
    let lost = world.diary.count("undelivered Noise");
    let (admission, asker) = world.ask().await;
    world.clock.advance(Duration::from_secs(1)).await;
    assert!(asker.heard().is_empty(), "it waits for room");
    world.engine.cancel(started(&admission), CancelReason::Requested);
    world.clock.advance(Duration::ZERO).await;
    assert_eq!(asker.heard(), ["end cancelled"]);
    assert_eq!(world.clock.now().as_millis(), 1_000);
    slow.turns.add_permits(5_000);
    world.clock.advance(Duration::ZERO).await;
    let taken: Vec<String> =
        slow.taken.lock().unwrap().iter().map(|taken| taken.as_str().to_owned()).filter(|taken| taken != "Noise").collect();
    assert_eq!(taken, ["Told", "Done"], "neither lost nor doubled, and in their order");
    assert_eq!(world.diary.count("undelivered Noise"), lost);
    assert_eq!((world.diary.count("event Done"), world.diary.count("undelivered Done")), (1, 0));
}

#[tokio::test]
async fn a_deadline_is_heard_at_once_and_the_order_stays() {
    let (world, slow) = crowded(&Sketch { deadline: Some(Duration::from_secs(5)), ..emitting(2) }, false).await;
    let (_, asker) = world.ask().await;
    world.clock.advance(Duration::from_secs(6)).await;
    assert_eq!(asker.heard(), ["end timed_out"]);
    slow.turns.add_permits(5_000);
    world.clock.advance(Duration::ZERO).await;
    assert_eq!(slow.taken.lock().unwrap().last().map(|taken| taken.as_str().to_owned()).as_deref(), Some("Done"));
}

#[tokio::test]
async fn who_gets_no_room_in_thirty_seconds_goes_without_and_it_is_told() {
    let (world, _slow) = crowded(&emitting(1), false).await;
    let (admission, _) = world.ask().await;
    world.clock.advance(Duration::from_secs(1)).await;
    world.engine.cancel(started(&admission), CancelReason::Requested);
    world.clock.advance(Duration::from_secs(28)).await;
    assert_eq!(world.diary.count("undelivered Done"), 0);
    world.clock.advance(Duration::from_secs(2)).await;
    assert_eq!(world.diary.count("undelivered Done"), 1);
}

#[tokio::test]
async fn what_waits_behind_a_run_when_the_host_stops_is_left_for_the_next_start() {
    let (world, _slow) = crowded(&emitting(1), true).await;
    let (admission, _) = world.ask().await;
    world.clock.advance(Duration::from_secs(1)).await;
    world.engine.cancel(started(&admission), CancelReason::Requested);
    world.clock.advance(Duration::ZERO).await;
    world.engine.stop(CancelReason::Shutdown).await;
    assert_eq!((world.diary.count("undelivered Told"), world.diary.count("undelivered Done")), (0, 0), "it is not lost");
}
