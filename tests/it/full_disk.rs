//! A pipeline's own database on a disk that is full: the write fails and says why, the program goes on, and when there is room again all
//! is well. The journal lies on another disk: `store::disk` has what happens when that one is full.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value as Json;

use crate::program::{Bench, Program};
use crate::store::disk::shim;

/// Keeps each line in a database.
const NOTES: &str = "
pipeline: notes
resources: { main: { sqlite: notes.db } }
executors: { sql: { builtin: sql.execute, grants: { sql: [main] } } }
trigger: { stdin: line }
steps:
  - run: sql
    with: { statement: 'CREATE TABLE IF NOT EXISTS notes (text TEXT)' }
  - run: sql
    with: { statement: 'INSERT INTO notes VALUES (?1)', parameters: ['${input.text}'] }
";

const RUN: [&str; 6] = ["run", "notes.yaml", "--events", "json", "--data", "data"];

/// The folder of the pipeline's databases: the only one on the disk that fills up.
const DISK: &str = "data/notes";

fn bench() -> Bench {
    let bench = Bench::empty();
    bench.write("notes.yaml", NOTES);
    fs::create_dir_all(bench.path(DISK)).expect("made");
    bench
}

/// Says a line that does not fit into what is left of a page, and hears how its run ended.
fn keep(program: &mut Program, letter: &str) -> Json {
    program.say(&letter.repeat(50_000));
    program.event("run_ended")
}

fn refused(ended: &Json, code: &str, words: &str) {
    let text = ended.to_string();
    assert!(text.contains("failed") && text.contains(code) && text.contains(words) && text.contains("notes.db"), "{text}");
}

/// Whether this user may mount a disk of their own, as in most places where tests run.
fn may_mount() -> bool {
    let mount = ["--user", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"];
    Command::new("unshare").args(mount).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

fn fill(file: &Path) {
    let mut filler = fs::File::create(file).expect("it is the disk of the program");
    for size in [65_536, 1] {
        while filler.write_all(&vec![0; size]).is_ok() {}
    }
}

#[test]
fn a_full_disk_is_told_and_a_disk_with_room_again_is_used() {
    if !may_mount() {
        // The next test has a disk that another library stands in for.
        return;
    }
    let bench = bench();
    let mount = format!(r#"mount -t tmpfs -o size=2m none {DISK} && exec "$0" "$@""#);
    let mut program = bench.start_through(&["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", &mount], &RUN);
    assert!(keep(&mut program, "a").to_string().contains("succeeded"));
    // Nobody but the program sees its disk, except through it.
    let disk = format!("/proc/{}/root{}", program.id(), bench.path(DISK).display());
    let filler = Path::new(&disk).join("filler");
    fill(&filler);
    refused(&keep(&mut program, "b"), "disk_full", "make room on that disk");
    refused(&keep(&mut program, "c"), "disk_full", "make room on that disk");
    fs::remove_file(filler).expect("removed");
    assert!(keep(&mut program, "d").to_string().contains("succeeded"));
    program.finish().ends_with(1);
}

#[test]
fn a_write_that_is_refused_is_told_and_the_next_one_is_tried() {
    let broken = tempfile::tempdir().expect("a folder");
    let file = broken.path().join("broken");
    // A limit of the process would refuse the journal's writes too.
    let bench = bench().with("LD_PRELOAD", &shim()).with("SHIM_PATH", "/notes/notes.db").with("SHIM_BROKEN", &file.to_string_lossy());
    let mut program = bench.start(&RUN);
    assert!(keep(&mut program, "a").to_string().contains("succeeded"));
    fs::write(&file, "").expect("written");
    refused(&keep(&mut program, "b"), "\"io\"", "check that disk");
    refused(&keep(&mut program, "c"), "\"io\"", "check that disk");
    fs::remove_file(&file).expect("removed");
    assert!(keep(&mut program, "d").to_string().contains("succeeded"));
    program.finish().ends_with(1);
}
