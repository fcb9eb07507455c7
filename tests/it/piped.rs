//! Input from a pipe and from `--input`: replies in the order of the lines, and an exit code that a script can go by.

use serde_json::json;

use crate::program::model::Model;
use crate::program::{Bench, CHATBOT, text};

/// Replies with its input, or fails if that says so.
const ECHO: &str = "
pipeline: echo
trigger: { stdin: line }
input: { text: string, n: { type: int, default: 0 } }
steps:
  - when: 'input.text == \"fail\"'
    fail: { kind: permanent, message: as you wish }
  - reply: { text: '${input.text}', n: '${input.n}' }
";

fn echo() -> Bench {
    let bench = Bench::empty();
    bench.write("echo.yaml", ECHO);
    bench
}

#[test]
fn one_input_is_answered_once() {
    let ended = Bench::chatbot().run(&["run", CHATBOT, "--input", r#"{"text":"how do retries work?"}"#], b"");
    let replies = ended.ends_with(0).objects();
    assert_eq!(replies.len(), 1);
    assert!(text(&replies[0], "text").contains("[1] docs/"), "{replies:?}");
}

#[test]
fn a_run_that_fails_makes_the_exit_code_one_and_the_others_are_answered() {
    let ended = echo().run(&["run", "echo.yaml"], b"one\ntwo\nfail\n{\"text\":\"three\",\"n\":3}\n");
    ended.ends_with(1).says(&["line 3: error", "as you wish"]);
    assert_eq!(ended.objects(), [json!({ "text": "one", "n": 0 }), json!({ "text": "two", "n": 0 }), json!({ "text": "three", "n": 3 })]);
    echo().run(&["run", "echo.yaml", "--input", r#"{"text":"fail"}"#], b"").ends_with(1).says(&["as you wish"]);
}

#[test]
fn replies_come_in_the_order_of_the_lines_without_a_prompt() {
    let lines: String = (0..500).map(|n| format!("{{\"text\":\"x\",\"n\":{n}}}\n")).collect();
    let ended = echo().run(&["run", "echo.yaml"], lines.as_bytes());
    let numbers: Vec<_> = ended.ends_with(0).objects().iter().map(|reply| reply["n"].as_i64()).collect();
    assert_eq!(numbers, (0..500).map(Some).collect::<Vec<_>>());
}

#[test]
fn the_end_of_the_input_waits_for_the_last_answer() {
    let model = Model::start();
    let bench = Bench::chatbot().asking(&model);
    let mut program = bench.start(&["run", CHATBOT]);
    program.say("first");
    program.say("second");
    program.end_input();
    // Piped lines of one conversation follow each other, though a typed one would replace.
    model.answers(&["one"]);
    model.answers(&["two"]);
    let ended = program.finish();
    let replies = ended.ends_with(0).objects();
    assert_eq!(replies.iter().map(|reply| text(reply, "text")).collect::<Vec<_>>(), ["one", "two"]);
}

#[test]
fn a_line_that_is_no_message_is_refused_with_its_number_and_the_next_is_answered() {
    let mut input = b"\n".to_vec();
    input.resize(input.len() + (10 << 20), b'x');
    input.extend_from_slice(b"\n\xff\xfe\nlast\n");
    let ended = echo().run(&["run", "echo.yaml"], &input);
    ended.ends_with(1).says(&[
        "line 1 not taken: it is empty",
        "line 2 not taken: it has 10485760 bytes",
        "line 3 not taken: it is not UTF-8",
    ]);
    assert_eq!(ended.objects(), [json!({ "text": "last", "n": 0 })]);
}

#[test]
fn an_input_of_another_type_names_the_field() {
    let ended = echo().run(&["run", "echo.yaml"], b"{\"text\":\"x\",\"n\":\"many\"}\n");
    ended.ends_with(1).says(&["line 1 not started", "n is string, not int"]);
}

#[test]
fn an_empty_message_in_an_input_fails_as_the_pipeline_says() {
    let ended = Bench::chatbot().run(&["run", CHATBOT, "--input", r#"{"text":" "}"#], b"");
    ended.ends_with(1).says(&["the message is empty: write a question"]);
}

#[test]
fn no_input_at_all_is_good() {
    let ended = echo().run(&["run", "echo.yaml"], b"");
    assert_eq!(ended.ends_with(0).out, "");
}

#[cfg(unix)]
#[test]
fn a_signal_ends_it_cleanly_whatever_comes() {
    for signal in ["TERM", "INT"] {
        let model = Model::start();
        let bench = Bench::chatbot().asking(&model);
        let mut program = bench.start(&["run", CHATBOT]);
        program.say("how do retries work?");
        let mut question = model.asked();
        question.token("They");
        program.signal(signal);
        program.errors.expect("pipehost is ending; the run goes on when it starts again");
        question.wait_for_hang_up();
        program.finish().ends_with(1);
    }
}

/// Emits one event a line; the flow that hears them logs and takes its time.
const HEARD: &str = "
pipeline: heard
events: { Asked: { text: string } }
executors:
  slow: { script: 'fn process(job) { let n = 0; while n < 300000 { n += 1; } log.warn(job.input); n }' }
flows:
  ask:
    trigger: { stdin: line }
    input: { text: string }
    steps:
      - emit: { Asked: { text: '${input.text}' } }
      - reply: { text: asked }
  hear:
    trigger: { event: Asked, mode: direct }
    steps:
      - { id: work, run: slow, with: '${input.text}' }
";

#[test]
fn the_end_of_the_input_waits_for_what_the_last_events_started() {
    let bench = Bench::empty();
    bench.write("heard.yaml", HEARD);
    let ended = bench.run(&["run", "heard.yaml"], b"one\ntwo\nthree\n");
    ended.ends_with(0).says(&["one", "two", "three"]);
    bench.run(&["run", "heard.yaml", "--input", r#"{"text":"once"}"#], b"").ends_with(0).says(&["once"]);
}
