//! `pipelines/resilience.yaml` with a real service that fails when it is told to.
//!
//! Its exact figures are those of its own tests, in virtual time; here the waits and limits are cut, and what is seen is that the real
//! parts do what the mocks say.

use serde_json::{Value as Json, json};

use crate::program::service::{Manner, Service};
use crate::program::{Bench, Program, text};

const FILE: &str = "pipelines/resilience.yaml";
const DATA: &str = "pipelines/.pipehost";

fn bench(service: &Service) -> Bench {
    Bench::chatbot().with("SERVICE_URL", service.origin())
}

/// The reply to one line.
fn reply(program: &mut Program, line: &str) -> Json {
    program.say(line);
    program.event("replied")["reply"].clone()
}

/// A host, once it can be sent to.
#[cfg(unix)]
fn host(bench: &Bench) -> Program {
    let program = bench.start(&["run", FILE, "--events", "json"]);
    program.errors.expect("pipehost send");
    program
}

/// Sends to a running host; gives the reply, and whether the run went well.
#[cfg(unix)]
fn sent(bench: &Bench, flow: &str, input: &Json) -> (Json, bool) {
    let finished = bench.run(&["send", &format!("resilience.{flow}"), &input.to_string(), "--data", DATA], b"");
    (finished.objects().remove(0), finished.code == Some(0))
}

#[test]
fn the_breaker_opens_tries_and_closes() {
    let service = Service::start();
    service.does("/a", &[Manner::Refuses(503)]);
    let bench = bench(&service);
    bench.replace(FILE, "cooldown: 30s", "cooldown: 400ms");
    let mut program = bench.start(&["run", FILE, "--events", "json"]);
    for _ in 0..5 {
        assert_eq!(reply(&mut program, "/a")["kind"], "transient");
    }
    assert_eq!(service.asked("/a"), 5);
    service.does("/a", &[Manner::Answers("12")]);
    let mut refused = 0;
    let answered = loop {
        let reply = reply(&mut program, "/a");
        if reply["status"].is_number() {
            break reply;
        }
        assert_eq!((text(&reply, "kind"), text(&reply, "code")), ("rejected", "breaker_open"));
        refused += 1;
    };
    assert!(refused > 0, "it was open for a while");
    assert_eq!((answered, service.asked("/a")), (json!({ "status": 200, "size": 2 }), 6));
    let events = program.finish().ends_with(1).objects();
    let states: Vec<&str> = events.iter().filter(|event| event["event"] == "breaker").map(|event| text(event, "state")).collect();
    assert_eq!(states, ["open", "half_open", "closed"]);
}

#[test]
#[cfg(unix)]
fn retries_wait_twice_as_long_each_time_up_to_the_longest() {
    let service = Service::start();
    service.does("/a", &[Manner::Refuses(503)]);
    let bench = bench(&service);
    bench.replace(FILE, "base_delay: 1s, multiplier: 2, max_delay: 30s", "base_delay: 1ms, multiplier: 2, max_delay: 5ms");
    let program = host(&bench);
    let (reply, went_well) = sent(&bench, "patiently", &json!({ "path": "/a" }));
    assert!(!went_well && text(&reply, "error").contains("answered 503"), "{reply}");
    assert_eq!(service.asked("/a"), 8);
    program.signal("TERM");
    let events = program.finish().ends_with(0).objects();
    let wait = |event: &Json| event["wait_milliseconds"].as_f64().expect("a number");
    let waits: Vec<f64> = events.iter().filter(|event| event["event"] == "retrying").map(wait).collect();
    assert_eq!(waits, [1.0, 2.0, 4.0, 5.0, 5.0, 5.0, 5.0]);
}

