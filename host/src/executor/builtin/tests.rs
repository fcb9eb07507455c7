//! Built-ins over the services of a real host.

use std::collections::BTreeMap;

use super::*;
use crate::executor::database::{Access, Database};
use crate::executor::files::Folder;
use crate::executor::http::{self, Http};
use crate::executor::index::{Index, Settings};
use crate::executor::services::Services;
use crate::executor::services::key_value::KeyValue;
use crate::executor::test_support::Still;
use crate::model::cancel::CancelSignal;
use crate::model::fixture::{self, Told};
use crate::model::grant::{Grants, Limits};
use crate::model::happening::LogLevel;
use crate::model::port::Attempt;

pub(super) fn reference(name: &str, config: Value) -> ExecutorReference {
    ExecutorReference {
        config,
        grants: Grants {
            sql: vec!["main".into()],
            index: vec!["docs".into()],
            kv: vec!["store".into()],
            files: vec!["files".into()],
            ..Grants::default()
        },
        ..ExecutorReference::new("chatbot", "it", Home::Builtin(name.to_owned()))
    }
}

fn job(input: &str) -> Arc<Job> {
    let input = Value::from_text(input).expect("JSON");
    Arc::new(Job { pipeline: "chatbot".into(), executor: "it".into(), ..fixture::job(input) })
}

struct Fixture {
    _folder: tempfile::TempDir,
    host: Arc<Services>,
    told: Arc<Told>,
}

impl Fixture {
    async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let told = Arc::new(Told::default());
        let open = |name: &str, access| Arc::new(Database::open(&folder.path().join(name), access).expect("it opens"));
        let index = Index::new(Settings {
            name: "chatbot/docs".to_owned(),
            files: Some((folder.path().to_owned(), "*.md".to_owned())),
            database: open("docs.db", Access::Own),
            clock: Arc::new(Still),
            sink: Arc::clone(&told) as _,
        });
        let index = index.expect("a pattern");
        index.refresh(true).await.expect("refreshed");
        let host = Services {
            executor: "it".into(),
            config: Value::null(),
            grants: reference("log", Value::null()).grants,
            databases: BTreeMap::from([("main".into(), open("main.db", Access::Users))]),
            stores: BTreeMap::from([("store".into(), Arc::new(KeyValue::open(&folder.path().join("store.db")).await.expect("it opens")))]),
            indexes: BTreeMap::from([("docs".into(), Arc::new(index))]),
            folders: BTreeMap::from([("files".into(), Arc::new(Folder::new("files".into(), folder.path().join("files"))))]),
            http: Http::new(http::Settings { executor: "it".into(), granted: Vec::new(), configured: Vec::new(), clock: Arc::new(Still) }),
            limits: Limits::default(),
            secrets: BTreeMap::new(),
        };
        Self { _folder: folder, host: Arc::new(host), told }
    }

    async fn run(&self, name: &str, input: &str) -> Result<String, Failure> {
        let builtin = Builtins::new(Arc::new(Still)).open(&reference(name, Value::null()), Arc::clone(&self.host) as _);
        let attempt = Attempt { deadline: None, cancel: CancelSignal::new(), channel: Arc::clone(&self.told) as _ };
        let output = builtin.expect("it opens").process(job(input), attempt).await?;
        Ok(output.text().to_owned())
    }
}

#[test]
fn every_name_is_described_and_a_near_one_is_suggested() {
    let builtins = Builtins::new(Arc::new(Still));
    for (name, _) in builtins.names() {
        let description = builtins.describe(&reference(name, Value::null())).expect(name);
        assert_eq!(description.name, name);
        assert!(description.input.is_some() && description.output.is_some());
    }
    let problem = builtins.describe(&reference("sql.querry", Value::null())).expect_err("no such one");
    assert_eq!((problem.code, problem.help.as_deref()), (UNKNOWN_BUILTIN, Some("did you mean sql.query?")));
    let problem = builtins.describe(&reference("zzz", Value::null())).expect_err("no such one");
    assert!(problem.help.is_some_and(|help| help.contains("llm.chat")));
}

