//! One attempt at a job, as the engine and the script's objects see it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rhai::{Dynamic, EvalAltResult};
use tokio::runtime::Handle;

use super::failure::{Stop, thrown};
use crate::executor::host_api::{HostApi, HostCall};
use crate::model::cancel::CancelSignal;
use crate::model::failure::{Failure, FailureKind};
use crate::model::port::{Attempt, Clock, JobChannel};
use crate::model::time::Timestamp;
use crate::script::dynamic_of;

/// Operations that a script may take in its caller's own task: about a millisecond.
const AT_HOME: u64 = 8_192;

/// An attempt under way.
pub(super) struct Running {
    attempt: Attempt,
    /// Apart from the caller's own task: a signal that also says that the caller is gone, and where host calls are waited for. In the
    /// caller's own task nothing may wait, and the attempt's own signal says it all.
    apart: Option<(CancelSignal, Handle)>,
    host: Arc<dyn HostApi>,
    clock: Arc<dyn Clock>,
    /// When the host stops it, and for what.
    end: (Timestamp, Stop),
    told: AtomicBool,
}

impl Running {
    pub(super) fn new(
        attempt: Attempt,
        apart: Option<(CancelSignal, Handle)>,
        host: Arc<dyn HostApi>,
        clock: Arc<dyn Clock>,
        wall: Timestamp,
    ) -> Self {
        let end = match attempt.deadline {
            Some(deadline) if deadline <= wall => (deadline, Stop::Deadline),
            _ => (wall, Stop::Wall),
        };
        Self { attempt, apart, host, clock, end, told: AtomicBool::new(false) }
    }

    /// Why the script must stop now, if it must. Asked every some hundred operations.
    pub(super) fn stop(&self, operations: u64) -> Option<Stop> {
        if self.is_cancelled() {
            return Some(Stop::Cancelled);
        }
        if self.clock.now() >= self.end.0 {
            return Some(self.end.1);
        }
        let too_long = self.apart.is_none() && operations > AT_HOME && !self.told.load(Ordering::Relaxed);
        too_long.then_some(Stop::TooLong)
    }

    /// Where progress, events and log lines go. From the first on, the script cannot begin anew.
    pub(super) fn channel(&self) -> &dyn JobChannel {
        self.told.store(true, Ordering::Relaxed);
        &*self.attempt.channel
    }

    /// What it was given.
    pub(super) const fn attempt(&self) -> &Attempt {
        &self.attempt
    }

    pub(super) fn host(&self) -> &dyn HostApi {
        &*self.host
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.apart.as_ref().map_or(&self.attempt.cancel, |(cancel, _)| cancel).is_cancelled()
    }

    pub(super) fn remaining(&self) -> Duration {
        self.end.0.since(self.clock.now())
    }

    /// Waits for a host call; abandons it when nobody wants the result any more or the time is over.
    pub(super) fn wait(&self, call: HostCall<'_>) -> Result<Dynamic, Box<EvalAltResult>> {
        let Some((cancel, waiting_room)) = &self.apart else {
            // Scripts that name `sql`, `kv` or `index` never run in the caller's task, so this is not reached by writing a script.
            return Err(Stop::TooLong.error());
        };
        self.told.store(true, Ordering::Relaxed);
        waiting_room.block_on(async {
            tokio::select! {
                biased;
                () = cancel.cancelled() => Err(Stop::Cancelled.error()),
                result = call => result.map(|value| dynamic_of(&value)).map_err(thrown),
                () = self.clock.sleep_until(self.end.0) => Err(self.end.1.error()),
            }
        })
    }
}

/// Says that an object was used where no job is.
pub(super) fn no_job() -> Box<EvalAltResult> {
    thrown(Failure::new(
        FailureKind::Bug,
        "the host's objects can be used only while a job is processed, not in describe() or at the top of a script",
    ))
}
