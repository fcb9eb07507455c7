//! Flipped bits and a log that was cut off: after each, what was acknowledged is there, or it is said that it may not be.
//!
//! `PIPEHOST_DAMAGE=2000 cargo test -p pipehost --lib journal::sqlite::tests::damage` flips so many bits; `PIPEHOST_SEED` repeats a run.

use std::panic::AssertUnwindSafe;
use std::path::Path;

use futures_util::FutureExt;

use super::workload::{Content, copy, fill, open, read};
use crate::journal::sqlite::verify::mark_path;
use crate::journal::sqlite::{FILE, Findings, NEWER, Standing, accept_loss, connection, standing, verify};
use crate::model::port::{Health, RunQuery, Store};
use crate::model::record::Room;
use crate::model::time::Timestamp;

/// So many runs stand in the store that is damaged.
const RUNS: u128 = 40;
/// And so many in one that a host has just made: too few for anything to be taken over from the log into the file.
const FEW: u128 = 3;
/// So many bits are flipped in a usual test run.
const FLIPS: usize = 240;

/// What became of a store that was damaged.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Outcome {
    /// All is there.
    Whole,
    /// It is said that something may be lost, in a way from which accepting the loss leads out.
    Told,
    /// It cannot be opened, and nothing that is said leads out of that.
    Stuck,
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

/// The same of a host that was killed soon after it had made its journal: nothing was taken over since.
async fn left_young(folder: &Path) -> Content {
    let store = open(&folder.join("live")).expect("it can be opened");
    fill(&store, 1..=FEW).await;
    copy(&folder.join("live"), &folder.join("left"));
    read(&store, FEW).await
}

async fn outcome(folder: &Path, runs: u128, whole: &Content) -> Outcome {
    let store = match open(folder) {
        Ok(store) => store,
        // A bit of the number of its format, which then is a later one.
        Err(failure) if failure.code.as_deref() == Some(NEWER) => return Outcome::Told,
        Err(_) => return Outcome::Stuck,
    };
    if store.health() != Health::Good {
        return if is_told(folder) { Outcome::Told } else { Outcome::Stuck };
    }
    match read(&store, runs).await {
        content if content == *whole => Outcome::Whole,
        content if content.keeps(whole) => Outcome::Told,
        _ => Outcome::Silent,
    }
}

/// What `store verify` finds in a folder in which something was kept; `None` if it says that nothing was.
fn found(folder: &Path) -> Option<Findings> {
    match standing(folder).expect("whether something is lost is known") {
        Standing::Journal => Some(verify(folder).expect("it can be looked at")),
        Standing::Lost(problem) => Some(Findings::of(problem)),
        Standing::Nothing | Standing::Older => None,
    }
}

/// Whether it is said that something may be lost.
fn is_told(folder: &Path) -> bool {
    found(folder).is_some_and(|found| found.is_suspect())
}

/// Whether a host goes on without what is lost once somebody has accepted that.
fn leads_out(folder: &Path) -> bool {
    let Some(found) = found(folder) else { return false };
    let accepted = accept_loss(folder, &found, Timestamp::EPOCH);
    accepted.is_ok() && open(folder).is_ok_and(|store| store.health() == Health::Good) && found_nothing(folder)
}

fn found_nothing(folder: &Path) -> bool {
    found(folder).is_some_and(|found| found.problems.is_empty())
}

/// Damages a copy of what was left, and says what became of it. A panic is the worst.
async fn after(folder: &Path, of: &str, whole: &Content, file: &str, damage: impl FnOnce(&mut Vec<u8>)) -> Outcome {
    after_of(folder, of, (RUNS, whole), file, damage).await
}

