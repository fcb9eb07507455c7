//! Hosts that end again and again: the run that ends them is found out, and no other is given up for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::Notify;

use super::meeting::World;
use super::{gated, scripted};
use crate::engine::fixture::{Shape, Sketch, SketchStep, pipeline as sketched};
use crate::journal::memory::{Bounds, MemoryStore};
use crate::model::activation::RunOutcome;
use crate::model::id::RunId;
use crate::model::port::{Answer, Commit, Store, forward_store};
use crate::model::record::{Batch, Fact, end_of};
use crate::model::time::Timestamp;
use crate::model::value::Value;
use crate::plan::pipeline::Concurrency;

/// A store whose host dies as soon as it is given something of one run.
struct Poisoned {
    inner: MemoryStore,
    poison: RunId,
    is_dead: AtomicBool,
    over: Notify,
}

impl Store for Poisoned {
    fn commit(&self, batch: Batch) -> Commit {
        if batch.run == self.poison {
            self.is_dead.store(true, Ordering::SeqCst);
            self.over.notify_one();
        }
        match self.is_dead.load(Ordering::SeqCst) {
            true => std::future::pending().boxed(),
            false => self.inner.commit(batch),
        }
    }

    forward_store!(inner: facts, write, published);
}

fn many(sketch: Sketch) -> Sketch {
    Sketch { concurrency: Some(Concurrency { max_concurrent: 99, ..Concurrency::default() }), ..sketch }
}

#[tokio::test]
async fn the_run_that_ends_its_host_is_given_up_and_the_49_beside_it_go_on() {
    let store = MemoryStore::with_bounds(Bounds { ended_runs: 99, ..Bounds::default() });
    let pipeline = sketched(&many(Sketch::of(1)));
    let hangs = scripted(|_, _| std::future::pending().boxed());
    let first = World::on(Arc::new(store.clone()), Arc::clone(&pipeline), &hangs, 1);
    let mut runs = Vec::new();
    for _ in 0..50 {
        runs.push(first.ask("main").await.0);
    }
    let is_at_work =
        async |run: RunId| store.facts(run).await.expect("never broken").iter().any(|fact| matches!(fact, Fact::AttemptStarted { .. }));
    for run in &runs {
        while !is_at_work(*run).await {
            tokio::task::yield_now().await;
        }
    }
    drop(first);
    // The first that is taken up.
    let runs = store.pending().await.expect("never broken").runs;
    let done = scripted(|_, _| async { Ok(Value::string("ok")) }.boxed());
    let mut deaths = 0;
    let world = loop {
        let (is_dead, over) = (AtomicBool::new(false), Notify::new());
        let poisoned = Arc::new(Poisoned { inner: store.clone(), poison: runs[0], is_dead, over });
        let world = World::on(Arc::clone(&poisoned) as Arc<dyn Store>, Arc::clone(&pipeline), &done, 10 + deaths);
        let lives = async {
            world.engine.recover().await.expect("the store is good");
            world.clock.advance(Duration::from_secs(600)).await;
        };
        tokio::select! {
            biased;
            () = poisoned.over.notified() => deaths += 1,
            () = lives => break world,
        }
        assert!(deaths < 9, "no host lives");
    };
    assert_eq!(deaths, 4, "the fifth gives it up before it does anything");
    let letters = world.engine.dead_letters().await.expect("the store is good");
    assert_eq!(letters.iter().map(|letter| letter.run).collect::<Vec<_>>(), [Some(runs[0])]);
    for run in &runs[1..] {
        assert_eq!(end_of(&store.facts(*run).await.expect("never broken")), Some(&RunOutcome::Succeeded));
    }
}

#[tokio::test]
async fn of_those_that_were_cut_off_too_often_the_one_that_began_last_is_given_up() {
    let (store, pipeline) = (MemoryStore::new(), sketched(&many(Sketch::of(1))));
    let hangs = scripted(|_, _| std::future::pending().boxed());
    let first = World::on(Arc::new(store.clone()), Arc::clone(&pipeline), &hangs, 1);
    let runs = [first.ask("main").await.0, first.ask("main").await.0];
    let known = async |run: RunId| store.facts(run).await.expect("never broken");
    let job_of = async |run: RunId| {
        loop {
            let job = known(run).await.iter().find_map(|fact| match fact {
                Fact::AttemptStarted { job, .. } => Some(*job),
                _ => None,
            });
            match job {
                Some(job) => break job,
                None => tokio::task::yield_now().await,
            }
        }
    };
    let jobs = [job_of(runs[0]).await, job_of(runs[1]).await];
    drop(first);
    // Each of these hosts let the first begin, and after ten seconds the second, with which it ended.
    for host in 1..26 {
        for (place, (run, job)) in runs.into_iter().zip(jobs).enumerate() {
            let at = Timestamp::EPOCH + Duration::from_secs(host * 60 + 10 * place as u64);
            let fact = Fact::AttemptStarted { job, attempt: 1, at };
            let batch = Batch::of(run, known(run).await.len() as u64, Arc::new(vec![fact]));
            store.commit(batch).await.expect("it follows");
        }
    }
    let done = scripted(|_, _| async { Ok(Value::string("ok")) }.boxed());
    let last = World::on(Arc::new(store.clone()), pipeline, &done, 2);
    last.engine.recover().await.expect("the store is good");
    last.clock.advance(Duration::from_secs(600)).await;
    let letters = last.engine.dead_letters().await.expect("the store is good");
    assert_eq!(letters.iter().map(|letter| letter.run).collect::<Vec<_>>(), [Some(runs[1])]);
    let ends = [end_of(&known(runs[0]).await).cloned(), end_of(&known(runs[1]).await).cloned()];
    assert_eq!(ends, [Some(RunOutcome::Succeeded), None]);
}

