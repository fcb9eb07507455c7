//! Fetching anew, behind a run, what the cache served although it was old.

use std::sync::Arc;
use std::time::Duration;

use crate::engine::run::{Claim, Input};
use crate::model::id::JobId;
use crate::model::job::{CancelReason, JobOutcome, ResultSource};
use crate::model::types::Origin;
use crate::plan::pipeline::Verb;

use super::Driver;

/// The time that a refresh behind an old result has, if its step has no deadline.
const REFRESH: Duration = Duration::from_secs(30);

impl Driver {
    /// Fetches anew what the cache served although it was old. Nobody waits for it and nobody hears of it but the cache.
    pub(super) fn refresh(&self, job: JobId, claim: &Claim) {
        let Some(mut prepared) = self.prepare(job, true) else { return };
        let Some(active) = self.state.job(job) else { return };
        let declared = match &self.state.flow().step(active.step).verb {
            Verb::Run(step) => step.output.clone(),
            _ => None,
        };
        let (shared, claim) = (Arc::clone(&self.shared), claim.clone());
        let due = active.deadline.unwrap_or(shared.ports.clock.now() + REFRESH);
        let mut busy = shared.ports.activity.enter();
        self.shared.tasks.spawn(async move {
            // The attempt counts itself; the wait for it does not.
            let ended = busy.rest(async {
                tokio::select! {
                    biased;
                    () = shared.stop.cancelled() => None,
                    input = std::future::poll_fn(|context| prepared.poll(context)) => Some(input),
                    () = shared.ports.clock.sleep_until(due) => None,
                }
            });
            let result = match ended.await {
                // What only stands in does not take the place of an old result, which is a real one.
                Some(Input::AttemptEnded { result: Ok(output), degraded: false, .. }) => match declared {
                    Some(declared) => declared.receive(&output, Origin::Data).ok(),
                    None => Some(output),
                },
                Some(_) => None,
                // Others may have missed meanwhile and wait for it: it goes on for them.
                None if !shared.stop.is_cancelled() && shared.flights.hand_on(job, &claim, Some(prepared)).is_none() => return,
                None => None,
            };
            let outcome = match result {
                Some(output) => JobOutcome::Succeeded { output, from: ResultSource::Executor },
                None => JobOutcome::Cancelled { reason: CancelReason::Requested },
            };
            shared.flights.refreshed(job, &claim, &outcome, shared.ports.clock.now());
        });
    }
}
