//! Small plans for the engine's own tests, built by hand: the loader is another room's.

use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;

use crate::model::bundle::Bundle;
use crate::model::diagnostic::Place;
use crate::model::event::{Caller, Scope};
use crate::model::executor::{Description, ExecutorReference, Home};
use crate::model::failure::{Failure, FailureKind};
use crate::model::fixture;
use crate::model::grant::{Grants, Limits};
use crate::model::id::{CorrelationId, Digest, RunId, StepId};
use crate::model::job::Job;
use crate::model::policy::{AttemptSettings, BreakerSettings, CacheSettings, DedupSettings, PolicyIdentity, ProbeSettings, RetrySettings};
use crate::model::port::{Expression, Reference, Root, Scope as Scoped};
use crate::model::record::{Beginning, BlockNumber, StepNumber};
use crate::model::time::Timestamp;
use crate::model::types::Type;
use crate::model::value::{Map, Tree, Value};
use crate::plan::pipeline::{
    Cache, Case, Concurrency, DeclaredExecutor, Each, Fail, Fallback, Flow, JobPolicy, Join, Keyed, OnError, Parallel, Pipeline, Retry,
    RunStep, StandIn, StateSettings, Step, Trigger, Undo, Verb, Worker,
};
use crate::plan::template::Template;

/// What a cached step keeps.
const CACHE: CacheSettings = CacheSettings { ttl: Duration::from_secs(60), stale: Duration::from_secs(60), max_entries: 9 };

/// A flow in a few words.
#[derive(Clone, Debug, Default)]
pub struct Sketch {
    pub steps: Vec<SketchStep>,
    pub on_error: bool,
    pub finally: bool,
    pub deadline: Option<Duration>,
    pub concurrency: Option<Concurrency>,
    /// `durable: false`.
    pub volatile: bool,
}

impl Sketch {
    pub fn of(steps: usize) -> Self {
        Self { steps: vec![SketchStep::default(); steps], ..Self::default() }
    }
}

/// What a step does.
#[derive(Clone, Debug, Default)]
pub enum Shape {
    /// `run: work`.
    #[default]
    Run,
    /// `sleep`, for so many seconds.
    Sleep(u64),
    /// `fail`, as permanent.
    Fail,
    /// `switch`: conditions, where none is `else`, and steps.
    Switch(Vec<(Option<bool>, Vec<SketchStep>)>),
    /// `parallel`.
    Parallel(Join, Vec<Vec<SketchStep>>),
    /// `each`; the item is called `item`.
    Each { over: Says, max_concurrent: u32, steps: Vec<SketchStep> },
}

/// An expression in a few words.
#[derive(Clone, Debug)]
pub enum Says {
    /// This value.
    This(Value),
    /// What is there under this name.
    Reads(Root, &'static str),
    /// The output of the step round about.
    Own,
    /// Nothing: it fails.
    Fails,
}

impl Default for Says {
    fn default() -> Self {
        Self::This(Value::null())
    }
}

#[derive(Debug)]
struct Said {
    says: Says,
    /// The step that `Own` reads.
    own: String,
}

impl Expression for Said {
    fn source(&self) -> &str {
        "said"
    }

    fn references(&self) -> &[Reference] {
        &[]
    }

    fn evaluate(&self, scope: &dyn Scoped) -> Result<Value, Failure> {
        let missing = || Failure::new(FailureKind::Invalid, "there is no such name");
        match &self.says {
            Says::This(value) => Ok(value.clone()),
            Says::Reads(root, field) => scope.lookup(*root, Some(field)).ok_or_else(missing),
            Says::Own => scope.lookup(Root::Steps, Some(&self.own)).ok_or_else(missing),
            Says::Fails => Err(Failure::new(FailureKind::Invalid, "it fails, as scripted").with_code("scripted")),
        }
    }
}

/// A step in a few words.
#[derive(Clone, Debug, Default)]
pub struct SketchStep {
    pub shape: Shape,
    /// The job's input.
    pub with: Option<Says>,
    /// Not undone, undone with this once it is done, or (true) once it is tried too.
    pub undo: Option<(Says, bool)>,
    pub retries: Option<u32>,
    pub deadline: Option<Duration>,
    /// Healed by nothing, by `ignore` (false) or by a step (true).
    pub heal: Option<bool>,
    /// No fallback, a value (false) or a step (true).
    pub fallback: Option<bool>,
    pub dedup: bool,
    pub cache: bool,
    /// Whether the state says `sending` from its dispatch on, and no longer if it does not succeed.
    pub optimistic: bool,
    /// Whether one failure opens its breaker, which `work` itself is asked about every ten seconds, as the step `probe`.
    pub probe: bool,
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
    fn block_of(&mut self, prefix: &str, sketches: &[SketchStep]) -> BlockNumber {
        let steps = self.steps_of(prefix, sketches);
        self.block(steps)
    }

