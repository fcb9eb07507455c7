//! Where the facts of runs are kept, and what has to stand or fall with them.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use futures_util::future::{BoxFuture, join_all};

use crate::model::bundle::Bundle;
use crate::model::event::Event;
use crate::model::id::{CorrelationId, Digest, EventId, FlowName, IdPrefix, PipelineName, RunId};
use crate::model::record::{Batch, Fact, InboxKey, Kept, Room, Write};
use crate::model::time::Timestamp;

/// A commit under way; it is durable, as far as this store is, when it ends well.
pub type Commit = BoxFuture<'static, Result<(), StoreError>>;

/// An answer of a store.
pub type Answer<T> = BoxFuture<'static, Result<T, StoreError>>;

/// Keeps the facts of runs. Nothing that a fact says is published before its commit has ended well.
///
/// What is given to a store by [`commit`](Self::commit) and [`write`](Self::write) is kept in the order of these calls, whoever makes them, so that who
/// decides something under a lock and calls before letting go need not wait under it. The calls themselves never block.
pub trait Store: Send + Sync {
    /// Appends facts to a run, with what has to stand or fall with them: all or nothing.
    fn commit(&self, batch: Batch) -> Commit;

    /// Keeps or forgets what belongs to no run: all or nothing.
    fn write(&self, writes: Vec<Write>) -> Commit;

    /// The facts of a run in their order; empty if it is unknown or has been forgotten.
    fn facts(&self, run: RunId) -> Answer<Vec<Fact>>;

    /// The same of many runs, in the order in which they are named. What hinders one of them hinders that one only.
    fn facts_of(&self, runs: &[RunId]) -> Answer<Vec<Result<Vec<Fact>, StoreError>>> {
        let all = join_all(runs.iter().map(|run| self.facts(*run)));
        Box::pin(async move { Ok(all.await) })
    }

    /// Nothing will be added to this run for a while: a store may keep it in less room. What it gives of it stays the same.
    fn rest(&self, run: RunId);

    /// What a host that starts has to take up.
    fn pending(&self) -> Answer<Pending>;

    /// A host that starts takes this run up. Returns how often in a row it was taken up, this time included, without a fact being added since.
    fn claim(&self, run: RunId) -> Answer<u32>;

    /// Whether a run of that flow was begun by that event; false once that is so long ago that it is forgotten.
    fn has_taken(&self, key: InboxKey) -> Answer<bool>;

    /// Everybody who hears these events has taken them: they are not [pending](Pending) any more. Need not last at once: what is told twice is taken once.
    fn published(&self, events: Vec<EventId>);

    /// What is kept in a room, what was written first in front; [`StoreError::Unreadable`] if one thing of it is.
    fn kept(&self, room: Room) -> Answer<Vec<Kept>>;

    /// The first so many of what is kept in a room, for whoever takes it in pages. What cannot be read counts for none of them, and comes beside them.
    fn first_kept(&self, room: Room, most: usize) -> Answer<Page>;

    /// Which of these, by owner and key, are kept in a room, whether they can be read or not.
    fn holds(&self, room: Room, names: &[(String, String)]) -> Answer<HashSet<(String, String)>> {
        let (page, names): (_, HashSet<_>) = (self.first_kept(room, usize::MAX), names.iter().cloned().collect());
        Box::pin(async move {
            let Page { kept, unreadable } = page.await?;
            let kept = kept.into_iter().map(|kept| (kept.owner, kept.key));
            let held = kept.chain(unreadable.into_iter().map(|one| (one.owner, one.key)));
            Ok(held.filter(|name| names.contains(name)).collect())
        })
    }

    /// What the runs of a revision are made of; `None` if no run needs it any more.
    fn bundle(&self, revision: Digest) -> Answer<Option<Arc<Bundle>>>;

    /// Runs that are known, the one whose id was made last in front: that is the one that began last, and one that was dispatched stands beside the run that
    /// dispatched it.
    fn runs(&self, query: RunQuery) -> Answer<Vec<RunRecord>>;

