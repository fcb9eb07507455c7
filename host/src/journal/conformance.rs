//! What every store must do, written against the port: each store's tests run all of it and, with stores made for that, what `bounded` asks; those
//! of a store that survives its process run `surviving` too.
//!
//! What `bounded` asks of two hosts is not asked of the memory store: it ends with its process, so that no earlier host can still have it when a later
//! one begins. Whoever keeps it from one host to the next, as tests do, has ended the first.

mod bounded;
mod surviving;

use std::sync::Arc;

use uuid::Uuid;

use crate::model::activation::RunOutcome;
use crate::model::bundle::{self, Bundle};
use crate::model::event::{Caller, Event};
use crate::model::failure::{Failure, FailureKind};
use crate::model::fixture;
use crate::model::id::{CorrelationId, Digest, IdPrefix, RunId};
use crate::model::job::CancelReason;
use crate::model::port::{Pending, PendingEvent, RunQuery, Store, StoreError};
use crate::model::record::{
    Batch, Beginning, BlockNumber, Fact, InboxKey, Kept, LaneId, Part, RefusedAnswer, Room, StepNumber, Write, end_of,
};
use crate::model::secret::Secret;
use crate::model::size;
use crate::model::time::Timestamp;
use crate::model::value::{Map, Tree, Value};

pub(in crate::journal) use bounded::{
    fences_off_an_earlier_host, forgets_ended_runs_but_none_that_owes_something, knows_events_for_seven_days,
    takes_nothing_new_without_room,
};
pub(in crate::journal) use surviving::survives;

/// Runs the whole suite; `new` makes an empty store.
pub(in crate::journal) async fn all<S: Store + 'static>(new: impl Fn() -> Arc<S>) {
    facts_come_back_in_their_order(&*new()).await;
    an_unknown_run_has_no_facts(&*new()).await;
    what_does_not_follow_is_refused_and_changes_nothing(&*new()).await;
    runs_do_not_meet(&*new()).await;
    a_run_that_rests_is_what_it_was_and_goes_on(&*new()).await;
    a_batch_stands_or_falls_as_one(&*new()).await;
    a_commit_is_there_when_it_has_ended(&*new()).await;
    only_one_of_two_writers_gets_a_number(new()).await;
    runs_without_an_end_are_pending_the_first_in_front(&*new()).await;
    what_was_dispatched_and_never_began_is_pending(&*new()).await;
    events_are_pending_in_their_order_and_known_once_taken(&*new()).await;
    what_is_due_first_is_pending_first(&*new()).await;
    a_run_that_is_taken_up_is_counted_until_it_has_a_new_fact(&*new()).await;
    what_is_written_with_facts_is_kept_with_them_or_not_at_all(&*new()).await;
    what_is_kept_is_replaced_and_forgotten_by_its_key(&*new()).await;
    a_bundle_is_kept_once(&*new()).await;
    runs_are_found_by_what_is_asked(&*new()).await;
    a_run_that_is_resumed_is_under_way_again(&*new()).await;
    values_come_back_as_they_were(&*new()).await;
    what_is_given_first_is_kept_first(&*new()).await;
    writers_of_many_runs_do_not_meet(new()).await;
    what_is_not_durable_is_known_like_the_rest(&*new()).await;
    a_run_that_waited_at_the_door_is_pending_and_begins_once(&*new()).await;
    a_migrated_run_belongs_to_its_new_revision(&*new()).await;
    an_answer_refused_after_the_end_is_kept_and_the_run_stays_ended(&*new()).await;
    what_is_too_large_is_refused_and_the_run_goes_on_without_it(&*new()).await;
    an_event_of_no_run_is_pending_until_everybody_has_it(&*new()).await;
    facts_of_many_runs_come_in_one_go(&*new()).await;
}

