//! Hosts that end again and again: the run that ends them is found out, and no other is given up for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::Notify;

use super::meeting::World;
use super::scripted;
use crate::engine::fixture::{Shape, Sketch, SketchStep, pipeline as sketched};
use crate::journal::memory::{Bounds, MemoryStore};
use crate::model::activation::RunOutcome;
use crate::model::id::RunId;
use crate::model::port::{Commit, Store, forward_store};
use crate::model::record::{Batch, Fact, end_of};
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
