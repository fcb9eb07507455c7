//! Who leads, who joins and who is turned away.

use std::time::Duration;

use uuid::Uuid;

use super::*;
use crate::model::job::CancelReason;
use crate::model::secret::Secret;
use crate::model::value::Tree;

const HOUR: Duration = Duration::from_secs(3_600);
const NOW: Timestamp = Timestamp::from_nanos(1_000_000_000_000);

fn policy(name: &str) -> PolicyIdentity {
    PolicyIdentity::Named { owner: "p".to_owned(), policy: name.to_owned() }
}

fn job(number: u128) -> JobId {
    JobId::new(Uuid::from_u128(number))
}

fn kept(on_duplicate: OnDuplicate) -> DedupSettings {
    DedupSettings { window: DedupWindow::Keep(HOUR), on_duplicate }
}

fn success(output: Value) -> JobOutcome {
    JobOutcome::Succeeded { output, from: ResultSource::Executor }
}

fn other_outcomes() -> [JobOutcome; 4] {
    let failure = Failure::new(FailureKind::Failed, "x");
    [
        JobOutcome::Failed { failure: failure.clone() },
        JobOutcome::TimedOut { failure },
        JobOutcome::Cancelled { reason: CancelReason::Requested },
        JobOutcome::Succeeded { output: Value::null(), from: ResultSource::Fallback },
    ]
}

#[test]
fn a_running_key_is_held_until_its_job_ends() {
    let (mut table, api, settings) = (Table::new(), policy("api"), DedupSettings::default());
    assert_eq!(table.claim(&api, "1", job(1), &settings, NOW), Claim::Lead);
    assert_eq!(table.claim(&api, "1", job(1), &settings, NOW), Claim::Lead);
    assert_eq!(table.claim(&api, "1", job(2), &settings, NOW + HOUR * 99), Claim::Join { leader: job(1) });
    table.settle(&api, "1", job(2), &success(Value::null()), false, NOW);
    assert_eq!(table.len(), 1, "only the leader settles");
    table.settle(&api, "1", job(1), &success(Value::null()), false, NOW);
    assert!(table.is_empty());
    assert_eq!(table.claim(&api, "1", job(3), &settings, NOW), Claim::Lead);
}

#[test]
fn a_duplicate_gets_what_is_declared() {
    let (mut table, api) = (Table::new(), policy("api"));
    let with = |on_duplicate| DedupSettings { on_duplicate, ..DedupSettings::default() };
    table.claim(&api, "1", job(1), &with(OnDuplicate::Join), NOW);
    assert_eq!(table.claim(&api, "1", job(2), &with(OnDuplicate::Skip), NOW), Claim::Skip);
    let Claim::Reject(failure) = table.claim(&api, "1", job(2), &with(OnDuplicate::Reject), NOW) else { panic!("not rejected") };
    assert_eq!((failure.kind, failure.code.as_deref()), (FailureKind::Rejected, Some(DUPLICATE)));
}

#[test]
fn keys_do_not_meet_across_policies() {
    let (mut table, settings) = (Table::new(), DedupSettings::default());
    assert_eq!(table.claim(&policy("a"), "1", job(1), &settings, NOW), Claim::Lead);
    assert_eq!(table.claim(&policy("b"), "1", job(2), &settings, NOW), Claim::Lead);
    let step = PolicyIdentity::Step { pipeline: "p".to_owned(), flow: "main".to_owned(), step: "a".to_owned() };
    assert_eq!(table.claim(&step, "1", job(3), &settings, NOW), Claim::Lead);
}

#[test]
fn a_success_is_repeated_within_its_window_and_gone_after_it() {
    let (mut table, api, settings) = (Table::new(), policy("api"), kept(OnDuplicate::Join));
    table.claim(&api, "1", job(1), &settings, NOW);
    table.settle(&api, "1", job(1), &success(Value::string("done")), false, NOW);
    let last = NOW + (HOUR - Duration::from_nanos(1));
    assert_eq!(table.claim(&api, "1", job(2), &settings, last), Claim::Repeat(Value::string("done")));
    assert_eq!(table.claim(&api, "1", job(2), &kept(OnDuplicate::Skip), last), Claim::Skip);
    assert!(matches!(table.claim(&api, "1", job(2), &kept(OnDuplicate::Reject), last), Claim::Reject(_)));
    assert_eq!(table.claim(&api, "1", job(3), &settings, NOW + HOUR), Claim::Lead);
}

#[test]
fn any_other_outcome_frees_the_key() {
    for outcome in other_outcomes() {
        let (mut table, api) = (Table::new(), policy("api"));
        table.claim(&api, "1", job(1), &kept(OnDuplicate::Join), NOW);
        table.settle(&api, "1", job(1), &outcome, false, NOW);
        assert!(table.is_empty(), "{outcome:?} was kept");
    }
}

#[test]
fn a_degraded_result_is_not_kept() {
    let (mut table, api) = (Table::new(), policy("api"));
    table.claim(&api, "1", job(1), &kept(OnDuplicate::Join), NOW);
    table.settle(&api, "1", job(1), &success(Value::null()), true, NOW);
    assert!(table.is_empty());
}

