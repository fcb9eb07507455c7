//! When a breaker opens, lets one try and closes.

use std::time::Duration;

use futures_util::FutureExt;

use super::*;
use crate::policy::scripted::{Scene, Script};

const SECOND: Duration = Duration::from_secs(1);
const NOW: Timestamp = Timestamp::from_nanos(1_000_000_000_000);
const SETTINGS: BreakerSettings =
    BreakerSettings { failures: 5, window: Duration::from_secs(60), cooldown: Duration::from_secs(30), half_open: 1, probe_every: None };

fn busy() -> Verdict {
    Verdict::Fails(Failure::new(FailureKind::Transient, "busy"))
}

fn open_at(now: Timestamp) -> State {
    let mut state = State::default();
    for _ in 0..5 {
        let pass = state.admit("p/api", &SETTINGS, now).expect("closed");
        state.end(pass, busy(), &SETTINGS, now);
    }
    assert_eq!(state.name(), "open");
    state
}

#[test]
fn the_fifth_failure_inside_the_window_opens_it() {
    let mut state = State::default();
    for number in 1..=5 {
        assert_eq!(state.name(), "closed");
        let pass = state.admit("p/api", &SETTINGS, NOW).expect("closed");
        state.end(pass, busy(), &SETTINGS, NOW + SECOND * number);
    }
    let refused = state.admit("p/api", &SETTINGS, NOW + Duration::from_micros(5_311_637)).expect_err("open");
    assert_eq!((refused.kind, refused.code.as_deref()), (FailureKind::Rejected, Some("breaker_open")));
    assert_eq!(refused.cause.as_ref().map(|cause| cause.message.as_str()), Some("busy"));
    assert_eq!(refused.message, "the breaker of `p/api` is open after 5 failures and tries again in 29.7 s");
}

#[test]
fn with_a_probe_no_call_tries_it_and_the_probes_success_closes_it() {
    let settings = BreakerSettings { probe_every: Some(SECOND * 10), ..SETTINGS };
    let mut state = open_at(NOW);
    let refused = state.admit("p/api", &settings, NOW + SECOND * 999).expect_err("no cooldown ends it");
    assert_eq!(refused.message, "the breaker of `p/api` is open after 5 failures until its probe succeeds");
    assert_eq!(refused.retry_after, Some(SECOND * 10));
    state.probed(Err(Failure::new(FailureKind::NotFound, "gone")));
    let refused = state.admit("p/api", &settings, NOW + SECOND * 999).expect_err("a failure of any kind keeps it open");
    assert_eq!(refused.cause.as_ref().map(|cause| cause.message.as_str()), Some("gone"));
    state.probed(Ok(()));
    assert!(state.admit("p/api", &settings, NOW + SECOND * 999).is_ok());
    state.probed(Err(Failure::new(FailureKind::Failed, "late")));
    assert_eq!(state.name(), "closed", "a probe says nothing once it is closed");
}

#[test]
fn a_failure_leaves_the_window_when_it_is_as_old_as_it() {
    for (last, name) in [(SECOND * 60, "closed"), (SECOND * 60 - Duration::from_nanos(1), "open")] {
        let mut state = State::default();
        for at in [Duration::ZERO, SECOND, SECOND * 2, SECOND * 3, last] {
            let pass = state.admit("p/api", &SETTINGS, NOW + at).expect("closed");
            state.end(pass, busy(), &SETTINGS, NOW + at);
        }
        assert_eq!(state.name(), name);
    }
}

#[test]
fn exactly_four_kinds_count_and_three_say_nothing() {
    let of = |kind| Verdict::of(&Err(Failure::new(kind, "x")));
    let counted: Vec<_> = FailureKind::ALL.into_iter().filter(|kind| matches!(of(*kind), Verdict::Fails(_))).collect();
    assert_eq!(counted, [FailureKind::Transient, FailureKind::Timeout, FailureKind::RateLimited, FailureKind::Failed]);
    let silent: Vec<_> = FailureKind::ALL.into_iter().filter(|kind| of(*kind) == Verdict::Silent).collect();
    assert_eq!(silent, [FailureKind::Rejected, FailureKind::Cancelled, FailureKind::Bug]);
}

