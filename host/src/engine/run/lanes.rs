//! The lanes of a run: where each walk stands, what it waits for, and what it has seen.
//!
//! Which lanes can go on is kept beside them with every change, so that a run with thousands of lanes need not look at all of them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::model::failure::Failure;
use crate::model::id::JobId;
use crate::model::record::{BlockNumber, LaneId, LanePurpose, StepNumber};
use crate::model::time::Timestamp;
use crate::model::value::Value;

use super::dispatching::Publishing;
use super::round::Round;
use super::waiting::OpenWait;

/// One walk through a block.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Lane {
    /// Its id.
    pub id: LaneId,
    /// What for.
    pub purpose: LanePurpose,
    /// The block.
    pub block: BlockNumber,
    /// The lane and the step that it was opened from. For an undoing: the lane and the step that is undone.
    pub parent: Option<(LaneId, StepNumber)>,
    /// How many of the block's steps are done.
    pub position: usize,
}

/// A lane with what belongs to it: kept apart from [`Lane`], which is copied for every step.
#[derive(Clone, PartialEq, Debug)]
struct Open {
    lane: Lane,
    /// The last output: what the lane amounts to.
    last: Value,
    /// The failure that stopped its present step, until it is healed.
    failed: Option<Failure>,
    /// The job that its present step waits for.
    job: Option<JobId>,
    /// When the sleep of its present step is over.
    rest: Option<Timestamp>,
    /// Whether its present step is a wait that goes on, or an `emit` that is not answered.
    held: bool,
    /// The lanes opened from it that have not ended.
    inside: BTreeSet<LaneId>,
    /// What the lanes of its present step have come to.
    round: Option<Round>,
    /// The outputs of its own steps: nobody outside of it sees them.
    outputs: Vec<(StepNumber, Value)>,
}

impl Open {
    fn waits(&self) -> bool {
        self.job.is_some() || self.rest.is_some() || self.held || !self.inside.is_empty()
    }
}

/// All open lanes. As many as the plan's branches, and `max_concurrent` of each `each`, allow.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Lanes {
    open: BTreeMap<LaneId, Box<Open>>,
    /// In their order. Mostly one lane is ready or none: a set would be given back and made anew with each step.
    ready: VecDeque<LaneId>,
    rests: BTreeSet<(Timestamp, LaneId)>,
    waits: BTreeMap<LaneId, OpenWait>,
    publishing: BTreeMap<LaneId, Publishing>,
    next: u32,
}

impl Lanes {
    /// The id of the next lane.
    pub(super) const fn next(&self) -> LaneId {
        LaneId(self.next)
    }

    /// Opens a lane.
    pub(super) fn open(&mut self, lane: Lane) {
        let id = lane.id;
        self.next = self.next.max(id.0.saturating_add(1));
        if let Some((parent, _)) = lane.parent {
            self.change(parent, |open| {
                open.inside.insert(id);
            });
        }
        let (last, inside, outputs) = (Value::null(), BTreeSet::new(), Vec::new());
        let open = Open { lane, last, failed: None, job: None, rest: None, held: false, inside, round: None, outputs };
        self.open.insert(id, Box::new(open));
        self.set_ready(id, true);
    }

    /// Closes a lane and all lanes within it. Their jobs have ended before.
    pub(super) fn close(&mut self, id: LaneId) {
        let parent = self.get(id).and_then(|lane| lane.parent);
        for lane in self.within(id) {
            if let Some(due) = self.open.remove(&lane).and_then(|open| open.rest) {
                self.rests.remove(&(due, lane));
            }
            self.set_ready(lane, false);
            self.waits.remove(&lane);
            self.publishing.remove(&lane);
        }
        if let Some((parent, _)) = parent {
            self.change(parent, |open| {
                open.inside.remove(&id);
            });
        }
    }

    /// The present step of a lane is over: nothing of it is under way any more.
    pub(super) fn finish_step(&mut self, id: LaneId) {
        if self.count_inside(id) > 0 {
            self.inside(id).into_iter().for_each(|inside| self.close(inside));
        }
        self.set_rest(id, None);
        self.waits.remove(&id);
        self.publishing.remove(&id);
        self.change(id, |open| {
            open.held = false;
            open.job = None;
            open.round = None;
        });
    }

    /// A copy in which there is only this lane, with those round about it.
    pub(super) fn only(&self, id: LaneId) -> Self {
        let open = self.outward(Some(id)).filter_map(|lane| Some((lane.id, self.open.get(&lane.id)?.clone()))).collect();
        Self { open, next: self.next, ..Self::default() }
    }

    /// Closes all.
    pub(super) fn clear(&mut self) {
        // All else is of lanes that are open.
        if self.open.is_empty() {
            return;
        }
        *self = Self { next: self.next, ..Self::default() };
    }

