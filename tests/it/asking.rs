//! What is asked of a running host about its runs: lists, stories, traces, answers to waits, and what is refused.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value as Json;

use crate::program::{Bench, CHATBOT, Finished, Program, text};

const BUY: &str = "pipeline: buy
events:
  Approved: { request: string, approved: bool, note: { type: string, default: '' } }
  Bought: { order: string }
  Sulked: { why: string }
flows:
  order:
    trigger: manual
    input: { order: string, token: secret }
    steps:
      - id: reserve
        run: reserve
        with: { order: '${input.order}' }
        retry: { max_retries: 2, base_delay: 1ms }
      - id: approval
        wait:
          event: Approved
          match: { request: '${run.id}' }
          where: 'event.caller.id == \"alice\"'
          timeout: 4h
          on_timeout: [{ fail: { kind: timeout, message: nobody approved } }]
      - id: told
        emit: { Bought: { order: '${input.order}' } }
      - reply: { approved: '${steps.approval.data.approved}' }
  noted:
    trigger: { event: Bought, mode: direct }
    input: { order: string }
    steps:
      - id: write
        run: write
        with: { order: '${input.order}' }
  waits:
    trigger: manual
    steps:
      - wait: { event: Approved, match: { request: '${run.id}' }, timeout: 4h, on_timeout: [{ set: { late: true } }] }
  short:
    trigger: manual
    steps:
      - wait: { event: Approved, match: { request: '${run.id}' }, timeout: 1ms, on_timeout: [{ set: { late: true } }] }
      - sleep: 4h
  sulk:
    trigger: manual
    steps: [{ emit: { Sulked: { why: rain } } }]
  sulks:
    trigger: { event: Sulked, mode: direct }
    input: { why: string }
    steps: [{ id: broken, run: broken }]
  fails:
    trigger: manual
    steps:
      - id: broken
        run: broken
        on_error: [{ fail: '${error}' }]
