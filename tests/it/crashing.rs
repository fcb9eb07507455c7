//! A host that dies at each start, whatever ends it: the runs that it finds are not given up for it.

use crate::program::Bench;

/// Runs that sleep: for some seconds, which are over at one of the next starts, or for a day.
const SLEEPING: &str = "
pipeline: sleeping
concurrency: { max_concurrent: 99 }
input: { length: string }
trigger: manual
steps:
  - sleep: '${input.length}'
  - reply: { text: awake }
";

/// So many starts die.
const DEATHS: usize = 20;

#[test]
fn twenty_deaths_while_runs_are_taken_up_give_none_of_them_up() {
    let bench = Bench::empty();
    bench.write("sleeping.yaml", SLEEPING);
    let host = ["run", "sleeping.yaml", "--events", "json"];
    let program = bench.start(&host);
    program.errors.expect("It stays until");
    for length in ["5s", "5s", "5s", "1d", "1d"] {
        bench.run(&["send", "sleeping", &format!(r#"{{"length":"{length}"}}"#), "--no-wait"], b"").ends_with(0);
    }
    program.signal("KILL");
    drop(program);
    // Those that had not woken before; the others are due at most of these starts.
    let left = bench.run(&["runs", "list", "--json"], b"").ends_with(0).objects();
    let due = left.iter().filter(|run| run["status"] == "stalled").count() - 2;
    for death in 0..DEATHS {
        let dying = bench.start_with(&[("PIPEHOST_DIE_AT", "recovery.claimed:1")], &host);
        let finished = dying.finish();
        assert!(finished.code.is_none(), "start {death} did not die: {}", finished.err);
    }
    let program = bench.start(&host);
    for _ in 0..due {
        assert_eq!(program.event("run_ended")["outcome"], "succeeded");
    }
    bench.run(&["dlq", "list"], b"").ends_with(0).says(&["no dead letters"]);
    let open = bench.run(&["runs", "list", "--json"], b"").ends_with(0).objects();
    let waiting = open.iter().filter(|run| run["status"] == "sleeping" || run["status"] == "waiting").count();
    assert_eq!(waiting, 2, "{open:?}");
    drop(program.finish());
}
