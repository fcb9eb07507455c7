//! What runs that stand still hold of the tables of dedup and cache: as long as somebody may have one go on, no other run does its work.
//!
//! Of a run that cannot be read, or whose revision or state cannot be had, it is not known what it holds: its keys are free, and another run may do its
//! work. Refused was to hold up every run with such a key until all are known: one damaged run would keep a pipeline from working.

use crate::engine::flights::Claimed;
use crate::engine::run::{Claim, Surroundings, Verdict};
use crate::engine::shared::Shared;
use crate::engine::shared::reviving::Resuming;
use crate::model::id::{JobId, RunId};
use crate::model::job::{CancelReason, JobOutcome};
use crate::model::value::Value;

use super::classify::Revived;

impl Shared {
    /// A run stands still. What its jobs under way hold stays theirs until it goes on or is called off.
    pub(super) fn hold_claims(&self, revived: &mut Revived) {
        let (run, now) = (revived.run(), self.ports.clock.now());
        let pipeline = &revived.installed.bound.pipeline;
        let state = match pipeline.state.initial.is_empty() {
            true => Value::null(),
            false => {
                let beginning = revived.state.beginning();
                self.states.cell(&beginning.pipeline, beginning.state_key.as_deref()).view(&pipeline.state, pipeline.revision)
            }
        };
        let claims = revived.state.held(&Surroundings { now, random: &*self.ports.random, state: &state });
        let leads = |(job, claim): &(JobId, Claim)| matches!(self.flights.claim(*job, claim, now), Claimed::Answered(Verdict::Lead));
        // Of what the tables answer otherwise, as with a stale result that somebody has to fetch anew, this run is to have nothing.
        let (held, others) = claims.into_iter().partition(leads);
        self.free(others, &[]);
        self.stalled.hold(run, held);
    }

    /// A run stands still no more. What it held is free, but for what it holds now that it goes on.
    pub(super) fn let_go_of_claims(&self, run: RunId, going_on: Option<&Resuming>) {
        self.free(self.stalled.let_go(run), going_on.map_or(&[], Resuming::claims));
    }

    fn free(&self, claims: Vec<(JobId, Claim)>, still: &[(JobId, Claim)]) {
        let now = self.ports.clock.now();
        for (job, claim) in claims {
            let held = still.iter().find(|(other, _)| *other == job);
            if let Some(claim) = held.map_or(Some(claim.clone()), |(_, held)| claim.without(held)) {
                // Those who wait for it ask anew.
                self.flights.settle(job, &claim, &JobOutcome::Cancelled { reason: CancelReason::Requested }, now);
            }
        }
    }
}
