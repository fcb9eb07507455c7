//! Executors over resources in a data folder.

use super::*;
use crate::executor::builtin::UNKNOWN_BUILTIN;
use crate::executor::test_support::Still;
use crate::model::fixture::{self, Told};
use crate::model::grant::Grants;
use crate::model::job::Job;
use crate::model::port::Attempt;
use crate::model::resource::{Resource, ResourceKind};
use crate::model::secret::Secret;
use crate::model::value::{Tree, Value};

struct Fixture {
    folder: tempfile::TempDir,
    registry: Registry,
    told: Arc<Told>,
}

fn fixture() -> Fixture {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir_all(folder.path().join("docs")).expect("a folder");
    std::fs::write(folder.path().join("docs/a.md"), "# A\napples").expect("written");
    let told = Arc::new(Told::default());
    let settings = RegistrySettings {
        data: folder.path().join("data"),
        secrets: Arc::new(|name| (name == "KEY").then(|| "hunter2".to_owned())),
        clock: Arc::new(Still),
        sink: Arc::clone(&told) as _,
    };
    Fixture { folder, registry: Registry::new(settings).expect("a registry"), told }
}

impl Fixture {
    fn reference(&self, name: &str, grants: Grants) -> ExecutorReference {
        let folder = self.folder.path().to_owned();
        let resources = [
            ("main", ResourceKind::Sqlite("chat.db".into())),
            ("outside", ResourceKind::Sqlite("../chat.db".into())),
            ("store", ResourceKind::Kv("store.db".into())),
            ("docs", ResourceKind::Index { folder: folder.clone(), pattern: "docs/**/*.md".to_owned() }),
            ("bad", ResourceKind::Index { folder, pattern: "../*.md".to_owned() }),
        ];
        let resources = resources.map(|(name, kind)| Resource { name: name.into(), kind }).into();
        ExecutorReference { grants, resources, ..ExecutorReference::new("chatbot", "it", Home::Builtin(name.to_owned())) }
    }

    /// What comes of a job of an executor that has this secret.
    async fn says(&self, reference: &ExecutorReference, input: Value) -> String {
        let executor = self.registry.open(reference).await.map_err(|problem| problem.message).expect("it opens");
        let job = Job { pipeline: "chatbot".into(), executor: "it".into(), ..fixture::job(input) };
        let attempt = Attempt { channel: Arc::clone(&self.told) as _, ..fixture::attempt() };
        match executor.process(Arc::new(job), attempt).await {
            Ok(output) => output.text().to_owned(),
            Err(failure) => failure.to_string(),
        }
    }

    async fn code(&self, grants: Grants) -> Option<&'static str> {
        let problem = self.registry.open(&self.reference("log", grants)).await.err();
        problem.map(|problem| {
            assert!(!problem.message.contains("hunter2"));
            problem.code
        })
    }
}

fn sql(name: &str) -> Grants {
    Grants { sql: vec![name.into()], ..Grants::default() }
}

fn index(name: &str) -> Grants {
    Grants { index: vec![name.into()], ..Grants::default() }
}

fn secret(name: &str) -> Grants {
    Grants { secrets: vec![name.to_owned()], ..Grants::default() }
}

