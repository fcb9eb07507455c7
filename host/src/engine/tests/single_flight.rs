//! Work that several runs share: it goes on as long as one of them wants it, and each of them has its own end.

use std::sync::atomic::AtomicBool;

use super::*;
use crate::model::port::{Forget, Random};

const SECOND: Duration = Duration::from_secs(1);

/// How long the shared work takes.
const TAKES: Duration = Duration::from_secs(10);

/// What was done, and what was given up.
#[derive(Default)]
struct Works {
    given_up: AtomicUsize,
    done: AtomicUsize,
}

/// Counts itself as given up if it is dropped before it is done.
struct Doing {
    works: Arc<Works>,
    done: AtomicBool,
}

impl Drop for Doing {
    fn drop(&mut self) {
        let count = if self.done.load(Ordering::SeqCst) { &self.works.done } else { &self.works.given_up };
        count.fetch_add(1, Ordering::SeqCst);
    }
}

struct Scene {
    world: World,
    executor: Arc<Scripted>,
    works: Arc<Works>,
}

/// An executor that emits, takes ten seconds, tells a progress, emits again and succeeds; a call that `fails` fails after ten seconds.
fn scene(step: SketchStep, fails: impl Fn(usize) -> bool + Send + Sync + 'static) -> Scene {
    let activity = Activity::new();
    let clock = VirtualClock::new(activity.clone());
    let works = Arc::new(Works::default());
    let (timer, rests, counts, calls) = (clock.clone(), activity.clone(), Arc::clone(&works), AtomicUsize::new(0));
    let executor = scripted(move |_, attempt| {
        let (timer, rests) = (timer.clone(), rests.clone());
        let fails = fails(calls.fetch_add(1, Ordering::SeqCst));
        let doing = Doing { works: Arc::clone(&counts), done: AtomicBool::new(false) };
        async move {
            let due = timer.now() + TAKES;
            attempt.channel.emit("Told".into(), Value::null())?;
            rests.rest(timer.sleep_until(due)).await;
            attempt.channel.progress(Value::string("nearly"));
            attempt.channel.emit("Told".into(), Value::null())?;
            doing.done.store(true, Ordering::SeqCst);
            if fails { Err(Failure::new(FailureKind::Transient, "busy")) } else { Ok(Value::string("result")) }
        }
        .boxed()
    });
    let concurrency = Concurrency { max_concurrent: 1_000, ..Concurrency::default() };
    let world = World::on(clock, activity, &Sketch { concurrency: Some(concurrency), ..one(step) }, &executor);
    Scene { world, executor, works }
}

fn shared() -> SketchStep {
    SketchStep { dedup: true, ..SketchStep::default() }
}

impl Scene {
    /// Lets time pass until it is so late.
    async fn until(&self, time: Duration) {
        let left = (Timestamp::EPOCH + time).since(self.world.clock.now());
        self.world.clock.advance(left).await;
    }

    async fn ask(&self) -> (RunId, Arc<Asker>) {
        let (admission, asker) = self.world.ask().await;
        (started(&admission), asker)
    }

    fn cancel(&self, run: RunId) {
        self.world.engine.cancel(run, CancelReason::Requested);
    }

    /// How often it was called, how often it came to its end, how often it was given up.
    fn counts(&self) -> (usize, usize, usize) {
        let count = |counter: &AtomicUsize| counter.load(Ordering::SeqCst);
        (count(&self.executor.calls), count(&self.works.done), count(&self.works.given_up))
    }

    fn events(&self) -> (usize, usize) {
        (self.world.diary.count("event Told"), self.world.diary.count("event Done"))
    }
}