#[test]
fn a_shorter_window_counts_at_once() {
    let (mut table, api) = (Table::new(), policy("api"));
    table.claim(&api, "1", job(1), &kept(OnDuplicate::Join), NOW);
    table.settle(&api, "1", job(1), &success(Value::null()), false, NOW);
    let minute = DedupSettings { window: DedupWindow::Keep(HOUR / 60), ..DedupSettings::default() };
    assert_eq!(table.claim(&api, "1", job(2), &minute, NOW + HOUR / 2), Claim::Lead);
    assert_eq!(table.len(), 1);
}

#[test]
fn a_full_table_refuses_and_forgets_nothing_until_something_goes() {
    let (mut table, api, settings) = (Table::with_bounds(2, MOST_BYTES), policy("api"), kept(OnDuplicate::Join));
    table.claim(&api, "1", job(1), &settings, NOW);
    table.settle(&api, "1", job(1), &success(Value::null()), false, NOW);
    table.claim(&api, "2", job(2), &settings, NOW);
    let Claim::Reject(failure) = table.claim(&api, "3", job(3), &settings, NOW) else { panic!("not refused") };
    assert_eq!(failure.code.as_deref(), Some(FULL));
    assert_eq!(table.claim(&api, "1", job(4), &settings, NOW), Claim::Repeat(Value::null()));
    assert_eq!(table.claim(&api, "3", job(3), &settings, NOW + HOUR), Claim::Lead);
}

#[test]
fn what_was_kept_before_answers_again_until_its_own_time_and_the_bound_holds() {
    let (mut table, api, settings) = (Table::new(), policy("api"), kept(OnDuplicate::Join));
    table.claim(&api, "1", job(1), &settings, NOW);
    let result = table.settle(&api, "1", job(1), &success(Value::string("done")), false, NOW).expect("it is kept");
    let mut again = Table::with_bounds(2, MOST_BYTES);
    assert!(again.restore(&api, "1", result.clone(), NOW + HOUR / 2));
    assert!(!again.restore(&api, "1", result.clone(), NOW + HOUR / 2), "it is there");
    assert!(!again.restore(&api, "2", result.clone(), NOW + HOUR), "its time is over");
    assert!(again.restore(&api, "2", result.clone(), NOW + HOUR / 2));
    assert!(!again.restore(&api, "3", result.clone(), NOW + HOUR / 2), "the table is full");
    assert_eq!(again.claim(&api, "1", job(2), &settings, NOW + HOUR / 2), Claim::Repeat(Value::string("done")));
    let Claim::Reject(failure) = again.claim(&api, "3", job(3), &settings, NOW + HOUR / 2) else { panic!("not refused") };
    assert_eq!(failure.code.as_deref(), Some(FULL));
    assert_eq!(again.claim(&api, "1", job(4), &settings, NOW + HOUR), Claim::Lead);
}

#[test]
fn what_goes_before_its_time_is_told_and_nothing_else() {
    let (mut table, api) = (Table::new(), policy("api"));
    let shorter = DedupSettings { window: DedupWindow::Keep(HOUR / 60), ..DedupSettings::default() };
    for key in ["short", "whole", "taken back"] {
        table.claim(&api, key, job(1), &kept(OnDuplicate::Join), NOW);
        table.settle(&api, key, job(1), &success(Value::null()), false, NOW);
    }
    table.take_back(&api, "taken back", job(2));
    assert_eq!(table.len(), 3, "it was another's");
    table.take_back(&api, "taken back", job(1));
    table.claim(&api, "short", job(2), &shorter, NOW + HOUR / 2);
    assert_eq!(table.take_gone(), [(api.clone(), "short".to_owned())]);
    table.claim(&api, "whole", job(3), &shorter, NOW + HOUR);
    assert_eq!(table.take_gone(), []);
}

#[test]
fn a_result_too_large_or_secret_is_not_kept_but_its_key_is() {
    for output in [Value::string("x".repeat(100)), Value::from(Tree::Secret(Secret::new("KEY", "x")))] {
        let (mut table, api, settings) = (Table::with_bounds(9, 50), policy("api"), kept(OnDuplicate::Join));
        table.claim(&api, "1", job(1), &settings, NOW);
        table.settle(&api, "1", job(1), &success(output), false, NOW);
        let Claim::Reject(failure) = table.claim(&api, "1", job(2), &settings, NOW) else { panic!("not rejected") };
        assert_eq!(failure.code.as_deref(), Some(DUPLICATE));
        assert_eq!(table.bytes, 0);
    }
}

#[test]
fn what_no_plan_names_is_forgotten_but_for_what_runs() {
    let (mut table, settings) = (Table::new(), kept(OnDuplicate::Join));
    for (name, number) in [("a", 1), ("b", 2)] {
        table.claim(&policy(name), "1", job(number), &settings, NOW);
        table.settle(&policy(name), "1", job(number), &success(Value::null()), false, NOW);
    }
    table.claim(&policy("b"), "2", job(3), &settings, NOW);
    table.retain(&[policy("a")]);
    assert_eq!(table.len(), 2);
    assert_eq!(table.claim(&policy("b"), "1", job(4), &settings, NOW), Claim::Lead);
    assert_eq!(table.claim(&policy("b"), "2", job(5), &settings, NOW), Claim::Join { leader: job(3) });
}
