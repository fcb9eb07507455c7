//! Small plans for the engine's own tests, built by hand: the loader is another room's.

use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;

use crate::model::diagnostic::Place;
use crate::model::event::{Caller, Scope};
use crate::model::executor::{Description, ExecutorReference, Home};
use crate::model::grant::{Grants, Limits};
use crate::model::id::{CorrelationId, Digest, RunId, StepId};
use crate::model::policy::{AttemptSettings, DedupSettings, PolicyIdentity, RetrySettings};
use crate::model::record::{Beginning, BlockNumber, StepNumber};
use crate::model::time::Timestamp;
use crate::model::types::Type;
use crate::model::value::{Map, Tree, Value};
use crate::plan::pipeline::{
    Concurrency, DeclaredExecutor, Fallback, Flow, JobPolicy, Keyed, OnError, Pipeline, Retry, RunStep, StandIn, StateSettings, Step,
    Trigger, Verb,
};
use crate::plan::template::Template;

/// A flow in a few words.
#[derive(Clone, Debug, Default)]
pub struct Sketch {
    pub steps: Vec<SketchStep>,
    pub on_error: bool,
    pub finally: bool,
    pub deadline: Option<Duration>,
    pub concurrency: Option<Concurrency>,
}

impl Sketch {
    pub fn of(steps: usize) -> Self {
        Self { steps: vec![SketchStep::default(); steps], ..Self::default() }
    }
}

/// A `run` step in a few words.
#[derive(Clone, Debug, Default)]
pub struct SketchStep {
    pub retries: Option<u32>,
    pub deadline: Option<Duration>,
    /// Healed by nothing, by `ignore` (false) or by a step (true).
    pub heal: Option<bool>,
    /// No fallback, a value (false) or a step (true).
    pub fallback: Option<bool>,
    pub dedup: bool,
    /// Whether a `set` comes before it.
    pub set: bool,
    /// Whether progress goes to whoever asked, and into the state.
    pub stream: bool,
    /// Whether the output goes out as the event `Done`.
    pub emits: bool,
}

#[derive(Default)]
struct Builder {
    steps: Vec<Step>,
    blocks: Vec<Vec<StepNumber>>,
}

impl Builder {
    fn step(&mut self, id: &str, verb: Verb, on_error: Option<OnError>) -> StepNumber {
        let number = StepNumber(u32::try_from(self.steps.len()).unwrap_or(u32::MAX));
        let id = StepId::new(id);
        self.steps.push(Step { number, id, when: None, verb, on_error, place: Place::whole("test.yaml") });
        number
    }

    fn block(&mut self, steps: Vec<StepNumber>) -> BlockNumber {
        self.blocks.push(steps);
        BlockNumber(u32::try_from(self.blocks.len() - 1).unwrap_or(u32::MAX))
    }

    fn small_block(&mut self, id: &str) -> BlockNumber {
        let step = self.step(id, run(JobPolicy::default(), &SketchStep::default()), None);
        self.block(vec![step])
    }
}

fn run(policy: JobPolicy, sketch: &SketchStep) -> Verb {
    let status = |status: &str| vec![("status".to_owned(), Template::Literal(Value::string(status)))];
    Verb::Run(Box::new(RunStep {
        executor: 0,
        with: None,
        policy,
        attempt: AttemptSettings::default(),
        emits: sketch.emits.then(|| "Done".into()),
        stream: sketch.stream,
        on_progress: if sketch.stream { vec![status("working")] } else { Vec::new() },
        output: None,
    }))
}

