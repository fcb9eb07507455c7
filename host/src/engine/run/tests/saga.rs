//! What a run that does not succeed takes back: which steps, in which order, with what.

use std::time::Duration;

use super::structure::{flow, shape, work};
use super::{Bench, failure};
use crate::engine::fixture::{Says, Shape, Sketch, SketchStep};
use crate::engine::run::{Input, Verdict};
use crate::model::activation::RunOutcome;
use crate::model::failure::{Failure, FailureKind};
use crate::model::job::{CancelReason, JobOutcome, ResultSource};
use crate::model::port::Root;
use crate::model::record::{Fact, LanePurpose, StepNumber};
use crate::model::value::{Tree, Value};
use crate::plan::pipeline::{Flow, Join, Undo, Verb};

pub(super) fn undo(flow: &Flow, step: StepNumber) -> Option<Undo> {
    match &flow.step(step).verb {
        Verb::Run(run) => run.undo,
        _ => None,
    }
}

/// A step that is undone with its own output.
fn undone() -> SketchStep {
    SketchStep { undo: Some((Says::Own, false)), ..work() }
}

/// The same, undone too if nobody knows whether it was done.
fn on_attempt() -> SketchStep {
    SketchStep { undo: Some((Says::Own, true)), ..work() }
}

fn ok(output: &str) -> Result<Value, Failure> {
    Ok(Value::string(output))
}

fn broken(kind: FailureKind) -> Result<Value, Failure> {
    Err(failure(kind))
}

/// The undoing jobs, as the step that each undoes and its input.
fn undoings(bench: &Bench) -> Vec<String> {
    let mut lanes = Vec::new();
    let mut told = Vec::new();
    for fact in &bench.facts {
        match fact {
            Fact::LaneOpened { lane, purpose: LanePurpose::Undo, parent: Some((_, step)), .. } => lanes.push((*lane, *step)),
            Fact::JobDispatched { lane, input, .. } => {
                if let Some((_, step)) = lanes.iter().find(|(other, _)| other == lane) {
                    told.push(format!("{} {}", bench.state.flow.step(*step).id, input.text()));
                }
            }
            _ => {}
        }
    }
    told
}

/// Ends every attempt that is under way well, until the run ends.
fn play_well(bench: &mut Bench) {
    while bench.state.ended().is_none() && !bench.running().is_empty() {
        bench.finish(Ok(Value::null()));
    }
}

