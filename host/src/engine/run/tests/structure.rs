//! Steps with steps inside: what their lanes see, how they end, and what becomes of the others then.

use std::time::Duration;

use super::{Bench, failure};
use crate::engine::fixture::{Says, Shape, Sketch, SketchStep, within_minutes};
use crate::engine::run::Input;
use crate::model::activation::RunOutcome;
use crate::model::failure::{Failure, FailureKind};
use crate::model::job::{CancelReason, JobOutcome};
use crate::model::port::Root;
use crate::model::record::{Fact, LaneResult};
use crate::model::time::Timestamp;
use crate::model::value::{Tree, Value};
use crate::plan::pipeline::Join;

pub(super) fn shape(shape: Shape) -> SketchStep {
    SketchStep { shape, ..SketchStep::default() }
}

pub(super) fn flow(steps: Vec<SketchStep>) -> Sketch {
    Sketch { steps, ..Sketch::default() }
}

pub(super) fn work() -> SketchStep {
    SketchStep::default()
}

fn list(items: impl IntoIterator<Item = Tree>) -> Says {
    Says::This(Value::from(Tree::List(items.into_iter().collect())))
}

fn rounds(rounds: i64) -> Says {
    Says::This(Value::from(Tree::Int(rounds)))
}

fn each(over: Says, max_concurrent: u32, steps: Vec<SketchStep>) -> SketchStep {
    shape(Shape::Each { over, max_concurrent, steps })
}

fn text(text: &str) -> Result<Value, Failure> {
    Ok(Value::string(text))
}

fn failed(bench: &Bench) -> &Failure {
    bench.outcome().failure().expect("the run failed")
}

/// The jobs' inputs in the order of their dispatch, as JSON.
fn inputs(bench: &Bench) -> Vec<String> {
    let input = |fact: &Fact| match fact {
        Fact::JobDispatched { input, .. } => Some(input.text().to_owned()),
        _ => None,
    };
    bench.facts.iter().filter_map(input).collect()
}

fn lane_ends(bench: &Bench) -> Vec<&'static str> {
    let end = |fact: &Fact| match fact {
        Fact::LaneEnded { result: LaneResult::Succeeded(_), .. } => Some("succeeded"),
        Fact::LaneEnded { result: LaneResult::Failed(_), .. } => Some("failed"),
        Fact::LaneEnded { result: LaneResult::Cancelled, .. } => Some("cancelled"),
        _ => None,
    };
    bench.facts.iter().filter_map(end).collect()
}

fn siblings_cancelled(bench: &Bench) -> usize {
    let sibling = JobOutcome::Cancelled { reason: CancelReason::Sibling };
    bench.facts.iter().filter(|fact| matches!(fact, Fact::JobEnded { outcome, .. } if *outcome == sibling)).count()
}

