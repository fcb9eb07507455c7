//! Runs that rest go over to another revision on demand: they are woken by nobody for it, and go on there with whatever comes.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;

use super::meeting::{World, answer, listening_flow, plan, text, wait, work};
use super::{Scripted, scripted};
use crate::engine::MigrationOutcome;
use crate::journal::memory::MemoryStore;
use crate::model::event::Caller;
use crate::model::id::{Digest, RunId};
use crate::model::port::{Executor, RunQuery, Store};
use crate::model::record::Fact;
use crate::model::value::Value;
use crate::plan::pipeline::{Pipeline, Verb};
use crate::plan::{Bound, Install};

const HOUR: Duration = Duration::from_secs(3_600);

fn quick() -> Arc<Scripted> {
    scripted(|_, _| async { Ok(Value::null()) }.boxed())
}

/// Waits an hour for `Answer` about 7, then says so. The numbers of its steps begin with so many that nothing leads to.
fn waits(says: &str, others: usize) -> Pipeline {
    let (mut main, on_timeout, _) = listening_flow("main");
    for number in 0..others {
        main.step(&format!("other{number}"), work());
    }
    let approval = main.step("approval", wait(None, on_timeout, None));
    let reply = main.step("reply", Verb::Reply(text(says)));
    main.blocks[0] = vec![approval, reply];
    Pipeline { revision: Digest::of(says.as_bytes()), ..plan(vec![main]) }
}

/// Works instead.
fn works() -> Pipeline {
    let (mut main, ..) = listening_flow("main");
    let step = main.step("work", work());
    main.blocks[0] = vec![step];
    Pipeline { revision: Digest::of(b"works"), ..plan(vec![main]) }
}

fn install(world: &World, pipeline: Pipeline) {
    let executors = vec![quick() as Arc<dyn Executor>];
    world.engine.install(vec![Arc::new(Bound { pipeline: Arc::new(pipeline), executors })]);
}

async fn outcomes(world: &World, run: Option<RunId>, dry_run: bool) -> Vec<MigrationOutcome> {
    let migrated = world.engine.migrate(run, dry_run).await.expect("the store is good");
    migrated.into_iter().map(|migrated| migrated.outcome).collect()
}

async fn revision(store: &MemoryStore, run: RunId) -> Digest {
    store.runs(RunQuery { run: Some(run), ..RunQuery::default() }).await.expect("never broken")[0].revision
}

