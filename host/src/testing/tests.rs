//! Tests of the tests: files as people write them, and what comes of them.

mod sharing;

use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;

use super::{Report, Settings, StoreKind, run, update};
use crate::clock::RealClock;
use crate::model::port::Clock;
use crate::plan::Environment;

struct Bench {
    folder: TempDir,
}

impl Bench {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder") }
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).expect("it can be written");
        path
    }

    fn settings(&self, yaml: &str) -> Settings {
        Settings {
            files: vec![self.write("a.yaml", yaml)],
            filter: None,
            environment: Environment::default(),
            data: Some(self.folder.path().join("data")),
            threads: 2,
            watchdog: Duration::from_secs(20),
            store: StoreKind::Memory,
        }
    }

    fn run(&self, yaml: &str) -> Report {
        run(&self.settings(yaml)).expect("the homes can be set up")
    }
}

/// What is wrong: with the file, then with each of its tests.
fn wrong(report: &Report) -> Vec<String> {
    let of_file = report.files.iter().flat_map(|file| file.diagnostics.iter().map(|one| format!("{}: {}", one.code, one.message)));
    let tests = report.files.iter().flat_map(|file| &file.tests);
    of_file.chain(tests.flat_map(|test| test.mistakes.iter().map(|one| format!("{}: {}", one.code, one.message)))).collect()
}

fn passes(yaml: &str) -> Report {
    let report = Bench::new().run(yaml);
    assert_eq!(wrong(&report), [""; 0]);
    assert!(report.files.iter().all(super::FileReport::passed));
    report
}

/// A pipeline of one step, `work`, which is mocked or not.
const ONE: &str = "
pipeline: a
resources: { main: { sqlite: a.db } }
executors: { work: { script: 'fn process(job) { 1 }', grants: { sql: [main] } } }
trigger: manual
input: { text: string }
steps:
  - id: work
    run: work
    with: { statement: '${input.text}' }
  - reply: { rows: '${steps.work}' }
";

fn one(tests: &str) -> String {
    format!("{ONE}tests:\n{tests}")
}

