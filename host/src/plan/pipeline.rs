//! The plan: the checked, immutable form of all loaded files. Only `lower` builds it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;

use super::template::Template;
use crate::model::bundle::Bundle;
use crate::model::diagnostic::Place;
use crate::model::event::Scope;
use crate::model::executor::{Description, ExecutorReference};
use crate::model::failure::FailureKind;
use crate::model::id::{Digest, EventType, ExecutorName, FlowName, PipelineName, StepId};
use crate::model::policy::{AttemptSettings, CacheSettings, DedupSettings, Layer, PolicyIdentity, RetrySettings};
use crate::model::port::{CatalogProblem, Expression};
use crate::model::record::{BlockNumber, StepNumber};
use crate::model::resource::Resource;
use crate::model::types::Type;
use crate::model::value::{Map, Value};

/// All pipelines of all loaded files.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// By name, in the order in which the files were given.
    pub pipelines: IndexMap<PipelineName, Arc<Pipeline>>,
}

/// One pipeline.
#[derive(Clone, Debug)]
pub struct Pipeline {
    /// Its name.
    pub name: PipelineName,
    /// What it is for, for people.
    pub description: Option<String>,
    /// The digest of its bundle: canonical YAML, imports, scripts, components and the contract that these speak. Comments, descriptions and
    /// layout do not count.
    pub revision: Digest,
    /// What it was made of: kept with the runs that are pinned to it.
    pub bundle: Arc<Bundle>,
    /// The YAML file.
    pub file: PathBuf,
    /// Every file of the bundle, the YAML file first: what a reload watches.
    pub files: Vec<PathBuf>,
    /// Its bus.
    pub scope: Scope,
    /// The events that also go to the global bus.
    pub exports: Vec<EventType>,
    /// The declared events.
    pub events: IndexMap<EventType, Type>,
    /// What grants name.
    pub resources: Arc<[Resource]>,
    /// The executors that its steps use, by the number that [`Worker::Executor`] holds.
    pub executors: Vec<DeclaredExecutor>,
    /// Its state.
    pub state: StateSettings,
    /// The variables that it may read: `env` in expressions.
    pub environment: Value,
    /// The secrets that it names: `secret` in expressions.
    pub secrets: Value,
    /// Its flows.
    pub flows: Vec<Arc<Flow>>,
    /// Its named policies with a cache, also those that no step of its own uses: others who import them may have filled it.
    pub caches: Vec<PolicyIdentity>,
    /// Its tests, which its revision does not know.
    pub tests: Arc<[super::cases::Case]>,
}

impl Pipeline {
    /// Who does a step's work, as people know it: the executor's name, or `pipeline.flow`.
    pub fn worker_name(&self, worker: &Worker) -> ExecutorName {
        match worker {
            Worker::Executor(number) => {
                self.executors.get(*number).map_or_else(|| "none".into(), |declared| declared.reference.name.clone())
            }
            Worker::Flow { pipeline, flow } => ExecutorName::new(format!("{pipeline}.{flow}")),
        }
    }

    /// Whether an event of that type goes onto the global bus as well as onto its own.
    pub fn is_exported(&self, event_type: &EventType) -> bool {
        self.scope != Scope::Global && self.exports.contains(event_type)
    }

    /// Whose policy state its steps have: what must be kept while this pipeline is in force.
    pub fn policies(&self) -> Vec<PolicyIdentity> {
        let runs = self.flows.iter().flat_map(|flow| &flow.steps).filter_map(|step| match &step.verb {
            Verb::Run(run) => Some(run),
            _ => None,
        });
        let mut identities: Vec<PolicyIdentity> = runs
            .flat_map(|run| {
                let attempt = [
                    run.attempt.breaker.as_ref().map(|(identity, _)| identity),
                    run.attempt.rate_limit.as_ref().map(|(identity, _)| identity),
                    run.attempt.bulkhead.as_ref().map(|(identity, _)| identity),
                ];
                let job =
                    [run.policy.dedup.as_ref().map(|keyed| &keyed.identity), run.policy.cache.as_ref().map(|cache| &cache.keyed.identity)];
                attempt.into_iter().chain(job).flatten().cloned().collect::<Vec<_>>()
            })
            .collect();
        identities.sort();
        identities.dedup();
        identities
    }
}

/// Where a setting is written: for showing it, never for what it does. A setting that stands in no such list has its default.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Written {
    /// Its key, with those of the maps round it, as `concurrency.max_queue`; empty for a value that stands by itself, as in `retry: 5`.
    pub key: String,
    /// Where its key stands.
    pub place: Place,
}

/// Where a layer of a step's stack is written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LayerOrigin {
    /// The layer.
    pub layer: Layer,
    /// The policy that it belongs to; `None` if it stands beside the step.
    pub policy: Option<String>,
    /// Where its value stands.
    pub place: Place,
    /// Which of its settings are written, and where.
    pub written: Vec<Written>,
}