#[tokio::test]
async fn runs_that_rest_go_over_and_go_on_with_the_new_revision() {
    let store = MemoryStore::new();
    let world = World::on(Arc::new(store.clone()), Arc::new(waits("old", 0)), &quick(), 1);
    let (first, timed_out) = world.ask("main").await;
    let (second, answered) = world.ask("main").await;
    world.until_waiting(2).await;
    world.clock.settle().await;
    assert_eq!(outcomes(&world, None, true).await, [], "they belong to the revision in force");
    assert_eq!(outcomes(&world, Some(first), false).await, [MigrationOutcome::Already]);

    install(&world, waits("new", 3));
    assert_eq!(outcomes(&world, None, true).await, [MigrationOutcome::Possible, MigrationOutcome::Possible]);
    assert_eq!(revision(&store, first).await, Digest::of(b"old"), "it was only looked at");
    assert_eq!(outcomes(&world, None, false).await, [MigrationOutcome::Done, MigrationOutcome::Done]);
    assert_eq!(outcomes(&world, None, false).await, []);
    assert_eq!((revision(&store, first).await, world.engine.running().len()), (Digest::of(b"new"), 2));
    assert_eq!(world.diary.count("waiting"), 2, "nobody woke them for it");
    assert!(matches!(store.facts(second).await.expect("never broken").last(), Some(Fact::Migrated { .. })));

    let emitted = world.engine.signal(second, "Answer".into(), answer(7), Caller::default()).await.expect("the run is there");
    assert!(emitted.refused.is_empty(), "{emitted:?}");
    world.clock.advance(HOUR).await;
    assert_eq!(answered.heard(), [r#"reply "new""#, "end succeeded"]);
    assert_eq!(timed_out.heard(), [r#"reply "new""#, "end succeeded"]);
}

#[tokio::test]
async fn a_run_that_went_over_goes_over_again_and_survives_the_end_of_its_host() {
    let store = MemoryStore::new();
    let first = World::on(Arc::new(store.clone()), Arc::new(waits("old", 1)), &quick(), 1);
    let (run, _) = first.ask("main").await;
    first.until_waiting(1).await;
    first.clock.settle().await;
    for (says, others) in [("newer", 4), ("newest", 2)] {
        install(&first, waits(says, others));
        assert_eq!(outcomes(&first, Some(run), false).await, [MigrationOutcome::Done]);
    }
    drop(first);
    let second = World::on(Arc::new(store.clone()), Arc::new(waits("newest", 2)), &quick(), 2);
    assert_eq!(second.engine.recover().await.map(|recovered| recovered.under_way()), Ok(1));
    second.clock.advance(HOUR).await;
    let facts = store.facts(run).await.expect("never broken");
    assert!(facts.contains(&Fact::Replied { reply: Value::string("newest") }), "{facts:?}");
    assert!(matches!(facts.last(), Some(Fact::Ended { .. })));
}

#[tokio::test]
async fn what_cannot_go_over_stays_as_it_is_and_says_why() {
    let store = MemoryStore::new();
    let world = World::on(Arc::new(store.clone()), Arc::new(waits("old", 0)), &quick(), 1);
    let (run, asker) = world.ask("main").await;
    world.until_waiting(1).await;
    world.clock.settle().await;
    install(&world, works());
    let why = MigrationOutcome::Hindered(vec!["`approval` is under way, and is not there any more".to_owned()]);
    for dry_run in [true, false] {
        assert_eq!(outcomes(&world, Some(run), dry_run).await, std::slice::from_ref(&why));
    }
    world.engine.install(Vec::new());
    assert_eq!(outcomes(&world, None, false).await, [MigrationOutcome::Hindered(vec!["the pipeline p is not in force".to_owned()])]);
    let unknown = world.engine.migrate(Some(RunId::new(uuid::Uuid::nil())), true).await.expect_err("there is no such run");
    assert_eq!(unknown.code.as_deref(), Some("unknown_run"));
    world.clock.advance(HOUR).await;
    assert_eq!(asker.heard(), [r#"reply "old""#, "end succeeded"]);
}

#[tokio::test]
async fn a_run_at_work_is_not_disturbed() {
    let never = scripted(|_, _| std::future::pending().boxed());
    let store = MemoryStore::new();
    let world = World::on(Arc::new(store.clone()), Arc::new(works()), &never, 1);
    let (run, _) = world.ask("main").await;
    while !store.facts(run).await.expect("never broken").iter().any(|fact| matches!(fact, Fact::AttemptStarted { .. })) {
        tokio::task::yield_now().await;
    }
    let mut changed = works();
    changed.revision = Digest::of(b"changed");
    install(&world, changed);
    for dry_run in [true, false] {
        let why = vec!["it is at work; ask again when it waits".to_owned()];
        assert_eq!(outcomes(&world, Some(run), dry_run).await, [MigrationOutcome::Hindered(why)]);
    }
}

#[tokio::test]
async fn a_late_answer_to_a_wait_of_a_run_that_went_over_is_told_as_before() {
    let store = MemoryStore::new();
    let twice = |others: usize, says: &str| {
        let (mut main, on_timeout, _) = listening_flow("main");
        for number in 0..others {
            main.step(&format!("other{number}"), work());
        }
        let one = main.step("one", wait(None, on_timeout, None));
        let other = main.step("other", Verb::Sleep(text("1h")));
        main.blocks[0] = vec![one, other];
        Pipeline { revision: Digest::of(says.as_bytes()), ..plan(vec![main]) }
    };
    let world = World::on(Arc::new(store.clone()), Arc::new(twice(0, "old")), &quick(), 1);
    let (run, _) = world.ask("main").await;
    world.until_waiting(1).await;
    let taken = world.engine.signal(run, "Answer".into(), answer(7), Caller::default()).await.expect("the run is there");
    assert!(taken.refused.is_empty());
    world.clock.settle().await;
    install(&world, twice(2, "new"));
    assert_eq!(outcomes(&world, Some(run), false).await, [MigrationOutcome::Done]);
    let late = world.engine.signal(run, "Answer".into(), answer(7), Caller::default()).await.expect("the run is there");
    assert_eq!(late.refused.iter().map(|(_, reason)| reason.as_str()).collect::<Vec<_>>(), ["double"]);
    world.clock.settle().await;
    let facts = store.facts(run).await.expect("never broken");
    let new = Arc::new(twice(2, "new"));
    let step = facts.iter().find_map(|fact| match fact {
        Fact::AnswerRefused { step, .. } => Some(new.flows[0].step(*step).id.to_string()),
        _ => None,
    });
    assert_eq!(step.as_deref(), Some("one"), "in the numbers of the new revision");
}
