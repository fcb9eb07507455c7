//! From the facts of a run to its story. Pure; where the engine's own fold knows what happens next, this one knows what happened.

use std::collections::HashMap;

use super::names::Names;
use super::status::Status;
use super::story::{AnswerStory, AttemptStory, EventStory, MigrationStory, RunRow, RunStory, StepState, StepStory, WaitStory};
use crate::model::event::Event;
use crate::model::failure::Failure;
use crate::model::id::{Digest, JobId, RunId};
use crate::model::job::JobOutcome;
use crate::model::record::{Beginning, Fact, LaneId, LanePurpose, LaneResult, StepNumber};
use crate::model::time::Timestamp;

/// What is known of a run after some of its facts.
pub(super) struct Fold<'a> {
    names: &'a Names,
    beginning: &'a Beginning,
    revision: Digest,
    /// Those that were ever opened: what they are called is asked for when they are gone.
    lanes: HashMap<LaneId, Lane>,
    steps: Vec<StepStory>,
    /// Where a step of a lane stands in `steps`.
    places: HashMap<(LaneId, StepNumber), usize>,
    /// Where the step of a job stands, and its number.
    jobs: HashMap<JobId, (usize, StepNumber)>,
    story: RunStory,
}

#[derive(Default)]
struct Lane {
    /// What stands before the ids of its steps, with a dot.
    path: String,
    /// The step that it takes back.
    undoes: Option<String>,
    /// The lanes that were opened from its steps.
    inner: Vec<LaneId>,
    /// Where its steps stand.
    steps: Vec<usize>,
}

impl<'a> Fold<'a> {
    /// The story that these facts tell; `None` if they do not begin with a beginning.
    pub(super) fn story(facts: &'a [Fact], names: &'a Names) -> Option<RunStory> {
        let (Fact::Began(first) | Fact::Queued(first)) = facts.first()? else { return None };
        let mut fold = Self {
            names,
            beginning: first,
            revision: first.revision,
            lanes: HashMap::new(),
            steps: Vec::new(),
            places: HashMap::new(),
            jobs: HashMap::new(),
            story: Self::beginning(first),
        };
        facts.iter().for_each(|fact| fold.apply(fact));
        Some(fold.finish(facts.len() as u64))
    }

    fn beginning(beginning: &Beginning) -> RunStory {
        let row = RunRow {
            run: beginning.run,
            pipeline: beginning.pipeline.clone(),
            flow: beginning.flow.clone(),
            status: Status::Queued,
            began: beginning.at,
            ended: None,
            took_ms: None,
            correlation_id: beginning.correlation_id,
            revision: beginning.revision,
            parent: beginning.parent,
        };
        RunStory {
            trigger: beginning.trigger.clone(),
            caller: beginning.caller.clone(),
            input: beginning.part.as_ref().map_or_else(|| beginning.input.clone(), |part| part.input.clone()),
            event: beginning.event.as_ref().map(EventStory::from),
            state_key: beginning.state_key.clone(),
            retry_of: beginning.retry_of,
            deadline: beginning.deadline,
            ..RunStory::of(row)
        }
    }

    fn finish(self, facts: u64) -> RunStory {
        let Self { mut story, steps, revision, .. } = self;
        if story.row.status == Status::Running {
            story.row.status = status(&steps);
        }
        story.row.took_ms = story.row.ended.map(|ended| u64::try_from(ended.since(story.row.began).as_millis()).unwrap_or(u64::MAX));
        RunStory { row: RunRow { revision, ..story.row }, steps, facts, ..story }
    }