#[tokio::test]
async fn what_sleeps_is_not_counted_however_often_a_host_dies() {
    let (store, pipeline) = (
        MemoryStore::new(),
        sketched(&many(Sketch { steps: vec![SketchStep { shape: Shape::Sleep(36_000), ..SketchStep::default() }], ..Sketch::default() })),
    );
    let done = scripted(|_, _| async { Ok(Value::string("ok")) }.boxed());
    let first = World::on(Arc::new(store.clone()), Arc::clone(&pipeline), &done, 1);
    let mut runs = Vec::new();
    for _ in 0..5 {
        runs.push(first.ask("main").await.0);
    }
    first.clock.settle().await;
    drop(first);
    for seed in 2..22 {
        let world = World::on(Arc::new(store.clone()), Arc::clone(&pipeline), &done, seed);
        world.engine.recover().await.expect("the store is good");
        assert_eq!(store.pending().await.expect("never broken").claimed, []);
    }
    let last = World::on(Arc::new(store.clone()), pipeline, &done, 99);
    last.engine.recover().await.expect("the store is good");
    last.clock.advance(Duration::from_secs(36_000)).await;
    for run in runs {
        assert_eq!(end_of(&store.facts(run).await.expect("never broken")), Some(&RunOutcome::Succeeded));
    }
}

/// A store that takes its time to count that a run is taken up.
struct SlowToCount(MemoryStore);

impl Store for SlowToCount {
    fn commit(&self, batch: Batch) -> Commit {
        self.0.commit(batch)
    }

    fn claim(&self, run: RunId) -> Answer<u32> {
        let claimed = self.0.claim(run);
        Box::pin(async move {
            for _ in 0..200 {
                tokio::task::yield_now().await;
            }
            claimed.await
        })
    }

    forward_store!(only 0: facts, write, published, rest, pending, has_taken, kept, first_kept, bundle, runs, health);
}

#[tokio::test]
async fn a_run_that_is_due_waits_for_the_key_that_another_holds_which_is_taken_up_later() {
    const HOUR: u64 = 3_600;
    let nap = SketchStep { shape: Shape::Sleep(HOUR), ..SketchStep::default() };
    let guarded = SketchStep { dedup: true, ..SketchStep::default() };
    let pipeline = sketched(&many(Sketch { steps: vec![nap, guarded], ..Sketch::default() }));
    let store = MemoryStore::with_bounds(Bounds { ended_runs: 99, ..Bounds::default() });
    let hangs = scripted(|_, _| std::future::pending().boxed());
    let first = World::on(Arc::new(store.clone()), Arc::clone(&pipeline), &hangs, 1);
    let (holds, _) = first.ask("main").await;
    first.clock.advance(Duration::from_secs(HOUR / 2)).await;
    let (due, _) = first.ask("main").await;
    // The first is at work from here on, which keeps the time from passing.
    let clock = first.clock.clone();
    let mut passing = std::pin::pin!(clock.advance(Duration::from_secs(HOUR / 2)));
    let known = async |run: RunId| store.facts(run).await.expect("never broken");
    while !known(holds).await.iter().any(|fact| matches!(fact, Fact::AttemptStarted { .. })) {
        assert!((&mut passing).now_or_never().is_none());
        tokio::task::yield_now().await;
    }
    drop(first);
    let go = Arc::new(Notify::new());
    let executor = gated(&go, Ok(Value::string("ok")));
    let second = World::on(Arc::new(SlowToCount(store.clone())), pipeline, &executor, 2);
    second.clock.advance(Duration::from_secs(2 * HOUR)).await;
    second.engine.recover().await.expect("the store is good");
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(executor.calls.load(Ordering::SeqCst), 1, "it is done once for both");
    go.notify_one();
    second.clock.settle().await;
    for run in [holds, due] {
        assert_eq!(end_of(&known(run).await), Some(&RunOutcome::Succeeded));
    }
    assert_eq!(executor.calls.load(Ordering::SeqCst), 1);
}
