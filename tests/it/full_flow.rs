//! `pipelines/full_flow.yaml` with a real service: each way through it, and one end for every job.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use crate::program::service::{Manner, Service};
use crate::program::{Bench, Program, text};

const FILE: &str = "pipelines/full_flow.yaml";
const ENDS: [&str; 6] = ["Succeeded", "Skipped", "TimedOut", "CircuitOpened", "Failed", "Cancelled"];

/// The pipeline with a thousandth of its waits and a fifth of its time limit.
fn bench(service: &Service) -> Bench {
    let bench = Bench::chatbot().with("SERVICE_URL", service.origin());
    bench.replace(FILE, "base_delay: 1s", "base_delay: 1ms");
    bench.replace(FILE, "timeout: 10s", "timeout: 2s");
    bench
}

/// Has a job done; gives the way in which it ended.
fn job(program: &mut Program, name: &str) -> String {
    program.say(name);
    text(&program.event("replied"), "reply/ended").to_owned()
}

/// The events of the pipeline, as `job end`, after a look that every job of every run had one end and every run one event.
fn ends(out: &str) -> Vec<String> {
    let events: Vec<Json> = out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let named = |name: &'static str| events.iter().filter(move |event| event["event"] == name);
    let mut jobs: BTreeMap<&str, usize> = named("job_dispatched").map(|event| (text(event, "job"), 0)).collect();
    for ended in named("job_ended") {
        *jobs.get_mut(text(ended, "job")).expect("what ends was dispatched") += 1;
    }
    assert!(jobs.values().all(|count| *count == 1), "{jobs:?}");
    let mut runs: BTreeMap<&str, (usize, usize)> = named("run_started").map(|event| (text(event, "run"), (0, 0))).collect();
    for ended in named("run_ended") {
        runs.get_mut(text(ended, "run")).expect("what ends was started").0 += 1;
    }
    let mut told = Vec::new();
    for published in named("published").map(|event| &event["published"]) {
        let (end, cause) = (text(published, "type"), text(published, "causation_id"));
        assert!(ENDS.contains(&end), "{end}");
        runs.get_mut(cause).expect("a run caused it").1 += 1;
        told.push(format!("{} {end}", text(published, "data/job")));
    }
    assert!(runs.values().all(|counts| *counts == (1, 1)), "{runs:?}");
    assert_eq!(runs.len(), jobs.len());
    told
}

#[test]
fn every_way_through_it_ends_in_one_event() {
    let service = Service::start();
    let refuses = Manner::Refuses(503);
    service.does("/flaky", &[refuses, Manner::Refuses(500), Manner::Answers("{}")]);
    service.does("/unknown", &[Manner::Refuses(404)]);
    service.does("/double", &[Manner::Silent]);
    service.does("/silent", &[Manner::Silent]);
    service.does("/down", &[refuses]);
    let bench = bench(&service);
    let mut program = bench.start(&["run", FILE, "--events", "json"]);

    assert_eq!(job(&mut program, "good"), "Succeeded");
    assert_eq!((job(&mut program, "flaky").as_str(), service.asked("/flaky")), ("Succeeded", 3));
    assert_eq!((job(&mut program, "unknown").as_str(), service.asked("/unknown")), ("Failed", 1));

    program.say("double");
    service.wait_until_asked("/double", 1);
    assert_eq!(job(&mut program, "double"), "Skipped");
    service.does("/double", &[Manner::Answers("{}")]);
    assert_eq!(text(&program.event("replied"), "reply/ended"), "Succeeded");
    assert_eq!(service.asked("/double"), 1);

    assert_eq!((job(&mut program, "silent").as_str(), service.asked("/silent")), ("TimedOut", 1));
    service.wait_for_hang_ups(1);
    // Two failures were flaky's and one was the silence: the second of these is the fifth, and there is no third.
    assert_eq!((job(&mut program, "down").as_str(), service.asked("/down")), ("CircuitOpened", 2));
    assert_eq!((job(&mut program, "good").as_str(), service.asked("/good")), ("CircuitOpened", 1));

    let told = ends(&program.finish().ends_with(1).out);
    let expected = [
        "good Succeeded",
        "flaky Succeeded",
        "unknown Failed",
        "double Skipped",
        "double Succeeded",
        "silent TimedOut",
        "down CircuitOpened",
        "good CircuitOpened",
    ];
    assert_eq!(told, expected);
}

#[test]
fn retries_that_are_used_up_end_in_one_failure() {
    let service = Service::start();
    service.does("/down", &[Manner::Refuses(503)]);
    let bench = bench(&service);
    let mut program = bench.start(&["run", FILE, "--events", "json"]);
    assert_eq!((job(&mut program, "down").as_str(), service.asked("/down")), ("Failed", 4));
    let finished = program.finish();
    assert_eq!(ends(&finished.ends_with(1).out), ["down Failed"]);
    let wait = |event: Json| event["wait_milliseconds"].as_f64().expect("a number");
    let waits: Vec<f64> = finished.objects().into_iter().filter(|event| event["event"] == "retrying").map(wait).collect();
    assert_eq!(waits, [1.0, 2.0, 4.0]);
}

#[test]
#[cfg(unix)]
fn a_job_that_is_under_way_when_the_host_stops_hangs_up_and_is_done_by_the_next_one() {
    let service = Service::start();
    service.does("/silent", &[Manner::Silent]);
    let bench = bench(&service);
    bench.replace(FILE, "timeout: 2s", "timeout: 5m");
    let mut program = bench.start(&["run", FILE, "--events", "json"]);
    program.say("silent");
    service.wait_until_asked("/silent", 1);
    program.signal("TERM");
    let out = program.finish().out;
    assert!(!out.contains(r#""event":"job_ended""#), "stopping is no end: {out}");
    service.wait_for_hang_ups(1);
    // The next host makes the attempt again.
    let program = bench.start(&["run", FILE, "--events", "json"]);
    service.wait_until_asked("/silent", 2);
    program.signal("TERM");
    program.finish();
    service.wait_for_hang_ups(2);
}
