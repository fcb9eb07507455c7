//! Hosts on disks that fail, fill up or lose their power: a library that is loaded before the C library stands in for the disk.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::Value as Json;

use super::{NOTES, RUN, bench, contradicted, ended, lines, lost};
use crate::program::{Bench, Program};

/// The disk, compiled once for all tests.
pub(crate) fn shim() -> String {
    static SHIM: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, file) = SHIM.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("shim.so");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/it/store/shim.c");
        let compiled =
            Command::new("cc").args(["-O1", "-shared", "-fPIC", "-o"]).args([&file, &source]).args(["-ldl", "-lpthread"]).status();
        assert!(compiled.expect("there is a C compiler").success(), "the disk does not compile");
        (folder, file)
    });
    file.to_string_lossy().into_owned()
}

/// A bench whose programs have this disk beneath the files that hold `path` in theirs.
fn on_a_disk(path: &str, settings: &[(&str, &str)]) -> Bench {
    let bench = bench().with("LD_PRELOAD", &shim()).with("SHIM_PATH", path);
    settings.iter().fold(bench, |bench, (name, value)| bench.with(name, value))
}

/// Starts a host with a good disk on what another one has left, and waits for its end.
fn go_on(data: &Path, input: &[u8]) -> crate::program::Finished {
    let bench = Bench::empty();
    bench.write("notes.yaml", NOTES);
    bench.run(&["run", "notes.yaml", "--events", "json", "--data", &data.to_string_lossy()], input)
}

#[test]
fn a_disk_that_fails_once_ends_the_host_and_what_was_acknowledged_is_there() {
    for nth in ["12", "17", "31"] {
        let bench = on_a_disk("journal.", &[("SHIM_FAIL_SYNC", nth)]);
        let finished = bench.run(&RUN, &lines(200));
        // The disk would take everything after that: to try it again would seem to go well.
        finished.ends_with(1).says(&["error[E0739]", "start it again"]);
        let events = finished.objects();
        assert!(ended(&events).len() < 200, "{nth}: the host went on");
        go_on(&bench.path("data"), b"").ends_with(0);
        assert_eq!(lost(&events, &bench.path("data")), Vec::<String>::new(), "{nth}");
        // Nor did anybody hear of an end that the journal does not have.
        assert_eq!(contradicted(&events, &bench.path("data")), Vec::<String>::new(), "{nth}");
    }
}

/// The next end of a run, or the next line that was refused.
fn answer(program: &Program) -> Json {
    loop {
        let line = program.output().line().unwrap_or_else(|| panic!("it ended: {}", program.errors.so_far()));
        let event: Json = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        if event["event"] == "run_ended" || event["event"] == "not_admitted" {
            return event;
        }
    }
}

fn is_refused(answer: &Json) -> bool {
    let refused = answer["event"] == "not_admitted";
    assert!(!refused || answer["reason"].as_str().is_some_and(|reason| reason.contains("the store is full")), "{answer}");
    refused
}

/// Says a line until its run ends well. While there is no room, each try is refused.
fn until_taken(program: &mut Program, text: &str) {
    loop {
        program.say(text);
        let answer = answer(program);
        if !is_refused(&answer) {
            assert_eq!(answer["outcome"], "succeeded", "{answer}");
            return;
        }
    }
}

/// Fills a host's disk while a run is under way, makes room again, and sees that nothing is lost.
fn fill_and_free(mut program: Program, data: &Path, make_room: impl FnOnce()) {
    let mut events: Vec<Json> = Vec::new();
    program.say("slow");
    let slow = program.event("run_started")["run"].clone();
    let large = "x".repeat(40_000);
    // New runs are refused sooner or later.
    loop {
        program.say(&large);
        let answer = answer(&program);
        if is_refused(&answer) {
            break;
        }
        assert!(answer["run"] != slow && events.len() < 4_000, "the disk has no end, or is too slow to fill");
        events.push(answer);
    }
    // The one that was under way ends, thanks to what was held back.
    let finished = loop {
        let ended = program.event("run_ended");
        if ended["run"] == slow {
            break ended;
        }
        events.push(ended);
    };
    assert_eq!(finished["outcome"], "succeeded", "{finished}");
    events.push(finished);
    program.errors.expect("there is no room where the data folder is (");
    make_room();
    until_taken(&mut program, "there is room");
    let finished = program.finish();
    finished.says(&["there is room again where the data folder is: new runs are taken"]);
    assert!(!finished.err.contains("panicked"), "{}", finished.err);
    assert_eq!(lost(&events, data), Vec::<String>::new());
}

