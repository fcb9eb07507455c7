//! Indexes of real files.

use super::super::database::Access;
use super::*;
use crate::executor::test_support::Still;
use crate::model::fixture::Told;

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
            files: Some((folder.path().to_owned(), "docs/**/*.md".to_owned())),
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

fn text(id: &str, text: &str) -> Entry {
    Entry { id: id.to_owned(), text: text.to_owned(), ..Entry::default() }
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
    let put = fixture.index.put(text("note", "# Note\npears\n# More\nplums")).await.expect("put");
    assert_eq!(put.text(), r#"{"chunks":2}"#);
    fixture.index.put(text("note", "cherries")).await.expect("put again");
    std::fs::remove_file(fixture.folder.path().join("docs/a.md")).expect("removed");
    assert_eq!(fixture.refresh().await, [indexed(0, 1)]);
    assert_eq!(fixture.ids("apples pears plums cherries").await, ["note#1"]);
    assert!(fixture.index.put(text(" ", "x")).await.is_err());
    assert!(fixture.index.put(text("big", &"x".repeat(MAX_TEXT + 1))).await.is_err());
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

/// Hits as id, rank and score.
async fn find(
    fixture: &Fixture,
    text: Option<&str>,
    vector: Option<&[f64]>,
    (offset, top_k): (u32, u32),
) -> Result<Vec<(String, i64, f64)>, Failure> {
    let vector = vector.map(|numbers| Vector::new(numbers).expect("a vector"));
    let hits = fixture.index.find(Search { text: text.map(str::to_owned), vector, top_k, offset, ..Search::default() }).await?;
    let triple = |hit: &Tree| Some((hit.field("id")?.as_text()?.to_owned(), hit.field("rank")?.as_int()?, hit.field("score")?.as_float()?));
    Ok(hits.tree().as_list().expect("a list").iter().filter_map(triple).collect())
}

async fn with_vectors() -> Fixture {
    let fixture = Fixture::new().await;
    for (id, text, vector) in [
        ("north", "cold wind", [0.0, 2.0]),
        ("east", "warm wind", [3.0, 0.0]),
        ("both", "no weather", [3.0, 4.0]),
        ("again", "no weather", [6.0, 8.0]),
    ] {
        let vector = Some(Vector::new(&vector).expect("a vector"));
        let data = Some(Value::map([("of", Value::string(id))]));
        let put = Entry { id: id.to_owned(), text: text.to_owned(), vector, data };
        assert_eq!(fixture.index.put(put).await.map(|put| put.text().to_owned()).as_deref(), Ok(r#"{"chunks":1}"#));
    }
    fixture.index.put(text("plain", "# One\nwind\n# Two\nwind")).await.expect("put");
    fixture
}

#[tokio::test]
async fn the_nearest_vectors_come_first_and_equal_ones_in_one_order() {
    let fixture = with_vectors().await;
    let hits = find(&fixture, None, Some(&[0.0, 7.0]), (0, 10)).await.expect("hits");
    let expected = [("north#1", 1, 1.0), ("both#1", 2, 0.8), ("again#1", 3, 0.8), ("east#1", 4, 0.0)];
    assert_eq!(hits, expected.map(|(id, rank, score)| (id.to_owned(), rank, score)));
    let failure = find(&fixture, None, Some(&[1.0, 2.0, 3.0]), (0, 10)).await.expect_err("three numbers");
    assert_eq!((failure.kind, failure.code.as_deref()), (FailureKind::Invalid, Some("vector")));
    let put = Entry { id: "x".to_owned(), vector: Some(Vector::new(&[1.0]).expect("a vector")), ..Entry::default() };
    assert_eq!(fixture.index.put(put).await.expect_err("one number").kind, FailureKind::Invalid);
}

#[tokio::test]
async fn what_is_not_near_enough_is_not_found_by_its_vector_and_still_by_its_words() {
    let fixture = with_vectors().await;
    let near = async |text: Option<&str>, least| {
        let vector = Some(Vector::new(&[0.0, 1.0]).expect("a vector"));
        let search = Search { text: text.map(str::to_owned), vector, min_nearness: Some(least), top_k: 10, offset: 0 };
        let hits = fixture.index.find(search).await.expect("hits");
        hits.tree().as_list().expect("a list").iter().filter_map(|hit| hit.field("id")?.as_text().map(str::to_owned)).collect::<Vec<_>>()
    };
    assert_eq!(near(None, 0.8).await, ["north#1", "both#1", "again#1"], "as near as is wanted is near enough");
    assert_eq!(near(None, 0.81).await, ["north#1"]);
    assert!(near(None, 1.1).await.is_empty());
    assert_eq!(near(Some("warm"), 0.81).await, ["east#1", "north#1"], "equal scores: words go first");
}

#[tokio::test]
async fn words_and_vectors_are_merged_without_doubles_and_ranks_survive_paging() {
    let fixture = with_vectors().await;
    let all = find(&fixture, Some("wind"), Some(&[0.0, 1.0]), (0, 100)).await.expect("hits");
    let mut ids: Vec<&str> = all.iter().map(|(id, ..)| id.as_str()).collect();
    assert_eq!(ids.first(), Some(&"north#1"), "it has the word and the direction");
    assert_eq!(all.iter().map(|(_, rank, _)| *rank).collect::<Vec<_>>(), (1..=6).collect::<Vec<_>>());
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 6);
    for size in 1..=4 {
        let mut pages = Vec::new();
        for page in 0..6 {
            pages.extend(find(&fixture, Some("wind"), Some(&[0.0, 1.0]), (page * size, size)).await.expect("hits"));
        }
        assert_eq!(pages, all[..pages.len()], "pages of {size}");
    }
    assert_eq!(find(&fixture, None, None, (0, 10)).await, Ok(Vec::new()));
    assert_eq!(find(&fixture, Some("*"), None, (0, 10)).await, Ok(Vec::new()));
}

#[tokio::test]
async fn a_hit_brings_its_data_and_a_text_that_is_replaced_loses_them() {
    let fixture = with_vectors().await;
    let data = async || {
        let hits = fixture.index.find(Search { text: Some("cold calm".to_owned()), top_k: 1, ..Search::default() }).await.expect("hits");
        hits.tree().as_list().and_then(|hits| hits.first()?.field("data").cloned())
    };
    assert_eq!(data().await, Some(Tree::Map([("of".to_owned(), Tree::from("north"))].into_iter().collect())));
    fixture.index.put(text("north", "calm")).await.expect("put");
    assert_eq!(data().await, Some(Tree::Null));
    assert_eq!(find(&fixture, None, Some(&[0.0, 1.0]), (0, 10)).await.expect("hits").len(), 3, "its vector is gone too");
    let large = Entry { data: Some(Value::string("x".repeat(MAX_DATA))), ..text("large", "x") };
    assert!(fixture.index.put(large).await.is_err());
}

#[tokio::test]
async fn an_index_without_files_keeps_what_is_put_in_and_watches_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let database = Arc::new(Database::open(&folder.path().join("own.db"), Access::Own).expect("it opens"));
    let settings =
        Settings { name: "shop/products".to_owned(), files: None, database, clock: Arc::new(Still), sink: Arc::new(Told::default()) };
    let index = Index::new(settings).expect("no pattern");
    index.refresh(true).await.expect("nothing to read");
    index.put(text("p1", "a red chair")).await.expect("put");
    index.refresh(false).await.expect("nothing to read");
    assert_eq!(index.search("chairs", 3).await.expect("hits").tree().as_list().map(<[_]>::len), Some(1));
    assert!(index.watched_folder().is_none() && !index.concerns(folder.path()));
}
