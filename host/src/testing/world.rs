//! One test being done: an engine of its own with a clock of its own, and the steps of the test one after the other.

mod installing;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};
use uuid::Uuid;

use crate::clock::{Activity, RealClock, SeededRandom, VirtualClock};
use crate::engine::{Engine, Outside};
use crate::executor::registry::Registry;
use crate::model::activation::{Activation, Admission, Requester};
use crate::model::diagnostic::{Diagnostic, Place};
use crate::model::event::Caller;
use crate::model::id::{EventType, FlowName, PipelineName};
use crate::model::job::CancelReason;
use crate::model::port::{Activate, Clock, Random, Root, Scope, Sleep, Store};
use crate::model::time::Timestamp;
use crate::model::value::Value;
use crate::plan::cases::{Action, Deed, Written};
use crate::plan::pipeline::{Pipeline, Plan};
use crate::plan::template::Template;
use crate::plan::{codes, diff, load, misfits};

use super::cliff::Cliff;
use super::compare::{Difference, compare};
use super::coverage::Walked;
use super::double::{CaseOf, Stage};
use super::keeping::TestStore;
use super::observed::View;
use super::real::{OwnRegistry, secrets};
use super::suite::Prepared;
use super::witness::{Asker, SeenEnd, Witness};
use installing::host;

/// When every test begins: 2026-01-01T00:00:00Z.
const BEGINNING: Timestamp = Timestamp::from_nanos(1_767_225_600_000_000_000);

/// What came of a test.
#[derive(Debug)]
pub(super) struct Done {
    /// How much virtual time passed.
    pub(super) elapsed: Duration,
    /// Everything that is wrong; empty if it passed.
    pub(super) mistakes: Vec<Diagnostic>,
    /// Where what was seen is not what was expected.
    pub(super) differences: Vec<Difference>,
    /// The steps and branches that were taken.
    pub(super) walked: Walked,
}

/// Does one test; after so much real time it is given up. Each life of the host has a runtime of its own: a kill ends all its tasks at once,
/// wherever they are, and whatever the test leaves behind ends with it.
///
/// # Errors
/// No runtime or no store can be had.
pub(super) fn run(prepared: &Prepared, case: CaseOf, pure: &Registry, watchdog: Duration) -> std::io::Result<Done> {
    let real = RealClock::new();
    let late = real.now() + watchdog;
    let mut world = World::new(prepared, case, pure)?;
    loop {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let life = runtime.block_on(async { world.live(real.sleep_until(late)).await });
        runtime.shutdown_background();
        match life {
            Life::Killed => world.revive()?,
            Life::Over => return Ok(world.done()),
            Life::Late => {
                let message = format!("the test did not end within {}s of real time", watchdog.as_secs());
                let help = "look for runs that start each other without end, or for an executor that runs for real and takes too long";
                world.mistake(codes::NO_END, &world.stage.case.case().place.clone(), message, help);
                return Ok(world.done());
            }
        }
    }
}

/// How a life of the host ended.
enum Life {
    /// The test is done.
    Over,
    /// It was killed, and is to start anew.
    Killed,
    /// It took too long.
    Late,
}

/// A test must not go on.
struct Halt;

struct World<'a> {
    prepared: &'a Prepared,
    store: TestStore,
    cliff: Arc<Cliff>,
    /// The number of the action that is next.
    next: usize,
    /// Until when an `advance` goes that was begun.
    until: Option<Timestamp>,
    /// Whether the host was killed: then it has something to take up.
    reborn: bool,
    /// Whether that was where `crash_after` says.
    fell: bool,
    stage: Arc<Stage>,
    pure: &'a Registry,
    own: Option<OwnRegistry>,
    engine: Engine,
    random: Arc<SeededRandom>,
    plan: Plan,
    /// Every pipeline that was in force, the newest last.
    pipelines: Vec<Arc<Pipeline>>,
    mistakes: Vec<Diagnostic>,
    differences: Vec<Difference>,
}

