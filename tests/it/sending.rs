//! `pipehost send` to a running host, over its socket: what is sent, who is let in, and what hostile clients get.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};

use serde_json::{Value as Json, json};

use crate::program::{Bench, Program, text};

const CART: &str = "pipeline: cart
trigger: manual
input: { sku: string, count: { type: int, default: 1 } }
steps:
  - when: 'input.sku == \"gone\"'
    fail: { kind: not_found, message: 'there is no gone' }
  - id: count
    run: counted
    with: { count: '${input.count}' }
    stream: true
  - reply: { sku: '${input.sku}', count: '${steps.count.count}' }
executors:
  counted:
    script: |
      fn process(job) {
          progress(#{ token: \"one \" });
          job.input
      }
";

const TWO: &str = "pipeline: auth
flows:
  login: { trigger: manual, steps: [{ reply: { in: true } }] }
  logout: { trigger: manual, steps: [{ reply: { in: false } }] }
  heard: { trigger: { event: Nothing }, steps: [{ set: { a: 1 } }] }
state: { initial: { a: 0 } }
";

fn bench() -> Bench {
    let bench = Bench::empty();
    bench.write("cart.yaml", CART);
    bench.write("auth.yaml", TWO);
    bench
}

fn started(bench: &Bench) -> Program {
    let program = bench.start(&["run", "cart.yaml", "auth.yaml"]);
    program.errors.expect("It stays until");
    program
}

fn ended(program: Program) -> String {
    program.signal("TERM");
    program.finish().ends_with(0).err.clone()
}

#[test]
fn a_flow_is_started_by_its_name_and_its_reply_is_printed() {
    let bench = bench();
    let program = started(&bench);
    let shown = program.errors.so_far();
    assert!(shown.contains("pipehost send cart.main '{\"sku\":\"…\"}'"), "{shown}");
    let mode = fs::metadata(bench.path(".pipehost/control.sock")).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let sent = bench.run(&["send", "cart", r#"{"sku":"a","count":2}"#], b"");
    assert_eq!(sent.ends_with(0).out, "{\"sku\":\"a\",\"count\":2}\n");
    let misspelt = bench.run(&["send", "cart", r#"{"sku":"a","coutn":2}"#], b"");
    assert_eq!(misspelt.ends_with(0).out, "{\"sku\":\"a\",\"count\":1}\n");
    assert_eq!(misspelt.err, "note: there is no field `coutn` in the input of cart.main; no expression reads it. Did you mean `count`?\n");
    let answers = bench.run(&["send", "cart.main", r#"{"sku":"b"}"#, "--json"], b"").ends_with(0).objects();
    let words: Vec<&str> = answers.iter().map(|answer| text(answer, "answer")).collect();
    assert_eq!(words, ["accepted", "progress", "reply", "ended"]);
    assert_eq!((text(&answers[1], "progress/token"), text(&answers[3], "outcome")), ("one ", "succeeded"));
    let begun = bench.run(&["send", "cart", r#"{"sku":"c"}"#, "--no-wait"], b"").ends_with(0).objects();
    assert_eq!(text(&begun[0], "run").len(), 36);
    ended(program);
    assert!(!bench.path(".pipehost/control.sock").exists());
}

#[test]
fn what_does_not_go_well_is_told_and_ends_with_one() {
    let bench = bench();
    let program = started(&bench);
    let fails = |arguments: &[&str], words: &str| {
        let all: Vec<&str> = ["send"].iter().chain(arguments).copied().collect();
        bench.run(&all, b"").ends_with(1).says(&[words]);
    };
    fails(&["cart", r#"{"sku":"gone"}"#], "there is no gone (not_found)");
    fails(&["cart", "{}"], "error: the input of cart.main is not what it declares: sku is missing (string) (invalid)");
    fails(&["crat"], "error[E0723]: there is no pipeline \"crat\"; in force are cart, auth");
    fails(&["auth"], "error[E0723]: auth has several flows that are started by name; send to auth.login or auth.logout");
    fails(&["auth.heard"], "error[E0723]: the flow auth.heard is not started by name; add manual to its triggers");
    bench.run(&["send", "cart", "{sku: a}"], b"").ends_with(2).says(&["this is no JSON"]);
    bench.run(&["send", "cart", "[]"], b"").ends_with(2).says(&["this is a JSON list"]);
    ended(program);
}

#[test]
fn without_a_host_it_ends_with_three_and_says_how_to_start_one() {
    let bench = bench();
    let sent = bench.run(&["send", "cart", "{}"], b"");
    let words = "error[E0722]: no host answers for the data folder .pipehost (there is no such folder); start one with pipehost run FILE";
    sent.ends_with(3).says(&[words]);
    // A socket that nobody listens on is in nobody's way.
    fs::create_dir_all(bench.path(".pipehost")).expect("made");
    drop(UnixListener::bind(bench.path(".pipehost/control.sock")).expect("bound"));
    bench.run(&["send", "cart", "{}"], b"").ends_with(3).says(&["E0722", "without a farewell"]);
    let program = started(&bench);
    bench.run(&["send", "cart", r#"{"sku":"a"}"#], b"").ends_with(0);
    ended(program);
}

#[test]
fn a_second_host_on_the_same_data_ends_at_once_and_names_the_first() {
    let bench = bench();
    let program = started(&bench);
    let owner = bench.read(".pipehost/lock");
    let second = bench.run(&["run", "cart.yaml"], b"");
    second.ends_with(3).says(&["error[E0720]: the data folder .pipehost is in use by process", owner.trim()]);
    bench.run(&["run", "cart.yaml", "--data", "other", "--input", r#"{"sku":"a"}"#], b"").ends_with(0);
    ended(program);
    let third = started(&bench);
    ended(third);
}

#[test]
fn a_data_folder_of_any_length_is_reached() {
    let bench = bench();
    let long = format!("{}/data", "long".repeat(30));
    let program = bench.start(&["run", "cart.yaml", "--data", &long]);
    program.errors.expect("It stays until");
    let sent = bench.run(&["send", "cart", r#"{"sku":"a"}"#, "--data", &long], b"");
    assert_eq!(sent.ends_with(0).out, "{\"sku\":\"a\",\"count\":1}\n");
    ended(program);
}

#[test]
fn something_else_in_the_socket_s_place_is_left_alone_and_told() {
    let bench = bench();
    bench.write(".pipehost/control.sock", "mine");
    let program = started(&bench);
    let said = ended(program);
    assert!(said.contains("error[E0721]") && said.contains("control.sock is no socket; move it"), "{said}");
    assert_eq!(bench.read(".pipehost/control.sock"), "mine");
}

fn speak(bench: &Bench, bytes: &[u8]) -> Vec<Json> {
    let mut stream = UnixStream::connect(bench.path(".pipehost/control.sock")).expect("it listens");
    // The host may answer, and close, before it has read everything.
    let _ = stream.write_all(bytes);
    let mut all = Vec::new();
    let _ = stream.read_to_end(&mut all);
    String::from_utf8_lossy(&all).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn hostile_clients_are_refused_and_the_host_goes_on() {
    let bench = bench();
    let program = started(&bench);
    let refused = |bytes: &[u8], words: &str| {
        let answers = speak(&bench, bytes);
        let answer = answers.first().unwrap_or_else(|| panic!("no answer to {:?}", &bytes[..bytes.len().min(40)]));
        assert_eq!((answers.len(), text(answer, "answer")), (1, "refused"), "{answer}");
        assert!(text(answer, "failure/message").contains(words), "{answer}");
    };
    refused(b"\n", "one JSON object");
    refused(b"\xff\xfe\0\n", "one JSON object");
    refused(b"{\"version\":99,\"request\":\"send\"}\n", "speaks version 1");
    refused(b"{\"version\":1,\"request\":\"halt\"}\n", "it knows send, runs");
    refused(format!("{}\n", "[".repeat(1 << 20)).as_bytes(), "one JSON object");
    // Its end never comes: what is too long is refused before it is read to its end.
    let long = vec![b'x'; 5 << 20];
    let answers = speak(&bench, &long);
    assert!(answers.iter().all(|answer| text(answer, "failure/message").contains("longer than")), "{answers:?}");
    // A secret of another request is never repeated.
    let secret = speak(&bench, b"{\"version\":1,\"request\":\"send\",\"target\":\"cart\",\"input\":{},\"pass\":\"hunter2\"}\n");
    assert!(!json!(secret).to_string().contains("hunter2"), "{secret:?}");
    // Who keeps all places gets no others refused for ever.
    let kept: Vec<UnixStream> = (0..64).map(|_| UnixStream::connect(bench.path(".pipehost/control.sock")).expect("it listens")).collect();
    let mut line = String::new();
    let last = UnixStream::connect(bench.path(".pipehost/control.sock")).expect("it listens");
    BufReader::new(last).read_line(&mut line).expect("an answer");
    assert!(line.contains("64 connections are served already"), "{line}");
    drop(kept);
    let mut sent = bench.run(&["send", "cart", r#"{"sku":"a"}"#], b"");
    while sent.code == Some(1) && sent.err.contains("64 connections") {
        sent = bench.run(&["send", "cart", r#"{"sku":"a"}"#], b"");
    }
    sent.ends_with(0);
    ended(program);
}

#[test]
fn who_waits_is_told_that_the_host_ended() {
    let bench = Bench::empty();
    bench.write(
        "slow.yaml",
        "pipeline: slow\ntrigger: manual\nexecutors:\n  slow:\n    script: |\n      fn process(job) { progress(#{ token: \"x\" }); loop {} }\n    \
         limits: { operations: 9000000000000000 }\nsteps: [{ run: slow, stream: true }]\n",
    );
    let program = bench.start(&["run", "slow.yaml"]);
    program.errors.expect("It stays until");
    let waiting = bench.start(&["send", "slow", "--json"]);
    waiting.output().expect("progress");
    ended(program);
    let told = waiting.finish();
    assert!(told.ends_with(4).out.contains("{\"answer\":\"left\",\"run\":\""), "{}", told.out);
}
