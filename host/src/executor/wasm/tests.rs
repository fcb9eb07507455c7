//! Tests of the home as a whole; the conformance suite in `tests/it` has what all homes share.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::*;
use crate::executor::host_api::HostCall;
use crate::model::fixture::{self, attempt};
use crate::model::grant::Limits;
use crate::model::job::Job;
use crate::model::port::{Attempt, Sleep};
use crate::model::secret::Secret;
use crate::model::time::Timestamp;
use crate::model::value::{Tree, Value};

/// A clock that stands still unless it is told otherwise; its waits end when it is past them, and nobody is woken.
#[derive(Default)]
pub(super) struct Still(AtomicU64);

impl Still {
    pub(super) fn advance(&self, by: Duration) {
        self.0.fetch_add(by.as_nanos() as u64, Ordering::Relaxed);
    }
}

impl Clock for Still {
    fn now(&self) -> Timestamp {
        Timestamp::from_nanos(self.0.load(Ordering::Relaxed))
    }

    fn sleep_until(&self, at: Timestamp) -> Sleep {
        if at <= self.now() { Box::pin(std::future::ready(())) } else { Box::pin(std::future::pending()) }
    }
}

/// A host that finds the same passages whatever it is asked, and has a configuration.
pub(super) struct Host(pub(super) Value);

impl HostApi for Host {
    fn sql_query<'a>(&'a self, _: Option<&'a str>, _: &'a str, _: &'a Value) -> HostCall<'a> {
        Box::pin(async { Ok(Value::from_text("[1]").expect("this is JSON")) })
    }
    fn sql_execute<'a>(&'a self, _: Option<&'a str>, _: &'a str, _: &'a Value) -> HostCall<'a> {
        Box::pin(async { Err(Failure::new(FailureKind::Denied, "read only")) })
    }
    fn index_search<'a>(&'a self, _: Option<&'a str>, query: &'a str, top_k: u32) -> HostCall<'a> {
        Box::pin(async move {
            let found = serde_json::json!([
                { "id": "b", "text": "two", "file": "x.md", "lines": "2", "heading": query, "score": 1.0 },
                { "id": "a", "text": "one", "file": "x.md", "lines": "1", "heading": top_k.to_string(), "score": 2.0 },
                { "id": "c", "text": "far", "file": "y.md", "lines": "7-9", "heading": null, "score": 0.1 },
            ]);
            Ok(Value::from(Tree::from(found)))
        })
    }
    fn index_put<'a>(&'a self, _: Option<&'a str>, _: &'a str, _: &'a str) -> HostCall<'a> {
        Box::pin(async { Ok(Value::null()) })
    }
    fn kv_get<'a>(&'a self, _: Option<&'a str>, _: &'a str) -> HostCall<'a> {
        Box::pin(async { Ok(Value::null()) })
    }
    fn kv_set<'a>(&'a self, _: Option<&'a str>, _: &'a str, _: &'a Value) -> HostCall<'a> {
        Box::pin(async { Ok(Value::null()) })
    }
    fn kv_delete<'a>(&'a self, _: Option<&'a str>, _: &'a str) -> HostCall<'a> {
        Box::pin(async { Ok(Value::from(Tree::Bool(true))) })
    }
    fn secret(&self, name: &str) -> Result<Secret, Failure> {
        Ok(Secret::new(name, "hunter2"))
    }
    fn config(&self) -> &Value {
        &self.0
    }
}

/// The folder for compiled code that all tests share, as all hosts of one user may.
fn compiled() -> PathBuf {
    std::env::temp_dir().join("pipehost-tests-compiled")
}

fn home() -> Wasm {
    let cache = compiled();
    Wasm::new(Settings { cache, clock: Arc::new(Still::default()) }).expect("this machine runs WebAssembly")
}

