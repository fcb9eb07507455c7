//! A chain of three small Rhai steps on a 256-byte JSON event, in memory, beside a twin made of the raw parts: parse once, three calls, write once.
//!
//! The twin has the engine settings and the limits of a script in the host: a host that runs other people's scripts must be able to stop each of
//! them, so running one under its limits is the work, and what the host adds to that work is what is compared. What the limits themselves
//! cost is the difference to a second twin, which has none: it is told for information and bears no aim. Neither twin has more than that:
//! no grants, no record, no retries, nobody who could cancel it but a flag. Both call `process` as Rhai's book has it. The host does not: it
//! evaluates the body of it, and is spared the copies that a call makes of what goes in and out, which is part of how it comes that near to them.
//!
//! `cargo bench --bench chain` prints criterion's figures, then events per second, p50 and p99 of all, measured in turn in the same run.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a benchmark fails by panicking")]

#[path = "support/allocator_of_host.rs"]
mod allocator_of_host;
#[path = "support/host.rs"]
mod host;
#[path = "support/report.rs"]
mod report;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use criterion::Criterion;
use host::Host;
use pipehost::model::value::Value;
use pipehost::script::{Bounds, bare_engine, bound, dynamic_of, value_of};
use report::Comparison;
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

/// The raw parts, fused: parsed once, called three times, written once.
struct Raw {
    engine: Engine,
    steps: Vec<AST>,
    /// What stops a step, for the twin that can be stopped.
    watch: Option<Arc<Watch>>,
}

/// Who may stop a step: whoever sets the flag, and the time.
struct Watch {
    began: Instant,
    /// In nanoseconds since `began`.
    until: AtomicU64,
    cancelled: AtomicBool,
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
impl Watch {
    /// The time that a step has: `limits.wall` of the host.
    const WALL: u64 = 300_000_000_000;

    fn new() -> Self {
        Self { began: Instant::now(), until: AtomicU64::new(0), cancelled: AtomicBool::new(false) }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn set(&self) {
        self.until.store(self.now().saturating_add(Self::WALL), Ordering::Relaxed);
    }

    fn stops(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed) || self.now() >= self.until.load(Ordering::Relaxed)
    }
}

impl Raw {
    /// With the settings and the limits that a script has in the host when its YAML says nothing of them.
    fn limited() -> Self {
        let mut engine = bare_engine();
        engine.set_strict_variables(true);
        bound(
            &mut engine,
            Bounds {
                operations: 50_000_000,
                call_depth: 64,
                text: 8 << 20,
                items: 16_384,
                fields: 16_384,
                nesting: 32,
                variables: 256,
                functions: 256,
                modules: 32,
            },
        );
        let watch = Arc::new(Watch::new());
        let watched = Arc::clone(&watch);
        engine.on_progress(move |operations| (operations.is_multiple_of(256) && watched.stops()).then_some(Dynamic::UNIT));
        Self { steps: compiled(&engine), engine, watch: Some(watch) }
    }

    /// As Rhai comes: a step that does not end is never stopped.
    fn unlimited() -> Self {
        let engine = Engine::new();
        Self { steps: compiled(&engine), engine, watch: None }
    }

    fn run(&self, event: &str) -> String {
        // The host's own reader and writer, straight between text and Rhai: Rhai's are slower, and the twin shall have the best parts.
        let mut value = dynamic_of(&Value::from_text(event).expect("the event is JSON"));
        for step in &self.steps {
            let mut job = rhai::Map::new();
            job.insert("input".into(), value);
            if let Some(watch) = &self.watch {
                watch.set();
            }
            let options = CallFnOptions::new().eval_ast(false);
            value = self
                .engine
                .call_fn_with_options::<Dynamic>(options, &mut Scope::new(), step, "process", (Dynamic::from_map(job),))
                .expect("the step is good");
        }
        value_of(value).text().to_owned()
    }
}

fn compiled(engine: &Engine) -> Vec<AST> {
    STEPS.iter().map(|script| engine.compile(script).expect("the script is good")).collect()
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
    let (raw, unlimited, host) = (Raw::limited(), Raw::unlimited(), Host::new(&[("chain.yaml", pipeline().as_bytes())]));
    let tree = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect("it is JSON");
    let by_host = tree(host.run(&event).text());
    assert!([&raw, &unlimited].iter().all(|raw| tree(&raw.run(&event)) == by_host), "all do the same");

    let mut criterion = Criterion::default().configure_from_args();
    criterion.bench_function("chain/raw", |bencher| bencher.iter(|| raw.run(&event)));
    criterion.bench_function("chain/raw without limits", |bencher| bencher.iter(|| unlimited.run(&event)));
    criterion.bench_function("chain/pipehost", |bencher| bencher.iter(|| host.run(&event)));
    criterion.final_summary();
    Comparison { name: "three Rhai steps", aim: 1.3 }.measure(
        ("raw parts", &mut || drop(raw.run(&event))),
        ("pipehost", &mut || drop(host.run(&event))),
        [("raw without limits", &mut || drop(unlimited.run(&event)))],
    );
}