state: { initial: { late: false } }
executors:
  reserve:
    script: |
      fn process(job) {
          if job.attempt == 1 { throw #{ kind: \"transient\", message: \"the stock is busy\" } }
          #{ reserved: true }
      }
  write: { script: 'fn process(job) { job.input }' }
  broken: { script: 'fn process(job) { throw #{ kind: \"conflict\", message: \"it is gone\", code: \"gone\" } }' }
";

fn started() -> (Bench, Program) {
    let bench = Bench::empty().with("USER", "robin");
    bench.write("buy.yaml", BUY);
    let program = bench.start(&["run", "buy.yaml", "--events", "json"]);
    program.errors.expect("It stays until");
    (bench, program)
}

/// Starts a flow, and returns the run's id.
fn begin(bench: &Bench, flow: &str, input: &str) -> String {
    let sent = bench.run(&["send", &format!("buy.{flow}"), input, "--no-wait"], b"");
    text(&sent.ends_with(0).objects()[0], "run").to_owned()
}

fn waiting(bench: &Bench, program: &Program, flow: &str, input: &str) -> String {
    let run = begin(bench, flow, input);
    program.event("waiting");
    run
}

fn ask(bench: &Bench, arguments: &[&str]) -> Finished {
    bench.run(arguments, b"")
}

/// What is printed, with ids, times and durations replaced by what they are: the same each time.
fn scrubbed(printed: &str) -> String {
    let mut known = BTreeMap::new();
    let mut out = String::new();
    for piece in printed.split_inclusive(|character: char| !character.is_ascii_alphanumeric() && !"-:.".contains(character)) {
        let word = piece.trim_end_matches(|character: char| !character.is_ascii_alphanumeric());
        let (word, rest) = piece.split_at(word.len());
        let is_hex = word.chars().all(|character| character.is_ascii_hexdigit());
        let digits = word.trim_end_matches(['m', 's']);
        let is_time = word.len() > 19 && word.ends_with('Z') && word.contains('T');
        if uuid::Uuid::try_parse(word).is_ok() {
            let count = known.len() + 1;
            out.push_str(&format!("ID-{}", known.entry(word.to_owned()).or_insert(count)));
        } else if is_time {
            out.push_str("TIME");
        } else if is_hex && (word.len() == 64 || word.len() == 12) {
            out.push_str("DIGEST");
        } else if digits.len() < word.len() && !digits.is_empty() && digits.chars().all(|character| character.is_ascii_digit()) {
            // `1s 2ms` is one duration: on a busy machine some take longer than a second.
            if out.ends_with("TOOK ") {
                out.pop();
            } else {
                out.push_str("TOOK");
            }
        } else if out.ends_with("\"took_ms\"") {
            out.push_str(":TOOK");
        } else {
            out.push_str(word);
        }
        out.push_str(rest);
    }
    // Columns are as wide as what was there before.
    let narrow = |line: &str| {
        let text = line.trim_start_matches(' ');
        let words: Vec<&str> = text.split("  ").map(str::trim).filter(|word| !word.is_empty()).collect();
        format!("{}{}\n", &line[..line.len() - text.len()], words.join("  "))
    };
    out.lines().map(narrow).collect()
}

/// It is printed as it is written in `tests/cases/views`; `PIPEHOST_UPDATE=1` writes that anew.
#[track_caller]
pub(crate) fn is_as_written(name: &str, printed: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/cases/views").join(name);
    let printed = scrubbed(printed);
    if std::env::var_os("PIPEHOST_UPDATE").is_some() {
        fs::write(&file, &printed).expect("it can be written");
    }
    assert_eq!(printed, fs::read_to_string(&file).unwrap_or_default(), "{name}");
}

#[test]
fn a_run_is_listed_shown_answered_and_traced() {
    let (bench, program) = started();
    let run = waiting(&bench, &program, "order", r#"{"order":"o1","token":"hunter2"}"#);
    is_as_written("waiting.list", &ask(&bench, &["runs", "list"]).ends_with(0).out);
    is_as_written("waiting.show", &ask(&bench, &["runs", "show", &run]).ends_with(0).out);

    let wrong = ask(&bench, &["signal", &run, "Approved", r#"{"approved":true}"#, "--as", "mallory"]);
    wrong.ends_with(1).says(&["error[E0770]: the wait for Approved does not take this answer from mallory: its where does not hold"]);
    // Without --as it is the user.
    ask(&bench, &["signal", &run, "Approved", r#"{"approved":true}"#]).ends_with(1).says(&["from robin"]);
    let right = ask(&bench, &["signal", &run[..23], "Approved", r#"{"approved":true}"#, "--as", "alice"]);
    assert_eq!(right.ends_with(0).out, format!("run {run} took Approved and goes on\n"));
    // The one that its event starts ends last.
    program.event("run_ended");
    program.event("run_ended");
    let double = ask(&bench, &["signal", &run, "Approved", r#"{"approved":false}"#, "--as", "alice", "--json"]);
    double.ends_with(1).says(&["error[E0770]: the wait for Approved has its answer already: Approved by alice at "]);
    assert_eq!((text(&double.objects()[0], "verdict"), text(&double.objects()[0], "reason")), ("refused", "double"));

    is_as_written("ended.list", &ask(&bench, &["runs", "list"]).ends_with(0).out);
    is_as_written("ended.list.json", &ask(&bench, &["runs", "list", "--json"]).ends_with(0).out);
    is_as_written("ended.show", &ask(&bench, &["runs", "show", &run]).ends_with(0).out);
    let story = ask(&bench, &["runs", "show", &run, "--json"]);
    is_as_written("ended.show.json", &story.ends_with(0).out);
    let traced = ask(&bench, &["trace", &run]);
    is_as_written("ended.trace", &traced.ends_with(0).out);
    let correlation = text(&story.objects()[0], "correlation_id").to_owned();
    assert_eq!(ask(&bench, &["trace", &correlation]).ends_with(0).out, traced.out, "the request and its run lead to the same");
    is_as_written("ended.trace.json", &ask(&bench, &["trace", &run, "--json"]).ends_with(0).out);
    for command in [&["runs", "show", &run, "--json"][..], &["runs", "show", &run], &["trace", &run, "--json"]] {
        let told = ask(&bench, command);
        assert!(!told.out.contains("hunter2"), "{}", told.out);
    }
}

#[test]
fn a_run_that_failed_says_what_it_failed_of() {
    let (bench, program) = started();
    let run = begin(&bench, "fails", "{}");
    program.event("run_ended");
    is_as_written("failed.show", &ask(&bench, &["runs", "show", &run]).ends_with(0).out);
}

#[test]
fn lists_are_chosen_from_by_pipeline_flow_status_and_number() {
    let (bench, program) = started();
    let runs = [0, 1, 2].map(|_| waiting(&bench, &program, "waits", "{}"));
    let ended = begin(&bench, "fails", "{}");
    program.event("run_ended");
    let listed = |arguments: &[&str]| -> Vec<String> {
        let all: Vec<&str> = ["runs", "list", "--json"].iter().chain(arguments).copied().collect();
        ask(&bench, &all).ends_with(0).objects().iter().map(|row| text(row, "run").to_owned()).collect()
    };
    let newest_first: Vec<String> = [&ended, &runs[2], &runs[1], &runs[0]].map(Clone::clone).to_vec();
    assert_eq!(listed(&[]), newest_first);
    assert_eq!(listed(&["--status", "waiting"]), newest_first[1..]);
    assert_eq!(listed(&["--status", "open", "--limit", "2"]), newest_first[1..3]);
    assert_eq!(listed(&["--status", "failed"]), newest_first[..1]);
    assert_eq!(listed(&["--flow", "waits", "--pipeline", "buy", "--limit", "1"]), newest_first[1..2]);
    assert_eq!(listed(&["--pipeline", "sell"]), Vec::<String>::new());
    let cut = ask(&bench, &["runs", "list", "--limit", "1"]);
    cut.ends_with(0).says(&["there are more than these 1; --limit NUMBER shows more"]);
    ask(&bench, &["runs", "list", "--status", "stuck"]).ends_with(2).says(&["waiting"]);
    ask(&bench, &["runs", "list", "--limit", "0"]).ends_with(2);
    ask(&bench, &["runs", "list", "--status", "parked"]).ends_with(0).says(&["no runs"]);
}

#[test]
fn a_run_is_cancelled_once() {
    let (bench, program) = started();
    let run = waiting(&bench, &program, "waits", "{}");
    let cancelled = ask(&bench, &["runs", "cancel", &run]);
    assert_eq!(cancelled.ends_with(0).out, format!("run {run}: cancelled; what its steps say how to undo is undone\n"));
    program.event("run_ended");
    let again = ask(&bench, &["runs", "cancel", &run]);
    again.ends_with(1).says(&[&format!("error[E0768]: run {run} has ended already (cancelled)")]);
    let story: Json = ask(&bench, &["runs", "show", &run, "--json"]).ends_with(0).objects().remove(0);
    assert_eq!(
        (text(&story, "status"), text(&story, "end/reason"), text(&story, "steps/0/state")),
        ("cancelled", "requested", "cancelled")
    );
}

#[test]
fn an_answer_that_comes_too_late_is_refused_and_one_that_nobody_waits_for_is_named() {
    let (bench, program) = started();
    let run = begin(&bench, "short", "{}");
    program.event("wait_timed_out");
    let late = ask(&bench, &["signal", &run, "Approved", r#"{"approved":true}"#]);
    late.ends_with(1).says(&["error[E0770]: the wait for Approved gave up at 20"]);
    let story: Json = ask(&bench, &["runs", "show", &run, "--json"]).ends_with(0).objects().remove(0);
    assert_eq!(text(&story, "status"), "sleeping");
    let waits = waiting(&bench, &program, "waits", "{}");
    let refused = |arguments: &[&str], words: &str| ask(&bench, arguments).ends_with(1).says(&[words]).code;
    refused(&["signal", &waits, "Bought", "{}"], "error[E0769]: the flow waits never waits for Bought; it waits for Approved");
    refused(
        &["signal", &waits, "Approved"],
        "error[E0777]: the data of event Approved is not what is declared: approved is missing (bool)",
    );
    refused(&["signal", &waits, "Approved", r#"{"approved":1}"#], "approved is int, not bool");
    // It is somebody else's answer: it says so itself, and nothing is put on the bus.
    let wanted = format!(
        "error[E0770]: the wait #1 is for Approved with request = \"{waits}\", and this one has \"other\"; run {waits} has not heard"
    );
    refused(&["signal", &waits, "Approved", r#"{"approved":true,"request":"other"}"#], &wanted);
    ask(&bench, &["signal", &waits, "Approved", "[]"]).ends_with(2);
}

#[test]
fn what_is_not_known_or_not_meant_by_one_is_said() {
    let (bench, program) = started();
    let runs = [0, 1].map(|_| waiting(&bench, &program, "waits", "{}"));
    let same: String = runs[0].chars().zip(runs[1].chars()).take_while(|(one, other)| one == other).map(|(one, _)| one).collect();
    let refused = |arguments: &[&str], words: &str| ask(&bench, arguments).ends_with(1).says(&[words]).code;
    refused(&["runs", "show", &same], &format!("error[E0766]: 2 runs begin with {same}: "));
    refused(&["trace", &same], &format!("error[E0766]: 2 requests begin with {same}: "));
    refused(&["runs", "cancel", "ffff"], "error[E0765]: there is no run ffff; see pipehost runs list");
    refused(&["signal", "ffff", "Approved", "{}"], "error[E0765]: there is no run ffff");
    refused(&["trace", "ffff"], "error[E0765]: there is no request and no run ffff");
    refused(&["runs", "show", "order"], "error[E0765]: \"order\" is no id");
    ask(&bench, &["runs", "show", &runs[0].replace('-', "")]).ends_with(0);
    ask(&bench, &["runs"]).ends_with(2);
}

#[test]
fn what_a_host_left_is_looked_at_without_it_and_the_next_one_goes_on() {
    let (bench, program) = started();
    let run = waiting(&bench, &program, "waits", "{}");
    program.signal("TERM");
    program.finish().ends_with(0);
    let listed = ask(&bench, &["runs", "list", "--json"]);
    listed.ends_with(0).says(&["no host runs on the data folder .pipehost; this is what the last one left"]);
    let row = listed.objects().remove(0);
    assert_eq!((text(&row, "run"), text(&row, "status")), (run.as_str(), "stalled"));
    assert!(text(&row, "reason").starts_with("no host runs; it was waiting for Approved until "), "{row}");
    let shown = ask(&bench, &["runs", "show", &run]);
    assert!(shown.ends_with(0).out.contains("  for Approved with request = "), "{}", shown.out);
    assert!(ask(&bench, &["trace", &run]).ends_with(0).out.starts_with(&format!("run buy.waits {run}  ")));
    ask(&bench, &["runs", "cancel", &run]).ends_with(3).says(&["error[E0722]"]);

    let program = bench.start(&["run", "buy.yaml", "--events", "json"]);
    program.errors.expect("It stays until");
    let taken = ask(&bench, &["signal", &run, "Approved", r#"{"approved":true}"#]);
    assert_eq!(taken.ends_with(0).out, format!("run {run} took Approved and goes on\n"));
    program.event("run_ended");
    let story = ask(&bench, &["runs", "show", &run, "--json"]).ends_with(0).objects().remove(0);
    assert_eq!(text(&story, "steps/0/wait/answers/0/caller/id"), "robin");
}

/// Changes one bit in each file of what is too large for a row.
fn damage_payloads(bench: &Bench) {
    let files: Vec<_> = fs::read_dir(bench.path(".pipehost/payloads")).expect("there are some").flatten().collect();
    assert!(!files.is_empty());
    for file in files {
        let mut bytes = fs::read(file.path()).expect("it is there");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(file.path(), bytes).expect("written");
    }
}

#[test]
fn a_run_whose_history_cannot_be_read_hides_no_other_and_says_why() {
    let (bench, program) = started();
    let large = format!(r#"{{"order":"{}","token":"x"}}"#, "o".repeat(70_000));
    let damaged = waiting(&bench, &program, "order", &large);
    let whole = waiting(&bench, &program, "waits", "{}");
    program.signal("TERM");
    program.finish().ends_with(0);
    damage_payloads(&bench);
    let looked_at = |whole_is: &str| {
        let rows = ask(&bench, &["runs", "list", "--json"]).ends_with(0).objects();
        let rows: Vec<(&str, &str)> = rows.iter().map(|row| (text(row, "run"), text(row, "status"))).collect();
        assert_eq!(rows, [(whole.as_str(), whole_is), (damaged.as_str(), "stalled")]);
        let listed = ask(&bench, &["runs", "list", "--status", "stalled"]).ends_with(0).out.clone();
        assert!(
            listed.contains("stalled (the facts from number 0 on of run ")
                && listed.contains(" is damaged; put it back, or go on without it"),
            "{listed}"
        );
        let shown = ask(&bench, &["runs", "show", &damaged]).ends_with(0).out.clone();
        for words in [
            "  flow       buy.order\n",
            "  status     stalled (the facts",
            "  no more    pipehost store verify names what is damaged: the facts",
        ] {
            assert!(shown.contains(words), "{words:?} is not in\n{shown}");
        }
        assert!(!shown.contains("  input"), "what is not known is not told as null:\n{shown}");
        let traced = ask(&bench, &["trace", &damaged]).ends_with(0).out.clone();
        assert!(traced.starts_with(&format!("run buy.order {damaged}  ")), "{traced}");
        ask(&bench, &["runs", "show", &whole]).ends_with(0);
    };
    looked_at("stalled");
    let program = bench.start(&["run", "buy.yaml", "--events", "json"]);
    program.errors.expect("It stays until");
    looked_at("waiting");
    ask(&bench, &["signal", &whole, "Approved", r#"{"approved":true}"#]).ends_with(0);
}

#[test]
fn a_run_that_nobody_waits_for_leaves_a_dead_letter_that_is_replayed_and_dropped() {
    let (bench, program) = started();
    begin(&bench, "sulk", "{}");
    program.event("run_ended");
    program.event("run_ended");
    let letter = ask(&bench, &["dlq", "list", "--json"]).ends_with(0).objects().remove(0);
    let id = text(&letter, "letter").to_owned();
    assert_eq!((text(&letter, "owner"), text(&letter, "failure/message")), ("buy.sulks", "it is gone"));
    let shown = ask(&bench, &["dlq", "show", &id]);
    for words in [format!("letter {id}\n"), format!("run {id}\n"), "  event      Sulked ".to_owned(), "✗ broken".to_owned()] {
        assert!(shown.ends_with(0).out.contains(&words), "{words:?} is not in {}", shown.out);
    }
    let replayed = ask(&bench, &["dlq", "replay", &id, "--json"]).ends_with(0).objects().remove(0);
    program.event("run_ended");
    // It failed again.
    let again = ask(&bench, &["dlq", "list", "--json"]).ends_with(0).objects();
    assert_eq!(again.iter().map(|letter| text(letter, "letter")).collect::<Vec<_>>(), [text(&replayed, "begun")]);
    ask(&bench, &["dlq", "show", &id]).ends_with(1).says(&[&format!("error[E0772]: there is no dead letter {id}")]);
    let dropped = ask(&bench, &["dlq", "drop", text(&replayed, "begun")]);
    assert!(dropped.ends_with(0).out.contains(": it is dropped"), "{}", dropped.out);
    ask(&bench, &["dlq", "list"]).ends_with(0).says(&["no dead letters"]);
}

#[test]
fn a_run_that_has_ended_is_done_again_and_says_of_which_run() {
    let (bench, program) = started();
    let run = begin(&bench, "fails", "{}");
    program.event("run_ended");
    let again = ask(&bench, &["runs", "retry", &run, "--from", "broken", "--json"]).ends_with(0).objects().remove(0);
    program.event("run_ended");
    let story = ask(&bench, &["runs", "show", text(&again, "begun"), "--json"]).ends_with(0).objects().remove(0);
    assert_eq!((text(&story, "retry_of"), text(&story, "status")), (run.as_str(), "failed"));
    ask(&bench, &["runs", "retry", &run, "--from", "nothing"]).ends_with(1).says(&["nothing"]);
    ask(&bench, &["runs", "resume", &run]).ends_with(1).says(&["error[E0754]"]);
    ask(&bench, &["runs", "migrate", "--all", "--to", "current", "--dry-run"])
        .ends_with(0)
        .says(&["every run belongs to the revision in force"]);
    ask(&bench, &["runs", "migrate", "--all", "--to", "yesterday"]).ends_with(2);
}

#[test]
fn the_chatbot_saves_again_what_it_has_answered_and_does_not_answer_again() {
    let bench = Bench::chatbot();
    let (script, broken) = ("pipelines/scripts/save_message.rhai", "    throw permanent(\"the disk is full\");\n");
    bench.replace(script, "    let message = job.input;\n", &format!("{broken}    let message = job.input;\n"));
    let mut program = bench.start(&["run", CHATBOT, "--events", "json"]);
    program.say("how do retries work?");
    let run = text(&program.event("run_started"), "run").to_owned();
    assert_eq!(text(&program.event("replied"), "reply/step"), "save");
    program.event("run_ended");
    bench.replace(script, broken, "");
    program.event("reloaded");
    let data = ["--data", "pipelines/.pipehost", "--json"];
    let again = ask(&bench, &[&["runs", "retry", &run, "--from", "save"][..], &data].concat());
    let again = text(&again.ends_with(0).objects()[0], "begun").to_owned();
    let mut worked = Vec::new();
    loop {
        let line = program.output().line().expect("it goes on");
        let event: Json = serde_json::from_str(&line).expect("JSON");
        match text(&event, "event") {
            "job_started" => worked.push(text(&event, "step").to_owned()),
            "run_ended" => break assert_eq!((text(&event, "run"), text(&event, "outcome")), (again.as_str(), "succeeded")),
            _ => {}
        }
    }
    assert_eq!(worked, ["save"], "the passages and the answer are those of the first run");
    let of = |run: &str| ask(&bench, &[&["runs", "show", run][..], &data].concat()).ends_with(0).objects().remove(0);
    let (first, second) = (of(&run), of(&again));
    let steps = first["steps"].as_array().expect("steps");
    let answer = steps.iter().find(|step| step["step"] == "answer").expect("it was answered");
    assert_eq!(text(&second, "reply/text"), text(answer, "output/text"));
    let kept: Vec<(String, String)> = bench.messages().into_iter().map(|(_, role, text)| (role, text)).collect();
    let row = |role: &str, text: &str| (role.to_owned(), text.to_owned());
    assert_eq!(kept, [row("user", "how do retries work?"), row("assistant", text(&second, "reply/text"))]);
    drop(program.finish());
}

#[test]
fn without_a_host_it_ends_with_three_and_says_how_to_start_one() {
    let bench = Bench::empty();
    for arguments in [&["runs", "cancel", "01"][..], &["signal", "01", "Approved", "--as", "alice"]] {
        ask(&bench, arguments).ends_with(3).says(&["error[E0722]: no host answers", "start one with pipehost run FILE"]);
    }
    for arguments in [&["runs", "list"][..], &["runs", "show", "01"], &["trace", "01"], &["dlq", "list"]] {
        ask(&bench, arguments).ends_with(3).says(&["error[E0771]: no host runs on the data folder .pipehost, and none has kept anything"]);
    }
    // Without USER the system is asked; not every machine has a name for each user.
    let nameless = ask(&bench, &["signal", "01", "Approved"]);
    match nameless.code {
        Some(2) => nameless.says(&["error[E0778]", "say who answers, with --as ID"]),
        _ => nameless.ends_with(3).says(&["error[E0722]: no host answers"]),
    };
}
