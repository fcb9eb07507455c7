//! `--events json`: all that happens, as a program reads it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

#[cfg(unix)]
use crate::program::service::{Manner, Service};
use crate::program::{Bench, CHATBOT, text};

fn events(bench: &Bench) -> (Vec<Json>, String) {
    let ended = bench.run(&["run", CHATBOT, "--events", "json"], b"how do retries work?\n");
    (ended.ends_with(0).objects(), ended.err)
}

fn named<'a>(events: &'a [Json], name: &str) -> Vec<&'a Json> {
    events.iter().filter(|event| event["event"] == name).collect()
}

fn statuses(events: &[Json]) -> Vec<&str> {
    let mut statuses: Vec<&str> = named(events, "state_set").into_iter().map(|event| text(event, "after/status")).collect();
    statuses.dedup();
    statuses
}

#[test]
fn one_correlation_id_joins_three_jobs_each_with_one_terminal_event() {
    let (events, talk) = events(&Bench::chatbot());
    assert!(talk.contains("[1] docs/"), "the talk goes to standard error: {talk}");
    let ids: BTreeSet<&str> = events.iter().filter(|event| event["run"].is_string()).map(|event| text(event, "correlation_id")).collect();
    assert_eq!(ids.len(), 1);
    let mut ends: BTreeMap<&str, usize> = named(&events, "job_dispatched").into_iter().map(|event| (text(event, "job"), 0)).collect();
    assert_eq!(ends.len(), 3);
    for ended in named(&events, "job_ended") {
        assert_eq!(ended["outcome"], "succeeded");
        *ends.get_mut(text(ended, "job")).expect("what ends was dispatched") += 1;
    }
    assert!(ends.values().all(|count| *count == 1), "{ends:?}");
    let steps: Vec<&str> = named(&events, "job_ended").into_iter().map(|event| text(event, "step")).collect();
    assert_eq!(steps, ["context", "answer", "save"]);
    assert_eq!(named(&events, "run_ended").len(), 1);
    let published: Vec<&str> = named(&events, "published").into_iter().map(|event| text(event, "published/type")).collect();
    assert_eq!(published, ["ContextReady", "ChatSaved"]);
    let caused = |event: &Json| ids.contains(text(event, "published/correlation_id"));
    assert!(named(&events, "published").into_iter().all(caused));
    let at = text(named(&events, "published")[0], "published/time");
    assert!(at.starts_with("20") && at.ends_with('Z'), "times read alike everywhere: {at}");
}

#[test]
fn tokens_come_in_order_as_progress_and_before_the_answer_ends() {
    let (events, _) = events(&Bench::chatbot());
    let end = events.iter().position(|event| event["event"] == "job_ended" && event["step"] == "answer").expect("it ends");
    let tokens = |events: &[Json]| -> Vec<String> {
        named(events, "progress").into_iter().map(|event| text(event, "progress/token").to_owned()).collect()
    };
    assert!(tokens(&events[..end]).len() > 10, "it comes word by word");
    assert_eq!(tokens(&events[end..]), [""; 0]);
    assert_eq!(tokens(&events).concat(), text(named(&events, "replied")[0], "reply/text"));
}

#[test]
fn the_state_goes_through_every_status() {
    let (events, _) = events(&Bench::chatbot());
    assert_eq!(statuses(&events), ["getting_context", "generating", "saving", "idle"]);
}

#[test]
fn a_save_that_fails_leaves_the_state_in_error_and_says_why() {
    let bench = Bench::chatbot();
    bench.replace(
        "pipelines/scripts/save_message.rhai",
        "fn process(job) {",
        "fn process(job) {\n    throw #{ kind: \"permanent\", message: \"the disk is gone\" };",
    );
    let ended = bench.run(&["run", CHATBOT, "--events", "json"], b"how do retries work?\n");
    let events = ended.ends_with(1).objects();
    assert_eq!(statuses(&events).last(), Some(&"error"));
    let last = named(&events, "state_set");
    assert!(text(last[last.len() - 1], "after/last_error").contains("the disk is gone"));
    assert_eq!(text(named(&events, "replied")[0], "reply/step"), "save");
    assert_eq!(named(&events, "run_ended")[0]["outcome"], "failed");
    assert_eq!(named(&events, "job_ended").last().expect("it ended")["outcome"], "failed");
}

#[test]
fn a_save_that_may_succeed_later_is_tried_again_and_the_answer_is_not() {
    let bench = Bench::chatbot();
    let fails_once = "fn process(job) {\n    if job.attempt == 1 { throw #{ kind: \"transient\", message: \"locked\" }; }";
    bench.replace("pipelines/scripts/save_message.rhai", "fn process(job) {", fails_once);
    let (events, _) = events(&bench);
    assert_eq!(named(&events, "retrying").len(), 1);
    let started: Vec<&str> = named(&events, "job_started").into_iter().map(|event| text(event, "step")).collect();
    assert_eq!(started, ["context", "answer", "save", "save"]);
    assert_eq!(bench.messages().len(), 2);
}

#[test]
#[cfg(unix)]
fn a_program_that_is_ended_by_force_ends_its_events_too() {
    let service = Service::start();
    service.does("/work", &[Manner::Silent]);
    service.does("/after", &[Manner::Silent]);
    let (bench, origin) = (Bench::empty(), service.origin());
    bench.write(
        "slow.yaml",
        format!(
            "pipeline: slow
trigger: {{ stdin: line }}
durable: false
executors: {{ ask: {{ builtin: http.request, grants: {{ http: ['{origin}'] }} }} }}
steps: [{{ run: ask, with: {{ url: '{origin}/work' }} }}]
finally: [{{ run: ask, with: {{ url: '{origin}/after' }} }}]
"
        ),
    );
    let mut program = bench.start(&["run", "slow.yaml", "--events", "json"]);
    program.say("go");
    service.wait_until_asked("/work", 1);
    program.signal("TERM");
    // What it does at its end would take 30 s, and whoever says it again does not want to wait for that.
    service.wait_until_asked("/after", 1);
    program.signal("TERM");
    program.finish().ends_with(1).says(&["ended by force"]);
}
