//! `optimistic`: what a job promises stands in the state until the job has ended.

use super::*;

fn step() -> SketchStep {
    SketchStep { optimistic: true, ..SketchStep::default() }
}

fn states(world: &World) -> Vec<String> {
    world.diary.lines().into_iter().filter(|line| line.starts_with("state") || line.starts_with("job")).collect()
}

fn status(world: &World) -> String {
    world.engine.state(&"p".into(), None).expect("the pipeline is there").text().to_owned()
}

#[tokio::test]
async fn it_stands_from_the_dispatch_on_and_stays_if_the_job_succeeds() {
    let executor = scripted(|_, _| async { Ok(Value::null()) }.boxed());
    let world = World::new(&one(step()), &executor);
    world.run_to_end().await;
    assert_eq!(states(&world), [r#"state {"status":"sending"}"#, "job succeeded"]);
    assert_eq!(status(&world), r#"{"status":"sending"}"#);
}

#[tokio::test]
async fn it_is_set_once_over_all_attempts_and_taken_back_if_they_fail() {
    let executor = scripted(|_, _| async { Err(Failure::new(FailureKind::Transient, "busy")) }.boxed());
    let world = World::new(&one(SketchStep { retries: Some(2), ..step() }), &executor);
    world.run_to_end().await;
    assert_eq!(states(&world), [r#"state {"status":"sending"}"#, r#"state {"status":"idle"}"#, "job failed"]);
}

#[tokio::test]
async fn it_stays_if_the_job_succeeds_by_its_fallback_and_not_if_that_fails_too() {
    for (by_steps, stays) in [(false, true), (true, false)] {
        let executor = scripted(|_, _| async { Err(Failure::new(FailureKind::Permanent, "no")) }.boxed());
        let world = World::new(&one(SketchStep { fallback: Some(by_steps), ..step() }), &executor);
        world.run_to_end().await;
        let expected: &[&str] = match stays {
            true => &[r#"state {"status":"sending"}"#, "job succeeded"],
            false => &[r#"state {"status":"sending"}"#, "job failed", r#"state {"status":"idle"}"#, "job failed"],
        };
        assert_eq!(states(&world), expected);
    }
}

#[tokio::test]
async fn it_is_taken_back_if_the_result_is_more_than_the_store_takes() {
    let large = Value::string("x".repeat(17 << 20));
    let executor = scripted(move |_, _| {
        let large = large.clone();
        async { Ok(large) }.boxed()
    });
    let world = World::new(&one(step()), &executor);
    world.run_to_end().await;
    assert_eq!(states(&world), [r#"state {"status":"sending"}"#, r#"state {"status":"idle"}"#, "job failed"]);
    assert_eq!(status(&world), r#"{"status":"idle"}"#);
}

#[tokio::test]
async fn it_is_taken_back_on_a_cancel() {
    let executor = scripted(|_, _| pending().boxed());
    let world = World::new(&one(SketchStep { dedup: true, ..step() }), &executor);
    let ((first, one), (second, two)) = (world.ask().await, world.ask().await);
    while world.diary.count("dedup join") == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(status(&world), r#"{"status":"sending"}"#, "one who joined promises too");
    for (admission, asker) in [(first, one), (second, two)] {
        assert_eq!(status(&world), r#"{"status":"sending"}"#, "the other's still stands");
        world.engine.cancel(started(&admission), CancelReason::Requested);
        asker.ended.notified().await;
    }
    assert_eq!(status(&world), r#"{"status":"idle"}"#);
}

#[tokio::test]
async fn whoever_is_sent_away_leaves_no_state_behind() {
    let executor = scripted(|_, _| pending().boxed());
    let concurrency = Concurrency { max_concurrent: 1, when_full: WhenFull::Reject, ..Concurrency::default() };
    let sketch = Sketch { concurrency: Some(concurrency), ..one(step()) };
    let world = World::new(&sketch, &executor);
    assert_eq!(world.engine.states(), 0);
    world.ask().await;
    assert_eq!(world.engine.states(), 1);
    assert!(matches!(world.ask().await.0, Admission::Refused(_)));
    assert_eq!(world.engine.states(), 1);
}
