//! `idempotency` at the door: a request that is repeated takes the result of the first. The table is pure; [`Fan`] is who hears the first
//! run for all who repeat it. A result is kept with the end of its run, so that it answers after a restart too.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::keeping::{read, written};
use super::unreadable;
use crate::model::activation::{Requester, RunEnd, RunOutcome};
use crate::model::failure::{Failure, FailureKind};
use crate::model::id::{Digest, FlowName, PipelineName, RunId};
use crate::model::port::{Clock, Store, Unreadable};
use crate::model::record::{Kept, Room, Write};
use crate::model::time::Timestamp;
use crate::model::value::{Map, Tree, Value};

/// So many results are kept; the one that was given first goes.
const RESULTS: usize = 100_000;
/// So many repeats wait for one run; one more is refused.
const JOINED: usize = 1_024;

/// A result that answers repeats.
#[derive(Clone, PartialEq, Debug)]
pub struct Given {
    /// The flow, as `pipeline.flow`, and what tells the request from others.
    pub request: (String, Digest),
    /// What was replied, if anything was.
    pub reply: Option<Value>,
    /// How the run ended.
    pub end: RunEnd,
}

/// What the table says of a request.
#[derive(Debug, PartialEq)]
pub enum Asked<First> {
    /// It is the first.
    First,
    /// The first is under way.
    UnderWay(First),
    /// The first has given this.
    Repeat(Arc<Given>),
    /// That run was the first. It stands still, parked or given up, and may go on: what it did is neither an answer nor taken back.
    Held(RunId),
}

/// The requests that are known. Pure; `First` is what stands for a run under way.
pub struct Table<First> {
    under_way: HashMap<Digest, First>,
    given: HashMap<Digest, (Arc<Given>, Timestamp)>,
    order: VecDeque<(Digest, Timestamp)>,
    /// Requests whose run stands still.
    held: HashMap<Digest, RunId>,
}

impl<First> Default for Table<First> {
    fn default() -> Self {
        Self { under_way: HashMap::new(), given: HashMap::new(), order: VecDeque::new(), held: HashMap::new() }
    }
}

impl<First: Clone> Table<First> {
    /// Asks for a request; if it is the first, `first` stands for it from now on.
    pub fn ask(&mut self, key: Digest, first: impl FnOnce() -> First, now: Timestamp) -> Asked<First> {
        if let Some(first) = self.under_way.get(&key) {
            return Asked::UnderWay(first.clone());
        }
        if let Some(run) = self.held.get(&key) {
            return Asked::Held(*run);
        }
        if let Some((given, until)) = self.given.get(&key)
            && *until > now
        {
            return Asked::Repeat(Arc::clone(given));
        }
        self.under_way.insert(key, first());
        Asked::First
    }

    /// A run goes on that was the first, or is done once more: `first` stands for it, unless another is under way. What was given before answers again if
    /// it gives nothing.
    pub fn again(&mut self, key: Digest, first: impl FnOnce() -> First) -> Asked<First> {
        if let Some(first) = self.under_way.get(&key) {
            return Asked::UnderWay(first.clone());
        }
        self.under_way.insert(key, first());
        Asked::First
    }

    /// The run that was the first stands still: the request is not free until it goes on. Where too many stand still, it is free. Returns whether it is
    /// held.
    pub fn hold(&mut self, key: Digest, run: RunId) -> bool {
        let is_room = self.held.len() < RESULTS || self.held.contains_key(&key);
        if is_room {
            self.held.insert(key, run);
        }
        is_room
    }

    /// The first is over: what it gave answers repeats for so long. Without a result the request may be repeated. Returns the results that went before
    /// their time, because there are too many.
    pub fn settle(&mut self, key: Digest, given: Option<Given>, retention: Duration, now: Timestamp) -> Vec<Arc<Given>> {
        self.under_way.remove(&key);
        self.held.remove(&key);
        if let Some(given) = given {
            self.give(key, given, now + retention);
        }
        self.forget(now)
    }