    /// Whether it takes anything new.
    fn health(&self) -> Health;

    /// What had to be left out of what was answered so far, since it cannot be read any more, for people; `None` if nothing had to be.
    fn left_out(&self) -> Option<String> {
        None
    }
}

/// What a host that starts has to take up.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Pending {
    /// The runs that have not ended: those that are due first in front, the others in the order in which they began.
    pub runs: Vec<RunId>,
    /// Those of the runs that were taken up before without a fact being added since, and how often in a row: see [`Store::claim`].
    pub claimed: Vec<(RunId, u32)>,
    /// What was dispatched and never began: the run that dispatched, which may have ended, and the one that it sent on its way.
    pub dispatched: Vec<(RunId, RunId)>,
    /// The events that a run under way may still wait for, and those that may not have reached everybody, the oldest first.
    pub events: Vec<PendingEvent>,
    /// Events that are among these and cannot be read: each hinders itself only.
    pub unreadable: Vec<Unreadable>,
}

/// The first of what is kept in a room.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Page {
    /// What can be read, what was written first in front.
    pub kept: Vec<Kept>,
    /// What stands between these and cannot be read. It stays where it is.
    pub unreadable: Vec<Unreadable>,
}

impl Page {
    /// What is kept, for whom a part of it is of no use.
    ///
    /// # Errors
    /// [`StoreError::Unreadable`] if something cannot be read.
    pub fn whole(self) -> Result<Vec<Kept>, StoreError> {
        match self.unreadable.into_iter().next() {
            Some(Unreadable { owner, key, why, .. }) => Err(StoreError::Unreadable(format!("what {owner} keeps under {key}: {why}"))),
            None => Ok(self.kept),
        }
    }
}

/// One thing that a store has and cannot read, for a reason of its own: a secret that is not given any more, a row that does not parse.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unreadable {
    /// Whose it is; empty for an event.
    pub owner: String,
    /// By which it is found: its key, or the event's id.
    pub key: String,
    /// Why it cannot be read.
    pub why: String,
    /// Until when it is kept; `None` is until somebody forgets it.
    pub until: Option<Timestamp>,
}

/// An event that a host that starts may have to publish again.
#[derive(Clone, PartialEq, Debug)]
pub struct PendingEvent {
    /// The event.
    pub event: Event,
    /// Whether everybody who hears it has taken it.
    pub published: bool,
}

/// Which runs are asked for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RunQuery {
    /// This one only.
    pub run: Option<RunId>,
    /// Those of this pipeline.
    pub pipeline: Option<PipelineName>,
    /// Those of this flow.
    pub flow: Option<FlowName>,
    /// Those whose ids begin so.
    pub run_begins: Option<IdPrefix>,
    /// Those that belong to this request.
    pub correlation: Option<CorrelationId>,
    /// Those that belong to a request whose id begins so.
    pub correlation_begins: Option<IdPrefix>,
    /// Only those that have ended so, as [`RunOutcome::as_str`](crate::model::activation::RunOutcome::as_str) says; `open` is those that have not ended.
    pub outcome: Option<String>,
    /// At most so many; 0 is all.
    pub limit: usize,
}

/// What is known of a run without its facts.
#[derive(Clone, PartialEq, Debug)]
pub struct RunRecord {
    /// The run.
    pub run: RunId,
    /// Its pipeline.
    pub pipeline: PipelineName,
    /// Its flow.
    pub flow: FlowName,
    /// What it is pinned to.
    pub revision: Digest,
    /// What request it belongs to.
    pub correlation_id: CorrelationId,
    /// The run that called or dispatched it.
    pub parent: Option<RunId>,
    /// The event that started it.
    pub event: Option<EventId>,
    /// When it began.
    pub began: Timestamp,
    /// When it ended, and as what, as [`RunOutcome::as_str`](crate::model::activation::RunOutcome::as_str) says.
    pub ended: Option<(Timestamp, String)>,
    /// When it has to be woken next, if it waits for a time.
    pub due: Option<Timestamp>,
    /// How many facts it has.
    pub facts: u64,
}