async fn an_event_of_no_run_is_pending_until_everybody_has_it(store: &dyn Store) {
    let emit = |number: u128| Write::Emit(Arc::new(event(number)));
    let waiting = || async { pending(store).await.events.into_iter().map(|known| (known.event.id, known.published)).collect::<Vec<_>>() };
    // A run that may wait for them.
    store.commit(first(began(1, None))).await.expect("it follows");
    store.write(vec![emit(6), emit(5)]).await.expect("taken");
    assert_eq!(waiting().await, [(event(5).id, false), (event(6).id, false)]);
    store.published(vec![event(5).id]);
    store.write(Vec::new()).await.expect("taken");
    assert_eq!(waiting().await, [(event(5).id, true), (event(6).id, false)]);
    let told = pending(store).await.events.into_iter().map(|known| known.event).collect::<Vec<_>>();
    assert_eq!(told, [event(5), event(6)]);
    // What came of it before is marked with what tells it once more, and does not count for that.
    store.published(vec![event(6).id]);
    store.write(vec![emit(5), emit(6)]).await.expect("taken");
    assert_eq!(waiting().await, [(event(5).id, false), (event(6).id, false)]);
}

async fn facts_of_many_runs_come_in_one_go(store: &dyn Store) {
    store.commit(batch(1, 0, &["a", "b"])).await.expect("it follows");
    store.commit(Batch { durable: false, ..batch(2, 0, &["c"]) }).await.expect("it follows");
    store.commit(batch(3, 0, &["d"])).await.expect("it follows");
    for runs in [vec![run(3), run(9), run(1)], vec![run(2), run(3)], Vec::new()] {
        let mut alone = Vec::new();
        for run in &runs {
            alone.push(store.facts(*run).await);
        }
        assert_eq!(store.facts_of(&runs).await, Ok(alone));
    }
}

async fn a_run_that_is_resumed_is_under_way_again(store: &dyn Store) {
    let left = vec![("pay".into(), Failure::new(FailureKind::Permanent, "no"))];
    let parked = RunOutcome::Parked { because: Box::new(RunOutcome::Cancelled { reason: CancelReason::Requested }), left };
    store.commit(first(began(1, None))).await.expect("it follows");
    store.commit(Batch::of(run(1), 1, Arc::new(vec![Fact::Ended { outcome: parked, at: Timestamp::EPOCH }]))).await.expect("it follows");
    assert!(pending(store).await.runs.is_empty());
    store.commit(Batch::of(run(1), 2, Arc::new(vec![Fact::Resumed { at: Timestamp::EPOCH }]))).await.expect("it follows");
    assert_eq!(pending(store).await.runs, [run(1)]);
    let open = RunQuery { outcome: Some("open".to_owned()), ..RunQuery::default() };
    assert_eq!(store.runs(open).await.expect("the store is not broken").len(), 1);
    store.commit(Batch::of(run(1), 3, Arc::new(vec![filler("x"), ended()]))).await.expect("it follows");
    assert!(pending(store).await.runs.is_empty());
}

async fn values_come_back_as_they_were(store: &dyn Store) {
    let tree = Tree::Map(Map::from_iter([
        ("secret".to_owned(), Tree::Secret(Secret::given("password", "hunter2"))),
        ("fraction".to_owned(), Tree::Float(0.1 + 0.2)),
        ("none".to_owned(), Tree::Float(f64::INFINITY)),
        ("$sealed".to_owned(), Tree::Text("not ours".to_owned())),
        ("large".to_owned(), Tree::Text("ä".repeat(100_000))),
    ]));
    let value = Value::from(tree);
    let facts = vec![Fact::StepDone { lane: LaneId(0), step: StepNumber(0), output: value.clone() }];
    let keep = Kept { value: value.clone(), until: Some(Timestamp::MAX), ..kept("p", "k", "") };
    let batch = Batch { writes: vec![Write::Keep(keep.clone())], ..Batch::of(run(1), 0, Arc::new(facts.clone())) };
    store.commit(batch).await.expect("it follows");
    assert_eq!(store.facts(run(1)).await, Ok(facts));
    assert_eq!(store.kept(Room::State).await, Ok(vec![keep]));
}