    fn apply(&mut self, fact: &Fact) {
        match fact {
            Fact::Queued(_) | Fact::UndoPlanned { .. } | Fact::UndoDropped { .. } => {}
            Fact::Began(beginning) => {
                (self.story.row.began, self.story.row.status) = (beginning.at, Status::Running);
            }
            Fact::LaneOpened { lane, purpose, parent, .. } => self.open(*lane, *purpose, *parent),
            Fact::LaneEnded { lane, result } => self.end_lane(*lane, result),
            Fact::StepSkipped { lane, step } => self.step(*lane, *step).state = StepState::Skipped,
            Fact::StepDone { lane, step, output } | Fact::StepHealed { lane, step, output } => {
                let healed = matches!(fact, Fact::StepHealed { .. });
                let story = self.step(*lane, *step);
                story.output = Some(output.clone());
                story.state = if healed { StepState::Healed } else { StepState::Succeeded };
            }
            Fact::StepFailed { lane, step, failure }
            | Fact::HealFailed { lane, step, failure }
            | Fact::UndoImpossible { lane, step, failure } => self.fail(*lane, *step, failure),
            Fact::JobDispatched { lane, step, job, input, at, .. } => {
                let place = self.place(*lane, *step);
                self.jobs.insert(*job, (place, *step));
                let story = self.step(*lane, *step);
                (story.began, story.job, story.input) = (Some(*at), Some(*job), Some(input.clone()));
            }
            Fact::JobJoined { .. }
            | Fact::AttemptStarted { .. }
            | Fact::Retrying { .. }
            | Fact::FallbackBegan { .. }
            | Fact::JobEnded { .. } => self.apply_to_job(fact),
            Fact::Emitted { lane, step, events } => {
                let events: Vec<EventStory> = events.iter().map(EventStory::from).collect();
                self.step(*lane, *step).events.extend(events);
            }
            Fact::ItemsTaken { lane, step, .. } => self.step(*lane, *step).state = StepState::Running,
            Fact::SleepBegan { lane, step, due } => {
                let story = self.step(*lane, *step);
                (story.state, story.due) = (StepState::Sleeping, Some(*due));
            }
            Fact::WaitBegan { .. } | Fact::Reminded { .. } | Fact::WaitEnded { .. } | Fact::AnswerRefused { .. } => {
                self.apply_to_wait(fact);
            }
            Fact::Dispatched { lane, step, run, .. } => self.step(*lane, *step).runs.push(*run),
            Fact::Replied { reply } => self.story.reply = Some(reply.clone()),
            Fact::Unwinding { .. } => self.give_up_all(),
            Fact::Ended { outcome, at } => {
                self.give_up_all();
                self.story.row.status = Status::of_outcome(outcome);
                (self.story.row.ended, self.story.end) = (Some(*at), Some(outcome.clone()));
            }
            Fact::Resumed { at } => {
                self.story.row.status = Status::Running;
                (self.story.row.ended, self.story.end) = (None, None);
                self.story.resumed.push(*at);
            }
            Fact::Migrated { revision, facts, at } => self.migrate(*revision, facts, *at),
        }
    }

    /// The history that counts from now on is told anew, in the words of the new revision.
    fn migrate(&mut self, revision: Digest, facts: &[Fact], at: Timestamp) {
        let before = std::mem::replace(&mut self.story, Self::beginning(self.beginning));
        self.lanes.clear();
        self.places.clear();
        self.jobs.clear();
        self.steps.clear();
        facts.iter().for_each(|fact| self.apply(fact));
        let from = std::mem::replace(&mut self.revision, revision);
        (self.story.migrated, self.story.resumed) = (before.migrated, before.resumed);
        self.story.migrated.push(MigrationStory { at, from });
    }

    fn open(&mut self, lane: LaneId, purpose: LanePurpose, parent: Option<(LaneId, StepNumber)>) {
        let mut undoes = None;
        let path = match (purpose, parent) {
            (LanePurpose::Main, _) => String::new(),
            (LanePurpose::OnError, None) => "on_error.".to_owned(),
            (LanePurpose::Finally, None) => "finally.".to_owned(),
            (LanePurpose::Undo, Some((within, step))) => {
                // What is undone was done long ago, and its lane may be gone.
                let before = self.lanes.get(&within).map_or(String::new(), |lane| lane.path.clone());
                undoes = Some(format!("{before}{}", self.names.step(step)));
                String::new()
            }
            (_, None) => String::new(),
            (purpose, Some((within, step))) => {
                // The step that it is in may be told of only when it is over.
                let outer = self.step(within, step).step.clone();
                match purpose {
                    LanePurpose::Heal => format!("{outer}.on_error."),
                    LanePurpose::Fallback => format!("{outer}.fallback."),
                    LanePurpose::Branch(place) => format!("{outer}.{}.", self.names.branch(step, place)),
                    LanePurpose::Item(place) => format!("{outer}[{place}]."),
                    LanePurpose::OnTimeout => format!("{outer}.on_timeout."),
                    LanePurpose::Reminder(place) => format!("{outer}.remind[{place}]."),
                    _ => format!("{outer}."),
                }
            }
        };
        if let Some((outer, _)) = parent.filter(|_| undoes.is_none()) {
            self.lanes.entry(outer).or_default().inner.push(lane);
        }
        self.lanes.insert(lane, Lane { path, undoes, ..Lane::default() });
    }

