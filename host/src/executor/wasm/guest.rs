//! What belongs to one store: the host as the guest may use it, the attempt under way, and what is counted against its limits.

use std::sync::Arc;

use wasmtime::{Engine, PoolConcurrencyLimitError, Store, Trap};

use super::meter::Meter;
use super::problem::first_line;
use crate::executor::host_api::HostApi;
use crate::executor::limit::Limit;
use crate::model::failure::{Failure, FailureKind};
use crate::model::grant::Limits;
use crate::model::port::{Attempt, Clock};

/// The data of one store.
pub(super) struct Guest {
    pub(super) meter: Meter,
    /// What stopped the guest, where that was not a trap of its own.
    pub(super) exceeded: Option<Limit>,
    /// The longest text that it may hand to the host at once, in bytes.
    pub(super) longest_text: u64,
    /// Absent while it describes itself.
    pub(super) work: Option<Work>,
}

/// What a guest works on, and with what.
pub(super) struct Work {
    pub(super) host: Arc<dyn HostApi>,
    pub(super) config: Arc<str>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) attempt: Attempt,
    pub(super) events_left: u32,
}

impl Guest {
    /// A store for one instance. Its guest yields at every tick, so that it can be dropped also in an endless loop.
    pub(super) fn store(engine: &Engine, limits: &Limits) -> Store<Self> {
        let guest = Self { meter: Meter::new(limits.memory), exceeded: None, longest_text: limits.output, work: None };
        let mut store = Store::new(engine, guest);
        store.limiter(|guest| &mut guest.meter);
        store.set_epoch_deadline(1);
        store.epoch_deadline_async_yield_and_update(1);
        // What one call copies into the host is bounded by the guest's own memory already; this bounds copies of copies.
        store.set_hostcall_fuel(usize::try_from(limits.memory.saturating_add(1 << 20)).unwrap_or(usize::MAX));
        store
    }

    /// Begins a job: nothing of an earlier one is left.
    pub(super) fn begin(&mut self, work: Work) {
        self.exceeded = None;
        self.meter.refused = None;
        self.work = Some(work);
    }
}

impl Guest {
    /// Why a call did not come back. A refused growth and a full stack are limits, whatever the guest made of them.
    pub(super) fn explain(&self, error: &wasmtime::Error, limits: &Limits, who: &str) -> Failure {
        let trap = error.downcast_ref::<Trap>();
        let overflow = matches!(trap, Some(Trap::StackOverflow)).then_some(Limit::Stack);
        if let Some(limit) = self.exceeded.or(overflow).or(self.meter.refused) {
            return limit.failure(limits, who);
        }
        if error.downcast_ref::<PoolConcurrencyLimitError>().is_some() {
            return Failure::new(FailureKind::Rejected, format!("{who} found no place: too many components run")).with_code("wasm_full");
        }
        match trap {
            Some(Trap::Interrupt) => Failure::new(FailureKind::Bug, format!("{who} does not come to an end")).with_code("trap"),
            Some(trap) => {
                let reason = first_line(&trap.to_string());
                let reason = reason.trim_start_matches("wasm trap: ");
                // Guests of Rust, C and their like keep their variables on a stack of their own, below all else in their memory.
                let hint = if *trap == Trap::MemoryOutOfBounds { ", as a guest's own stack is that recurses too deep" } else { "" };
                Failure::new(FailureKind::Bug, format!("{who} trapped: {reason}{hint}")).with_code("trap")
            }
            None => {
                let cause = first_line(&error.root_cause().to_string());
                Failure::new(FailureKind::Bug, format!("{who} broke the contract: {cause}")).with_code("contract")
            }
        }
    }
}
