//! What is written of facts: short, and read back as it was.

use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::journal::conformance::began;
use crate::model::activation::RunOutcome;
use crate::model::event::{Caller, Causation, Scope};
use crate::model::failure::{Failure, FailureKind};
use crate::model::fixture;
use crate::model::id::JobId;
use crate::model::job::{CancelReason, JobOutcome, ResultSource};
use crate::model::record::{BlockNumber, LaneId, LanePurpose, LaneResult, Part, RefusedAnswer, StepNumber};
use crate::model::secret::Secret;
use crate::model::value::{Tree, Value};

const LANE: LaneId = LaneId(0);
const STEP: StepNumber = StepNumber(12);
const AT: Timestamp = Timestamp::from_nanos(1_795_309_626_954_695_000);

fn job() -> JobId {
    JobId::new(Uuid::from_u128(0x01a2))
}

fn run(number: u128) -> RunId {
    RunId::new(Uuid::from_u128(number))
}

fn failure(message: &str) -> Failure {
    Failure::new(FailureKind::Transient, message).with_code("odd").with_status(503).with_cause(Failure::new(FailureKind::Timeout, "late"))
}

fn event(value: &Value, whole: bool) -> Event {
    let plain = Event { data: value.clone(), ..fixture::event(9, "Told") };
    if !whole {
        return plain;
    }
    let caller = Caller { id: None, roles: vec!["clerk".to_owned()] };
    Event {
        caller,
        causation: Causation::Job(job()),
        scope: Scope::Named("trade".to_owned()),
        passed: vec![("p.main".to_owned(), 2)],
        ..plain
    }
}

fn part(value: &Value, whole: bool) -> Arc<Part> {
    let outputs = if whole { vec![(STEP, value.clone())] } else { Vec::new() };
    let locals = if whole { vec![("item \"1\"".to_owned(), value.clone())] } else { Vec::new() };
    Arc::new(Part { block: BlockNumber(3), input: value.clone(), outputs, locals })
}

fn beginning(value: &Value, whole: bool) -> Arc<Beginning> {
    let plain = Beginning { input: value.clone(), ..began(1, None) };
    if !whole {
        return Arc::new(plain);
    }
    Arc::new(Beginning {
        event: Some(event(value, whole)),
        trigger: value.clone(),
        caller: Caller { id: Some("ada".to_owned()), roles: Vec::new() },
        state_key: Some("k\n".to_owned()),
        deadline: Some(Timestamp::MAX),
        passed: vec![("p.main".to_owned(), u32::MAX)],
        parent: Some(run(7)),
        part: Some(part(value, whole)),
        retry_of: Some(run(8)),
        ..plain
    })
}

/// Facts of every kind that hold this value; with everything that may be absent, or without.
fn facts(value: &Value, whole: bool) -> Vec<Fact> {
    let (lane, step, at, job) = (LANE, STEP, AT, job());
    let value = || value.clone();
    let failure = failure(value().text());
    let event = event(&value(), whole);
    let outcome = if whole {
        JobOutcome::Failed { failure: failure.clone() }
    } else {
        JobOutcome::Succeeded { output: value(), from: ResultSource::Cache }
    };
    let parked = RunOutcome::Parked {
        because: Box::new(RunOutcome::Cancelled { reason: CancelReason::Event }),
        left: vec![("s".into(), failure.clone())],
    };
    let mut facts = vec![
        Fact::Queued(beginning(&value(), whole)),
        Fact::Began(beginning(&value(), whole)),
        Fact::LaneOpened { lane, purpose: LanePurpose::Item(300), block: BlockNumber(1), parent: whole.then_some((LaneId(7), step)) },
        Fact::StepSkipped { lane, step },
        Fact::StepDone { lane, step, output: value() },
        Fact::StepFailed { lane, step, failure: failure.clone() },
        Fact::StepHealed { lane, step, output: value() },
        Fact::HealFailed { lane, step, failure: failure.clone() },
        Fact::JobDispatched { lane, step, job, input: value(), at, deadline: whole.then_some(at) },
        Fact::JobJoined { job, leader: job },
        Fact::AttemptStarted { job, attempt: 11, at },
        Fact::Retrying { job, attempt: 1, failure: failure.clone(), at, due: Timestamp::EPOCH },
        Fact::FallbackBegan { job, failure: failure.clone(), at: whole.then_some(at) },
        Fact::JobEnded { job, outcome, events: if whole { vec![event.clone()] } else { Vec::new() }, at },
        Fact::Emitted { lane, step, events: vec![event.clone()] },
        Fact::ItemsTaken { lane, step, items: Arc::new(vec![value(), Value::null()]) },
        Fact::LaneEnded { lane, result: LaneResult::Succeeded(value()) },
        Fact::SleepBegan { lane, step, due: at },
        Fact::WaitBegan { lane, step, matching: if whole { vec![("request".to_owned(), value())] } else { Vec::new() }, at, due: at },
        Fact::Reminded { lane, step, reminder: 10, at: whole.then_some(at) },
        Fact::WaitEnded { lane, step, event: whole.then(|| Arc::new(event.clone())), at },
        Fact::AnswerRefused { lane, step, event: Arc::new(event), reason: RefusedAnswer::Guard },
        Fact::Dispatched { lane, step, run: run(3), part: part(&value(), whole) },
        Fact::UndoPlanned { lane, step, input: value() },
        Fact::UndoImpossible { lane, step, failure: failure.clone() },
        Fact::UndoDropped { lane, step },
        Fact::Replied { reply: value() },
        Fact::Unwinding { outcome: RunOutcome::TimedOut { failure }, at },
        Fact::Ended { outcome: if whole { parked } else { RunOutcome::Succeeded }, at },
        Fact::Resumed { at },
    ];
    facts.push(Fact::Migrated { revision: Digest::of(b"q"), facts: Arc::new(facts.clone()), at });
    facts
}

