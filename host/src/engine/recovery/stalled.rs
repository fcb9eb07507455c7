//! The runs that cannot go on: shown with why, and tried again when other files are in force and from time to time.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::engine::calls::Callee;
use crate::engine::dead_letters::DeadLetters;
use crate::engine::dispatcher::TakenUp;
use crate::engine::recovery::CLAIMS;
use crate::engine::run::{Claim, unfolded};
use crate::engine::shared::Shared;
use crate::engine::view::{RunStatus, RunView};
use crate::model::activation::Requester;
use crate::model::failure::{Failure, FailureKind};
use crate::model::happening::What;
use crate::model::id::{IdMap, JobId, RunId};
use crate::model::job::CancelReason;
use crate::model::port::Activate;
use crate::model::record::{Beginning, beginning_of};
use crate::model::time::Timestamp;

use super::classify::{Found, Revived};

/// The wait before stalled runs are tried again, and the longest: it doubles.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// Why a run cannot go on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reason {
    /// Its pipeline is not loaded, or is of another revision and cannot be made again.
    NoRevision {
        /// Its pipeline and flow.
        target: String,
        /// When it began.
        since: Timestamp,
        /// What is missing, and the way out.
        why: String,
    },
    /// The state that it needs cannot be read.
    NoState {
        /// Its pipeline and flow.
        target: String,
        /// When it began.
        since: Timestamp,
        /// What is wrong with the state, and the way out.
        why: String,
    },
    /// The store has no facts of it that can be read.
    Unreadable(String),
    /// It may be what ended the last hosts: it goes on by itself when all others, and those like it that come first, have got further.
    WaitsItsTurn {
        /// Its pipeline and flow.
        target: String,
        /// When it began.
        since: Timestamp,
    },
    /// It was taken up too often without getting anywhere: it is among the dead letters.
    GivenUp {
        /// Its pipeline and flow.
        target: String,
        /// When it began.
        since: Timestamp,
        /// What it came to.
        why: String,
    },
}

impl Reason {
    /// A run of that revision cannot be had.
    pub fn no_revision(beginning: &Beginning, why: impl Into<String>) -> Self {
        Self::NoRevision { target: format!("{}.{}", beginning.pipeline, beginning.flow), since: beginning.at, why: why.into() }
    }

    /// It is taken up alone.
    pub fn waits_its_turn(beginning: &Beginning) -> Self {
        Self::WaitsItsTurn { target: format!("{}.{}", beginning.pipeline, beginning.flow), since: beginning.at }
    }

    /// Whether it is tried again from time to time.
    const fn is_hopeful(&self) -> bool {
        !matches!(self, Self::GivenUp { .. } | Self::WaitsItsTurn { .. })
    }

    /// The state of that run cannot be read.
    pub fn no_state(beginning: &Beginning, why: String) -> Self {
        Self::NoState { target: format!("{}.{}", beginning.pipeline, beginning.flow), since: beginning.at, why }
    }

    /// For people.
    pub fn text(&self) -> &str {
        match self {
            Self::NoRevision { why, .. } | Self::NoState { why, .. } | Self::GivenUp { why, .. } => why,
            Self::Unreadable(why) => why,
            Self::WaitsItsTurn { .. } => "it was at work each time when the last hosts ended, and is taken up after all others, alone",
        }
    }

    fn view(&self, run: RunId) -> RunView {
        let (target, since) = match self {
            Self::NoRevision { target, since, .. } | Self::NoState { target, since, .. } | Self::GivenUp { target, since, .. } => {
                (target.clone(), *since)
            }
            Self::WaitsItsTurn { target, since } => (target.clone(), *since),
            Self::Unreadable(_) => (String::new(), Timestamp::EPOCH),
        };
        RunView { run, target, since, status: RunStatus::Stalled { reason: self.text().to_owned() } }
    }
}

/// All stalled runs.
#[derive(Default)]
pub struct Stalled {
    table: Mutex<Table>,
    /// Held from where one is taken out until others find it under way, so that nobody who decides about it at once finds it nowhere.
    leaving: Mutex<()>,
}

#[derive(Default)]
struct Table {
    runs: IdMap<RunId, (Reason, Option<Arc<Callee>>)>,
    /// What they hold of the tables of dedup and cache.
    claims: IdMap<RunId, Vec<(JobId, Claim)>>,
    /// Whether a task tries them again.
    watched: bool,
}