    /// Has a result from before the host ended. Returns the results that went for it, or the result itself if it is over or there is one.
    pub fn restore(&mut self, key: Digest, given: Given, until: Timestamp, now: Timestamp) -> Vec<Arc<Given>> {
        if until <= now || self.given.contains_key(&key) {
            return vec![Arc::new(given)];
        }
        self.give(key, given, until);
        self.forget(now)
    }

    fn give(&mut self, key: Digest, given: Given, until: Timestamp) {
        self.given.insert(key, (Arc::new(given), until));
        self.order.push_back((key, until));
    }

    fn forget(&mut self, now: Timestamp) -> Vec<Arc<Given>> {
        let mut early = Vec::new();
        while self.order.len() > RESULTS || self.order.front().is_some_and(|(_, until)| *until <= now) {
            let Some((key, until)) = self.order.pop_front() else { break };
            // A later result of the same request has a place of its own.
            if self.given.get(&key).is_some_and(|(_, of_given)| *of_given == until)
                && let Some((given, _)) = self.given.remove(&key)
                && until > now
            {
                early.push(given);
            }
        }
        early
    }
}

/// The key of a request.
pub fn key(pipeline: &PipelineName, flow: &FlowName, key: &str) -> Digest {
    Digest::of_parts([pipeline.as_str().as_bytes(), flow.as_str().as_bytes(), key.as_bytes()])
}

impl Given {
    /// What is kept of it. Only runs that have succeeded, and not as degraded ones, have given anything.
    fn kept(&self, until: Timestamp) -> Kept {
        let mut fields =
            Map::from_iter([("run".to_owned(), written(&self.end.run)), ("output".to_owned(), self.end.output.tree().clone())]);
        if let Some(reply) = &self.reply {
            fields.insert("reply".to_owned(), reply.tree().clone());
        }
        let (owner, key) = (self.request.0.clone(), self.request.1.to_string());
        Kept { room: Room::Answer, owner, key, value: Value::from(Tree::Map(fields)), until: Some(until) }
    }

    fn read(kept: &Kept) -> Option<Self> {
        let (run, output) = (read(&kept.value, "run")?, kept.value.field("output")?);
        let end = RunEnd { run, outcome: RunOutcome::Succeeded, degraded: false, output };
        Some(Self { request: (kept.owner.clone(), Digest::from_hex(&kept.key)?), reply: kept.value.field("reply"), end })
    }

    fn forgotten(&self) -> Write {
        Write::Forget { room: Room::Answer, owner: self.request.0.clone(), key: Some(self.request.1.to_string()) }
    }
}

/// The table behind a lock.
#[derive(Default)]
pub struct Repeats {
    table: Mutex<Table<Arc<Fan>>>,
    /// Requests whose result a store has and cannot read: what is said of each, and until when. No more than the store has results.
    unreadable: Mutex<HashMap<Digest, (Failure, Timestamp)>>,
}

/// What is kept while the first run of a request stands still: its name and nothing else, for as long as that takes.
fn held_by(request: &(String, Digest), run: RunId) -> Kept {
    let value = Value::from(Tree::Map(Map::from_iter([("held".to_owned(), written(&run))])));
    Kept { room: Room::Answer, owner: request.0.clone(), key: request.1.to_string(), value, until: None }
}

fn read_held(kept: &Kept) -> Option<(Digest, RunId)> {
    Some((Digest::from_hex(&kept.key)?, read(&kept.value, "held")?))
}

fn stands_still(run: RunId) -> Failure {
    let message = format!(
        "run {run} of this request stands still, parked or given up, and what it did is neither done nor taken back; `pipehost runs show {run}` tells \
         why, and `pipehost runs resume {run}` has it go on"
    );
    Failure::new(FailureKind::Conflict, message).with_code("idempotency_held")
}

/// What is known of a request that is to be done once more.
#[derive(Debug)]
pub enum Known {
    /// That run is under way for it.
    UnderWay(RunId),
    /// That run stands still, parked or given up.
    Held(RunId),
    /// That run has answered it.
    Answered(RunId),
}

/// What became of a request.
pub enum Request {
    /// It is the first: its run has this as its requester.
    First(Arc<Fan>),
    /// It hears what that run comes to, or has heard it already.
    Repeats(RunId),
    /// Too many wait for the first, or what it came to cannot be read.
    Refused(Failure),
}