impl RunQuery {
    /// Whether it may ask for a run of which nothing is known but its id.
    pub fn may_want(&self, run: RunId) -> bool {
        self.run.is_none_or(|wanted| wanted == run) && self.run_begins.is_none_or(|begins| begins.is_of(run.as_uuid()))
    }

    /// Whether it asks for this run, its limit apart.
    pub fn wants(&self, record: &RunRecord) -> bool {
        let outcome = record.ended.as_ref().map_or("open", |(_, outcome)| outcome.as_str());
        self.may_want(record.run)
            && self.pipeline.as_ref().is_none_or(|pipeline| *pipeline == record.pipeline)
            && self.flow.as_ref().is_none_or(|flow| *flow == record.flow)
            && self.correlation.is_none_or(|correlation| correlation == record.correlation_id)
            && self.correlation_begins.is_none_or(|begins| begins.is_of(record.correlation_id.as_uuid()))
            && self.outcome.as_ref().is_none_or(|wanted| wanted == outcome)
    }
}

impl RunRecord {
    /// What these facts of a run amount to; `None` if they do not begin with its beginning.
    pub fn of(facts: &[Fact], due: Option<Timestamp>) -> Option<Self> {
        let (Fact::Began(beginning) | Fact::Queued(beginning)) = facts.first()? else { return None };
        let mut record = Self {
            run: beginning.run,
            pipeline: beginning.pipeline.clone(),
            flow: beginning.flow.clone(),
            revision: beginning.revision,
            correlation_id: beginning.correlation_id,
            parent: beginning.parent,
            event: beginning.event.as_ref().map(|event| event.id),
            began: beginning.at,
            ended: None,
            due,
            facts: facts.len() as u64,
        };
        for fact in facts {
            match fact {
                Fact::Began(beginning) => record.began = beginning.at,
                Fact::Ended { outcome, at } => record.ended = Some((*at, outcome.as_str().to_owned())),
                Fact::Resumed { .. } => record.ended = None,
                Fact::Migrated { revision, .. } => record.revision = *revision,
                _ => {}
            }
        }
        Some(record)
    }
}

/// Whether a store takes anything new.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Health {
    /// It does.
    Good,
    /// It takes what runs under way record, and no new run until there is room again.
    Full(String),
    /// The same, while another program holds its file.
    Held(String),
    /// It takes nothing: what it has may not be all that it had.
    Suspect(String),
    /// It takes nothing more, and the host must end.
    Broken(String),
}

/// Why a store did not take or give something.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StoreError {
    /// A batch does not follow on what the store has of the run: somebody else writes to it.
    OutOfOrder {
        /// The run.
        run: RunId,
        /// The number that was due.
        expected: u64,
        /// The number that came.
        found: u64,
    },
    /// Another host has taken the run over.
    Fenced {
        /// The run.
        run: RunId,
    },
    /// One value is larger than a store takes.
    TooLarge {
        /// How large it is, in bytes.
        bytes: u64,
        /// How large it may be, in bytes.
        most: u64,
    },
    /// This one thing cannot be read, for a reason of its own: a secret that is not given any more, a row that does not parse.
    Unreadable(String),
    /// Somebody else holds the store, longer than it was worth waiting for; it may be asked again.
    Busy(String),
    /// The store cannot take more.
    Full(String),
    /// What the store has may not be all that it had; it takes nothing until somebody has accepted that.
    Suspect(String),
    /// The store is broken and must not be written to any more.
    Broken(String),
}