#[test]
fn a_full_disk_refuses_what_is_new_finishes_what_is_under_way_and_goes_on_when_there_is_room() {
    let room = tempfile::tempdir().expect("a folder");
    let file = room.path().join("room");
    let bench = on_a_disk("/data/", &[("SHIM_BUDGET", "8000000"), ("SHIM_ROOM", &file.to_string_lossy())]);
    let program = bench.start(&RUN);
    fill_and_free(program, &bench.path("data"), || fs::write(&file, "").expect("written"));
}

#[test]
fn a_start_on_a_full_disk_goes_on_with_what_is_under_way_and_takes_nothing_new_until_there_is_room() {
    let room = tempfile::tempdir().expect("a folder");
    let file = room.path().join("room");
    let bench = on_a_disk("/data/", &[]);
    let mut program = bench.start(&RUN);
    program.say("slow");
    let slow = program.event("run_started")["run"].clone();
    program.signal("KILL");
    drop(program.finish());
    // The log that is there would be written over from its beginning. Without one, whatever is written makes it longer.
    let journal = rusqlite::Connection::open(bench.path("data/journal.db")).expect("it is there");
    journal.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).expect("nobody holds it");
    drop(journal);
    // Not one file may grow by one byte, but for what the ballast gives back.
    let full = [("SHIM_BUDGET", "0"), ("SHIM_ROOM", &file.to_string_lossy())];
    let mut program = bench.start_with(&full, &RUN);
    let ended = program.event("run_ended");
    assert_eq!((&ended["run"], &ended["outcome"]), (&slow, &"succeeded".into()), "{}", program.errors.so_far());
    program.errors.expect("there is no room where the data folder is (");
    program.say("new");
    assert!(is_refused(&answer(&program)));
    assert!(!bench.path("data/ballast").exists());
    fs::write(&file, "").expect("written");
    until_taken(&mut program, "there is room");
    program.finish().says(&["there is room again where the data folder is: new runs are taken"]);
    assert_eq!(fs::metadata(bench.path("data/ballast")).expect("it is held again").len(), 4 << 20);
    bench.run(&["store", "verify", "--data", "data"], b"").ends_with(0);
    assert_eq!(lost(&[ended], &bench.path("data")), Vec::<String>::new());
}

#[test]
fn a_full_disk_without_a_ballast_refuses_the_start_with_its_cause() {
    let bench = on_a_disk("/data/", &[]);
    bench.run(&RUN, b"a line\n").ends_with(0);
    fs::remove_file(bench.path("data/ballast")).expect("it was made");
    let mut program = bench.start_with(&[("SHIM_BUDGET", "0")], &RUN);
    program.end_input();
    program.finish().ends_with(3).says(&["error[E0734]", "make room on that disk"]);
    bench.run(&RUN, b"a line\n").ends_with(0);
}

#[test]
fn a_disk_that_fails_in_the_first_start_of_a_folder_is_named_and_the_next_start_finds_nothing_missing() {
    for nth in 1..=8 {
        let bench = on_a_disk("/data/", &[("SHIM_FAIL_SYNC", &nth.to_string())]);
        let finished = bench.run(&RUN, b"");
        finished.ends_with(3).says(&["error[E0739]", "see to that disk"]);
        go_on(&bench.path("data"), b"a line\n").ends_with(0);
        bench.run(&["store", "verify", "--data", "data"], b"").ends_with(0);
    }
}

#[test]
fn a_journal_that_another_program_holds_is_no_full_disk_and_is_written_again_once_it_is_free() {
    let bench = bench();
    let mut program = bench.start(&RUN);
    until_taken(&mut program, "first");
    let other = rusqlite::Connection::open(bench.path("data/journal.db")).expect("it is there");
    other.execute_batch("BEGIN IMMEDIATE").expect("nobody writes");
    program.say("held");
    let refused = answer(&program);
    let reason = refused["reason"].as_str().unwrap_or_default().to_owned();
    assert!(refused["event"] == "not_admitted" && reason.contains("somebody else holds the store"), "{refused}");
    assert!(!reason.contains("room") && !reason.contains("full"), "{reason}");
    program.errors.expect("another program holds the journal in the data folder (");
    other.execute_batch("COMMIT").expect("it is held by it");
    program.errors.expect("nobody else holds the journal any more: new runs are taken");
    until_taken(&mut program, "free");
    assert!(!program.finish().err.contains("make room"));
}