impl Repeats {
    /// Takes a request to the door.
    pub fn ask(self: &Arc<Self>, of: Digest, fan: Fan, now: Timestamp) -> Request {
        if let Some((failure, _)) = self.unreadable().get(&of).filter(|(_, until)| *until > now) {
            return Request::Refused(failure.clone());
        }
        let (requester, fan) = (fan.own.clone(), Arc::new(fan));
        let asked = {
            let mut table = self.lock();
            let asked = table.ask(of, || Arc::clone(&fan), now);
            // Under the table's lock, so that the end of the first does not fall between.
            if let Asked::UnderWay(first) = &asked
                && let Some(requester) = &requester
                && !first.join(Arc::clone(requester))
            {
                return Request::Refused(full());
            }
            asked
        };
        match asked {
            Asked::First => Request::First(fan),
            Asked::UnderWay(first) => Request::Repeats(first.run),
            Asked::Held(run) => Request::Refused(stands_still(run)),
            Asked::Repeat(given) => {
                if let Some(requester) = requester {
                    given.reply.iter().for_each(|reply| requester.reply(reply));
                    requester.end(&given.end);
                }
                Request::Repeats(given.end.run)
            }
        }
    }

    /// The run that is the first of a request goes on: who repeats it joins that run. Without a place if another run is under way for it.
    pub fn go_on(&self, of: Digest, fan: Fan) -> Option<Arc<Fan>> {
        let fan = Arc::new(fan);
        matches!(self.lock().again(of, || Arc::clone(&fan)), Asked::First).then_some(fan)
    }

    /// A request is done once more, by a run that answers it from then on.
    ///
    /// # Errors
    /// What is known of the request, if another run has to do with it; an answer does not count `although` there is one.
    pub fn once_more(&self, of: Digest, fan: Fan, although: bool, now: Timestamp) -> Result<Arc<Fan>, Known> {
        let fan = Arc::new(fan);
        let mut table = self.lock();
        match table.ask(of, || Arc::clone(&fan), now) {
            Asked::First => Ok(fan),
            Asked::UnderWay(first) => Err(Known::UnderWay(first.run)),
            Asked::Held(run) => Err(Known::Held(run)),
            Asked::Repeat(given) if !although => Err(Known::Answered(given.end.run)),
            Asked::Repeat(_) => {
                table.again(of, || Arc::clone(&fan));
                Ok(fan)
            }
        }
    }

    /// The run that is the first of a request stands still.
    pub fn hold(&self, of: Digest, run: RunId) {
        self.lock().hold(of, run);
    }

    /// Has what a store kept, when a host starts. Returns what is of no use any more, and what is no result.
    pub fn restore(&self, kept: Vec<Kept>, now: Timestamp) -> (Vec<Write>, Vec<Unreadable>) {
        let mut table = self.lock();
        let (mut forgotten, mut unreadable) = (Vec::new(), Vec::new());
        for kept in kept {
            if read_held(&kept).is_some_and(|(of, run)| table.hold(of, run)) {
                continue;
            }
            match (Given::read(&kept), kept.until) {
                (Some(given), Some(until)) => {
                    forgotten.extend(table.restore(given.request.1, given, until, now).iter().map(|given| given.forgotten()));
                }
                (_, until) => {
                    let why = "it is not what this pipehost writes".to_owned();
                    unreadable.push(Unreadable { owner: kept.owner, key: kept.key, why, until });
                }
            }
        }
        (forgotten, unreadable)
    }

    /// Repeats of these requests are refused until their time is over: to do them again could have an effect twice.
    pub fn refuse(&self, requests: &[Unreadable]) {
        let mut table = self.unreadable();
        for request in requests {
            let until = request.until.unwrap_or(Timestamp::MAX);
            if let Some(key) = Digest::from_hex(&request.key) {
                table.insert(key, (unreadable::failure(Room::Answer, request), until));
            }
        }
    }