impl<'a> World<'a> {
    fn new(prepared: &'a Prepared, case: CaseOf, pure: &'a Registry) -> std::io::Result<Self> {
        let activity = Activity::new();
        let clock = VirtualClock::starting_at(BEGINNING, activity.clone());
        let witness = Arc::new(Witness::default());
        let stage = Arc::new(Stage::new(case, clock.clone(), activity.clone(), Arc::clone(&witness)));
        let random = Arc::new(SeededRandom::new(1));
        let mut store = TestStore::new(prepared.store)?;
        let cliff = Arc::new(Cliff::new(stage.points()));
        let opened = open(&mut store, &stage, prepared)?;
        let engine = host(&stage, &random, opened, &cliff);
        Ok(Self {
            prepared,
            store,
            cliff,
            next: 0,
            until: None,
            reborn: false,
            fell: false,
            stage,
            pure,
            own: None,
            engine,
            random,
            plan: Plan::default(),
            pipelines: Vec::new(),
            mistakes: Vec::new(),
            differences: Vec::new(),
        })
    }

    /// Lives until the test is done, the host is killed, or it is too late.
    async fn live(&mut self, late: Sleep) -> Life {
        let cliff = Arc::clone(&self.cliff);
        let killed = cliff.fallen();
        let work = std::pin::pin!(self.carry_out());
        let work = select(work, late);
        // Asked first: what is dead does nothing more.
        match select(std::pin::pin!(killed), work).await {
            Either::Left(_) => Life::Killed,
            Either::Right((Either::Left((life, _)), _)) => life,
            Either::Right((Either::Right(_), _)) => Life::Late,
        }
    }

    /// A new host over what the old one has recorded.
    fn revive(&mut self) -> std::io::Result<()> {
        self.fell |= self.cliff.has_fallen();
        // It is killed once: a restart before that leaves it still to come.
        self.cliff = if self.fell { Arc::default() } else { Arc::new(Cliff::new(self.stage.points())) };
        let store = open(&mut self.store, &self.stage, self.prepared)?;
        self.engine = host(&self.stage, &self.random, store, &self.cliff);
        self.reborn = true;
        Ok(())
    }

    async fn carry_out(&mut self) -> Life {
        let case = self.stage.case.clone();
        let plan = if self.reborn { self.plan.clone() } else { self.prepared.plan.clone() };
        if self.install(plan, &case.case().place).await.is_err() {
            return Life::Over;
        }
        if self.reborn {
            if let Err(error) = self.engine.recover().await {
                let help = "this is a mistake of pipehost; report it with this file";
                self.mistake(codes::NO_END, &case.case().place, format!("the host cannot start anew: {error}"), help);
                return Life::Over;
            }
            self.stage.clock.settle().await;
        }
        while let Some(action) = case.case().actions.get(self.next) {
            // What takes time goes on in the next life; anything else is done once.
            let takes_time = matches!(action.deed, Deed::Advance(_) | Deed::Settle);
            self.next += usize::from(!takes_time);
            if matches!(action.deed, Deed::Restart) {
                return Life::Killed;
            }
            if self.act(action).await.is_err() || self.stage.witness.seen().is_too_much() {
                return Life::Over;
            }
            self.next += usize::from(takes_time);
            // Whatever follows at this very moment has happened before the next step is done.
            self.stage.clock.settle().await;
        }
        Life::Over
    }

    async fn act(&mut self, action: &Action) -> Result<(), Halt> {
        match &action.deed {
            Deed::Send { flow, input, caller } => {
                let input = self.evaluate(input, &action.place)?;
                self.send(flow.as_ref(), input, caller.clone()).await;
            }
            Deed::Emit { from, events, caller } => {
                for (event_type, data) in events {
                    let data = self.evaluate(data, &action.place)?;
                    self.emit(from.as_ref(), event_type, data, caller.clone(), &action.place).await?;
                }
            }
            Deed::Advance(duration) => {
                let now = self.stage.clock.now();
                let until = *self.until.get_or_insert(now + *duration);
                self.stage.clock.advance(until.since(now)).await;
                self.until = None;
            }
            // It ends this life, before it comes here.
            Deed::Restart => {}
            Deed::Settle => self.settle(&action.place).await,
            Deed::Cancel(number) => {
                let run = self.stage.witness.seen().runs.get(*number).map(|run| run.run);
                match run {
                    Some(Some(run)) => self.engine.cancel(run, CancelReason::Requested),
                    Some(None) | None => {
                        let count = self.stage.witness.seen().runs.len();
                        let message = format!("there is no run {number} to cancel; {count} were started so far, counted from 0");
                        return Err(self.mistake(codes::NOTHING_TO_DO, &action.place, message, "look at the order of `send` and `cancel`"));
                    }
                }
            }
            Deed::Reload { file, refused } => self.reload(file.as_deref(), *refused, &action.place).await?,
            Deed::Expect(expected) => self.expect(expected),
        }
        Ok(())
    }

