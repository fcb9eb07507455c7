//! The tests of a file in the grammar.

use super::super::keys::FAIL_KINDS;
use super::{Entry, Kind, Names, TEXTS, Table, VALUES, may, must, or, table};

pub(in crate::plan) const TEST: [Entry; 13] = [
    must("name", Kind::Text, "What it shows, in a few words"),
    may("flow", Kind::Text, "The flow that `send` starts; without it the first"),
    may("files", TEXTS, "Other pipelines that are in force beside this one"),
    may("mocks", Kind::Map(Names::Fields, &MOCK), "What stands in for executors, or for a step by its id"),
    may("real", TEXTS, "Executors that run although they reach outside"),
    may("env", VARIABLES, "The environment variables that it sees"),
    may("secrets", VARIABLES, "The values of secrets, which are made up otherwise"),
    may("state", VALUES, "What fields of the state are at first"),
    may("send", Kind::Value, "The input that starts a run"),
    may("caller", Kind::Table(&CALLER_TABLE), "Who sends it; beside `send`"),
    may("steps", Kind::List(&Kind::Deed), "What is done, in the place of `send`"),
    may("expect", Kind::Table(&EXPECT_TABLE), "What must have come of it in the end"),
    may("crash_after", Kind::Text, "Kills the host once, right after this step is recorded as done"),
];

pub(super) const TEST_TABLE: Table = Table {
    one_of: &[&["send"], &["steps"]],
    beside: &[("caller", "send")],
    ..table("Test", "A test: what stands in, what is done, what must come of it", &TEST)
};

const VARIABLES: Kind = Kind::Map(Names::Fields, &Kind::Text);

/// One answer for every call, one for each call, or one for each attempt of a job.
const MOCK: Kind = Kind::Either(&[Kind::Table(&ANSWER_TABLE), Kind::Several(&Kind::Table(&ANSWER_TABLE)), Kind::Table(&ATTEMPTS_TABLE)]);

pub(in crate::plan) const ANSWER: [Entry; 6] = [
    may("output", Kind::Value, "The result; without it null"),
    may("fail", Kind::Table(&MOCK_FAIL_TABLE), "The failure"),
    may("hang", Kind::Truth, "Whether it never ends by itself"),
    may("delay", Kind::DurationOrNothing, "How long it takes"),
    may("progress", Kind::List(&Kind::Value), "What it tells meanwhile, at equal distances"),
    may("emit", Kind::List(&Kind::Map(Names::Fields, &Kind::Value)), "Events that it emits before it ends"),
];

pub(super) const ANSWER_TABLE: Table = Table {
    one_of: &[&["output"], &["fail"], &["hang"], &[]],
    ..table("Answer", "What a mock answers: `output`, `fail` or `hang`", &ANSWER)
};

pub(in crate::plan) const ATTEMPTS: [Entry; 1] =
    [must("attempts", Kind::Several(&Kind::Table(&ANSWER_TABLE)), "One answer for each attempt of a job; the last one stays")];

pub(super) const ATTEMPTS_TABLE: Table = table("Attempts", "A mock that answers each attempt of a job", &ATTEMPTS);

pub(in crate::plan) const MOCK_FAIL: [Entry; 5] = [
    or("kind", Kind::Words(&FAIL_KINDS), "failed", "What kind of failure it is"),
    may("code", Kind::Text, "A short word for programs"),
    or("message", Kind::Text, "the mock fails", "One sentence for people"),
    may("status", Kind::Whole(100), "The HTTP status, at most 599"),
    may("retry_after", Kind::DurationOrNothing, "The pause that it asks for"),
];

pub(super) const MOCK_FAIL_TABLE: Table = table("MockFail", "The failure of a mock", &MOCK_FAIL);

pub(in crate::plan) const CALLER: [Entry; 2] = [may("id", Kind::Text, "Who it is"), may("roles", TEXTS, "The roles that the caller has")];

pub(super) const CALLER_TABLE: Table = table("Caller", "Who asks, in a test", &CALLER);

/// What a test can do: exactly one of these in each of its steps.
pub(in crate::plan) const DEEDS: [Entry; 8] = [
    may("send", Kind::Value, "Starts a flow with this input and goes on"),
    may("emit", Kind::Map(Names::Fields, &Kind::Value), "Puts events on the bus"),
    may("advance", Kind::Duration, "Lets so much time pass"),
    may("settle", Kind::True, "Lets as much time pass as it takes until no run is under way"),
    may("cancel", Kind::Whole(0), "Cancels a run, by its number in `runs`"),
    may("reload", Kind::Either(&[Kind::True, Kind::Text]), "Puts another file in the place of this one; `true`, the same again"),
    may("restart", Kind::True, "Kills the host and starts it anew"),
    may("expect", Kind::Table(&EXPECT_TABLE), "Compares at this moment"),
];

