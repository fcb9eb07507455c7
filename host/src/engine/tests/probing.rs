//! A breaker whose probe says when calls are made again.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// Steps fail; the probe does what `probe` says of its number, from 0.
fn world(probe: impl Fn(usize) -> Processing<'static> + Send + Sync + 'static) -> (World, Arc<Scripted>, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let inside = Arc::clone(&asked);
    let executor = scripted(move |job, _| {
        if job.step.as_str() == "probe" {
            return probe(inside.fetch_add(1, Ordering::SeqCst));
        }
        async { Err(Failure::new(FailureKind::Transient, "busy")) }.boxed()
    });
    let step = || SketchStep { probe: true, ..SketchStep::default() };
    // Two steps share the breaker, and it has one probe all the same.
    let sketch = Sketch { steps: vec![step(), step()], ..Sketch::default() };
    (World::new(&sketch, &executor), executor, asked)
}

fn down() -> Processing<'static> {
    async { Err(Failure::new(FailureKind::NotFound, "down")) }.boxed()
}

fn up() -> Processing<'static> {
    async { Ok(Value::null()) }.boxed()
}

#[tokio::test]
async fn it_is_asked_while_the_breaker_is_open_and_its_success_closes_it() {
    let (world, executor, asked) = world(|number| if number < 5 { down() } else { up() });
    world.clock.advance(SECOND * 60).await;
    assert_eq!(asked.load(Ordering::SeqCst), 0, "a closed breaker asks nobody");
    assert_eq!(world.run_to_end().await, ["end failed"]);
    assert_eq!(world.run_to_end().await, ["end failed"]);
    assert_eq!(executor.calls.load(Ordering::SeqCst), 1, "the second run is refused without a call");
    // Past the cooldown no call is let through; the probe alone decides.
    world.clock.advance(SECOND * 55).await;
    assert_eq!((asked.load(Ordering::SeqCst), world.diary.count("breaker closed")), (5, 0));
    world.clock.advance(SECOND * 5).await;
    assert_eq!((asked.load(Ordering::SeqCst), world.diary.count("breaker closed")), (6, 1));
    world.clock.advance(SECOND * 60).await;
    assert_eq!(asked.load(Ordering::SeqCst), 6);
    assert_eq!(world.run_to_end().await, ["end failed"]);
    assert_eq!((world.diary.count("breaker open"), world.diary.count("breaker half_open")), (2, 0));
    world.engine.stop(CancelReason::Shutdown).await;
}

#[tokio::test]
async fn a_probe_that_hangs_or_panics_has_failed_and_the_next_is_asked() {
    let activity = Arc::new(std::sync::OnceLock::<Activity>::new());
    let rests = Arc::clone(&activity);
    let (world, _, asked) = world(move |number| match number {
        0 => {
            let activity = rests.get().expect("it is set").clone();
            async move { activity.rest(pending()).await }.boxed()
        }
        1 => async { panic!("as scripted") }.boxed(),
        _ => up(),
    });
    activity.set(world.activity.clone()).expect("it is set once");
    world.run_to_end().await;
    world.clock.advance(SECOND * 11).await;
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    world.clock.advance(SECOND * 60).await;
    assert_eq!((asked.load(Ordering::SeqCst), world.diary.count("breaker closed")), (3, 1));
}

#[tokio::test]
async fn a_reload_stops_the_probes_before_it_and_the_breaker_stays_open() {
    let (world, _, asked) = world(|_| down());
    world.run_to_end().await;
    world.clock.advance(SECOND * 11).await;
    let calm = scripted(|_, _| up());
    world.install(&one(SketchStep { probe: true, ..SketchStep::default() }), &calm);
    world.clock.advance(SECOND * 11).await;
    assert_eq!((asked.load(Ordering::SeqCst), calm.calls.load(Ordering::SeqCst)), (1, 1), "the new one is asked");
    assert_eq!(world.diary.count("breaker closed"), 1);
}
