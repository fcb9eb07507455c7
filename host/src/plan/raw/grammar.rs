//! The grammar as a table: each key with the kind of its value, its default, and one sentence. The keys that readers know (`keys`), the
//! schema for editors, the reference page and the expanded file are all made of it, so that they cannot say different things.

pub(in crate::plan) mod cases;
mod step;

use super::keys::{DURATIONS_ANY, MODES, ON_DUPLICATE, STOP_AFTER, WHEN_FULL, words};

pub(in crate::plan) use step::{BESIDE, CASE, EACH, FAIL, JOIN, LISTEN, REMIND, RUN, STEP, UNDO, VERBS, WAIT};

/// A key of a map.
#[derive(Clone, Copy, Debug)]
pub(in crate::plan) struct Entry {
    /// How it is written.
    pub(in crate::plan) name: &'static str,
    /// What its value is.
    pub(in crate::plan) kind: Kind,
    /// Whether it has to be there.
    pub(in crate::plan) required: bool,
    /// What it is if it is not written, as YAML.
    pub(in crate::plan) default: Option<&'static str>,
    /// What it is for, in one sentence.
    pub(in crate::plan) about: &'static str,
}

/// What a value is.
#[derive(Clone, Copy, Debug)]
pub(in crate::plan) enum Kind {
    /// Text without `${…}`.
    Text,
    /// Text that may hold `${env.…}` and `${secret.…}`.
    FixedText,
    /// A value that is computed: text with `${…}`.
    Computed,
    /// The name of something: small letters, digits and `_`; in dashed ones `-` too.
    Name { dashed: bool },
    /// The type of an event.
    Event,
    /// One of these words.
    Words(&'static [&'static str]),
    /// A duration with its unit, longer than nothing.
    Duration,
    /// A duration with its unit, or `0s`.
    DurationOrNothing,
    /// A size with its unit.
    Size,
    /// A whole number from this up.
    Whole(u32),
    /// A number from 1 up.
    Factor,
    /// `true` or `false`.
    Truth,
    /// `true`, and nothing else.
    True,
    /// One bare expression that is true or false.
    Condition,
    /// One bare expression.
    Expression,
    /// Any value; texts in it may hold `${…}`.
    Value,
    /// A value, or a list of them, that tells one from another; never null.
    Key,
    /// The type of a value.
    Type,
    /// A list of at least one step.
    Steps,
    /// A list of at least one step that sets fields of the state.
    SetSteps,
    /// What starts a flow.
    Trigger,
    /// A map of these keys.
    Table(&'static Table),
    /// A map from names to such values.
    Map(Names, &'static Kind),
    /// The same, with at least one name.
    Some(Names, &'static Kind),
    /// A list of such values.
    List(&'static Kind),
    /// The same, with at least one.
    Several(&'static Kind),
    /// An action of a test.
    Deed,
    /// One of these.
    Either(&'static [Kind]),
    /// Nothing.
    Null,
    /// The map `{}`.
    Empty,
}

/// How the keys of a map of names are spelled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::plan) enum Names {
    /// As the fields of a record: in any way.
    Fields,
    /// Small letters, digits and `_`.
    Plain,
    /// Small letters, digits, `_` and `-`.
    Dashed,
    /// As the types of events.
    Events,
}

/// A map with known keys.
#[derive(Debug)]
pub(in crate::plan) struct Table {
    /// What it is called in the schema and the reference.
    pub(in crate::plan) title: &'static str,
    /// What it is, in one sentence.
    pub(in crate::plan) about: &'static str,
    /// Its keys.
    pub(in crate::plan) keys: &'static [Entry],
    /// Keys that exclude each other: one of these groups has to be there whole, and no key of the others. An empty group is none of them.
    pub(in crate::plan) one_of: &'static [&'static [&'static str]],
    /// Keys that stand only beside another: the key, and the other.
    pub(in crate::plan) beside: &'static [(&'static str, &'static str)],
    /// What a number in its place stands for: the value of this key.
    pub(in crate::plan) short: Option<&'static str>,
}

const fn may(name: &'static str, kind: Kind, about: &'static str) -> Entry {
    Entry { name, kind, required: false, default: None, about }
}

const fn must(name: &'static str, kind: Kind, about: &'static str) -> Entry {
    Entry { name, kind, required: true, default: None, about }
}

const fn or(name: &'static str, kind: Kind, default: &'static str, about: &'static str) -> Entry {
    Entry { name, kind, required: false, default: Some(default), about }
}

const fn table(title: &'static str, about: &'static str, keys: &'static [Entry]) -> Table {
    Table { title, about, keys, one_of: &[], beside: &[], short: None }
}

const NAME: Kind = Kind::Name { dashed: true };
const ID: Kind = Kind::Name { dashed: false };
const TEXTS: Kind = Kind::List(&Kind::Text);
const NAMES: Kind = Kind::List(&NAME);
const EVENTS: Kind = Kind::List(&Kind::Event);
const VALUES: Kind = Kind::Map(Names::Fields, &Kind::Value);
/// A duration, or what gives one.
const TIME: Kind = Kind::Either(&[Kind::Duration, Kind::Computed]);

pub(in crate::plan) const FILE: [Entry; 13] = [
    must("pipeline", NAME, "The pipeline's name; one file is one pipeline"),
    may("library", NAME, "The name of a file of policies, executors, events and resources for others, in the place of `pipeline`"),
    may("description", Kind::Text, "What it is for, for people"),
    may("import", TEXTS, "Libraries whose declarations can be used here"),
    may("env", TEXTS, "The only environment variables that the file may read"),
    may("resources", Kind::Map(Names::Dashed, &Kind::Table(&RESOURCE_TABLE)), "What the grants of executors name"),
    or("bus", Kind::Table(&BUS_TABLE), "{}", "Who sees the events of this pipeline"),
    may(
        "events",
        Kind::Map(Names::Events, &Kind::Either(&[Kind::Type, Kind::Null])),
        "The events that it emits, each with the type of its data",
    ),
    may("executors", Kind::Map(Names::Dashed, &Kind::Table(&EXECUTOR_TABLE)), "What does the work of its steps"),
    may("policies", Kind::Map(Names::Dashed, &Kind::Table(&POLICY_TABLE)), "Policies under a name, for several steps"),
    may("state", Kind::Table(&STATE_TABLE), "What it remembers between runs"),
    may("flows", Kind::Map(Names::Plain, &Kind::Table(&FLOW_TABLE)), "Its flows; a file with one flow may have that one's keys at the top"),
    may("tests", Kind::List(&Kind::Table(&cases::TEST_TABLE)), "Tests of the pipeline"),
];

pub(in crate::plan) const FLOW: [Entry; 11] = [
    must("trigger", Kind::Either(&[Kind::Trigger, Kind::Several(&Kind::Trigger)]), "What starts a run"),
    may("input", Kind::Map(Names::Fields, &Kind::Type), "What a run takes; without it, what the trigger gives"),
    must("steps", Kind::Steps, "What a run does, one step after the other"),
    may("on_error", Kind::Steps, "What is done when a step has failed for good; it does not heal the run"),
    may("finally", Kind::Steps, "What is done at the end of every run"),
    may("deadline", Kind::Duration, "The time for a whole run"),
    or("concurrency", Kind::Table(&CONCURRENCY_TABLE), "{}", "How many runs at once, and what becomes of one more"),
    may("idempotency", Kind::Table(&IDEMPOTENCY_TABLE), "Gives the first result to a repeated request"),
    or("durable", Kind::Truth, "true", "Whether its runs are journaled"),
    may("state_key", Kind::Key, "Which state of the pipeline a run has; without it all have one"),
    may(
        "cancel_on",
        Kind::Either(&[Kind::Table(&CANCEL_ON_TABLE), Kind::List(&Kind::Table(&CANCEL_ON_TABLE))]),
        "An event that cancels a run, or several",
    ),
];

pub(in crate::plan) const FLOW_TABLE: Table = table("Flow", "A trigger and its steps", &FLOW);

pub(in crate::plan) const IDEMPOTENCY: [Entry; 2] = [
    must("key", Kind::Key, "What tells one request from another"),
    or("retention", Kind::Duration, "24h", "How long the first result answers repeats"),
];

const IDEMPOTENCY_TABLE: Table = table("Idempotency", "How a repeated request gets the first result", &IDEMPOTENCY);

const CANCEL_ON_TABLE: Table = table("CancelOn", "An event that cancels a run", &LISTEN);

/// Keys of a library: those of a file that belong to no flow.
pub(in crate::plan) const LIBRARY: [&str; 8] = ["library", "description", "import", "env", "resources", "events", "executors", "policies"];

pub(in crate::plan) const RESOURCE: [Entry; 4] = [
    may("sqlite", Kind::FixedText, "A SQLite file beneath DATA/PIPELINE/"),
    may("kv", Kind::FixedText, "A key-value store's file beneath DATA/PIPELINE/"),
    may(
        "index",
        Kind::Either(&[Kind::FixedText, Kind::Empty]),
        "An index of the files beside the YAML that match the pattern, which it follows; `{}` is one of what pipelines put in",
    ),
    may("folder", Kind::FixedText, "A folder beside the pipeline's file"),
];

const RESOURCE_TABLE: Table = Table {
    title: "Resource",
    about: "A database, store, index or folder",
    keys: &RESOURCE,
    one_of: &[&["sqlite"], &["kv"], &["index"], &["folder"]],
    beside: &[],
    short: None,
};

pub(in crate::plan) const BUS: [Entry; 2] = [
    or("scope", NAME, "private", "`private`, `global`, or a name that the pipelines share which name it"),
    may("exports", EVENTS, "The only events that go to the global bus as well"),
];

const BUS_TABLE: Table = table("Bus", "The pipeline's bus", &BUS);

pub(in crate::plan) const EXECUTOR: [Entry; 8] = [
    may("wasm", Kind::FixedText, "A WASM component's file, relative to the YAML"),
    may("rhai", Kind::FixedText, "A Rhai script's file, relative to the YAML"),
    may("script", Kind::FixedText, "A Rhai script, inline"),
    may("builtin", Kind::FixedText, "A built-in by its dotted name, as `llm.chat`"),
    may("config", Kind::Value, "Its settings, fixed when the file is loaded"),
    may("grants", Kind::Table(&GRANTS_TABLE), "What it may use; what is not granted is denied"),
    or("limits", Kind::Table(&LIMITS_TABLE), "{}", "How much one job of it may use"),
    or("reuse", Kind::Truth, "false", "Whether a live instance serves several jobs"),
];

const EXECUTOR_TABLE: Table = Table {
    title: "Executor",
    about: "What handles jobs: exactly one of `wasm`, `rhai`, `script` and `builtin`",
    keys: &EXECUTOR,
    one_of: &[&["wasm"], &["rhai"], &["script"], &["builtin"]],
    beside: &[],
    short: None,
};

pub(in crate::plan) const GRANTS: [Entry; 10] = [
    may("http", Kind::List(&Kind::FixedText), "Origins that it may connect to, as `https://api.example.com`"),
    may("mail", Kind::List(&Kind::FixedText), "Servers that it may hand mail to, as `mail.example.com:587`"),
    may("sql", NAMES, "Databases that it may read and write"),
    may("kv", NAMES, "Key-value stores that it may read and write"),
    may("index", NAMES, "Indexes that it may search and add to"),
    may("llm", NAMES, "Executors of a language model that it may ask"),
    may("secrets", TEXTS, "Secrets that it may read"),
    may("env", TEXTS, "Environment variables that it may read, of those that `env` lists"),
    may("files", NAMES, "Folders that it may read and write"),
    may("emit", EVENTS, "Events that it may emit"),
];

const GRANTS_TABLE: Table = table("Grants", "What an executor may use", &GRANTS);

pub(in crate::plan) const LIMITS: [Entry; 8] = [
    or("memory", Kind::Size, "64MiB", "Memory of a guest, or of a script's values"),
    or("wall", Kind::Duration, "5m", "The time for one job with all that it waits for"),
    or("output", Kind::Size, "16MiB", "Its output, as JSON"),
    or("events", Kind::Whole(1), "1000", "Events that it emits in one attempt"),
    or("log", Kind::Size, "64KiB", "Text that it logs"),
    or("operations", Kind::Whole(1), "50000000", "Operations of a script"),
    or("call_depth", Kind::Whole(1), "64", "How deep a script's calls may nest"),
    or("stack", Kind::Size, "512KiB", "A guest's stack"),
];

const LIMITS_TABLE: Table = table("Limits", "How much one job of an executor may use", &LIMITS);

pub(in crate::plan) const LAYERS: [Entry; 9] = [
    may("fallback", Kind::Table(&FALLBACK_TABLE), "What stands in for a result that could not be had"),
    may("dedup", Kind::Table(&DEDUP_TABLE), "One of several equal jobs at a time"),
    may("cache", Kind::Table(&CACHE_TABLE), "A result kept for some time"),
    may("deadline", Kind::Duration, "The time for the step with all its retries"),
    may("retry", Kind::Table(&RETRY_TABLE), "Trying again; absent is never"),
    may("breaker", Kind::Table(&BREAKER_TABLE), "Not calling for a while what keeps failing"),
    may("rate_limit", Kind::Table(&RATE_LIMIT_TABLE), "So many calls in so much time"),
    may("bulkhead", Kind::Table(&BULKHEAD_TABLE), "So many calls at once"),
    may("timeout", Kind::Duration, "The time for one attempt"),
];

const POLICY_TABLE: Table =
    table("Policy", "The layers round a call, outermost first; beside a step each replaces that layer of its named policy", &LAYERS);

pub(in crate::plan) const FALLBACK: [Entry; 3] = [
    may("value", Kind::Value, "The value that stands in"),
    may("steps", Kind::Steps, "Steps whose last output stands in"),
    may("when", Kind::Condition, "For which failures; without it for all but cancelled, invalid, bug and a rejected duplicate"),
];

const FALLBACK_TABLE: Table = Table {
    title: "Fallback",
    about: "What stands in, either a value or steps",
    keys: &FALLBACK,
    one_of: &[&["value"], &["steps"]],
    beside: &[],
    short: None,
};

pub(in crate::plan) const DEDUP: [Entry; 3] = [
    must("key", Kind::Key, "What tells one job from another"),
    or(
        "while",
        Kind::Either(&DURATIONS_ANY),
        "running",
        "How long the key is held: `running`, until the job ends; a time, a success so long",
    ),
    or("on_duplicate", Kind::Words(&words(&ON_DUPLICATE)), "join", "What a duplicate gets: the other's result, null, or a refusal"),
];

const DEDUP_TABLE: Table = table("Dedup", "One of several equal jobs at a time", &DEDUP);

pub(in crate::plan) const CACHE: [Entry; 5] = [
    must("key", Kind::Key, "What tells one entry from another"),
    must("ttl", Kind::Duration, "How long an entry is fresh"),
    or("stale", Kind::DurationOrNothing, "0s", "How long after that it is still served while a new one is fetched"),
    may("tags", Kind::Either(&[Kind::List(&Kind::Value), Kind::FixedText]), "Words by which entries can be invalidated together"),
    or("max_entries", Kind::Whole(1), "1000", "How many entries at most; the least recently used goes"),
];

const CACHE_TABLE: Table = table("Cache", "A result kept for some time", &CACHE);

pub(in crate::plan) const RETRY: [Entry; 7] = [
    or("max_retries", Kind::Whole(0), "3", "Retries after the first attempt: 3 make 4 attempts"),
    or("base_delay", Kind::DurationOrNothing, "1s", "The first wait"),
    or("max_delay", Kind::DurationOrNothing, "30s", "The longest wait"),
    or("multiplier", Kind::Factor, "2", "What each wait is multiplied by for the next"),
    or("jitter", Kind::Truth, "false", "Whether a wait is drawn between nothing and itself"),
    or("should_retry", Kind::Condition, "error.retryable", "Which failures are tried again"),
    may("stop_after", Kind::Words(&words(&STOP_AFTER)), "`first_progress`: no retry once progress was told"),
];

const RETRY_TABLE: Table = Table { short: Some("max_retries"), ..table("Retry", "Trying again; a number alone is `max_retries`", &RETRY) };

pub(in crate::plan) const BREAKER: [Entry; 5] = [
    or("failures", Kind::Whole(1), "5", "So many failures inside the window open it"),
    or("window", Kind::Duration, "60s", "The window"),
    or("cooldown", Kind::Duration, "30s", "How long it stays open before it tries"),
    or("half_open", Kind::Whole(1), "1", "How many calls it lets through to try"),
    may("probe", Kind::Table(&PROBE_TABLE), "What is asked while it is open, in the place of such calls"),
];

pub(in crate::plan) const PROBE: [Entry; 3] = [
    must("run", Kind::Text, "The executor that is asked; its success closes the breaker"),
    may("with", Kind::Value, "What it is given, fixed when the file is loaded"),
    must("every", Kind::Duration, "How often it is asked, and how long it may take"),
];

const PROBE_TABLE: Table = table("Probe", "What is asked while a breaker is open", &PROBE);

const BREAKER_TABLE: Table = table("Breaker", "Not calling for a while what keeps failing", &BREAKER);

pub(in crate::plan) const RATE_LIMIT: [Entry; 4] = [
    must("limit", Kind::Whole(1), "So many calls"),
    must("per", Kind::Duration, "In so much time"),
    may("burst", Kind::Whole(1), "So many at once after a quiet time; without it as many as `limit`"),
    or("max_wait", Kind::DurationOrNothing, "0s", "How long a call may wait for its turn"),
];

const RATE_LIMIT_TABLE: Table = table("RateLimit", "So many calls in so much time", &RATE_LIMIT);

pub(in crate::plan) const BULKHEAD: [Entry; 3] = [
    must("max_concurrent", Kind::Whole(1), "So many calls at once"),
    or("max_queue", Kind::Whole(0), "0", "So many waiting"),
    or("max_wait", Kind::DurationOrNothing, "0s", "How long a call may wait for its place"),
];

const BULKHEAD_TABLE: Table = table("Bulkhead", "So many calls at once", &BULKHEAD);

pub(in crate::plan) const STATE: [Entry; 4] = [
    may("initial", VALUES, "The fields and what they are at first"),
    may("types", Kind::Map(Names::Fields, &Kind::Type), "What the fields must be, where the first value does not say it"),
    may("public", TEXTS, "The fields that clients may see"),
    or("reset", Kind::Truth, "false", "Whether a reload that loses or retypes fields may begin every state anew"),
];

const STATE_TABLE: Table = table("State", "What a pipeline remembers between runs", &STATE);

pub(in crate::plan) const CONCURRENCY: [Entry; 4] = [
    may("key", Kind::Key, "What the runs are counted by; without it all are counted together"),
    or("max_concurrent", Kind::Whole(1), "256", "So many runs at once, for each key"),
    or("max_queue", Kind::Whole(0), "1024", "So many waiting, for each key"),
    or("when_full", Kind::Words(&words(&WHEN_FULL)), "queue", "What becomes of one more"),
];

const CONCURRENCY_TABLE: Table = table("Concurrency", "How many runs at once", &CONCURRENCY);

pub(in crate::plan) const TRIGGERS: [Entry; 7] = [
    may("stdin", Kind::Words(&["line"]), "Each line of the standard input"),
    may("http", Kind::Text, "Requests of this method and path"),
    may("websocket", Kind::Text, "Messages at this path"),
    may("event", Kind::Either(&[Kind::Event, EVENTS]), "Events of this type, or of one of these"),
    may("schedule", Kind::Value, "Points in time"),
    may("files", Kind::Text, "Files that match this pattern"),
    may("manual", Kind::Null, "By name: `call`, `pipehost send`, a test's `send`"),
];

/// Keys beside `event`.
pub(in crate::plan) const EVENT_TRIGGER: [Entry; 1] =
    [or("mode", Kind::Words(&words(&MODES)), "observe", "Whose events: this pipeline's own, `direct`, or those of others, `observe`")];

/// Every table beneath the file, in the order of the reference.
pub(in crate::plan) static TABLES: [&Table; 34] = [
    &FLOW_TABLE,
    &step::WAIT_TABLE,
    &step::REMIND_TABLE,
    &step::CASE_TABLE,
    &step::JOIN_TABLE,
    &step::EACH_TABLE,
    &step::FAIL_TABLE,
    &step::UNDO_TABLE,
    &CONCURRENCY_TABLE,
    &IDEMPOTENCY_TABLE,
    &CANCEL_ON_TABLE,
    &STATE_TABLE,
    &BUS_TABLE,
    &RESOURCE_TABLE,
    &EXECUTOR_TABLE,
    &GRANTS_TABLE,
    &LIMITS_TABLE,
    &POLICY_TABLE,
    &FALLBACK_TABLE,
    &DEDUP_TABLE,
    &CACHE_TABLE,
    &RETRY_TABLE,
    &BREAKER_TABLE,
    &PROBE_TABLE,
    &RATE_LIMIT_TABLE,
    &BULKHEAD_TABLE,
    &cases::TEST_TABLE,
    &cases::ANSWER_TABLE,
    &cases::ATTEMPTS_TABLE,
    &cases::MOCK_FAIL_TABLE,
    &cases::CALLER_TABLE,
    &cases::EXPECT_TABLE,
    &cases::EXPECTED_RUN_TABLE,
    &cases::EXPECTED_ERROR_TABLE,
];
