//! What people decide about runs: a parked one goes on, one that has ended is done again, one is called off; dead letters are replayed or dropped.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::Shared;
use super::burying::is_without_its_part;
use super::starting::Starting;
use crate::engine::control::Control;
use crate::engine::dead_letters::DeadLetter;
use crate::engine::idempotency::{self, Fan, Known};
use crate::engine::installed::Installed;
use crate::engine::recovery::Revived;
use crate::engine::refusal::{NOT_AGAIN, refusal};
use crate::engine::run::{RunState, taken_over, unfolded};
use crate::engine::unreadable;
use crate::model::activation::{Activation, Admission, Patience, Requester, RunOutcome};
use crate::model::failure::{Failure, FailureKind};
use crate::model::happening::What;
use crate::model::id::{FlowName, PipelineName, RunId, StepId};
use crate::model::job::CancelReason;
use crate::model::port::{Activate, StoreError};
use crate::model::record::{Beginning, Fact, Part, Room, Write, beginning_of, end_of};
use crate::plan::pipeline::Flow;

impl Shared {
    /// A parked run goes on with what could not be undone; a stalled one is tried again, however often it came to nothing.
    pub(in crate::engine) async fn resume(self: &Arc<Self>, run: RunId) -> Result<(), Failure> {
        if self.stalled.contains(run) {
            return match self.try_again(run, None).await {
                true => Ok(()),
                false => Err(refuse(FailureKind::Rejected, format!("run {run} is still stalled: {}", self.stalled.why(run)))),
            };
        }
        // An answer that comes too late is not recorded in between.
        let _turn = self.after_ends.lock().await;
        let (beginning, facts, count) = self.recorded(run).await?;
        match end_of(&facts) {
            Some(RunOutcome::Parked { .. }) => {}
            Some(outcome) => {
                let ended = outcome.as_str();
                let message = format!("run {run} has {ended}, and only a parked run is resumed; `pipehost runs retry {run}` does it again");
                return Err(refuse(FailureKind::Conflict, message));
            }
            None if self.is_taken_up(run) => {
                return Err(refuse(FailureKind::Conflict, format!("run {run} is under way: there is nothing to resume")));
            }
            None => return Err(self.stands_still(run)),
        }
        if self.why_stalled(run).is_some() {
            return Err(self.stands_still(run));
        }
        let (installed, flow) = self.pinned_for(&beginning).await?;
        let state = RunState::fold(&installed.bound.pipeline, &flow, &facts)
            .map(|state| state.counting(count))
            .ok_or_else(|| refuse(FailureKind::Permanent, format!("what is recorded of run {run} cannot be read")))?;
        if self.is_live(run) {
            return Err(refuse(FailureKind::Conflict, format!("run {run} goes on already")));
        }
        let revived = Revived { installed, flow, state, facts, control: Arc::new(Control::default()) };
        let mut driver = self.take_up(revived, None).into_driver();
        let opening = driver.reopen();
        let (told, kept) = oneshot::channel();
        let busy = self.ports.activity.enter();
        let starting = Box::new(Starting { driver, opening, beginning, requester: None, receipt: None, told: Some(told), busy });
        self.tasks.spawn(Arc::clone(self).kept_first(starting, None));
        kept.await.unwrap_or_else(|_| Err(refuse(FailureKind::Bug, "pipehost made a mistake; please report it".to_owned())))
    }

    /// Does a run that has ended again, as a new run of what is in force now: from its first step, or from that one on with what the steps before it
    /// gave.
    /// `although` its request may have been answered: without that, what has its answer is not done a second time.
    pub(in crate::engine) async fn retry(self: &Arc<Self>, run: RunId, from: Option<&StepId>, although: bool) -> Result<RunId, Failure> {
        let (beginning, facts, _) = self.recorded(run).await?;
        let Some(outcome) = end_of(&facts) else {
            if !self.is_taken_up(run) && !self.stalled.contains(run) {
                return Err(self.stands_still(run));
            }
            let message = format!("run {run} has not ended; `pipehost runs cancel {run}` ends it, and then it can be done again");
            return Err(refuse(FailureKind::Conflict, message));
        };
        let once = Once { has_succeeded: *outcome == RunOutcome::Succeeded, although };
        if let Some(part) = &beginning.part {
            return match from {
                None => self.send_part_again(&beginning, part, &facts).await,
                Some(_) => {
                    Err(refuse(FailureKind::Invalid, format!("run {run} is one step that was dispatched: it has no steps to go on from")))
                }
            };
        }
        let copied = match from {
            None => Vec::new(),
            Some(from) => {
                let (_, old) = self.pinned_for(&beginning).await?;
                let flow = self.flow_in_force(&beginning.pipeline, &beginning.flow)?;
                taken_over(run, &facts, &old, &flow, from).map_err(|why| refuse(FailureKind::Invalid, why))?
            }
        };
        self.begin_again(&beginning, copied, once).await
    }