    fn unreadable(&self) -> MutexGuard<'_, HashMap<Digest, (Failure, Timestamp)>> {
        self.unreadable.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, Table<Arc<Fan>>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn full() -> Failure {
    let message = format!("{JOINED} repeats of this request wait for its result already; try again later");
    Failure::new(FailureKind::Rejected, message).with_code("idempotency_full")
}

/// Hears the first run of a request, for whoever asked first and for all who ask again.
pub struct Fan {
    run: RunId,
    request: (String, Digest),
    retention: Duration,
    own: Option<Arc<dyn Requester>>,
    heard: Mutex<Heard>,
    repeats: Arc<Repeats>,
    clock: Arc<dyn Clock>,
    store: Arc<dyn Store>,
}

#[derive(Default)]
struct Heard {
    reply: Option<Value>,
    joined: Vec<Arc<dyn Requester>>,
}

/// What a fan is made of.
pub struct Parts {
    /// The run.
    pub run: RunId,
    /// The flow, as `pipeline.flow`, and the key of the request.
    pub request: (String, Digest),
    /// So long the result answers repeats.
    pub retention: Duration,
    /// Whoever asked.
    pub own: Option<Arc<dyn Requester>>,
    /// What it has replied already, if it goes on after a restart.
    pub reply: Option<Value>,
    /// The table.
    pub repeats: Arc<Repeats>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Where results are kept.
    pub store: Arc<dyn Store>,
}

impl Fan {
    /// One that has heard nothing of the end.
    pub fn new(parts: Parts) -> Self {
        let Parts { run, request, retention, own, reply, repeats, clock, store } = parts;
        Self { run, request, retention, own, heard: Mutex::new(Heard { reply, joined: Vec::new() }), repeats, clock, store }
    }

    /// The run never began: the request may be repeated, and who repeated it meanwhile hears why it did not.
    pub fn refused(&self, failure: &Failure) {
        self.settle(None, false);
        let outcome = RunOutcome::Failed { failure: failure.clone() };
        let end = RunEnd { run: self.run, outcome, degraded: false, output: Value::null() };
        self.take_joined().iter().for_each(|joined| joined.end(&end));
    }

    /// Returns whether there was room.
    fn join(&self, requester: Arc<dyn Requester>) -> bool {
        let mut heard = self.heard();
        if heard.joined.len() >= JOINED {
            return false;
        }
        if let Some(reply) = &heard.reply {
            requester.reply(reply);
        }
        heard.joined.push(requester);
        true
    }

    fn settle(&self, given: Option<Given>, parked: bool) {
        let early = {
            let mut table = self.repeats.lock();
            let early = table.settle(self.request.1, given, self.retention, self.clock.now());
            if parked {
                table.hold(self.request.1, self.run);
            }
            early
        };
        if !early.is_empty() {
            drop(self.store.write(early.iter().map(|given| given.forgotten()).collect()));
        }
    }

    /// What a run that ends so gives to repeats.
    fn given(&self, end: &RunEnd, reply: Option<&Value>) -> Option<Given> {
        let keeps = end.outcome == RunOutcome::Succeeded && !end.degraded;
        let reply = || self.heard().reply.clone().or_else(|| reply.cloned());
        keeps.then(|| Given { request: self.request.clone(), reply: reply(), end: end.clone() })
    }