/// An executor with what it says of itself.
#[derive(Clone, Debug)]
pub struct DeclaredExecutor {
    /// What is needed to open it.
    pub reference: ExecutorReference,
    /// What it says of itself.
    pub description: Description,
    /// Where it is declared, or first used if it needs no declaration.
    pub place: Place,
    /// Which of its settings are written, and where.
    pub written: Vec<Written>,
    /// Which fields of its `config` were made of what stands outside the file.
    pub outside: Vec<Outside>,
}

/// A field of a `config` that was made of a variable of the environment or of a secret: whoever gave a wrong one did not write the file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outside {
    /// The field.
    pub field: String,
    /// `the environment variable OPENAI_BASE_URL`.
    pub source: String,
}

impl Outside {
    /// Names in a problem with a `config` where the field came from that it speaks of.
    pub fn name_in(all: &[Self], problem: &mut CatalogProblem) {
        // `the config of llm.chat is wrong: base_url is no web address`.
        let said = problem.message.split_once(": ").map_or("", |(_, said)| said);
        let end = said.find(|character: char| !character.is_alphanumeric() && character != '_').unwrap_or(said.len());
        let named = said.get(..end).unwrap_or_default();
        let Some(outside) = all.iter().find(|outside| outside.field == named) else { return };
        problem.message.push_str(&format!("; it comes from {}", outside.source));
        let help = problem.help.take().map_or_else(String::new, |help| format!("{help}; "));
        problem.help = Some(format!("{help}set {} anew and start again", outside.source));
    }
}

/// `state:` of a pipeline.
#[derive(Clone, Debug, Default)]
pub struct StateSettings {
    /// The fields and what they are at first.
    pub initial: Map,
    /// What they must be: declared, or taken from the initial value.
    pub types: Vec<(String, Type)>,
    /// The fields that clients may see.
    pub public: Vec<String>,
    /// Whether a reload that loses or retypes fields may begin every state anew. By default it is refused.
    pub reset: bool,
    /// Where it is declared, if it is.
    pub place: Option<Place>,
}

/// One flow: a trigger and its steps.
#[derive(Debug)]
pub struct Flow {
    /// Its name.
    pub name: FlowName,
    /// What starts it.
    pub triggers: Vec<Trigger>,
    /// What its input must be.
    pub input: Type,
    /// Which state of the pipeline its runs have.
    pub state_key: Option<Template>,
    /// How many runs at once.
    pub concurrency: Concurrency,
    /// The time for a whole run.
    pub deadline: Option<Duration>,
    /// Whether its runs are journaled.
    pub durable: bool,
    /// Every step, those inside others too, by [`StepNumber`].
    pub steps: Vec<Step>,
    /// Every list of steps, by [`BlockNumber`]; the first is the flow's own.
    pub blocks: Vec<Vec<StepNumber>>,
    /// What runs when the run failed.
    pub on_error: Option<BlockNumber>,
    /// What runs at the end in any case.
    pub finally: Option<BlockNumber>,
    /// Events that cancel a run.
    pub cancel_on: Vec<Listen>,
    /// How a request that is repeated is known.
    pub idempotency: Option<Idempotency>,
    /// Where it begins.
    pub place: Place,
    /// Which of its settings are written, and where.
    pub written: Vec<Written>,
}

impl Flow {
    /// So long a `sleep` of a flow with `durable: false` may be: nobody would find its run again after a crash.
    pub const LONGEST_UNJOURNALED_SLEEP: Duration = Duration::from_secs(60);

    /// The step of that number. Numbers come from this flow's own blocks.
    pub fn step(&self, number: StepNumber) -> &Step {
        &self.steps[number.0 as usize]
    }

    /// The steps of a block.
    pub fn block(&self, number: BlockNumber) -> &[StepNumber] {
        &self.blocks[number.0 as usize]
    }
}

/// What starts a flow.
#[derive(Clone, PartialEq, Debug)]
pub enum Trigger {
    /// Each line of the standard input.
    StdinLine,
    /// Events of these types.
    Event {
        /// The types.
        types: Vec<EventType>,
        /// Whose.
        mode: EventMode,
    },
    /// By name only.
    Manual,
}

impl Trigger {
    /// The types of the events that it takes; none if it takes no events.
    pub fn types(&self) -> &[EventType] {
        match self {
            Self::Event { types, .. } => types,
            Self::StdinLine | Self::Manual => &[],
        }
    }
}

/// Whose events a trigger takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum EventMode {
    /// This pipeline's own.
    Direct,
    /// Other pipelines'.
    #[default]
    Observe,
}

