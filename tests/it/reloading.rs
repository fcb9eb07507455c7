//! Files that are saved while the program runs: the next run goes through the new ones, or nothing changes and the mistakes are told.

use std::fs;

use serde_json::Value as Json;

use crate::program::model::Model;
use crate::program::{Bench, CHATBOT, Program, text};

const SCRIPT: &str = "pipelines/scripts/save_message.rhai";
const COMPONENT: &str = "plugins/retrieve/retrieve.wasm";

/// Started with its events on standard output; the first plan is in force.
fn started(bench: &Bench) -> Program {
    let program = bench.start(&["run", CHATBOT, "--events", "json"]);
    assert_eq!(program.event("reloaded")["changed"][0], "chatbot");
    // From here on changes are seen: the files are watched before the first line is taken.
    program.errors.expect("Reading messages");
    program
}

fn ask(program: &mut Program, question: &str) -> Json {
    program.say(question);
    program.event("replied")["reply"].clone()
}

fn refused(program: &Program, code: &str) {
    let event = program.event("reload_refused");
    let codes: Vec<&str> = event["mistakes"].as_array().expect("a list").iter().map(|mistake| text(mistake, "code")).collect();
    assert!(codes.contains(&code), "{event}");
    program.errors.expect(&format!("error[{code}]"));
    program.errors.expect("Nothing changes: what ran before goes on.");
}

/// A script that marks what it keeps.
fn marked(bench: &Bench, mark: &str) -> String {
    let old = "message.question, message.text";
    bench.read(SCRIPT).replace(old, &format!("message.question, `{mark}: ${{message.text}}`"))
}

#[test]
fn a_run_in_flight_saves_with_the_old_script_and_the_next_with_the_new() {
    let model = Model::start();
    let bench = Bench::chatbot().asking(&model);
    let mut program = started(&bench);
    program.say("first");
    let mut question = model.asked();
    question.token("one");
    program.event("progress");
    bench.write(SCRIPT, marked(&bench, "new"));
    program.event("reloaded");
    question.end();
    assert_eq!(program.event("run_ended")["outcome"], "succeeded");
    program.say("second");
    model.answers(&["two"]);
    program.event("run_ended");
    let kept: Vec<String> = bench.messages().into_iter().map(|row| row.2).collect();
    assert_eq!(kept, ["first", "one", "second", "new: two"]);
    program.finish().ends_with(0);
}

#[test]
fn broken_files_change_nothing_and_show_their_mistakes() {
    let bench = Bench::chatbot();
    let mut program = started(&bench);
    let (yaml, script) = (bench.read(CHATBOT), bench.read(SCRIPT));
    let component = fs::read(bench.path(COMPONENT)).expect("it is there");
    bench.write(CHATBOT, format!("{yaml}\nstps: []\n"));
    refused(&program, "E0201");
    bench.write(CHATBOT, &yaml);
    program.event("unchanged");
    bench.write(SCRIPT, "fn process(job) { let x = ; }");
    let event = program.event("reload_refused");
    assert!(text(&event, "mistakes/0/place/file").ends_with("save_message.rhai"), "{event}");
    bench.write(SCRIPT, &script);
    program.event("unchanged");
    bench.write(COMPONENT, &component[..component.len() / 2]);
    refused(&program, "E0523");
    assert!(text(&ask(&mut program, "how do retries work?"), "text").contains("[1] docs/"));
    program.finish().ends_with(0);
}

#[test]
fn two_files_saved_together_swap_together() {
    let bench = Bench::chatbot();
    let program = started(&bench);
    bench.write(SCRIPT, marked(&bench, "both"));
    bench.replace(CHATBOT, "max_retries: 3, base_delay: 200ms", "max_retries: 2, base_delay: 200ms");
    program.event("reloaded");
    let ended = program.finish();
    let reloads = ended.ends_with(0).objects().into_iter().filter(|event| event["event"] == "reloaded").count();
    assert_eq!(reloads, 2, "one for the start, one for both files");
}

