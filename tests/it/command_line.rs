//! The commands beside a conversation: check, graph, help, the log, exit codes, and outputs that nobody reads.

use std::fs;

use serde_json::Value as Json;

use crate::program::{Bench, CHATBOT, text};

#[test]
fn version_and_help_are_shown_and_usage_is_refused_with_two() {
    let bench = Bench::empty();
    let version = bench.run(&["--version"], b"");
    assert_eq!(version.ends_with(0).out, concat!("pipehost ", env!("CARGO_PKG_VERSION"), "\n"));
    for arguments in [&["--help"][..], &["run", "--help"], &["check", "--help"], &["graph", "--help"]] {
        let help = bench.run(arguments, b"");
        assert!(help.ends_with(0).out.contains("Examples:") && help.out.contains("Exit codes:"), "{}", help.out);
    }
    for arguments in [&[][..], &["rnu"], &["run"], &["run", "a.yaml", "--input", "no"], &["check", "a.yaml", "--format", "xml"]] {
        bench.run(arguments, b"").ends_with(2).says(&["help"]);
    }
}

#[test]
fn check_finds_every_mistake_in_three_ways_of_writing() {
    let bench = Bench::chatbot();
    bench.run(&["check", CHATBOT], b"").ends_with(0).says(&["1 pipeline: no mistakes"]);
    bench.replace(CHATBOT, "policy: api", "policy: apy");
    bench.replace(CHATBOT, "description:", "descripton:");
    let shown = bench.run(&["check", CHATBOT], b"");
    for words in ["error[E0403]", "--> pipelines/chatbot.yaml:", "policy: apy", "^", "help: did you mean `description`?", "2 errors"] {
        assert!(shown.ends_with(1).out.contains(words), "{words:?} is not in {}", shown.out);
    }
    let list: Json = serde_json::from_str(&bench.run(&["check", CHATBOT, "--format", "json"], b"").ends_with(1).out).expect("JSON");
    let codes: Vec<&str> = list.as_array().expect("a list").iter().map(|mistake| text(mistake, "code")).collect();
    assert!(codes.contains(&"E0201") && codes.contains(&"E0403"), "{codes:?}");
    let notes = bench.run(&["check", CHATBOT, "--format", "github"], b"");
    for note in ["::error file=pipelines/chatbot.yaml,line=", "title=E0201::", "title=E0403::there is no policy `apy`%0A"] {
        assert!(notes.ends_with(1).out.contains(note), "{note:?} is not in {}", notes.out);
    }
}

#[test]
fn warnings_alone_are_good() {
    let bench = Bench::chatbot();
    bench.replace(CHATBOT, "policies:\n", "policies:\n  unused: { timeout: 1s }\n");
    let shown = bench.run(&["check", CHATBOT], b"");
    assert!(shown.ends_with(0).out.contains("warning[W0401]"), "{}", shown.out);
    bench.run(&["run", CHATBOT], b"how do retries work?\n").ends_with(0).says(&["warning[W0401]"]);
}

#[test]
fn check_starts_nothing_and_leaves_nothing() {
    let bench = Bench::chatbot();
    bench.run(&["check", CHATBOT], b"").ends_with(0);
    assert!(!bench.path("pipelines/.pipehost/chatbot").exists());
}

#[test]
fn a_file_of_the_folder_that_one_is_in_needs_no_folder_before_it() {
    let bench = Bench::chatbot();
    fs::rename(bench.path(CHATBOT), bench.path("chatbot.yaml")).expect("moved");
    fs::rename(bench.path("pipelines/docs"), bench.path("docs")).expect("moved");
    fs::rename(bench.path("pipelines/scripts"), bench.path("scripts")).expect("moved");
    bench.replace("chatbot.yaml", "../plugins", "plugins");
    let ended = bench.run(&["run", "chatbot.yaml"], b"how do retries work?\n");
    assert!(text(&ended.ends_with(0).objects()[0], "text").contains("[1] docs/"));
    assert!(bench.path(".pipehost/chatbot/chat.db").exists());
}