    /// A lane, if it is open.
    pub(super) fn get(&self, id: LaneId) -> Option<&Lane> {
        self.open.get(&id).map(|open| &open.lane)
    }

    /// The last output of a lane: what it amounts to.
    pub(super) fn last(&self, id: LaneId) -> Value {
        self.open.get(&id).map_or_else(Value::null, |open| open.last.clone())
    }

    /// The failure that stopped the present step of a lane, until it is healed.
    pub(super) fn failed(&self, id: LaneId) -> Option<&Failure> {
        self.open.get(&id)?.failed.as_ref()
    }

    /// The lane that was opened first.
    pub(super) fn outermost(&self) -> Option<&Lane> {
        self.open.first_key_value().map(|(_, open)| &open.lane)
    }

    /// Every open lane, and whether its present step is under way.
    pub(super) fn all(&self) -> impl Iterator<Item = (LaneId, bool)> {
        self.open.iter().map(|(id, open)| (*id, open.waits() || open.failed.is_some()))
    }

    /// The present step of a lane is done, or skipped, which leaves what it amounts to; the next one is its present step. Returns the lane.
    pub(super) fn step_done(&mut self, id: LaneId, output: Option<&Value>) -> Option<Lane> {
        self.finish_step(id);
        let open = self.open.get_mut(&id)?;
        open.lane.position += 1;
        open.failed = None;
        if let Some(output) = output {
            open.last = output.clone();
        }
        Some(open.lane)
    }

    /// The present step of a lane has failed.
    pub(super) fn step_failed(&mut self, id: LaneId, failure: Failure) {
        self.finish_step(id);
        if let Some(open) = self.open.get_mut(&id) {
            open.failed = Some(failure);
        }
    }

    /// The first lane that waits for nothing: branches and items begin in their order.
    pub(super) fn ready(&self) -> Option<&Lane> {
        self.get(*self.ready.front()?)
    }

    /// The lanes opened from a lane, in the order in which they were opened.
    pub(super) fn inside(&self, id: LaneId) -> Vec<LaneId> {
        self.open.get(&id).map(|open| open.inside.iter().copied().collect()).unwrap_or_default()
    }

    /// How many lanes opened from a lane are under way.
    pub(super) fn count_inside(&self, id: LaneId) -> usize {
        self.open.get(&id).map_or(0, |open| open.inside.len())
    }

    /// The jobs of a lane and of all within it, the innermost first.
    pub(super) fn jobs_within(&self, id: LaneId) -> Vec<JobId> {
        let jobs = self.within(id).into_iter().rev();
        jobs.filter_map(|lane| self.open.get(&lane).and_then(|open| open.job)).collect()
    }

    /// A lane and all within it, each before those within it.
    fn within(&self, id: LaneId) -> Vec<LaneId> {
        let (mut found, mut next) = (vec![id], 0);
        while let Some(lane) = found.get(next).copied() {
            found.extend(self.inside(lane));
            next += 1;
        }
        found
    }

    /// A lane and those round about it, innermost first.
    pub(super) fn outward(&self, from: Option<LaneId>) -> impl Iterator<Item = &Lane> {
        let find = |id: Option<LaneId>| id.and_then(|id| self.get(id));
        std::iter::successors(find(from), move |lane| find(lane.parent.map(|(parent, _)| parent)))
    }

    /// The job that a lane waits for.
    pub(super) fn job(&self, id: LaneId) -> Option<JobId> {
        self.open.get(&id)?.job
    }

    /// The lane waits for this job.
    pub(super) fn set_job(&mut self, id: LaneId, job: JobId) {
        self.change(id, |open| open.job = Some(job));
    }

    /// The lane sleeps until then, or no longer.
    pub(super) fn set_rest(&mut self, id: LaneId, due: Option<Timestamp>) {
        let before = self.open.get(&id).and_then(|open| open.rest);
        if let Some(before) = before {
            self.rests.remove(&(before, id));
        }
        if let Some(due) = due {
            self.rests.insert((due, id));
        }
        if before != due {
            self.change(id, |open| open.rest = due);
        }
    }

    /// The waits that go on.
    pub(super) const fn waits(&self) -> &BTreeMap<LaneId, OpenWait> {
        &self.waits
    }

    /// A wait, to be changed.
    pub(super) fn wait_mut(&mut self, id: LaneId) -> Option<&mut OpenWait> {
        self.waits.get_mut(&id)
    }

    /// The lane waits for an event.
    pub(super) fn begin_wait(&mut self, wait: OpenWait) {
        self.change(wait.lane, |open| open.held = true);
        self.waits.insert(wait.lane, wait);
    }

    /// The lane waits for an event no more, and what was done meanwhile is given up.
    pub(super) fn end_wait(&mut self, id: LaneId) {
        self.finish_step(id);
    }