#[test]
fn an_editors_ways_of_saving_are_seen_and_the_same_bytes_are_no_change() {
    let bench = Bench::chatbot();
    let mut program = started(&bench);
    // A new file in the old one's place.
    bench.write("pipelines/scripts/.save.swp", marked(&bench, "renamed"));
    fs::rename(bench.path("pipelines/scripts/.save.swp"), bench.path(SCRIPT)).expect("renamed");
    program.event("reloaded");
    ask(&mut program, "how do retries work?");
    assert!(bench.messages()[1].2.starts_with("renamed: "));
    let script = bench.read(SCRIPT);
    bench.write(SCRIPT, &script);
    program.event("unchanged");
    // Gone for a while.
    fs::remove_file(bench.path(SCRIPT)).expect("removed");
    program.event("reload_refused");
    bench.write(SCRIPT, script.replace("renamed: ", "again: "));
    program.event("reloaded");
    ask(&mut program, "how do retries work?");
    assert!(bench.messages()[3].2.starts_with("again: "));
    // Words for people only are no change.
    bench.write(CHATBOT, format!("# A comment.\n{}", bench.read(CHATBOT)));
    program.event("unchanged");
    program.finish().ends_with(0);
}

#[test]
fn an_edited_document_changes_what_is_quoted() {
    let bench = Bench::chatbot();
    let mut program = started(&bench);
    let refusal = ask(&mut program, "what do wombats eat?");
    assert!(text(&refusal, "text").contains("I found nothing"), "{refusal}");
    bench.write("pipelines/docs/99-wombats.md", "# Wombats\n\nWombats eat grass and the roots of trees.\n");
    program.event("indexed");
    let answer = ask(&mut program, "what do wombats eat?");
    assert!(text(&answer, "text").contains("[1] docs/99-wombats.md:"), "{answer}");
    fs::remove_file(bench.path("pipelines/docs/99-wombats.md")).expect("removed");
    program.event("indexed");
    assert!(text(&ask(&mut program, "what do wombats eat?"), "text").contains("I found nothing"));
    program.finish().ends_with(0);
}

#[test]
fn another_component_is_taken() {
    let bench = Bench::chatbot();
    let mut program = started(&bench);
    let mut component = fs::read(bench.path(COMPONENT)).expect("it is there");
    // A section that means nothing: its id 0, its length, its name.
    component.extend_from_slice(&[0, 5, 4, b'n', b'o', b't', b'e']);
    bench.write(COMPONENT, &component);
    program.event("reloaded");
    assert!(text(&ask(&mut program, "how do retries work?"), "text").contains("[1] docs/"));
    program.finish().ends_with(0);
}

#[test]
fn a_state_that_would_be_lost_is_refused_unless_the_file_says_so() {
    let bench = Bench::empty();
    let count = "
pipeline: count
trigger: { stdin: line }
input: { text: string }
state:
  initial: { count: 0, old: x }
steps:
  - set: { count: '${state.count + 1}' }
  - reply: { count: '${state.count}' }
";
    bench.write("count.yaml", count);
    let mut program = bench.start(&["run", "count.yaml", "--events", "json"]);
    program.errors.expect("Reading messages");
    assert_eq!(ask(&mut program, "a")["count"], 1);
    bench.write("count.yaml", count.replace(", old: x", ", more: 7"));
    refused(&program, "E0220");
    assert_eq!(ask(&mut program, "b")["count"], 2, "what was in force still is");
    let shown = count.replace("old: x", "old: x, more: 7").replace("'${state.count}'", "'${state.count + state.more}'");
    bench.write("count.yaml", shown);
    program.event("reloaded");
    assert_eq!(ask(&mut program, "c")["count"], 10, "a new field has its initial value, the others stay");
    bench.write("count.yaml", count.replace("count: 0, old: x", "count: 100").replace("state:\n", "state:\n  reset: true\n"));
    program.event("reloaded");
    assert_eq!(ask(&mut program, "d")["count"], 101);
    program.finish().ends_with(0);
}

#[test]
fn files_are_left_alone_where_that_is_asked_for() {
    let bench = Bench::chatbot();
    let mut program = bench.start(&["run", CHATBOT, "--no-watch"]);
    let banner = program.errors.expect("Reading messages");
    assert!(banner.contains("start again after a change"), "{banner}");
    bench.write(SCRIPT, marked(&bench, "new"));
    program.say("how do retries work?");
    program.finish().ends_with(0);
    assert!(!bench.messages()[1].2.starts_with("new: "));
}
