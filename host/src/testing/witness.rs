//! Keeps what was seen in one test: runs with their facts, calls, events and changes of the state, in their order.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::model::activation::{Requester, RunEnd, RunOutcome};
use crate::model::diagnostic::Diagnostic;
use crate::model::event::Event;
use crate::model::failure::Failure;
use crate::model::happening::{Happening, What};
use crate::model::id::{Digest, EventId, ExecutorName, FlowName, JobId, PipelineName, RunId, StepId};
use crate::model::job::JobOutcome;
use crate::model::port::Sink;
use crate::model::record::{Batch, Fact, LaneId, LanePurpose, StepNumber};
use crate::model::value::{Map, Value};

use super::cliff::Point;
use super::coverage::Walked;

/// So many things are kept of one test; a test in which more happens goes in circles.
const MOST: usize = 200_000;

/// What was seen in one test.
#[derive(Default)]
pub(super) struct Witness(Mutex<Seen>);

/// What was seen so far.
#[derive(Default)]
pub(super) struct Seen {
    /// The runs, in the order in which they were asked for; those too that were refused.
    pub(super) runs: Vec<SeenRun>,
    /// The calls of executors, each attempt of a job.
    pub(super) calls: Vec<SeenCall>,
    /// The events on the buses, without those that the test itself emitted.
    pub(super) events: Vec<Event>,
    /// Changes of states.
    pub(super) changes: Vec<Change>,
    /// The steps and branches that were taken, by pipeline, revision and flow.
    pub(super) walked: Walked,
    /// What is wrong beside what was expected: a job that nothing stands in for.
    pub(super) mistakes: Vec<Diagnostic>,
    numbers: HashMap<RunId, usize>,
    /// The events that were seen: one that is published again after a crash is the same.
    known: HashSet<EventId>,
    kept: usize,
}

/// A run, or what was to be one.
#[derive(Debug)]
pub(super) struct SeenRun {
    pub(super) run: Option<RunId>,
    pub(super) pipeline: PipelineName,
    pub(super) flow: FlowName,
    /// Whether the test sent it.
    pub(super) sent: bool,
    /// Known once it began.
    pub(super) revision: Option<Digest>,
    pub(super) input: Option<Value>,
    pub(super) state_key: Option<String>,
    pub(super) end: SeenEnd,
    pub(super) reply: Option<Value>,
    /// Who hears what it streams, if the test sent it.
    pub(super) asker: Option<Arc<Asker>>,
    pub(super) degraded: bool,
    /// What each step came to, by its number; the last where a step is done several times.
    pub(super) outputs: HashMap<StepNumber, Value>,
    jobs: HashMap<JobId, StepNumber>,
    /// The steps that were undone, in the order in which they were.
    pub(super) undone: Vec<StepNumber>,
    undoing: HashMap<LaneId, StepNumber>,
    undo_jobs: HashMap<JobId, StepNumber>,
}

/// What became of a run.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) enum SeenEnd {
    /// It goes on, or waits at the door.
    #[default]
    Running,
    /// It ended.
    Ended(RunOutcome),
    /// It was forgotten at the door.
    Dropped,
    /// It was refused at the door.
    Refused(Failure),
}

/// A call of an executor.
#[derive(Debug)]
pub(super) struct SeenCall {
    pub(super) pipeline: PipelineName,
    pub(super) executor: ExecutorName,
    pub(super) step: StepId,
    pub(super) input: Value,
}

/// A change of a state.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) pipeline: PipelineName,
    pub(super) key: Option<String>,
    pub(super) after: Map,
}

impl SeenRun {
    fn new(run: Option<RunId>, pipeline: PipelineName, flow: FlowName) -> Self {
        Self {
            run,
            pipeline,
            flow,
            sent: false,
            revision: None,
            input: None,
            state_key: None,
            end: SeenEnd::Running,
            reply: None,
            asker: None,
            degraded: false,
            outputs: HashMap::new(),
            jobs: HashMap::new(),
            undone: Vec::new(),
            undoing: HashMap::new(),
            undo_jobs: HashMap::new(),
        }
    }
}

impl Seen {
    /// Whether more happened than is kept.
    pub(super) const fn is_too_much(&self) -> bool {
        self.kept >= MOST
    }

    /// The run that `expect` speaks of where it names none: the last that was sent, else the last of all.
    pub(super) fn subject(&self) -> Option<usize> {
        self.runs.iter().rposition(|run| run.sent).or_else(|| self.runs.len().checked_sub(1))
    }

    fn room(&mut self) -> bool {
        self.kept = self.kept.saturating_add(1);
        self.kept < MOST
    }

    fn run(&mut self, id: RunId, pipeline: &PipelineName, flow: &FlowName) -> Option<&mut SeenRun> {
        let number = match self.numbers.get(&id) {
            Some(number) => *number,
            None => {
                if !self.room() {
                    return None;
                }
                self.runs.push(SeenRun::new(Some(id), pipeline.clone(), flow.clone()));
                self.numbers.insert(id, self.runs.len() - 1);
                self.runs.len() - 1
            }
        };
        self.runs.get_mut(number)
    }

