//! What is wrong from the outside: each is named with the way out, nothing panics, nothing is lost.

use std::fs;

use crate::program::{Bench, CHATBOT};

/// A pipeline of one plugin.
const PLUGIN: &str = "
pipeline: plugin
executors: { plugin: { wasm: plugin.wasm } }
trigger: { stdin: line }
steps: [{ id: plugin, run: plugin }]
";

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let bench = Bench::chatbot();
    bench.write("latin.yaml", b"pipeline: caf\xe9\n");
    bench.write("own.wasm", b"\0asm\xff\xfe");
    let cases = [
        ("nothing.yaml", "there is no file nothing.yaml", "check the spelling"),
        ("pipelines/docs", "the folder pipelines/docs holds no pipeline", "a folder stands for"),
        ("latin.yaml", "latin.yaml is not UTF-8", "save it as UTF-8"),
        ("pipelines/scripts/save_message.rhai", "save_message.rhai is a Rhai script, and no pipeline", "begins with pipeline: NAME"),
        ("own.wasm", "own.wasm is a WebAssembly component, and no pipeline", "executors: { own: { wasm: own.wasm } }"),
    ];
    for (file, cause, way_out) in cases {
        bench.run(&["run", file], b"hello\n").ends_with(3).says(&["error[E01", cause, way_out]);
        let checked = bench.run(&["check", file], b"");
        assert!(checked.ends_with(1).out.contains(cause), "{}", checked.out);
    }
}

#[cfg(unix)]
#[test]
fn a_file_that_may_not_be_read_is_named() {
    use std::os::unix::fs::PermissionsExt;

    let bench = Bench::chatbot();
    fs::set_permissions(bench.path(CHATBOT), fs::Permissions::from_mode(0o000)).expect("set");
    if fs::read(bench.path(CHATBOT)).is_ok() {
        // Whoever runs this may read everything.
        return;
    }
    bench.run(&["run", CHATBOT], b"").ends_with(3).says(&["error[E0101]", "chatbot.yaml"]);
}

/// Nobody may read these, whoever they are.
#[cfg(unix)]
#[test]
fn a_path_that_leads_to_no_file_is_named_to_everybody() {
    let bench = Bench::chatbot();
    std::os::unix::fs::symlink("loop.yaml", bench.path("loop.yaml")).expect("made");
    let through_a_file = format!("{CHATBOT}/flow.yaml");
    let too_long = format!("{}.yaml", "long".repeat(100));
    for file in ["loop.yaml", &through_a_file, &too_long] {
        bench.run(&["run", file, "--data", "data"], b"").ends_with(3).says(&["error[E0101]", file]);
        let checked = bench.run(&["check", file, "--data", "data"], b"");
        assert!(checked.ends_with(1).out.contains(file), "{}", checked.out);
    }
}

#[test]
fn a_thousand_aliases_are_counted_as_what_they_stand_for() {
    let bench = Bench::empty();
    let mut text = "pipeline: bomb\nstate:\n  initial:\n    a0: &a0 [x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..10 {
        let below = vec![format!("*a{}", level - 1); 100].join(", ");
        text.push_str(&format!("    a{level}: &a{level} [{below}]\n"));
    }
    bench.write("bomb.yaml", text);
    bench.run(&["run", "bomb.yaml"], b"").ends_with(3).says(&["error[E0107]", "bomb.yaml"]);
}

#[test]
fn a_plugin_that_is_none_is_named_with_what_it_should_be() {
    let bench = Bench::empty();
    bench.write("plugin.yaml", PLUGIN);
    bench.run(&["run", "plugin.yaml"], b"").ends_with(3).says(&["error[E0520]", "plugin.wasm cannot be read"]);
    bench.write("plugin.wasm", "garbage");
    bench.run(&["run", "plugin.yaml"], b"").ends_with(3).says(&["error[E0521]", "plugin.wasm is not a WebAssembly component"]);
    bench.write("plugin.wasm", wat::parse_str("(module)").expect("it is WebAssembly"));
    bench.run(&["run", "plugin.yaml"], b"").ends_with(3).says(&["error[E0522]", "core module"]);
    let newer = r#"(component (import "pipehost:executor/log@9.0.0" (instance)))"#;
    bench.write("plugin.wasm", wat::parse_str(newer).expect("it is WebAssembly"));
    bench.run(&["run", "plugin.yaml"], b"").ends_with(3).says(&["error[E0524]", "pipehost:executor@9.0.0", "0.1.0"]);
}

#[test]
fn a_damaged_database_is_named_and_left_as_it_is() {
    let bench = Bench::chatbot();
    let garbage = b"this is no database".repeat(500);
    let file = "pipelines/.pipehost/chatbot/chat.db";
    bench.write(file, &garbage);
    bench.run(&["run", CHATBOT], b"how do retries work?\n").ends_with(3).says(&["error[E0602]", "chat.db is damaged", "move it away"]);
    assert_eq!(fs::read(bench.path(file)).expect("it is there"), garbage);
}

#[test]
fn a_data_folder_that_cannot_be_written_to_is_named() {
    let bench = Bench::chatbot();
    bench.write("file", "x");
    bench.run(&["run", CHATBOT, "--data", "file"], b"").ends_with(3).says(&["error[E0702]", "--data DIR"]);
    #[cfg(target_os = "linux")]
    bench.run(&["run", CHATBOT, "--data", "/proc/none"], b"").ends_with(3).says(&["error[E0703]", "/proc/none", "--data DIR"]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_data_folder_that_is_there_and_read_only_is_named_and_can_be_looked_at() {
    let bench = Bench::chatbot();
    bench.run(&["run", CHATBOT, "--data", "data"], b"how do retries work?\n").ends_with(0);
    if !crate::store::disk::may_mount() {
        eprintln!("nobody may mount a read-only folder here, so this is not shown");
        return;
    }
    let read_only = |arguments: &[&str]| {
        let mount = r#"mount --bind data data && mount -o remount,bind,ro data && exec "$0" "$@""#;
        let program = bench.start_through(&["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount], arguments);
        program.finish()
    };
    let refused = read_only(&["run", CHATBOT, "--data", "data"]);
    refused.ends_with(3).says(&["error[E0703]", "the data folder data cannot be written to (Read-only file system", "--data DIR"]);
    assert!(read_only(&["runs", "list", "--data", "data"]).ends_with(0).out.contains("chatbot.main"));
    read_only(&["store", "verify", "--data", "data"]).ends_with(0);
}

#[cfg(target_os = "linux")]
#[test]
fn an_output_that_is_full_is_told() {
    let bench = Bench::chatbot();
    bench.run_into("/dev/full", &["run", CHATBOT], b"how do retries work?\n").ends_with(1).says(&["error[E0706]", "cannot be written"]);
}

#[test]
fn secrets_that_cannot_be_read_are_named_and_not_shown() {
    let bench = Bench::chatbot();
    bench.write("secrets", "hunter2\n");
    let ended = bench.run(&["run", CHATBOT, "--secrets", "secrets"], b"");
    ended.ends_with(3).says(&["error[E0705]", "secrets", "line 1"]);
    assert!(!ended.err.contains("hunter2"), "{}", ended.err);
}