    /// The `emit` steps that are not answered.
    pub(super) const fn publishing(&self) -> &BTreeMap<LaneId, Publishing> {
        &self.publishing
    }

    /// The lane waits for what others make of its events.
    pub(super) fn publish(&mut self, publishing: Publishing) {
        self.change(publishing.lane, |open| open.held = true);
        self.publishing.insert(publishing.lane, publishing);
    }

    /// When the first sleep is over.
    pub(super) fn next_rest(&self) -> Option<Timestamp> {
        self.rests.first().map(|(due, _)| *due)
    }

    /// The lanes whose sleep is over, in the order in which it ended.
    pub(super) fn rested(&self, now: Timestamp) -> Vec<LaneId> {
        self.rests.iter().take_while(|(due, _)| *due <= now).map(|(_, lane)| *lane).collect()
    }

    /// What the lanes of a lane's present step have come to.
    pub(super) fn round(&self, id: LaneId) -> Option<&Round> {
        self.open.get(&id)?.round.as_ref()
    }

    /// The same to be changed; made when it is first asked for.
    pub(super) fn round_mut(&mut self, id: LaneId) -> Option<&mut Round> {
        self.open.get_mut(&id).map(|open| open.round.get_or_insert_default())
    }

    /// The output of a lane's own step, if it is done.
    pub(super) fn output(&self, id: LaneId, step: StepNumber) -> Option<&Value> {
        self.open.get(&id)?.outputs.iter().find(|(other, _)| *other == step).map(|(_, output)| output)
    }

    /// Keeps the output of a lane's own step.
    pub(super) fn keep_output(&mut self, id: LaneId, step: StepNumber, output: Value) {
        if let Some(open) = self.open.get_mut(&id) {
            open.outputs.push((step, output));
        }
    }

    fn change(&mut self, id: LaneId, change: impl FnOnce(&mut Open)) {
        let Some(open) = self.open.get_mut(&id) else { return };
        change(open);
        let is_ready = !open.waits();
        self.set_ready(id, is_ready);
    }

    fn set_ready(&mut self, id: LaneId, is_ready: bool) {
        match is_ready {
            // Mostly the first one begins its step, or there is none yet behind which this one comes.
            false if self.ready.front() == Some(&id) => drop(self.ready.pop_front()),
            true if self.ready.back().is_none_or(|last| *last < id) => self.ready.push_back(id),
            _ => match (self.ready.binary_search(&id), is_ready) {
                (Ok(index), false) => drop(self.ready.remove(index)),
                (Err(index), true) => self.ready.insert(index, id),
                _ => {}
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane(id: u32, parent: Option<u32>) -> Lane {
        Lane {
            id: LaneId(id),
            purpose: parent.map_or(LanePurpose::Main, LanePurpose::Branch),
            block: BlockNumber(0),
            parent: parent.map(|parent| (LaneId(parent), StepNumber(0))),
            position: 0,
        }
    }

    fn three() -> Lanes {
        let mut lanes = Lanes::default();
        lanes.open(lane(0, None));
        lanes.open(lane(1, Some(0)));
        lanes.open(lane(2, Some(1)));
        lanes
    }

    #[test]
    fn a_lane_waits_for_those_within_it() {
        let mut lanes = three();
        assert_eq!(lanes.ready().map(|lane| lane.id), Some(LaneId(2)));
        lanes.close(LaneId(2));
        assert_eq!(lanes.ready().map(|lane| lane.id), Some(LaneId(1)));
        lanes.close(LaneId(1));
        assert_eq!(lanes.ready().map(|lane| lane.id), Some(LaneId(0)));
    }

    #[test]
    fn closing_a_lane_closes_all_within_and_forgets_their_sleeps() {
        let mut lanes = three();
        lanes.set_rest(LaneId(2), Some(Timestamp::from_nanos(5)));
        assert_eq!((lanes.ready().is_none(), lanes.next_rest().is_some()), (true, true));
        lanes.close(LaneId(1));
        assert_eq!((lanes.next_rest(), lanes.get(LaneId(2)).is_none()), (None, true));
        assert_eq!(lanes.ready().map(|lane| lane.id), Some(LaneId(0)));
    }

    #[test]
    fn the_jobs_within_come_innermost_first() {
        let mut lanes = three();
        let job = |number| JobId::new(uuid::Uuid::from_u128(number));
        lanes.set_job(LaneId(1), job(1));
        lanes.set_job(LaneId(2), job(2));
        assert_eq!(lanes.jobs_within(LaneId(0)), [job(2), job(1)]);
        lanes.finish_step(LaneId(1));
        assert!(lanes.jobs_within(LaneId(0)).is_empty());
    }
}
