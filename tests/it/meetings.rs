//! Runs that meet, from the YAML to what a program reads: calls, dispatches, waits and who is told of a refusal.

use serde_json::json;

use crate::program::Bench;

const APPROVAL: &str = "
pipeline: approval
events:
  Approved: { request: string, by: string }
executors:
  say: { script: 'fn process(job) { #{ said: job.input.text } }' }
flows:
  main:
    trigger: { stdin: line }
    input: { names: [string] }
    steps:
      - each:
          in: input.names
          as: name
          steps:
            - dispatch: say
              with: { text: '${name} ${index}' }
      - id: price
        call: price
        with: { sku: a }
      - emit: { Approved: { request: '${run.id}', by: ada } }
      - id: answer
        wait:
          event: Approved
          match: { request: '${run.id}' }
          where: event.data.by == \"ada\"
          timeout: 1h
          on_timeout: [{ fail: { kind: timeout, message: nobody answered } }]
      - id: again
        emit: { Approved: { request: '${run.id}', by: bo } }
      - reply: { price: '${steps.price.total}', by: '${steps.answer.data.by}', refused: '${steps.again.refused[0].reason}' }
  price:
    trigger: manual
    input: { sku: string }
    steps:
      - reply: { total: 7 }
";

#[test]
fn a_flow_calls_dispatches_and_waits_as_the_file_says() {
    let bench = Bench::empty();
    bench.write("approval.yaml", APPROVAL);
    let input = json!({ "names": ["Ada", "Bo"] }).to_string();
    let events = bench.run(&["run", "approval.yaml", "--events", "json", "--input", &input], b"").ends_with(0).objects();
    let named = |name: &str| events.iter().filter(|event| event["event"] == name).collect::<Vec<_>>();
    let replies: Vec<_> = named("replied").iter().map(|event| event["reply"].clone()).collect();
    assert_eq!(replies, [json!({ "total": 7 }), json!({ "price": 7, "by": "ada", "refused": "double" })]);
    assert_eq!((named("dispatched").len(), named("answer_refused").len()), (2, 1));
    // Main, what it calls, and one run for each name.
    assert_eq!(named("run_ended").iter().filter(|event| event["outcome"] == "succeeded").count(), 4);
}
