//! Stories of runs that branch, take back, are parked and go on, are migrated, and are cut off.

use uuid::Uuid;

use super::*;
use crate::app::views::Status;
use crate::model::activation::RunOutcome;
use crate::model::event::{Caller, Causation};
use crate::model::failure::FailureKind;
use crate::model::fixture;
use crate::model::id::CorrelationId;
use crate::model::job::{CancelReason, ResultSource};
use crate::model::record::{BlockNumber, RefusedAnswer};
use crate::model::value::Value;
use std::sync::Arc;
use std::time::Duration;

const MAIN: LaneId = LaneId(0);

fn at(seconds: u64) -> Timestamp {
    Timestamp::EPOCH + Duration::from_secs(seconds)
}

fn beginning() -> Arc<Beginning> {
    Arc::new(Beginning {
        run: RunId::new(Uuid::from_u128(1)),
        pipeline: "shop".into(),
        flow: "order".into(),
        revision: Digest::of(b"one"),
        correlation_id: CorrelationId::new(Uuid::from_u128(2)),
        event: None,
        input: Value::map([]),
        trigger: Value::null(),
        caller: Caller::default(),
        state_key: None,
        at: at(0),
        deadline: None,
        passed: Vec::new(),
        parent: None,
        part: None,
        retry_of: None,
    })
}

fn lane(number: u32, purpose: LanePurpose, parent: Option<(u32, u32)>) -> Fact {
    let parent = parent.map(|(lane, step)| (LaneId(lane), StepNumber(step)));
    Fact::LaneOpened { lane: LaneId(number), purpose, block: BlockNumber(number), parent }
}

fn begun() -> Vec<Fact> {
    vec![Fact::Began(beginning()), lane(0, LanePurpose::Main, None)]
}

fn job(number: u128) -> JobId {
    JobId::new(Uuid::from_u128(number))
}

fn dispatched(lane: u32, step: u32, number: u128) -> [Fact; 2] {
    let (lane, step, job) = (LaneId(lane), StepNumber(step), job(number));
    let dispatched = Fact::JobDispatched { lane, step, job, input: Value::null(), at: at(1), deadline: None };
    [dispatched, Fact::AttemptStarted { job, attempt: 1, at: at(1) }]
}

fn ended(number: u128, outcome: JobOutcome) -> Fact {
    Fact::JobEnded { job: job(number), outcome, events: Vec::new(), at: at(2) }
}

fn good() -> JobOutcome {
    JobOutcome::Succeeded { output: Value::null(), from: ResultSource::Executor }
}

fn answer(number: u128) -> Arc<Event> {
    let caller = Caller { id: Some("alice".to_owned()), roles: Vec::new() };
    let event = fixture::event(number, "Approved");
    Arc::new(Event { source: "shop".into(), time: at(3), causation: Causation::Outside, caller, data: Value::map([]), ..event })
}

fn told(facts: &[Fact]) -> RunStory {
    Fold::story(facts, &Names::default()).expect("it begins with a beginning")
}

fn states(story: &RunStory) -> Vec<(&str, &str)> {
    story.steps.iter().map(|step| (step.step.as_str(), step.state.word())).collect()
}

#[test]
fn what_is_inside_a_step_is_named_after_it_and_given_up_with_it() {
    let mut facts = begun();
    facts.push(Fact::ItemsTaken { lane: MAIN, step: StepNumber(0), items: Arc::new(Vec::new()) });
    facts.extend([lane(1, LanePurpose::Item(0), Some((0, 0))), lane(2, LanePurpose::Item(1), Some((0, 0)))]);
    facts.extend(dispatched(1, 1, 10));
    facts.extend(dispatched(2, 1, 11));
    facts.push(lane(3, LanePurpose::Fallback, Some((2, 1))));
    facts.push(Fact::SleepBegan { lane: LaneId(3), step: StepNumber(4), due: at(9) });
    assert_eq!(told(&facts).row.status, Status::Running);
    facts.push(ended(10, JobOutcome::Failed { failure: Failure::new(FailureKind::Conflict, "gone") }));
    facts.push(Fact::LaneEnded { lane: LaneId(2), result: LaneResult::Cancelled });
    let story = told(&facts);
    let expected = [("#1", "running"), ("#1[0].#2", "failed"), ("#1[1].#2", "cancelled"), ("#1[1].#2.fallback.#5", "cancelled")];
    assert_eq!(states(&story), expected);
    assert_eq!(story.steps[1].attempts[0].failure.as_ref().map(|failure| failure.message.as_str()), Some("gone"));
}

