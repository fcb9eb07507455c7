//! Runs that go over to the revision that is in force, on demand. A run can while nobody drives it: it rests, or it stands still since it was made.

use std::sync::Arc;

use super::{Running, Shared, cancel_keys_of};
use crate::engine::control::Control;
use crate::engine::installed::Installed;
use crate::engine::refusal::{is_doubtful, silent};
use crate::engine::resting::{Held, Stub};
use crate::engine::run::{Extra, Migration, RunScope, RunState, migrate, unfolded};
use crate::engine::waits::keys;
use crate::model::failure::{Failure, FailureKind};
use crate::model::happening::{Happening, What};
use crate::model::id::{Digest, PipelineName, RunId};
use crate::model::job::CancelReason;
use crate::model::port::{RunQuery, StoreError};
use crate::model::record::{Batch, Beginning, Fact, LaneId, StepNumber, Write};
use crate::model::time::Timestamp;
use crate::model::value::Value;
use crate::plan::pipeline::{Flow, Verb};

/// What became of a run that was asked to go over to the revision in force.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Migrated {
    /// The run.
    pub run: RunId,
    /// Its pipeline and flow, as `pipeline.flow`.
    pub target: String,
    /// The revision that it belongs to, or belonged to.
    pub from: Digest,
    /// The revision in force; `None` if its pipeline is not.
    pub to: Option<Digest>,
    /// What became of it.
    pub outcome: MigrationOutcome,
}

/// What became of a run that was asked to go over.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MigrationOutcome {
    /// It belongs to that revision.
    Already,
    /// It could; nothing was changed.
    Possible,
    /// It did.
    Done,
    /// It cannot: everything that hinders it, for people.
    Hindered(Vec<String>),
}

/// A run whose timer and place are held while it is looked at.
struct OnHold {
    stub: Stub,
    control: Arc<Control>,
}

/// What keeps a run from being looked at.
const AT_WORK: &str = "it is at work; ask again when it waits";

impl Shared {
    /// Has a run, or all that are open and belong to older revisions, go over to the revision in force; or only looks whether they could.
    ///
    /// # Errors
    /// `not_found` for a run that the store does not know; what is wrong with the store.
    pub(in crate::engine) async fn migrate(self: &Arc<Self>, run: Option<RunId>, dry_run: bool) -> Result<Vec<Migrated>, Failure> {
        let query = match run {
            Some(_) => RunQuery { run, ..RunQuery::default() },
            None => RunQuery { outcome: Some("open".to_owned()), ..RunQuery::default() },
        };
        let records = self.ports.store.runs(query).await.map_err(|error| silent("no run goes over", &error))?;
        if let (Some(run), true) = (run, records.is_empty()) {
            return Err(Failure::new(FailureKind::NotFound, format!("there is no run {run}")).with_code("unknown_run"));
        }
        let mut migrated = Vec::new();
        for record in records {
            let current = self.find(&record.pipeline);
            let to = current.as_ref().map(|current| current.bound.pipeline.revision);
            if run.is_none() && to == Some(record.revision) {
                continue;
            }
            let outcome = match current {
                Some(current) if current.bound.pipeline.revision == record.revision => MigrationOutcome::Already,
                Some(current) => self.migrate_run(record.run, &current, dry_run).await?,
                None => MigrationOutcome::Hindered(vec![format!("the pipeline {} is not in force", record.pipeline)]),
            };
            let target = format!("{}.{}", record.pipeline, record.flow);
            migrated.push(Migrated { run: record.run, target, from: record.revision, to, outcome });
        }
        Ok(migrated)
    }

    async fn migrate_run(self: &Arc<Self>, run: RunId, to: &Arc<Installed>, dry_run: bool) -> Result<MigrationOutcome, Failure> {
        if dry_run {
            let Some((facts, _)) = self.history(run).await? else { return Ok(forgotten()) };
            let at_work = self.lock_runs().contains_key(&run);
            let from = match self.pinned_to(run, &facts).await {
                Ok(from) => from,
                Err(why) => return Ok(MigrationOutcome::Hindered(vec![why])),
            };
            return Ok(match migrate(&from.bound.pipeline, &facts, &to.bound.pipeline) {
                Migration::Already => MigrationOutcome::Already,
                Migration::Possible(_) if at_work => MigrationOutcome::Hindered(vec![AT_WORK.to_owned()]),
                Migration::Possible(_) => MigrationOutcome::Possible,
                Migration::Hindered(why) => MigrationOutcome::Hindered(why),
            });
        }
        let Some(on_hold) = self.hold(run) else {
            return match self.is_under_way(run) {
                true => Ok(MigrationOutcome::Hindered(vec![AT_WORK.to_owned()])),
                false => self.migrate_still(run, to).await,
            };
        };
        let from = Arc::clone(&on_hold.stub.group.installed);
        let mut held = on_hold.stub.held.as_deref().map_or_else(Held::nothing, Held::again);
        let mut due = on_hold.stub.due;
        let outcome = match self.history(run).await {
            Err(error) => Err(error),
            Ok(None) => Ok(forgotten()),
            Ok(Some((facts, count))) => match migrate(&from.bound.pipeline, &facts, &to.bound.pipeline) {
                Migration::Already => Ok(MigrationOutcome::Already),
                Migration::Hindered(why) => Ok(MigrationOutcome::Hindered(why)),
                Migration::Possible(history) => match self.record_migration(run, count, &history, to).await {
                    Err(error) => not_taken(run, &error),
                    Ok(state) => {
                        due = state.next_due().unwrap_or(Timestamp::MAX);
                        self.adopt(run, (&facts, &history), &state, (&from, to), (&mut held, &on_hold.control));
                        Ok(MigrationOutcome::Done)
                    }
                },
            },
        };
        self.lay_down_again(run, on_hold, due, held);
        outcome
    }