    /// Learns what was recorded; says which steps are done by it.
    pub(super) fn committed(&mut self, batch: &Batch) -> Vec<Point> {
        let mut done = Vec::new();
        for fact in &*batch.facts {
            if !self.room() {
                return done;
            }
            if let Fact::Began(beginning) = fact
                && let Some(run) = self.run(beginning.run, &beginning.pipeline, &beginning.flow)
            {
                run.revision = Some(beginning.revision);
                run.input = Some(beginning.input.clone());
                run.state_key.clone_from(&beginning.state_key);
            }
            // What is recorded goes out, also if a crash comes between: whom it reaches is seen by who hears it.
            if let Fact::JobEnded { events, .. } | Fact::Emitted { events, .. } = fact {
                for event in events.iter().filter(|event| self.known.insert(event.id)) {
                    self.events.push(event.clone());
                }
            }
            let Some(run) = self.numbers.get(&batch.run).and_then(|number| self.runs.get_mut(*number)) else { continue };
            if let Some(revision) = run.revision {
                self.walked.learn(&run.pipeline, revision, &run.flow, fact);
            }
            let (step, revision) = (run.learn(fact), run.revision);
            done.extend(step.and_then(|step| Some(Point { revision: revision?, flow: run.flow.clone(), step })));
        }
        done
    }
}

impl SeenRun {
    /// Learns a fact; gives the step that is done by it.
    fn learn(&mut self, fact: &Fact) -> Option<StepNumber> {
        match fact {
            Fact::LaneOpened { lane, purpose: LanePurpose::Undo, parent: Some((_, step)), .. } => drop(self.undoing.insert(*lane, *step)),
            Fact::JobDispatched { job, lane, step, .. } => match self.undoing.get(lane) {
                Some(undone) => drop(self.undo_jobs.insert(*job, *undone)),
                None => drop(self.jobs.insert(*job, *step)),
            },
            Fact::WaitEnded { step, event: Some(event), .. } => {
                self.outputs.insert(*step, event.to_value());
                return Some(*step);
            }
            Fact::StepDone { step, output, .. } | Fact::StepHealed { step, output, .. } => {
                self.outputs.insert(*step, output.clone());
                return Some(*step);
            }
            Fact::JobEnded { job, outcome: JobOutcome::Succeeded { output, from }, .. } => {
                self.degraded |= from.is_degraded();
                self.undone.extend(self.undo_jobs.remove(job));
                let step = self.jobs.remove(job)?;
                self.outputs.insert(step, output.clone());
                return Some(step);
            }
            Fact::Replied { reply } => {
                self.reply.get_or_insert_with(|| reply.clone());
            }
            Fact::Ended { outcome, .. } => self.end = SeenEnd::Ended(outcome.clone()),
            _ => {}
        }
        None
    }
}

impl Witness {
    /// What was seen so far.
    pub(super) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The test asked for a run, and this is its number.
    pub(super) fn asked(&self, run: RunId, pipeline: &PipelineName, flow: &FlowName, asker: Arc<Asker>) {
        if let Some(run) = self.seen().run(run, pipeline, flow) {
            run.sent = true;
            run.asker = Some(asker);
        }
    }

    /// The test asked for a run and did not get one.
    pub(super) fn turned_away(&self, pipeline: &PipelineName, flow: &FlowName, end: SeenEnd) {
        let mut seen = self.seen();
        if seen.room() {
            seen.runs.push(SeenRun { end, sent: true, ..SeenRun::new(None, pipeline.clone(), flow.clone()) });
        }
    }

    /// An event is the test's own: it does not count among those that were emitted.
    pub(super) fn own(&self, event: EventId) {
        self.seen().events.retain(|seen| seen.id != event);
    }

    /// An executor is called.
    pub(super) fn called(&self, call: SeenCall) {
        let mut seen = self.seen();
        if seen.room() {
            seen.calls.push(call);
        }
    }

    /// Something is wrong that no expectation speaks of; told once.
    pub(super) fn mistake(&self, mistake: Diagnostic) {
        let mut seen = self.seen();
        if !seen.mistakes.contains(&mistake) {
            seen.mistakes.push(mistake);
        }
    }
}

impl Sink for Witness {
    fn accept(&self, happening: Happening) {
        let mut seen = self.seen();
        match (happening.what, happening.run) {
            (What::RunEnded { outcome, .. }, Some(label)) => {
                if let Some(run) = seen.run(label.run, &label.pipeline, &label.flow)
                    && run.end == SeenEnd::Running
                {
                    run.end = SeenEnd::Ended(outcome);
                }
            }
            (What::StateSet { key, after, .. }, Some(label)) if seen.room() => {
                let after = after.tree().as_map().cloned().unwrap_or_default();
                seen.changes.push(Change { pipeline: label.pipeline, key, after });
            }
            (What::Published { published }, _) if seen.room() && seen.known.insert(published.id) => seen.events.push(published),
            _ => {}
        }
    }

    fn wants_routine(&self) -> bool {
        true
    }

    fn wants_detail(&self) -> bool {
        false
    }
}

/// Whoever sent something in a test: hears what is streamed, up to as much as is kept of anything.
#[derive(Debug, Default)]
pub(super) struct Asker(Mutex<Vec<Value>>);

impl Asker {
    /// What was streamed to it.
    pub(super) fn heard(&self) -> Vec<Value> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Requester for Asker {
    fn progress(&self, progress: &Value) {
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if heard.len() < MOST {
            heard.push(progress.clone());
        }
    }

    fn reply(&self, _: &Value) {}

    fn end(&self, _: &RunEnd) {}
}
