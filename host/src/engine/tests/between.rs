//! What passes between a run and the one that it calls, and between pipelines: progress, degradation, calls, exports, signals.

use std::sync::Arc;

use futures_util::FutureExt;

use super::meeting::{World, answer, call, computed, field, flow, listening_flow, plan, text, wait, work};
use super::{Scripted, scripted};
use crate::engine::ANSWER_LACKS;
use crate::journal::memory::MemoryStore;
use crate::model::event::{Caller, Scope};
use crate::model::failure::{Failure, FailureKind};
use crate::model::id::RunId;
use crate::model::job::{JobOutcome, ResultSource};
use crate::model::port::{Executor, Root};
use crate::model::record::Fact;
use crate::model::value::Value;
use crate::plan::pipeline::{Fallback, Pipeline, StandIn, Verb, Worker};
use crate::plan::template::Template;
use crate::plan::{Bound, Install};

fn quick() -> Arc<Scripted> {
    scripted(|_, _| async { Ok(Value::string("ok")) }.boxed())
}

/// A host with these pipelines.
fn host(pipelines: Vec<Pipeline>, executor: &Arc<Scripted>) -> World {
    let pipelines: Vec<_> = pipelines.into_iter().map(Arc::new).collect();
    let world = World::on(Arc::new(MemoryStore::new()), Arc::clone(&pipelines[0]), executor, 1);
    let executors = vec![Arc::clone(executor) as Arc<dyn Executor>];
    let bound = |pipeline| Arc::new(Bound { pipeline, executors: executors.clone() });
    world.engine.install(pipelines.into_iter().map(bound).collect());
    world
}

async fn end(world: &World, flow: &str) -> (RunId, Vec<String>) {
    let (run, asker) = world.ask(flow).await;
    world.clock.run(asker.ended.notified()).await;
    (run, asker.heard())
}

/// The same pipeline under another name, with a bus of its own.
fn named(name: &str, mut pipeline: Pipeline) -> Pipeline {
    pipeline.name = name.into();
    pipeline.scope = Scope::Private(name.into());
    pipeline
}

fn calls_other(flow: &str) -> Verb {
    let Verb::Run(mut step) = call(flow) else { unreachable!("a call runs something") };
    step.worker = Worker::Flow { pipeline: "other".into(), flow: flow.into() };
    Verb::Run(step)
}