async fn what_is_given_first_is_kept_first(store: &dyn Store) {
    // Nothing is awaited before all is given.
    let given: Vec<_> = (0..50)
        .map(|number| {
            let keep = Write::Keep(kept("p", "k", &number.to_string()));
            if number % 2 == 0 {
                store.write(vec![keep])
            } else {
                store.commit(Batch { writes: vec![keep], ..batch(1, number / 2, &["x"]) })
            }
        })
        .collect();
    for commit in given {
        commit.await.expect("it follows");
    }
    assert_eq!(store.kept(Room::State).await, Ok(vec![kept("p", "k", "49")]));
    assert_eq!(texts(store, 1).await.len(), 25);
}

async fn writers_of_many_runs_do_not_meet<S: Store + 'static>(store: Arc<S>) {
    let writers: Vec<_> = (1..=16)
        .map(|number| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                for first in 0..20 {
                    store.commit(batch(number, first, &["x"])).await.expect("it follows");
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.expect("no panic");
    }
    for number in 1..=16 {
        assert_eq!(texts(&*store, number).await.len(), 20);
    }
}

async fn what_is_not_durable_is_known_like_the_rest(store: &dyn Store) {
    for (number, durable) in [(1, true), (2, false), (3, true)] {
        let keep = Write::Keep(kept("p", &number.to_string(), "x"));
        store.commit(Batch { durable, writes: vec![keep], ..first(began(number, Some(event(number)))) }).await.expect("it follows");
    }
    assert_eq!(pending(store).await.runs, [3, 2, 1].map(run));
    assert_eq!(store.runs(RunQuery { limit: 2, ..RunQuery::default() }).await.expect("the store is not broken").len(), 2);
    assert_eq!(store.kept(Room::State).await.expect("the store is not broken").len(), 3);
    assert_eq!((store.claim(run(2)).await, store.claim(run(3)).await), (Ok(1), Ok(1)));
    let key = InboxKey { pipeline: "p".into(), flow: "main".into(), event: event(2).id };
    assert_eq!(store.has_taken(key).await, Ok(true));
    store.commit(Batch { durable: false, ..Batch::of(run(2), 1, Arc::new(vec![ended()])) }).await.expect("it follows");
    assert_eq!(pending(store).await.runs, [3, 1].map(run));
    let forget = Write::Forget { room: Room::State, owner: "p".to_owned(), key: None };
    store.write(vec![forget]).await.expect("taken");
    assert_eq!(store.kept(Room::State).await, Ok(Vec::new()));
}

async fn a_run_that_waited_at_the_door_is_pending_and_begins_once(store: &dyn Store) {
    let beginning = Arc::new(began(1, Some(event(5))));
    store.commit(Batch::of(run(1), 0, Arc::new(vec![Fact::Queued(Arc::clone(&beginning))]))).await.expect("it follows");
    assert_eq!(pending(store).await.runs, [run(1)]);
    let key = InboxKey { pipeline: "p".into(), flow: "main".into(), event: event(5).id };
    assert_eq!(store.has_taken(key).await, Ok(true));
    let later = Arc::new(Beginning { at: Timestamp::from_nanos(500), ..(*beginning).clone() });
    store.commit(Batch::of(run(1), 1, Arc::new(vec![Fact::Began(later)]))).await.expect("it follows");
    assert_eq!(pending(store).await.runs, [run(1)]);
    let records = store.runs(RunQuery::default()).await.expect("the store is not broken");
    assert_eq!(records.iter().map(|record| (record.began, record.facts)).collect::<Vec<_>>(), [(Timestamp::from_nanos(500), 2)]);
}

