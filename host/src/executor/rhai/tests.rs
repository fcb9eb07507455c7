//! What is peculiar to scripts: the conformance suite of all homes is in `tests/it/conformance`.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rhai::Dynamic;

use super::*;
use crate::executor::host_api::HostCall;
use crate::model::cancel::CancelSignal;
use crate::model::executor::Home;
use crate::model::failure::{Failure, FailureKind};
use crate::model::fixture;
use crate::model::grant::Limits;
use crate::model::happening::LogLevel;
use crate::model::id::EventType;
use crate::model::port::{Attempt, JobChannel, Sleep};
use crate::model::secret::Secret;
use crate::model::time::Timestamp;
use crate::model::value::{Tree, Value};

/// A clock that stands, or goes on by so many nanoseconds each time that it is looked at.
struct Clicking {
    now: AtomicU64,
    each: u64,
}

impl Clock for Clicking {
    fn now(&self) -> Timestamp {
        Timestamp::from_nanos(self.now.fetch_add(self.each, Ordering::Relaxed))
    }

    fn sleep_until(&self, _: Timestamp) -> Sleep {
        Box::pin(std::future::pending())
    }
}

/// A host whose databases never answer, which has no stores, and whose one secret is KEY.
struct Host(Value);

impl HostApi for Host {
    fn sql_query<'a>(&'a self, _: Option<&'a str>, _: &'a str, _: &'a Value) -> HostCall<'a> {
        Box::pin(std::future::pending())
    }
    fn sql_execute<'a>(&'a self, database: Option<&'a str>, statement: &'a str, parameters: &'a Value) -> HostCall<'a> {
        let heard = format!("{database:?} {statement} {}", parameters.text());
        Box::pin(async move { Ok(Value::string(heard)) })
    }
    fn index_search<'a>(&'a self, index: Option<&'a str>, query: &'a str, top_k: u32) -> HostCall<'a> {
        let heard = format!("{index:?} {query} {top_k}");
        Box::pin(async move { Ok(Value::string(heard)) })
    }
    fn secret(&self, name: &str) -> Result<Secret, Failure> {
        match name {
            "KEY" => Ok(Secret::new("KEY", "hunter2")),
            _ => Err(Failure::new(FailureKind::Denied, format!("the secret {name} is not granted"))),
        }
    }
    fn config(&self) -> &Value {
        &self.0
    }
}

/// Writes down what a script tells.
#[derive(Default)]
struct Told(Mutex<Vec<String>>);

