//! Indexes of real files.

use super::super::database::Access;
use super::*;
use crate::executor::test_support::{Still, Told};

struct Fixture {
    folder: tempfile::TempDir,
    index: Index,
    told: Arc<Told>,
}

impl Fixture {
    async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir_all(folder.path().join("docs")).expect("a folder");
        let told = Arc::new(Told::default());
        let settings = Settings {
            name: "chatbot/docs".to_owned(),
            folder: folder.path().to_owned(),
            pattern: "docs/**/*.md".to_owned(),
            database: Arc::new(Database::open(&folder.path().join("docs.db"), Access::Own).expect("it opens")),
            clock: Arc::new(Still),
            sink: Arc::clone(&told) as Arc<dyn Sink>,
        };
        let fixture = Self { folder, index: Index::new(settings).expect("a pattern"), told };
        fixture.index.refresh(true).await.expect("an empty folder");
        fixture.told.take();
        fixture
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.folder.path().join("docs").join(name), content).expect("written");
    }

    async fn refresh(&self) -> Vec<What> {
        self.index.refresh(false).await.expect("refreshed");
        self.told.take()
    }

    async fn ids(&self, query: &str) -> Vec<String> {
        let hits = self.index.search(query, 10).await.expect("hits");
        let hits = hits.tree().as_list().expect("a list").to_vec();
        hits.iter().filter_map(|hit| hit.field("id")?.as_text().map(str::to_owned)).collect()
    }
}

fn indexed(files: usize, chunks: usize) -> What {
    What::Indexed { index: "chatbot/docs".to_owned(), files, chunks }
}

#[tokio::test]
async fn a_hit_says_where_it_stands() {
    let fixture = Fixture::new().await;
    fixture.write("guide.md", "# Guide\n\nHello.\n\n## Retry\n\nA retry waits.\nThen it tries again.\n");
    assert_eq!(fixture.refresh().await, [indexed(1, 2)]);
    let hits = fixture.index.search("retries?", 5).await.expect("hits");
    let hit = hits.tree().as_list().expect("a list").first().expect("one hit").clone();
    for (field, value) in [
        ("id", "docs/guide.md#2"),
        ("file", "docs/guide.md"),
        ("lines", "7-8"),
        ("heading", "Guide › Retry"),
        ("text", "A retry waits.\nThen it tries again."),
    ] {
        assert_eq!(hit.field(field).and_then(Tree::as_text), Some(value), "{field}");
    }
    assert!(hit.field("score").and_then(Tree::as_float).is_some_and(|score| score > 0.0));
}

#[tokio::test]
async fn files_are_followed_by_their_content() {
    let fixture = Fixture::new().await;
    fixture.write("a.md", "apples");
    fixture.write("b.md", "pears");
    fixture.write("c.txt", "apples");
    assert_eq!(fixture.refresh().await, [indexed(2, 2)]);
    fixture.write("a.md", "apples");
    assert_eq!(fixture.refresh().await, [], "the same bytes are no change");
    fixture.write("a.md", "plums");
    std::fs::remove_file(fixture.folder.path().join("docs/b.md")).expect("removed");
    assert_eq!(fixture.refresh().await, [indexed(1, 1)]);
    assert_eq!(fixture.ids("apples pears plums").await, ["docs/a.md#1"]);
}

#[tokio::test]
async fn what_cannot_be_read_is_skipped_and_told_once() {
    let fixture = Fixture::new().await;
    fixture.write("good.md", "apples");
    fixture.write("latin.md", b"caf\xe9");
    fixture.write("huge.md", vec![b'x'; MAX_FILE as usize + 1]);
    let told = fixture.refresh().await;
    let skipped: Vec<_> = told
        .iter()
        .filter_map(|what| match what {
            What::DocumentSkipped { file, reason, .. } => Some((file.as_str(), reason.as_str())),
            _ => None,
        })
        .collect();
    assert_eq!(
        skipped,
        [("docs/huge.md", "it has more than 4 MiB; split it"), ("docs/latin.md", "it is not UTF-8 from byte 3 on; save it as UTF-8")]
    );
    assert_eq!(fixture.refresh().await, []);
    assert_eq!(fixture.ids("apples").await, ["docs/good.md#1"]);
    fixture.write("good.md", b"\xff");
    assert_eq!(fixture.refresh().await.len(), 2, "it is told, and what it said before is gone");
    assert_eq!(fixture.ids("apples").await, Vec::<String>::new());
}

#[tokio::test]
async fn equal_scores_are_in_the_order_of_files() {
    let fixture = Fixture::new().await;
    for name in ["c.md", "a.md", "b.md"] {
        fixture.write(name, "the same apples");
    }
    fixture.refresh().await;
    assert_eq!(fixture.ids("apples").await, ["docs/a.md#1", "docs/b.md#1", "docs/c.md#1"]);
    assert_eq!(fixture.index.search("apples", 2).await.expect("hits").tree().as_list().map(<[_]>::len), Some(2));
}

#[tokio::test]
async fn texts_that_are_put_in_stay_when_files_go() {
    let fixture = Fixture::new().await;
    fixture.write("a.md", "apples");
    fixture.refresh().await;
    let put = fixture.index.put("note", "# Note\npears\n# More\nplums").await.expect("put");
    assert_eq!(put.text(), r#"{"chunks":2}"#);
    fixture.index.put("note", "cherries").await.expect("put again");
    std::fs::remove_file(fixture.folder.path().join("docs/a.md")).expect("removed");
    assert_eq!(fixture.refresh().await, [indexed(0, 1)]);
    assert_eq!(fixture.ids("apples pears plums cherries").await, ["note#1"]);
    assert!(fixture.index.put(" ", "x").await.is_err());
    assert!(fixture.index.put("big", &"x".repeat(MAX_TEXT + 1)).await.is_err());
}

#[tokio::test]
async fn no_query_is_syntax() {
    let fixture = Fixture::new().await;
    fixture.write("a.md", "apples");
    fixture.refresh().await;
    for query in ["\"", "apples AND (", "text:apples", "*", "NEAR/", "a\0b", "'; DROP TABLE chunks; --", "^apples", "{}", ""] {
        assert!(fixture.index.search(query, 3).await.is_ok(), "{query:?}");
    }
    assert_eq!(fixture.ids("text:apples").await, ["docs/a.md#1"]);
}