async fn a_migrated_run_belongs_to_its_new_revision(store: &dyn Store) {
    store.commit(first(began(1, None))).await.expect("it follows");
    let history = Arc::new(vec![Fact::Began(Arc::new(Beginning { revision: Digest::of(b"q"), ..began(1, None) }))]);
    let migrated = Fact::Migrated { revision: Digest::of(b"q"), facts: history, at: Timestamp::EPOCH };
    store.commit(Batch::of(run(1), 1, Arc::new(vec![migrated.clone()]))).await.expect("it follows");
    let records = store.runs(RunQuery::default()).await.expect("the store is not broken");
    assert_eq!(records.first().map(|record| record.revision), Some(Digest::of(b"q")));
    assert_eq!(store.facts(run(1)).await.expect("the store is not broken").last(), Some(&migrated));
}

async fn an_answer_refused_after_the_end_is_kept_and_the_run_stays_ended(store: &dyn Store) {
    let event = Arc::new(event(5));
    let refused = Fact::AnswerRefused { lane: LaneId(0), step: StepNumber(0), event, reason: RefusedAnswer::Double };
    for (number, durable) in [(1, true), (2, false)] {
        let of = |first: u64, fact: Fact| Batch { durable, ..Batch::of(run(number), first, Arc::new(vec![fact])) };
        store.commit(Batch { durable, ..first(began(number, None)) }).await.expect("it follows");
        store.commit(of(1, ended())).await.expect("it follows");
        store.commit(of(2, refused.clone())).await.expect("it follows");
        assert!(matches!(store.commit(of(2, refused.clone())).await, Err(StoreError::OutOfOrder { .. })));
        store.commit(of(3, refused.clone())).await.expect("it follows");
        let facts = store.facts(run(number)).await.expect("the store is not broken");
        assert_eq!((facts.len(), facts.last(), end_of(&facts)), (4, Some(&refused), Some(&RunOutcome::Succeeded)));
        let records = store.runs(RunQuery { run: Some(run(number)), ..RunQuery::default() }).await.expect("the store is not broken");
        let known = records.iter().map(|record| (record.facts, record.ended.clone())).collect::<Vec<_>>();
        assert_eq!(known, [(4, Some((Timestamp::EPOCH, "succeeded".to_owned())))]);
    }
    assert!(pending(store).await.runs.is_empty());
}

async fn what_is_too_large_is_refused_and_the_run_goes_on_without_it(store: &dyn Store) {
    store.commit(batch(1, 0, &["a"])).await.expect("it follows");
    let of_size = |bytes: u64| "x".repeat(bytes as usize);
    // Room for what stands round the text in a fact.
    let (fits, too_large) = (of_size(size::MOST - 1_024), of_size(size::MOST));
    let is_too_large = |refused: Result<(), StoreError>, most: u64| {
        assert!(matches!(&refused, Err(StoreError::TooLarge { bytes, most: bound }) if *bytes > *bound && *bound == most), "{refused:?}");
    };
    is_too_large(store.commit(batch(1, 1, &["b", &too_large])).await, size::MOST);
    is_too_large(store.commit(batch(1, 1, &[&fits, &fits, &fits, &fits, &fits])).await, size::MOST_TOGETHER);
    let with = |value: &str| Batch { writes: vec![Write::Keep(kept("p", "k", value))], ..batch(1, 1, &["c"]) };
    is_too_large(store.commit(with(&too_large)).await, size::MOST);
    is_too_large(store.write(vec![Write::Keep(kept("p", "k", &too_large))]).await, size::MOST);
    let told = Event { data: Value::string(too_large.as_str()), ..event(9) };
    is_too_large(store.write(vec![Write::Emit(Arc::new(told))]).await, size::MOST);
    let locals = vec![("item".to_owned(), Value::string(too_large.as_str()))];
    let part = Part { block: BlockNumber(1), input: Value::null(), outputs: Vec::new(), locals };
    let sent = Beginning { part: Some(Arc::new(part)), parent: Some(run(1)), ..began(9, None) };
    is_too_large(store.commit(first(sent)).await, size::MOST);
    store.commit(batch(1, 1, &[&fits])).await.expect("it follows on what was there before");
    store.write(vec![Write::Keep(kept("p", "k", &fits))]).await.expect("it fits");
    assert_eq!(texts(store, 1).await, ["a".to_owned(), fits]);
}