/// `concurrency:` of a flow.
#[derive(Clone, Debug)]
pub struct Concurrency {
    /// What the runs are counted by; `None` counts all together.
    pub key: Option<Template>,
    /// So many at once, for each key. 256 by default.
    pub max_concurrent: u32,
    /// So many waiting, for each key. 1024 by default.
    pub max_queue: u32,
    /// What becomes of one more.
    pub when_full: WhenFull,
}

impl Default for Concurrency {
    fn default() -> Self {
        Self { key: None, max_concurrent: 256, max_queue: 1024, when_full: WhenFull::Queue }
    }
}

/// What becomes of an activation that finds no place.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum WhenFull {
    /// It waits; a full queue rejects.
    #[default]
    Queue,
    /// It is forgotten and counted.
    Drop,
    /// It cancels the oldest and takes its place after that one's `finally`.
    Replace,
    /// It takes the place of the one that waits.
    Coalesce,
    /// It is refused.
    Reject,
}

/// One step.
#[derive(Debug)]
pub struct Step {
    /// Its number in the flow.
    pub number: StepNumber,
    /// Its id, or `#3` after its number where it has none.
    pub id: StepId,
    /// Whether it is done at all.
    pub when: Option<Arc<dyn Expression>>,
    /// What it does.
    pub verb: Verb,
    /// What heals its failure.
    pub on_error: Option<OnError>,
    /// `via: outbox`: the event that it emits is kept until everybody who hears it has taken it.
    pub outbox: Option<Outbox>,
    /// Where it stands.
    pub place: Place,
}

/// `via: outbox` of a step.
#[derive(Debug)]
pub struct Outbox {
    /// Events of one key go out one after the other; `None` is an event by itself.
    pub order_key: Option<Template>,
}

/// What heals a step's failure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnError {
    /// Null stands in.
    Ignore,
    /// The last output of these steps stands in.
    Steps(BlockNumber),
}

/// `idempotency:` of a flow.
#[derive(Debug)]
pub struct Idempotency {
    /// What tells one request from another.
    pub key: Template,
    /// So long the first result answers repeats.
    pub retention: Duration,
}

/// Which events are waited for.
#[derive(Debug)]
pub struct Listen {
    /// The types, at least one.
    pub types: Vec<EventType>,
    /// Fields of the event's data with what they must equal, at least one: evaluated when the wait begins.
    pub matching: Vec<(String, Template)>,
}

/// What a step does.
#[derive(Debug)]
pub enum Verb {
    /// Has an executor or a flow do something and awaits the result: `run` and `call`.
    Run(Box<RunStep>),
    /// Has an executor do something and goes on: the block holds one `run` step, which a run of its own does.
    Dispatch(BlockNumber),
    /// Waits for an event.
    Wait(Box<WaitStep>),
    /// Takes the first branch whose condition holds; null if none does.
    Switch(Vec<Case>),
    /// Walks branches at the same time.
    Parallel(Parallel),
    /// Walks the same steps for each item of a list.
    Each(Box<Each>),
    /// Waits for so long; a duration.
    Sleep(Template),
    /// Emits events.
    Emit(Vec<(EventType, Template)>),
    /// Sets fields of the state.
    Set(Vec<(String, Template)>),
    /// Answers the caller.
    Reply(Template),
    /// Fails.
    Fail(Fail),
}

impl Verb {
    /// The key that a step says it with, as `call`.
    pub fn key(&self) -> &'static str {
        match self {
            Self::Run(run) if matches!(run.worker, Worker::Flow { .. }) => "call",
            Self::Run(_) => "run",
            Self::Dispatch(_) => "dispatch",
            Self::Wait(_) => "wait",
            Self::Switch(_) => "switch",
            Self::Parallel(_) => "parallel",
            Self::Each(_) => "each",
            Self::Sleep(_) => "sleep",
            Self::Emit(_) => "emit",
            Self::Set(_) => "set",
            Self::Reply(_) => "reply",
            Self::Fail(_) => "fail",
        }
    }
}

/// What a step fails with.
#[derive(Debug)]
pub enum Fail {
    /// A failure that is written out.
    New {
        /// Its kind.
        kind: FailureKind,
        /// Its code.
        code: Option<Template>,
        /// Its message.
        message: Template,
    },
    /// A failure that is passed on: an expression whose value is an `error`.
    PassOn(Template),
}

/// `wait` of a step.
#[derive(Debug)]
pub struct WaitStep {
    /// For what.
    pub listen: Listen,
    /// What must hold of the event (`event` in it), or it is refused.
    pub guard: Option<Arc<dyn Expression>>,
    /// For how long; a duration.
    pub timeout: Template,
    /// What is done if nothing came.
    pub on_timeout: BlockNumber,
    /// What is done while nothing comes.
    pub remind: Option<Remind>,
}

