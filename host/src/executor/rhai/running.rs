//! One attempt at a job, as the engine and the script's objects see it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
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

/// What an attempt needs of its home.
pub(super) trait Surroundings: Send + Sync {
    /// What scripts may ask of the host.
    fn host(&self) -> &dyn HostApi;

    /// What time it is.
    fn clock(&self) -> &dyn Clock;

    /// `limits.wall`.
    fn wall(&self) -> Duration;
}

/// An attempt under way.
pub(super) struct Running {
    attempt: Attempt,
    /// Apart from the caller's own task: a signal that also says that the caller is gone, and where host calls are waited for. In the
    /// caller's own task nothing may wait, and the attempt's own signal says it all.
    apart: Option<(CancelSignal, Handle)>,
    home: Arc<dyn Surroundings>,
    /// When the host stops it, and for what. In the caller's own task it is reckoned when it is first asked for, a few hundred operations
    /// after the beginning: most scripts are done by then.
    end: OnceLock<(Timestamp, Stop)>,
    told: AtomicBool,
}

impl Running {
    /// In the caller's own task.
    pub(super) const fn here(attempt: Attempt, home: Arc<dyn Surroundings>) -> Self {
        Self { attempt, apart: None, home, end: OnceLock::new(), told: AtomicBool::new(false) }
    }

    /// On a thread of its own, since a time.
    pub(super) fn apart(
        attempt: Attempt,
        home: Arc<dyn Surroundings>,
        cancel: CancelSignal,
        waiting_room: Handle,
        began: Timestamp,
    ) -> Self {
        let running = Self { apart: Some((cancel, waiting_room)), ..Self::here(attempt, home) };
        running.end.get_or_init(|| running.reckoned(began));
        running
    }

    fn reckoned(&self, began: Timestamp) -> (Timestamp, Stop) {
        let wall = began + self.home.wall();
        match self.attempt.deadline {
            Some(deadline) if deadline <= wall => (deadline, Stop::Deadline),
            _ => (wall, Stop::Wall),
        }
    }

    fn end(&self) -> (Timestamp, Stop) {
        *self.end.get_or_init(|| self.reckoned(self.home.clock().now()))
    }

    /// Why the script must stop now, if it must. Asked every some hundred operations.
    pub(super) fn stop(&self, operations: u64) -> Option<Stop> {
        if self.is_cancelled() {
            return Some(Stop::Cancelled);
        }
        let (end, stop) = self.end();
        if self.home.clock().now() >= end {
            return Some(stop);
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
        self.home.host()
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.apart.as_ref().map_or(&self.attempt.cancel, |(cancel, _)| cancel).is_cancelled()
    }

    pub(super) fn remaining(&self) -> Duration {
        self.end().0.since(self.home.clock().now())
    }

    /// Waits for a host call; abandons it when nobody wants the result any more or the time is over.
    pub(super) fn wait(&self, call: HostCall<'_>) -> Result<Dynamic, Box<EvalAltResult>> {
        let Some((cancel, waiting_room)) = &self.apart else {
            // Scripts that name `sql`, `kv` or `index` never run in the caller's task, so this is not reached by writing a script.
            return Err(Stop::TooLong.error());
        };
        self.told.store(true, Ordering::Relaxed);
        let (end, stop) = self.end();
        waiting_room.block_on(async {
            tokio::select! {
                biased;
                () = cancel.cancelled() => Err(Stop::Cancelled.error()),
                result = call => result.map(|value| dynamic_of(&value)).map_err(thrown),
                () = self.home.clock().sleep_until(end) => Err(stop.error()),
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