    fn end_lane(&mut self, lane: LaneId, result: &LaneResult) {
        if matches!(result, LaneResult::Succeeded(_)) {
            return;
        }
        let mut left = vec![lane];
        while let Some(lane) = left.pop().and_then(|lane| self.lanes.get_mut(&lane)) {
            left.append(&mut lane.inner);
            for place in &lane.steps {
                self.steps.get_mut(*place).map(give_up);
            }
        }
    }

    fn give_up_all(&mut self) {
        self.steps.iter_mut().for_each(give_up);
    }

    fn place(&mut self, lane: LaneId, step: StepNumber) -> usize {
        if let Some(place) = self.places.get(&(lane, step)) {
            return *place;
        }
        let place = self.steps.len();
        let within = self.lanes.entry(lane).or_default();
        within.steps.push(place);
        let undoes = within.undoes.clone();
        let name = match &undoes {
            Some(undone) => format!("undo {undone}"),
            None => format!("{}{}", within.path, self.names.step(step)),
        };
        let verb = self.names.verb(step).map(str::to_owned);
        self.steps.push(StepStory { step: name, verb, executor: self.names.executor(step), undoes, ..StepStory::default() });
        self.places.insert((lane, step), place);
        place
    }

    fn step(&mut self, lane: LaneId, step: StepNumber) -> &mut StepStory {
        let place = self.place(lane, step);
        // `place` has just made sure that it is there.
        &mut self.steps[place]
    }

    fn fail(&mut self, lane: LaneId, step: StepNumber, failure: &Failure) {
        let story = self.step(lane, step);
        (story.state, story.failure) = (StepState::Failed, Some(failure.clone()));
    }

    fn apply_to_job(&mut self, fact: &Fact) {
        let (Fact::JobJoined { job, .. }
        | Fact::AttemptStarted { job, .. }
        | Fact::Retrying { job, .. }
        | Fact::FallbackBegan { job, .. }
        | Fact::JobEnded { job, .. }) = fact
        else {
            return;
        };
        let Some((place, number)) = self.jobs.get(job) else { return };
        let Some(story) = self.steps.get_mut(*place) else { return };
        match fact {
            Fact::JobJoined { leader, .. } => story.joined = Some(*leader),
            Fact::AttemptStarted { attempt, at, .. } => {
                // Nothing ended the one before: the host did.
                break_off(story);
                let began = AttemptStory { attempt: *attempt, began: *at, ended: None, failure: None, next: None, broken_off: false };
                story.attempts.push(began);
                (story.state, story.due) = (StepState::Running, None);
                if self.names.calls(*number) {
                    story.runs.push(RunId::started_by(*job, *attempt));
                }
            }
            Fact::Retrying { failure, at, due, .. } => {
                if let Some(last) = story.attempts.last_mut() {
                    (last.ended, last.failure, last.next) = (Some(*at), Some(failure.clone()), Some(*due));
                }
                (story.state, story.due) = (StepState::Retrying, Some(*due));
            }
            Fact::FallbackBegan { failure, at, .. } => {
                // What comes after this is the time of the fallback's steps.
                if let Some(last) = story.attempts.last_mut().filter(|last| last.ended.is_none()) {
                    (last.ended, last.failure) = (*at, Some(failure.clone()));
                }
                (story.state, story.failure) = (StepState::Running, Some(failure.clone()));
            }
            Fact::JobEnded { outcome, events, at, .. } => {
                self.story.degraded |= matches!(outcome, JobOutcome::Succeeded { from, .. } if from.is_degraded());
                end_job(story, outcome, events, *at);
            }
            _ => {}
        }
    }