    fn steps_of(&mut self, prefix: &str, sketches: &[SketchStep]) -> Vec<StepNumber> {
        let mut steps = Vec::new();
        for (index, step) in sketches.iter().enumerate() {
            if step.set {
                let fields = vec![("status".to_owned(), Template::Literal(Value::string("busy")))];
                steps.push(self.step(&format!("{prefix}set{index}"), Verb::Set(fields), None));
            }
            let heal = step.heal.map(|by_steps| match by_steps {
                true => OnError::Steps(self.small_block(&format!("{prefix}heal{index}"))),
                false => OnError::Ignore,
            });
            let id = format!("{prefix}s{index}");
            let verb = self.verb(&id, &format!("{prefix}fallback{index}"), step);
            steps.push(self.step(&id, verb, heal));
        }
        steps
    }

    fn verb(&mut self, id: &str, fallback: &str, sketch: &SketchStep) -> Verb {
        match &sketch.shape {
            Shape::Run => {
                let policy = self.policy(id, fallback, sketch);
                let undo = sketch.undo.as_ref().map(|(says, on_attempt)| {
                    let undoing = SketchStep { with: Some(says.clone()), retries: sketch.retries, ..SketchStep::default() };
                    let policy = self.policy(id, fallback, &undoing);
                    let step = self.step(&format!("{id}_undo"), run(id, policy, &undoing, None), None);
                    Undo { block: self.block(vec![step]), on_attempt: *on_attempt }
                });
                run(id, policy, sketch, undo)
            }
            Shape::Sleep(seconds) => Verb::Sleep(Template::Literal(Value::string(format!("{seconds}s")))),
            Shape::Fail => {
                let message = Template::Literal(Value::string("as sketched"));
                Verb::Fail(Fail::New { kind: FailureKind::Permanent, code: None, message })
            }
            Shape::Switch(cases) => Verb::Switch(
                cases
                    .iter()
                    .enumerate()
                    .map(|(place, (when, steps))| {
                        let when = when.map(|when| said(id, Says::This(Value::from(Tree::Bool(when)))));
                        Case { when, block: self.block_of(&format!("{id}c{place}"), steps) }
                    })
                    .collect(),
            ),
            Shape::Parallel(join, branches) => {
                let branch = |(place, steps): (usize, &Vec<SketchStep>)| {
                    let name = format!("b{place}");
                    (name.clone(), self.block_of(&format!("{id}{name}"), steps))
                };
                Verb::Parallel(Parallel { branches: branches.iter().enumerate().map(branch).collect(), join: *join })
            }
            Shape::Each { over, max_concurrent, steps } => Verb::Each(Box::new(Each {
                over: said(id, over.clone()),
                name: "item".to_owned(),
                max_concurrent: *max_concurrent,
                block: self.block_of(&format!("{id}e"), steps),
            })),
        }
    }

    fn policy(&mut self, id: &str, fallback: &str, step: &SketchStep) -> JobPolicy {
        let fallback = step.fallback.map(|by_steps| Fallback {
            when: None,
            stand_in: match by_steps {
                true => StandIn::Steps(self.small_block(fallback)),
                false => StandIn::Value(Template::Literal(Value::null())),
            },
        });
        let identity = PolicyIdentity::Step { pipeline: "p".into(), flow: "main".into(), step: id.to_owned() };
        let key = Template::Literal(Value::string("key"));
        let cached = Keyed { identity: identity.clone(), key: key.clone(), settings: CACHE };
        JobPolicy {
            fallback,
            dedup: step.dedup.then(|| Keyed { identity, key, settings: DedupSettings::default() }),
            cache: step.cache.then(|| Cache { keyed: cached, tags: None }),
            deadline: step.deadline,
            retry: step
                .retries
                .map(|max_retries| Retry { settings: RetrySettings { max_retries, ..RetrySettings::default() }, should_retry: None }),
        }
    }

    fn step(&mut self, id: &str, verb: Verb, on_error: Option<OnError>) -> StepNumber {
        let number = StepNumber(u32::try_from(self.steps.len()).unwrap_or(u32::MAX));
        let id = StepId::new(id);
        self.steps.push(Step { number, id, when: None, verb, on_error, outbox: None, place: Place::whole("test.yaml") });
        number
    }

