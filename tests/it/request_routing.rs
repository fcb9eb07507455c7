//! `pipelines/request_routing.yaml`: with a real mail server and a real trail, and over fifty restarts in virtual time.

use std::fmt::Write as _;

use serde_json::{Value as Json, json};

use crate::program::running::{Running, reply};
use crate::program::smtp::MailServer;
use crate::program::{Bench, text};

const FILE: &str = "pipelines/request_routing.yaml";

fn wanted(quantity: u32) -> Json {
    json!({ "type": "order_parts", "requester": "tom", "parts": [{ "sku": "pump", "quantity": quantity }] })
}

/// The request that a letter is about.
fn request(letter: &str) -> String {
    let (_, rest) = letter.split_once("The request is ").expect("the letter names it");
    rest.chars().take_while(|each| *each != '.').collect()
}

/// Who did what, as the trail has it.
fn trail(host: &Running<'_>, request: &str) -> Vec<String> {
    let read = host.send("request_routing.trail", &json!({ "request": request }));
    let rows = read["trail"].as_array().expect("a trail");
    rows.iter().map(|row| format!("{} {}: {}", text(row, "who"), text(row, "what"), text(row, "why"))).collect()
}

#[test]
fn managers_are_written_to_and_what_they_answer_is_carried_out_and_recorded() {
    let mail = MailServer::start();
    let bench = Bench::chatbot().with("SMTP_SERVER", mail.address());
    let host = Running::start_talking(&bench, &["request_routing"]);
    let asked = host.sending("request_routing.ask", &wanted(20));
    let [letter] = mail.wait_for(1).try_into().expect("one letter");
    assert_eq!(letter.to, ["ralf@example.com", "rita@example.com"]);
    let request = request(&letter.text);
    // The letter is sent beside the run, which may not wait yet: an answer that comes before is kept for it.
    let answer = |by: &str, approve: bool| {
        let answered = host.send("request_routing.answer", &json!({ "request": request, "by": by, "approve": approve, "note": "go on" }));
        answered["refused"].as_array().expect("a list").iter().map(|one| text(one, "reason").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(answer("rosa", true), ["guard"]);
    assert_eq!(answer("rita", true), [""; 0]);
    let answered = reply(asked);
    let order = json!({ "supplier": "cerberus", "total": 70000, "parts": [{ "sku": "pump", "quantity": 20 }] });
    assert_eq!((text(&answered, "status"), text(&answered, "request"), &answered["order"]), ("approved", request.as_str(), &order));
    assert_eq!(answer("ralf", false).len(), 1, "one answer is enough");
    let trail = trail(&host, &request);
    host.stop().ends_with(0);
    let late = trail.last().expect("it has rows").clone();
    assert!(late.starts_with("ralf answer refused: "), "{late}");
    assert_eq!(
        trail[..trail.len() - 1],
        [
            "router routed: 20 pieces need the approval of [\"regional_manager\"]",
            "regional_manager asked: of [\"ralf\",\"rita\"]",
            "rosa answer refused: guard",
            "rita approved: go on",
            "suppliers chosen: cerberus for 70000 cents",
        ]
    );
}

#[test]
fn a_rejected_request_is_answered_and_its_requester_gets_a_letter() {
    let mail = MailServer::start();
    let bench = Bench::chatbot().with("SMTP_SERVER", mail.address());
    let host = Running::start_talking(&bench, &["request_routing"]);
    let asked = host.sending("request_routing.ask", &wanted(100));
    let request = request(&mail.wait_for(1)[0].text);
    host.send("request_routing.answer", &json!({ "request": request, "by": "ralf", "approve": false, "note": "too many" }));
    let answered = reply(asked);
    assert_eq!((text(&answered, "status"), text(&answered, "error")), ("rejected", "ralf has rejected it: too many"));
    let letters = mail.wait_for(2);
    assert_eq!((letters[1].to.clone(), letters[1].text.contains("too many")), (vec!["tom@example.com".to_owned()], true));
    assert_eq!(trail(&host, &request).last().map(String::as_str), Some("flow refused: ralf has rejected it: too many"));
    host.stop().ends_with(0);
}

#[test]
fn a_manager_answers_by_name_and_whoever_was_not_asked_is_told_so() {
    let mail = MailServer::start();
    let bench = Bench::chatbot().with("SMTP_SERVER", mail.address());
    let host = Running::start_talking(&bench, &["request_routing"]);
    let asked = host.sending("request_routing.ask", &wanted(20));
    let request = request(&mail.wait_for(1)[0].text);
    host.event("waiting");
    let answer = |by: &str| {
        let data = r#"{"by":"rita","note":"go on"}"#;
        bench.run(&["signal", "--data", "pipelines/.pipehost", &request, "RequestApproved", data, "--as", by], b"")
    };
    // Whatever an answer says of who it is by: the name counts.
    answer("rosa").ends_with(1).says(&["does not take this answer from rosa"]);
    answer("ralf").ends_with(0);
    answer("rita").ends_with(1).says(&["has its answer already", "by ralf"]);
    assert_eq!(reply(asked)["approvals"], json!([{ "role": "regional_manager", "by": "ralf", "note": "go on" }]));
    let shown = bench.run(&["runs", "show", "--data", "pipelines/.pipehost", &request], b"").out;
    for line in ["refused (guard): RequestApproved by rosa", "taken: RequestApproved by ralf", "refused (double): RequestApproved by rita"]
    {
        assert!(shown.contains(line), "{line}\n{shown}");
    }
    // Both ways to answer are in one trail.
    let by_flow = host.send("request_routing.answer", &json!({ "request": request, "by": "rosa", "approve": true }));
    assert_eq!(by_flow["refused"][0]["reason"], "double");
    let audit = |arguments: &[&str]| {
        let arguments = [&["runs", "show", "--data", "pipelines/.pipehost", &request, "--audit"][..], arguments].concat();
        bench.run(&arguments, b"")
    };
    let decisions = audit(&["--json"]).ends_with(0).objects();
    let told: Vec<String> = decisions.iter().map(|one| format!("{} {}", text(one, "who"), text(one, "what"))).collect();
    let named = told.iter().map(String::as_str).filter(|told| !told.starts_with("transform "));
    // The run may still have been at work when these came.
    let (double, named): (Vec<&str>, Vec<&str>) = named.partition(|told| told.contains("(double)"));
    assert_eq!(double, ["rita RequestApproved refused (double)", "somebody RequestApproved refused (double)"]);
    assert_eq!(
        named,
        [
            "somebody began",
            "router route succeeded",
            "managers approvals[0].managers succeeded",
            "approvals[0].answer asked",
            "rosa RequestApproved refused (guard)",
            "ralf RequestApproved taken",
            "parts parts succeeded",
            "suppliers chosen succeeded",
            "run succeeded",
        ]
    );
    let printed = audit(&[]).ends_with(0).out.clone();
    assert_eq!(printed.lines().count(), decisions.len() + 1, "{printed}");
    assert!(printed.starts_with("WHEN ") && printed.contains(r#""by":"rosa""#), "{printed}");
    host.stop().ends_with(0);
}

/// `pipelines/request_routing.yaml` with one more test: fifty restarts within the four hours, and then what `end` says.
fn over_fifty_restarts(name: &str, end: &str) {
    let bench = Bench::chatbot();
    let mut yaml = bench.read(FILE);
    let send = "{ type: order_parts, requester: tom, parts: [{ sku: pump, quantity: 20 }] }";
    write!(
        yaml,
        "
  - name: {name}
    mocks: {{ audit: {{ output: {{ trail: [] }} }}, mail: {{ output: {{ message_id: '<m@example.com>', accepted: [x@example.com] }} }} }}
    steps:
      - send: {send}
"
    )
    .expect("a text");
    for _ in 0..50 {
        // 50 times 287 s is 3 h 59 min 10 s.
        yaml.push_str("      - restart: true\n      - advance: 287s\n");
    }
    yaml.push_str(end);
    bench.write(FILE, yaml);
    for store in ["memory", "sqlite"] {
        let tested = bench.run(&["test", FILE, "--filter", name, "--store", store], b"");
        assert!(tested.ends_with(0).out.contains("✓"), "{store}: {}\n{}", tested.out, tested.err);
    }
}

#[test]
fn over_fifty_restarts_it_waits_is_reminded_twice_and_is_answered_once() {
    over_fifty_restarts(
        "fifty restarts and an answer",
        "      - expect: { outcome: running, calls: { router: 1, managers: 1, mail: 3 } }
      - emit: { RequestApproved: { request: '${runs[0].id}' } }
        caller: { id: rosa }
      - expect: { outcome: running }
      - emit: { RequestApproved: { request: '${runs[0].id}' } }
        caller: { id: rita }
      - restart: true
      - emit: { RequestRejected: { request: '${runs[0].id}' } }
        caller: { id: ralf }
    expect: { outcome: succeeded, calls: { router: 1, managers: 1, parts: 1, suppliers: 1, mail: 3 } }
",
    );
}

#[test]
fn over_fifty_restarts_silence_is_still_a_rejection_after_four_hours() {
    over_fifty_restarts(
        "fifty restarts and silence",
        "      - advance: 49999ms
      - expect: { outcome: running }
      - advance: 1ms
    expect: { outcome: failed, error: { kind: denied, code: silence }, calls: { router: 1, managers: 1, parts: 0, mail: 4 } }
",
    );
}