fn sealer() -> (Sealer, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let sealer = Sealer::of(folder.path(), Arc::new(|name| (name == "KEY").then(|| "known".to_owned()))).expect("it can be written to");
    (sealer, folder)
}

fn written(facts: Vec<Fact>, sealer: &Sealer) -> String {
    let append = Append::new(&Batch::of(run(1), 0, Arc::new(facts)), sealer).expect("it fits");
    match append.facts {
        Content::Here(text) | Content::File(_, text) => text,
    }
}

fn trees() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![
        Just(Tree::Null),
        any::<bool>().prop_map(Tree::Bool),
        any::<i64>().prop_map(Tree::Int),
        prop_oneof![Just(i64::MIN), Just(i64::MAX), Just(0), Just(9), Just(10), Just(-1)].prop_map(Tree::Int),
        any::<u64>().prop_map(|bits| Tree::Float(f64::from_bits(bits))),
        any::<i32>().prop_map(|number| Tree::Float(f64::from(number) / 100.0)),
        // Beyond whole numbers, and where a fraction has fifteen, sixteen and seventeen digits.
        prop_oneof![
            Just(u64::MAX as f64),
            Just(999_999_999_999_999.9),
            Just(123_456_789_012_345.0),
            Just(0.1 + 0.2),
            Just(1e-7),
            Just(-0.0)
        ]
        .prop_map(Tree::Float),
        ".{0,12}|[\\x00-\\x7f]{0,20}".prop_map(Tree::Text),
        Just(Tree::Secret(Secret::new("KEY", "known"))),
        ".{0,8}".prop_map(|value| Tree::Secret(Secret::given("password", value))),
    ];
    let leaf = leaf.prop_filter("nothing is equal to it", |tree| !matches!(tree, Tree::Float(number) if number.is_nan()));
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Tree::List),
            prop::collection::vec(("[$a-c\"\n]{0,3}|[$]sealed", inner), 0..4).prop_map(|fields| Tree::Map(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn facts_of_every_kind_with_any_value_come_back(tree in trees(), whole: bool) {
        let (sealer, _folder) = sealer();
        let facts = facts(&Value::from(tree), whole);
        let text = written(facts.clone(), &sealer);
        let back: Vec<Fact> = sealer.read(&text).map_err(|why| TestCaseError::fail(format!("{why}: {text}")))?;
        prop_assert_eq!(&back, &facts);
        prop_assert_eq!(serde_json::to_string(&back).ok(), serde_json::to_string(&facts).ok());
        // Each also stands for itself, as those who look for one fact read it.
        let raw: Vec<&serde_json::value::RawValue> = serde_json::from_str(&text).expect("it is JSON");
        prop_assert_eq!(raw.len(), facts.len());
    }
}

/// What a host of format 1 has written: everything by its name, what is absent too.
const SPELLED_OUT: &str = r#"[
{"fact":"began","run":"00000000-0000-0000-0000-000000000001","pipeline":"p","flow":"main","revision":"REVISION",
 "correlation_id":"00000000-0000-0000-0000-000000000001",
 "event":{"id":"00000000-0000-0000-0000-000000000009","type":"Told","source":"p","time":"1970-01-01T00:00:00Z",
  "correlation_id":"00000000-0000-0000-0000-000000000000","causation":{"run":"00000000-0000-0000-0000-000000000000"},
  "scope":{"private":"p"},"caller":{"id":null,"roles":[]},"passed":[],"data":null},
 "input":null,"trigger":null,"caller":{"id":null,"roles":[]},"state_key":null,"at":"1970-01-01T00:00:00.000000099Z","deadline":null,"passed":[],
 "parent":null,"part":null},
{"fact":"lane_opened","lane":0,"purpose":"main","block":0,"parent":null},
{"fact":"step_done","lane":0,"step":12,"output":null},
{"fact":"job_dispatched","lane":0,"step":12,"job":"00000000-0000-0000-0000-0000000001a2","input":null,"at":"2026-11-22T01:07:06.954695Z",
 "deadline":null},
{"fact":"job_ended","job":"00000000-0000-0000-0000-0000000001a2","outcome":{"outcome":"succeeded","output":null,"from":"executor"},"events":[],
 "at":"2026-11-22T01:07:06.954695Z"},
{"fact":"wait_began","lane":0,"step":12,"matching":[],"at":"2026-11-22T01:07:06.954695Z","due":"2026-11-22T01:07:06.954695Z"},
{"fact":"wait_ended","lane":0,"step":12,"event":null,"at":"2026-11-22T01:07:06.954695Z"},
{"fact":"undo_planned","lane":0,"step":12,"input":null},
{"fact":"replied","reply":null}
]"#;