async fn what_is_due_first_is_pending_first(store: &dyn Store) {
    for (number, due) in [(1, None), (2, Some(70)), (3, Some(50))] {
        let due = due.map(Timestamp::from_nanos);
        store.commit(Batch { due, ..first(began(number, None)) }).await.expect("it follows");
    }
    assert_eq!(pending(store).await.runs, [run(3), run(2), run(1)]);
}

async fn a_run_that_is_taken_up_is_counted_until_it_has_a_new_fact(store: &dyn Store) {
    store.commit(first(began(1, None))).await.expect("it follows");
    assert_eq!((store.claim(run(1)).await, store.claim(run(1)).await), (Ok(1), Ok(2)));
    assert_eq!(pending(store).await.claimed, [(run(1), 2)]);
    store.commit(batch(1, 1, &["more"])).await.expect("it follows");
    assert_eq!(pending(store).await.claimed, []);
    assert_eq!(store.claim(run(1)).await, Ok(1));
}

fn kept(owner: &str, key: &str, value: &str) -> Kept {
    Kept { room: Room::State, owner: owner.to_owned(), key: key.to_owned(), value: Value::string(value), until: None }
}

async fn what_is_written_with_facts_is_kept_with_them_or_not_at_all(store: &dyn Store) {
    let with = |first: u64, value: &str| Batch { writes: vec![Write::Keep(kept("p", "k", value))], ..batch(1, first, &["x"]) };
    store.commit(with(0, "one")).await.expect("it follows");
    assert!(store.commit(with(7, "two")).await.is_err());
    assert_eq!(store.kept(Room::State).await, Ok(vec![kept("p", "k", "one")]));
    assert_eq!(store.kept(Room::Cache).await, Ok(Vec::new()));
}

async fn what_is_kept_is_replaced_and_forgotten_by_its_key(store: &dyn Store) {
    let writes = [("p", "a", "1"), ("p", "b", "2"), ("q", "a", "3"), ("p", "a", "4")];
    store.write(writes.map(|(owner, key, value)| Write::Keep(kept(owner, key, value))).into()).await.expect("taken");
    assert_eq!(store.kept(Room::State).await, Ok(vec![kept("p", "b", "2"), kept("q", "a", "3"), kept("p", "a", "4")]));
    assert_eq!(store.first_kept(Room::State, 2).await.map(|page| page.kept), Ok(vec![kept("p", "b", "2"), kept("q", "a", "3")]));
    assert_eq!(store.first_kept(Room::State, 9).await.map(|page| page.kept.len()), Ok(3));
    let names = [("p", "a"), ("q", "b"), ("q", "a")].map(|(owner, key)| (owner.to_owned(), key.to_owned()));
    let [first, _, last] = names.clone();
    assert_eq!(store.holds(Room::State, &names).await, Ok([first, last].into()));
    assert_eq!(store.holds(Room::Cache, &names).await, Ok([].into()));
    let forget = |owner: &str, key: Option<&str>| Write::Forget { room: Room::State, owner: owner.to_owned(), key: key.map(str::to_owned) };
    store.write(vec![forget("p", Some("b")), forget("r", None)]).await.expect("taken");
    assert_eq!(store.kept(Room::State).await, Ok(vec![kept("q", "a", "3"), kept("p", "a", "4")]));
    store.write(vec![forget("p", None)]).await.expect("taken");
    assert_eq!(store.kept(Room::State).await, Ok(vec![kept("q", "a", "3")]));
}