impl Told {
    fn add(&self, line: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }

    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl JobChannel for Told {
    fn progress(&self, progress: Value) {
        self.add(format!("progress {}", progress.text()));
    }
    fn emit(&self, event_type: EventType, data: Value) -> Result<(), Failure> {
        self.add(format!("emit {event_type} {}", data.text()));
        Ok(())
    }
    fn log(&self, level: LogLevel, message: String) {
        self.add(format!("{level:?} {message}"));
    }
}

fn reference(home: Home) -> ExecutorReference {
    let limits = Limits { operations: 1_000_000, memory: 1 << 20, output: 1 << 20, ..Limits::default() };
    ExecutorReference { limits, ..ExecutorReference::new("p", "x", home) }
}

fn inline(text: &str) -> Home {
    Home::Script { text: text.into(), file: PathBuf::from("some.yaml"), first_line: 10 }
}

fn conformance() -> Home {
    Home::Rhai(PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/guests/conformance.rhai")))
}

struct Bench {
    home: Rhai,
    executor: Arc<dyn Executor>,
    told: Arc<Told>,
    cancel: CancelSignal,
}

impl Bench {
    fn of(reference: &ExecutorReference, each: u64) -> Self {
        let home = Rhai::new(Arc::new(Clicking { now: AtomicU64::new(0), each }));
        let config = Value::from_text(r#"{"greeting":"hi"}"#).expect("this is JSON");
        let executor = home.open(reference, Arc::new(Host(config))).unwrap_or_else(|problem| panic!("{problem:?}"));
        Self { home, executor, told: Arc::default(), cancel: CancelSignal::new() }
    }

    fn new(script: &str) -> Self {
        Self::of(&reference(inline(script)), 0)
    }

    fn conformance() -> Self {
        Self::of(&reference(conformance()), 0)
    }

    fn process(&self, input: &str, deadline: Option<Timestamp>) -> crate::model::port::Processing<'_> {
        self.work_on(Value::from_text(input).expect("this is JSON"), deadline)
    }

    fn work_on(&self, input: Value, deadline: Option<Timestamp>) -> crate::model::port::Processing<'_> {
        let channel: Arc<dyn JobChannel> = Arc::clone(&self.told) as _;
        self.executor.process(Arc::new(fixture::job(input)), Attempt { deadline, cancel: self.cancel.clone(), channel })
    }

    async fn run(&self, input: &str) -> Result<Value, Failure> {
        self.process(input, None).await
    }

    async fn fails(&self, input: &str) -> Failure {
        self.run(input).await.expect_err(input)
    }

    async fn next_job_runs(&self) {
        let echo =
            Self { home: self.home.clone(), executor: Arc::clone(&self.executor), told: Arc::default(), cancel: CancelSignal::new() };
        let output = echo.run(r#"{"do":"echo","value":{"a":[1,2.5,null,"x",true]}}"#).await;
        assert_eq!(output.expect("an echo").text(), r#"{"a":[1,2.5,null,"x",true]}"#);
    }
}

#[tokio::test]
async fn a_thrown_failure_carries_status_and_wait() {
    let bench = Bench::conformance();
    assert_eq!(bench.fails(r#"{"do":"fail","kind":"conflict"}"#).await.status, Some(409));
    assert_eq!(bench.fails(r#"{"do":"fail","kind":"rate_limited"}"#).await.retry_after, Some(Duration::from_secs(5)));
}

#[tokio::test]
async fn a_cancel_ends_computing_and_waiting_in_a_host_call() {
    for doing in ["compute", "wait"] {
        let bench = Bench::of(&ExecutorReference { limits: Limits::default(), ..reference(conformance()) }, 0);
        let input = format!(r#"{{"do":"{doing}"}}"#);
        let (result, ()) = tokio::join!(bench.run(&input), async { bench.cancel.cancel() });
        assert_eq!(result.expect_err("it was cancelled").kind, FailureKind::Cancelled);
        bench.next_job_runs().await;
    }
}

#[tokio::test]
async fn dropping_the_work_stops_it_also_while_it_waits() {
    for doing in ["compute", "wait"] {
        let bench =
            Bench::of(&ExecutorReference { limits: Limits { operations: u64::MAX, ..Limits::default() }, ..reference(conformance()) }, 0);
        let mut work = bench.process(&format!(r#"{{"do":"{doing}"}}"#), None);
        assert!(futures_util::poll!(&mut work).is_pending());
        drop(work);
        // All places are free again only when the thread has ended.
        let threads = u32::try_from(THREADS).expect("there are few");
        drop(bench.home.places.acquire_many(threads).await.expect("it is never closed"));
        bench.next_job_runs().await;
    }
}

#[tokio::test]
async fn a_loop_ends_with_its_deadline_its_wall_clock_or_its_operations() {
    let bench = Bench::of(&reference(conformance()), 1_000_000);
    let failure = bench.process(r#"{"do":"loop"}"#, Some(Timestamp::from_nanos(90_000_000))).await.expect_err("it ends");
    assert_eq!((failure.kind, failure.into_particulars().code), (FailureKind::Timeout, None));
    bench.next_job_runs().await;

    let limits = Limits { wall: Duration::from_millis(50), ..Limits::default() };
    let bench = Bench::of(&ExecutorReference { limits, ..reference(conformance()) }, 1_000_000);
    assert_eq!(bench.fails(r#"{"do":"loop"}"#).await.code.as_deref(), Some("limit_wall"));
    bench.next_job_runs().await;

    let bench = Bench::conformance();
    let failure = bench.fails(r#"{"do":"loop"}"#).await;
    assert_eq!((failure.kind, failure.code.as_deref()), (FailureKind::Permanent, Some("limit_operations")));
    bench.next_job_runs().await;
}

#[tokio::test]
async fn a_trap_names_the_line_of_the_file_it_stands_in() {
    let failure = Bench::new("fn process(job) {\n    let x = [1];\n    x[5]\n}").fails("1").await;
    assert_eq!(failure.kind, FailureKind::Bug);
    assert!(failure.message.starts_with("some.yaml:12:"), "{failure}");
}

#[tokio::test]
async fn a_quick_script_that_becomes_slow_begins_anew_on_a_thread() {
    let script = reference(inline("fn process(job) { if job.input == 1 { return job.id; } loop {} }"));
    // Nothing but the cancel may end it, however long that takes on a busy machine.
    let bench = Bench::of(&ExecutorReference { limits: Limits { operations: u64::MAX, ..Limits::default() }, ..script }, 0);
    for _ in 0..6 {
        assert_eq!(bench.run("1").await.expect("it is quick").text(), r#""00000000-0000-0000-0000-000000000000""#);
    }
    let (result, ()) = tokio::join!(bench.run("2"), async { bench.cancel.cancel() });
    assert_eq!(result.expect_err("it was cancelled").kind, FailureKind::Cancelled);
}

#[tokio::test]
async fn a_script_that_only_takes_its_input_is_given_nothing_else_and_changes_only_its_copy() {
    let changed = r#"{"list":[1,2],"n":2}"#;
    for (script, spared, output) in [
        ("let it = job.input; it.n += 1; it.list.push(2); it", true, changed),
        ("const it = job.input; it.n", true, "1"),
        ("for i in 0..2 { let it = job.input; it.n += 1; if i == 1 { return it.n; } }", true, "2"),
        ("let it = job.input; let job = 5; it.n + 1", true, "2"),
        ("job.input.n += 1; job.input.list.push(2); job.input", false, changed),
        ("let it = job.input; job.input.n += 1; it.n + job.input.n", false, "3"),
        ("let it = [job.input]; it[0].n += 1; it[0].n", false, "2"),
        ("let it = job.input.n; it + 1", false, "2"),
        ("let it = job.attempt; it + 1", false, "2"),
        ("let it = job; it.input.n + 1", false, "2"),
        ("let it = job.input; let later = || job.input.n; it.n + later.call()", false, "2"),
    ] {
        let script = format!("fn process(job) {{ {script} }}");
        let loaded =
            load::load(&Files::Disk, &inline(&script), &Limits::default()).unwrap_or_else(|problem| panic!("{script}: {problem:?}"));
        assert_eq!(loaded.reads == reads::Reads::InputOnce, spared, "{script}");
        let (bench, input) = (Bench::new(&script), Value::from_text(r#"{"list":[1],"n":1}"#).expect("this is JSON"));
        for _ in 0..5 {
            let found = bench.work_on(input.clone(), None).await.unwrap_or_else(|failure| panic!("{script}: {failure}"));
            assert_eq!(found.text(), output, "{script}");
            assert_eq!(input.tree().field("n"), Some(&Tree::Int(1)), "{script}");
        }
    }
}

#[tokio::test]
async fn objects_are_known_inside_functions() {
    let bench = Bench::new(
        r#"
        fn told(x) { log.warn(x); print(x); debug(x); config.greeting + x }
        fn process(job) {
            let caught = "";
            try { kv.get("a") } catch (error) { caught = `${error.kind} ${error.code} ${error.message}`; }
            [told("!"), caught, sql.execute("main", "insert", [1]), sql.execute("x", #{ a: 1 }), index.search("q", 3),
             secret("KEY"), cancelled(), remaining(), type_of(job.input)]
        }"#,
    );
    let output = bench.run("null").await.expect("it runs");
    let expected = concat!(
        r#"["hi!","denied not_granted this host does not offer stores","Some(\"main\") insert [1]","None x {\"a\":1}","None q 3","#,
        r#""«secret KEY»",false,300.0,"()"]"#
    );
    assert_eq!(output.text(), expected);
    assert_eq!(bench.told.all(), ["Warn !", "Info !", "Debug \"!\""]);
    assert!(matches!(output.tree().as_list().and_then(|list| list.get(5)), Some(Tree::Secret(_))));
}

#[tokio::test]
async fn what_is_thrown_becomes_a_failure_and_can_be_thrown_on() {
    for (script, kind, message) in [
        (r#"throw "plain""#, FailureKind::Failed, "plain"),
        (r#"throw #{ a: 1 }"#, FailureKind::Failed, r#"{"a":1}"#),
        (r#"throw #{ kind: "conflict", message: "twice" }"#, FailureKind::Conflict, "twice"),
        (r#"try { throw denied("no") } catch (error) { throw error }"#, FailureKind::Denied, "no"),
        (r#"http.request(#{ url: "https://h", bearer: secret("KEY") })"#, FailureKind::Denied, "this host does not offer connections"),
        (
            r#"http.request(#{ url: "https://h", method: "TRACE" })"#,
            FailureKind::Invalid,
            "the request is wrong: method is one of GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS",
        ),
        (r#"secret("OTHER")"#, FailureKind::Denied, "the secret OTHER is not granted"),
    ] {
        let failure = Bench::new(&format!("fn process(job) {{ {script} }}")).fails("1").await;
        assert_eq!((failure.kind, failure.message.as_str()), (kind, message), "{script}");
    }
}

#[test]
fn what_is_wrong_with_a_script_is_said_with_its_place() {
    let home = Rhai::new(Arc::new(Clicking { now: AtomicU64::new(0), each: 0 }));
    for (script, code, line) in [
        ("fn process(job) {\n  let = 1;\n}", "E0511", 11),
        ("fn process(job) {\n  undeclared + 1\n}", "E0511", 11),
        ("fn process(job) { eval(\"1\") }", "E0511", 10),
        ("fn other(job) { 1 }", "E0512", 10),
        ("fn process(a, b) { 1 }", "E0512", 10),
        ("import \"../secrets\" as s;\nfn process(job) { 1 }", "E0513", 10),
        ("fn describe() { 5 }\nfn process(job) { 1 }", "E0514", 10),
        ("fn process(job) {\n  if job.attempt > 1 { log.inf(\"again\") }\n}", "E0515", 11),
        ("fn rows() { sql.qurey(\"SELECT 1\").len() }\nfn process(job) { rows() }", "E0515", 10),
        ("fn process(job) {\n  let x = job.inptu.text;\n  x\n}", "E0515", 11),
        ("fn describe() { loop {} }\nfn process(job) { 1 }", "E0514", 10),
        ("fn describe() { progress(1) }\nfn process(job) { 1 }", "E0514", 10),
    ] {
        let problem = home.describe(&reference(inline(script))).expect_err(script);
        assert_eq!((problem.code, problem.place.map(|(_, line, _)| line)), (code, Some(line)), "{script}: {}", problem.message);
    }
    let missing = home.describe(&reference(Home::Rhai("nowhere.rhai".into()))).expect_err("it is not there");
    assert!(missing.code == "E0510" && missing.message.contains("nowhere.rhai"));
}

#[test]
fn a_call_that_no_object_answers_is_found_with_what_was_meant_and_what_a_script_names_itself_is_left_alone() {
    let home = Rhai::new(Arc::new(Clicking { now: AtomicU64::new(0), each: 0 }));
    let told =
        |script: &str| home.describe(&reference(inline(script))).err().map(|problem| (problem.message, problem.help.unwrap_or_default()));
    let near = told("fn process(job) { log.inf(1) }").expect("there is no `inf`");
    assert_eq!(near, ("`log` has nothing that is called `inf`".to_owned(), "did you mean log.info(…)?".to_owned()));
    let (_, far) = told("fn process(job) { kv.upsert(1, 2) }").expect("there is no `upsert`");
    assert_eq!(far, "there is kv.get(…), kv.set(…), kv.delete(…)");
    for script in [
        "fn process(job) { log.info(1); sql.query(\"SELECT 1\").len(); kv.type_of() }",
        "fn process(job) { let log = #{}; log.inf = 1; log.inf }",
        "fn greet(x) { this }\nfn process(job) { log.greet(1) }",
        "fn log_all(log) { log.each() }\nfn process(job) { log_all([]) }",
        "fn process(job) { job.inputs = 1; job.inputs + job.attempt }",
        "fn process(job) { for sql in [1] { sql.abs() } }",
    ] {
        assert_eq!(told(script), None, "{script}");
    }
}

#[test]
fn what_a_host_before_this_one_took_goes_on_though_it_has_a_slip() {
    let home = Rhai::new(Arc::new(Clicking { now: AtomicU64::new(0), each: 0 }));
    let files = Files::Bundle(crate::model::bundle::Bundle::of_nothing("p".into(), crate::model::id::Digest::of(b"p")));
    let slip = reference(inline("fn process(job) { if job.attempt > 1 { log.inf(1) } }"));
    assert!(home.describe(&slip).is_err_and(|problem| problem.code == "E0515"), "on the disk it is told");
    assert!(home.describe_from(&files, &slip).is_ok(), "in a bundle it is taken as it is");
    let broken = reference(inline("fn process(job) { let = 1; }"));
    assert!(home.describe_from(&files, &broken).is_err_and(|problem| problem.code == "E0511"), "what cannot run is told");
}

#[tokio::test]
async fn a_call_that_is_not_found_names_types_as_scripts_do() {
    let failure = Bench::new("fn process(job) { let what = log; nothing(what, \"a\", 1) }").fails("1").await;
    assert!(failure.message.ends_with("there is no function nothing (log, string, int)"), "{}", failure.message);
}

#[test]
fn a_script_says_what_it_is_and_what_it_was_read_from() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("it can be written");
    write("main.rhai", "import \"parts\" as parts;\nfn process(job) { parts::twice(job.input) }");
    write("parts.rhai", "fn twice(x) { x * 2 }");
    let home = Rhai::new(Arc::new(Clicking { now: AtomicU64::new(0), each: 0 }));
    let main = reference(Home::Rhai(folder.path().join("main.rhai")));
    let before = home.describe(&main).expect("it is a script");
    let read: Vec<_> = before.files.iter().map(|file| file.path.clone()).collect();
    assert_eq!(read, [folder.path().join("main.rhai"), folder.path().join("parts.rhai")]);
    assert_eq!(before.files[1].content.as_ref(), b"fn twice(x) { x * 2 }");
    let bench = Bench::of(&main, 0);
    write("parts.rhai", "fn twice(x) { x + x }");
    assert_ne!(home.describe(&main).expect("it is a script").digest, before.digest);
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    assert_eq!(runtime.block_on(bench.run("21")).expect("it runs").text(), "42");

    let described = home.describe(&reference(conformance())).expect("it is a script");
    assert_eq!((described.name.as_str(), described.wants.len()), ("conformance", 1));
    assert!(described.input.is_some_and(|input| input.field("do").is_some()));
}

#[tokio::test]
async fn the_deepest_recursion_that_is_allowed_fits_the_stack() {
    let nested = "(1 + ".repeat(8);
    let closing = ")".repeat(8);
    let script = format!("fn deep(n) {{ if n == 0 {{ 0 }} else {{ {nested} deep(n - 1) {closing} }} }}\nfn process(job) {{ deep(1000) }}");
    assert_eq!(Bench::new(&script).fails("1").await.code.as_deref(), Some("limit_call_depth"));
}

#[tokio::test]
async fn calls_may_be_as_deep_with_something_at_the_top_of_a_script_as_without() {
    let deepest = async |top: &str, depth: u32| {
        let script = format!("{top} fn deep(n) {{ if n == 0 {{ 0 }} else {{ deep(n - 1) }} }} fn process(job) {{ deep(job.input) }}");
        let limits = Limits { call_depth: depth, ..Limits::default() };
        let bench = Bench::of(&ExecutorReference { limits, ..reference(inline(&script)) }, 0);
        let mut reached = 0;
        while bench.run(&reached.to_string()).await.is_ok() {
            reached += 1;
        }
        assert_eq!(bench.fails(&reached.to_string()).await.code.as_deref(), Some("limit_call_depth"));
        reached
    };
    for depth in [1, 5, 12] {
        assert_eq!(deepest("", depth).await, deepest("const TOP = 1;", depth).await, "at a depth of {depth}");
    }
}

#[tokio::test]
async fn a_call_means_the_same_for_each_job_whatever_those_before_it_had() {
    let bench = Bench::new(
        r#"fn twice(x) { x + x }
        fn process(job) {
            let it = job.input;
            if type_of(it) == "bool" { it.missing(); }
            [twice(it), it == 2, type_of(it)]
        }"#,
    );
    for _ in 0..6 {
        for (input, output) in [
            ("2", Some(r#"[4,true,"i64"]"#)),
            (r#""a""#, Some(r#"["aa",false,"string"]"#)),
            ("true", None),
            ("1.5", Some(r#"[3.0,false,"f64"]"#)),
            ("[1]", Some(r#"[[1,1],false,"array"]"#)),
        ] {
            let found = bench.run(input).await;
            assert_eq!(found.as_ref().ok().map(Value::text), output, "{input}: {found:?}");
        }
    }
}

#[test]
fn of_names_that_a_script_makes_up_no_more_are_kept_than_there_is_room_for() {
    let script = r#"fn process(job) { let n = 0; for i in job..job + 200 { if is_def_fn(`f${i}`, 1) { n += 1; } try { Fn(`f${i}`).call(i) } catch {} } n }"#;
    let loaded = load::load(&Files::Disk, &inline(script), &Limits::default()).unwrap_or_else(|problem| panic!("{problem:?}"));
    let body = body::Body::of(&loaded.ast, &loaded.reads).expect("it has only functions");
    let mut instance = engine::Instance::new(&Limits::default(), engine::config_module(Dynamic::UNIT), Some(&body));
    let (mut most, mut emptied) = (0, false);
    for round in 0..20 {
        let found = instance.process(&loaded.ast, Some(&body), Dynamic::from_int(round * 200)).expect("it runs");
        assert_eq!(found.as_int(), Ok(0));
        let kept = instance.kept().expect("it keeps what was found").found();
        emptied |= kept < most;
        most = most.max(kept);
    }
    assert!(most <= body::FOUND && emptied, "{most} at most, emptied: {emptied}");
}