#[tokio::test]
async fn each_mistake_of_a_resource_has_its_code() {
    let fixture = fixture();
    assert_eq!(fixture.code(sql("nowhere")).await, Some(UNKNOWN_RESOURCE));
    assert_eq!(fixture.code(sql("docs")).await, Some(WRONG_RESOURCE));
    assert_eq!(fixture.code(index("main")).await, Some(WRONG_RESOURCE));
    assert_eq!(fixture.code(sql("outside")).await, Some(BAD_PATH));
    assert_eq!(fixture.code(index("bad")).await, Some(BAD_PATTERN));
    assert_eq!(fixture.code(secret("OTHER")).await, Some(MISSING_SECRET));
    assert_eq!(fixture.code(secret("KEY")).await, None);
    assert_eq!(fixture.code(Grants { kv: vec!["store".into()], ..Grants::default() }).await, None);
    let data = fixture.folder.path().join("data/chatbot");
    std::fs::create_dir_all(data.join("chat.db")).expect("a folder");
    assert_eq!(fixture.code(sql("main")).await, Some(CANNOT_OPEN_RESOURCE));
    std::fs::create_dir_all(data.join("indexes")).expect("a folder");
    std::fs::write(data.join("indexes/docs.db"), "no database".repeat(200)).expect("written");
    assert_eq!(fixture.code(index("docs")).await, Some(CORRUPT_RESOURCE));
    let problem = fixture.registry.describe(&fixture.reference("nothing", Grants::default())).expect_err("no such one");
    assert_eq!(problem.code, UNKNOWN_BUILTIN);
}

#[tokio::test]
async fn an_index_is_read_when_it_is_opened_and_followed_while_somebody_has_it() {
    let fixture = fixture();
    let file = fixture.folder.path().join("docs/a.md");
    let indexed = |chunks| What::Indexed { index: "chatbot/docs".to_owned(), files: 1, chunks };
    let first = fixture.registry.open(&fixture.reference("index.search", index("docs"))).await.expect("it opens");
    assert_eq!(fixture.told.take(), [indexed(1)]);
    let second = fixture.registry.open(&fixture.reference("index.search", index("docs"))).await.expect("it opens");
    assert_eq!(fixture.told.take(), [], "it is open already");
    assert_eq!(fixture.registry.watched_folders(), [fixture.folder.path().join("docs")]);
    std::fs::write(&file, "# A\napples\n# B\npears").expect("written");
    fixture.registry.refresh_indexes(&[fixture.folder.path().join("other.md")]).await;
    assert_eq!(fixture.told.take(), [], "that file is none of its documents");
    fixture.registry.refresh_indexes(std::slice::from_ref(&file)).await;
    assert_eq!(fixture.told.take(), [indexed(2)]);
    drop((first, second));
    assert_eq!(fixture.registry.watched_folders(), Vec::<PathBuf>::new());
    fixture.registry.refresh_indexes(&[file]).await;
    assert_eq!(fixture.told.take(), []);
}

#[tokio::test]
async fn what_an_executor_says_is_searched_for_the_secrets_that_it_has() {
    let fixture = fixture();
    let script = |text: &str| Home::Script { text: text.into(), file: "p.yaml".into(), first_line: 1 };
    let granted = Grants { secrets: vec!["KEY".to_owned()], ..Grants::default() };
    let with_home = |home, grants| ExecutorReference { home, ..fixture.reference("log", grants) };
    let shows = r#"fn process(job) { `it is hunter2` }"#;
    assert_eq!(fixture.says(&with_home(script(shows), granted.clone()), Value::null()).await, r#""it is «secret KEY»""#);
    let fails = r#"fn process(job) { throw "no hunter2" }"#;
    let failure = fixture.says(&with_home(script(fails), granted), Value::null()).await;
    assert!(failure.contains("no «secret KEY»") && !failure.contains("hunter2"), "{failure}");
    // A secret in a job's input counts while that job is worked on.
    let input = Value::map([("message", Value::string("hunter2")), ("key", Value::from(Tree::Secret(Secret::new("OTHER", "hunter2"))))]);
    assert_eq!(fixture.says(&fixture.reference("log", Grants::default()), input).await, "null");
    assert_eq!(
        fixture.says(&fixture.reference("log", Grants::default()), Value::map([("message", Value::string("hunter2"))])).await,
        "null"
    );
    let lines: Vec<String> = fixture.told.logs().into_iter().map(|(_, line)| line).collect();
    assert_eq!(lines, ["«secret OTHER»", "hunter2"], "who was given no secret is not searched");
}