#[tokio::test]
async fn a_config_with_a_mistake_is_refused_with_what_it_takes() {
    let fixture = Fixture::new().await;
    for (name, config) in [
        ("llm.chat", r#"{"base_ulr":"x"}"#),
        ("llm.chat", r#"{"base_url":7}"#),
        ("llm.chat", r#"{"base_url":"nowhere"}"#),
        ("llm.chat", r#"{"idle_timeout":"0s"}"#),
        ("llm.chat", r#"{"temperature":3.0}"#),
        ("log", r#"{"level":"info"}"#),
    ] {
        let config = Value::from_text(config).expect("JSON");
        let problem = Builtins::new(Arc::new(Still)).open(&reference(name, config), Arc::clone(&fixture.host) as _).err();
        let problem = problem.expect("it is refused");
        assert_eq!(problem.code, WRONG_CONFIG);
        assert!(problem.help.is_some());
    }
}

#[test]
fn the_banner_says_who_answers_and_nothing_secret() {
    let shown = |config: &str| llm_chat::provider(&Value::from_text(config).expect("JSON")).to_string();
    assert_eq!(shown("null"), "extractive (no language model configured)");
    assert_eq!(shown(r#"{"base_url":" ","model":"m"}"#), "extractive (no language model configured)");
    assert_eq!(shown(r#"{"base_url":"http://u:p@h/v1?k=s","model":"m"}"#), "openai m at http://h/v1");
    assert_eq!(shown(r#"{"base_url":"http://h"}"#), "openai at http://h");
}

#[tokio::test]
async fn sql_is_written_and_read() {
    let fixture = Fixture::new().await;
    let created = fixture.run("sql.execute", r#"{"statement":"CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT)"}"#).await;
    assert_eq!(created.as_deref(), Ok(r#"{"changed":0,"last_id":0}"#));
    let inserted = fixture.run("sql.execute", r#"{"statement":"INSERT INTO t (b) VALUES (:b)","parameters":{"b":"x"}}"#).await;
    assert_eq!(inserted.as_deref(), Ok(r#"{"changed":1,"last_id":1}"#));
    let rows = fixture.run("sql.query", r#"{"database":"main","statement":"SELECT * FROM t"}"#).await;
    assert_eq!(rows.as_deref(), Ok(r#"{"rows":[{"a":1,"b":"x"}]}"#));
    assert_eq!(
        fixture.run("sql.query", r#"{"database":"other","statement":"SELECT 1"}"#).await.expect_err("not granted").kind,
        FailureKind::Denied
    );
    assert_eq!(fixture.run("sql.query", "{}").await.expect_err("no statement").kind, FailureKind::Invalid);
}

#[tokio::test]
async fn a_text_is_put_in_found_and_answered_from() {
    let fixture = Fixture::new().await;
    let text = "# Retry\\n\\nA retry waits and tries again.";
    assert_eq!(fixture.run("index.put", &format!(r#"{{"id":"note","text":"{text}"}}"#)).await.as_deref(), Ok(r#"{"chunks":1}"#));
    let found = fixture.run("index.search", r#"{"query":"how do retries work?"}"#).await.expect("passages");
    assert!(
        found.starts_with(
            r#"{"passages":[{"id":"note#1","text":"A retry waits and tries again.","file":"note","lines":"3","heading":"Retry","score":"#
        ),
        "{found}"
    );
    for top_k in ["0", "1001", "-1"] {
        let failure = fixture.run("index.search", &format!(r#"{{"query":"x","top_k":{top_k}}}"#)).await.expect_err("out of range");
        assert_eq!(failure.kind, FailureKind::Invalid);
    }
    let passages = found.strip_prefix("{").and_then(|found| found.strip_suffix("}")).expect("a map");
    let answer = fixture.run("llm.chat", &format!(r#"{{"question":"how do retries work?",{passages}}}"#)).await.expect("an answer");
    assert!(
        answer.starts_with(
            r#"{"text":"“A retry waits and tries again.” [1] note:3","provider":"extractive","model":null,"citations":[{"number":1,"#
        ),
        "{answer}"
    );
    assert_eq!(fixture.run("llm.chat", r#"{"question":"  "}"#).await.expect_err("empty").kind, FailureKind::Invalid);
}

/// Caches that know one policy and remember what was asked of them.
#[derive(Default)]
struct Asked(std::sync::Mutex<Vec<String>>);

impl crate::model::port::Invalidate for Asked {
    fn invalidate(&self, job: &Job, policy: &str, forget: &crate::model::port::Forget) -> Result<usize, Failure> {
        self.0.lock().expect("no panic").push(format!("{} {policy} {forget:?}", job.pipeline));
        Ok(3)
    }
}

#[tokio::test]
async fn an_invalidation_names_exactly_one_thing_and_says_how_much_went() {
    let fixture = Fixture::new().await;
    let builtins = Builtins::new(Arc::new(Still));
    let caches = Arc::new(Asked::default());
    builtins.caches().connect(&(Arc::clone(&caches) as Arc<dyn crate::model::port::Invalidate>));
    let executor = builtins.open(&reference("cache.invalidate", Value::null()), Arc::clone(&fixture.host) as _).expect("it opens");
    let run = async |input: &str| {
        let attempt = Attempt { deadline: None, cancel: CancelSignal::new(), channel: Arc::clone(&fixture.told) as _ };
        executor.process(job(input), attempt).await.map(|output| output.text().to_owned())
    };
    assert_eq!(run(r#"{"policy":"api","key":["a",1]}"#).await.as_deref(), Ok(r#"{"removed":3}"#));
    assert!(run(r#"{"policy":"api","tag":"stock"}"#).await.is_ok());
    // A key that came to null takes nothing, and not everything.
    for input in [r#"{"policy":"api","key":null}"#, r#"{"policy":"api"}"#, r#"{"policy":"api","key":"a","tag":"b"}"#, r#"{"key":"a"}"#] {
        assert_eq!(run(input).await.expect_err(input).kind, FailureKind::Invalid);
    }
    assert_eq!(caches.0.lock().expect("no panic").len(), 2);
    drop(caches);
    assert_eq!(run(r#"{"policy":"api","key":"a"}"#).await.expect_err("nobody is there").code.as_deref(), Some("stopping"));
}

#[tokio::test]
async fn log_writes_a_line_and_knows_its_levels() {
    let fixture = Fixture::new().await;
    assert_eq!(fixture.run("log", r#"{"message":"hi","level":"warn","data":{"a":1}}"#).await.as_deref(), Ok("null"));
    assert!(fixture.run("log", r#"{"message":"hi","level":"loud"}"#).await.is_err());
    fixture.run("log", &format!(r#"{{"message":"{}"}}"#, "é".repeat(40_000))).await.expect("cut");
    let logs = fixture.told.logs();
    assert_eq!(logs.first(), Some(&(LogLevel::Warn, r#"hi {"a":1}"#.to_owned())));
    assert!(logs.get(1).is_some_and(|(_, line)| line.len() < 65_600 && line.ends_with('…')));
}

#[tokio::test]
async fn a_value_is_kept_under_its_key() {
    let fixture = Fixture::new().await;
    assert_eq!(fixture.run("kv.get", r#"{"key":"a"}"#).await.as_deref(), Ok(r#"{"value":null}"#));
    assert_eq!(fixture.run("kv.set", r#"{"key":"a","value":[1,{"b":null}],"store":"store"}"#).await.as_deref(), Ok("null"));
    assert_eq!(fixture.run("kv.get", r#"{"key":"a"}"#).await.as_deref(), Ok(r#"{"value":[1,{"b":null}]}"#));
    assert_eq!(fixture.run("kv.delete", r#"{"key":"a"}"#).await.as_deref(), Ok(r#"{"deleted":true}"#));
    assert_eq!(fixture.run("kv.delete", r#"{"key":"a"}"#).await.as_deref(), Ok(r#"{"deleted":false}"#));
    assert_eq!(fixture.run("kv.get", r#"{"key":"a","store":"other"}"#).await.expect_err("not granted").kind, FailureKind::Denied);
}

#[tokio::test]
async fn a_file_is_written_and_read_in_each_form() {
    let fixture = Fixture::new().await;
    let kept = async |input: &str| fixture.run("files.write", input).await;
    let read = async |input: &str| fixture.run("files.read", input).await;
    assert_eq!(kept(r#"{"file":"a/b.json","json":{"n":[1]}}"#).await.as_deref(), Ok(r#"{"size":9}"#));
    assert_eq!(kept(r#"{"file":"a/b.bin","bytes":"/wA="}"#).await.as_deref(), Ok(r#"{"size":2}"#));
    assert_eq!(kept(r#"{"file":"a/b.bin","bytes":"AQ==","mode":"append"}"#).await.as_deref(), Ok(r#"{"size":3}"#));
    assert_eq!(kept(r#"{"file":"a/b.bin","text":"x","mode":"create"}"#).await.expect_err("it is there").kind, FailureKind::Conflict);
    for (input, ending) in [
        (r#"{"file":"a/b.json","as":"json"}"#, r#""text":null,"json":{"n":[1]},"bytes":null}"#),
        (r#"{"file":"a/b.json","offset":2,"length":3}"#, r#""text":"n\":","json":null,"bytes":null}"#),
        (r#"{"file":"a/b.bin","as":"bytes"}"#, r#""text":null,"json":null,"bytes":"/wAB"}"#),
        (r#"{"file":"a/b.json","length":0}"#, r#""text":null,"json":null,"bytes":null}"#),
    ] {
        let found = read(input).await.expect(input);
        assert!(found.ends_with(ending), "{found}");
    }
    for input in [
        r#"{"file":"a/b.bin"}"#,
        r#"{"file":"a/b.bin","as":"json"}"#,
        r#"{"file":"a/b.json","as":"lines"}"#,
        r#"{"file":"a/b.json","offset":-1}"#,
        r#"{"file":"a/b.json","offset":10}"#,
    ] {
        assert_eq!(read(input).await.expect_err(input).kind, FailureKind::Invalid);
    }
    for input in
        [r#"{"file":"x"}"#, r#"{"file":"x","text":"a","json":1}"#, r#"{"file":"x","bytes":"!"}"#, r#"{"file":"x","text":"a","mode":"w"}"#]
    {
        assert_eq!(kept(input).await.expect_err(input).kind, FailureKind::Invalid);
    }
    assert_eq!(read(r#"{"file":"../main.db","as":"bytes"}"#).await.expect_err("outside").kind, FailureKind::Denied);
}

#[tokio::test]
async fn what_is_transformed_comes_back_and_what_is_embedded_has_a_vector() {
    let fixture = Fixture::new().await;
    assert_eq!(fixture.run("transform", r#"{"a":[1]}"#).await.as_deref(), Ok(r#"{"a":[1]}"#));
    let embedded = fixture.run("llm.embed", r#"{"texts":["a","b"]}"#).await.expect("vectors");
    assert!(embedded.ends_with(r#""provider":"hashed_words","model":null,"dimensions":256}"#), "{embedded}");
    assert_eq!(
        fixture.run("llm.embed", r#"{"texts":[]}"#).await.as_deref(),
        Ok(r#"{"vectors":[],"provider":"hashed_words","model":null,"dimensions":0}"#)
    );
    let many = vec!["\"x\""; 2_049].join(",");
    assert_eq!(fixture.run("llm.embed", &format!(r#"{{"texts":[{many}]}}"#)).await.expect_err("too many").kind, FailureKind::Invalid);
    assert_eq!(fixture.run("index.search", "{}").await.expect_err("neither").kind, FailureKind::Invalid);
}