impl fmt::Display for StoreError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfOrder { run, expected, found } => {
                write!(formatter, "run {run} is at fact {expected}, and fact {found} came: two hosts write to one store")
            }
            Self::Fenced { run } => write!(formatter, "run {run} belongs to another host now"),
            Self::TooLarge { bytes, most } => {
                write!(formatter, "a value of {bytes} bytes is more than the store takes, which is {} MiB", most >> 20)
            }
            Self::Unreadable(why) => write!(formatter, "it cannot be read: {why}"),
            Self::Busy(why) => write!(formatter, "somebody else holds the store: {why}"),
            Self::Full(why) => write!(formatter, "the store is full: {why}"),
            Self::Suspect(why) => write!(formatter, "data may be lost: {why}"),
            Self::Broken(why) => write!(formatter, "the store is broken: {why}"),
        }
    }
}

impl std::error::Error for StoreError {}

/// The methods of [`Store`] that a store round another one leaves to it: `facts`, `write` and `published` where they are named, and all others
/// but `commit`; without `kept` and `first_kept` if that is said. With `only` those that are named, and no others.
#[cfg(test)]
macro_rules! forward_store {
    ($inner:tt: $($named:ident),*) => {
        $crate::model::port::forward_store!(without rooms $inner: $($named),*);
        $crate::model::port::forward_store!(@ rooms $inner);
    };
    (without rooms $inner:tt: $($named:ident),*) => {
        $crate::model::port::forward_store!(only $inner: $($named,)* rest, pending, claim, has_taken, bundle, runs, health);
    };
    (only $inner:tt: $($named:ident),*) => {
        $($crate::model::port::forward_store!(@ $named $inner);)*
    };
    (@ rest $inner:tt) => {
        fn rest(&self, run: $crate::model::id::RunId) {
            self.$inner.rest(run);
        }
    };
    (@ pending $inner:tt) => {
        fn pending(&self) -> $crate::model::port::Answer<$crate::model::port::Pending> {
            self.$inner.pending()
        }
    };
    (@ claim $inner:tt) => {
        fn claim(&self, run: $crate::model::id::RunId) -> $crate::model::port::Answer<u32> {
            self.$inner.claim(run)
        }
    };
    (@ has_taken $inner:tt) => {
        fn has_taken(&self, key: $crate::model::record::InboxKey) -> $crate::model::port::Answer<bool> {
            self.$inner.has_taken(key)
        }
    };
    (@ bundle $inner:tt) => {
        fn bundle(
            &self,
            revision: $crate::model::id::Digest,
        ) -> $crate::model::port::Answer<Option<std::sync::Arc<$crate::model::bundle::Bundle>>> {
            self.$inner.bundle(revision)
        }
    };
    (@ runs $inner:tt) => {
        fn runs(&self, query: $crate::model::port::RunQuery) -> $crate::model::port::Answer<Vec<$crate::model::port::RunRecord>> {
            self.$inner.runs(query)
        }
    };
    (@ health $inner:tt) => {
        fn health(&self) -> $crate::model::port::Health {
            self.$inner.health()
        }
    };
    (@ rooms $inner:tt) => {
        $crate::model::port::forward_store!(only $inner: kept, first_kept);
    };
    (@ kept $inner:tt) => {
        fn kept(&self, room: $crate::model::record::Room) -> $crate::model::port::Answer<Vec<$crate::model::record::Kept>> {
            self.$inner.kept(room)
        }
    };
    (@ first_kept $inner:tt) => {
        fn first_kept(&self, room: $crate::model::record::Room, most: usize) -> $crate::model::port::Answer<$crate::model::port::Page> {
            self.$inner.first_kept(room, most)
        }
    };
    (@ facts $inner:tt) => {
        fn facts(&self, run: $crate::model::id::RunId) -> $crate::model::port::Answer<Vec<$crate::model::record::Fact>> {
            self.$inner.facts(run)
        }
    };
    (@ write $inner:tt) => {
        fn write(&self, writes: Vec<$crate::model::record::Write>) -> $crate::model::port::Commit {
            self.$inner.write(writes)
        }
    };
    (@ published $inner:tt) => {
        fn published(&self, events: Vec<$crate::model::id::EventId>) {
            self.$inner.published(events);
        }
    };
}
#[cfg(test)]
pub(crate) use forward_store;
