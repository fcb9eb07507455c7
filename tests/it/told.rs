//! What the terminal says of runs that nobody waits for, and what an end leaves for the next start; each text as it is written.

use std::fs;

use crate::asking::is_as_written;
use crate::program::{Bench, Program, text};

const SHOP: &str = "pipeline: shop
events:
  Approved: { request: string, by: string }
  Bought: { order: string }
executors:
  pay: { script: 'fn process(job) { #{ paid: true } }' }
  refund: { script: 'fn process(job) { throw #{ kind: \"permanent\", message: \"the bank is closed\" } }' }
  print: { script: 'fn process(job) { throw #{ kind: \"conflict\", message: \"there is no paper\" } }' }
flows:
  order:
    trigger: manual
    input: { order: string }
    steps:
      - id: approval
        wait:
          event: Approved
          match: { request: '${run.id}' }
          timeout: 4h
          on_timeout: [{ fail: { kind: timeout, message: nobody approved } }]
      - reply: { by: '${steps.approval.data.by}', asked_by: '${caller.id}' }
  paid:
    trigger: manual
    steps:
      - id: pay
        run: pay
        undo: { run: refund }
      - sleep: 1h
  plain:
    trigger: manual
    steps: [{ sleep: 1h }]
  slow:
    trigger: manual
    steps: [{ sleep: 1h }]
    finally: [{ sleep: 1h }]
  bought:
    trigger: [manual, { stdin: line }]
    input: { text: string? }
    steps:
      - emit: { Bought: { order: o-1 } }
  slip:
    trigger: { event: Bought, mode: direct }
    input: { order: string }
    steps: [{ run: print }]
";

/// A bench in which the data folder is not the one that commands ask by themselves.
fn bench() -> Bench {
    let bench = Bench::empty();
    bench.write("files/shop.yaml", SHOP.replace("string?", "string|null"));
    bench
}

const DATA: [&str; 2] = ["--data", "files/.pipehost"];

fn started(bench: &Bench) -> Program {
    let host = bench.start(&["run", "files/shop.yaml", "--events", "json"]);
    host.errors.expect("Reading messages");
    host
}

fn asking<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    arguments.iter().copied().chain(DATA).collect()
}

/// Starts a flow, and returns the run's id.
fn begin(bench: &Bench, flow: &str, input: &str) -> String {
    let sent = bench.run(&asking(&["send", flow, input, "--no-wait"]), b"");
    text(&sent.ends_with(0).objects()[0], "run").to_owned()
}

/// What was said on standard error, without the banner.
fn said(err: &str) -> String {
    let banner_ends = err.find("one a line.\n\n").map_or(0, |at| at + "one a line.\n\n".len());
    err[banner_ends..].to_owned()
}

