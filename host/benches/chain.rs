//! A chain of three small Rhai steps on a 256-byte JSON event, in memory, beside a twin made of the raw parts: parse once, three calls, write once.
//!
//! `cargo bench --bench chain` prints criterion's figures, then events per second, p50 and p99 of both, measured in turn in the same run.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a benchmark fails by panicking")]

#[path = "support/host.rs"]
mod host;
#[path = "support/report.rs"]
mod report;

use criterion::Criterion;
use host::Host;
use pipehost::model::value::Value;
use pipehost::script::{dynamic_of, value_of};
use report::Pair;
use rhai::{AST, CallFnOptions, Dynamic, Engine, Scope};

const STEPS: [&str; 3] = [
    // Prices an order: a discount from ten pieces on, and tax by country.
    r#"fn process(job) {
        let order = job.input;
        let net = order.price * order.count;
        if order.count >= 10 { net *= 0.95; }
        let rate = switch order.country { "DE" => 0.19, "AT" => 0.20, "FR" => 0.20, _ => 0.21 };
        order.net = net;
        order.tax = net * rate;
        order.total = order.net + order.tax;
        order
    }"#,
    // Flags it: how it goes out, and what somebody should look at.
    r#"fn process(job) {
        let order = job.input;
        let flags = [];
        if order.total > 1000.0 { flags.push("large"); }
        if order.country != "DE" { flags.push("abroad"); }
        if order.note.len() > 100 { flags.push("long note"); }
        order.express = order.total > 100.0 && order.country == "DE";
        order.flags = flags;
        order
    }"#,
    // Labels it for people.
    r#"fn process(job) {
        let order = job.input;
        let parts = order.id.split("-");
        let number = parts[parts.len() - 1];
        order.label = `${order.country}/${number} ${order.count} x ${order.price}`;
        order.summary = if order.flags.is_empty() { "nothing special" } else { order.flags[0] };
        order.remove("note");
        order
    }"#,
];

/// The raw parts, fused: what nobody can beat with Rhai and JSON.
struct Raw {
    engine: Engine,
    steps: Vec<AST>,
}

impl Raw {
    fn new() -> Self {
        let engine = Engine::new();
        let steps = STEPS.iter().map(|script| engine.compile(script).expect("the script is good")).collect();
        Self { engine, steps }
    }

    fn run(&self, event: &str) -> String {
        // The host's own reader and writer, straight between text and Rhai: Rhai's are slower, and the twin shall have the best parts.
        let mut value = dynamic_of(&Value::from_text(event).expect("the event is JSON"));
        for step in &self.steps {
            let mut job = rhai::Map::new();
            job.insert("input".into(), value);
            let options = CallFnOptions::new().eval_ast(false);
            value = self
                .engine
                .call_fn_with_options::<Dynamic>(options, &mut Scope::new(), step, "process", (Dynamic::from_map(job),))
                .expect("the step is good");
        }
        value_of(value).text().to_owned()
    }
}

fn pipeline() -> String {
    let indented = |script: &str| script.lines().map(|line| format!("      {line}\n")).collect::<String>();
    let executor = |(name, script): (&str, &str)| format!("  {name}:\n    script: |\n{}", indented(script));
    let executors: String = ["price", "flag", "label"].into_iter().zip(STEPS).map(executor).collect();
    format!(
        "pipeline: chain\nexecutors:\n{executors}trigger: manual\ndurable: false\ninput: {{ id: string, price: float, count: int, country: string, note: string }}\nsteps:\n  \
         - {{ id: one, run: price, with: '${{input}}' }}\n  - {{ id: two, run: flag, with: '${{steps.one}}' }}\n  \
         - {{ id: three, run: label, with: '${{steps.two}}' }}\n  - reply: '${{steps.three}}'\n"
    )
}

fn main() {
    let event = report::event();
    let (raw, host) = (Raw::new(), Host::new(&[("chain.yaml", pipeline().as_bytes())]));
    let (by_raw, by_host) = (raw.run(&event), host.run("chain", &event).text().to_owned());
    let tree = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect("it is JSON");
    assert_eq!(tree(&by_raw), tree(&by_host), "both do the same");

    let mut criterion = Criterion::default().configure_from_args();
    criterion.bench_function("chain/raw", |bencher| bencher.iter(|| raw.run(&event)));
    criterion.bench_function("chain/pipehost", |bencher| bencher.iter(|| host.run("chain", &event)));
    criterion.final_summary();
    Pair { name: "three Rhai steps", aim: 1.3 }.measure(|| drop(raw.run(&event)), || drop(host.run("chain", &event)));
}