#[test]
fn completed_steps_are_undone_in_reverse_order_then_on_error_then_finally() {
    let mut bench = Bench::new(&Sketch { on_error: true, finally: true, ..flow(vec![undone(), work(), undone(), work()]) });
    for output in ["a", "not undone", "b"] {
        bench.finish(ok(output));
    }
    bench.finish(broken(FailureKind::Permanent));
    let mut order = Vec::new();
    while bench.state.ended().is_none() {
        order.push(bench.under_way());
        bench.finish(Ok(Value::null()));
    }
    assert_eq!(undoings(&bench), [r#"s2 "b""#, r#"s0 "a""#]);
    assert_eq!(order.concat(), ["s2", "s0", "on_error", "finally"]);
    assert!(matches!(bench.outcome(), RunOutcome::Failed { .. }));
}

#[test]
fn a_run_that_succeeds_undoes_nothing() {
    let mut bench = Bench::new(&Sketch { finally: true, ..flow(vec![undone(), on_attempt()]) });
    play_well(&mut bench);
    assert_eq!((bench.outcome(), undoings(&bench)), (&RunOutcome::Succeeded, Vec::new()));
}

#[test]
fn a_cancelled_run_cancels_what_runs_and_undoes_what_was_done() {
    let branches = vec![vec![undone(), work()], vec![undone()]];
    let mut bench = Bench::new(&Sketch { on_error: true, ..flow(vec![shape(Shape::Parallel(Join::All, branches))]) });
    bench.finish_step("s0b1s0", ok("second branch, first done"));
    bench.finish_step("s0b0s0", ok("first branch, last done"));
    bench.give(Input::Cancel { reason: CancelReason::Requested });
    bench.give(Input::Cancel { reason: CancelReason::Shutdown });
    play_well(&mut bench);
    assert_eq!(undoings(&bench), [r#"s0b0s0 "first branch, last done""#, r#"s0b1s0 "second branch, first done""#]);
    assert_eq!(bench.outcome(), &RunOutcome::Cancelled { reason: CancelReason::Requested });
    assert!(!bench.facts.iter().any(|fact| matches!(fact, Fact::LaneOpened { purpose: LanePurpose::OnError, .. })));
}

#[test]
fn each_item_is_undone_with_what_it_gave_itself() {
    let items = Says::This(Value::from(Tree::Int(3)));
    let mut bench = Bench::new(&flow(vec![shape(Shape::Each { over: items, max_concurrent: 1, steps: vec![undone()] }), work()]));
    for output in ["0", "1", "2"] {
        bench.finish(ok(output));
    }
    bench.finish(broken(FailureKind::Denied));
    play_well(&mut bench);
    assert_eq!(undoings(&bench), [r#"s0es0 "2""#, r#"s0es0 "1""#, r#"s0es0 "0""#]);
}

#[test]
fn a_result_that_is_not_this_jobs_own_work_is_not_undone() {
    for from in [ResultSource::Joined, ResultSource::Cache, ResultSource::Skipped] {
        let mut bench = Bench::new(&flow(vec![SketchStep { dedup: true, ..undone() }, work()]));
        let job = bench.claims.pop().expect("it asked");
        bench.give(Input::Claimed { job, verdict: Verdict::Done { outcome: JobOutcome::Succeeded { output: Value::null(), from } } });
        bench.finish(broken(FailureKind::Permanent));
        assert_eq!((bench.state.ended().is_some(), undoings(&bench)), (true, Vec::new()), "{from:?}");
    }
    let mut bench = Bench::new(&flow(vec![SketchStep { fallback: Some(false), ..undone() }, work()]));
    bench.finish(broken(FailureKind::Permanent));
    bench.finish(broken(FailureKind::Permanent));
    assert_eq!((bench.state.ended().is_some(), undoings(&bench)), (true, Vec::new()));
}

#[test]
fn a_healed_step_was_not_done() {
    let mut bench = Bench::new(&flow(vec![SketchStep { heal: Some(false), ..undone() }, work()]));
    bench.finish(broken(FailureKind::Transient));
    bench.finish(broken(FailureKind::Permanent));
    assert_eq!((bench.state.ended().is_some(), undoings(&bench)), (true, Vec::new()));
}

#[test]
fn a_step_of_unknown_outcome_is_undone_on_attempt_and_one_that_was_refused_is_not() {
    for kind in FailureKind::ALL {
        let mut bench = Bench::new(&flow(vec![on_attempt()]));
        bench.finish(broken(kind));
        play_well(&mut bench);
        let refused = [
            FailureKind::Permanent,
            FailureKind::Invalid,
            FailureKind::Denied,
            FailureKind::Conflict,
            FailureKind::NotFound,
            FailureKind::Rejected,
        ];
        let expected = if refused.contains(&kind) { Vec::new() } else { vec!["s0 null".to_owned()] };
        assert_eq!(undoings(&bench), expected, "{kind}");
    }
}

#[test]
fn a_refusal_after_an_attempt_in_doubt_leaves_the_doubt() {
    let mut bench = Bench::new(&flow(vec![SketchStep { retries: Some(2), ..on_attempt() }]));
    bench.finish(broken(FailureKind::Timeout));
    bench.tick_at_next_due();
    bench.finish(broken(FailureKind::Conflict));
    play_well(&mut bench);
    assert_eq!(undoings(&bench), ["s0 null"]);
}

#[test]
fn on_attempt_a_success_takes_its_place_in_the_order_of_completion() {
    let branches = vec![vec![on_attempt()], vec![undone()]];
    let mut bench = Bench::new(&flow(vec![shape(Shape::Parallel(Join::All, branches)), work()]));
    bench.finish_step("s0b1s0", ok("first"));
    bench.finish_step("s0b0s0", ok("second"));
    bench.finish(broken(FailureKind::Denied));
    play_well(&mut bench);
    assert_eq!(undoings(&bench), [r#"s0b0s0 "second""#, r#"s0b1s0 "first""#]);
}

#[test]
fn on_attempt_a_job_that_is_cancelled_while_it_runs_is_undone() {
    let mut bench = Bench::new(&flow(vec![on_attempt()]));
    bench.give(Input::Cancel { reason: CancelReason::Requested });
    play_well(&mut bench);
    assert_eq!(undoings(&bench), ["s0 null"]);
}

#[test]
fn on_attempt_a_fallback_in_doubt_is_undone_if_the_run_fails_later() {
    let mut bench = Bench::new(&flow(vec![SketchStep { fallback: Some(false), ..on_attempt() }, work()]));
    bench.finish(broken(FailureKind::Transient));
    bench.finish(broken(FailureKind::Denied));
    play_well(&mut bench);
    assert_eq!(undoings(&bench), ["s0 null"]);
}

#[test]
fn an_undo_that_keeps_failing_parks_the_run_and_the_others_still_run() {
    let mut bench = Bench::new(&Sketch { on_error: true, finally: true, ..flow(vec![undone(), undone(), work()]) });
    bench.finish(ok("a"));
    bench.finish(ok("b"));
    bench.finish(broken(FailureKind::Denied));
    bench.finish(Err(Failure::new(FailureKind::Permanent, "it does not let go")));
    assert_eq!(bench.under_way(), ["s0"]);
    play_well(&mut bench);
    let RunOutcome::Parked { because, left } = bench.outcome() else { panic!("it is not parked: {:?}", bench.outcome()) };
    assert!(matches!(&**because, RunOutcome::Failed { failure } if failure.kind == FailureKind::Denied));
    let left: Vec<_> = left.iter().map(|(step, failure)| format!("{step}: {failure}")).collect();
    assert_eq!(left, ["s1: permanent: it does not let go"]);
    assert_eq!(bench.jobs().len(), 7, "on_error and finally came after both undoings");
}

#[test]
fn a_cancelled_run_that_is_parked_has_no_on_error() {
    let mut bench = Bench::new(&Sketch { on_error: true, ..flow(vec![undone(), work()]) });
    bench.finish(ok("a"));
    bench.give(Input::Cancel { reason: CancelReason::Requested });
    bench.finish(broken(FailureKind::Permanent));
    assert!(matches!(bench.outcome(), RunOutcome::Parked { because, .. } if matches!(**because, RunOutcome::Cancelled { .. })));
}

#[test]
fn an_undoing_is_tried_again_as_its_retry_says_and_has_thirty_seconds() {
    let mut bench = Bench::new(&flow(vec![SketchStep { retries: Some(3), ..undone() }, shape(Shape::Fail)]));
    bench.finish(ok("a"));
    bench.finish(broken(FailureKind::Transient));
    assert_eq!(bench.state.next_due().map(|due| due.since(bench.now)), Some(Duration::from_secs(1)));
    bench.tick_at_next_due();
    assert_eq!(bench.state.next_due().map(|due| due.since(bench.now)), Some(Duration::from_secs(29)));
    bench.tick_at_next_due();
    assert!(matches!(bench.outcome(), RunOutcome::Parked { left, .. } if left[0].1.kind == FailureKind::Timeout));
}

#[test]
fn a_step_that_could_not_be_undone_fails_and_parks_the_run() {
    let step = SketchStep { undo: Some((Says::Fails, false)), ..work() };
    let mut bench = Bench::new(&flow(vec![undone(), step, work()]));
    bench.finish(ok("a"));
    bench.finish(ok("done, and there is no way back"));
    play_well(&mut bench);
    let RunOutcome::Parked { because, left } = bench.outcome() else { panic!("it is not parked: {:?}", bench.outcome()) };
    assert_eq!(because.failure().and_then(|failure| failure.code.as_deref()), Some("scripted"));
    assert_eq!(left.iter().map(|(step, _)| step.as_str()).collect::<Vec<_>>(), ["s1"]);
    assert_eq!(undoings(&bench), [r#"s0 "a""#], "what can be undone is");
}

#[test]
fn on_attempt_a_step_that_could_not_be_undone_does_not_begin() {
    let step = SketchStep { undo: Some((Says::Fails, true)), ..work() };
    let bench = Bench::new(&flow(vec![step]));
    assert!(matches!(bench.outcome(), RunOutcome::Failed { .. }));
    assert!(!bench.facts.iter().any(|fact| matches!(fact, Fact::AttemptStarted { .. })));
}

#[test]
fn when_finally_fails_what_a_good_run_did_is_undone_after_it() {
    let mut bench = Bench::new(&Sketch { on_error: true, finally: true, ..flow(vec![undone()]) });
    bench.finish(ok("a"));
    assert_eq!(bench.under_way(), ["finally"]);
    bench.finish(broken(FailureKind::Denied));
    assert_eq!(bench.under_way(), ["s0"]);
    bench.finish(Ok(Value::null()));
    assert!(matches!(bench.outcome(), RunOutcome::Failed { .. }));
    assert_eq!(bench.jobs().len(), 3);
}

#[test]
fn an_undo_knows_what_was_known_when_the_step_ended() {
    // The other branch's later output is not there yet, and what comes after does not change it.
    let step = SketchStep { undo: Some((Says::Reads(Root::Local, "item"), false)), ..work() };
    let items = Says::This(Value::from(Tree::List(vec![Tree::from("x"), Tree::from("y")])));
    let mut bench = Bench::new(&flow(vec![shape(Shape::Each { over: items, max_concurrent: 2, steps: vec![step] }), shape(Shape::Fail)]));
    bench.finish(Ok(Value::null()));
    bench.finish(Ok(Value::null()));
    play_well(&mut bench);
    assert_eq!(undoings(&bench), [r#"s0es0 "y""#, r#"s0es0 "x""#]);
}
