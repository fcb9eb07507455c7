//! All that belongs to one request as a tree: runs, their jobs and waits, the events that went out, and the runs that those started.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

use super::story::{AnswerStory, EventStory, RunStory, StepState, StepStory};
use crate::model::id::{CorrelationId, EventId, RunId};
use crate::model::time::Timestamp;

/// So many runs of a request are shown, the first ones.
pub const MOST_RUNS: usize = 1_000;

/// What belongs to a request.
#[derive(Clone, PartialEq, Debug)]
pub struct Trace {
    /// The request.
    pub correlation_id: CorrelationId,
    /// The tree, each node before those beneath it. A list with depths, as its depth has no bound and that of JSON has.
    pub nodes: Vec<TraceNode>,
    /// How many runs are left out, because there are more than [`MOST_RUNS`].
    pub left_out: usize,
}

/// What a node of a trace is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TraceKind {
    /// A run.
    Run,
    /// A job of the run above.
    Job,
    /// A `wait` of the run above.
    Wait,
    /// Another step of the run above that told something, or sent it on its way.
    Step,
    /// An event of the job or step above, or one that answered the wait above.
    Event,
}

/// A node of a trace.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct TraceNode {
    /// How many nodes it is beneath.
    pub depth: u32,
    /// What it is.
    pub kind: TraceKind,
    /// Its id; a wait has none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub id: Option<String>,
    /// `pipeline.flow` of a run, the step of a job, wait or step, the type of an event.
    pub name: String,
    /// Who did a job; the verb of a wait or step; who is behind an event.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub by: Option<String>,
    /// How it stands: a run's status, a step's state; `taken`, or why it was refused, for an answer. Absent for other events.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub state: Option<String>,
    /// When it began, or was said.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub at: Option<Timestamp>,
    /// Milliseconds to its end.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub took_ms: Option<u64>,
    /// How often a job was tried.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub attempts: Option<usize>,
    /// What it failed with.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<String>,
}

impl Trace {
    /// The tree of these runs, which are in the order in which they began.
    pub(super) fn of(correlation_id: CorrelationId, stories: Vec<RunStory>, left_out: usize) -> Self {
        Self { correlation_id, nodes: Growth::new(stories).grow(), left_out }
    }
}

/// What is still to be put into the tree.
enum Next {
    Run(RunId),
    Event(EventStory, Option<String>),
    Step(RunId, usize),
}

struct Growth {
    order: Vec<RunId>,
    stories: HashMap<RunId, RunStory>,
    /// By the event that started them.
    begun: HashMap<EventId, Vec<RunId>>,
    /// By the run that called or dispatched them.
    children: HashMap<RunId, Vec<RunId>>,
    /// The events that the runs emitted.
    emitted: HashSet<EventId>,
    shown: HashSet<RunId>,
    nodes: Vec<TraceNode>,
}

impl Growth {
    fn new(stories: Vec<RunStory>) -> Self {
        let mut growth = Self {
            order: stories.iter().map(|story| story.row.run).collect(),
            stories: HashMap::new(),
            begun: HashMap::new(),
            children: HashMap::new(),
            emitted: HashSet::new(),
            shown: HashSet::new(),
            nodes: Vec::new(),
        };
        for story in stories {
            let run = story.row.run;
            match (&story.event, story.row.parent) {
                (_, Some(parent)) => growth.children.entry(parent).or_default().push(run),
                (Some(event), None) => growth.begun.entry(event.event).or_default().push(run),
                (None, None) => {}
            }
            growth.emitted.extend(story.steps.iter().flat_map(|step| &step.events).map(|event| event.event));
            growth.stories.insert(run, story);
        }
        growth
    }

    fn grow(mut self) -> Vec<TraceNode> {
        let roots: Vec<RunId> = self.order.iter().copied().filter(|run| self.is_root(*run)).collect();
        // What a cycle would hide is shown at the end.
        for run in roots.into_iter().chain(self.order.clone()) {
            // A stack of what is left, as chains of runs are longer than a thread's own stack may be.
            let mut left = vec![(0, Next::Run(run))];
            while let Some((depth, next)) = left.pop() {
                let mut beneath = self.show(depth, next);
                beneath.reverse();
                left.extend(beneath.into_iter().map(|next| (depth + 1, next)));
            }
        }
        self.nodes
    }

