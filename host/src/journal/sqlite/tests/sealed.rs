//! Secrets, and a key that is gone, broken or another one.

use std::fs;

use super::*;
use crate::journal::sqlite::findings::Problem;
use crate::journal::sqlite::verify::{Depth, examine};
use crate::journal::sqlite::{self, NO_BACKUP, NO_KEY, accept_loss, seal};
use crate::model::time::Timestamp;

/// A folder with so many sealed values, one of them in a file, and a text that only looks like one.
async fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(folder.path(), quick());
    store.commit(batch(1, 0, vec![filler("{\"$sealed\":\"x\"}")])).await.expect("it follows");
    let secret = |text: String| Value::from(Tree::Secret(Secret::given("password", text)));
    let kept = |key: &str, value| Write::Keep(Kept { room: Room::State, owner: "p".to_owned(), key: key.to_owned(), value, until: None });
    store.write(vec![kept("small", secret("hunter2".to_owned())), kept("large", secret("x".repeat(100_000)))]).await.expect("taken");
    store.close();
    folder
}

fn problems(folder: &Path, depth: Depth) -> Vec<Problem> {
    examine(&folder.join(FILE), depth).expect("it can be opened").problems
}

#[tokio::test]
async fn a_key_that_is_gone_is_made_anew_by_nobody_until_somebody_has_accepted_what_is_lost_with_it() {
    let folder = folder().await;
    let key = folder.path().join(seal::FILE);
    assert_eq!(problems(folder.path(), Depth::Whole), []);
    let bytes = fs::read(&key).expect("it was made");
    fs::remove_file(&key).expect("removed");
    for depth in [Depth::Start, Depth::Whole] {
        assert_eq!(problems(folder.path(), depth), [Problem::NoKey { rows: 2 }]);
    }
    let store = open(folder.path(), quick());
    let Health::Suspect(why) = store.health() else { panic!("nobody can open what was sealed") };
    assert!(why.contains("seal.key is gone"), "{why}");
    drop(store);
    assert!(!key.exists(), "what is put back would not be what new secrets are sealed with");
    // Whoever has it puts it back, and all is as it was.
    fs::write(&key, &bytes).expect("written");
    assert_eq!(open(folder.path(), quick()).health(), Health::Good);
    fs::remove_file(&key).expect("removed");
    let found = sqlite::verify(folder.path()).expect("it can be looked at");
    accept_loss(folder.path(), &found, Timestamp::EPOCH).expect("there is room");
    assert_eq!(open(folder.path(), quick()).health(), Health::Good);
    let left = problems(folder.path(), Depth::Whole);
    assert_eq!(left, [Problem::OtherKey { rows: 2 }]);
    assert!(!left.iter().any(Problem::is_loss), "that it is lost was accepted");
}

#[tokio::test]
async fn a_key_is_made_where_nothing_was_sealed() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(folder.path(), quick());
    store.commit(batch(1, 0, vec![filler("{\"$sealed\":\"x\"}")])).await.expect("it follows");
    store.close();
    fs::remove_file(folder.path().join(seal::FILE)).expect("removed");
    assert_eq!(problems(folder.path(), Depth::Whole), []);
    assert_eq!(open(folder.path(), quick()).health(), Health::Good);
}

#[tokio::test]
async fn a_key_that_is_none_is_found_and_not_copied() {
    let folder = folder().await;
    let other = tempfile::tempdir().expect("a folder");
    let target = other.path().join("copy");
    fs::write(folder.path().join(seal::FILE), "no").expect("written");
    let [Problem::Key(why)] = &problems(folder.path(), Depth::Whole)[..] else { panic!("it has 2 bytes") };
    assert!(why.contains("2 bytes"), "{why}");
    let failure = sqlite::backup(folder.path(), &target).expect_err("such a copy is none");
    assert_eq!(failure.code.as_deref(), Some(NO_KEY), "and not {NO_BACKUP}: another target is no way out");
    assert!(!target.exists());
}
