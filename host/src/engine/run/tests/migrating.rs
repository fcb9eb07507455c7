//! Runs that go over to another revision: what hinders them, and that they go on there as if they had begun there.

use std::sync::Arc;

use super::Bench;
use crate::engine::run::{Input, Migration, RunState, migrate, unfolded};
use crate::model::event::{Causation, Event};
use crate::model::executor::{Description, ExecutorReference, Home};
use crate::model::failure::{Failure, FailureKind};
use crate::model::fixture;
use crate::model::id::Digest;
use crate::model::port::{Catalog, CatalogProblem};
use crate::model::record::Fact;
use crate::model::time::Timestamp;
use crate::model::types::{Field, Type};
use crate::model::value::{Tree, Value};
use crate::plan::pipeline::Pipeline;
use crate::plan::{Environment, load};

/// Describes whatever a file names: a script gives `{ text: string }`, a component whatever it likes.
struct Anything;

impl Catalog for Anything {
    fn describe(&self, reference: &ExecutorReference) -> Result<Description, CatalogProblem> {
        let text = Field { name: "text".to_owned(), value_type: Type::String, default: None, description: None };
        let output = matches!(reference.home, Home::Rhai(_)).then(|| Type::Record(vec![text]));
        Ok(Description { output, ..Description::new(reference.name.as_str(), Digest::of(b"code")) })
    }

    fn builtins(&self) -> Vec<(&'static str, bool)> {
        vec![("log", true), ("transform", true)]
    }
}

fn plan(text: &str) -> Arc<Pipeline> {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("p.yaml");
    std::fs::write(&file, text).expect("written");
    let loaded = load(&[file], &Anything, &Environment::default());
    let plan = loaded.plan.unwrap_or_else(|| panic!("{text}\n{:?}", loaded.diagnostics));
    plan.pipelines.into_values().next().expect("there is one")
}

/// Asks, works, and waits for an answer; beside it a branch that is done and one that works.
const OLD: &str = "pipeline: p
events: { Answer: { request: string, ok: bool } }
executors: { ask: { rhai: ask.rhai }, note: { wasm: note.wasm } }
input: { order: { type: string, default: o1 } }
trigger: manual
steps:
  - id: asked
    run: ask
    undo: { run: note }
  - when: 'false'
    set: { status: x }
  - id: both
    parallel:
      right: [{ id: noted, run: note }]
      left:
        - id: approval
          wait: { event: Answer, match: { request: '${input.order}' }, timeout: 1h, on_timeout: [{ fail: { kind: timeout, message: late } }] }
  - id: last
    run: note
finally: [{ run: note }]
state: { initial: { status: idle } }
";

/// A run that has asked and noted, and waits.
fn waiting(pipeline: &Arc<Pipeline>) -> Bench {
    let mut bench = Bench::of(Arc::clone(pipeline), true);
    bench.finish_step("asked", Ok(Value::map([("text", Value::string("yes?"))])));
    bench.finish_step("noted", Ok(Value::map([("n", Value::from(Tree::Int(1)))])));
    assert_eq!(bench.state.waits().count(), 1);
    bench
}

fn hindrances(new: &str) -> Vec<String> {
    let old = plan(OLD);
    match migrate(&old, &waiting(&old).facts, &plan(new)) {
        Migration::Hindered(why) => why,
        other => panic!("nothing hinders it: {other:?}"),
    }
}

/// The run under the new revision, after its migration was recorded.
fn migrated(bench: &Bench, old: &Arc<Pipeline>, new: &Arc<Pipeline>) -> Bench {
    let Migration::Possible(history) = migrate(old, &bench.facts, new) else {
        panic!("{:?}", migrate(old, &bench.facts, new));
    };
    let mut facts = bench.facts.clone();
    facts.push(Fact::Migrated { revision: new.revision, facts: Arc::new(history), at: bench.now });
    let state = RunState::fold(new, &new.flows[0], &facts).expect("it has a beginning");
    let (unfolded, count) = unfolded(facts.clone());
    assert!(RunState::fold(new, &new.flows[0], &unfolded).expect("it has one").counting(count) == state, "both ways of reading it agree");
    let mut on = Bench::of(Arc::clone(new), false);
    (on.state, on.facts, on.now, on.folds) = (state, facts, bench.now, true);
    on
}