#[tokio::test]
async fn work_whose_run_is_cancelled_goes_on_for_those_who_wait() {
    let scene = scene(SketchStep { stream: true, emits: true, ..shared() }, |_| false);
    let (first, one) = scene.ask().await;
    scene.until(SECOND).await;
    let ((_, two), (_, three)) = (scene.ask().await, scene.ask().await);
    scene.until(SECOND * 4).await;
    scene.cancel(first);
    scene.until(SECOND * 5).await;
    assert_eq!(one.heard(), ["end cancelled"], "the one who cancelled has its end at once");
    scene.until(SECOND * 10).await;
    assert_eq!(two.heard(), [r#"progress "nearly""#, "end succeeded"], "the one who took it over hears its progress");
    assert_eq!((three.heard(), one.heard().len()), (vec!["end succeeded".to_owned()], 1));
    assert_eq!(scene.counts(), (1, 1, 0), "the same call, to its end");
    assert_eq!(scene.events(), (2, 1), "what was emitted before and after goes out once");
    assert_eq!(scene.world.diary.count("dedup take_over"), 1);
    assert_eq!((scene.world.diary.count("job cancelled"), scene.world.diary.count("job succeeded")), (1, 2));
}

#[tokio::test]
async fn a_miss_of_the_cache_is_handed_on_and_stored() {
    let scene = scene(SketchStep { cache: true, ..SketchStep::default() }, |_| false);
    let (first, _) = scene.ask().await;
    scene.until(SECOND).await;
    let (_, two) = scene.ask().await;
    scene.until(SECOND * 2).await;
    scene.cancel(first);
    scene.until(SECOND * 11).await;
    let (_, three) = scene.ask().await;
    scene.until(SECOND * 12).await;
    assert_eq!((two.heard(), three.heard()), (vec!["end succeeded".to_owned()], vec!["end succeeded".to_owned()]));
    assert_eq!(scene.counts(), (1, 1, 0), "the third finds what the second stored");
}

#[tokio::test]
async fn each_has_its_own_deadline() {
    let scene = scene(SketchStep { deadline: Some(SECOND * 8), ..shared() }, |_| false);
    let (_, one) = scene.ask().await;
    scene.until(SECOND * 5).await;
    let (_, two) = scene.ask().await;
    scene.until(SECOND * 9).await;
    assert_eq!((one.heard(), two.heard().len()), (vec!["end timed_out".to_owned()], 0));
    scene.until(SECOND * 10).await;
    assert_eq!((two.heard(), scene.counts()), (vec!["end succeeded".to_owned()], (1, 1, 0)));
}

#[tokio::test]
async fn a_leader_that_is_late_has_its_fallback_while_the_others_wait_on() {
    let scene = scene(SketchStep { deadline: Some(SECOND * 8), fallback: Some(true), ..shared() }, |_| false);
    let (_, one) = scene.ask().await;
    scene.until(SECOND * 5).await;
    let (_, two) = scene.ask().await;
    scene.until(SECOND * 30).await;
    assert_eq!((one.heard(), two.heard()), (vec!["end succeeded".to_owned()], vec!["end succeeded".to_owned()]));
    // The step of the fallback is a call of its own.
    assert_eq!(scene.counts(), (2, 2, 0));
}

#[tokio::test]
async fn the_work_is_cancelled_when_the_last_has_gone() {
    let scene = scene(shared(), |_| false);
    let (first, _) = scene.ask().await;
    scene.until(SECOND).await;
    let ((second, _), (third, _)) = (scene.ask().await, scene.ask().await);
    scene.until(SECOND * 2).await;
    // The second waits when it goes, the first leads, the third leads when it goes.
    for (run, seconds) in [(second, 3), (first, 4), (third, 5)] {
        assert_eq!(scene.counts(), (1, 0, 0));
        scene.cancel(run);
        scene.until(SECOND * seconds).await;
    }
    assert_eq!(scene.counts(), (1, 0, 1));
    assert_eq!(scene.world.diary.count("job cancelled"), 3);
    let (_, fourth) = scene.ask().await;
    scene.until(SECOND * 20).await;
    assert_eq!((fourth.heard(), scene.counts()), (vec!["end succeeded".to_owned()], (2, 1, 1)), "the key is free again");
}

#[tokio::test]
async fn all_who_go_in_the_same_moment_leave_nothing_behind() {
    let scene = scene(shared(), |_| false);
    let mut runs = Vec::new();
    for _ in 0..5 {
        runs.push(scene.ask().await.0);
    }
    scene.until(SECOND).await;
    runs.iter().for_each(|run| scene.cancel(*run));
    scene.until(SECOND * 2).await;
    assert_eq!((scene.counts(), scene.world.diary.count("job cancelled")), ((1, 0, 1), 5));
    assert!(scene.world.engine.running().is_empty());
}

#[tokio::test]
async fn what_was_taken_over_and_fails_is_tried_again_under_the_new_leaders_policy() {
    let scene = scene(SketchStep { retries: Some(1), ..shared() }, |call| call == 0);
    let (first, _) = scene.ask().await;
    scene.until(SECOND).await;
    let ((_, two), (_, three)) = (scene.ask().await, scene.ask().await);
    scene.until(SECOND * 2).await;
    scene.cancel(first);
    scene.until(SECOND * 60).await;
    assert_eq!((two.heard(), three.heard()), (vec!["end succeeded".to_owned()], vec!["end succeeded".to_owned()]));
    assert_eq!((scene.counts(), scene.events()), ((2, 2, 0), (2, 0)), "the events of the failed attempt are dropped");
}

#[tokio::test]
async fn who_goes_between_two_attempts_leaves_the_next_one_to_the_others() {
    let calls = Arc::new(AtomicUsize::new(0));
    let inside = Arc::clone(&calls);
    let executor = scripted(move |_, _| {
        let first = inside.fetch_add(1, Ordering::SeqCst) == 0;
        async move { if first { Err(Failure::new(FailureKind::Transient, "busy")) } else { Ok(Value::null()) } }.boxed()
    });
    let world = World::new(&one(SketchStep { retries: Some(3), ..shared() }), &executor);
    let (admission, one) = world.ask().await;
    let (_, two) = world.ask().await;
    while world.diary.count("dedup join") == 0 {
        tokio::task::yield_now().await;
    }
    world.engine.cancel(started(&admission), CancelReason::Requested);
    world.clock.run(two.ended.notified()).await;
    assert_eq!((one.heard(), two.heard()), (vec!["end cancelled".to_owned()], vec!["end succeeded".to_owned()]));
    assert_eq!(calls.load(Ordering::SeqCst), 2);
    assert_eq!(world.clock.now(), Timestamp::EPOCH, "the one who leads anew waits for nobody's back-off");
}

#[tokio::test]
async fn hundreds_of_readers_of_one_key_make_one_call() {
    for step in [shared(), SketchStep { cache: true, ..SketchStep::default() }] {
        let scene = scene(step, |_| false);
        let mut askers = Vec::new();
        for _ in 0..500 {
            askers.push(scene.ask().await);
        }
        scene.until(SECOND).await;
        // Those in front go: the work goes from hand to hand.
        for (run, _) in &askers[..100] {
            scene.cancel(*run);
        }
        scene.until(SECOND * 10).await;
        assert_eq!(scene.counts(), (1, 1, 0));
        let ended = |word: &str| askers.iter().filter(|(_, asker)| asker.heard() == [format!("end {word}")]).count();
        assert_eq!((ended("cancelled"), ended("succeeded")), (100, 400));
    }
}

#[tokio::test]
async fn a_refresh_that_is_late_goes_on_for_those_who_missed_meanwhile() {
    let scene = scene(SketchStep { cache: true, deadline: Some(SECOND * 70), ..SketchStep::default() }, |_| false);
    let (_, one) = scene.ask().await;
    // Kept at 10 s, fresh until 70 s, served until 130 s; asked for at 129 s, it is fetched behind the answer and missed by the third.
    scene.until(SECOND * 129).await;
    let (_, two) = scene.ask().await;
    scene.until(SECOND * 131).await;
    let (_, three) = scene.ask().await;
    scene.until(SECOND * 139).await;
    for asker in [one, two, three] {
        assert_eq!(asker.heard(), ["end succeeded"]);
    }
    assert_eq!(scene.counts(), (2, 2, 0));
}

#[tokio::test]
async fn what_is_invalidated_is_fetched_anew_and_a_read_from_before_is_not_kept() {
    let scene = scene(SketchStep { cache: true, ..SketchStep::default() }, |_| false);
    let caches = scene.world.engine.caches();
    let asked = |policy: &str, forget: Forget| caches.invalidate(&crate::engine::fixture::job(), policy, &forget);
    let key = || Forget::Key(Value::string("key"));
    scene.ask().await;
    scene.until(SECOND * 11).await;
    assert_eq!(asked("main.s0", key()).ok(), Some(1));
    assert_eq!(asked("main.s0", Forget::Prefix(Value::string("k"))).ok(), Some(0), "it has gone already");
    scene.ask().await;
    scene.until(SECOND * 12).await;
    // The read under way began before this and is not kept; whoever comes after it does not join it.
    assert_eq!(asked("main.s0", Forget::Tag("any".to_owned())).ok(), Some(0));
    let (_, after) = scene.ask().await;
    scene.until(SECOND * 21).await;
    assert_eq!((scene.counts().0, after.heard().len()), (3, 0));
    scene.until(SECOND * 23).await;
    scene.ask().await;
    scene.until(SECOND * 24).await;
    assert_eq!(scene.counts(), (3, 3, 0), "the last finds what the third stored");
    let refused = asked("main.s1", key()).expect_err("there is no such cache");
    assert_eq!(refused.message, "p has no cache `main.s1`: its caches are main.s0");
    assert_eq!(asked("main.s0", Forget::Key(Value::null())).expect_err("null is no key").kind, FailureKind::Invalid);
}

/// One of those who ask; times in tenths of a millisecond.
#[derive(Clone, Copy)]
struct Caller {
    comes: u64,
    goes: Option<u64>,
}

/// How long each of them waits at most.
const PATIENCE: u64 = 70_000;

/// What must come of them, in the order in which they come: how often the work is called, how often given up, and how each ends.
fn expected(callers: &[Caller], is_kept: bool) -> (usize, usize, Vec<&'static str>) {
    let takes = u64::try_from(TAKES.as_micros()).unwrap() / 100;
    let leaves = |caller: &Caller| caller.goes.unwrap_or(u64::MAX).min(caller.comes + PATIENCE);
    let (mut calls, mut given_up, mut ends) = (0, 0, Vec::new());
    while let Some(first) = callers.get(ends.len()) {
        calls += 1;
        let done = first.comes + takes;
        let mut last = leaves(first);
        // Whoever comes while somebody is still there shares it.
        while let Some(caller) = callers.get(ends.len()).filter(|caller| caller.comes < done.min(last)) {
            last = last.max(leaves(caller));
            ends.push(match () {
                () if leaves(caller) > done => "succeeded",
                () if leaves(caller) < caller.comes + PATIENCE => "cancelled",
                () => "timed_out",
            });
        }
        given_up += usize::from(last < done);
        if is_kept && last > done {
            // What is kept answers whoever comes later.
            ends.resize(callers.len(), "succeeded");
        }
    }
    (calls, given_up, ends)
}

#[tokio::test]
async fn whoever_comes_and_goes_the_work_lives_exactly_as_long_as_somebody_wants_it() {
    let random = SeededRandom::new(7);
    for round in 0..150 {
        let mut base = 0;
        let mut caller = |index: u64| {
            // No two things happen at one instant.
            base += 1_000 * (1 + (random.fraction() * 40.0) as u64);
            let goes = (random.fraction() < 0.5).then(|| base + 1_000 * (random.fraction() * 90.0) as u64 + 100 + index);
            Caller { comes: base + 10 * index, goes }
        };
        let callers: Vec<Caller> = (0..1 + round % 8).map(&mut caller).collect();
        let cache = round % 2 == 0;
        let step = SketchStep { deadline: Some(Duration::from_micros(PATIENCE * 100)), dedup: !cache, cache, ..SketchStep::default() };
        let scene = scene(step, |_| false);
        let comes = callers.iter().enumerate().map(|(index, caller)| (caller.comes, index, true));
        let goes = callers.iter().enumerate().filter_map(|(index, caller)| Some((caller.goes?, index, false)));
        let mut moments: Vec<_> = comes.chain(goes).collect();
        moments.sort_unstable();
        let mut asked = Vec::new();
        for (moment, index, comes) in moments {
            scene.until(Duration::from_micros(moment * 100)).await;
            if comes {
                asked.push(scene.ask().await);
            } else {
                scene.cancel(asked[index].0);
            }
        }
        scene.until(SECOND * 100).await;
        let (calls, given_up, ends) = expected(&callers, cache);
        let ends: Vec<String> = ends.iter().map(|end| format!("end {end}")).collect();
        assert_eq!(asked.iter().map(|(_, asker)| asker.heard().join(", ")).collect::<Vec<_>>(), ends, "round {round}");
        assert_eq!(scene.counts(), (calls, calls - given_up, given_up), "round {round}");
    }
}