    fn is_root(&self, run: RunId) -> bool {
        let Some(story) = self.stories.get(&run) else { return false };
        match (story.row.parent, &story.event) {
            (Some(parent), _) => !self.stories.contains_key(&parent),
            (None, Some(event)) => !self.emitted.contains(&event.event),
            (None, None) => true,
        }
    }

    /// Puts a node into the tree, and says what stands beneath it.
    fn show(&mut self, depth: u32, next: Next) -> Vec<Next> {
        match next {
            Next::Run(run) if !self.shown.insert(run) => Vec::new(),
            Next::Run(run) => {
                let Some(story) = self.stories.get(&run) else { return Vec::new() };
                self.nodes.push(run_node(depth, story));
                let steps = story.steps.iter().enumerate().filter(|(_, step)| is_shown(step));
                let mut beneath: Vec<Next> = steps.map(|(place, _)| Next::Step(run, place)).collect();
                // Those whose step is not told of: its facts may have gone with a migration.
                let told: HashSet<RunId> = story.steps.iter().flat_map(|step| step.runs.iter().copied()).collect();
                let children = self.children.get(&run).into_iter().flatten();
                beneath.extend(children.filter(|child| !told.contains(child)).map(|child| Next::Run(*child)));
                beneath
            }
            Next::Step(run, place) => {
                let Some(step) = self.stories.get(&run).and_then(|story| story.steps.get(place)) else { return Vec::new() };
                self.nodes.push(step_node(depth, step));
                let answers = step.wait.iter().flat_map(|wait| &wait.answers);
                // What a run of this request said stands where it said it.
                let outside = answers.filter(|answer| !self.emitted.contains(&answer.event.event)).map(answered);
                let runs = step.runs.iter().map(|run| Next::Run(*run));
                runs.chain(outside).chain(step.events.iter().map(|event| Next::Event(event.clone(), None))).collect()
            }
            Next::Event(event, state) => {
                let begun = self.begun.get(&event.event).into_iter().flatten().map(|run| Next::Run(*run)).collect();
                self.nodes.push(event_node(depth, event, state));
                begun
            }
        }
    }
}

/// Steps that neither work nor wait nor say anything are left out.
fn is_shown(step: &StepStory) -> bool {
    step.job.is_some() || step.wait.is_some() || !step.events.is_empty() || !step.runs.is_empty()
}

fn answered(answer: &AnswerStory) -> Next {
    Next::Event(answer.event.clone(), Some(answer.refused.as_ref().map_or_else(|| "taken".to_owned(), |why| format!("refused ({why})"))))
}

fn run_node(depth: u32, story: &RunStory) -> TraceNode {
    let row = &story.row;
    TraceNode {
        depth,
        kind: TraceKind::Run,
        id: Some(row.run.to_string()),
        name: format!("{}.{}", row.pipeline, row.flow),
        by: story.caller.id.clone(),
        state: Some(row.status.to_string()),
        at: Some(row.began),
        took_ms: row.took_ms,
        attempts: None,
        error: story.end.as_ref().and_then(|end| end.failure()).map(ToString::to_string),
    }
}

fn step_node(depth: u32, step: &StepStory) -> TraceNode {
    let took = step.began.zip(step.ended).map(|(began, ended)| ended.since(began).as_millis());
    let kind = match (&step.wait, step.job) {
        (_, Some(_)) => TraceKind::Job,
        (Some(_), None) => TraceKind::Wait,
        (None, None) => TraceKind::Step,
    };
    TraceNode {
        depth,
        kind,
        id: step.job.map(|job| job.to_string()),
        name: step.step.clone(),
        by: step.executor.clone().or_else(|| step.verb.clone()),
        state: Some(step.state.word().to_owned()),
        at: step.began.or_else(|| step.events.first().map(|event| event.time)),
        took_ms: took.map(|took| u64::try_from(took).unwrap_or(u64::MAX)),
        attempts: Some(step.attempts.len()).filter(|attempts| *attempts > 1),
        error: step.failure.as_ref().filter(|_| step.state != StepState::Succeeded).map(ToString::to_string),
    }
}

fn event_node(depth: u32, event: EventStory, state: Option<String>) -> TraceNode {
    TraceNode {
        depth,
        kind: TraceKind::Event,
        id: Some(event.event.to_string()),
        name: event.event_type.to_string(),
        by: event.caller.id.or_else(|| event.is_signal.then(|| "somebody outside".to_owned())),
        state,
        at: Some(event.time),
        took_ms: None,
        attempts: None,
        error: None,
    }
}