    /// A run that nobody drives and that does not rest: it stands still, because its revision could not be made again or its facts were not taken,
    /// or it is parked, and goes on when somebody says so.
    async fn migrate_still(self: &Arc<Self>, run: RunId, to: &Arc<Installed>) -> Result<MigrationOutcome, Failure> {
        // An answer that comes too late is not recorded in between.
        let turn = self.after_ends.lock().await;
        let Some((facts, count)) = self.history(run).await? else { return Ok(forgotten()) };
        let from = match self.pinned_to(run, &facts).await {
            Ok(from) => from,
            Err(why) => return Ok(MigrationOutcome::Hindered(vec![why])),
        };
        match migrate(&from.bound.pipeline, &facts, &to.bound.pipeline) {
            Migration::Already => Ok(MigrationOutcome::Already),
            Migration::Hindered(why) => Ok(MigrationOutcome::Hindered(why)),
            Migration::Possible(history) => {
                let has_ended = match self.record_migration(run, count, &history, to).await {
                    Ok(state) => {
                        self.renumber_waits(run, (&facts, &history), &state, (&from, to));
                        state.ended().is_some()
                    }
                    Err(error) => return not_taken(run, &error),
                };
                drop(turn);
                if !has_ended {
                    self.try_again(run, None).await;
                }
                Ok(MigrationOutcome::Done)
            }
        }
    }

    /// Takes a run that rests out of the table, so that nobody wakes it; whoever reaches it meanwhile is heard afterwards.
    fn hold(&self, run: RunId) -> Option<OnHold> {
        let mut runs = self.lock_runs();
        if runs.contains_key(&run) {
            return None;
        }
        let stub = self.resting.take(run)?;
        let control = Arc::new(Control::default());
        let (installed, door) = (Arc::clone(&stub.group.installed), stub.group.door.clone());
        runs.insert(run, Running { installed, control: Arc::clone(&control), door, since: stub.since });
        Some(OnHold { stub, control })
    }

    /// Lets a run rest again, or wakes it if somebody has reached it meanwhile.
    fn lay_down_again(self: &Arc<Self>, run: RunId, on_hold: OnHold, due: Timestamp, held: Held) {
        let again = held.again();
        let OnHold { stub, control } = on_hold;
        if self.lay_down(run, (due != Timestamp::MAX).then_some(due), &control, Some(Box::new(held))) {
            return;
        }
        let installed = self.lock_runs().get(&run).map(|running| Arc::clone(&running.installed));
        let installed = installed.unwrap_or_else(|| Arc::clone(&stub.group.installed));
        let group = self.resting.group(&installed, &stub.group.door, &stub.group.target);
        let stub = Stub { group, since: stub.since, due, held: Some(Box::new(again)) };
        let busy = self.ports.activity.enter();
        self.tasks.spawn(Arc::clone(self).wake(run, stub, control, busy));
    }

    /// Keeps that a run belongs to another revision. Returns its state there.
    async fn record_migration(&self, run: RunId, count: u64, history: &[Fact], to: &Arc<Installed>) -> Result<RunState, StoreError> {
        let pipeline = &to.bound.pipeline;
        let begun = history.first();
        let flow = match begun {
            Some(Fact::Began(beginning)) => pipeline.flows.iter().find(|flow| flow.name == beginning.flow),
            _ => None,
        };
        // The machine found the flow and began the history with its beginning.
        let state = flow.and_then(|flow| RunState::fold(pipeline, flow, history));
        let Some(state) = state else { return Err(StoreError::Broken(format!("the history of run {run} has no beginning"))) };
        let at = self.ports.clock.now();
        let fact = Fact::Migrated { revision: pipeline.revision, facts: Arc::new(history.to_vec()), at };
        let batch = Batch {
            writes: vec![Write::Bundle(Arc::clone(&pipeline.bundle))],
            due: state.next_due().filter(|_| state.ended().is_none()),
            ..Batch::of(run, count, Arc::new(vec![fact]))
        };
        self.ports.store.commit(batch).await?;
        let what = What::Migrated { to: pipeline.revision.short() };
        self.ports.sink.accept(Happening { time: at, run: Some(crate::engine::telling::run_label(state.beginning())), what });
        Ok(state)
    }