/// A pipeline with one executor, `work`, and one flow after the sketch.
pub fn pipeline(sketch: &Sketch) -> Arc<Pipeline> {
    let mut builder = Builder { blocks: vec![Vec::new()], ..Builder::default() };
    let mut main = Vec::new();
    for (index, step) in sketch.steps.iter().enumerate() {
        if step.set {
            let fields = vec![("status".to_owned(), Template::Literal(Value::string("busy")))];
            main.push(builder.step(&format!("set{index}"), Verb::Set(fields), None));
        }
        let heal = step.heal.map(|by_steps| match by_steps {
            true => OnError::Steps(builder.small_block(&format!("heal{index}"))),
            false => OnError::Ignore,
        });
        let fallback = step.fallback.map(|by_steps| Fallback {
            when: None,
            stand_in: match by_steps {
                true => StandIn::Steps(builder.small_block(&format!("fallback{index}"))),
                false => StandIn::Value(Template::Literal(Value::null())),
            },
        });
        let identity = PolicyIdentity::Step { pipeline: "p".into(), flow: "main".into(), step: format!("s{index}") };
        let key = Template::Literal(Value::string("key"));
        let policy = JobPolicy {
            fallback,
            dedup: step.dedup.then(|| Keyed { identity, key, settings: DedupSettings::default() }),
            cache: None,
            deadline: step.deadline,
            retry: step
                .retries
                .map(|max_retries| Retry { settings: RetrySettings { max_retries, ..RetrySettings::default() }, should_retry: None }),
        };
        main.push(builder.step(&format!("s{index}"), run(policy, step), heal));
    }
    builder.blocks[0] = main;
    let on_error = sketch.on_error.then(|| builder.small_block("on_error"));
    let finally = sketch.finally.then(|| builder.small_block("finally"));
    let flow = Flow {
        name: "main".into(),
        triggers: vec![Trigger::Manual],
        input: Type::Any,
        state_key: None,
        concurrency: sketch.concurrency.clone().unwrap_or_default(),
        deadline: sketch.deadline,
        durable: true,
        steps: builder.steps,
        blocks: builder.blocks,
        on_error,
        finally,
        place: Place::whole("test.yaml"),
    };
    Arc::new(around(flow))
}

/// What the executor `work` says of itself.
pub fn description() -> Description {
    Description {
        name: "work".to_owned(),
        summary: String::new(),
        input: None,
        output: None,
        config: None,
        wants: Vec::new(),
        imports: Vec::new(),
        abi: None,
        digest: Digest::of(b"work"),
        files: Vec::new(),
    }
}

fn around(flow: Flow) -> Pipeline {
    let reference = ExecutorReference {
        pipeline: "p".into(),
        name: "work".into(),
        home: Home::Builtin("work".to_owned()),
        config: Value::null(),
        grants: Grants { emit: vec!["Told".into()], ..Grants::default() },
        limits: Limits { events: 3, ..Limits::default() },
        reuse: false,
        resources: Arc::from([]),
    };
    let description = description();
    Pipeline {
        name: "p".into(),
        description: None,
        revision: Digest::of(b"p"),
        file: "test.yaml".into(),
        files: Vec::new(),
        scope: Scope::Private("p".into()),
        exports: Vec::new(),
        events: IndexMap::new(),
        resources: Arc::from([]),
        executors: vec![DeclaredExecutor { reference, description, place: Place::whole("test.yaml") }],
        state: StateSettings {
            initial: Map::from_iter([("status".to_owned(), Tree::from("idle"))]),
            types: Vec::new(),
            public: vec!["status".to_owned()],
            ..StateSettings::default()
        },
        environment: Value::null(),
        secrets: Value::null(),
        flows: vec![Arc::new(flow)],
    }
}

/// How a run of that flow began.
pub fn beginning(pipeline: &Pipeline, flow: &Flow) -> Beginning {
    Beginning {
        run: RunId::new(uuid::Uuid::from_u128(1)),
        pipeline: pipeline.name.clone(),
        flow: flow.name.clone(),
        revision: pipeline.revision,
        correlation_id: CorrelationId::new(uuid::Uuid::from_u128(2)),
        event: None,
        input: Value::null(),
        trigger: Value::null(),
        caller: Caller::default(),
        state_key: None,
        at: Timestamp::EPOCH,
        deadline: flow.deadline.map(|deadline| Timestamp::EPOCH + deadline),
        passed: Vec::new(),
    }
}