/// Whether this user may mount a disk of their own, as in most places where tests run.
pub(crate) fn may_mount() -> bool {
    let mount = ["--user", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"];
    Command::new("unshare").args(mount).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

#[test]
fn a_real_disk_of_64_mib_is_filled_and_freed() {
    if !may_mount() {
        // The room that the real one has left once most of it is taken.
        eprintln!("nobody may mount a disk here: files that may grow by 16 MiB stand in for it");
        let room = tempfile::tempdir().expect("a folder");
        let file = room.path().join("room");
        let bench = on_a_disk("/data/", &[("SHIM_BUDGET", "16777216"), ("SHIM_ROOM", &file.to_string_lossy())]);
        let program = bench.start(&RUN);
        return fill_and_free(program, &bench.path("data"), || fs::write(&file, "").expect("written"));
    }
    let bench = bench();
    fs::create_dir_all(bench.path("data")).expect("made");
    let mount = r#"mount -t tmpfs -o size=64m none data && exec "$0" "$@""#;
    let program = bench.start_through(&["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount], &RUN);
    program.errors.expect("Reading messages");
    // Nobody but the program sees its disk, except through it.
    let disk = PathBuf::from(format!("/proc/{}/root{}", program.id(), bench.path("data").display()));
    let filler = disk.join("filler");
    fs::write(&filler, vec![0; 48 << 20]).expect("there is room");
    let mut program = program;
    let (mut refused, mut events) = (false, Vec::new());
    program.say("slow");
    let slow = program.event("run_started")["run"].clone();
    let large = "x".repeat(40_000);
    while !refused && events.len() < 2_000 {
        program.say(&large);
        let answer = answer(&program);
        refused = is_refused(&answer);
        events.push(answer);
    }
    assert!(refused, "64 MiB have no end");
    // What was under way ends, though there is no room: some was held back for it.
    while !events.iter().any(|event| event["event"] == "run_ended" && event["run"] == slow) {
        events.push(program.event("run_ended"));
    }
    fs::remove_file(&filler).expect("removed");
    until_taken(&mut program, "there is room");
    // It has answered, and nobody has said anything since.
    fs::create_dir_all(bench.path("left/payloads")).expect("made");
    let large = fs::read_dir(disk.join("payloads")).expect("there are large values").map(|entry| entry.expect("listed").path());
    for from in ["journal.db", "journal.db-wal", "journal.mark"].map(|name| disk.join(name)).into_iter().chain(large) {
        let to = bench.path("left").join(from.strip_prefix(&disk).expect("it is on it"));
        fs::copy(from, to).expect("it is there");
    }
    bench.run(&["store", "verify", "--data", "left"], b"").ends_with(0);
    assert_eq!(lost(&events, &bench.path("left")), Vec::<String>::new());
    drop(program.finish());
}

/// Has a host answer lines, cuts its power, and gives what the world was told and what the disk had at that moment.
fn power_cut(settings: &[(&str, &str)], arguments: &[&str]) -> (Vec<Json>, tempfile::TempDir) {
    let shadow = tempfile::tempdir().expect("a folder");
    let folder = shadow.path().to_string_lossy().into_owned();
    let settings: Vec<(&str, &str)> = settings.iter().copied().chain([("SHIM_SHADOW", folder.as_str())]).collect();
    let bench = on_a_disk("/data/journal.", &settings);
    let mut program = bench.start(&[&RUN[..], arguments].concat());
    let mut events = Vec::new();
    for number in 0..30 {
        program.say(&format!("line {number}"));
        events.push(program.event("run_ended"));
    }
    program.signal("KILL");
    drop(program.finish());
    assert_eq!(ended(&events).len(), 30);
    (events, shadow)
}

#[test]
fn a_power_cut_takes_nothing_that_was_acknowledged() {
    for arguments in [&[][..], &["--integrity", "strict"]] {
        let (events, left) = power_cut(&[], arguments);
        go_on(left.path(), b"").ends_with(0);
        assert_eq!(lost(&events, left.path()), Vec::<String>::new(), "{arguments:?}");
    }
}

#[test]
fn a_host_that_does_not_wait_for_the_disk_is_found_out() {
    let (events, left) = power_cut(&[("SHIM_SKIP_SYNC", "1")], &[]);
    let nothing_left = !left.path().join("journal.db").exists();
    assert!(nothing_left || !lost(&events, left.path()).is_empty(), "the disk was never waited for, and nothing is missed");
}