    /// A run that is no longer wanted, wherever it stands: what it did is undone. A stalled one is taken up for that.
    pub(in crate::engine) async fn call_off(self: &Arc<Self>, run: RunId) -> Result<(), Failure> {
        if self.stalled.contains(run) {
            let called_off = self.call_off_stalled(run, None).await;
            return called_off.map_err(|why| {
                let message = format!(
                    "run {run} stays stalled, since what it did can only be undone when it can go on: {why}; once that is mended, cancel it again"
                );
                refuse(FailureKind::Rejected, message)
            });
        }
        if self.is_taken_up(run) {
            self.cancel(run, CancelReason::Requested);
            return Ok(());
        }
        let (_, facts, _) = self.recorded(run).await?;
        match end_of(&facts) {
            Some(_) => Err(refuse(FailureKind::Conflict, format!("run {run} has ended: there is nothing to cancel"))),
            None => Err(self.stands_still(run)),
        }
    }

    /// Whether this host has it go on, or wait for a place.
    fn is_taken_up(&self, run: RunId) -> bool {
        self.is_live(run) || self.lock_door().waiting(|ticket| ticket.beginning.run).contains(&run)
    }

    /// The refusal of what is asked of a run that has not ended and that this host has not taken up.
    fn stands_still(&self, run: RunId) -> Failure {
        let why = self.why_stalled(run).unwrap_or_else(|| "this host has not taken it up yet; try again in a moment".to_owned());
        refuse(FailureKind::Rejected, format!("run {run} stands still: {why}"))
    }

    /// Everything that nobody could bring to a good end, the oldest first.
    pub(in crate::engine) async fn letters(&self) -> Result<Vec<DeadLetter>, Failure> {
        let page = self.ports.store.first_kept(Room::DeadLetter, usize::MAX).await.map_err(|error| of_store(&error))?;
        Ok(DeadLetter::all(page))
    }

    /// Does it again, and drops it once that is on its way. Returns the new run; `None` for an event that is published again.
    pub(in crate::engine) async fn replay(self: &Arc<Self>, key: &str) -> Result<Option<RunId>, Failure> {
        let letter = self.letter(key).await?;
        let run = match (letter.run, &letter.event) {
            (Some(run), event) => {
                let (facts, _) = unfolded(self.ports.store.facts(run).await.map_err(|error| of_store(&error))?);
                match (beginning_of(&facts), event) {
                    (Some(_), _) if !is_over(&facts) => return Err(not_over(run)),
                    (Some(beginning), _) => match &beginning.part {
                        Some(part) => Some(self.send_part_again(beginning, part, &facts).await?),
                        None => Some(self.begin_again(beginning, Vec::new(), Once::default()).await?),
                    },
                    (None, Some(event)) => Some(self.begin_of_event(&letter, event).await?),
                    (None, None) => {
                        let message = format!("what run {run} was to do is not recorded any more; `pipehost dlq drop {key}` forgets it");
                        return Err(refuse(FailureKind::NotFound, message));
                    }
                }
            }
            (None, Some(event)) => {
                // Kept with the end of its letter, so that it is one or the other whatever ends the host.
                let mut writes = vec![Write::Emit(Arc::new(event.clone()))];
                writes.extend(self.dead_letters.forget(&letter.owner, &letter.key));
                self.ports.store.write(writes).await.map_err(|error| of_store(&error))?;
                self.publish_once_more(event.clone()).await;
                return Ok(None);
            }
            (None, None) if letter.cause == unreadable::STATE => {
                let message = format!(
                    "the dead letter {key} stands for a state that cannot be read: it goes by itself when a start can read it, and pipehost dlq drop {key} begins that state anew"
                );
                return Err(refuse(FailureKind::Invalid, message));
            }
            (None, None) => {
                return Err(refuse(FailureKind::Invalid, format!("the dead letter {key} says nothing that could be done again")));
            }
        };
        self.forget_letter(&letter).await?;
        Ok(run)
    }

