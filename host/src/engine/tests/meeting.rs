//! Runs that meet: calls, dispatches, waits and their answers.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;

use super::{Asker, Diary, Scripted, gated, scripted, started};
use crate::bus::Bus;
use crate::clock::{Activity, SeededRandom, VirtualClock};
use crate::engine::fixture::{Sketch, description, pipeline};
use crate::engine::{Engine, Outside, Ports};
use crate::journal::memory::MemoryStore;
use crate::model::activation::{Activation, Admission, Requester, RunOutcome};
use crate::model::diagnostic::Place;
use crate::model::event::Caller;
use crate::model::failure::{Failure, FailureKind};
use crate::model::id::{EventType, FlowName, RunId, StepId};
use crate::model::job::CancelReason;
use crate::model::policy::AttemptSettings;
use crate::model::port::{Activate, Clock, Executor, Expression, Processing, Reference, Root, Scope, Sink, Store};
use crate::model::record::{BlockNumber, Fact, RefusedAnswer, StepNumber, end_of};
use crate::model::types::Type;
use crate::model::value::{Tree, Value};
use crate::plan::pipeline::{
    Concurrency, Flow, Idempotency, JobPolicy, Listen, OnError, Pipeline, Remind, RunStep, Step, Trigger, Verb, WaitStep, WhenFull, Worker,
};
use crate::plan::template::Template;
use crate::plan::{Bound, Install};
use crate::policy::Policies;

/// What an expression does.
pub type Compute = fn(&dyn Scope) -> Result<Value, Failure>;

/// An expression in Rust.
struct Native(Compute);

impl std::fmt::Debug for Native {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Native")
    }
}

impl Expression for Native {
    fn source(&self) -> &str {
        "native"
    }

    fn references(&self) -> &[Reference] {
        &[]
    }

    fn evaluate(&self, scope: &dyn Scope) -> Result<Value, Failure> {
        (self.0)(scope)
    }
}

pub fn computed(compute: Compute) -> Template {
    Template::Expression(Arc::new(Native(compute)))
}

pub fn text(text: &str) -> Template {
    Template::Literal(Value::string(text))
}

pub fn field(scope: &dyn Scope, root: Root, name: &str) -> Result<Value, Failure> {
    scope.lookup(root, Some(name)).ok_or_else(|| Failure::new(FailureKind::Invalid, format!("no {name}")))
}

pub fn flow(name: &str, verbs: Vec<(&str, Verb)>) -> Building {
    let mut building = Building { name: name.into(), steps: Vec::new(), blocks: vec![Vec::new()], cancel_on: Vec::new() };
    let main: Vec<_> = verbs.into_iter().map(|(id, verb)| building.step(id, verb)).collect();
    building.blocks[0] = main;
    building
}

pub struct Building {
    name: FlowName,
    steps: Vec<Step>,
    pub blocks: Vec<Vec<StepNumber>>,
    cancel_on: Vec<Listen>,
}

impl Building {
    pub fn step(&mut self, id: &str, verb: Verb) -> StepNumber {
        let number = StepNumber(self.steps.len() as u32);
        self.steps.push(Step {
            number,
            id: StepId::new(id),
            when: None,
            verb,
            on_error: None,
            outbox: None,
            place: Place::whole("test.yaml"),
        });
        number
    }

    /// A block of steps; `verbs` is told no numbers, so blocks of blocks are built inside out.
    pub fn block(mut self, verbs: Vec<(&str, Verb)>) -> (Self, BlockNumber) {
        let steps = verbs.into_iter().map(|(id, verb)| self.step(id, verb)).collect();
        self.blocks.push(steps);
        let number = BlockNumber(self.blocks.len() as u32 - 1);
        (self, number)
    }

    fn heal(mut self, step: usize) -> Self {
        self.steps[step].on_error = Some(OnError::Ignore);
        self
    }

    fn done(self, concurrency: Concurrency) -> Arc<Flow> {
        Arc::new(Flow {
            name: self.name,
            triggers: vec![Trigger::Manual],
            input: Type::Any,
            state_key: None,
            concurrency,
            deadline: None,
            durable: true,
            steps: self.steps,
            blocks: self.blocks,
            on_error: None,
            finally: None,
            cancel_on: self.cancel_on,
            idempotency: None,
            written: Vec::new(),
            place: Place::whole("test.yaml"),
        })
    }
}