async fn a_bundle_is_kept_once(store: &dyn Store) {
    let with = |number, content| Batch { writes: vec![Write::Bundle(bundle_of(content))], ..first(began(number, None)) };
    assert_eq!(store.bundle(Digest::of(b"p")).await, Ok(None));
    store.commit(with(1, "one")).await.expect("it follows");
    store.commit(with(2, "two")).await.expect("it follows");
    assert_eq!(store.bundle(Digest::of(b"p")).await, Ok(Some(bundle_of("one"))));
    assert_eq!(store.bundle(Digest::of(b"q")).await, Ok(None));
}

fn bundle_of(content: &str) -> Arc<Bundle> {
    let files = vec![("p.yaml".into(), Arc::from(content.as_bytes())), ("p.wasm".into(), Arc::from(vec![7; 100_000]))];
    Arc::new(Bundle { format: bundle::FORMAT, revision: Digest::of(b"p"), pipeline: "p".into(), file: "p.yaml".into(), files })
}

async fn runs_are_found_by_what_is_asked(store: &dyn Store) {
    for number in 1..=3 {
        store.commit(first(began(number, None))).await.expect("it follows");
    }
    store.commit(Batch::of(run(2), 1, Arc::new(vec![ended()]))).await.expect("it follows");
    let found = async |query: RunQuery| {
        let records = store.runs(query).await.expect("the store is not broken");
        records.into_iter().map(|record| (record.run, record.ended.map(|(_, outcome)| outcome), record.facts)).collect::<Vec<_>>()
    };
    let succeeded = || Some("succeeded".to_owned());
    assert_eq!(found(RunQuery::default()).await, [(run(3), None, 1), (run(2), succeeded(), 2), (run(1), None, 1)]);
    assert_eq!(found(RunQuery { limit: 1, ..RunQuery::default() }).await, [(run(3), None, 1)]);
    assert_eq!(found(RunQuery { outcome: succeeded(), ..RunQuery::default() }).await, [(run(2), succeeded(), 2)]);
    assert_eq!(found(RunQuery { run: Some(run(3)), ..RunQuery::default() }).await, [(run(3), None, 1)]);
    let open = RunQuery { outcome: Some("open".to_owned()), flow: Some("main".into()), ..RunQuery::default() };
    assert_eq!(found(open).await, [(run(3), None, 1), (run(1), None, 1)]);
    assert!(found(RunQuery { pipeline: Some("q".into()), ..RunQuery::default() }).await.is_empty());
    let begins = |text: &str| IdPrefix::parse(text);
    let by_run = |text: &str| RunQuery { run_begins: begins(text), ..RunQuery::default() };
    assert_eq!(found(by_run(&run(2).to_string())).await, [(run(2), succeeded(), 2)]);
    assert_eq!(found(by_run("0000")).await.len(), 3);
    assert_eq!(found(RunQuery { limit: 2, ..by_run("00000000-0000") }).await.len(), 2);
    assert!(found(by_run("1")).await.is_empty());
    let by_request = |text: &str| RunQuery { correlation_begins: begins(text), ..RunQuery::default() };
    let request = began(1, None).correlation_id.to_string();
    assert_eq!(found(by_request(&request)).await.len(), 3, "all of this suite belong to one request");
    assert_eq!(found(by_request(&request.replace('-', "")[..31])).await.len(), 3);
    assert!(found(by_request("f")).await.is_empty());
}

/// The first fact of a run.
pub(in crate::journal) fn began(number: u128, event: Option<Event>) -> Beginning {
    Beginning {
        run: run(number),
        pipeline: "p".into(),
        flow: "main".into(),
        revision: Digest::of(b"p"),
        correlation_id: CorrelationId::new(Uuid::from_u128(1)),
        event,
        input: Value::null(),
        trigger: Value::null(),
        caller: Caller::default(),
        state_key: None,
        at: Timestamp::from_nanos(100 - u64::try_from(number).unwrap_or_default()),
        deadline: None,
        passed: Vec::new(),
        parent: None,
        part: None,
        retry_of: None,
    }
}

