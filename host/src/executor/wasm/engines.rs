//! The engines: one with a pool of slots for guests of the default size, and others for those that ask for more.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

use super::slots::JOBS;
use super::ticker::{Running, Ticker};
use crate::executor::limit::TABLE_ELEMENTS;
use crate::model::grant::Limits;

/// How much stack the host's own calls have beyond the guest's.
const HOST_STACK: usize = 3 << 19;

/// How much of a slot's memory and of its tables may stay with the pool when a guest goes, in bytes: what the guest wrote to, no more than
/// this. A guest in Rust has its stack in its first MiB and its values behind that.
const KEPT_MEMORY: usize = 2 << 20;
const KEPT_TABLE: usize = 16 << 10;

/// Stacks come in powers of two between these, so that there are few engines whatever the files say.
const SMALLEST_STACK: u64 = 64 << 10;
const LARGEST_STACK: u64 = 16 << 20;

/// Which engine a guest runs on.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(super) enum Kind {
    /// From the pool: memory and stack of the default limits.
    Pooled,
    /// Allocated for itself, with a stack of so many bytes.
    OnDemand(usize),
}

impl Kind {
    /// A guest with more memory or another stack than the default does not fit the pool; one that is kept would hold its slot.
    pub(super) fn of(limits: &Limits, reuse: bool) -> Self {
        let default = Limits::default();
        if !reuse && limits.memory <= default.memory && limits.stack == default.stack { Self::Pooled } else { Self::on_demand(limits) }
    }

    pub(super) fn on_demand(limits: &Limits) -> Self {
        let stack = limits.stack.clamp(SMALLEST_STACK, LARGEST_STACK).next_power_of_two();
        Self::OnDemand(usize::try_from(stack).unwrap_or(SMALLEST_STACK as usize))
    }
}

/// All engines, and the thread that makes their guests yield.
pub(super) struct Engines {
    pooled: Option<Engine>,
    on_demand: Mutex<BTreeMap<Kind, Engine>>,
    ticker: Ticker,
}

impl Engines {
    pub(super) fn new() -> wasmtime::Result<Self> {
        let ticker = Ticker::start()?;
        // The pool reserves much address space. Where that is not to be had, everything is allocated on demand.
        let pooled = Engine::new(&pooled())
            .inspect_err(|error| tracing::warn!("guests are not pooled, each costs a little more: {error:#}"))
            .inspect(|engine| ticker.add(engine))
            .ok();
        let engines = Self { pooled, on_demand: Mutex::default(), ticker };
        engines.get(Kind::on_demand(&Limits::default()))?;
        Ok(engines)
    }

    /// The engine of this kind, made when it is first asked for.
    pub(super) fn get(&self, kind: Kind) -> wasmtime::Result<Engine> {
        let (kind, stack) = match (kind, &self.pooled) {
            (Kind::Pooled, Some(engine)) => return Ok(engine.clone()),
            (Kind::Pooled, None) => return self.get(Kind::on_demand(&Limits::default())),
            (Kind::OnDemand(stack), _) => (kind, stack),
        };
        let mut engines = self.on_demand.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(engine) = engines.get(&kind) {
            return Ok(engine.clone());
        }
        let engine = Engine::new(&config(stack))?;
        self.ticker.add(&engine);
        engines.insert(kind, engine.clone());
        Ok(engine)
    }

    /// To be held while a guest runs.
    pub(super) fn run(&self) -> Running {
        self.ticker.run()
    }
}

fn config(stack: usize) -> Config {
    let mut config = Config::new();
    config.epoch_interruption(true);
    config.max_wasm_stack(stack);
    config.async_stack_size(stack + HOST_STACK);
    // Guests are stripped, so that their frames have no names to show.
    config.wasm_backtrace_max_frames(None);
    config
}

fn pooled() -> Config {
    let default = Limits::default();
    let memory = usize::try_from(default.memory).unwrap_or(64 << 20);
    // Beside the jobs, one guest at a time may be describing itself.
    let guests = u32::try_from(JOBS).unwrap_or(64) + 1;
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(guests)
        .total_stacks(guests)
        .total_memories(guests * 2)
        .total_tables(guests * 4)
        // A component has small core modules for its glue beside its own.
        .total_core_instances(guests * 8)
        .max_core_instances_per_component(16)
        .max_memories_per_component(2)
        .max_tables_per_component(8)
        .max_tables_per_module(4)
        .table_elements(TABLE_ELEMENTS)
        .max_memory_size(memory);
    // Where the system tells which pages a guest wrote to, these are cleared and kept: giving them back and taking them again is most of
    // what a short job costs. Elsewhere all of it would have to be cleared, which costs more.
    if PoolingAllocationConfig::is_pagemap_scan_available() {
        pool.pagemap_scan(Enabled::Yes).linear_memory_keep_resident(KEPT_MEMORY).table_keep_resident(KEPT_TABLE);
    }
    let mut config = config(usize::try_from(default.stack).unwrap_or(512 << 10));
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_default_size_fits_the_pool() {
        let default = Limits::default();
        assert_eq!(Kind::of(&default, false), Kind::Pooled);
        assert_eq!(Kind::of(&Limits { memory: 1 << 20, ..default.clone() }, false), Kind::Pooled);
        assert_eq!(Kind::of(&default, true), Kind::OnDemand(512 << 10));
        assert_eq!(Kind::of(&Limits { memory: default.memory + 1, ..default.clone() }, false), Kind::OnDemand(512 << 10));
        assert_eq!(Kind::of(&Limits { stack: 600 << 10, ..default.clone() }, false), Kind::OnDemand(1 << 20));
        assert_eq!(Kind::of(&Limits { stack: 0, ..default.clone() }, false), Kind::OnDemand(64 << 10));
        assert_eq!(Kind::of(&Limits { stack: u64::MAX, ..default }, false), Kind::OnDemand(16 << 20));
    }
}