    /// Tells of dead letters that went because there were too many.
    pub(in crate::engine) fn tell_gone_letters(&self) {
        for (owner, key) in self.dead_letters.take_gone() {
            self.tell(What::DeadLetterGone { owner, key });
        }
    }

    /// Forgets it.
    pub(in crate::engine) async fn drop_letter(&self, key: &str) -> Result<(), Failure> {
        let letter = self.letter(key).await?;
        // A state that cannot be read begins anew with the letter that stands for it.
        let state = if letter.cause == unreadable::STATE { self.states.begin_anew(key) } else { None };
        let begins_anew = state.is_some();
        let writes: Vec<Write> = state.into_iter().chain(self.dead_letters.forget(&letter.owner, &letter.key)).collect();
        if !writes.is_empty() {
            self.ports.store.write(writes).await.map_err(|error| of_store(&error))?;
        }
        if begins_anew {
            // The runs that stood still for it are tried again at once.
            self.installed_anew.notify_one();
        }
        Ok(())
    }

    async fn letter(&self, key: &str) -> Result<DeadLetter, Failure> {
        let found = self.letters().await?.into_iter().find(|letter| letter.key == key);
        found.ok_or_else(|| refuse(FailureKind::NotFound, format!("there is no dead letter {key}; `pipehost dlq list` shows all")))
    }

    async fn forget_letter(&self, letter: &DeadLetter) -> Result<(), Failure> {
        let Some(write) = self.dead_letters.forget(&letter.owner, &letter.key) else { return Ok(()) };
        self.ports.store.write(vec![write]).await.map_err(|error| of_store(&error))
    }

    /// A new run with the input, event and caller of another, of what is in force now. That a flow takes each event once does not count here.
    async fn begin_again(self: &Arc<Self>, before: &Beginning, copied: Vec<Fact>, once: Once) -> Result<RunId, Failure> {
        let activation = Activation {
            trigger: before.trigger.clone(),
            caller: before.caller.clone(),
            correlation_id: Some(before.correlation_id),
            event: before.event.clone().map(Arc::new),
            ..Activation::new(before.pipeline.clone(), before.flow.clone(), before.input.clone())
        };
        self.start_anew(activation, Some(before.run), copied, once).await
    }

    async fn begin_of_event(self: &Arc<Self>, letter: &DeadLetter, event: &crate::model::event::Event) -> Result<RunId, Failure> {
        let (pipeline, flow) = letter.owner.split_once('.').unwrap_or((&letter.owner, ""));
        let activation = Activation::of_event(&pipeline.into(), &flow.into(), &Arc::new(event.clone()));
        self.start_anew(activation, letter.run, Vec::new(), Once::default()).await
    }

    async fn start_anew(
        self: &Arc<Self>,
        activation: Activation,
        before: Option<RunId>,
        copied: Vec<Fact>,
        once: Once,
    ) -> Result<RunId, Failure> {
        let mut ticket = self.prepare(activation)?;
        if let Some(failure) = ticket.circles.take() {
            return Err(failure);
        }
        Arc::make_mut(&mut ticket.beginning).retry_of = before;
        let fan = self.takes_over_request(&mut ticket, once)?;
        let admission = if copied.is_empty() {
            self.admit(ticket, Patience::AsDeclared).await
        } else {
            // What it takes over cannot wait at the door with it: it has its place however full the line is.
            ticket.copied = copied;
            {
                let mut door = self.lock_door();
                door.resume(&ticket.door, ticket.limits, ticket.beginning.run);
                self.register(&ticket);
            }
            self.begin(ticket).await
        };
        let failure = match admission {
            Admission::Started(run) | Admission::Queued(run) => return Ok(run),
            Admission::Dropped => refuse(FailureKind::Rejected, "no place is free, and the flow's `when_full` is drop".to_owned()),
            Admission::Refused(failure) => failure,
        };
        fan.iter().for_each(|fan| fan.refused(&failure));
        Err(failure)
    }

    /// What does a request once more is the run that answers it, if it succeeds: whoever repeats the request joins it, or takes what it gave.
    fn takes_over_request(&self, ticket: &mut super::Ticket, once: Once) -> Result<Option<Arc<Fan>>, Failure> {
        let Some((key, retention)) = ticket.idempotency.take() else { return Ok(None) };
        let beginning = &ticket.beginning;
        let before = beginning.retry_of.unwrap_or(beginning.run);
        if once.has_succeeded && !once.although {
            return Err(known(before, &Known::Answered(before)));
        }
        let fan = Fan::new(idempotency::Parts {
            run: beginning.run,
            request: (format!("{}.{}", beginning.pipeline, beginning.flow), key),
            retention,
            own: None,
            reply: None,
            repeats: Arc::clone(&self.repeats),
            clock: Arc::clone(&self.ports.clock),
            store: Arc::clone(&self.ports.store),
        });
        let fan = self.repeats.once_more(key, fan, once.although, self.ports.clock.now()).map_err(|other| known(before, &other))?;
        ticket.requester = Some(Arc::clone(&fan) as Arc<dyn Requester>);
        Ok(Some(fan))
    }