#[test]
fn a_switch_takes_the_first_branch_that_holds_and_is_its_last_output() {
    let cases = vec![(Some(false), vec![work()]), (Some(true), vec![work(), work()]), (None, vec![work()])];
    let mut bench = Bench::new(&flow(vec![shape(Shape::Switch(cases))]));
    bench.finish_step("s0c1s0", text("first"));
    bench.finish_step("s0c1s1", text("last"));
    assert_eq!((bench.outcome(), bench.output_of("s0")), (&RunOutcome::Succeeded, r#""last""#.to_owned()));
    assert_eq!(bench.jobs().len(), 2);
}

#[test]
fn a_switch_that_nothing_holds_for_is_null() {
    let mut bench = Bench::new(&flow(vec![shape(Shape::Switch(vec![(Some(false), vec![work()])])), work()]));
    assert_eq!(bench.output_of("s0"), "null");
    bench.finish_step("s1", text("on"));
    assert_eq!(bench.outcome(), &RunOutcome::Succeeded);
}

#[test]
fn a_failure_in_a_branch_is_the_switchs_and_can_be_healed_there() {
    let switch = Shape::Switch(vec![(None, vec![work(), work()])]);
    let step = SketchStep { shape: switch, heal: Some(false), ..SketchStep::default() };
    let mut bench = Bench::new(&flow(vec![step, work()]));
    bench.finish_step("s0c0s0", Err(failure(FailureKind::Permanent)));
    assert_eq!((bench.output_of("s0"), bench.under_way()), ("null".to_owned(), vec!["s1".to_owned()]));
}

#[test]
fn branches_are_walked_at_the_same_time_and_give_a_map() {
    let branches = vec![vec![work(), work()], vec![work()]];
    let mut bench = Bench::new(&flow(vec![shape(Shape::Parallel(Join::All, branches))]));
    assert_eq!(bench.under_way(), ["s0b0s0", "s0b1s0"]);
    bench.finish_step("s0b1s0", text("b"));
    bench.finish_step("s0b0s0", text("not this"));
    bench.finish_step("s0b0s1", text("a"));
    assert_eq!(bench.output_of("s0"), r#"{"b0":"a","b1":"b"}"#);
    assert_eq!(bench.outcome(), &RunOutcome::Succeeded);
}

#[test]
fn with_join_all_the_first_failure_decides_and_cancels_all_within_the_others() {
    let inner = shape(Shape::Parallel(Join::All, vec![vec![work()], vec![shape(Shape::Sleep(60))], vec![work()]]));
    let waits = SketchStep { retries: Some(3), ..work() };
    let mut bench = Bench::new(&flow(vec![shape(Shape::Parallel(Join::All, vec![vec![inner], vec![work()], vec![waits]]))]));
    bench.finish_step("s0b2s0", Err(failure(FailureKind::Transient)));
    assert!(bench.state.next_due().is_some(), "a retry and a sleep are due");
    bench.finish_step("s0b1s0", Err(failure(FailureKind::Denied)));
    assert_eq!((failed(&bench).kind, failed(&bench).step.as_ref().map(|step| step.as_str())), (FailureKind::Denied, Some("s0b1s0")));
    assert_eq!((siblings_cancelled(&bench), lane_ends(&bench)), (3, vec!["failed", "cancelled", "cancelled"]));
    assert_eq!(bench.state.next_due(), None);
}

#[test]
fn the_first_success_wins_and_a_lost_branch_is_null() {
    let branches = vec![vec![work()], vec![work()], vec![work()]];
    let mut bench = Bench::new(&flow(vec![shape(Shape::Parallel(Join::Quorum(1), branches))]));
    bench.finish_step("s0b0s0", Err(failure(FailureKind::Transient)));
    bench.finish_step("s0b2s0", text("won"));
    assert_eq!(bench.output_of("s0"), r#"{"b0":null,"b1":null,"b2":"won"}"#);
    assert_eq!((bench.outcome(), siblings_cancelled(&bench)), (&RunOutcome::Succeeded, 1));
}

#[test]
fn a_quorum_fails_once_it_cannot_be_reached_and_names_every_failure() {
    let branches = vec![vec![work()], vec![work()], vec![work()]];
    let mut bench = Bench::new(&flow(vec![shape(Shape::Parallel(Join::Quorum(2), branches))]));
    bench.finish_step("s0b0s0", Err(failure(FailureKind::Transient)));
    assert!(bench.state.ended().is_none(), "two can still succeed");
    bench.finish_step("s0b2s0", Err(Failure::new(FailureKind::Denied, "no")));
    let failure = failed(&bench);
    assert_eq!((failure.kind, failure.code.as_deref()), (FailureKind::Denied, Some("quorum")));
    assert_eq!(failure.message, "2 of 3 branches had to succeed, and 2 failed: b0: transient: as scripted; b2: denied: no");
    assert_eq!(siblings_cancelled(&bench), 1);
}

#[test]
fn a_branch_is_healed_within_itself() {
    let healed = SketchStep { heal: Some(true), ..work() };
    let mut bench = Bench::new(&flow(vec![shape(Shape::Parallel(Join::All, vec![vec![healed], vec![work()]]))]));
    bench.finish_step("s0b0s0", Err(failure(FailureKind::Permanent)));
    assert_eq!(bench.under_way(), ["s0b1s0", "s0b0heal0"]);
    bench.finish_step("s0b0heal0", text("healed"));
    bench.finish_step("s0b1s0", text("b"));
    assert_eq!(bench.output_of("s0"), r#"{"b0":"healed","b1":"b"}"#);
}

#[test]
fn a_fallback_in_a_branch_is_that_branchs() {
    let falls_back = SketchStep { fallback: Some(true), ..work() };
    let mut bench = Bench::new(&flow(vec![shape(Shape::Parallel(Join::All, vec![vec![falls_back], vec![work()]]))]));
    bench.finish_step("s0b0s0", Err(failure(FailureKind::Permanent)));
    bench.finish_step("s0b0fallback0", text("stands in"));
    bench.finish_step("s0b1s0", text("b"));
    assert_eq!((bench.output_of("s0"), bench.state.is_degraded()), (r#"{"b0":"stands in","b1":"b"}"#.to_owned(), true));
}

#[test]
fn items_are_bounded_at_a_time_and_their_results_come_in_order() {
    let items = [Tree::from("a"), Tree::Null, Tree::from("c")];
    let step = SketchStep { with: Some(Says::Reads(Root::Local, "item")), ..work() };
    let mut bench = Bench::new(&flow(vec![each(list(items), 2, vec![step])]));
    assert_eq!(inputs(&bench), [r#""a""#, "null"]);
    let running = bench.running();
    let (second, attempt) = running[1];
    bench.give(Input::AttemptEnded { job: second, attempt, result: text("2"), emissions: Vec::new(), progressed: false, degraded: false });
    assert_eq!(inputs(&bench), [r#""a""#, "null", r#""c""#]);
    let (third, attempt) = bench.running()[1];
    bench.give(Input::AttemptEnded { job: third, attempt, result: text("3"), emissions: Vec::new(), progressed: false, degraded: false });
    bench.finish(text("1"));
    assert_eq!((bench.outcome(), bench.output_of("s0")), (&RunOutcome::Succeeded, r#"["1","2","3"]"#.to_owned()));
}

#[test]
fn an_empty_list_and_no_rounds_are_an_empty_list_at_once() {
    for over in [list([]), rounds(0)] {
        let bench = Bench::new(&flow(vec![each(over, 1, vec![work()])]));
        assert_eq!((bench.outcome(), bench.output_of("s0")), (&RunOutcome::Succeeded, "[]".to_owned()));
    }
}

#[test]
fn what_is_no_list_or_too_long_is_invalid() {
    for (over, code) in [
        (Says::This(Value::null()), "each_in"),
        (Says::This(Value::string("a, b")), "each_in"),
        (rounds(-1), "each_in"),
        (rounds(100_001), "limit_items"),
        (Says::Fails, "scripted"),
    ] {
        let bench = Bench::new(&flow(vec![each(over, 1, vec![work()])]));
        assert_eq!((failed(&bench).kind, failed(&bench).code.as_deref()), (FailureKind::Invalid, Some(code)));
        assert!(bench.jobs().is_empty());
    }
}

#[test]
fn the_first_failure_of_an_item_cancels_the_rest_and_no_other_begins() {
    let mut bench = Bench::new(&flow(vec![each(rounds(5), 3, vec![work()])]));
    let (job, attempt) = bench.running()[1];
    let result = Err(failure(FailureKind::Permanent));
    bench.give(Input::AttemptEnded { job, attempt, result, emissions: Vec::new(), progressed: false, degraded: false });
    assert!(matches!(bench.outcome(), RunOutcome::Failed { .. }));
    assert_eq!((bench.jobs().len(), siblings_cancelled(&bench)), (3, 2));
}

#[test]
fn the_inner_item_hides_the_outer_one_of_its_name_and_both_are_gone_afterwards() {
    let reads = |name| SketchStep { with: Some(Says::Reads(Root::Local, name)), ..work() };
    let inner = each(list([Tree::from("x"), Tree::from("y")]), 1, vec![reads("item"), reads("index")]);
    let outer = each(list([Tree::from("o")]), 1, vec![reads("item"), inner, reads("item")]);
    let heal = SketchStep { heal: Some(false), ..reads("item") };
    let mut bench = Bench::new(&flow(vec![outer, heal]));
    while !bench.running().is_empty() {
        bench.finish(Ok(Value::null()));
    }
    assert_eq!(inputs(&bench), [r#""o""#, r#""x""#, "0", r#""y""#, "1", r#""o""#]);
    assert_eq!(bench.output_of("s1"), "null", "outside there is no item");
}

#[test]
fn an_item_sees_its_own_steps_and_those_before_the_each_but_no_other_items() {
    let reads = |id| SketchStep { with: Some(Says::Reads(Root::Steps, id)), ..work() };
    let steps = vec![reads("s0"), SketchStep { heal: Some(false), ..reads("s1es2") }, work(), reads("s1es2")];
    let mut bench = Bench::new(&flow(vec![work(), each(rounds(2), 1, steps), SketchStep { heal: Some(false), ..reads("s1es2") }]));
    for output in ["before", "", "own 0", "", "", "own 1", ""] {
        bench.finish(text(output));
    }
    // The second item does not find what the first one's third step gave, and nobody finds it after the `each`.
    assert_eq!(inputs(&bench), ["null", r#""before""#, "null", r#""own 0""#, r#""before""#, "null", r#""own 1""#]);
    assert_eq!(bench.outcome(), &RunOutcome::Succeeded);
}

#[test]
fn a_sleep_ends_at_its_due_time_and_not_before() {
    let mut bench = Bench::new(&flow(vec![shape(Shape::Sleep(90)), work()]));
    assert_eq!(bench.state.next_due(), Some(Timestamp::EPOCH + Duration::from_secs(90)));
    bench.now = Timestamp::EPOCH + Duration::from_secs(89);
    bench.give(Input::Tick);
    assert!(bench.jobs().is_empty());
    bench.tick_at_next_due();
    assert_eq!((bench.output_of("s0"), bench.jobs().len(), bench.state.next_due()), ("null".to_owned(), 1, None));
}

#[test]
fn a_sleep_of_no_time_is_over_at_once_and_a_cancelled_one_too() {
    let mut bench = Bench::new(&flow(vec![shape(Shape::Sleep(0)), shape(Shape::Sleep(5))]));
    bench.give(Input::Cancel { reason: CancelReason::Requested });
    assert_eq!((bench.outcome(), bench.state.next_due()), (&RunOutcome::Cancelled { reason: CancelReason::Requested }, None));
}

#[test]
fn a_sleep_over_a_minute_fails_in_a_flow_that_is_not_durable_also_where_its_length_is_known_only_now() {
    for (length, sleeps) in [(60, true), (61, false)] {
        let mut bench = Bench::new(&Sketch { volatile: true, ..flow(vec![shape(Shape::Sleep(length))]) });
        if sleeps {
            assert_eq!(bench.state.next_due(), Some(Timestamp::EPOCH + Duration::from_secs(60)));
            bench.tick_at_next_due();
            assert_eq!(bench.outcome(), &RunOutcome::Succeeded);
        } else {
            let RunOutcome::Failed { failure } = bench.outcome() else { panic!("{:?}", bench.outcome()) };
            assert_eq!((failure.kind, failure.code.as_deref()), (FailureKind::Invalid, Some("not_durable")));
            assert!(failure.message.contains("it would sleep 1m1s"), "{failure}");
        }
    }
}

#[test]
fn the_runs_deadline_ends_what_sleeps_and_works_inside() {
    let branches = vec![vec![shape(Shape::Sleep(100))], vec![work()]];
    let sketch = Sketch { deadline: Some(Duration::from_secs(60)), ..flow(vec![shape(Shape::Parallel(Join::All, branches))]) };
    let mut bench = Bench::new(&sketch);
    bench.tick_at_next_due();
    assert!(matches!(bench.outcome(), RunOutcome::TimedOut { .. }));
    assert_eq!(bench.now, Timestamp::EPOCH + Duration::from_secs(60));
}

#[test]
fn structures_are_walked_in_on_error_and_finally_too() {
    let mut bench = Bench::new(&Sketch { finally: true, ..flow(vec![each(rounds(2), 2, vec![shape(Shape::Fail)])]) });
    assert_eq!(bench.under_way(), ["finally"]);
    bench.finish(Ok(Value::null()));
    assert_eq!(failed(&bench).message, "as sketched");
}

#[test]
fn ten_thousand_items_do_not_take_the_square_of_their_number() {
    within_minutes(|| [1, 1_000, 10_000].into_iter().for_each(walk_ten_thousand));
}

fn walk_ten_thousand(max_concurrent: u32) {
    let mut bench = Bench::with(&flow(vec![each(rounds(10_000), max_concurrent, vec![work(), work()])]), false);
    let (mut waiting, mut seen) = (std::collections::VecDeque::new(), 0);
    loop {
        let started = |fact: &Fact| match fact {
            Fact::AttemptStarted { job, attempt, .. } => Some((*job, *attempt)),
            _ => None,
        };
        waiting.extend(bench.facts[seen..].iter().filter_map(started));
        seen = bench.facts.len();
        let Some((job, attempt)) = waiting.pop_front() else { break };
        bench.give(Input::AttemptEnded {
            job,
            attempt,
            result: Ok(Value::null()),
            emissions: Vec::new(),
            progressed: false,
            degraded: false,
        });
    }
    assert_eq!((bench.outcome(), bench.jobs().len()), (&RunOutcome::Succeeded, 20_000));
}

#[test]
fn a_decision_is_cut_so_that_a_hundred_thousand_small_steps_are_not_one_batch() {
    let bench = Bench::with(&flow(vec![each(rounds(100_000), 10, vec![shape(Shape::Sleep(0))])]), false);
    assert_eq!(bench.outcome(), &RunOutcome::Succeeded);
    assert!(bench.longest < 1_100, "one decision made {} facts", bench.longest);
}