/// The same as it is written now.
const SHORT: &str = r#"[
{"fact":"began","run":"00000000-0000-0000-0000-000000000001","pipeline":"p","flow":"main","revision":"REVISION",
"correlation_id":"00000000-0000-0000-0000-000000000001",
"event":{"id":"00000000-0000-0000-0000-000000000009","type":"Told","source":"p","time":"1970-01-01T00:00:00Z",
"correlation_id":"00000000-0000-0000-0000-000000000000","causation":{"run":"00000000-0000-0000-0000-000000000000"},
"scope":{"private":"p"}},"at":"1970-01-01T00:00:00.000000099Z"},
{"fact":"lane_opened","purpose":"main","block":0},
{"fact":"step_done","step":12},
{"fact":"job_dispatched","step":12,"job":"00000000-0000-0000-0000-0000000001a2","at":"2026-11-22T01:07:06.954695Z"},
{"fact":"job_ended","job":"00000000-0000-0000-0000-0000000001a2","outcome":{"outcome":"succeeded","output":null},
"at":"2026-11-22T01:07:06.954695Z"},
{"fact":"wait_began","step":12,"at":"2026-11-22T01:07:06.954695Z","due":"2026-11-22T01:07:06.954695Z"},
{"fact":"wait_ended","step":12,"at":"2026-11-22T01:07:06.954695Z"},
{"fact":"undo_planned","step":12},
{"fact":"replied"}
]"#;

#[test]
fn what_is_absent_is_left_out_and_read_as_before_where_it_is_spelled_out() {
    let (sealer, _folder) = sealer();
    let began = Beginning { event: Some(fixture::event(9, "Told")), ..began(1, None) };
    let revision = began.revision.to_string();
    let (lane, step, at, job, null) = (LANE, STEP, AT, job(), Value::null);
    let facts = vec![
        Fact::Began(Arc::new(began)),
        Fact::LaneOpened { lane, purpose: LanePurpose::Main, block: BlockNumber(0), parent: None },
        Fact::StepDone { lane, step, output: null() },
        Fact::JobDispatched { lane, step, job, input: null(), at, deadline: None },
        Fact::JobEnded { job, outcome: JobOutcome::Succeeded { output: null(), from: ResultSource::Executor }, events: Vec::new(), at },
        Fact::WaitBegan { lane, step, matching: Vec::new(), at, due: at },
        Fact::WaitEnded { lane, step, event: None, at },
        Fact::UndoPlanned { lane, step, input: null() },
        Fact::Replied { reply: null() },
    ];
    let [spelled_out, short] = [SPELLED_OUT, SHORT].map(|text| text.replace("REVISION", &revision));
    assert_eq!(sealer.read::<Vec<Fact>>(&spelled_out).expect("it was written so"), facts);
    assert_eq!(written(facts, &sealer), short.replace('\n', ""));
}

#[test]
fn one_fact_that_takes_too_much_is_refused_with_what_it_takes() {
    let (sealer, _folder) = sealer();
    let most = usize::try_from(MOST).expect("it is small");
    let [small, large] = [1, most].map(|length| Fact::Replied { reply: Value::string("x".repeat(length)) });
    let bytes = most as u64 + r#"{"fact":"replied","reply":""}"#.len() as u64;
    let refused = Append::new(&Batch::of(run(1), 0, Arc::new(vec![small, large])), &sealer).err();
    assert_eq!(refused, Some(StoreError::TooLarge { bytes, most: MOST }));
}