/// `remind` of a `wait`.
#[derive(Debug)]
pub struct Remind {
    /// How long after the wait began, ascending.
    pub after: Vec<Duration>,
    /// What is done each time.
    pub block: BlockNumber,
}

/// A branch of a `switch`.
#[derive(Debug)]
pub struct Case {
    /// When it is taken; `None` for `else`.
    pub when: Option<Arc<dyn Expression>>,
    /// Its steps.
    pub block: BlockNumber,
}

/// `parallel` of a step.
#[derive(Debug)]
pub struct Parallel {
    /// The branches by name, in the order of their names: the order of a map says nothing.
    pub branches: Vec<(String, BlockNumber)>,
    /// How many of them must succeed.
    pub join: Join,
}

/// How many branches must succeed. The rest is cancelled.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Join {
    /// All; the first failure decides.
    #[default]
    All,
    /// So many, from 1 to the number of branches; fails once they cannot be reached any more. `first` is a quorum of 1.
    Quorum(u32),
}

/// `each` of a step.
#[derive(Debug)]
pub struct Each {
    /// A list, or a number of rounds.
    pub over: Arc<dyn Expression>,
    /// The name of the item in expressions; `index` is known beside it.
    pub name: String,
    /// So many items at a time.
    pub max_concurrent: u32,
    /// What is done for each.
    pub block: BlockNumber,
}

/// Who does what a step with `run` or `call` wants.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Worker {
    /// An executor, by its number in [`Pipeline::executors`].
    Executor(usize),
    /// A flow, of the revision that is in force when it is called.
    Flow {
        /// Its pipeline.
        pipeline: PipelineName,
        /// Its name.
        flow: FlowName,
    },
}

/// `undo` beside a step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Undo {
    /// The block that holds the one `run` step that undoes it.
    pub block: BlockNumber,
    /// Whether it is undone too if its outcome is unknown: `undo_on: attempt`.
    pub on_attempt: bool,
}

/// A step that has an executor or a flow do something.
#[derive(Debug)]
pub struct RunStep {
    /// Who.
    pub worker: Worker,
    /// What takes back what it did, if the run does not succeed.
    pub undo: Option<Undo>,
    /// Fields of the state that have these values from its dispatch on, and no longer if it does not succeed.
    pub optimistic: Vec<(String, Template)>,
    /// The job's input; `None` gives null.
    pub with: Option<Template>,
    /// The job half of the policy stack.
    pub policy: JobPolicy,
    /// The attempt half of the policy stack.
    pub attempt: AttemptSettings,
    /// The event that the output becomes.
    pub emits: Option<EventType>,
    /// Whether each progress goes to whoever asked.
    pub stream: bool,
    /// What each progress sets in the state.
    pub on_progress: Vec<Vec<(String, Template)>>,
    /// What the output must be, where it is known.
    pub output: Option<Type>,
    /// Where each layer of its stack is written, outermost first.
    pub origins: Vec<LayerOrigin>,
}

/// The job half of a step's stack: what the run itself decides and waits for. `None` means that the layer is not there.
#[derive(Debug, Default)]
pub struct JobPolicy {
    /// What stands in for a result that could not be had.
    pub fallback: Option<Fallback>,
    /// One of several equal jobs at a time.
    pub dedup: Option<Keyed<DedupSettings>>,
    /// A result kept for some time.
    pub cache: Option<Cache>,
    /// The time for the job with all its retries.
    pub deadline: Option<Duration>,
    /// Trying again.
    pub retry: Option<Retry>,
}

/// A layer whose state is told apart by a key.
#[derive(Debug)]
pub struct Keyed<Settings> {
    /// Whose state it has.
    pub identity: PolicyIdentity,
    /// The key; a value that is null or holds a null is refused when the job is dispatched.
    pub key: Template,
    /// Its numbers.
    pub settings: Settings,
}

/// `cache` beside a step.
#[derive(Debug)]
pub struct Cache {
    /// Whose entries, by what key, with which numbers.
    pub keyed: Keyed<CacheSettings>,
    /// Words by which entries can be invalidated together.
    pub tags: Option<Template>,
}

/// `retry` beside a step.
#[derive(Debug)]
pub struct Retry {
    /// Its numbers.
    pub settings: RetrySettings,
    /// Which failures are tried again; `None` is `error.retryable`.
    pub should_retry: Option<Arc<dyn Expression>>,
}

/// `fallback` beside a step.
#[derive(Debug)]
pub struct Fallback {
    /// For which failures; `None` is all but cancelled, invalid, bug and a rejected duplicate.
    pub when: Option<Arc<dyn Expression>>,
    /// What stands in.
    pub stand_in: StandIn,
}

/// What stands in for a result that could not be had.
#[derive(Debug)]
pub enum StandIn {
    /// A value.
    Value(Template),
    /// The last output of these steps.
    Steps(BlockNumber),
}