pub fn plan(flows: Vec<Building>) -> Pipeline {
    let mut pipeline = Arc::into_inner(pipeline(&Sketch::of(1))).expect("nobody else has it");
    pipeline.flows = flows.into_iter().map(|flow| flow.done(Concurrency::default())).collect();
    pipeline
}

pub fn runs(worker: Worker, with: Option<Template>) -> Verb {
    Verb::Run(Box::new(RunStep {
        origins: Vec::new(),
        worker,
        undo: None,
        optimistic: Vec::new(),
        with,
        policy: JobPolicy::default(),
        attempt: AttemptSettings::default(),
        emits: None,
        stream: true,
        on_progress: Vec::new(),
        output: None,
    }))
}

pub fn work() -> Verb {
    runs(Worker::Executor(0), None)
}

pub fn call(flow: &str) -> Verb {
    runs(Worker::Flow { pipeline: "p".into(), flow: flow.into() }, Some(text("asked")))
}

/// Waits an hour for `Answer` about 7.
pub fn wait(guard: Option<Compute>, on_timeout: BlockNumber, remind: Option<Remind>) -> Verb {
    Verb::Wait(Box::new(WaitStep {
        listen: listen(7),
        guard: guard.map(|guard| Arc::new(Native(guard)) as Arc<dyn Expression>),
        timeout: text("1h"),
        on_timeout,
        remind,
    }))
}

pub fn listen(request: i64) -> Listen {
    let value = Template::Literal(Value::from(Tree::Int(request)));
    Listen { types: vec!["Answer".into()], matching: vec![("request".to_owned(), value)] }
}

pub fn answer(request: i64) -> Value {
    Value::map([("request", Value::from(Tree::Int(request)))])
}

pub struct World {
    pub engine: Engine,
    pub clock: VirtualClock,
    pub diary: Arc<Diary>,
    pub activity: Activity,
}

impl World {
    fn new(pipeline: Pipeline, executor: &Arc<Scripted>) -> Self {
        Self::on(Arc::new(MemoryStore::new()), Arc::new(pipeline), executor, 1)
    }

    /// Hosts on one store have seeds of their own, or they would make the same ids.
    pub fn on(store: Arc<dyn Store>, pipeline: Arc<Pipeline>, executor: &Arc<Scripted>, seed: u64) -> Self {
        let activity = Activity::new();
        let diary = Arc::new(Diary::default());
        let clock = VirtualClock::new(activity.clone());
        let shared_clock: Arc<dyn Clock> = Arc::new(clock.clone());
        let sink = Arc::clone(&diary) as Arc<dyn Sink>;
        let engine = Engine::new(Ports {
            store,
            clock: Arc::clone(&shared_clock),
            random: Arc::new(SeededRandom::new(seed)),
            sink: Arc::clone(&sink),
            policies: Policies::counted_by(Arc::clone(&shared_clock), Arc::clone(&sink), activity.clone()),
            bus: Bus::counted_by(shared_clock, sink, activity.clone()),
            activity: activity.clone(),
        });
        let executors = vec![Arc::clone(executor) as Arc<dyn Executor>];
        engine.install(vec![Arc::new(Bound { pipeline, executors })]);
        Self { engine, clock, diary, activity }
    }

    pub async fn ask(&self, flow: &str) -> (RunId, Arc<Asker>) {
        let asker = Arc::new(Asker::default());
        let activation = Activation {
            caller: Caller { id: Some("ada".to_owned()), roles: Vec::new() },
            requester: Some(Arc::clone(&asker) as Arc<dyn Requester>),
            ..Activation::new("p", flow, Value::null())
        };
        let admission = self.engine.activate(activation).await;
        assert!(matches!(admission, Admission::Started(_) | Admission::Queued(_)), "{admission:?}");
        (started(&admission), asker)
    }

    async fn end(&self, flow: &str) -> (RunId, Vec<String>) {
        let (run, asker) = self.ask(flow).await;
        self.clock.run(asker.ended.notified()).await;
        (run, asker.heard())
    }

