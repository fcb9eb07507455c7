//! Flows whose runs are short: whoever activates them drives them until they first wait.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::Notify;

use super::{World, one, scripted, started};
use crate::clock::Activity;
use crate::engine::Engine;
use crate::engine::fixture::{Sketch, SketchStep};
use crate::model::failure::{Failure, FailureKind};
use crate::model::job::CancelReason;
use crate::model::port::{Activate, Clock, Processing};
use crate::model::value::Value;

/// So many short runs, and the flow is trusted.
const RUNS: usize = 16;

fn done() -> Processing<'static> {
    async { Ok(Value::null()) }.boxed()
}

async fn trusted(world: &World) {
    for _ in 0..RUNS {
        assert_eq!(world.run_to_end().await, ["end succeeded"]);
    }
}

#[tokio::test]
async fn a_trusted_run_is_over_when_its_activation_is() {
    let world = World::new(&Sketch::of(3), &scripted(|_, _| done()));
    let (_, first) = world.ask().await;
    assert!(first.heard().is_empty(), "nothing is known of the flow yet");
    world.clock.run(first.ended.notified()).await;
    trusted(&world).await;
    let (admission, asker) = world.ask().await;
    assert_eq!(asker.heard(), ["end succeeded"]);
    assert!(started(&admission) != started(&world.ask().await.0) && world.engine.running().is_empty());
    assert_eq!(world.activity.running(), 0);
}

#[tokio::test]
async fn one_that_has_to_wait_goes_on_by_itself_and_takes_the_trust_with_it() {
    let clock = Arc::new(OnceLock::<Arc<dyn Clock>>::new());
    let (inside, activity) = (Arc::clone(&clock), Activity::new());
    let slow = Arc::new(AtomicBool::new(false));
    let (is_slow, resting) = (Arc::clone(&slow), activity.clone());
    let executor = scripted(move |_, _| {
        let clock = inside.get().filter(|_| is_slow.load(Ordering::SeqCst)).cloned();
        let resting = resting.clone();
        async move {
            if let Some(clock) = clock {
                resting.rest(clock.sleep_until(clock.now() + Duration::from_millis(1))).await;
            }
            Ok(Value::null())
        }
        .boxed()
    });
    let world = World::with(&Sketch::of(1), &executor, activity);
    let shared: Arc<dyn Clock> = Arc::new(world.clock.clone());
    assert!(clock.set(shared).is_ok());
    trusted(&world).await;
    slow.store(true, Ordering::SeqCst);
    let (_, asker) = world.ask().await;
    assert!(asker.heard().is_empty());
    world.clock.run(asker.ended.notified()).await;
    assert_eq!(asker.heard(), ["end succeeded"]);
    slow.store(false, Ordering::SeqCst);
    let (_, asker) = world.ask().await;
    assert!(asker.heard().is_empty(), "the flow has to be short anew");
    world.clock.run(asker.ended.notified()).await;
}

#[tokio::test]
async fn one_that_waits_hears_its_cancel_and_the_host_waits_for_its_end() {
    let wait = Arc::new(AtomicBool::new(false));
    let waits = Arc::clone(&wait);
    let executor = scripted(move |_, _| if waits.load(Ordering::SeqCst) { std::future::pending().boxed() } else { done() });
    let world = World::new(&Sketch::of(1), &executor);
    trusted(&world).await;
    wait.store(true, Ordering::SeqCst);
    let (admission, cancelled) = world.ask().await;
    world.engine.cancel(started(&admission), CancelReason::Requested);
    world.clock.run(cancelled.ended.notified()).await;
    assert_eq!(cancelled.heard(), ["end cancelled"]);
    wait.store(false, Ordering::SeqCst);
    trusted(&world).await;
    wait.store(true, Ordering::SeqCst);
    let (_, stopped) = world.ask().await;
    world.engine.stop(CancelReason::Shutdown).await;
    assert_eq!(stopped.heard(), ["end cancelled"]);
}

#[tokio::test]
async fn a_panic_in_it_is_its_own() {
    let world = World::new(&one(SketchStep::default()), &scripted(|_, _| done()));
    trusted(&world).await;
    let sketch = Sketch::of(1);
    let panics = Arc::new(AtomicBool::new(false));
    let inside = Arc::clone(&panics);
    world.install(&sketch, &scripted(move |_, _| if inside.load(Ordering::SeqCst) { panic!("as scripted") } else { done() }));
    trusted(&world).await;
    panics.store(true, Ordering::SeqCst);
    assert_eq!(world.ask().await.1.heard(), ["end failed"]);
    panics.store(false, Ordering::SeqCst);
    assert_eq!(world.ask().await.1.heard(), ["end succeeded"]);
}

#[tokio::test]
async fn a_long_chain_of_runs_that_start_the_next_does_not_use_up_the_stack() {
    const LONG: usize = 20_000;
    let engine = Arc::new(OnceLock::<Engine>::new());
    let (inside, over) = (Arc::clone(&engine), Arc::new(Notify::new()));
    let told = Arc::clone(&over);
    let left = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&left);
    let next = Arc::new(OnceLock::new());
    let activation = Arc::clone(&next);
    let executor = scripted(move |_, _| {
        let (engine, told, activation) = (inside.get().cloned(), Arc::clone(&told), activation.get().cloned());
        let before = count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        async move {
            match (before, engine, activation) {
                (Ok(1), ..) => told.notify_one(),
                (Ok(_), Some(engine), Some(activation)) => drop(engine.activate(activation).await),
                (Ok(_), ..) => return Err(Failure::new(FailureKind::Bug, "the test is not set up")),
                (Err(_), ..) => {}
            }
            Ok(Value::null())
        }
        .boxed()
    });
    let world = World::new(&Sketch::of(1), &executor);
    trusted(&world).await;
    assert!(engine.set(world.engine.clone()).is_ok() && next.set(world.activation()).is_ok());
    left.store(LONG, Ordering::SeqCst);
    world.ask().await;
    over.notified().await;
    world.engine.quiet().await;
    assert_eq!(executor.calls.load(Ordering::SeqCst), RUNS + LONG);
}