/// An event that came after each run of this suite began.
pub(in crate::journal) fn event(number: u128) -> Event {
    Event { time: Timestamp::from_nanos(200 + u64::try_from(number).unwrap_or_default()), ..fixture::event(number, "Told") }
}

fn first(beginning: Beginning) -> Batch {
    Batch::of(beginning.run, 0, Arc::new(vec![Fact::Began(Arc::new(beginning))]))
}

async fn pending(store: &dyn Store) -> Pending {
    store.pending().await.expect("the store is not broken")
}

async fn runs_without_an_end_are_pending_the_first_in_front(store: &dyn Store) {
    for number in 1..=3 {
        store.commit(first(began(number, None))).await.expect("it follows");
    }
    store.commit(Batch::of(run(2), 1, Arc::new(vec![ended()]))).await.expect("it follows");
    assert_eq!(pending(store).await.runs, [run(3), run(1)]);
}

async fn what_was_dispatched_and_never_began_is_pending(store: &dyn Store) {
    let part = Arc::new(Part { block: BlockNumber(1), input: Value::null(), outputs: Vec::new(), locals: Vec::new() });
    let dispatched = |number| Fact::Dispatched { lane: LaneId(0), step: StepNumber(0), run: run(number), part: Arc::clone(&part) };
    store.commit(first(began(1, None))).await.expect("it follows");
    let facts = vec![dispatched(8), dispatched(9), ended()];
    store.commit(Batch::of(run(1), 1, Arc::new(facts))).await.expect("it follows");
    assert_eq!(pending(store).await.dispatched, [(run(1), run(8)), (run(1), run(9))]);
    store.commit(first(Beginning { parent: Some(run(1)), part: Some(Arc::clone(&part)), ..began(8, None) })).await.expect("it follows");
    assert_eq!(pending(store).await.dispatched, [(run(1), run(9))]);
}

async fn events_are_pending_in_their_order_and_known_once_taken(store: &dyn Store) {
    store.commit(first(began(1, None))).await.expect("it follows");
    let emitted = Fact::Emitted { lane: LaneId(0), step: StepNumber(0), events: vec![event(6), event(5)] };
    store.commit(Batch::of(run(1), 1, Arc::new(vec![emitted]))).await.expect("it follows");
    let known = |published| [event(5), event(6)].map(|event| PendingEvent { published: published && event.id == self::event(5).id, event });
    assert_eq!(pending(store).await.events, known(false));
    store.published(vec![event(5).id]);
    // What came with a run that goes on stays: it may still wait for it.
    assert_eq!(pending(store).await.events, known(true));
    let key = |number| InboxKey { pipeline: "p".into(), flow: "main".into(), event: event(number).id };
    store.commit(first(began(2, Some(event(5))))).await.expect("it follows");
    assert_eq!((store.has_taken(key(5)).await, store.has_taken(key(6)).await), (Ok(true), Ok(false)));
}

/// A fact that holds this text.
pub(in crate::journal) fn filler(text: &str) -> Fact {
    Fact::StepDone { lane: LaneId(0), step: StepNumber(0), output: Value::string(text) }
}

/// The last fact of a run.
pub(in crate::journal) fn ended() -> Fact {
    Fact::Ended { outcome: RunOutcome::Succeeded, at: Timestamp::EPOCH }
}

fn run(number: u128) -> RunId {
    RunId::new(Uuid::from_u128(number))
}

fn batch(number: u128, first: u64, texts: &[&str]) -> Batch {
    Batch::of(run(number), first, Arc::new(texts.iter().map(|text| filler(text)).collect()))
}

async fn texts(store: &dyn Store, number: u128) -> Vec<String> {
    let facts = store.facts(run(number)).await.expect("the store is not broken");
    let text = |fact: Fact| {
        if let Fact::StepDone { output, .. } = fact { output.tree().as_text().unwrap_or("").to_owned() } else { String::new() }
    };
    facts.into_iter().map(text).collect()
}