#[test]
#[cfg(unix)]
fn the_overall_limit_ends_a_try_that_has_time_of_its_own() {
    let service = Service::start();
    // The first page takes one try of 400 ms in vain; the second's first try ends at 0.8 s, and its second is cut at 1 s, in the middle.
    service.does("/a", &[Manner::Silent, Manner::Answers("{}")]);
    service.does("/b", &[Manner::Silent]);
    let bench = bench(&service);
    bench.replace(FILE, "deadline: 60s", "deadline: 1s");
    bench.replace(
        FILE,
        "timeout: 10s\n              retry: { max_retries: 3 }",
        "timeout: 400ms\n              retry: { max_retries: 1, base_delay: 1ms }",
    );
    let program = host(&bench);
    let (reply, went_well) = sent(&bench, "crawl", &json!({ "paths": ["/a", "/b"] }));
    let after = reply["after"].as_f64().expect("a number");
    assert!(!went_well && (1.0..1.2).contains(&after), "{reply}");
    service.wait_for_hang_ups(3);
    assert_eq!((service.asked("/a"), service.asked("/b")), (2, 2));
    program.signal("TERM");
    let events = program.finish().ends_with(0).objects();
    let ended = |name: &str| events.iter().rfind(|event| event["event"] == name).expect("it ended").clone();
    assert_eq!((text(&ended("run_ended"), "outcome"), text(&ended("job_ended"), "outcome")), ("timed_out", "timed_out"));
}

#[test]
#[cfg(unix)]
fn reports_that_hang_do_not_slow_a_quote() {
    let service = Service::start();
    service.does("/report", &[Manner::Silent]);
    let bench = bench(&service);
    bench.replace(FILE, "max_wait: 5s", "max_wait: 9s");
    let program = host(&bench);
    for _ in 0..3 {
        bench.run(&["send", "resilience.report", r#"{"path":"/report"}"#, "--data", DATA, "--no-wait"], b"").ends_with(0);
    }
    service.wait_until_asked("/report", 2);
    let (reply, went_well) = sent(&bench, "report", &json!({ "path": "/report" }));
    assert_eq!((text(&reply, "kind"), went_well), ("rejected", false));
    let (reply, went_well) = sent(&bench, "quote", &json!({ "path": "/quote" }));
    assert_eq!((reply["status"].as_i64(), went_well), (Some(200), true));
    assert_eq!((service.asked("/report"), service.asked("/quote")), (2, 1), "the third report waits");
    service.does("/report", &[Manner::Answers("{}")]);
    service.wait_until_asked("/report", 3);
    for _ in 0..5 {
        program.event("run_ended");
    }
    program.signal("TERM");
    program.finish().ends_with(0);
}

#[test]
#[cfg(unix)]
fn the_last_known_price_is_kept_in_a_file_and_marked_when_it_stands_in() {
    let service = Service::start();
    service.does("/tea", &[Manner::Answers("12")]);
    let bench = bench(&service);
    bench.replace(FILE, "retry: { max_retries: 2 }", "retry: { max_retries: 2, base_delay: 1ms }");
    let program = host(&bench);
    assert_eq!(sent(&bench, "price", &json!({ "path": "/tea" })), (json!({ "price": 12, "degraded": false }), true));
    program.signal("TERM");
    program.finish().ends_with(0);

    service.does("/tea", &[Manner::Refuses(503)]);
    let program = host(&bench);
    let degraded = (json!({ "offer": 12, "degraded": true }), true);
    assert_eq!(sent(&bench, "offer", &json!({ "path": "/tea" })), degraded);
    assert_eq!((sent(&bench, "offer", &json!({ "path": "/tea" })), service.asked("/tea")), (degraded, 1 + 2 * 3), "it is in no cache");
    service.does("/tea", &[Manner::Answers("13")]);
    let fresh = (json!({ "offer": 13, "degraded": false }), true);
    assert_eq!(sent(&bench, "offer", &json!({ "path": "/tea" })), fresh);
    assert_eq!((sent(&bench, "offer", &json!({ "path": "/tea" })), service.asked("/tea")), (fresh, 8), "it is in the cache");
    program.signal("TERM");
    program.finish().ends_with(0);
}
