//! Steps that were sent on their way and do not begin: because they are too large, because the store has no room, or because their revision is gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::Semaphore;

use super::acknowledged::{Narrow, a_while, outside};
use super::meeting::{World, flow, plan, runs, text, work};
use super::recovery::Ending;
use super::{Scripted, scripted};
use crate::engine::Outside;
use crate::journal::memory::{Bounds, MemoryStore};
use crate::model::failure::{Failure, FailureKind};
use crate::model::id::{Digest, RunId};
use crate::model::job::CancelReason;
use crate::model::port::{Commit, RunQuery, Store, StoreError, forward_store};
use crate::model::record::{Batch, Beginning, Fact};
use crate::model::value::Value;
use crate::plan::pipeline::{EventMode, Pipeline, Trigger, Verb, Worker};

/// A flow that hears `Answer`, works, and sends a letter on its way.
fn sending() -> Pipeline {
    let (main, block) = flow("main", vec![("w", work())]).block(vec![("letter", runs(Worker::Executor(0), Some(text("dear"))))]);
    let mut main = main;
    let sent = main.step("sent", Verb::Dispatch(block));
    main.blocks[0].push(sent);
    let mut pipeline = plan(vec![main]);
    let main = pipeline.flows.first_mut().and_then(Arc::get_mut).expect("nobody else has it");
    main.triggers = vec![Trigger::Event { types: vec!["Answer".into()], mode: EventMode::Direct }];
    pipeline
}

/// Gives so many bytes, and never comes to an end with a letter.
fn gives(bytes: usize) -> Arc<Scripted> {
    scripted(move |job, _| {
        let is_letter = job.step.as_str() == "letter";
        async move {
            match is_letter {
                true => std::future::pending().await,
                false => Ok(Value::string("x".repeat(bytes))),
            }
        }
        .boxed()
    })
}

#[tokio::test]
async fn what_is_too_large_to_be_sent_is_a_dead_letter_and_is_not_sent_again() {
    for waits_at_the_door in [false, true] {
        let (store, pipeline) = (Arc::new(Narrow::default()), Arc::new(sending()));
        let first = World::on(store.clone(), Arc::clone(&pipeline), &gives(4_000), 1);
        let open = if waits_at_the_door { 256 } else { 0 };
        for _ in 0..open {
            first.engine.emit(outside()).await.expect("it is taken in");
            a_while().await;
        }
        assert_eq!(first.engine.views().await.len(), open, "each of them has its place");
        // The run that sends has room for its event, which it holds twice; the one that is sent also holds what was done before.
        let large = Outside { data: Value::map([("text", Value::string("x".repeat(2_500)))]), ..outside() };
        first.engine.emit(large).await.expect("it is taken in");
        a_while().await;
        assert_eq!(first.diary.count("run failed"), 1, "whoever watches hears of it");
        assert_eq!(first.engine.views().await.len(), open, "it does not wait at the door either");
        let letters = first.engine.dead_letters().await.expect("the store is good");
        let [letter] = &letters[..] else { panic!("{letters:?}, {waits_at_the_door}") };
        let failure = letter.failure.as_ref().expect("it says why");
        assert_eq!((letter.owner.as_str(), failure.code.as_deref(), letter.event.is_none()), ("p.main", Some("E0752"), true));
        let run = letter.run.expect("it is a run");
        for again in [first.engine.replay(&letter.key).await.map(drop), first.engine.retry(run, None).await.map(drop)] {
            let refused = again.expect_err("what it was to do is not known");
            assert_eq!(refused.code.as_deref(), Some("E0754"));
            assert!(refused.message.contains("is not recorded: `pipehost runs retry "), "{refused}");
        }
        first.engine.stop(CancelReason::Shutdown).await;
        let second = World::on(store.clone(), pipeline, &gives(4_000), 2);
        second.engine.recover().await.expect("the store is good");
        a_while().await;
        assert_eq!((second.diary.count("run failed"), second.engine.views().await.len()), (0, open), "it is not sent again");
        assert_eq!(second.engine.dead_letters().await.expect("the store is good").len(), 1);
    }
}

/// A store that takes no run while it is full.
#[derive(Default)]
struct Filling {
    inner: MemoryStore,
    full: AtomicBool,
}

impl Store for Filling {
    fn commit(&self, batch: Batch) -> Commit {
        match self.full.load(Ordering::SeqCst) && batch.first == 0 {
            true => Box::pin(std::future::ready(Err(StoreError::Full("the disk has no room".to_owned())))),
            false => self.inner.commit(batch),
        }
    }

    forward_store!(inner: facts, write, published);
}

#[tokio::test]
async fn a_letter_that_cannot_be_sent_again_stays_until_it_can() {
    let executor = scripted(|job, _| {
        let fails = job.step.as_str() == "letter";
        async move { if fails { Err(Failure::new(FailureKind::Permanent, "lost")) } else { Ok(Value::null()) } }.boxed()
    });
    let store = Arc::new(Filling::default());
    let world = World::on(store.clone(), Arc::new(sending()), &executor, 1);
    world.engine.emit(outside()).await.expect("it is taken in");
    world.clock.settle().await;
    let known = || async { world.engine.dead_letters().await.expect("the store is good") };
    let [letter] = &known().await[..] else { panic!("what was sent has failed") };
    store.full.store(true, Ordering::SeqCst);
    let refused = world.engine.replay(&letter.key).await.expect_err("there is no room for a run");
    assert_eq!((refused.code.as_deref(), known().await.len()), (Some("E0750"), 1));
    let refused = world.engine.retry(letter.run.expect("it is a run"), None).await.expect_err("there is no room for a run");
    assert_eq!(refused.code.as_deref(), Some("E0750"));
    store.full.store(false, Ordering::SeqCst);
    let run = world.engine.replay(&letter.key).await.expect("there is room").expect("a run does it again");
    world.clock.settle().await;
    let [anew] = &known().await[..] else { panic!("that has failed too") };
    assert_eq!((anew.run, world.diary.count("run failed")), (Some(run), 2));
}

