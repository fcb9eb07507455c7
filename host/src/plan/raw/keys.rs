//! Every key and word of the language, those too whose part is not built: they are known, and refused by name. What each key is for and
//! what its value is, `grammar` has.

use super::grammar::{self, Entry, Kind, cases};
use crate::model::failure::FailureKind;
use crate::model::policy::OnDuplicate;
use crate::plan::pipeline::{EventMode, WhenFull};

/// The names of entries.
const fn names<const N: usize>(entries: &[Entry; N]) -> [&'static str; N] {
    let mut names = [""; N];
    let mut index = 0;
    while index < N {
        names[index] = entries[index].name;
        index += 1;
    }
    names
}

/// The words of pairs of a word and what it means.
pub(in crate::plan) const fn words<T: Copy, const N: usize>(pairs: &[(&'static str, T); N]) -> [&'static str; N] {
    let mut words = [""; N];
    let mut index = 0;
    while index < N {
        words[index] = pairs[index].0;
        index += 1;
    }
    words
}

/// Keys of a file.
pub(in crate::plan) const FILE: &[&str] = &names(&grammar::FILE);
/// Keys of a library.
pub(in crate::plan) const LIBRARY: &[&str] = &grammar::LIBRARY;
/// Keys of a flow; at the top of a file too, if it has one flow.
pub(in crate::plan) const FLOW: &[&str] = &names(&grammar::FLOW);
/// What a step can do.
pub(in crate::plan) const VERBS: &[&str] = &names(&grammar::VERBS);
/// Keys of any step.
pub(in crate::plan) const STEP: &[&str] = &names(&grammar::STEP);
/// The policy stack, outermost first.
pub(in crate::plan) const LAYERS: &[&str] = &names(&grammar::LAYERS);
/// Keys beside `run` only.
pub(in crate::plan) const RUN: &[&str] = &names(&grammar::RUN);
/// Keys beside other verbs.
pub(in crate::plan) const BESIDE_OTHERS: &[(&str, &[&str])] = &[
    ("emit", &["via", "order_key", "to"]),
    ("reply", &["status", "headers"]),
    ("parallel", &["join"]),
    ("dispatch", &["with", "policy"]),
    ("call", &["with", "policy"]),
];
/// Keys of `undo`.
pub(in crate::plan) const UNDO: &[&str] = &names(&grammar::UNDO);
/// Keys of `wait`.
pub(in crate::plan) const WAIT: &[&str] = &names(&grammar::WAIT);
/// Keys of `remind`.
pub(in crate::plan) const REMIND: &[&str] = &names(&grammar::REMIND);
/// Keys of a case of `switch`.
pub(in crate::plan) const CASE: &[&str] = &names(&grammar::CASE);
/// Keys of `each`.
pub(in crate::plan) const EACH: &[&str] = &names(&grammar::EACH);
/// Keys of `join`.
pub(in crate::plan) const JOIN: &[&str] = &names(&grammar::JOIN);
/// Keys of `idempotency`.
pub(in crate::plan) const IDEMPOTENCY: &[&str] = &names(&grammar::IDEMPOTENCY);
/// Keys of `cancel_on`.
pub(in crate::plan) const CANCEL_ON: &[&str] = &names(&grammar::LISTEN);
/// Keys of `probe`.
pub(in crate::plan) const PROBE: &[&str] = &names(&grammar::PROBE);
/// Keys of a test.
pub(in crate::plan) const TEST: &[&str] = &names(&cases::TEST);
/// Keys of a mock's answer.
pub(in crate::plan) const ANSWER: &[&str] = &names(&cases::ANSWER);
/// Keys of a mock that answers each attempt.
pub(in crate::plan) const ATTEMPTS: &[&str] = &names(&cases::ATTEMPTS);
/// Keys of a mock's failure.
pub(in crate::plan) const MOCK_FAIL: &[&str] = &names(&cases::MOCK_FAIL);
/// Keys of `caller`.
pub(in crate::plan) const CALLER: &[&str] = &names(&cases::CALLER);
/// What a test can do.
pub(in crate::plan) const DEEDS: &[&str] = &names(&cases::DEEDS);
/// Keys beside what a test does.
pub(in crate::plan) const BESIDE_DEEDS: &[(&str, &[&str])] =
    &[("send", &["flow", "caller"]), ("emit", &["from", "caller"]), ("reload", &["refused"])];
/// Keys of `expect`.
pub(in crate::plan) const EXPECT: &[&str] = &names(&cases::EXPECT);
/// Keys of an entry of `runs`.
pub(in crate::plan) const EXPECTED_RUN: &[&str] = &names(&cases::EXPECTED_RUN);
/// Keys of an expected `error`.
pub(in crate::plan) const EXPECTED_ERROR: &[&str] = &names(&cases::EXPECTED_ERROR);
/// How a run ends, or what becomes of it before it begins.
pub(in crate::plan) const OUTCOMES: &[&str] = &cases::OUTCOMES;
/// Keys that are not in this version, wherever they stand beside a verb.
pub(in crate::plan) const LATER_BESIDE: &[&str] = &["to", "status", "headers"];
/// What can start a flow.
pub(in crate::plan) const TRIGGERS: &[&str] = &names(&grammar::TRIGGERS);
/// Triggers that are not in this version.
pub(in crate::plan) const LATER_TRIGGERS: &[&str] = &["http", "websocket", "schedule", "files"];
/// Keys of an executor.
pub(in crate::plan) const EXECUTOR: &[&str] = &names(&grammar::EXECUTOR);
/// Where an executor's code is: exactly one of these.
pub(in crate::plan) const HOMES: &[&str] = &["wasm", "rhai", "script", "builtin"];
/// What can be granted.
pub(in crate::plan) const GRANTS: &[&str] = &names(&grammar::GRANTS);
/// What can be limited.
pub(in crate::plan) const LIMITS: &[&str] = &names(&grammar::LIMITS);
/// What a resource can be.
pub(in crate::plan) const RESOURCES: &[&str] = &names(&grammar::RESOURCE);
/// Keys of `bus`.
pub(in crate::plan) const BUS: &[&str] = &names(&grammar::BUS);
/// Keys of `state`.
pub(in crate::plan) const STATE: &[&str] = &names(&grammar::STATE);
/// Keys of `concurrency`.
pub(in crate::plan) const CONCURRENCY: &[&str] = &names(&grammar::CONCURRENCY);
/// Keys of `fallback`.
pub(in crate::plan) const FALLBACK: &[&str] = &names(&grammar::FALLBACK);
/// Keys of `dedup`.
pub(in crate::plan) const DEDUP: &[&str] = &names(&grammar::DEDUP);
/// Keys of `cache`.
pub(in crate::plan) const CACHE: &[&str] = &names(&grammar::CACHE);
/// Keys of `retry`.
pub(in crate::plan) const RETRY: &[&str] = &names(&grammar::RETRY);
/// Keys of `breaker`.
pub(in crate::plan) const BREAKER: &[&str] = &names(&grammar::BREAKER);
/// Keys of `rate_limit`.
pub(in crate::plan) const RATE_LIMIT: &[&str] = &names(&grammar::RATE_LIMIT);
/// Keys of `bulkhead`.
pub(in crate::plan) const BULKHEAD: &[&str] = &names(&grammar::BULKHEAD);
/// Keys of `fail`.
pub(in crate::plan) const FAIL: &[&str] = &names(&grammar::FAIL);

/// What a duplicate gets.
pub(in crate::plan) const ON_DUPLICATE: [(&str, OnDuplicate); 3] =
    [("join", OnDuplicate::Join), ("skip", OnDuplicate::Skip), ("reject", OnDuplicate::Reject)];
/// What becomes of an activation that finds no place.
pub(in crate::plan) const WHEN_FULL: [(&str, WhenFull); 5] = [
    ("queue", WhenFull::Queue),
    ("drop", WhenFull::Drop),
    ("replace", WhenFull::Replace),
    ("coalesce", WhenFull::Coalesce),
    ("reject", WhenFull::Reject),
];
/// Whose events a trigger takes.
pub(in crate::plan) const MODES: [(&str, EventMode); 2] = [("direct", EventMode::Direct), ("observe", EventMode::Observe)];
/// After what nothing is tried again.
pub(in crate::plan) const STOP_AFTER: [(&str, bool); 1] = [("first_progress", true)];
/// The kinds of failures.
pub(in crate::plan) const FAIL_KINDS: [&str; FailureKind::ALL.len()] = {
    let mut kinds = [""; FailureKind::ALL.len()];
    let mut index = 0;
    while index < kinds.len() {
        kinds[index] = FailureKind::ALL[index].as_str();
        index += 1;
    }
    kinds
};
/// What `dedup.while` takes.
pub(in crate::plan) const DURATIONS_ANY: [Kind; 2] = [Kind::Words(&["running"]), Kind::Duration];