/// Keys beside one of them.
pub(in crate::plan) const BESIDE_DEEDS: [Entry; 4] = [
    may("flow", Kind::Text, "The flow; without it the test's"),
    may("caller", Kind::Table(&CALLER_TABLE), "Who asks"),
    may("from", Kind::Text, "The pipeline that emits; without it this one"),
    or("refused", Kind::Truth, "false", "Whether the file must be refused"),
];

/// What can be expected of one run.
pub(in crate::plan) const OF_RUN: [Entry; 11] = [
    may("outcome", Kind::Words(&OUTCOMES), "How it ended, or what became of it at the door"),
    may("reason", Kind::Value, "Why it was cancelled"),
    may("reply", Kind::Value, "What the caller got"),
    may("error", Kind::Either(&[Kind::Table(&EXPECTED_ERROR_TABLE), Kind::Null]), "What it failed with"),
    may("steps", VALUES, "The outputs of steps that were done, by id"),
    may("degraded", Kind::Truth, "Whether a fallback stood in"),
    may("progress", Kind::List(&Kind::Value), "What was streamed to the caller"),
    may("input", Kind::Value, "The checked input"),
    may("state", VALUES, "Fields of the state"),
    may("state_history", Kind::Map(Names::Fields, &Kind::List(&Kind::Value)), "Each value that a field changed to"),
    may("undone", TEXTS, "The steps that were undone, in that order"),
];

/// What can be expected beside that of the whole test.
pub(in crate::plan) const OF_TEST: [Entry; 4] = [
    may("runs", Kind::List(&Kind::Table(&EXPECTED_RUN_TABLE)), "All runs, in the order in which they were asked for"),
    may(
        "calls",
        Kind::Either(&[
            Kind::Map(Names::Fields, &Kind::Whole(0)),
            Kind::List(&Kind::Either(&[Kind::Text, Kind::Map(Names::Fields, &Kind::Value)])),
        ]),
        "How often each executor or step was called, or every call in order",
    ),
    may("events", COUNTED, "The events that were emitted, by type"),
    may("bus", Kind::Map(Names::Fields, &COUNTED), "The same for each bus"),
];

/// So many events of a type, or their data.
const COUNTED: Kind = Kind::Map(Names::Fields, &Kind::Either(&[Kind::Whole(0), Kind::List(&Kind::Value)]));

/// What can be expected beside that in an entry of `runs`.
const IN_RUNS: [Entry; 2] = [may("flow", Kind::Value, "Its flow"), may("pipeline", Kind::Value, "Its pipeline")];

pub(in crate::plan) const EXPECT: [Entry; 15] = together(&OF_RUN, &OF_TEST);

pub(super) const EXPECT_TABLE: Table = table("Expect", "What must have come of a test; what is not written is free", &EXPECT);

pub(in crate::plan) const EXPECTED_RUN: [Entry; 13] = together(&OF_RUN, &IN_RUNS);

pub(super) const EXPECTED_RUN_TABLE: Table = table("ExpectedRun", "What must have come of one run", &EXPECTED_RUN);

pub(in crate::plan) const EXPECTED_ERROR: [Entry; 8] = [
    may("kind", Kind::Words(&FAIL_KINDS), "Its kind"),
    may("code", Kind::Value, "Its code"),
    may("message", Kind::Value, "What it says"),
    may("status", Kind::Value, "The HTTP status"),
    may("retry_after", Kind::Value, "The pause that was asked for, in seconds"),
    may("step", Kind::Value, "The step that failed"),
    may("retryable", Kind::Value, "Whether it may go well another time"),
    may("cause", Kind::Value, "What it came of"),
];

pub(super) const EXPECTED_ERROR_TABLE: Table = table("ExpectedError", "The failure of a run", &EXPECTED_ERROR);

/// How a run ends, or what becomes of it before it begins.
pub(in crate::plan) const OUTCOMES: [&str; 8] =
    ["succeeded", "failed", "cancelled", "timed_out", "parked", "running", "refused", "dropped"];

/// Both lists.
const fn together<const A: usize, const B: usize, const C: usize>(one: &[Entry; A], other: &[Entry; B]) -> [Entry; C] {
    let mut all = [may("", Kind::Null, ""); C];
    let mut index = 0;
    while index < C {
        all[index] = if index < A { one[index] } else { other[index - A] };
        index += 1;
    }
    all
}
