//! Lanes and undoing through the whole engine: what reaches executors, states, the door and whoever watches.

use std::future::pending;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::FutureExt;
use tokio::sync::Notify;

use super::{Dropped, World, one, scripted, started};
use crate::engine::fixture::{Says, Shape, Sketch, SketchStep, within_minutes};
use crate::model::failure::{Failure, FailureKind};
use crate::model::job::CancelReason;
use crate::model::port::{Activate, Clock};
use crate::model::value::{Tree, Value};
use crate::plan::pipeline::{Concurrency, Join, WhenFull};

fn shape(shape: Shape) -> SketchStep {
    SketchStep { shape, ..SketchStep::default() }
}

fn rounds(rounds: i64, max_concurrent: u32, steps: Vec<SketchStep>) -> SketchStep {
    shape(Shape::Each { over: Says::This(Value::from(Tree::Int(rounds))), max_concurrent, steps })
}

fn undone() -> SketchStep {
    SketchStep { undo: Some((Says::Own, false)), ..SketchStep::default() }
}

#[tokio::test]
async fn the_executor_of_a_lost_branch_is_stopped() {
    let (sender, dropped) = tokio::sync::oneshot::channel();
    let sender = Mutex::new(Some(sender));
    let signal = Arc::new(Mutex::new(None));
    let inside = Arc::clone(&signal);
    let executor = scripted(move |job, attempt| {
        if job.step.as_str() == "s0b1s0" {
            return async { Ok(Value::string("won")) }.boxed();
        }
        let guard = Dropped(sender.lock().unwrap().take());
        *inside.lock().unwrap() = Some(attempt.cancel.clone());
        async move {
            let _guard = guard;
            pending().await
        }
        .boxed()
    });
    let branches = vec![vec![SketchStep::default()], vec![SketchStep::default()]];
    let world = World::new(&one(shape(Shape::Parallel(Join::Quorum(1), branches))), &executor);
    assert_eq!(world.run_to_end().await, ["end succeeded"]);
    dropped.await.expect("the work was dropped");
    assert!(signal.lock().unwrap().as_ref().is_some_and(|signal| signal.is_cancelled()));
    assert_eq!((world.diary.count("job cancelled"), world.diary.count("job succeeded")), (1, 1));
}

#[test]
fn ten_thousand_items_go_through_the_engine() {
    within_minutes(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let executor = scripted(|_, _| async { Ok(Value::null()) }.boxed());
            let world = World::new(&one(rounds(10_000, 1_000, vec![SketchStep::default()])), &executor);
            let heard = world.run_to_end().await;
            assert_eq!((heard, executor.calls.load(Ordering::SeqCst)), (vec!["end succeeded".to_owned()], 10_000));
        });
    });
}

#[tokio::test]
async fn branches_set_the_state_one_after_the_other() {
    let executor = scripted(|_, _| async { Ok(Value::null()) }.boxed());
    let sets = || vec![SketchStep { set: true, ..SketchStep::default() }];
    let world = World::new(&one(shape(Shape::Parallel(Join::All, vec![sets(), sets(), sets()]))), &executor);
    assert_eq!(world.run_to_end().await, ["end succeeded"]);
    assert_eq!(world.diary.count(r#"state {"status":"busy"}"#), 3);
}

#[tokio::test]
async fn a_run_that_never_waits_hears_that_it_is_cancelled() {
    let executor = scripted(|_, _| async { Ok(Value::null()) }.boxed());
    let sets = SketchStep { set: true, shape: Shape::Sleep(0), ..SketchStep::default() };
    let world = World::new(&one(rounds(100_000, 1, vec![sets])), &executor);
    let (admission, asker) = world.ask().await;
    world.engine.cancel(started(&admission), CancelReason::Requested);
    asker.ended.notified().await;
    assert_eq!(asker.heard(), ["end cancelled"]);
    assert!(world.diary.count(r#"state {"status":"busy"}"#) < 100_000);
}

#[tokio::test]
async fn sleeps_pass_in_virtual_time() {
    let executor = scripted(|_, _| async { Ok(Value::null()) }.boxed());
    let branches = vec![vec![shape(Shape::Sleep(7_200))], vec![shape(Shape::Sleep(3_600)), shape(Shape::Sleep(10_800))]];
    let world = World::new(&one(shape(Shape::Parallel(Join::All, branches))), &executor);
    assert_eq!(world.run_to_end().await, ["end succeeded"]);
    assert_eq!(world.clock.now().as_millis(), 14_400_000);
}

#[tokio::test]
async fn a_replacing_run_starts_after_the_undoing_of_the_replaced_one() {
    let order: Arc<Mutex<Vec<String>>> = Arc::default();
    let inside = Arc::clone(&order);
    let (hung, hangs) = (Arc::new(AtomicBool::new(false)), Arc::new(Notify::new()));
    let telling = Arc::clone(&hangs);
    let executor = scripted(move |job, _| {
        inside.lock().unwrap().push(format!("{} {}", job.step, job.input.text()));
        let first = job.step.as_str() == "s1" && !hung.swap(true, Ordering::SeqCst);
        if first {
            telling.notify_one();
        }
        async move { if first { pending().await } else { Ok(Value::string("done")) } }.boxed()
    });
    let concurrency = Concurrency { key: None, max_concurrent: 1, max_queue: 1, when_full: WhenFull::Replace };
    let steps = vec![undone(), SketchStep::default()];
    let sketch = Sketch { steps, finally: true, concurrency: Some(concurrency), ..Sketch::default() };
    let world = World::new(&sketch, &executor);
    let (_, first) = world.ask().await;
    hangs.notified().await;
    let (_, second) = world.ask().await;
    first.ended.notified().await;
    second.ended.notified().await;
    assert_eq!((first.heard(), second.heard()), (vec!["end cancelled".to_owned()], vec!["end succeeded".to_owned()]));
    let expected = ["s0 null", "s1 null", r#"s0 "done""#, "finally null", "s0 null", "s1 null", "finally null"];
    assert_eq!(*order.lock().unwrap(), expected);
}

#[tokio::test]
async fn undoing_is_told_as_such_and_a_parked_run_too() {
    let executor = scripted(|job, _| {
        let fails = job.step.as_str() == "s1" || !job.input.is_null();
        async move { if fails { Err(Failure::new(FailureKind::Permanent, "no")) } else { Ok(Value::string("done")) } }.boxed()
    });
    let world = World::new(&Sketch { steps: vec![undone(), SketchStep::default()], ..Sketch::default() }, &executor);
    assert_eq!(world.run_to_end().await, ["end parked"]);
    assert_eq!((world.diary.count("undo failed"), world.diary.count("run parked")), (1, 1));
}