    async fn send_part_again(self: &Arc<Self>, before: &Beginning, part: &Arc<Part>, facts: &[Fact]) -> Result<RunId, Failure> {
        if is_without_its_part(facts) {
            let (run, by) = (before.run, before.parent.unwrap_or(before.run));
            let message = format!(
                "what run {run} was to do is more than the journal takes, and is not recorded: `pipehost runs retry {by}` does the run again that \
                 dispatched it, and `pipehost dlq drop {run}` forgets it"
            );
            return Err(refuse(FailureKind::NotFound, message));
        }
        let (installed, flow) = self.pinned_for(before).await?;
        let run = RunId::new(self.ports.random.id(self.ports.clock.now()));
        // It belongs to nobody who would send it again by itself.
        let by = Beginning { retry_of: Some(before.run), ..before.clone() };
        // Once it is kept: what it does again may be forgotten then.
        self.send_now(&installed, &flow, &by, run, part).await?;
        Ok(run)
    }

    async fn pinned_for(&self, beginning: &Beginning) -> Result<(Arc<Installed>, Arc<Flow>), Failure> {
        let pinned = self.pinned_or_remade(beginning).await;
        pinned.map_err(|reason| refuse(FailureKind::Rejected, format!("run {}: {}", beginning.run, reason.text())))
    }

    fn flow_in_force(&self, pipeline: &PipelineName, flow: &FlowName) -> Result<Arc<Flow>, Failure> {
        let found =
            self.find(pipeline).and_then(|installed| installed.bound.pipeline.flows.iter().find(|known| known.name == *flow).cloned());
        found.ok_or_else(|| refuse(FailureKind::NotFound, format!("there is no flow {pipeline}.{flow} in force")))
    }

    async fn recorded(&self, run: RunId) -> Result<(Arc<Beginning>, Vec<Fact>, u64), Failure> {
        let (facts, count) = unfolded(self.ports.store.facts(run).await.map_err(|error| of_store(&error))?);
        match beginning_of(&facts).map(Arc::clone) {
            Some(beginning) => Ok((beginning, facts, count)),
            None => Err(refuse(FailureKind::NotFound, format!("there is no run {run}; `pipehost runs list` shows those that are known"))),
        }
    }
}

/// Whether what is done again may be done a second time.
#[derive(Clone, Copy, Default)]
struct Once {
    /// The run that is done again has succeeded.
    has_succeeded: bool,
    /// It is wanted although the request has its answer.
    although: bool,
}

/// Whether nothing is left to decide about a run. One that is parked, or not at its end, goes on when somebody wants it to.
fn is_over(facts: &[Fact]) -> bool {
    end_of(facts).is_some_and(|outcome| !matches!(outcome, RunOutcome::Parked { .. }))
}

fn not_over(run: RunId) -> Failure {
    let message = format!(
        "run {run} is not at its end, and to begin it anew would do it twice: `pipehost runs resume {run}` has it go on, and if it has not ended, \
         `pipehost runs cancel {run}` takes back what it did"
    );
    refuse(FailureKind::Conflict, message)
}

/// Why a run is not done again, whose request has another run to do with it, or has its answer.
fn known(run: RunId, known: &Known) -> Failure {
    let message = match known {
        Known::UnderWay(other) => {
            format!("the request of run {run} is under way as run {other}, with the same idempotency key: wait for its end")
        }
        Known::Held(other) => format!(
            "run {other} of the same request stands still, parked or given up: `pipehost runs resume {other}` has it go on, and when it has ended this can be \
             done again"
        ),
        Known::Answered(other) => format!(
            "the request of run {run} has its answer from run {other}, and would be done twice: `pipehost runs retry {run} --repeat` does that all the same"
        ),
    };
    refuse(FailureKind::Conflict, message)
}

fn refuse(kind: FailureKind, message: String) -> Failure {
    Failure::new(kind, message).with_code(NOT_AGAIN)
}

fn of_store(error: &StoreError) -> Failure {
    refusal(error)
}