fn shipped(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

fn reference(path: PathBuf) -> ExecutorReference {
    ExecutorReference::new("p", "guest", Home::Wasm(path))
}

fn job(input: serde_json::Value) -> Arc<Job> {
    Arc::new(Job { executor: "guest".into(), ..fixture::job(Value::from(Tree::from(input))) })
}

fn written(name: &str, content: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let path = folder.path().join(name);
    std::fs::write(&path, content).expect("it is ours");
    (folder, path)
}

/// The problem of a file with this content.
fn problem_of(content: &[u8]) -> CatalogProblem {
    let (_folder, path) = written("guest.wasm", content);
    home().describe(&reference(path)).expect_err("this is no executor")
}

fn binary(text: &str) -> Vec<u8> {
    wat::parse_str(text).expect("the text is right")
}

#[test]
fn retrieve_says_what_it_is_and_imports_only_what_it_uses() {
    let path = shipped("plugins/retrieve/retrieve.wasm");
    let description = home().describe(&reference(path.clone())).expect("it is an executor");
    assert_eq!(description.name, "retrieve");
    assert_eq!(description.imports, ["pipehost:executor/log@0.1.0", "pipehost:executor/index@0.1.0"]);
    assert_eq!(description.abi.as_deref(), Some("pipehost:executor@0.1.0"));
    assert_eq!(description.wants.iter().map(|want| want.grant.as_str()).collect::<Vec<_>>(), ["index"]);
    assert_eq!(description.files.iter().map(|file| &file.path).collect::<Vec<_>>(), [&path]);
    assert_eq!(description.files[0].content.as_ref(), std::fs::read(&path).expect("it is there"));
    let top_k = description.input.as_ref().and_then(|input| input.field("top_k"));
    assert_eq!(top_k, Some(&crate::model::types::Type::Int));
}

#[tokio::test]
async fn retrieve_asks_for_the_words_and_merges_neighbours() {
    let reference = reference(shipped("plugins/retrieve/retrieve.wasm"));
    let executor = home().open(&reference, Arc::new(Host(Value::null()))).expect("it is an executor");
    let job = job(serde_json::json!({ "query": "How do retries work?", "top_k": 3 }));
    let output = executor.process(job, attempt()).await.expect("it finds something");
    let expected = r#"{"passages":[{"file":"x.md","heading":"6","id":"a","lines":"1-2","score":2.0,"text":"one\ntwo"}]}"#;
    assert_eq!(output.text(), expected);
}

#[tokio::test]
async fn one_home_serves_many_jobs_at_once() {
    let reference = reference(shipped("tests/guests/conformance/conformance.wasm"));
    let executor = home().open(&reference, Arc::new(Host(Value::null()))).expect("it is an executor");
    let jobs = (0..200).map(|number| {
        let executor = executor.clone();
        tokio::spawn(async move {
            let job = job(serde_json::json!({ "do": "echo", "value": number }));
            executor.process(job, attempt()).await.map(|value| value.tree().as_int())
        })
    });
    for (number, result) in futures_util::future::join_all(jobs).await.into_iter().enumerate() {
        assert_eq!(result.expect("no panic"), Ok(Some(number as i64)));
    }
}

#[test]
fn files_that_are_no_components_are_told_apart() {
    let home = home();
    let missing = home.describe(&reference("nowhere/x.wasm".into())).expect_err("there is none");
    assert_eq!(missing.code, "E0520");
    assert!(missing.message.contains("nowhere/x.wasm"), "{}", missing.message);
    let folder = home.describe(&reference(std::env::temp_dir())).expect_err("it is a folder");
    assert!(folder.message.ends_with("it is a folder"), "{}", folder.message);
    assert_eq!(problem_of(b"").code, "E0521");
    let text = problem_of(b"(component)");
    assert_eq!(text.code, "E0521");
    assert!(text.help.is_some_and(|help| help.contains("wasm-tools parse")));
    assert_eq!(problem_of(&binary("(module)")).code, "E0522");
    let mut torn = std::fs::read(shipped("plugins/retrieve/retrieve.wasm")).expect("it is committed");
    torn.truncate(torn.len() / 2);
    assert_eq!(problem_of(&torn).code, "E0523");
}

#[test]
fn a_component_for_another_version_names_both() {
    let problem = problem_of(&binary(r#"(component (import "pipehost:executor/run@0.9.0" (instance)))"#));
    assert_eq!(problem.code, "E0524");
    assert!(
        problem.message.contains("pipehost:executor@0.9.0") && problem.message.contains("pipehost:executor@0.1.0"),
        "{}",
        problem.message
    );
    assert!(problem.help.is_some_and(|help| help.contains("0.9.0")));
}

#[test]
fn imports_that_the_host_does_not_have_are_named() {
    let problem = problem_of(&binary(r#"(component (import "wasi:cli/environment@0.2.0" (instance)))"#));
    assert_eq!(problem.code, "E0525");
    assert!(problem.message.contains("wasi:cli/environment@0.2.0"), "{}", problem.message);
    let problem = problem_of(&binary(r#"(component (import "pipehost:executor/teleport@0.1.0" (instance)))"#));
    assert_eq!(problem.code, "E0525");
}

#[test]
fn components_that_export_something_else_are_no_executors() {
    let nothing = problem_of(&binary("(component)"));
    assert_eq!(nothing.code, "E0526");
    assert!(nothing.message.contains("does not export `describe`"), "{}", nothing.message);
    let wrong = r#"(component
        (core module $m (func (export "f")))
        (core instance $i (instantiate $m))
        (func $f (canon lift (core func $i "f")))
        (export "describe" (func $f))
        (export "process" (func $f)))"#;
    assert_eq!(problem_of(&binary(wrong)).code, "E0526");
}

#[tokio::test]
async fn a_kept_instance_is_thrown_away_with_its_failure() {
    let reference = ExecutorReference { reuse: true, ..reference(shipped("tests/guests/conformance/conformance.wasm")) };
    let executor = home().open(&reference, Arc::new(Host(Value::null()))).expect("it is an executor");
    let ask = |input: serde_json::Value| executor.process(job(input), attempt());
    for _ in 0..3 {
        assert!(ask(serde_json::json!({ "do": "echo", "value": 1 })).await.is_ok());
        let failure = ask(serde_json::json!({ "do": "trap" })).await.expect_err("it traps");
        assert_eq!((failure.kind, failure.code.as_deref()), (FailureKind::Bug, Some("trap")));
        assert!(failure.message.contains("`guest`") && failure.message.contains(&uuid::Uuid::nil().to_string()), "{}", failure.message);
    }
}

#[tokio::test]
async fn more_memory_than_the_pool_has_is_given_where_it_is_allowed() {
    let small = reference(shipped("tests/guests/conformance/conformance.wasm"));
    let large = ExecutorReference { limits: Limits { memory: 128 << 20, output: 128 << 20, ..Limits::default() }, ..small.clone() };
    let home = home();
    let input = || job(serde_json::json!({ "do": "output", "bytes": 20 << 20 }));
    let small = ExecutorReference { limits: Limits { output: 128 << 20, ..Limits::default() }, ..small };
    let executor = home.open(&small, Arc::new(Host(Value::null()))).expect("it is an executor");
    let failure = executor.process(input(), attempt()).await.expect_err("it needs more than 64 MiB");
    assert_eq!(failure.code.as_deref(), Some("limit_memory"), "{failure}");
    let executor = home.open(&large, Arc::new(Host(Value::null()))).expect("it is an executor");
    let output = executor.process(input(), attempt()).await.expect("it has room");
    assert_eq!(output.text().len(), (20 << 20) + 2);
}

/// The hostile guest, with `describe` beginning with this code.
fn hostile(describe: &str) -> (tempfile::TempDir, PathBuf) {
    let text = std::fs::read_to_string(shipped("tests/guests/hostile.wat")).expect("it is committed");
    written("hostile.wasm", &binary(&text.replace("(;DESCRIBE;)", describe)))
}

#[tokio::test]
async fn hostile_guests_are_stopped_by_name_and_the_next_job_runs() {
    let (_folder, path) = hostile("");
    let limits = Limits { events: 10, ..Limits::default() };
    for reuse in [false, true] {
        let reference = ExecutorReference { limits: limits.clone(), reuse, ..reference(path.clone()) };
        let executor = home().open(&reference, Arc::new(Host(Value::null()))).expect("it is an executor");
        for (letter, code) in [
            ("j", Some("contract")),
            ("u", Some("contract")),
            ("o", Some("contract")),
            ("r", Some("contract")),
            ("p", Some("contract")),
            ("z", Some("trap")),
            ("t", Some("limit_table")),
            ("e", Some("limit_events")),
            // A refused growth that the guest can live with is no failure.
            ("m", None),
            ("n", None),
        ] {
            let result = executor.process(job(serde_json::json!(letter)), attempt()).await;
            assert_eq!(result.as_ref().err().and_then(|failure| failure.code.as_deref()), code, "{letter}: {result:?}");
            if let Err(failure) = &result {
                let expected = if failure.code.as_deref().is_some_and(|code| code.starts_with("limit_")) {
                    FailureKind::Permanent
                } else {
                    FailureKind::Bug
                };
                assert_eq!(failure.kind, expected, "{letter}");
                assert!(failure.message.starts_with("executor `guest` (plugin ``) in job "), "{letter}: {failure}");
            }
            let next = executor.process(job(serde_json::json!("n")), attempt()).await;
            assert_eq!(next.map(|output| output.is_null()), Ok(true), "after {letter}");
        }
    }
}

#[test]
fn a_guest_that_hangs_or_traps_when_it_is_asked_what_it_is_says_so() {
    let (_folder, hangs) = hostile("(loop $ever (br $ever))");
    let problem = home().describe(&reference(hangs)).expect_err("it never says what it is");
    assert_eq!((problem.code, problem.message.ends_with("it does not come to an end")), ("E0527", true), "{problem:?}");
    let (_folder, traps) = hostile("unreachable");
    let problem = home().describe(&reference(traps)).expect_err("it traps");
    assert_eq!((problem.code, problem.message.contains("it trapped: ")), ("E0527", true), "{problem:?}");
    let (_folder, calls) = hostile("(call $emit (i32.const 1024) (i32.const 4) (i32.const 1024) (i32.const 4) (i32.const 3072))");
    assert!(home().describe(&reference(calls)).is_ok(), "a call is denied, which it may ignore");
}

#[tokio::test]
async fn the_wall_limit_is_the_clocks() {
    let clock = Arc::new(Still::default());
    let home = Wasm::new(Settings { cache: compiled(), clock }).expect("this machine runs WebAssembly");
    let limits = Limits { wall: Duration::ZERO, ..Limits::default() };
    let (_folder, hostile) = hostile("");
    // What it logs is dropped beyond its limit; one that logs without end is stopped as any other that never ends.
    for (path, input) in
        [(shipped("tests/guests/conformance/conformance.wasm"), serde_json::json!({ "do": "loop" })), (hostile, serde_json::json!("l"))]
    {
        let reference = ExecutorReference { limits: limits.clone(), ..reference(path) };
        let executor = home.open(&reference, Arc::new(Host(Value::null()))).expect("it is an executor");
        let failure = executor.process(job(input), attempt()).await.expect_err("it never ends");
        assert_eq!((failure.kind, failure.code.as_deref()), (FailureKind::Timeout, Some("limit_wall")));
    }
}

#[tokio::test]
async fn a_guest_sees_whether_it_is_cancelled_and_how_much_time_is_left() {
    let (_folder, path) = hostile("");
    let executor = home().open(&reference(path), Arc::new(Host(Value::null()))).expect("it is an executor");
    let ask = |letter: &str, attempt: Attempt| {
        let answer = executor.process(job(serde_json::json!(letter)), attempt);
        async { answer.await.map(|output| output.text().to_owned()) }
    };
    assert_eq!(ask("c", attempt()).await.as_deref(), Ok("0"));
    assert_eq!(ask("q", attempt()).await.as_deref(), Ok("null"));
    let cancelled = attempt();
    cancelled.cancel.cancel();
    assert_eq!(ask("c", cancelled).await.as_deref(), Ok("1"));
    let deadline = Some(Timestamp::EPOCH + Duration::from_millis(1_500));
    assert_eq!(ask("q", Attempt { deadline, ..attempt() }).await.as_deref(), Ok("1"));
}
