//! `pipehost store`, over a folder that a host has left.

use std::fs;
use std::path::Path;

use serde_json::Value as Json;

use super::{RUN, bench, delete, ended, exported, lines, lost};
use crate::program::Bench;

const VERIFY: [&str; 4] = ["store", "verify", "--data", "data"];
const ACCEPT: [&str; 4] = ["store", "accept-loss", "--data", "data"];

/// A bench in which a host has answered some lines.
fn used() -> (Bench, Vec<Json>) {
    let bench = bench();
    let finished = bench.run(&RUN, &lines(10));
    finished.ends_with(0);
    let events = finished.objects();
    assert_eq!(ended(&events).len(), 10, "{}", finished.out);
    (bench, events)
}

#[test]
fn what_a_host_has_left_is_all_there_and_can_be_exported_and_copied() {
    let (bench, events) = used();
    let verified = bench.run(&VERIFY, b"");
    verified.ends_with(0);
    assert!(verified.out.starts_with("All is there: "), "{}", verified.out);
    assert_eq!(lost(&events, &bench.path("data")), Vec::<String>::new());
    let kept = exported(&bench.path("data"));
    let first = kept.iter().find(|line| line["run"] == ended(&events)[0].as_str()).expect("it is there");
    assert_eq!((&first["pipeline"], &first["facts"][0]["input"]["text"]), (&Json::from("notes"), &Json::from("line 0")));
    bench.run(&["store", "backup", "copy", "--data", "data"], b"").ends_with(0);
    assert_eq!(exported(&bench.path("copy")), kept);
    bench.run(&["store", "verify", "--data", "copy"], b"").ends_with(0);
    bench.run(&["run", "notes.yaml", "--data", "copy"], b"one more\n").ends_with(0);
    bench.run(&["store", "verify", "--data", "copy"], b"").ends_with(0);
    let [told] = &bench.run(&["store", "backup", "other", "--json", "--data", "data"], b"").ends_with(0).objects()[..] else {
        panic!("it is one object")
    };
    assert_eq!((&told["good"], &told["copy"]), (&Json::Bool(true), &Json::from("other")), "{told}");
    bench.run(&["store", "backup", "copy", "--data", "data"], b"").ends_with(3).says(&["error[E0737]", "there is something in it"]);
}

/// Copies the files of a folder.
fn copied(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("it is there").flatten().filter(|entry| entry.path().is_file()) {
        fs::copy(entry.path(), to.join(entry.file_name())).expect("it can be copied");
    }
}

#[test]
fn a_host_that_may_have_lost_something_says_so_takes_nothing_and_goes_on_once_it_is_accepted() {
    let (bench, events) = used();
    delete(&bench.path("data"), "position = 2");
    let verified = bench.run(&VERIFY, b"");
    verified.ends_with(1);
    assert!(verified.out.contains("error[E0735]") && verified.out.contains("row 2 of the journal is missing"), "{}", verified.out);
    let found: Json = serde_json::from_str(&bench.run(&["store", "verify", "--json", "--data", "data"], b"").out).expect("it is JSON");
    assert_eq!((&found["good"], &found["data_loss_suspected"]), (&Json::Bool(false), &Json::Bool(true)), "{found}");
    let refused = bench.run(&RUN, b"a\n");
    refused.ends_with(1).says(&["error[E0735]", "row 2 of the journal is missing", "pipehost store accept-loss"]);
    assert!(refused.out.contains("\"not_admitted\"") && ended(&refused.objects()).is_empty(), "{}", refused.out);
    #[cfg(unix)]
    {
        let host = bench.start(&RUN);
        host.errors.expect("Reading messages");
        let listed = bench.run(&["runs", "list", "--data", "data"], b"");
        listed.ends_with(1).says(&["error[E0735]", "row 2 of the journal is missing", "pipehost store verify"]);
        assert!(listed.out.contains(&ended(&events)[9]), "{}", listed.out);
        drop(host.finish());
    }
    bench.run(&ACCEPT, b"").ends_with(1).says(&["row 2 of the journal is missing", "--yes"]);
    assert!(!bench.path("data/journal.lost-1").exists(), "nothing was said yet");
    let as_object = |arguments: &[&str], code| {
        let finished = bench.run(&[&["store", "accept-loss", "--json", "--data", "data"], arguments].concat(), b"");
        let [told] = &finished.ends_with(code).objects()[..] else { panic!("it is one object: {}", finished.out) };
        told.clone()
    };
    let asked = as_object(&[], 1);
    assert!(asked["lost"]["data_loss_suspected"] == Json::Bool(true) && asked["accepted"].is_null(), "{asked}");
    fs::create_dir_all(bench.path("aside")).expect("made");
    copied(&bench.path("data"), &bench.path("aside"));
    let accepted = as_object(&["--yes"], 0);
    let run = &accepted["accepted"]["runs"][0];
    assert!(run["run"].is_string() && run["has"].is_number(), "{accepted}");
    assert!(accepted["accepted"]["copy"].as_str().is_some_and(|copy| copy.ends_with("journal.lost-1")), "{accepted}");
    assert_eq!(as_object(&["--yes"], 0), serde_json::json!({ "lost": null, "accepted": null }));
    // The same in words, of what was there before.
    fs::remove_dir_all(bench.path("data")).expect("removed");
    fs::rename(bench.path("aside"), bench.path("data")).expect("put back");
    let accepted = bench.run(&["store", "accept-loss", "--yes", "--data", "data"], b"");
    accepted.ends_with(0);
    assert!(accepted.out.contains("run ") && accepted.out.contains("journal.lost-1"), "{}", accepted.out);
    assert!(bench.path("data/journal.lost-1/journal.db").exists());
    bench.run(&VERIFY, b"").ends_with(0);
    assert!(lost(&events, &bench.path("data")).len() <= 1, "only the run whose row is gone");
    bench.run(&RUN, b"a\n").ends_with(0);
    let nothing = bench.run(&["store", "accept-loss", "--yes", "--data", "data"], b"");
    nothing.ends_with(0);
    assert!(nothing.out.contains("Nothing is lost"), "{}", nothing.out);
}