#[test]
fn a_mock_answers_and_may_read_the_input() {
    let report = passes(&one("
  - name: echo
    mocks: { work: { delay: 2s, output: { rows: [], columns: ['${input.statement}'] } } }
    send: { text: hi }
    expect: { outcome: succeeded, reply: { rows: { columns: [hi] } }, calls: [{ work: { statement: hi } }] }
"));
    assert_eq!(report.files[0].tests[0].elapsed, Duration::from_secs(2));
}

#[test]
fn what_reaches_outside_is_refused_with_the_mock_to_write() {
    let report = Bench::new().run(&one("
  - name: nobody stands in
    send: { text: hi }
    expect: { outcome: succeeded }
"));
    let test = &report.files[0].tests[0];
    assert_eq!(wrong(&report).len(), 1, "what came of it is not told too: {:?}", wrong(&report));
    assert_eq!(test.mistakes[0].code, "E0802");
    assert!(test.mistakes[0].help.as_deref().is_some_and(|help| help.contains("mocks: { work:")), "{:?}", test.mistakes);
}

#[test]
fn what_is_opted_in_runs_with_data_that_go_with_the_test() {
    let yaml = "
pipeline: a
resources: { main: { sqlite: a.db } }
executors:
  save:
    grants: { sql: [main] }
    script: |
      fn process(job) {
        sql.execute(\"CREATE TABLE IF NOT EXISTS t (x)\", []);
        sql.execute(\"INSERT INTO t VALUES (1)\", []);
        sql.query(\"SELECT count(*) AS n FROM t\", [])
      }
trigger: manual
steps: [{ id: save, run: save }, { reply: '${steps.save}' }]
tests:
  - name: one
    real: [save]
    send: {}
    expect: &one { reply: [{ n: 1 }] }
  - name: two
    real: [save]
    steps: [{ send: {} }, { send: {} }]
    expect: { runs: [{ outcome: succeeded }, { reply: [{ n: 2 }] }] }
";
    let bench = Bench::new();
    let report = bench.run(yaml);
    assert_eq!(wrong(&report), [""; 0]);
    assert!(!bench.folder.path().join("data/a").exists(), "nothing is left of them");
}

#[test]
fn a_script_without_grants_runs_for_real() {
    passes(
        "
pipeline: a
executors:
  double: { script: 'fn process(job) { #{ n: job.input.n * 2 } }' }
trigger: manual
input: { n: int }
steps: [{ id: double, run: double, with: { n: '${input.n}' } }, { run: log, with: { message: done } }]
tests:
  - name: twice
    send: { n: 21 }
    expect: { steps: { double: { n: 42 } }, calls: { double: 1, log: 1 } }
",
    );
}

#[test]
fn faults_are_injected_by_call_and_by_attempt_and_their_waits_take_no_time() {
    let yaml = ONE.replace("run: work", "run: work\n    retry: { max_retries: 2, base_delay: 1h, max_delay: 2h }");
    passes(&format!("{yaml}tests:
  - name: by attempt
    mocks: {{ work: {{ attempts: [{{ fail: {{ kind: transient }} }}, {{ output: {{ columns: [a] }} }}] }} }}
    steps: [{{ send: {{ text: a }} }}, {{ send: {{ text: b }} }}, {{ advance: 30m }}, {{ expect: {{ outcome: running, calls: {{ work: 2 }} }} }}]
    expect: {{ runs: [{{ outcome: succeeded }}, {{ outcome: succeeded }}], calls: {{ work: 4 }} }}
  - name: by call
    mocks: {{ work: [{{ fail: {{ kind: transient }} }}, {{ fail: {{ kind: permanent, code: gone, status: 410 }} }}] }}
    send: {{ text: a }}
    expect: {{ outcome: failed, error: {{ kind: permanent, code: gone, status: 410, step: work }}, calls: {{ work: 2 }} }}
"));
}

#[test]
fn what_waits_for_ever_is_said_and_not_waited_for() {
    let report = Bench::new().run(&one("
  - name: for ever
    mocks: { work: { hang: true } }
    send: { text: hi }
    expect: { outcome: running }
"));
    assert_eq!(wrong(&report), ["E0803: a run of a.main waits for what never comes"]);
}

#[test]
fn a_test_that_takes_too_long_is_given_up() {
    let bench = Bench::new();
    let yaml = "
pipeline: a
executors:
  spin: { script: 'fn process(job) { let n = 0; loop { n += 1; } }', limits: { operations: 1000000000000, wall: 1h } }
trigger: manual
steps: [{ run: spin }]
tests: [{ name: spin, send: {}, expect: { outcome: succeeded } }]
";
    let settings = Settings { watchdog: Duration::from_millis(200), ..bench.settings(yaml) };
    let report = run(&settings).expect("the homes can be set up");
    assert_eq!(wrong(&report).len(), 1);
    assert_eq!(report.files[0].tests[0].mistakes[0].code, "E0803");
}

#[test]
fn events_come_from_others_and_are_seen_on_each_bus() {
    passes(
        "
pipeline: a
bus: { scope: private, exports: [Done] }
events: { Done: { order: string }, Seen: { order: string } }
flows:
  take:
    trigger: { event: Placed, mode: observe }
    steps: [{ emit: { Done: { order: '${input.order}' } } }, { emit: { Seen: { order: '${input.order}' } } }]
tests:
  - name: an order of another pipeline is taken
    steps: [{ emit: { Placed: { order: '7' } }, from: shop }]
    expect:
      runs: [{ flow: take, outcome: succeeded, input: { order: '7' } }]
      events: { Done: [{ order: '7' }], Seen: 1 }
      bus: { global: { Done: 1, Seen: 0, Placed: 0 }, private: { Done: 1, Seen: [{ order: '7' }] } }
",
    );
}

#[test]
fn a_later_step_reads_what_was_seen_so_far() {
    passes(
        "
pipeline: a
events: { Asked: { run: string }, Answered: { run: string } }
flows:
  ask: { trigger: manual, steps: [{ emit: { Asked: { run: '${run.id}' } } }] }
  hear: { trigger: { event: Answered, mode: observe }, input: { run: string }, steps: [{ reply: '${input.run}' }] }
tests:
  - name: the answer names the run
    steps:
      - send: {}
      - emit: { Answered: { run: '${events.Asked[0].data.run}' } }
        from: b
      - send: { run: '${runs[0].id}' }
        flow: hear
        caller: { id: anna }
      - expect: { runs: [{ flow: ask }, { flow: hear }, { flow: hear }], events: { Asked: 1, Answered: 0 } }
",
    );
}

#[test]
fn a_wait_takes_the_event_that_a_test_emits_and_gives_up_in_time() {
    passes("
pipeline: a
events: { Asked: { request: string }, Approved: { request: string } }
flows:
  main:
    trigger: manual
    steps:
      - emit: { Asked: { request: '${run.id}' } }
      - id: approval
        wait: { event: Approved, match: { request: '${run.id}' }, timeout: 4h, on_timeout: [{ fail: { kind: permanent, message: nobody } }] }
      - reply: { by: '${steps.approval?.caller.id}' }
tests:
  - name: approved after an hour, over a restart
    steps:
      - send: {}
      - advance: 1h
      - restart: true
      - expect: { outcome: running }
      - emit: { Approved: { request: '${runs[0].id}' } }
        caller: { id: anna }
      - expect: { outcome: succeeded, reply: { by: anna }, undone: [], events: { Asked: 1, Approved: 0 } }
  - name: nobody approves
    send: {}
    expect: { outcome: failed, error: { message: nobody } }
");
}

#[test]
fn rounds_are_called_in_order_and_what_was_done_is_undone_backwards_over_a_kill() {
    passes(
        "
pipeline: a
resources: { main: { sqlite: a.db } }
executors:
  book: { script: 'fn process(job) { 1 }', grants: { sql: [main] } }
  free: { script: 'fn process(job) { 1 }', grants: { sql: [main] } }
trigger: manual
input: { n: int }
steps:
  - id: all
    each: { in: 'input.n', as: item, steps: [{ run: log, with: { message: 'x' } }] }
  - { id: seat, run: book, with: { what: seat }, undo: { run: free, with: { what: seat } } }
  - { id: meal, run: book, with: { what: meal }, undo: { run: free, with: { what: meal } } }
  - fail: { kind: permanent, message: nobody }
tests:
  - name: undone
    mocks: { book: {}, free: {} }
    crash_after: meal
    send: { n: 3 }
    expect:
      outcome: failed
      error: { message: nobody }
      undone: [meal, seat]
      calls: [log, log, log, seat, meal, free: { what: meal }, free: { what: seat }]
",
    );
}

#[test]
fn a_host_that_is_killed_goes_on_where_it_was() {
    let flows = ONE.replace("trigger: manual", "events: { Done: { n: int } }\nflows:\n  main:\n    trigger: manual");
    let (head, main) = flows.split_once("    trigger: manual\n").expect("there is one");
    let main: String = main
        .replace("- reply: { rows: '${steps.work}' }", "- { id: again, run: work, with: {}, emits: Done }")
        .lines()
        .map(|line| format!("    {line}\n"))
        .collect();
    let main = main.replace("run: work\n", "run: work\n        retry: { max_retries: 3, base_delay: 1h, max_delay: 2h }\n");
    let hear = "  hear: { trigger: { event: Done, mode: direct }, input: { n: int }, steps: [{ reply: '${input.n}' }] }\n";
    passes(&format!("{head}    trigger: manual\n{main}{hear}tests:
  - name: after a step, what it came to is not asked for again
    mocks: {{ work: [{{ delay: 5s, output: {{ n: 1 }} }}, {{ output: {{ n: 2 }} }}] }}
    crash_after: work
    send: {{ text: a }}
    expect: {{ outcome: succeeded, calls: [work, again], steps: {{ work: {{ n: 1 }}, again: {{ n: 2 }} }}, events: {{ Done: 1 }} }}
  - name: after the last step, its event is heard all the same, and once
    mocks: {{ work: {{ output: {{ n: 1 }} }} }}
    crash_after: again
    send: {{ text: a }}
    expect: {{ runs: [{{ outcome: succeeded }}, {{ flow: hear, reply: 1 }}], calls: {{ work: 2 }}, events: {{ Done: [{{ n: 1 }}] }} }}
  - name: what follows from a step of a test comes before the next one
    mocks: {{ work: {{ output: {{ n: 1 }} }} }}
    steps: [{{ send: {{ text: a }} }}, {{ send: {{ text: b }} }}]
    expect: {{ runs: [{{ flow: main }}, {{ flow: hear }}, {{ flow: main }}, {{ flow: hear }}] }}
  - name: and so it does where the host was killed in between
    mocks: {{ work: {{ output: {{ n: 1 }} }} }}
    crash_after: again
    steps: [{{ send: {{ text: a }} }}, {{ send: {{ text: b }} }}]
    expect: {{ runs: [{{ flow: main }}, {{ flow: hear }}, {{ flow: main }}, {{ flow: hear }}] }}
  - name: while it waits, it waits on
    mocks: {{ steps.work: {{ attempts: [{{ fail: {{ kind: transient }} }}, {{ output: {{ n: 1 }} }}] }}, work: {{ output: {{ n: 2 }} }} }}
    steps: [{{ send: {{ text: a }} }}, {{ advance: 30m }}, {{ restart: true }}, {{ advance: 29m }}, {{ expect: {{ calls: {{ work: 1 }} }} }}]
    expect: {{ runs: [{{ outcome: succeeded }}, {{}}], calls: {{ steps.work: 2, again: 1 }} }}
"));
}

#[test]
fn a_kill_that_never_comes_is_no_success() {
    let report = Bench::new().run(&one("
  - name: never
    mocks: { work: { fail: { kind: permanent } } }
    steps: [{ restart: true }, { send: { text: a } }]
    crash_after: work
    expect: { outcome: failed }
"));
    assert_eq!(wrong(&report), ["E0804: the host is to be killed after the step `work`, which was never done"]);
    passes(&one("
  - name: a restart before it takes nothing away from it
    mocks: { work: { output: { n: 1 } } }
    steps: [{ restart: true }, { send: { text: a } }]
    crash_after: work
    expect: { outcome: succeeded, calls: { work: 1 } }
"));
}

#[test]
fn the_state_begins_as_a_test_says_and_its_history_is_kept() {
    passes(
        "
pipeline: a
state: { initial: { count: 0, note: null } }
trigger: manual
input: { key: string }
state_key: '${input.key}'
steps: [{ set: { count: '${state.count + 1}' } }]
tests:
  - name: one more
    state: { count: 41 }
    steps: [{ send: { key: x } }, { send: { key: x } }, { send: { key: y } }]
    expect:
      state: { count: 42, note: null }
      runs: [{}, { state: { count: 43 }, state_history: { count: [42, 43], note: [] } }, { state_history: { count: [42] } }]
",
    );
}

#[test]
fn a_run_is_cancelled_by_its_number() {
    passes(&one("
  - name: cancelled
    mocks: { work: { hang: true } }
    steps: [{ send: { text: a } }, { cancel: 0 }]
    expect: { outcome: cancelled, reason: requested }
"));
    let report = Bench::new().run(&one("
  - name: nobody
    steps: [{ cancel: 0 }]
    expect: { outcome: cancelled }
"));
    assert_eq!(wrong(&report), ["E0804: there is no run 0 to cancel; 0 were started so far, counted from 0"]);
}

#[test]
fn other_files_are_put_in_force_and_broken_ones_are_not() {
    let bench = Bench::new();
    let next = ONE.replace("rows: '${steps.work}'", "new: true");
    bench.write("next.yaml", &next);
    bench.write("broken.yaml", &next.replace("run: work", "run: wrok"));
    let report = bench.run(&one("
  - name: runs under way end as they began
    mocks: { work: { delay: 5s } }
    steps:
      - send: { text: a }
      - reload: next.yaml
      - reload: broken.yaml
        refused: true
      - reload: true
      - send: { text: b }
    expect: { runs: [{ reply: { rows: null } }, { reply: { rows: null } }] }
  - name: a new one goes the new way
    mocks: { work: {} }
    steps: [{ reload: next.yaml }, { send: { text: b } }]
    expect: { reply: { new: true } }
  - name: told
    mocks: { work: {} }
    steps: [{ reload: broken.yaml }, { send: { text: b } }]
    expect: { reply: { new: true } }
"));
    let wrong = wrong(&report);
    assert_eq!(wrong.len(), 1, "{wrong:?}");
    assert!(wrong[0].starts_with("E0806: the reload is refused: "), "{wrong:?}");
}

#[test]
fn another_file_is_in_force_beside_it_and_its_executors_are_mocked_too() {
    let bench = Bench::new();
    bench.write(
        "b.yaml",
        "
pipeline: b
bus: { scope: global }
events: { Checked: { ok: bool } }
resources: { main: { sqlite: b.db } }
executors: { check: { builtin: sql.query, grants: { sql: [main] } } }
trigger: { event: Placed, mode: observe }
state: { initial: { checks: 0 } }
steps: [{ id: check, run: check, with: { database: main, statement: x } }, { set: { checks: 1 } }, { emit: { Checked: { ok: true } } }]
",
    );
    let report = bench.run(
        "
pipeline: a
bus: { scope: global }
events: { Placed: { order: string } }
flows:
  place: { trigger: manual, steps: [{ emit: { Placed: { order: '7' } } }] }
  hear: { trigger: { event: Checked, mode: observe }, steps: [{ reply: '${input.ok}' }] }
tests:
  - name: to and fro
    files: [b.yaml]
    mocks: { b.check: { output: { rows: [] } } }
    send: {}
    expect:
      runs:
        - { flow: place }
        - { pipeline: b, outcome: succeeded, steps: { check: { rows: [] } }, state: { checks: 1 }, state_history: { checks: [1] } }
        - { flow: hear }
      calls: { b.check: 1 }
",
    );
    assert_eq!(wrong(&report), [""; 0]);
}

#[test]
fn a_test_sees_its_own_variables_and_secrets_only() {
    let yaml = "
pipeline: a
env: [REGION]
executors: { work: { builtin: llm.chat, config: { model: '${env.REGION ?? \"none\"}', api_key: '${secret.KEY}' } } }
flows:
  main: { trigger: manual, steps: [{ reply: '${env.REGION ?? \"none\"}' }] }
  other: { trigger: manual, steps: [{ run: work, with: { question: hi, passages: [] } }] }
tests:
  - { name: none, send: {}, expect: { reply: none } }
  - { name: its own, env: { REGION: south }, secrets: { KEY: k }, send: {}, expect: { reply: south } }
";
    let bench = Bench::new();
    let mut settings = bench.settings(yaml);
    settings.environment.variables.insert("REGION".to_owned(), "north".to_owned());
    let report = run(&settings).expect("the homes can be set up");
    assert_eq!(wrong(&report), [""; 0]);
    assert_eq!(report.files[0].tests.len(), 2);
}

#[test]
fn steps_and_branches_that_no_test_takes_are_listed() {
    let report = passes(
        "
pipeline: a
trigger: manual
input: { n: int }
steps:
  - when: 'input.n > 1'
    run: log
    with: { message: many }
  - id: maybe
    when: 'input.n > 0'
    run: log
    with: { message: some }
on_error: [{ run: log, with: { message: failed } }]
tests:
  - { name: one, send: { n: 1 }, expect: { outcome: succeeded } }
",
    );
    let coverage = report.files[0].coverage.as_ref().expect("all tests ran");
    let missed: Vec<&str> = coverage.missed.iter().map(|missed| missed.what.as_str()).collect();
    assert_eq!((coverage.steps.taken, coverage.steps.all, coverage.branches.taken, coverage.branches.all), (1, 3, 2, 5));
    assert_eq!(
        missed,
        ["the step on line 6", "`when` of step `maybe` is never false", "the step on line 13", "`on_error` of the flow `main`"]
    );
}

#[test]
fn an_update_writes_what_was_seen_and_the_next_time_all_is_met() {
    let bench = Bench::new();
    let report = bench.run(&one("
  - name: wrong  # why
    mocks: { work: { output: { columns: [a, \"it's\"] } } }
    send: { text: hi }
    expect:
      outcome: failed   # the outcome
      reply: { rows: { columns: [b], absent: 1 } }
      calls: { work: 3 }
"));
    assert_eq!(report.files[0].tests[0].mistakes.len(), 4);
    let updated = update(&report).expect("it can be written");
    assert_eq!((updated[0].written, updated[0].left.len()), (3, 1));
    let text = std::fs::read_to_string(bench.folder.path().join("a.yaml")).expect("it is there");
    assert!(
        text.contains(
            "outcome: succeeded   # the outcome\n      reply: { rows: { columns: [a, 'it''s'], absent: 1 } }\n      calls: { work: 1 }"
        ),
        "{text}"
    );
}

#[test]
fn changed_tests_are_no_change_of_the_pipeline() {
    let revision = |yaml: &str| {
        let report = passes(yaml);
        assert!(report.files[0].pipeline.is_some());
        let bench = Bench::new();
        let file = bench.write("a.yaml", yaml);
        let look = crate::app::look(&[file], Some(bench.folder.path().join("data")), Environment::default()).expect("it can be loaded");
        look.plan.expect("it has no mistakes").pipelines[0].revision
    };
    let test = "  - { name: one, mocks: { work: {} }, send: { text: a }, expect: { outcome: succeeded } }\n";
    assert_eq!(revision(ONE), revision(&one(test)));
}

/// A thousand tests of four virtual hours, each with fifty waits in it: seconds, and here ten times as long is allowed.
#[test]
fn a_thousand_tests_of_four_hours_take_seconds() {
    let mut yaml = ONE.replace("run: work", "run: work\n    retry: { max_retries: 56, base_delay: 1s, max_delay: 5m }");
    yaml.push_str("tests:\n");
    for number in 0..1_000 {
        yaml.push_str(&format!(
            "  - name: number {number}\n    mocks: {{ work: {{ fail: {{ kind: transient }} }} }}\n    send: {{ text: hi }}\n    expect: {{ outcome: failed, calls: {{ work: 57 }} }}\n"
        ));
    }
    let bench = Bench::new();
    let (settings, clock) = (bench.settings(&yaml), RealClock::new());
    let began = clock.now();
    let report = run(&settings).expect("the homes can be set up");
    let took = clock.now().since(began);
    let hours: f64 = report.files[0].tests.iter().map(|test| test.elapsed.as_secs_f64() / 3_600.0).sum();
    println!("{} tests, {hours:.0} virtual hours: {took:?}", report.files[0].tests.len());
    assert_eq!(wrong(&report), [""; 0]);
    assert!(hours >= 4_000.0, "{hours}");
    assert!(took < Duration::from_secs(60), "{took:?}");
}