impl Stalled {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.lock().runs.len()
    }

    /// How many of them wait for something else than to be taken up alone.
    pub fn without_a_turn(&self) -> usize {
        self.lock().runs.values().filter(|(reason, _)| !matches!(reason, Reason::WaitsItsTurn { .. })).count()
    }

    /// Whether it is one of them.
    pub fn contains(&self, run: RunId) -> bool {
        self.lock().runs.contains_key(&run)
    }

    /// Why it is one of them; empty if it is not.
    pub fn why(&self, run: RunId) -> String {
        self.lock().runs.get(&run).map(|(reason, _)| reason.text().to_owned()).unwrap_or_default()
    }

    /// As others see them.
    pub fn views(&self) -> Vec<RunView> {
        self.lock().runs.iter().map(|(run, (reason, _))| reason.view(*run)).collect()
    }

    /// Takes one out; `None` if it is not stalled. What comes back is who hears it.
    pub fn take(&self, run: RunId) -> Option<Option<Arc<Callee>>> {
        self.lock().runs.remove(&run).map(|(_, callee)| callee)
    }

    /// It holds this of the tables of dedup and cache.
    pub(super) fn hold(&self, run: RunId, claims: Vec<(JobId, Claim)>) {
        if !claims.is_empty() {
            self.lock().claims.insert(run, claims);
        }
    }

    /// What it held.
    pub(super) fn let_go(&self, run: RunId) -> Vec<(JobId, Claim)> {
        self.lock().claims.remove(&run).unwrap_or_default()
    }

    /// As long as this is held no other is taken out.
    fn leaving(&self) -> MutexGuard<'_, ()> {
        self.leaving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those that are worth another try.
    fn hopeful(&self) -> Vec<RunId> {
        let table = self.lock();
        table.runs.iter().filter(|(_, (reason, _))| reason.is_hopeful()).map(|(run, _)| *run).collect()
    }

    /// Whether one of them may go on without anybody deciding so.
    fn may_go_on(&self) -> bool {
        self.lock().runs.values().any(|(reason, _)| !matches!(reason, Reason::GivenUp { .. }))
    }

    /// Without somebody who hears it, whoever was to hear it before still is. Returns the reason that it had before, and whether a task has to begin to try
    /// them again.
    fn put(&self, run: RunId, reason: Reason, callee: Option<Arc<Callee>>) -> (Option<Reason>, bool) {
        let is_hopeful = reason.is_hopeful();
        let mut table = self.lock();
        let (before, known) = table.runs.remove(&run).unzip();
        table.runs.insert(run, (reason, callee.or(known.flatten())));
        let begins = is_hopeful && !table.watched;
        table.watched |= is_hopeful;
        (before, begins)
    }

    /// Whether none is worth another try; then nobody watches any more.
    fn is_over(&self) -> bool {
        let mut table = self.lock();
        let is_over = !table.runs.values().any(|(reason, _)| reason.is_hopeful());
        table.watched = !is_over;
        is_over
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    /// A run cannot go on. Told once for each reason.
    pub(super) fn stall(self: &Arc<Self>, run: RunId, reason: Reason, callee: Option<Arc<Callee>>) {
        let text = reason.text().to_owned();
        let (before, begins) = self.stalled.put(run, reason.clone(), callee);
        if before != Some(reason) {
            self.tell(What::Stalled { reason: format!("run {run}: {text}") });
        }
        if begins {
            let shared = Arc::clone(self);
            self.tasks.spawn(async move { shared.try_stalled_again().await });
        }
    }

    /// It came to nothing too often.
    ///
    /// It is a dead letter from the first time on; whoever drops that has seen it, and the next start does not bring it back.
    pub(super) async fn give_up_on(self: &Arc<Self>, revived: &Revived, count: u32, called: &HashSet<RunId>) {
        let beginning = revived.beginning();
        let why = match revived.is_cut_off() {
            true => "an attempt of it was under way each time when the host ended, too often to be chance".to_owned(),
            false => format!("it was taken up {CLAIMS} times, and nothing was recorded of it"),
        };
        let why = format!(
            "{why}; `pipehost runs resume {run}` tries it again, and `pipehost runs cancel {run}` takes back what it did",
            run = beginning.run
        );
        let failure = Failure::new(FailureKind::Permanent, why.clone()).with_code("given_up");
        let letter = DeadLetters::letter(beginning, "recovery", Some(failure), self.ports.clock.now());
        // Refused, it is written at the next start; the run is stalled in any case.
        if count <= CLAIMS && self.ports.store.write(self.dead_letters.add(&letter)).await.is_ok() {
            self.count_as_given_up(beginning.run, count).await;
        }
        self.hold_request(&revived.state);
        let target = format!("{}.{}", beginning.pipeline, beginning.flow);
        let known = self.stalled.take(beginning.run).flatten();
        let callee = known.or_else(|| {
            let callee = called.contains(&beginning.run).then(|| Arc::new(Callee::with_reply(revived.reply())))?;
            self.expect_rejoin(beginning.run, Arc::clone(&callee));
            Some(callee)
        });
        self.waits.end(beginning.run);
        self.stall(beginning.run, Reason::GivenUp { target, since: beginning.at, why }, callee);
    }

    /// Counts it on to where no start makes a dead letter of it any more, until something is recorded of it.
    async fn count_as_given_up(&self, run: RunId, mut count: u32) {
        while count <= CLAIMS {
            match self.ports.store.claim(run).await {
                Ok(claimed) if claimed > count => count = claimed,
                _ => return,
            }
        }
    }

    /// Tries all again, as long as any is worth it: at once when other files are in force, and else after waits that double.
    async fn try_stalled_again(self: &Arc<Self>) {
        let mut busy = self.ports.activity.enter();
        let mut wait = FIRST_WAIT;
        loop {
            let sleep = self.ports.clock.sleep_until(self.ports.clock.now() + wait);
            let reloaded = busy.rest(async {
                tokio::select! {
                    biased;
                    () = self.stop.cancelled() => None,
                    () = self.installed_anew.notified() => Some(true),
                    () = sleep => Some(false),
                }
            });
            let Some(reloaded) = reloaded.await else { return };
            for run in self.stalled.hopeful() {
                self.try_again(run, None).await;
            }
            self.stalled_have_changed();
            if self.stalled.is_over() {
                return;
            }
            wait = if reloaded { FIRST_WAIT } else { (wait * 2).min(LONGEST_WAIT) };
        }
    }

    /// Once no stalled run may go on any more, nothing is kept for it.
    pub(super) fn stalled_have_changed(&self) {
        if !self.stalled.may_go_on() {
            self.waits.all_are_known();
        }
    }

    /// What a stalled run is now. What it is pinned to is made again if it has to be.
    pub(super) async fn found_again(self: &Arc<Self>, run: RunId) -> Option<Found> {
        let facts = self.ports.store.facts(run).await;
        let found = self.classify(run, facts);
        let Found::Elsewhere(_) = found else { return Some(found) };
        let facts = self.ports.store.facts(run).await.unwrap_or_default();
        let (history, _) = unfolded(facts.clone());
        let beginning = beginning_of(&history)?;
        Some(match self.pinned_or_remade(beginning).await {
            Ok(_) => self.classify(run, Ok(facts)),
            Err(reason) => Found::Elsewhere(reason),
        })
    }

    /// Takes up one that was stalled only for its end: what it did is undone, and its `finally` is done, as if it had been cancelled under way. Lets go of
    /// `taken_up` when it has got so far, or has no task.
    ///
    /// # Errors
    /// Why it cannot be taken up. Then nothing has changed.
    pub(in crate::engine) async fn call_off_stalled(self: &Arc<Self>, run: RunId, taken_up: Option<TakenUp>) -> Result<(), String> {
        let unreadable = || "the store has no facts of it that can be read".to_owned();
        let found = self.found_again(run).await.ok_or_else(unreadable)?;
        let leaving = self.stalled.leaving();
        if let Found::Stalled(reason) | Found::Elsewhere(reason) = &found
            && self.stalled.contains(run)
        {
            return Err(reason.text().to_owned());
        }
        let callee = self.stalled.take(run);
        match (found, callee.map(|callee| callee.map(|callee| callee as Arc<dyn Requester>))) {
            (Found::Working(revived), Some(callee)) => {
                revived.control.cancel(CancelReason::Requested);
                let driver = self.take_up(*revived, callee).counted_by(taken_up);
                self.let_go_of_claims(run, Some(&driver));
                self.go_on(driver);
                return Ok(());
            }
            (Found::Queued(waiting), Some(callee)) => {
                self.let_go_of_claims(run, None);
                self.put_in_line(waiting, callee);
            }
            (Found::Nothing, Some(_)) if !self.is_live(run) => self.let_go_of_claims(run, None),
            // Somebody else has had it go on meanwhile.
            _ => {}
        }
        drop(leaving);
        self.cancel(run, CancelReason::Requested);
        Ok(())
    }

    /// Takes up one that was stalled, if it can go on now. Returns whether it does, or somebody else has had it go on meanwhile. Lets go of `taken_up` when it
    /// has got so far, or has no task.
    pub(in crate::engine) async fn try_again(self: &Arc<Self>, run: RunId, taken_up: Option<TakenUp>) -> bool {
        let was_stalled = self.stalled.contains(run);
        let Some(found) = self.found_again(run).await else { return false };
        let _leaving = self.stalled.leaving();
        if let Found::Stalled(reason) | Found::Elsewhere(reason) = found {
            let goes_on_elsewhere = was_stalled && !self.stalled.contains(run);
            if !goes_on_elsewhere {
                self.stall(run, reason, None);
            }
            return goes_on_elsewhere;
        }
        let taken = self.stalled.take(run);
        if was_stalled && taken.is_none() {
            // Of several who try at once, the one who takes it out has it go on. It may have ended since.
            return true;
        }
        let callee = taken.flatten().map(|callee| callee as Arc<dyn Requester>);
        match found {
            Found::Queued(waiting) => {
                self.let_go_of_claims(run, None);
                self.put_in_line(waiting, callee);
                self.fill_places();
            }
            Found::Working(revived) => {
                self.tell_of(revived.beginning(), What::Recovered);
                let driver = self.take_up(*revived, callee).counted_by(taken_up);
                self.let_go_of_claims(run, Some(&driver));
                self.go_on(driver);
            }
            Found::Nothing if !self.is_live(run) => self.let_go_of_claims(run, None),
            Found::Nothing | Found::Stalled(_) | Found::Elsewhere(_) => {}
        }
        true
    }
}
