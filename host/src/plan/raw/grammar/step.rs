//! The steps of a flow in the grammar: verbs, and what stands beside and inside them.

use super::super::keys::FAIL_KINDS;
use super::{Entry, ID, Kind, NAME, Names, RETRY_TABLE, TIME, Table, VALUES, may, must, or, table};

pub(in crate::plan) const STEP: [Entry; 3] = [
    may("id", ID, "Its name: its output is `steps.<id>`"),
    may("when", Kind::Condition, "Whether it is done at all"),
    may(
        "on_error",
        Kind::Either(&[Kind::Words(&["ignore"]), Kind::Steps]),
        "What heals its failure: `ignore`, or steps whose last output stands in",
    ),
];

pub(in crate::plan) const VERBS: [Entry; 12] = [
    may("run", Kind::Text, "Has an executor do something and awaits the result"),
    may("dispatch", Kind::Text, "The same without waiting; it outlives the run"),
    may("call", Kind::Text, "Runs a flow, `flow` or `pipeline.flow`, and awaits its reply"),
    may("emit", Kind::Some(Names::Events, &Kind::Value), "Emits events, each with its data"),
    may("wait", Kind::Table(&WAIT_TABLE), "Waits for an event"),
    may("switch", Kind::Several(&Kind::Table(&CASE_TABLE)), "Does the steps of the first case that is true"),
    may("parallel", Kind::Some(Names::Plain, &Kind::Steps), "Does branches at once"),
    may("each", Kind::Table(&EACH_TABLE), "Does steps for each item of a list"),
    may("set", Kind::Some(Names::Fields, &Kind::Value), "Sets fields of the state, as one change"),
    may("reply", Kind::Value, "Answers the caller"),
    may("fail", Kind::Either(&[Kind::Table(&FAIL_TABLE), Kind::Computed]), "Fails; `'${error}'` passes one on"),
    may("sleep", TIME, "Waits for some time"),
];

pub(in crate::plan) const RUN: [Entry; 10] = [
    may("with", Kind::Value, "The job's input"),
    may("policy", NAME, "The named policy whose layers it has"),
    may("emits", Kind::Event, "The event that its output becomes"),
    may("via", Kind::Words(&["outbox"]), "Keeps the event with what it tells of until everybody has it; of `sql.execute`, in its database"),
    may("order_key", Kind::Key, "Events of one key go out one after the other; beside `via`"),
    may("undo", Kind::Table(&UNDO_TABLE), "What takes it back if the run does not succeed; not in a flow's `on_error` and `finally`"),
    may("undo_on", Kind::Words(&["attempt"]), "Undoes it also when its outcome is unknown; beside `undo`"),
    may(
        "optimistic",
        Kind::Some(Names::Fields, &Kind::Value),
        "Fields of the state that are set while it runs, and taken back if it fails",
    ),
    or("stream", Kind::Truth, "false", "Whether each progress goes to whoever asked"),
    may("on_progress", Kind::SetSteps, "What each progress sets in the state"),
];

/// Keys beside verbs other than `run`.
pub(in crate::plan) const BESIDE: [Entry; 4] = [
    may("to", Kind::Value, "Where the event goes, as `{ room: NAME }`"),
    may("status", Kind::Value, "The HTTP status of the reply"),
    may("headers", VALUES, "The HTTP headers of the reply"),
    or(
        "join",
        Kind::Either(&[Kind::Words(&["all", "first"]), Kind::Table(&JOIN_TABLE)]),
        "all",
        "How many branches have to succeed: `all`, the `first`, or a quorum",
    ),
];

pub(in crate::plan) const JOIN: [Entry; 1] = [must("quorum", Kind::Whole(1), "So many branches, at most all of them")];

pub(super) const JOIN_TABLE: Table = table("Join", "How many branches of a `parallel` have to succeed", &JOIN);

pub(in crate::plan) const FAIL: [Entry; 3] = [
    or("kind", Kind::Words(&FAIL_KINDS), "failed", "What kind of failure it is"),
    may("code", Kind::FixedText, "A short word for programs"),
    must("message", Kind::FixedText, "One sentence for people"),
];

pub(super) const FAIL_TABLE: Table = table("Fail", "A failure", &FAIL);

/// Keys of what undoes a step: those of a step with `run` that make sense when nobody waits for its output.
pub(in crate::plan) const UNDO: [Entry; 5] = [
    must("run", Kind::Text, "The executor that takes it back"),
    may("with", Kind::Value, "The job's input, which is fixed when the step ends; it may read the step's own output"),
    may("retry", Kind::Table(&RETRY_TABLE), "Trying again; absent is never"),
    may("timeout", Kind::Duration, "The time for one attempt"),
    // Not a default to be written out: retries that are longer are cut off by it, and beside a written deadline they are refused.
    may("deadline", Kind::Duration, "The time for it with all its retries; without it 30s"),
];

pub(super) const UNDO_TABLE: Table = table("Undo", "What takes back what a step did", &UNDO);

const EVENT: Entry = must("event", Kind::Either(&[Kind::Event, Kind::Several(&Kind::Event)]), "The type of the event, or several");
const MATCH: Entry = must("match", Kind::Some(Names::Fields, &Kind::Key), "Fields of the event's data with what they must equal");

/// How an event is known that a run listens for.
pub(in crate::plan) const LISTEN: [Entry; 2] = [EVENT, MATCH];

pub(in crate::plan) const WAIT: [Entry; 6] = [
    EVENT,
    MATCH,
    may("where", Kind::Condition, "What must hold of the event, or it is refused"),
    must("timeout", TIME, "For how long"),
    must("on_timeout", Kind::Steps, "What is done if nothing came"),
    may("remind", Kind::Table(&REMIND_TABLE), "What is done while nothing comes"),
];

pub(super) const WAIT_TABLE: Table = table("Wait", "What a step waits for", &WAIT);

pub(in crate::plan) const REMIND: [Entry; 2] = [
    must("after", Kind::Several(&Kind::Duration), "How long after the wait began, one after the other"),
    must("steps", Kind::Steps, "What is done each time"),
];

pub(super) const REMIND_TABLE: Table = table("Remind", "Reminders of a wait", &REMIND);

pub(in crate::plan) const CASE: [Entry; 3] = [
    may("when", Kind::Condition, "When it is taken"),
    may("steps", Kind::Steps, "Its steps"),
    may("else", Kind::Steps, "The steps if no other case is taken; it stands alone and last"),
];

pub(super) const CASE_TABLE: Table =
    Table { one_of: &[&["when", "steps"], &["else"]], ..table("Case", "A case of a `switch`: `when` and `steps`, or `else`", &CASE) };

pub(in crate::plan) const EACH: [Entry; 4] = [
    must("in", Kind::Expression, "An expression for a list, or for a number of rounds"),
    or("as", ID, "item", "The name of the item in expressions"),
    or("max_concurrent", Kind::Whole(1), "1", "So many items at a time"),
    must("steps", Kind::Steps, "What is done for each"),
];

pub(super) const EACH_TABLE: Table = table("Each", "Steps for each item of a list", &EACH);