#[test]
fn of_what_rests_the_first_that_is_due_says_how_a_run_stands() {
    let mut facts = begun();
    facts.push(Fact::SleepBegan { lane: LaneId(1), step: StepNumber(1), due: at(50) });
    let matching = vec![("id".to_owned(), Value::string("a"))];
    facts.push(Fact::WaitBegan { lane: LaneId(2), step: StepNumber(2), matching, at: at(1), due: at(40) });
    assert_eq!(told(&facts).row.status, Status::Waiting { events: Vec::new(), until: at(40) });
    facts.extend(dispatched(0, 3, 10));
    assert_eq!(told(&facts).row.status, Status::Running, "what is under way goes first");
    let failure = Failure::new(FailureKind::Transient, "busy");
    facts.push(Fact::Retrying { job: job(10), attempt: 1, failure, at: at(2), due: at(30) });
    assert_eq!(told(&facts).row.status, Status::Retrying { step: "#4".to_owned(), at: at(30) });
}

#[test]
fn everything_that_was_decided_about_a_wait_stands_in_its_order() {
    let (lane, step) = (MAIN, StepNumber(0));
    let mut facts = begun();
    facts.push(Fact::WaitBegan { lane, step, matching: Vec::new(), at: at(1), due: at(40) });
    facts.push(Fact::Reminded { lane, step, reminder: 0, at: Some(at(2)) });
    facts.push(Fact::AnswerRefused { lane, step, event: answer(20), reason: RefusedAnswer::Guard });
    facts.push(Fact::WaitEnded { lane, step, event: Some(answer(21)), at: at(4) });
    facts.push(Fact::StepDone { lane, step, output: Value::null() });
    facts.push(Fact::AnswerRefused { lane, step, event: answer(22), reason: RefusedAnswer::Double });
    let story = told(&facts);
    let wait = story.steps[0].wait.as_ref().expect("it waited");
    let decided: Vec<Option<&str>> = wait.answers.iter().map(|answer| answer.refused.as_deref()).collect();
    assert_eq!((decided, wait.reminders, wait.timed_out), (vec![Some("guard"), None, Some("double")], 1, None));
    assert_eq!(wait.reminded, [at(2)]);
    assert_eq!(states(&story), [("#1", "succeeded")]);
}

#[test]
fn a_run_takes_back_is_parked_and_goes_on() {
    let mut facts = begun();
    facts.extend(dispatched(0, 0, 10));
    facts.push(ended(10, good()));
    facts.push(Fact::UndoPlanned { lane: MAIN, step: StepNumber(0), input: Value::null() });
    let failed = RunOutcome::Failed { failure: Failure::new(FailureKind::Conflict, "gone") };
    facts.push(Fact::Unwinding { outcome: failed.clone(), at: at(3) });
    facts.push(lane(1, LanePurpose::Undo, Some((0, 0))));
    facts.extend(dispatched(1, 7, 11));
    facts.push(ended(11, JobOutcome::TimedOut { failure: Failure::new(FailureKind::Timeout, "slow") }));
    let parked = RunOutcome::Parked { because: Box::new(failed), left: Vec::new() };
    facts.push(Fact::Ended { outcome: parked, at: at(5) });
    let story = told(&facts);
    assert_eq!(states(&story), [("#1", "succeeded"), ("undo #1", "timed_out")]);
    assert_eq!((story.row.status, story.row.took_ms), (Status::Parked, Some(5_000)));
    facts.push(Fact::Resumed { at: at(6) });
    let story = told(&facts);
    assert_eq!((story.row.status, story.resumed, story.end), (Status::Running, vec![at(6)], None));
}