    /// From now on others find the run as it is in the other revision.
    fn adopt(
        &self,
        run: RunId,
        facts: (&[Fact], &[Fact]),
        state: &RunState,
        (from, to): (&Arc<Installed>, &Arc<Installed>),
        (held, control): (&mut Held, &Control),
    ) {
        self.renumber_waits(run, facts, state, (from, to));
        if let Some(flow) = flow_of(to, state.beginning()) {
            self.listen_for_cancels(run, &flow, state, (held, control));
        }
        if let Some(running) = self.lock_runs().get_mut(&run) {
            running.installed = Arc::clone(to);
        }
    }

    /// Who answers a wait of the run from now on is told of it, and recorded, by its number in the other revision.
    fn renumber_waits(&self, run: RunId, facts: (&[Fact], &[Fact]), state: &RunState, (from, to): (&Arc<Installed>, &Arc<Installed>)) {
        let Some(flow) = flow_of(from, state.beginning()) else { return };
        let waits = began_waits(facts.0).zip(began_waits(facts.1));
        let renumbered = waits.filter_map(|((lane, step, matching), (_, now, _))| {
            let Verb::Wait(wait) = &flow.steps.get(step.0 as usize)?.verb else { return None };
            Some((keys(&wait.listen.types, matching).ok()?, lane, step, now))
        });
        self.waits.renumber(run, &to.bound.pipeline, &renumbered.collect::<Vec<_>>());
    }

    fn listen_for_cancels(&self, run: RunId, flow: &Flow, state: &RunState, (held, control): (&mut Held, &Control)) {
        let null = Value::null();
        let scope =
            RunScope { run: state, state: &null, now: self.ports.clock.now(), random: &*self.ports.random, extra: Extra::default() };
        // What the flow listens to now cannot be said of this run: then it goes on listening to what it listened to.
        let Ok(now) = cancel_keys_of(flow, &scope) else { return };
        self.waits.stop_cancelling(run, &held.cancel_keys);
        if self.waits.cancel_on(run, &now) {
            control.cancel(CancelReason::Event);
        }
        held.cancel_keys = now;
    }

    /// The pipeline in one of its revisions: the one in force, or one that runs under way are pinned to.
    pub(in crate::engine) fn of_revision(&self, pipeline: &PipelineName, revision: Digest) -> Option<Arc<Installed>> {
        let is_it = |installed: &Arc<Installed>| installed.bound.pipeline.revision == revision;
        let in_force = self.find(pipeline).filter(is_it);
        let driven = || self.lock_runs().values().map(|running| Arc::clone(&running.installed)).find(is_it);
        in_force.or_else(|| self.resting.of_revision(revision)).or_else(driven)
    }

    /// What a run is pinned to that is under way, at rest or not.
    pub(super) fn installed_of(&self, run: RunId) -> Option<Arc<Installed>> {
        let runs = self.lock_runs();
        runs.get(&run).map(|running| Arc::clone(&running.installed)).or_else(|| self.resting.installed(run))
    }

    /// What a run is pinned to.
    async fn pinned_to(&self, run: RunId, facts: &[Fact]) -> Result<Arc<Installed>, String> {
        if let Some(installed) = self.installed_of(run) {
            return Ok(installed);
        }
        let Some(Fact::Began(beginning) | Fact::Queued(beginning)) = facts.first() else { return Err("it has no beginning".to_owned()) };
        let pinned = self.pinned_or_remade(beginning).await;
        pinned.map(|(installed, _)| installed).map_err(|reason| reason.text().to_owned())
    }

    /// The history that counts of a run, and how many facts the store has of it; `None` if it has forgotten it.
    async fn history(&self, run: RunId) -> Result<Option<(Vec<Fact>, u64)>, Failure> {
        let facts = self.ports.store.facts(run).await.map_err(|error| silent(&format!("run {run} does not go over"), &error))?;
        Ok((!facts.is_empty()).then(|| unfolded(facts)))
    }
}

fn flow_of(installed: &Installed, beginning: &Beginning) -> Option<Arc<Flow>> {
    installed.bound.pipeline.flows.iter().find(|flow| flow.name == beginning.flow).cloned()
}

fn began_waits(facts: &[Fact]) -> impl Iterator<Item = (LaneId, StepNumber, &[(String, Value)])> {
    facts.iter().filter_map(|fact| match fact {
        Fact::WaitBegan { lane, step, matching, .. } => Some((*lane, *step, matching.as_slice())),
        _ => None,
    })
}

fn forgotten() -> MigrationOutcome {
    MigrationOutcome::Hindered(vec!["the store has forgotten it".to_owned()])
}

/// A history that is too long to be kept once more concerns its run alone; whatever else is wrong with the store concerns all.
fn not_taken(run: RunId, error: &StoreError) -> Result<MigrationOutcome, Failure> {
    match error {
        StoreError::TooLarge { .. } => Ok(MigrationOutcome::Hindered(vec![format!("its history cannot be kept anew: {error}")])),
        error if is_doubtful(error) => Err(silent(&format!("it is not known whether run {run} goes over"), error)),
        error => Err(silent(&format!("run {run} does not go over"), error)),
    }
}