    fn mistake(&mut self, code: &'static str, place: &Place, message: impl Into<String>, help: &str) -> Halt {
        self.mistakes.push(Diagnostic::error(code, place.clone(), message).with_help(help));
        Halt
    }

    fn evaluate(&mut self, template: &Template, place: &Place) -> Result<Value, Halt> {
        let evaluated = {
            let seen = self.stage.witness.seen();
            let view = View { seen: &seen, engine: &self.engine, own: &self.stage.case.pipeline.name, pipelines: &self.pipelines };
            template.evaluate(&Given { view, now: self.stage.clock.now(), random: &self.random })
        };
        evaluated.map_err(|failure| {
            let message = format!("what this step gives cannot be evaluated: {}", failure.message);
            self.mistake(codes::BAD_MOCK, place, message, "it may read `runs` and `events`: what was seen so far")
        })
    }

    async fn send(&self, flow: Option<&FlowName>, input: Value, caller: Caller) {
        let pipeline = &self.stage.case.pipeline.name;
        let flow = flow.unwrap_or(&self.stage.case.case().flow);
        let asker = Arc::new(Asker::default());
        let activation = Activation {
            caller,
            requester: Some(Arc::clone(&asker) as Arc<dyn Requester>),
            ..Activation::new(pipeline.clone(), flow.clone(), input)
        };
        let witness = &self.stage.witness;
        match self.engine.activate(activation).await {
            Admission::Started(run) | Admission::Queued(run) => witness.asked(run, pipeline, flow, asker),
            Admission::Dropped => witness.turned_away(pipeline, flow, SeenEnd::Dropped),
            Admission::Refused(failure) => witness.turned_away(pipeline, flow, SeenEnd::Refused(failure)),
        }
    }

    async fn emit(
        &mut self,
        from: Option<&PipelineName>,
        event_type: &EventType,
        data: Value,
        caller: Caller,
        place: &Place,
    ) -> Result<(), Halt> {
        let pipeline = from.unwrap_or(&self.stage.case.pipeline.name).clone();
        let outside = Outside { pipeline, event_type: event_type.clone(), data, caller, correlation_id: None };
        match self.engine.emit(outside).await {
            Ok(emitted) => {
                self.stage.witness.own(emitted.id);
                Ok(())
            }
            Err(failure) => {
                let message = format!("the event {event_type} cannot be emitted: {}", failure.message);
                Err(self.mistake(codes::BAD_MOCK, place, message, "it has to be what its pipeline declares"))
            }
        }
    }

    /// Lets as much time pass as it takes until no run is under way.
    async fn settle(&mut self, place: &Place) {
        loop {
            self.stage.clock.settle().await;
            let running = self.engine.running();
            let Some(first) = running.first() else { return };
            if self.stage.witness.seen().is_too_much() {
                let message = "more happens in this test than is kept of one: runs start each other without end";
                self.mistake(codes::NO_END, place, message, "let less time pass, or look for a circle of events");
                return;
            }
            if !self.stage.clock.next() {
                let message = format!("a run of {} waits for what never comes", first.target);
                let help =
                    "give what it waits for a time limit, send what it waits for, or expect `outcome: running` in a step before this one";
                self.mistake(codes::NO_END, place, message, help);
                return;
            }
        }
    }