#[test]
fn a_migration_tells_the_history_anew() {
    let mut facts = begun();
    facts.extend(dispatched(0, 5, 10));
    facts.push(ended(10, good()));
    let mut anew = begun();
    anew.extend(dispatched(0, 8, 10));
    anew.push(ended(10, good()));
    facts.push(Fact::Migrated { revision: Digest::of(b"two"), facts: Arc::new(anew), at: at(3) });
    facts.push(Fact::SleepBegan { lane: MAIN, step: StepNumber(9), due: at(9) });
    let story = told(&facts);
    assert_eq!(states(&story), [("#9", "succeeded"), ("#10", "sleeping")]);
    assert_eq!(story.row.revision, Digest::of(b"two"));
    assert_eq!(story.migrated, [MigrationStory { at: at(3), from: Digest::of(b"one") }]);
}

#[test]
fn a_queued_run_has_not_begun_and_what_begins_with_nothing_is_no_run() {
    let story = told(&[Fact::Queued(beginning())]);
    assert_eq!((story.row.status, story.steps.len()), (Status::Queued, 0));
    assert_eq!(Fold::story(&begun()[1..], &Names::default()), None);
}

#[test]
fn the_time_of_a_fallback_is_not_that_of_the_attempt_before_it_and_the_run_is_degraded() {
    let mut facts = begun();
    facts.extend(dispatched(0, 0, 10));
    let failure = Failure::new(FailureKind::Transient, "busy");
    facts.push(Fact::FallbackBegan { job: job(10), failure: failure.clone(), at: Some(at(1)) });
    facts.push(lane(1, LanePurpose::Fallback, Some((0, 0))));
    facts.push(Fact::SleepBegan { lane: LaneId(1), step: StepNumber(1), due: at(3) });
    assert!(!told(&facts).degraded, "nothing has stood in yet");
    let outcome = JobOutcome::Succeeded { output: Value::null(), from: ResultSource::Fallback };
    facts.push(Fact::JobEnded { job: job(10), outcome, events: Vec::new(), at: at(3) });
    let story = told(&facts);
    let step = &story.steps[0];
    let attempt = &step.attempts[0];
    assert_eq!((attempt.ended, attempt.failure.as_ref(), step.ended), (Some(at(1)), Some(&failure), Some(at(3))));
    assert!(story.degraded);
    // What an older host recorded has no time, and no wrong one is told.
    for fact in &mut facts {
        if let Fact::FallbackBegan { at, .. } = fact {
            *at = None;
        }
    }
    let attempt = &told(&facts).steps[0].attempts[0];
    assert_eq!((attempt.ended, attempt.broken_off, attempt.failure.is_some()), (None, false, true));
}

#[test]
fn an_attempt_that_the_end_of_the_host_cut_off_is_not_under_way() {
    let broken_off = |facts: &[Fact]| -> Vec<bool> { told(facts).steps[0].attempts.iter().map(|attempt| attempt.broken_off).collect() };
    let mut facts = begun();
    facts.extend(dispatched(0, 0, 10));
    facts.push(Fact::AttemptStarted { job: job(10), attempt: 1, at: at(2) });
    assert_eq!(broken_off(&facts), [true, false], "it is made again, and that one is under way");
    let failed = RunOutcome::Failed { failure: Failure::new(FailureKind::Conflict, "gone") };
    let mut given_up = facts.clone();
    given_up.push(Fact::Ended { outcome: failed, at: at(5) });
    assert_eq!(broken_off(&given_up), [true, true], "nothing is under way in a run that has ended");
    facts.push(Fact::Unwinding { outcome: RunOutcome::Succeeded, at: at(2) });
    facts.push(ended(10, JobOutcome::Cancelled { reason: CancelReason::Requested }));
    assert_eq!(broken_off(&facts), [true, false]);
    assert_eq!(told(&facts).steps[0].attempts[1].ended, Some(at(2)), "it was cancelled, which is an end");
}