    fn block(&mut self, steps: Vec<StepNumber>) -> BlockNumber {
        self.blocks.push(steps);
        BlockNumber(u32::try_from(self.blocks.len() - 1).unwrap_or(u32::MAX))
    }

    fn small_block(&mut self, id: &str) -> BlockNumber {
        let step = self.step(id, run(id, JobPolicy::default(), &SketchStep::default(), None), None);
        self.block(vec![step])
    }
}

fn said(id: &str, says: Says) -> Arc<dyn Expression> {
    Arc::new(Said { says, own: id.to_owned() })
}

fn run(id: &str, policy: JobPolicy, sketch: &SketchStep, undo: Option<Undo>) -> Verb {
    let status = |status: &str| vec![("status".to_owned(), Template::Literal(Value::string(status)))];
    Verb::Run(Box::new(RunStep {
        worker: Worker::Executor(0),
        undo,
        optimistic: if sketch.optimistic { status("sending") } else { Vec::new() },
        with: sketch.with.clone().map(|says| Template::Expression(said(id, says))),
        policy,
        attempt: if sketch.probe { probed() } else { AttemptSettings::default() },
        emits: sketch.emits.then(|| "Done".into()),
        stream: sketch.stream,
        on_progress: if sketch.stream { vec![status("working")] } else { Vec::new() },
        output: None,
        origins: Vec::new(),
    }))
}

fn probed() -> AttemptSettings {
    let identity = PolicyIdentity::Named { owner: "p".into(), policy: "api".into() };
    let every = Duration::from_secs(10);
    AttemptSettings {
        breaker: Some((identity, BreakerSettings { failures: 1, probe_every: Some(every), ..BreakerSettings::default() })),
        probe: Some(ProbeSettings { executor: 0, input: Value::null(), every }),
        ..AttemptSettings::default()
    }
}

/// A pipeline with one executor, `work`, and one flow after the sketch.
pub fn pipeline(sketch: &Sketch) -> Arc<Pipeline> {
    let mut builder = Builder { blocks: vec![Vec::new()], ..Builder::default() };
    let main = builder.steps_of("", &sketch.steps);
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
        durable: !sketch.volatile,
        steps: builder.steps,
        blocks: builder.blocks,
        on_error,
        finally,
        cancel_on: Vec::new(),
        idempotency: None,
        place: Place::whole("test.yaml"),
        written: Vec::new(),
    };
    Arc::new(around(flow))
}

/// A job of the pipeline that no run has dispatched.
pub fn job() -> Job {
    Job { step: "s0".into(), executor: "work".into(), ..fixture::job(Value::null()) }
}

/// What the executor `work` says of itself.
pub fn description() -> Description {
    Description::new("work", Digest::of(b"work"))
}

fn around(flow: Flow) -> Pipeline {
    let reference = ExecutorReference {
        grants: Grants { emit: vec!["Told".into()], ..Grants::default() },
        limits: Limits { events: 3, ..Limits::default() },
        ..ExecutorReference::new("p", "work", Home::Builtin("work".to_owned()))
    };
    let description = description();
    Pipeline {
        name: "p".into(),
        description: None,
        revision: Digest::of(b"p"),
        bundle: Bundle::of_nothing("p".into(), Digest::of(b"p")),
        file: "test.yaml".into(),
        files: Vec::new(),
        scope: Scope::Private("p".into()),
        exports: Vec::new(),
        events: IndexMap::new(),
        resources: Arc::from([]),
        executors: vec![DeclaredExecutor {
            reference,
            description,
            place: Place::whole("test.yaml"),
            written: Vec::new(),
            outside: Vec::new(),
        }],
        state: StateSettings {
            initial: Map::from_iter([("status".to_owned(), Tree::from("idle"))]),
            types: Vec::new(),
            public: vec!["status".to_owned()],
            ..StateSettings::default()
        },
        environment: Value::null(),
        secrets: Value::null(),
        flows: vec![Arc::new(flow)],
        caches: Vec::new(),
        tests: Arc::from([]),
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
        parent: None,
        part: None,
        retry_of: None,
    }
}

/// Barks when a test takes more than five minutes: what should take some seconds takes the square of something, or hangs.
pub fn within_minutes(test: impl FnOnce() + Send + 'static) {
    let (done, over) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        test();
        let _ = done.send(());
    });
    over.recv_timeout(Duration::from_secs(300)).expect("it is over within five minutes, and did not panic");
}
