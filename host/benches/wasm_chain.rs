//! A chain of three small components on a 256-byte JSON event, in memory, beside a twin made of the raw parts: the event checked once, three
//! calls from text to text, each in a fresh instance.
//!
//! `cargo bench --bench wasm_chain` prints criterion's figures, then events per second, p50 and p99 of both, measured in turn in the same run.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a benchmark fails by panicking")]

#[path = "support/allocator_of_host.rs"]
mod allocator_of_host;
#[path = "support/host.rs"]
mod host;
#[path = "support/report.rs"]
mod report;

use criterion::Criterion;
use host::Host;
use report::Comparison;
use tokio::runtime::Runtime;
use wasmtime::component::{Component, Linker};
use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Store};

#[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated: the contract's words are in plugin-api/wit/executor.wit")]
mod bindings {
    wasmtime::component::bindgen!({
        path: "../plugin-api/wit",
        world: "executor",
        imports: { default: async | trappable },
        exports: { default: async },
    });
}

use bindings::ExecutorPre;
use bindings::pipehost::executor::types;

const STEP: &[u8] = include_bytes!("../../tests/guests/step/step.wasm");

/// The raw parts, fused: what nobody can beat with fresh instances that can be stopped at any time.
struct Raw {
    runtime: Runtime,
    engine: Engine,
    step: ExecutorPre<()>,
}

impl Raw {
    fn new() -> Self {
        let mut pool = PoolingAllocationConfig::new();
        pool.total_component_instances(64).total_core_instances(512).total_memories(128).total_tables(256).total_stacks(64);
        pool.max_memory_size(64 << 20);
        if PoolingAllocationConfig::is_pagemap_scan_available() {
            pool.pagemap_scan(Enabled::Yes).linear_memory_keep_resident(2 << 20).table_keep_resident(16 << 10);
        }
        let mut config = Config::new();
        // As the host needs them: a guest can be left at any moment, and what it leaves behind is taken from a pool.
        config.epoch_interruption(true).allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
        let engine = Engine::new(&config).expect("this machine runs WebAssembly");
        let component = Component::from_binary(&engine, STEP).expect("the guest is a component");
        // It imports nothing that has functions.
        let prepared = Linker::new(&engine).instantiate_pre(&component).expect("the guest imports nothing");
        let step = ExecutorPre::new(prepared).expect("the guest is an executor");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("the runtime starts");
        Self { runtime, engine, step }
    }

    fn run(&self, event: &str) -> String {
        let checked: &serde_json::value::RawValue = serde_json::from_str(event).expect("the event is JSON");
        self.runtime.block_on(async {
            let mut text = checked.get().to_owned();
            for _ in 0..3 {
                let mut store = Store::new(&self.engine, ());
                store.set_epoch_deadline(1);
                store.epoch_deadline_async_yield_and_update(1);
                let step = self.step.instantiate_async(&mut store).await.expect("there is room for it");
                let job = types::Job {
                    id: "019a0000-0000-7000-8000-000000000001".to_owned(),
                    key: "019a0000-0000-7000-8000-000000000000/step".to_owned(),
                    run: "019a0000-0000-7000-8000-000000000000".to_owned(),
                    correlation_id: "019a0000-0000-7000-8000-000000000002".to_owned(),
                    pipeline: "chain".to_owned(),
                    flow: "main".to_owned(),
                    step: "step".to_owned(),
                    attempt: 1,
                    input: text,
                };
                text = step.call_process(&mut store, &job).await.expect("the guest is sound").expect("the input is an object");
            }
            text
        })
    }
}

fn main() {
    let event = report::event();
    let pipeline = "pipeline: chain\nexecutors:\n  step: { wasm: step.wasm }\ntrigger: manual\ndurable: false\n\
        input: { id: string, price: float, count: int, country: string, note: string }\nsteps:\n  \
        - { id: one, run: step, with: '${input}' }\n  - { id: two, run: step, with: '${steps.one}' }\n  \
        - { id: three, run: step, with: '${steps.two}' }\n  - reply: '${steps.three}'\n";
    let (raw, host) = (Raw::new(), Host::new(&[("chain.yaml", pipeline.as_bytes()), ("step.wasm", STEP)]));
    let (by_raw, by_host) = (raw.run(&event), host.run(&event).text().to_owned());
    let tree = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect("it is JSON");
    assert_eq!(tree(&by_raw), tree(&by_host), "both do the same");
    assert_eq!(tree(&by_host).get("passed"), Some(&3.into()), "three steps were passed");

    let mut criterion = Criterion::default().configure_from_args();
    criterion.bench_function("wasm_chain/raw", |bencher| bencher.iter(|| raw.run(&event)));
    criterion.bench_function("wasm_chain/pipehost", |bencher| bencher.iter(|| host.run(&event)));
    criterion.final_summary();
    let comparison = Comparison { name: "three WASM steps", aim: 1.5 };
    comparison.measure(("raw parts", &mut || drop(raw.run(&event))), ("pipehost", &mut || drop(host.run(&event))), []);
}