#[test]
fn nothing_is_accepted_while_a_host_uses_the_folder_and_all_else_can_be_done() {
    let (bench, _) = used();
    let host = bench.start(&RUN);
    host.errors.expect("Reading messages");
    bench.run(&ACCEPT, b"").ends_with(3).says(&["error[E0720]", &format!("process {}", host_id(&host))]);
    bench.run(&VERIFY, b"").ends_with(0);
    bench.run(&["store", "backup", "copy", "--data", "data"], b"").ends_with(0);
    assert_eq!(exported(&bench.path("copy")).len(), exported(&bench.path("data")).len());
    host.finish().ends_with(0);
}

#[cfg(target_os = "linux")]
fn host_id(host: &crate::program::Program) -> u32 {
    host.id()
}

#[cfg(not(target_os = "linux"))]
fn host_id(_: &crate::program::Program) -> &'static str {
    ""
}

#[test]
fn a_folder_without_a_journal_and_one_of_a_newer_pipehost_are_told() {
    let (bench, _) = used();
    for command in ["verify", "export", "accept-loss"] {
        bench.run(&["store", command, "--data", "elsewhere"], b"").ends_with(3).says(&["error[E0736]", "elsewhere", "--data DIR"]);
    }
    let journal = rusqlite::Connection::open(bench.path("data/journal.db")).expect("it is a SQLite file");
    journal.execute_batch("PRAGMA user_version = 9").expect("changed");
    drop(journal);
    for arguments in [&VERIFY[..], &ACCEPT, &RUN] {
        bench.run(arguments, b"").ends_with(3).says(&["error[E0731]", "format 9"]);
    }
    for arguments in [&["store", "export", "--data", "data"][..], &["store", "backup", "copy", "--data", "data"]] {
        bench.run(arguments, b"").ends_with(3).says(&["error[E0731]", "format 9"]);
    }
    assert!(!bench.path("copy").exists());
}

#[test]
fn a_journal_of_which_nothing_can_be_read_is_told_alike_everywhere_and_both_ways_out_work() {
    let (bench, events) = used();
    bench.run(&["store", "backup", "copy", "--data", "data"], b"").ends_with(0);
    let journal = bench.path("data/journal.db");
    let damages: [(&dyn Fn(), &str); 3] = [
        (&|| fs::write(&journal, "no journal".repeat(1_000)).expect("written"), "journal.db is damaged"),
        (&|| fs::write(&journal, "").expect("written"), "journal.db is empty"),
        (&|| fs::remove_file(&journal).expect("it is there"), "journal.db is gone"),
    ];
    for (damage, words) in damages {
        damage();
        let told = ["error[E0735]", words, "pipehost store verify"];
        bench.run(&RUN, b"a\n").ends_with(1).says(&told);
        bench.run(&["runs", "list", "--data", "data"], b"").ends_with(1).says(&told);
        bench.run(&["store", "export", "--data", "data"], b"").ends_with(1).says(&told);
        bench.run(&["store", "backup", "other", "--data", "data"], b"").ends_with(1).says(&told);
        assert!(!bench.path("other").exists());
        let verified = bench.run(&VERIFY, b"");
        verified.ends_with(1);
        assert!(verified.out.contains(words) && verified.out.contains("store accept-loss"), "{}", verified.out);
        // A backup is put in its place by what the help says.
        #[cfg(unix)]
        {
            let typed = verified.out.lines().find(|line| line.contains("BACKUP/.")).expect("it says how").replace("BACKUP", "copy");
            let shell = std::process::Command::new("sh").arg("-c").arg(typed.trim()).current_dir(bench.path("")).status();
            assert!(shell.expect("there is a shell").success(), "{typed}");
            bench.run(&VERIFY, b"").ends_with(0);
            assert_eq!(lost(&events, &bench.path("data")), Vec::<String>::new());
            bench.run(&RUN, b"a\n").ends_with(0);
            damage();
        }
        bench.run(&["store", "accept-loss", "--yes", "--data", "data"], b"").ends_with(0);
        bench.run(&RUN, b"a\n").ends_with(0);
        bench.run(&VERIFY, b"").ends_with(0);
    }
}

#[test]
fn a_file_of_a_large_value_that_is_gone_is_told_alike_by_verify_and_by_accepting_the_loss() {
    let bench = bench();
    bench.run(&RUN, &[&b"x".repeat(100_000)[..], b"\n"].concat()).ends_with(0);
    fs::remove_dir_all(bench.path("data/payloads")).expect("a large value was kept");
    bench.run(&VERIFY, b"").ends_with(1);
    bench.run(&ACCEPT, b"").ends_with(1).says(&["a large value is lost", "--yes"]);
    bench.run(&["store", "accept-loss", "--yes", "--data", "data"], b"").ends_with(0);
    bench.run(&VERIFY, b"").ends_with(0);
}