    fn expect(&mut self, expected: &Written) {
        let (seen, why) = {
            let seen = self.stage.witness.seen();
            let view = View { seen: &seen, engine: &self.engine, own: &self.stage.case.pipeline.name, pipelines: &self.pipelines };
            let why = seen.subject().and_then(|number| match &seen.runs.get(number)?.end {
                SeenEnd::Refused(failure) => Some(failure.to_string()),
                SeenEnd::Ended(outcome) => outcome.failure().map(|failure| match &failure.step {
                    Some(step) => format!("{failure} (step {step})"),
                    None => failure.to_string(),
                }),
                SeenEnd::Running | SeenEnd::Dropped => None,
            });
            (view.whole(expected), why)
        };
        let name = self.stage.case.case().name.clone();
        let differences = compare(expected, &seen);
        self.mistakes.extend(differences.iter().map(|difference| difference.diagnostic(&name, why.as_deref())));
        self.differences.extend(differences);
    }

    async fn reload(&mut self, file: Option<&std::path::Path>, refused: bool, place: &Place) -> Result<(), Halt> {
        let own = self.prepared.files.first().cloned().unwrap_or_default();
        let files: Vec<_> =
            std::iter::once(file.map_or(own, std::path::Path::to_owned)).chain(self.prepared.files.iter().skip(1).cloned()).collect();
        let loaded = load(&files, self.pure, &self.prepared.environment);
        let wrong = match &loaded.plan {
            None => loaded.diagnostics,
            Some(plan) => misfits(&self.plan, plan),
        };
        match (wrong.first(), refused, loaded.plan) {
            (Some(_), true, _) => Ok(()),
            (Some(first), false, _) => {
                let line = if first.place.line > 0 { format!(":{}", first.place.line) } else { String::new() };
                let message = format!("the reload is refused: {} ({}{line})", first.message, first.place.file.display());
                Err(self.mistake(codes::RELOADED, place, message, "if that is what the test is about, write `refused: true` beside it"))
            }
            (None, true, _) => {
                Err(self.mistake(codes::RELOADED, place, "the reload was to be refused, and went well", "take `refused` away"))
            }
            (None, false, Some(plan)) => {
                let difference = diff(&self.plan, &plan);
                if difference.changed.is_empty() && difference.removed.is_empty() {
                    return Ok(());
                }
                self.install(plan, place).await
            }
            (None, false, None) => Ok(()),
        }
    }

    fn done(self) -> Done {
        let mut seen = self.stage.witness.seen();
        let mut mistakes = std::mem::take(&mut seen.mistakes);
        let elapsed = self.stage.clock.now().since(BEGINNING);
        let walked = std::mem::take(&mut seen.walked);
        drop(seen);
        // What a job that nothing stands in for came to is not what anybody expected.
        if !mistakes.is_empty() {
            return Done { elapsed, mistakes, differences: Vec::new(), walked };
        }
        mistakes.extend(self.mistakes);
        let case = self.stage.case.case();
        if let Some(step) = case.crash_after.as_ref().filter(|_| !self.fell) {
            let message = format!("the host is to be killed after the step `{step}`, which was never done");
            let mistake = Diagnostic::error(codes::NOTHING_TO_DO, case.place.clone(), message);
            mistakes.push(mistake.with_help("name a step that this test comes to, and that succeeds"));
        }
        Done { elapsed, mistakes, differences: self.differences, walked }
    }
}

/// The test's store, for the next host.
fn open(store: &mut TestStore, stage: &Stage, prepared: &Prepared) -> std::io::Result<Arc<dyn Store>> {
    let clock: Arc<dyn Clock> = Arc::new(stage.clock.clone());
    store.open(&clock, secrets(&prepared.environment)).map_err(|failure| std::io::Error::other(failure.into_particulars().message))
}

/// What a test's values may read.
struct Given<'a> {
    view: View<'a>,
    now: Timestamp,
    random: &'a SeededRandom,
}

impl Scope for Given<'_> {
    fn lookup(&self, root: Root, field: Option<&str>) -> Option<Value> {
        match (root, field) {
            (Root::Local, Some(name)) => self.view.locals(name),
            _ => None,
        }
    }

    fn now(&self) -> Timestamp {
        self.now
    }

    fn uuid(&self) -> Uuid {
        self.random.id(self.now)
    }
}