    fn apply_to_wait(&mut self, fact: &Fact) {
        match fact {
            Fact::WaitBegan { lane, step, matching, at, due } => {
                let events = self.names.awaited(*step);
                let matching = matching.iter().map(|(name, value)| (name.clone(), value.tree().clone())).collect();
                let story = self.step(*lane, *step);
                (story.state, story.began) = (StepState::Waiting, Some(*at));
                let (reminded, answers) = (Vec::new(), Vec::new());
                story.wait = Some(WaitStory { events, matching, until: *due, reminders: 0, reminded, timed_out: None, answers });
            }
            Fact::Reminded { lane, step, at, .. } => {
                if let Some(wait) = &mut self.step(*lane, *step).wait {
                    wait.reminders += 1;
                    wait.reminded.extend(*at);
                }
            }
            Fact::WaitEnded { lane, step, event, at } => {
                let story = self.step(*lane, *step);
                story.state = StepState::Running;
                story.ended = Some(*at);
                if let Some(wait) = &mut story.wait {
                    match event {
                        Some(event) => wait.answers.push(AnswerStory { event: EventStory::from(&**event), refused: None }),
                        None => wait.timed_out = Some(*at),
                    }
                }
            }
            Fact::AnswerRefused { lane, step, event, reason } => {
                if let Some(wait) = &mut self.step(*lane, *step).wait {
                    wait.answers.push(AnswerStory { event: EventStory::from(&**event), refused: Some(reason.as_str().to_owned()) });
                }
            }
            _ => {}
        }
    }
}

/// What was under way is wanted no more.
fn give_up(step: &mut StepStory) {
    break_off(step);
    if matches!(step.state, StepState::Running | StepState::Waiting | StepState::Sleeping | StepState::Retrying) {
        (step.state, step.due) = (StepState::Cancelled, None);
    }
}

/// Nobody carries on with the attempt that is under way. One that has failed, and of which only the time is not known, has its end.
pub(super) fn break_off(step: &mut StepStory) {
    if let Some(last) = step.attempts.last_mut().filter(|last| last.ended.is_none() && last.failure.is_none()) {
        last.broken_off = true;
    }
}

fn end_job(story: &mut StepStory, outcome: &JobOutcome, events: &[Event], at: Timestamp) {
    (story.ended, story.due) = (Some(at), None);
    story.events.extend(events.iter().map(EventStory::from));
    let failure = match outcome {
        JobOutcome::Succeeded { output, from } => {
            (story.state, story.output, story.from) = (StepState::Succeeded, Some(output.clone()), Some(*from));
            None
        }
        JobOutcome::Failed { failure } => {
            story.state = StepState::Failed;
            Some(failure)
        }
        JobOutcome::TimedOut { failure } => {
            story.state = StepState::TimedOut;
            Some(failure)
        }
        JobOutcome::Cancelled { reason } => {
            (story.state, story.cancelled) = (StepState::Cancelled, Some(*reason));
            None
        }
    };
    if let Some(last) = story.attempts.last_mut().filter(|last| last.ended.is_none() && last.failure.is_none()) {
        (last.ended, last.failure, last.broken_off) = (Some(at), failure.cloned(), false);
    }
    if let Some(failure) = failure {
        story.failure = Some(failure.clone());
    }
}

/// How a run stands that has begun and not ended: what is under way before what waits, and of what waits what is due first.
fn status(steps: &[StepStory]) -> Status {
    // A step with others inside has nothing under way by itself.
    let works = |step: &&StepStory| step.state == StepState::Running && step.job.is_some() && step.ended.is_none();
    if steps.iter().any(|step| works(&step)) {
        return Status::Running;
    }
    let due = |step: &&StepStory| step.wait.as_ref().filter(|_| step.state == StepState::Waiting).map(|wait| wait.until).or(step.due);
    let rests = steps.iter().filter(|step| matches!(step.state, StepState::Waiting | StepState::Sleeping | StepState::Retrying));
    let Some(first) = rests.min_by_key(due) else { return Status::Running };
    let at = first.due.unwrap_or(Timestamp::MAX);
    match (&first.wait, first.state) {
        (Some(wait), StepState::Waiting) => Status::Waiting { events: wait.events.clone(), until: wait.until },
        (_, StepState::Retrying) => Status::Retrying { step: first.step.clone(), at },
        _ => Status::Sleeping { until: at },
    }
}

#[cfg(test)]
mod tests;