#[test]
fn after_the_cooldown_one_call_tries() {
    let mut state = open_at(NOW);
    assert!(state.admit("p/api", &SETTINGS, NOW + (SECOND * 30 - Duration::from_nanos(1))).is_err());
    let trial = state.admit("p/api", &SETTINGS, NOW + SECOND * 30).expect("it tries");
    assert_eq!(state.name(), "half_open");
    assert!(state.admit("p/api", &SETTINGS, NOW + SECOND * 30).is_err(), "a second trial");
    state.end(trial, Verdict::Answers, &SETTINGS, NOW + SECOND * 31);
    assert_eq!(state.name(), "closed");
}

#[test]
fn a_failed_trial_opens_it_for_a_whole_cooldown() {
    let mut state = open_at(NOW);
    let trial = state.admit("p/api", &SETTINGS, NOW + SECOND * 30).expect("it tries");
    state.end(trial, busy(), &SETTINGS, NOW + SECOND * 40);
    assert!(state.admit("p/api", &SETTINGS, NOW + SECOND * 69).is_err());
    assert!(state.admit("p/api", &SETTINGS, NOW + SECOND * 70).is_ok());
}

#[test]
fn a_cancelled_trial_frees_its_place() {
    let mut state = open_at(NOW);
    let trial = state.admit("p/api", &SETTINGS, NOW + SECOND * 30).expect("it tries");
    state.end(trial, Verdict::Silent, &SETTINGS, NOW + SECOND * 31);
    assert_eq!(state.name(), "half_open");
    assert!(state.admit("p/api", &SETTINGS, NOW + SECOND * 31).is_ok());
}

#[test]
fn a_call_from_before_a_change_says_nothing() {
    let mut state = State::default();
    let old = state.admit("p/api", &SETTINGS, NOW).expect("closed");
    let other = state.admit("p/api", &SETTINGS, NOW).expect("closed");
    for _ in 0..5 {
        let pass = state.admit("p/api", &SETTINGS, NOW).expect("closed");
        state.end(pass, busy(), &SETTINGS, NOW);
    }
    state.end(other, Verdict::Answers, &SETTINGS, NOW);
    assert_eq!(state.name(), "open");
    let trial = state.admit("p/api", &SETTINGS, NOW + SECOND * 30).expect("it tries");
    state.end(old, busy(), &SETTINGS, NOW + SECOND * 31);
    assert_eq!(state.name(), "half_open", "an old failure is no failed trial");
    state.end(trial, Verdict::Answers, &SETTINGS, NOW + SECOND * 32);
    assert_eq!(state.name(), "closed");
}

#[test]
fn zeros_are_ones() {
    let settings = BreakerSettings { failures: 0, half_open: 0, ..SETTINGS };
    let mut state = State::default();
    let pass = state.admit("p/api", &settings, NOW).expect("closed");
    state.end(pass, busy(), &settings, NOW);
    assert_eq!(state.name(), "open");
    assert!(state.admit("p/api", &settings, NOW + SECOND * 30).is_ok());
}

#[tokio::test]
async fn tells_each_change_and_calls_nothing_while_open() {
    let scene = Scene::new();
    let breaker = Breaker::new("p/api".to_owned(), SETTINGS, scene.clock(), scene.sink());
    let script = Script::failing(FailureKind::Timeout, 5).then_ok();
    for _ in 0..5 {
        assert!(breaker.call(script.inner(), scene.job(), scene.attempt()).await.is_err());
    }
    assert!(breaker.call(script.inner(), scene.job(), scene.attempt()).await.is_err());
    assert_eq!(script.calls(), 5);
    scene.time.advance(SECOND * 30).await;
    assert!(breaker.call(script.inner(), scene.job(), scene.attempt()).await.is_ok());
    let states: Vec<_> =
        scene.happenings().into_iter().map(|what| if let What::Breaker { state, .. } = what { state } else { "?" }).collect();
    assert_eq!(states, ["open", "half_open", "closed"]);
}

#[tokio::test]
async fn a_dropped_trial_frees_its_place() {
    let scene = Scene::new();
    let settings = BreakerSettings { failures: 1, ..SETTINGS };
    let breaker = Breaker::new("p/api".to_owned(), settings, scene.clock(), scene.sink());
    let script = Script::failing(FailureKind::Failed, 1).then_never().then_ok();
    assert!(breaker.call(script.inner(), scene.job(), scene.attempt()).await.is_err());
    scene.time.advance(SECOND * 30).await;
    assert!(breaker.call(script.inner(), scene.job(), scene.attempt()).now_or_never().is_none());
    assert!(breaker.call(script.inner(), scene.job(), scene.attempt()).await.is_ok());
}