    fn take_joined(&self) -> Vec<Arc<dyn Requester>> {
        std::mem::take(&mut self.heard().joined)
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Requester for Fan {
    fn progress(&self, progress: &Value) {
        let joined = self.heard().joined.clone();
        self.own.iter().chain(&joined).for_each(|requester| requester.progress(progress));
    }

    fn reply(&self, reply: &Value) {
        let joined = {
            let mut heard = self.heard();
            heard.reply = Some(reply.clone());
            heard.joined.clone()
        };
        self.own.iter().chain(&joined).for_each(|requester| requester.reply(reply));
    }

    fn end(&self, end: &RunEnd) {
        // After this nobody joins any more.
        self.settle(self.given(end, None), matches!(end.outcome, RunOutcome::Parked { .. }));
        let joined = self.take_joined();
        self.own.iter().chain(&joined).for_each(|requester| requester.end(end));
    }

    fn keeps(&self, end: &RunEnd, reply: Option<&Value>) -> Option<Write> {
        if matches!(end.outcome, RunOutcome::Parked { .. }) {
            return Some(Write::Keep(held_by(&self.request, self.run)));
        }
        if let Some(given) = self.given(end, reply) {
            return Some(Write::Keep(given.kept(self.clock.now() + self.retention)));
        }
        // It was parked, and has come to an end that leaves the request free.
        let was_held = self.repeats.lock().held.contains_key(&self.request.1);
        was_held.then(|| Write::Forget { room: Room::Answer, owner: self.request.0.clone(), key: Some(self.request.1.to_string()) })
    }

    fn is_heard(&self) -> bool {
        self.own.is_some() || !self.heard().joined.is_empty()
    }

    fn left(&self, run: RunId) {
        // Nobody drives it any more, and it has no end: who asks again must neither wait for it nor begin another.
        self.settle(None, true);
        let joined = self.take_joined();
        self.own.iter().chain(&joined).for_each(|requester| requester.left(run));
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);
    const NOW: Timestamp = Timestamp::EPOCH;

    fn of(text: &str) -> Digest {
        key(&"p".into(), &"main".into(), text)
    }

    fn given(run: u128) -> Given {
        let run = RunId::new(Uuid::from_u128(run));
        Given {
            request: ("p.main".to_owned(), of("a")),
            reply: None,
            end: RunEnd { run, outcome: RunOutcome::Succeeded, degraded: false, output: Value::null() },
        }
    }

    #[test]
    fn a_repeat_joins_the_first_and_then_takes_its_result_until_the_retention_is_over() {
        let mut table = Table::default();
        assert_eq!(table.ask(of("a"), || 1, NOW), Asked::First);
        assert_eq!(table.ask(of("a"), || 2, NOW), Asked::UnderWay(1));
        assert_eq!(table.ask(of("b"), || 3, NOW), Asked::First);
        table.settle(of("a"), Some(given(1)), HOUR, NOW);
        assert_eq!(table.ask(of("a"), || 4, NOW), Asked::Repeat(Arc::new(given(1))));
        assert_eq!(table.ask(of("a"), || 5, NOW + HOUR), Asked::First);
    }

    #[test]
    fn while_its_run_stands_still_a_request_is_not_free_and_goes_on_with_that_run_only() {
        let run = RunId::new(Uuid::from_u128(7));
        let mut table = Table::default();
        table.ask(of("a"), || 1, NOW);
        table.settle(of("a"), None, HOUR, NOW);
        assert!(table.hold(of("a"), run));
        assert_eq!(table.ask(of("a"), || 2, NOW + HOUR * 1_000), Asked::Held(run));
        assert_eq!(table.again(of("a"), || 3), Asked::First);
        assert_eq!(table.ask(of("a"), || 4, NOW), Asked::UnderWay(3));
        assert_eq!(table.again(of("a"), || 5), Asked::UnderWay(3));
        table.settle(of("a"), None, HOUR, NOW);
        assert_eq!(table.ask(of("a"), || 6, NOW), Asked::First);
    }

    #[test]
    fn an_answer_stays_if_the_run_that_does_it_once_more_gives_none() {
        let mut table = Table::default();
        table.ask(of("a"), || 1, NOW);
        table.settle(of("a"), Some(given(1)), HOUR, NOW);
        assert_eq!(table.again(of("a"), || 2), Asked::First);
        assert_eq!(table.ask(of("a"), || 3, NOW), Asked::UnderWay(2));
        table.settle(of("a"), None, HOUR, NOW);
        assert_eq!(table.ask(of("a"), || 4, NOW), Asked::Repeat(Arc::new(given(1))));
        table.again(of("a"), || 5);
        table.settle(of("a"), Some(given(5)), HOUR, NOW);
        assert_eq!(table.ask(of("a"), || 6, NOW), Asked::Repeat(Arc::new(given(5))));
    }

    #[test]
    fn one_run_too_many_that_stands_still_leaves_its_request_free_and_a_store_has_the_others() {
        let run = RunId::new(Uuid::from_u128(7));
        let mut table: Table<()> = Table::default();
        assert!((0..RESULTS).all(|number| table.hold(of(&number.to_string()), run)));
        assert!(!table.hold(of("one more"), run) && table.hold(of("0"), run));
        assert_eq!(table.ask(of("one more"), || (), NOW), Asked::First);
        let kept = held_by(&("p.main".to_owned(), of("a")), run);
        assert_eq!(read_held(&kept), Some((of("a"), run)));
        let repeats = Repeats::default();
        assert_eq!(repeats.restore(vec![kept], NOW), (Vec::new(), Vec::new()));
        let asked = repeats.lock().ask(of("a"), || unreachable!("it is held"), NOW + HOUR);
        assert!(matches!(asked, Asked::Held(held) if held == run));
    }

    #[test]
    fn a_run_that_was_left_where_it_is_keeps_nobody_waiting_who_asks_again() {
        let repeats: Arc<Repeats> = Arc::default();
        let (run, request) = (RunId::new(Uuid::from_u128(7)), ("p.main".to_owned(), of("a")));
        let clock = Arc::new(crate::clock::VirtualClock::new(crate::clock::Activity::new()));
        let store = Arc::new(crate::journal::memory::MemoryStore::new());
        let fan = || {
            let (repeats, clock, store) =
                (Arc::clone(&repeats), Arc::clone(&clock) as Arc<dyn Clock>, Arc::clone(&store) as Arc<dyn Store>);
            Fan::new(Parts { run, request: request.clone(), retention: HOUR, own: None, reply: None, repeats, clock, store })
        };
        let Request::First(first) = repeats.ask(of("a"), fan(), NOW) else { panic!("nobody asked before") };
        first.left(run);
        let Request::Refused(failure) = repeats.ask(of("a"), fan(), NOW) else { panic!("it is not known what it came to") };
        assert_eq!(failure.code.as_deref(), Some("idempotency_held"));
        assert!(repeats.go_on(of("a"), fan()).is_some(), "it goes on all the same");
    }

    #[test]
    fn without_a_result_it_may_be_repeated() {
        let mut table = Table::default();
        table.ask(of("a"), || 1, NOW);
        table.settle(of("a"), None, HOUR, NOW);
        assert_eq!(table.ask(of("a"), || 2, NOW), Asked::First);
    }

    #[test]
    fn what_was_given_before_answers_until_its_own_time() {
        let given = Given { reply: Some(Value::null()), ..given(1) };
        let kept = given.kept(NOW + HOUR);
        assert_eq!(Given::read(&kept), Some(given.clone()));
        let broken = Kept { key: "no digest".to_owned(), ..kept.clone() };
        let repeats = Repeats::default();
        let (forgotten, unreadable) = repeats.restore(vec![kept.clone(), broken.clone(), kept], NOW + HOUR / 2);
        assert_eq!(forgotten, [given.forgotten()], "what was there");
        assert_eq!(unreadable.into_iter().map(|one| one.key).collect::<Vec<_>>(), [broken.key], "what is broken");
        let mut table: Table<()> = Table::default();
        assert!(table.restore(of("a"), given.clone(), NOW + HOUR, NOW).is_empty());
        assert_eq!(table.ask(of("a"), || (), NOW + HOUR / 2), Asked::Repeat(Arc::new(given.clone())));
        assert_eq!(table.ask(of("a"), || (), NOW + HOUR), Asked::First);
        assert_eq!(table.restore(of("b"), given.clone(), NOW, NOW), [Arc::new(given)], "it is over");
    }

    #[test]
    fn one_result_too_many_pushes_out_the_first() {
        let mut table = Table::default();
        for number in 0..=RESULTS {
            table.ask(of(&number.to_string()), || (), NOW);
            let early = table.settle(of(&number.to_string()), Some(given(1)), HOUR, NOW);
            assert_eq!(early.len(), usize::from(number == RESULTS));
        }
        assert_eq!((table.given.len(), table.order.len()), (RESULTS, RESULTS));
        assert_eq!(table.ask(of("0"), || (), NOW), Asked::First);
        assert_ne!(table.ask(of("1"), || (), NOW), Asked::First);
    }
}
