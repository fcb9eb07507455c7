//! Steps with steps inside, and undoing, from the YAML to what a program reads.

use serde_json::{Value as Json, json};

use crate::program::{Bench, text};

/// Prices each line of an order, two at a time, asks two shops at once, and says which was cheaper.
const ORDER: &str = "
pipeline: order
executors:
  multiply: { script: 'fn process(job) { #{ price: job.input.count * job.input.each } }' }
  quote: { script: 'fn process(job) { if job.input.shop == \"closed\" { throw #{ kind: \"permanent\", message: \"it is closed\" }; } job.input.shop }' }
trigger: { stdin: line }
input: { lines: [{ sku: string, count: int, each: int }] }
steps:
  - id: priced
    each:
      in: input.lines
      as: line
      max_concurrent: 2
      steps:
        - id: product
          run: multiply
          with: { count: '${line.count}', each: '${line.each}' }
        - id: marked
          each:
            in: line.count
            steps:
              - run: multiply
                with: { count: '${index}', each: '${steps.product.price}' }
  - id: shop
    parallel:
      near:
        - run: quote
          with: { shop: closed }
          on_error: ignore
      far:
        - sleep: 5ms
        - run: quote
          with: { shop: open }
  - id: size
    switch:
      - when: input.lines.len > 1
        steps: [{ run: quote, with: { shop: large } }]
      - else: [{ run: quote, with: { shop: small } }]
  - reply: { priced: '${steps.priced}', shop: '${steps.shop}', size: '${steps.size}' }
";

/// Reserves for each name, then fails.
const BOOKING: &str = "
pipeline: booking
executors:
  reserve: { script: 'fn process(job) { #{ place: job.input.name + \" has a place\" } }' }
  release: { script: 'fn process(job) { if job.input.place == \"stuck has a place\" { throw #{ kind: \"permanent\", message: \"it is stuck\" }; } () }' }
trigger: { stdin: line }
input: { names: [string] }
steps:
  - each:
      in: input.names
      as: name
      steps:
        - id: reserved
          run: reserve
          with: { name: '${name}' }
          undo: { run: release, with: { place: '${steps.reserved.place}' } }
  - fail: { kind: permanent, message: no more money }
on_error:
  - reply: { error: '${error.message}' }
";

/// Waits, sleeps and calls for an hour, and is decided by the branch that does not.
const RACE: &str = "
pipeline: race
executors:
  greet: { script: 'fn process(job) { \"hello \" + job.input.name }' }
events: { Answered: { run: string } }
flows:
  main:
    trigger: { stdin: line }
    input: { names: [string] }
    steps:
      - id: race
        parallel:
          waits:
            - wait: { event: Answered, match: { run: '${run.id}' }, timeout: 1h, on_timeout: [{ sleep: 1h }] }
          sleeps: [{ sleep: 1h }]
          calls: [{ call: nap }]
          wins:
            - each:
                in: input.names
                as: name
                max_concurrent: 2
                steps:
                  - id: greeted
                    call: greeting
                    with: { name: '${name}' }
                  - dispatch: greet
                    with: { name: '${steps.greeted} ${index}' }
            - run: greet
              with: { name: '${input.names[1]}' }
        join: first
      - reply: '${steps.race}'
  nap:
    trigger: manual
    steps: [{ sleep: 1h }]
  greeting:
    trigger: manual
    input: { name: string }
    steps: [{ run: greet, with: { name: '${input.name}' } }]
";

fn ended(bench: &Bench, file: &str, input: &Json, code: i32) -> Vec<Json> {
    let ended = bench.run(&["run", file, "--events", "json", "--input", &input.to_string()], b"");
    ended.ends_with(code).objects()
}

fn named<'a>(events: &'a [Json], name: &str) -> Vec<&'a Json> {
    events.iter().filter(|event| event["event"] == name).collect()
}

#[test]
fn branches_and_items_give_what_the_file_says() {
    let bench = Bench::empty();
    bench.write("order.yaml", ORDER);
    let lines = json!([{ "sku": "a", "count": 2, "each": 5 }, { "sku": "b", "count": 0, "each": 7 }]);
    let events = ended(&bench, "order.yaml", &json!({ "lines": lines }), 0);
    let expected = json!({
        "priced": [[{ "price": 0 }, { "price": 10 }], []],
        "shop": { "near": null, "far": "open" },
        "size": "large",
    });
    assert_eq!(named(&events, "replied")[0]["reply"], expected);
}

#[test]
fn what_a_failed_run_reserved_is_released_in_reverse_order_before_on_error() {
    let bench = Bench::empty();
    bench.write("booking.yaml", BOOKING);
    let events = ended(&bench, "booking.yaml", &json!({ "names": ["Ada", "Bo"] }), 1);
    let told: Vec<String> = events
        .iter()
        .filter_map(|event| match text(event, "event") {
            "job_ended" => Some(format!("{} {} {}", text(event, "step"), text(event, "executor"), event["undo"])),
            "replied" => Some(text(event, "reply/error").to_owned()),
            _ => None,
        })
        .collect();
    let (done, undone) = ("reserved reserve null", "reserved release true");
    assert_eq!(told, [done, done, undone, undone, "no more money"]);
    assert_eq!(named(&events, "run_ended")[0]["outcome"], "failed");
}

#[test]
fn what_cannot_be_released_parks_the_run_and_is_named() {
    let bench = Bench::empty();
    bench.write("booking.yaml", BOOKING);
    let events = ended(&bench, "booking.yaml", &json!({ "names": ["Ada", "stuck", "Bo"] }), 1);
    let end = named(&events, "run_ended")[0];
    assert_eq!((text(end, "outcome"), text(end, "because/failure/message")), ("parked", "no more money"));
    assert_eq!((end["left"].as_array().map(Vec::len), text(end, "left/0/0")), (Some(1), "reserved"));
    assert_eq!(named(&events, "job_ended").iter().filter(|event| event["undo"] == true).count(), 3, "the others are released all the same");
}

#[test]
fn a_branch_that_wins_ends_waits_sleeps_and_calls_beside_it() {
    let bench = Bench::empty();
    bench.write("race.yaml", RACE);
    let events = ended(&bench, "race.yaml", &json!({ "names": ["Ada", "Bo"] }), 0);
    let lost = json!({ "waits": null, "sleeps": null, "calls": null, "wins": "hello Bo" });
    assert_eq!(named(&events, "replied").last().map(|event| &event["reply"]), Some(&lost));
    let mut ends: Vec<String> =
        named(&events, "run_ended").into_iter().map(|event| format!("{} {}", text(event, "flow"), text(event, "outcome"))).collect();
    ends.sort();
    assert!(ends.contains(&"nap cancelled".to_owned()), "{ends:?}");
    assert_eq!(ends.iter().filter(|end| *end == "greeting succeeded").count(), 2, "{ends:?}");
}