#[tokio::test]
async fn progress_of_a_called_flow_is_passed_up_to_whoever_asked() {
    let executor = scripted(|_, attempt| {
        attempt.channel.progress(Value::string("half"));
        async { Ok(Value::string("ok")) }.boxed()
    });
    let flows = vec![flow("main", vec![("called", call("callee"))]), flow("callee", vec![("w", work())])];
    let (_, heard) = end(&host(vec![plan(flows)], &executor), "main").await;
    assert_eq!(heard, [r#"progress "half""#, "end succeeded"]);
}

#[tokio::test]
async fn a_run_whose_callee_was_degraded_is_degraded() {
    let executor = scripted(|_, _| async { Err(Failure::new(FailureKind::Permanent, "lost")) }.boxed());
    let Verb::Run(mut step) = work() else { unreachable!("work runs something") };
    step.policy.fallback = Some(Fallback { when: None, stand_in: StandIn::Value(Template::Literal(Value::string("old"))) });
    let flows = vec![flow("main", vec![("called", call("callee"))]), flow("callee", vec![("w", Verb::Run(step))])];
    let world = host(vec![plan(flows)], &executor);
    let (run, heard) = end(&world, "main").await;
    assert_eq!(heard, ["end succeeded"]);
    let facts = world.engine.facts(run).await.expect("the store is good");
    let from = facts.iter().find_map(|fact| match fact {
        Fact::JobEnded { outcome: JobOutcome::Succeeded { from, output }, .. } => Some((*from, output.text().to_owned())),
        _ => None,
    });
    assert_eq!(from, Some((ResultSource::Degraded, r#""old""#.to_owned())));
}

#[tokio::test]
async fn a_flow_of_another_pipeline_is_called_if_it_says_so() {
    let main = plan(vec![flow("main", vec![("called", calls_other("open"))]), flow("barred", vec![("called", calls_other("shut"))])]);
    let mut other = named("other", plan(vec![flow("open", vec![("r", Verb::Reply(text("in")))]), flow("shut", vec![("w", work())])]));
    other.flows.last_mut().and_then(Arc::get_mut).expect("nobody else has it").triggers = Vec::new();
    let executor = quick();
    let world = host(vec![main, other], &executor);
    assert_eq!(end(&world, "main").await.1, ["end succeeded"]);
    let (run, heard) = end(&world, "barred").await;
    assert_eq!(heard, ["end failed"]);
    let facts = world.engine.facts(run).await.expect("the store is good");
    let code = facts.iter().find_map(|fact| match fact {
        Fact::Ended { outcome, .. } => outcome.failure().and_then(|failure| failure.code.clone()),
        _ => None,
    });
    assert_eq!(code.as_deref(), Some("not_manual"));
}

#[tokio::test]
async fn an_exported_event_answers_a_wait_of_another_pipeline_and_a_private_one_does_not() {
    for exported in [true, false] {
        let (mut main, on_timeout, _) = listening_flow("main");
        let approval = main.step("approval", wait(None, on_timeout, None));
        main.blocks[0] = vec![approval];
        let emit = Verb::Emit(vec![("Answer".into(), Template::Literal(answer(7)))]);
        let other = named("other", plan(vec![flow("says", vec![("say", emit)])]));
        let other = Pipeline { exports: if exported { vec!["Answer".into()] } else { Vec::new() }, ..other };
        let asks = flow("asks", vec![("called", calls_other("says"))]);
        let world = host(vec![plan(vec![main, asks]), other], &quick());
        let (_, asker) = world.ask("main").await;
        world.until_waiting(1).await;
        assert_eq!(end(&world, "asks").await.1, ["end succeeded"]);
        world.clock.settle().await;
        assert_eq!(asker.heard().is_empty(), !exported);
    }
}

/// Sleeps a minute, does some work, and waits an hour for `Answer`.
fn waits_later(request: Template) -> Pipeline {
    let (mut main, on_timeout, _) = listening_flow("main");
    let Verb::Wait(mut listening) = wait(None, on_timeout, None) else { unreachable!("a wait waits") };
    listening.listen.matching = vec![("request".to_owned(), request)];
    main.blocks[0] = vec![
        main.step("nap", Verb::Sleep(text("1m"))),
        main.step("asked", work()),
        main.step("approval", Verb::Wait(listening)),
        main.step("reply", Verb::Reply(text("answered"))),
    ];
    plan(vec![main])
}

#[tokio::test]
async fn an_answer_before_the_wait_is_given_what_the_wait_will_ask_for() {
    let world = host(vec![waits_later(computed(|scope| field(scope, Root::Run, "id")))], &quick());
    let (run, asker) = world.ask("main").await;
    world.engine.signal(run, "Answer".into(), Value::map([]), Caller::default()).await.expect("the run's id is known from its beginning");
    world.clock.run(asker.ended.notified()).await;
    assert_eq!(asker.heard(), [r#"reply "answered""#, "end succeeded"]);
}

#[tokio::test]
async fn an_answer_before_the_wait_that_leaves_out_what_nobody_knows_yet_is_refused_and_a_whole_one_is_kept() {
    let world = host(vec![waits_later(computed(|scope| field(scope, Root::Steps, "asked")))], &quick());
    let (run, asker) = world.ask("main").await;
    let lacking = world.engine.signal(run, "Answer".into(), Value::map([]), Caller::default()).await.expect_err("the step is not done");
    assert_eq!(lacking.code.as_deref(), Some(ANSWER_LACKS));
    assert!(lacking.message.contains("put in for request"), "{}", lacking.message);
    let whole = Value::map([("request", Value::string("ok"))]);
    world.engine.signal(run, "Answer".into(), whole, Caller::default()).await.expect("nothing is left out");
    world.clock.run(asker.ended.notified()).await;
    assert_eq!(asker.heard(), [r#"reply "answered""#, "end succeeded"]);
}

#[tokio::test]
async fn a_signal_to_a_run_that_nobody_knows_is_refused() {
    let world = host(vec![plan(vec![flow("main", vec![("w", work())])])], &quick());
    let nobody = RunId::new(uuid::Uuid::from_u128(99));
    let refused = world.engine.signal(nobody, "Answer".into(), answer(7), Caller::default()).await;
    assert_eq!(refused.expect_err("there is none").code.as_deref(), Some("unknown_run"));
}