#[test]
fn what_nobody_waits_for_is_told_with_what_can_be_done() {
    let bench = bench();
    let host = started(&bench);
    begin(&bench, "shop.bought", "{}");
    let ended = loop {
        let ended = host.event("run_ended");
        if ended["flow"] == "slip" {
            break ended;
        }
    };
    assert_eq!(text(&ended, "unheard"), "dead_letter", "{ended}");
    host.errors.expect("there is no paper");
    let waits = begin(&bench, "shop.order", r#"{"order":"o-1"}"#);
    host.event("waiting");
    host.errors.expect("waits in step approval");
    // One line for each step where runs wait, however many do.
    begin(&bench, "shop.order", r#"{"order":"o-2"}"#);
    host.event("waiting");
    let paid = begin(&bench, "shop.paid", "{}");
    host.event("job_ended");
    let cancelled = bench.run(&asking(&["runs", "cancel", &paid]), b"");
    is_as_written("parked.cancel", &cancelled.ends_with(1).out);
    host.errors.expect("is parked");
    assert_eq!(
        bench.run(&asking(&["runs", "cancel", &waits]), b"").ends_with(0).out,
        format!("run {waits}: cancelled; what its steps say how to undo is undone\n")
    );
    let plain = begin(&bench, "shop.plain", "{}");
    let cancelled = bench.run(&asking(&["runs", "cancel", &plain, "--json"]), b"");
    assert_eq!(text(&cancelled.ends_with(0).objects()[0], "status"), "cancelled");
    host.signal("TERM");
    is_as_written("unheard.told", &said(&host.finish().ends_with(0).err));
    let shown = bench.run(&asking(&["runs", "show", &paid]), b"");
    is_as_written("parked.show", &shown.ends_with(0).out);
}

#[test]
fn an_end_says_what_it_leaves_and_the_next_start_how_much_it_took_up() {
    let bench = bench();
    let host = started(&bench);
    let waits = bench.start(&asking(&["send", "shop.order", r#"{"order":"o-1"}"#]));
    host.event("waiting");
    begin(&bench, "shop.plain", "{}");
    host.signal("TERM");
    let ended = host.finish();
    is_as_written("left.told", &said(&ended.ends_with(0).err));
    let left = waits.finish();
    is_as_written("left.send", &left.ends_with(4).err);

    let host = started(&bench);
    let banner = host.errors.so_far();
    let taken_up = banner.lines().find(|line| line.contains("taken up")).unwrap_or_default();
    assert_eq!(
        taken_up.trim(),
        "taken up   2 runs wait for an event or a time; see pipehost runs list --data files/.pipehost --status open"
    );
    // A host that is killed says nothing: who waits for it does.
    let waits = bench.start(&asking(&["send", "shop.order", r#"{"order":"o-2"}"#, "--json"]));
    waits.output().expect("accepted");
    host.event("waiting");
    host.signal("KILL");
    host.finish();
    is_as_written("gone.send", &waits.finish().ends_with(4).err);

    let listed = bench.run(&asking(&["runs", "list", "--status", "open"]), b"");
    is_as_written("left.list", &listed.ends_with(0).out);
}

#[test]
fn who_sends_may_say_who_asks() {
    let bench = bench();
    let host = started(&bench);
    let asked = bench.start(&asking(&["send", "shop.order", r#"{"order":"o-1"}"#, "--as", "ada"]));
    let run = text(&host.event("waiting"), "run").to_owned();
    bench.run(&asking(&["signal", &run, "Approved", r#"{"by":"eve"}"#, "--as", "eve"]), b"").ends_with(0);
    assert_eq!(asked.finish().ends_with(0).out, "{\"by\":\"eve\",\"asked_by\":\"ada\"}\n");
    let story = bench.run(&asking(&["runs", "show", &run, "--json"]), b"");
    assert_eq!(text(&story.ends_with(0).objects()[0], "caller/id"), "ada");
}

#[test]
fn who_cancels_what_does_not_end_hears_that_in_time() {
    let bench = bench();
    let _host = started(&bench);
    let run = begin(&bench, "shop.slow", "{}");
    let cancelled = bench.run(&asking(&["runs", "cancel", &run]), b"");
    is_as_written("slow.cancel", &cancelled.ends_with(0).out);
}

#[test]
fn what_fails_behind_the_last_answer_is_told_before_the_end() {
    let bench = bench();
    let piped = bench.run(&["run", "files/shop.yaml"], b"{}\n");
    is_as_written("behind.told", &said(&piped.ends_with(0).err));
}

#[test]
fn a_file_that_is_not_there_leaves_no_data_folder_behind() {
    let bench = Bench::empty();
    bench.write("a.yaml", "pipeline: a\ntrigger: manual\nsteps: [{ reply: 1 }]\n");
    let refused = bench.run(&["run", "a.yaml", "b.yaml"], b"");
    refused.ends_with(3).says(&["error[E0101]: there is no file b.yaml", "Nothing was started."]);
    assert!(!bench.path(".pipehost").exists());
}

#[test]
fn dead_letters_are_named_in_their_own_words() {
    let bench = bench();
    let host = started(&bench);
    for id in ["ffff", "order", "shop.db#17"] {
        let refused = bench.run(&asking(&["dlq", "show", id]), b"");
        let words = format!("error[E0772]: there is no dead letter {id}; see pipehost dlq list --data files/.pipehost\n");
        assert_eq!(refused.ends_with(1).err, words);
    }
    host.signal("TERM");
    host.finish().ends_with(0);
}

#[test]
fn steps_without_an_id_have_the_number_that_the_reader_of_the_file_counts() {
    let bench = Bench::empty();
    let text_of = "pipeline: counted
env: [TLS]
executors:
  nap: { builtin: transform, config: {} }
  tls: { builtin: log }
flows:
  main:
    trigger: manual
    steps:
      - run: nap
        with: { a: '${env.TLS ?? \"none\"}' }
        undo: { run: nap, with: { a: 1 } }
      - dispatch: nap
        with: { a: 1 }
      - emit: { Done: { at: 1 } }
      - wait: { event: Gone, match: { run: '${run.id}' }, timeout: 1h, on_timeout: [{ reply: 1 }] }
events:
  Done: { at: int }
  Gone: { run: string }
";
    bench.write("counted.yaml", text_of);
    let host = bench.start(&["run", "counted.yaml", "--events", "json"]);
    host.errors.expect("It stays until");
    let sent = bench.run(&["send", "counted.main", "--no-wait"], b"");
    let run = text(&sent.ends_with(0).objects()[0], "run").to_owned();
    assert_eq!(text(&host.event("waiting"), "step"), "#4");
    let steps = || {
        let shown = bench.run(&["runs", "show", &run, "--json"], b"").ends_with(0).objects().remove(0);
        let steps = shown["steps"].as_array().expect("a list");
        steps.iter().map(|step| (text(step, "step").to_owned(), text(step, "verb").to_owned())).collect::<Vec<_>>()
    };
    let with = steps();
    let numbers = [("#1", "run"), ("#2", "dispatch"), ("#3", "emit"), ("#4", "wait")];
    assert_eq!(with, numbers.map(|(step, verb)| (step.to_owned(), verb.to_owned())));
    host.signal("TERM");
    host.finish().ends_with(0);
    fs::remove_file(bench.path("counted.yaml")).expect("it was there");
    assert_eq!(steps(), with, "without a host, and without the file");
    let listed = bench.run(&["runs", "list", "--status", "open"], b"");
    assert!(listed.ends_with(0).out.contains("(no host runs; it was waiting for Gone until "), "{}", listed.out);
}

#[test]
fn what_a_start_finds_unreadable_or_stalled_is_said_on_its_terminal_with_the_way_out() {
    let bench = Bench::empty();
    let text_of = "pipeline: safe
events:
  Opened: { request: string }
types: { token: secret }
flows:
  keep:
    trigger: manual
    input: { token: secret }
    steps: [{ set: { token: '${input.token}' } }]
  hold:
    trigger: manual
    input: { token: secret }
    steps:
      - wait: { event: Opened, match: { request: '${run.id}' }, timeout: 4h, on_timeout: [{ reply: 1 }] }
";
    bench.write("files/safe.yaml", text_of.replace("types: { token: secret }", "state:\n  initial: {}\n  types: { token: secret }"));
    let start = || {
        let host = bench.start(&["run", "files/safe.yaml", "--events", "json"]);
        host.errors.expect("It stays until");
        host
    };
    let host = start();
    let kept = bench.run(&asking(&["send", "safe.keep", r#"{"token":"hunter2"}"#]), b"");
    kept.ends_with(0);
    let held = begin(&bench, "safe.hold", r#"{"token":"hunter2"}"#);
    host.event("waiting");
    host.signal("TERM");
    host.finish().ends_with(0);
    // Another one in its place: without one, nothing would be begun at all.
    fs::write(bench.path("files/.pipehost/seal.key"), [7; 32]).expect("it can be written");
    let host = start();
    host.errors.expect("warning[E0759]: the state of safe cannot be read");
    host.errors.expect(&format!("run {held}: "));
    host.signal("TERM");
    let ended = host.finish();
    ended
        .ends_with(0)
        .says(&["begin it anew from its initial values with pipehost dlq drop --data files/.pipehost ", "sealed with another key"]);
    assert_eq!(ended.err.matches("E0759").count(), 1, "{}", ended.err);
}

#[test]
fn who_waits_for_a_run_no_longer_hears_that_it_goes_on() {
    let bench = bench();
    let host = started(&bench);
    let waits = bench.start(&asking(&["send", "shop.order", r#"{"order":"o-1"}"#, "--json"]));
    waits.output().expect("accepted");
    host.event("waiting");
    waits.signal("INT");
    is_as_written("interrupted.send", &waits.finish().ends_with(130).err);
    let listed = bench.run(&asking(&["runs", "list", "--status", "waiting", "--json"]), b"");
    assert_eq!(listed.ends_with(0).objects().len(), 1, "Ctrl-C ends only the waiting");
}

#[cfg(target_os = "linux")]
#[test]
fn a_run_whose_bundle_misses_a_secret_says_which_and_so_does_the_refusal_of_its_answer() {
    let bench = Bench::empty();
    let text_of = "pipeline: sealed
events: { Opened: { request: string } }
executors:
  ask: { builtin: http.request, config: { bearer: '${secret.TOK}' }, grants: { http: ['https://example.com'] } }
flows:
  main:
    trigger: manual
    steps:
      - wait: { event: Opened, match: { request: '${run.id}' }, timeout: 4h, on_timeout: [{ reply: 1 }] }
      - run: ask
        with: { url: 'https://example.com/' }
";
    bench.write("files/sealed.yaml", text_of);
    bench.write("files/other.yaml", "pipeline: other\ntrigger: manual\nsteps: [{ reply: 1 }]\n");
    let host = bench.start_with(&[("TOK", "hunter2")], &["run", "files/sealed.yaml", "files/other.yaml", "--events", "json"]);
    host.errors.expect("It stays until");
    let run = begin(&bench, "sealed.main", "{}");
    host.event("waiting");
    host.signal("TERM");
    host.finish().ends_with(0);
    let host = bench.start(&["run", "files/other.yaml", "--events", "json"]);
    let why = "E0756: the revision ";
    host.errors.expect(&format!("run {run}: {why}"));
    let refused = bench.run(&asking(&["signal", &run, "Opened", "--as", "ada"]), b"");
    let words = format!("error[E0770]: run {run} is stalled and takes no answer until it can go on: {why}");
    refused.ends_with(1).says(&[&words, "the secret TOK has no value"]);
    host.signal("TERM");
    host.finish().ends_with(0);
}

#[test]
fn an_event_that_did_not_arrive_is_told_in_one_line() {
    let bench = Bench::empty();
    let text_of = "pipeline: shop
events: { Bought: { order: string } }
flows:
  main: { trigger: manual, steps: [{ emit: { Bought: { order: o-1 } } }] }
  slip: { trigger: { event: Bought, mode: direct }, input: { order: int }, steps: [{ reply: 1 }] }
";
    bench.write("files/shop.yaml", text_of);
    let host = bench.start(&["run", "files/shop.yaml"]);
    host.errors.expect("It stays until");
    bench.run(&asking(&["send", "shop.main"]), b"").ends_with(0);
    host.errors.expect("Bought did not reach shop.slip");
    host.signal("TERM");
    let ended = host.finish();
    let told = ended.ends_with(0).err.lines().filter(|line| line.contains("shop.slip")).count();
    assert_eq!(told, 1, "{}", ended.err);
}
