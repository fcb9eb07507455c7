//! Steps with steps inside: `switch`, `parallel` and `each`.

use std::sync::Arc;

use crate::model::failure::{Failure, FailureKind};
use crate::model::job::{CancelReason, JobOutcome};
use crate::model::record::{Fact, LaneId, LanePurpose, LaneResult, StepNumber};
use crate::model::value::{Map, Tree, Value};
use crate::plan::pipeline::{Case, Each, Join, Parallel, Verb};

use super::lanes::Lane;
use super::machine::Machine;

/// So many items of one `each`: the list and its results are in memory, and in the run's record.
const MOST_ITEMS: usize = 100_000;

impl Machine<'_> {
    /// Takes the first branch whose condition holds.
    pub(super) fn switch(&mut self, lane: &Lane, step: StepNumber, cases: &[Case]) {
        for case in cases {
            match case.when.as_ref().map_or(Ok(true), |when| self.condition(when, lane)) {
                Ok(false) => {}
                Ok(true) => return self.open_lane(LanePurpose::Case, case.block, Some((lane.id, step))),
                Err(failure) => return self.fail_step(lane.id, step, failure),
            }
        }
        self.record(Fact::StepDone { lane: lane.id, step, output: Value::null() });
    }

    /// Opens all branches.
    pub(super) fn parallel(&mut self, lane: &Lane, step: StepNumber, parallel: &Parallel) {
        for (place, (_, block)) in (0..).zip(&parallel.branches) {
            self.open_lane(LanePurpose::Branch(place), *block, Some((lane.id, step)));
        }
        if parallel.branches.is_empty() {
            self.record(Fact::StepDone { lane: lane.id, step, output: Value::from(Tree::Map(Map::new())) });
        }
    }

    /// Takes the list and opens as many lanes as may be walked at a time.
    pub(super) fn each(&mut self, lane: &Lane, step: StepNumber, each: &Each) {
        let items = each.over.evaluate(&self.scope(self.extra(lane))).and_then(|over| items_of(&over, each.over.source()));
        let items = items.and_then(|items| self.fits(&items).map(|()| items));
        match items {
            Ok(items) => {
                self.record(Fact::ItemsTaken { lane: lane.id, step, items: Arc::new(items) });
                self.each_goes_on(lane.id, step, each);
            }
            Err(failure) => self.fail_step(lane.id, step, failure),
        }
    }

    /// A branch or an item came to its end: others follow, or the step is decided.
    pub(super) fn lane_ended(&mut self, lane: &Lane, result: LaneResult) {
        self.record(Fact::LaneEnded { lane: lane.id, result });
        let Some((parent, step)) = lane.parent else { return };
        let flow = self.flow;
        match &flow.step(step).verb {
            Verb::Parallel(parallel) => self.parallel_goes_on(parent, step, parallel),
            Verb::Each(each) => self.each_goes_on(parent, step, each),
            _ => {}
        }
    }

    fn parallel_goes_on(&mut self, lane: LaneId, step: StepNumber, parallel: &Parallel) {
        let Some(round) = self.state.lanes.round(lane) else { return };
        let all = parallel.branches.len();
        let needed = match parallel.join {
            Join::All => all,
            Join::Quorum(needed) => (needed as usize).min(all),
        };
        if round.succeeded >= needed {
            let output = (0..).zip(&parallel.branches).map(|(place, (name, _))| (name.clone(), round.result(place).tree().clone()));
            let output = Value::from(Tree::Map(output.collect()));
            self.cancel_inside(lane);
            self.record(Fact::StepDone { lane, step, output });
        } else if round.failures.len() > all - needed {
            let failure = too_few(parallel, needed, &round.failures);
            self.cancel_inside(lane);
            self.fail_step(lane, step, failure);
        }
    }

    fn each_goes_on(&mut self, lane: LaneId, step: StepNumber, each: &Each) {
        let Some(round) = self.state.lanes.round(lane) else { return };
        if let Some((_, failure)) = round.failures.first().cloned() {
            self.cancel_inside(lane);
            return self.fail_step(lane, step, failure);
        }
        let all = round.items.len();
        if round.succeeded == all {
            let output = (0..all).map(|place| round.result(place).tree().clone()).collect();
            return self.record(Fact::StepDone { lane, step, output: Value::from(Tree::List(output)) });
        }
        let opened = round.opened;
        let free = (each.max_concurrent.max(1) as usize).saturating_sub(self.state.lanes.count_inside(lane));
        for place in (opened..).take(free.min(all.saturating_sub(opened as usize))) {
            self.open_lane(LanePurpose::Item(place), each.block, Some((lane, step)));
        }
    }

    /// The step is decided: what its other lanes do is of no use any more.
    pub(super) fn cancel_inside(&mut self, lane: LaneId) {
        for inside in self.state.lanes.inside(lane) {
            for job in self.state.lanes.jobs_within(inside) {
                self.end_job(job, JobOutcome::Cancelled { reason: CancelReason::Sibling }, Vec::new());
            }
            self.record(Fact::LaneEnded { lane: inside, result: LaneResult::Cancelled });
        }
    }
}

/// The items of a list, or the rounds of a number.
fn items_of(over: &Value, source: &str) -> Result<Vec<Value>, Failure> {
    let refuse = |message: String, code: &str| Err(Failure::new(FailureKind::Invalid, message).with_code(code));
    let too_many = |count: &dyn std::fmt::Display| {
        refuse(format!("`{source}` has {count} items, and an `each` takes at most {MOST_ITEMS}; take them in several runs"), "limit_items")
    };
    match over.tree() {
        Tree::List(items) if items.len() > MOST_ITEMS => too_many(&items.len()),
        Tree::List(items) => Ok(items.iter().cloned().map(Value::from).collect()),
        Tree::Int(rounds) if *rounds < 0 => refuse(format!("`{source}` is {rounds}, and there is no negative number of rounds"), "each_in"),
        Tree::Int(rounds) if *rounds > MOST_ITEMS as i64 => too_many(rounds),
        Tree::Int(rounds) => Ok((0..*rounds).map(|round| Value::from(Tree::Int(round))).collect()),
        other => refuse(format!("`{source}` is {}, and `each` goes through a list or a number of rounds", other.kind()), "each_in"),
    }
}

/// Why too few branches succeeded. Of several that were given a chance, the last to fail says what kind it is, and the message names all.
fn too_few(parallel: &Parallel, needed: usize, failures: &[(u32, Failure)]) -> Failure {
    let Some((_, last)) = failures.last() else { return Failure::new(FailureKind::Bug, "no branch failed") };
    let all = parallel.branches.len();
    if needed == all {
        return last.clone();
    }
    let name = |place: u32| parallel.branches.get(place as usize).map_or("", |(name, _)| name.as_str());
    let each: Vec<String> = failures.iter().map(|(place, failure)| format!("{}: {failure}", name(*place))).collect();
    let message = format!("{needed} of {all} branches had to succeed, and {} failed: {}", failures.len(), each.join("; "));
    let mut failure = last.clone().with_code("quorum").with_message(message).with_cause(last.clone());
    failure.step = None;
    failure
}