async fn after_of(folder: &Path, of: &str, (runs, whole): (u128, &Content), file: &str, damage: impl FnOnce(&mut Vec<u8>)) -> Outcome {
    let damaged = folder.join("damaged");
    let _ = std::fs::remove_dir_all(&damaged);
    copy(&folder.join(of), &damaged);
    let path = damaged.join(file);
    let mut bytes = std::fs::read(&path).expect("it is there");
    damage(&mut bytes);
    std::fs::write(&path, bytes).expect("written");
    AssertUnwindSafe(outcome(&damaged, runs, whole)).catch_unwind().await.unwrap_or(Outcome::Silent)
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
        assert!(outcome < Outcome::Stuck, "{outcome:?}: PIPEHOST_SEED={seed}: flip {flip}, bit {bit} of byte {at} of {file} ({of})");
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
        assert!(outcome < Outcome::Stuck, "{outcome:?}: cut off at {at} of {length}");
        told += usize::from(outcome == Outcome::Told);
    }
    assert!(told > 0, "what is cut off is missed");
    assert_eq!(after(folder.path(), "left", &whole, &log, |_| ()).await, Outcome::Whole);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_young_journal_whose_log_is_cut_or_flipped_at_its_beginning_can_be_read_and_the_loss_be_accepted() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir_all(folder.path().join("live")).expect("made");
    let whole = left_young(folder.path()).await;
    let (log, damaged) = (format!("{FILE}-wal"), folder.path().join("damaged"));
    let length = std::fs::read(folder.path().join("left").join(&log)).expect("it is there").len();
    let every = if std::env::var_os("PIPEHOST_DAMAGE").is_some() { 1_024 } else { 16 * 1_024 };
    for at in [0, 1, 32, 1_024, 8 * 1_024].into_iter().chain((0..length).step_by(every)) {
        let outcome = after_of(folder.path(), "left", (FEW, &whole), &log, |bytes| bytes.truncate(at)).await;
        assert_eq!(outcome, Outcome::Told, "cut off at {at} of {length}");
        let store = open(&damaged).expect("it can be read");
        assert!(store.runs(RunQuery::default()).await.is_ok() && store.kept(Room::State).await.is_ok(), "cut off at {at}");
        drop(store);
        assert!(leads_out(&damaged), "cut off at {at} of {length}");
    }
    let mut numbers = Numbers(given("PIPEHOST_SEED").unwrap_or(20_261_122));
    let flips = given("PIPEHOST_DAMAGE").map_or(40, |flips| usize::try_from(flips).expect("it is small"));
    for _ in 0..flips {
        let (at, bit) = (numbers.below(length / 2), numbers.below(8));
        let outcome = after_of(folder.path(), "left", (FEW, &whole), &log, |bytes| bytes[at] ^= 1 << bit).await;
        assert!(outcome < Outcome::Stuck, "{outcome:?}: bit {bit} of byte {at} of {length}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_cut_or_gone_is_said_to_be_lost_and_the_loss_can_be_accepted() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir_all(folder.path().join("live")).expect("made");
    let whole = left(folder.path()).await;
    let damaged = folder.path().join("damaged");
    for of in ["left", "closed"] {
        for length in [0, 1, 100, 4_096, 8_192, 40_000] {
            let outcome = after(folder.path(), of, &whole, FILE, |bytes| bytes.truncate(length)).await;
            // What is in the log makes up for what the file has not.
            assert!(outcome == Outcome::Told || of == "left" && outcome == Outcome::Whole, "{outcome:?}: {length} bytes of {of}");
            assert!(outcome == Outcome::Whole || leads_out(&damaged), "{length} bytes of {of}");
        }
        let outcome = after(folder.path(), of, &whole, FILE, |_| ()).await;
        assert_eq!(outcome, Outcome::Whole);
        let store = open(&damaged).expect("it can be opened");
        store.close();
        std::fs::remove_file(damaged.join(FILE)).expect("it is there");
        assert!(mark_path(&damaged.join(FILE)).exists() && is_told(&damaged), "{of}");
        assert!(matches!(open(&damaged).expect("it opens").health(), Health::Suspect(why) if why.contains("is gone")));
        assert!(leads_out(&damaged), "{of}");
    }
}
