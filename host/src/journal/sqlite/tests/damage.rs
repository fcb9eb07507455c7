//! Flipped bits and a log that was cut off: after each, what was acknowledged is there, or it is said that it may not be.
//!
//! `PIPEHOST_DAMAGE=2000 cargo test -p pipehost --lib journal::sqlite::tests::damage` flips so many bits; `PIPEHOST_SEED` repeats a run.

use std::panic::AssertUnwindSafe;
use std::path::Path;

use futures_util::FutureExt;

use super::workload::{Content, copy, fill, open, read};
use crate::journal::sqlite::{FILE, connection};
use crate::model::port::{Health, Store};

/// So many runs stand in the store that is damaged.
const RUNS: u128 = 40;
/// So many bits are flipped in a usual test run.
const FLIPS: usize = 240;

/// What became of a store that was damaged.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Outcome {
    /// All is there.
    Whole,
    /// It is said that something may be lost, or it cannot be opened or read.
    Told,
    /// Something is missing or changed, and nobody is told.
    Silent,
}

/// A folder with files that a host has left which was killed, `left`: part of it is in the file, part in the log. In `closed` all is in the file.
async fn left(folder: &Path) -> Content {
    let store = open(&folder.join("live")).expect("it can be opened");
    fill(&store, 1..=RUNS / 4).await;
    // What is there is taken over into the file itself; what follows is in the log, from its beginning.
    let writer = connection::writer(&folder.join("live").join(FILE), false).expect("it can be opened");
    writer.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())).expect("taken over");
    fill(&store, RUNS / 4 + 1..=RUNS).await;
    let content = read(&store, RUNS).await;
    copy(&folder.join("live"), &folder.join("left"));
    store.close();
    copy(&folder.join("live"), &folder.join("closed"));
    content
}

async fn outcome(folder: &Path, whole: &Content) -> Outcome {
    let Ok(store) = open(folder) else { return Outcome::Told };
    if store.health() != Health::Good {
        return Outcome::Told;
    }
    match read(&store, RUNS).await {
        content if content == *whole => Outcome::Whole,
        content if content.keeps(whole) => Outcome::Told,
        _ => Outcome::Silent,
    }
}

/// Damages a copy of what was left, and says what became of it. A panic is the worst.
async fn after(folder: &Path, of: &str, whole: &Content, file: &str, damage: impl FnOnce(&mut Vec<u8>)) -> Outcome {
    let damaged = folder.join("damaged");
    let _ = std::fs::remove_dir_all(&damaged);
    copy(&folder.join(of), &damaged);
    let path = damaged.join(file);
    let mut bytes = std::fs::read(&path).expect("it is there");
    damage(&mut bytes);
    std::fs::write(&path, bytes).expect("written");
    AssertUnwindSafe(outcome(&damaged, whole)).catch_unwind().await.unwrap_or(Outcome::Silent)
}

/// Numbers that only depend on the seed.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        // SplitMix64: enough to spread places over a file.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut number = self.0;
        number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((number ^ (number >> 31)) % end as u64).expect("it is below")
    }
}

fn given(name: &str) -> Option<u64> {
    std::env::var_os(name)?.to_str()?.parse().ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_flipped_bit_in_file_log_or_mark_loses_anything_without_a_word() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir_all(folder.path().join("live")).expect("made");
    let whole = left(folder.path()).await;
    let flips = given("PIPEHOST_DAMAGE").map_or(FLIPS, |flips| usize::try_from(flips).expect("it is small"));
    let seed = given("PIPEHOST_SEED").unwrap_or(20_260_401);
    let (log, mark) = (format!("{FILE}-wal"), FILE.replace(".db", ".mark"));
    let mut numbers = Numbers(seed);
    let mut counts = std::collections::BTreeMap::<(&str, Outcome), usize>::new();
    for flip in 0..flips {
        // The mark is small, and each of its bits has its turn sooner.
        let (of, file) = [("closed", FILE), ("left", &log), ("left", FILE), ("left", &log), ("closed", FILE), ("left", &mark)][flip % 6];
        let length = std::fs::read(folder.path().join(of).join(file)).expect("it is there").len();
        let (at, bit) = (numbers.below(length), numbers.below(8));
        let outcome = after(folder.path(), of, &whole, file, |bytes| bytes[at] ^= 1 << bit).await;
        assert_ne!(outcome, Outcome::Silent, "PIPEHOST_SEED={seed}: flip {flip}, bit {bit} of byte {at} of {file} ({of})");
        *counts
            .entry((
                if file == FILE {
                    "file"
                } else if file == mark {
                    "mark"
                } else {
                    "log"
                },
                outcome,
            ))
            .or_default() += 1;
    }
    println!("seed {seed}: {counts:?}");
    let of = |file, outcome| counts.get(&(file, outcome)).copied().unwrap_or_default();
    assert!(
        of("file", Outcome::Told) > flips / 50 && of("log", Outcome::Told) > flips / 50,
        "most bits of these mean something: {counts:?}"
    );
    assert!(of("mark", Outcome::Whole) > flips / 50, "one half of the mark is enough: {counts:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_is_cut_off_at_any_kibibyte_is_told_unless_nothing_was_cut() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir_all(folder.path().join("live")).expect("made");
    let whole = left(folder.path()).await;
    let log = format!("{FILE}-wal");
    let length = std::fs::read(folder.path().join("left").join(&log)).expect("it is there").len();
    let mut told = 0;
    for at in (0..length).step_by(if std::env::var_os("PIPEHOST_DAMAGE").is_some() { 1_024 } else { 8 * 1_024 }) {
        let outcome = after(folder.path(), "left", &whole, &log, |bytes| bytes.truncate(at)).await;
        assert_ne!(outcome, Outcome::Silent, "cut off at {at} of {length}");
        told += usize::from(outcome == Outcome::Told);
    }
    assert!(told > 0, "what is cut off is missed");
    assert_eq!(after(folder.path(), "left", &whole, &log, |_| ()).await, Outcome::Whole);
}