    pub async fn emit(&self, request: i64, who: &str) -> Vec<String> {
        let caller = Caller { id: Some(who.to_owned()), roles: Vec::new() };
        let outside =
            Outside { pipeline: "p".into(), event_type: EventType::new("Answer"), data: answer(request), caller, correlation_id: None };
        let emitted = self.engine.emit(outside).await.expect("the pipeline is there");
        emitted.refused.iter().map(|(_, reason)| reason.as_str().to_owned()).collect()
    }

    async fn facts(&self, run: RunId) -> Vec<Fact> {
        self.engine.facts(run).await.expect("the store is good")
    }

    pub async fn until_waiting(&self, count: usize) {
        while self.diary.count("waiting") < count {
            tokio::task::yield_now().await;
        }
    }
}

fn quick() -> Arc<Scripted> {
    scripted(|job, _| async move { Ok(Value::string(format!("{} did {}", job.flow, job.input.text()))) }.boxed())
}

fn never() -> Processing<'static> {
    std::future::pending().boxed()
}

#[tokio::test]
async fn a_call_is_the_reply_of_the_called_flow_or_else_its_last_output() {
    let echo = |scope: &dyn Scope| field(scope, Root::Steps, "called");
    let main = |callee| vec![("called", call(callee)), ("reply", Verb::Reply(computed(echo)))];
    let flows = vec![
        flow("first", main("replies")),
        flow("second", main("works")),
        flow("replies", vec![("r", Verb::Reply(text("the reply"))), ("w", work())]),
        flow(
            "works",
            vec![(
                "w",
                runs(
                    Worker::Executor(0),
                    Some(computed(|scope| scope.lookup(Root::Input, None).ok_or_else(|| Failure::new(FailureKind::Bug, "no input")))),
                ),
            )],
        ),
    ];
    let world = World::new(plan(flows), &quick());
    assert_eq!(world.end("first").await.1, [r#"reply "the reply""#, "end succeeded"]);
    assert_eq!(world.end("second").await.1, [r#"reply "works did \"asked\"""#, "end succeeded"]);
    assert_eq!(world.diary.count("run succeeded"), 4);
}

#[tokio::test]
async fn a_call_fails_with_the_failure_of_the_called_flow_and_names_it() {
    let flows = vec![flow("main", vec![("called", call("callee"))]), flow("callee", vec![("w", work())])];
    let executor = scripted(|_, _| async { Err(Failure::new(FailureKind::Conflict, "taken").with_code("seat")) }.boxed());
    let world = World::new(plan(flows), &executor);
    let (run, heard) = world.end("main").await;
    assert_eq!(heard, ["end failed"]);
    let facts = world.facts(run).await;
    let failure = facts.iter().find_map(|fact| match fact {
        Fact::Ended { outcome, .. } => outcome.failure().cloned(),
        _ => None,
    });
    let failure = failure.expect("it failed");
    assert_eq!((failure.kind, failure.code.as_deref()), (FailureKind::Conflict, Some("seat")));
    assert_eq!((failure.message.as_str(), failure.step.as_ref().map(StepId::as_str)), ("p.callee: taken", Some("called")));
}

#[tokio::test]
async fn cancelling_a_run_cancels_the_flow_that_it_calls() {
    let flows = vec![flow("main", vec![("called", call("callee"))]), flow("callee", vec![("w", work())])];
    let world = World::new(plan(flows), &scripted(|_, _| never()));
    let (run, asker) = world.ask("main").await;
    while world.engine.running().len() < 2 {
        tokio::task::yield_now().await;
    }
    world.engine.cancel(run, CancelReason::Requested);
    asker.ended.notified().await;
    world.engine.quiet().await;
    assert_eq!((world.diary.count("run cancelled"), world.diary.count("job cancelled")), (2, 2));
}

#[tokio::test]
async fn a_called_flow_that_is_cancelled_fails_the_call_as_cancelled() {
    let flows = vec![flow("main", vec![("called", call("callee"))]).heal(0), flow("callee", vec![("w", work())])];
    let world = World::new(plan(flows), &scripted(|_, _| never()));
    let (run, asker) = world.ask("main").await;
    let callee = loop {
        if let Some(view) = world.engine.running().into_iter().find(|view| view.run != run) {
            break view.run;
        }
        tokio::task::yield_now().await;
    };
    world.engine.cancel(callee, CancelReason::Requested);
    asker.ended.notified().await;
    assert_eq!(asker.heard(), ["end succeeded"], "the step's on_error heals it");
    assert_eq!(world.diary.count("job cancelled"), 2);
}

#[tokio::test]
async fn flows_that_call_each_other_in_circles_end() {
    let world = World::new(plan(vec![flow("main", vec![("again", call("main"))])]), &quick());
    assert_eq!(world.end("main").await.1, ["end failed"]);
    assert!(world.diary.lines().iter().any(|line| line.starts_with("refused") && line.contains("is not started again")));
}

#[tokio::test]
async fn a_dispatched_step_outlives_its_run_and_its_failure_is_its_own() {
    let go = Arc::new(tokio::sync::Notify::new());
    let inside = Arc::clone(&go);
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let calls = Arc::clone(&seen);
    let executor = scripted(move |job, _| {
        calls.lock().unwrap().push(format!("{} {}", job.input.text(), job.key() == job.run.to_string()));
        let go = Arc::clone(&inside);
        async move {
            go.notified().await;
            Err(Failure::new(FailureKind::Permanent, "lost"))
        }
        .boxed()
    });
    let (main, block) = flow("main", Vec::new()).block(vec![("notify", runs(Worker::Executor(0), Some(text("letter"))))]);
    let mut main = main;
    let sent = main.step("sent", Verb::Dispatch(block));
    main.blocks[0] = vec![sent];
    let world = World::new(plan(vec![main]), &executor);
    let (run, heard) = world.end("main").await;
    assert_eq!(heard, ["end succeeded"]);
    go.notify_one();
    world.engine.quiet().await;
    assert_eq!(*seen.lock().unwrap(), [r#""letter" true"#]);
    assert_eq!((world.diary.count("run succeeded"), world.diary.count("run failed")), (1, 1));
    let facts = world.facts(run).await;
    let id = facts.iter().find_map(|fact| match fact {
        Fact::Dispatched { run, .. } => Some(*run),
        _ => None,
    });
    assert_eq!(id, Some(RunId::dispatched_by(run, 0, sent.0)));
    assert!(matches!(world.facts(id.expect("it was dispatched")).await.last(), Some(Fact::Ended { .. })));
}

/// A flow without steps, with a block for `on_timeout` and a reminder after ten minutes.
pub fn listening_flow(name: &str) -> (Building, BlockNumber, Option<Remind>) {
    let (flow, on_timeout) = flow(name, Vec::new()).block(vec![("gave_up", work())]);
    let (flow, block) = flow.block(vec![("remind", work())]);
    (flow, on_timeout, Some(Remind { after: vec![Duration::from_secs(600)], block }))
}

fn waiting(guard: Option<Compute>, remind: Option<Vec<Duration>>) -> Building {
    let (flow, on_timeout) = flow("main", Vec::new()).block(vec![("gave_up", work())]);
    let (mut flow, reminder) = flow.block(vec![("remind", work())]);
    let verb = wait(guard, on_timeout, remind.map(|after| Remind { after, block: reminder }));
    let step = flow.step("approval", verb);
    let reply = flow.step("reply", Verb::Reply(computed(|scope| field(scope, Root::Steps, "approval"))));
    flow.blocks[0] = vec![step, reply];
    flow
}

#[tokio::test]
async fn a_wait_takes_the_event_that_it_waits_for_and_a_second_one_is_double() {
    let world = World::new(plan(vec![waiting(None, None)]), &quick());
    let (_, asker) = world.ask("main").await;
    world.until_waiting(1).await;
    assert!(world.emit(8, "bob").await.is_empty(), "nobody waits for 8");
    assert!(world.emit(7, "bob").await.is_empty());
    asker.ended.notified().await;
    let heard = asker.heard();
    assert!(heard[0].contains(r#""caller":{"id":"bob","roles":[]}"#), "{heard:?}");
    assert_eq!(world.emit(7, "bob").await, ["double"]);
}

#[tokio::test]
async fn answers_after_the_end_stand_in_the_history_of_the_run_up_to_a_bound() {
    let world = World::new(plan(vec![waiting(None, None)]), &quick());
    let (run, asker) = world.ask("main").await;
    world.until_waiting(1).await;
    assert!(world.emit(7, "bob").await.is_empty());
    asker.ended.notified().await;
    let before = world.facts(run).await.len();
    for count in 1..=70 {
        assert_eq!(world.emit(7, "ada").await, ["double"]);
        let facts = world.facts(run).await;
        assert_eq!((facts.len() - before, end_of(&facts)), (count.min(64), Some(&RunOutcome::Succeeded)));
        let Some(Fact::AnswerRefused { event, reason: RefusedAnswer::Double, .. }) = facts.last() else { panic!("{facts:?}") };
        assert_eq!(event.caller.id.as_deref(), Some("ada"));
    }
}

#[tokio::test]
async fn a_guard_refuses_and_the_wait_goes_on() {
    let guard = |scope: &dyn Scope| {
        let event = scope.lookup(Root::Event, None).expect("there is an event");
        let caller = event.field("caller").and_then(|caller| caller.field("id"));
        Ok(Value::from(Tree::Bool(caller.is_some_and(|id| id.tree().as_text() != Some("ada")))))
    };
    let world = World::new(plan(vec![waiting(Some(guard), None)]), &quick());
    let (run, asker) = world.ask("main").await;
    world.until_waiting(1).await;
    assert_eq!(world.emit(7, "ada").await, ["guard"]);
    assert!(world.emit(7, "bob").await.is_empty());
    asker.ended.notified().await;
    let facts = world.facts(run).await;
    assert_eq!(facts.iter().filter(|fact| matches!(fact, Fact::AnswerRefused { .. })).count(), 1);
    assert_eq!(facts.iter().filter(|fact| matches!(fact, Fact::WaitEnded { event: Some(_), .. })).count(), 1);
}

#[tokio::test]
async fn a_wait_that_nobody_answers_does_its_on_timeout_and_is_null() {
    let executor = quick();
    let world = World::new(plan(vec![waiting(None, None)]), &executor);
    let (_, heard) = world.end("main").await;
    assert_eq!(heard, ["reply null", "end succeeded"]);
    assert_eq!((executor.calls.load(Ordering::SeqCst), world.clock.now().as_millis()), (1, 3_600_000));
    assert_eq!(world.emit(7, "bob").await, ["late"]);
}

#[tokio::test]
async fn reminders_come_while_the_wait_goes_on_and_their_failure_does_not_end_it() {
    let executor = scripted(|_, _| async { Err(Failure::new(FailureKind::Permanent, "no mail today")) }.boxed());
    let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
    let world = World::new(plan(vec![waiting(None, Some(vec![minutes(10), minutes(30)]))]), &executor);
    let (_, asker) = world.ask("main").await;
    world.clock.advance(minutes(45)).await;
    assert_eq!(executor.calls.load(Ordering::SeqCst), 2);
    assert!(world.emit(7, "bob").await.is_empty());
    asker.ended.notified().await;
    assert_eq!(asker.heard().last().map(String::as_str), Some("end succeeded"));
}

#[tokio::test]
async fn the_end_of_a_wait_cancels_a_reminder_that_is_under_way() {
    let world = World::new(plan(vec![waiting(None, Some(vec![Duration::from_secs(60)]))]), &scripted(|_, _| never()));
    let (_, asker) = world.ask("main").await;
    world.until_waiting(1).await;
    let advance = world.clock.clone();
    let ticking = tokio::spawn(async move { advance.advance(Duration::from_secs(60)).await });
    while world.diary.count("reminded") == 0 {
        tokio::task::yield_now().await;
    }
    assert!(world.emit(7, "bob").await.is_empty());
    asker.ended.notified().await;
    assert_eq!(world.diary.count("job cancelled"), 1);
    ticking.await.expect("no panic");
}

#[tokio::test]
async fn an_emit_step_takes_part_and_is_told_who_refused() {
    let say = Verb::Emit(vec![("Answer".into(), Template::Literal(answer(7)))]);
    let again = Verb::Emit(vec![("Answer".into(), Template::Literal(answer(7)))]);
    let reply = Verb::Reply(computed(|scope| field(scope, Root::Steps, "again")));
    let sender = flow("sender", vec![("say", say), ("again", again), ("reply", reply)]);
    let world = World::new(plan(vec![waiting(None, None), sender]), &quick());
    let (waiting, asker) = world.ask("main").await;
    world.until_waiting(1).await;
    let (_, heard) = world.end("sender").await;
    assert!(heard[0].contains(&format!(r#""refused":[{{"run":"{waiting}","reason":"double"}}]"#)), "{heard:?}");
    asker.ended.notified().await;
}

#[tokio::test]
async fn a_run_takes_its_own_event_and_one_that_came_before_it_waited() {
    let mut main = waiting(None, None);
    let say = main.step("say", Verb::Emit(vec![("Answer".into(), Template::Literal(answer(7)))]));
    main.blocks[0].insert(0, say);
    let world = World::new(plan(vec![main]), &quick());
    let (_, heard) = world.end("main").await;
    assert!(heard[0].starts_with(r#"reply {"id""#), "{heard:?}");
    assert_eq!(world.clock.now().as_millis(), 0);
}

#[tokio::test]
async fn cancel_ends_a_wait_at_once_and_leaves_nothing_to_find() {
    let world = World::new(plan(vec![waiting(None, None)]), &quick());
    let (run, asker) = world.ask("main").await;
    world.until_waiting(1).await;
    world.engine.cancel(run, CancelReason::Requested);
    asker.ended.notified().await;
    assert_eq!(asker.heard(), ["end cancelled"]);
    assert_eq!(world.emit(7, "bob").await, ["late"]);
}

#[tokio::test]
async fn an_event_that_cancel_on_names_cancels_the_run() {
    let mut main = flow("main", vec![("w", work())]);
    main.cancel_on = vec![listen(7)];
    let world = World::new(plan(vec![main]), &scripted(|_, _| never()));
    let (run, asker) = world.ask("main").await;
    assert!(world.emit(8, "bob").await.is_empty());
    assert!(world.emit(7, "bob").await.is_empty());
    asker.ended.notified().await;
    let facts = world.facts(run).await;
    assert!(matches!(facts.last(), Some(Fact::Ended { outcome, .. }) if format!("{outcome:?}").contains("Event")), "{facts:?}");
}

#[tokio::test]
async fn a_repeated_request_joins_the_first_and_then_gets_its_result() {
    let go = Arc::new(tokio::sync::Notify::new());
    let executor = gated(&go, Ok(Value::null()));
    let mut pipeline = plan(vec![flow("main", vec![("w", work()), ("reply", Verb::Reply(text("once")))])]);
    let first = pipeline.flows.first_mut().and_then(Arc::get_mut).expect("nobody else has it");
    first.idempotency = Some(Idempotency { key: text("order-1"), retention: Duration::from_secs(3_600) });
    let world = World::new(pipeline, &executor);
    let ((run, first), (again, second)) = (world.ask("main").await, world.ask("main").await);
    assert_eq!(run, again);
    go.notify_one();
    first.ended.notified().await;
    second.ended.notified().await;
    let (third_run, third) = world.ask("main").await;
    third.ended.notified().await;
    assert_eq!(third_run, run);
    for asker in [first, second, third] {
        assert_eq!(asker.heard(), [r#"reply "once""#, "end succeeded"]);
    }
    assert_eq!(executor.calls.load(Ordering::SeqCst), 1);
    world.clock.advance(Duration::from_secs(3_600)).await;
    assert_ne!(world.ask("main").await.0, run, "the retention is over");
}

#[tokio::test]
async fn a_request_that_failed_may_be_repeated() {
    let executor = scripted(|_, _| async { Err(Failure::new(FailureKind::Permanent, "lost")) }.boxed());
    let mut pipeline = plan(vec![flow("main", vec![("w", work())])]);
    let first = pipeline.flows.first_mut().and_then(Arc::get_mut).expect("nobody else has it");
    first.idempotency = Some(Idempotency { key: text("order-1"), retention: Duration::from_secs(3_600) });
    let world = World::new(pipeline, &executor);
    world.end("main").await;
    world.end("main").await;
    assert_eq!(executor.calls.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_call_waits_at_the_door_of_the_flow_that_it_calls() {
    let mut pipeline = plan(vec![flow("main", vec![("called", call("callee"))])]);
    let one = Concurrency { max_concurrent: 1, when_full: WhenFull::Reject, ..Concurrency::default() };
    pipeline.flows.push(flow("callee", vec![("w", work())]).done(one));
    let world = World::new(pipeline, &scripted(|_, _| never()));
    let (_, _) = world.ask("callee").await;
    let (_, heard) = world.end("main").await;
    assert_eq!(heard, ["end failed"]);
    assert_eq!(description().name, "work");
}