#[tokio::test]
async fn what_was_sent_by_a_revision_that_cannot_be_had_is_told_and_sent_by_a_start_that_can() {
    let pipeline = sending();
    let quick = scripted(|_, _| async { Ok(Value::null()) }.boxed());
    let mut commits = 1;
    let (store, sent) = loop {
        let store = MemoryStore::new();
        let ending = Ending::after(&store, commits);
        let first = World::on(ending.clone(), Arc::new(pipeline.clone()), &quick, 1);
        first.engine.emit(outside()).await.expect("it is taken in");
        ending.over.notified().await;
        let sent = store.pending().await.expect("never broken").dispatched;
        if let [(_, sent)] = &sent[..] {
            break (store, *sent);
        }
        commits += 1;
    };
    let edited = Pipeline { revision: Digest::of(b"edited"), ..pipeline.clone() };
    let second = World::on(Arc::new(store.clone()), Arc::new(edited), &quick, 2);
    second.clock.run(second.engine.recover()).await.expect("the store is good");
    second.clock.settle().await;
    assert_eq!(second.diary.count("unreadable E0759"), 1, "{:?}", second.diary.lines());
    assert!(store.facts(sent).await.expect("never broken").is_empty());
    drop(second);
    let third = World::on(Arc::new(store.clone()), Arc::new(pipeline), &quick, 3);
    third.engine.recover().await.expect("the store is good");
    third.clock.advance(Duration::from_secs(1)).await;
    assert!(store.pending().await.expect("never broken").dispatched.is_empty());
    assert!(!store.facts(sent).await.expect("never broken").is_empty());
}

/// So many runs of one step are at work or wait for their turn.
const LINE: usize = 256 + 1_024;

/// Does all but the letters at once; of those as many come to their end as there are permits.
fn writes(permits: &Arc<Semaphore>) -> Arc<Scripted> {
    let permits = Arc::clone(permits);
    scripted(move |job, _| {
        let (permits, is_letter) = (Arc::clone(&permits), job.step.as_str() == "letter");
        async move {
            if is_letter {
                permits.acquire().await.expect("it is open").forget();
            }
            Ok(Value::null())
        }
        .boxed()
    })
}

#[tokio::test]
async fn whoever_sends_into_a_full_line_waits_for_room_and_nothing_that_was_sent_is_left_lying() {
    let permits = Arc::new(Semaphore::new(0));
    let world = World::on(Arc::new(MemoryStore::new()), Arc::new(sending()), &writes(&permits), 1);
    for _ in 0..LINE + 3 {
        world.engine.emit(outside()).await.expect("it is taken in");
        a_while().await;
    }
    assert_eq!(world.diary.count("run succeeded"), LINE, "three wait for room");
    assert!(world.diary.lines().iter().all(|line| !line.starts_with("refused")), "nobody is sent away");
    permits.add_permits(LINE + 3);
    world.clock.settle().await;
    assert_eq!(world.diary.count("run succeeded"), 2 * (LINE + 3));
}

#[tokio::test]
async fn more_than_a_line_takes_is_sent_after_a_start_as_there_is_room() {
    let bounds = Bounds { ended_runs: 99_999, ended_bytes: 1 << 30, ..Bounds::default() };
    let (store, permits) = (MemoryStore::with_bounds(bounds), Arc::new(Semaphore::new(1)));
    let pipeline = Arc::new(sending());
    let first = World::on(Arc::new(store.clone()), Arc::clone(&pipeline), &writes(&permits), 1);
    first.engine.emit(outside()).await.expect("it is taken in");
    first.clock.settle().await;
    drop(first);
    // The same once more, by a run that has sent very many and none of which has begun.
    let runs = store.runs(RunQuery::default()).await.expect("never broken");
    let sender = runs.iter().find(|run| run.parent.is_none()).expect("it was started").run;
    let mut facts = store.facts(sender).await.expect("never broken");
    let many = RunId::new(uuid::Uuid::from_u128(7));
    let place = facts.iter().position(|fact| matches!(fact, Fact::Dispatched { .. })).expect("it has sent one");
    let Fact::Dispatched { lane, step, part, .. } = facts.remove(place) else { panic!("it is there") };
    let sent = (0..LINE as u128 + 20).map(|number| {
        let run = RunId::new(uuid::Uuid::from_u128(1_000 + number));
        Fact::Dispatched { lane, step, run, part: Arc::clone(&part) }
    });
    facts.splice(place..place, sent);
    for fact in &mut facts {
        if let Fact::Began(beginning) = fact {
            *beginning = Arc::new(Beginning { run: many, event: None, ..(**beginning).clone() });
        }
    }
    store.commit(Batch::of(many, 0, Arc::new(facts))).await.expect("it follows");
    let second = World::on(Arc::new(store.clone()), pipeline, &writes(&permits), 2);
    second.engine.recover().await.expect("the store is good");
    a_while().await;
    permits.add_permits(2 * LINE);
    second.clock.settle().await;
    assert_eq!(store.pending().await.expect("never broken").dispatched, []);
    assert_eq!(second.diary.count("run succeeded"), LINE + 20);
}
