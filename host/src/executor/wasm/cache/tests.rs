//! Tests of the compile cache against real folders.

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::executor::wasm::tests::Still;

/// The smallest component there is: one without anything in it.
const EMPTY: [u8; 8] = [0, b'a', b's', b'm', 0x0d, 0, 1, 0];

fn cache(folder: &Path, most: u64) -> std::io::Result<Cache> {
    Cache::with(folder.to_owned(), Arc::new(Still::default()), most)
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<_> = fs::read_dir(folder).expect("the folder is there").flatten().map(|entry| entry.path()).collect();
    entries.sort();
    entries
}

#[test]
fn what_was_compiled_is_found_again_and_only_its_user_may_read_it() {
    let parent = tempfile::tempdir().expect("a folder for the test");
    let folder = parent.path().join("a/compiled");
    let cache = cache(&folder, MOST).expect("the folder can be made");
    assert_eq!(fs::metadata(&folder).expect("it was made").permissions().mode() & 0o777, 0o700);
    let engine = Engine::default();
    compile(Some(&cache), &engine, Digest::of(&EMPTY), &EMPTY).expect("it is a component");
    let [entry] = entries(&folder).try_into().expect("one entry and nothing unfinished");
    assert_eq!(fs::metadata(&entry).expect("it is there").permissions().mode() & 0o777, 0o600);
    // Bytes that are no component prove that it does not compile again.
    assert!(compile(Some(&cache), &engine, Digest::of(&EMPTY), b"no component").is_ok());
    assert!(compile(None, &engine, Digest::of(&EMPTY), b"no component").is_err());
}

#[test]
fn a_damaged_entry_is_compiled_again() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).expect("it is ours");
    let cache = cache(folder.path(), MOST).expect("the folder is ours");
    let engine = Engine::default();
    compile(Some(&cache), &engine, Digest::of(&EMPTY), &EMPTY).expect("it is a component");
    let [entry] = entries(folder.path()).try_into().expect("one entry");
    let whole = fs::read(&entry).expect("it is there");
    let mut flipped = whole.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    for damaged in [&flipped[..], &whole[..whole.len() - 1], &whole[..SEAL], &whole[..5], &[]] {
        fs::write(&entry, damaged).expect("it is ours");
        assert!(cache.find(&key(&engine, Digest::of(&EMPTY))).is_none());
        compile(Some(&cache), &engine, Digest::of(&EMPTY), &EMPTY).expect("it is a component");
        assert_eq!(fs::read(&entry).expect("it is there"), whole);
    }
}

#[test]
fn what_others_may_write_to_is_not_trusted() {
    let parent = tempfile::tempdir().expect("a folder for the test");
    let shared = parent.path().join("shared");
    fs::create_dir_all(&shared).expect("it is ours");
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o777)).expect("it is ours");
    assert!(cache(&shared, MOST).is_err());
    let own = parent.path().join("own");
    let cache = cache(&own, MOST).expect("the folder can be made");
    cache.keep("k", b"code").expect("it is ours");
    assert_eq!(cache.find("k").as_deref(), Some(&b"code"[..]));
    fs::set_permissions(cache.entry("k"), fs::Permissions::from_mode(0o666)).expect("it is ours");
    assert_eq!(cache.find("k"), None);
    fs::rename(cache.entry("k"), parent.path().join("elsewhere")).expect("it is ours");
    fs::set_permissions(parent.path().join("elsewhere"), fs::Permissions::from_mode(0o600)).expect("it is ours");
    std::os::unix::fs::symlink(parent.path().join("elsewhere"), cache.entry("k")).expect("it is ours");
    assert_eq!(cache.find("k"), None, "a link is not followed");
}

#[test]
fn what_was_not_used_for_longest_goes_first() {
    let parent = tempfile::tempdir().expect("a folder for the test");
    let clock = Arc::new(Still::default());
    let cache = Cache::with(parent.path().join("c"), clock.clone(), 3 * (SEAL as u64 + 10)).expect("the folder can be made");
    for key in ["a", "b", "c"] {
        clock.advance(Duration::from_secs(1));
        cache.keep(key, &[7; 10]).expect("it is ours");
    }
    clock.advance(Duration::from_secs(1));
    assert!(cache.find("a").is_some());
    clock.advance(Duration::from_secs(1));
    cache.keep("d", &[7; 10]).expect("it is ours");
    let kept = ["a", "b", "c", "d"].map(|key| cache.find(key).is_some());
    assert_eq!(kept, [true, false, true, true]);
    // One that is larger than all that may be kept stays alone until the next comes.
    cache.keep("e", &[7; 500]).expect("it is ours");
    assert_eq!(entries(&cache.folder), [cache.entry("e")]);
}
