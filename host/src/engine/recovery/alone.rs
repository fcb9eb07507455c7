//! Runs that were at work when one host after the other ended. One of them may be what ends the hosts, and the others only happened to be there: so each
//! is taken up after all other runs and alone, and is counted only then. A host that ends all the same gives up the one that it ended with: where several
//! were cut off too often, the one that began last, since those before it had outlived their turn.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio_util::task::TaskTracker;

use crate::clock::Busy;
use crate::engine::calls::Callee;
use crate::engine::dispatcher::TakenUp;
use crate::engine::recovery::CLAIMS;
use crate::engine::shared::Shared;
use crate::model::id::RunId;

use super::classify::{Found, Revived};
use super::stalled::Reason;

/// So often in a row a run was taken up with all others and nothing was recorded of it, or an attempt of it was cut off: then it is taken up alone. Fewer
/// than [`CLAIMS`], so that nothing is given up that was not alone.
const TOGETHER: u32 = 3;
/// The same for attempts that were cut off: what works long is cut off by any end of the host.
const CUT_OFF_TOGETHER: usize = 5;

/// So long one that is taken up alone keeps the next one waiting at most: what ends a host does so soon.
const KEEPS_WAITING: Duration = Duration::from_secs(10);

impl Shared {
    /// Whether a run, taken up so often already without anything recorded of it, may be what ended the last hosts.
    pub(super) fn is_suspect(&self, revived: &Revived, claims: u32) -> bool {
        revived.acts_at_once(self.ports.clock.now()) && (claims >= TOGETHER || revived.cut_off() >= CUT_OFF_TOGETHER)
    }

    /// Gives up those that have had their chances, and has the others wait for their turn. Returns how many these are.
    pub(super) async fn take_up_suspects(
        self: &Arc<Self>,
        suspects: Vec<Revived>,
        claimed: &HashMap<RunId, u32>,
        called: HashSet<RunId>,
    ) -> usize {
        let mut turns = Vec::new();
        let last = suspects.iter().filter(|revived| revived.is_cut_off()).map(Revived::attempted).max();
        for revived in suspects {
            let (run, claims) = (revived.run(), claimed.get(&revived.run()).copied().unwrap_or_default());
            if claims >= CLAIMS || revived.is_cut_off() && last == Some(revived.attempted()) {
                self.give_up_on(&revived, claims, &called).await;
                continue;
            }
            let callee = called.contains(&run).then(|| Arc::new(Callee::with_reply(revived.reply())));
            if let Some(callee) = &callee {
                self.expect_rejoin(run, Arc::clone(callee));
            }
            // One whose caller went on without it is not wanted any more.
            let beginning = revived.beginning();
            let is_unwanted = beginning.parent.is_some() && beginning.part.is_none() && callee.is_none();
            self.hold_request(&revived.state);
            self.stall(run, Reason::waits_its_turn(beginning), callee);
            turns.push((claims, revived.cut_off(), run, is_unwanted));
        }
        if turns.is_empty() {
            return 0;
        }
        let waiting = turns.len();
        // What was alone when a host ended comes behind those that were not.
        turns.sort_by_key(|(claims, cut_off, ..)| (*claims, *cut_off));
        self.tasks.spawn(Arc::clone(self).take_turns(turns.into_iter().map(|(.., run, is_unwanted)| (run, is_unwanted)).collect(), called));
        waiting
    }

    async fn take_turns(self: Arc<Self>, turns: Vec<(RunId, bool)>, called: HashSet<RunId>) {
        let mut busy = self.ports.activity.enter();
        for (run, is_unwanted) in turns {
            if self.stop.is_cancelled() {
                return;
            }
            // Somebody may have decided about it meanwhile.
            if self.stalled.contains(run) {
                self.take_turn(run, is_unwanted, &called, &mut busy).await;
            }
        }
        self.stalled_have_changed();
    }

    async fn take_turn(self: &Arc<Self>, run: RunId, is_unwanted: bool, called: &HashSet<RunId>, busy: &mut Busy) {
        // What cannot be counted goes on all the same.
        let count = self.ports.store.claim(run).await.unwrap_or(1);
        if count >= CLAIMS
            && let Some(Found::Working(revived)) = self.found_again(run).await
        {
            return self.give_up_on(&revived, count, called).await;
        }
        let under_way = TaskTracker::new();
        let taken_up = Some(TakenUp::until_further(under_way.token()));
        let goes_on = match is_unwanted {
            true => self.call_off_stalled(run, taken_up).await.is_ok(),
            false => self.try_again(run, taken_up).await,
        };
        if goes_on {
            // Until it has got further than to begin an attempt again, or is under way no more.
            self.give_way(&under_way, KEEPS_WAITING, busy).await;
        }
    }
}