fn answer(bench: &mut Bench) {
    let beginning = Arc::clone(bench.state.beginning());
    let event = Arc::new(Event {
        time: bench.now,
        correlation_id: beginning.correlation_id,
        causation: Causation::Run(beginning.run),
        data: Value::map([("request", Value::string("o1")), ("ok", Value::from(Tree::Bool(true)))]),
        ..fixture::event(9, "Answer")
    });
    let wait = bench.state.waits().next().cloned().expect("it waits");
    bench.give(Input::Answered { events: vec![event], waits: vec![(wait.lane, wait.step)], otherwise: None });
}

#[test]
fn a_run_goes_on_in_a_revision_with_other_numbers_and_more_to_do() {
    let old = plan(OLD);
    // Blocks have other numbers, and there is more to do after what is done.
    let text = OLD
        .replace("  - id: last\n", "  - id: more\n    run: ask\n  - id: last\n")
        .replace("    undo: { run: note }\n", "    undo: { run: ask }\n    on_error: [{ run: note }]\n");
    let new = plan(&text);
    let mut bench = migrated(&waiting(&old), &old, &new);
    assert_eq!(bench.state.beginning().revision, new.revision);
    answer(&mut bench);
    assert_eq!(bench.under_way(), ["more"]);
    bench.finish_step("more", Ok(Value::map([("text", Value::string("x"))])));
    bench.finish_step("last", Ok(Value::null()));
    while bench.state.ended().is_none() {
        bench.finish(Ok(Value::null()));
    }
    assert_eq!(bench.state.ended().map(|outcome| outcome.as_str()), Some("succeeded"));
}

#[test]
fn what_was_done_before_is_undone_by_the_undo_of_the_new_revision() {
    let old = plan(OLD);
    let new = plan(&OLD.replace("undo: { run: note }", "undo: { run: ask }").replace("late }", "later }"));
    let mut bench = migrated(&waiting(&old), &old, &new);
    bench.now = Timestamp::EPOCH + std::time::Duration::from_secs(3_600);
    bench.give(Input::Tick);
    let undoing = bench.state.jobs().next().expect("it is undone");
    assert_eq!((undoing.job.step.as_str(), undoing.job.executor.as_str()), ("asked", "ask"));
    let failure = Failure::new(FailureKind::Permanent, "no");
    bench.finish(Err(failure));
    while bench.state.ended().is_none() {
        bench.finish(Ok(Value::null()));
    }
    assert_eq!(bench.state.ended().map(|outcome| outcome.as_str()), Some("parked"));
}

#[test]
fn a_run_migrates_twice_and_back() {
    let old = plan(OLD);
    let new = plan(&OLD.replace("  - id: last\n", "  - id: more\n    run: ask\n  - id: last\n"));
    let there = migrated(&waiting(&old), &old, &new);
    let (facts, _) = unfolded(there.facts.clone());
    assert_eq!(migrate(&new, &facts, &new), Migration::Already);
    let Migration::Possible(back) = migrate(&new, &facts, &old) else { panic!("nothing hinders it") };
    let (first, _) = unfolded(waiting(&old).facts);
    assert_eq!(back.len(), first.len());
    assert!(RunState::fold(&old, &old.flows[0], &back) == RunState::fold(&old, &old.flows[0], &first));
}

#[test]
fn the_input_gets_what_the_new_revision_adds_with_its_default() {
    let old = plan(OLD);
    let new = plan(&OLD.replace("default: o1 } }", "default: o1 }, more: { type: int, default: 3 } }"));
    let bench = migrated(&waiting(&old), &old, &new);
    assert_eq!(bench.state.beginning().input.field("more").map(|more| more.text().to_owned()).as_deref(), Some("3"));
    let why = hindrances(&OLD.replace("default: o1 } }", "default: o1 }, more: int }"));
    assert_eq!(why, ["its input is not what the flow takes now: more is missing (int)"]);
}

