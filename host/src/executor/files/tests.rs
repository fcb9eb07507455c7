//! Files of real folders.

use super::*;

fn folder() -> (tempfile::TempDir, Arc<Folder>) {
    let folder = tempfile::tempdir().expect("a folder");
    let granted = Arc::new(Folder::new("files".into(), folder.path().join("granted")));
    std::fs::write(folder.path().join("secret.txt"), "nobody's business").expect("written");
    (folder, granted)
}

const ALL: Range = Range { offset: 0, length: None };

async fn read(folder: &Arc<Folder>, file: &str, range: Range) -> Result<String, Failure> {
    let content = folder.read(file, range, 1_000).await?.expect("it is small");
    Ok(String::from_utf8(content.bytes).expect("text"))
}

#[tokio::test]
async fn what_is_written_is_read_in_whole_and_in_parts() {
    let (_outer, folder) = folder();
    assert_eq!(folder.write("a/b/c.txt", b"hello".to_vec(), Mode::Replace).await, Ok(5));
    assert_eq!(folder.write("a/b/c.txt", b" world".to_vec(), Mode::Append).await, Ok(11));
    assert_eq!(read(&folder, "a/b/c.txt", ALL).await.as_deref(), Ok("hello world"));
    assert_eq!(read(&folder, "a/b/c.txt", Range { offset: 6, length: Some(3) }).await.as_deref(), Ok("wor"));
    let nothing = folder.read("a/b/c.txt", Range { offset: 11, length: Some(0) }, 0).await.expect("it is there").expect("nothing is small");
    assert_eq!((nothing.size, nothing.bytes.len(), nothing.modified.is_some()), (11, 0, true));
    for range in [Range { offset: 12, length: None }, Range { offset: 6, length: Some(6) }, Range { offset: u64::MAX, length: Some(1) }] {
        assert_eq!(read(&folder, "a/b/c.txt", range).await.expect_err("too far").code.as_deref(), Some("file_range"));
    }
    assert_eq!(folder.read("a/b/c.txt", ALL, 10).await, Ok(Err(11)), "who asked knows which limit it is");
}

#[tokio::test]
async fn a_file_that_is_there_is_replaced_only_if_asked() {
    let (outer, folder) = folder();
    assert_eq!(folder.write("a", b"1".to_vec(), Mode::Create).await, Ok(1));
    assert_eq!(folder.write("a", b"2".to_vec(), Mode::Create).await.expect_err("it is there").kind, FailureKind::Conflict);
    assert_eq!(read(&folder, "a", ALL).await.as_deref(), Ok("1"));
    folder.write("a", b"3".to_vec(), Mode::Replace).await.expect("replaced");
    assert_eq!(read(&folder, "a", ALL).await.as_deref(), Ok("3"));
    let names: Vec<_> =
        std::fs::read_dir(outer.path().join("granted")).expect("a folder").map(|entry| entry.expect("one").file_name()).collect();
    assert_eq!(names, ["a"], "nothing else is left");
}

#[tokio::test]
async fn a_draft_that_is_not_kept_leaves_nothing() {
    let (outer, folder) = folder();
    let (draft, _open) = folder.begin("big.bin").await.expect("begun");
    assert_eq!(std::fs::read_dir(outer.path().join("granted")).expect("a folder").count(), 1);
    drop(draft);
    assert_eq!(std::fs::read_dir(outer.path().join("granted")).expect("a folder").count(), 0);
}

#[tokio::test]
async fn nothing_outside_of_the_folder_is_reached() {
    let (outer, folder) = folder();
    folder.write("inside", b"x".to_vec(), Mode::Replace).await.expect("written");
    #[cfg(unix)]
    {
        let link = |target: &str, name: &str| {
            std::os::unix::fs::symlink(target, outer.path().join("granted").join(name)).expect("linked");
        };
        link("../secret.txt", "link");
        link("..", "up");
        link(outer.path().join("secret.txt").to_str().expect("text"), "far");
        link("inside", "near");
        assert_eq!(read(&folder, "near", ALL).await.as_deref(), Ok("x"), "a link that stays inside is followed");
    }
    let absolute = outer.path().join("secret.txt");
    for file in ["../secret.txt", "a/../../secret.txt", "link", "up/secret.txt", "far", absolute.to_str().expect("text")] {
        let failure = read(&folder, file, ALL).await.expect_err(file);
        assert!(matches!(failure.kind, FailureKind::Denied | FailureKind::NotFound), "{file}: {failure}");
        let failure = folder.write(file, b"overwritten".to_vec(), Mode::Append).await.err();
        // A link in the last place is refused or replaced, and never followed out.
        assert!(failure.is_some() || file == "link" || file == "far", "{file}");
        let _ = folder.write(file, b"overwritten".to_vec(), Mode::Replace).await;
    }
    assert_eq!(std::fs::read_to_string(absolute).expect("it is there"), "nobody's business");
    assert_eq!(read(&folder, "../secret.txt", ALL).await.expect_err("outside").code.as_deref(), Some("outside_folder"));
}

#[tokio::test]
async fn what_is_no_file_is_named() {
    let (_outer, folder) = folder();
    assert_eq!(read(&folder, "nothing", ALL).await.expect_err("no folder yet").kind, FailureKind::NotFound);
    folder.write("a/b", b"x".to_vec(), Mode::Replace).await.expect("written");
    assert_eq!(read(&folder, "a", ALL).await.expect_err("a folder").kind, FailureKind::Invalid);
    for name in ["", ".", "a/", "a/..", "x\0y"] {
        assert!(folder.write(name, Vec::new(), Mode::Replace).await.is_err(), "{name:?}");
    }
    assert!(folder.write(&"x".repeat(MAX_NAME + 1), Vec::new(), Mode::Replace).await.is_err());
}