async fn facts_come_back_in_their_order(store: &dyn Store) {
    store.commit(batch(1, 0, &["a"])).await.expect("it follows");
    store.commit(batch(1, 1, &["b", "c"])).await.expect("it follows");
    store.commit(batch(1, 3, &["d"])).await.expect("it follows");
    assert_eq!(texts(store, 1).await, ["a", "b", "c", "d"]);
}

async fn an_unknown_run_has_no_facts(store: &dyn Store) {
    assert!(texts(store, 1).await.is_empty());
}

async fn what_does_not_follow_is_refused_and_changes_nothing(store: &dyn Store) {
    let refused = store.commit(batch(1, 1, &["b"])).await;
    assert_eq!(refused, Err(StoreError::OutOfOrder { run: run(1), expected: 0, found: 1 }));
    store.commit(batch(1, 0, &["a", "b"])).await.expect("it follows");
    for found in [0, 1, 3, u64::MAX] {
        let refused = store.commit(batch(1, found, &["x"])).await;
        assert_eq!(refused, Err(StoreError::OutOfOrder { run: run(1), expected: 2, found }));
    }
    assert_eq!(texts(store, 1).await, ["a", "b"]);
}

async fn runs_do_not_meet(store: &dyn Store) {
    store.commit(batch(1, 0, &["a"])).await.expect("it follows");
    store.commit(batch(2, 0, &["b"])).await.expect("it follows");
    store.commit(batch(1, 1, &["c"])).await.expect("it follows");
    assert_eq!((texts(store, 1).await, texts(store, 2).await), (vec!["a".to_owned(), "c".to_owned()], vec!["b".to_owned()]));
}

async fn a_run_that_rests_is_what_it_was_and_goes_on(store: &dyn Store) {
    for number in 1..4 {
        let began = Fact::Began(Arc::new(began(number, None)));
        let batch = Batch::of(run(number), 0, Arc::new(vec![began, filler(&format!("{number}"))]));
        store.commit(batch).await.expect("it follows");
        let before = store.facts(run(number)).await;
        store.rest(run(number));
        store.rest(run(number));
        assert_eq!(store.facts(run(number)).await, before);
    }
    store.rest(run(9));
    assert_eq!(store.pending().await.expect("the store is not broken").runs, [3, 2, 1].map(run));
    assert!(store.commit(batch(2, 1, &["x"])).await.is_err());
    store.commit(batch(2, 2, &["x"])).await.expect("it follows");
    assert_eq!(texts(store, 2).await, ["", "2", "x"]);
    assert_eq!(store.pending().await.expect("the store is not broken").runs, [3, 2, 1].map(run));
}

async fn a_batch_stands_or_falls_as_one(store: &dyn Store) {
    store.commit(batch(1, 0, &["a"])).await.expect("it follows");
    assert!(store.commit(batch(1, 0, &["x", "y", "z"])).await.is_err());
    assert_eq!(texts(store, 1).await, ["a"]);
}

async fn a_commit_is_there_when_it_has_ended(store: &dyn Store) {
    for number in 0..100 {
        store.commit(batch(1, number, &["x"])).await.expect("it follows");
        assert_eq!(texts(store, 1).await.len() as u64, number + 1);
    }
}

async fn only_one_of_two_writers_gets_a_number<S: Store + 'static>(store: Arc<S>) {
    let writers: Vec<_> = (0..8)
        .map(|_| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let mut taken = 0;
                for number in 0..50 {
                    taken += u32::from(store.commit(batch(1, number, &["x"])).await.is_ok());
                    tokio::task::yield_now().await;
                }
                taken
            })
        })
        .collect();
    let mut taken = 0;
    for writer in writers {
        taken += writer.await.expect("no panic");
    }
    assert_eq!(taken as usize, texts(&*store, 1).await.len());
    assert_eq!(taken, 50);
}