#[test]
fn a_graph_is_drawn_in_either_language_and_always_the_same() {
    let bench = Bench::chatbot();
    for (format, first) in [("mermaid", "flowchart "), ("dot", "digraph ")] {
        let drawn = bench.run(&["graph", CHATBOT, "--format", format], b"");
        assert!(drawn.ends_with(0).out.starts_with(first), "{}", drawn.out);
        for name in ["retrieve", "answer", "save", "ChatSaved"] {
            assert!(drawn.out.contains(name), "{name} is not in {}", drawn.out);
        }
        assert_eq!(bench.run(&["graph", CHATBOT, "--format", format], b"").out, drawn.out);
    }
    // The first step fails only where it should: its condition is to be seen, and where it goes on.
    let drawn = bench.run(&["graph", CHATBOT], b"").out;
    let first = drawn.lines().find(|line| line.contains("p0f0s0[")).expect("the first step is drawn");
    assert!(first.contains("fail<br>when "), "{first}");
    assert!(drawn.contains("p0f0s0 -- \"else\" --> "), "{drawn}");
    bench.write("wait.yaml", b"pipeline: w\ntrigger: manual\nevents: { Paid: { order: string } }\nsteps:\n  - wait: { event: Paid, match: { order: x }, timeout: 1h, on_timeout: [{ sleep: 5s }] }\n");
    let drawn = bench.run(&["graph", "wait.yaml"], b"").ends_with(0).out.clone();
    assert!(drawn.contains("[\"wait, at most 1h\"]"), "{drawn}");
    let explained = bench.run(&["explain", "wait.yaml"], b"").ends_with(0).out.clone();
    assert!(explained.contains("at most 1h") && explained.contains("5s") && !explained.contains("\"5s\""), "{explained}");
}

#[test]
fn the_data_lies_where_it_is_asked_to() {
    let bench = Bench::chatbot();
    bench.run(&["run", CHATBOT, "--data", "elsewhere"], b"how do retries work?\n").ends_with(0).says(&["elsewhere"]);
    assert!(bench.path("elsewhere/chatbot/chat.db").exists() && !bench.path("pipelines/.pipehost").exists());
}

#[test]
fn the_log_is_json_with_the_levels_that_were_promised() {
    let bench = Bench::chatbot();
    bench.replace(
        "pipelines/scripts/save_message.rhai",
        "fn process(job) {",
        "fn process(job) {\n    throw #{ kind: \"transient\", message: \"gone\" };",
    );
    bench.replace(CHATBOT, "max_retries: 3, base_delay: 200ms", "max_retries: 1, base_delay: 1ms");
    let ended = bench.run(&["run", CHATBOT, "--log", "json", "--log-level", "debug"], b"how do retries work?\n");
    let lines: Vec<Json> = ended.ends_with(1).err.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let level = |words: &str| {
        let found = lines.iter().find(|line| text(line, "message").starts_with(words));
        text(found.unwrap_or_else(|| panic!("{words:?} is not logged: {}", ended.err)), "level").to_owned()
    };
    let levels = ["dispatched", "started", "progress", "succeeded", "will be tried again", "failed"].map(|words| (words, level(words)));
    let wanted = [
        ("dispatched", "INFO"),
        ("started", "DEBUG"),
        ("progress", "DEBUG"),
        ("succeeded", "INFO"),
        ("will be tried again", "WARN"),
        ("failed", "ERROR"),
    ];
    assert_eq!(levels, wanted.map(|(words, level)| (words, level.to_owned())));
}

#[test]
fn a_pipe_that_nobody_reads_ends_it_quietly() {
    let questions = "how do retries work?\n".repeat(2_000);
    for arguments in [&["run", CHATBOT][..], &["run", CHATBOT, "--events", "json"]] {
        let bench = Bench::chatbot();
        let program = bench.start(arguments);
        program.close_output();
        let ended = program.finish_after(questions.as_bytes());
        ended.ends_with(0);
        assert!(!ended.err.contains("error"), "{}", ended.err);
    }
}

#[test]
fn a_log_that_nobody_reads_stops_no_answer() {
    let bench = Bench::chatbot();
    let mut program = bench.start(&["run", CHATBOT, "--log", "json", "--log-level", "debug"]);
    program.errors.expect("Reading messages");
    program.close_errors();
    program.say("how do retries work?");
    let reply = program.output().line().expect("a reply");
    assert!(reply.contains("[1] docs/"), "{reply}");
}