#[test]
fn each_hindrance_is_said_with_the_step_s_name() {
    let hindered = [
        (
            "  - id: asked\n",
            "  - id: questioned\n",
            "`asked` is done, and is not there any more; `asked` would be undone if the run fails, and has no `undo` any more",
        ),
        ("    undo: { run: note }\n", "", "`asked` would be undone if the run fails, and has no `undo` any more"),
        (
            "  - id: asked\n    run: ask\n",
            "  - id: asked\n    run: note\n",
            "`asked` was done by the script `ask`, and is now by the component `note`, which does not say what it gives",
        ),
        ("[{ id: noted, run: note }]", "[{ id: noted, run: ask }]", "what `noted` gave is not what it gives now: text is missing (string)"),
        ("[{ id: noted, run: note }]", "[{ id: noted, sleep: 1s }]", "`noted` was a `run`, and is a `sleep` now"),
        (
            "  - when: 'false'\n    set: { status: x }\n",
            "",
            "the `set` on line 10 is done, and is not there any more; `both` is under way, and stands at another place now",
        ),
        (
            "  - when: 'false'\n",
            "  - id: new\n    run: ask\n  - when: 'false'\n",
            "the `set` on line 10 is done, and stands at another place now",
        ),
        (
            "event: Answer, match: { request: '${input.order}' }",
            "event: Answer, match: { ok: true }",
            "`approval` matches request, and now would ok",
        ),
        ("event: Answer, match", "event: [Answer, Other], match", "`approval` waits for Answer, and now would for Answer, Other"),
        ("        - id: approval\n", "        - id: agreement\n", "`approval` is under way, and is not there any more"),
        (
            "        - id: approval\n",
            "        - run: note\n        - id: approval\n",
            "`approval` is under way, and stands at another place now",
        ),
        ("      left:\n", "      west:\n", "the steps that it does for `both` are not there any more"),
    ];
    for (old, new, words) in hindered {
        let text = OLD.replacen(old, new, 1);
        assert_ne!(text, OLD, "{old}");
        let text = if words.contains("Other") { text.replace("events: {", "events: { Other: { request: string },") } else { text };
        assert_eq!(hindrances(&text).join("; "), words, "{new}");
    }
    assert_eq!(hindrances(&format!("{OLD}durable: false\n").replace("        - id: approval\n          wait: { event: Answer, match: { request: '${input.order}' }, timeout: 1h, on_timeout: [{ fail: { kind: timeout, message: late } }] }\n", "        - run: note\n").replace("    undo: { run: note }\n", ""))[0], "its flow is not durable any more");
    let other_flow = "pipeline: p\nflows: { other: { trigger: manual, steps: [{ run: log }] } }\n";
    assert_eq!(hindrances(other_flow), ["there is no flow `main` any more"]);
}

#[test]
fn a_parked_run_goes_over_and_what_it_owes_is_undone_by_the_undo_of_the_new_revision() {
    let old = plan(OLD);
    let mut bench = waiting(&old);
    bench.now = Timestamp::EPOCH + std::time::Duration::from_secs(3_600);
    bench.give(Input::Tick);
    bench.finish(Err(Failure::new(FailureKind::Permanent, "the undoing is wrong")));
    while bench.state.ended().is_none() {
        bench.finish(Ok(Value::null()));
    }
    assert_eq!(bench.state.ended().map(|outcome| outcome.as_str()), Some("parked"));
    let without = plan(&OLD.replace("    undo: { run: note }\n", ""));
    let Migration::Hindered(why) = migrate(&old, &bench.facts, &without) else { panic!("nobody would take it back there") };
    assert!(why.contains(&"`asked` would be undone if the run fails, and has no `undo` any more".to_owned()), "{why:?}");

    let new = plan(&OLD.replace("undo: { run: note }", "undo: { run: ask }").replace("  - id: last\n", "  - run: ask\n  - id: last\n"));
    let mut bench = migrated(&bench, &old, &new);
    assert_eq!(bench.state.ended().map(|outcome| outcome.as_str()), Some("parked"), "nothing happens until somebody resumes it");
    bench.give(Input::Reopen);
    let undoing = bench.state.jobs().next().expect("it is undone");
    assert_eq!((undoing.job.step.as_str(), undoing.job.executor.as_str()), ("asked", "ask"));
    bench.finish(Ok(Value::map([("text", Value::string("taken back"))])));
    assert_eq!(
        bench.state.ended().map(|outcome| outcome.as_str()),
        Some("timed_out"),
        "it ends as it would have, and its end is not repeated"
    );
}

#[test]
fn a_run_that_has_ended_stays_what_it_was() {
    let (old, new) = (plan(OLD), plan(&OLD.replace("late }", "later }")));
    let mut bench = waiting(&old);
    answer(&mut bench);
    while bench.state.ended().is_none() {
        bench.finish(Ok(Value::null()));
    }
    assert_eq!(migrate(&old, &bench.facts, &new), Migration::Hindered(vec!["it has ended".to_owned()]));
}
